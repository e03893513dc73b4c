"""Scores of several training seeds: means, and intervals over seeds and over the units of each score.

Columns of `summary`: ci_low and ci_high are the 95 % interval of the mean over seeds. Its variance is the variance over
seeds divided by their number, plus the variance over the units of the score (ci_unit names both; Eq. 19 of
docs/method.md). Where runs have stored influences, the second variance is that of the mean over seeds, and otherwise
the mean of the variances that follow from the seeds' own intervals. These columns are means over seeds with such an
interval: over_base and over_control (difference to the base and to the control of the same seed), relative_improvement
(percent over the base), over_floor (difference to the best floor, which `floor` names), above_ceiling (difference to
people's agreement) and kept (`kept`). verdict is 'AligNet' or 'control' in AligNet's rows where the interval of
over_control lies on one side of 0, and otherwise 'tie'; it is empty with fewer than three seeds or without an interval.
over_base_holm and over_control_holm are p values of the primary rows of downstream tasks, corrected for the number of
tasks (`tasks`).
"""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from alignet import config, results
from alignet.evaluation import benchmarks, influences, tasks
from alignet.evaluation.influences import Stored
from alignet.maths import intervals

KEY = ["student", "benchmark", "metric"]
ENOUGH = 3  # seeds, for a verdict
NORMAL = 1.959964  # standard errors from the middle of a 95 % interval to its ends
ENDS = ("", "_low", "_high")
COLUMNS = ["student", "benchmark", "study", "regime", "level", "metric", "target", "mean", "sd", "lowest", "highest"]
COLUMNS += ["ci_low", "ci_high", "ci_unit"]
COLUMNS += [f"{name}{end}" for name in ("over_base", "over_control", "relative_improvement") for end in ENDS]
COLUMNS += ["floor", *(f"{name}{end}" for name in ("over_floor", "above_ceiling", "kept") for end in ENDS)]
COUNTS = ["n", "n_choices", "n_people", "n_unnamed"]
COLUMNS += ["verdict", "task", "primary", *tasks.CORRECTED.values()]
COLUMNS += ["noise_ceiling", "chance", *COUNTS, "n_seeds", "choices", "judged"]
SAME = ["study", "regime", "level", "task", "primary", "noise_ceiling", "chance", *COUNTS, "choices", "judged"]
Model = tuple[str, str]  # student, target
Moved = tuple[intervals.Units, Tensor]  # units and their influence on a mean over seeds, (n,)


def collect(runs: dict[int, Path]) -> tuple[pd.DataFrame, dict[int, Stored]]:
    """The scores of all seeds as one table, and the influences of each seed.

    The table has the columns seed, student, target and those of `benchmarks.tidy`.

    Args: runs: for each seed the folder that holds its data/ and reports/.
    Raises: ValueError naming a run without stored influences: it was evaluated before runs stored them.
    """
    parts, kept = [], dict[int, Stored]()
    for seed, run in runs.items():
        data, reports = config.folders(str(run))
        tables = {stage: results.load(reports / "tables" / f"{stage}.csv") for stage in benchmarks.STAGES}
        parts.append(benchmarks.tidy(tables).assign(seed=seed))
        kept[seed] = {}
        for stage in ("levels", "similarity"):
            if not (data / stage / influences.FILE).is_file():
                raise ValueError(f"{data / stage / influences.FILE}: no such file: run the stage {stage} there again")
            kept[seed] |= influences.load(data / stage)
    scores = pd.concat(parts, ignore_index=True)
    return scores[["seed", *(column for column in scores if column != "seed")]], kept


