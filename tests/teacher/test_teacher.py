import dataclasses
import json

import inputs
import pandas as pd
import pytest
import torch
from inputs import generator, random_triplets
from safetensors import safe_open

from alignet.maths import losses, metrics
from alignet.maths.choices import pair_similarities, row_pair_similarities
from alignet.people.choice_distributions import ChoiceCounts
from alignet.teacher import affine_map, cross_validation, diagnostics
from alignet.worlds.format.tables import World

PLAIN = {"start": "identity", "batch_concepts": None, "pca": None, "validation_per_level": 0, "regularisation": 0.3}


def settings(**changes):
    return inputs.settings("teacher", **{**PLAIN, **changes})


def sight(features, concepts=None):
    """What the teacher sees of one layer, a concept a picture unless said."""
    concepts = torch.arange(len(features)) if concepts is None else concepts
    return cross_validation.Sight(features, [features.shape[1]], concepts)


def people(representation, triplets, raters, seed=0):
    """Choices drawn from softmax of the pair similarities, as ChoiceCounts."""
    chances = pair_similarities(representation[triplets]).softmax(-1).repeat_interleave(raters, 0)
    odd = torch.multinomial(chances, 1, generator=generator(seed)).squeeze(1)
    return ChoiceCounts.of(triplets.repeat_interleave(raters, 0), odd)


@pytest.fixture(scope="module")
def recovery():
    """Features of which people see two directions of six: (features, train and held-out judgements, the truth)."""
    features = torch.randn(120, 6, generator=generator())
    truth = features @ torch.diag(torch.tensor([2.0, 1.5, 0, 0, 0, 0]))
    train = people(truth, random_triplets(torch.arange(80), 3000), 1)
    unseen = people(truth, random_triplets(torch.arange(80, 120), 400, seed=1), 4, seed=1)
    return features, train, unseen, truth


def test_the_map_is_weight_times_standardised_features_plus_bias():
    affine = affine_map.AffineMap(
        torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([0.0, 5.0]), torch.ones(2), torch.tensor(2.0)
    )
    assert affine(torch.tensor([[3.0, 5.0]])).tolist() == [[2.0, 8.0]]


def test_a_saved_map_loads_back(tmp_path):
    weight = torch.randn(4, 4, generator=generator()).T  # not contiguous, which safetensors refuses
    affine = affine_map.AffineMap(weight, torch.arange(4.0), torch.ones(4), torch.tensor(1.7))
    affine.save(tmp_path / "teacher", settings())
    loaded = affine_map.AffineMap.load(tmp_path / "teacher")
    for name in ("weight", "bias", "mean", "scale"):
        assert torch.equal(getattr(loaded, name), getattr(affine, name))
    assert loaded.components is None


def test_axes_and_settings_stand_in_the_same_file(tmp_path):
    axes = torch.linalg.qr(torch.randn(5, 3, generator=generator())).Q.T
    affine = affine_map.AffineMap(torch.eye(3), torch.zeros(3), torch.ones(5), torch.tensor(2.0), axes)
    affine.save(tmp_path, settings(pca=3, lr=0.25))
    features = torch.randn(4, 5, generator=generator())
    torch.testing.assert_close(affine_map.AffineMap.load(tmp_path)(features), (features - 1) / 2 @ axes.T)
    with safe_open(tmp_path / "teacher.safetensors", "pt") as file:
        stored = json.loads(file.metadata()["settings"])
    assert (stored["pca"], stored["lr"], stored["loss"]) == (3, 0.25, "uncertainty")


def test_all_pictures_of_a_concept_share_a_fold_and_folds_are_even():
    concepts = torch.randint(22, (200,), generator=generator())
    folds = cross_validation.concept_folds(concepts, 4, generator())
    assert all(len(folds[concepts == concept].unique()) == 1 for concept in concepts.unique())
    sizes = [len(concepts[folds == fold].unique()) for fold in range(4)]
    assert max(sizes) - min(sizes) <= 1
    assert torch.equal(folds, cross_validation.concept_folds(concepts, 4, generator()))
    assert not torch.equal(folds, cross_validation.concept_folds(concepts, 4, generator(1)))


