"""Uncertainty of models and of people: rank correlation of the two, and calibration of models' choice probabilities."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import pandas as pd
import torch
from torch import Tensor

from alignet.config import HumanUncertainty, Levels
from alignet.evaluation import influences
from alignet.evaluation.human_choices import TimedChoices, choices_by_level
from alignet.evaluation.influences import Score
from alignet.evaluation.levels import CHUNK, NO_LEVELS, UNIT
from alignet.evaluation.representations import Representations, unit_of
from alignet.maths import metrics
from alignet.maths.choices import row_pair_similarities
from alignet.maths.intervals import Units, reliability_bins, spearman_influence
from alignet.worlds.format import regimes
from alignet.worlds.format.tables import World

COLUMNS = ["student", "target", "study", "regime", "level", "against", "spearman", "ci_low", "ci_high"]
COLUMNS += ["over_base", "over_base_low", "over_base_high", "over_control", "over_control_low", "over_control_high"]
COLUMNS += ["noise_ceiling", "noise_ceiling_low", "noise_ceiling_high"]
COLUMNS += ["n", "choices", "judged", "ci_unit", "note"]
BINS = ["student", "target", "study", "regime", "bin", "predicted", "chosen", "ci_low", "ci_high", "n"]
BINS += ["choices", "judged", "ci_unit"]
NOTHING = {
    "response_entropy": "no triplet was judged by two people",
    "response_time": "the world has no response times",
}
METRIC = "spearman"
FEWEST = 3  # triplets that make a correlation


def uncertainty(
    world: World, representations: Representations, settings: Levels, people: HumanUncertainty
) -> pd.DataFrame:
    """The table that `with_influences` returns."""
    return with_influences(world, representations, settings, people)[0]


def with_influences(
    world: World, representations: Representations, settings: Levels, people: HumanUncertainty
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Spearman correlation of models' choice entropy with people's uncertainty in each study, regime and level.

    People's uncertainty is the entropy of their choices (response_entropy), and their mean log response time,
    standardised within each person (response_time). A model's temperature is not fitted on the triplets that it is
    scored on: each half of the triplets has the temperature of the other half. Level 'all' is the mean of the
    correlations of the levels that have one, since one correlation over all triplets would mostly show that levels
    differ. noise_ceiling: see `uncertainty_ceiling`; that of 'all' is a mean too. over_base, over_control: correlation
    minus that of the base and of the control, paired. There is no interval for fewer than influences.FEWEST triplets.

    Args: representations: of the pictures of `World.scored_rows`.
    Returns: the columns of uncertainty.csv, `choices` and `note`, or a single row with a note where there are no
        choices; and blocks of `influences`.
    Source: the paper, 'uncertainty alignment' (docs/method.md, sections 6 and 10). The ceiling is ours.
    """
    by_level = [judged for judged in choices_by_level(world, people) if judged.level != "all"]
    every = {"choices": world.choices, "judged": world.judged}
    if not by_level:
        return pd.DataFrame([{"n": 0, "note": NO_LEVELS} | every], columns=COLUMNS), []
    unit = dict(_pooled(world, representations, settings))
    table, kept = [], []
    for (study, regime), of_regime in groupby(by_level, key=lambda judged: (judged.study, judged.regime)):
        levels = list(of_regime)
        for against, measure in (("response_entropy", response_entropy), ("response_time", mean_time)):
            parts = {each.level: _level_correlations(each, measure, unit, settings) for each in levels}
            for level, correlations in (parts | {"all": _mean_of(list(parts.values()))}).items():
                n = int(correlations.people.sum())
                names = {"study": study, "regime": regime, "level": level, "against": against}
                table += [row | names | {"n": n, "note": "" if n else NOTHING[against]} for row in correlations.rows()]
                if n >= FEWEST:
                    benchmark = f"uncertainty, {influences.about(study, regime, level)}, {against}"
                    kept.append(influences.block(benchmark, METRIC, correlations.units, correlations.models))
    return pd.DataFrame(table).assign(ci_unit=UNIT, **every).reindex(columns=COLUMNS), kept


