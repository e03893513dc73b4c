"""Uncertainty: is a model unsure where people are, and do its probabilities mean what they say?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from alignet import metrics
from alignet.config import Levels
from alignet.evaluation.human_choices import TimedChoices, choices_by_level
from alignet.evaluation.levels import CONTROL, NO_LEVELS, UNIT
from alignet.evaluation.representations import Representations
from alignet.intervals import Units, reliability_bins, spearman_influence
from alignet.metrics import unit_vectors
from alignet.triplets import pair_similarities
from alignet.worlds.format.tables import World

COLUMNS = ["student", "target", "level", "against", "spearman", "ci_low", "ci_high"]
COLUMNS += ["over_base", "over_base_low", "over_base_high", "over_control", "over_control_low", "over_control_high"]
COLUMNS += ["noise_ceiling", "noise_ceiling_low", "noise_ceiling_high", "n", "choices", "ci_unit", "note"]
BINS = ["student", "target", "bin", "predicted", "chosen", "ci_low", "ci_high", "n", "choices", "ci_unit"]
NOTHING = {
    "response_entropy": "no triplet was judged by two people",
    "response_time": "the world has no response times",
}


def uncertainty(world: World, representations: Representations, settings: Levels) -> pd.DataFrame:
    """Spearman correlation over triplets of the model's choice entropy with people's uncertainty, by level.

    People's uncertainty is the entropy of their choices (against response_entropy) and their mean log response time,
    standardised within each person (response_time). The model's temperature is fitted on other triplets than those it
    is scored on: two halves, each with the other's. Level 'all' is the mean of the levels' correlations: one
    correlation over all triplets would mostly show that levels differ. noise_ceiling: see `uncertainty_ceiling`; that
    of 'all' is the mean too. over_base and over_control: correlation minus that of the base and of the control, paired.

    Returns: the columns of uncertainty.csv, `choices` and `note`; a single row with a note without levels.csv.
    Source: the paper, 'uncertainty alignment' (docs/method.md, sections 6 and 10). The ceiling is ours.
    """
    if world.levels is None:
        return pd.DataFrame([{"n": 0, "choices": world.choices, "note": NO_LEVELS}], columns=COLUMNS)
    by_level = [judged for judged in choices_by_level(world) if judged.level != "all"]
    table = []
    for against, people in (("response_entropy", response_entropy), ("response_time", mean_time)):
        parts = [_level_correlations(judged, people, representations, settings) for judged in by_level]
        for name, correlations in [*zip([j.level for j in by_level], parts, strict=True), ("all", _mean_of(parts))]:
            n = int((correlations.people != 0).sum())
            names = {"level": name, "against": against, "n": n, "note": "" if n else NOTHING[against]}
            table += [row | names for row in correlations.rows()]
    return pd.DataFrame(table).assign(choices=world.choices, ci_unit=UNIT).reindex(columns=COLUMNS)


@dataclass(frozen=True)
class _Correlations:
    """Correlations over the triplets of a level, or their mean over levels, each with its influence, (n,).

    models: (student, target) -> correlation of the model's entropy with people's uncertainty; halves: that between the
    ceiling's two halves of the people, as ceiling and influence; people: (n,) 1 for the triplets that count, else 0.
    """

    units: Units
    models: dict[tuple[str, str], tuple[float, Tensor]]
    ceiling: tuple[float, Tensor]
    people: Tensor

    def rows(self) -> list[dict]:
        """A row for each model, without the names of level and measure."""
        low, high = self.units.interval(*self.ceiling)
        common = {"noise_ceiling": self.ceiling[0]}
        common |= {"noise_ceiling_low": max(low, 0.0), "noise_ceiling_high": min(high, 1.0)}
        rows = []
        for (student, target), (value, influence) in self.models.items():
            low, high = self.units.interval(value, influence)
            row = {"student": student, "target": target, "spearman": value, "ci_low": low, "ci_high": high}
            for other, name in (("base", "over_base"), (CONTROL, "over_control")):
                if target not in ("base", other) and (student, other) in self.models:
                    before, of_before = self.models[student, other]
                    low, high = self.units.interval(value - before, influence - of_before)
                    row |= {name: value - before, f"{name}_low": low, f"{name}_high": high}
            rows.append(row | common)
        return rows


def _level_correlations(
    judged: TimedChoices, people: Callable, representations: Representations, settings: Levels
) -> _Correlations:
    """Args: people: (choices, (m,) bool which of them) -> (n,) a measure of people's uncertainty about each triplet."""
    halves = half_of_people(judged, settings.seed)
    value = people(judged, torch.ones_like(halves))
    models = {}
    for student, target, rows in _pooled(representations, settings):
        entropy = metrics.entropy(model_probabilities(rows, judged, settings))
        models[student, target] = spearman_influence(entropy, value)
    ceiling = uncertainty_ceiling(people(judged, halves), people(judged, ~halves))
    return _Correlations(judged.units, models, ceiling, (~value.isnan()).double())


