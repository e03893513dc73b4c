import inputs
import numpy as np
import pandas as pd
import pytest
import torch
from inputs import generator

from alignet.maths import metrics, sampling
from alignet.synthesis import label_checks, labelling, pair_kernel, schemes, triplet_files
from alignet.teacher.affine_map import AffineMap
from alignet.worlds.format.tables import World


def settings(**changes):
    small = {"clusters": 5, "train_triplets": 60, "valid_triplets": 40}
    return inputs.settings("synthesis", **(small | changes))


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
    images["class"] = [f"class {n % 6}" for n in range(57)]
    return World("tiny", "simulated", None, ("concept", "class"), images.assign(concept="c"), pd.DataFrame(), None)


def representation(features, teacher, target, folder):
    affine = labelling.labeller(features, teacher, target, settings())
    return labelling.represent(features, affine, folder / "representation.npy", settings())


def test_soft_labels_prefer_the_picture_outside_the_similar_pair(teacher):
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    twice = AffineMap(2 * torch.eye(2), torch.zeros(2), torch.zeros(2), torch.tensor(1.0))
    expected = torch.tensor([[0.0, 4.0, 0.0]]).softmax(-1)
    torch.testing.assert_close(labelling.soft_labels(torch.tensor([[0, 2, 1]]), twice, features), expected)


def test_the_aligned_target_is_the_teachers_representation(features, teacher, tmp_path):
    found = representation(features, teacher, "alignet", tmp_path)
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, teacher(features).numpy())


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_the_representation_is_the_same_in_chunks(features, teacher, tmp_path, monkeypatch, rows):
    monkeypatch.setattr(labelling, "ROWS", rows)
    found = representation(features, teacher, "alignet", tmp_path)
    np.testing.assert_allclose(found, teacher(features).numpy(), rtol=1e-5, atol=1e-6)


def test_half_precision_is_stored_as_such_and_what_it_cannot_hold_is_refused(features, teacher, tmp_path):
    half = settings(precision="float16")
    found = labelling.represent(features, teacher, tmp_path / "half.npy", half)
    assert found.dtype == np.float16
    large = AffineMap(1e6 * teacher.weight, teacher.bias, teacher.mean, teacher.scale)
    with pytest.raises(ValueError, match="not finite in float16"):
        labelling.represent(features, large, tmp_path / "large.npy", half)


def test_an_unknown_target_is_refused_by_name(features, teacher):
    with pytest.raises(ValueError, match="'aligned'"):
        labelling.labeller(features, teacher, "aligned", settings())


@pytest.mark.parametrize("scheme", ["random", "cluster_border"])
def test_the_controls_choices_are_as_decided_as_the_teachers_on_what_students_train_on(features, teacher, scheme):
    entropies, matched = [], settings(matched_on=scheme)
    for target in ("alignet", "unalignet"):
        mapped = labelling.labeller(features, teacher, target, matched)(features)
        similarities = labelling._own_similarities(mapped, matched)
        entropies.append(metrics.entropy(similarities.softmax(-1)).mean().item())
    assert 0.05 < entropies[0] < 1.05
    assert entropies[1] == pytest.approx(entropies[0], abs=1e-4)


def test_the_control_is_matched_on_the_scheme_that_is_named(features, teacher):
    scales = [
        labelling.labeller(features, teacher, "unalignet", settings(matched_on=scheme)).weight[0, 0]
        for scheme in ("random", "cluster_border")
    ]
    assert abs(scales[0] / scales[1] - 1) > 0.01


def test_the_control_is_the_features_on_another_scale_without_the_map(features, teacher):
    control = labelling.labeller(features, teacher, "unalignet", settings())(features)
    ratio = control / ((features - teacher.mean) / teacher.scale)
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-4, atol=0)
    other = AffineMap(teacher.weight.flip(0), teacher.bias, teacher.mean, teacher.scale)
    again = labelling.labeller(features, other, "unalignet", settings())(features)
    torch.testing.assert_close(again, control, rtol=1e-3, atol=1e-4)


def test_more_clusters_than_pictures_are_refused_and_left_out_of_the_elbow(features):
    with pytest.raises(ValueError, match=r"clusters is 51.* 50 pictures"):
        labelling.cluster(features.numpy(), settings(clusters=51))
    table = labelling.elbow(features.numpy(), settings(elbow=[2, 10, 51], clusters=5))
    assert table["clusters"].tolist() == [2, 5, 10]
    assert table["chosen"].tolist() == [False, True, False]
    assert table["inertia_share"].is_monotonic_decreasing
    assert (table["inertia_share"] < 1).all()


def test_sampled_triplets_are_different_sets_of_three():
    found = sampling.sample_distinct({"random": sampling.groups("random", torch.arange(12))}, 150, generator())
    assert found.shape == (150, 3)
    assert len(found.sort(dim=1).values.unique(dim=0)) == 150


def test_as_many_triplets_as_there_are_can_be_sampled_and_no_more():
    four = torch.tensor([0, 0, 1, 1])  # each of the four sets of three is one
    groups = schemes.sources("cluster_border", four, four)
    assert len(sampling.sample_distinct(groups, 4, generator())) == 4
    assert len(sampling.sample_distinct(groups, 5, generator())) == 4


