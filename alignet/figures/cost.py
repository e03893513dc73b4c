"""Operations of alignment beside pre-training. Tables in, Figures out."""

import math
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignet.figures import style

ONCE: dict[str, Any] = {"marker": "s", "color": "0.3", "markersize": 4}
PER_STUDENT = ("alignment", "pretraining")  # stages; other work is done once for all students


def operations(costs: pd.DataFrame) -> Figure:
    """Floating-point operations of alignment and pre-training, by student, on a log axis.

    Filled: alignment; white: pre-training; squares: work that is done once for all students. The printed number is
    alignment's share of pre-training. Published: computed from the numbers of pictures that others report.

    Args: costs: cost.csv.
    """
    students = list(dict.fromkeys(costs["student"]))
    size = (style.DOUBLE, 0.7 + 0.3 * len(students))
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    for row in costs.itertuples():
        place, aligned = students.index(row.student), row.stage == "alignment"
        if row.stage not in PER_STUDENT:
            ax.plot(row.flops, place, **ONCE)
            continue
        ax.plot(row.flops, place, **style.point("alignet" if aligned else "base"))
        if aligned:
            share = (
                "no published pre-training"
                if math.isnan(row.ratio_to_pretraining)
                else f"{row.ratio_to_pretraining:.2g}"
            )
            ax.annotate(share, (row.flops, place), xytext=(-3, 5), textcoords="offset points", fontsize=style.SMALL)
    for place, student in enumerate(students):
        _named(ax, place, costs[(costs["student"] == student) & ~costs["stage"].isin(PER_STUDENT)])
        spread = costs.loc[costs["student"] == student, "flops"]
        ax.plot([spread.min(), spread.max()], [place, place], color="0.7", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(students)), students)
    ax.margins(x=0.1)
    ax.set(xscale="log", xlabel="Floating-point operations", ylim=(len(students) - 0.4, -0.6))
    handles = [plt.Line2D([], [], **style.point(target)) for target in ("alignet", "base")]
    labels = ["alignment, one target (number: share of pre-training)", "pre-training (published)"]
    if not costs["stage"].isin(PER_STUDENT).all():
        handles.append(plt.Line2D([], [], linestyle="none", **ONCE))
        labels.append("once for all students")
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _named(ax: Axes, place: float, once: pd.DataFrame) -> None:
    """Name the squares of one row from left to right, beside the row: work that is done once lies close together."""
    if len(once):
        names = ", ".join(once.sort_values("flops")["stage"])
        beside: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": style.SMALL}
        ax.annotate(f"from left: {names}", (once["flops"].max(), place), xytext=(6, 0), ha="left", **beside)
