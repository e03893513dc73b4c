"""Means over training seeds, with intervals over seeds and over the units of scores. Tables in, Figures out."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignet.figures import levels, style
from alignet.worlds.format import regimes
from alignet.worlds.format.schema import LEVELS


def by_level(summary: pd.DataFrame, scores: pd.DataFrame, people: pd.DataFrame | None = None) -> Figure:
    """Odd-one-out accuracy at each level, for new and for known concepts, over training seeds.

    Small dots: seeds; large marks: means with 95 % intervals over seeds and triplets; dotted: chance; star: noise
    ceiling of `results.FEW_TRIPLETS` triplets or more.

    Args: summary: seeds.csv; scores: replicates.csv; people: levels.csv of the run, from which the noise ceiling's
        interval and n are taken; None: no star.
    """
    return by_world({"": (summary, scores, people)})


def plotted(summary: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The table that `by_level` draws: means of seeds.csv at each level, and below them the rows of each seed."""
    means, dots = (of_levels(table) for table in (summary, scores))
    return pd.concat([means, dots], ignore_index=True)


def of_levels(table: pd.DataFrame) -> pd.DataFrame:
    """The rows about accuracy at single levels that belong to no study, in the regimes that figures draw."""
    rows = regimes.main(table[table["benchmark"].str.startswith("levels, ") & table["level"].isin(LEVELS)])
    return rows[rows["regime"].isin(regimes.shown(rows))]


def by_world(runs: dict[str, tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame | None]]) -> Figure:
    """The accuracies of `by_level` for several runs: a row of panels for each regime of each run.

    It says whose choices models are compared with.

    Args: runs: a run in words -> (seeds.csv, replicates.csv, levels.csv or None).
    """
    lines = {}
    for name, (means, each, people) in runs.items():
        summary, scores = _with_people(of_levels(means), people), of_levels(each)
        for regime in regimes.shown(summary):
            lines[name, regime] = [table[table["regime"] == regime] for table in (summary, scores)]
    if not lines:
        return style.only_text(levels.NO_LEVELS)
    height = max(levels.rows(summary) for summary, _ in lines.values())
    figure, axes = levels.panels([_levels_of(summary) for summary, _ in lines.values()], height)
    for row, ((name, regime), (summary, scores)) in zip(axes, lines.items(), strict=True):
        for ax, level in zip(row, _levels_of(summary), strict=False):
            _panel(ax, summary, scores, level)
        for ax in row[len(_levels_of(summary)) :]:
            ax.set_axis_off()
        of_run = [name] if name else []
        of_run += [regimes.CONCEPTS[regime], f"{int(summary['n_seeds'].max())} seeds"]
        row[0].set_ylabel("\n".join(of_run))
    levels.named_below(axes, "Odd-one-out accuracy")
    tables = {name: run[0] for name, run in runs.items() if name}
    kinds = [f"{name}: {style.people(of['choices'], levels.judged(of))}" for name, of in tables.items()]
    alone = None if kinds else next(iter(runs.values()))[0]
    note = "Small dots: seeds. Bars: 95 % intervals over seeds and over triplets, which share concepts"
    said = ".\n".join([note, levels.GAINS, *kinds])
    choices, judged = (None, "") if alone is None else (alone["choices"], levels.judged(alone))
    people_known = any(style.reliable(summary).any() for summary, _ in lines.values())
    floors = pd.concat([levels.floors(summary)["student"] for summary, _ in lines.values()])
    style.legend(figure, choices, said, people_row=people_known, judged=judged, floors=floors)
    return figure


def _with_people(summary: pd.DataFrame, people: pd.DataFrame | None) -> pd.DataFrame:
    """Means over seeds with the noise ceilings of levels.csv, their intervals and their n, which no seed changes."""
    if people is None or "n_repeated" not in people:
        return summary
    keys = ["regime", "level"]
    columns = [*keys, "n_repeated", "noise_ceiling", "noise_ceiling_low", "noise_ceiling_high"]
    ceilings = regimes.main(people)[columns].drop_duplicates(keys)
    return summary.drop(columns="noise_ceiling").merge(ceilings, how="left", on=keys)


def _levels_of(summary: pd.DataFrame) -> list[str]:
    return [level for level in LEVELS if (summary["level"] == level).any()]


def _panel(ax: Axes, summary: pd.DataFrame, scores: pd.DataFrame, level: str) -> None:
    panel = summary[summary["level"] == level]
    people = bool(style.reliable(summary).any())
    students = style.by_student(ax, panel, "mean", "ci_low", "ci_high", people_row=people)
    dots = levels.of_students(scores[scores["level"] == level])
    for (student, target), one in dots.groupby(["student", "target"]):
        height = students.index(str(student)) + style.OFFSETS[str(target)] + 0.1
        ax.plot(one["value"], np.full(len(one), height), ".", markersize=2, color=style.COLOURS[str(target)])
    style.accuracy_axis(ax)
    reach = dots.groupby(["student", "target"])["value"].max().rename("highest_dot").reset_index()
    panel = panel.merge(reach, how="left", on=["student", "target"])
    levels.gains(ax, panel.assign(reach_high=panel[["ci_high", "highest_dot"]].max(axis=1)), students, "n")
    ax.set_title(f"{level.capitalize()}, n = {panel['n'].iloc[0]:,.0f} triplets", pad=style.ABOVE)


