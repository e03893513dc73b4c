import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from alignet import config
from alignet.evaluation import reorganisation
from alignet.maths import metrics
from alignet.worlds.format.tables import World

SETTINGS = config.Reorganisation(
    seed=0, bootstrap=200, pictures_per_concept=2, neighbours=2, examples=2, umap_neighbours=3
)
# Two pictures each of six concepts, in three classes of two domains.
CONCEPTS = ["a", "a", "b", "b", "c", "c", "d", "d", "e", "e", "f", "f"]
CLASSES = {"a": "x", "b": "x", "c": "y", "d": "y", "e": "z", "f": "z"}
DOMAINS = {"x": "living", "y": "living", "z": "made"}


def make_world():
    classes = [CLASSES[concept] for concept in CONCEPTS]
    images = pd.DataFrame({"image": [f"i{n}" for n in range(12)], "concept": CONCEPTS, "class": classes})
    images = images.assign(domain=[DOMAINS[name] for name in classes], split="test")
    return World("tiny", "simulated", None, ("concept", "class", "domain"), images, None, None)


def random_features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layers_of(base, aligned):
    return {("m", "base"): {"pooled": base}, ("m", "alignet"): {"pooled": aligned}}


def hsic_formula(x, y):
    """CKA as it is written: tr(K H L H) / sqrt(tr(K H K H) tr(L H L H)), H the centring matrix."""
    n = len(x)
    centring = np.eye(n) - np.ones((n, n)) / n
    first, second = (z.double().numpy() @ z.double().numpy().T for z in (x, y))

    def hsic(k, other):
        return np.trace(k @ centring @ other @ centring)

    return hsic(first, second) / np.sqrt(hsic(first, first) * hsic(second, second))


def test_a_pairs_lowest_common_level_is_the_finest_label_that_both_have():
    lowest, names = reorganisation.relations(make_world(), torch.tensor([0, 1, 2, 4, 8]))
    assert names == ["same concept", "same class", "same domain", "unrelated"]
    assert lowest[0].tolist() == [0, 0, 1, 2, 3]


def test_the_sample_holds_so_many_pictures_of_each_concept_and_only_of_the_test_split():
    world = make_world()
    one = dataclasses.replace(SETTINGS, pictures_per_concept=1)
    assert reorganisation.sample(world, one).tolist() == [0, 2, 4, 6, 8, 10]
    images = world.images.assign(split=["human"] * 6 + ["test"] * 6)
    assert reorganisation.sample(dataclasses.replace(world, images=images), one).tolist() == [6, 8, 10]


def test_a_sample_of_many_concepts_is_of_evenly_spread_ones(monkeypatch):
    monkeypatch.setattr(reorganisation, "MOST", 7)
    assert reorganisation.sample(make_world(), SETTINGS).tolist() == [0, 1, 4, 5, 10, 11]


def test_distances_are_those_by_hand_and_do_not_change_with_rotation_shift_and_scale():
    square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    expected = torch.tensor([[0, 1, 2, 1], [1, 0, 1, 2], [2, 1, 0, 1], [1, 2, 1, 0]]).double()
    assert torch.allclose(reorganisation.distances(square), expected, atol=1e-6)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    assert torch.allclose(reorganisation.distances(5 * square @ turn + 3), expected, atol=1e-5)


def test_change_and_effect_size_are_those_by_hand():
    world, rows = make_world(), torch.arange(12)
    base, aligned = random_features(12, 5), random_features(12, 5, seed=1)
    table = reorganisation.reorganisation(world, rows, layers_of(base, aligned))
    before, after = (reorganisation.distances(x).numpy() for x in (base, aligned))
    pairs = [(i, j) for i in range(12) for j in range(i + 1, 12)]
    spread = np.std([before[pair] for pair in pairs], ddof=1)
    change = [(after[i, j] - before[i, j]) / spread for i, j in pairs if CONCEPTS[i] == CONCEPTS[j]]
    row = table.set_index(["target", "relation"]).loc[("alignet", "same concept")]
    assert row["n_pairs"] == len(change) == 6
    assert row["change"] == pytest.approx(np.mean(change))
    assert row["effect_size"] == pytest.approx(np.mean(change) / np.std(change, ddof=1))
    assert row["ci_low"] < row["change"] < row["ci_high"]
    assert set(table["choices"]) == {"simulated"}
    assert table.groupby("target")["n_pairs"].sum().eq(66).all()


