import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from alignet import results
from alignet.figures import (
    cost,
    downstream,
    human_uncertainty,
    levels,
    overview,
    reorganisation,
    similarity,
    student,
    style,
    synthesis,
    teacher,
)
from alignet.worlds.format.schema import LEVELS


def levels_table(choices="simulated"):
    rows = [
        {"student": student, "target": target, "representation": "pooled", "level": level, "n_triplets": 90}
        | {"odd_one_out_accuracy": 0.4 + 0.1 * place, "ci_low": 0.38 + 0.1 * place, "ci_high": 0.43 + 0.1 * place}
        | {"noise_ceiling": 0.8, "noise_ceiling_low": 0.78, "noise_ceiling_high": 0.82, "choices": choices}
        | {"n_repeated": 30, "relative_improvement": 12.0 if target == "alignet" else float("nan")}
        | {"relative_improvement_low": 4.0, "relative_improvement_high": 20.0}
        for student in ("lite0", "vit")
        for place, target in enumerate(results.TARGETS)
        for level in (*LEVELS, "all")
    ]
    return pd.DataFrame(rows)


def teacher_table():
    rows = [
        {
            "fold": fold,
            "split": split,
            "level": level,
            "map": name,
            "odd_one_out_accuracy": 0.5 + 0.02 * place,
            "kl": 0.3,
            "ece": 0.1,
        }
        | {"noise_ceiling": 0.7, "n_repeated": 90 if split == "test" else 1, "choices": "simulated"}
        | {"participation_ratio": 9.0, "n_triplets": 120, "ci_low": 0.45, "ci_high": 0.6}
        for fold, split in ((0, "train"), (0, "validation"), (1, "train"), (1, "validation"), ("all", "test"))
        for level in ("judged", "coarse", "boundary", "fine")[: 4 if split == "validation" else 1]
        for place, name in enumerate(("none", "fitted"))
    ]
    return pd.DataFrame(rows)


def layer_table():
    table = pd.DataFrame({"layer": ["blocks.0", "blocks.1"], "depth": [0, 1], "odd_one_out_accuracy": [0.4, 0.5]})
    table = table.assign(ci_low=0.3, ci_high=0.6, read=[False, True], n_triplets=90, choices="simulated")
    return pd.concat([table.assign(backbone=name) for name in ("one", "two")])


def curve_table():
    curve = pd.DataFrame({"step": range(20), "loss": [1 / (step + 1) for step in range(20)]})
    curve["agreement"] = 1 - curve["loss"] / 2
    due = curve["step"] % 5 == 0
    curve = curve.assign(held_out_loss=curve["loss"].where(due), held_out_accuracy=curve["agreement"].where(due))
    return pd.concat([curve.assign(student="vit", target=target) for target in ("alignet", "unalignet")])