def test_several_schemes_give_equal_shares_of_different_triplets():
    labels = torch.arange(60) % 6
    mixed = ["between_class", "within_class"]
    found = sampling.sample_distinct(schemes.sources(mixed, labels, labels), 200, generator())
    kinds = torch.tensor([len(labels[row].unique()) for row in found])
    assert 70 <= int((kinds == 3).sum()) <= 130
    assert set(kinds.tolist()) == {1, 3}
    assert len(found.sort(dim=1).values.unique(dim=0)) == 200
    assert schemes.name(mixed) == "between_class+within_class"


@pytest.mark.parametrize("scheme", sampling.SCHEMES)
def test_a_targets_folder_holds_both_splits_with_no_triplet_in_both(scheme, features, world, tmp_path):
    clusters = torch.from_numpy(labelling.cluster(features.numpy(), settings()).labels)
    drawn = labelling.write(tmp_path, world, features.numpy(), clusters, settings(scheme=scheme))
    assert np.array_equal(np.load(tmp_path / "clusters.npy"), clusters.numpy())
    sets = {}
    for split, n in (("train", 60), ("valid", 40)):
        found = triplet_files.read(tmp_path / f"{split}_{scheme}.npz")
        assert triplet_files.check(found, world.images["path"].to_numpy()[7:].astype(str))["duplicates"] == 0
        expected = pair_kernel.pair_similarities(features.numpy(), np.asarray(found.triplets))
        np.testing.assert_array_equal(found.similarities, expected)
        sets[split] = {tuple(sorted(row)) for row in found.triplets.tolist()}
        assert sets[split] == {tuple(sorted(row)) for row in drawn[split].tolist()}
        assert len(sets[split]) == n
    assert not sets["train"] & sets["valid"]


def test_equal_seeds_give_equal_files(features, world, tmp_path):
    clusters, files = torch.arange(50) % 5, []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        labelling.write(tmp_path / name, world, features.numpy(), clusters, settings(seed=seed))
        files.append((tmp_path / name / "train_cluster_border.npz").read_bytes())
    assert files[0] == files[1] != files[2]


def test_classes_come_from_the_named_column_or_the_one_above_the_finest(world):
    assert torch.equal(schemes.class_labels(world, settings()), (torch.arange(50) + 7) % 6)
    assert schemes.class_labels(world, settings(class_label="concept")).unique().tolist() == [0]
    with pytest.raises(ValueError, match=r"'species'.*concept, class"):
        schemes.class_labels(world, settings(class_label="species"))


def test_other_schemes_than_those_of_classes_do_not_read_them(world):
    clusters = torch.arange(50) % 5
    for scheme in sampling.SCHEMES:
        found, other = (schemes.scheme_groups(scheme, clusters, torch.arange(50) % kinds) for kinds in (7, 3))
        assert torch.equal(found.size, other.size) == ("class" not in scheme)


def test_a_scheme_that_the_world_does_not_allow_is_noted_and_the_others_are_drawn(world):
    one = settings(class_label="concept")  # a single concept: no border between classes
    drawn, table = schemes.scheme_triplets(world, torch.arange(50) % 5, one)
    assert set(drawn) == {"random", "within_class", "cluster_border"}
    noted = table[table["n_triplets"] == 0]
    assert set(noted["scheme"]) == {"between_class", "class_border"}
    assert noted["note"].str.contains("1").all()


def test_the_table_of_schemes_holds_entropy_and_agreement(world, features, teacher):
    targets = {name: labelling.labeller(features, teacher, name, settings()) for name in ("alignet", "unalignet")}
    drawn, left_out = schemes.scheme_triplets(world, torch.arange(50) % 5, settings())
    entropies, agreements = label_checks.labels_by_scheme(drawn, features, targets)
    table = label_checks.summary(left_out, entropies, agreements, "alignet")
    assert table["scheme"].tolist() == list(sampling.SCHEMES)
    shown = drawn["random"]
    labels = labelling.soft_labels(shown, targets["alignet"], features)
    assert table["entropy_mean"].iloc[0] == pytest.approx(metrics.entropy(labels).mean().item(), abs=1e-6)
    same = [labelling.soft_labels(shown, affine, features).argmax(1) for affine in targets.values()]
    assert table["agreement"].iloc[0] == pytest.approx((same[0] == same[1]).double().mean().item())
    assert ((table["ci_low"] < table["agreement"]) & (table["agreement"] < table["ci_high"])).all()


def test_examples_run_from_the_surest_triplet_to_the_least_sure(features, teacher):
    drawn = sampling.sample_distinct({"random": sampling.groups("random", torch.arange(50))}, 100, generator())
    shown = labelling.from_easy_to_hard(drawn, teacher, features, n=10)
    entropy = metrics.entropy(labelling.soft_labels(shown, teacher, features))
    assert (entropy.diff() >= 0).all()
    whole = metrics.entropy(labelling.soft_labels(drawn, teacher, features))
    assert entropy[0] == whole.min()
    assert entropy[-1] == whole.max()


