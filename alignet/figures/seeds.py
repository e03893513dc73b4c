"""Spread over training seeds beside the intervals of one seed. Tables in, Figures out."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignet.figures import style
from alignet.worlds.format.schema import LEVELS

OFFSETS = dict(zip(style.TARGETS, (-0.24, 0.0, 0.24), strict=True))


def by_level(summary: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """Odd-one-out accuracy at each level: a small dot for each seed, the mean with the 95 % interval over triplets.

    The interval is that of the run's own seed; dotted: chance; dashed: noise ceiling.
    Args: summary: seeds.csv; scores: replicates.csv.
    """
    return by_world({"": (summary, scores)})


def by_world(runs: dict[str, tuple[pd.DataFrame, pd.DataFrame]]) -> Figure:
    """The same for several runs, a row each, with whose choices they are set against.

    Args: runs: what a row is of, in words -> (seeds.csv, replicates.csv).
    """
    runs = {name: run for name, run in runs.items() if _levels_of(run[0])}
    if not runs:
        return style.only_text("No figure: the world has no levels.csv")
    columns = max(len(_levels_of(summary)) for summary, _ in runs.values())
    size: dict[str, Any] = {"figsize": (style.DOUBLE, (0.04 + 0.34 * len(runs)) * style.DOUBLE), "sharey": True}
    figure, axes = plt.subplots(len(runs), columns, layout="constrained", squeeze=False, **size)
    for row, (name, (summary, scores)) in zip(axes, runs.items(), strict=True):
        for ax, level in zip(row, _levels_of(summary), strict=False):
            _panel(ax, summary, scores, level)
        label = f"Odd-one-out accuracy, {int(summary['n_seeds'].max())} seeds"
        row[0].set_ylabel(f"{name}\n{label}" if name else label)
    kinds = [f"{name}: {style.people(summary['choices'])}" for name, (summary, _) in runs.items() if name]
    if kinds:
        figure.suptitle("; ".join(kinds), fontsize=7)
    alone = None if kinds else next(iter(runs.values()))[0]["choices"]
    style.target_legend(figure, alone, ceiling=False)
    return figure


def _levels_of(summary: pd.DataFrame) -> list[str]:
    return [level for level in LEVELS if (summary["benchmark"] == f"levels, {level}").any()]


def _panel(ax: Axes, summary: pd.DataFrame, scores: pd.DataFrame, level: str) -> None:
    students = list(dict.fromkeys(summary["student"]))
    colours = style.student_colours(students)
    panel = summary[summary["benchmark"] == f"levels, {level}"]
    dots = scores[scores["benchmark"] == f"levels, {level}"]
    for row in panel.to_dict("records"):
        place = students.index(row["student"]) + OFFSETS[row["target"]]
        one = dots[(dots["student"] == row["student"]) & (dots["target"] == row["target"])]
        colour = colours[row["student"]]
        ax.plot(np.full(len(one), place - 0.08), one["value"], ".", markersize=3, color=colour, alpha=0.7)
        half = (row["ci_high"] - row["ci_low"]) / 2
        ax.errorbar(place, row["mean"], yerr=half, **style.marks(row["target"], colour))
    ax.axhline(panel["noise_ceiling"].iloc[0], color="0.4", linestyle="--", linewidth=0.8, zorder=0)
    style.chance(ax)
    ax.set(title=level.capitalize(), xlim=(-0.5, len(students) - 0.5))
    ax.set_xticks(range(len(students)), students)


def over_control(summary: pd.DataFrame) -> Figure:
    """AligNet minus its control on every benchmark, mean over seeds, with its 95 % interval over seeds.

    In black: the interval does not hold 0. Of k-shot protocols the fewest and the most shots by nearest centroid are
    drawn; seeds.csv has all. Args: summary: seeds.csv.
    """
    rows = _drawn(summary[(summary["target"] == "alignet") & summary["over_control"].notna()])
    if rows.empty:
        return style.only_text("No figure: there is no control")
    students = list(dict.fromkeys(rows["student"]))
    names = list(dict.fromkeys(rows["name"]))
    size = (style.DOUBLE, 0.7 + 0.125 * len(names))
    figure, (axes,) = plt.subplots(1, len(students), figsize=size, squeeze=False, sharey=True, layout="constrained")
    for ax, student in zip(axes, students, strict=True):
        for row in rows[rows["student"] == student].to_dict("records"):
            place = names.index(row["name"])
            clear = row["over_control_low"] > 0 or row["over_control_high"] < 0
            errors = [[row["over_control"] - row["over_control_low"]], [row["over_control_high"] - row["over_control"]]]
            look: dict[str, Any] = {"marker": "o", "markersize": 3, "color": "k" if clear else "0.6", "elinewidth": 0.8}
            ax.errorbar(row["over_control"], place, xerr=errors, **look)
        ax.axvline(0, color="0.4", linestyle=":", linewidth=0.8, zorder=0)
        ax.set(xlabel="AligNet minus control", title=student, ylim=(len(names) - 0.5, -0.5))
    axes[0].set_yticks(range(len(names)), names, fontsize=5)
    people = style.people(summary["choices"].dropna().iloc[0])
    figure.supxlabel(f"95 % intervals over {int(rows['n_seeds'].max())} training seeds; {people}", fontsize=7)
    return figure


def _drawn(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `over_control`, with a short name for each."""
    shots = pd.to_numeric(rows["metric"].str.extract(r"(\d+) shots")[0])
    ends = shots.groupby(rows["benchmark"])
    extreme = (shots == ends.transform("min")) | (shots == ends.transform("max"))
    kept = rows[shots.isna() | (extreme & rows["metric"].str.contains("centroid"))]
    short = kept["metric"].replace({"odd_one_out_accuracy": "accuracy", "rsa_spearman": "RSA", "spearman": "Spearman"})
    short = short.str.replace("accuracy, ", "").str.replace("centroid, ", "").str.replace("1 shots", "1 shot")
    benchmark = (
        kept["benchmark"]
        .str.replace("choice probabilities, ", "")
        .str.replace("uncertainty, ", "unsure, ")
        .str.replace("response_", "")
    )
    of_task = kept["metric"].str.startswith("accuracy,")  # its benchmark begins with the data set
    benchmark = benchmark.where(~of_task, benchmark.str.split(", ", n=1).str[-1])
    return kept.assign(name=benchmark.str.replace("_", " ") + ": " + short)
