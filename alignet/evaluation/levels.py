"""Levels: representations against people's choices from fine to coarse. One row per student, target and level."""

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from alignet import metrics
from alignet.config import Levels
from alignet.evaluation.human_choices import TimedChoices, choices_by_level, human_agreement
from alignet.evaluation.representations import Representations
from alignet.intervals import Units, mean_influence
from alignet.metrics import unit_vectors
from alignet.triplets import odd_one_out, pair_similarities
from alignet.worlds.format import pictures
from alignet.worlds.format.tables import World

NO_LEVELS = "the world has no levels.csv"
UNIT = "triplets that share concepts"
COLUMNS = ["student", "target", "representation", "level", "centred", "odd_one_out_accuracy", "ci_low", "ci_high"]
COLUMNS += ["majority_accuracy", "majority_low", "majority_high"]
COLUMNS += ["noise_ceiling", "noise_ceiling_low", "noise_ceiling_high"]
COLUMNS += ["above_ceiling", "above_ceiling_low", "above_ceiling_high", "passes_ceiling"]
COLUMNS += ["over_base", "over_base_low", "over_base_high", "over_control", "over_control_low", "over_control_high"]
COLUMNS += ["relative_improvement", "relative_improvement_low", "relative_improvement_high"]
for centring in ("centred", "uncentred"):
    COLUMNS += [f"{centring}_accuracy", f"{centring}_low", f"{centring}_high", f"{centring}_improvement"]
    COLUMNS += [f"{centring}_improvement_low", f"{centring}_improvement_high"]
COLUMNS += ["n_triplets", "n_choices", "choices", "ci_unit", "note"]
CONTROL = "unalignet"


def levels(world: World, representations: Representations, settings: Levels) -> pd.DataFrame:
    """Odd-one-out accuracy at each level of abstraction, with 95 % intervals that allow for shared concepts.

    The accuracy is the share of people's single choices that the model makes too, `majority_accuracy` that of
    triplets on which it chooses as most people do, and the noise ceiling the share on which one person agrees with
    the majority of the others on the same triplet: all in [0, 1], chance 1/3. Differences are paired: `above_ceiling`
    (accuracy minus ceiling, on triplets that two people or more judged), `over_base` and `over_control` (accuracy minus
    that of the base's pooled representation, or of the control's same one) and relative_improvement (percent over the
    base). passes_ceiling says that the whole interval of above_ceiling lies above 0. A majority of few others is
    unsure, which lowers the ceiling: to pass it is not to be more human than people.

    Similarities are cosines, of features whose mean over the test pictures is subtracted where `centred` says so.
    `centred_` and `uncentred_` columns hold accuracy and relative improvement both ways; the other columns are those of
    settings.centred.

    Returns: the columns of levels.csv, `choices` (whose they are: human, simulated or derived) and `note`; a world
        without levels.csv gives rows of level 'all' without numbers and a note that says so.
    Raises: ValueError if levels.csv shows a picture outside the test split.
    Source: the paper, Results, 'Levels' (Eq. 11 of docs/method.md); intervals: section 10 there. Centring is ours.
    """
    if world.levels is None:
        return _without_levels(world, representations)
    units = {centred: {k: unit_vectors(x, centred) for k, x in representations.items()} for centred in (True, False)}
    table = []
    for judged in choices_by_level(world):
        counts = judged.counts()
        chosen = {centred: {key: _choices(x, judged) for key, x in unit.items()} for centred, unit in units.items()}
        agrees = {c: {key: metrics.agreement(odd, counts) for key, odd in of.items()} for c, of in chosen.items()}
        common: dict[str, Any] = {"level": judged.level, "n_triplets": len(counts), "n_choices": len(judged.item)}
        common |= _mean("noise_ceiling", "noise_ceiling", human_agreement(judged), counts.sum(1), judged.units)
        for key in representations:
            row = dict(zip(COLUMNS, (*key, judged.level, settings.centred), strict=False)) | common
            row |= _against_people(chosen[settings.centred][key], judged)
            row |= _against_others(agrees[settings.centred], key, counts.sum(1), judged.units)
            for centred, centring in ((True, "centred"), (False, "uncentred")):
                agreement, base = (agrees[centred][k] for k in (key, (key[0], "base", "pooled")))
                row |= _mean(f"{centring}_accuracy", centring, agreement, counts.sum(1), judged.units)
                row |= _improvement(f"{centring}_improvement", agreement, base, counts.sum(1), judged.units)
            table.append(row)
    return pd.DataFrame(table).assign(choices=world.choices, ci_unit=UNIT, note="").reindex(columns=COLUMNS)