def summary(scores: pd.DataFrame, kept: dict[int, Stored]) -> pd.DataFrame:
    """Mean, standard deviation and range over seeds of every score, a row for each student, target and benchmark.

    The module says what its columns hold.

    Args: scores, kept: as `collect` returns them.
    """
    rows = []
    floors = scores[scores["target"] == results.FLOOR]
    teachers = scores[scores["student"] == results.TEACHER]
    for key, of_score in scores.groupby(KEY, sort=False):
        of_targets = {target: table.set_index("seed") for target, table in of_score.groupby("target", sort=False)}
        of_floor = _best(floors[(floors["benchmark"] == key[1]) & (floors["metric"] == key[2])])
        for target, own in of_targets.items():
            row = dict(zip(KEY, key, strict=True)) | {"target": target} | own.iloc[0].reindex(SAME).to_dict()
            row |= _over_seeds(own, _moved(kept, [*own.index], key[1:], {(key[0], target): 1.0}))
            for other, name in results.OTHERS:
                if other in of_targets and target not in ("base", other, results.FLOOR):
                    row |= _difference(name, own, of_targets[other], kept, key[1:])
            if "base" in of_targets and target not in ("base", results.FLOOR):
                row |= _improvement(own, of_targets["base"], kept, key[1:])
            if of_floor is not None and target in results.TARGETS:
                row |= {"floor": of_floor["student"].iloc[0]}
                row |= _difference("over_floor", own, of_floor, kept, key[1:])
            if "above_ceiling" in own and own["above_ceiling"].notna().all():
                row |= _combined("above_ceiling", own["above_ceiling"], own, None)
            if target == results.ALIGNED and results.CONTROL in of_targets:
                row |= _kept(own, of_targets[results.CONTROL], teachers, kept, key[1:])
            if target == "alignet" and len(own) >= ENOUGH and pd.notna(row.get("over_control_low")):
                row["verdict"] = verdict(row["over_control_low"], row["over_control_high"])
            rows.append(row)
    return _corrected(pd.DataFrame(rows)).reindex(columns=COLUMNS)


def verdict(low: float, high: float) -> str:
    """The model that is ahead, by the interval of AligNet minus control: 'AligNet', 'control' or 'tie'."""
    return "AligNet" if low > 0 else "control" if high < 0 else "tie"


def _best(floors: pd.DataFrame) -> pd.DataFrame | None:
    """The rows by seed of the floor with the highest mean over seeds; None without floors."""
    if floors.empty:
        return None
    best = floors.groupby("student", sort=False)["value"].mean().idxmax()
    return floors[floors["student"] == best].set_index("seed")


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    """The table with p values of primary rows, corrected for the number of tasks."""
    for difference, column in tasks.CORRECTED.items():
        p = table.get(f"{difference}_p", pd.Series(influences.NAN, table.index))
        table = table.assign(**{column: tasks.corrected(table, p)})
    return table


def _over_seeds(own: pd.DataFrame, moved: Moved | None) -> dict:
    """The columns about one target's score. Args: own: the target's rows by seed."""
    values = own["value"]
    interval = _combined("ci", values, own, moved)
    columns = {"mean": values.mean(), "sd": values.std(), "lowest": values.min(), "highest": values.max()}
    unit = f"training seeds, and {own['ci_unit'].iloc[0]}"
    ends = {end: interval[end] for end in ("ci_low", "ci_high")}
    return columns | {"n_seeds": len(own), **ends, "ci_unit": unit}


def _difference(name: str, own: pd.DataFrame, other: pd.DataFrame, kept: dict[int, Stored], of: tuple) -> dict:
    """Columns of a model's score minus another one's, over the seeds that have both. Args: of: benchmark and metric."""
    seeds = own.index.intersection(other.index)
    weights = {_model(own): 1.0, _model(other): -1.0}
    values = (own["value"] - other["value"])[seeds]
    return _combined(name, values, own.loc[seeds], _moved(kept, [*seeds], of, weights))


def _improvement(own: pd.DataFrame, base: pd.DataFrame, kept: dict[int, Stored], of: tuple) -> dict:
    """Columns of the percentage over the base of the same seed.

    There are none without stored influences, or if the base has no score above 0.
    """
    name, seeds = "relative_improvement", own.index.intersection(base.index)
    after, before = own["value"][seeds], base["value"][seeds]
    if not (before > 0).all():
        return {}
    weights = {_model(own): 100 / before, _model(base): -100 * after / before**2}
    moved, own = _moved(kept, [*seeds], of, weights), own.loc[seeds]
    own = own.assign(**{f"{name}_{end}": own[f"over_base_{end}"] for end in ("low", "high")})  # where they have one
    return {} if moved is None else _combined(name, 100 * (after / before - 1), own, moved)


