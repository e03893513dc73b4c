"""A run in a few numbers, for `dvc metrics` and `dvc exp show`."""

import json
from pathlib import Path

import pandas as pd

from alignet.worlds.format import regimes


def headline(levels: pd.DataFrame, similarity: pd.DataFrame, downstream: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The main numbers of each student's AligNet.

    They are the accuracy in each regime and level, alone and minus that of base and control, the accuracy on held-out
    triplets, and the share of downstream rows above the control.

    Args: levels.csv, similarity.csv, downstream.csv.
    """
    numbers: dict[str, dict[str, float]] = {}
    aligned = levels[(levels["target"] == "alignet") & (levels["representation"] == "pooled")]
    for row in regimes.main(aligned).to_dict("records"):
        of_student, name = numbers.setdefault(str(row["student"]), {}), f"{row['regime']}, {row['level']}"
        of_student[name] = row["odd_one_out_accuracy"]
        of_student[f"{name}, over base"] = row["over_base"]
        of_student[f"{name}, over control"] = row["over_control"]
    held_out = similarity[(similarity["target"] == "alignet") & (similarity["benchmark"] == "held-out triplets")]
    for row in held_out[held_out["metric"] == "odd_one_out_accuracy"].to_dict("records"):
        numbers.setdefault(str(row["student"]), {})["held-out triplets"] = row["value"]
    for student, rows in downstream[downstream["target"] == "alignet"].groupby("student"):
        known = rows["over_control_low"].dropna()
        if len(known):
            numbers.setdefault(str(student), {})["downstream above control"] = float((known > 0).mean())
    return {
        student: {name: round(float(value), 4) for name, value in values.items() if pd.notna(value)}
        for student, values in numbers.items()
    }


def save(metrics: dict[str, dict[str, float]], path: Path) -> None:
    path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
