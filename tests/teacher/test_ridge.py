"""Ridge regression onto the embedding of people's choices, and fits that start there."""

import dataclasses

import inputs
import pandas as pd
import pytest
import torch
from inputs import generator, random_triplets
from sklearn.linear_model import Ridge

from alignet.maths import losses
from alignet.maths.choices import pair_similarities
from alignet.people.choice_distributions import ChoiceCounts
from alignet.people.embeddings import PictureEmbedding
from alignet.people.vice import Posterior
from alignet.teacher import affine_map, cross_validation, ridge
from alignet.teacher.affine_map import AffineMap, Drawn
from alignet.worlds.format.tables import World


def settings(**changes):
    plain = {"pca": None, "validation_per_level": 0, "train_per_level": 0, "regularisation": 0.0, "batch_concepts": 8}
    return inputs.settings("teacher", **{"start": "ridge", **plain, **changes})


@pytest.fixture(scope="module")
def judged():
    """What the teacher sees of 90 pictures whose embedding is two of eight feature dimensions, with people's choices
    about the first 60."""
    features = torch.randn(90, 8, generator=generator())
    mu = features[:, :2] * 2 + 1
    embedding = PictureEmbedding(Posterior(mu, torch.full_like(mu, 0.1)), torch.arange(90))
    triplets = random_triplets(torch.arange(60), 1500)
    odd = torch.multinomial(pair_similarities(mu.relu()[triplets]).softmax(-1), 1, generator=generator(1)).flatten()
    sight = cross_validation.Sight(features, [8], torch.arange(90), embedding=embedding)
    return sight, ChoiceCounts.of(triplets, odd)


@pytest.mark.parametrize("shape", [(30, 5), (12, 40)])
def test_weights_are_those_of_scikit_learn(shape):
    inputs_, targets = torch.randn(*shape, generator=generator()) + 3, torch.randn(shape[0], 2, generator=generator(1))
    regression = ridge.Regression.of(inputs_, targets, torch.arange(shape[0]))
    centred = inputs_ - inputs_.mean(0)
    theirs = Ridge(alpha=0.7 * float(centred.square().sum() / len(centred))).fit(inputs_.numpy(), targets.numpy())
    torch.testing.assert_close(
        regression.weight(0.7).float(), torch.from_numpy(theirs.coef_).float(), atol=1e-5, rtol=0
    )


def test_one_dimension_by_hand():
    # x = -1, 1 and y = -2, 2: sum xy = 4, sum x^2 = 2, mean square norm 1, so W = 4 / (2 + penalty).
    regression = ridge.Regression.of(torch.tensor([[-1.0], [1.0]]), torch.tensor([[-2.0], [2.0]]), torch.arange(2))
    assert regression.weight(2.0).item() == pytest.approx(1)


def test_predictions_of_a_left_out_concept_are_those_of_a_fit_without_it():
    x, y = torch.randn(20, 6, generator=generator()), torch.randn(20, 3, generator=generator(1))
    concepts = torch.tensor([0, 0, 0, 1, 1, *range(2, 17)])
    regression = ridge.Regression.of(x, y, concepts)
    found = regression.left_out(0.5) + y.double().mean(0)
    alpha = 0.5 * float((x - x.mean(0)).square().sum() / len(x))
    for concept in (0, 1, 5):
        rest = concepts != concept
        theirs = Ridge(alpha=alpha).fit(x[rest].numpy(), y[rest].numpy()).predict(x[~rest].numpy())
        torch.testing.assert_close(found[~rest].float(), torch.from_numpy(theirs).float(), atol=1e-4, rtol=0)


def test_a_ridge_start_has_the_embeddings_dimensions_and_predicts_unseen_concepts(judged):
    sight, train = judged
    maps, table = cross_validation.refit(sight, train, None, settings(steps=0))
    assert maps["ridge"].weight.shape == (2, 8)
    assert maps["none"].weight.shape == (8, 8)
    torch.testing.assert_close(maps["fitted"].weight, maps["ridge"].weight)
    assert list(table["map"]) == ["none", "ridge", "fitted"]
    unseen = random_triplets(torch.arange(60, 90), 300, seed=2)
    shares = pair_similarities(sight.embedding.mean(unseen.flatten()).unflatten(0, unseen.shape)).softmax(-1)
    divergence = {
        name: float(losses.kl(affine_map.mapped_similarities(affine, sight.features, unseen), shares))
        for name, affine in maps.items()
    }
    assert divergence["ridge"] < 0.5 * divergence["none"]


def test_the_mean_of_a_rectified_normal_is_that_of_many_samples():
    posterior = Posterior(
        torch.tensor([[-0.5, 0.0, 1.0], [2.0, -1.0, 0.3]]), torch.tensor([[1.0, 0.5, 0.1], [0, 0, 2]])
    )
    samples = PictureEmbedding(posterior, torch.arange(2)).sample(torch.arange(2), 200_000, generator())
    torch.testing.assert_close(posterior.rectified_mean(), samples.mean(0), atol=0.01, rtol=0)


