"""Changes that alignment makes inside a model. Tables in, Figures out."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from alignet import results
from alignet.figures import style

Colour = str | tuple[float, float, float]
COLOURED, GREY = 27, "#bbbbbb"  # values of a label that have colours of their own in a map; the colour of all others
NAMED = 10  # values of a label that the legend alone names
PAIRS = "95 % intervals over pairs that share concepts"


def by_common_level(scores: pd.DataFrame) -> Figure:
    """Change of distance and its effect size, by lowest common level, in the pooled layer; a column a student.

    Dotted: no change, which the base has by definition. Bars: 95 % intervals over pairs that share concepts.

    Args: scores: reorganisation.csv.
    """
    shown = scores[scores["layer"] == "pooled"]
    students = list(dict.fromkeys(shown["student"]))
    size: dict[str, Any] = {
        "figsize": (style.DOUBLE, 0.5 * style.DOUBLE),
        "sharex": True,
        "squeeze": False,
        "layout": "constrained",
    }
    figure, axes = plt.subplots(2, len(students), sharey="row", **size)
    panels = (("change", "ci", "Change of distance\n(SD of base)"), ("effect_size", "effect_size", "Effect size $d_z$"))
    for column, student in enumerate(students):
        for ax, (value, interval, label) in zip(axes[:, column], panels, strict=True):
            for place, target in enumerate(results.TARGETS):
                rows = shown[(shown["student"] == student) & (shown["target"] == target)].dropna(subset=value)
                look = style.look(target) | {"linestyle": "none"}
                _points(ax, rows, value, interval, np.arange(len(rows)) + 0.22 * (place - 1), look)
            style.horizontal(ax, 0)
            if column == 0:
                ax.set_ylabel(label)
        relations = list(dict.fromkeys(shown["relation"]))
        axes[1, column].set_xticks(range(len(relations)), [name.replace(" ", "\n") for name in relations])
        axes[0, column].set_title(f"{student}, pooled")
    style.legend(figure, shown["choices"], f"Bars: {PAIRS}", lines={"no change": ":"})
    return figure


def by_layer(scores: pd.DataFrame) -> Figure:
    """Change of distance by layer and lowest common level (control, AligNet), and RSA to the hierarchy by layer.

    Bands and bars: 95 % intervals over pairs that share concepts; dotted: no change, and no correlation (RSA at
    chance).
    """
    students = list(dict.fromkeys(scores["student"]))
    targets = [target for target in results.TARGETS[1:] if (scores["target"] == target).any()]
    shape: dict[str, Any] = {
        "figsize": (style.DOUBLE, 0.34 * style.DOUBLE * len(students)),
        "squeeze": False,
        "layout": "constrained",
    }
    figure, axes = plt.subplots(len(students), len(targets) + 1, **shape)
    for row, student in zip(axes, students, strict=True):
        of_student = scores[scores["student"] == student]
        for ax, target in zip(row, targets, strict=False):
            _relations(ax, of_student[of_student["target"] == target])
            ax.set(title=f"{student}, {results.NAMES[target]}", ylim=_limits(of_student, "ci"))
        row[0].set_ylabel("Change of distance\n(SD of base)")
        for target in results.TARGETS:
            lines = of_student[of_student["target"] == target].drop_duplicates("layer")
            look = style.look(target, size=3) | {"linestyle": "-", "linewidth": 0.8}
            _points(row[-1], lines, "rsa", "rsa", lines["depth"], look)
        row[-1].set(title=f"{student}, all pairs", ylabel="RSA to the hierarchy")
        for ax in row:
            style.horizontal(ax, 0)
            layers = of_student.drop_duplicates("layer")
            ax.set_xticks(layers["depth"], layers["layer"], rotation=60, ha="right", fontsize=style.SMALL)
    scale = _scale(scores)
    handles = [plt.Line2D([], [], color=colour) for colour in scale.values()]
    figure.legend(handles, scale, loc="outside upper center", ncols=len(scale))
    style.legend(figure, scores["choices"], f"Bars and bands: {PAIRS}", lines={"no change, no correlation": ":"})
    return figure


def layer_alignment(table: pd.DataFrame) -> Figure:
    """CKA between the layers of the base (across) and those of its control and of AligNet (up); a row a student.

    Args: table: cka.csv.
    """
    students = list(dict.fromkeys(table["student"]))
    targets = [target for target in results.TARGETS[1:] if (table["target"] == target).any()]
    size: dict[str, Any] = {
        "figsize": (style.DOUBLE, 0.4 * style.DOUBLE * len(students)),
        "squeeze": False,
        "layout": "constrained",
    }
    if not targets:
        return style.only_text("No figure: no student was aligned")
    figure, axes = plt.subplots(len(students), len(targets), **size)
    for row, student in zip(axes, students, strict=True):
        for ax, target in zip(row, targets, strict=True):
            of_target = table[(table["student"] == student) & (table["target"] == target)]
            layers = list(dict.fromkeys(of_target["layer"]))
            square = of_target.pivot(index="layer", columns="base_layer", values="cka").loc[layers, layers]
            image = ax.imshow(square, cmap="viridis", vmin=0, vmax=1, origin="lower")
            ax.set_xticks(range(len(layers)), layers, rotation=60, ha="right", fontsize=style.SMALL)
            ax.set_yticks(range(len(layers)), layers, fontsize=style.SMALL)
            ax.set(xlabel=f"{student}, Base", ylabel=f"{student}, {results.NAMES[target]}")
            for place, value in enumerate(np.diag(square)):
                text = f"{value:.2f}".removeprefix("0")
                ax.text(
                    place,
                    place,
                    text,
                    ha="center",
                    va="center",
                    fontsize=style.SMALL,
                    color="k" if value > 0.6 else "w",
                )
    figure.colorbar(image, ax=axes, shrink=0.6, label="CKA (linear)")
    style.legend(figure, table["choices"], "Written: each layer with itself before alignment", targets=())
    return figure


def before_and_after(table: pd.DataFrame, label: str, student: str) -> Figure:
    """PCA and UMAP maps of one student before and after alignment: a dot a concept, with the same colours in all maps.

    If the label has more than COLOURED values, those with the most concepts are coloured, and the others are grey. More
    than NAMED colours are hard to tell apart, so the names stand in the maps too.

    Args: table: student, target, method, x, y and labels; label: the column that gives the colours.
    """
    of_student = table[table["student"] == student]
    common = set(of_student[label].value_counts().index[:COLOURED])
    values = [value for value in dict.fromkeys(of_student[label]) if value in common]
    import seaborn as sns  # with scipy.stats takes two seconds: only where it is used

    palette = style.COLOUR_BLIND_SAFE if len(values) <= 10 else sns.color_palette("husl", len(values))
    colours = dict(zip(values, palette, strict=False))
    targets = [target for target in results.TARGETS if (of_student["target"] == target).any()]
    size: dict[str, Any] = {"figsize": (style.DOUBLE, 0.68 * style.DOUBLE), "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(2, len(targets), sharex="row", sharey="row", **size)
    for row, method in zip(axes, ("PCA", "UMAP"), strict=True):
        for ax, target in zip(row, targets, strict=True):
            points = of_student[(of_student["target"] == target) & (of_student["method"] == method)]
            ax.scatter(
                points["x"], points["y"], s=7, c=[colours.get(value, GREY) for value in points[label]], linewidths=0
            )
            ax.set(xticks=[], yticks=[], xlabel=f"{method} 1")
            if len(values) > NAMED:
                _named(ax, points[points[label].isin(common)], label)
        row[0].set_ylabel(f"{method} 2")
    for ax, target in zip(axes[0], targets, strict=True):
        ax.set_title(f"{student}, {results.NAMES[target]}")
    others = of_student[label].nunique() - len(values)
    shown = colours | ({f"{others:,} others": GREY} if others else {})
    dots = [plt.Line2D([], [], marker="o", linestyle="none", markersize=4, color=colour) for colour in shown.values()]
    title = f"A dot a concept. {_aligned_to(of_student)}"
    figure.legend(dots, shown, loc="outside lower center", ncols=min(len(shown), 7), title=title)
    return figure


def _named(ax: Axes, points: pd.DataFrame, label: str) -> None:
    """Write the name of each group at its middle, unless it would overlap another name."""
    taken: list[tuple[float, float]] = []
    spread = np.ptp(points[["x", "y"]].to_numpy(), axis=0)
    for name, middle in points.groupby(label, sort=False)[["x", "y"]].median().iterrows():
        place = (middle["x"] / spread[0], middle["y"] / spread[1])
        if all(abs(place[0] - x) > 0.3 or abs(place[1] - y) > 0.08 for x, y in taken):
            taken.append(place)
            box = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5}
            ax.text(middle["x"], middle["y"], str(name), ha="center", va="center", fontsize=style.SMALL, bbox=box)


def neighbour_page(table: pd.DataFrame, pictures: Tensor, student: str, relations: pd.DataFrame) -> Figure:
    """Example pictures and their nearest neighbours of other concepts, before and after alignment.

    The colour of a frame is the lowest common level of the picture and its example.

    Args: table: neighbours of the students (student, target, example, rank, relation); pictures: (n, 3, size, size)
        uint8, one for each row of the table in its order; relations: reorganisation.csv, for the same colours.
    """
    rows = np.flatnonzero(table["student"] == student)
    shown, pictures = table.iloc[rows].reset_index(drop=True), pictures[rows]
    targets = [target for target in results.TARGETS if (shown["target"] == target).any()]
    examples, ranks = list(dict.fromkeys(shown["example"])), int(shown["rank"].max())
    columns = 1 + len(targets) * (ranks + 1)  # the example, and for each target a gap and its neighbours
    widths = [1] + [0.25, *([1] * ranks)] * len(targets)
    grid = {"wspace": 0.1, "hspace": 0.1, "left": 0.01, "right": 0.99, "width_ratios": widths}
    size = (style.DOUBLE, style.DOUBLE / sum(widths) * len(examples) + 4 * style.TITLE)
    figure, axes = plt.subplots(len(examples), columns, figsize=size, squeeze=False, gridspec_kw=grid)
    for ax in axes.flat:
        ax.set_axis_off()
    scale = _scale(relations)
    for place, row in shown.iterrows():
        first = 0 if row["rank"] == 0 else 1 + targets.index(row["target"]) * (ranks + 1)
        colour = "0.85" if row["rank"] == 0 else scale[row["relation"]]
        _framed(axes[examples.index(row["example"]), first + row["rank"]], pictures[place], colour)
    axes[0, 0].set_title("example", fontsize=style.SMALL)
    for number, target in enumerate(targets):
        axes[0, 2 + number * (ranks + 1)].set_title(
            f"{student}, {results.NAMES[target]}", loc="left", fontsize=style.SMALL
        )
    _frames_legend(figure, shown, scale)
    return figure


def _framed(ax: Axes, picture: Tensor, colour: Colour) -> None:
    if ax.images:
        return  # the example, which each target's rows begin with
    ax.imshow(picture.permute(1, 2, 0))
    ax.set_axis_on()
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=2)


def _frames_legend(figure: Figure, shown: pd.DataFrame, scale: dict[str, Colour]) -> None:
    present = [name for name in scale if (shown.loc[shown["rank"] > 0, "relation"] == name).any()]
    handles = [plt.Line2D([], [], color=scale[name], linewidth=2) for name in present]
    figure.legend(handles, present, loc="lower center", ncols=5, title=_aligned_to(shown))


def _relations(ax: Axes, part: pd.DataFrame) -> None:
    for relation, lines in part.groupby("relation", sort=False):
        colour = _scale(part)[relation]
        ax.plot(lines["depth"], lines["change"], color=colour, marker="o", markersize=2.5, label=relation)
        ax.fill_between(lines["depth"], lines["ci_low"], lines["ci_high"], color=colour, alpha=0.2, linewidth=0)


def _scale(table: pd.DataFrame) -> dict[str, Colour]:
    """Colours from the nearest relation (dark) to unrelated (light)."""
    import seaborn as sns  # with scipy.stats takes two seconds: only where it is used

    names = list(dict.fromkeys(table["relation"]))
    return dict(zip(names, sns.color_palette("viridis", len(names)), strict=True))


def _points(ax: Axes, rows: pd.DataFrame, value: str, interval: str, places: ArrayLike, look: dict[str, Any]) -> None:
    """Draw one target's values at `places` on the x axis, (rows,), with error bars."""
    if rows.empty:
        return
    errors = style.ends(rows[value], rows[f"{interval}_low"], rows[f"{interval}_high"])
    ax.errorbar(places, rows[value], yerr=errors, **look)


def _limits(part: pd.DataFrame, interval: str) -> tuple[float, float]:
    low, high = part[f"{interval}_low"].min(), part[f"{interval}_high"].max()
    return low - 0.08 * (high - low), high + 0.08 * (high - low)


def _aligned_to(scores: pd.DataFrame) -> str:
    return f"Aligned to {style.people(scores['choices'].iloc[0])}"
