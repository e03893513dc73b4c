"""Representational similarity analysis (RSA) of models' and people's similarities of pairs of objects.

As in rsatoolbox, a score is the Spearman correlation of a model's similarities with those of each group of people,
averaged over groups. The noise ceiling is the score of the mean of the other groups (lower bound) and of the mean of
all groups (upper bound). People are grouped because one person judges too few pairs. Intervals allow for pairs that
share an object.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet.evaluation import influences
from alignet.maths.intervals import Units, spearman_influence

UNKNOWN = (float("nan"), float("nan"))
FEWEST = 3  # pairs that make a correlation
COMMON = 0.5  # share of the pairs that all groups of people must have judged, or most of what they said is lost
PART = 1 << 23  # numbers of a part of a large computation: 64 MB in double precision
DENSE = 64  # pairs an object, from which on it takes less time to compute all pairs of objects
Pairs = tuple[Tensor, Tensor]  # pairs (2, n), first below second, and their similarities (groups, n), NaN where unknown


@dataclass(frozen=True)
class Benchmark:
    """People's similarities of pairs of objects. pairs: (2, n), first below second; people: (groups, n), no NaN."""

    pairs: Tensor
    people: Tensor
    note: str = ""


def grouped(by_group: Callable[[int], Pairs], people: int, rater_groups: int) -> Benchmark:
    """The pairs that every group of people judged.

    If they are less than the share COMMON of all pairs, all people are one group.

    Args: by_group: number of groups -> `Pairs`; people: number of people.
    """
    groups = max(1, min(rater_groups, people))
    for count in (groups, 1):
        pairs, values = by_group(count)
        known = ~values.isnan().any(0)
        if known.sum() >= max(FEWEST, COMMON * len(known)):
            break
    note = "" if count > 1 else "no noise ceiling: one person or group"
    return Benchmark(pairs[:, known], values[:, known], note)


def choice_shares(triplets: Tensor, odd: Tensor, group: Tensor, groups: int, weights: Tensor | None = None) -> Pairs:
    """The share of showings, in [0, 1], after which a pair of objects was left together, for each group of choices.

    Args: triplets: (m, 3) object numbers; odd: (m,) position of the chosen one; group: (m,) below `groups`; weights:
        (m,) of the choices, None: all weights are equal.

    Example:

    >>> import torch
    >>> from alignet.evaluation import rsa
    >>> triplets, odd = torch.tensor([[0, 1, 2], [0, 1, 3]]), torch.tensor([2, 0])
    >>> pairs, shares = rsa.choice_shares(triplets, odd, torch.zeros(2, dtype=torch.int64), groups=1)[:2]
    >>> pairs.T.tolist(), shares.tolist()
    ([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3]], [[0.5, 0.0, 0.0, 0.0, 1.0]])
    """
    ends = torch.cat([triplets[:, pair] for pair in ((1, 2), (0, 2), (0, 1))]).T
    together = torch.cat([odd == item for item in range(3)]).double()
    return pair_means(ends, together, group.repeat(3), groups, None if weights is None else weights.repeat(3))


