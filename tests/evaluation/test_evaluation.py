import dataclasses

import inputs
import numpy as np
import pandas as pd
import pytest
import torch

from alignet import config, results
from alignet.evaluation import human_choices, levels, representations, teachers, uncertainty
from alignet.figures import levels as drawn_levels
from alignet.maths import choices, metrics
from alignet.models.features import label_similarity, save_features
from alignet.teacher.affine_map import AffineMap
from alignet.worlds import check
from alignet.worlds.format.schema import LEVELS
from alignet.worlds.format.tables import TRIPLET, World

SETTINGS = config.load("levels", config.Levels, centred=False)
PEOPLE = inputs.settings("human_uncertainty")
COLUMNS = {
    *("student", "target", "representation", "level", "odd_one_out_accuracy", "ci_low", "ci_high"),
    *("noise_ceiling", "noise_ceiling_low", "noise_ceiling_high", "relative_improvement", "n_triplets", "choices"),
}
# Pictures 0 and 1 are of the human split; the rest, of the test split, lie in two groups.
GROUP = [0, 0, 0, 0, 0, 1, 1, 1]
PERFECT = torch.tensor([[1.0, 0.1 * n, 0.0] if not group else [0.0, 0.1 * n, 1.0] for n, group in enumerate(GROUP[2:])])
CONSTANT = torch.ones(6, 3)


def judged(level, rows):
    """Three people each: (images, their odd ones out)."""
    return [
        [*(f"i{image}" for image in images), odd, person, level]
        for images, odds in rows
        for person, odd in enumerate(odds)
    ]


def make_world(rows):
    split = ["human"] * 2 + ["test"] * 6
    names = [f"i{n}" for n in range(8)]
    images = pd.DataFrame({"image": names, "concept": names, "split": split, "class": GROUP, "domain": 0})
    levels = pd.DataFrame(rows, columns=[*TRIPLET, "odd", "participant", "level"])
    return World(
        "tiny", "simulated", None, ("concept", "class", "domain"), images, levels.drop(columns="level"), levels
    )


@pytest.fixture
def world():
    """At every level people unanimously leave out the picture that is alone in its group."""
    rows = [row for level in LEVELS for row in judged(level, [((2, 3, 5), (2, 2, 2)), ((6, 4, 7), (1, 1, 1))])]
    return make_world(rows)


def test_a_perfect_model_agrees_wholly_and_a_constant_one_never(world):
    table = levels.levels(
        world, {("m", "base", "pooled"): PERFECT, ("c", "base", "pooled"): CONSTANT}, SETTINGS, PEOPLE
    )
    assert set(table.columns) >= COLUMNS
    assert len(table) == 2 * 4
    scores = table.set_index(["student", "level"])
    assert scores.loc["m", "odd_one_out_accuracy"].tolist() == [1] * 4
    assert scores.loc["c", "odd_one_out_accuracy"].tolist() == [0] * 4
    assert scores.loc["m", "noise_ceiling"].tolist() == [1] * 4
    assert scores.loc["m", "n_triplets"].to_dict() == {"coarse": 2, "boundary": 2, "fine": 2, "all": 2}
    assert set(table["choices"]) == {"simulated"}


def test_accuracy_ceiling_and_improvement_are_those_by_hand():
    # One unanimous triplet and one on which two of three chose as the perfect model does.
    rows = [row for level in LEVELS for row in judged(level, [((2, 3, 5), (2, 2, 2)), ((4, 6, 7), (0, 0, 1))])]
    half = PERFECT.clone()
    half[[2, 4]] = half[[4, 2]]  # wrong about the second triplet: it leaves out picture 6, as one of three did
    found = {("m", "base", "pooled"): half, ("m", "alignet", "pooled"): PERFECT, ("m", "alignet", "head"): half}
    table = levels.levels(make_world(rows), found, SETTINGS, PEOPLE)
    scores = table[table["level"] == "fine"].set_index(["target", "representation"])
    assert scores["odd_one_out_accuracy"].tolist() == pytest.approx([4 / 6, 5 / 6, 4 / 6])
    assert scores["relative_improvement"].tolist() == pytest.approx([0, 25, 0])
    # The third person never agrees; each of the two meets a tie of the other two: 1/2.
    assert scores["noise_ceiling"].tolist() == pytest.approx([(3 + 0.5 + 0.5 + 0) / 6] * 3)
    assert scores[["ci_low", "ci_high"]].isna().all(axis=None)  # of two triplets


