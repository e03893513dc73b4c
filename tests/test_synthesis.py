import numpy as np
import pandas as pd
import pytest
import torch

from alignet import config, metrics, synthesis
from alignet.teacher import AffineMap
from alignet.worlds.tables import World


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def settings(**changes):
    small = {"clusters": 5, "train_triplets": 60, "valid_triplets": 40}
    return config.load("synthesis", config.Synthesis, "params.yaml", **(small | changes))


@pytest.fixture(scope="module")
def features():
    return torch.randn(50, 6, generator=generator())


@pytest.fixture(scope="module")
def teacher():
    return AffineMap(torch.diag(torch.tensor([2.0, 1, 1, 0, 0, 0])), torch.zeros(6), torch.ones(6), torch.tensor(1.5))


@pytest.fixture
def world():
    split = ["human"] * 7 + ["synthesis"] * 50
    images = pd.DataFrame({"image": range(57), "path": [f"images/{n}.jpg" for n in range(57)], "split": split})
    return World("tiny", "simulated", None, ("class",), images, pd.DataFrame(), None)


def test_soft_labels_prefer_the_picture_outside_the_similar_pair():
    representation = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]) * 2
    expected = torch.tensor([[0.0, 4.0, 0.0]]).softmax(-1)
    torch.testing.assert_close(synthesis.soft_labels(representation, torch.tensor([[0, 2, 1]])), expected)


def test_clusters_are_those_of_separated_groups_and_the_same_every_time(features):
    groups = torch.arange(50) % 5
    apart = features + 100 * torch.nn.functional.one_hot(groups, 6)
    found = synthesis.cluster(apart, settings())
    assert len(found.unique()) == 5
    assert len(torch.stack([groups, found]).unique(dim=1).T) == 5
    assert torch.equal(synthesis.cluster(features, settings()), synthesis.cluster(features, settings()))


def test_more_clusters_than_pictures_are_refused(features):
    with pytest.raises(ValueError, match=r"clusters is 51.* 50 pictures"):
        synthesis.cluster(features, settings(clusters=51))


def test_sampled_triplets_are_different_sets_of_three():
    found = synthesis.sample(torch.arange(12) % 3, settings(), 100, generator())
    assert found.shape == (100, 3)
    assert len(found.sort(dim=1).values.unique(dim=0)) == 100


def test_as_many_triplets_as_there_are_can_be_sampled_and_no_more():
    clusters = torch.tensor([0, 0, 1, 1])  # each of the four sets of three is a border triplet
    assert len(synthesis.sample(clusters, settings(), 4, generator())) == 4
    with pytest.raises(ValueError, match="5 different triplets, found only 4"):
        synthesis.sample(clusters, settings(), 5, generator())


def test_the_aligned_target_is_the_teachers_representation(features, teacher):
    assert torch.equal(synthesis.represent(features, teacher, "alignet", settings()), teacher(features))


def test_an_unknown_target_is_refused_by_name(features, teacher):
    with pytest.raises(ValueError, match="'aligned'"):
        synthesis.represent(features, teacher, "aligned", settings())


def test_the_controls_choices_are_as_decided_as_the_teachers(features, teacher):
    entropies = []
    for target in ("alignet", "unalignet"):
        representation = synthesis.represent(features, teacher, target, settings())
        similarities = synthesis._triplet_similarities(representation, settings())
        entropies.append(metrics.entropy(similarities.softmax(-1)).mean().item())
    assert 0.05 < entropies[0] < 1.05
    assert entropies[1] == pytest.approx(entropies[0], abs=1e-4)


def test_the_control_is_the_features_on_another_scale_without_the_map(features, teacher):
    control = synthesis.control(features, teacher, settings())
    ratio = control / ((features - teacher.mean) / teacher.scale)
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-4, atol=0)
    other = AffineMap(teacher.weight.flip(0), teacher.bias, teacher.mean, teacher.scale)
    torch.testing.assert_close(synthesis.control(features, other, settings()), control, rtol=1e-3, atol=1e-4)


def test_release_files_hold_similarities_in_descending_order_of_the_named_pairs(features, tmp_path):
    names = np.array([f"picture_{n}.jpg" for n in range(50)])
    triplets = synthesis.sample(torch.arange(50) % 5, settings(), 80, generator())
    synthesis.write_release_file(tmp_path / "train.npz", names, features, triplets)
    with np.load(tmp_path / "train.npz", allow_pickle=False) as file:
        released = dict(file)
    assert {name: array.shape for name, array in released.items()} == dict.fromkeys(
        ("filenames", "similarities", "indices"), (80, 3)
    )
    assert released["similarities"].dtype == np.float32
    assert released["indices"].dtype == np.int64
    assert (np.diff(released["similarities"], axis=1) <= 0).all()
    row = {name: features[number].numpy() for number, name in enumerate(names)}
    a, b, c = (np.stack([row[name] for name in released["filenames"][:, place]]) for place in range(3))
    direct = np.stack([(a * b).sum(1), (a * c).sum(1), (b * c).sum(1)], axis=1)
    np.testing.assert_allclose(released["similarities"], direct, rtol=1e-4, atol=1e-5)
    assert (names[released["indices"]] == released["filenames"]).all()
    assert (np.sort(released["indices"], axis=1) == np.sort(triplets.numpy(), axis=1)).all()


def test_equal_content_gives_equal_bytes_and_other_content_others(features, tmp_path):
    names, triplets = np.array([f"{n}.jpg" for n in range(50)]), torch.tensor([[0, 1, 2], [7, 3, 9]])
    for name, representation in (("a", features), ("b", features.clone()), ("c", features + 1)):
        synthesis.write_release_file(tmp_path / name, names, representation, triplets)
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again != other


def test_a_targets_folder_holds_both_splits_with_no_triplet_in_both(features, world, tmp_path):
    clusters = synthesis.cluster(features, settings())
    drawn = synthesis.write(tmp_path / "alignet", world, features, clusters, settings())
    assert np.array_equal(np.load(tmp_path / "alignet" / "representation.npy"), features.numpy())
    assert np.array_equal(np.load(tmp_path / "alignet" / "clusters.npy"), clusters.numpy())
    sets = {}
    for split, n in (("train", 60), ("valid", 40)):
        with np.load(tmp_path / "alignet" / f"{split}_cluster_border.npz", allow_pickle=False) as file:
            assert file["filenames"].shape == (n, 3)
            paths = world.images["path"].to_numpy()[7:]
            assert (paths[file["indices"]] == file["filenames"]).all()
            sets[split] = {tuple(sorted(row)) for row in file["indices"].tolist()}
        assert sets[split] == {tuple(sorted(row)) for row in drawn[split].tolist()}
        assert len(sets[split]) == n
    assert not sets["train"] & sets["valid"]


def test_examples_come_from_the_largest_clusters():
    clusters = torch.tensor([2, 0, 2, 1, 2, 0, 2])
    examples, titles = synthesis.cluster_examples(clusters, rows=2, columns=3)
    assert [clusters[row].unique().tolist() for row in examples] == [[2], [0]]
    assert titles == ["cluster 2, 4 pictures", "cluster 0, 2 pictures"]
