"""Findings of the published run over several seeds, one by one, and whether one run agrees.

A finding is a score of AligNet minus that of its base or its control. The published run states it with an interval over
training seeds and over the concepts that were drawn (`seeds.csv`, Eq. 19 of docs/method.md); another run of the same
params agrees if it has the same sign and lies where one run is expected.
"""

from pathlib import Path

import pandas as pd

from alignet import results
from alignet.evaluation import benchmarks, seeds
from alignet.maths.intervals import t_interval

FILE = "findings.csv"
ABOUT = ["student", "benchmark", "study", "regime", "level", "metric", "difference"]
KEY = ["student", "benchmark", "metric", "difference"]
PUBLISHED = [*ABOUT, "mean", "ci_low", "ci_high", "clear", "sd_seeds", "n_seeds", "sd_processors", "n_processors"]
PUBLISHED += ["run_low", "run_high", "choices"]
COLUMNS = [*ABOUT, "mean", "ci_low", "ci_high", "clear", "run_low", "run_high"]
COLUMNS += ["here", "here_low", "here_high", "here_clear", "as_published", "choices"]
DIFFERENCES = tuple(name for _, name in results.OTHERS)
SHOWN = 5  # findings that are not as published and are named one by one


def published(tables: Path, elsewhere: list[Path] | None = None) -> pd.DataFrame:
    """The findings of a run with several seeds: a row for each score of AligNet over its base, and over its control.

    mean, ci_low, ci_high: as in seeds.csv; clear: whether the interval leaves out 0 (with `seeds.ENOUGH` seeds);
    run_low, run_high: where one run is expected with 95 %: the variance of the mean, plus that of one seed (sd_seeds),
    plus that between processors (sd_processors, where it was measured).

    Args: tables: the folder with seeds.csv and replicates.csv; elsewhere: folders of tables of the same run, seed and
        params, made on other processors or with other numbers of threads.
    Raises: ValueError if a folder lacks the tables.
    """
    for file in (tables / "seeds.csv", tables / "replicates.csv"):
        if not file.is_file():
            raise ValueError(f"{file}: no such file: findings need several seeds (make replicate)")
    means = _long(results.load(tables / "seeds.csv"), "mean")
    of_seeds = _long(results.load(tables / "replicates.csv"), "value")
    means = means.join(of_seeds.groupby(KEY)["value"].std().rename("sd_seeds"), on=KEY)
    own = of_seeds.drop_duplicates(KEY)  # of the run's own seed, which stands first
    runs = [own, *(_long(scores(folder), "value") for folder in elsewhere or [])]
    between = pd.concat(runs).groupby(KEY)["value"] if len(runs) > 1 else None
    spread = pd.Series(0.0, pd.MultiIndex.from_frame(own[KEY])) if between is None else between.std().fillna(0.0)
    means = means.join(spread.rename("sd_processors"), on=KEY).assign(n_processors=len(runs))
    ends = [_where_one_run_is_expected(row) for row in means.to_dict("records")]
    clear = ((means["ci_low"] > 0) | (means["ci_high"] < 0)) & (means["n_seeds"] >= seeds.ENOUGH)
    means = means.assign(clear=clear, run_low=[low for low, _ in ends], run_high=[high for _, high in ends])
    return means.rename(columns={"value": "mean"})[PUBLISHED].reset_index(drop=True)


def compared(found: pd.DataFrame, here: pd.DataFrame) -> pd.DataFrame:
    """Each published finding beside that of one run.

    here, here_low, here_high: the run's own difference and its interval over concepts; as_published: 'yes' if it has
    the sign of a clear finding and lies within run_low and run_high, or if neither the finding nor the run is told
    apart from 0; 'no'; or 'absent', where the run has no such score.

    Args: found: `published`; here: `scores` of the run.
    """
    own = _long(here, "value").set_index(KEY)[["value", "ci_low", "ci_high"]]
    own = own.rename(columns={"value": "here", "ci_low": "here_low", "ci_high": "here_high"})
    table = found.join(own, on=KEY)
    table["here_clear"] = (table["here_low"] > 0) | (table["here_high"] < 0)
    inside = table["here"].between(table["run_low"], table["run_high"])
    same_sign = (table["here"] * table["mean"] > 0) | ~table["clear"]
    agrees = (inside & same_sign) | ~(table["clear"] | table["here_clear"])
    table["as_published"] = agrees.map({True: "yes", False: "no"}).where(table["here"].notna(), "absent")
    return table.sort_values("as_published", kind="stable")[COLUMNS]  # absent, no, yes


def scores(tables: Path) -> pd.DataFrame:
    """A run's scores as `benchmarks.tidy` has them. Raises: ValueError if a stage's table is missing."""
    files = {stage: tables / f"{stage}.csv" for stage in benchmarks.STAGES}
    missing = [str(file) for file in files.values() if not file.is_file()]
    if missing:
        raise ValueError(f"{missing[0]}: no such file: run make repro first")
    return benchmarks.tidy({stage: results.load(file) for stage, file in files.items()})


def verdict(table: pd.DataFrame) -> list[str]:
    """The answer in words: one line if all findings are as published, else also those that are not, by name."""
    different = table[table["as_published"] != "yes"]
    clear = int(table["clear"].sum())
    if different.empty:
        return [f"all findings as published: {clear} clear ones and {len(table) - clear} not told apart from 0"]
    said = [f"{len(table) - len(different)} of {len(table)} findings as published; not so:"]
    said += [f"  {_line(row)}" for row in different.head(SHOWN).to_dict("records")]
    return said + ([f"  and {len(different) - SHOWN} more: reports/{FILE}"] if len(different) > SHOWN else [])


def _line(row: dict) -> str:
    parts = (row["student"], row["benchmark"], row["metric"], row["difference"])
    name = ", ".join(str(part).replace("_", " ") for part in parts)
    if row["as_published"] == "absent":
        return f"{name}: this run has no such score"
    expected = f"one run is expected in [{row['run_low']:+.3f}, {row['run_high']:+.3f}]"
    return f"{name}: {row['here']:+.3f} here; published {row['mean']:+.3f}, {expected}"


def _long(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """AligNet's differences that have an interval, a row each: `ABOUT`, value, ci_low, ci_high and the other columns.

    Args: table: seeds.csv, replicates.csv or tidy scores; value: its column with the score.
    """
    aligned, parts = table[table["target"] == results.ALIGNED], []
    for name in DIFFERENCES:
        ends = {name: "value", f"{name}_low": "ci_low", f"{name}_high": "ci_high"}
        rows = aligned.drop(columns=[value, "ci_low", "ci_high"]).rename(columns=ends)
        parts.append(rows.assign(difference=name))
    return pd.concat(parts, ignore_index=True).dropna(subset=["value", "ci_low", "ci_high"])


def _where_one_run_is_expected(row: dict) -> tuple[float, float]:
    of_mean = (row["ci_high"] - row["ci_low"]) / 2 / seeds.NORMAL
    parts = [(of_mean**2, float("inf")), (row["sd_seeds"] ** 2, row["n_seeds"] - 1)]
    if row["n_processors"] > 1:
        parts.append((row["sd_processors"] ** 2, row["n_processors"] - 1))
    return t_interval(row["value"], parts)