def test_the_teacher_is_scored_by_the_dot_products_that_its_labels_come_from(world):
    longer = PERFECT * torch.tensor([1.0, 1.0, 30.0, 1.0, 1.0, 1.0])[:, None]  # picture 4 is nearer to 7 by its length
    found = {("s", target, "pooled"): PERFECT for target in results.TARGETS}
    found |= {(results.TEACHER, results.TEACHER_BEFORE, "pooled"): longer}
    found |= {(results.TEACHER, results.TEACHER, "pooled"): PERFECT}
    table = levels.levels(world, found, SETTINGS, PEOPLE)
    of_teacher = table[table["student"] == results.TEACHER]
    assert of_teacher["over_base"].isna().all()
    assert set(of_teacher["target"]) == {results.TEACHER_BEFORE, results.TEACHER}
    by_dot = choices.odd_one_out(choices.row_pair_similarities(longer, torch.tensor([[4, 2, 5]]))).tolist()
    unit = torch.nn.functional.normalize(longer, dim=1)
    by_cosine = choices.odd_one_out(choices.row_pair_similarities(unit, torch.tensor([[4, 2, 5]]))).tolist()
    assert by_dot != by_cosine
    before = of_teacher[of_teacher["target"] == results.TEACHER_BEFORE].set_index("level")
    assert before.loc["fine", "odd_one_out_accuracy"] == 0.5  # the cosine would give 1
    assert table.loc[table["target"] == results.ALIGNED, "kept"].isna().all()  # of no gain there is no share


def test_what_a_student_keeps_of_its_teachers_gain_stands_in_its_own_row():
    world, known = simulated(n=400, people=3)
    noise = torch.nn.functional.normalize(torch.randn(60, 4, generator=inputs.generator(1)).double(), dim=1)
    seen = {results.BASE: 2 * noise, results.CONTROL: 2 * noise + known, results.ALIGNED: noise + known}
    found = {("s", target, "pooled"): x for target, x in seen.items()}
    names = {results.TEACHER_BEFORE: 2 * noise + known, results.TEACHER: known}
    found |= {(results.TEACHER, name, "pooled"): x for name, x in names.items()}
    table = levels.levels(world, found, SETTINGS, PEOPLE).set_index(["target", "level"])
    row, of = table.loc[results.ALIGNED, "coarse"], table["odd_one_out_accuracy"].xs("coarse", level="level")
    gain = of[results.TEACHER] - of[results.TEACHER_BEFORE]
    assert row["kept"] == pytest.approx((of[results.ALIGNED] - of[results.CONTROL]) / gain)
    assert row["kept_low"] < row["kept"] < row["kept_high"]
    assert table.loc[table.index.get_level_values("target") != results.ALIGNED, "kept"].isna().all()


def test_the_teachers_representations_are_those_of_its_stored_features(world, tmp_path):
    features = torch.randn(8, 3, generator=inputs.generator())
    save_features(tmp_path / "features" / "a", features, world.images["image"])
    assert teachers.representations(tmp_path, world, ["a"], "all") == {}
    affine = AffineMap(torch.eye(3)[:2] * 2, torch.ones(2), features.mean(0), torch.tensor(1.0))
    affine.save(tmp_path / "teacher", inputs.settings("teacher"))
    found = teachers.representations(tmp_path, world, ["a"], "all")
    rows = world.scored_rows()
    assert torch.equal(found[results.TEACHER, results.TEACHER, "pooled"], affine(features[rows]))
    assert torch.equal(found[results.TEACHER, results.TEACHER_BEFORE, "pooled"], (features - features.mean(0))[rows])


def test_centring_undoes_a_common_offset_that_spoils_the_cosine(world):
    moved = {("m", "base", "pooled"): PERFECT + 1000 * torch.tensor([1.0, -1.0, 0.5])}
    plain = {("m", "base", "pooled"): PERFECT}
    centred = config.load("levels", config.Levels, centred=True)
    tables = [levels.levels(world, found, centred, PEOPLE) for found in (moved, plain)]
    assert tables[0]["odd_one_out_accuracy"].tolist() == tables[1]["odd_one_out_accuracy"].tolist() == [1] * 4


def test_noise_ceilings_are_given_for_each_kind_of_triplet(world):
    table = check.noise_ceilings_by_table(world).set_index("table")
    assert list(table.index) == ["triplets.csv", *(f"levels.csv, {level}" for level in LEVELS)]
    assert table["triplets"].tolist() == [2, 2, 2, 2]
    assert table["choices"].tolist() == [18, 6, 6, 6]
    assert table["noise_ceiling"].tolist() == [1] * 4
    assert set(table["people"]) == {"simulated"}


