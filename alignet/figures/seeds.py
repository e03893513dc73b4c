"""Spread over training seeds beside the intervals of one seed. Tables in, Figures out."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignet.figures import levels, style
from alignet.worlds.format.schema import LEVELS


def by_level(summary: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """Odd-one-out accuracy at each level: a small dot for each seed, the mean with the 95 % interval over triplets.

    The interval is that of the run's own seed; dotted: chance; star: noise ceiling.
    Args: summary: seeds.csv; scores: replicates.csv.
    """
    return by_world({"": (summary, scores)})


def plotted(summary: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """What `by_level` draws: the means of seeds.csv at each level, and below them the rows of each seed."""
    names = [f"levels, {level}" for level in LEVELS]
    means, dots = (table[table["benchmark"].isin(names)] for table in (summary, scores))
    return pd.concat([means, dots], ignore_index=True)


def by_world(runs: dict[str, tuple[pd.DataFrame, pd.DataFrame]]) -> Figure:
    """The same for several runs, a row each, with whose choices they are set against.

    Args: runs: what a row is of, in words -> (seeds.csv, replicates.csv).
    """
    runs = {name: run for name, run in runs.items() if _levels_of(run[0])}
    if not runs:
        return style.only_text("No figure: the world has no levels.csv")
    height = max(levels.rows(summary) for summary, _ in runs.values())
    figure, axes = levels.panels([_levels_of(summary) for summary, _ in runs.values()], height)
    for row, (name, (summary, scores)) in zip(axes, runs.items(), strict=True):
        for ax, level in zip(row, _levels_of(summary), strict=False):
            _panel(ax, summary, scores, level)
        for ax in row[len(_levels_of(summary)) :]:
            ax.set_axis_off()
        seeds = f"{int(summary['n_seeds'].max())} seeds"
        row[0].set_ylabel(f"{name}\n{seeds}" if name else seeds)
    kinds = [f"{name}: {style.people(summary['choices'])}" for name, (summary, _) in runs.items() if name]
    alone = None if kinds else next(iter(runs.values()))[0]["choices"]
    note = "Small dots: seeds. Bars: 95 % intervals over triplets, of one seed. Right: AligNet over the base"
    style.legend(figure, alone, ".\n".join([note, *kinds]), people_row=True)
    return figure


def _levels_of(summary: pd.DataFrame) -> list[str]:
    return [level for level in LEVELS if (summary["benchmark"] == f"levels, {level}").any()]


def _panel(ax: Axes, summary: pd.DataFrame, scores: pd.DataFrame, level: str) -> None:
    panel = summary[summary["benchmark"] == f"levels, {level}"]
    half = (panel["ci_high"] - panel["ci_low"]) / 2  # of the run's own seed, drawn about the mean
    ceiling = panel["noise_ceiling"]
    drawn = panel.assign(low=panel["mean"] - half, high=panel["mean"] + half)
    drawn = drawn.assign(noise_ceiling_low=ceiling, noise_ceiling_high=ceiling)
    students = style.by_student(ax, drawn, "mean", "low", "high")
    dots = scores[scores["benchmark"] == f"levels, {level}"]
    for (student, target), one in dots.groupby(["student", "target"]):
        height = students.index(str(student)) + style.OFFSETS[str(target)] + 0.1
        ax.plot(one["value"], np.full(len(one), height), ".", markersize=2, color=style.COLOURS[str(target)])
    levels.accuracy_axis(ax)
    aligned = panel[panel["target"] == "alignet"].set_index("student")
    percent = 100 * aligned["over_base"] / (aligned["mean"] - aligned["over_base"])
    levels.gains(ax, percent.to_dict())
    ax.set_title(level.capitalize(), pad=11)


def over_control(summary: pd.DataFrame) -> Figure:
    """AligNet minus its control on every benchmark, mean over seeds, with its 95 % interval over seeds.

    Filled: the interval does not hold 0. Of k-shot protocols the fewest and the most shots by nearest centroid are
    drawn; seeds.csv has all. Args: summary: seeds.csv.
    """
    rows = _drawn(summary[(summary["target"] == "alignet") & summary["over_control"].notna()])
    if rows.empty:
        return style.only_text("No figure: there is no control")
    students = list(dict.fromkeys(rows["student"]))
    names = list(dict.fromkeys(rows["name"]))
    size = (style.DOUBLE, 0.8 + 0.14 * len(names))
    figure, (axes,) = plt.subplots(1, len(students), figsize=size, squeeze=False, sharey=True, layout="constrained")
    colours = style.student_colours(students)
    for ax, student in zip(axes, students, strict=True):
        for row in rows[rows["student"] == student].to_dict("records"):
            value, low, high = (row[f"over_control{end}"] for end in ("", "_low", "_high"))
            difference(ax, names.index(row["name"]), value, low, high, colours[student])
        style.vertical(ax, 0, "")
        ax.set(xlabel="AligNet minus control", title=student, ylim=(len(names) - 0.5, -0.5))
        ax.locator_params(axis="x", nbins=6)
    axes[0].set_yticks(range(len(names)), names, fontsize=style.SMALL)
    note = f"Bars: 95 % intervals over {int(rows['n_seeds'].max())} training seeds. Hollow: the interval holds 0"
    style.legend(figure, summary["choices"].dropna(), note, targets=())
    return figure


def difference(ax: Axes, place: float, value: float, low: float, high: float, colour: str) -> None:
    """A difference with its interval, hollow where the interval holds 0."""
    clear = low > 0 or high < 0
    look: dict[str, Any] = {"marker": "D", "markersize": 3, "color": colour, "elinewidth": 0.8}
    face = colour if clear else "white"
    ax.errorbar(value, place, xerr=style.ends(value, low, high), markerfacecolor=face, **look)


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
