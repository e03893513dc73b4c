"""Students in training. Tables in, Figures out."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from alignet.figures import style


def training_curve(curve: pd.DataFrame, window: int = 10) -> Figure:
    """Loss and agreement with the teacher by step: each batch thin, its running mean thick, held-out triplets as dots.

    Args: curve: step, loss, agreement, held_out_loss, held_out_accuracy, student and target.
    """
    figure, axes = plt.subplots(1, 2, figsize=(style.DOUBLE, 0.36 * style.DOUBLE), layout="constrained")
    runs = list(curve.groupby(["student", "target"], sort=False))
    colours = style.student_colours(curve["student"].unique())
    for (student, target), run in runs:
        line = {"color": colours[student], "linestyle": "-" if target == "alignet" else ":"}
        filled = "full" if target == "alignet" else "none"
        for ax, column in zip(axes, ("loss", "agreement"), strict=True):
            ax.plot(run["step"], run[column], alpha=0.25, linewidth=0.5, **line)
            smooth = run[column].rolling(window, min_periods=1).mean()
            ax.plot(run["step"], smooth, label=f"{student}, {style.LABELS[target]}", **line)
        for ax, column in zip(axes, ("held_out_loss", "held_out_accuracy"), strict=True):
            ax.plot(run["step"], run[column], "o", markersize=2.5, fillstyle=filled, color=colours[student])
    axes[0].set(xlabel="Step", ylabel="Loss (nats)", yscale="log")
    axes[1].set(xlabel="Step", ylabel="Agreement with the teacher's choice")
    style.chance(axes[1])
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure
