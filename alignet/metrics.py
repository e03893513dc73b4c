"""Scores: odd-one-out accuracy, noise ceiling, calibration, rank correlation, RSA, CKA, bootstrap: pure functions."""

from collections.abc import Callable

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

RANKED_AT_ONCE = 2_000_000  # resamples x units: bounds the memory of a bootstrap


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
    """How often one person agrees with the majority of the others, per triplet that each person judged once.

    Where the others' majority is tied between k items, a person who chose one of them agrees by 1 / k.

    Args: counts: (n, 3) people per item.
    Returns: (n,) in [0, 1]; NaN where fewer than two people judged the triplet.
    """
    own = torch.eye(3, dtype=counts.dtype).repeat(len(counts), 1)  # one choice of each item: row 3 n + item
    agrees = _agreement_with_others(own, counts.repeat_interleave(3, 0)).view(-1, 3)
    agreed = (counts * agrees).sum(1) / counts.sum(1)
    return agreed.masked_fill(counts.sum(1) < 2, torch.nan)


def leave_participant_out_agreement(own: Tensor, triplet: Tensor, n: int) -> Tensor:
    """`leave_one_out_agreement` where a person may have judged a triplet twice: all of one's choices are left out.

    Args: own: (m, 3) choices per item of one person about one triplet; triplet: (m,) numbers below n.
    Returns: (n,) in [0, 1], a mean over choices; NaN where fewer than two people judged the triplet.
    """
    counts = torch.zeros(n, 3, dtype=own.dtype).index_add_(0, triplet, own)
    agreed = _agreement_with_others(own, counts[triplet]) * own.sum(1)
    people = torch.bincount(triplet, minlength=n)
    found = torch.zeros(n, dtype=agreed.dtype).index_add_(0, triplet, agreed) / counts.sum(1)
    return found.masked_fill(people < 2, torch.nan)


def _agreement_with_others(own: Tensor, counts: Tensor) -> Tensor:
    """Share of a person's choices (m, 3) that are the majority, or 1 / k of it, of the others' (counts - own)."""
    others = counts - own
    majority = others == others.max(1, keepdim=True).values
    return (own * majority).sum(1) / majority.sum(1) / own.sum(1)


def odd_one_out_noise_ceiling(counts: Tensor) -> float:
    """Mean of `leave_one_out_agreement` over all choices of triplets that two or more people judged; NaN if none."""
    judged = counts.sum(1) >= 2
    return weighted_mean(leave_one_out_agreement(counts)[judged], counts[judged].sum(1))


def weighted_mean(values: Tensor, weights: Tensor) -> float:
    """Mean of `values` with `weights`, both (n,); NaN without any."""
    return float((values * weights).sum() / weights.sum())


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


def weighted_means(values: Tensor, weights: Tensor, drawn: Tensor) -> Tensor:
    """Weighted mean in each resample, (resamples,); values that are NaN do not count.

    Args: values, weights: (n,); drawn: (resamples, n), see `resample_weights`.
    """
    weights = weights.double() * ~values.isnan()
    return drawn @ (values.double().nan_to_num() * weights) / (drawn @ weights)


def bootstrap_interval(values: Tensor, weights: Tensor, drawn: Tensor) -> tuple[float, float]:
    """95 % percentile interval of the weighted mean over resamples of the units (triplets). Args: as `weighted_means`.

    Two intervals over the same `drawn` are paired: the difference of their `weighted_means` has an interval too.
    """
    return percentile_interval(weighted_means(values, weights, drawn))


def entropy(probabilities: Tensor) -> Tensor:
    """Shannon entropy in nats over the last axis; 0 log 0 = 0."""
    return -torch.xlogy(probabilities, probabilities).sum(-1)


def unit_vectors(embeddings: Tensor, centred: bool) -> Tensor:
    """Rows of length 1, whose dot products are (centred: after subtracting the mean row) cosine similarities."""
    return F.normalize(embeddings - embeddings.mean(0) if centred else embeddings, dim=1)


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


def reliability_bins(predicted: Tensor, counts: Tensor, bins: int, drawn: Tensor) -> pd.DataFrame:
    """How often people choose an item, by the probability that it was given, in bins of equal width.

    Args: predicted, counts: (n, k, 3), k predictions of each triplet's choices and the people whom each is about;
        drawn: (resamples, n), see `resample_weights`.
    Returns: bin (from 0), predicted (mean probability), chosen (share of people), ci_low, ci_high (95 % bootstrap over
        the n triplets), n (items that somebody judged); empty bins are left out.
    """
    people = counts.sum(-1, keepdim=True).double().expand_as(counts)
    group, rows = (predicted * bins).long().clamp(max=bins - 1), []
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