def pictures(*shape):
    return torch.randint(256, (*shape, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def labels():
    return pd.DataFrame({"domain": ["a", "a", "b"], "class": ["x", "y", "z"]})


def grid_table():
    cells = [(0.0, 100, False, 0.4), (0.3, 100, True, 0.6), (0.0, 500, False, 0.5)]
    rows = [
        {
            "lambda": weight,
            "lr": 0.001,
            "sigma": 0.05,
            "steps": steps,
            "local_weight": 0.0,
            "chosen": chosen,
            "odd_one_out_accuracy": accuracy,
        }
        | {"map": "fitted", "split": "validation", "level": "judged", "fold": fold, "kl": 1 - accuracy, "ece": 0.1}
        for weight, steps, chosen, accuracy in cells
        for fold in range(2)
    ]
    before = {
        "map": "none",
        "split": "validation",
        "level": "judged",
        "fold": 0,
        "odd_one_out_accuracy": 0.35,
        "kl": 0.9,
        "ece": 0.1,
        "chosen": False,
    }
    return pd.DataFrame([*rows, before])


def soft_label_table():
    rows = [
        {"targets": kind, "n_train": n, "n_used": min(n, 500), "fold": fold, "kl": 0.3, "ece": 0.1}
        | {"odd_one_out_accuracy": 0.5, "n_triplets": 15, "choices": "simulated"}
        for kind in teacher.TARGETS
        for n in (60, 1000)
        for fold in (0, 1)
    ]
    return pd.DataFrame(rows)


def calibration_tables():
    names = [("vice", "all"), ("uniform", "all"), ("vice", "repeated"), ("empirical", "repeated")]
    scores = pd.DataFrame(names, columns=["distribution", "triplets"]).assign(n_triplets=50, choices="simulated")
    for column in ("nll", "accuracy", "noise_ceiling"):
        scores = scores.assign(**{column: 0.5, f"{column}_low": 0.4, f"{column}_high": 0.6})
    bins = pd.DataFrame({"predicted": [0.2, 0.8], "chosen": [0.3, 0.7], "ci_low": [0.1, 0.6], "ci_high": [0.4, 0.9]})
    return scores, pd.concat([bins.assign(distribution=name) for name in ("vice", "empirical")])


DRAWN = {
    "grid": lambda: teacher.grid(grid_table()),
    "soft labels": lambda: teacher.soft_labels(soft_label_table()),
    "calibration": lambda: human_uncertainty.calibration(*calibration_tables()),
    "vice": lambda: human_uncertainty.fit_curve(
        pd.DataFrame({"epoch": [1, 2], "nll": [1.0, 0.5], "complexity": [2.0, 1.0], "dimensions": [9, 5]})
    ),
    "sampled choices": lambda: human_uncertainty.sampled_choices(
        torch.full((2, 5, 3), 1 / 3), [["a", "b", "c"]] * 2, "human"
    ),
    "levels": lambda: levels.by_abstraction(levels_table()),
    "teacher": lambda: teacher.before_and_after(teacher_table()),
    "teacher by level": lambda: teacher.by_level(teacher_table()),
    "teacher layers": lambda: teacher.layers(layer_table()),
    "training": lambda: student.training_curve(curve_table()),
    "sheet": lambda: overview.contact_sheet(pictures(2, 5), ["animals", "food"]),
    "triplets": lambda: overview.triplet_page(pictures(5, 3), {"people": torch.full((5, 3), 1 / 3)}),
    "similarity": lambda: overview.similarity_matrix(torch.eye(3), labels()),
}


@pytest.fixture(autouse=True)
def house_style():
    with plt.rc_context():
        style.use()
        yield
    plt.close("all")


def words(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_one_or_two_columns_wide_and_draws_something(name):
    figure = DRAWN[name]()
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() * 25.4 <= 183.1
    assert any(ax.lines or ax.images or ax.patches for ax in figure.axes)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_saved_twice_gives_the_same_bytes(name, tmp_path):
    for run in ("first", "again"):
        style.save(DRAWN[name](), tmp_path / run / "plot", pd.DataFrame({"x": [1 / 3]}))
    for ending in ("pdf", "svg", "csv"):
        first, again = ((tmp_path / run / f"plot.{ending}").read_bytes() for run in ("first", "again"))
        assert len(first) > 0
        assert first == again
    assert (tmp_path / "first" / "plot.png").stat().st_size > 0
    assert (tmp_path / "first" / "plot.csv").read_text() == "x\n0.333333\n"


def test_a_figure_without_a_table_saves_none(tmp_path):
    style.save(DRAWN["sheet"](), tmp_path / "plot")
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".pdf", ".png", ".svg"]


@pytest.mark.parametrize(
    ("choices", "people"), [("simulated", "SIMULATED participants"), ("human", "human"), ("derived", "DERIVED from")]
)
def test_the_legend_says_whose_choices_they_are(choices, people):
    legend = " ".join(words(levels.by_abstraction(levels_table(choices))))
    assert people in legend
    assert ("SIMULATED" in legend) == (choices == "simulated")
    assert ("DERIVED" in legend) == (choices == "derived")


def test_the_teachers_figure_says_that_its_choices_are_simulated():
    assert "SIMULATED" in " ".join(words(DRAWN["teacher"]()))


def test_a_noise_ceiling_of_too_few_triplets_is_not_drawn():
    dashed = [line for line in DRAWN["teacher"]().axes[0].lines if line.get_linestyle() == "--"]
    assert [list(line.get_ydata()) for line in dashed] == [[0.7, 0.7]]  # the test split's: others have one triplet
    assert "n = 90" in words(DRAWN["teacher"]())


def test_the_grid_fills_the_chosen_cell_only_and_has_a_panel_for_each_factor_that_differs():
    figure = DRAWN["grid"]()
    accuracy, steps = figure.axes[:2]
    assert [ax.get_xlabel() for ax in figure.axes[-2:]] == ["lambda", "steps"]
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["100", "500"]
    assert len([line for line in accuracy.lines if line.get_transform() == accuracy.transAxes]) == 2  # a cut axis
    filled = [line for line in accuracy.lines if line.get_marker() == "D" and line.get_markerfacecolor() == style.BLUE]
    assert [list(line.get_ydata()) for line in filled] == [[pytest.approx(0.6)]]
    assert any(line.get_linestyle() == "--" and list(line.get_ydata()) == [0.35, 0.35] for line in accuracy.lines)
    assert steps.get_ylim() == accuracy.get_ylim()


def test_the_teachers_own_layer_is_filled():
    figure = DRAWN["teacher layers"]()
    filled = matplotlib.colors.to_rgba(style.BLUE)
    for ax, name in zip(figure.axes, ("one", "two"), strict=True):
        assert ax.get_title() == f"{name}, n = 90 triplets"
        assert [tuple(face) == filled for face in ax.collections[-1].get_facecolors()] == [False, True]


def test_the_teacher_without_drawn_triplets_says_so():
    assert "No triplets were sampled by level" in " ".join(
        words(teacher.by_level(teacher_table().query("level == 'judged'")))
    )


def test_the_grid_shows_the_mean_over_levels_where_triplets_were_drawn():
    judged = grid_table()
    drawn = [
        judged.assign(level=level, odd_one_out_accuracy=score) for level, score in (("coarse", 0.2), ("fine", 0.4))
    ]
    assert set(marks(teacher.grid(pd.concat([judged, *drawn])).axes[0], "alignet", "y")) == {0.3}


def test_targets_are_compared_at_the_triplets_that_were_used():
    ax = DRAWN["soft labels"]().axes[0]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["60", "500"]


def test_calibration_shows_the_ceiling_the_chance_line_and_whose_choices_they_are():
    figure = DRAWN["calibration"]()
    assert any("SIMULATED" in text for text in words(figure))
    assert any(list(line.get_ydata()) == [1 / 3, 1 / 3] for line in figure.axes[2].lines)
    assert figure.axes[2].patches


def test_sampled_choices_are_a_dot_a_sample_and_their_mean_in_numbers():
    samples = torch.tensor([[[0.5, 0.3, 0.2], [0.7, 0.1, 0.2]]])
    figure = human_uncertainty.sampled_choices(samples, [["a log", "a phone", "scissors"]], "simulated")
    (ax,) = figure.axes
    dots = [line for line in ax.lines if line.get_marker() == "."]
    assert [list(line.get_ydata()) for line in dots] == [pytest.approx(column) for column in samples[0].T.tolist()]
    assert [text.get_text() for text in ax.texts] == ["0.60", "0.20", "0.20"]
    assert any("SIMULATED" in text for text in words(figure))


def test_levels_are_panels_with_points_at_their_accuracies_a_row_for_people_and_a_chance_line():
    figure = levels.by_abstraction(levels_table())
    assert len(figure.axes) == len(LEVELS)
    for ax, level in zip(figure.axes, LEVELS, strict=True):
        assert ax.get_title() == f"{level.capitalize()}, n = 90 triplets"
        assert [marks(ax, target) for target in results.TARGETS] == [[0.4, 0.4], [0.5, 0.5], [0.6, 0.6]]
        assert [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "*"] == [[0.8]]
        assert upright_at(ax, 1 / 3)
        assert [text.get_text() for text in ax.texts].count("+12 %") == 2
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["people", "lite0", "vit"]


def test_levels_carry_an_example_triplet_with_its_odd_one_framed():
    examples = {level: (pictures(3), odd) for odd, level in enumerate(LEVELS)}
    figure = levels.by_abstraction(levels_table(), examples=examples)
    above = figure.axes[: len(LEVELS)]
    assert [ax.patches[0].get_x() for ax in above] == [0, 8, 16]
    assert all(ax.images for ax in above)


def test_a_target_that_was_not_run_is_left_out():
    table = levels_table()
    figure = levels.by_abstraction(table[table["target"] != "unalignet"])
    assert [len(marks(figure.axes[0], target)) for target in results.TARGETS] == [2, 0, 2]


def test_the_likeliest_odd_one_out_is_bold():
    figure = overview.triplet_page(pictures(1, 3), {"people": torch.tensor([[0.2, 0.7, 0.1]])})
    weight = {text.get_text(): text.get_weight() for text in figure.axes[0].texts}
    assert weight == {"0.20": "normal", "0.70": "bold", "0.10": "normal"}


def test_of_choices_that_tie_none_is_bold():
    figure = overview.triplet_page(pictures(1, 3), {"people": torch.tensor([[0.4, 0.4, 0.2]])})
    assert {text.get_weight() for text in figure.axes[0].texts} == {"normal"}


def test_a_similarity_matrix_has_a_line_between_the_coarsest_labels():
    ax = overview.similarity_matrix(torch.eye(3), labels()).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[1.5, 1.5], [0, 1]]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["x", "y", "z"]


def test_the_training_curve_shows_each_run_thin_and_its_running_mean():
    figure = student.training_curve(curve_table(), window=2)
    assert figure.axes[1].get_ylim() == (0, 1)
    thin, smooth = figure.axes[0].lines[:2]
    assert thin.get_ydata()[:3].tolist() == pytest.approx([1, 1 / 2, 1 / 3])
    assert smooth.get_ydata()[:3].tolist() == pytest.approx([1, 3 / 4, 5 / 12])
    held_out = figure.axes[1].lines[2]
    assert (held_out.get_marker(), held_out.get_ydata()[5]) == ("s", pytest.approx(1 - 1 / 6 / 2))


def scheme_tables():
    schemes = ["random", "cluster_border"]
    rows = [
        {"scheme": scheme, "labels": labels, "entropy": 0.1 * n}
        for scheme in schemes
        for labels in ("alignet", "unalignet")
        for n in range(10)
    ]
    shares = {"agreement": [0.5, 0.7], "ci_low": [0.45, 0.6], "ci_high": [0.55, 0.8]}
    return pd.DataFrame(rows), pd.DataFrame({"scheme": schemes, **shares})


def test_the_elbow_fills_the_chosen_number_and_shows_every_cluster():
    table = pd.DataFrame({"clusters": [2, 4, 8], "inertia_share": [0.9, 0.7, 0.5], "chosen": [False, True, False]})
    figure = synthesis.elbow(table, np.array([5, 9, 1, 3]))
    filled = [not np.allclose(colour, 1) for colour in figure.axes[0].collections[0].get_facecolors()]
    assert filled == [False, True, False]
    assert [bar.get_height() for bar in figure.axes[1].patches] == [9, 5, 3, 1]


def test_the_cluster_page_shows_a_titled_strip_per_cluster():
    figure = synthesis.cluster_page(torch.zeros(5, 3, 3, 8, 8, dtype=torch.uint8), list("abcde"))
    titled = [ax.get_title(loc="left") for ax in figure.axes if ax.images]
    assert sorted(titled) == list("abcde")


def test_the_schemes_show_chance_and_each_share():
    figure = synthesis.labels_by_scheme(*scheme_tables())
    left, right = figure.axes
    assert [label.get_text().replace("\n", "_") for label in left.get_xticklabels()] == ["random", "cluster_border"]
    assert any(line.get_ydata()[0] == pytest.approx(1 / 3) for line in right.lines)
    assert right.lines[0].get_ydata().tolist() == [0.5, 0.7]


def test_labels_without_a_signal_are_crossed_out_in_red():
    table = scheme_tables()[1].assign(witness="lite0", n=90, threshold=0.6, warning=["NO SIGNAL: below", ""])
    ax = synthesis.signal(table).axes[0]
    assert [text.get_text() for text in ax.texts].count("NO SIGNAL") == 1
    assert [line.get_marker() for line in ax.lines if line.get_marker() in ("X", "o")] == ["X", "o"]


def test_easy_and_hard_triplets_carry_a_line_of_probabilities_per_target():
    labels = {name: torch.tensor([[0.2, 0.5, 0.3]]).repeat(6, 1) for name in ("alignet", "unalignet")}
    figure = overview.triplet_page(torch.zeros(6, 3, 3, 8, 8, dtype=torch.uint8), labels)
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert texts.count("0.50") == 12
    assert [text.get_text() for text in figure.texts] == [results.NAMES["alignet"], results.NAMES["unalignet"]]


def test_alignments_cost_shows_its_share_of_pretraining_and_says_where_there_was_none():
    rows = [("a", "alignment", 1e12, 0.001), ("a", "pretraining", 1e15, 1.0), ("b", "alignment", 1e11, float("nan"))]
    costs = pd.DataFrame(rows, columns=["student", "stage", "flops", "ratio_to_pretraining"])
    ax = cost.operations(costs).axes[0]
    assert [text.get_text() for text in ax.texts] == ["0.001", "no published pre-training"]
    assert ax.get_xscale() == "log"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def uncertainty_table():
    rows = [
        {"student": student, "target": target, "level": level, "against": against, "spearman": 0.1 * place}
        | {"ci_low": 0.1 * place - 0.05, "ci_high": 0.1 * place + 0.05, "n": 90, "choices": "simulated"}
        | {"noise_ceiling": 0.6, "noise_ceiling_low": 0.5, "noise_ceiling_high": 0.7}
        for student in ("lite0", "vit")
        for place, target in enumerate(results.TARGETS)
        for level in LEVELS
        for against in ("response_entropy", "response_time")
    ]
    return pd.DataFrame(rows)


def similarity_table():
    rows = [
        {"student": "vit", "target": target, "benchmark": name, "metric": metric, "value": 0.4, "ci_low": 0.35}
        | {"ci_high": 0.47, "noise_ceiling": 0.6, "noise_ceiling_low": 0.6, "noise_ceiling_high": 0.8, "n": 40}
        | {"choices": "simulated", "note": ""}
        for target in results.TARGETS
        for name, metric in (("held-out triplets", "odd_one_out_accuracy"), ("ratings.csv", "rsa_spearman"))
    ]
    absent = {"benchmark": "square", "metric": "rsa_spearman", "note": "names too few", "choices": "simulated", "n": 0}
    return pd.DataFrame([*rows, absent])


def lines_at(ax, height):
    return [line for line in ax.lines if list(line.get_ydata()) == [height, height]]


def upright_at(ax, value):
    return [line for line in ax.lines if list(line.get_xdata()) == [value, value] and line.get_linestyle() == ":"]


def marks(ax, target, way="x"):
    """What a target's points stand at."""
    drawn = [line for line in ax.lines if line.get_marker() == style.MARKERS[target]]
    return [round(float(value), 6) for line in drawn for value in getattr(line, f"get_{way}data")()]


def test_uncertainty_marks_zero_and_people():
    unsure = levels.uncertainty(uncertainty_table())
    assert len(unsure.axes) == 2 * len(LEVELS)
    assert all(upright_at(ax, 0) for ax in unsure.axes)
    assert all([0.6] in [list(line.get_xdata()) for line in ax.lines] for ax in unsure.axes)
    assert "SIMULATED" in " ".join(words(unsure))


def test_times_that_a_world_lacks_have_no_panels():
    table = uncertainty_table()
    table.loc[table["against"] == "response_time", "n"] = 0
    assert len(levels.uncertainty(table).axes) == len(LEVELS)


def test_reliability_draws_how_far_shares_lie_from_the_models_probabilities():
    rows = [
        {
            "student": "vit",
            "target": target,
            "bin": k,
            "predicted": p,
            "chosen": p + 0.02,
            "ci_low": p,
            "ci_high": p + 0.04,
        }
        for target in results.TARGETS
        for k, p in ((3, 0.35), (1, 0.15))
    ]
    few = pd.DataFrame(rows).assign(choices="simulated", n=29)
    certain = pd.DataFrame(rows).assign(choices="simulated", n=30, ci_low=0.0, ci_high=0.0)  # all of one bin alike
    for table in (few, certain):
        assert "No figure" in levels.reliability(table).axes[0].texts[0].get_text()
    (ax,) = levels.reliability(pd.DataFrame(rows).assign(choices="simulated", n=30)).axes
    assert lines_at(ax, 0)
    for number, target in enumerate(results.TARGETS):
        shift = 0.008 * (number - 1)
        assert marks(ax, target) == pytest.approx([0.15 + shift, 0.35 + shift])
        assert marks(ax, target, "y") == pytest.approx([0.02, 0.02])


def test_similarity_scores_show_chance_or_zero_and_name_what_is_absent():
    figure = similarity.scores(similarity_table())
    accuracy, rsa = figure.axes
    assert upright_at(accuracy, 1 / 3)
    assert upright_at(rsa, 0)
    assert marks(rsa, "alignet") == [0.4]
    assert "square: names too few" in figure.get_suptitle()
    nothing = similarity.scores(similarity_table().assign(ci_low=float("nan")))
    assert "No figure" in nothing.axes[0].texts[0].get_text()


def test_dissimilarities_are_ranked_in_a_panel_a_target():
    matrix = torch.tensor([[0.0, 1.0, 4.0], [1.0, 0.0, 9.0], [4.0, 9.0, 0.0]])
    names = pd.DataFrame({"concept": ["x", "y", "z"], "domain": ["a", "a", "b"]})
    figure = similarity.rdms({("vit", target): matrix for target in results.TARGETS}, names)
    panels = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in panels] == [f"vit, {results.NAMES[target]}" for target in results.TARGETS]
    drawn = panels[0].images[0].get_array()
    assert drawn[0, 1] < drawn[0, 2] < drawn[1, 2]
    assert [text.get_text() for text in panels[0].texts] == ["a", "b"]


