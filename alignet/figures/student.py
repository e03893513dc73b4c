"""Students in training. Tables in, Figures out."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from alignet import results
from alignet.figures import style


def training_curve(curve: pd.DataFrame, window: int = 10) -> Figure:
    """Loss and agreement with the teacher by step, a column a student: each batch thin, its running mean thick,
    held-out triplets as marks.

    Args: curve: step, loss, agreement, held_out_loss, held_out_accuracy, student and target.
    """
    students = list(dict.fromkeys(curve["student"]))
    size: dict[str, Any] = {"figsize": (style.DOUBLE, 0.5 * style.DOUBLE), "sharey": "row", "sharex": True}
    figure, axes = plt.subplots(2, len(students), squeeze=False, layout="constrained", **size)
    panels = (("loss", "held_out_loss"), ("agreement", "held_out_accuracy"))
    targets = [target for target in results.TARGETS if (curve["target"] == target).any()]
    for column, student in zip(axes.T, students, strict=True):
        for target in targets:
            run = curve[(curve["student"] == student) & (curve["target"] == target)]
            look = style.point(target, size=3)
            for ax, (seen, held_out) in zip(column, panels, strict=True):
                ax.plot(run["step"], run[seen], alpha=0.25, linewidth=0.5, color=look["color"])
                smooth = run[seen].rolling(window, min_periods=1).mean()
                ax.plot(run["step"], smooth, color=look["color"])
                ax.plot(run["step"], run[held_out], **look)
        column[0].set(title=student, yscale="log")
        column[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        column[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        column[0].yaxis.set_minor_formatter(NullFormatter())
        column[1].set(xlabel="Step")
        style.accuracy_axis(column[1], "y")
    axes[0, 0].set(ylabel="Loss (nats)")
    axes[1, 0].set(ylabel="Agreement with\nthe teacher's choice")
    note = "Lines: batches and their running mean. Marks: held-out triplets"
    style.legend(figure, None, note, targets=targets, lines={"chance": ":"})
    return figure
