"""The teacher before and after its fit, its grid, its targets and its layers. Tables in, Figures out."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignet import results
from alignet.figures import style

ACCURACY = "odd_one_out_accuracy"
SCORES = {
    ACCURACY: "Odd-one-out accuracy",
    "kl": "KL to the targets (nats)",
    "ece": "Calibration error",
}
JUDGED = "judged"  # rows of teacher.csv about the triplets that people judged; the others are drawn ones of a level
LEVELS = ("coarse", "boundary", "fine")
LOOKS = {"none": ("base", "no map, one fitted scalar"), "fitted": ("alignet", "fitted map")}
RIDGE: dict[str, Any] = {
    "marker": "s",
    "color": "0.35",
    "markersize": 4,
    "linestyle": "none",
}  # ridge regression, where a fit starts
TARGETS = {  # kinds of targets: colour, marker, words
    "soft": (style.BLUE, "D", "soft: the choice distribution"),
    "hard": ("0.35", "s", "hard: people's single choices"),
    "argmax": ("#d55e00", "^", "argmax: the likeliest choice, as if it were sure"),
}
FACTORS = {"lambda": "lambda", "local_weight": "local term", "lr": "learning rate", "sigma": "sigma", "steps": "steps"}
FOLDS = "Small points: folds of concepts; large: their mean"
SPLITS = ("test", "validation", "train")  # concepts that no fit has seen, those of other folds, and those of the fit


def before_and_after(scores: pd.DataFrame) -> Figure:
    """Odd-one-out accuracy, KL and calibration error of the teacher, before and after the map, by split.

    Small points: folds of concepts (train, validation); large points: their mean, or the final fit (test) with its 95 %
    interval over triplets that share concepts. Dashed: the noise ceiling, if several people judged at least
    `results.FEW_TRIPLETS` triplets. A split with fewer triplets, all folds together, is left out.

    Args: scores: the rows of teacher.csv without a map and of the chosen cell.
    """
    judged = scores[scores["level"] == JUDGED]
    shown = judged[~((judged["fold"] == "all") & (judged["split"] == "train"))]
    totals = shown[shown["map"] == "fitted"].groupby("split")["n_triplets"].sum()
    splits = [split for split in SPLITS if totals.get(split, 0) >= results.FEW_TRIPLETS]
    few = style.left_out({split: totals[split] for split in SPLITS if split in totals})
    if not splits:
        return style.only_text(f"No figure. {few}")
    figure, axes = plt.subplots(1, 3, figsize=(style.DOUBLE, 0.36 * style.DOUBLE), layout="constrained")
    for ax, (column, label) in zip(axes, SCORES.items(), strict=True):
        for place, split in enumerate(splits):
            for shift, kind in zip((-0.15, 0.15), LOOKS, strict=True):
                rows = shown[(shown["split"] == split) & (shown["map"] == kind)]
                _folds(ax, place + shift, rows, column, kind)
        sizes = [shown.loc[shown["split"] == split, "n_triplets"].mean() for split in splits]
        names = [f"{split}\nn = {size:,.0f}" for split, size in zip(splits, sizes, strict=True)]
        ax.set_xticks(range(len(splits)), names)
        ax.set(ylabel=label, xlim=(-0.5, len(splits) - 0.5), ylim=(0, None))
    style.accuracy_axis(axes[0], "y")
    known = [_ceiling(axes[0], place, shown[shown["split"] == split]) for place, split in enumerate(splits)]
    ones = bool(((shown["fold"] == "all") & shown["split"].isin(splits)).any())
    note = f"{FOLDS}; n: triplets of a fold" + ("; bar: 95 % interval over triplets, which share concepts" * ones)
    note = ".\n".join(filter(None, [note, few]))
    _legend(figure, shown["choices"], note, {"chance": ":"} | ({"noise ceiling": "--"} if any(known) else {}))
    return figure


def _ceiling(ax: Axes, place: float, rows: pd.DataFrame) -> bool:
    """Draw a split's noise ceiling with its n, and say whether there is one of enough triplets."""
    judged = rows[rows["n_repeated"] >= results.FEW_TRIPLETS]
    if judged.empty:
        return False
    ceiling = judged["noise_ceiling"].mean()
    ax.plot([place - 0.4, place + 0.4], [ceiling] * 2, color="0.3", linestyle="--", linewidth=1)
    beside: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": style.SMALL, "color": "0.3"}
    ax.annotate(f"n = {judged['n_repeated'].mean():,.0f}", (place, ceiling), xytext=(0, 3), **beside)
    return True


