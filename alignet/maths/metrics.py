"""Odd-one-out accuracy, noise ceiling, calibration, rank correlation and CKA, as pure functions."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def agreement(choice: Tensor, counts: Tensor) -> Tensor:
    """Share of the people who chose as the model did, for each triplet.

    Args: choice: (n,) in {0, 1, 2}, or -1 for a tie, which agrees with nobody; counts: (n, 3) people per item.
    Returns: (n,) in [0, 1].
    """
    picked = counts.gather(1, choice.clamp(min=0)[:, None]).squeeze(1) * (choice >= 0)
    return picked / counts.sum(1)


def odd_one_out_accuracy(choice: Tensor, counts: Tensor) -> float:
    """Share of people's single choices that the model makes too; chance is 1/3. Args: as for `agreement`.

    Example:

    >>> import torch
    >>> from alignet.maths import metrics
    >>> counts = torch.tensor([[0, 1, 9], [5, 5, 0]])  # people who chose each item of two triplets
    >>> round(metrics.odd_one_out_accuracy(torch.tensor([2, 0]), counts), 2)  # the mean of 9 and 5 in 10
    0.7
    """
    return weighted_mean(agreement(choice, counts), counts.sum(1))


def leave_participant_out_agreement(own: Tensor, triplet: Tensor, n: int) -> Tensor:
    """Agreement of one person with the majority of the other people, for each triplet.

    The majority is formed without any of the person's choices.

    If k items tie for it, a choice of one of them counts as 1 / k.

    Args: own: (m, 3), one person's choices per item of one triplet in each row; triplet: (m,) number of that triplet,
        below n; n: number of triplets.
    Returns: (n,) in [0, 1], a mean over choices; NaN where fewer than two people judged the triplet.

    Example:

    >>> import torch
    >>> from alignet.maths import metrics
    >>> own = torch.tensor([[0, 0, 1], [0, 0, 1], [1, 0, 0]])  # three people, one triplet
    >>> agreement = metrics.leave_participant_out_agreement(own, torch.tensor([0, 0, 0]), 1)
    >>> round(float(agreement[0]), 4)  # 1/2, 1/2 and 0
    0.3333
    """
    counts = torch.zeros(n, 3, dtype=own.dtype).index_add_(0, triplet, own)
    agreed = _agreement_with_others(own, counts[triplet]) * own.sum(1)
    people = torch.bincount(triplet, minlength=n)
    share = torch.zeros(n, dtype=agreed.dtype).index_add_(0, triplet, agreed) / counts.sum(1)
    return share.masked_fill(people < 2, torch.nan)


def _agreement_with_others(own: Tensor, counts: Tensor) -> Tensor:
    """Share of each person's choices `own`, (m, 3), that are the majority of the others' choices, `counts - own`.

    A choice of one of k items that tie for the majority counts as 1 / k.
    """
    others = counts - own
    majority = others == others.max(1, keepdim=True).values
    return (own * majority).sum(1) / majority.sum(1) / own.sum(1)


def odd_one_out_noise_ceiling(agreement: Tensor) -> float:
    """The noise ceiling: the mean of `leave_participant_out_agreement`, (n,), over triplets that two or more people
    judged.

    Each triplet counts once, however many people judged it. NaN if there is no such triplet.
    """
    return float(agreement.double().nanmean())


def weighted_mean(values: Tensor, weights: Tensor) -> float:
    """The mean of `values`, (n,), weighted by `weights`, (n,); NaN if n is 0 or the weights sum to 0."""
    return float((values * weights).sum() / weights.sum())


def entropy(probabilities: Tensor) -> Tensor:
    """Shannon entropy in nats over the last axis, with 0 log 0 = 0."""
    return -torch.xlogy(probabilities, probabilities).sum(-1)


def participation_ratio(representation: Tensor) -> float:
    """The participation ratio of a representation (n, p): over how many axes it spreads, in [1, min(n - 1, p)].

    It is the squared sum of the eigenvalues of the covariance, divided by the sum of their squares; NaN if all rows are
    equal.
    """
    centred = (representation - representation.mean(0)).double()
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    return float(gram.trace() ** 2 / gram.square().sum())


def unit_vectors(embeddings: Tensor, centred: bool) -> Tensor:
    """Rows scaled to length 1, (n, dim), so that their dot products are cosine similarities.

    Args: embeddings: (n, dim); centred: whether to subtract the mean row first.
    """
    return F.normalize(embeddings - embeddings.mean(0) if centred else embeddings, dim=1)


def expected_calibration_error(probabilities: Tensor, counts: Tensor, bins: int = 10) -> float:
    """Mean distance between predicted probabilities and the frequencies of people's choices, over bins of equal width.

    Each pair of a triplet and an item is one prediction, weighted by the number of people who judged the triplet
    (class-wise ECE).

    Args: probabilities: (n, 3); counts: (n, 3) people per item; bins: number of bins in [0, 1].
    Returns: a number in [0, 1]; 0 for calibrated predictions.
    """
    weight = counts.sum(1, keepdim=True).expand_as(counts).flatten().double()
    predicted, chosen = probabilities.flatten().double(), counts.flatten().double()
    group = (predicted * bins).long().clamp(max=bins - 1)

    def per_bin(values: Tensor) -> Tensor:
        return torch.zeros(bins, dtype=torch.float64).index_add_(0, group, values)

    return float((per_bin(predicted * weight) - per_bin(chosen)).abs().sum() / weight.sum())


def solve_increasing(function: Callable[[float], float], target: float, low: float, high: float) -> float:
    """The x in [low, high] at which an increasing function reaches `target`, to a relative precision of 1e-6.

    It is found by bisection of log x, so both ends must be positive.
    """
    while high / low > 1 + 1e-6:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return (low * high) ** 0.5


def majority_agreement(choice: Tensor, counts: Tensor) -> Tensor:
    """Agreement of the model with most people's choice, for each triplet: 1 or 0, and 1 / k where k items tie.

    Args: choice: (n,) in {0, 1, 2}, or -1 for a tie, which agrees with nobody; counts: (n, 3) people per item.
    Returns: (n,) in [0, 1].
    """
    majority = (counts == counts.max(1, keepdim=True).values).double()
    return (majority.gather(1, choice.clamp(min=0)[:, None]).squeeze(1) / majority.sum(1)) * (choice >= 0)


def ranks(values: Tensor) -> Tensor:
    """The ranks of values, (n,), as shares of n, float64 in [0, 1]; tied values share their mean rank."""
    _, group, number = values.unique(return_inverse=True, return_counts=True)  # numbered in ascending order
    return ((number.cumsum(0) - number.double() / 2) / len(values))[group]


def spearman(x: Tensor, y: Tensor) -> float:
    """Spearman's rank correlation of x and y, (n,) each; tied values share their mean rank. NaN if one is constant."""
    if len(x) == 0:
        return float("nan")
    centred_x, centred_y = ranks(x) - 0.5, ranks(y) - 0.5  # mean ranks are 1/2
    return float((centred_x * centred_y).sum() / (centred_x.norm() * centred_y.norm()))


def upper_triangle(matrix: Tensor) -> Tensor:
    """The entries above the diagonal of an (n, n) matrix, row by row as in rsatoolbox, (n (n - 1) / 2,)."""
    row, column = torch.triu_indices(len(matrix), len(matrix), 1)
    return matrix[row, column]


def pair_sums(values: Tensor, weights: Tensor) -> Tensor:
    """Sums over pairs of objects of value x weight x weight, one for each resample: (resamples,) float64.

    Args: values: (n, n), zero where a pair does not count; weights: (resamples, n).
    """
    return ((weights @ values.double()) * weights).sum(1)


def cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment of two representations of the same n pictures, in [0, 1].

    Args: x: (n, p); y: (n, q).
    Source: Kornblith et al., Similarity of neural network representations revisited, ICML 2019, Eq. 3 to 4; Eq. 15 of
    docs/method.md.

    Example:

    >>> import torch
    >>> from alignet.maths import metrics
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    >>> turned = x @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    >>> round(metrics.cka(x, 3 * turned), 4)  # turning and scaling change nothing
    1.0
    """
    return float(gram_alignment(centred_gram(x), centred_gram(y)))


def centred_gram(x: Tensor) -> Tensor:
    """The dot products between the rows of x, (n, p), after their mean is subtracted: (n, n) float64."""
    x = x.double() - x.double().mean(0)
    return x @ x.T


def gram_alignment(first: Tensor, second: Tensor) -> Tensor:
    """CKA of two centred Gram matrices, (n, n) each: the cosine between them."""
    return (first * second).sum() / (first.norm() * second.norm())
