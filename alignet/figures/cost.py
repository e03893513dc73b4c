"""Operations of alignment beside pre-training. Tables in, Figures out."""

import itertools
import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from alignet.figures import style


def operations(costs: pd.DataFrame) -> Figure:
    """Floating-point operations of alignment and pre-training, by student, on a log axis.

    Filled: alignment; white: pre-training; squares: work that is done once for all students. The printed number is
    alignment's share of pre-training. Published: computed from the numbers of pictures that others report.

    Args: costs: cost.csv.
    """
    students = list(dict.fromkeys(costs["student"]))
    size = (style.DOUBLE, 0.7 + 0.3 * len(students))
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    beside = itertools.cycle((5, -11))  # points above and below: what is done once lies close together
    for row in costs.itertuples():
        place, aligned = students.index(row.student), row.stage == "alignment"
        if row.stage not in ("alignment", "pretraining"):
            ax.plot(row.flops, place, marker="s", color="0.3", markersize=4)
            offset = (-3, next(beside))
            ax.annotate(row.stage, (row.flops, place), xytext=offset, textcoords="offset points", fontsize=6)
            continue
        ax.plot(row.flops, place, **style.point("alignet" if aligned else "base"))
        if aligned:
            share = (
                "no published pre-training"
                if math.isnan(row.ratio_to_pretraining)
                else f"{row.ratio_to_pretraining:.2g}"
            )
            ax.annotate(share, (row.flops, place), xytext=(-3, 5), textcoords="offset points", fontsize=6)
    for place, student in enumerate(students):
        spread = costs.loc[costs["student"] == student, "flops"]
        ax.plot([spread.min(), spread.max()], [place, place], color="0.7", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(students)), students)
    ax.margins(x=0.1)
    ax.set(xscale="log", xlabel="Floating-point operations", ylim=(len(students) - 0.4, -0.6))
    handles = [plt.Line2D([], [], **style.point(target)) for target in ("alignet", "base")]
    labels = ["alignment, one target (number: share of pre-training)", "pre-training (published)"]
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure
