"""Levels of abstraction and uncertainty. Tables in, Figures out."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from alignet import results
from alignet.figures import style
from alignet.worlds.format import regimes
from alignet.worlds.format.schema import LEVELS

NO_LEVELS = "No figure: the world has no choices to score models on"
NO_STUDY = "No figure: the world has no study that is scored by itself"
AGAINST = {"response_entropy": "the entropy of people's choices", "response_time": "people's log response time"}
TRIPLETS = "Bars: 95 % intervals over triplets, which share concepts"
ITEMS = 10  # of a bin of `reliability`, at least
ROW, TOP = 0.42, 0.7  # inches: a student's row; what stands above and below the rows
Rows = dict[str, pd.DataFrame]  # what a row of panels is about, in words -> its rows of a table, of all levels


def by_abstraction(
    scores: pd.DataFrame, representation: str = "pooled", examples: dict[str, tuple[Tensor, int]] | None = None
) -> Figure:
    """The main figure: odd-one-out accuracy of base, control and aligned students at each level of abstraction.

    A row of panels is a regime (known and new concepts, or mixed ones if there are no new), and a panel is a level. In
    a panel each student has a row, and so have people: their noise ceiling, if several people judged ten triplets or
    more. Beside a student's row is AligNet's relative improvement over the base, and below the students are the floors.
    Bars: 95 % intervals over triplets that share concepts; dotted: chance (1/3).

    Args: scores: levels.csv; examples: level -> one triplet's pictures, (3, 3, size, size) uint8, and the odd one.
    """
    shown = scores[scores["representation"] == representation]
    return _accuracies(by_regime(shown[shown["n_triplets"] > 0]), NO_LEVELS, examples)


def by_study(scores: pd.DataFrame, representation: str = "pooled") -> Figure:
    """Accuracy at each level as in `by_abstraction`, on the triplets of each named study.

    Known and new concepts are taken together. Args: scores: levels.csv.
    """
    return _accuracies(by_name(scores[scores["representation"] == representation]), NO_STUDY)


def by_regime(table: pd.DataFrame) -> Rows:
    """The rows of a table that belong to no study, by the name in words of each regime that figures draw."""
    rows = regimes.main(table)
    if "regime" not in rows:
        return {"": rows} if len(rows) else {}
    return {regimes.CONCEPTS[name]: rows[rows["regime"] == name] for name in regimes.shown(rows)}


def by_name(table: pd.DataFrame) -> Rows:
    """The rows of each named study, with its regimes together."""
    inside = table[table["regime"] == regimes.EVERY] if "regime" in table else table[:0]
    return {f"Study {name}": inside[inside["study"] == name] for name in regimes.studies(inside)}


def _accuracies(parts: Rows, nothing: str, examples: dict[str, tuple[Tensor, int]] | None = None) -> Figure:
    if not parts:
        return style.only_text(nothing)
    present = [level for level in LEVELS if any((rows["level"] == level).any() for rows in parts.values())]
    examples = {level: found for level, found in (examples or {}).items() if level in present}
    height = max(map(rows, parts.values()))
    figure, axes = panels([present] * len(parts), height, pictures=bool(examples))
    for level, found in examples.items():
        example(axes[0][present.index(level)], *found)
    for line, (name, of_regime) in zip(axes[1 if examples else 0 :], parts.items(), strict=True):
        line[0].set_ylabel(name)
        for ax, level in zip(line, present, strict=True):
            panel = of_regime[of_regime["level"] == level]
            if panel["ci_low"].isna().all():  # or there are too few triplets for an interval
                ax.set_axis_off()
                continue
            _panel(ax, panel, people=_has_ceiling(of_regime[of_regime["level"] != "all"]))
            ax.set_title(f"{level.capitalize()}, n = {panel['n_triplets'].iloc[0]:,} triplets", pad=11)
    table = pd.concat(parts.values())
    note = f"{TRIPLETS}. Right: AligNet over the base.\n{_asked(parts)}"
    named = floors(table)["student"]
    style.legend(figure, table["choices"], note, people_row=_has_ceiling(table), judged=judged(table), floors=named)
    return figure


def floors(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of results that are floors."""
    return table[table["target"] == results.FLOOR]


