import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from alignet import figures
from alignet.worlds.tables import LEVELS


def levels_table(choices="simulated"):
    rows = [
        {"student": student, "target": target, "representation": "pooled", "level": level, "n_triplets": 90}
        | {"odd_one_out_accuracy": 0.4 + 0.1 * place, "ci_low": 0.38 + 0.1 * place, "ci_high": 0.43 + 0.1 * place}
        | {"noise_ceiling": 0.8, "noise_ceiling_low": 0.78, "noise_ceiling_high": 0.82, "choices": choices}
        for student in ("lite0", "vit")
        for place, target in enumerate(figures.TARGETS)
        for level in (*LEVELS, "all")
    ]
    return pd.DataFrame(rows)


def teacher_table():
    rows = [
        {"fold": fold, "split": split, "map": name, "odd_one_out_accuracy": 0.5 + 0.02 * place, "kl": 0.3, "ece": 0.1}
        | {"noise_ceiling": 0.7 if split == "test" else float("nan"), "choices": "simulated"}
        for fold, split in ((0, "train"), (0, "validation"), (1, "train"), (1, "validation"), ("all", "test"))
        for place, name in enumerate(("none", "fitted"))
    ]
    return pd.DataFrame(rows)


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


DRAWN = {
    "levels": lambda: figures.levels_by_abstraction(levels_table()),
    "teacher": lambda: figures.teacher_before_and_after(teacher_table()),
    "training": lambda: figures.training_curve(curve_table()),
    "sheet": lambda: figures.contact_sheet(pictures(2, 5), ["animals", "food"]),
    "triplets": lambda: figures.triplet_page(pictures(5, 3), torch.full((5, 3), 1 / 3)),
    "similarity": lambda: figures.similarity_matrix(torch.eye(3), labels()),
}


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        figures.use_style()
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


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_saved_twice_gives_the_same_bytes(name, tmp_path):
    for run in ("first", "again"):
        figures.save(DRAWN[name](), tmp_path / run / "plot", pd.DataFrame({"x": [1 / 3]}))
    for ending in ("pdf", "svg", "csv"):
        first, again = ((tmp_path / run / f"plot.{ending}").read_bytes() for run in ("first", "again"))
        assert len(first) > 0
        assert first == again
    assert (tmp_path / "first" / "plot.png").stat().st_size > 0
    assert (tmp_path / "first" / "plot.csv").read_text() == "x\n0.333333\n"


def test_a_figure_without_a_table_saves_none(tmp_path):
    figures.save(DRAWN["sheet"](), tmp_path / "plot")
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".pdf", ".png", ".svg"]


@pytest.mark.parametrize(("choices", "people"), [("simulated", "SIMULATED participants"), ("human", "human")])
def test_the_legend_says_whose_choices_they_are(choices, people):
    legend = " ".join(words(figures.levels_by_abstraction(levels_table(choices))))
    assert people in legend
    assert ("SIMULATED" in legend) == (choices == "simulated")


def test_the_teachers_figure_says_that_its_choices_are_simulated():
    assert "SIMULATED" in " ".join(words(DRAWN["teacher"]()))


def test_levels_are_panels_with_points_at_their_accuracies_and_a_chance_line():
    figure = figures.levels_by_abstraction(levels_table())
    assert len(figure.axes) == len(LEVELS)
    for ax, level in zip(figure.axes, LEVELS, strict=True):
        assert ax.get_title() == f"{level.capitalize()}, n = 90 triplets"
        points = sorted(line.get_ydata()[0] for line in ax.lines if line.get_marker() == "o")
        assert points == pytest.approx([0.4, 0.4, 0.5, 0.5, 0.6, 0.6])
        assert any(list(line.get_ydata()) == [1 / 3, 1 / 3] for line in ax.lines)


def test_a_target_that_was_not_run_is_left_out():
    table = levels_table()
    figure = figures.levels_by_abstraction(table[table["target"] != "unalignet"])
    assert sum(line.get_marker() == "o" for line in figure.axes[0].lines) == 4


def test_the_likeliest_odd_one_out_is_bold():
    figure = figures.triplet_page(pictures(1, 3), torch.tensor([[0.2, 0.7, 0.1]]))
    weight = {text.get_text(): text.get_weight() for text in figure.axes[0].texts}
    assert weight == {"0.20": "normal", "0.70": "bold", "0.10": "normal"}


def test_a_similarity_matrix_has_a_line_between_the_coarsest_labels():
    ax = figures.similarity_matrix(torch.eye(3), labels()).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[1.5, 1.5], [0, 1]]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["x", "y", "z"]


def test_the_training_curve_shows_each_run_thin_and_its_running_mean():
    figure = figures.training_curve(curve_table(), window=2)
    thin, smooth = figure.axes[0].lines[:2]
    assert thin.get_ydata()[:3].tolist() == pytest.approx([1, 1 / 2, 1 / 3])
    assert smooth.get_ydata()[:3].tolist() == pytest.approx([1, 3 / 4, 5 / 12])
    held_out = figure.axes[1].lines[2]
    assert (held_out.get_marker(), held_out.get_ydata()[5]) == ("o", pytest.approx(1 - 1 / 6 / 2))
