"""Downstream tasks: few-shot curves, and every protocol beside its base and control. Tables in, Figures out."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignet.figures import style

LOOKS = {"base": ("o", "white"), "unalignet": ("s", "0.8"), "alignet": ("D", None)}
LINES: dict[str, Any] = {"base": ":", "unalignet": "--", "alignet": "-"}


def by_shots(scores: pd.DataFrame) -> Figure:
    """Accuracy by shots of the world's few-shot protocols: a row a student, a column a level of the hierarchy.

    By the nearest centroid, which has the most episodes; the other classifiers stand in downstream.csv. Bars: 95 %
    bootstrap intervals over episodes; dotted: chance.

    Args: scores: downstream.csv.
    """
    shown = scores[scores["protocol"].str.startswith("few-shot ") & scores["shots"].notna()]
    shown = shown[shown["classifier"] == "centroid"]
    if shown.empty:
        return style.only_text("No figure: the world has no few-shot task")
    students, protocols = (list(dict.fromkeys(shown[column])) for column in ("student", "protocol"))
    colours = style.student_colours(students)
    size = (style.DOUBLE, 0.28 * style.DOUBLE * len(students) + 3 * style.TITLE)
    figure, axes = plt.subplots(
        len(students), len(protocols), figsize=size, squeeze=False, layout="constrained", sharey="col"
    )
    for row, student in zip(axes, students, strict=True):
        for ax, protocol in zip(row, protocols, strict=True):
            panel = shown[(shown["student"] == student) & (shown["protocol"] == protocol)]
            for target, line in panel.groupby("target", sort=False):
                _line(ax, line, str(target), colours[student])
            chance = panel.drop_duplicates("shots").sort_values("shots")
            ax.plot(chance["shots"], chance["chance"], color="0.4", linestyle=":", linewidth=0.8, zorder=0)
            ax.set_xscale("log")
            ax.set_xticks(chance["shots"], chance["shots"].astype(int))
            ax.minorticks_off()
            classes = "-".join(str(int(n)) for n in sorted({chance["classes"].min(), chance["classes"].max()}))
            ax.set(title=f"{student}, {protocol.removeprefix('few-shot ')}, {classes} classes")
            ax.set_xlabel("Pictures of each class" if student == students[-1] else "")
        row[0].set_ylabel("Accuracy, mean over classes")
    _legend(figure, scores)
    return figure


def summary(scores: pd.DataFrame, student: str) -> Figure:
    """Every protocol of one student: accuracy with chance, and percent over the base.

    Of k-shot protocols the fewest and the most shots, by nearest centroid; of the others every classifier. Bars: 95 %
    bootstrap intervals over episodes; the right-hand ones are paired. Who is ahead is not said here: other training
    seeds change it (`figures.seeds`).
    """
    of_student = scores[scores["student"] == student]
    tasks = _tasks(of_student)
    size = (style.DOUBLE, (len(tasks) + 5) * 0.135)
    figure, axes = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    (colour,) = style.student_colours([student]).values()
    for place, task in enumerate(tasks):
        rows = _rows_of(of_student, task).set_index("target")
        axes[0].plot(
            [rows["chance"].iloc[0]] * 2, [place - 0.35, place + 0.35], color="0.4", linestyle=":", linewidth=1
        )
        for offset, target in zip((-0.22, 0, 0.22), style.TARGETS, strict=True):
            if target not in rows.index:
                continue
            _bar(axes[0], rows.loc[target], "accuracy", "ci", place + offset, target, colour)
            if target != "base":
                percent = "relative_improvement"
                _bar(axes[1], rows.loc[target], percent, percent, place + offset, target, colour)
    axes[0].set_yticks(range(len(tasks)), [_name(task) for task in tasks], fontsize=6)
    axes[0].set(xlabel="Accuracy (dotted: chance)", ylim=(len(tasks) - 0.5, -0.7))
    axes[1].axvline(0, color="0.4", linewidth=0.8, zorder=0)
    axes[1].set_xlabel(f"{student}: percent over base")
    _legend(figure, scores)
    return figure


def skipped(scores: pd.DataFrame) -> pd.DataFrame:
    """The data sets that were not scored, and why."""
    return scores.loc[scores["accuracy"].isna(), ["dataset", "note"]].reset_index(drop=True)


def _tasks(part: pd.DataFrame) -> list[tuple]:
    """(dataset, protocol, shots, classifier) of the rows of `summary`."""
    scored = part[part["accuracy"].notna()]
    ends = scored.groupby(["dataset", "protocol"])["shots"].agg(["min", "max"])
    tasks = []
    columns = ["dataset", "protocol", "shots", "classifier"]
    for dataset, protocol, shots, classifier in scored[columns].drop_duplicates().itertuples(index=False):
        extreme = shots in ends.loc[(dataset, protocol)].tolist() and classifier == "centroid"
        if pd.isna(shots) or extreme:
            tasks.append((dataset, protocol, shots, classifier))
    return tasks


def _rows_of(part: pd.DataFrame, task: tuple) -> pd.DataFrame:
    dataset, protocol, shots, classifier = task
    same = part["shots"].isna() if pd.isna(shots) else part["shots"] == shots
    return part[
        (part["dataset"] == dataset) & (part["protocol"] == protocol) & same & (part["classifier"] == classifier)
    ]


def _name(task: tuple) -> str:
    dataset, protocol, shots, classifier = task
    return f"{dataset}: {protocol}, {classifier if pd.isna(shots) else f'{int(shots)}-shot'}"


def _bar(ax: Axes, row: pd.Series, value: str, interval: str, y: float, target: str, colour: str) -> None:
    marker, face = LOOKS[target]
    errors = style.ends(row[value], row[f"{interval}_low"], row[f"{interval}_high"])
    look: dict[str, Any] = {"color": colour, "markerfacecolor": face or colour, "markersize": 3, "elinewidth": 0.7}
    ax.errorbar(row[value], y, xerr=errors, fmt=marker, markeredgewidth=0.7, **look)


def _line(ax: Axes, line: pd.DataFrame, target: str, colour: str) -> None:
    marker, face = LOOKS[target]
    errors = style.ends(line["accuracy"], line["ci_low"], line["ci_high"])
    look: dict[str, Any] = {
        "color": colour,
        "markerfacecolor": face or colour,
        "markersize": 3.5,
        "elinewidth": 0.7,
        "linewidth": 0.8,
    }
    ax.errorbar(line["shots"], line["accuracy"], yerr=errors, fmt=marker, linestyle=LINES[target], **look)


def _legend(figure: Figure, scores: pd.DataFrame) -> None:
    look: dict[str, Any] = {"color": "0.3", "linestyle": "none", "markersize": 4}
    faces = [(marker, face or "0.3") for marker, face in LOOKS.values()]
    dots = [plt.Line2D([], [], marker=marker, markerfacecolor=face, **look) for marker, face in faces]
    people = style.people(scores["choices"].iloc[0])
    title = f"Aligned to {people}; 95 % bootstrap intervals over episodes"
    names = [style.LABELS[target] for target in style.TARGETS]
    figure.legend(dots, names, loc="outside lower center", ncols=3, title=title)
