"""Other human similarity judgements: held-out triplets, and RSA with matrices of choices, of ratings and of others.

RSA as in rsatoolbox: the Spearman correlation of a model's similarities with those of each group of people, averaged;
the noise ceiling is what the mean of the other groups (lower) and of all groups (upper) reaches. People are put into
groups because one person judges too few pairs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet import metrics
from alignet.config import ROOT, Backbone, Features, Similarity
from alignet.evaluation.human_choices import group_choices, human_agreement
from alignet.metrics import unit_vectors
from alignet.models import activations
from alignet.models.activations import Layers
from alignet.triplets import odd_one_out, pair_similarities
from alignet.worlds.format.schema import LEVELS
from alignet.worlds.format.tables import TRIPLET, World
from alignet.worlds.readers import matrices

COLUMNS = ["student", "target", "benchmark", "metric", "value", "ci_low", "ci_high", "ci_unit"]
COLUMNS += ["noise_ceiling", "noise_ceiling_low", "noise_ceiling_high", "n", "choices", "note"]
UNKNOWN = (float("nan"), float("nan"))
FEWEST = 3  # pairs that make a correlation


@dataclass(frozen=True)
class Benchmark:
    """People's similarities of pairs of objects: pairs (2, n), first below second; people (groups, n), none NaN."""

    pairs: Tensor
    people: Tensor
    note: str = ""


def held_out(world: World) -> tuple[pd.DataFrame, Tensor]:
    """Human triplets kept from all fitting (split 'test' of triplets.csv), and their pictures' rows in images.csv."""
    table = world.triplets[world.triplets["split"] == "test"] if "split" in world.triplets else world.triplets[:0]
    return table, shown_rows(world, table)


def held_out_features(
    data: Path, world: World, backbones: dict[str, Backbone], targets: list[str], settings: Features
) -> Layers:
    """The pictures of `held_out` through every student, before and after: 'pooled'; nothing where there are none."""
    _, rows = held_out(world)
    if not len(rows):
        return {}
    return activations.forward(activations.load(data, backbones, targets), world.paths(rows), settings)


def shown_rows(world: World, table: pd.DataFrame) -> Tensor:
    """Rows of images.csv of the pictures that a table of choices or ratings shows, (n,), ascending."""
    columns = [column for column in TRIPLET if column in table]
    return torch.from_numpy(np.flatnonzero(world.images["image"].isin(np.unique(table[columns].to_numpy()))))


def similarity(world: World, human: Layers, test: Layers, settings: Similarity) -> pd.DataFrame:
    """One row per student, target and benchmark: the columns of similarity.csv, 95 % bootstrap intervals.

    Benchmarks: odd-one-out accuracy on held-out triplets (over triplets); RSA (over concepts) with the choice
    probabilities of these triplets and of each level of levels.csv, whose levels are kept apart because how often a
    pair is left together depends on what it is shown with; RSA with ratings.csv (over pairs) and with the matrices
    named in the settings. What the world does not have is a row without a value and with a note.

    Args: human, test: features ('pooled') of the pictures of `held_out` and of the test split.
    """
    table, rows = held_out(world)
    parts = [_triplet_accuracy(world, table, rows, human, settings)]
    parts.append(_choice_rsa("held-out triplets", world, table, rows, human, settings))
    for level in LEVELS if world.levels is not None else ("all",):
        chosen = None if world.levels is None else world.levels[world.levels["level"] == level]
        parts.append(_choice_rsa(f"levels.csv, {level}", world, chosen, world.rows("test"), test, settings))
    parts.append(_rating_rsa(world, test, settings))
    parts += [_matrix_rsa(world, matrix, test, settings) for matrix in settings.matrices]
    scores = pd.DataFrame([row for part in parts for row in part]).reindex(columns=COLUMNS)
    return scores.assign(n=scores["n"].fillna(0).astype(int), note=scores["note"].fillna(""), choices=world.choices)