def over_control(summary: pd.DataFrame) -> Figure:
    """AligNet minus its control on every benchmark: means over training seeds with 95 % intervals.

    Intervals are over seeds and over the benchmark's units: triplets, pairs or episodes. Filled: the interval does not
    contain 0; of downstream tasks, the primary row whose p is below .05 after Holm's correction for their number. Other
    rows of a task use the same pictures and are hollow. In seeds.csv only are mixed triplets, single regimes of
    studies, rows of fewer than `results.FEW_TRIPLETS` triplets or pairs, and numbers of shots other than the fewest,
    the most and the primary one, which are drawn for the nearest centroid.

    Args: summary: seeds.csv.
    """
    every = _drawn(summary[(summary["target"] == "alignet") & summary["over_control_low"].notna()])
    rows = style.new_first(every[~style.few(every)])
    if rows.empty:
        return style.only_text("No figure: there is no control")
    students = list(dict.fromkeys(rows["student"]))
    names = list(dict.fromkeys(rows["name"]))
    size = (style.DOUBLE, 0.8 + 0.14 * len(names))
    figure, (axes,) = plt.subplots(1, len(students), figsize=size, squeeze=False, sharey=True, layout="constrained")
    colours = style.student_colours(students)
    for ax, student in zip(axes, students, strict=True):
        for row in rows[rows["student"] == student].to_dict("records"):
            difference(ax, names.index(row["name"]), row, colours[student])
        style.vertical(ax, 0, "")
        ax.set(xlabel="AligNet minus control", title=student, ylim=(len(names) - 0.5, -0.5))
        ax.locator_params(axis="x", nbins=6)
    axes[0].set_yticks(range(len(names)), names, fontsize=style.SMALL)
    seeds = f"{int(rows['n_seeds'].max())} training seeds"
    note = f"Bars: 95 % intervals over {seeds} and over triplets, pairs or episodes. Hollow: the interval holds 0.\n"
    told = [primary_note(rows).replace("Bold: the", "Downstream tasks: the"), style.few_named(every[style.few(every)])]
    note += ".\n".join(filter(None, told))
    style.legend(figure, summary["choices"].dropna(), note, targets=(), judged=levels.judged(summary))
    return figure


def difference(ax: Axes, place: float, row: dict[str, Any], colour: str) -> None:
    """Draw AligNet minus its control with its interval, filled if it is `clear`. Args: row: of a table of results."""
    value, low, high = (row[f"over_control{end}"] for end in ("", "_low", "_high"))
    look: dict[str, Any] = {"marker": "D", "markersize": 3, "color": colour, "elinewidth": 0.8}
    face = colour if clear(row) else "white"
    ax.errorbar(value, place, xerr=style.ends(value, low, high), markerfacecolor=face, **look)


def clear(row: dict[str, Any]) -> bool:
    """Whether the interval of over_control excludes 0.

    A row of a downstream task is clear if its p, corrected for the number of tasks, is below .05; only primary rows
    have one.
    """
    if isinstance(row.get("task"), str):
        return bool(row["over_control_holm"] < 0.05)
    return bool(row["over_control_low"] > 0 or row["over_control_high"] < 0)


def primary_note(rows: pd.DataFrame) -> str:
    """A note on what is bold and filled among rows of downstream tasks, with the number of tasks; '' without tasks."""
    primary = rows[rows["primary"] == "yes"] if "primary" in rows else rows[:0]
    if primary.empty:
        return ""
    tasks = primary["task"].nunique()
    rest = "Other rows are of the same pictures and are not counted"
    return (
        f"Bold: the primary row of each of {tasks} tasks, filled where p < .05 after Holm's correction for them. {rest}"
    )


def _drawn(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `over_control`, with a short name for each."""
    study, regime = (regimes.text(rows, column) for column in ("study", "regime"))
    kept = np.where(study != "", regime == regimes.EVERY, (regime == "") | regime.isin(regimes.shown(rows)))
    rows = rows[kept]
    shots = pd.to_numeric(rows["metric"].str.extract(r"(\d+) shots")[0])
    ends = shots.groupby(rows["benchmark"])
    extreme = (shots == ends.transform("min")) | (shots == ends.transform("max"))
    primary = (rows["primary"] == "yes") if "primary" in rows else False
    kept = rows[shots.isna() | (extreme & rows["metric"].str.contains("centroid")) | primary]
    short = kept["metric"].replace({"odd_one_out_accuracy": "accuracy", "rsa_spearman": "RSA", "spearman": "Spearman"})
    short = short.str.replace("accuracy, ", "").str.replace("centroid, ", "").str.replace("1 shots", "1 shot")
    benchmark = kept["benchmark"].map(style.spoken)
    of_task = kept["metric"].str.startswith("accuracy,")  # its benchmark begins with the data set
    benchmark = benchmark.where(~of_task, benchmark.str.split(", ", n=1).str[-1])
    return kept.assign(name=benchmark.str.replace("_", " ") + ": " + short)
