"""Known, new and mixed concepts, named studies, and the rule that a triplet counts once."""

import dataclasses

import inputs
import numpy as np
import pandas as pd
import pytest
import torch

from alignet import config
from alignet.evaluation import human_choices, levels, uncertainty
from alignet.figures import levels as figures
from alignet.worlds.format import regimes
from alignet.worlds.format.tables import TRIPLET, World

PEOPLE = inputs.settings("human_uncertainty", held_out_objects=None)
SETTINGS = config.load("levels", config.Levels, centred=False)
NAMES = [f"h{n}" for n in range(8)] + ["s0"] + [f"t{n}" for n in range(6)]  # of pictures; two of a class follow
HUMAN = [("h0", "h1", "h2"), ("h0", "h2", "h4"), ("h0", "h1", "h3")]  # boundary, coarse, boundary


def rows(*choices, **columns):
    """Choices (three pictures, the odd one, who) as a table, with constant columns."""
    table = pd.DataFrame([[*images, odd, person] for images, odd, person in choices])
    return table.set_axis([*TRIPLET, "odd", "participant"], axis=1).assign(**columns)


def make_world(levels=None, triplets=None):
    """Concepts h0 to h7 are judged, t0 to t5 new; each class holds two concepts that follow each other."""
    splits = ["human"] * 8 + ["synthesis"] + ["test"] * 6
    classes = [f"{name[0]}{int(name[1]) // 2}" for name in NAMES]
    images = pd.DataFrame({"image": NAMES, "concept": NAMES, "class": classes, "split": splits})
    fitted = rows(
        (("h0", "h1", "h2"), 0, "a"), (("h4", "h5", "h6"), 0, "a"), (("h3", "h5", "h7"), 0, "a"), split="train"
    )
    triplets = fitted if triplets is None else pd.concat([fitted, triplets], ignore_index=True)
    return World("tiny", "human", None, ("concept", "class"), images, triplets, levels)


def found(world, people=PEOPLE):
    return {(each.study, each.regime, each.level): each for each in human_choices.choices_by_level(world, people)}


def one_each():
    """Rows of levels.csv of each regime, and of a study."""
    known = rows((("h0", "h2", "h4"), 0, "a"), level="coarse", study="")
    new = rows((("t0", "t1", "t2"), 2, "a"), (("t4", "t2", "t0"), 1, "b"), level="boundary", study="")
    mixed = rows((("t0", "h1", "t2"), 1, "a"), level="coarse", study="")
    study = rows((("h0", "h2", "t4"), 0, "x"), (("t0", "t2", "t4"), 0, "x"), level="coarse", study="s")
    return pd.concat([known, new, mixed, study], ignore_index=True)


def test_triplets_are_of_known_concepts_of_new_ones_or_of_both():
    by_name = found(make_world(one_each()))
    numbers = {key: len(each.triplets) for key, each in by_name.items() if key[2] != "all"}
    assert numbers == {
        ("", "known", "coarse"): 1,
        ("", "new", "boundary"): 2,
        ("", "mixed", "coarse"): 1,
        ("s", "new", "coarse"): 1,
        ("s", "mixed", "coarse"): 1,
        ("s", "all", "coarse"): 2,
    }
    assert ("", "all", "all") not in by_name  # only a study's regimes come together
    assert len(by_name["s", "all", "all"].triplets) == 2


def test_triplets_are_numbered_by_the_scored_pictures():
    world = make_world(one_each())
    shown = world.images["image"].iloc[world.scored_rows().tolist()].to_numpy()
    assert shown.tolist() == ["h0", "h1", "h2", "h4", *(f"t{n}" for n in range(6))]
    assert shown[found(world)["", "mixed", "coarse"].triplets].tolist() == [["h1", "t0", "t2"]]
    assert shown[found(world)["", "known", "coarse"].triplets].tolist() == [["h0", "h2", "h4"]]