def concept_features(features: Tensor, world: World, rows: Tensor) -> tuple[Tensor, pd.DataFrame]:
    """Mean feature of each concept (finest label), ordered by the hierarchy from coarse to fine.

    Args: features: (n, dim) of the pictures `rows` of images.csv, (n,).
    Returns: (k, dim) and k rows of labels, finest column first, with the index 0 to k - 1.
    """
    finest, labels = world.hierarchy[0], world.images.iloc[rows.tolist()][list(world.hierarchy)]
    names = labels.drop_duplicates(finest).sort_values(list(world.hierarchy[::-1])).reset_index(drop=True)
    group = torch.tensor(names.reset_index().set_index(finest)["index"].loc[labels[finest]].to_numpy())
    sums = torch.zeros(len(names), features.shape[1]).index_add_(0, group, features)
    return sums / torch.bincount(group, minlength=len(names))[:, None], names


def cosine(features: Tensor) -> Tensor:
    """Centred cosine similarity of all pairs, (n, n) float64 in [-1, 1]."""
    unit = unit_vectors(features.double(), centred=True)
    return unit @ unit.T


def rdms(world: World, test: Layers) -> tuple[dict[tuple[str, str], Tensor], pd.DataFrame]:
    """1 - centred cosine similarity between the test concepts, (k, k) by (student, target), and their k labels.

    Concepts stand in the order of the hierarchy, coarse to fine.
    """
    rows, matrices_of = world.rows("test"), {}
    for key, layers in test.items():
        means, labels = concept_features(layers["pooled"], world, rows)
        matrices_of[key] = 1 - cosine(means)
    return matrices_of, labels


def choice_matrices(triplets: Tensor, odd: Tensor, group: Tensor, n: int, groups: int) -> Tensor:
    """How often a pair of objects was left together when it was shown, for each group of choices.

    Args: triplets: (m, 3) object numbers below n; odd: (m,) position of the chosen one; group: (m,) below `groups`.
    Returns: (groups, n, n) in [0, 1], symmetric; NaN where a pair was not shown, and on the diagonal.
    """
    shown, together = torch.zeros(2, groups * n * n, dtype=torch.float64)
    for item, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):
        for first, second in ((a, b), (b, a)):
            place = (group * n + triplets[:, first]) * n + triplets[:, second]
            shown.index_add_(0, place, torch.ones(len(place)).double())
            together.index_add_(0, place, (odd == item).double())
    shares = (together / shown).view(groups, n, n)  # 0 / 0 is NaN: not shown
    shares[:, range(n), range(n)] = torch.nan
    return shares


def people_groups(participants: pd.Series, groups: int) -> Tensor:
    """A group for each row, (m,) in [0, groups): of one person always the same, of all people about as many in each."""
    return torch.from_numpy(pd.factorize(participants, sort=True)[0]) % groups


def rsa_over_groups(model: Tensor, people: Tensor) -> float:
    """Mean over groups of people of the Spearman correlation with a model's similarities, in [-1, 1].

    Args: model: (n,) similarities of n pairs; people: (groups, n). Source: rsatoolbox, eval_fixed.
    """
    return float(np.mean([metrics.spearman(model, group) for group in people]))


def rsa_over_groups_interval(model: Tensor, people: Tensor, weights: Tensor) -> tuple[float, float]:
    """95 % bootstrap interval of `rsa_over_groups`; weights: (resamples, n) of pairs, ranked anew in each resample.

    Equal, resample by resample, to rsatoolbox on the same draw of objects (tests/test_similarity.py). Ours because most
    pairs were never judged: rsatoolbox carries them as NaN, which takes five times as long (0.9 s against 5 s for 500
    resamples of 4,288 pairs among 280 concepts), and it cannot resample rated pairs.
    """
    samples = torch.stack([metrics.spearman_samples(model, group, weights) for group in people])
    return metrics.percentile_interval(samples.mean(0))


