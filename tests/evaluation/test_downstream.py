import dataclasses

import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge

from alignet import config
from alignet.evaluation import downstream, episodes
from alignet.evaluation.episodes import Episode, Labelled, Task
from alignet.worlds.format.tables import World

SETTINGS = config.Downstream(
    seed=0,
    shots=[1, 2],
    centroid_draws=6,
    logistic_draws=3,
    ridge_draws=2,
    probe_draws=3,
    logistic_iterations=200,
    ridge=0.1,
    corruptions=[],
    public=[],
    public_shots=[1],
    public_pictures_per_class=10,
)
# Twelve concepts of two pictures, one of each style; four classes of three concepts; two domains of two classes.
IMAGES = pd.DataFrame({"image": [f"i{n}" for n in range(24)], "concept": [f"c{n // 2}" for n in range(24)]})
IMAGES = IMAGES.assign(**{"class": [f"k{n // 6}" for n in range(24)], "domain": [f"d{n // 12}" for n in range(24)]})
IMAGES = IMAGES.assign(split="test", style=["colour", "line"] * 12)
WORLD = World("tiny", "simulated", None, ("concept", "class", "domain"), IMAGES, None, None)
CLASS = episodes.labelled(WORLD, "class")
BOTH = ["centroid", "logistic"]


def random_features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def perfect(labels):
    return torch.nn.functional.one_hot(labels).float()


def of_classifier(tasks, classifier):
    return [task for task in tasks if task.classifier == classifier]


def accuracy(task, features):
    return float(downstream.accuracies(task, downstream.fitted(task, features, SETTINGS), features).mean())


def wide(classes=4, concepts=40):
    """Labelled pictures, one of each concept, enough of them for a random model to be near chance."""
    labels, every = torch.arange(classes).repeat_interleave(concepts), torch.ones(classes * concepts, dtype=torch.bool)
    return Labelled("wide", "few-shot class", labels, torch.arange(classes * concepts), every, every)


def test_predictions_in_small_parts_are_those_of_all_at_once(monkeypatch):
    features = random_features(24, 8)
    task = of_classifier(episodes.few_shot(CLASS, SETTINGS), "centroid")[0]
    classifiers = downstream.fitted(task, features, SETTINGS)
    whole = list(downstream._predictions(classifiers, features))
    monkeypatch.setattr(downstream, "PART", 30)
    for one, other in zip(downstream._predictions(classifiers, features), whole, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("classifier", BOTH)
def test_a_perfect_model_is_always_right(classifier):
    tasks = of_classifier(episodes.of_world(WORLD, SETTINGS), classifier)
    assert tasks
    for task in tasks:
        label = "domain" if "domain" in task.protocol else "class"
        assert accuracy(task, perfect(episodes.labelled(WORLD, label).classes)) == 1, task.protocol


@pytest.mark.parametrize("classifier", BOTH)
def test_random_features_and_permuted_labels_are_at_chance(classifier):
    pictures = wide()
    (task,) = of_classifier(episodes.few_shot(pictures, dataclasses.replace(SETTINGS, shots=[5])), classifier)
    assert accuracy(task, random_features(160, 8)) == pytest.approx(0.25, abs=0.06)
    order = torch.randperm(160, generator=torch.Generator().manual_seed(1))
    assert accuracy(task, perfect(pictures.classes[order])) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("classifier", BOTH)
def test_accuracy_is_the_same_after_rotation_shift_and_scale(classifier):
    task = of_classifier(episodes.few_shot(CLASS, SETTINGS), classifier)[-1]
    features = random_features(24, 6) + perfect(CLASS.classes) @ random_features(4, 6, seed=1)
    turn, _ = torch.linalg.qr(random_features(6, 6, seed=2))
    assert 0.25 < accuracy(task, features) < 1
    assert accuracy(task, features) == pytest.approx(accuracy(task, 3 * features @ turn + 5))


@pytest.mark.parametrize("classifier", BOTH)
def test_classes_count_alike_however_many_test_pictures_they_have(classifier):
    train, labels = torch.tensor([0, 1]), torch.tensor([0, 1])
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.4]])
    episode = Episode(train, labels, torch.tensor([2, 3, 4, 5]), torch.tensor([0, 0, 0, 1]))  # one of class 1, missed
    assert accuracy(Task("tiny", "few-shot", 1, classifier, 2, [episode]), features) == 0.5