def test_test_rows_about_judged_objects_are_known_at_the_level_of_their_classes():
    seen = rows(*((images, 0, "b") for images in HUMAN), split="test")
    by_name = found(make_world(one_each(), seen))
    assert len(by_name["", "known", "boundary"].triplets) == 2
    # ('h0', 'h2', 'h4') stands in levels.csv, too: one triplet with two answers.
    assert by_name["", "known", "coarse"].counts().tolist() == [[2, 0, 0]]
    assert len(by_name["", "known", "all"].triplets) == 3
    assert by_name["", "known", "all"].people == 2
    alone = found(make_world(None, seen))  # without levels.csv
    assert {(regime, level) for _, regime, level in alone} == {
        ("known", name) for name in ("coarse", "boundary", "all")
    }


def test_without_a_class_above_the_concepts_test_rows_have_no_level():
    seen = rows(*((images, 0, "b") for images in HUMAN), split="test")
    flat = dataclasses.replace(make_world(None, seen), hierarchy=("concept",))
    assert list(found(flat)) == [("", "known", "all")]


def test_a_held_out_object_is_new_wherever_its_picture_stands():
    held_out = dataclasses.replace(PEOPLE, held_out_objects=["h0", "h2"])
    by_name = found(make_world(one_each()), held_out)
    assert ("", "known", "coarse") not in by_name
    assert len(by_name["", "mixed", "coarse"].triplets) == 2
    assert len(by_name["s", "new", "coarse"].triplets) == 2


def test_a_world_whose_test_rows_are_held_out_has_new_concepts_alone():
    alone = rows((("h0", "h1", "h2"), 0, "b"), split="test")
    other = rows((("h4", "h5", "h6"), 0, "a"), split="train")
    new = one_each().iloc[1:3]
    world = dataclasses.replace(make_world(new), triplets=pd.concat([alone, other], ignore_index=True))
    assert {(study, regime) for study, regime, _ in found(world)} == {("", "new")}


def answers(one, other):
    """Two triplets of new concepts: `one` people leave out t0 of the first, `other` people t1 of the second."""
    first = [(("t0", "t1", "t2"), 0, f"p{n}") for n in range(one)]
    return rows(*first, *[(("t1", "t3", "t4"), 0, f"p{n}") for n in range(other)], level="coarse", study="")


# Leaves out t0 of the first triplet and t4 of the second.
MODEL = torch.tensor([[0.0, 1.0], [1.0, 0.1], [1.0, 0.0], [1.0, 0.2], [0.0, 1.0], [1.0, 1.0]])


def test_a_triplet_with_199_answers_weighs_as_much_as_one_with_one():
    for one, other in ((1, 1), (199, 1), (1, 199)):
        world = make_world(answers(one, other))
        table = levels.levels(world, {("m", "base", "pooled"): MODEL}, SETTINGS, PEOPLE)
        row = table[table["level"] == "all"].iloc[0]
        assert row["odd_one_out_accuracy"] == 0.5
        assert (row["n_triplets"], row["n_choices"]) == (2, one + other)
        assert row["n_repeated"] == (one > 1) + (other > 1)


def test_the_noise_ceiling_counts_triplets_and_is_none_where_nobody_judged_one_twice():
    unsure = [(("t0", "t1", "t2"), odd, f"p{n}") for n, odd in enumerate([0, 0, 1])]
    sure = [(("t1", "t3", "t4"), 0, f"p{n}") for n in range(199)]
    world = make_world(rows(*unsure, *sure, level="coarse", study=""))
    table = levels.levels(world, {("m", "base", "pooled"): MODEL}, SETTINGS, PEOPLE)
    # Of three people who chose 0, 0, 1 the first two meet a tie of the others (1/2 each), the third nobody: 1/3.
    assert table["noise_ceiling"].tolist() == pytest.approx([(1 / 3 + 1) / 2] * 2)
    once = make_world(answers(1, 1))
    table = levels.levels(once, {("m", "base", "pooled"): MODEL}, SETTINGS, PEOPLE)
    assert table["noise_ceiling"].isna().all()
    assert table["above_ceiling"].isna().all()


def test_the_fitted_sharpness_does_not_depend_on_how_many_people_judged_a_triplet():
    similar = torch.tensor([[1.0, 0.2, 0.1], [0.3, 0.9, 0.2], [0.5, 0.4, 0.8]])
    counts = torch.tensor([[2, 1, 1], [1, 2, 0], [1, 1, 1]])
    many = counts * torch.tensor([[100], [1], [1]])
    once, again = (uncertainty.fitted_sharpness(similar, each) for each in (counts, many))
    assert once == pytest.approx(again, rel=1e-4)
    assert 0.01 < once < 100  # not one of the ends