def _kept(own: pd.DataFrame, control: pd.DataFrame, teachers: pd.DataFrame, kept: dict[int, Stored], of: tuple) -> dict:
    """Columns of the mean over seeds of the share of the teacher's gain that a student keeps (Eq. 11b of
    docs/method.md).

    There is no interval if one seed has none.

    Args: teachers: rows about teachers, of every benchmark; of: benchmark, metric.
    """
    of_teacher = teachers[(teachers["benchmark"] == of[0]) & (teachers["metric"] == of[1])]
    if of_teacher.empty:
        return {}
    before, after = (
        of_teacher[of_teacher["target"] == name].set_index("seed") for name in (results.TEACHER_BEFORE, results.TEACHER)
    )
    part, whole = (a["value"] - b["value"] for a, b in ((own, control), (after, before)))
    if not (whole > 0).all():
        return {}
    weights = {_model(own): 1 / whole, _model(control): -1 / whole}
    weights |= {_model(after): -part / whole**2, _model(before): part / whole**2}
    return _combined("kept", part / whole, own, _moved(kept, [*own.index], of, weights))


def _model(rows: pd.DataFrame) -> Model:
    return rows["student"].iloc[0], rows["target"].iloc[0]


def _combined(name: str, values: pd.Series, own: pd.DataFrame, moved: Moved | None) -> dict:
    """The mean over seeds of a score, its 95 % interval and its p value.

    Interval and p value are NaN for a single seed, or if a seed has no interval of its own.

    Args: own: rows by seed, with each seed's interval under the same name; moved: the influence on the mean, if it was
        stored.
    """
    n, mean = len(values), float(values.mean())
    low, high = (own.get(f"{name}_{end}", pd.Series(influences.NAN, own.index)) for end in ("low", "high"))
    if n < 2 or low.isna().any():  # or of too few units
        return {name: mean, f"{name}_low": influences.NAN, f"{name}_high": influences.NAN, f"{name}_p": influences.NAN}
    if moved is None:
        of_units = _of_own(low, high, own)
    else:
        units, influence = moved
        of_units = units.standard_error(influence) ** 2, units.freedom
    parts = [(float(values.var()) / n, n - 1), of_units]
    low, high = intervals.t_interval(mean, parts)
    return {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_p": intervals.p_value(mean, parts)}


def _of_own(low: pd.Series, high: pd.Series, own: pd.DataFrame) -> tuple[float, float]:
    """The variance over units and its degrees of freedom, from the seeds' own intervals.

    Intervals over episodes are Student's t over n draws.
    """
    from scipy.stats import t

    if (own["ci_unit"] == "episodes").all():
        freedom = float(own["n"].min()) - 1
        return float((((high - low) / 2 / t.ppf(0.975, freedom)) ** 2).mean()), freedom
    return float((((high - low) / 2 / NORMAL) ** 2).mean()), float("inf")


def _moved(
    kept: dict[int, Stored], seeds: list[int], of: tuple, weights: dict[Model, float | pd.Series]
) -> Moved | None:
    """The influence on the mean over seeds of a weighted sum of models' scores; None if a seed has not stored
    influences.

    Args: of: benchmark and metric; weights: a number for each model, or for each model and seed.
    Raises: ValueError if two seeds were scored on different units.
    """
    known = {seed: kept[seed].get(of) for seed in seeds}
    found = {seed: each for seed, each in known.items() if each is not None and set(weights) <= set(each[1])}
    if not found or len(found) < len(seeds):
        return None
    units = found[seeds[0]][0]
    if any(not torch.equal(units.objects, each[0].objects) for each in found.values()):
        raise ValueError(f"{of[0]}: the seeds were scored on different choices: run their evaluations again")
    of_seeds = []
    for seed, (_, influence) in found.items():
        one = {model: weight[seed] if isinstance(weight, pd.Series) else weight for model, weight in weights.items()}
        of_seeds.append(torch.stack([weight * influence[model] for model, weight in one.items()]).sum(0))
    return units, torch.stack(of_seeds).mean(0)
