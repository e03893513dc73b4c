"""The style of all figures, and the marks that they share: chance, ceiling, legends, strips of pictures."""

import dataclasses
import importlib.util
import textwrap
from collections.abc import Iterable
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from alignet import results
from alignet.worlds.format import regimes
from alignet.worlds.format.schema import LEVELS, PARTICIPANTS

MM = 1 / 25.4
SINGLE, DOUBLE = 89 * MM, 183 * MM  # journal column widths, inches
TITLE = 0.16  # height of a row's title, inches
CHANCE = 1 / 3
COLOURS = {"base": "#5f5f5f", "unalignet": "#de8f05", "alignet": "#0173b2"}  # of seaborn's 'colorblind', and a grey
MARKERS = {"base": "o", "unalignet": "s", "alignet": "D"}
BLUE = COLOURS["alignet"]  # where a figure has one colour
FAMILIES = [
    "supervised",
    "image-text",
    "self-supervised",
    "captioning",
    "from scratch",
]  # of pre-training, in this order
# Of students, where targets are not told apart by colour, and of labels: the others of seaborn's 'colorblind' first.
COLOUR_BLIND_SAFE = ["#029e73", "#cc78bc", "#56b4e9", "#d55e00", "#ca9161"]
COLOUR_BLIND_SAFE += ["#949494", "#ece133", "#fbafe4", "#0173b2", "#de8f05"]
OTHER_LETTERS = [  # fonts with Chinese, Japanese and Korean letters, of systems and of matplotlib-fontja
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC", "WenQuanYi Zen Hei"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
    "IPAexGothic",
]
BOLD = 700  # the weight, as matplotlib counts
LETTERS = 112  # of a line as wide as two columns, in the size of legends
SMALL = 7  # points: the least size of text
ABOVE = 13  # points: from axes up to a title, with room for the name of a vertical line
NAMED = 60  # names or lines along an axis, at most: a world may have thousands of labels


def use() -> None:
    """Apply the style of all figures, from any folder; letters that its font lacks are taken from other fonts."""
    plt.style.use(Path(__file__).with_name("alignet.mplstyle"))
    plt.rcParams["font.family"] = ["DejaVu Sans", *_fonts_of_other_letters()]


@cache
def _fonts_of_other_letters() -> list[str]:
    """The installed fonts of OTHER_LETTERS; the font of matplotlib-fontja, which is no system font, is added.

    It has one weight, which is also named as its bold, or each bold word would print a line about fonts.
    """
    packaged = importlib.util.find_spec("matplotlib_fontja")
    for folder in packaged.submodule_search_locations or () if packaged else ():
        for file in Path(folder).glob("fonts/*.ttf"):
            font_manager.fontManager.addfont(file)
            added = font_manager.fontManager.ttflist[-1]
            font_manager.fontManager.ttflist.append(dataclasses.replace(added, weight=BOLD))
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in OTHER_LETTERS if name in installed]


def save(figure: Figure, path: Path, table: pd.DataFrame | None = None) -> None:
    """Save a figure as PNG, PDF and SVG, and the plotted table as CSV, under one name (`path` without ending)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once for the three files
    for ending, undated in ((".png", {}), (".pdf", {"CreationDate": None}), (".svg", {"Date": None})):
        figure.savefig(path.with_suffix(ending), metadata=undated)
    if table is not None:
        table.to_csv(path.with_suffix(".csv"), index=False, float_format="%.6g")


def only_text(text: str) -> Figure:
    figure, ax = plt.subplots(figsize=(DOUBLE, 0.1 * DOUBLE))
    ax.text(0.5, 0.5, text, ha="center", va="center")
    ax.set_axis_off()
    return figure


def strip(ax: Axes, pictures: Tensor) -> None:
    """Draw pictures, (n, 3, size, size), side by side without axes."""
    ax.imshow(pictures.permute(2, 0, 3, 1).flatten(1, 2))
    ax.set_axis_off()


def ends(value: float | pd.Series, low: float | pd.Series, high: float | pd.Series) -> np.ndarray:
    """The lengths of error bars, (2, n); at least 0, since rounding may put an end on the wrong side of its value."""
    return np.maximum([value - low, high - value], 0).reshape(2, -1)


def look(target: str, size: float = 4) -> dict[str, Any]:
    """The options that draw a target's points: base is a hollow circle, control a square, AligNet a diamond."""
    colour = COLOURS[target]
    face = "white" if target == "base" else colour
    return {"marker": MARKERS[target], "markersize": size, "color": colour, "markerfacecolor": face, "elinewidth": 0.8}