def _folds(ax: Axes, place: float, rows: pd.DataFrame, column: str, kind: str) -> None:
    """Draw folds as small points and their mean as a large one, or a single fit with its interval if it has one."""
    if rows.empty:
        return
    look = RIDGE if kind == "ridge" else style.look(LOOKS[kind][0])
    if len(rows) > 1:
        colour = RIDGE["color"] if kind == "ridge" else style.COLOURS[LOOKS[kind][0]]
        ax.plot([place + 0.07] * len(rows), rows[column], ".", markersize=3, alpha=0.6, color=colour)
    one = rows.iloc[0]
    errors = None
    if len(rows) == 1 and column == ACCURACY and pd.notna(one.get("ci_low")):
        errors = style.ends(one[column], one["ci_low"], one["ci_high"])
    ax.errorbar(place, rows[column].mean(), yerr=errors, **look)


def _legend(figure: Figure, choices: pd.Series, note: str, lines: dict[str, str], ridge: bool = False) -> None:
    handles = [plt.Line2D([], [], **style.point(target)) for target, _ in LOOKS.values()]
    for line in lines.values():
        handles.append(plt.Line2D([], [], **style.dashes(line)))
    labels = [*(words for _, words in LOOKS.values()), *lines]
    if ridge:
        handles, labels = [*handles, plt.Line2D([], [], **RIDGE)], [*labels, "ridge regression"]
    title = style.wrapped(figure, note, style.people(choices))
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), title=title)


def by_level(scores: pd.DataFrame) -> Figure:
    """Accuracy on sampled triplets of held-out concepts by level, and participation ratio, before and after the map.

    The participation ratio is the number of axes over which the representation spreads. Small points: folds; large
    points: their mean.

    Args: scores: the rows of teacher.csv without a map and of the chosen cell.
    """
    drawn = scores[(scores["split"] == "validation") & scores["level"].isin(LEVELS)]
    if drawn.empty:
        return style.only_text("No triplets were sampled by level: the targets are people's shares, not VICE's.")
    judged = scores[(scores["split"] == "validation") & (scores["level"] == JUDGED)]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(style.DOUBLE, 0.34 * style.DOUBLE), layout="constrained", width_ratios=[3, 1]
    )
    levels = [level for level in LEVELS if level in set(drawn["level"])]
    for shift, kind in zip((-0.12, 0.12), LOOKS, strict=True):
        for place, level in enumerate(levels):
            rows = drawn[(drawn["map"] == kind) & (drawn["level"] == level)]
            _folds(left, place + shift, rows, ACCURACY, kind)
        _folds(right, shift, judged[judged["map"] == kind], "participation_ratio", kind)
    left.set_xticks(range(len(levels)), levels)
    left.set(ylabel="Odd-one-out accuracy", xlim=(-0.5, len(levels) - 0.5))
    style.accuracy_axis(left, "y")
    right.set(ylabel="Participation ratio (axes)", xticks=[], xlim=(-0.5, 0.5), ylim=(0, None))
    _legend(figure, drawn["choices"], f"{FOLDS}. Left: expected under VICE's distributions", {"chance": ":"})
    return figure


PEOPLE = {  # split: title
    "new": "New concepts",
    "cross-fitted": "Concepts of other folds",
    "known": "Known concepts",
    "mixed": "Mixed concepts",
}


