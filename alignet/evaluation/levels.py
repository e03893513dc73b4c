"""Levels: representations against people's choices from fine to coarse. One row per student, target and level."""

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from alignet import results
from alignet.config import HumanUncertainty, Levels
from alignet.evaluation import influences, kept
from alignet.evaluation.human_choices import TimedChoices, choices_by_level, human_agreement
from alignet.evaluation.influences import Score, interval, mean
from alignet.evaluation.representations import Representations, unit_of
from alignet.maths import metrics
from alignet.maths.choices import odd_one_out, row_pair_similarities
from alignet.maths.intervals import mean_influence
from alignet.worlds.format import pictures, regimes
from alignet.worlds.format.tables import World

NO_LEVELS = "the world has no levels.csv and no test choices about judged concepts: students are not scored here, and "
NO_LEVELS += "the teacher is by cross-validation (teacher.csv, split cross-fitted)"
UNIT = "triplets that share concepts"
METRIC = "odd_one_out_accuracy"
CHUNK = 8192  # triplets whose representations are in memory together
ENDS = ("", "_low", "_high")
COLUMNS = ["student", "target", "representation", "study", "regime", "level", "centred"]
COLUMNS += ["odd_one_out_accuracy", "ci_low", "ci_high", "majority_accuracy", "majority_low", "majority_high"]
COLUMNS += ["noise_ceiling", "noise_ceiling_low", "noise_ceiling_high"]
COLUMNS += ["above_ceiling", "above_ceiling_low", "above_ceiling_high", "passes_ceiling"]
COLUMNS += [f"{name}{end}" for name in ("over_base", "over_control", "relative_improvement") for end in ENDS]
COLUMNS += ["floor", *(f"over_floor{end}" for end in ENDS), *kept.COLUMNS]
for centring in ("centred", "uncentred"):
    COLUMNS += [f"{centring}_accuracy", f"{centring}_low", f"{centring}_high"]
    for name in ("over_base", "over_control", "improvement"):
        COLUMNS += [f"{centring}_{name}{end}" for end in ENDS]
COLUMNS += ["n_triplets", "n_repeated", "n_choices", "n_people", "n_unnamed"]
COLUMNS += ["choices", "judged", "ci_unit", "note"]


def levels(world: World, representations: Representations, settings: Levels, people: HumanUncertainty) -> pd.DataFrame:
    """The table that `with_influences` returns."""
    return with_influences(world, representations, settings, people)[0]


