"""Scores as pure functions: odd-one-out accuracy, noise ceiling, calibration, rank correlation, CKA, bootstrap."""

from collections.abc import Callable

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

RANKED_AT_ONCE = 2_000_000  # resamples x units that are ranked together: bounds the memory of a bootstrap


def agreement(choice: Tensor, counts: Tensor) -> Tensor:
    """Share of the people who chose as the model did, per triplet.

    Args: choice: (n,) in {0, 1, 2}, or -1 for a tie, which agrees with nobody; counts: (n, 3) people per item.
    Returns: (n,) in [0, 1].
    """
    picked = counts.gather(1, choice.clamp(min=0)[:, None]).squeeze(1) * (choice >= 0)
    return picked / counts.sum(1)


def odd_one_out_accuracy(choice: Tensor, counts: Tensor) -> float:
    """Share of all people's single choices that the model makes too; chance is 1/3. Args: as for `agreement`."""
    return weighted_mean(agreement(choice, counts), counts.sum(1))


def leave_one_out_agreement(counts: Tensor) -> Tensor:
    """How often one person agrees with the majority of the others, for triplets that each person judged once.

    If k items tie for the others' majority, a person who chose one of these items counts as 1 / k.

    Args: counts: (n, 3) people per item.
    Returns: (n,) in [0, 1]; NaN where fewer than two people judged the triplet.
    """
    own = torch.eye(3, dtype=counts.dtype).repeat(len(counts), 1)  # row 3 t + i: one choice of item i in triplet t
    agrees = _agreement_with_others(own, counts.repeat_interleave(3, 0)).view(-1, 3)
    agreed = (counts * agrees).sum(1) / counts.sum(1)
    return agreed.masked_fill(counts.sum(1) < 2, torch.nan)


def leave_participant_out_agreement(own: Tensor, triplet: Tensor, n: int) -> Tensor:
    """`leave_one_out_agreement` for people who may have judged a triplet twice: all choices of a person are left out.

    Args: own: (m, 3), each row one person's choices per item of one triplet; triplet: (m,), the number of that triplet,
        below n.
    Returns: (n,) in [0, 1], a mean over choices; NaN where fewer than two people judged the triplet.
    """
    counts = torch.zeros(n, 3, dtype=own.dtype).index_add_(0, triplet, own)
    agreed = _agreement_with_others(own, counts[triplet]) * own.sum(1)
    people = torch.bincount(triplet, minlength=n)
    share = torch.zeros(n, dtype=agreed.dtype).index_add_(0, triplet, agreed) / counts.sum(1)
    return share.masked_fill(people < 2, torch.nan)


def _agreement_with_others(own: Tensor, counts: Tensor) -> Tensor:
    """Share of each person's choices `own` (m, 3) that are the majority of the others', `counts - own`.

    A choice of one of k items that tie for the majority counts as 1 / k.
    """
    others = counts - own
    majority = others == others.max(1, keepdim=True).values
    return (own * majority).sum(1) / majority.sum(1) / own.sum(1)


def odd_one_out_noise_ceiling(counts: Tensor) -> float:
    """Mean of `leave_one_out_agreement` over all choices about triplets that several people judged; NaN without any."""
    judged = counts.sum(1) >= 2
    return weighted_mean(leave_one_out_agreement(counts)[judged], counts[judged].sum(1))


def weighted_mean(values: Tensor, weights: Tensor) -> float:
    """Mean of `values`, (n,), weighted by `weights`, (n,); NaN if n is 0 or the weights sum to 0."""
    return float((values * weights).sum() / weights.sum())


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


def weighted_means(values: Tensor, weights: Tensor, drawn: Tensor) -> Tensor:
    """Weighted mean of each resample, (resamples,); values that are NaN do not count.

    Args: values, weights: (n,); drawn: (resamples, n), see `resample_weights`.
    """
    weights = weights.double() * ~values.isnan()
    return drawn @ (values.double().nan_to_num() * weights) / (drawn @ weights)