def test_validation_triplets_show_no_concept_that_the_fit_saw():
    concepts = torch.arange(60) // 2
    features = torch.randn(60, 3, generator=generator())
    judged = people(features, random_triplets(torch.arange(60), 2000), 1)
    folds = cross_validation.splits(sight(features, concepts), judged, settings(folds=3))
    assert len(folds) == 3
    held_out_ever = set()
    for fold in folds:
        seen, held_out = (concepts[part.triplets].unique() for part in (fold.train, fold.validation))
        assert len(held_out) == 10
        assert not torch.isin(held_out, seen).any()
        held_out_ever |= set(held_out.tolist())
    assert held_out_ever == set(range(30))


def test_a_fits_weights_do_not_depend_on_features_of_held_out_concepts():
    concepts, features = torch.arange(60) // 2, torch.randn(60, 3, generator=generator())
    judged = people(features, random_triplets(torch.arange(60), 2000), 1)
    changed = features.clone()
    chosen = settings(folds=3, steps=5, pca=2)
    changed[cross_validation.splits(sight(features, concepts), judged, chosen)[0].validation.triplets.unique()] = 1e6
    plain, other = (
        affine_map.fit(table, fold.train, chosen, start=fold.start.plain)
        for table in (features, changed)
        for fold in cross_validation.splits(sight(table, concepts), judged, chosen)[:1]
    )
    for name in ("weight", "bias", "mean", "scale", "components"):
        assert torch.equal(getattr(plain, name), getattr(other, name))


def test_folds_that_leave_no_triplets_are_refused():
    judged = people(torch.randn(6, 3, generator=generator()), random_triplets(torch.arange(6), 20), 1)
    with pytest.raises(ValueError, match="folds: 4 folds leave one of them without triplets"):
        cross_validation.splits(sight(torch.randn(6, 3)), judged, settings(folds=4))


def test_the_grid_holds_every_combination_of_each_part():
    parts = [{"regularisation": [0.0, 1.0], "lr": [0.1, 0.2]}, {"steps": [7]}]
    found = [
        (cell.regularisation, cell.lr, cell.steps)
        for cell in cross_validation.cells(settings(grid=parts, steps=3, lr=0.5))
    ]
    base = settings().regularisation
    assert sorted(found) == sorted([(0.0, 0.1, 3), (0.0, 0.2, 3), (1.0, 0.1, 3), (1.0, 0.2, 3), (base, 0.5, 7)])


def test_the_table_holds_every_cell_and_fold_and_a_clearly_better_cell_is_chosen(recovery):
    features, train, *_ = recovery
    chosen = settings(grid=[{"regularisation": [0.01, 1000.0]}], steps=60, lr=0.01, batch_size=512, folds=3)
    table = cross_validation.cross_validate(sight(features), train, chosen)
    fitted = table[table["map"] == "fitted"]
    assert fitted.groupby(["lambda", "fold", "split"]).size().tolist() == [1] * (2 * 3 * 2)
    assert len(table[table["map"] == "none"]) == 3 * 2
    loss = fitted[fitted["split"] == "validation"].groupby("lambda")["loss"].mean()
    assert cross_validation.best_cell(table, chosen).regularisation == loss.idxmin() == 0.01
    assert cross_validation.is_cell(table, cross_validation.best_cell(table, chosen)).sum() == 3 * 2


def grid_table(losses):
    """Validation losses by lambda, one for each fold."""
    rows = [
        {
            "fold": fold,
            "split": "validation",
            "level": "judged",
            "map": "fitted",
            "lambda": value,
            "loss": loss,
            "local_weight": 0.0,
        }
        | {"lr": 0.001, "sigma": 0.05, "steps": 100}
        for value, of_folds in losses.items()
        for fold, loss in enumerate(of_folds)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("losses", "chosen"),
    [
        # Behind the best by .002 with an error of .002 (differences 0, .004): within one error.
        ({0.1: (0.40, 0.60), 1.0: (0.40, 0.604)}, 1.0),
        # Behind by .02 in every fold: no error, though folds differ by .2.
        ({0.1: (0.40, 0.60), 1.0: (0.42, 0.62)}, 0.1),
        # The best is the most regularised.
        ({0.1: (0.50, 0.70), 1.0: (0.40, 0.60)}, 1.0),
    ],
)
def test_the_most_regularised_cell_within_one_standard_error_of_the_best_is_chosen(losses, chosen):
    cells = settings(grid=[{"regularisation": list(losses)}], lr=0.001, sigma=0.05, steps=100, local_weight=0.0)
    assert cross_validation.best_cell(grid_table(losses), cells).regularisation == chosen


