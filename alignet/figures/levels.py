"""Levels of abstraction and uncertainty. Tables in, Figures out."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignet.figures import style
from alignet.worlds.format.schema import LEVELS

NO_LEVELS = "No figure: the world has no levels.csv"
AGAINST = {"response_entropy": "the entropy of people's choices", "response_time": "people's log response time"}


def by_abstraction(scores: pd.DataFrame, representation: str = "pooled", majority: bool = False) -> Figure:
    """The main figure: odd-one-out accuracy of base, control and aligned students at each level of abstraction.

    Error bars and the ceiling's band are 95 % intervals over triplets that share concepts; dotted: chance (1/3).

    Args: scores: levels.csv; majority: agreement with the majority of people, which has no ceiling, in place of that
        with single choices.
    """
    shown = scores[scores["representation"] == representation]
    if not shown["n_triplets"].any():
        return style.only_text(NO_LEVELS)
    columns = ("majority_accuracy", "majority_low", "majority_high")
    columns = columns if majority else ("odd_one_out_accuracy", "ci_low", "ci_high")
    present = [level for level in LEVELS if (shown["level"] == level).any()]
    figure, axes = _panels(len(present), height=0.36)
    for ax, level in zip(axes, present, strict=True):
        panel = shown[shown["level"] == level]
        style.by_student(ax, panel, *columns)
        if not majority:
            style.ceiling_band(ax, panel)
        style.chance(ax)
        ax.set(title=f"{level.capitalize()}, n = {panel['n_triplets'].iloc[0]} triplets")
    name = "Agreement with the majority" if majority else "Odd-one-out accuracy"
    axes[0].set(ylabel=name, ylim=(0.25, 1.0))
    style.target_legend(figure, shown["choices"].iloc[0], ceiling=not majority)
    return figure


def improvement(scores: pd.DataFrame, representation: str = "pooled") -> Figure:
    """Left: relative improvement over the base, percent; right: accuracy minus noise ceiling (0: as people agree).

    Error bars: 95 % paired intervals over triplets that share concepts. Args: scores: levels.csv.
    """
    shown = scores[(scores["representation"] == representation) & scores["level"].isin(LEVELS)]
    if shown.empty:
        return style.only_text(NO_LEVELS)
    present = [level for level in LEVELS if (shown["level"] == level).any()]
    size: dict[str, Any] = {
        "figsize": (style.DOUBLE, 0.62 * style.DOUBLE),
        "sharey": "row",
        "squeeze": False,
        "layout": "constrained",
    }
    figure, axes = plt.subplots(2, len(present), **size)
    for column, level in enumerate(present):
        panel = shown[shown["level"] == level]
        above, below = axes[:, column]
        names = ("relative_improvement", "relative_improvement_low", "relative_improvement_high")
        style.by_student(above, panel[panel["target"] != "base"], *names)
        style.by_student(below, panel, "above_ceiling", "above_ceiling_low", "above_ceiling_high")
        style.zero(above, "base")
        style.zero(below, "noise ceiling")
        above.set(title=f"{level.capitalize()}, n = {panel['n_triplets'].iloc[0]} triplets")
    axes[0, 0].set(ylabel="Relative improvement (%)")
    axes[1, 0].set(ylabel="Accuracy minus noise ceiling")
    style.target_legend(figure, shown["choices"].iloc[0], ceiling=False)
    return figure


def uncertainty(scores: pd.DataFrame) -> Figure:
    """Rank correlation of the model's choice entropy with people's uncertainty, at each level.

    Error bars and the ceiling's band are 95 % intervals over triplets that share concepts; the ceiling is what a model
    that knew the measure could reach, from two halves of the people. Args: scores: uncertainty.csv.
    """
    shown = scores[scores["n"] > 0]
    if shown.empty:
        return style.only_text("No figure: the world has no choices with an uncertainty")
    kinds = [kind for kind in AGAINST if (shown["against"] == kind).any()]
    present = [level for level in LEVELS if (shown["level"] == level).any()]
    size: dict[str, Any] = {
        "figsize": (style.DOUBLE, 0.33 * style.DOUBLE * len(kinds)),
        "sharey": True,
        "squeeze": False,
    }
    figure, axes = plt.subplots(len(kinds), len(present), layout="constrained", **size)
    for row, kind in zip(axes, kinds, strict=True):
        for ax, level in zip(row, present, strict=True):
            panel = shown[(shown["against"] == kind) & (shown["level"] == level)]
            style.by_student(ax, panel, "spearman", "ci_low", "ci_high")
            style.ceiling_band(ax, panel)
            style.zero(ax, "no relation")
            ax.set(title=f"{level.capitalize()}, n = {panel['n'].iloc[0]} triplets")
        row[0].set(ylabel=f"Spearman with\n{AGAINST[kind]}")
    style.target_legend(figure, shown["choices"].iloc[0])
    return figure


def reliability(table: pd.DataFrame) -> Figure:
    """How often people chose an item, by the probability that the model gave it; on the diagonal: calibrated.

    Error bars: 95 % intervals over triplets that share concepts; the bins are of equal width. Args: table:
    reliability.csv.
    """
    if table.empty:
        return style.only_text(NO_LEVELS)
    students = list(dict.fromkeys(table["student"]))
    figure, axes = _panels(len(students), height=0.42)
    for ax, (student, colour) in zip(axes, style.student_colours(students).items(), strict=True):
        ax.plot([0, 1], [0, 1], color="0.4", linestyle=":", linewidth=0.8, zorder=0)
        panel = table[table["student"] == student]
        for target in style.TARGETS:
            _curve(ax, panel[panel["target"] == target], colour, target)
        style.chance(ax)
        ax.set(title=student, xlim=(0, 1), ylim=(0, 1.02), aspect="equal", xlabel="Model's probability of an item")
    axes[0].set(ylabel="Share of people who chose it")
    style.target_legend(figure, table["choices"].iloc[0], ceiling=False)
    return figure


def _panels(count: int, height: float) -> tuple[Figure, np.ndarray]:
    size: dict[str, Any] = {"figsize": (style.DOUBLE, height * style.DOUBLE), "sharey": True, "squeeze": False}
    figure, (axes,) = plt.subplots(1, count, layout="constrained", **size)
    return figure, axes


def _curve(ax: Axes, rows: pd.DataFrame, colour: str, target: str) -> None:
    rows = rows.sort_values("bin")
    errors = style.ends(rows["chosen"], rows["ci_low"], rows["ci_high"])
    line = {"base": ":", "unalignet": "--", "alignet": "-"}[target]
    marks = {"linewidth": 0.8, "linestyle": line, **style.marks(target, colour), "markersize": 4}
    ax.errorbar(rows["predicted"], rows["chosen"], yerr=errors, **marks)
