"""Scores of several training seeds: their means, and intervals over seeds and over the units that a score is of."""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from alignet import config, results
from alignet.evaluation import comparison, influences
from alignet.evaluation.influences import Stored
from alignet.maths import intervals

KEY = ["student", "benchmark", "metric"]
ENOUGH = 3  # seeds, for a verdict
NORMAL = 1.959964  # standard errors from the middle of a 95 % interval to its ends
COLUMNS = ["student", "benchmark", "study", "regime", "level", "metric", "target", "mean", "sd", "lowest", "highest"]
COLUMNS += ["ci_low", "ci_high", "ci_unit"]
COLUMNS += ["over_base", "over_base_low", "over_base_high", "over_control", "over_control_low", "over_control_high"]
COUNTS = ["n", "n_choices", "n_people", "n_unnamed"]
COLUMNS += ["verdict", "noise_ceiling", "chance", *COUNTS, "n_seeds", "choices", "judged"]
SAME = ["study", "regime", "level", "noise_ceiling", "chance", *COUNTS, "choices", "judged"]
Moved = tuple[intervals.Units, Tensor]  # units and their influence on a mean over seeds, (n,)


def collect(runs: dict[int, Path]) -> tuple[pd.DataFrame, dict[int, Stored]]:
    """The scores of every seed as one table: seed, student, target and the columns of `comparison.tidy`; and the
    influences of every seed.

    Args: runs: of each seed the folder that holds its data/ and reports/.
    Raises: ValueError naming a run whose influences are not there: it was evaluated before they were kept.
    """
    parts, kept = [], dict[int, Stored]()
    for seed, run in runs.items():
        data, reports = config.folders(str(run))
        tables = {stage: results.load(reports / "tables" / f"{stage}.csv") for stage in comparison.STAGES}
        parts.append(comparison.tidy(tables).assign(seed=seed))
        kept[seed] = {}
        for stage in ("levels", "similarity"):
            if not (data / stage / influences.FILE).is_file():
                raise ValueError(f"{data / stage / influences.FILE}: no such file: run the stage {stage} there again")
            kept[seed] |= influences.load(data / stage)
    scores = pd.concat(parts, ignore_index=True)
    return scores[["seed", *(column for column in scores if column != "seed")]], kept


def summary(scores: pd.DataFrame, kept: dict[int, Stored]) -> pd.DataFrame:
    """Mean, standard deviation and range over seeds of every score, a row for each student, target and benchmark.

    ci_low, ci_high: the 95 % interval of the mean over seeds, whose variance is that over seeds divided by their number
    plus that over the units of the score (ci_unit names both; Eq. 19 of docs/method.md). over_base, over_control: the
    mean over seeds of the difference to the base and to the control of the same seed, with such an interval. Where the
    runs kept influences, the second variance is that of the mean over seeds; elsewhere the mean of the seeds' own ones,
    as their intervals give it. verdict, of AligNet's rows: 'AligNet' or 'control' where the interval of over_control
    lies on one side of 0, else 'tie'; none with fewer than three seeds or without an interval.

    Args: scores, kept: of `collect`.
    """
    rows = []
    for key, of_score in scores.groupby(KEY, sort=False):
        of_targets = {target: table.set_index("seed") for target, table in of_score.groupby("target", sort=False)}
        for target, own in of_targets.items():
            row = dict(zip(KEY, key, strict=True)) | {"target": target} | own.iloc[0].reindex(SAME).to_dict()
            row |= _over_seeds(own, _moved(kept, [*own.index], key, [target]))
            for other, name in results.OTHERS:
                if other in of_targets and target not in ("base", other):
                    row |= _difference(name, own, of_targets[other], kept, (key, target, other))
            if target == "alignet" and len(own) >= ENOUGH and pd.notna(row.get("over_control_low")):
                row["verdict"] = verdict(row["over_control_low"], row["over_control_high"])
            rows.append(row)
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def verdict(low: float, high: float) -> str:
    """Who is ahead, from the interval of AligNet minus control."""
    return "AligNet" if low > 0 else "control" if high < 0 else "tie"


def _over_seeds(own: pd.DataFrame, moved: Moved | None) -> dict:
    """The columns about one target's score. Args: own: its rows, by seed."""
    values = own["value"]
    low, high = _interval(values, own["ci_low"], own["ci_high"], moved)
    found = {"mean": values.mean(), "sd": values.std(), "lowest": values.min(), "highest": values.max()}
    unit = f"training seeds, and {own['ci_unit'].iloc[0]}"
    return found | {"n_seeds": len(own), "ci_low": low, "ci_high": high, "ci_unit": unit}


def _difference(name: str, own: pd.DataFrame, other: pd.DataFrame, kept: dict[int, Stored], of: tuple) -> dict:
    """A target's score minus that of the base or the control, of the seeds that have both. Args: of: key, and both."""
    key, *targets = of
    seeds = own.index.intersection(other.index)
    values, low, high = own["value"] - other["value"], own[f"{name}_low"], own[f"{name}_high"]
    low, high = _interval(values[seeds], low[seeds], high[seeds], _moved(kept, [*seeds], key, targets))
    return {name: values[seeds].mean(), f"{name}_low": low, f"{name}_high": high}


def _interval(values: pd.Series, low: pd.Series, high: pd.Series, moved: Moved | None) -> tuple[float, float]:
    """The 95 % interval of a mean over seeds, NaN for one seed or where single seeds have none.

    Args: values, low, high: a score and its interval, a value for each seed; moved: its influence, if it was kept.
    """
    n = len(values)
    if n < 2 or low.isna().any():
        return influences.NAN, influences.NAN
    if moved is None:
        of_units = float((((high - low) / 2 / NORMAL) ** 2).mean()), float("inf")
    else:
        units, influence = moved
        of_units = units.standard_error(influence) ** 2, units.freedom
    return intervals.t_interval(float(values.mean()), [(float(values.var()) / n, n - 1), of_units])


def _moved(kept: dict[int, Stored], seeds: list[int], key: tuple, targets: list[str]) -> Moved | None:
    """The influence on the mean over seeds of a target's score or, of two targets, of the first one's minus the
    second one's; None where a seed has kept none.

    Raises: ValueError if two seeds were scored on different units.
    """
    student, *benchmark = key
    known = [kept[seed].get(tuple(benchmark)) for seed in seeds]
    found = [each for each in known if each is not None and all((student, target) in each[1] for target in targets)]
    if not found or len(found) < len(seeds):
        return None
    units = found[0][0]
    if any(not torch.equal(units.objects, each[0].objects) for each in found):
        raise ValueError(f"{benchmark[0]}: the seeds were scored on different choices: run their evaluations again")
    of_seeds = [each[1][student, targets[0]] - (each[1][student, targets[1]] if targets[1:] else 0) for each in found]
    return units, torch.stack(of_seeds).mean(0)