def point(target: str, size: float = 4) -> dict[str, Any]:
    """The options of `look` for a mark without an error bar and without a line."""
    return {key: value for key, value in look(target, size).items() if key != "elinewidth"} | {"linestyle": "none"}


def accuracy_axis(ax: Axes, way: str = "x", end: float | None = 1, chance: float | None = CHANCE) -> None:
    """Begin an axis of accuracies at 0 and draw chance on it: the rule of all figures of accuracies.

    On the x axis the name of the line stands above the axes; on a y axis the legend explains it.

    Args: way: 'x' or 'y'; end: of the axis, None: as the data need it; chance: None where the figure draws it itself.
    """
    limit = ax.set_xlim if way == "x" else ax.set_ylim
    limit(0, end)
    if chance is not None:
        vertical(ax, chance, "chance") if way == "x" else horizontal(ax, chance)


def cut(ax: Axes) -> None:
    """Mark a y axis that does not begin at 0, with two strokes across its lower end."""
    for low in (0.03, 0.06):
        ends: dict[str, Any] = {"transform": ax.transAxes, "color": "black", "linewidth": 0.6, "clip_on": False}
        ax.add_line(plt.Line2D([-0.015, 0.015], [low - 0.015, low + 0.015], **ends))


def vertical(ax: Axes, value: float, name: str, line: str = ":") -> None:
    """Draw a vertical line and, above the axes, its meaning."""
    ax.axvline(value, color="0.4", linestyle=line, linewidth=0.8, zorder=0)
    if name:
        place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        ax.annotate(name, (value, 1), xytext=(0, 2), ha="center", va="bottom", fontsize=SMALL, color="0.4", **place)


def horizontal(ax: Axes, value: float, line: str = ":", name: str = "") -> None:
    """Draw a horizontal line, which the legend explains or, at the right of the axes, its name."""
    ax.axhline(value, color="0.4", linestyle=line, linewidth=0.8, zorder=0)
    if name:
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        ax.annotate(name, (1, value), xytext=(2, 0), va="center", fontsize=SMALL, color="0.4", **place)


def chance(ax: Axes) -> None:
    """Draw chance of a choice among three on a y axis."""
    horizontal(ax, CHANCE)


def left_out(numbers: dict[str, float], unit: str = "triplets") -> str:
    """A sentence on what a figure does not draw because it rests on fewer than `results.FEW_TRIPLETS`; '' for nothing.

    Args: numbers: what it is, in words -> its number of triplets or pairs.
    """
    few = [f"{name} (n = {n:,.0f})" for name, n in numbers.items() if n < results.FEW_TRIPLETS]
    return f"Left out, with fewer than {results.FEW_TRIPLETS} {unit}: {', '.join(few)}" if few else ""


def reliable(panel: pd.DataFrame, behind: str = "n_repeated") -> pd.Series:
    """Whether each row has a noise ceiling that is drawn: with an interval, and of enough triplets or pairs.

    Args: behind: the column with their number; a table without it does not say on how many the ceiling rests.
    """
    if not {behind, "noise_ceiling", "noise_ceiling_low"} <= set(panel):
        return pd.Series(False, panel.index)
    known = panel["noise_ceiling"].notna() & panel["noise_ceiling_low"].notna()
    return known & (panel[behind] >= results.FEW_TRIPLETS)


