"""The evaluation stages' tables as one table of scores, and models beside those that were scored before."""

from pathlib import Path

import pandas as pd

from alignet.figures import style
from alignet.worlds.format import tables
from alignet.worlds.format.tables import World

MODEL = ["model", "weights", "layer", "picture_size", "world"]
SCORE = [
    "benchmark",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "ci_unit",
    "noise_ceiling",
    "chance",
    "n",
    "choices",
    "note",
]
VALUES = {"odd_one_out_accuracy": "value", "spearman": "value", "accuracy": "value", "n_triplets": "n", "draws": "n"}
STAGES = ("levels", "uncertainty", "similarity", "downstream")


def tidy(scores: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The stages' tables as one: student, target and the columns of SCORE, a row for each score that has a value."""
    by_level = scores["levels"]
    by_level = by_level[by_level["representation"] == "pooled"]
    by_level = by_level.assign(benchmark="levels, " + by_level["level"], metric="odd_one_out_accuracy", chance=1 / 3)
    unsure = scores["uncertainty"].assign(metric="spearman")
    unsure["benchmark"] = "uncertainty, " + unsure["level"].astype(str) + ", " + unsure["against"].astype(str)
    alike = scores["similarity"]
    alike = alike.assign(chance=alike["metric"].map({"odd_one_out_accuracy": 1 / 3}).fillna(0))
    tasks = scores["downstream"]
    shots = tasks["shots"].map(lambda n: "" if pd.isna(n) else f", {n:g} shots")
    tasks = tasks.assign(metric="accuracy, " + tasks["classifier"].astype(str) + shots)
    tasks["benchmark"] = tasks["dataset"].astype(str) + ", " + tasks["protocol"].astype(str)
    parts = [
        table.rename(columns=VALUES).reindex(columns=["student", "target", *SCORE])
        for table in (by_level, unsure, alike, tasks)
    ]
    return pd.concat(parts, ignore_index=True).dropna(subset=["student", "value"])


def with_model(file: Path, model: dict[str, object], scores: pd.DataFrame) -> pd.DataFrame:
    """The comparison table with a model's rows in place of its former ones, written as a whole or not at all."""
    new = scores.reindex(columns=SCORE).assign(**model)[[*MODEL, *SCORE]]
    if file.is_file():
        old = tables.load_csv(file)
        same = (old[MODEL].astype(str) == pd.Series({key: str(value) for key, value in model.items()})).all(axis=1)
        new = pd.concat([old[~same], new], ignore_index=True)
    part = file.with_suffix(".part")
    tables.save_csv(new, part)
    part.replace(file)
    return new


def of_the_run(reports: Path, world: World) -> pd.DataFrame:
    """The scores of the pipeline's own students, where its tables are there: as the comparison table, `model` being
    student and target."""
    files = {stage: reports / "tables" / f"{stage}.csv" for stage in STAGES}
    if not all(file.is_file() for file in files.values()):
        return pd.DataFrame(columns=[*MODEL, *SCORE])
    scores = tidy({stage: tables.load_csv(file) for stage, file in files.items()})
    place = {name: number for number, name in enumerate((*dict.fromkeys(scores["student"]), *style.TARGETS))}
    scores = scores.sort_values(["student", "target"], key=lambda names: names.map(place), kind="stable")
    labels = scores["student"] + ", " + scores["target"].map(style.LABELS)
    return scores.assign(model=labels, world=world.name).reindex(columns=[*MODEL, *SCORE])
