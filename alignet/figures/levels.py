"""Levels of abstraction. Tables in, Figures out."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignet.figures import style
from alignet.worlds.tables import LEVELS


def by_abstraction(scores: pd.DataFrame, representation: str = "pooled") -> Figure:
    """The main figure: odd-one-out accuracy of base, control and aligned students at each level of abstraction.

    Error bars and the ceiling's band are 95 % bootstrap intervals over triplets; dotted: chance (1/3).

    Args: scores: levels.csv.
    """
    shown = scores[scores["representation"] == representation]
    if not shown["n_triplets"].any():
        return style.only_text("No figure: the world has no levels.csv")
    students = list(dict.fromkeys(shown["student"]))
    colours = style.student_colours(students)
    present = [level for level in LEVELS if (shown["level"] == level).any()]
    size = {"figsize": (style.DOUBLE, 0.36 * style.DOUBLE), "sharey": True, "squeeze": False, "layout": "constrained"}
    figure, (axes,) = plt.subplots(1, len(present), **size)
    for ax, level in zip(axes, present, strict=True):
        panel = shown[shown["level"] == level]
        for place, student in enumerate(students):
            for offset, target in zip((-0.24, 0.0, 0.24), style.TARGETS, strict=True):
                _accuracy(
                    ax,
                    place + offset,
                    panel[(panel["student"] == student) & (panel["target"] == target)],
                    colours[student],
                )
        style.ceiling_band(ax, panel)
        style.chance(ax)
        ax.set(
            title=f"{level.capitalize()}, n = {panel['n_triplets'].iloc[0]} triplets", xlim=(-0.5, len(students) - 0.5)
        )
        ax.set_xticks(range(len(students)), students)
    axes[0].set(ylabel="Odd-one-out accuracy", ylim=(0.25, 1.0))
    style.target_legend(figure, shown["choices"].iloc[0])
    return figure


def _accuracy(ax: Axes, x: float, row: pd.DataFrame, colour: str) -> None:
    if row.empty:
        return
    score = row.iloc[0]
    face = {"base": "white", "unalignet": "0.8", "alignet": colour}[score["target"]]
    errors = [[score["odd_one_out_accuracy"] - score["ci_low"]], [score["ci_high"] - score["odd_one_out_accuracy"]]]
    marks = {
        "fmt": "o",
        "markersize": 5,
        "markerfacecolor": face,
        "color": colour,
        "elinewidth": 0.8,
        "markeredgewidth": 1,
    }
    ax.errorbar(x, score["odd_one_out_accuracy"], yerr=errors, **marks)