def test_what_is_centred_does_not_depend_on_which_other_pictures_are_scored():
    world = make_world(one_each())
    features = torch.randn(10, 5, generator=inputs.generator()) + 3
    alone = dataclasses.replace(world, levels=world.levels[regimes_of(world) == "new"].reset_index(drop=True))
    tables = [
        levels.levels(each, {("m", "base", "pooled"): rows}, SETTINGS, PEOPLE)
        for each, rows in ((world, features), (alone, features[4:]))
    ]
    both = [table[(table["regime"] == "new") & (table["study"] == "")]["centred_accuracy"].tolist() for table in tables]
    assert both[0] == both[1]


def regimes_of(world):
    return human_choices.scored_choices(world, PEOPLE).table["regime"].to_numpy()


def test_a_regime_is_that_of_how_many_of_three_concepts_are_known():
    known = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 0, 1], [0, 0, 1]]).bool()
    assert regimes.of_triplets(known).tolist() == ["known", "new", "mixed", "mixed"]


def table_of(**numbers):
    return pd.DataFrame([{"regime": regime, "study": "", "n_triplets": n} for regime, n in numbers.items()])


def test_mixed_triplets_are_drawn_where_there_are_more_of_them_than_new_ones():
    assert regimes.shown(table_of(mixed=5, new=10, known=3)) == ["new", "known"]
    assert regimes.shown(table_of(known=3, mixed=15, new=10)) == ["new", "known", "mixed"]
    assert regimes.shown(table_of(known=3, mixed=1)) == ["known", "mixed"]


def test_the_headline_is_of_new_concepts_and_of_no_study():
    table = pd.concat([table_of(known=3, new=2, mixed=9), table_of(all=7).assign(study="s")], ignore_index=True)
    assert regimes.headline(table)["n_triplets"].tolist() == [2]
    assert regimes.headline(table_of(known=3, mixed=9))["n_triplets"].tolist() == [3]
    assert regimes.studies(table) == ["s"]


def many(world, n, study, seed, pool):
    """n random triplets of a pool of pictures, one answer each."""
    draw = np.random.default_rng(seed)
    shown = [tuple(draw.choice(pool, 3, replace=False)) for _ in range(n)]
    return rows(*((images, int(draw.integers(3)), "p") for images in shown), level="coarse", study=study)


def test_the_figure_has_a_row_of_panels_for_new_and_one_for_known_concepts_and_studies_one_of_their_own():
    human, test = NAMES[:8], NAMES[9:]
    parts = [many(None, 40, "", 0, human), many(None, 19, "", 1, test), many(None, 30, "2025", 2, human + test)]
    world = dataclasses.replace(make_world(pd.concat(parts, ignore_index=True)), judged="photographs")
    features = torch.randn(14, 4, generator=inputs.generator())
    stored = {("m", target, "pooled"): features for target in ("base", "unalignet", "alignet")}
    table = levels.levels(world, stored, SETTINGS, PEOPLE)
    figure = figures.by_abstraction(table)
    drawn = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_ylabel() for ax in drawn] == ["New concepts", "Known concepts"]
    said = figure.legends[0].get_title().get_text().replace("\n", " ")
    assert "human participants, who were shown photographs" in said
    assert "Known concepts: 40 choices of 1 people" in said
    studied = figures.by_study(table)
    assert [ax.get_ylabel() for ax in studied.axes if ax.axison] == ["Study 2025"]
    main = table[table["study"] == ""]
    assert figures.by_study(main).axes[0].texts[0].get_text() == figures.NO_STUDY


def test_fewer_than_ten_triplets_have_a_score_and_no_interval():
    world = make_world(many(None, 9, "", 0, NAMES[9:]))
    table = levels.levels(world, {("m", "base", "pooled"): MODEL}, SETTINGS, PEOPLE)
    assert table["odd_one_out_accuracy"].notna().all()
    assert table[["ci_low", "ci_high"]].isna().all(axis=None)
