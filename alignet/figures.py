"""Tables in, Figures out: nothing here loads, fits or scores."""

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from alignet.worlds.tables import LEVELS

MM = 1 / 25.4
SINGLE, DOUBLE = 89 * MM, 183 * MM  # journal column widths, inches
TITLE = 0.16  # height of a row's title, inches
CHANCE = 1 / 3
TARGETS = ("base", "unalignet", "alignet")
LABELS = {"base": "Base", "unalignet": "UnAligNet (control)", "alignet": "AligNet"}


def use_style() -> None:
    """The house style, found wherever the notebook runs."""
    plt.style.use(Path(__file__).with_name("alignet.mplstyle"))


def save(figure: Figure, path: Path, table: pd.DataFrame | None = None) -> None:
    """PNG, PDF and SVG of a figure, and the plotted table as CSV, under one name (`path` without ending)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".png"))
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    if table is not None:
        table.to_csv(path.with_suffix(".csv"), index=False, float_format="%.6g")


def contact_sheet(pictures: Tensor, titles: list[str]) -> Figure:
    """Rows of pictures, a title over each.

    Args: pictures: (rows, columns, 3, size, size) uint8; titles: (rows,).
    """
    rows, columns = pictures.shape[:2]
    size = (DOUBLE, rows * (DOUBLE / columns + TITLE))
    figure, axes = plt.subplots(rows, 1, figsize=size, squeeze=False, layout="constrained")
    for ax, row, title in zip(axes[:, 0], pictures, titles, strict=True):
        _strip(ax, row)
        ax.set_title(title, loc="left", fontsize=6, pad=1.5)
    return figure


def teacher_before_and_after(scores: pd.DataFrame) -> Figure:
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
    figure, axes = plt.subplots(1, 3, figsize=(DOUBLE, 0.33 * DOUBLE), layout="constrained")
    for ax, (column, label) in zip(axes, panels.items(), strict=True):
        style = {
            "data": shown,
            "x": "split",
            "y": column,
            "order": splits,
            "hue": "map",
            "hue_order": ["none", "fitted"],
        }
        sns.barplot(**style, palette=["0.8", "#1f77b4"], errorbar=None, ax=ax, legend=column == "ece")
        sns.stripplot(**style, palette=["0.35", "0.1"], dodge=True, jitter=False, size=2.5, ax=ax, legend=False)
        ax.set(xlabel="", ylabel=label)
    axes[2].legend(title="Map", handlelength=1)
    _chance(axes[0])
    people = _people(shown["choices"].iloc[0])
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
    figure, axes = plt.subplots(rows, columns, figsize=(DOUBLE, rows * DOUBLE / columns * 0.46), squeeze=False)
    size = pictures.shape[-1]
    for ax, triplet, odd in zip(axes.flat, pictures, probabilities, strict=False):
        _strip(ax, triplet)
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


def similarity_matrix(similarity: Tensor, labels: pd.DataFrame) -> Figure:
    """Similarities between groups of pictures, lines between the values of the coarsest label.

    Args: similarity: (k, k) in [-1, 1]; labels: k rows, ordered, coarsest column first, finest last.
    """
    figure, ax = plt.subplots(figsize=(DOUBLE * 0.72, DOUBLE * 0.62), layout="constrained")
    image = ax.imshow(similarity, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set_xticks([])
    ax.set_yticks(range(len(labels)), labels.iloc[:, -1], fontsize=5)
    coarsest = labels.iloc[:, 0]
    for place in np.flatnonzero(coarsest.to_numpy()[1:] != coarsest.to_numpy()[:-1]) + 0.5:
        ax.axhline(place, color="black", linewidth=0.5)
        ax.axvline(place, color="black", linewidth=0.5)
    middles = pd.Series(range(len(labels))).groupby(coarsest, sort=False).mean()
    ax.secondary_xaxis("top").set_xticks(middles.to_numpy(), middles.index, fontsize=6)
    figure.colorbar(image, ax=ax, shrink=0.6, label="Centred cosine similarity")
    return figure


def training_curve(curve: pd.DataFrame, window: int = 10) -> Figure:
    """Loss and agreement with the teacher by step: each batch thin, its running mean thick, held-out triplets as dots.

    Args: curve: step, loss, agreement, held_out_loss, held_out_accuracy, student and target.
    """
    figure, axes = plt.subplots(1, 2, figsize=(DOUBLE, 0.36 * DOUBLE), layout="constrained")
    runs = list(curve.groupby(["student", "target"], sort=False))
    colours = _student_colours(curve["student"].unique())
    for (student, target), run in runs:
        line = {"color": colours[student], "linestyle": "-" if target == "alignet" else ":"}
        filled = "full" if target == "alignet" else "none"
        for ax, column in zip(axes, ("loss", "agreement"), strict=True):
            ax.plot(run["step"], run[column], alpha=0.25, linewidth=0.5, **line)
            smooth = run[column].rolling(window, min_periods=1).mean()
            ax.plot(run["step"], smooth, label=f"{student}, {LABELS[target]}", **line)
        for ax, column in zip(axes, ("held_out_loss", "held_out_accuracy"), strict=True):
            ax.plot(run["step"], run[column], "o", markersize=2.5, fillstyle=filled, color=colours[student])
    axes[0].set(xlabel="Step", ylabel="Loss (nats)", yscale="log")
    axes[1].set(xlabel="Step", ylabel="Agreement with the teacher's choice")
    _chance(axes[1])
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def levels_by_abstraction(scores: pd.DataFrame, representation: str = "pooled") -> Figure:
    """The main figure: odd-one-out accuracy of base, control and aligned students at each level of abstraction.

    Error bars and the ceiling's band are 95 % bootstrap intervals over triplets; dotted: chance (1/3).

    Args: scores: levels.csv.
    """
    shown = scores[scores["representation"] == representation]
    if not shown["n_triplets"].any():
        return _only_text("No figure: the world has no levels.csv")
    students = list(dict.fromkeys(shown["student"]))
    colours = _student_colours(students)
    present = [level for level in LEVELS if (shown["level"] == level).any()]
    size = {"figsize": (DOUBLE, 0.36 * DOUBLE), "sharey": True, "squeeze": False, "layout": "constrained"}
    figure, (axes,) = plt.subplots(1, len(present), **size)
    for ax, level in zip(axes, present, strict=True):
        panel = shown[shown["level"] == level]
        for place, student in enumerate(students):
            for offset, target in zip((-0.24, 0.0, 0.24), TARGETS, strict=True):
                _accuracy(
                    ax,
                    place + offset,
                    panel[(panel["student"] == student) & (panel["target"] == target)],
                    colours[student],
                )
        _ceiling(ax, panel)
        _chance(ax)
        ax.set(
            title=f"{level.capitalize()}, n = {panel['n_triplets'].iloc[0]} triplets", xlim=(-0.5, len(students) - 0.5)
        )
        ax.set_xticks(range(len(students)), students)
    axes[0].set(ylabel="Odd-one-out accuracy", ylim=(0.25, 1.0))
    _target_legend(figure, shown["choices"].iloc[0])
    return figure


# Synthesis


def elbow(table: pd.DataFrame, sizes: np.ndarray) -> Figure:
    """Inertia by number of clusters, the chosen one filled; beside it the sizes of the chosen clusters.

    Args: table: elbow_<target>.csv; sizes: (k,) pictures in each cluster.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(DOUBLE, 0.3 * DOUBLE), layout="constrained")
    left.plot(table["clusters"], table["inertia_share"], color="0.4", linewidth=0.8, zorder=1)
    faces = np.where(table["chosen"], "#1f77b4", "white")
    left.scatter(table["clusters"], table["inertia_share"], c=faces, edgecolors="#1f77b4", s=22, zorder=2)
    left.set(
        xlabel="Clusters (filled: chosen)", ylabel="Inertia, share of one centroid's", ylim=(0, None), xscale="log"
    )
    left.set_xticks(table["clusters"], [str(k) for k in table["clusters"]])
    left.minorticks_off()
    right.bar(range(len(sizes)), np.sort(sizes)[::-1], width=1, color="0.75", edgecolor="white", linewidth=0.3)
    right.axhline(np.median(sizes), color="0.3", linestyle="--", linewidth=0.8)
    style = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom", "fontsize": 6, "color": "0.3"}
    right.annotate(f"median {np.median(sizes):g}", (1, np.median(sizes)), **style)
    right.set(xlabel="Cluster, largest first", ylabel="Pictures")
    return figure