def on_people(scores: pd.DataFrame) -> Figure:
    """Accuracy on people's own choices at each level.

    The choices are about concepts that a fold has not seen, and those of levels.csv by regime. Error bars: 95 %
    intervals over triplets that share concepts. Levels with fewer than `results.FEW_TRIPLETS` triplets are left out.

    Args: scores: the rows of teacher.csv without a map, of ridge regression and of the chosen cell.
    """
    judged = scores[scores["split"].isin(PEOPLE)]
    shown = judged[judged["n_triplets"] >= results.FEW_TRIPLETS]
    splits = [split for split in PEOPLE if split in set(shown["split"])]
    numbers = judged.groupby(["split", "level"], sort=False)["n_triplets"].max()
    few = style.left_out({f"{PEOPLE[split].lower()}, {level}": n for (split, level), n in numbers.items() if n})
    if not splits:
        return style.only_text(f"No figure. {few}" if few else "No figure: people judged no triplets of a level")
    size: dict[str, Any] = {"figsize": (style.DOUBLE, 0.36 * style.DOUBLE), "sharey": True, "squeeze": False}
    figure, axes = plt.subplots(1, len(splits), layout="constrained", **size)
    for ax, split in zip(axes[0], splits, strict=True):
        of_split = shown[shown["split"] == split]
        levels = [level for level in ("all", *LEVELS) if level in set(of_split["level"])]
        for shift, kind in zip((-0.2, 0, 0.2), ("none", "ridge", "fitted"), strict=True):
            for place, level in enumerate(levels):
                rows = of_split[(of_split["level"] == level) & (of_split["map"] == kind)]
                _folds(ax, place + shift, rows, ACCURACY, kind)
        counts = of_split.groupby("level")["n_triplets"].first()
        ax.set_xticks(range(len(levels)), [f"{level}\n{counts[level]:,.0f}" for level in levels])
        ax.set(title=PEOPLE[split], xlim=(-0.5, len(levels) - 0.5))
        style.accuracy_axis(ax, "y")
    axes[0, 0].set(ylabel="Odd-one-out accuracy")
    note = "Numbers: triplets, each of which counts once. Bars: 95 % intervals over triplets, which share concepts"
    note = ".\n".join(filter(None, [note, few]))
    _legend(figure, shown["choices"], note, {"chance": ":"}, ridge="ridge" in set(shown["map"]))
    return figure


def grid(scores: pd.DataFrame) -> Figure:
    """Validation scores of every cell of the grid, a column a factor; lines join cells that differ in that factor only.

    A point is the mean over the folds of concepts. Where triplets were drawn by level, a fold's score is the mean over
    the levels, by which the cell is chosen. Filled: the chosen cell; blue: its line; dashed: without a map. Settings
    differ by little, so no y axis begins at 0, and each is marked as cut.

    Args: scores: teacher.csv.
    """
    shown = scores[(scores["split"] == "validation") & scores["map"].isin(LOOKS)]
    drawn = shown[shown["level"] != JUDGED]
    key = ["map", "fold", *FACTORS, "chosen"]
    by_fold = (drawn if len(drawn) else shown).groupby(key, dropna=False)[[*SCORES]].mean().reset_index()
    before = by_fold[by_fold["map"] == "none"]
    cells = by_fold[by_fold["map"] == "fitted"].groupby([*FACTORS, "chosen"])[[*SCORES]].mean().reset_index()
    factors = [factor for factor in FACTORS if cells[factor].nunique() > 1] or ["lambda"]
    size: dict[str, Any] = {"figsize": (style.DOUBLE, 0.62 * style.DOUBLE), "sharey": "row", "squeeze": False}
    figure, axes = plt.subplots(len(SCORES), len(factors), layout="constrained", sharex="col", **size)
    for row, (column, label) in zip(axes, SCORES.items(), strict=True):
        for ax, factor in zip(row, factors, strict=True):
            _factor(ax, cells, factor, column)
            style.horizontal(ax, before[column].mean(), "--")
        row[0].set_ylabel(label)
    for ax in axes.flat:
        style.cut(ax)
    for ax in axes[0]:
        style.chance(ax)
    low, high = (f([style.CHANCE, before[ACCURACY].mean(), *cells[ACCURACY]]) for f in (min, max))
    axes[0, 0].set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    for ax, factor in zip(axes[-1], factors, strict=True):
        ax.set_xlabel(FACTORS[factor])
    blue: dict[str, Any] = {"color": style.BLUE, "marker": "D", "markersize": 4, "linewidth": 0.8}
    lines = {"no map, one fitted scalar": "--", "chance": ":"}
    dashes = [plt.Line2D([], [], **style.dashes(line)) for line in lines.values()]
    note = "Means over folds of concepts; cells that differ in one factor are joined. Axes are cut"
    title = style.wrapped(figure, note, _people(scores))
    labels = ["chosen cell, and cells one factor away", *lines]
    handles = [plt.Line2D([], [], **blue), *dashes]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, title=title)
    return figure


def _people(scores: pd.DataFrame) -> str:
    return style.people(scores["choices"]) if "choices" in scores else "not said"