def examples(world: World, size: int = 96) -> dict[str, tuple[Tensor, int]] | None:
    """Of each level the triplet that most people agree on: its pictures, (3, 3, size, size) uint8, and the odd one.

    Of several the first whose concepts no earlier level shows; None where the world has no levels.csv.
    """
    found, taken, rows = {}, torch.empty(0, dtype=torch.int64), world.rows("test")
    for judged in choices_by_level(world):
        if judged.level == "all":
            continue
        votes, odd = judged.counts().max(1)
        shown = torch.isin(judged.concepts, taken).any(1)
        best = int((votes.double() / judged.counts().sum(1).clamp(min=1) + votes / 1e3 - shown.double()).argmax())
        paths = world.paths(rows[judged.triplets[best]])
        found[judged.level] = (pictures.stack(paths, size=size, workers=0), int(odd[best]))
        taken = torch.cat([taken, judged.concepts[best]])
    return found or None


def _without_levels(world: World, representations: Representations) -> pd.DataFrame:
    rows = [dict(zip(COLUMNS, (*key, "all"), strict=False)) for key in representations]
    notes = {"passes_ceiling": False, "n_triplets": 0, "n_choices": 0, "choices": world.choices}
    return pd.DataFrame(rows).reindex(columns=COLUMNS).assign(**notes, ci_unit=UNIT, note=NO_LEVELS)


def _choices(unit: Tensor, judged: TimedChoices) -> Tensor:
    return odd_one_out(pair_similarities(unit[judged.triplets]))


def _against_people(chosen: Tensor, judged: TimedChoices) -> dict[str, Any]:
    """Accuracy, agreement with the majority, and accuracy minus noise ceiling, of a model's choices (n,)."""
    counts, units = judged.counts(), judged.units
    agreement, people = metrics.agreement(chosen, counts), counts.sum(1)
    row: dict[str, Any] = _mean("odd_one_out_accuracy", "ci", agreement, people, units)
    majority = metrics.majority_agreement(chosen, counts)
    row |= _mean("majority_accuracy", "majority", majority, torch.ones(len(counts)), units)
    row |= _mean("above_ceiling", "above_ceiling", agreement - human_agreement(judged), people, units)
    return row | {"passes_ceiling": row["above_ceiling_low"] > 0}


def _against_others(agrees: dict, key: tuple[str, str, str], people: Tensor, units: Units) -> dict[str, float]:
    """Accuracy minus the base's and the control's, and percent over the base. Args: agrees: key -> (n,) agreement."""
    student, target, representation = key
    base, control = agrees[student, "base", "pooled"], agrees.get((student, CONTROL, representation))
    row = _improvement("relative_improvement", agrees[key], base, people, units)
    if target != "base":
        row |= _mean("over_base", "over_base", agrees[key] - base, people, units)
    if target not in ("base", CONTROL) and control is not None:
        row |= _mean("over_control", "over_control", agrees[key] - control, people, units)
    return row


def _mean(name: str, ends: str, values: Tensor, weights: Tensor, units: Units) -> dict[str, float]:
    """The weighted mean of the values that are no NaN, and its 95 % interval, under these names."""
    mean, influence = mean_influence(values, weights)
    low, high = units.interval(mean, influence)
    return {name: mean, f"{ends}_low": low, f"{ends}_high": high}


def _improvement(name: str, agreement: Tensor, base: Tensor, people: Tensor, units: Units) -> dict[str, float]:
    """Percent over the base's pooled representation at the same level, with its paired interval; NaN over 0."""
    after, of_after = mean_influence(agreement, people)
    before, of_before = mean_influence(base, people)
    if before == 0:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
    percent = 100 * (after / before - 1)
    low, high = units.interval(percent, 100 * (of_after - after / before * of_before) / before)
    return {name: percent, f"{name}_low": low, f"{name}_high": high}