def by_student(
    ax: Axes, panel: pd.DataFrame, value: str, low: str, high: str, people_row: bool = False, behind: str = "n_repeated"
) -> list[str]:
    """Draw a row for each student: base, control and AligNet with error bars from `low` to `high`, joined by a line.

    Above the students is a row for people, the noise ceiling with its interval and its n where it is `reliable`, and
    below them are floors. A column `family` puts the students of a family together and names it.

    Args: people_row: whether there is a row for people, as in the panels beside; behind: as in `reliable`.
    Returns: the students from above.
    """
    floors, panel = panel[panel["target"] == results.FLOOR], panel[panel["target"].isin(results.TARGETS)]
    grouped = "family" in panel and panel["family"].nunique() > 1
    ordered = panel.sort_values("family", key=lambda f: f.map(FAMILIES.index), kind="stable") if grouped else panel
    students = list(dict.fromkeys(ordered["student"]))
    for place, student in enumerate(students):
        rows = panel[panel["student"] == student].set_index("target")
        rows = rows.loc[[target for target in results.TARGETS if target in rows.index]]
        heights = [place + OFFSETS[str(target)] for target in rows.index]
        ax.plot(rows[value], heights, color="0.75", linewidth=0.8, zorder=1)
        for height, (target, row) in zip(heights, rows.iterrows(), strict=True):
            ax.errorbar(row[value], height, xerr=ends(row[value], row[low], row[high]), **look(str(target)))
    if people_row and reliable(panel, behind).any():
        _people(ax, panel[reliable(panel, behind)].iloc[0], behind)
    families = dict(zip(ordered["student"], ordered["family"], strict=True)) if grouped else {}
    names = [f"{student}\n{families[student]}" if grouped else student for student in students]
    n, below = len(students), bool(len(floors))
    floors_row(ax, floors, n, value, low, high)
    places = [*([-0.8] if people_row else []), *range(n + below)]
    ax.set_yticks(places, [*(["people"] if people_row else []), *names, *(["floors"] if below else [])])
    ax.set_ylim(n + below - 0.5, -1.15 if people_row else -0.5)
    return students


def _people(ax: Axes, row: pd.Series, behind: str) -> None:
    """Draw the noise ceiling as a star in the row above the students, with its interval and its n beside it."""
    ceiling, low, high = (row[f"noise_ceiling{end}"] for end in ("", "_low", "_high"))
    look: dict[str, Any] = {"marker": "*", "markersize": 5, "color": "0.2", "elinewidth": 0.8}
    ax.errorbar(ceiling, -0.8, xerr=ends(ceiling, low, high), **look)
    beside(ax, -0.8, low, high, f"n = {row[behind]:,.0f}", "0.2")


def beside(ax: Axes, height: float, low: float, high: float, text: str, colour: str, below: float = 0) -> None:
    """Write a few letters at the right end of an error bar on an axis that ends at 1.

    If there is no room, they stand at the left end of the bar or, with `below`, so far below it at the axis's end.
    """
    place: dict[str, Any] = {"textcoords": "offset points", "va": "center", "color": colour, "fontsize": SMALL}
    if high + LETTER * len(text) <= 1:
        ax.annotate(text, (high, height), xytext=(4, 0), ha="left", **place)
    elif below:
        ax.annotate(text, (1, height + below), xytext=(0, 0), ha="right", **place)
    else:
        ax.annotate(text, (low, height), xytext=(-4, 0), ha="right", **place)


LETTER = 0.034  # width of a letter beside an error bar, as share of a panel a third as wide as a page
OFFSETS = dict(zip(results.TARGETS, (-0.24, 0.0, 0.24), strict=True))
NOTE = 0.115  # inches: a line of a note
IN_A_ROW = 6  # labels of a legend that fit below a figure as wide as a page
FLOOR_MARKS = "x+12348|"  # grey: of floors, in their order
GREY = "0.45"


def floors_row(ax: Axes, panel: pd.DataFrame, place: float, value: str, low: str, high: str) -> None:
    """Draw floors at one height, a grey mark with error bar each. Args: panel: a row for each, named by student."""
    for number, row in enumerate(panel.to_dict("records")):
        height = place + 0.6 * ((number + 0.5) / len(panel) - 0.5)
        bar = ends(row[value], row[low], row[high])
        ax.errorbar(row[value], height, xerr=bar, marker=_floor_mark(number), **_FLOOR)