@dataclass(frozen=True)
class _Correlations:
    """Correlations over the triplets of a level, or their mean over levels, each with its influence, (n,).

    models: (student, target) -> correlation of the model's entropy with people's uncertainty; ceiling: the noise
    ceiling and its influence; people: (n,) 1 for triplets that count, else 0.
    """

    units: Units
    models: dict[tuple[str, str], Score]
    ceiling: Score
    people: Tensor

    def rows(self) -> list[dict]:
        """A row for each model, without the names of level and measure."""
        counted = self.people > 0
        low, high = influences.interval(self.units, self.ceiling, counted)
        common = {"noise_ceiling": self.ceiling[0]}
        common |= {"noise_ceiling_low": max(low, 0.0), "noise_ceiling_high": min(high, 1.0)}
        return [row | common for row in influences.compared(self.models, self.units, METRIC, counted)]


def _level_correlations(
    judged: TimedChoices, people: Callable, unit: dict[tuple[str, str], Tensor], settings: Levels
) -> _Correlations:
    """The correlations over the triplets of one level.

    Args: people: (choices, (m,) bool which of them) -> (n,) a measure of people's uncertainty about each triplet; unit:
        unit vectors of each model.
    """
    halves = half_of_people(judged, settings.seed)
    value = people(judged, torch.ones_like(halves))
    models = {}
    for key, rows in unit.items():
        entropy = metrics.entropy(model_probabilities(rows, judged, settings))
        models[key] = spearman_influence(entropy, value)
    ceiling = uncertainty_ceiling(people(judged, halves), people(judged, ~halves))
    return _Correlations(judged.units, models, ceiling, (~value.isnan()).double())


def _mean_of(parts: list[_Correlations]) -> _Correlations:
    """The mean of each correlation over levels, with its influence over the triplets of all of these.

    Levels count if people's measure is known for three or more triplets; if this holds for no level, all levels count.
    """
    parts = [part for part in parts if part.people.sum() >= FEWEST] or parts

    def mean(scores: list[Score]) -> Score:
        value = sum(score for score, _ in scores) / len(scores)
        return value, torch.cat([influence for _, influence in scores]) / len(scores)

    units = Units(torch.cat([part.units.objects for part in parts]))
    models = {key: mean([part.models[key] for part in parts]) for key in parts[0].models}
    ceiling, people = mean([part.ceiling for part in parts]), torch.cat([part.people for part in parts])
    return _Correlations(units, models, ceiling, people)


def reliability(
    world: World, representations: Representations, settings: Levels, people: HumanUncertainty
) -> pd.DataFrame:
    """How often people choose an item, by the probability that a model gives to it.

    There are rows for each regime, and for each study as a whole, over all levels. Temperatures are those of
    `uncertainty`; a triplet counts once.

    Returns: student, target, study, regime, the columns of `intervals.reliability_bins`, choices, judged and ci_unit.
    """
    parts = [pd.DataFrame(columns=BINS)]
    unit = dict(_pooled(world, representations, settings))
    for judged in choices_by_level(world, people):
        if judged.level != "all" or (judged.study and judged.regime != regimes.EVERY):
            continue
        for (student, target), rows in unit.items():
            predicted = model_probabilities(rows, judged, settings)[:, None]
            shares = judged.shares()[:, None]
            bins = reliability_bins(predicted, shares, settings.reliability_bins, judged.units)
            names = {"student": student, "target": target, "study": judged.study, "regime": judged.regime}
            parts.append(bins.assign(**names, choices=world.choices, judged=world.judged, ci_unit=UNIT))
    return pd.concat(parts[1:] or parts, ignore_index=True)[BINS]


def model_probabilities(unit: Tensor, judged: TimedChoices, settings: Levels) -> Tensor:
    """Choice probabilities (n, 3) float64 at a temperature fitted on the other half of the triplets."""
    parts = [row_pair_similarities(unit, triplets) for triplets in judged.triplets.split(CHUNK)]
    return cross_fitted(torch.cat(parts), judged.counts(), settings.seed)


