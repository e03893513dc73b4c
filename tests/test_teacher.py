import pandas as pd
import pytest
import torch

from alignet import config, metrics, teacher
from alignet.triplets import pair_similarities
from alignet.worlds.tables import World


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def settings(**changes):
    return config.load("teacher", config.Teacher, "params.yaml", **changes)


def random_triplets(pool, n, seed=0):
    return pool[torch.rand(n, len(pool), generator=generator(seed)).topk(3, dim=1).indices]


def people(representation, triplets, raters, seed=0):
    """Choices drawn from softmax of the pair similarities, as Judgements."""
    chances = pair_similarities(representation[triplets]).softmax(-1).repeat_interleave(raters, 0)
    odd = torch.multinomial(chances, 1, generator=generator(seed)).squeeze(1)
    return teacher.Judgements.of(triplets.repeat_interleave(raters, 0), odd)


def world(rows, concepts="aabbccdd"):
    images = pd.DataFrame({"image": [f"i{n}" for n in range(len(concepts))], "concept": list(concepts)})
    triplets = pd.DataFrame(rows, columns=["image_0", "image_1", "image_2", "odd", "split"])
    return World("tiny", "human", None, ("concept",), images, triplets, None)


@pytest.fixture(scope="module")
def recovery():
    """Features of which people see two directions of six: (features, train and held-out judgements, the truth)."""
    features = torch.randn(120, 6, generator=generator())
    truth = features @ torch.diag(torch.tensor([2.0, 1.5, 0, 0, 0, 0]))
    train = people(truth, random_triplets(torch.arange(80), 3000), 1)
    unseen = people(truth, random_triplets(torch.arange(80, 120), 400, seed=1), 4, seed=1)
    return features, train, unseen, truth


def test_the_map_is_weight_times_standardised_features_plus_bias():
    affine = teacher.AffineMap(
        torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([0.0, 5.0]), torch.ones(2), torch.tensor(2.0)
    )
    assert affine(torch.tensor([[3.0, 5.0]])).tolist() == [[2.0, 8.0]]


def test_a_saved_map_loads_back(tmp_path):
    weight = torch.randn(4, 4, generator=generator()).T  # not contiguous, which safetensors refuses
    affine = teacher.AffineMap(weight, torch.arange(4.0), torch.ones(4), torch.tensor(1.7))
    affine.save(tmp_path / "map.safetensors")
    loaded = teacher.AffineMap.load(tmp_path / "map.safetensors")
    for name in ("weight", "bias", "mean", "scale"):
        assert torch.equal(getattr(loaded, name), getattr(affine, name))


def test_judgements_are_shares_of_people_per_distinct_triplet():
    judged = teacher.Judgements.of(torch.tensor([[5, 1, 3], [1, 3, 5], [0, 1, 2]]), torch.tensor([0, 0, 2]))
    assert judged.triplets.tolist() == [[0, 1, 2], [1, 3, 5]]
    assert judged.targets.tolist() == [[0, 0, 1], [0.5, 0, 0.5]]
    assert judged.where(torch.tensor([False, True])).counts.tolist() == [[1, 0, 1]]


def test_test_rows_of_unseen_concepts_are_kept_apart():
    rows = [("i0", "i2", "i4", 1, "train"), ("i1", "i3", "i5", 0, "train"), ("i6", "i7", "i8", 2, "test")]
    train, test = teacher.human_judgements(world(rows, "aabbccdde"))
    assert train.triplets.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert test.triplets.tolist() == [[6, 7, 8]]
    assert test.targets.tolist() == [[0, 0, 1]]


def test_no_concept_is_both_fitted_and_tested_on():
    rows = [("i0", "i2", "i4", 1, "train"), ("i0", "i2", "i6", 0, "train"), ("i7", "i4", "i2", 2, "test")]
    shared = world(rows)  # the test row shows b, c and d, of which the training rows show other pictures too
    train, test = teacher.human_judgements(shared)
    concepts = shared.codes("concept")
    tested = concepts[test.triplets] if test is not None else torch.empty(0, dtype=torch.int64)
    assert not torch.isin(concepts[train.triplets], tested).any()


def test_rows_without_a_split_are_all_fitted_on():
    rows = [("i0", "i2", "i4", 1, "test"), ("i1", "i3", "i6", 0, "train")]
    plain = world(rows)
    train, test = teacher.human_judgements(
        World("tiny", "human", None, ("concept",), plain.images, plain.triplets.drop(columns="split"), None)
    )
    assert test is None
    assert len(train.triplets) == 2


def test_all_pictures_of_a_concept_share_a_fold_and_folds_are_even():
    concepts = torch.randint(22, (200,), generator=generator())
    folds = teacher.concept_folds(concepts, 4, generator())
    assert all(len(folds[concepts == concept].unique()) == 1 for concept in concepts.unique())
    sizes = [len(concepts[folds == fold].unique()) for fold in range(4)]
    assert max(sizes) - min(sizes) <= 1
    assert torch.equal(folds, teacher.concept_folds(concepts, 4, generator()))
    assert not torch.equal(folds, teacher.concept_folds(concepts, 4, generator(1)))


