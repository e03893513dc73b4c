"""Downstream tasks: few-shot curves, and every protocol beside its base and control. Tables in, Figures out."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignet import results
from alignet.figures import seeds, style

LINES: dict[str, Any] = {"base": "-", "unalignet": "--", "alignet": "-"}  # dotted is chance
LINE = 0.2  # inches: a row of `summary`, which holds three marks
EPISODES = "Bars: 95 % intervals over episodes, by Student's t"
GROUPS = {"few-shot": "Few-shot", "linear probe": "Linear probe", "unseen": "Unseen subclasses"}  # first words
GROUPS |= {"style": "Shift of style", "corruption": "Corruptions"}


def by_shots(scores: pd.DataFrame) -> Figure:
    """Accuracy by shots in the world's few-shot protocols: a row a student, a column a level of the hierarchy.

    The classifier is the nearest centroid, which has the most episodes; the other classifiers are in downstream.csv.
    Bars: 95 % intervals over episodes; dotted: chance.

    Args: scores: downstream.csv.
    """
    shown = scores[scores["protocol"].str.startswith("few-shot ") & scores["shots"].notna()]
    shown = shown[shown["classifier"] == "centroid"]
    if shown.empty:
        return style.only_text("No figure: the world has no few-shot task")
    students, protocols = (list(dict.fromkeys(shown[column])) for column in ("student", "protocol"))
    size = (style.DOUBLE, 0.28 * style.DOUBLE * len(students) + 3 * style.TITLE)
    figure, axes = plt.subplots(
        len(students), len(protocols), figsize=size, squeeze=False, layout="constrained", sharey="col"
    )
    for row, student in zip(axes, students, strict=True):
        for ax, protocol in zip(row, protocols, strict=True):
            panel = shown[(shown["student"] == student) & (shown["protocol"] == protocol)]
            for target, line in panel.groupby("target", sort=False):
                _line(ax, line, str(target))
            chance = panel.drop_duplicates("shots").sort_values("shots")
            ax.plot(chance["shots"], chance["chance"], color="0.4", linestyle=":", linewidth=0.8, zorder=0)
            style.accuracy_axis(ax, "y", end=None, chance=None)  # chance depends on the number of classes
            ax.set_xscale("log")
            ax.set_xticks(chance["shots"], chance["shots"].astype(int))
            ax.minorticks_off()
            classes = "-".join(str(int(n)) for n in sorted({chance["classes"].min(), chance["classes"].max()}))
            ax.set(title=f"{student}, {protocol.removeprefix('few-shot ')}, {classes} classes")
            ax.set_xlabel("Pictures of each class" if student == students[-1] else "")
        row[0].set_ylabel("Accuracy, mean over classes")
    style.legend(figure, scores["choices"], EPISODES, lines={"chance": ":"})
    return figure


def over_control(scores: pd.DataFrame) -> Figure:
    """AligNet minus its control in every protocol, grouped by kind, a colour a student: what people's choices add.

    k-shot protocols are shown with the fewest, the most and the primary number of shots by the nearest centroid, other
    protocols with every classifier. Bars: 95 % intervals over episodes, paired. Bold: the primary row of a task;
    filled: a primary row whose p, corrected for the number of tasks, is below .05. All other rows use the same pictures
    and are hollow. Args: scores: downstream.csv.
    """
    rows = scores[(scores["target"] == "alignet") & scores["over_control"].notna()]
    if rows.empty:
        return style.only_text("No figure: there is no control")
    tasks, names, students = _places(rows)
    height = 0.15 * max(1, len(students) / 3)
    figure, ax = plt.subplots(figsize=(style.DOUBLE, 0.8 + height * len(names)), layout="constrained")
    colours = style.student_colours(students)
    for task, place in tasks.items():
        for number, student in enumerate(students):
            for row in _rows_of(rows[rows["student"] == student], task).to_dict("records"):
                shift = 0.6 * ((number + 0.5) / len(students) - 0.5)
                seeds.difference(ax, place + shift, row, colours[student])
    style.vertical(ax, 0, "control")
    _rows_named(ax, names, tasks, _primary(rows))
    ax.set(xlabel="Accuracy, AligNet minus control")
    for student in students:
        ax.plot([], [], "D", markersize=3, color=colours[student], label=student)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    note = f"{EPISODES}, paired.\n{seeds.primary_note(rows)}"
    style.legend(figure, scores["choices"].dropna(), note, targets=())
    return figure


def summary(scores: pd.DataFrame, student: str) -> Figure:
    """Accuracy of one student's base, control and AligNet in every protocol, with chance, in the rows of
    `over_control`.

    Bars: 95 % intervals over episodes; bold: the primary row of a task. The figure does not say which model is ahead,
    since that changes with the training seed (`figures.seeds`).
    """
    of_student = scores[scores["student"] == student]
    tasks, names, _ = _places(of_student)
    if not tasks:
        return style.only_text(f"No figure: {student} has no downstream task with data")
    figure, ax = plt.subplots(figsize=(style.DOUBLE, 0.7 + LINE * len(names)), layout="constrained")
    for task, place in tasks.items():
        rows = _rows_of(of_student, task).set_index("target")
        ax.plot([rows["chance"].iloc[0]] * 2, [place - 0.35, place + 0.35], color="0.4", linestyle=":", linewidth=1)
        present = [target for target in results.TARGETS if target in rows.index]
        ax.plot(rows.loc[present, "accuracy"], [place] * len(present), color="0.8", linewidth=0.8, zorder=0)
        for target in present:
            value, low, high = (rows.loc[target, column] for column in ("accuracy", "ci_low", "ci_high"))
            height = place + 0.8 * style.OFFSETS[target]
            ax.errorbar(value, height, xerr=style.ends(value, low, high), **style.look(target, size=3))
    _rows_named(ax, names, tasks, _primary(of_student))
    style.accuracy_axis(ax, end=None, chance=None)  # chance depends on the number of classes
    ax.set(xlabel=f"{student}: accuracy, mean over classes")
    style.legend(figure, of_student["choices"].dropna(), EPISODES, lines={"chance": ":"})
    return figure


def skipped(scores: pd.DataFrame) -> pd.DataFrame:
    """The data sets that were not scored, with reasons."""
    return scores.loc[scores["accuracy"].isna(), ["dataset", "note"]].reset_index(drop=True)


def _tasks(part: pd.DataFrame) -> list[tuple]:
    """The rows of `summary`, as (dataset, protocol, shots, classifier)."""
    scored = part[part["accuracy"].notna()]
    ends = scored.groupby(["dataset", "protocol"])["shots"].agg(["min", "max"])
    tasks, primary = [], _primary(scored)
    columns = ["dataset", "protocol", "shots", "classifier"]
    for dataset, protocol, shots, classifier in scored[columns].drop_duplicates().itertuples(index=False):
        extreme = shots in ends.loc[(dataset, protocol)].tolist() and classifier == "centroid"
        if pd.isna(shots) or extreme or _key(dataset, protocol, shots, classifier) in primary:
            tasks.append((dataset, protocol, shots, classifier))
    return tasks


def _primary(part: pd.DataFrame) -> set[tuple]:
    """The primary rows, as (dataset, protocol, shots or 0, classifier)."""
    rows = part[part["primary"] == "yes"] if "primary" in part else part[:0]
    return set(rows[["dataset", "protocol", "shots", "classifier"]].fillna(0).itertuples(index=False, name=None))


def _rows_of(part: pd.DataFrame, task: tuple) -> pd.DataFrame:
    dataset, protocol, shots, classifier = task
    same = part["shots"].isna() if pd.isna(shots) else part["shots"] == shots
    return part[
        (part["dataset"] == dataset) & (part["protocol"] == protocol) & same & (part["classifier"] == classifier)
    ]


def _places(part: pd.DataFrame) -> tuple[dict[tuple, float], dict[float, str], list[str]]:
    """The place of each task from above; the words at each place, with a heading above each group; and the students."""
    tasks: dict[tuple, float] = {}
    names: dict[float, str] = {}
    place, last = 0.0, ""
    for task in sorted(_tasks(part), key=_group):
        if _group(task) != last:
            last = _group(task)
            names[place] = last[1:]
            place += 1
        tasks[task], names[place] = place, _name(task)
        place += 1
    return tasks, names, list(dict.fromkeys(part["student"].dropna()))


def _group(task: tuple) -> str:
    """The rank and the text of the heading above a task; a public data set has its own name as heading."""
    dataset, protocol, _, _ = task
    for rank, (first, heading) in enumerate(GROUPS.items()):
        if protocol.startswith(first):
            return f"{rank}{heading}"
    return f"9{dataset}"


def _rows_named(ax: Axes, names: dict[float, str], tasks: dict[tuple, float], primary: set[tuple]) -> None:
    """Write names at the left of the rows: headings in italics, primary rows in bold."""
    ax.set_yticks(list(names), list(names.values()), fontsize=style.SMALL)
    bold = {tasks[task] for task in tasks if _key(*task) in primary}
    for place, text in zip(names, ax.get_yticklabels(), strict=True):
        text.set_fontweight("bold" if place in bold else "normal")
        text.set_fontstyle("normal" if place in tasks.values() else "italic")
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(max(names) + 0.6, min(names) - 0.6)


def _key(dataset: str, protocol: str, shots: float, classifier: str) -> tuple:
    return dataset, protocol, 0.0 if pd.isna(shots) else shots, classifier


def _name(task: tuple) -> str:
    _, protocol, shots, classifier = task
    return f"{protocol.removeprefix('few-shot ')}, {classifier if pd.isna(shots) else f'{int(shots)}-shot'}"


def _line(ax: Axes, line: pd.DataFrame, target: str) -> None:
    errors = style.ends(line["accuracy"], line["ci_low"], line["ci_high"])
    look = style.look(target, size=3.5) | {"linewidth": 0.8, "linestyle": LINES[target]}
    ax.errorbar(line["shots"], line["accuracy"], yerr=errors, **look)