def bootstrap_interval(values: Tensor, weights: Tensor, drawn: Tensor) -> tuple[float, float]:
    """95 % percentile interval of the weighted mean over resamples of the units (triplets).

    Two intervals from the same `drawn` are paired, so the difference of their `weighted_means` has an interval too.
    Args: as for `weighted_means`.
    """
    return percentile_interval(weighted_means(values, weights, drawn))


def entropy(probabilities: Tensor) -> Tensor:
    """Shannon entropy in nats over the last axis; 0 log 0 = 0."""
    return -torch.xlogy(probabilities, probabilities).sum(-1)


def unit_vectors(embeddings: Tensor, centred: bool) -> Tensor:
    """The rows scaled to length 1, so that their dot products are cosine similarities.

    Args: embeddings: (n, dim); centred: subtract the mean row first.
    """
    return F.normalize(embeddings - embeddings.mean(0) if centred else embeddings, dim=1)


def expected_calibration_error(probabilities: Tensor, counts: Tensor, bins: int = 10) -> float:
    """Mean distance between the predicted probability of choices and how often people made them, in equal-width bins.

    Each (triplet, item) pair is one prediction, weighted by the number of people who judged the triplet (class-wise
    ECE).

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
    """How often people choose an item, by its predicted probability, in bins of equal width.

    Args: predicted: (n, k, 3), k predictions of each triplet's choices; counts: (n, k, 3), the choices of the people
        whom each prediction is about; drawn: (resamples, n), see `resample_weights`.
    Returns: a row for each bin that is not empty: bin (from 0), predicted (mean probability), chosen (share of people),
        ci_low and ci_high (95 % bootstrap over the n triplets), n (items that somebody judged).
    """
    people = counts.sum(-1, keepdim=True).double().expand_as(counts)
    group, rows = (predicted * bins).long().clamp(max=bins - 1), []
    for number in group[people > 0].unique().tolist():
        weight = people * (group == number)
        chosen, judged = (counts * (group == number)).double().sum((1, 2)), weight.sum((1, 2))
        low, high = percentile_interval(drawn @ chosen / (drawn @ judged))
        row = {"bin": number, "predicted": float((predicted * weight).sum() / weight.sum())}
        row |= {"chosen": float(chosen.sum() / judged.sum()), "ci_low": low, "ci_high": high}
        rows.append(row | {"n": int((weight > 0).sum())})
    return pd.DataFrame(rows)


def solve_increasing(function: Callable[[float], float], target: float, low: float, high: float) -> float:
    """The x in [low, high] at which an increasing function reaches `target`, to a relative precision of 1e-6.

    It is found by bisection of log x; both ends must be positive.
    """
    while high / low > 1 + 1e-6:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return (low * high) ** 0.5


def majority_agreement(choice: Tensor, counts: Tensor) -> Tensor:
    """Whether the model chooses as most people do, per triplet; 1 / k where k items tie for the most votes.

    Args: choice: (n,) in {0, 1, 2}, or -1 for a tie, which agrees with nobody; counts: (n, 3) people per item.
    Returns: (n,) in [0, 1].
    """
    majority = (counts == counts.max(1, keepdim=True).values).double()
    return (majority.gather(1, choice.clamp(min=0)[:, None]).squeeze(1) / majority.sum(1)) * (choice >= 0)


def weighted_ranks(values: Tensor, weights: Tensor) -> Tensor:
    """Ranks of n values in samples of them, as shares of the sample; tied values share their mean rank.

    Args: values: (n,); weights: (resamples, n), how often each sample holds each value, at least 0.
    Returns: (resamples, n) float64 in [0, 1]; the ranks of values that a sample does not hold mean nothing.
    """
    _, group, number = values.unique(return_inverse=True, return_counts=True)  # numbered in ascending order
    held = weights.double()[:, values.argsort()].cumsum(1)[:, number.cumsum(0) - 1]  # up to each value
    before = torch.cat([torch.zeros(len(weights), 1).double(), held[:, :-1]], 1)
    return ((before + held) / 2)[:, group] / held[:, -1:]


def ranks(values: Tensor) -> Tensor:
    """Ranks of values, (n,), as shares of n: float64 in [0, 1]; tied values share their mean rank."""
    return weighted_ranks(values, torch.ones(1, len(values)))[0]


def spearman_samples(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Rank correlation (Spearman's rho) in each sample, which is ranked anew; NaN where x or y is constant in it.

    Args: x, y: (n,); weights: (resamples, n), how often a sample holds each unit.
    Returns: (resamples,) float64 in [-1, 1].
    """
    correlations = []
    for samples in weights.double().split(max(1, RANKED_AT_ONCE // max(1, len(x)))):
        share = samples / samples.sum(1, keepdim=True)
        centred_x, centred_y = (weighted_ranks(values, samples) - 0.5 for values in (x, y))  # mean ranks are 1/2
        covariance = (share * centred_x * centred_y).sum(1)
        variance_x, variance_y = (share * centred_x * centred_x).sum(1), (share * centred_y * centred_y).sum(1)
        varies = (variance_x > 1e-15) & (variance_y > 1e-15)  # (n - 1) / (4 n^2) or more if any differ
        correlations.append(torch.where(varies, covariance / (variance_x * variance_y).sqrt(), torch.nan))
    return torch.cat(correlations)


def spearman(x: Tensor, y: Tensor) -> float:
    """Rank correlation of x and y, (n,) each, in [-1, 1]; tied values share their mean rank; NaN if one is constant."""
    if len(x) == 0:
        return float("nan")
    return float(spearman_samples(x, y, torch.ones(1, len(x))))


def spearman_interval(x: Tensor, y: Tensor, weights: Tensor) -> tuple[float, float]:
    """95 % bootstrap interval of `spearman`; NaN for fewer than three units.

    Args: x, y: (n,); weights: (resamples, n), see `resample_weights`.
    """
    if len(x) < 3:
        return float("nan"), float("nan")
    return percentile_interval(spearman_samples(x, y, weights))


def pair_weights(weights: Tensor, pairs: Tensor) -> Tensor:
    """How often each sample of objects holds each pair of objects; an object and its own copy are not a pair.

    Args: weights: (resamples, objects); pairs: (2, n), the numbers of two different objects in each column.
    Returns: (resamples, n).
    """
    return weights[:, pairs[0]] * weights[:, pairs[1]]


def upper_triangle(matrix: Tensor) -> Tensor:
    """The entries above the diagonal of an (n, n) matrix, row by row as in rsatoolbox: (n (n - 1) / 2,)."""
    row, column = torch.triu_indices(len(matrix), len(matrix), 1)
    return matrix[row, column]


def pair_sums(values: Tensor, weights: Tensor) -> Tensor:
    """For each resample, the sum over pairs of objects of value x weight x weight: (resamples,) float64.

    Args: values: (n, n), zero where a pair does not count; weights: (resamples, n).
    """
    return ((weights @ values.double()) * weights).sum(1)


def cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment of two representations of the same n pictures, in [0, 1].

    Args: x: (n, p); y: (n, q).
    Source: Kornblith et al., Similarity of neural network representations revisited, ICML 2019, Eq. 3 to 4; Eq. 15 of
    docs/method.md.
    """
    return float(gram_alignment(centred_gram(x), centred_gram(y)))


def centred_gram(x: Tensor) -> Tensor:
    """Dot products between the rows of x, (n, p), after their mean is subtracted: (n, n) float64."""
    x = x.double() - x.double().mean(0)
    return x @ x.T


def gram_alignment(first: Tensor, second: Tensor) -> Tensor:
    """CKA from two centred Gram matrices, (n, n) each: the cosine between them."""
    return (first * second).sum() / (first.norm() * second.norm())