def test_the_page_for_raters_numbers_pairs_and_names_no_model():
    figure = similarity.rating_page(pictures(3, 2), [1, 2, 3])
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.images]
    assert titles == ["1", "2", "3"]
    assert not any("Net" in word for word in words(figure))
    assert "No pairs" in similarity.rating_page(pictures(0, 2), []).axes[0].texts[0].get_text()


def test_disagreements_show_each_way_with_its_sign_and_rating():
    rows = [("vit", "alignet", "bird", 1.5, 4.25), ("vit", "unalignet", "fish", -2.0, float("nan"))]
    pairs = pd.DataFrame(rows, columns=["student", "closer_in", "class", "difference", "rating"])
    pairs = pairs.assign(choices="simulated")
    figure = similarity.disagreements(pairs, pictures(2, 2))
    titles = [ax.get_title() for ax in figure.axes if ax.images]
    assert titles == ["bird\nz -1.5, rated 4.2", "fish\nz +2.0"]
    assert "No figure" in similarity.disagreements(pairs[:0], pictures(0, 2)).axes[0].texts[0].get_text()


RELATIONS = ["same concept", "same class", "unrelated"]


def reorganisation_table():
    bounds = {"ci_low": -0.3, "ci_high": 0.3, "effect_size_low": -0.2, "effect_size_high": 0.2}
    bounds |= {"rsa": 0.2, "rsa_low": 0.1, "rsa_high": 0.3, "choices": "simulated"}
    rows = [
        {"student": name, "target": target, "layer": layer, "depth": depth, "relation": relation, **bounds}
        | {"change": 0.1 * place - 0.1, "effect_size": 0.1 if place else float("nan")}
        for name in ("lite0", "vit")
        for place, target in enumerate(results.TARGETS)
        for depth, layer in enumerate(("blocks.0", "pooled"))
        for relation in RELATIONS
    ]
    return pd.DataFrame(rows)


