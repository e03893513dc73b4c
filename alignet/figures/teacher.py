"""The teacher before and after its fit, the grid, targets and layers. Tables in, Figures out."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignet.figures import style

BLUE = "#1f77b4"
SCORES = {
    "odd_one_out_accuracy": "Odd-one-out accuracy",
    "kl": "KL to the targets (nats)",
    "ece": "Calibration error",
}
JUDGED = "judged"  # rows of teacher.csv about the triplets that people judged; the others are drawn ones of a level
LEVELS = ("coarse", "boundary", "fine")
ENOUGH = 30  # a noise ceiling of fewer triplets is not drawn
LABELS = {"none": "no map, one fitted scalar", "fitted": "fitted map"}
TARGETS = {"soft": (BLUE, "o"), "hard": ("0.45", "s"), "argmax": ("#d55e00", "^")}


def before_and_after(scores: pd.DataFrame) -> Figure:
    """Odd-one-out accuracy, KL and calibration error of the teacher, before and after the map, by split.

    Points are folds (train, validation) or the final fit (test); the bar is their mean. The noise ceiling is drawn
    where at least ENOUGH triplets were judged by several people.

    Args: scores: the rows of teacher.csv without a map and of the chosen cell.
    """
    splits = [split for split in ("train", "validation", "test") if split in set(scores["split"])]
    import seaborn as sns  # with scipy.stats takes two seconds: only where it is used

    judged = scores[scores["level"] == JUDGED]
    shown = judged[~((judged["fold"] == "all") & (judged["split"] == "train"))]
    figure, axes = plt.subplots(1, 3, figsize=(style.DOUBLE, 0.36 * style.DOUBLE), layout="constrained")
    for ax, (column, label) in zip(axes, SCORES.items(), strict=True):
        marks = {
            "data": shown,
            "x": "split",
            "y": column,
            "order": splits,
            "hue": "map",
            "hue_order": ["none", "fitted"],
        }
        sns.barplot(**marks, palette=["0.8", BLUE], errorbar=None, ax=ax, legend=column == "ece")
        sns.stripplot(**marks, palette=["0.35", "0.1"], dodge=True, jitter=False, size=2.5, ax=ax, legend=False)
        ax.set(xlabel="", ylabel=label)
    handles, labels = axes[2].get_legend_handles_labels()
    axes[2].get_legend().remove()
    figure.legend(handles, [LABELS[label] for label in labels], loc="outside lower center", ncols=2, handlelength=1)
    style.chance(axes[0])
    axes[0].set_xlim(-0.5, len(splits))  # room for chance's name beside the bars
    for place, split in enumerate(splits):
        judged = shown[(shown["split"] == split) & (shown["n_repeated"] >= ENOUGH)]
        if len(judged):
            dash = [judged["noise_ceiling"].mean()] * 2
            axes[0].plot([place - 0.4, place + 0.4], dash, color="0.3", linestyle="--", linewidth=1)
    axes[0].set_title(f"Dashed: noise ceiling, {style.people(shown['choices'].iloc[0])}", fontsize=6)
    return figure


def by_level(scores: pd.DataFrame) -> Figure:
    """Accuracy on drawn triplets of held-out concepts at each level, and over how many axes the representation spreads,
    before and after the map. Small points: folds; large: their mean.

    Args: scores: the rows of teacher.csv without a map and of the chosen cell.
    """
    drawn = scores[(scores["split"] == "validation") & scores["level"].isin(LEVELS)]
    if drawn.empty:
        return style.only_text("No triplets were drawn by level: the targets are people's shares, not VICE's.")
    judged = scores[(scores["split"] == "validation") & (scores["level"] == JUDGED)]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(style.DOUBLE, 0.3 * style.DOUBLE), layout="constrained", width_ratios=[3, 1]
    )
    levels = [level for level in LEVELS if level in set(drawn["level"])]
    for shift, kind, face in ((-0.12, "none", "white"), (0.12, "fitted", BLUE)):
        of_kind = drawn[drawn["map"] == kind]
        places = [levels.index(level) + shift for level in of_kind["level"]]
        left.plot(places, of_kind["odd_one_out_accuracy"], ".", markersize=3, alpha=0.6, color=BLUE)
        means = of_kind.groupby("level")["odd_one_out_accuracy"].mean()[levels]
        dot = {"markersize": 5, "markerfacecolor": face, "color": BLUE, "label": LABELS[kind]}
        left.plot([place + shift for place in range(len(levels))], means, "o", **dot)
        ratios = judged[judged["map"] == kind]["participation_ratio"]
        right.plot([shift] * len(ratios), ratios, ".", markersize=3, alpha=0.6, color=BLUE)
        right.plot([shift], [ratios.mean()], "o", **dot)
    left.set_xticks(range(len(levels)), levels)
    left.set(ylabel="Odd-one-out accuracy", xlim=(-0.5, len(levels) - 0.4), ylim=(min(0.3, left.get_ylim()[0]), None))
    left.set_title(f"Expected under VICE's distributions, {style.people(drawn['choices'].iloc[0])}", fontsize=6)
    style.chance(left)
    right.set(ylabel="Participation ratio", xticks=[], xlim=(-0.5, 0.5), ylim=(0, None))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def grid(scores: pd.DataFrame) -> Figure:
    """Validation scores of every cell of the grid: a small point per fold, a large one for their mean, by lambda. Where
    triplets were drawn by level, a fold's score is the mean over the levels, by which the cell is chosen.

    The chosen cell is filled; the dashed line is the mean without a map, dotted: chance.

    Args: scores: teacher.csv.
    """
    import seaborn as sns  # with scipy.stats takes two seconds: only where it is used

    shown = scores[scores["split"] == "validation"]
    drawn = shown[shown["level"] != JUDGED]
    cells = ["lr", "sigma", "steps", "local_weight"]
    key = ["map", "fold", "lambda", *cells, "chosen"]
    shown = (drawn if len(drawn) else shown).groupby(key, dropna=False)[[*SCORES]].mean().reset_index()
    fitted, before = shown[shown["map"] == "fitted"], shown[shown["map"] == "none"]
    lambdas = sorted(fitted["lambda"].unique())
    runs = list(fitted.groupby(cells, sort=True))
    colours = sns.color_palette("viridis", len(runs))
    figure, axes = plt.subplots(1, 3, figsize=(style.DOUBLE, 0.42 * style.DOUBLE), layout="constrained")
    for ax, (column, label) in zip(axes, SCORES.items(), strict=True):
        for number, ((lr, sigma, steps, local), run) in enumerate(runs):
            shift = 0.6 * ((number + 0.5) / len(runs) - 0.5)
            name = f"lr {lr:g}, sigma {sigma:g}, {steps:g} steps" + (f", local {local:g}" if local else "")
            _cells(ax, run, column, [lambdas.index(value) + shift for value in run["lambda"]], colours[number], name)
        ax.axhline(before[column].mean(), color="0.4", linestyle="--", linewidth=0.8, zorder=0)
        ax.set_xticks(range(len(lambdas)), [f"{value:g}" for value in lambdas])
        ax.set(xlabel="lambda", ylabel=label)
    style.chance(axes[0])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def layers(scores: pd.DataFrame) -> Figure:
    """Zero-shot odd-one-out accuracy of every layer, from input to output, a panel a backbone; filled: those that the
    teacher reads.

    Error bars: 95 % intervals over triplets that share concepts. Args: scores: teacher_layers.csv.
    """
    names = list(dict.fromkeys(scores["backbone"]))
    size = (style.DOUBLE, 0.3 * style.DOUBLE)
    figure, axes = plt.subplots(1, len(names), figsize=size, layout="constrained", sharey=True, squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        of_one = scores[scores["backbone"] == name]
        errors = style.ends(of_one["odd_one_out_accuracy"], of_one["ci_low"], of_one["ci_high"])
        ax.errorbar(of_one["depth"], of_one["odd_one_out_accuracy"], errors, color=BLUE, linewidth=0.8, zorder=1)
        faces = [BLUE if read else "white" for read in of_one["read"]]
        ax.scatter(of_one["depth"], of_one["odd_one_out_accuracy"], c=faces, edgecolors=BLUE, s=24, zorder=2)
        ax.set_xticks(of_one["depth"], of_one["layer"], rotation=0 if len(scores) < 8 else 60)
        ax.set(xlabel="Layer", title=name)
        style.chance(ax)
    axes[0, 0].set(ylabel="Odd-one-out accuracy, no map", ylim=(min(0.31, axes[0, 0].get_ylim()[0]), None))
    return figure


def soft_labels(scores: pd.DataFrame) -> Figure:
    """KL to the soft targets and calibration error on unseen concepts, by the training triplets and their targets.

    Small points: folds; large: their mean. Args: scores: soft_labels.csv.
    """
    columns = {"kl": SCORES["kl"], "ece": SCORES["ece"], "odd_one_out_accuracy": SCORES["odd_one_out_accuracy"]}
    figure, axes = plt.subplots(1, 3, figsize=(style.DOUBLE, 0.34 * style.DOUBLE), layout="constrained")
    sizes = sorted(scores["n_train"].unique())
    for ax, (column, label) in zip(axes, columns.items(), strict=True):
        for shift, (kind, (colour, marker)) in zip((-0.15, 0, 0.15), TARGETS.items(), strict=True):
            of_kind = scores[scores["targets"] == kind]
            places = [sizes.index(n) + shift for n in of_kind["n_train"]]
            ax.plot(places, of_kind[column], marker, markersize=2, alpha=0.5, color=colour)
            means = of_kind.groupby("n_train")[column].mean()
            places = [sizes.index(n) + shift for n in means.index]
            ax.plot(places, means, marker=marker, markersize=5, color=colour, linewidth=0.8, label=kind)
        used = scores.groupby("n_train")["n_used"].mean()
        ax.set_xticks(range(len(sizes)), [f"{used[n]:,.0f}" for n in sizes])
        ax.set(xlabel="Training triplets", ylabel=label, xlim=(-0.5, len(sizes) - 0.5))
    style.chance(axes[2])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, title="Targets")
    return figure


def _cells(ax: Axes, run: pd.DataFrame, column: str, places: list[float], colour: str, name: str) -> None:
    ax.plot(places, run[column], ".", markersize=3, alpha=0.6, color=colour)
    means = run.assign(place=places).groupby("place").agg({column: "mean", "chosen": "any"})
    ax.plot(means.index, means[column], "o", markersize=5, markerfacecolor="white", color=colour, label=name)
    chosen = means[means["chosen"]]
    ax.plot(chosen.index, chosen[column], "o", markersize=5, color=colour)