def floor_marks(names: Iterable[str]) -> dict[str, str]:
    """The marks of `floors_row`: name -> marker."""
    return {name: _floor_mark(number) for number, name in enumerate(dict.fromkeys(names))}


def _floor_mark(number: int) -> str:
    return FLOOR_MARKS[number % len(FLOOR_MARKS)]


_FLOOR: dict[str, Any] = {"markersize": 4, "color": GREY, "elinewidth": 0.6, "markeredgewidth": 0.9}


def dashes(line: str) -> dict[str, Any]:
    """The options of a grey line that marks a value, such as chance. Args: line: its style."""
    return {"color": "0.4", "linewidth": 0.8, "linestyle": line}


def legend(
    figure: Figure,
    choices: str | pd.Series | None,
    note: str = "",
    targets: Iterable[str] = results.TARGETS,
    lines: dict[str, str] | None = None,
    people_row: bool = False,
    judged: str | pd.Series = "",
    floors: Iterable[str] = (),
) -> None:
    """Draw the legend below a figure: marks of targets, lines, error bars, and whose choices models are compared with.

    Args: choices: their kind, or a table's column; lines: name -> line style; people_row: whether to show the star of
        `by_student`; judged: what people were shown, or a table's column, '' for these pictures; floors: names of those
        in `floors_row`.
    """
    dot: dict[str, Any] = {"linestyle": "none", "markersize": 4}
    handles: list[Artist] = [plt.Line2D([], [], **point(target)) for target in targets]
    labels = [results.NAMES[target] for target in targets]
    if people_row:
        handles.append(plt.Line2D([], [], marker="*", color="0.2", **dot))
        labels.append("people (noise ceiling)")
    for name, mark in floor_marks(floors).items():
        handles.append(plt.Line2D([], [], marker=mark, color=GREY, **dot))
        labels.append(f"floor: {name}")
    for name, line in (lines or {}).items():
        handles.append(plt.Line2D([], [], **dashes(line)))
        labels.append(name)
    title = wrapped(figure, note, None if choices is None else people(choices, judged))
    figure.set_figheight(figure.get_figheight() + NOTE * title.count("\n"))  # a long note takes no room from the axes
    columns = len(labels) if len(labels) <= IN_A_ROW else -(-len(labels) // 2)
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, columns), title=title)


def wrapped(figure: Figure, note: str, who: str | None = None) -> str:
    """A note below a figure, broken into lines as wide as the figure; its own line breaks are kept.

    Args: who: whose choices the figure is about, in words; they begin a line where they do not fit on the last one.
    """
    width = round(LETTERS * figure.get_figwidth() / DOUBLE)
    lines = [part for line in note.split("\n") for part in textwrap.wrap(line, width)]
    if who is None:
        return "\n".join(lines)
    choices = f"Choices: {who}"
    if lines and len(lines[-1]) + len(choices) + 2 <= width:
        lines[-1] = f"{lines[-1]}. {choices}"
    else:
        lines = [*lines[:-1], *(f"{line}." for line in lines[-1:]), *textwrap.wrap(choices, width)]
    return "\n".join(lines)


def people(choices: str | pd.Series, judged: str | pd.Series = "") -> str:
    """The words of a legend for whose choices a figure is about: one kind, or all kinds in a table's column.

    Args: judged: what people were shown, if it was not these pictures.
    """
    kinds = [choices] if isinstance(choices, str) else choices.dropna().unique()
    shown = [judged] if isinstance(judged, str) else judged.dropna().unique()
    who = " and ".join(PARTICIPANTS[kind] for kind in kinds)
    return ", ".join([who, *(f"who were shown {other}" for other in shown if other)])


