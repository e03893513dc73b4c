"""The evaluation stages' tables as one table of scores, and comparisons with models that were scored before."""

from pathlib import Path

import pandas as pd

from alignet import results
from alignet.evaluation import influences
from alignet.worlds.format import regimes
from alignet.worlds.format.tables import World

MODEL = ["model", "weights", "layer", "picture_size", "world"]
SCORE = ["benchmark", "study", "regime", "level", "metric", "value", "ci_low", "ci_high", "ci_unit"]
SCORE += ["noise_ceiling", "chance", "n", "choices", "judged", "note"]
PAIRED = ("over_base", "over_control", "above_ceiling", "over_floor", "kept")
DIFFERENCES = [f"{name}{end}" for name in PAIRED for end in ("", "_low", "_high")]
MORE = [
    *DIFFERENCES,
    "task",
    "primary",
    "n_choices",
    "n_people",
    "n_unnamed",
]  # that tables of several runs have besides
VALUES = {"odd_one_out_accuracy": "value", "spearman": "value", "accuracy": "value", "n_triplets": "n", "draws": "n"}
STAGES = ("levels", "uncertainty", "similarity", "downstream")


def tidy(scores: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The stages' tables as one table, with a row for each score that has a value.

    Its columns are student, target, and those of SCORE and MORE. Noise ceilings of too few triplets for an interval are
    left out.
    """
    by_level = scores["levels"]
    by_level = by_level[by_level["representation"] == "pooled"]
    by_level = by_level.assign(benchmark="levels, " + _about(by_level), metric="odd_one_out_accuracy", chance=1 / 3)
    unsure = scores["uncertainty"].assign(metric="spearman")
    unsure["benchmark"] = "uncertainty, " + _about(unsure) + ", " + unsure["against"].astype(str)
    alike = scores["similarity"]
    alike = alike.assign(chance=alike["metric"].map({"odd_one_out_accuracy": 1 / 3}).fillna(0))
    tasks = scores["downstream"]
    shots = tasks["shots"].map(lambda n: "" if pd.isna(n) else f", {n:g} shots")
    tasks = tasks.assign(metric="accuracy, " + tasks["classifier"].astype(str) + shots)
    tasks["benchmark"] = tasks["dataset"].astype(str) + ", " + tasks["protocol"].astype(str)
    parts = [
        _trusted(table).rename(columns=VALUES).reindex(columns=["student", "target", *SCORE, *MORE])
        for table in (by_level, unsure, alike, tasks)
    ]
    return pd.concat(parts, ignore_index=True).dropna(subset=["student", "value"])


def _about(table: pd.DataFrame) -> pd.Series:
    """The name, by `influences.about`, of what the choices in each row are about."""
    columns = [regimes.text(table, name) for name in ("study", "regime", "level")]
    return pd.Series([influences.about(*row) for row in zip(*columns, strict=True)], table.index, dtype=str)


def _trusted(table: pd.DataFrame) -> pd.DataFrame:
    """The table without those noise ceilings that have too few triplets for an interval."""
    if "noise_ceiling_low" not in table:
        return table
    return table.assign(noise_ceiling=table["noise_ceiling"].where(table["noise_ceiling_low"].notna()))


def with_model(file: Path, model: dict[str, object], scores: pd.DataFrame) -> pd.DataFrame:
    """The comparison table with a model's rows instead of its former ones; it is written whole or not at all."""
    new = scores.reindex(columns=SCORE).assign(**model)[[*MODEL, *SCORE]]
    if file.is_file():
        old = results.load(file)
        same = (old[MODEL].astype(str) == pd.Series({key: str(value) for key, value in model.items()})).all(axis=1)
        new = pd.concat([old[~same], new], ignore_index=True)
    part = file.with_suffix(".part")
    results.save(new, part)
    part.replace(file)
    return new


def of_the_run(reports: Path, world: World) -> pd.DataFrame:
    """The scores of the pipeline's own students in the columns of the comparison table, as far as its tables exist.

    `model` is the student and the target.
    """
    files = {stage: reports / "tables" / f"{stage}.csv" for stage in STAGES}
    if not all(file.is_file() for file in files.values()):
        return pd.DataFrame(columns=[*MODEL, *SCORE])
    scores = tidy({stage: results.load(file) for stage, file in files.items()})
    others = (results.FLOOR, results.TEACHER_BEFORE, results.TEACHER)
    order = (*dict.fromkeys(scores["student"]), *results.TARGETS, *others)
    place = {name: number for number, name in enumerate(order)}
    scores = scores.sort_values(["student", "target"], key=lambda names: names.map(place), kind="stable")
    labels = scores["student"] + ", " + scores["target"].map(results.NAMES | {name: name for name in others})
    labels = labels.where(scores["student"] != results.TEACHER, scores["target"])
    return scores.assign(model=labels, world=world.name).reindex(columns=[*MODEL, *SCORE])
