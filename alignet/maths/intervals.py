"""Intervals for scores over units that share objects: triplets of concepts, pairs of pictures (docs/method.md, section
10).

A score's influence, (n,), says how much each of n units moves it: the score minus its limit is close to their sum. Two
triplets that show a common concept are not independent, so the variance of the sum adds up the products of the
influences of all pairs of units with a common object (dyadic-robust, Eq. 17). A difference of scores over the same
units has the difference of their influences: intervals of differences are paired. Where the units are independent
draws, as episodes are, intervals are Student's t over draws: there may be as few as three.
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
    """Units and the objects that each shows. objects: (n, k) numbers from 0, k at most 3; one may stand there twice."""

    objects: Tensor

    def interval(self, value: float, influence: Tensor) -> tuple[float, float]:
        """The 95 % interval of a score, by Student's t; NaN where there is no score or no standard error.

        Of m objects that are shown k at a time, m / k - 1 degrees of freedom (1 or more): sums over objects that are
        shown together are not independent. With them, intervals over simulated triplets hold the truth in
        94 to 97 % of cases where concepts have an effect, and in more where they have little (docs/method.md, section
        10).
        """
        return t_interval(value, [(self.standard_error(influence) ** 2, self.freedom)])

    @cached_property
    def freedom(self) -> float:
        """Degrees of freedom of the standard error: m / k - 1 for m objects that are shown k at a time, 1 or more."""
        return max(len(self.objects.unique()) / self.objects.shape[1] - 1, 1.0)

    def standard_error(self, influence: Tensor) -> float:
        """Dyadic-robust standard error of a score, divided by sqrt(1 - d), where d is the share of all pairs of units
        that show a common object; NaN where all do.

        Influences sum to 0, so the products of those pairs come out too small by the share 1 - d; for units of one
        object each, of m equally frequent ones, 1 / (1 - d) is the usual m / (m - 1). The error is never below that of
        independent units: in small samples the sum of products may even be negative.

        Args: influence: (n,); units that do not count have 0.
        Source: Aronow, Samii and Assenova, Cluster-robust variance estimation for dyadic data, Political Analysis 2015,
            Eq. 3; for triplets by inclusion and exclusion as in Cameron, Gelbach and Miller, Robust inference with
            multiway clustering, JBES 2011, Eq. 2.13.
        """
        influence = influence.double()
        variance = torch.maximum(self._shared_products(influence), influence.square().sum())
        return float((variance / (1 - self._density)).sqrt()) if self._density < 1 - 1e-9 else float("nan")

    @cached_property
    def _density(self) -> float:
        """Share of all pairs of units that show a common object; NaN without units."""
        every = torch.ones(len(self.objects), dtype=torch.float64)
        return float(self._shared_products(every) / every.sum().square()) if len(every) else float("nan")

    def _shared_products(self, values: Tensor) -> Tensor:
        """The sum of v_i v_j over all pairs of units i, j (i = j among them) that show a common object."""
        squares = [sign * torch.bincount(group, values[unit]).square().sum() for sign, unit, group in self._subsets]
        return torch.stack([torch.zeros((), dtype=torch.float64), *squares]).sum()

    @cached_property
    def _subsets(self) -> list[tuple[int, Tensor, Tensor]]:
        """Inclusion and exclusion over the subsets of a unit's distinct objects: sign, unit (m,) and number of the
        subset (m,), for subsets of one, two and three objects. Two units with s common objects meet in s - C(s, 2) +
        C(s, 3) = 1.
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

    Args: parts: variance and degrees of freedom of each; see `summed`.
    """
    from scipy.stats import t

    variance, freedom = summed(parts)
    reach = float(t.ppf(0.975, freedom)) * variance**0.5
    return value - reach, value + reach


def p_value(value: float, parts: list[tuple[float, float]]) -> float:
    """Two-sided p of a score's being 0, by Student's t with the variance of `t_interval`: below .05 exactly where that
    interval leaves 0 out."""
    from scipy.stats import t

    variance, freedom = summed(parts)
    if variance == 0:
        return float(value == 0)
    return 2 * float(t.sf(abs(value) / variance**0.5, freedom))


def summed(parts: list[tuple[float, float]]) -> tuple[float, float]:
    """Variance and degrees of freedom of a sum of independent parts, (variance, degrees of freedom) each.

    Source: Satterthwaite, An approximate distribution of estimates of variance components, Biometrics Bulletin 1946
        (Eq. 19 of docs/method.md).
    """
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / freedom for part, freedom in parts)
    return variance, variance**2 / spread if spread > 0 else max(freedom for _, freedom in parts)


def of_draws(values: Tensor) -> tuple[float, float]:
    """Variance of the mean of independent draws, (n,), and its degrees of freedom, n - 1: a part of `t_interval`; NaN
    and NaN for fewer than two draws."""
    n = len(values)
    return (float(values.double().var()) / n, n - 1) if n > 1 else (float("nan"), float("nan"))


def holm(p: list[float]) -> list[float]:
    """p values corrected for their number, in their order; NaN is no test and stays. The chance that any true null
    falls below .05 is .05 at most, whatever the dependence between the tests.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979.
    """
    known = sorted((value, place) for place, value in enumerate(p) if value == value)
    corrected, highest = [float("nan")] * len(p), 0.0
    for rank, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * value))
        corrected[place] = highest
    return corrected


def mean_influence(values: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """A weighted mean and its influence, (n,); values that are NaN do not count. Args: values, weights: (n,)."""
    weights = weights.double() * ~values.isnan()
    total = weights.sum()
    mean = (values.double().nan_to_num() * weights).sum() / total
    return float(mean), (weights * (values.double() - mean)).nan_to_num() / total


def spearman_influence(x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """Spearman's rank correlation of x and y, (n,) each, and its influence, (n,), which allows for the ranks' being
    estimated. Units with a NaN do not count; NaN and 0 for fewer than three units or where one of both is constant.
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
    """How often people choose an item, by its predicted probability, in bins of equal width.

    Args: predicted: (n, k, 3), k predictions of each triplet's choices; counts: (n, k, 3), the choices of the people
        whom each prediction is about; units: the n triplets.
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
    """How often each bootstrap resample draws each unit: (resamples, units) float64; each row sums to `units`."""
    drawn = torch.randint(units, (resamples, units), generator=generator)
    return torch.zeros(resamples, units, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(()).double().expand_as(drawn)
    )


def percentile_interval(values: Tensor, level: float = 0.95) -> tuple[float, float]:
    """The interval that holds the middle share `level` of bootstrap results, (resamples,).

    Results that are NaN are left out; both ends are NaN if no other result is left.
    """
    values = values[~values.isnan()].double()
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = torch.quantile(values, torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64))
    return float(low), float(high)


def _mean_above(values: Tensor, summed: Tensor) -> Tensor:
    """For each unit the sum of `summed` over the units with larger values, and half of it over those with equal ones,
    divided by n: (n,)."""
    _, group = values.unique(return_inverse=True)  # numbered in ascending order
    sums = torch.zeros(int(group.max()) + 1, dtype=summed.dtype).index_add_(0, group, summed)
    above = sums.flip(0).cumsum(0).flip(0) - sums
    return (above + sums / 2)[group] / len(values)
