"""VICE's fit, its calibration, and what its dimensions show. Tables in, Figures out."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignet.figures import style

COLOURS = {"vice": "#1f77b4", "empirical": "0.45", "uniform": "0.7"}
NAMES = {"vice": "VICE", "empirical": "the others", "uniform": "nothing"}


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
    """How often people choose what they are predicted to: the reliability diagram; beside it NLL and accuracy.

    Error bars and the ceiling's band: 95 % intervals over the held-out triplets, which share objects. Left: a point per
    bin of predicted probability, diagonal: calibrated. Right: dotted: chance.

    Args: scores: calibration.csv; bins: calibration_bins.csv.
    """
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(style.DOUBLE, 0.36 * style.DOUBLE), layout="constrained"
    )
    left.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, zorder=0)
    for name, part in bins.groupby("distribution", sort=False):
        style.reliability(left, part, COLOURS[name], NAMES[name])
    left.set(xlabel="Predicted probability", ylabel="Share of people", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    left.legend(loc="upper left", handlelength=1)
    shown = scores[scores["triplets"] == "repeated"] if (scores["triplets"] == "repeated").any() else scores
    shown = pd.concat([shown, scores[scores["distribution"] == "uniform"]]).drop_duplicates("distribution")
    for ax, column, label in ((middle, "nll", "NLL of a choice (nats)"), (right, "accuracy", "Odd-one-out accuracy")):
        _by_distribution(ax, shown, column)
        ax.set_ylabel(label)
    style.ceiling_band(right, shown)
    style.chance(right)
    right.set_title(f"Band: noise ceiling, {style.people(shown['choices'].iloc[0])}", fontsize=6)
    middle.set_title(f"n = {shown['n_triplets'].iloc[0]} triplets", fontsize=6)
    return figure


def _by_distribution(ax: Axes, shown: pd.DataFrame, column: str) -> None:
    for place, row in enumerate(shown.to_dict("records")):
        errors = style.ends(row[column], row[f"{column}_low"], row[f"{column}_high"])
        ax.errorbar(place, row[column], errors, fmt="o", markersize=4, color=COLOURS[row["distribution"]])
    ax.set_xticks(range(len(shown)), [NAMES[name] for name in shown["distribution"]])
    ax.set_xlim(-0.5, len(shown) - 0.5)