def test_a_fit_recovers_the_map_behind_the_choices(recovery):
    features, train, unseen, truth = recovery
    fitted = affine_map.fit(features, train, settings(steps=300, lr=0.01, regularisation=0.01, batch_size=1024))
    identity = affine_map.AffineMap(torch.eye(6), torch.zeros(6), torch.zeros(6), torch.tensor(1.0))
    before = affine_map.scores(affine_map.rescaled(features, train), features, unseen, settings())
    after = affine_map.scores(fitted, features, unseen, settings())
    best = affine_map.scores(identity, truth, unseen, settings())
    assert after["odd_one_out_accuracy"] > before["odd_one_out_accuracy"] + 0.08
    assert after["kl"] < before["kl"] - 0.1
    assert after["odd_one_out_accuracy"] < best["odd_one_out_accuracy"] + 0.02
    assert best["odd_one_out_accuracy"] < 1
    gain = (fitted.weight.T @ fitted.weight).diagonal()
    assert gain[:2].min() > 5 * gain[2:].max()


def test_a_fit_depends_on_the_seed_alone(recovery):
    features, train, *_ = recovery
    first, again, other = (affine_map.fit(features, train, settings(steps=3, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


def test_strong_regularisation_keeps_the_map_a_scaled_identity(recovery):
    features, train, *_ = recovery
    weak, strong = (
        affine_map.fit(features, train, settings(steps=100, lr=0.01, regularisation=weight)).weight
        for weight in (0.0, 100.0)
    )
    off = [(weight - weight.diagonal().mean() * torch.eye(6)).norm() for weight in (weak, strong)]
    assert off[1] < 0.1 * off[0]


def test_statistics_come_from_judged_pictures_only():
    features = torch.randn(30, 4, generator=generator())
    judged = people(features, random_triplets(torch.arange(20), 300), 1)
    changed = features.clone()
    changed[20:] = 1e6
    plain, other = (affine_map.fit(table, judged, settings(steps=2)) for table in (features, changed))
    torch.testing.assert_close(plain.mean, features[:20].mean(0))
    standardised = affine_map.untransformed(features, judged, 1.0, None)(features[:20])
    torch.testing.assert_close(standardised.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    assert standardised.square().mean().item() == pytest.approx(1, abs=1e-5)
    for name in ("weight", "bias", "mean", "scale"):
        assert torch.equal(getattr(plain, name), getattr(other, name))


def test_rescaling_finds_the_scalar_that_predicts_best(recovery):
    features, train, *_ = recovery
    best = affine_map.rescaled(features, train)
    scale = best.weight[0, 0].item()
    assert torch.equal(best.weight, scale * torch.eye(6))
    found = affine_map.scores(best, features, train, settings())["kl"]
    for factor in (0.8, 1.25):
        other = affine_map.untransformed(features, train, factor * scale, None)
        assert affine_map.scores(other, features, train, settings())["kl"] > found


def test_scores_of_the_truth_are_calibrated_and_near_the_ceiling(recovery):
    _, _, unseen, truth = recovery
    identity = affine_map.AffineMap(torch.eye(6), torch.zeros(6), torch.zeros(6), torch.tensor(1.0))
    scores = affine_map.scores(identity, truth, unseen, settings())
    assert scores["n_triplets"] == len(unseen.triplets)
    assert scores["ece"] < 0.03
    assert scores["noise_ceiling"] == metrics.odd_one_out_noise_ceiling(unseen.agreement)


def test_a_refit_scores_training_and_test_triplets_before_and_after(recovery):
    features, train, unseen, _ = recovery
    maps, table = cross_validation.refit(sight(features), train, unseen, settings(steps=2))
    assert {name: affine.weight.shape for name, affine in maps.items()} == {"none": (6, 6), "fitted": (6, 6)}
    rows = [("none", "train"), ("none", "test"), ("fitted", "train"), ("fitted", "test")]
    assert list(zip(table["map"], table["split"], strict=True)) == rows
    assert set(cross_validation.refit(sight(features), train, None, settings(steps=2))[1]["split"]) == {"train"}


def test_hard_and_soft_losses_are_one_where_the_targets_are_the_peoples_shares(recovery):
    features, train, *_ = recovery
    soft, hard = (affine_map.fit(features, train, settings(loss=loss, steps=5)) for loss in ("uncertainty", "hard"))
    assert torch.equal(soft.weight, hard.weight)
    flat = train.with_targets(torch.full_like(train.targets, 1 / 3))
    assert torch.equal(affine_map.fit(features, flat, settings(loss="hard", steps=5)).weight, hard.weight)
    assert not torch.equal(affine_map.fit(features, flat, settings(steps=5)).weight, soft.weight)


def test_all_principal_axes_keep_every_similarity_and_few_keep_the_largest_variance(recovery):
    features, train, *_ = recovery
    plain, all_axes, one = (affine_map.untransformed(features, train, 0.5, pca) for pca in (None, 6, 1))
    torch.testing.assert_close(plain(features) @ plain(features).T, all_axes(features) @ all_axes(features).T)
    z = plain.standardised(features)[train.triplets.unique()]
    largest = torch.linalg.eigvalsh(z.T @ z)[-1]
    torch.testing.assert_close((z @ one.components.T).square().sum(), largest)
    assert affine_map.untransformed(features, train, 0.5, 7).components.shape == (6, 6)  # there are no more


def test_axes_of_more_dimensions_than_pictures_are_those_of_a_decomposition():
    features = torch.randn(10, 40, generator=generator())
    judged = people(features, random_triplets(torch.arange(10), 200), 1)
    start = affine_map.untransformed(features, judged, 1.0, 20)
    assert start.components.shape == (9, 40)  # ten centred rows span nine
    z = (features - features.mean(0)) / start.scale
    expected = torch.linalg.svd(z, full_matrices=False).Vh[:9]
    torch.testing.assert_close((start.components @ expected.T).abs(), torch.eye(9), atol=1e-4, rtol=0)


def test_joined_layers_have_the_same_share_of_the_variance_whatever_their_scale_and_width():
    features = torch.randn(50, 30, generator=generator()) * torch.tensor([100.0] * 4 + [0.01] * 26)
    judged = people(torch.randn(50, 3, generator=generator()), random_triplets(torch.arange(50), 300), 1)
    start = affine_map.untransformed(features, judged, 1.0, None, widths=[4, 26])
    first, second = (part.square().sum(1).mean() for part in start.standardised(features).split([4, 26], dim=1))
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first + second, torch.tensor(30.0))  # as of one layer of 30 dimensions
    plain = affine_map.untransformed(features[:, :4], judged, 1.0, None)
    alone = affine_map.untransformed(features[:, :4], judged, 1.0, None, widths=[4])
    assert torch.equal(plain.scale, alone.scale)


class Levels:
    """Draws triplets whose targets are those of a known representation; stands for people.by_level.ByLevel."""

    def __init__(self, truth, pictures):
        self.truth, self.pictures = truth, pictures

    def draw(self, pictures, n, seed):
        drawn = {}
        for place, level in enumerate(("coarse", "fine")):
            triplets = random_triplets(pictures, n, seed=seed + place)
            shares = pair_similarities(self.truth[triplets]).softmax(-1)
            drawn[level] = ChoiceCounts(triplets, shares, shares)
        return drawn


def test_drawn_triplets_of_held_out_concepts_are_scored_by_level_and_choose_the_cell(recovery):
    features, train, _, truth = recovery
    chosen = settings(
        grid=[{"regularisation": [0.01, 1000.0]}], steps=60, lr=0.01, batch_size=512, folds=2, validation_per_level=50
    )
    seen = dataclasses.replace(sight(features), by_level=Levels(truth, train.triplets.unique()))
    table = cross_validation.cross_validate(seen, train, chosen)
    rows = table[table["split"] == "validation"]
    assert rows.groupby("level").size().to_dict() == {"coarse": 6, "fine": 6, "judged": 6}
    assert set(rows.loc[rows["level"] != "judged", "n_triplets"]) == {50}
    turned = table.copy()  # the judged triplets alone would choose the other cell
    turned.loc[turned["level"] == "judged", "loss"] *= -1
    assert cross_validation.best_cell(turned, chosen).regularisation == 0.01
    for fold in cross_validation.splits(seen, train, chosen):
        held_out = fold.validation.triplets.unique()
        assert all(torch.isin(drawn.triplets, held_out).all() for drawn in fold.levels.values())


def test_drawn_triplets_can_be_trained_on_beside_peoples_own(recovery):
    features, train, _, truth = recovery
    seen = dataclasses.replace(sight(features), by_level=Levels(truth, train.triplets.unique()))
    pictures = train.triplets.unique()
    more = cross_validation.with_drawn(seen, train, pictures, settings(train_per_level=40))
    assert len(more.triplets) == len(more.targets) == len(train.triplets) + 80
    assert torch.equal(
        cross_validation.with_drawn(sight(features), train, pictures, settings()).triplets, train.triplets
    )


def test_triplets_are_drawn_of_all_judged_pictures_also_of_those_that_no_triplet_shows(recovery):
    features, train, _, truth = recovery
    few = train.where(torch.randperm(len(train.triplets), generator=generator())[:40])
    others = train.triplets.unique()[~torch.isin(train.triplets.unique(), few.triplets)]
    assert len(others)
    seen = dataclasses.replace(sight(features), by_level=Levels(truth, train.triplets.unique()))
    folds = cross_validation.splits(seen, few, settings(folds=2, validation_per_level=400, train_per_level=400))
    drawn = [drawn.triplets.unique() for fold in folds for drawn in fold.levels.values()]
    assert torch.isin(others, torch.cat(drawn)).all()
    for fold in folds:
        held_out = torch.cat([drawn.triplets.flatten() for drawn in fold.levels.values()]).unique()
        trained = sight(features).concepts[fold.train.triplets.unique()]
        assert not torch.isin(sight(features).concepts[held_out], trained).any()


def test_the_participation_ratio_counts_the_axes_that_a_representation_spreads_over():
    even = torch.cat([torch.eye(5), -torch.eye(5)])
    assert metrics.participation_ratio(even) == pytest.approx(5)
    assert metrics.participation_ratio(even * torch.tensor([1.0, 0, 0, 0, 0])) == pytest.approx(1)
    wide = torch.randn(4, 50, generator=generator())
    assert metrics.participation_ratio(wide) == pytest.approx(metrics.participation_ratio(wide @ torch.eye(50)))
    assert 1 <= metrics.participation_ratio(wide) <= 3


def test_the_local_term_keeps_the_neighbourhoods_of_other_pictures(recovery):
    features, train, *_ = recovery
    others = torch.randn(64, 6, generator=generator(5))
    chosen = settings(steps=200, lr=0.01, regularisation=0.0, batch_size=512, local_batch=64, local_temperature=0.3)
    moved = []
    for weight in (0.0, 0.9):
        affine = affine_map.fit(features, train, dataclasses.replace(chosen, local_weight=weight), others)
        moved.append(losses.local(affine.standardised(others), affine(others), 0.3).item())
    assert moved[1] < moved[0]
    with pytest.raises(ValueError, match="local_weight is above 0"):
        affine_map.fit(features, train, dataclasses.replace(chosen, local_weight=0.5))


@pytest.mark.slow
def test_soft_targets_teach_more_than_argmax_ones_where_triplets_are_few(recovery):
    features, train, _, truth = recovery
    informed = train.with_targets(pair_similarities(truth[train.triplets]).softmax(-1))
    chosen = settings(steps=200, lr=0.01, regularisation=0.0, batch_size=256, folds=2, soft_labels=[60, 10**6])
    table = diagnostics.soft_label_curve(sight(features), informed, chosen)
    assert len(table) == 2 * 2 * 3
    assert set(table.loc[table["n_train"] == 60, "n_used"]) == {60}
    mean = table.groupby(["n_train", "targets"])[["kl", "ece"]].mean()
    assert mean.loc[(60, "soft"), "kl"] < mean.loc[(60, "hard"), "kl"]
    assert mean.loc[(60, "soft"), "kl"] < mean.loc[(60, "argmax"), "kl"]


def test_a_layer_that_people_go_by_scores_above_one_of_noise():
    images = pd.DataFrame({"image": [f"i{n}" for n in range(60)], "concept": [f"c{n // 2:02d}" for n in range(60)]})
    table = pd.DataFrame(columns=["image_0", "image_1", "image_2", "odd"])
    tiny = World("tiny", "human", None, ("concept",), images, table, None)
    truth = 2 * torch.randn(30, 4, generator=generator())
    triplets = random_triplets(torch.arange(30), 800)
    judged = people(truth.repeat_interleave(2, 0), 2 * triplets + 1, 3)
    rows, place = diagnostics.first_pictures(tiny, judged)
    assert rows.tolist() == list(range(1, 60, 2))  # of each concept, the first picture that was judged
    assert place.tolist() == [n // 2 for n in range(60)]
    layers = {"noise": torch.randn(30, 4, generator=generator(1)), "seen": truth}
    found = diagnostics.by_layer(layers, judged, place, settings()).set_index("layer")
    assert found.loc["noise", "ci_low"] < 1 / 3 < found.loc["noise", "ci_high"]
    assert found.loc["seen", "ci_low"] > 0.6
    assert found["depth"].tolist() == [0, 1]


def test_disagreements_are_triplets_where_base_and_teacher_choose_differently(recovery):
    features, train, unseen, _ = recovery
    affine = affine_map.fit(features, train, settings(steps=100, lr=0.01))
    triplets, who = diagnostics.disagreements(affine, features, unseen, 10, 0)
    assert triplets.shape == (10, 3)
    assert (who["base"].argmax(1) != who["teacher"].argmax(1)).all()
    for row, share in zip(triplets, who["people"], strict=True):
        (place,) = (unseen.triplets == row).all(1).nonzero()[0].tolist()
        torch.testing.assert_close(share, unseen.targets[place])


def test_the_base_of_disagreements_chooses_without_the_fitted_bias(recovery):
    features, train, unseen, _ = recovery
    affine = affine_map.fit(features, train, settings(steps=100, lr=0.01))
    affine = dataclasses.replace(affine, bias=affine.bias + 3)
    triplets, who = diagnostics.disagreements(affine, features, unseen, 10, 0)
    plain = row_pair_similarities(affine.standardised(features), triplets)
    assert (who["base"].argmax(1) == plain.argmax(1)).all()


def test_folds_without_judged_triplets_of_their_own_are_validated_on_drawn_ones(recovery):
    features, train, _, truth = recovery
    few = train.where(torch.randperm(len(train.triplets), generator=generator())[:8])
    seen = dataclasses.replace(sight(features), by_level=Levels(truth, train.triplets.unique()))
    chosen = settings(folds=3, validation_per_level=50, train_per_level=100, steps=5, grid=[{"regularisation": [0.3]}])
    table = cross_validation.cross_validate(seen, few, chosen)
    drawn = table[(table["split"] == "validation") & (table["level"] != cross_validation.JUDGED)]
    assert set(drawn["fold"]) == {0, 1, 2}
    judged = table[(table["split"] == "validation") & (table["level"] == cross_validation.JUDGED)]
    assert set(judged["fold"]) < {0, 1, 2}
    assert cross_validation.best_cell(table, chosen).regularisation == 0.3
    curve = diagnostics.soft_label_curve(seen, few, dataclasses.replace(chosen, soft_labels=[2]))
    assert set(curve["fold"]) == set(judged["fold"])
