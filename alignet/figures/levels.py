"""Levels of abstraction and uncertainty. Tables in, Figures out."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from alignet.figures import style
from alignet.worlds.format.schema import LEVELS

NO_LEVELS = "No figure: the world has no levels.csv"
AGAINST = {"response_entropy": "the entropy of people's choices", "response_time": "people's log response time"}
TRIPLETS = "Bars: 95 % intervals over triplets, which share concepts"
ROW, TOP = 0.42, 0.7  # inches: a student's row; what stands above and below the rows


def by_abstraction(
    scores: pd.DataFrame, representation: str = "pooled", examples: dict[str, tuple[Tensor, int]] | None = None
) -> Figure:
    """The main figure: odd-one-out accuracy of base, control and aligned students at each level of abstraction.

    A panel a level, a row a student, and one for people: the noise ceiling. Beside each row AligNet's relative
    improvement over the base. Bars: 95 % intervals over triplets that share concepts; dotted: chance (1/3).

    Args: scores: levels.csv; examples: level -> one triplet's pictures, (3, 3, size, size) uint8, and the odd one.
    """
    shown = scores[scores["representation"] == representation]
    if not shown["n_triplets"].any():
        return style.only_text(NO_LEVELS)
    present = [level for level in LEVELS if (shown["level"] == level).any()]
    figure, axes = panels([present], rows(shown), pictures=examples is not None)
    for ax, level in zip(axes[-1], present, strict=True):
        panel = shown[shown["level"] == level]
        style.by_student(ax, panel, "odd_one_out_accuracy", "ci_low", "ci_high")
        accuracy_axis(ax)
        gains(ax, panel[panel["target"] == "alignet"].set_index("student")["relative_improvement"].to_dict())
        title = f"{level.capitalize()}, n = {panel['n_triplets'].iloc[0]} triplets"
        above = axes[0][present.index(level)]
        above.set_title(title, pad=3 if examples else 11)
        if examples:
            example(above, *examples[level])
    note = f"{TRIPLETS}. Right: AligNet over the base"
    style.legend(figure, shown["choices"], note, people_row=True)
    return figure


def rows(scores: pd.DataFrame) -> float:
    """Height of a panel with a row for each student and one for people, inches."""
    return TOP + ROW * (scores["student"].nunique() + 0.6)


def panels(levels: list[list[str]], height: float, pictures: bool = False) -> tuple[Figure, np.ndarray]:
    """Axes in rows of levels, (rows, most levels), rows from one y axis; with pictures, a row above for them."""
    columns = max(map(len, levels))
    heights = [*([0.55] if pictures else []), *[height] * len(levels)]
    size: dict[str, Any] = {"figsize": (style.DOUBLE, sum(heights) + 0.35), "height_ratios": heights, "squeeze": False}
    figure, axes = plt.subplots(len(heights), columns, layout="constrained", **size)
    for ax in axes[:1].flat if pictures else ():
        ax.set_axis_off()
    for row in axes[1 if pictures else 0 :]:
        for ax in row[1:]:
            ax.sharey(row[0])
            ax.tick_params(labelleft=False)
    return figure, axes


def example(ax: Axes, pictures: Tensor, odd: int) -> None:
    """One triplet, the odd one out of most people framed."""
    size = pictures.shape[-1]
    style.strip(ax, pictures)
    ax.add_patch(plt.Rectangle((odd * size, 0), size - 1, size - 1, fill=False, edgecolor=style.BLUE, linewidth=1.5))


def accuracy_axis(ax: Axes) -> None:
    ax.set(xlabel="Odd-one-out accuracy", xlim=(0.25, 1.0))
    style.vertical(ax, style.CHANCE, "chance")


def gains(ax: Axes, percent: dict[str, float]) -> None:
    """At the right of each student's row how much AligNet gains, in percent of the base."""
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": style.SMALL}
    for number, value in enumerate(percent.values()):
        if pd.notna(value):
            ax.annotate(f"{value:+.0f} %", (1.01, number), color=style.BLUE, **place)


def uncertainty(scores: pd.DataFrame) -> Figure:
    """Rank correlation of the model's choice entropy with people's uncertainty, at each level.

    Bars: 95 % intervals over triplets that share concepts; the ceiling is what a model that knew the measure could
    reach, from two halves of the people. Args: scores: uncertainty.csv.
    """
    shown = scores[scores["n"] > 0]
    if shown.empty:
        return style.only_text("No figure: the world has no choices with an uncertainty")
    kinds = [kind for kind in AGAINST if (shown["against"] == kind).any()]
    present = [level for level in LEVELS if (shown["level"] == level).any()]
    figure, axes = panels([present] * len(kinds), rows(shown))
    for row, kind in zip(axes, kinds, strict=True):
        for ax, level in zip(row, present, strict=True):
            panel = shown[(shown["against"] == kind) & (shown["level"] == level)]
            style.by_student(ax, panel, "spearman", "ci_low", "ci_high")
            style.vertical(ax, 0, "no relation")
            ax.set_title(f"{level.capitalize()}, n = {panel['n'].iloc[0]} triplets", pad=11)
            ax.set(xlim=(min(-0.1, shown["ci_low"].min()), 1), xlabel=f"Spearman with {AGAINST[kind]}")
            ax.xaxis.label.set_size(style.SMALL)
    style.legend(figure, shown["choices"], TRIPLETS, people_row=True)
    return figure


def reliability(table: pd.DataFrame) -> Figure:
    """How far people's choices lie from the probability that the model gave an item; at 0: calibrated.

    Bars: 95 % intervals over triplets that share concepts; the bins are of equal width. Args: table: reliability.csv.
    """
    if table.empty:
        return style.only_text(NO_LEVELS)
    students = list(dict.fromkeys(table["student"]))
    size: dict[str, Any] = {"figsize": (style.DOUBLE, 0.36 * style.DOUBLE), "sharey": True, "squeeze": False}
    figure, (axes,) = plt.subplots(1, len(students), layout="constrained", **size)
    for ax, student in zip(axes, students, strict=True):
        for number, target in enumerate(style.TARGETS):
            rows = table[(table["student"] == student) & (table["target"] == target)].sort_values("bin")
            beside = rows["chosen"] - rows["predicted"]
            errors = style.ends(rows["chosen"], rows["ci_low"], rows["ci_high"])
            look = style.look(target, size=3) | {"linewidth": 0.8}
            ax.errorbar(rows["predicted"] + 0.008 * (number - 1), beside, yerr=errors, **look)
        style.horizontal(ax, 0)
        ax.set(title=student, xlim=(0, 1), xlabel="Model's probability of an item")
    axes[0].set(ylabel="Share of people who chose it,\nminus the model's probability")
    style.legend(figure, table["choices"], TRIPLETS, lines={"calibrated": ":"})
    return figure