def majority_agreement(choice: Tensor, counts: Tensor) -> Tensor:
    """Whether the model chooses as most people do, per triplet; 1 / k where k items share the most votes.

    Args: choice: (n,) in {0, 1, 2}, or -1 for a tie, which agrees with nobody; counts: (n, 3) people per item.
    Returns: (n,) in [0, 1].
    """
    majority = (counts == counts.max(1, keepdim=True).values).double()
    return (majority.gather(1, choice.clamp(min=0)[:, None]).squeeze(1) / majority.sum(1)) * (choice >= 0)


def weighted_ranks(values: Tensor, weights: Tensor) -> Tensor:
    """Ranks of n values in samples that hold value i weights[r, i] times, ties averaged, as shares of the sample.

    Args: values: (n,); weights: (resamples, n), at least 0.
    Returns: (resamples, n) float64 in [0, 1]; those of values that a sample does not hold mean nothing.
    """
    _, group, number = values.unique(return_inverse=True, return_counts=True)  # numbered in ascending order
    held = weights.double()[:, values.argsort()].cumsum(1)[:, number.cumsum(0) - 1]  # up to each value
    before = torch.cat([torch.zeros(len(weights), 1).double(), held[:, :-1]], 1)
    return ((before + held) / 2)[:, group] / held[:, -1:]


def ranks(values: Tensor) -> Tensor:
    """Ranks of (n,) values, ties averaged, as shares of n: float64 in [0, 1]."""
    return weighted_ranks(values, torch.ones(1, len(values)))[0]


def spearman_samples(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Rank correlation in each sample, ranked anew in each; NaN where x or y is constant there.

    Args: x, y: (n,); weights: (resamples, n), how often a sample holds each unit.
    Returns: (resamples,) float64 in [-1, 1].
    """
    correlations = []
    for samples in weights.double().split(max(1, RANKED_AT_ONCE // max(1, len(x)))):
        share = samples / samples.sum(1, keepdim=True)
        rank_x, rank_y = (weighted_ranks(values, samples) - 0.5 for values in (x, y))  # the mean of midranks is 1/2
        covariance = (share * rank_x * rank_y).sum(1)
        variance_x, variance_y = (share * rank_x * rank_x).sum(1), (share * rank_y * rank_y).sum(1)
        varies = (variance_x > 1e-15) & (variance_y > 1e-15)  # two different values of n: at least (n - 1) / (4 n^2)
        correlations.append(torch.where(varies, covariance / (variance_x * variance_y).sqrt(), torch.nan))
    return torch.cat(correlations)


def spearman(x: Tensor, y: Tensor) -> float:
    """Rank correlation of two flat tensors, in [-1, 1]; ties share their mean rank; NaN where one is constant."""
    if len(x) == 0:
        return float("nan")
    return float(spearman_samples(x, y, torch.ones(1, len(x))))


def spearman_interval(x: Tensor, y: Tensor, weights: Tensor) -> tuple[float, float]:
    """95 % interval of `spearman` over bootstrap samples; weights: (resamples, n), see `resample_weights`."""
    if len(x) < 3:
        return float("nan"), float("nan")
    return percentile_interval(spearman_samples(x, y, weights))


def pair_weights(weights: Tensor, pairs: Tensor) -> Tensor:
    """How often each pair of objects stands in samples of objects; an object and its own copy are no pair.

    Args: weights: (resamples, objects); pairs: (2, n) object numbers, first and second differing.
    Returns: (resamples, n).
    """
    return weights[:, pairs[0]] * weights[:, pairs[1]]


def upper_triangle(matrix: Tensor) -> Tensor:
    """The entries above the diagonal of (n, n), row by row: (n (n - 1) / 2,), as rsatoolbox orders them."""
    row, column = torch.triu_indices(len(matrix), len(matrix), 1)
    return matrix[row, column]


def rsa(similarity: Tensor, other: Tensor) -> float:
    """Spearman correlation of two (n, n) matrices above the diagonal, over the pairs where neither is NaN."""
    x, y = upper_triangle(similarity), upper_triangle(other)
    known = ~(x.isnan() | y.isnan())
    return spearman(x[known], y[known])


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
