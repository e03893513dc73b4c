"""Intervals of scores over units that share objects: triplets of concepts, pairs of pictures.

The influence of a score, (n,), says how much each of n units moves it: the score minus its limit is close to the sum of
its influence. Two triplets that show a common concept are not independent, so the variance is the sum of the products
of influence over all pairs of units with a common object (dyadic-robust variance, Eq. 17 of docs/method.md). The
influence of a difference of two scores over the same units is the difference of their influences, so its interval is
paired. Where the units are independent draws, as episodes are, intervals are Student's t over the draws, of which there
may be as few as three. Section 10 of docs/method.md has the equations.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import pandas as pd
import torch
from torch import Tensor

from alignet.maths.metrics import ranks


@dataclass(frozen=True)
class Units:
    """Units, and the objects that each of them shows.

    objects: (n, k) numbers from 0, with k at most 3; a unit may show an object twice.

    Example:

    >>> import torch
    >>> from alignet.maths.intervals import Units, mean_influence
    >>> units = Units(torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6]]))  # the last one shares objects
    >>> mean, influence = mean_influence(torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.ones(4))
    >>> mean, units.freedom
    (0.75, 2.0)
    >>> low, high = units.interval(mean, influence)
    >>> low < mean < high
    True
    """

    objects: Tensor

    def interval(self, value: float, influence: Tensor) -> tuple[float, float]:
        """The 95 % interval of a score, by Student's t; NaN where there is no score or no standard error.

        The degrees of freedom are `freedom`, because sums over objects that are shown together are not independent.
        Over simulated triplets, such intervals contain the true score in 94 to 97 % of cases where concepts have an
        effect, and in more where they have little (docs/method.md, section 10).

        Args: score: the score; influence: (n,), 0 for units that do not count.
        """
        return t_interval(value, [(self.standard_error(influence) ** 2, self.freedom)])

    @cached_property
    def freedom(self) -> float:
        """Degrees of freedom of the standard error: the number of objects / the number in a unit - 1, at least 1."""
        return max(len(self.objects.unique()) / self.objects.shape[1] - 1, 1.0)

    def standard_error(self, influence: Tensor) -> float:
        """The dyadic-robust standard error of a score, divided by sqrt(1 - chi); NaN where chi is 1.

        chi is the share of all pairs of units that show a common object. Influences sum to 0, so the sum of products
        over those pairs is too small by the factor 1 - chi. If each unit shows one of m equally frequent objects, 1 /
        (1 - chi) is the usual m / (m - 1). The error is never below that of independent units, since in small samples
        the sum of products may even be negative.

        Args: influence: (n,), 0 for units that do not count.
        Source: Aronow, Samii and Assenova, Cluster-robust variance estimation for dyadic data, Political Analysis 2015,
            Eq. 3; for triplets by inclusion and exclusion as in Cameron, Gelbach and Miller, Robust inference with
            multiway clustering, JBES 2011, Eq. 2.13.
        """
        influence = influence.double()
        variance = torch.maximum(self._shared_products(influence), influence.square().sum())
        return float((variance / (1 - self._density)).sqrt()) if self._density < 1 - 1e-9 else float("nan")

    @cached_property
    def _density(self) -> float:
        """The share of all pairs of units that show a common object; NaN without units."""
        every = torch.ones(len(self.objects), dtype=torch.float64)
        return float(self._shared_products(every) / every.sum().square()) if len(every) else float("nan")

    def _shared_products(self, values: Tensor) -> Tensor:
        """The sum of v_i v_j over all pairs of units i, j that show a common object, i = j included."""
        squares = [sign * torch.bincount(group, values[unit]).square().sum() for sign, unit, group in self._subsets]
        return torch.stack([torch.zeros((), dtype=torch.float64), *squares]).sum()

    @cached_property
    def _subsets(self) -> list[tuple[int, Tensor, Tensor]]:
        """The terms of inclusion and exclusion over the subsets of each unit's distinct objects.

        Returns: for subsets of one, two and three objects, the sign, the unit, (m,), and the number of the subset,
            (m,). Two units with s common objects share s - C(s, 2) + C(s, 3) = 1 subset, signs counted.
        """
        ordered = self.objects.sort(1).values
        new = torch.ones_like(ordered, dtype=torch.bool)
        new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        subsets = []
        for size in range(1, ordered.shape[1] + 1):
            for columns in combinations(range(ordered.shape[1]), size):
                units = new[:, list(columns)].all(1).nonzero().flatten()
                subsets.append((size, units, ordered[units][:, list(columns)]))
        grouped = []
        for size in range(1, ordered.shape[1] + 1):
            of_size = [(units, members) for this, units, members in subsets if this == size]
            units, members = (torch.cat(part) for part in zip(*of_size, strict=True))
            if len(units):
                group = members.unique(dim=0, return_inverse=True)[1]
                grouped.append(((-1) ** (size + 1), units, group))
        return grouped


def t_interval(value: float, parts: list[tuple[float, float]]) -> tuple[float, float]:
    """The 95 % interval of a score whose variance is the sum of independent parts, by Student's t.

    Args: score: the score; parts: the variance and the degrees of freedom of each part (see `summed`).
    """
    from scipy.stats import t

    variance, freedom = summed(parts)
    reach = float(t.ppf(0.975, freedom)) * variance**0.5
    return value - reach, value + reach


def p_value(value: float, parts: list[tuple[float, float]]) -> float:
    """The two-sided p value of the hypothesis that a score is 0, by Student's t.

    It is below .05 exactly where the interval of `t_interval` leaves 0 out.
    """
    from scipy.stats import t

    variance, freedom = summed(parts)
    if variance == 0:
        return float(value == 0)
    return 2 * float(t.sf(abs(value) / variance**0.5, freedom))


def summed(parts: list[tuple[float, float]]) -> tuple[float, float]:
    """The variance and the degrees of freedom of a sum of independent parts.

    Args: parts: (variance, degrees of freedom) of each part.

    Source: Satterthwaite, An approximate distribution of estimates of variance components, Biometrics Bulletin 1946
        (Eq. 19 of docs/method.md).
    """
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / freedom for part, freedom in parts)
    return variance, variance**2 / spread if spread > 0 else max(freedom for _, freedom in parts)


def of_draws(values: Tensor) -> tuple[float, float]:
    """The variance of the mean of independent draws, (n,), and its degrees of freedom, n - 1: a part of `t_interval`.

    Both are NaN for fewer than two draws.

    Example:

    >>> import torch
    >>> from alignet.maths import intervals
    >>> accuracies = torch.tensor([0.50, 0.55, 0.60], dtype=torch.float64)  # three episodes
    >>> part = intervals.of_draws(accuracies)
    >>> low, high = intervals.t_interval(0.55, [part])
    >>> round(low, 3), round(high, 3)
    (0.426, 0.674)
    """
    n = len(values)
    return (float(values.double().var()) / n, n - 1) if n > 1 else (float("nan"), float("nan"))


def holm(p: list[float]) -> list[float]:
    """p values corrected for their number by Holm's method, in their order; NaN stands for no test and is kept.

    The chance that the corrected p value of any effect that does not exist falls below .05 is at most .05, whatever the
    other effects and the dependence between the tests.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979.

    Example:

    >>> from alignet.maths import intervals
    >>> [round(p, 2) for p in intervals.holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    known = sorted((value, place) for place, value in enumerate(p) if value == value)
    corrected, highest = [float("nan")] * len(p), 0.0
    for rank, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * value))
        corrected[place] = highest
    return corrected


