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
PART = 1 << 23  # numbers of a part of a large computation: 64 MB in double precision
DENSE = 64  # pairs an object, from which on it takes less time to compute all pairs of objects
Pairs = tuple[Tensor, Tensor]  # pairs (2, n), first below second, and their similarities (groups, n), NaN where unknown


@dataclass(frozen=True)
class Benchmark:
    """People's similarities of pairs of objects: pairs (2, n), first below second; people (groups, n), none NaN."""

    pairs: Tensor
    people: Tensor
    note: str = ""


def grouped(by_group: Callable[[int], Pairs], people: int, rater_groups: int) -> Benchmark:
    """The pairs that every group of people judged; all people as one group where groups share too few pairs.

    Args: by_group: number of groups -> `Pairs`; people: how many.
    """
    groups = max(1, min(rater_groups, people))
    for count in (groups, 1):
        pairs, values = by_group(count)
        known = ~values.isnan().any(0)
        if known.sum() >= FEWEST:
            break
    note = "" if count > 1 else "no noise ceiling: one person or group"
    return Benchmark(pairs[:, known], values[:, known], note)


def choice_shares(triplets: Tensor, odd: Tensor, group: Tensor, groups: int) -> Pairs:
    """How often a pair of objects was left together when it was shown, in [0, 1], for each group of choices.

    Args: triplets: (m, 3) object numbers; odd: (m,) position of the chosen one; group: (m,) below `groups`.
    """
    ends = torch.cat([triplets[:, pair] for pair in ((1, 2), (0, 2), (0, 1))]).T
    together = torch.cat([odd == item for item in range(3)]).double()
    return pair_means(ends, together, group.repeat(3), groups)


def pair_means(ends: Tensor, values: Tensor, group: Tensor, groups: int) -> Pairs:
    """Mean value of each pair of objects within each group of rows. Memory grows with the rows, whatever the objects.

    Args: ends: (2, m) objects, in whatever order; values: (m,) float64; group: (m,) below `groups`.
    """
    low, high = ends.amin(0), ends.amax(0)
    objects = int(high.max()) + 1 if len(high) else 1
    code, pair = (low * objects + high)[low < high].unique(return_inverse=True)
    cell = group[low < high] * len(code) + pair
    sums = torch.bincount(cell, values[low < high], minlength=groups * len(code))
    means = sums / torch.bincount(cell, minlength=groups * len(code))  # 0 / 0 is NaN: not judged
    return torch.stack([code // objects, code % objects]), means.view(groups, len(code))


def dot_products(rows: Tensor, pairs: Tensor) -> Tensor:
    """Dot products of pairs of rows, (m,), computed in parts of at most PART numbers.

    Args: rows: (n, dim); pairs: (2, m).
    """
    n, dim = rows.shape
    first, second = pairs
    found = torch.empty(len(first), dtype=rows.dtype)
    if len(first) < DENSE * n:
        size = max(1, PART // dim)
        for some, one, other in zip(found.split(size), first.split(size), second.split(size), strict=True):
            some.copy_((rows[one] * rows[other]).sum(1))
        return found
    size = max(1, PART // n)
    for start in range(0, n, size):
        inside = (first >= start) & (first < start + size)
        found[inside] = (rows[start : start + size] @ rows.T)[first[inside] - start, second[inside]]
    return found


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
    """Rows of similarity.csv. Args: models: (student, target) -> vectors of the benchmark's objects, (objects, dim),
    whose dot products are their similarities."""
    n = benchmark.pairs.shape[1]
    if n < FEWEST:
        return [names | {"note": f"people judged fewer than {FEWEST} pairs"}]
    units = Units(benchmark.pairs.T)
    low, high = rsa_noise_ceiling(benchmark.people)
    common = {"noise_ceiling": low, "noise_ceiling_low": low, "noise_ceiling_high": high, "n": n}
    scores = []
    for (student, target), rows in models.items():
        value, influence = rsa_over_groups(dot_products(rows, benchmark.pairs), benchmark.people)
        low, high = units.interval(value, influence)
        row = {"student": student, "target": target, "value": value, "ci_low": low, "ci_high": high}
        scores.append(names | row | {"note": benchmark.note} | common)
    return scores