def of_students(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["target"].isin(results.TARGETS)]


def _panel(ax: Axes, panel: pd.DataFrame, people: bool) -> None:
    """Draw the accuracies of one level. Args: people: whether the panels beside this one have a row for people."""
    few = panel["noise_ceiling_low"].isna()  # too few triplets for a ceiling that can be trusted
    panel = panel.assign(noise_ceiling=panel["noise_ceiling"].mask(few))
    style.by_student(ax, panel, "odd_one_out_accuracy", "ci_low", "ci_high", people_row=people)
    accuracy_axis(ax)
    gains(ax, panel[panel["target"] == "alignet"].set_index("student")["relative_improvement"].to_dict())


def _has_ceiling(table: pd.DataFrame) -> bool:
    return bool(table["noise_ceiling_low"].notna().any())


def _asked(parts: Rows) -> str:
    """The numbers of people and of their choices in words, for each row of panels; '' if the table has none."""
    said = []
    for name, table in parts.items():
        every = table[table["level"] == "all"]
        if len(every) and "n_people" in every and pd.notna(every["n_people"].iloc[0]):
            people, choices, unnamed = (int(every[f"n_{what}"].iloc[0]) for what in ("people", "choices", "unnamed"))
            who = [f"{people:,} people"] if people else []
            who += [f"{unnamed:,} of people whose names are not recorded"] if unnamed else []
            said.append(f"{name}: {choices:,} choices of {', and '.join(who)}")
    return ". ".join(said)


def judged(table: pd.DataFrame) -> pd.Series | str:
    """The words in a table of results for what people were shown, if it was not these pictures."""
    return table.get("judged", "")


def rows(scores: pd.DataFrame) -> float:
    """The height, in inches, of a panel with a row for each student, one for people and perhaps one for floors."""
    students = of_students(scores)["student"].nunique()
    return TOP + ROW * (students + 0.6 + bool(len(floors(scores))))


def panels(levels: list[list[str]], height: float, pictures: bool = False) -> tuple[Figure, np.ndarray]:
    """Axes, (rows, most levels), whose rows share a y axis; with examples there is a row above for their pictures."""
    columns = max(map(len, levels))
    heights = [*([0.55] if pictures else []), *[height] * len(levels)]
    size: dict[str, Any] = {"figsize": (style.DOUBLE, sum(heights) + 0.35), "height_ratios": heights, "squeeze": False}
    figure, axes = plt.subplots(len(heights), columns, layout="constrained", **size)
    for ax in axes[:1].flat if pictures else ():
        ax.set_axis_off()
    for row in axes[1 if pictures else 0 :]:
        for ax in row[1:]:
            ax.sharey(row[0])
            ax.tick_params(labelleft=False)
    return figure, axes


def example(ax: Axes, pictures: Tensor, odd: int) -> None:
    """Draw one triplet, with a frame around the odd one out of most people."""
    size = pictures.shape[-1]
    style.strip(ax, pictures)
    ax.add_patch(plt.Rectangle((odd * size, 0), size - 1, size - 1, fill=False, edgecolor=style.BLUE, linewidth=1.5))


def accuracy_axis(ax: Axes) -> None:
    ax.set(xlabel="Odd-one-out accuracy", xlim=(0.25, 1.0))
    style.vertical(ax, style.CHANCE, "chance")


def gains(ax: Axes, percent: dict[str, float]) -> None:
    """Write AligNet's gain, in percent of the base, at the right of each student's row."""
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": style.SMALL}
    for number, value in enumerate(percent.values()):
        if pd.notna(value):
            ax.annotate(f"{value:+.0f} %", (1.01, number), color=style.BLUE, **place)