def cluster_page(pictures: Tensor, titles: list[str]) -> Figure:
    """A strip of pictures per cluster, in two columns.

    Args: pictures: (clusters, columns, 3, size, size) uint8; titles: (clusters,).
    """
    clusters, columns = pictures.shape[:2]
    rows = math.ceil(clusters / 2)
    size = (DOUBLE, rows * (DOUBLE / (2 * columns) + TITLE))
    figure, axes = plt.subplots(rows, 2, figsize=size, squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, strip, title in zip(axes.T.flat, pictures, titles, strict=False):
        _strip(ax, strip)
        ax.set_title(title, loc="left", fontsize=6, pad=1.5)
    return figure


def labels_by_scheme(entropies: pd.DataFrame, agreements: pd.DataFrame) -> Figure:
    """Choice entropy of both targets' labels by scheme, and how often both choose the same odd one out.

    Boxes: quartiles, whiskers 5 to 95 % of the triplets; points: share, 95 % Wilson interval over triplets.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(DOUBLE, 0.36 * DOUBLE), layout="constrained")
    names = {scheme: scheme.replace("_", "\n") for scheme in agreements["scheme"]}
    palette = {"unalignet": "0.8", "alignet": "#1f77b4"}
    shown = entropies.assign(scheme=entropies["scheme"].map(names))
    style = {"palette": palette, "whis": (5, 95), "fliersize": 0, "linewidth": 0.7}
    order = {"order": list(names.values()), "hue_order": list(palette)}
    sns.boxplot(shown, x="scheme", y="entropy", hue="labels", ax=left, **order, **style)
    left.axhline(math.log(3), color="0.4", linestyle=":", linewidth=0.8)
    left.set(xlabel="", ylabel="Choice entropy (nats)", ylim=(0, 1.2))
    handles, labels = left.get_legend_handles_labels()
    left.get_legend().remove()
    figure.legend(handles, [LABELS[name] for name in labels], loc="outside lower left", ncols=2)
    style = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom", "fontsize": 6, "color": "0.4"}
    left.annotate("no preference", (1, math.log(3)), **style)
    errors = [agreements["agreement"] - agreements["ci_low"], agreements["ci_high"] - agreements["agreement"]]
    right.errorbar(range(len(agreements)), agreements["agreement"], errors, fmt="o", color="#1f77b4", markersize=4)
    right.set_xticks(range(len(agreements)), list(names.values()))
    right.set(ylabel="AligNet and control choose alike", ylim=(0.25, 1.02), xlim=(-0.5, len(agreements) - 0.5))
    _chance(right)
    return figure


def signal(table: pd.DataFrame) -> Figure:
    """Agreement of independent choices with the labels by scheme and witness; crossed out in red where it is not above
    chance + 3 standard errors (the short line). Bars of error: 95 % Wilson intervals over triplets."""
    figure, ax = plt.subplots(figsize=(DOUBLE, 0.3 * DOUBLE), layout="constrained")
    for place, row in enumerate(table.itertuples()):
        failed = bool(row.warning)
        errors = [[row.agreement - row.ci_low], [row.ci_high - row.agreement]]
        colour, marker = ("#d62728", "X") if failed else ("#1f77b4", "o")
        ax.errorbar(place, row.agreement, errors, fmt=marker, color=colour, markersize=8 if failed else 4)
        ax.plot([place - 0.25, place + 0.25], [row.threshold] * 2, color="0.2", linewidth=0.9)
        if failed:
            ax.annotate("NO SIGNAL", (place, row.ci_high), ha="center", va="bottom", color="#d62728", weight="bold")
    ticks = [f"{row.scheme}\n{row.witness}\nn = {row.n}" for row in table.itertuples()]
    ax.set_xticks(range(len(table)), ticks)
    ax.set(ylabel="Agreement with the labels", ylim=(0.25, 1.0), xlim=(-0.5, len(table) - 0.5))
    _chance(ax)
    return figure


def triplets_from_easy_to_hard(pictures: Tensor, labels: dict[str, Tensor]) -> Figure:
    """Triplets in reading order, under each picture the probability that it is the odd one out, a line per target.

    Args: pictures: (n, 3, 3, size, size) uint8; labels: target -> (n, 3) probabilities.
    """
    columns, size = 4, pictures.shape[-1]
    rows = math.ceil(len(pictures) / columns)
    height = DOUBLE / columns * (0.36 + 0.11 * len(labels))
    figure, axes = plt.subplots(rows, columns, figsize=(DOUBLE, rows * height), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for number, (ax, triplet) in enumerate(zip(axes.flat, pictures, strict=False)):
        _strip(ax, triplet)
        for line, (target, probabilities) in enumerate(labels.items()):
            y, colour = size * (1.06 + 0.28 * line), "#1f77b4" if target == "alignet" else "0.45"
            for place, probability in enumerate(probabilities[number].tolist()):
                weight = "bold" if place == int(probabilities[number].argmax()) else "normal"
                style = {"ha": "center", "va": "top", "fontsize": 6, "weight": weight, "color": colour}
                ax.text((place + 0.5) * size, y, f"{probability:.2f}", **style)
    figure.subplots_adjust(left=0, right=1, top=0.965, bottom=0.03, wspace=0.06, hspace=0.1)
    for line, target in enumerate(labels):
        colour = "#1f77b4" if target == "alignet" else "0.45"
        figure.text(0.12 * line, 0.995, LABELS[target], va="top", fontsize=7, color=colour)
    return figure


def _only_text(text: str) -> Figure:
    figure, ax = plt.subplots(figsize=(DOUBLE, 0.1 * DOUBLE))
    ax.text(0.5, 0.5, text, ha="center", va="center")
    ax.set_axis_off()
    return figure


def _strip(ax: Axes, pictures: Tensor) -> None:
    """Pictures (n, 3, size, size) side by side, no axes."""
    ax.imshow(pictures.permute(2, 0, 3, 1).flatten(1, 2))
    ax.set_axis_off()


def _accuracy(ax: Axes, x: float, row: pd.DataFrame, colour: str) -> None:
    if row.empty:
        return
    score = row.iloc[0]
    face = {"base": "white", "unalignet": "0.8", "alignet": colour}[score["target"]]
    errors = [[score["odd_one_out_accuracy"] - score["ci_low"]], [score["ci_high"] - score["odd_one_out_accuracy"]]]
    style = {
        "fmt": "o",
        "markersize": 5,
        "markerfacecolor": face,
        "color": colour,
        "elinewidth": 0.8,
        "markeredgewidth": 1,
    }
    ax.errorbar(x, score["odd_one_out_accuracy"], yerr=errors, **style)


def _ceiling(ax: Axes, panel: pd.DataFrame) -> None:
    score = panel.iloc[0]
    ax.axhspan(score["noise_ceiling_low"], score["noise_ceiling_high"], color="0.85", zorder=0, linewidth=0)
    ax.axhline(score["noise_ceiling"], color="0.5", linewidth=0.6, zorder=0)


def _chance(ax: Axes) -> None:
    ax.axhline(CHANCE, color="0.4", linestyle=":", linewidth=0.8, zorder=0)
    ax.annotate(
        "chance", (1, CHANCE), xycoords=("axes fraction", "data"), ha="right", va="top", fontsize=6, color="0.4"
    )


def _target_legend(figure: Figure, choices: str) -> None:
    dot = {"marker": "o", "color": "0.3", "linestyle": "none", "markersize": 5}
    handles = [plt.Line2D([], [], markerfacecolor=face, **dot) for face in ("white", "0.8", "0.3")]
    handles.append(plt.Rectangle((0, 0), 1, 1, color="0.85"))
    labels = [*(LABELS[target] for target in TARGETS), f"noise ceiling ({_people(choices)})"]
    figure.legend(handles, labels, loc="outside lower center", ncols=4)


def _people(choices: str) -> str:
    return "SIMULATED participants" if choices == "simulated" else "human participants"


def _student_colours(students) -> dict[str, str]:
    return dict(zip(students, sns.color_palette("colorblind", len(students)), strict=True))


def alignment_cost(costs: pd.DataFrame) -> Figure:
    """Floating-point operations of alignment (filled) beside pre-training (white), by student, on a log axis.

    The number is alignment's share of pre-training. Published: computed from pictures that others report.

    Args: costs: cost.csv.
    """
    students = list(dict.fromkeys(costs["student"]))
    size = (DOUBLE * 0.72, 0.3 + 0.42 * len(students))
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    colours = _student_colours(students)
    for row in costs.itertuples():
        place, aligned = students.index(row.student), row.stage == "alignment"
        face = colours[row.student] if aligned else "white"
        ax.plot(row.flops, place, "o", markersize=6, markerfacecolor=face, color=colours[row.student])
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
    dot = {"marker": "o", "color": "0.3", "linestyle": "none", "markersize": 6}
    handles = [plt.Line2D([], [], markerfacecolor=face, **dot) for face in ("0.3", "white")]
    labels = ["alignment, one target (number: share of pre-training)", "pre-training (published)"]
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure
