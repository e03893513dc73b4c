"""Scores: odd-one-out accuracy, human noise ceiling, calibration, bootstrap intervals. Pure tensor functions."""

from collections.abc import Callable

import torch
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


def solve_increasing(function: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Where an increasing function reaches `target`, by bisection of log x in [low, high] to 1e-6 relative."""
    while high / low > 1 + 1e-6:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return (low * high) ** 0.5
