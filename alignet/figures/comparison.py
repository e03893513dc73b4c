"""Models beside each other on every kind of benchmark. Tables in, Figures out."""

import math
import textwrap
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignet.figures import style

COLUMNS, WIDTH = 4, 34  # panels a row; characters of a title's line


def by_model(scores: pd.DataFrame) -> Figure:
    """A panel for each benchmark, a row for each model, best at the coarse level first.

    Error bars: 95 % intervals over the benchmark's units; dotted: chance; dashed: noise ceiling.

    Args: scores: comparison.csv, with rows of the students of the run or without.
    """
    panels = _panels(scores)
    order = _order(scores)
    rows = math.ceil(len(panels) / COLUMNS)
    size = (style.DOUBLE, rows * (0.45 + 0.15 * len(order)) + 0.5)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, (title, panel) in zip(axes.flat, panels, strict=False):
        _panel(ax, panel, order)
        ax.set_title(title, fontsize=6)
    axes[0, 0].set_yticks(range(len(order)), order)
    axes[0, 0].set_ylim(len(order) - 0.5, -0.5)
    people = style.people(scores["choices"])
    figure.supxlabel(f"Dotted: chance. Dashed: noise ceiling. Bars: 95 % intervals. Choices: {people}", fontsize=6)
    return figure


def _panels(scores: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Levels, held-out triplets, RSA, and of each downstream protocol the nearest centroid at most shots."""
    found = []
    for benchmark, part in scores.groupby("benchmark", sort=False):
        if benchmark.startswith("uncertainty") or benchmark == "levels, all":
            continue
        metrics = list(dict.fromkeys(part["metric"]))
        centroid = [metric for metric in metrics if "centroid" in metric]
        for metric in centroid[-1:] or metrics[:1]:
            title = "\n".join(textwrap.wrap(f"{benchmark}: {metric}".replace("_", " "), WIDTH))
            found.append((title, part[part["metric"] == metric]))
    return found


def _order(scores: pd.DataFrame) -> list[str]:
    """Models, the best at the first benchmark first."""
    first = scores[scores["benchmark"] == scores["benchmark"].iloc[0]].sort_values("value", ascending=False)
    return list(dict.fromkeys([*first.apply(label, axis=1), *scores.apply(label, axis=1)]))


def label(row: pd.Series) -> str:
    """How a model is named in the figure: with its layer where it is not the last."""
    layer = row["layer"]
    return row["model"] if pd.isna(layer) or layer == "pooled" else f"{row['model']}, {layer}"


def _panel(ax: Axes, panel: pd.DataFrame, order: list[str]) -> None:
    for _, row in panel.iterrows():
        aligned = row["model"].endswith(style.LABELS["alignet"])
        errors = style.ends(row["value"], row["ci_low"], row["ci_high"])
        marks: dict[str, Any] = {
            "fmt": "o",
            "markersize": 3.5,
            "elinewidth": 0.8,
            "color": "#1f77b4" if aligned else "0.35",
        }
        face = marks["color"] if aligned else "0.8" if style.LABELS["unalignet"] in row["model"] else "white"
        ax.errorbar(row["value"], order.index(label(row)), xerr=errors, markerfacecolor=face, **marks)
    for column, line in (("chance", ":"), ("noise_ceiling", "--")):
        if panel[column].notna().any():
            ax.axvline(panel[column].dropna().iloc[0], color="0.4", linestyle=line, linewidth=0.8, zorder=0)
