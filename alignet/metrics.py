"""Scores: odd-one-out accuracy, human noise ceiling, calibration, bootstrap intervals. Pure tensor functions."""

from collections.abc import Callable

import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor


def agreement(choice: Tensor, counts: Tensor) -> Tensor:
    """Share of the people who chose as the model did, per triplet.

    Args: choice: (n,) in {0, 1, 2}, or -1 for a tie, which agrees with nobody; counts: (n, 3) people per item.
    Returns: (n,) in [0, 1].
    """
    picked = counts.gather(1, choice.clamp(min=0)[:, None]).squeeze(1) * (choice >= 0)
    return picked / counts.sum(1)


def odd_one_out_accuracy(choice: Tensor, counts: Tensor) -> float:
    """Agreement with the single choices of people, over all choices; chance is 1/3. Shapes as in `agreement`."""
    return weighted_mean(agreement(choice, counts), counts.sum(1))


def leave_one_out_agreement(counts: Tensor) -> Tensor:
    """How often one person agrees with the majority of the others, per triplet: the noise ceiling before averaging.

    Where the others' majority is tied between k items, a person who chose one of them agrees by 1 / k.

    Args: counts: (n, 3) people per item.
    Returns: (n,) in [0, 1]; NaN where fewer than two people judged the triplet.
    """
    others = counts[:, None, :] - torch.eye(3, dtype=counts.dtype)  # (n, 3, 3): row k without one choice of item k
    majority = others == others.max(-1, keepdim=True).values
    agrees = majority.diagonal(dim1=1, dim2=2) / majority.sum(-1)
    agreed = (counts * agrees).sum(1) / counts.sum(1)
    return agreed.masked_fill(counts.sum(1) < 2, torch.nan)


def noise_ceiling(counts: Tensor) -> float:
    """Mean of `leave_one_out_agreement` over all choices of triplets that two or more people judged; NaN if none."""
    judged = counts.sum(1) >= 2
    return weighted_mean(leave_one_out_agreement(counts)[judged], counts[judged].sum(1))


def weighted_mean(values: Tensor, weights: Tensor) -> float:
    """Mean of `values` with `weights`, both (n,); NaN without any."""
    return float((values * weights).sum() / weights.sum())