def test_all_triplets_of_a_batch_have_the_loss_of_the_enumerated_ones(judged):
    sight, train = judged
    still = PictureEmbedding(
        Posterior(sight.embedding.posterior.mu, torch.zeros_like(sight.embedding.posterior.mu)), torch.arange(90)
    )
    drawn = Drawn(still, torch.arange(60), torch.arange(60))
    start = affine_map.untransformed(sight.features, train, 0.3, None)
    found = affine_map._all_triplets(start, sight.features, drawn, 5, generator(3))(start.weight, start.bias)
    batch = drawn.batch(5, generator(3))
    triplets = torch.tensor(
        [[batch[i], batch[j], batch[k]] for i in range(5) for j in range(i + 1, 5) for k in range(j + 1, 5)]
    )
    targets = pair_similarities(still.mean(torch.arange(90))[triplets]).softmax(-1)
    expected = losses.kl(affine_map.mapped_similarities(start, sight.features, triplets), targets)
    torch.testing.assert_close(found, expected)


def test_a_batch_shows_each_concept_once():
    drawn = Drawn(None, torch.arange(40), torch.arange(40) // 4)
    batch = drawn.batch(7, generator())
    assert len(batch) == 7
    assert len(drawn.concepts[batch].unique()) == 7
    assert len(drawn.batch(50, generator())) == 10
    assert not torch.equal(batch.sort().values, drawn.batch(7, generator(1)).sort().values)


def test_a_strong_penalty_keeps_a_fit_at_its_ridge_start(judged):
    sight, train = judged
    start = cross_validation.Start.of(sight, train, torch.arange(60), settings())
    moved = [
        (start.fit(sight, train, settings(steps=40, lr=0.01, regularisation=weight)).weight - start.ridge.weight).norm()
        for weight in (0.0, 1000.0)
    ]
    assert moved[1] < 0.1 * moved[0]


def test_of_cells_that_are_as_good_the_one_of_the_fewest_steps_is_taken(judged):
    sight, train = judged
    grid = [{"steps": [0]}, {"steps": [3], "lr": [1e-7]}]
    chosen = settings(folds=2, grid=grid, lr=1e-7)
    table = cross_validation.cross_validate(sight, train, chosen)
    assert set(table["map"]) == {"none", "ridge", "fitted"}
    tied = table.assign(loss=1.0)
    assert cross_validation.best_cell(tied, chosen).steps == 0
    table.loc[(table["map"] == "fitted") & (table["steps"] == 3), "loss"] -= 1
    assert cross_validation.best_cell(table, chosen).steps == 3


def test_cross_fitted_rows_show_every_concept_as_new_once_and_count_a_triplet_once(judged):
    sight, train = judged
    chosen = settings(folds=3, steps=0)
    table = cross_validation.cross_fitted(sight, train, chosen).set_index("map")
    inside = sum(len(fold.validation.triplets) for fold in cross_validation.splits(sight, train, chosen))
    assert set(table["n_triplets"]) == {inside}
    assert table.loc["ridge", "odd_one_out_accuracy"] > table.loc["none", "odd_one_out_accuracy"]
    assert (table["ci_low"] < table["odd_one_out_accuracy"]).all()


def test_a_triplet_counts_once_however_many_people_judged_it():
    similarities = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    counts = torch.tensor([[98, 1, 1], [1, 0, 0]])
    scores = cross_validation.on_people(similarities, counts, torch.arange(6).view(2, 3))
    assert scores["odd_one_out_accuracy"] == pytest.approx(0.49)
    assert pd.isna(scores["ci_low"])


def test_rows_of_levels_are_scored_by_regime_and_level(judged):
    sight, _ = judged
    images = pd.DataFrame({"image": [f"i{n}" for n in range(90)], "concept": [f"c{n}" for n in range(90)]})
    images["split"] = ["human"] * 60 + ["test"] * 30
    table = pd.DataFrame(columns=["image_0", "image_1", "image_2", "odd", "participant"])
    rows = [("i0", "i1", "i2", 0, "coarse"), ("i70", "i71", "i72", 1, "fine"), ("i0", "i70", "i71", 1, "fine")]
    levels = pd.DataFrame(rows, columns=["image_0", "image_1", "image_2", "odd", "level"]).assign(participant="p")
    world = World("tiny", "human", None, ("concept",), images, table, levels)
    affine = affine_map.untransformed(
        sight.features, ChoiceCounts.of(torch.arange(6).view(2, 3), torch.zeros(2).long()), 1.0, None
    )
    found = cross_validation.on_new_and_known(
        {"none": affine}, settings(), sight, world, inputs.settings("human_uncertainty", held_out_objects=None)
    )
    names = list(found[["split", "level", "n_triplets"]].itertuples(index=False, name=None))
    expected = [("known", "coarse"), ("known", "all"), ("new", "fine"), ("new", "all"), ("mixed", "fine")]
    assert names == [(*each, 1) for each in [*expected, ("mixed", "all")]]


def test_a_ridge_start_without_an_embedding_is_refused(judged):
    sight, train = judged
    with pytest.raises(ValueError, match=r"teacher\.start: ridge needs an embedding"):
        cross_validation.splits(dataclasses.replace(sight, embedding=None), train, settings(folds=2))


def test_a_map_onto_fewer_dimensions_loads_back_and_its_control_keeps_the_features(tmp_path):
    affine = AffineMap(torch.randn(2, 4, generator=generator()), torch.ones(2), torch.zeros(4), torch.tensor(2.0))
    affine.save(tmp_path, settings())
    loaded = AffineMap.load(tmp_path)
    features = torch.randn(5, 4, generator=generator(1))
    assert torch.equal(loaded(features), affine(features))
    torch.testing.assert_close(loaded.without_map(3.0)(features), 1.5 * features)
