"""Scores of several training seeds: their mean and spread, beside the intervals of one seed over triplets or
episodes.
"""

from pathlib import Path

import pandas as pd
from scipy.stats import t

from alignet.evaluation import comparison
from alignet.worlds.format.tables import load_csv

KEY = ["student", "benchmark", "metric"]
ENOUGH = 3  # seeds, for a verdict
COLUMNS = [*KEY, "target", "mean", "sd", "lowest", "highest", "ci_low", "ci_high", "ci_unit"]
COLUMNS += ["over_base", "over_base_low", "over_base_high", "over_control", "over_control_low", "over_control_high"]
COLUMNS += ["verdict", "noise_ceiling", "chance", "n_seeds", "choices"]


def collect(folders: dict[int, Path]) -> pd.DataFrame:
    """The scores of every seed as one table: seed, student, target and the columns of `comparison.tidy`.

    Args: folders: of each seed's tables.
    """
    parts = []
    for seed, folder in folders.items():
        tables = {stage: load_csv(folder / f"{stage}.csv") for stage in comparison.STAGES}
        parts.append(comparison.tidy(tables).assign(seed=seed))
    scores = pd.concat(parts, ignore_index=True)
    return scores[["seed", *(column for column in scores if column != "seed")]]


def summary(scores: pd.DataFrame, own: int) -> pd.DataFrame:
    """Mean, standard deviation and range over seeds of every score, a row for each student, target and benchmark.

    ci_low, ci_high: of the seed `own` alone, over its ci_unit. over_base, over_control: the mean over seeds of the
    difference to the base and to the control of the same seed, with its 95 % interval over seeds (Student's t).
    verdict, of AligNet's rows: 'AligNet' or 'control' where the interval of over_control lies on one side of 0, else
    'tie'; none with fewer than three seeds. It is about training seeds; the other people and objects that might have
    been asked are the intervals' affair.
    """
    wide = scores.pivot_table(index=[*KEY, "seed"], columns="target", values="value", sort=False)
    one = scores[scores["seed"] == own].set_index([*KEY, "target"])
    rows = []
    for key, of_score in wide.groupby(level=KEY, sort=False):
        for target in of_score.columns[of_score.notna().any()]:
            values = of_score[target].dropna()
            names = dict(zip(KEY, key, strict=True)) | {"target": target, "n_seeds": len(values)}
            row = {"mean": values.mean(), "sd": values.std(), "lowest": values.min(), "highest": values.max()}
            if (*key, target) in one.index:
                columns = ["ci_low", "ci_high", "ci_unit", "noise_ceiling", "chance", "choices"]
                row |= one.loc[(*key, target), columns].to_dict()
            for other, name in (("base", "over_base"), ("unalignet", "over_control")):
                if other in of_score and target not in ("base", other):
                    row |= _over_seeds(name, (values - of_score[other]).dropna())
            if target == "alignet" and len(values) >= ENOUGH and "over_control" in row:
                row["verdict"] = verdict(row["over_control_low"], row["over_control_high"])
            rows.append(names | row)
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def verdict(low: float, high: float) -> str:
    """Who is ahead, from the interval of AligNet minus control."""
    return "AligNet" if low > 0 else "control" if high < 0 else "tie"


def _over_seeds(name: str, differences: pd.Series) -> dict[str, float]:
    """Mean of differences, one a seed, and its 95 % interval; no interval for a single one."""
    n, mean = len(differences), differences.mean()
    reach = t.ppf(0.975, n - 1) * differences.std() / n**0.5 if n > 1 else float("nan")
    return {name: mean, f"{name}_low": mean - reach, f"{name}_high": mean + reach}
