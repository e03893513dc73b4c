"""The teacher before and after its fit. Tables in, Figures out."""

import math

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from alignet.figures import style


def before_and_after(scores: pd.DataFrame) -> Figure:
    """Odd-one-out accuracy, KL and calibration error of the teacher, before and after the map, by split.

    Points are folds (train, validation) or the final fit (test); the bar is their mean.
    """
    panels = {
        "odd_one_out_accuracy": "Odd-one-out accuracy",
        "kl": "KL to the choices (nats)",
        "ece": "Calibration error",
    }
    splits = [split for split in ("train", "validation", "test") if split in set(scores["split"])]
    shown = scores[~((scores["fold"] == "all") & (scores["split"] == "train"))]
    figure, axes = plt.subplots(1, 3, figsize=(style.DOUBLE, 0.33 * style.DOUBLE), layout="constrained")
    for ax, (column, label) in zip(axes, panels.items(), strict=True):
        marks = {
            "data": shown,
            "x": "split",
            "y": column,
            "order": splits,
            "hue": "map",
            "hue_order": ["none", "fitted"],
        }
        sns.barplot(**marks, palette=["0.8", "#1f77b4"], errorbar=None, ax=ax, legend=column == "ece")
        sns.stripplot(**marks, palette=["0.35", "0.1"], dodge=True, jitter=False, size=2.5, ax=ax, legend=False)
        ax.set(xlabel="", ylabel=label)
    axes[2].legend(title="Map", handlelength=1)
    style.chance(axes[0])
    people = style.people(shown["choices"].iloc[0])
    for place, split in enumerate(splits):
        ceiling = shown.loc[shown["split"] == split, "noise_ceiling"].mean()
        if not math.isnan(ceiling):
            axes[0].plot([place - 0.4, place + 0.4], [ceiling, ceiling], color="0.3", linestyle="--", linewidth=1)
            axes[0].text(
                place, ceiling, f"noise ceiling\n({people})", ha="center", va="bottom", fontsize=6, color="0.3"
            )
    return figure


def triplet_page(pictures: Tensor, probabilities: Tensor) -> Figure:
    """Example triplets, each with the probability that its picture is the odd one out.

    Args: pictures: (n, 3, 3, size, size) uint8; probabilities: (n, 3).
    """
    columns = 4
    rows = math.ceil(len(pictures) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(style.DOUBLE, rows * style.DOUBLE / columns * 0.46), squeeze=False
    )
    size = pictures.shape[-1]
    for ax, triplet, odd in zip(axes.flat, pictures, probabilities, strict=False):
        style.strip(ax, triplet)
        for place, probability in enumerate(odd.tolist()):
            weight = "bold" if place == odd.argmax() else "normal"
            ax.text(
                (place + 0.5) * size,
                size * 1.06,
                f"{probability:.2f}",
                ha="center",
                va="top",
                fontsize=6,
                weight=weight,
            )
    figure.subplots_adjust(wspace=0.06, hspace=0.25)
    return figure