def test_the_base_itself_does_not_change_and_has_no_effect_size():
    base = random_features(12, 5)
    table = reorganisation.reorganisation(make_world(), torch.arange(12), layers_of(base, 2 * base))
    assert table["change"].abs().max() < 1e-6
    assert table["effect_size"].isna().all()


def test_rsa_is_that_of_metrics_and_one_for_features_that_are_the_hierarchy():
    world, rows, features = make_world(), torch.arange(12), random_features(12, 5)
    lowest, _names = reorganisation.relations(world, rows)
    table = reorganisation.reorganisation(world, rows, layers_of(features, features))
    matrices = (reorganisation.distances(features), lowest.double())
    assert table["rsa"].iloc[0] == pytest.approx(metrics.spearman(*map(metrics.upper_triangle, matrices)))
    assert (table["rsa_low"] <= table["rsa"] + 1e-9).all()
    tree = torch.cat(  # equal steps at each of three levels, centred: distance grows with the lowest common level
        [torch.nn.functional.one_hot(world.codes(name)).float() for name in ("concept", "class", "domain")], dim=1
    )
    ordered = reorganisation.reorganisation(world, rows, layers_of(tree, tree))["rsa"].iloc[0]
    assert ordered > 0.9


def test_pairs_are_grouped_by_relation_and_know_their_concepts():
    pairs = reorganisation._pairs(make_world(), torch.arange(12))
    assert pairs.names[0] == "same concept"
    assert [len(some) for some, _ in pairs.of_relation.values()] == [6, 12, 16, 32]
    assert (pairs.of_relation[0][1].objects.diff(dim=1) == 0).all()  # both pictures show one concept


def test_the_influence_on_an_effect_size_is_that_of_leaving_a_pair_out():
    world, rows = make_world(), torch.arange(12)
    change = torch.randn(66, generator=torch.Generator().manual_seed(0)).double() + 0.5
    pairs = reorganisation._pairs(world, rows)
    row = list(reorganisation._by_relation(pairs, change))[3]
    some, units = pairs.of_relation[3]
    values = change[some]
    effects = torch.stack([(lambda rest: rest.mean() / rest.std())(values[torch.arange(32) != k]) for k in range(32)])
    jackknife = (effects.mean() - effects) * 31 / 32
    width = units.interval(0.0, jackknife)[1]
    assert row["effect_size"] == pytest.approx(float(values.mean() / values.std()))
    assert row["effect_size_high"] - row["effect_size"] == pytest.approx(width, rel=0.15)


@pytest.mark.parametrize("width", [3, 40])
def test_cka_is_the_direct_formula(width):
    x, y = random_features(15, 6), random_features(15, width, seed=1)
    grams = [metrics.centred_gram(z) for z in (x, y)]
    assert metrics.cka(x, y) == pytest.approx(hsic_formula(x, y), abs=1e-6)
    everything = torch.ones(1, 15).double()
    assert float(reorganisation.subset_cka(*grams, everything)) == pytest.approx(hsic_formula(x, y), abs=1e-6)


def test_cka_of_a_subset_is_that_of_its_pictures_alone():
    x, y = random_features(15, 6), random_features(15, 9, seed=1)
    inside = torch.zeros(2, 15).double()
    inside[0, [0, 3, 4, 7, 11, 14]] = 1
    inside[1, :8] = 1
    found = reorganisation.subset_cka(metrics.centred_gram(x), metrics.centred_gram(y), inside)
    expected = [hsic_formula(x[rows == 1], y[rows == 1]) for rows in inside]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_cka_is_one_after_rotation_shift_and_scale_and_lies_between_zero_and_one():
    x = random_features(15, 6)
    turn, _ = torch.linalg.qr(random_features(6, 6, seed=2))
    assert metrics.cka(x, 3 * x @ turn + 1) == pytest.approx(1, abs=1e-6)
    assert 0 <= metrics.cka(x, random_features(15, 6, seed=3)) < 0.99


def test_cka_is_rsatoolboxs_whitened_cosine_of_squared_euclidean_distances():
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm, compare  # Diedrichsen et al. 2020: with these distances the two are the same

    x, y = random_features(15, 6), random_features(15, 9, seed=1)
    first, second = (calc_rdm(Dataset(z.double().numpy()), method="euclidean") for z in (x, y))
    assert metrics.cka(x, y) == pytest.approx(float(compare(first, second, method="cosine_cov")[0, 0]), abs=1e-6)


def test_the_cka_table_has_a_row_for_each_pair_of_layers_and_intervals_for_a_layer_with_itself():
    base, aligned = ({"blocks.0": random_features(12, 4, seed=s), "pooled": random_features(12, 5)} for s in (0, 1))
    layers = {("m", "base"): base, ("m", "alignet"): aligned}
    table = reorganisation.alignment(make_world(), torch.arange(12), layers, SETTINGS)
    assert len(table) == 8
    scores = table.set_index(["target", "layer", "base_layer"])
    assert scores.loc[("alignet", "pooled", "pooled"), "cka"] == pytest.approx(1)
    assert scores["ci_low"].notna().sum() == 2
    own = scores.dropna(subset="ci_low")
    assert ((own["ci_low"] <= own["cka"] + 1e-9) & (own["cka"] <= own["ci_high"] + 1e-9)).all()


@pytest.mark.slow
def test_maps_are_the_same_every_time_and_those_after_alignment_lie_over_the_bases():
    base = random_features(12, 5)
    turn, _ = torch.linalg.qr(random_features(5, 5, seed=4))
    layers = layers_of(base, base @ turn)
    first, again = (reorganisation.maps(make_world(), torch.arange(12), layers, SETTINGS) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert len(first) == 2 * 2 * 6
    places = first[first["method"] == "PCA"].set_index(["target", "concept"])[["x", "y"]]
    assert np.allclose(places.loc["base"], places.loc["alignet"], atol=1e-5)  # a rotation changes nothing


def test_superposing_undoes_a_mirrored_turned_and_moved_map_and_keeps_its_scale():
    places = random_features(9, 2).double().numpy()
    turned = places @ np.array([[0.6, 0.8], [0.8, -0.6]]) + 5
    assert np.allclose(reorganisation._superposed(turned, places), places)
    middle = places.mean(0)
    assert np.allclose(reorganisation._superposed(3 * turned, places), 3 * (places - middle) + middle)


def test_a_map_of_few_concepts_is_refused():
    with pytest.raises(ValueError, match=r"images.csv, column concept: a map needs 5 test concepts, found 2"):
        reorganisation.maps(make_world(), torch.arange(4), layers_of(*[random_features(4, 3)] * 2), SETTINGS)


def test_nearest_neighbours_are_of_other_concepts_and_in_order():
    features = torch.zeros(12, 12)
    features[torch.arange(12), torch.arange(12) // 2 * 2] = 1  # each concept by itself
    features[:4, 11] = 0.9  # a and b are alike
    table = reorganisation.neighbours(make_world(), torch.arange(12), layers_of(features, features), SETTINGS)
    examples = list(dict.fromkeys(table["example"]))
    concept = dict(zip(make_world().images["image"], CONCEPTS, strict=True))
    assert len(examples) == 2
    for example in examples:
        part = table[(table["example"] == example) & (table["target"] == "base")]
        assert part["rank"].tolist() == [0, 1, 2]
        assert part["image"].iloc[0] == example
        assert len({concept[image] for image in part["image"]}) == 3
        assert part["distance"].is_monotonic_increasing
    near = table[(table["example"] == "i3") & (table["rank"] == 1)]
    assert [concept[image] for image in near["image"]] == ["a", "a"]
    assert set(near["relation"]) == {"same class"}
