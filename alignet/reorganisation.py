"""What alignment changes inside a model: distances by hierarchy, RSA, CKA, maps and neighbours, layer by layer."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet import metrics
from alignet.config import Reorganisation
from alignet.evaluation import unit_vectors
from alignet.representations import Layers
from alignet.worlds.tables import World


def sample(world: World, settings: Reorganisation) -> Tensor:
    """Rows of images.csv: the first pictures of each concept of the test split, as many as the settings say."""
    test = world.rows("test")
    turn = world.images.iloc[test.tolist()].groupby(world.hierarchy[0], sort=False).cumcount().to_numpy()
    return test[torch.from_numpy(np.flatnonzero(turn < settings.pictures_per_concept))]


def relations(world: World, rows: Tensor) -> tuple[Tensor, list[str]]:
    """The lowest common level of every pair of pictures.

    Returns: (n, n), 0 for the same finest label to len(hierarchy) for unrelated; and a name for each number.
    """
    codes = [world.codes(label)[rows] for label in world.hierarchy]
    alike = torch.stack([code[:, None] == code for code in codes])  # (levels, n, n), fine to coarse
    lowest = torch.where(alike.any(0), alike.float().argmax(0), len(codes))
    return lowest, [*(f"same {label}" for label in world.hierarchy), "unrelated"]


def distances(features: Tensor) -> Tensor:
    """1 - centred cosine similarity of all pairs: (n, n) float64 in [0, 2]."""
    unit = unit_vectors(features.double(), centred=True)
    return 1 - unit @ unit.T


def reorganisation(world: World, rows: Tensor, layers: Layers, settings: Reorganisation) -> pd.DataFrame:
    """Change of distance by lowest common level, and RSA to the hierarchy, for each layer and target.

    change: mean over pairs of the distance after minus before, in standard deviations of the base's distances in that
    layer; effect_size: its mean over its standard deviation (Cohen's d_z); rsa: Spearman of the distance with the
    lowest common level, over all pairs, the same for every relation of a layer. Intervals: 95 % bootstrap over
    concepts. For the base change is 0 by definition.

    Args: rows: (n,) of images.csv; layers: their features, the same layers before and after.
    """
    lowest, names = relations(world, rows)
    weights = _concept_weights(world, rows, settings)
    table = []
    for (student, target), found in layers.items():
        for depth, (layer, features) in enumerate(found.items()):
            after, before = distances(features), distances(layers[student, "base"][layer])
            low, high = metrics.rsa_interval(after, lowest.double(), weights)
            rsa = {"rsa": metrics.rsa(after, lowest.double()), "rsa_low": low, "rsa_high": high}
            change = (after - before) / metrics.upper_triangle(before).std()
            place = {"student": student, "target": target, "layer": layer, "depth": depth}
            for row in _by_relation(change, lowest, names, weights):
                table.append(place | row | rsa | {"ci_unit": "concepts", "choices": world.choices})
    return pd.DataFrame(table)


def alignment(world: World, rows: Tensor, layers: Layers, settings: Reorganisation) -> pd.DataFrame:
    """CKA between every layer of the base and every layer of each aligned model: cka.csv.

    The 95 % interval, of a layer with itself, is a bootstrap over concepts whose repeats are left out of the resample
    (repeats alone raise CKA), so that it is of a smaller sample and lies a little high: the spread is what to read.
    """
    table, drawn = [], _concept_weights(world, rows, settings) > 0
    for (student, target), found in layers.items():
        before = {name: metrics.centred_gram(features) for name, features in layers[student, "base"].items()}
        for layer, features in found.items():
            gram = metrics.centred_gram(features)
            for base_layer, base_gram in before.items():
                names = {"student": student, "target": target, "layer": layer, "base_layer": base_layer}
                low, high = float("nan"), float("nan")
                if layer == base_layer and target != "base":
                    low, high = _cka_interval(features, layers[student, "base"][layer], drawn)
                value = float(metrics.gram_alignment(gram, base_gram))
                table.append(names | {"cka": value, "ci_low": low, "ci_high": high, "ci_unit": "concepts"})
    return pd.DataFrame(table)


def maps(world: World, rows: Tensor, layers: Layers, settings: Reorganisation) -> pd.DataFrame:
    """Two dimensions of each concept's mean 'pooled' features: student, target, method (PCA or UMAP), labels, x, y."""
    import umap  # compiles for seconds: only where it is used

    labels = world.images.iloc[rows.tolist()][list(world.hierarchy)].reset_index(drop=True)
    group, names = pd.factorize(labels[world.hierarchy[0]])
    names = labels.drop_duplicates(world.hierarchy[0]).reset_index(drop=True)
    table = []
    for (student, target), found in layers.items():
        unit = unit_vectors(found["pooled"].double(), centred=True)
        mean = torch.zeros(len(names), unit.shape[1]).double().index_add_(0, torch.from_numpy(group), unit)
        mean = (mean / torch.bincount(torch.from_numpy(group))[:, None]).numpy()
        neighbours = min(settings.umap_neighbours, len(names) - 1)
        fit = umap.UMAP(n_neighbors=neighbours, metric="cosine", random_state=settings.seed, n_jobs=1, init="pca")
        for method, places in (("PCA", _principal(mean)), ("UMAP", fit.fit_transform(mean))):
            place = {"student": student, "target": target, "method": method, "x": places[:, 0], "y": places[:, 1]}
            table.append(names.assign(**place))
    return pd.concat(table, ignore_index=True)


def neighbours(world: World, rows: Tensor, layers: Layers, settings: Reorganisation) -> pd.DataFrame:
    """Nearest neighbours, of other concepts, of example pictures: student, target, example, rank (0: itself), image."""
    features = next(iter(layers.values()))["pooled"]
    examples = torch.linspace(0, len(features) - 1, settings.examples + 2).long()[1:-1]
    concept, images = world.codes(world.hierarchy[0])[rows], world.images["image"].to_numpy()[rows.numpy()]
    table = []
    for (student, target), found in layers.items():
        distance = distances(found["pooled"])
        for example in examples.tolist():
            near = _nearest_concepts(distance[example], concept, example, settings.neighbours)
            for rank, picture in enumerate([example, *near]):
                names = {"student": student, "target": target, "example": images[example], "rank": rank}
                table.append(names | {"image": images[picture], "distance": float(distance[example, picture])})
    return pd.DataFrame(table)


def _nearest_concepts(distance: Tensor, concept: Tensor, example: int, count: int) -> list[int]:
    """The nearest picture of each of the `count` nearest other concepts."""
    seen, near = {int(concept[example])}, []
    for picture in distance.argsort(stable=True).tolist():
        if int(concept[picture]) not in seen:
            seen.add(int(concept[picture]))
            near.append(picture)
        if len(near) == count:
            break
    return near


def _by_relation(change: Tensor, lowest: Tensor, names: list[str], weights: Tensor) -> list[dict]:
    rows, upper = [], torch.ones_like(change, dtype=torch.bool).triu(1)
    for number, relation in enumerate(names):
        inside = (lowest == number) & upper
        if not inside.any():
            continue
        sums, pairs = metrics.pair_sums(change * inside, weights), metrics.pair_sums(inside.double(), weights)
        low, high = metrics.percentile_interval(sums / pairs)
        row = {"relation": relation, "change": float(change[inside].mean()), "ci_low": low, "ci_high": high}
        rows.append(row | {"effect_size": metrics.effect_size(change[inside]), "n_pairs": int(inside.sum())})
    return rows


def _concept_weights(world: World, rows: Tensor, settings: Reorganisation) -> Tensor:
    """How often each picture's concept is drawn: (resamples, n)."""
    concept = torch.from_numpy(pd.factorize(world.codes(world.hierarchy[0])[rows].numpy())[0])
    generator = torch.Generator().manual_seed(settings.seed)
    return metrics.resample_weights(int(concept.max()) + 1, settings.bootstrap, generator)[:, concept]


def _cka_interval(features: Tensor, base: Tensor, drawn: Tensor) -> tuple[float, float]:
    grams, values = [metrics.centred_gram(x) for x in (features, base)], []
    for inside in drawn:
        rows = inside.nonzero().flatten()
        parts = []
        for gram in grams:
            part = gram.index_select(0, rows).index_select(1, rows)
            parts.append(part - part.mean(0) - part.mean(1, keepdim=True) + part.mean())
        values.append(metrics.gram_alignment(*parts))
    return metrics.percentile_interval(torch.stack(values))


def _principal(mean: np.ndarray) -> np.ndarray:
    """The first two principal components, their signs such that the largest entry of each axis is positive."""
    centred = mean - mean.mean(0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(vt[range(2), np.abs(vt[:2]).argmax(1)])
    return u[:, :2] * s[:2] * signs
