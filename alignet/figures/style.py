"""The house style, and the marks that every figure shares: chance, ceiling, legends, strips of pictures."""

from collections.abc import Iterable
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from alignet.worlds.format.schema import PARTICIPANTS

MM = 1 / 25.4
SINGLE, DOUBLE = 89 * MM, 183 * MM  # journal column widths, inches
TITLE = 0.16  # height of a row's title, inches
CHANCE = 1 / 3
TARGETS = ("base", "unalignet", "alignet")
FAMILIES = [
    "supervised",
    "image-text",
    "self-supervised",
    "captioning",
    "from scratch",
]  # of pre-training, in this order
COLOUR_BLIND_SAFE = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"]  # seaborn's 'colorblind'
COLOUR_BLIND_SAFE += ["#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"]
LABELS = {"base": "Base", "unalignet": "UnAligNet (control)", "alignet": "AligNet"}


def use() -> None:
    """The house style, found wherever the notebook runs."""
    plt.style.use(Path(__file__).with_name("alignet.mplstyle"))


def save(figure: Figure, path: Path, table: pd.DataFrame | None = None) -> None:
    """PNG, PDF and SVG of a figure, and the plotted table as CSV, under one name (`path` without ending)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out and measured once for the three files: each would do it twice
    box = figure.get_tightbbox().padded(plt.rcParams["savefig.pad_inches"])
    for ending, undated in ((".png", {}), (".pdf", {"CreationDate": None}), (".svg", {"Date": None})):
        figure.savefig(path.with_suffix(ending), bbox_inches=box, metadata=undated)
    if table is not None:
        table.to_csv(path.with_suffix(".csv"), index=False, float_format="%.6g")


def only_text(text: str) -> Figure:
    figure, ax = plt.subplots(figsize=(DOUBLE, 0.1 * DOUBLE))
    ax.text(0.5, 0.5, text, ha="center", va="center")
    ax.set_axis_off()
    return figure


def strip(ax: Axes, pictures: Tensor) -> None:
    """Pictures (n, 3, size, size) side by side, no axes."""
    ax.imshow(pictures.permute(2, 0, 3, 1).flatten(1, 2))
    ax.set_axis_off()


def ceiling_band(ax: Axes, panel: pd.DataFrame) -> None:
    score = panel.iloc[0]
    ax.axhspan(score["noise_ceiling_low"], score["noise_ceiling_high"], color="0.85", zorder=0, linewidth=0)
    ax.axhline(score["noise_ceiling"], color="0.5", linewidth=0.6, zorder=0)


def ends(value: float | pd.Series, low: float | pd.Series, high: float | pd.Series) -> np.ndarray:
    """Lengths of error bars, (2, n); at least 0, since rounding may put an end on the wrong side of its value."""
    return np.maximum([value - low, high - value], 0).reshape(2, -1)


def reliability(ax: Axes, bins: pd.DataFrame, colour: str, label: str) -> None:
    """One line of a reliability diagram. Args: bins: predicted, chosen, ci_low, ci_high (see `metrics`)."""
    errors = ends(bins["chosen"], bins["ci_low"], bins["ci_high"])
    marks: dict[str, Any] = {"fmt": "o-", "markersize": 3, "linewidth": 0.8, "elinewidth": 0.8}
    ax.errorbar(bins["predicted"], bins["chosen"], errors, color=colour, label=label, **marks)


def chance(ax: Axes) -> None:
    ax.axhline(CHANCE, color="0.4", linestyle=":", linewidth=0.8, zorder=0)
    ax.annotate(
        "chance", (1, CHANCE), xycoords=("axes fraction", "data"), ha="right", va="top", fontsize=6, color="0.4"
    )


def zero(ax: Axes, name: str) -> None:
    """A dotted line at 0 and what it stands for."""
    ax.axhline(0, color="0.4", linestyle=":", linewidth=0.8, zorder=0)
    place: dict[str, Any] = {
        "xycoords": ("axes fraction", "data"),
        "ha": "right",
        "va": "top",
        "fontsize": 6,
        "color": "0.4",
    }
    ax.annotate(name, (1, 0), xytext=(0, -1), textcoords="offset points", **place)


def marks(target: str, colour: str) -> dict:
    """How a point with an error bar is drawn: base hollow, control grey, AligNet filled, in the student's colour."""
    face = {"base": "white", "unalignet": "0.8", "alignet": colour}[target]
    return {"marker": "o", "markersize": 5, "markerfacecolor": face, "color": colour, "elinewidth": 0.8}


def by_student(ax: Axes, panel: pd.DataFrame, value: str, low: str, high: str) -> None:
    """A point for every student and target of a table, with error bars from `low` to `high`; students on the x axis.

    A column `family` puts the students of one family side by side and names it below them.
    """
    grouped = "family" in panel and panel["family"].nunique() > 1
    ordered = panel.sort_values("family", key=lambda f: f.map(FAMILIES.index), kind="stable") if grouped else panel
    families = dict(zip(ordered["student"], ordered["family"], strict=True)) if grouped else {}
    students = list(dict.fromkeys(ordered["student"]))
    colours = student_colours(students)
    offset = dict(zip(TARGETS, (-0.24, 0.0, 0.24), strict=True))
    for score in panel.to_dict("records"):
        place = students.index(score["student"]) + offset[score["target"]]
        errors = ends(score[value], score[low], score[high])
        ax.errorbar(place, score[value], yerr=errors, **marks(score["target"], colours[score["student"]]))
    ax.set_xlim(-0.5, len(students) - 0.5)
    names = [f"{student}\n{families[student]}" if grouped else student for student in students]
    crowded = grouped and len(students) > 3
    ax.set_xticks(range(len(students)), names, rotation=60 if crowded else 0, ha="right" if crowded else "center")


def target_legend(figure: Figure, choices: str | pd.Series | None, ceiling: bool = True) -> None:
    """What the marks mean and whose choices they are set against (None: said elsewhere); ceiling: with its band."""
    dot: dict[str, Any] = {"marker": "o", "color": "0.3", "linestyle": "none", "markersize": 5}
    handles: list[Artist] = [plt.Line2D([], [], markerfacecolor=face, **dot) for face in ("white", "0.8", "0.3")]
    labels = [LABELS[target] for target in TARGETS]
    if choices is not None:
        handles.append(plt.Rectangle((0, 0), 1, 1, color="0.85") if ceiling else plt.Line2D([], [], linestyle="none"))
        labels.append(f"noise ceiling ({people(choices)})" if ceiling else f"against {people(choices)}")
    figure.legend(handles, labels, loc="outside lower center", ncols=4)


def people(choices: str | pd.Series) -> str:
    """Whose choices a figure is about, in the words of its legend: of one kind, or of all kinds in a table's column."""
    kinds = [choices] if isinstance(choices, str) else choices.dropna().unique()
    return " and ".join(PARTICIPANTS[kind] for kind in kinds)


def student_colours(students: Iterable[str]) -> dict[str, str]:
    """A colour for each student; an eleventh one has the first one's."""
    return dict(zip(students, cycle(COLOUR_BLIND_SAFE), strict=False))
