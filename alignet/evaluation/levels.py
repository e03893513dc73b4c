"""Levels: representations against people's choices from fine to coarse. One row per student, target and level."""

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from alignet import metrics
from alignet.config import Levels
from alignet.evaluation.human_choices import TimedChoices, choices_by_level, human_agreement, triplet_weights
from alignet.evaluation.representations import Representations
from alignet.metrics import unit_vectors
from alignet.triplets import odd_one_out, pair_similarities
from alignet.worlds.format.tables import World

NO_LEVELS = "the world has no levels.csv"
COLUMNS = ["student", "target", "representation", "level", "odd_one_out_accuracy", "ci_low", "ci_high"]
COLUMNS += ["majority_accuracy", "majority_low", "majority_high"]
COLUMNS += ["noise_ceiling", "noise_ceiling_low", "noise_ceiling_high"]
COLUMNS += ["above_ceiling", "above_ceiling_low", "above_ceiling_high", "passes_ceiling"]
COLUMNS += ["relative_improvement", "relative_improvement_low", "relative_improvement_high"]
COLUMNS += ["n_triplets", "n_choices", "choices", "ci_unit", "note"]


def levels(world: World, representations: Representations, settings: Levels) -> pd.DataFrame:
    """Odd-one-out accuracy at each level of abstraction, with 95 % bootstrap intervals over triplets.

    The accuracy is the share of people's single choices that the model makes too, `majority_accuracy` that of
    triplets on which it chooses as most people do, and the noise ceiling the share on which one person agrees with
    the majority of the others on the same triplet: all in [0, 1], chance 1/3. All are resampled together, so that
    `above_ceiling` (accuracy minus ceiling, on triplets that two people or more judged) and relative_improvement have
    paired intervals; passes_ceiling says that the whole interval of above_ceiling lies above 0. A majority of few
    others is unsure, which lowers the ceiling: to pass it is not to be more human than people.

    Returns: the columns of levels.csv, `choices` (whose they are: human, simulated or derived) and `note`; a world without levels.csv
        gives rows of level 'all' without numbers and a note that says so.
    Raises: ValueError if levels.csv shows a picture outside the test split.
    Source: the paper, Results, 'Levels' (Eq. 11 of docs/method.md).
    """
    if world.levels is None:
        return _without_levels(world, representations)
    unit = {key: unit_vectors(rows, settings.centred) for key, rows in representations.items()}
    table = []
    for judged in choices_by_level(world):
        drawn, counts = triplet_weights(judged, settings), judged.counts()
        agrees = {key: metrics.agreement(*_choices(rows, judged, counts)) for key, rows in unit.items()}
        ceiling = human_agreement(judged)
        common = {"level": judged.level, "n_triplets": len(counts), "n_choices": len(judged.item)}
        common |= _noise_ceiling(ceiling, counts, drawn)
        for (student, target, representation), agreement in agrees.items():
            row: dict[str, Any] = {"student": student, "target": target, "representation": representation}
            row |= _interval("odd_one_out_accuracy", "ci", agreement, counts.sum(1), drawn)
            majority = metrics.majority_agreement(*_choices(unit[student, target, representation], judged, counts))
            row |= _interval("majority_accuracy", "majority", majority, torch.ones(len(counts)), drawn)
            row |= _above_ceiling(agreement, ceiling, counts, drawn)
            row |= _improvement(agreement, agrees[student, "base", "pooled"], counts, drawn)
            table.append(row | common)
    return pd.DataFrame(table).assign(choices=world.choices, ci_unit="triplets", note="")[COLUMNS]


def _without_levels(world: World, representations: Representations) -> pd.DataFrame:
    rows = [dict(zip(COLUMNS, (*key, "all"), strict=False)) for key in representations]
    notes = {"passes_ceiling": False, "n_triplets": 0, "n_choices": 0, "choices": world.choices}
    return pd.DataFrame(rows).reindex(columns=COLUMNS).assign(**notes, ci_unit="triplets", note=NO_LEVELS)


def _choices(unit: Tensor, judged: TimedChoices, counts: Tensor) -> tuple[Tensor, Tensor]:
    return odd_one_out(pair_similarities(unit[judged.triplets])), counts


def _interval(name: str, ends: str, values: Tensor, weights: Tensor, drawn: Tensor) -> dict[str, float]:
    """The weighted mean of the values that are no NaN, and its 95 % interval, under these names."""
    low, high = metrics.bootstrap_interval(values, weights, drawn)
    mean = float(metrics.weighted_means(values, weights, torch.ones(1, len(values)).double()))
    return {name: mean, f"{ends}_low": low, f"{ends}_high": high}


def _noise_ceiling(ceiling: Tensor, counts: Tensor, drawn: Tensor) -> dict[str, float]:
    return _interval("noise_ceiling", "noise_ceiling", ceiling, counts.sum(1), drawn)


def _above_ceiling(agreement: Tensor, ceiling: Tensor, counts: Tensor, drawn: Tensor) -> dict:
    difference = _interval("above_ceiling", "above_ceiling", agreement - ceiling, counts.sum(1), drawn)
    return difference | {"passes_ceiling": difference["above_ceiling_low"] > 0}


def _improvement(agreement: Tensor, base: Tensor, counts: Tensor, drawn: Tensor) -> dict[str, float]:
    """Percent over the base's pooled representation at the same level, with its paired interval; NaN over 0."""
    people, once = counts.sum(1), torch.ones(1, len(counts)).double()
    after, before = (metrics.weighted_means(values, people, torch.cat([once, drawn])) for values in (agreement, base))
    percent = (100 * (after / before - 1)).masked_fill(before == 0, torch.nan)
    low, high = metrics.percentile_interval(percent[1:])
    names = ("relative_improvement", "relative_improvement_low", "relative_improvement_high")
    return dict(zip(names, (float(percent[0]), low, high), strict=True))
