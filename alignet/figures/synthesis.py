"""Clusters, labels and triplets of the synthesis. Tables in, Figures out."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from alignet import results
from alignet.figures import style


def elbow(table: pd.DataFrame, sizes: np.ndarray) -> Figure:
    """Inertia by number of clusters, with the chosen number filled; beside it the sizes of the chosen clusters.

    Args: table: elbow_<target>.csv; sizes: (k,) pictures in each cluster.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.DOUBLE, 0.3 * style.DOUBLE), layout="constrained")
    left.plot(table["clusters"], table["inertia_share"], color="0.4", linewidth=0.8, zorder=1)
    faces = np.where(table["chosen"], style.BLUE, "white")
    left.scatter(table["clusters"], table["inertia_share"], c=faces, edgecolors=style.BLUE, s=22, zorder=2)
    left.set(
        xlabel="Clusters (filled: chosen)", ylabel="Inertia, share of one centroid's", ylim=(0, None), xscale="log"
    )
    left.set_xticks(table["clusters"], [str(k) for k in table["clusters"]])
    left.minorticks_off()
    bars = {"width": 1, "color": "0.75", "edgecolor": "white", "linewidth": 0.3, "zorder": -1}  # behind the line
    right.bar(range(len(sizes)), np.sort(sizes)[::-1], **bars)
    style.horizontal(right, np.median(sizes), "--", name=f"median {np.median(sizes):g}")
    right.set(xlabel="Cluster, largest first", ylabel="Pictures")
    return figure


def cluster_page(pictures: Tensor, titles: list[str]) -> Figure:
    """A strip of pictures per cluster, in two columns.

    Args: pictures: (clusters, columns, 3, size, size) uint8; titles: (clusters,).
    """
    clusters, columns = pictures.shape[:2]
    rows = math.ceil(clusters / 2)
    size = (style.DOUBLE, rows * (style.DOUBLE / (2 * columns) + style.TITLE))
    figure, axes = plt.subplots(rows, 2, figsize=size, squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, strip, title in zip(axes.T.flat, pictures, titles, strict=False):
        style.strip(ax, strip)
        ax.set_title(title, loc="left", fontsize=style.SMALL, pad=1.5)
    return figure


def labels_by_scheme(entropies: pd.DataFrame, agreements: pd.DataFrame) -> Figure:
    """Choice entropy of both targets' labels by scheme, and how often both choose the same odd one out.

    Boxes: quartiles, whiskers 5 to 95 % of the triplets; points: share, 95 % Wilson interval over triplets.
    """
    import seaborn as sns  # with scipy.stats takes two seconds: only where it is used

    figure, (left, right) = plt.subplots(1, 2, figsize=(style.DOUBLE, 0.36 * style.DOUBLE), layout="constrained")
    names = {scheme: scheme.replace("_", "\n") for scheme in agreements["scheme"]}
    palette = {target: style.COLOURS[target] for target in results.TARGETS[1:]}
    shown = entropies.assign(scheme=entropies["scheme"].map(names))
    marks = {"palette": palette, "whis": (5, 95), "fliersize": 0, "linewidth": 0.7, "saturation": 1}
    order = {"order": list(names.values()), "hue_order": list(palette)}
    sns.boxplot(shown, x="scheme", y="entropy", hue="labels", ax=left, **order, **marks)
    style.horizontal(left, math.log(3), name="no preference")
    left.set(xlabel="", ylabel="Choice entropy (nats)", ylim=(0, 1.2))
    handles, labels = left.get_legend_handles_labels()
    left.get_legend().remove()
    figure.legend(handles, [results.NAMES[name] for name in labels], loc="outside lower left", ncols=2)
    errors = [agreements["agreement"] - agreements["ci_low"], agreements["ci_high"] - agreements["agreement"]]
    right.errorbar(range(len(agreements)), agreements["agreement"], errors, fmt="o", color=style.BLUE, markersize=4)
    right.set_xticks(range(len(agreements)), list(names.values()))
    right.set(ylabel="AligNet and control choose alike", xlim=(-0.5, len(agreements) - 0.5))
    style.accuracy_axis(right, "y", chance=None)
    style.horizontal(right, style.CHANCE, name="chance")
    return figure


def signal(table: pd.DataFrame) -> Figure:
    """Agreement of independent choices with the labels, by scheme and witness.

    It is crossed out in red if it is not above chance + 3 standard errors (the short line). Error bars: 95 % Wilson
    intervals over triplets.
    """
    figure, ax = plt.subplots(figsize=(style.DOUBLE, 0.3 * style.DOUBLE), layout="constrained")
    for place, row in enumerate(table.itertuples()):
        failed = isinstance(row.warning, str) and bool(row.warning)  # a table that was read has a missing value
        errors = [[row.agreement - row.ci_low], [row.ci_high - row.agreement]]
        colour, marker = ("#d62728", "X") if failed else (style.BLUE, "o")
        ax.errorbar(place, row.agreement, errors, fmt=marker, color=colour, markersize=8 if failed else 4)
        ax.plot([place - 0.25, place + 0.25], [row.threshold] * 2, color="0.2", linewidth=0.9)
        if failed:
            ax.annotate("NO SIGNAL", (place, row.ci_high), ha="center", va="bottom", color="#d62728", weight="bold")
    ticks = [f"{row.scheme}\n{row.witness}\nn = {row.n:,}" for row in table.itertuples()]
    ax.set_xticks(range(len(table)), ticks)
    ax.set(ylabel="Agreement with the labels", xlim=(-0.5, len(table) - 0.5))
    style.accuracy_axis(ax, "y", chance=None)
    style.horizontal(ax, style.CHANCE, name="chance")
    return figure
