import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from alignet import backbones, config, evaluation
from alignet.figures import levels
from alignet.worlds.tables import LEVELS, TRIPLET, World

SETTINGS = config.Levels(seed=0, centred=False, bootstrap=200)
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
    images = pd.DataFrame({"image": [f"i{n}" for n in range(8)], "split": split, "class": GROUP, "domain": 0})
    levels = pd.DataFrame(rows, columns=[*TRIPLET, "odd", "participant", "level"])
    return World("tiny", "simulated", None, ("class", "domain"), images, levels.drop(columns="level"), levels)


@pytest.fixture
def world():
    """At every level people unanimously leave out the picture that is alone in its group."""
    rows = [row for level in LEVELS for row in judged(level, [((2, 3, 5), (2, 2, 2)), ((6, 4, 7), (1, 1, 1))])]
    return make_world(rows)


def test_a_perfect_model_agrees_wholly_and_a_constant_one_never(world):
    table = evaluation.levels(world, {("m", "base", "pooled"): PERFECT, ("c", "base", "pooled"): CONSTANT}, SETTINGS)
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
    table = evaluation.levels(make_world(rows), found, SETTINGS)
    scores = table[table["level"] == "fine"].set_index(["target", "representation"])
    assert scores["odd_one_out_accuracy"].tolist() == pytest.approx([4 / 6, 5 / 6, 4 / 6])
    assert scores["relative_improvement"].tolist() == pytest.approx([0, 25, 0])
    # The third person never agrees; each of the two meets a tie of the other two: 1/2.
    assert scores["noise_ceiling"].tolist() == pytest.approx([(3 + 0.5 + 0.5 + 0) / 6] * 3)
    assert (scores["ci_low"] <= scores["odd_one_out_accuracy"]).all()
    assert (scores["ci_high"] >= scores["odd_one_out_accuracy"]).all()


def test_centring_undoes_a_common_offset_that_spoils_the_cosine(world):
    moved = {("m", "base", "pooled"): PERFECT + 1000 * torch.tensor([1.0, -1.0, 0.5])}
    plain = {("m", "base", "pooled"): PERFECT}
    centred = config.Levels(seed=0, centred=True, bootstrap=200)
    tables = [evaluation.levels(world, found, centred) for found in (moved, plain)]
    assert tables[0]["odd_one_out_accuracy"].tolist() == tables[1]["odd_one_out_accuracy"].tolist() == [1] * 4


def test_pictures_outside_the_test_split_are_refused():
    rows = [row for level in LEVELS for row in judged(level, [((0, 3, 5), (2, 2, 2))])]
    with pytest.raises(ValueError, match="outside the test split"):
        evaluation.levels(make_world(rows), {("m", "base", "pooled"): PERFECT}, SETTINGS)


def test_noise_ceilings_are_given_for_each_kind_of_triplet(world):
    table = evaluation.noise_ceilings(world).set_index("table")
    assert list(table.index) == ["triplets.csv", *(f"levels.csv, {level}" for level in LEVELS)]
    assert table["triplets"].tolist() == [2, 2, 2, 2]
    assert table["choices"].tolist() == [18, 6, 6, 6]
    assert table["noise_ceiling"].tolist() == [1] * 4
    assert set(table["people"]) == {"simulated"}


def test_unit_vectors_have_length_one_and_centred_ones_do_not_see_an_offset():
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(evaluation.unit_vectors(rows, False).norm(dim=1), torch.ones(6).double())
    torch.testing.assert_close(evaluation.unit_vectors(rows + 3, True), evaluation.unit_vectors(rows, True))
    assert not torch.allclose(evaluation.unit_vectors(rows + 3, False), evaluation.unit_vectors(rows, False))


def test_label_similarity_of_two_opposite_groups_is_minus_one(world):
    features = torch.tensor([[1.0, 0.0] if group else [0.0, 1.0] for group in GROUP])
    similarity, names = evaluation.label_similarity(features, world, ("class", "domain"))
    torch.testing.assert_close(similarity, torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    assert list(names.columns) == ["domain", "class"]
    assert names["class"].tolist() == [0, 1]


def test_representations_are_the_test_pictures_before_and_after(world, tmp_path):
    features = torch.arange(16.0).view(8, 2)
    backbones.save_features(tmp_path / "features" / "vit", features, world.images["image"])
    folder = tmp_path / "students" / "vit" / "alignet"
    folder.mkdir(parents=True)
    for name, value in (("pooled", 1), ("head", 2)):
        np.save(folder / f"{name}.npy", np.full((6, 3), value, np.float32))
    found = evaluation.load_representations(tmp_path, world, ["vit"], ["alignet"])
    assert list(found) == [("vit", "base", "pooled"), ("vit", "alignet", "pooled"), ("vit", "alignet", "head")]
    assert torch.equal(found["vit", "base", "pooled"], features[2:])
    assert (found["vit", "alignet", "head"] == 2).all()


def test_a_world_without_levels_says_so_in_its_tables_and_its_figure(world):
    found = {("m", "base", "pooled"): PERFECT, ("m", "alignet", "pooled"): PERFECT}
    without = dataclasses.replace(world, levels=None)
    table = evaluation.levels(without, found, SETTINGS)
    assert set(table.columns) == set(evaluation.levels(world, found, SETTINGS).columns)
    assert table["odd_one_out_accuracy"].isna().all()
    assert set(table["note"]) == {"the world has no levels.csv"}
    assert set(evaluation.uncertainty(without, found, SETTINGS)["note"]) == {"the world has no levels.csv"}
    (text,) = levels.by_abstraction(table).axes[0].texts
    assert "no levels.csv" in text.get_text()


def test_without_response_times_uncertainty_is_that_of_the_choices_alone(world):
    table = evaluation.uncertainty(world, {("m", "base", "pooled"): PERFECT}, SETTINGS).set_index("against")
    assert table.loc["response_time", "n"].eq(0).all()
    assert table.loc["response_time", "note"].eq("the world has no response times").all()
    assert table.loc["response_entropy", "note"].eq("").all()