def pair_means(ends: Tensor, values: Tensor, group: Tensor, groups: int, weights: Tensor | None = None) -> Pairs:
    """The mean value of each pair of objects within each group of rows.

    Memory grows with the number of rows, not of objects.

    Args: ends: (2, m) objects, in any order; values: (m,) float64; group: (m,) below `groups`; weights: (m,) float64,
        None: all weights are equal.
    """
    weights = torch.ones(len(values), dtype=torch.float64) if weights is None else weights
    low, high = ends.amin(0), ends.amax(0)
    objects = int(high.max()) + 1 if len(high) else 1
    code, pair = (low * objects + high)[low < high].unique(return_inverse=True)
    cell = group[low < high] * len(code) + pair
    sums = torch.bincount(cell, (values * weights)[low < high], minlength=groups * len(code))
    means = sums / torch.bincount(cell, weights[low < high], minlength=groups * len(code))  # 0 / 0 is NaN: not judged
    means = means.round(decimals=12)  # equal shares of weights that differ in their last bits are tied in ranks
    return torch.stack([code // objects, code % objects]), means.view(groups, len(code))


def dot_products(rows: Tensor, pairs: Tensor) -> Tensor:
    """Dot products of pairs of rows, (m,), computed in parts of at most PART numbers.

    Args: rows: (n, dim); pairs: (2, m).
    """
    n, dim = rows.shape
    first, second = pairs
    products = torch.empty(len(first), dtype=rows.dtype)
    if len(first) < DENSE * n:
        size = max(1, PART // dim)
        for some, one, other in zip(products.split(size), first.split(size), second.split(size), strict=True):
            some.copy_((rows[one] * rows[other]).sum(1))
        return products
    size = max(1, PART // n)
    for start in range(0, n, size):
        inside = (first >= start) & (first < start + size)
        products[inside] = (rows[start : start + size] @ rows.T)[first[inside] - start, second[inside]]
    return products


def people_groups(participants: pd.Series, groups: int) -> Tensor:
    """A group for each row, (m,) in [0, groups): a person is always in one group, and groups hold about equally many
    people.
    """
    return torch.from_numpy(pd.factorize(participants, sort=True)[0]) % groups


def rsa_over_groups(model: Tensor, people: Tensor) -> tuple[float, Tensor]:
    """The mean over groups of people of the Spearman correlation with a model's similarities, and its influence, (n,).

    Args: model: (n,) similarities of n pairs; people: (groups, n). Source: rsatoolbox, eval_fixed.

    Example:

    >>> import torch
    >>> from alignet.evaluation import rsa
    >>> people = torch.tensor([[1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 3.0, 4.0]])  # two groups, four pairs of objects
    >>> round(rsa.rsa_over_groups(torch.tensor([1.0, 2.0, 3.0, 4.0]), people)[0], 3)  # the mean of 1 and .8
    0.9
    """
    scores = [spearman_influence(model, group) for group in people]
    return float(np.mean([value for value, _ in scores])), torch.stack([of_pairs for _, of_pairs in scores]).mean(0)


def rsa_noise_ceiling(people: Tensor) -> tuple[float, float]:
    """The lower and upper noise ceiling of `rsa_over_groups`, by rsatoolbox (boot_noise_ceiling); NaN for a single
    group.

    Args: people: (groups, n) similarities of n pairs, without NaN.
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


def rsa_rows(names: dict, benchmark: Benchmark, models: dict, centred: dict | None = None) -> list[dict]:
    """The rows that `with_influences` returns."""
    return with_influences(names, benchmark, models, centred)[0]


def with_influences(
    names: dict, benchmark: Benchmark, models: dict, centred: dict | None = None
) -> tuple[list[dict], list[pd.DataFrame]]:
    """Rows of similarity.csv, and the benchmark's block of `influences`, if there is one.

    Args: models: (student, target) -> vectors of the benchmark's objects, (objects, dim), whose dot products are their
        similarities; centred: the same for centred features, whose scores are in further columns, None: without these.
    """
    n, units = benchmark.pairs.shape[1], Units(benchmark.pairs.T)
    if n < FEWEST:
        return [names | {"note": f"people judged fewer than {FEWEST} pairs"}], []
    low, high = rsa_noise_ceiling(benchmark.people)
    common = {"noise_ceiling": low, "noise_ceiling_low": low, "noise_ceiling_high": high, "n": n}
    scores = _scores(benchmark, models)
    rows = influences.compared(scores, units)
    if centred is not None:
        rows = influences.beside_centred(rows, influences.compared(_scores(benchmark, centred), units))
    block = influences.block(names["benchmark"], names["metric"], units, scores)
    return [names | row | common | {"note": benchmark.note} for row in rows], [block]


def _scores(benchmark: Benchmark, models: dict) -> dict[tuple[str, str], influences.Score]:
    return {key: rsa_over_groups(dot_products(rows, benchmark.pairs), benchmark.people) for key, rows in models.items()}