def rsa_noise_ceiling(people: Tensor) -> tuple[float, float]:
    """Lower and upper noise ceiling of `rsa_over_groups`, by rsatoolbox (boot_noise_ceiling); NaN for a single group.

    Args: people: (groups, n) similarities of n pairs, none NaN.
    """
    if len(people) < 2:
        return UNKNOWN
    from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
    from rsatoolbox.rdm import RDMs

    n = len(people[0])
    objects = int((1 + (1 + 8 * n) ** 0.5) // 2)  # rsatoolbox wants all pairs of some objects: the rest is NaN
    objects += objects * (objects - 1) // 2 < n
    vectors = np.full((len(people), objects * (objects - 1) // 2), np.nan)
    vectors[:, :n] = -people.numpy()
    low, high = boot_noise_ceiling(RDMs(vectors), method="spearman")
    return float(low), float(high)


def _triplet_accuracy(
    world: World, table: pd.DataFrame, rows: Tensor, human: Layers, settings: Similarity
) -> list[dict]:
    names = {"benchmark": "held-out triplets", "metric": "odd_one_out_accuracy", "ci_unit": "triplets"}
    if table.empty:
        return [names | {"note": "triplets.csv has no rows of split 'test'"}]
    shown, odd = world.choice_rows(table)
    judged = group_choices("all", _position(world, rows)[shown], odd, table)
    counts, ceiling = judged.counts(), human_agreement(judged)
    people = counts.sum(1)
    drawn = metrics.resample_weights(len(counts), settings.bootstrap, _generator(settings))
    low, high = metrics.bootstrap_interval(ceiling, people, drawn)
    common = {"noise_ceiling": _mean(ceiling, people), "noise_ceiling_low": low, "noise_ceiling_high": high}
    scores = []
    for (student, target), layers in human.items():
        unit = unit_vectors(layers["pooled"], centred=True)
        agrees = metrics.agreement(odd_one_out(pair_similarities(unit[judged.triplets])), counts)
        low, high = metrics.bootstrap_interval(agrees, people, drawn)
        row = {"student": student, "target": target, "value": _mean(agrees, people), "ci_low": low, "ci_high": high}
        scores.append(names | row | common | {"n": len(counts)})
    return scores


def _choice_rsa(
    name: str, world: World, table: pd.DataFrame | None, rows: Tensor, found: Layers, settings: Similarity
) -> list[dict]:
    names = {"benchmark": f"choice probabilities, {name}", "metric": "rsa_spearman", "ci_unit": "concepts"}
    if table is None or table.empty:
        return [names | {"note": "the world has no such choices"}]
    used = torch.isin(rows, shown_rows(world, table))
    means = {key: concept_features(layers["pooled"][used], world, rows[used]) for key, layers in found.items()}
    labels = next(iter(means.values()))[1][world.hierarchy[0]]
    shown, odd = world.choice_rows(table)
    code = pd.Series(range(len(labels)), index=labels).reindex(world.images[world.hierarchy[0]]).fillna(-1)
    concepts = torch.tensor(code.to_numpy(int))[shown]
    different = (concepts.sort(1).values.diff(dim=1) > 0).all(1)
    concepts, odd, people = concepts[different], odd[different], table["participant"][different.numpy()]

    def by_group(groups: int) -> Tensor:
        return choice_matrices(concepts, odd, people_groups(people, groups), len(labels), groups)

    benchmark = grouped(by_group, people.nunique(), settings)
    return _rsa_rows(names, benchmark, {key: cosine(features) for key, (features, _) in means.items()}, settings)


def _rating_rsa(world: World, test: Layers, settings: Similarity) -> list[dict]:
    names = {"benchmark": "ratings.csv", "metric": "rsa_spearman", "ci_unit": "pairs"}
    if world.ratings is None:
        return [names | {"note": "the world has no ratings.csv"}]
    place = torch.stack([_test_number(world, world.ratings[column]) for column in TRIPLET[:2]])
    known = (place >= 0).all(0)
    pictures, ends = place[:, known].sort(0).values.unique(return_inverse=True)
    ratings, n = world.ratings[known.numpy()], len(pictures)
    values = torch.tensor(pd.to_numeric(ratings["rating"]).to_numpy(float))

    def by_group(groups: int) -> Tensor:
        cell = (people_groups(ratings["participant"], groups) * n + ends[0]) * n + ends[1]
        sums = torch.bincount(cell, values, minlength=groups * n * n)
        return (sums / torch.bincount(cell, minlength=groups * n * n)).view(groups, n, n)

    units = {key: unit_vectors(layers["pooled"].double(), centred=True)[pictures] for key, layers in test.items()}
    benchmark = grouped(by_group, ratings["participant"].nunique(), settings)
    return _rsa_rows(names, benchmark, {key: unit @ unit.T for key, unit in units.items()}, settings)


def _matrix_rsa(world: World, matrix: Mapping[Any, str], test: Layers, settings: Similarity) -> list[dict]:
    values, named = matrices.read(ROOT, matrix)
    names = {"benchmark": matrix["name"], "metric": "rsa_spearman", "ci_unit": "concepts"}
    means = {key: concept_features(layers["pooled"], world, world.rows("test")) for key, layers in test.items()}
    labels = next(iter(means.values()))[1][world.hierarchy[0]].astype(str)
    place = pd.Index(named).get_indexer(labels)
    known = torch.from_numpy(np.flatnonzero(place >= 0))
    if len(known) < FEWEST:
        return [
            names | {"note": f"{matrix['file']}: names fewer than {FEWEST} {world.hierarchy[0]}s of the test split"}
        ]
    order = torch.from_numpy(place[place >= 0])
    people = values[order[:, None], order][None]
    models = {key: cosine(features)[known[:, None], known] for key, (features, _) in means.items()}
    return _rsa_rows(names, grouped(lambda groups: people, 1, settings), models, settings)


def grouped(by_group: Callable[[int], Tensor], people: int, settings: Similarity) -> Benchmark:
    """The pairs that every group of people judged; all people as one group where groups share too few pairs.

    Args: by_group: number of groups -> their similarities (groups, n, n), NaN where unknown; people: how many.
    """
    groups = max(1, min(settings.rater_groups, people))
    for count in (groups, 1):
        matrix = by_group(count)
        pairs = torch.triu_indices(matrix.shape[1], matrix.shape[1], 1)
        values = matrix[:, pairs[0], pairs[1]]
        known = ~values.isnan().any(0)
        if known.sum() >= FEWEST:
            break
    note = "" if count > 1 else "no noise ceiling: one person or group"
    return Benchmark(pairs[:, known], values[:, known], note)


def _rsa_rows(names: dict, benchmark: Benchmark, models: dict, settings: Similarity) -> list[dict]:
    """Rows of similarity.csv; models: (student, target) -> similarities (n, n) of the benchmark's objects."""
    n = benchmark.pairs.shape[1]
    if n < FEWEST:
        return [names | {"note": f"people judged fewer than {FEWEST} pairs"}]
    objects = len(next(iter(models.values())))
    units = objects if names["ci_unit"] == "concepts" else n
    weights = metrics.resample_weights(units, settings.bootstrap, _generator(settings))
    weights = metrics.pair_weights(weights, benchmark.pairs) if names["ci_unit"] == "concepts" else weights
    low, high = rsa_noise_ceiling(benchmark.people)
    common = {"noise_ceiling": low, "noise_ceiling_low": low, "noise_ceiling_high": high, "n": n}
    scores = []
    for (student, target), matrix in models.items():
        model = matrix[benchmark.pairs[0], benchmark.pairs[1]]
        low, high = rsa_over_groups_interval(model, benchmark.people, weights)
        row = {"student": student, "target": target, "value": rsa_over_groups(model, benchmark.people)}
        scores.append(names | row | {"ci_low": low, "ci_high": high, "note": benchmark.note} | common)
    return scores


def _test_number(world: World, images: pd.Series) -> Tensor:
    """Numbers of pictures among those of the test split, -1 for others: (m,)."""
    test = pd.Index(world.images["image"].iloc[world.rows("test").tolist()])
    return torch.from_numpy(test.get_indexer(images))


def _position(world: World, rows: Tensor) -> Tensor:
    position = torch.full((len(world.images),), -1)
    position[rows] = torch.arange(len(rows))
    return position


def _mean(values: Tensor, weights: Tensor) -> float:
    return float(metrics.weighted_means(values, weights, torch.ones(1, len(values)).double()))


def _generator(settings: Similarity) -> torch.Generator:
    return torch.Generator().manual_seed(settings.seed)