def uncertainty(scores: pd.DataFrame) -> Figure:
    """Rank correlation of models' choice entropy with people's uncertainty at each level, for regimes and studies.

    A regime or study is drawn if people's uncertainty is known for ten triplets or more at some level. Bars: 95 %
    intervals over triplets that share concepts. The ceiling is the correlation that a model with exact knowledge of the
    measure could reach, estimated from two halves of the people. Args: scores: uncertainty.csv.
    """
    shown = scores[(scores["n"] > 0) & scores["ci_low"].notna() & scores["level"].isin(LEVELS)]
    parts = {}
    for name, rows_of in (by_regime(shown) | by_name(shown)).items():
        for kind in (kind for kind in AGAINST if (rows_of["against"] == kind).any()):
            parts[name, kind] = rows_of[rows_of["against"] == kind]
    if not parts:
        return style.only_text("No figure: the world has no choices with an uncertainty")
    present = [level for level in LEVELS if any((part["level"] == level).any() for part in parts.values())]
    figure, axes = panels([present] * len(parts), max(map(rows, parts.values())))
    for line, ((name, kind), part) in zip(axes, parts.items(), strict=True):
        line[0].set_ylabel(name)
        for ax, level in zip(line, present, strict=True):
            panel = part[part["level"] == level]
            if panel.empty:
                ax.set_axis_off()
                continue
            style.by_student(ax, panel, "spearman", "ci_low", "ci_high", people_row=_has_ceiling(part))
            style.vertical(ax, 0, "no relation")
            ax.set_title(f"{level.capitalize()}, n = {panel['n'].iloc[0]:,} triplets", pad=11)
            ax.set(xlim=(min(-0.1, shown["ci_low"].min()), 1), xlabel=f"Spearman with {AGAINST[kind]}")
            ax.xaxis.label.set_size(style.SMALL)
    style.legend(figure, shown["choices"], TRIPLETS, people_row=_has_ceiling(shown), judged=judged(shown))
    return figure


def reliability(table: pd.DataFrame) -> Figure:
    """Deviation of people's choices from the probabilities that models gave to items (0: calibrated).

    Each regime and study has a row of panels. Bars: 95 % intervals over triplets that share concepts. Bins have equal
    widths; those with fewer than ITEMS items are left out. Args: table: reliability.csv.
    """
    table = table[table["n"] >= ITEMS]
    parts = by_regime(table) | by_name(table)
    if not parts:
        return style.only_text(NO_LEVELS)
    students = list(dict.fromkeys(table["student"]))
    size: dict[str, Any] = {"figsize": (style.DOUBLE, (0.3 * len(parts) + 0.06) * style.DOUBLE)}
    figure, axes = plt.subplots(
        len(parts), len(students), layout="constrained", sharex=True, sharey=True, squeeze=False, **size
    )
    for line, (name, part) in zip(axes, parts.items(), strict=True):
        for ax, student in zip(line, students, strict=True):
            _calibration(ax, part[part["student"] == student])
        line[0].set(ylabel=f"{name}\nShare of people who chose it,\nminus the model's probability")
    for ax, student in zip(axes[0], students, strict=True):
        ax.set(title=student)
    for ax in axes[-1]:
        ax.set(xlabel="Model's probability of an item")
    style.legend(figure, table["choices"], TRIPLETS, lines={"calibrated": ":"}, judged=judged(table))
    return figure


def _calibration(ax: Axes, table: pd.DataFrame) -> None:
    for number, target in enumerate(results.TARGETS):
        rows = table[table["target"] == target].sort_values("bin")
        beside = rows["chosen"] - rows["predicted"]
        errors = style.ends(rows["chosen"], rows["ci_low"], rows["ci_high"])
        look = style.look(target, size=3) | {"linewidth": 0.8}
        ax.errorbar(rows["predicted"] + 0.008 * (number - 1), beside, yerr=errors, **look)
    style.horizontal(ax, 0)
    ax.set(xlim=(0, 1))
