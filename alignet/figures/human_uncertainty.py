"""VICE's fit, its calibration, and what its dimensions show. Tables in, Figures out."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignet.figures import style

COLOURS = {"vice": style.BLUE, "embedding": "#cc78bc", "empirical": "0.35", "uniform": "0.6"}
NAMES = {
    "vice": "VICE",
    "embedding": "published, not held out",
    "empirical": "other participants",
    "uniform": "uniform",
}


def fit_curve(curve: pd.DataFrame) -> Figure:
    """Negative log-likelihood of the training choices, complexity and the dimensions that are kept, by epoch.

    Args: curve: epoch, nll, complexity, dimensions.
    """
    figure, axes = plt.subplots(1, 3, figsize=(style.DOUBLE, 0.26 * style.DOUBLE), layout="constrained")
    labels = {
        "nll": "NLL of a choice (nats)",
        "complexity": "Complexity (nats a choice)",
        "dimensions": "Dimensions kept",
    }
    for ax, (column, label) in zip(axes, labels.items(), strict=True):
        ax.plot(curve["epoch"], curve[column], color=COLOURS["vice"])
        ax.set(xlabel="Epoch", ylabel=label)
    axes[2].set_ylim(0, None)
    return figure


def calibration(scores: pd.DataFrame, bins: pd.DataFrame) -> Figure:
    """How far people's choices lie from what is predicted (at 0: calibrated); beside it NLL and accuracy.

    Error bars and the ceiling's band: 95 % intervals over the held-out triplets, which share objects. Left: a point per
    bin of predicted probability. 'other participants': the shares of the few others who saw the same triplet;
    'published, not held out': an embedding of others that was fitted to these choices too.

    Args: scores: calibration.csv, of which the rows about new people are left out; bins: calibration_bins.csv.
    """
    scores = scores[scores["people"] == "all"] if "people" in scores else scores
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(style.DOUBLE, 0.36 * style.DOUBLE), layout="constrained"
    )
    for name, part in bins.groupby("distribution", sort=False):
        errors = style.ends(part["chosen"], part["ci_low"], part["ci_high"])
        marks: dict[str, Any] = {"fmt": "o-", "markersize": 3, "linewidth": 0.8, "elinewidth": 0.8}
        left.errorbar(part["predicted"], part["chosen"] - part["predicted"], errors, color=COLOURS[name], **marks)
    style.horizontal(left, 0)
    left.set(xlabel="Predicted probability of an item", ylabel="Share of people who chose it,\nminus the prediction")
    left.set_xlim(0, 1)
    shown = scores[scores["triplets"] == "repeated"] if (scores["triplets"] == "repeated").any() else scores
    shown = pd.concat([shown, scores[scores["distribution"] == "uniform"]]).drop_duplicates("distribution")
    for ax, column, label in ((middle, "nll", "NLL of a choice (nats)"), (right, "accuracy", "Odd-one-out accuracy")):
        _by_distribution(ax, shown, column)
        ax.set_ylabel(label)
    first = shown.iloc[0]
    right.axhspan(first["noise_ceiling_low"], first["noise_ceiling_high"], color="0.85", zorder=0, linewidth=0)
    style.horizontal(right, first["noise_ceiling"], "--")
    style.chance(right)
    right.set_ylim(0.28, 1)
    middle.set_title(f"n = {shown['n_triplets'].iloc[0]} triplets")
    lines = {"calibrated, chance": ":", "noise ceiling": "--"}
    note = "Bars and band: 95 % intervals over triplets, which share objects"
    style.legend(figure, shown["choices"], note, targets=(), lines=lines)
    return figure


def _by_distribution(ax: Axes, shown: pd.DataFrame, column: str) -> None:
    for place, row in enumerate(shown.to_dict("records")):
        errors = style.ends(row[column], row[f"{column}_low"], row[f"{column}_high"])
        ax.errorbar(place, row[column], errors, fmt="o", markersize=4, color=COLOURS[row["distribution"]])
    ax.set_xticks(range(len(shown)), [NAMES[name].replace(" ", "\n") for name in shown["distribution"]])
    ax.set_xlim(-0.5, len(shown) - 0.5)