def new_first(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of results in the order of figures.

    First are levels of new concepts, then those of known and of mixed ones, then studies, then all other benchmarks.
    """
    by_level = table["benchmark"].map(lambda name: bool(_of_levels(str(name))))
    ranks = regime_ranks(table).where(by_level, len(regimes.HEADLINE) + 1)
    return table.loc[ranks.sort_values(kind="stable").index]


def regime_ranks(table: pd.DataFrame) -> pd.Series:
    """The place of each row's regime in the order of figures: new, known, mixed; then studies and rows of no regime."""
    places = {name: place for place, name in enumerate(regimes.HEADLINE)}
    of_study = regimes.text(table, "study") != ""
    ranks = [places.get(name, len(places)) for name in regimes.text(table, "regime")]
    return pd.Series(ranks, table.index).mask(of_study, len(places))


def few(table: pd.DataFrame) -> pd.Series:
    """Whether each row of a table of results rests on fewer than `results.FEW_TRIPLETS` triplets or pairs.

    Rows of downstream tasks do not: their n counts other things.
    """
    return (table["n"] < results.FEW_TRIPLETS) & ~table["metric"].str.startswith("accuracy,")


def few_named(table: pd.DataFrame) -> str:
    """The sentence of `left_out` on the benchmarks of rows that are not drawn."""
    numbers = table.groupby("benchmark", sort=False)["n"].max()
    return left_out({spoken(str(name)): n for name, n in numbers.items()}, "triplets or pairs")


def spoken(benchmark: str) -> str:
    """A benchmark of a table of results in words: 'levels, new, coarse' is 'New concepts, coarse'."""
    parts = _of_levels(benchmark)
    words = ", ".join(parts) if parts else benchmark.removeprefix("choice probabilities, ").removeprefix("choices, ")
    return f"Uncertainty, {words[0].lower()}{words[1:]}" if parts and benchmark.startswith("uncertainty, ") else words


def _of_levels(benchmark: str) -> list[str]:
    """The words of a benchmark that is a regime and a level, perhaps of a study; none for any other benchmark."""
    for kind in ("choice probabilities, ", "choices, ", "uncertainty, ", "levels, "):
        benchmark = benchmark.removeprefix(kind)
    parts = benchmark.split(", ")
    levels = {"all": "all levels"} | {level: level for level in LEVELS}
    for start, study in ((0, []), (1, [f"Study {parts[0]}"])):
        if len(parts) > start + 1 and parts[start] in regimes.CONCEPTS and parts[start + 1] in levels:
            regime = [] if study and parts[start] == regimes.EVERY else [regimes.CONCEPTS[parts[start]]]
            return [
                *study,
                *regime,
                levels[parts[start + 1]],
                *(part.removeprefix("response_") for part in parts[start + 2 :]),
            ]
    return []


def middles(labels: pd.Series) -> pd.Series:
    """The middle of each label in an ordered column of labels: label -> place, in their order."""
    return pd.Series(np.arange(len(labels))).groupby(labels.to_numpy(), sort=False).mean()


def apart(places: pd.Series, least: float) -> pd.Series:
    """The ascending places that lie `least` or more behind the one kept before: their names do not overlap."""
    kept: list[bool] = []
    last = -np.inf
    for place in places:
        kept.append(place - last >= least)
        last = place if kept[-1] else last
    return places[kept]


def borders(ax: Axes, labels: pd.Series, colour: str) -> None:
    """Draw lines over a matrix where an ordered column of labels changes; none if it changes more than NAMED times."""
    changes = np.flatnonzero(labels.to_numpy()[1:] != labels.to_numpy()[:-1]) + 0.5
    for place in changes if len(changes) <= NAMED else ():
        ax.axhline(place, color=colour, linewidth=0.5)
        ax.axvline(place, color=colour, linewidth=0.5)


def student_colours(students: Iterable[str]) -> dict[str, str]:
    """A colour for each student, or AligNet's where there is only one; an eleventh student has that of the first."""
    students = list(students)
    if len(students) == 1:
        return {students[0]: BLUE}
    return dict(zip(students, cycle(COLOUR_BLIND_SAFE), strict=False))
