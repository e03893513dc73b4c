"""Changes that alignment makes inside a model, by layer: distances by hierarchy, RSA, CKA, maps and neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA
from torch import Tensor

from alignet.config import Reorganisation
from alignet.maths import intervals, metrics
from alignet.maths.intervals import Units, mean_influence, spearman_influence
from alignet.maths.metrics import unit_vectors
from alignet.models.activations import Layers
from alignet.worlds.format.tables import World

MOST = 2000  # pictures that are compared, two million pairs of them; the paper's 1,000 concepts have two each


def sample(world: World, settings: Reorganisation) -> Tensor:
    """Rows of images.csv: the first pictures of each concept of the test split, as many as the settings say.

    If these are more than MOST, evenly spread concepts are taken.
    """
    test = world.rows("test")
    concepts = world.images.iloc[test.tolist()].groupby(world.hierarchy[0], sort=False)
    number, turn = concepts.ngroup().to_numpy(), concepts.cumcount().to_numpy()
    wanted = min(concepts.ngroups, max(1, MOST // settings.pictures_per_concept))
    chosen = np.linspace(0, concepts.ngroups - 1, wanted).round().astype(int)
    kept = (turn < settings.pictures_per_concept) & np.isin(number, chosen)
    return test[torch.from_numpy(np.flatnonzero(kept))]


def relations(world: World, rows: Tensor) -> tuple[Tensor, list[str]]:
    """The lowest common level of every pair of pictures.

    Returns: (n, n) numbers, from 0 for the same finest label to len(hierarchy) for unrelated pictures; and their names.
    """
    lowest = torch.full((len(rows), len(rows)), len(world.hierarchy))
    for level, label in reversed([*enumerate(world.hierarchy)]):  # the finest last
        code = world.codes(label)[rows]
        lowest[code[:, None] == code] = level
    return lowest, [*(f"same {label}" for label in world.hierarchy), "unrelated"]


def distances(features: Tensor) -> Tensor:
    """Distances of all pairs, 1 - centred cosine similarity, (n, n) float64 in [0, 2].

    Example:

    >>> import torch
    >>> from alignet.evaluation.reorganisation import distances
    >>> between = distances(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    >>> round(between[0, 1].item(), 3), round(between[0, 2].item(), 3)  # opposite, and at a right angle
    (2.0, 1.0)
    """
    unit = unit_vectors(features.double(), centred=True)
    return 1 - unit @ unit.T


def reorganisation(world: World, rows: Tensor, layers: Layers) -> pd.DataFrame:
    """Change of distance by lowest common level, and RSA to the hierarchy, for each layer and target.

    change: mean over pairs of the distance after minus the distance before, in standard deviations of the base's
    distances in that layer, 0 for the base by definition; effect_size: mean change divided by its standard deviation
    (Cohen's d_z); rsa: Spearman's correlation of the distance with the lowest common level over all pairs, the same for
    every relation of a layer. Intervals are 95 %, over pairs that share concepts.

    Args: rows: (n,) of images.csv; layers: features of their pictures, of the same layers before and after.
    Source: the paper, Results, 'reorganisation' (Eq. 14 of docs/method.md).
    """
    pairs, table = _pairs(world, rows), []
    for (student, target), found in layers.items():
        for depth, (layer, features) in enumerate(found.items()):
            after, before = (metrics.upper_triangle(distances(x)) for x in (features, layers[student, "base"][layer]))
            rsa = _score("rsa", "rsa", *spearman_influence(after, pairs.relation.double()), pairs.units)
            place = {"student": student, "target": target, "layer": layer, "depth": depth}
            for row in _by_relation(pairs, (after - before) / before.std()):
                table.append(place | row | rsa)
    return pd.DataFrame(table).assign(ci_unit="pairs that share concepts", choices=world.choices)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of pictures above the diagonal.

    relation: (pairs,) number of the lowest common level in `names`; concepts: (pairs, 2) numbers of the pictures'
    concepts.
    """

    relation: Tensor
    concepts: Tensor
    names: list[str]

    @cached_property
    def units(self) -> Units:
        return Units(self.concepts)

    @cached_property
    def of_relation(self) -> dict[int, tuple[Tensor, Units]]:
        """The pairs of each relation, (n,) numbers, and these pairs as units of intervals."""
        rows = {number: (self.relation == number).nonzero().flatten() for number in self.relation.unique().tolist()}
        return {number: (some, Units(self.concepts[some])) for number, some in rows.items()}


def _pairs(world: World, rows: Tensor) -> _Pairs:
    lowest, names = relations(world, rows)
    concept = world.codes(world.hierarchy[0])[rows]
    first, second = torch.triu_indices(len(rows), len(rows), 1)
    return _Pairs(metrics.upper_triangle(lowest), torch.stack([concept[first], concept[second]], 1), names)


def _by_relation(pairs: _Pairs, change: Tensor) -> Iterator[dict]:
    for number, (some, units) in pairs.of_relation.items():
        values = change[some]
        mean, influence = mean_influence(values, torch.ones(len(values)))
        row = {"relation": pairs.names[number], **_score("change", "ci", mean, influence, units)}
        deviation = float(values.std()) if len(values) > 1 else float("nan")
        if deviation > 1e-9:
            # d_z = mean / sd; sd moves by (square - variance) / (2 sd n) with a unit
            of_deviation = ((values - mean).square() - deviation**2) / (2 * deviation * len(values))
            influence = influence / deviation - mean / deviation**2 * of_deviation
            row |= _score("effect_size", "effect_size", mean / deviation, influence, units)
        else:
            row |= dict.fromkeys(("effect_size", "effect_size_low", "effect_size_high"), float("nan"))
        yield row | {"n_pairs": len(values)}


def _score(name: str, interval: str, value: float, influence: Tensor, units: Units) -> dict[str, float]:
    low, high = units.interval(value, influence)
    return {name: value, f"{interval}_low": low, f"{interval}_high": high}


def tables_of(world: World, rows: Tensor, layers: Layers, settings: Reorganisation) -> tuple[pd.DataFrame, ...]:
    """The tables of `reorganisation`, `alignment`, `maps` and `neighbours` for the same pictures and layers."""
    others = (table(world, rows, layers, settings) for table in (alignment, maps, neighbours))
    return reorganisation(world, rows, layers), *others


def alignment(world: World, rows: Tensor, layers: Layers, settings: Reorganisation) -> pd.DataFrame:
    """CKA between every layer of the base and every layer of each model: cka.csv.

    The 95 % interval, for a layer with itself, is a bootstrap over concepts that leaves out repeats, since repeats by
    themselves raise CKA. So does a smaller sample; the interval is therefore shifted such that its median is the
    estimate.
    """
    table, drawn = [], _drawn(world, rows, settings)
    for (student, target), found in layers.items():
        before = {name: metrics.centred_gram(features) for name, features in layers[student, "base"].items()}
        for layer, features in found.items():
            gram = metrics.centred_gram(features)
            for base_layer, base_gram in before.items():
                names = {"student": student, "target": target, "layer": layer, "base_layer": base_layer}
                value, low, high = float(metrics.gram_alignment(gram, base_gram)), float("nan"), float("nan")
                if layer == base_layer and target != "base":
                    values = subset_cka(gram, base_gram, drawn)
                    low, high = intervals.percentile_interval(values - values.median() + value)
                table.append(names | {"cka": value, "ci_low": low, "ci_high": high, "ci_unit": "concepts"})
    return pd.DataFrame(table).assign(choices=world.choices)


def subset_cka(first: Tensor, second: Tensor, subsets: Tensor) -> Tensor:
    """CKA over subsets of the pictures, each of which is centred anew, (subsets,).

    Args: first, second: (n, n) Gram matrices, float64; subsets: (subsets, n) float64, 1 for the pictures in it, else 0.
    Source: HSIC of doubly centred Gram matrices, as in Kornblith et al. 2019, with the centring multiplied out.

    Example:

    >>> import torch
    >>> from alignet.evaluation.reorganisation import subset_cka
    >>> x = torch.tensor([[1.0], [2.0], [4.0], [7.0]], dtype=torch.float64)
    >>> every = torch.ones(1, 4, dtype=torch.float64)
    >>> round(subset_cka(x @ x.T, (3 * x) @ (3 * x).T, every).item(), 3)
    1.0
    """
    count = subsets.sum(1)
    sums = [(subsets @ gram) * subsets for gram in (first, second)]  # (subsets, n) row sums within each subset

    def hsic(one: int, other: int) -> Tensor:
        product = metrics.pair_sums((first, second)[one] * (first, second)[other], subsets)
        cross = (sums[one] * sums[other]).sum(1)
        return product - 2 * cross / count + sums[one].sum(1) * sums[other].sum(1) / count**2

    return hsic(0, 1) / (hsic(0, 0) * hsic(1, 1)).sqrt()


def maps(world: World, rows: Tensor, layers: Layers, settings: Reorganisation) -> pd.DataFrame:
    """Two-dimensional maps of each concept's mean 'pooled' features.

    Each model's map is fitted by itself. Since the direction of a map means nothing, maps after alignment are moved,
    turned and mirrored as a whole, but not scaled, to lie best over the base's map. UMAP runs on one thread from a
    fixed seed, so that it can be repeated.

    Returns: student, target, method (PCA or UMAP), labels, x and y.

    Raises: ValueError if there are fewer than five concepts.
    """
    labels = world.images.iloc[rows.tolist()][list(world.hierarchy)].reset_index(drop=True)
    group, names = pd.factorize(labels[world.hierarchy[0]])
    if len(names) < 5:
        raise ValueError(f"images.csv, column {world.hierarchy[0]}: a map needs 5 test concepts, found {len(names)}")
    names, table = labels.drop_duplicates(world.hierarchy[0]).reset_index(drop=True), []
    of_base: dict[tuple[str, str], np.ndarray] = {}
    for (student, target), found in layers.items():
        mean = _mean_of_each(unit_vectors(found["pooled"].double(), centred=True), torch.from_numpy(group))
        for method, places in (("PCA", _principal(mean)), ("UMAP", _umap(mean, settings))):
            base = of_base.setdefault((student, method), places)  # the base comes first
            places = places if target == "base" else _superposed(places, base)
            place = {"student": student, "target": target, "method": method, "x": places[:, 0], "y": places[:, 1]}
            table.append(names.assign(**place))
    return pd.concat(table, ignore_index=True).assign(choices=world.choices)


def neighbours(world: World, rows: Tensor, layers: Layers, settings: Reorganisation) -> pd.DataFrame:
    """Nearest neighbours of example pictures among pictures of other concepts.

    Examples are evenly spread over the pictures.

    Returns: student, target, example, rank (0: the example itself), image, and relation: the lowest common level of the
        picture and its example.
    """
    lowest, names_of = relations(world, rows)
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
                relation = names_of[int(lowest[example, picture])]
                distance_to = float(distance[example, picture])
                table.append(names | {"image": images[picture], "relation": relation, "distance": distance_to})
    return pd.DataFrame(table).assign(choices=world.choices)


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


def _drawn(world: World, rows: Tensor, settings: Reorganisation) -> Tensor:
    """Whether each resample draws each picture's concept, (resamples, n) float64, 0 or 1."""
    concept = torch.from_numpy(pd.factorize(world.codes(world.hierarchy[0])[rows].numpy())[0])
    generator = torch.Generator().manual_seed(settings.seed)
    weights = intervals.resample_weights(int(concept.max()) + 1, settings.bootstrap, generator)
    return (weights[:, concept] > 0).double()


def _mean_of_each(features: Tensor, group: Tensor) -> np.ndarray:
    sums = torch.zeros(int(group.max()) + 1, features.shape[1], dtype=features.dtype).index_add_(0, group, features)
    return (sums / torch.bincount(group)[:, None]).numpy()


def _umap(mean: np.ndarray, settings: Reorganisation) -> np.ndarray:
    import umap  # compiles for seconds: only where it is used

    for compiled in (umap.umap_.smooth_knn_dist, umap.umap_.compute_membership_strengths):
        compiled.targetoptions["parallel"] = False  # n_jobs is 1: to compile for several threads takes 12 s more
    neighbours = min(settings.umap_neighbours, len(mean) - 1)
    fit = umap.UMAP(n_neighbors=neighbours, metric="cosine", random_state=settings.seed, n_jobs=1, init="pca")
    return fit.fit_transform(mean).astype(np.float64)


def _superposed(places: np.ndarray, base: np.ndarray) -> np.ndarray:
    """A map (n, 2), moved, turned and mirrored to the least squared distance from `base` (Procrustes, no scaling)."""
    middle, centred = base.mean(0), places - places.mean(0)
    turn, _ = orthogonal_procrustes(centred, base - middle)
    return centred @ turn + middle


def _principal(mean: np.ndarray) -> np.ndarray:
    """The first two principal components, with signs such that the largest entry of each axis is positive."""
    return PCA(2, svd_solver="full").fit_transform(mean)
