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
GAINS = (
    f"In blue: AligNet's gain in % of the base, or n alone where n < {results.FEW_TRIPLETS} or the gain's interval "
    "holds 0"
)
UNSURE = "No figure: at no level is people's uncertainty known for enough triplets"
ROW, TOP = 0.42, 0.7  # inches: a student's row; what stands above and below the rows
BELOW = 0.27  # of a row: from AligNet's error bar down to a gain for which there is no room beside it
Rows = dict[str, pd.DataFrame]  # what a row of panels is about, in words -> its rows of a table, of all levels


def by_abstraction(
    scores: pd.DataFrame, representation: str = "pooled", examples: dict[str, tuple[Tensor, int]] | None = None
) -> Figure:
    """The main figure: odd-one-out accuracy of base, control and aligned students at each level of abstraction.

    A row of panels is a regime (new concepts, known ones, and mixed ones if there are few new), and a panel is a level.
    In a panel each student has a row, and so have people: their noise ceiling with its interval and its n, if several
    people judged `results.FEW_TRIPLETS` triplets or more. Beside AligNet is its `gain` over the base, and below the
    students are the floors. Bars: 95 % intervals over triplets that share concepts; dotted: chance (1/3).

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
    present = [level for level in LEVELS if any((rows["level"] == level).any() for rows in parts.values())]
    if not present:
        return style.only_text(nothing)
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
            _panel(ax, panel, people=_has_people(of_regime[of_regime["level"].isin(present)]))
            ax.set_title(f"{level.capitalize()}, n = {panel['n_triplets'].iloc[0]:,} triplets", pad=style.ABOVE)
    named_below(axes, "Odd-one-out accuracy")
    table = pd.concat(parts.values())
    note = "\n".join(filter(None, [f"{TRIPLETS}.", f"{GAINS}.", _asked(parts)]))
    people = _has_people(table[table["level"].isin(present)])
    style.legend(
        figure, table["choices"], note, people_row=people, judged=judged(table), floors=floors(table)["student"]
    )
    return figure


def floors(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of results that are floors."""
    return table[table["target"] == results.FLOOR]


def of_students(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["target"].isin(results.TARGETS)]


def _panel(ax: Axes, panel: pd.DataFrame, people: bool) -> None:
    """Draw the accuracies of one level. Args: people: whether the panels beside this one have a row for people."""
    students = style.by_student(ax, panel, "odd_one_out_accuracy", "ci_low", "ci_high", people_row=people)
    style.accuracy_axis(ax)
    gains(ax, panel, students)


def _has_people(table: pd.DataFrame, behind: str = "n_repeated") -> bool:
    return bool(style.reliable(table, behind).any())


def named_below(axes: np.ndarray, name: str) -> None:
    """Name the x axis of the lowest panel that is drawn in each column."""
    for column in axes.T:
        drawn = [ax for ax in column if ax.axison]
        if drawn:
            drawn[-1].set_xlabel(name)


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


def gains(ax: Axes, panel: pd.DataFrame, students: list[str], n: str = "n_triplets") -> None:
    """Write AligNet's `gain` beside its error bar, in each student's row. Args: n: column with the triplets' number."""
    for row in panel[panel["target"] == results.ALIGNED].to_dict("records"):
        height = students.index(row["student"]) + style.OFFSETS[results.ALIGNED]
        low, high = (row.get(f"reach_{end}", row[f"ci_{end}"]) for end in ("low", "high"))
        style.beside(ax, height, low, high, gain(row, row[n]), style.BLUE, below=BELOW)


def gain(row: dict[str, Any], n: float) -> str:
    """AligNet's gain in percent of the base; n alone where triplets are few or the gain's interval holds 0."""
    value, low, high = (row.get(f"relative_improvement{end}", np.nan) for end in ("", "_low", "_high"))
    clear = low > 0 or high < 0
    return f"{value:+.0f} %" if clear and n >= results.FEW_TRIPLETS else f"n = {n:,.0f}"