def cross_fitted(similarities: Tensor, counts: Tensor, seed: int) -> Tensor:
    """Softmax of similarities, where each random half of the triplets has the `fitted_sharpness` of the other half.

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
    """The inverse temperature 1 / tau, in [0.001, 1000], under which choices are most likely; each triplet counts once.

    The log-likelihood is concave in it; its slope is 0 where Eq. 12 of docs/method.md holds.

    Example:

    >>> import torch
    >>> from alignet.evaluation.uncertainty import fitted_sharpness
    >>> similarities = torch.tensor([[0.1, 0.2, 0.3], [0.3, 0.3, 0.0]], dtype=torch.float64)
    >>> counts = (5 * similarities).softmax(1)  # shares of the choices of people whose temperature is 1 / 5
    >>> round(fitted_sharpness(similarities, counts), 2)
    5.0
    """
    values = similarities.double()
    seen = float((values * counts / counts.sum(1, keepdim=True)).sum())

    def expected(sharpness: float) -> float:
        return float(((sharpness * values).softmax(1) * values).sum())

    return metrics.solve_increasing(expected, seen, 1e-3, 1e3)


def response_entropy(judged: TimedChoices, some: Tensor) -> Tensor:
    """The entropy, in nats, of people's choices about each triplet, (n,); NaN where there are fewer than two choices.

    Args: some: (m,) bool, the choices to count.
    """
    counts = judged.counts(some)
    people = counts.sum(1, keepdim=True)
    return metrics.entropy(counts / people).where(people[:, 0] > 1, torch.nan).double()


def mean_time(judged: TimedChoices, some: Tensor) -> Tensor:
    """The mean standardised log response time of the choices about each triplet, (n,); NaN where none has a time."""
    known = some & ~judged.time.isnan()
    n = len(judged.triplets)
    sums = torch.bincount(judged.triplet[known], judged.time[known], minlength=n)
    return sums / torch.bincount(judged.triplet[known], minlength=n)  # 0 / 0 is NaN: no time


def half_of_people(judged: TimedChoices, seed: int) -> Tensor:
    """A random half of the choices about each triplet, (m,) bool; of an odd number of choices, the larger half."""
    order = torch.randperm(len(judged.triplet), generator=torch.Generator().manual_seed(seed))
    order = order[judged.triplet[order].argsort(stable=True)]  # triplet by triplet, in random order within each
    number = torch.bincount(judged.triplet)
    turn = torch.arange(len(order)) - (number.cumsum(0) - number)[judged.triplet[order]]
    return torch.zeros_like(judged.triplet, dtype=torch.bool).scatter_(0, order, turn % 2 == 0)


def uncertainty_ceiling(first: Tensor, second: Tensor) -> tuple[float, Tensor]:
    """The correlation that a model with exact knowledge of people's uncertainty could reach with this number of
    answers.

    It is the square root of the reliability of the measure over all people, which follows by Spearman and Brown's
    formula from the rank correlation r of two halves of the people: sqrt(2 r / (1 + r)). For r below 0 it is 0, without
    an interval.

    Args: first, second: (n,) the same measure from each half, NaN where a half has none.
    Returns: the ceiling and its influence, (n,).

    Example:

    >>> import torch
    >>> from alignet.evaluation.uncertainty import uncertainty_ceiling
    >>> first = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64)
    >>> round(uncertainty_ceiling(first, first)[0], 3)  # both halves of the people agree
    1.0
    >>> round(uncertainty_ceiling(first, first[[1, 0, 2, 4, 3]])[0], 3)
    0.943
    """
    r, influence = spearman_influence(first, second)
    if not r > 0:
        return (0.0 if r <= 0 else r), torch.full_like(influence, torch.nan)
    ceiling = (2 * r / (1 + r)) ** 0.5
    return ceiling, influence / (ceiling * (1 + r) ** 2)


def _pooled(
    world: World, representations: Representations, settings: Levels
) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """Unit vectors of every student's pooled representation, which is the one that is compared with people."""
    test = torch.isin(world.scored_rows(), world.rows("test"))
    for (student, target, representation), rows in representations.items():
        if representation == "pooled":
            yield (student, target), unit_of(rows, test, settings.centred)
