"""Every figure, drawn from the tables of the published run: its size, fonts, what is cut off or struck, its table."""

import itertools

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.transforms import Bbox

from alignet import config
from alignet.evaluation import benchmarks as scored
from alignet.figures import (
    benchmarks,
    cost,
    downstream,
    human_uncertainty,
    levels,
    reorganisation,
    seeds,
    similarity,
    student,
    style,
    synthesis,
    teacher,
)

RUN = config.home() / "reports" / "reference" / "emoji"


def table(name, folder="tables"):
    return pd.read_csv(RUN / folder / f"{name}.csv")


def chosen():
    scores = table("teacher")
    return scores[scores["chosen"] | (scores["map"] == "none")]


def with_family(name):
    return table(name).assign(family="supervised")


class World:
    name = "emoji"


def of_models():
    return benchmarks.drawn(scored.of_the_run(RUN, World))


FIGURES = {  # name: (figure, the table that is stored beside it)
    "calibration": lambda: human_uncertainty.calibration(table("calibration"), table("calibration_bins")),
    "teacher": lambda: teacher.before_and_after(chosen()),
    "teacher_levels": lambda: teacher.by_level(chosen()),
    "teacher_grid": lambda: teacher.grid(table("teacher")),
    "teacher_layers": lambda: teacher.layers(table("teacher_layers")),
    "soft_labels": lambda: teacher.soft_labels(table("soft_labels")),
    "training": lambda: student.training_curve(table("training", "figures")),
    "cost": lambda: cost.operations(table("cost")),
    "levels": lambda: levels.by_abstraction(with_family("levels")),
    "uncertainty": lambda: levels.uncertainty(with_family("uncertainty")),
    "reliability": lambda: levels.reliability(table("reliability")),
    "similarity": lambda: similarity.scores(table("similarity")),
    "reorganisation": lambda: reorganisation.by_common_level(table("reorganisation")),
    "reorganisation_layers": lambda: reorganisation.by_layer(table("reorganisation")),
    "cka": lambda: reorganisation.layer_alignment(table("cka")),
    "maps_lite0": lambda: reorganisation.before_and_after(table("maps_lite0", "figures"), "domain", "lite0"),
    "few_shot": lambda: downstream.by_shots(table("downstream")),
    "downstream": lambda: downstream.over_control(table("downstream")),
    "downstream_lite0": lambda: downstream.summary(table("downstream"), "lite0"),
    "comparison": lambda: benchmarks.by_model(of_models()),
    "seeds": lambda: seeds.by_level(table("seeds"), table("replicates")),
    "seeds_over_control": lambda: seeds.over_control(table("seeds")),
}
FIGURES["signal"] = lambda: synthesis.signal(table("signal_alignet"))
MEANS = {"teacher", "teacher_levels", "teacher_grid", "soft_labels"}  # large marks are means over folds


@pytest.fixture(params=FIGURES)
def drawn(request):
    with plt.rc_context():
        style.use()
        figure = FIGURES[request.param]()
        figure.canvas.draw()
        yield request.param, figure
    plt.close("all")


def texts(figure):
    """Visible texts with their boxes in pixels."""
    renderer = figure.canvas.get_renderer()
    shown = [text for text in figure.findobj(matplotlib.text.Text) if text.get_visible() and text.get_text().strip()]
    unseen = {id(text) for ax in figure.axes for text in _labels_of_ticks_not_drawn(ax)}
    return [(text, text.get_window_extent(renderer)) for text in shown if id(text) not in unseen]


def _labels_of_ticks_not_drawn(ax):
    """Ticks outside the limits, and those of axes that are switched off, have labels too."""
    for axis in (ax.xaxis, ax.yaxis):
        drawn = axis._update_ticks() if ax.axison and ax.get_visible() else []
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if tick not in drawn:
                yield from (tick.label1, tick.label2)


def overlap(one, other):
    both = Bbox.intersection(one, other)
    return 0.0 if both is None else both.width * both.height / min(one.width * one.height, other.width * other.height)


def test_it_is_a_journal_column_wide_and_its_text_is_small_but_readable(drawn):
    name, figure = drawn
    width = figure.get_figwidth() * 25.4
    assert min(abs(width - 89), abs(width - 183)) < 0.1
    sizes = {round(text.get_fontsize(), 1) for text, _ in texts(figure)}
    assert sizes <= {7.0}, (name, sizes)


def test_no_text_is_cut_off(drawn):
    name, figure = drawn
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in texts(figure):
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, (name, text.get_text())


def test_no_text_lies_on_another(drawn):
    name, figure = drawn
    level = [(text, box) for text, box in texts(figure) if text.get_rotation() % 90 == 0]
    for (one, first), (other, second) in itertools.combinations(level, 2):
        assert overlap(first, second) < 0.1, (name, one.get_text(), other.get_text())


def test_labels_of_ticks_have_a_space_between_them(drawn):
    name, figure = drawn
    shown = {id(text): box for text, box in texts(figure)}
    for ax in figure.axes:
        labels = [label for label in ax.get_xticklabels() if id(label) in shown and label.get_rotation() % 90 == 0]
        boxes = sorted((shown[id(label)] for label in labels), key=lambda box: box.x0)
        for left, right in itertools.pairwise(boxes):
            assert right.x0 - left.x1 >= 0.02 * figure.dpi, (name, ax.get_xlabel())


def test_no_legend_covers_axes(drawn):
    name, figure = drawn
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    for legend in legends:
        for ax in figure.axes:
            assert overlap(legend.get_window_extent(), ax.bbox) < 0.01, (name, ax.get_title())


def points(ax):
    """Marked points of an axes, in its own coordinates: (n, 2)."""
    lines = [line for line in ax.lines if line.get_marker() not in ("None", "", " ", None) and line.get_visible()]
    found = [
        np.column_stack([np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)]) for line in lines
    ]
    return np.concatenate([np.empty((0, 2)), *found])


def test_no_label_is_struck_by_a_point(drawn):
    name, figure = drawn
    for ax in figure.axes:
        places = ax.transData.transform(points(ax))
        for text in ax.texts:
            box = text.get_window_extent(figure.canvas.get_renderer())
            if text.get_visible() and text.get_text().strip():
                inside = [box.contains(*place) for place in places]
                assert not any(inside), (name, text.get_text())


def test_the_stored_table_holds_what_is_drawn(drawn):
    name, figure = drawn
    folder = "variants" if name.startswith("seeds") else "figures"
    if name in MEANS or not (RUN / folder / f"{name}.csv").is_file():
        pytest.skip("means of the table's rows, or a figure that is in notebooks only")
    beside = table(name, folder)
    numbers = beside.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    if name == "reliability":
        numbers = np.append(numbers, beside["chosen"] - beside["predicted"])
    known = np.sort(numbers[np.isfinite(numbers)])
    for ax in figure.axes:
        for x, y in points(ax):
            assert _in(x, known) or _in(y, known), (name, ax.get_title(), x, y)


def _in(value, known):
    place = np.searchsorted(known, value)
    near = known[max(0, place - 1) : place + 1]
    return bool(np.isclose(near, value, rtol=1e-4, atol=1e-6).any())