def _mean_of(parts: list[_Correlations]) -> _Correlations:
    """The mean over levels of each correlation, with its influence over the triplets of all of them."""

    def mean(scores: list[tuple[float, Tensor]]) -> tuple[float, Tensor]:
        value = sum(score for score, _ in scores) / len(scores)
        return value, torch.cat([influence for _, influence in scores]) / len(scores)

    units = Units(torch.cat([part.units.objects for part in parts]))
    models = {key: mean([part.models[key] for part in parts]) for key in parts[0].models}
    ceiling, people = mean([part.ceiling for part in parts]), torch.cat([part.people for part in parts])
    return _Correlations(units, models, ceiling, people)


def reliability(world: World, representations: Representations, settings: Levels) -> pd.DataFrame:
    """How often people choose an item, by the probability that the model gives it (temperature as `uncertainty`).

    Returns: student, target, the columns of `intervals.reliability_bins`, choices and ci_unit.
    """
    if world.levels is None:
        return pd.DataFrame(columns=BINS)
    *_, judged = choices_by_level(world)
    counts, parts = judged.counts()[:, None], []
    for student, target, rows in _pooled(representations, settings):
        predicted = model_probabilities(rows, judged, settings)[:, None]
        bins = reliability_bins(predicted, counts, settings.reliability_bins, judged.units)
        parts.append(bins.assign(student=student, target=target))
    return pd.concat(parts, ignore_index=True).assign(choices=world.choices, ci_unit=UNIT)[BINS]


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


def mean_time(judged: TimedChoices, some: Tensor) -> Tensor:
    """Mean standardised log response time of the choices about each triplet, (n,); NaN where none has a time."""
    known = some & ~judged.time.isnan()
    n = len(judged.triplets)
    sums = torch.bincount(judged.triplet[known], judged.time[known], minlength=n)
    return sums / torch.bincount(judged.triplet[known], minlength=n)  # 0 / 0 is NaN: no time


def half_of_people(judged: TimedChoices, seed: int) -> Tensor:
    """A random half of the choices about each triplet, (m,) bool; of an odd number, the smaller half is out of it."""
    order = torch.randperm(len(judged.triplet), generator=torch.Generator().manual_seed(seed))
    order = order[judged.triplet[order].argsort(stable=True)]  # triplet by triplet, in random order within each
    number = torch.bincount(judged.triplet)
    turn = torch.arange(len(order)) - (number.cumsum(0) - number)[judged.triplet[order]]
    return torch.zeros_like(judged.triplet, dtype=torch.bool).scatter_(0, order, turn % 2 == 0)


def uncertainty_ceiling(first: Tensor, second: Tensor) -> tuple[float, Tensor]:
    """What a model that knew people's uncertainty exactly could reach, were only the number of answers limited.

    The square root of the reliability of the measure over all people, which Spearman and Brown's formula gives from
    the rank correlation r of two halves of the people: sqrt(2 r / (1 + r)); 0, without an interval, for r below 0.

    Args: first, second: (n,) the same measure from each half, NaN where a half has none.
    Returns: the ceiling and its influence, (n,).
    """
    r, influence = spearman_influence(first, second)
    if not r > 0:
        return (0.0 if r <= 0 else r), torch.full_like(influence, torch.nan)
    ceiling = (2 * r / (1 + r)) ** 0.5
    return ceiling, influence / (ceiling * (1 + r) ** 2)


def _pooled(representations: Representations, settings: Levels) -> Iterator[tuple[str, str, Tensor]]:
    """Unit vectors of every student's pooled representation: the one that is scored against people."""
    for (student, target, representation), rows in representations.items():
        if representation == "pooled":
            yield student, target, unit_vectors(rows, settings.centred)