def downstream_table(lead=(-0.1, 0.1)):
    tasks = [(f"few-shot {label}", shots, kind) for label in ("class", "domain") for shots in (1, 5) for kind in BOTH]
    tasks += [("linear probe class", float("nan"), "logistic")]
    rows = [
        {"student": name, "target": target, "dataset": "emoji", "protocol": protocol, "shots": shots}
        | {"classifier": classifier, "accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6, "chance": 0.25, "classes": 4}
        | dict.fromkeys(("relative_improvement", "relative_improvement_low", "relative_improvement_high"), 5.0 * place)
        | {"over_control": sum(lead) / 2 if target == "alignet" else float("nan"), "choices": "simulated", "note": ""}
        | {"over_control_low": lead[0], "over_control_high": lead[1]}
        for name in ("lite0", "vit")
        for place, target in enumerate(results.TARGETS)
        for protocol, shots, classifier in tasks
    ]
    return pd.DataFrame([*rows, {"dataset": "DTD", "protocol": "all", "note": "skipped: no folder dtd"}])


BOTH = ["centroid", "logistic"]


def cka_table():
    layers = ["blocks.0", "pooled"]
    pairs = [(target, layer, base) for target in results.TARGETS for layer in layers for base in layers]
    table = pd.DataFrame(pairs, columns=["target", "layer", "base_layer"]).assign(choices="simulated")
    return table.assign(student="lite0", cka=np.where(table["layer"] == table["base_layer"], 1.0, 0.25))


def map_table():
    places = pd.DataFrame({"x": [0.0, 1.0, 2.0], "y": [0.0, 1.0, 0.0], "domain": ["food", "made", "food"]})
    kinds = [(target, method) for target in results.TARGETS for method in ("PCA", "UMAP")]
    names = {"student": "lite0", "choices": "simulated"}
    return pd.concat([places.assign(target=target, method=method, **names) for target, method in kinds])


def neighbour_table():
    rows = [
        {"student": "lite0", "target": target, "example": example, "rank": rank, "relation": RELATIONS[rank]}
        for target in results.TARGETS
        for example in ("a", "b")
        for rank in range(3)
    ]
    return pd.DataFrame(rows).assign(choices="simulated")


INSIDE = {
    "by_common_level": lambda: reorganisation.by_common_level(reorganisation_table()),
    "by_layer": lambda: reorganisation.by_layer(reorganisation_table()),
    "cka": lambda: reorganisation.layer_alignment(cka_table()),
    "maps": lambda: reorganisation.before_and_after(map_table(), "domain", "lite0"),
    "neighbours": lambda: reorganisation.neighbour_page(
        neighbour_table(), pictures(18), "lite0", reorganisation_table()
    ),
    "shots": lambda: downstream.by_shots(downstream_table()),
    "summary": lambda: downstream.summary(downstream_table(), "lite0"),
    "over control": lambda: downstream.over_control(downstream_table()),
}


@pytest.mark.parametrize("name", INSIDE)
def test_figures_of_what_changes_fit_a_column_and_say_that_choices_are_simulated(name):
    figure = INSIDE[name]()
    assert figure.get_figwidth() * 25.4 <= 183.1
    legends = [text.get_text() for legend in figure.legends for text in legend.findobj(matplotlib.text.Text)]
    assert any("SIMULATED" in text for text in legends)


@pytest.mark.parametrize("name", INSIDE)
def test_nothing_of_such_a_figure_lies_outside_it(name):
    figure = INSIDE[name]()
    figure.canvas.draw()
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.x0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1


def test_the_change_of_distance_has_a_line_at_none_and_the_base_on_it():
    figure = reorganisation.by_common_level(reorganisation_table().replace({"change": {-0.1: 0.0}}))
    ax = figure.axes[0]
    assert any(set(line.get_ydata()) == {0} and line.get_linestyle() == ":" for line in ax.lines)
    hollow = [line for line in ax.lines if line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in hollow] == [[0, 0, 0]]
    assert [tick.get_text().replace("\n", " ") for tick in figure.axes[2].get_xticklabels()] == RELATIONS


def test_cka_is_a_square_for_control_and_aligned_with_its_diagonal_written_in():
    figure = INSIDE["cka"]()
    squares = [ax for ax in figure.axes if ax.images and ax.texts]
    assert len(squares) == 2
    assert [text.get_text() for text in squares[0].texts] == ["1.00", "1.00"]
    assert squares[0].images[0].get_array().tolist() == [[1, 0.25], [0.25, 1]]


def test_maps_of_all_targets_have_the_same_colours():
    figure = INSIDE["maps"]()
    colours = [ax.collections[0].get_facecolors().tolist() for ax in figure.axes]
    assert len(colours) == 6
    assert all(colour == colours[0] for colour in colours)
    assert colours[0][0] == colours[0][2] != colours[0][1]


def test_neighbours_stand_once_each_and_an_example_once_in_its_row():
    figure = INSIDE["neighbours"]()
    assert sum(bool(ax.images) for ax in figure.axes) == 2 * (1 + 3 * 2)


def test_shots_have_a_chance_line_in_every_panel_and_skipped_data_sets_are_listed():
    figure = INSIDE["shots"]()
    assert [ax.get_title() for ax in figure.axes[:2]] == ["lite0, class, 4 classes", "lite0, domain, 4 classes"]
    assert all(any(list(line.get_ydata()) == [0.25, 0.25] for line in ax.lines) for ax in figure.axes)
    assert downstream.skipped(downstream_table()).values.tolist() == [["DTD", "skipped: no folder dtd"]]


def test_a_world_without_few_shot_tasks_gets_a_figure_that_says_so():
    table = downstream_table()
    nothing = table[table["dataset"] == "DTD"]
    assert "No figure: the world has no few-shot task" in words(downstream.by_shots(nothing))
    assert "No figure: there is no control" in words(downstream.over_control(nothing))
    assert "No figure: lite0 has no downstream task with data" in words(downstream.summary(nothing, "lite0"))


def test_error_bars_of_what_has_no_spread_do_not_fall_below_zero():
    low = 1 - 1e-16 * 3
    assert style.ends(low, 1.0, 1.0).tolist() == [[0.0], [pytest.approx(1 - low)]]
    columns = pd.DataFrame({"value": [0.5, 0.6], "low": [0.4, 0.6], "high": [0.7, 0.6]})
    found = style.ends(columns["value"], columns["low"], columns["high"])
    assert found.tolist() == [pytest.approx([0.1, 0]), pytest.approx([0.2, 0])]


def test_labels_in_other_letters_are_drawn_as_letters(recwarn):
    ax = overview.similarity_matrix(
        torch.eye(3), pd.DataFrame({"domain": ["犬", "犬", "ネコ"], "class": ["x", "y", "z"]})
    )
    ax.canvas.draw()
    assert not [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message)]


def test_without_a_row_at_any_level_a_line_says_so():
    table = levels_table()
    figure = levels.by_abstraction(table[table["level"] == "all"])
    assert levels.NO_LEVELS in [text.get_text() for ax in figure.axes for text in ax.texts]
