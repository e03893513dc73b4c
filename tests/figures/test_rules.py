"""The rules that all figures follow: where axes of accuracy begin, what is too few to draw, and what comes first."""

import itertools

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib import font_manager

from alignet import config, results
from alignet.figures import (
    benchmarks,
    cost,
    downstream,
    findings,
    human_uncertainty,
    levels,
    seeds,
    similarity,
    student,
    style,
    synthesis,
    teacher,
)
from alignet.worlds.format.schema import LEVELS

ENOUGH, FEW = results.FEW_TRIPLETS, results.FEW_TRIPLETS - 1
TABLES = config.home() / "reports" / "reference" / "things"


@pytest.fixture(autouse=True)
def house_style():
    with plt.rc_context():
        style.use()
        yield
    plt.close("all")


def table(name, folder="tables"):
    return results.load(TABLES / folder / f"{name}.csv")


def chosen():
    scores = table("teacher")
    return scores[scores["chosen"] | scores["map"].isin(["none", "ridge"])]


def words(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def notes(figure):
    return " ".join(legend.get_title().get_text().replace("\n", " ") for legend in figure.legends)


def levels_table(*regimes, n=ENOUGH, repeated=ENOUGH, gain=(4.0, 20.0)):
    rows = [
        {"student": "lite0", "target": target, "representation": "pooled", "study": "", "regime": regime}
        | {"level": level, "n_triplets": n, "n_repeated": repeated, "choices": "human"}
        | {"odd_one_out_accuracy": 0.4 + 0.1 * place, "ci_low": 0.35 + 0.1 * place, "ci_high": 0.45 + 0.1 * place}
        | {"noise_ceiling": 0.7, "noise_ceiling_low": 0.65, "noise_ceiling_high": 0.75, "relative_improvement": 12.0}
        | {"relative_improvement_low": gain[0], "relative_improvement_high": gain[1]}
        for regime in regimes or ("known", "new")
        for level in LEVELS
        for place, target in enumerate(results.TARGETS)
    ]
    return pd.DataFrame(rows)


X_AXES = {
    "levels": lambda: levels.by_abstraction(levels_table()),
    "studies": lambda: levels.by_study(table("levels")),
    "seeds": lambda: seeds.by_level(table("seeds"), table("replicates")),
    "similarity": lambda: similarity.scores(table("similarity")),
    "downstream": lambda: downstream.summary(table("downstream"), "lite0"),
}
Y_AXES = {
    "teacher": lambda: teacher.before_and_after(chosen()),
    "teacher by level": lambda: teacher.by_level(chosen()),
    "teacher on people": lambda: teacher.on_people(chosen()),
    "teacher layers": lambda: teacher.layers(table("teacher_layers")),
    "soft labels": lambda: teacher.soft_labels(table("soft_labels")),
    "training": lambda: student.training_curve(table("training", "figures")),
    "signal": lambda: synthesis.signal(table("signal_alignet")),
    "calibration": lambda: human_uncertainty.calibration(table("calibration"), table("calibration_bins")),
    "few shots": lambda: downstream.by_shots(table("downstream")),
}


def of_accuracy(label):
    return "accuracy" in label.lower() or "agreement" in label.lower()


@pytest.mark.parametrize("name", [*X_AXES, *Y_AXES])
def test_an_axis_of_accuracy_begins_at_0_and_chance_is_drawn_and_named(name):
    figure = (X_AXES | Y_AXES)[name]()
    way = "x" if name in X_AXES else "y"
    columns = {ax for ax in figure.axes if of_accuracy(getattr(ax, f"get_{way}label")())}
    shared = {"x": "shares_x", "y": "shares_y"}[way]
    drawn = [ax for ax in figure.axes if ax in columns or any(_joined(ax, other, shared) for other in columns)]
    assert drawn
    for ax in drawn:
        assert getattr(ax, f"get_{way}lim")()[0] == 0
        assert any(line.get_linestyle() == ":" for line in ax.lines)
    assert any("chance" in text for text in words(figure)), words(figure)


def _joined(ax, other, shared):
    grouper = ax.get_shared_x_axes() if shared == "shares_x" else ax.get_shared_y_axes()
    return grouper.joined(ax, other)


def test_the_grids_axis_of_accuracy_is_marked_as_cut_and_shows_chance():
    figure = teacher.grid(table("teacher"))
    accuracy = figure.axes[0]
    low, high = accuracy.get_ylim()
    assert 0 < low < style.CHANCE < high
    assert len([line for line in accuracy.lines if line.get_transform() == accuracy.transAxes]) == 2
    assert "cut" in notes(figure)


@pytest.mark.parametrize(
    ("n", "interval", "said"),
    [
        (ENOUGH, (4.0, 20.0), "+12 %"),
        (FEW, (4.0, 20.0), f"n = {FEW}"),
        (ENOUGH, (-4.0, 28.0), f"n = {ENOUGH}"),
        (ENOUGH, (np.nan, np.nan), f"n = {ENOUGH}"),
    ],
)
def test_a_gain_is_a_percentage_only_of_enough_triplets_and_where_its_interval_leaves_out_0(n, interval, said):
    figure = levels.by_abstraction(levels_table("new", n=n, gain=interval))
    gains = [text for ax in figure.axes for text in ax.texts if text.get_color() == style.BLUE]
    assert [text.get_text() for text in gains] == [said] * len(LEVELS)
    assert f"n < {ENOUGH}" in notes(figure)


def test_over_seeds_the_same_rule_holds_and_gains_are_those_of_the_table():
    summary = table("seeds")
    figure = seeds.by_level(summary, table("replicates"))
    drawn = [text.get_text() for ax in figure.axes for text in ax.texts if text.get_color() == style.BLUE]
    rows = seeds.of_levels(summary)
    rows = rows[rows["target"] == "alignet"]
    expected = [
        levels.gain(row, row["n"])
        for regime in ("new", "known")
        for level in LEVELS
        for row in rows[(rows["regime"] == regime) & (rows["level"] == level)].to_dict("records")
    ]
    assert drawn == expected
    few = rows[rows["n"] < ENOUGH]
    assert len(few)
    assert all(f"n = {n:,.0f}" in drawn for n in few["n"])


@pytest.mark.parametrize(("high", "place"), [(0.5, "beside"), (0.95, "below")])
def test_a_gain_stands_in_its_own_panel(high, place):
    rows = levels_table("new", "known")
    rows.loc[rows["target"] == "alignet", "ci_high"] = high
    rows.loc[rows["target"] == "alignet", "odd_one_out_accuracy"] = high - 0.05
    figure = levels.by_abstraction(rows)
    figure.canvas.draw()
    for ax in figure.axes:
        (gain,) = (text for text in ax.texts if text.get_color() == style.BLUE)
        (own,) = (line for line in ax.lines if line.get_marker() == "D")
        box = gain.get_window_extent().transformed(ax.transData.inverted())
        assert box.x1 <= 1.03
        if place == "beside":
            assert box.x0 > high
            assert min(box.y0, box.y1) < own.get_ydata()[0] < max(box.y0, box.y1)
        else:
            assert min(box.y0, box.y1) > own.get_ydata()[0]


def test_new_concepts_stand_above_known_ones():
    figures = [levels.by_abstraction(levels_table()), seeds.by_level(table("seeds"), table("replicates"))]
    for figure in [*figures, levels.reliability(table("reliability"))]:
        named = [ax.get_ylabel().split("\n")[0] for ax in figure.axes if "concepts" in ax.get_ylabel()]
        assert named == ["New concepts", "Known concepts"]


def test_new_concepts_come_first_among_benchmarks():
    titles = [ax.get_title() for ax in similarity.scores(table("similarity")).axes if ax.get_title()]
    matrix = [
        label.get_text() for label in benchmarks.by_model(table("comparison", "figures")).axes[0].get_yticklabels()
    ]
    differences = [label.get_text() for label in seeds.over_control(table("seeds")).axes[0].get_yticklabels()]
    for names in (titles, matrix, differences):
        kinds = [name.split(" concepts, ")[0] for name in names if " concepts, " in name]
        assert kinds == sorted(kinds, key=["New", "Known"].index)
        assert names[0].startswith("New concepts, ")
        assert {"New", "Known"} <= set(kinds)


def test_new_concepts_come_first_at_the_left_and_in_words():
    splits = table("teacher").query("split == 'cross-fitted'")
    both = pd.concat([chosen(), *(splits.assign(split=split) for split in ("known", "new"))])
    titles = [ax.get_title() for ax in teacher.on_people(both).axes]
    assert titles[0] == "New concepts"
    assert titles.index("New concepts") < titles.index("Known concepts")
    ticks = [tick.get_text().split("\n")[0] for tick in teacher.before_and_after(chosen()).axes[0].get_xticklabels()]
    assert ticks == ["validation", "train"]
    said = findings.levels(table("levels"), table("uncertainty")).data
    assert 0 <= said.index("new concepts, coarse") < said.index("known concepts, coarse")


def stars(figure):
    return [(ax, line) for ax in figure.axes for line in ax.lines if line.get_marker() == "*"]


def test_the_peoples_star_has_an_interval_and_its_n():
    figure = levels.by_abstraction(levels_table("new", repeated=1234))
    assert len(stars(figure)) == len(LEVELS)
    for ax, star in stars(figure):
        ends = [segment[:, 0] for bar in ax.collections for segment in bar.get_segments() if segment[0, 1] == -0.8]
        assert [sorted(end) for end in ends] == [pytest.approx([0.65, 0.75])]
        assert star.get_xdata() == [0.7]
        assert "n = 1,234" in [text.get_text() for text in ax.texts]


def test_of_few_triplets_there_is_no_star_and_no_row_and_no_legend_of_people():
    for figure in (
        levels.by_abstraction(levels_table("new", repeated=FEW)),
        levels.by_abstraction(levels_table("new").drop(columns="n_repeated")),
    ):
        assert not stars(figure)
        assert "people" not in [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert "people (noise ceiling)" not in words(figure)


def test_over_seeds_the_star_comes_from_the_runs_levels():
    people = levels_table("new", "known", repeated=500)
    summary, scores = table("seeds"), table("replicates")
    assert not stars(seeds.by_level(summary, scores))
    figure = seeds.by_level(summary, scores, people)
    assert len(stars(figure)) == 2 * len(LEVELS)
    assert words(figure).count("n = 500") == 2 * len(LEVELS)
    assert not stars(seeds.by_level(summary, scores, people.assign(n_repeated=FEW)))


def split_table(validation):
    return pd.DataFrame(
        [
            {"fold": fold, "split": split, "level": "judged", "map": name, "odd_one_out_accuracy": 0.5, "kl": 0.3}
            | {"ece": 0.1, "noise_ceiling": 0.6, "n_repeated": 0, "n_triplets": n, "choices": "human"}
            for fold in (0, 1)
            for split, n in (("train", 900), ("validation", validation))
            for name in ("none", "fitted")
        ]
    )


def test_a_split_of_few_triplets_is_left_out_of_the_teachers_figure_and_named():
    figure = teacher.before_and_after(split_table(1))
    for ax in figure.axes:
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["train\nn = 900"]
    assert "validation (n = 2)" in notes(figure)
    assert "noise ceiling" not in words(figure)
    enough = teacher.before_and_after(split_table(ENOUGH // 2))
    assert [tick.get_text() for tick in enough.axes[0].get_xticklabels()] == ["validation\nn = 15", "train\nn = 900"]
    assert "Left out" not in notes(enough)


def test_a_world_that_held_out_few_triplets_has_no_figure_of_soft_labels():
    few = table("soft_labels").assign(n_triplets=1)
    assert "No figure" in words(teacher.soft_labels(few))[0]


def test_uncertainty_of_few_triplets_is_left_out_and_named():
    unsure = table("uncertainty")
    few = unsure[unsure["study"].isna() & unsure["n"].between(1, FEW) & unsure["level"].isin(LEVELS)]
    assert len(few)
    figure = levels.uncertainty(unsure)
    assert not any(f"n = {n:.0f} triplets" in ax.get_title() for ax in figure.axes for n in few["n"])
    assert all(f"(n = {n:.0f})" in notes(figure) for n in few["n"])
    assert "No figure" in words(levels.uncertainty(unsure.assign(n=FEW)))[0]


def test_benchmarks_of_few_triplets_are_left_out_and_named():
    compared, similar, over = table("comparison", "figures"), table("similarity"), table("seeds")
    for figure in (
        benchmarks.by_model(_few(compared, "levels, new, coarse")),
        similarity.scores(_few(similar, "choice probabilities, levels, new, coarse")),
        seeds.over_control(_few(over, "levels, new, coarse")),
    ):
        assert f"New concepts, coarse (n = {FEW})" in notes(figure)


def _few(scores, benchmark):
    assert (scores["benchmark"] == benchmark).any()
    return scores.assign(n=scores["n"].mask(scores["benchmark"] == benchmark, FEW))


@pytest.mark.parametrize(
    ("benchmark", "said"),
    [
        ("levels, new, coarse", "New concepts, coarse"),
        ("choice probabilities, levels, known, fine", "Known concepts, fine"),
        ("choices, levels, 2025, all, coarse", "Study 2025, coarse"),
        ("levels, 2025, new, all", "Study 2025, New concepts, all levels"),
        ("uncertainty, new, coarse, response_entropy", "Uncertainty, new concepts, coarse, entropy"),
        ("choice probabilities, test triplets, objects seen", "test triplets, objects seen"),
        ("few-shot category", "few-shot category"),
        ("new, coarse world", "new, coarse world"),
    ],
)
def test_a_benchmark_is_named_in_words(benchmark, said):
    assert style.spoken(benchmark) == said


def test_a_long_note_makes_a_figure_higher_and_takes_no_room_from_its_axes():
    heights = []
    for note in ("short", "word " * 150):
        figure, ax = plt.subplots(figsize=(style.DOUBLE, 3), layout="constrained")
        style.legend(figure, None, note)
        figure.canvas.draw()
        heights.append(ax.get_window_extent().height)
    assert heights[1] == pytest.approx(heights[0], rel=0.05)


def test_chance_is_the_only_dotted_line_among_few_shot_curves():
    for ax in downstream.by_shots(table("downstream")).axes:
        assert [line.get_linestyle() for line in ax.lines].count(":") == 1


def test_one_students_differences_have_alignets_colour_and_several_students_their_own():
    assert style.student_colours(["lite0"]) == {"lite0": style.BLUE}
    colours = style.student_colours(["lite0", "vit"]).values()
    assert all(one != other for one, other in itertools.pairwise([*colours, style.BLUE]))


def test_work_that_is_done_once_is_named_without_overlap():
    figure = cost.operations(table("cost"))
    (named,) = (text for text in figure.axes[0].texts if text.get_text().startswith("from left"))
    once = table("cost").query("student == 'all students'").sort_values("flops")["stage"]
    assert named.get_text() == f"from left: {', '.join(once)}"
    assert "once for all students" in words(figure)


def test_every_cell_of_the_grid_is_drawn_even_without_a_neighbour():
    scores = table("teacher")
    cells = scores[scores["map"] == "fitted"][["lambda", "local_weight", "lr", "sigma", "steps"]].drop_duplicates()
    ax = teacher.grid(scores).axes[0]
    hollow = [line for line in ax.lines if line.get_marker() == "D" and line.get_markerfacecolor() == "white"]
    assert sum(len(line.get_xdata()) for line in hollow) == len(cells)


def test_whose_choices_they_are_begins_a_line_where_it_does_not_fit():
    figure = plt.figure(figsize=(style.DOUBLE, 1))
    assert style.wrapped(figure, "Short", "people") == "Short. Choices: people"
    long = "word " * 20 + "end"
    assert style.wrapped(figure, long, "people of two studies") == f"{long}.\nChoices: people of two studies"
    assert style.wrapped(figure, "", "people") == "Choices: people"
    assert style.wrapped(figure, "One.\nTwo") == "One.\nTwo"


def test_bold_words_print_no_line_about_a_font_that_has_one_weight(caplog):
    style.use()
    wanted = font_manager.FontProperties(family="IPAexGothic", weight="bold", size=7.123)
    assert "IPAexGothic" in font_manager.FontProperties(fname=font_manager.findfont(wanted)).get_name()
    assert "Failed to find font weight" not in caplog.text