def classes_and_views(n=300, seed=0):
    """Pictures of six classes, and two noisy views of them that share nothing but the classes."""
    classes = torch.randint(6, (n,), generator=generator(seed))
    centres = torch.randn(6, 12, generator=generator(seed + 1))
    views = [centres[classes] + 0.7 * torch.randn(n, 12, generator=generator(seed + k)) for k in (2, 3)]
    return classes, *views


def labelled(classes, view, n=1500):
    drawn = {
        scheme: sampling.draw(scheme, sampling.groups(scheme, classes), n, generator(5)) for scheme in sampling.SCHEMES
    }
    numbers = {scheme: rows.numpy() for scheme, rows in drawn.items()}
    return {
        scheme: (drawn[scheme], torch.from_numpy(pair_kernel.pair_similarities(view.numpy(), numbers[scheme])))
        for scheme in drawn
    }


def test_labels_that_say_something_pass_the_signal_check():
    classes, view, other = classes_and_views()
    table = label_checks.signal(labelled(classes, view), other, classes, "lite0")
    table = table[table["scheme"] != "within_class"]  # views share classes only: nothing to agree on within one
    assert table["warning"].eq("").all()
    assert table["agreement"].gt(table["threshold"]).all()
    assert table[table["scheme"] == "class_border"]["witness"].tolist() == ["lite0", "class labels"]
    assert "passed" in label_checks.verdict(table)


def test_labels_of_the_wrong_pictures_are_warned_of_loudly():
    classes, view, other = classes_and_views()
    wrong = view[torch.randperm(len(view), generator=generator(9))]
    table = label_checks.signal(labelled(classes, wrong), other, classes, "lite0")
    assert table["warning"].str.startswith("NO SIGNAL").all()
    verdict = label_checks.verdict(table)
    assert verdict.startswith("# WARNING")
    assert verdict.count("\n- scheme") == len(table)


def test_reversed_similarities_are_below_chance_and_warned_of():
    classes, view, other = classes_and_views()
    turned = {scheme: (drawn, -labels) for scheme, (drawn, labels) in labelled(classes, view).items()}
    table = label_checks.signal(turned, other, classes, "lite0")
    border = table[table["scheme"] == "class_border"]
    assert (border["ci_high"] < 1 / 3).all()
    assert border["warning"].str.startswith("NO SIGNAL").all()


def test_agreement_with_class_labels_is_counted_by_hand():
    classes = torch.tensor([0, 0, 1, 1])
    drawn = torch.tensor([[0, 1, 2], [0, 2, 3], [2, 0, 1], [3, 2, 1]])  # odd by class: 2, 0, 0, 2
    labels = torch.tensor([[0.0, 1, 2], [2, 1, 0], [0, 1, 2], [1, 0, 1]])  # right, right, wrong, tied
    table = label_checks.signal({"class_border": (drawn, labels)}, torch.randn(4, 3), classes, "lite0")
    row = table[table["witness"] == "class labels"].iloc[0]
    assert row["agreement"] == 0.5
    assert row["n"] == 4
    assert row["threshold"] == pytest.approx(1 / 3 + 3 * (2 / 9 / 4) ** 0.5)


def test_a_released_file_is_checked_by_its_file_names(world, tmp_path):
    classes, view, other = classes_and_views(50)
    table = world.images.assign(**{"class": ["none"] * 7 + [f"class {k}" for k in classes]})
    known = World("tiny", "simulated", None, world.hierarchy, table, pd.DataFrame(), None)
    names = labelling.filenames(known)
    order = torch.randperm(50, generator=generator(4))  # the file numbers the pictures in another order
    (drawn, labels) = labelled(classes, view)["class_border"]
    number = torch.empty(50, dtype=torch.int64).scatter_(0, order, torch.arange(50))
    for name, listed in (("right", names[order]), ("wrong", names)):
        triplet_files.write(tmp_path / f"{name}.npz", listed, number[drawn].numpy(), labels.numpy())
        with np.load(tmp_path / f"{name}.npz") as arrays:
            np.savez_compressed(tmp_path / f"{name}.npz", **arrays)  # as the release's own
    right, wrong = (
        label_checks.released_signal({"class_border": tmp_path / f"{name}.npz"}, known, other, settings(), "lite0")
        for name in ("right", "wrong")
    )
    assert right["warning"].eq("").all()
    assert wrong["agreement"].max() < right["agreement"].min()


def test_the_independent_backbone_must_not_be_the_teachers(world, features, teacher, tmp_path):
    with pytest.raises(ValueError, match="'lite0', the teacher's own"):
        label_checks.own_signal({}, features, teacher, world, tmp_path, "lite0", settings(signal_backbone="lite0"))


def test_examples_come_from_the_largest_clusters():
    clusters = torch.tensor([2, 0, 2, 1, 2, 0, 2])
    examples, titles = labelling.cluster_examples(clusters, rows=2, columns=3)
    assert [clusters[row].unique().tolist() for row in examples] == [[2], [0]]
    assert titles == ["cluster 2, 4 pictures", "cluster 0, 2 pictures"]