def test_no_concept_is_both_trained_on_and_tested_and_both_sides_hold_every_class():
    for task in episodes.of_world(WORLD, SETTINGS):
        for episode in task.episodes:
            assert not set(CLASS.concept[episode.train].tolist()) & set(CLASS.concept[episode.test].tolist())
            assert set(episode.train_labels.tolist()) == set(episode.test_labels.tolist()) == set(range(task.classes))


def test_few_shot_shows_so_many_pictures_of_each_class_and_of_different_concepts_where_there_are():
    for task in episodes.few_shot(CLASS, SETTINGS):
        for episode in task.episodes:
            assert torch.bincount(episode.train_labels).tolist() == [task.shots] * 4
            assert len(CLASS.concept[episode.train].unique()) == len(episode.train)  # two concepts can be shown


def test_shots_that_no_class_can_give_are_left_out_and_so_are_classes_with_one_concept():
    tasks = episodes.few_shot(CLASS, dataclasses.replace(SETTINGS, shots=[4, 5]))
    assert {task.shots for task in tasks} == {4}  # two concepts of two pictures; the third is kept for the test
    alone = dataclasses.replace(CLASS, classes=torch.where(torch.arange(24) < 2, 4, CLASS.classes))
    assert {task.classes for task in episodes.few_shot(alone, SETTINGS)} == {4}
    assert episodes.linear_probe(alone, SETTINGS)[0].classes == 4


def test_unseen_subclasses_are_of_the_same_class_and_of_other_subclasses():
    domain = episodes.labelled(WORLD, "domain")
    tasks = episodes.unseen_subclasses(domain, CLASS.classes, "unseen", SETTINGS)
    assert [len(task.episodes) for task in tasks] == [6, 3]
    for episode in tasks[0].episodes:
        assert torch.equal(episode.train_labels, domain.classes[episode.train])
        assert not set(CLASS.classes[episode.train].tolist()) & set(CLASS.classes[episode.test].tolist())
    assert len({tuple(episode.train.tolist()) for episode in tasks[0].episodes}) > 1


def test_a_subclass_that_stands_in_two_classes_lends_each_only_its_own_pictures():
    sub, classes = torch.tensor([0, 0, 1, 2, 0, 0, 3, 4]), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    every = torch.ones(8, dtype=torch.bool)
    pictures = Labelled("tiny", "few-shot", classes, torch.arange(8), every, every)
    for task in episodes.unseen_subclasses(pictures, sub, "unseen", SETTINGS):
        for episode in task.episodes:
            rows, labels = torch.cat([episode.train, episode.test]), [episode.train_labels, episode.test_labels]
            assert rows.sort().values.tolist() == list(range(8))
            assert torch.equal(torch.cat(labels), classes[rows])


def test_a_shift_of_style_trains_on_one_style_and_tests_on_the_others():
    tasks = [task for task in episodes.of_world(WORLD, SETTINGS) if "style" in task.protocol]
    assert {task.protocol for task in tasks} == {"style colour to colour, class", "style colour to other, class"}
    for task in tasks:
        style = IMAGES["style"].to_numpy()
        assert {*style[task.episodes[0].train]} == {"colour"}
        assert {*style[task.episodes[0].test]} == {"line" if "other" in task.protocol else "colour"}


def test_nearest_centroids_are_those_by_hand():
    train = torch.tensor([[3.0, 0.0], [0.0, 4.0], [-1.0, 0.0], [0.0, -1.0]]) + 2
    names, weights, biases = downstream.linear_centroids(train, torch.tensor([7, 7, 9, 9]))
    assert names.tolist() == [7, 9]
    assert weights.norm(dim=1).tolist() == pytest.approx([1, 1])
    centre = train.mean(0)  # the scores of the centre itself are 0
    assert (weights @ centre + biases).abs().max() < 1e-5
    units = torch.nn.functional.normalize(train - centre, dim=1)
    assert torch.allclose(weights[0], torch.nn.functional.normalize(units[:2].sum(0), dim=0), atol=1e-6)


