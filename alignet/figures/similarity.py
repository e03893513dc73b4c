"""Other human similarity judgements: scores, RDMs and pairs to be rated. Tables in, Figures out."""

import math
import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from alignet import results
from alignet.figures import style
from alignet.worlds.format import regimes

METRICS = {"odd_one_out_accuracy": "Odd-one-out accuracy", "rsa_spearman": "RSA (Spearman)"}
COLUMNS = 3  # panels side by side: the levels of a regime
TITLE = 36  # letters of a line of a panel's title
PANEL = 22  # names that stand below each other beside a matrix of `rdms`


def scores(table: pd.DataFrame) -> Figure:
    """Scores of base, control and AligNet, a panel for each benchmark, with chance or zero and people's noise ceiling.

    Benchmarks without an interval or of fewer than `results.FEW_TRIPLETS` triplets or pairs are in the table only, and
    so are mixed triplets if there are more new ones. New concepts come first, then known ones, then studies. Error
    bars: 95 % intervals over the benchmark's ci_unit. The bar of the noise ceiling of RSA reaches from its lower to its
    upper bound; that of accuracy is not drawn, since the table does not say on how many triplets it rests. The grey
    line says what the world does not have.

    Args: table: similarity.csv.
    """
    scored = table[table["metric"].isin(METRICS) & table["value"].notna() & drawn(table)]
    kept = scored["ci_low"].notna() & (scored["n"] >= results.FEW_TRIPLETS)
    shown = style.new_first(scored[kept])
    if shown.empty:
        return style.only_text("No figure: no benchmark of human similarity has data")
    names = list(dict.fromkeys(zip(shown["benchmark"], shown["metric"], strict=True)))
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    size: dict[str, Any] = {
        "figsize": (style.DOUBLE, rows * (0.72 + 0.36 * (shown["student"].nunique() + 0.6)) + 0.5),
        "squeeze": False,
        "layout": "constrained",
    }
    figure, axes = plt.subplots(rows, columns, **size)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    for number, row in enumerate(axes):
        of_row = names[number * columns : (number + 1) * columns]
        panels = [shown[(shown["benchmark"] == name) & (shown["metric"] == metric)] for name, metric in of_row]
        people = any(_has_people(panel) for panel in panels)
        for ax, panel in zip(row, panels, strict=False):
            _benchmark(ax, panel, people)
            ax.tick_params(labelleft=ax is row[0])
    _absent(figure, table[table["value"].isna() & table["metric"].isin(METRICS) & drawn(table)])
    note = "Bars: 95 % intervals over triplets or pairs, which share concepts"
    note = ". ".join(filter(None, [note, style.few_named(scored[~kept])]))
    people = any(_has_people(panel) for _, panel in shown.groupby(["benchmark", "metric"]))
    style.legend(figure, shown["choices"], note, people_row=people, judged=shown.get("judged", ""))
    return figure


def _absent(figure: Figure, rows: pd.DataFrame) -> None:
    """Say above a figure what the world does not have. Args: rows: of benchmarks that were not scored."""
    lines = dict.fromkeys(f"{style.spoken(row.benchmark)}: {row.note}" for row in rows.itertuples())
    if lines:
        said = textwrap.fill("Not here: " + "; ".join(lines), style.LETTERS)
        figure.suptitle(said, fontsize=style.SMALL, color="0.4", x=0.01, ha="left")


def _has_people(panel: pd.DataFrame) -> bool:
    """Whether a benchmark's noise ceiling is drawn. Args: panel: its rows."""
    return bool(style.reliable(panel, _behind(panel)).any())


def _behind(panel: pd.DataFrame) -> str:
    """The column with the number that a benchmark's noise ceiling rests on: pairs, or triplets that several judged."""
    return "n" if panel["metric"].iloc[0] == "rsa_spearman" else "n_repeated"


def drawn(table: pd.DataFrame) -> pd.Series:
    """Whether each row belongs to a regime that figures draw, to a study, or to no regime at all."""
    return regimes.text(table, "regime").isin(["", regimes.EVERY, *regimes.shown(table)])


def rdms(matrices: dict[tuple[str, str], Tensor], labels: pd.DataFrame) -> Figure:
    """Dissimilarities of all pairs of concepts in the order of the hierarchy: a row a student, a column a target.

    Colour: rank of the distance among the model's distances, from 0 (nearest) to 1 (farthest). Lines separate values of
    the coarsest label.

    Args: matrices: (k, k) by (student, target); labels: k rows, in the order of the hierarchy, coarsest column last.
    """
    students = list(dict.fromkeys(student for student, _ in matrices))
    targets = [target for target in results.TARGETS if any(target == name for _, name in matrices)]
    size = (style.DOUBLE, (0.31 * len(students) + 0.04) * style.DOUBLE)
    figure, axes = plt.subplots(len(students), len(targets), figsize=size, squeeze=False, layout="constrained")
    for row, student in zip(axes, students, strict=True):
        for ax, target in zip(row, targets, strict=True):
            ax.set_axis_off()
            if (student, target) in matrices:
                image = ax.imshow(_ranks(matrices[student, target].numpy()), cmap="viridis", vmin=0, vmax=1)
                _label(ax, labels[labels.columns[-1]], named=target == targets[0])
                ax.set_title(f"{student}, {results.NAMES[target]}")
    figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, label=f"Distance (rank), {len(labels):,} concepts")
    return figure