def bootstrap_interval(
    values: Tensor, weights: Tensor, resamples: int, generator: torch.Generator, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the weighted mean, resampling the units (triplets) with replacement.

    Args: values, weights: (n,); resamples: how many; level: coverage.
    """
    if len(values) == 0:
        return float("nan"), float("nan")
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    means = (values * weights)[drawn].sum(1) / weights[drawn].sum(1)
    low, high = torch.quantile(means.double(), torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64))
    return float(low), float(high)


def entropy(probabilities: Tensor) -> Tensor:
    """Shannon entropy in nats over the last axis; 0 log 0 = 0."""
    return -torch.xlogy(probabilities, probabilities).sum(-1)


def expected_calibration_error(probabilities: Tensor, counts: Tensor, bins: int = 10) -> float:
    """Mean distance between a choice's predicted probability and how often people made it, in equal-width bins.

    Every (triplet, item) pair is one prediction, weighted by the people who judged the triplet (class-wise ECE).

    Args: probabilities, counts: (n, 3).
    Returns: in [0, 1]; 0 for a calibrated prediction.
    """
    weight = counts.sum(1, keepdim=True).expand_as(counts).flatten().double()
    predicted, chosen = probabilities.flatten().double(), counts.flatten().double()
    group = (predicted * bins).long().clamp(max=bins - 1)

    def per_bin(values: Tensor) -> Tensor:
        return torch.zeros(bins, dtype=torch.float64).index_add_(0, group, values)

    return float((per_bin(predicted * weight) - per_bin(chosen)).abs().sum() / weight.sum())


def reliability_bins(
    predicted: Tensor, counts: Tensor, bins: int, resamples: int, generator: torch.Generator
) -> pd.DataFrame:
    """How often people choose an item, by the probability that it was given, in bins of equal width.

    Args: predicted, counts: (n, k, 3), k predictions of each triplet's choices and the people whom each is about.
    Returns: bin (from 0), predicted (mean probability), chosen (share of people), ci_low, ci_high (95 % bootstrap over
        the n triplets), n (items that somebody judged); empty bins are left out.
    """
    people = counts.sum(-1, keepdim=True).double().expand_as(counts)
    group = (predicted * bins).long().clamp(max=bins - 1)
    drawn, rows = resample_weights(len(counts), resamples, generator), []
    for number in group[people > 0].unique().tolist():
        weight = people * (group == number)
        chosen, shown = (counts * (group == number)).double().sum((1, 2)), weight.sum((1, 2))
        low, high = percentile_interval(drawn @ chosen / (drawn @ shown))
        row = {"bin": number, "predicted": float((predicted * weight).sum() / weight.sum())}
        row |= {"chosen": float(chosen.sum() / shown.sum()), "ci_low": low, "ci_high": high}
        rows.append(row | {"n": int((weight > 0).sum())})
    return pd.DataFrame(rows)


def solve_increasing(function: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Where an increasing function reaches `target`, by bisection of log x in [low, high] to 1e-6 relative."""
    while high / low > 1 + 1e-6:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return (low * high) ** 0.5


# Evaluation: comparisons of representations with people, with labels and with each other.


def majority_agreement(choice: Tensor, counts: Tensor) -> Tensor:
    """Whether the model chooses as most people do, per triplet; 1 / k where k items share the most votes.

    Args: choice: (n,) in {0, 1, 2}, or -1 for a tie, which agrees with nobody; counts: (n, 3) people per item.
    Returns: (n,) in [0, 1].
    """
    majority = (counts == counts.max(1, keepdim=True).values).double()
    return (majority.gather(1, choice.clamp(min=0)[:, None]).squeeze(1) / majority.sum(1)) * (choice >= 0)


def resample_weights(units: int, resamples: int, generator: torch.Generator) -> Tensor:
    """How often each unit is drawn in each bootstrap resample: (resamples, units) float64, rows sum to `units`."""
    drawn = torch.randint(units, (resamples, units), generator=generator)
    return torch.zeros(resamples, units, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(()).double().expand_as(drawn)
    )


def percentile_interval(values: Tensor, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of bootstrap results, (resamples,); those that are NaN are left out; NaN if none is left."""
    values = values[~values.isnan()].double()
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = torch.quantile(values, torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64))
    return float(low), float(high)


def ranks(values: Tensor) -> Tensor:
    """Ranks from 1, ties averaged, along a flat tensor: float64."""
    return torch.from_numpy(rankdata(values.numpy())).double()


def correlation(x: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
    """Pearson correlation of two flat tensors; NaN where one is constant.

    Args: x, y: (n,); weights: (resamples, n), one correlation for each row; None: a single one, of shape (1,).
    """
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    weights = torch.ones(1, len(x)).double() if weights is None else weights.double()
    mean = (weights @ torch.stack([x, y, x * x, y * y, x * y], 1) / weights.sum(1, keepdim=True)).unbind(1)
    spread = (mean[2] - mean[0] ** 2).clamp(min=0) * (mean[3] - mean[1] ** 2).clamp(min=0)
    return torch.where(spread > 1e-24, (mean[4] - mean[0] * mean[1]) / spread.clamp(min=1e-24).sqrt(), torch.nan)


def spearman(x: Tensor, y: Tensor) -> float:
    """Rank correlation of two flat tensors, in [-1, 1]; ties share their mean rank; NaN where one is constant."""
    return float(correlation(ranks(x), ranks(y)))


def spearman_interval(x: Tensor, y: Tensor, resamples: int, generator: torch.Generator) -> tuple[float, float]:
    """95 % bootstrap interval of `spearman` over its n units; the ranks are those of the whole sample."""
    if len(x) < 2:
        return float("nan"), float("nan")
    return percentile_interval(correlation(ranks(x), ranks(y), resample_weights(len(x), resamples, generator)))


def upper_triangle(matrix: Tensor) -> Tensor:
    """The entries above the diagonal of (n, n), row by row: (n (n - 1) / 2,), as rsatoolbox orders them."""
    row, column = torch.triu_indices(len(matrix), len(matrix), 1)
    return matrix[row, column]


def rsa(similarity: Tensor, other: Tensor) -> float:
    """Spearman correlation of two (n, n) matrices above the diagonal, over the pairs where neither is NaN."""
    x, y = upper_triangle(similarity), upper_triangle(other)
    known = ~(x.isnan() | y.isnan())
    return spearman(x[known], y[known])


def rsa_interval(similarity: Tensor, other: Tensor, weights: Tensor) -> tuple[float, float]:
    """95 % interval of `rsa` from a bootstrap over objects; the ranks are those of the whole sample.

    A pair counts as often as the product of its objects' weights says; an object with itself never does.

    Args: similarity, other: (n, n), symmetric, NaN where unknown; weights: (resamples, n), see `resample_weights`.
    """
    known = ~(similarity.isnan() | other.isnan()).triu(1) & torch.ones_like(similarity, dtype=torch.bool).triu(1)
    planes = torch.zeros(2, *similarity.shape, dtype=torch.float64)
    for plane, values in zip(planes, (similarity, other), strict=True):
        plane[known] = ranks(values[known]) - 0.5 * (known.sum() + 1)
    x, y = planes
    mean = [pair_sums(plane, weights) / pair_sums(known.double(), weights) for plane in (x, y, x * x, y * y, x * y)]
    spread = (mean[2] - mean[0] ** 2) * (mean[3] - mean[1] ** 2)
    return percentile_interval((mean[4] - mean[0] * mean[1]) / spread.clamp(min=0).sqrt())


def pair_sums(values: Tensor, weights: Tensor) -> Tensor:
    """Sum over pairs of objects of value x weight x weight, for each resample: (resamples,) float64.

    Args: values: (n, n), zero where a pair does not count; weights: (resamples, n).
    """
    return ((weights @ values.double()) * weights).sum(1)


def cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment of two representations of the same n pictures, in [0, 1].

    Args: x: (n, p); y: (n, q).
    Source: Kornblith et al., Similarity of neural network representations revisited, ICML 2019, Eq. 3 to 4.
    """
    return float(gram_alignment(centred_gram(x), centred_gram(y)))


def centred_gram(x: Tensor) -> Tensor:
    """Dot products of the rows of (n, p) after subtracting their mean: (n, n) float64."""
    x = x.double() - x.double().mean(0)
    return x @ x.T


def gram_alignment(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of two centred Gram matrices (n, n): CKA."""
    return (first * second).sum() / (first.norm() * second.norm())


def effect_size(change: Tensor) -> float:
    """Mean over standard deviation of paired differences (Cohen's d_z); NaN where they do not vary."""
    spread = float(change.double().std())
    return float(change.double().mean()) / spread if spread > 0 else float("nan")