def test_validation_triplets_show_no_concept_that_the_fit_saw(monkeypatch):
    concepts = torch.arange(60) // 2
    features = torch.randn(60, 3, generator=generator())
    judged = people(features, random_triplets(torch.arange(60), 2000), 1)
    splits = []
    score = teacher._before_and_after

    def keep(features, split, *rest):
        splits.append(split)
        return score(features, split, *rest)

    monkeypatch.setattr(teacher, "_before_and_after", keep)
    table = teacher.cross_validate(features, judged, concepts, settings(steps=2, folds=3))
    assert len(splits) == 3
    for split in splits:
        seen, held_out = (concepts[split[part].triplets].unique() for part in ("train", "validation"))
        assert len(held_out) == 10
        assert not torch.isin(held_out, seen).any()
    assert len(table) == 3 * 2 * 2
    assert set(table["split"]) == {"train", "validation"}
    assert set(table["map"]) == {"none", "fitted"}


def test_a_fit_recovers_the_map_behind_the_choices(recovery):
    features, train, unseen, truth = recovery
    fitted = teacher.fit(features, train, settings(steps=300, lr=0.01, regularisation=0.01, batch_size=1024))
    identity = teacher.AffineMap(torch.eye(6), torch.zeros(6), torch.zeros(6), torch.tensor(1.0))
    before = teacher.scores(teacher.rescaled(features, train), features, unseen, "uncertainty")
    after = teacher.scores(fitted, features, unseen, "uncertainty")
    best = teacher.scores(identity, truth, unseen, "uncertainty")
    assert after["odd_one_out_accuracy"] > before["odd_one_out_accuracy"] + 0.08
    assert after["kl"] < before["kl"] - 0.1
    assert after["odd_one_out_accuracy"] < best["odd_one_out_accuracy"] + 0.02
    assert best["odd_one_out_accuracy"] < 1
    gain = (fitted.weight.T @ fitted.weight).diagonal()
    assert gain[:2].min() > 5 * gain[2:].max()


def test_a_fit_depends_on_the_seed_alone(recovery):
    features, train, *_ = recovery
    first, again, other = (teacher.fit(features, train, settings(steps=3, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


def test_strong_regularisation_keeps_the_map_a_scaled_identity(recovery):
    features, train, *_ = recovery
    weak, strong = (
        teacher.fit(features, train, settings(steps=100, lr=0.01, regularisation=weight)).weight
        for weight in (0.0, 100.0)
    )
    off = [(weight - weight.diagonal().mean() * torch.eye(6)).norm() for weight in (weak, strong)]
    assert off[1] < 0.1 * off[0]


def test_statistics_come_from_judged_pictures_only():
    features = torch.randn(30, 4, generator=generator())
    judged = people(features, random_triplets(torch.arange(20), 300), 1)
    changed = features.clone()
    changed[20:] = 1e6
    plain, other = (teacher.fit(table, judged, settings(steps=2)) for table in (features, changed))
    torch.testing.assert_close(plain.mean, features[:20].mean(0))
    standardised = teacher.untransformed(features, judged, 1.0)(features[:20])
    torch.testing.assert_close(standardised.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    assert standardised.square().mean().item() == pytest.approx(1, abs=1e-5)
    for name in ("weight", "bias", "mean", "scale"):
        assert torch.equal(getattr(plain, name), getattr(other, name))


def test_rescaling_finds_the_scalar_that_predicts_best(recovery):
    features, train, *_ = recovery
    best = teacher.rescaled(features, train)
    scale = best.weight[0, 0].item()
    assert torch.equal(best.weight, scale * torch.eye(6))
    found = teacher.scores(best, features, train, "uncertainty")["kl"]
    for factor in (0.8, 1.25):
        other = teacher.untransformed(features, train, factor * scale)
        assert teacher.scores(other, features, train, "uncertainty")["kl"] > found


def test_scores_of_the_truth_are_calibrated_and_near_the_ceiling(recovery):
    _, _, unseen, truth = recovery
    identity = teacher.AffineMap(torch.eye(6), torch.zeros(6), torch.zeros(6), torch.tensor(1.0))
    scores = teacher.scores(identity, truth, unseen, "uncertainty")
    assert scores["n_triplets"] == len(unseen.triplets)
    assert scores["ece"] < 0.03
    assert scores["noise_ceiling"] == metrics.noise_ceiling(unseen.counts)


def test_a_refit_scores_training_and_test_triplets_before_and_after(recovery):
    features, train, unseen, _ = recovery
    affine, table = teacher.refit(features, train, unseen, settings(steps=2))
    assert affine.weight.shape == (6, 6)
    rows = [("none", "train"), ("none", "test"), ("fitted", "train"), ("fitted", "test")]
    assert list(zip(table["map"], table["split"], strict=True)) == rows
    assert set(teacher.refit(features, train, None, settings(steps=2))[1]["split"]) == {"train"}
