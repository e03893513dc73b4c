"""Representational similarity analysis: a model's similarities of pairs of objects beside those of groups of people.

As in rsatoolbox: the Spearman correlation of a model's similarities with those of each group of people, averaged;
the noise ceiling is what the mean of the other groups (lower) and of all groups (upper) reaches. People are put into
groups because one person judges too few pairs. Intervals allow for pairs that share an object.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet.intervals import Units, spearman_influence

UNKNOWN = (float("nan"), float("nan"))
FEWEST = 3  # pairs that make a correlation


@dataclass(frozen=True)
class Benchmark:
    """People's similarities of pairs of objects: pairs (2, n), first below second; people (groups, n), none NaN."""

    pairs: Tensor
    people: Tensor
    note: str = ""


def grouped(by_group: Callable[[int], Tensor], people: int, rater_groups: int) -> Benchmark:
    """The pairs that every group of people judged; all people as one group where groups share too few pairs.

    Args: by_group: number of groups -> their similarities (groups, n, n), NaN where unknown; people: how many.
    """
    groups = max(1, min(rater_groups, people))
    for count in (groups, 1):
        matrix = by_group(count)
        pairs = torch.triu_indices(matrix.shape[1], matrix.shape[1], 1)
        values = matrix[:, pairs[0], pairs[1]]
        known = ~values.isnan().any(0)
        if known.sum() >= FEWEST:
            break
    note = "" if count > 1 else "no noise ceiling: one person or group"
    return Benchmark(pairs[:, known], values[:, known], note)


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


def rsa_over_groups(model: Tensor, people: Tensor) -> tuple[float, Tensor]:
    """Mean over groups of people of the Spearman correlation with a model's similarities, and its influence, (n,).

    Args: model: (n,) similarities of n pairs; people: (groups, n). Source: rsatoolbox, eval_fixed.
    """
    scores = [spearman_influence(model, group) for group in people]
    return float(np.mean([value for value, _ in scores])), torch.stack([of_pairs for _, of_pairs in scores]).mean(0)


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


def rsa_rows(names: dict, benchmark: Benchmark, models: dict) -> list[dict]:
    """Rows of similarity.csv; models: (student, target) -> similarities (n, n) of the benchmark's objects."""
    n = benchmark.pairs.shape[1]
    if n < FEWEST:
        return [names | {"note": f"people judged fewer than {FEWEST} pairs"}]
    units = Units(benchmark.pairs.T)
    low, high = rsa_noise_ceiling(benchmark.people)
    common = {"noise_ceiling": low, "noise_ceiling_low": low, "noise_ceiling_high": high, "n": n}
    scores = []
    for (student, target), matrix in models.items():
        value, influence = rsa_over_groups(matrix[benchmark.pairs[0], benchmark.pairs[1]], benchmark.people)
        low, high = units.interval(value, influence)
        row = {"student": student, "target": target, "value": value, "ci_low": low, "ci_high": high}
        scores.append(names | row | {"note": benchmark.note} | common)
    return scores
