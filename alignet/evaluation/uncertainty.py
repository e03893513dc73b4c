"""Uncertainty: is a model unsure where people are, and do its probabilities mean what they say?"""

from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor

from alignet import metrics
from alignet.config import Levels
from alignet.evaluation.human_choices import TimedChoices, choices_by_level, triplet_weights
from alignet.evaluation.levels import NO_LEVELS
from alignet.evaluation.representations import Representations
from alignet.metrics import unit_vectors
from alignet.triplets import pair_similarities
from alignet.worlds.format.tables import World

COLUMNS = ["student", "target", "level", "against", "spearman", "ci_low", "ci_high"]
COLUMNS += ["noise_ceiling", "noise_ceiling_low", "noise_ceiling_high", "n", "choices", "ci_unit", "note"]
BINS = ["student", "target", "bin", "predicted", "chosen", "ci_low", "ci_high", "n", "choices", "ci_unit"]
NOTHING = {
    "response_entropy": "no triplet was judged by two people",
    "response_time": "the world has no response times",
}


def uncertainty(world: World, representations: Representations, settings: Levels) -> pd.DataFrame:
    """Spearman correlation over triplets of the model's choice entropy with people's uncertainty, by level.

    People's uncertainty is the entropy of their choices (against response_entropy) and their mean log response time
    (response_time). The model's temperature is fitted on other triplets than those it is scored on: two halves,
    each with the other's. Intervals: 95 % bootstrap over triplets. noise_ceiling: see `uncertainty_ceiling`.

    Returns: the columns of uncertainty.csv, `choices` and `note`; a single row with a note without levels.csv.
    Source: the paper, 'uncertainty alignment' (docs/method.md, section 6). The ceiling is ours.
    """
    if world.levels is None:
        return pd.DataFrame([{"n": 0, "choices": world.choices, "note": NO_LEVELS}], columns=COLUMNS)
    table = []
    for judged in choices_by_level(world):
        drawn, halves = triplet_weights(judged, settings), half_of_people(judged, settings.seed)
        entropies = {
            (student, target): metrics.entropy(model_probabilities(rows, judged, settings))
            for student, target, rows in _pooled(representations, settings)
        }
        for against, people in (("response_entropy", response_entropy), ("response_time", mean_log_time)):
            value = people(judged, torch.ones_like(halves))
            common = uncertainty_ceiling(people(judged, halves), people(judged, ~halves), drawn)
            names = {"level": judged.level, "against": against, "choices": world.choices, "ci_unit": "triplets"}
            for (student, target), entropy in entropies.items():
                score = _rank_correlation(entropy, value, drawn)
                note = "" if score["n"] else NOTHING[against]
                table.append({"student": student, "target": target} | score | common | names | {"note": note})
    return pd.DataFrame(table)[COLUMNS]


def reliability(world: World, representations: Representations, settings: Levels) -> pd.DataFrame:
    """How often people choose an item, by the probability that the model gives it (temperature as `uncertainty`).

    Returns: student, target, the columns of `metrics.reliability_bins`, choices and ci_unit.
    """
    if world.levels is None:
        return pd.DataFrame(columns=BINS)
    *_, judged = choices_by_level(world)
    drawn, counts, parts = triplet_weights(judged, settings), judged.counts()[:, None], []
    for student, target, rows in _pooled(representations, settings):
        predicted = model_probabilities(rows, judged, settings)[:, None]
        bins = metrics.reliability_bins(predicted, counts, settings.reliability_bins, drawn)
        parts.append(bins.assign(student=student, target=target))
    return pd.concat(parts, ignore_index=True).assign(choices=world.choices, ci_unit="triplets")[BINS]


def model_probabilities(unit: Tensor, judged: TimedChoices, settings: Levels) -> Tensor:
    """Choice probabilities (n, 3) float64 at a temperature fitted on the other half of the triplets."""
    return cross_fitted(pair_similarities(unit[judged.triplets]), judged.counts(), settings.seed)


