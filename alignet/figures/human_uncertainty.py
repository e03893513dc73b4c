"""VICE's fit, its calibration and its dimensions. Tables in, Figures out."""

import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from alignet.figures import style

COLOURS = {"vice": style.BLUE, "embedding": "#cc78bc", "empirical": "0.35", "uniform": "0.5"}
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


def sampled_choices(samples: Tensor, names: list[list[str]], choices: str) -> Figure:
    """The reason why an unsure embedding gives a flat choice distribution: a dot for each sample of the embedding, a
    bar for their mean, Eq. 4 of docs/method.md; a panel for each triplet.

    Args: samples: (k, S, 3), each sample's probabilities that an item is the odd one out; names: the three of each
        triplet; choices: whose they are that the embedding was fitted to, as in `tables.World`.
    """
    figure, axes = plt.subplots(
        1, len(names), figsize=(style.DOUBLE, 0.3 * style.DOUBLE), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, drawn, three in zip(axes[0], samples, names, strict=True):
        for item, values in enumerate(drawn.T):
            places = item + np.linspace(-0.25, 0.25, len(values))
            ax.plot(places, values, ".", color=COLOURS["vice"], markersize=2.5, alpha=0.5)
            ax.plot([item - 0.32, item + 0.32], [values.mean()] * 2, color="0.1", linewidth=1.5)
            height = float(values.max()) + 0.03
            ax.text(item, height, f"{values.mean():.2f}", ha="center", va="bottom", fontsize=style.SMALL)
        style.chance(ax)
        ax.set_xticks(range(len(three)), [textwrap.fill(name, 16) for name in three])
        ax.set(xlim=(-0.5, 2.5), ylim=(0, 1.1), yticks=(0, 0.5, 1))
    axes[0, 0].set_ylabel("Probability of being\nthe odd one out")
    style.legend(
        figure,
        choices,
        f"Dots: {samples.shape[1]} samples; bars and numbers: their means",
        targets=(),
        lines={"chance": ":"},
    )
    return figure


def calibration(scores: pd.DataFrame, bins: pd.DataFrame) -> Figure:
    """Deviation of people's choices from predicted probabilities (0: calibrated), and NLL and accuracy of the
    predictions.

    Left: a point per bin of predicted probability. Error bars and the ceiling's band: 95 % intervals over the held-out
    triplets, which share objects. 'other participants': the shares of the few others who saw the same triplet;
    'published, not held out': an embedding that others fitted, to these choices too.

    Args: scores: calibration.csv, whose rows about new people are left out; bins: calibration_bins.csv.
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
    style.accuracy_axis(right, "y")
    for ax in (middle, right):
        ax.set_title(f"n = {shown['n_triplets'].iloc[0]:,} triplets")
    for ax in (middle, right):  # the colours of the points at the left
        for label, name in zip(ax.get_xticklabels(), shown["distribution"], strict=True):
            label.set_color(COLOURS[name])
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