def test_unit_vectors_have_length_one_and_centred_ones_do_not_see_an_offset():
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(metrics.unit_vectors(rows, False).norm(dim=1), torch.ones(6).double())
    torch.testing.assert_close(metrics.unit_vectors(rows + 3, True), metrics.unit_vectors(rows, True))
    assert not torch.allclose(metrics.unit_vectors(rows + 3, False), metrics.unit_vectors(rows, False))


def test_label_similarity_of_two_opposite_groups_is_minus_one(world):
    features = torch.tensor([[1.0, 0.0] if group else [0.0, 1.0] for group in GROUP])
    features[1] = torch.nan  # a picture that was not asked for
    similarity, names = label_similarity(features, world, ("class", "domain"))
    torch.testing.assert_close(similarity, torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    assert list(names.columns) == ["domain", "class"]
    assert names["class"].tolist() == [0, 1]


def test_representations_are_the_test_pictures_before_and_after(world, tmp_path):
    features = torch.arange(16.0).view(8, 2)
    save_features(tmp_path / "features" / "vit", features, world.images["image"])
    folder = tmp_path / "students" / "vit" / "alignet"
    folder.mkdir(parents=True)
    for name, value in (("pooled", 1), ("head", 2)):
        np.save(folder / f"{name}.npy", np.full((6, 3), value, np.float32))
    found = representations.load(tmp_path, world, ["vit"], ["alignet"])
    assert list(found) == [("vit", "base", "pooled"), ("vit", "alignet", "pooled"), ("vit", "alignet", "head")]
    assert torch.equal(found["vit", "base", "pooled"], features[2:])
    assert (found["vit", "alignet", "head"] == 2).all()


def test_representations_of_other_scored_pictures_are_read_on_demand(world, tmp_path):
    asked = world.levels.iloc[:1].assign(image_0="i0")
    world = dataclasses.replace(world, levels=asked)
    assert world.scored_rows().tolist() == [0, *range(2, 8)]
    features = torch.arange(16.0).view(8, 2)
    save_features(tmp_path / "features" / "vit", features, world.images["image"])
    folder = tmp_path / "students" / "vit" / "alignet"
    folder.mkdir(parents=True)
    for name in ("pooled", "head"):
        np.save(folder / f"{name}.npy", np.arange(7, dtype=np.float32)[:, None])

    def stored(rows=None):
        return representations.load(tmp_path, world, ["vit"], ["alignet"], rows)

    assert stored()["vit", "alignet", "pooled"].flatten().tolist() == [1, 2, 3, 4, 5, 6]  # the test split
    every = stored(world.scored_rows())
    assert every["vit", "alignet", "head"].flatten().tolist() == list(range(7))
    assert torch.equal(every["vit", "base", "pooled"], features[[0, 2, 3, 4, 5, 6, 7]])
    assert stored(torch.tensor([0, 7]))["vit", "alignet", "pooled"].flatten().tolist() == [0, 6]
    with pytest.raises(ValueError, match=r"of the pictures of World\.scored_rows alone"):
        stored(torch.tensor([1]))
    np.save(folder / "pooled.npy", np.ones((6, 1), np.float32))  # as a student stage of another world left it
    with pytest.raises(ValueError, match="holds representations of 6 pictures, and 7 are scored"):
        stored()


def test_a_world_without_levels_says_so_in_its_tables_and_its_figure(world):
    found = {("m", "base", "pooled"): PERFECT, ("m", "alignet", "pooled"): PERFECT}
    without = dataclasses.replace(world, levels=None)
    table = levels.levels(without, found, SETTINGS, PEOPLE)
    assert set(table.columns) == set(levels.levels(world, found, SETTINGS, PEOPLE).columns)
    assert table["odd_one_out_accuracy"].isna().all()
    assert set(table["note"]) == {levels.NO_LEVELS}
    assert set(uncertainty.uncertainty(without, found, SETTINGS, PEOPLE)["note"]) == {levels.NO_LEVELS}
    assert uncertainty.reliability(without, found, SETTINGS, PEOPLE).empty
    unsure, calibration = (
        uncertainty.uncertainty(without, found, SETTINGS, PEOPLE),
        uncertainty.reliability(without, found, SETTINGS, PEOPLE),
    )
    drawn = [drawn_levels.by_abstraction(table), drawn_levels.reliability(calibration)]
    for figure in drawn:
        (text,) = figure.axes[0].texts
        assert text.get_text() == drawn_levels.NO_LEVELS
    assert "No figure" in drawn_levels.uncertainty(unsure).axes[0].texts[0].get_text()


def test_without_response_times_uncertainty_is_that_of_the_choices_alone(world):
    table = uncertainty.uncertainty(world, {("m", "base", "pooled"): PERFECT}, SETTINGS, PEOPLE).set_index("against")
    assert table.loc["response_time", "n"].eq(0).all()
    assert table.loc["response_time", "note"].eq("the world has no response times").all()
    assert table.loc["response_entropy", "note"].eq("").all()


def simulated(n=400, people=8, sharpness=4.0, seed=0, pictures=60, times=True):
    """A world of test pictures with known positions, and choices by a softmax over their dot products."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.nn.functional.normalize(torch.randn(pictures, 4, generator=generator, dtype=torch.float64), dim=1)
    every = torch.combinations(torch.arange(pictures), 3)
    triplets = every[torch.randperm(len(every), generator=generator)[:n]]
    similar = torch.stack(
        [(features[triplets[:, a]] * features[triplets[:, b]]).sum(1) for a, b in ((1, 2), (0, 2), (0, 1))], 1
    )
    chances = (sharpness * similar).softmax(1)
    odd = torch.multinomial(chances, people, replacement=True, generator=generator)
    unsure = metrics.entropy(chances)[:, None] + 0.3 * torch.randn(n, people, generator=generator)
    every = [f"i{k}" for k in range(pictures)]
    images = pd.DataFrame({"image": every, "class": every, "split": "test", "domain": 0})
    names = np.array([f"i{k}" for k in range(pictures)])[triplets.numpy()]
    rows = pd.DataFrame(np.repeat(names, people, axis=0), columns=TRIPLET)
    rows = rows.assign(odd=odd.flatten().numpy(), participant=np.tile(np.arange(people), n), level="coarse")
    rows = rows.assign(rt=unsure.exp().flatten().numpy()) if times else rows
    return World("known", "simulated", None, ("class", "domain"), images, rows.drop(columns="level"), rows), features


def test_a_random_model_scores_at_chance_and_a_permuted_one_too():
    world, features = simulated()
    random = torch.randn(60, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    moved = features[torch.randperm(60, generator=torch.Generator().manual_seed(5))]
    found = {
        ("known", "base", "pooled"): features,
        ("random", "base", "pooled"): random,
        ("moved", "base", "pooled"): moved,
    }
    scores = levels.levels(world, found, SETTINGS, PEOPLE).set_index(["student", "level"])["odd_one_out_accuracy"]
    assert scores["known", "coarse"] > 0.5
    assert scores["random", "coarse"] == pytest.approx(1 / 3, abs=0.06)
    assert scores["moved", "coarse"] == pytest.approx(1 / 3, abs=0.06)


def test_people_who_guess_have_a_ceiling_of_a_third_and_a_single_person_has_none():
    world, features = simulated(n=1500, sharpness=0.0)
    table = levels.levels(world, {("m", "base", "pooled"): features}, SETTINGS, PEOPLE).iloc[0]
    assert table["noise_ceiling"] == pytest.approx(1 / 3, abs=0.02)
    assert table["noise_ceiling_low"] < 1 / 3 < table["noise_ceiling_high"]
    alone, features = simulated(people=1)
    table = levels.levels(alone, {("m", "base", "pooled"): features}, SETTINGS, PEOPLE).iloc[0]
    assert table[["noise_ceiling", "noise_ceiling_low", "above_ceiling"]].isna().all()
    assert not table["passes_ceiling"]
    assert table["odd_one_out_accuracy"] > 0.4


def test_one_persons_repeated_answers_are_no_agreement_of_people():
    rows = [[*("i2", "i3", "i5"), 2, person, "fine"] for person in (0, 0, 0, 1)]
    judged = next(human_choices.choices_by_level(make_world(rows), PEOPLE))
    assert judged.counts().tolist() == [[0, 0, 4]]
    assert human_choices.human_agreement(judged).tolist() == [1]
    rows = [[*("i2", "i3", "i5"), 2, 0, "fine"]] * 3
    assert human_choices.human_agreement(next(human_choices.choices_by_level(make_world(rows), PEOPLE))).isnan().all()


def test_the_order_in_which_a_triplet_was_shown_changes_nothing():
    rows = judged("fine", [((2, 3, 5), (2, 2, 1))])
    turned = [[row[2], row[0], row[1], (row[3] + 1) % 3, *row[4:]] for row in rows]
    tables = [
        levels.levels(make_world(r), {("m", "base", "pooled"): PERFECT}, SETTINGS, PEOPLE) for r in (rows, turned)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_a_model_that_knows_the_shares_passes_a_ceiling_that_few_people_make_unsure():
    world, features = simulated(n=1500, people=2)
    table = levels.levels(world, {("m", "base", "pooled"): features}, SETTINGS, PEOPLE).iloc[0]
    assert table["passes_ceiling"]
    assert 0 < table["above_ceiling_low"] < table["above_ceiling"] < table["above_ceiling_high"]
    assert table["above_ceiling"] == pytest.approx(table["odd_one_out_accuracy"] - table["noise_ceiling"])


def test_an_improvement_is_paired_so_that_a_model_improves_on_itself_by_exactly_nothing():
    world, features = simulated()
    found = {("m", "base", "pooled"): features, ("m", "alignet", "pooled"): 2 * features}
    table = levels.levels(world, found, SETTINGS, PEOPLE).set_index("target").loc["alignet"]
    for end in ("", "_low", "_high"):
        assert table["relative_improvement" + end].tolist() == pytest.approx([0, 0])


def test_a_model_that_knows_the_shares_is_unsure_where_people_are_and_reaches_their_ceiling():
    world, features = simulated(n=2500)
    table = uncertainty.uncertainty(world, {("m", "base", "pooled"): features}, SETTINGS, PEOPLE)
    for row in table[table["level"] == "coarse"].to_dict("records"):
        assert row["spearman"] == pytest.approx(row["noise_ceiling"], abs=0.06), row["against"]
        assert row["ci_low"] < row["spearman"] < row["ci_high"]
        assert row["n"] == 2500


def test_a_model_that_knows_nothing_is_unsure_anywhere():
    world, _ = simulated()
    random = torch.randn(60, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    table = uncertainty.uncertainty(world, {("m", "base", "pooled"): random}, SETTINGS, PEOPLE)
    assert (table["spearman"].abs() < 0.15).all()
    constant = uncertainty.uncertainty(world, {("m", "base", "pooled"): torch.ones(60, 4).double()}, SETTINGS, PEOPLE)
    assert constant["spearman"].isna().all()


def test_a_single_person_has_no_uncertainty():
    world, features = simulated(people=1, times=False)
    table = uncertainty.uncertainty(world, {("m", "base", "pooled"): features}, SETTINGS, PEOPLE)
    assert table["n"].eq(0).all()
    assert set(table["note"]) == {"no triplet was judged by two people", "the world has no response times"}


def test_the_fitted_sharpness_is_the_one_that_people_chose_by():
    world, features = simulated(n=3000)
    (judged, _) = human_choices.choices_by_level(world, PEOPLE)
    pairs = torch.stack(
        [
            (features[judged.triplets[:, a]] * features[judged.triplets[:, b]]).sum(1)
            for a, b in ((1, 2), (0, 2), (0, 1))
        ],
        1,
    )
    assert uncertainty.fitted_sharpness(pairs, judged.counts()) == pytest.approx(4, rel=0.05)
    both = uncertainty.cross_fitted(pairs, judged.counts(), seed=0)
    torch.testing.assert_close(both, (4 * pairs).softmax(1), atol=0.02, rtol=0)


def test_a_calibrated_models_reliability_lies_on_the_diagonal():
    world, features = simulated(n=3000)
    table = uncertainty.reliability(world, {("m", "base", "pooled"): features}, SETTINGS, PEOPLE)
    assert table["n"].sum() == 9000
    assert table["bin"].is_monotonic_increasing
    assert (table["predicted"] - table["chosen"]).abs().max() < 0.03
    assert ((table["ci_low"] <= table["chosen"]) & (table["chosen"] <= table["ci_high"])).all()


def test_people_are_halved_within_each_triplet():
    world, _ = simulated(people=5)
    (judged, _) = human_choices.choices_by_level(world, PEOPLE)
    half = uncertainty.half_of_people(judged, seed=0)
    assert judged.counts(half).sum(1).unique().tolist() == [3]
    assert judged.counts(~half).sum(1).unique().tolist() == [2]
    assert torch.equal(judged.counts(half) + judged.counts(~half), judged.counts())


def test_the_ceiling_of_halves_is_spearman_and_browns():
    x = torch.arange(100).double()
    assert uncertainty.uncertainty_ceiling(x, x)[0] == pytest.approx(1)
    assert uncertainty.uncertainty_ceiling(x, -x)[0] == 0
    y = torch.rand(100, generator=torch.Generator().manual_seed(0)).double() + x / 100
    r = metrics.spearman(x, y)
    assert uncertainty.uncertainty_ceiling(x, y)[0] == pytest.approx((2 * r / (1 + r)) ** 0.5)