@pytest.mark.parametrize("dim", [4, 30])
@pytest.mark.parametrize("classes", [2, 5])
def test_ridge_regression_is_scikit_learns_on_one_hot_targets(classes, dim):
    train = torch.randn(12, dim, generator=torch.Generator().manual_seed(0)) + 4
    labels = torch.arange(12) % classes
    names, weights, biases = downstream.linear_ridge(train, labels, 0.1)
    centred = train - train.mean(0)
    model = Ridge(alpha=0.1 * centred.square().sum(1).mean().item())
    model.fit(train.numpy(), torch.nn.functional.one_hot(labels).numpy())
    test = torch.randn(7, dim, generator=torch.Generator().manual_seed(1)) + 4
    expected = torch.from_numpy(model.predict(test.numpy())).float()
    torch.testing.assert_close(test @ weights.T + biases, expected, atol=1e-3, rtol=0)
    assert names.tolist() == list(range(classes))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_ridge_classifier_does_not_see_a_scale_or_shift_of_the_features(scale):
    train, labels = torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    _, weights, biases = downstream.linear_ridge(train, labels, 0.1)
    _, moved, moved_biases = downstream.linear_ridge(scale * train + 5, labels, 0.1)
    torch.testing.assert_close(
        (scale * train + 5) @ moved.T + moved_biases, train @ weights.T + biases, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_logistic_regression_in_the_span_is_scikit_learns_in_the_whole_space(classes):
    from sklearn.linear_model import LogisticRegression

    train, labels = random_features(9, 30), torch.arange(9) % classes
    names, weights, biases = downstream.linear_logistic(train, labels, SETTINGS)
    scale = (train - train.mean(0)).square().mean().sqrt()
    model = LogisticRegression(max_iter=5000, tol=1e-6).fit(((train - train.mean(0)) / scale).numpy(), labels.numpy())
    test = random_features(50, 30, seed=1)
    ours = (test @ weights.T + biases).softmax(1)
    theirs = torch.from_numpy(model.predict_proba(((test - train.mean(0)) / scale).numpy()))
    assert names.tolist() == list(range(classes))
    assert torch.allclose(ours.double(), theirs.double(), atol=0.01)


def scored_rows():
    good, bad = perfect(CLASS.classes), random_features(24, 4)
    layers = {("m", "base"): {"pooled": bad}, ("m", "unalignet"): {"pooled": good}, ("m", "alignet"): {"pooled": good}}
    task = episodes.few_shot(CLASS, SETTINGS)[0]
    return pd.DataFrame(downstream.scored(task, layers, layers, SETTINGS)).set_index("target")


def test_improvement_and_lead_over_the_control_are_those_by_hand_and_paired():
    rows = scored_rows()
    assert rows.loc["base", "relative_improvement"] == 0
    assert rows.loc["base", ["relative_improvement_low", "relative_improvement_high"]].tolist() == [0, 0]
    assert rows.loc["alignet", "accuracy"] == 1
    expected = 100 * (1 / rows.loc["base", "accuracy"] - 1)
    assert rows.loc["alignet", "relative_improvement"] == pytest.approx(expected)
    assert rows.loc["alignet", ["over_control", "over_control_low", "over_control_high"]].tolist() == [0, 0, 0]
    assert rows["over_control"].isna().tolist() == [name != "alignet" for name in rows.index]
    assert set(rows["chance"]) == {0.25}
    assert set(rows["ci_unit"]) == {"episodes"}


def test_the_table_names_a_world_without_classes_and_data_sets_that_are_not_there():
    settings = dataclasses.replace(SETTINGS, public=[{"name": "DTD", "root": "data/no_such_folder"}])
    flat = dataclasses.replace(WORLD, hierarchy=("concept",), images=IMAGES.drop(columns="style"))
    table = downstream.downstream(flat, {}, {}, None, settings)
    assert list(table.columns) == downstream.COLUMNS
    assert table["accuracy"].isna().all()
    assert table["note"].tolist() == [downstream.ONE_LEVEL, "skipped: no folder data/no_such_folder/dtd"]


def test_classes_that_were_aligned_on_too_are_noted():
    layers = {("m", "base"): {"pooled": random_features(24, 4)}}
    shared = dataclasses.replace(WORLD, shared_concepts=True)
    table = downstream.downstream(shared, layers, {}, None, SETTINGS)
    assert table["note"].str.contains("used for alignment").all()
    assert set(table["choices"]) == {"simulated"}