def mean_influence(values: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """The weighted mean of values, and its influence, (n,); values that are NaN do not count.

    Args: values, weights: (n,).
    """
    weights = weights.double() * ~values.isnan()
    total = weights.sum()
    mean = (values.double().nan_to_num() * weights).sum() / total
    return float(mean), (weights * (values.double() - mean)).nan_to_num() / total


def spearman_influence(x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """Spearman's rank correlation of x and y, (n,) each, and its influence, (n,).

    The influence, Eq. 18 of docs/method.md, allows for the ranks being estimated. Units with a NaN do not count. For
    fewer than three units, or if x or y is constant, the correlation is NaN and the influence 0.
    """
    known = ~(x.isnan() | y.isnan())
    influence, shown = torch.zeros(len(x), dtype=torch.float64), (x[known], y[known])
    nothing = float("nan"), influence
    if known.sum() < 3:
        return nothing
    centred = [ranks(values) - 0.5 for values in shown]
    covariance = (centred[0] * centred[1]).mean()
    variances = [rank.square().mean() for rank in centred]
    if min(variances) < 1e-15:
        return nothing
    scale = (variances[0] * variances[1]).sqrt()
    of_covariance = centred[0] * centred[1] - 3 * covariance
    of_covariance += _mean_above(shown[0], centred[1]) + _mean_above(shown[1], centred[0])
    correlation = covariance / scale
    moved = of_covariance / scale
    for values, rank, variance in zip(shown, centred, variances, strict=True):
        of_variance = rank.square() + 2 * _mean_above(values, rank) - 3 * variance
        moved = moved - correlation / 2 * of_variance / variance
    influence[known] = moved / len(moved)
    return float(correlation), influence


def reliability_bins(predicted: Tensor, counts: Tensor, bins: int, units: Units) -> pd.DataFrame:
    """The points of a reliability diagram: how often people choose an item, in bins of its predicted probability.

    Args: predicted: (n, k, 3), k predictions of each triplet's choices; counts: (n, k, 3), the choices that each
        prediction is about; units: the n triplets.
    Returns: a row for each bin that is not empty: bin (from 0), predicted (mean probability), chosen (share of people),
        ci_low and ci_high (95 %), n (items that somebody judged).
    """
    people = counts.sum(-1, keepdim=True).double().expand_as(counts)
    group, rows = (predicted * bins).long().clamp(max=bins - 1), []
    for number in group[people > 0].unique().tolist():
        weight = people * (group == number)
        chosen, judged = (counts * (group == number)).double().sum((1, 2)), weight.sum((1, 2))
        share, influence = mean_influence(chosen / judged, judged)  # 0 / 0 is NaN, and does not count
        low, high = units.interval(share, influence)
        row = {"bin": number, "predicted": float((predicted * weight).sum() / weight.sum())}
        row |= {"chosen": share, "ci_low": max(low, 0.0), "ci_high": min(high, 1.0)}
        rows.append(row | {"n": int((weight > 0).sum())})
    return pd.DataFrame(rows)


def resample_weights(units: int, resamples: int, generator: torch.Generator) -> Tensor:
    """The number of times that each bootstrap resample draws each unit, (resamples, units) float64; rows sum to
    `units`.
    """
    drawn = torch.randint(units, (resamples, units), generator=generator)
    return torch.zeros(resamples, units, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(()).double().expand_as(drawn)
    )


def percentile_interval(values: Tensor, level: float = 0.95) -> tuple[float, float]:
    """The interval that contains the middle share `level` of bootstrap results, (resamples,).

    Results that are NaN are left out; both ends are NaN if none is left.
    """
    values = values[~values.isnan()].double()
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = torch.quantile(values, torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64))
    return float(low), float(high)


def _mean_above(values: Tensor, summed: Tensor) -> Tensor:
    """The sum of `summed` over the units with larger values plus half its sum over equal ones, divided by n, for each
    unit.
    """
    _, group = values.unique(return_inverse=True)  # numbered in ascending order
    sums = torch.zeros(int(group.max()) + 1, dtype=summed.dtype).index_add_(0, group, summed)
    above = sums.flip(0).cumsum(0).flip(0) - sums
    return (above + sums / 2)[group] / len(values)