def rating_page(pictures: Tensor, numbers: list[int]) -> Figure:
    """Numbered pairs of pictures, for people to rate from 1 (nothing alike) to 5 (very alike).

    Args: pictures: (n, 2, 3, size, size) uint8; numbers: (n,) of ratings_to_fill.csv.
    """
    if not len(numbers):
        return style.only_text("No pairs to rate")
    columns = 5
    rows = math.ceil(len(numbers) / columns)
    height = rows * (style.DOUBLE / columns / 2 + 1.2 * style.TITLE)
    size = (style.DOUBLE, height)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, pair, number in zip(axes.flat, pictures, numbers, strict=False):
        style.strip(ax, pair)
        ax.set_title(str(number), loc="left", fontsize=7, pad=2, weight="bold")
        ax.set_title("1   2   3   4   5", loc="right", fontsize=7, pad=2)
    return figure


def disagreements(pairs: pd.DataFrame, pictures: Tensor, columns: int = 6) -> Figure:
    """The first pairs of every student in either direction.

    z is the pair's distance in AligNet minus that in its control, each in standard deviations over all pairs of one
    class.

    Args: pairs: disagreements.csv, (n,) rows; pictures: (n, 2, 3, size, size) uint8, of the same rows.
    """
    if pairs.empty:
        return style.only_text("No figure: no pairs of one class, or a student without both targets")
    groups = list(pairs.reset_index(drop=True).groupby(["student", "closer_in"], sort=False))
    height = len(groups) * (style.DOUBLE / columns / 2 + 2.6 * style.TITLE)
    figure = plt.figure(figsize=(style.DOUBLE, height + 2 * style.TITLE), layout="constrained")
    head = "z: distance in AligNet minus distance in its control, in standard deviations over all pairs of one class"
    figure.suptitle(f"{head}. Aligned to {style.people(pairs['choices'])}", fontsize=style.SMALL, color="0.4")
    for part, ((student, closer), rows) in zip(
        figure.subfigures(len(groups), 1, squeeze=False).flat, groups, strict=True
    ):
        part.suptitle(f"{student}: more alike in {results.NAMES[closer]}", fontsize=7, x=0.01, ha="left")
        axes = part.subplots(1, columns, squeeze=False)[0]
        for ax in axes:
            ax.set_axis_off()
        for ax, (place, row) in zip(axes, rows.iterrows(), strict=False):
            style.strip(ax, pictures[place])
            rating = "" if math.isnan(row["rating"]) else f", rated {row['rating']:.1f}"
            ax.set_title(f"{row['class']}\nz {-row['difference']:+.1f}{rating}", fontsize=style.SMALL, pad=2)
    return figure


def _benchmark(ax: plt.Axes, panel: pd.DataFrame, people: bool) -> None:
    """Draw one benchmark. Args: panel: its rows; people: whether its row of panels has a row for people."""
    metric, unit = panel["metric"].iloc[0], panel["n"].iloc[0]
    style.by_student(ax, panel, "value", "ci_low", "ci_high", people, _behind(panel))
    accuracy = metric == "odd_one_out_accuracy"
    if accuracy:
        style.accuracy_axis(ax)
    else:
        style.vertical(ax, 0, "no relation")
        ax.set_xlim(min(-0.15, panel["ci_low"].min() - 0.05), 1)
    title = textwrap.fill(style.spoken(panel["benchmark"].iloc[0]), TITLE)
    ax.set_title(f"{title}\nn = {unit:,} {'triplets' if accuracy else 'pairs'}", pad=style.ABOVE)
    ax.set_xlabel(METRICS[metric])


def _ranks(matrix: np.ndarray) -> np.ndarray:
    """The ranks, from 0 to 1, of the entries off the diagonal; the diagonal is 0."""
    from scipy.stats import rankdata

    off = ~np.eye(len(matrix), dtype=bool)
    ranks = np.zeros_like(matrix)
    ranks[off] = (rankdata(matrix[off]) - 1) / max(1, off.sum() - 1)
    return ranks


def _label(ax: plt.Axes, coarsest: pd.Series, named: bool) -> None:
    style.borders(ax, coarsest, "white")
    places = style.middles(coarsest)
    if named and len(places) <= style.NAMED:
        for name, middle in style.apart(places, len(coarsest) / PANEL).items():
            ax.annotate(
                name,
                (-0.02 * len(coarsest), middle),
                ha="right",
                va="center",
                fontsize=style.SMALL,
                annotation_clip=False,
            )