def _factor(ax: Axes, cells: pd.DataFrame, factor: str, column: str) -> None:
    values = sorted(cells[factor].unique())
    for _, line in cells.groupby([name for name in FACTORS if name != factor]):
        line = line.sort_values(factor)
        places = [values.index(value) for value in line[factor]]
        own = bool(line["chosen"].any())
        colour = style.BLUE if own else "0.6"
        look: dict[str, Any] = {"marker": "D", "markersize": 3.5, "markerfacecolor": "white", "linewidth": 0.8}
        ax.plot(places, line[column], color=colour, zorder=3 if own else 2, **look)
        for place, (_, cell) in zip(places, line.iterrows(), strict=True):
            if cell["chosen"]:
                ax.plot(place, cell[column], "D", markersize=4.5, color=colour, zorder=4)
    ax.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    ax.set_xlim(-0.4, len(values) - 0.6)


def layers(scores: pd.DataFrame) -> Figure:
    """Zero-shot odd-one-out accuracy of every layer, from input to output, a panel a backbone.

    Filled: the layers that the teacher reads. Error bars: 95 % intervals over triplets that share concepts. Args:
    scores: teacher_layers.csv.
    """
    names = list(dict.fromkeys(scores["backbone"]))
    size = (style.DOUBLE, 0.38 * style.DOUBLE)
    figure, axes = plt.subplots(1, len(names), figsize=size, layout="constrained", sharey=True, squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        of_one = scores[scores["backbone"] == name]
        errors = style.ends(of_one[ACCURACY], of_one["ci_low"], of_one["ci_high"])
        ax.errorbar(of_one["depth"], of_one[ACCURACY], errors, color=style.BLUE, linewidth=0.8, zorder=1)
        faces = [style.BLUE if read else "white" for read in of_one["read"]]
        ax.scatter(of_one["depth"], of_one[ACCURACY], c=faces, edgecolors=style.BLUE, s=24, zorder=2)
        ax.set_xticks(of_one["depth"], of_one["layer"], rotation=0 if len(scores) < 8 else 60)
        ax.set(xlabel="Layer", title=f"{name}, n = {of_one['n_triplets'].iloc[0]:,} triplets")
        style.accuracy_axis(ax, "y")
    axes[0, 0].set(ylabel="Odd-one-out accuracy,\nwithout a map")
    note = "Filled: read by the teacher. Bars: 95 % intervals over triplets, which share concepts"
    style.legend(figure, scores["choices"], note, targets=(), lines={"chance": ":"})
    return figure


def soft_labels(scores: pd.DataFrame) -> Figure:
    """KL to the soft targets and calibration error on unseen concepts, by number of training triplets and kind of
    targets.

    Small points: folds; large points: their mean. There is no figure if fewer than `results.FEW_TRIPLETS` triplets were
    held out, all folds together. Args: scores: soft_labels.csv.
    """
    held_out = scores.groupby(["targets", "n_train"])["n_triplets"].sum().max()
    if held_out < results.FEW_TRIPLETS:
        return style.only_text(
            f"No figure: fewer than {results.FEW_TRIPLETS} triplets were held out (n = {held_out:,.0f})"
        )
    columns = {"kl": SCORES["kl"], "ece": SCORES["ece"], ACCURACY: SCORES[ACCURACY]}
    figure, axes = plt.subplots(1, 3, figsize=(style.DOUBLE, 0.34 * style.DOUBLE), layout="constrained")
    used = scores.groupby("n_train")["n_used"].mean().drop_duplicates()  # where there are no more triplets than used
    sizes = list(used.index)
    for ax, (column, label) in zip(axes, columns.items(), strict=True):
        for shift, (kind, (colour, marker, words)) in zip((-0.15, 0, 0.15), TARGETS.items(), strict=True):
            of_kind = scores[(scores["targets"] == kind) & scores["n_train"].isin(sizes)]
            places = [sizes.index(n) + shift for n in of_kind["n_train"]]
            ax.plot([x + 0.05 for x in places], of_kind[column], marker, markersize=2, alpha=0.5, color=colour)
            means = of_kind.groupby("n_train")[column].mean()
            places = [sizes.index(n) + shift for n in means.index]
            ax.plot(places, means, marker=marker, markersize=5, color=colour, linewidth=0.8, label=words)
        ax.set_xticks(range(len(sizes)), [f"{used[n]:,.0f}" for n in sizes])
        ax.set(xlabel="Training triplets", ylabel=label, xlim=(-0.5, len(sizes) - 0.5), ylim=(0, None))
    style.accuracy_axis(axes[2], "y")
    note = f"{FOLDS}. Dotted: chance. Held out: {held_out:,.0f} triplets of all folds"
    title = style.wrapped(figure, note, style.people(scores["choices"]))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, title=title)
    return figure