def uncertainty(scores: pd.DataFrame) -> Figure:
    """Rank correlation of models' choice entropy with people's uncertainty at each level, for regimes and studies.

    A level is drawn if people's uncertainty is known for `results.FEW_TRIPLETS` triplets or more; the others are named
    below the figure. Bars: 95 % intervals over triplets that share concepts. The ceiling is the correlation that a
    model with exact knowledge of the measure could reach, estimated from two halves of the people.

    Args: scores: uncertainty.csv.
    """
    every = scores[(scores["n"] > 0) & scores["level"].isin(LEVELS)]
    kept = every["ci_low"].notna() & (every["n"] >= results.FEW_TRIPLETS)
    shown, parts = every[kept], {}
    for name, rows_of in (by_regime(shown) | by_name(shown)).items():
        for kind in (kind for kind in AGAINST if (rows_of["against"] == kind).any()):
            parts[name, kind] = rows_of[rows_of["against"] == kind]
    if not parts:
        return style.only_text(UNSURE)
    present = [level for level in LEVELS if any((part["level"] == level).any() for part in parts.values())]
    figure, axes = panels([present] * len(parts), max(map(rows, parts.values())))
    for line, ((name, kind), part) in zip(axes, parts.items(), strict=True):
        line[0].set_ylabel(name)
        for ax, level in zip(line, present, strict=True):
            panel = part[part["level"] == level]
            if panel.empty:
                ax.set_axis_off()
                continue
            style.by_student(ax, panel, "spearman", "ci_low", "ci_high", _has_people(part, "n"), "n")
            style.vertical(ax, 0, "no relation")
            ax.set_title(f"{level.capitalize()}, n = {panel['n'].iloc[0]:,} triplets", pad=style.ABOVE)
            ax.set(xlim=(min(-0.1, shown["ci_low"].min()), 1), xlabel=f"Spearman with {AGAINST[kind]}")
    few = {
        f"{name.lower()}, {level}": of["n"].max()
        for name, rows_of in (by_regime(every[~kept]) | by_name(every[~kept])).items()
        for level, of in rows_of.groupby("level", sort=False)
    }
    note = ". ".join(filter(None, [TRIPLETS, style.left_out(few)]))
    style.legend(figure, shown["choices"], note, people_row=_has_people(shown, "n"), judged=judged(shown))
    return figure


def reliability(table: pd.DataFrame) -> Figure:
    """Deviation of people's choices from the probabilities that models gave to items (0: calibrated).

    Each regime and study has a row of panels. Bars: 95 % intervals over triplets that share concepts. Bins have equal
    widths; those with fewer than `results.FEW_TRIPLETS` items, or whose interval has no width, are left out.

    Args: table: reliability.csv.
    """
    table = table[(table["n"] >= results.FEW_TRIPLETS) & (table["ci_high"] > table["ci_low"])]
    parts = by_regime(table) | by_name(table)
    if not parts:
        return style.only_text(NO_LEVELS)
    students = list(dict.fromkeys(table["student"]))
    size: dict[str, Any] = {"figsize": (style.DOUBLE, (0.2 * len(parts) + 0.06) * style.DOUBLE)}
    figure, axes = plt.subplots(
        len(parts), len(students), layout="constrained", sharex=True, sharey=True, squeeze=False, **size
    )
    for line, (name, part) in zip(axes, parts.items(), strict=True):
        for ax, student in zip(line, students, strict=True):
            _calibration(ax, part[part["student"] == student])
        line[0].set(ylabel=f"{name}\n" * bool(name) + "Share who chose it\nminus probability")
    for ax, student in zip(axes[0], students, strict=True):
        ax.set(title=student)
    for ax in axes[-1]:
        ax.set(xlabel="Model's probability of an item")
    note = f"{TRIPLETS}. Left out: bins of fewer than {results.FEW_TRIPLETS} items or without an interval"
    style.legend(figure, table["choices"], note, lines={"calibrated": ":"}, judged=judged(table))
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