def with_influences(
    world: World, representations: Representations, settings: Levels, people: HumanUncertainty
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Odd-one-out accuracy in each study, regime and level of abstraction, and the influences of pooled
    representations.

    A triplet counts once, however many people judged it. accuracy: mean over triplets of the share of people's choices
    that the model makes too. majority_accuracy: share of triplets on which the model chooses as most people do.
    noise_ceiling: mean of how often one person agrees with the majority of the others, over the n_repeated triplets
    that several people judged; NaN without such triplets. All three lie in [0, 1], and chance is 1/3.

    Differences are paired. above_ceiling: accuracy minus ceiling, on triplets that several people judged. over_base,
    over_control: accuracy minus that of the base's pooled representation, and of the control's same representation.
    relative_improvement: percent over the base. over_floor: accuracy minus that of the best floor, which `floor` names
    (`floors`). passes_ceiling: whether the whole interval of above_ceiling lies above 0. A majority of few people is
    unsure, which lowers the ceiling, so a model above it is not more human than people. kept, reached: see `kept`.
    Intervals are 95 % and allow for shared concepts; there is none for fewer than influences.FEWEST triplets.

    Similarities are cosines. If `centred` says so, the mean of the test split's pictures is subtracted from the
    features first. The teacher's similarities are the dot products that its labels come from. Columns that begin with
    centred_ and uncentred_ hold accuracies and differences both ways; the other columns follow settings.centred.

    Args: representations: of the pictures of `World.scored_rows`; those of target 'floor' are floors, those of student
        'teacher' are the teacher's.
    Returns: the columns of levels.csv, `choices` (whose they are), `judged` (what people saw if not these pictures) and
        `note`; a world without choices to score gives rows of level 'all' without numbers and a note that says so. And
        blocks of `influences`.
    Source: the paper, Results, 'Levels' (Eq. 11 of docs/method.md); intervals: section 10 there. Centring is ours.
    """
    test = torch.isin(world.scored_rows(), world.rows("test"))
    units = {c: {key: _compared(key, x, test, c) for key, x in representations.items()} for c in (True, False)}
    table, moved = [], []
    for judged in choices_by_level(world, people):
        chosen = {centred: {key: choices(x, judged) for key, x in unit.items()} for centred, unit in units.items()}
        table += _rows(judged, chosen, settings)
        moved.append(_influences(judged, chosen[settings.centred]))
    if not table:
        return _without_levels(world, representations), []
    scores = pd.DataFrame(table).assign(choices=world.choices, judged=world.judged, ci_unit=UNIT, note="")
    return scores.reindex(columns=COLUMNS), moved


def _compared(key: tuple[str, str, str], features: Tensor, test: Tensor, centred: bool) -> Tensor:
    """Rows whose dot products are compared: rows of unit length, except for the teacher's, which are not scaled."""
    return features if key[0] == results.TEACHER else unit_of(features, test, centred)


def choices(unit: Tensor, judged: TimedChoices) -> Tensor:
    """The odd one out that a model chooses in each triplet, (n,); see `odd_one_out`. Args: unit: (pictures, dim)."""
    parts = [row_pair_similarities(unit, triplets) for triplets in judged.triplets.split(CHUNK)]
    return odd_one_out(torch.cat(parts))


def _rows(judged: TimedChoices, chosen: dict[bool, dict], settings: Levels) -> list[dict]:
    """A row of the table for each representation. Args: chosen: centred -> key -> (n,) the model's choices."""
    counts, units, people = judged.counts(), judged.units, human_agreement(judged)
    agrees = {c: {key: metrics.agreement(odd, counts) for key, odd in of.items()} for c, of in chosen.items()}
    common: dict[str, Any] = judged.names | {"n_triplets": len(counts), "n_choices": len(judged.item)}
    common |= {"n_repeated": int((~people.isnan()).sum()), "n_people": judged.people, "n_unnamed": judged.unnamed}
    common |= mean("noise_ceiling", "noise_ceiling", people, units) | {"centred": settings.centred}
    table = []
    for key in agrees[settings.centred]:
        row = dict(zip(("student", "target", "representation"), key, strict=True)) | common
        row |= _against_people(chosen[settings.centred][key], agrees[settings.centred][key], people, judged)
        row |= _against_others(agrees[settings.centred], key, judged)
        row |= _over_floor(agrees[settings.centred], key, judged) | _kept(agrees[settings.centred], key, judged)
        for centred, centring in ((True, "centred"), (False, "uncentred")):
            row |= mean(f"{centring}_accuracy", centring, agrees[centred][key], units)
            others = _against_others(agrees[centred], key, judged)
            row |= {f"{centring}_{name.removeprefix('relative_')}": value for name, value in others.items()}
        table.append(row)
    return table


def _influences(judged: TimedChoices, chosen: dict[tuple[str, str, str], Tensor]) -> pd.DataFrame:
    """The influences of the pooled representations, as a block of `influences`."""
    counts, scores = judged.counts(), {}
    for (student, target, representation), odd in chosen.items():
        if representation == "pooled":
            scores[student, target] = mean_influence(metrics.agreement(odd, counts), torch.ones(len(counts)))
    return influences.block(f"levels, {influences.about(**judged.names)}", METRIC, judged.units, scores)


def examples(world: World, people: HumanUncertainty, size: int = 96) -> dict[str, tuple[Tensor, int]] | None:
    """The triplet of each level on which most people agree: its pictures, (3, 3, size, size) uint8, and the odd one
    out.

    They show new concepts or, where there are none, known ones. Among equals it is the first triplet whose concepts no
    earlier level shows. None is returned for a world without choices to score.
    """
    by_level, taken, rows = {}, torch.empty(0, dtype=torch.int64), world.scored_rows()
    every = [judged for judged in choices_by_level(world, people) if not judged.study and judged.level != "all"]
    regime = min((judged.regime for judged in every), key=regimes.HEADLINE.index, default=None)
    for judged in (judged for judged in every if judged.regime == regime):
        votes, odd = judged.counts().max(1)
        shown = torch.isin(judged.concepts, taken).any(1)
        best = int((votes.double() / judged.counts().sum(1).clamp(min=1) + votes / 1e3 - shown.double()).argmax())
        paths = world.paths(rows[judged.triplets[best]])
        by_level[judged.level] = (pictures.stack(paths, size=size, workers=0), int(odd[best]))
        taken = torch.cat([taken, judged.concepts[best]])
    return by_level or None


def _without_levels(world: World, representations: Representations) -> pd.DataFrame:
    names = [dict(zip(("student", "target", "representation"), key, strict=True)) for key in representations]
    nothing = dict.fromkeys(("n_triplets", "n_repeated", "n_choices", "n_people", "n_unnamed"), 0)
    rows = pd.DataFrame(names).reindex(columns=COLUMNS).assign(level="all", passes_ceiling=False, **nothing)
    return rows.assign(choices=world.choices, judged=world.judged, ci_unit=UNIT, note=NO_LEVELS)


def _against_people(chosen: Tensor, agrees: Tensor, people: Tensor, judged: TimedChoices) -> dict[str, Any]:
    """Columns of a model's choices, (n,): accuracy, agreement with the majority, and accuracy minus noise ceiling.

    Args: agrees: (n,) share of people who chose as the model did; people: (n,) how often one person agrees with the
        others.
    """
    row: dict[str, Any] = mean("odd_one_out_accuracy", "ci", agrees, judged.units)
    row |= mean("majority_accuracy", "majority", metrics.majority_agreement(chosen, judged.counts()), judged.units)
    row |= mean("above_ceiling", "above_ceiling", agrees - people, judged.units)
    return row | {"passes_ceiling": row["above_ceiling_low"] > 0}


def _against_others(agrees: dict, key: tuple[str, str, str], judged: TimedChoices) -> dict[str, float]:
    """Columns of accuracy minus the base's and the control's, and of percent over the base. Args: agrees: key -> (n,)
    agreement.
    """
    student, target, representation = key
    if (student, "base", "pooled") not in agrees:  # floors and the teacher
        return {}
    base, control = agrees[student, "base", "pooled"], agrees.get((student, results.CONTROL, representation))
    row = _improvement("relative_improvement", agrees[key], base, judged)
    if target != "base":
        row |= mean("over_base", "over_base", agrees[key] - base, judged.units)
    if target not in ("base", results.CONTROL) and control is not None:
        row |= mean("over_control", "over_control", agrees[key] - control, judged.units)
    return row


def _over_floor(agrees: dict, key: tuple[str, str, str], judged: TimedChoices) -> dict[str, Any]:
    """Columns of accuracy minus that of the best floor at the same level; none without floors.

    The floor is chosen by its score on the same triplets, so the difference is biased downwards.

    Args: agrees: key -> (n,) agreement.
    """
    floors = {name: agreement for (name, target, _), agreement in agrees.items() if target == results.FLOOR}
    if key[1] == results.FLOOR or not floors:
        return {}
    best = max(floors, key=lambda name: float(floors[name].mean()))
    return {"floor": best} | mean("over_floor", "over_floor", agrees[key] - floors[best], judged.units)


def _kept(agrees: dict, key: tuple[str, str, str], judged: TimedChoices) -> dict[str, float]:
    """Columns of what an aligned student keeps of its teacher's gain. Args: agrees: key -> (n,) agreement."""
    student, target, representation = key
    places = {name: (student, name, "pooled") for name in results.TARGETS}
    places |= {name: (results.TEACHER, name, "pooled") for name in (results.TEACHER_BEFORE, results.TEACHER)}
    if (target, representation) != (results.ALIGNED, "pooled") or not set(places.values()) <= set(agrees):
        return {}
    return kept.shares({name: agrees[place] for name, place in places.items()}, judged.units)


def _improvement(name: str, agreement: Tensor, base: Tensor, judged: TimedChoices) -> dict[str, float]:
    """Percent over the base's pooled representation at the same level, with its paired interval; NaN over 0."""
    after, of_after = mean_influence(agreement, torch.ones(len(agreement)))
    before, of_before = mean_influence(base, torch.ones(len(base)))
    if before == 0:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
    percent: Score = 100 * (after / before - 1), 100 * (of_after - after / before * of_before) / before
    low, high = interval(judged.units, percent)
    return {name: percent[0], f"{name}_low": low, f"{name}_high": high}