def cross_fitted(similarities: Tensor, counts: Tensor, seed: int) -> Tensor:
    """Softmax of the similarities, each half of the triplets (drawn at random) at the other's `fitted_sharpness`.

    Args: similarities: (n, 3) in odd-one-out order; counts: (n, 3) people. Returns: (n, 3) float64.
    """
    half = torch.rand(len(counts), generator=torch.Generator().manual_seed(seed)) < 0.5
    probabilities = torch.empty(len(counts), 3, dtype=torch.float64)
    for inside in (half, ~half):
        other = ~inside if (~inside).any() else inside
        sharpness = fitted_sharpness(similarities[other], counts[other])
        probabilities[inside] = (sharpness * similarities[inside].double()).softmax(1)
    return probabilities


def fitted_sharpness(similarities: Tensor, counts: Tensor) -> float:
    """1 / tau of the softmax under which the choices are most likely, in [0.001, 1000].

    The log-likelihood is concave in it; its slope is 0 where Eq. 12 of docs/method.md holds.
    """
    values, people = similarities.double(), counts.sum(1)
    seen = float((values * counts).sum())

    def expected(sharpness: float) -> float:
        return float((((sharpness * values).softmax(1) * values).sum(1) * people).sum())

    return metrics.solve_increasing(expected, seen, 1e-3, 1e3)


def response_entropy(judged: TimedChoices, some: Tensor) -> Tensor:
    """Entropy in nats of people's choices about each triplet, (n,); NaN where fewer than two were made.

    Args: some: (m,) bool, which choices.
    """
    counts = judged.counts(some)
    people = counts.sum(1, keepdim=True)
    return metrics.entropy(counts / people).where(people[:, 0] > 1, torch.nan).double()


def mean_log_time(judged: TimedChoices, some: Tensor) -> Tensor:
    """Mean log response time in seconds of the choices about each triplet, (n,); NaN where none has a time."""
    known = some & ~judged.log_time.isnan()
    n = len(judged.triplets)
    sums = torch.bincount(judged.triplet[known], judged.log_time[known], minlength=n)
    return sums / torch.bincount(judged.triplet[known], minlength=n)  # 0 / 0 is NaN: no time


def half_of_people(judged: TimedChoices, seed: int) -> Tensor:
    """A random half of the choices about each triplet, (m,) bool; of an odd number, the smaller half is out of it."""
    order = torch.randperm(len(judged.triplet), generator=torch.Generator().manual_seed(seed))
    order = order[judged.triplet[order].argsort(stable=True)]  # triplet by triplet, in random order within each
    number = torch.bincount(judged.triplet)
    turn = torch.arange(len(order)) - (number.cumsum(0) - number)[judged.triplet[order]]
    return torch.zeros_like(judged.triplet, dtype=torch.bool).scatter_(0, order, turn % 2 == 0)


def uncertainty_ceiling(first: Tensor, second: Tensor, drawn: Tensor) -> dict[str, float]:
    """What a model that knew people's uncertainty exactly could reach, were only the number of answers limited.

    The square root of the reliability of the measure over all people, which Spearman and Brown's formula gives from
    the rank correlation r of two halves of the people: sqrt(2 r / (1 + r)); 0 for r below 0.

    Args: first, second: (n,) the same measure from each half, NaN where a half has none; drawn: (resamples, n).
    Returns: noise_ceiling and its 95 % bootstrap interval over triplets.
    """
    score = _rank_correlation(first, second, drawn)
    values = torch.tensor([score["spearman"], score["ci_low"], score["ci_high"]]).double().clamp(min=0)
    ceiling = (2 * values / (1 + values)).sqrt().tolist()
    return dict(zip(("noise_ceiling", "noise_ceiling_low", "noise_ceiling_high"), ceiling, strict=True))


def _rank_correlation(x: Tensor, y: Tensor, drawn: Tensor) -> dict[str, float]:
    known = ~(x.isnan() | y.isnan())
    score = {"spearman": metrics.spearman(x[known], y[known]), "n": int(known.sum())}
    low, high = metrics.spearman_interval(x[known], y[known], drawn[:, known])
    return score | {"ci_low": low, "ci_high": high}


def _pooled(representations: Representations, settings: Levels) -> Iterator[tuple[str, str, Tensor]]:
    """Unit vectors of every student's pooled representation: the one that is scored against people."""
    for (student, target, representation), rows in representations.items():
        if representation == "pooled":
            yield student, target, unit_vectors(rows, settings.centred)
