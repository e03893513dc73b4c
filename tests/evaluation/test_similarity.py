import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from inputs import generator
from inputs import settings as section
from rsatoolbox.inference import eval_fixed
from rsatoolbox.model import ModelFixed
from rsatoolbox.rdm import RDMs
from scipy.stats import rankdata, spearmanr

from alignet import config
from alignet.evaluation import disagreement, rsa, similarity
from alignet.evaluation.data import matrices
from alignet.maths.choices import gather_pair_similarities
from alignet.people import held_out
from alignet.worlds.format.tables import TRIPLET, World

SETTINGS = config.Similarity(seed=0, rater_groups=3, pairs=2, pair_class=None, matrices=[], picture_sets=[])
PEOPLE = section("human_uncertainty")
CONCEPTS, PICTURES = 12, 2  # of each split; a class holds 4 concepts
PAIRS = torch.triu_indices(CONCEPTS, CONCEPTS, 1)


def known_world(people=6, sharpness=6.0):
    """12 human and 12 test concepts of two pictures each, with known positions, and a softmax of people's choices."""
    rows = [
        (f"{split}{concept}_{picture}", f"{split}{concept:02d}", f"c{concept // 4}", f"d{concept // 8}", split)
        for split in ("human", "test")
        for concept in range(CONCEPTS)
        for picture in range(PICTURES)
    ]
    images = pd.DataFrame(rows, columns=["image", "concept", "class", "domain", "split"])
    place = torch.nn.functional.normalize(torch.randn(CONCEPTS, 4, generator=generator()), dim=1)
    place = place - place.mean(0)
    choices = {split: choose(place, split, people, sharpness) for split in ("human", "test")}
    levels = choices["test"].assign(level="coarse")
    world = World("known", "simulated", None, ("concept", "class", "domain"), images, choices["human"], levels)
    return world, place.repeat_interleave(PICTURES, 0)


def choose(place, split, people, sharpness):
    triplets = torch.combinations(torch.arange(CONCEPTS), 3)
    unit = torch.nn.functional.normalize(place, dim=1)
    chances = (sharpness * gather_pair_similarities(unit @ unit.T, triplets)).softmax(1)
    odd = torch.multinomial(chances, people, replacement=True, generator=generator(3))
    names = np.array([f"{split}{concept}_0" for concept in range(CONCEPTS)])[triplets.numpy()]
    rows = pd.DataFrame(np.repeat(names, people, axis=0), columns=TRIPLET)
    persons = [f"p{person}" for person in range(people)] * len(triplets)
    return rows.assign(odd=odd.flatten().numpy(), participant=persons, split="test")


def layers(*features, names=("known",)):
    return {(name, "base"): {"pooled": rows} for name, rows in zip(names, features, strict=True)}


def scored(world, features, settings=SETTINGS, people=PEOPLE):
    """similarity.csv of models whose features, of the human and of the test pictures alike, are given."""
    tested = similarity.tested_rows(world, held_out.choice_parts(world, people))
    rows = torch.cat([world.scored_rows(), tested]).unique()
    found = {key: {"pooled": each["pooled"].repeat(2, 1)[rows]} for key, each in features.items()}
    return similarity.similarity(world, rows, found, settings, people)


def rated(world, pairs, participants=("a", "b", "c", "d"), noise=0.0):
    """Ratings of pairs of images: {(first, second): rating}."""
    rows = [
        (first, second, rating + noise * number, person)
        for (first, second), rating in pairs.items()
        for number, person in enumerate(participants)
    ]
    ratings = pd.DataFrame(rows, columns=["image_0", "image_1", "rating", "participant"])
    return dataclasses.replace(world, ratings=ratings)


def test_the_tested_pictures_are_those_of_held_out_and_other_test_choices():
    world, _ = known_world()
    everything = dataclasses.replace(world, triplets=world.triplets.assign(split="train"))
    named = dataclasses.replace(PEOPLE, held_out_objects=[f"human{n:02d}" for n in range(4)])
    rows = similarity.tested_rows(everything, held_out.choice_parts(everything, named))
    assert world.images["image"].iloc[rows.tolist()].tolist() == [f"human{n}_0" for n in range(4)]
    assert len(similarity.tested_rows(everything, held_out.choice_parts(everything, PEOPLE))) == 0


def test_triplets_of_seen_objects_are_scored_apart_from_those_of_held_out_ones():
    world, place = known_world()
    half = np.arange(len(world.triplets)) % 2 == 0
    split = dataclasses.replace(world, triplets=world.triplets.assign(split=np.where(half, "train", "test")))
    table = scored(split, layers(place), people=dataclasses.replace(PEOPLE, held_out_objects=0.5))
    value = table.set_index("benchmark")
    inside = value.loc["held-out triplets", "n"]
    outside = value.loc["test triplets, objects seen", "n"]
    assert inside == 20  # all triplets of six objects
    assert outside > 50
    assert "held-out triplets" not in set(scored(split, layers(place)).dropna(subset="value")["benchmark"])


def test_the_model_that_people_chose_by_scores_high_and_a_random_and_a_constant_one_do_not():
    world, place = known_world()
    random, constant = torch.randn(24, 4, generator=generator(9)), torch.ones(24, 4)
    table = scored(world, layers(place, random, constant, names=("known", "random", "constant")))
    value = table.set_index(["benchmark", "student"])["value"]
    assert value["held-out triplets", "known"] > 0.6
    assert value["held-out triplets", "random"] == pytest.approx(1 / 3, abs=0.12)
    assert value["held-out triplets", "constant"] == 0
    for name in ("choice probabilities, held-out triplets", "choice probabilities, levels, new, coarse"):
        assert value[name, "known"] > 0.85
        assert abs(value[name, "random"]) < 0.4
        assert math.isnan(value[name, "constant"])
    inside = table[table["student"] == "known"]
    assert ((inside["ci_low"] <= inside["value"]) & (inside["value"] <= inside["ci_high"])).all()
    assert (inside["noise_ceiling_low"] <= inside["noise_ceiling_high"]).all()


def test_permuted_labels_take_the_likeness_away():
    world, place = known_world()
    moved = place[torch.randperm(24, generator=generator(2))]
    value = scored(world, layers(place, moved, names=("known", "moved"))).set_index(["benchmark", "student"])["value"]
    assert abs(value["choice probabilities, held-out triplets", "moved"]) < 0.4
    assert value["held-out triplets", "moved"] < value["held-out triplets", "known"] - 0.15


def test_choice_shares_are_those_by_hand():
    # Objects 0, 1, 2: twice 2 is the odd one out, once 0; then 0, 1, 3 by the second group.
    triplets = torch.tensor([[0, 1, 2], [2, 0, 1], [0, 1, 2], [0, 1, 3]])
    pairs, shares = rsa.choice_shares(triplets, torch.tensor([2, 0, 0, 0]), torch.tensor([0, 0, 0, 1]), 2)
    assert pairs.T.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3]]
    expected = torch.tensor([[2 / 3, 0, torch.nan, 1 / 3, torch.nan], [0, torch.nan, 0, torch.nan, 1]])
    torch.testing.assert_close(shares, expected.double(), equal_nan=True)


def test_dot_products_of_many_and_of_few_pairs_are_those_of_the_matrix(monkeypatch):
    rows = torch.randn(9, 4, generator=generator(0), dtype=torch.float64)
    pairs = torch.triu_indices(9, 9, 1)
    expected = (rows @ rows.T)[pairs[0], pairs[1]]
    monkeypatch.setattr(rsa, "PART", 20)  # several parts, the last of them smaller
    for dense in (0, 100):
        monkeypatch.setattr(rsa, "DENSE", dense)
        torch.testing.assert_close(rsa.dot_products(rows, pairs), expected)


def test_a_person_is_always_in_one_group():
    people = pd.Series(["b", "a", "c", "b", "d", "a"])
    groups = rsa.people_groups(people, 3)
    assert groups.tolist() == [1, 0, 2, 1, 0, 0]


def dissimilar(seed=0, groups=3, noise=0.5):
    """Similarities of all pairs for a model and for groups of people around it."""
    features = torch.randn(CONCEPTS, 3, generator=generator(seed), dtype=torch.float64)
    model = (features @ features.T)[PAIRS[0], PAIRS[1]]
    return model, model + noise * torch.randn(groups, len(model), generator=generator(seed + 1), dtype=torch.float64)


def test_rsa_and_its_noise_ceiling_are_rsatoolboxs():
    model, people = dissimilar()
    data = RDMs(-people.numpy())
    theirs = eval_fixed([ModelFixed("model", RDMs(-model[None].numpy()))], data, method="spearman")
    assert rsa.rsa_over_groups(model, people)[0] == pytest.approx(theirs.evaluations.mean(), abs=1e-6)
    assert rsa.rsa_noise_ceiling(people) == pytest.approx(tuple(theirs.noise_ceiling), abs=1e-6)


def test_the_ceiling_of_people_who_agree_is_one_and_of_one_group_unknown():
    _, people = dissimilar(noise=0.0)
    assert rsa.rsa_noise_ceiling(people) == pytest.approx((1, 1))
    assert rsa.rsa_over_groups(people[0], people)[0] == pytest.approx(1)
    assert all(math.isnan(end) for end in rsa.rsa_noise_ceiling(people[:1]))
    low, _ = rsa.rsa_noise_ceiling(torch.randn(3, 60, generator=generator(), dtype=torch.float64))
    assert abs(low) < 0.3


def test_a_ceiling_of_pairs_that_fill_no_triangle_is_that_of_these_pairs():
    _, people = dissimilar()
    part = people[:, :50]
    ranks = [rankdata(group) for group in part]
    low = [spearmanr(ranks[a] + ranks[b], ranks[c]).statistic for a, b, c in ((1, 2, 0), (0, 2, 1), (0, 1, 2))]
    assert rsa.rsa_noise_ceiling(part)[0] == pytest.approx(np.mean(low), abs=1e-6)


def test_one_person_has_no_noise_ceiling_and_few_pairs_no_score():
    world, place = known_world(people=1)
    table = scored(world, layers(place)).set_index("benchmark")
    assert math.isnan(table.loc["held-out triplets", "noise_ceiling"])
    row = table.loc["choice probabilities, held-out triplets"]
    assert math.isnan(row["noise_ceiling"])
    assert "no noise ceiling" in row["note"]
    few = dataclasses.replace(world, levels=world.levels[:0])
    assert "no such choices" in " ".join(scored(few, layers(place))["note"])


def test_what_a_world_lacks_is_a_row_with_a_note():
    world, place = known_world()
    bare = dataclasses.replace(world, levels=None, triplets=world.triplets.assign(split="train"))
    table = scored(bare, layers(place))
    assert table["value"].isna().all()
    assert (table["note"] != "").all()
    assert list(table.columns) == similarity.COLUMNS


def test_pictures_that_no_stage_has_stored_are_run_through_the_students(monkeypatch):
    world, place = known_world()
    everything = dataclasses.replace(world, triplets=world.triplets.assign(split="train"))
    named = dataclasses.replace(PEOPLE, held_out_objects=["human00", "human03"])
    asked = []

    def forward(students, paths, settings):
        asked.extend(paths)
        return layers(torch.full((len(paths), 4), 7.0))

    monkeypatch.setattr(similarity.activations, "forward", forward)
    monkeypatch.setattr(World, "paths", lambda self, rows: self.images["image"].iloc[rows.tolist()].tolist())
    rows, found = similarity.with_tested({}, layers(place), everything, named, None)
    assert asked == []  # the triplets of two objects alone are none
    three = dataclasses.replace(PEOPLE, held_out_objects=["human00", "human03", "human07"])
    rows, found = similarity.with_tested({}, layers(place), everything, three, None)
    assert asked == ["human0_0", "human3_0", "human7_0"]
    assert rows.tolist() == [0, 6, 14, *range(24, 48)]
    assert torch.equal(found["known", "base"]["pooled"], torch.cat([torch.full((3, 4), 7.0), place]))


def test_similarity_is_the_plain_cosine_with_the_centred_one_and_paired_differences_beside_it():
    world, place = known_world()
    moved = place + 5 * torch.ones(4)
    found = layers(moved) | {("known", "unalignet"): {"pooled": moved}, ("known", "alignet"): {"pooled": place}}
    table = scored(world, found).set_index(["benchmark", "target"])
    of_levels = table.loc["choice probabilities, levels, new, coarse"]
    assert of_levels.loc["base", "value"] < of_levels.loc["alignet", "value"] - 0.1
    assert of_levels["centred_value"].tolist() == pytest.approx([of_levels.loc["alignet", "centred_value"]] * 3)
    for benchmark in ("choice probabilities, levels, new, coarse", "held-out triplets"):
        rows = table.loc[benchmark]
        gain = rows.loc["alignet", "value"] - rows.loc["base", "value"]
        assert rows.loc["alignet", "over_base"] == pytest.approx(gain)
        assert rows.loc["alignet", "over_control"] == pytest.approx(gain)
        assert rows.loc["alignet", "over_base_low"] < gain < rows.loc["alignet", "over_base_high"]
        assert rows.loc["unalignet", ["over_base", "over_base_low", "over_base_high"]].tolist() == [0, 0, 0]
        assert rows.loc[["base", "unalignet"], "over_control"].isna().all()
    assert of_levels["regime"].eq("new").all()


def test_an_answer_more_about_one_triplet_moves_no_rsa_where_the_answers_agree():
    world, place = known_world(people=1)
    again = world.levels.iloc[:1]
    many = pd.concat([world.levels, *[again.assign(participant=f"q{number}") for number in range(198)]])
    benchmark = "choice probabilities, levels, new, coarse"
    one, other = (
        scored(dataclasses.replace(world, levels=rows.reset_index(drop=True)), layers(place)).set_index("benchmark")
        for rows in (world.levels, many)
    )
    assert other.loc[benchmark, "value"] == pytest.approx(one.loc[benchmark, "value"])


def test_ratings_that_follow_the_distance_are_matched_and_their_people_agree():
    world, place = known_world()
    unit = torch.nn.functional.normalize(place.double(), dim=1)
    similar = unit @ unit.T
    names = world.images["image"].iloc[world.rows("test").tolist()].tolist()
    pairs = {(names[a], names[b]): float(similar[a, b]) for a in range(0, 24, 2) for b in range(a + 2, 24, 2)}
    turned = {(b, a): value for (a, b), value in pairs.items()}
    for world in (rated(known_world()[0], pairs), rated(known_world()[0], turned, noise=0.01)):
        row = scored(world, layers(place)).set_index("benchmark").loc["ratings.csv"]
        assert row["value"] == pytest.approx(1)
        assert row["noise_ceiling"] == pytest.approx(1)
        assert row["n"] == 66
        assert row["ci_unit"] == "pairs that share pictures"


def write(tmp_path, values, labels, columns=None):
    file = tmp_path / "square.csv"
    pd.DataFrame(values, index=labels, columns=labels if columns is None else columns).to_csv(file)
    return {"name": "square", "file": str(file), "kind": "similarity"}


def test_a_matrix_file_is_scored_on_the_concepts_it_shares(tmp_path):
    world, place = known_world()
    unit = torch.nn.functional.normalize(place[::2].double(), dim=1).numpy()
    similar = unit @ unit.T
    labels = [f"test{n:02d}" for n in range(CONCEPTS)]
    matrix = write(tmp_path, similar, labels)
    settings = dataclasses.replace(SETTINGS, matrices=[matrix, matrix | {"name": "turned", "kind": "distance"}])
    value = scored(world, layers(place), settings).set_index("benchmark")["value"]
    assert value["square"] == pytest.approx(1)
    assert value["turned"] == pytest.approx(-1)
    other = write(tmp_path, similar, [f"else{n}" for n in range(CONCEPTS)])
    table = scored(world, layers(place), dataclasses.replace(SETTINGS, matrices=[other])).set_index("benchmark")
    assert "fewer than 3 concepts" in table.loc["square", "note"]


def test_a_numpy_matrix_takes_its_names_from_a_file(tmp_path):
    np.save(tmp_path / "square.npy", np.eye(3))
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    matrix = {"name": "n", "file": "square.npy", "kind": "distance"}
    values, labels = matrices.read(tmp_path, matrix | {"labels": "names.txt"})
    assert labels == ["a", "b", "c"]
    assert values.tolist() == (-torch.eye(3)).tolist()
    with pytest.raises(ValueError, match=r"square\.npy: needs labels"):
        matrices.read(tmp_path, matrix)
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\r\nc\r\n")
    assert matrices.read(tmp_path, matrix | {"labels": "names.txt"})[1] == labels
    np.save(tmp_path / "square.npy", np.eye(3, dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"square\.npy: cannot be read as \.npy"):
        matrices.read(tmp_path, matrix | {"labels": "names.txt"})


@pytest.mark.parametrize(
    ("values", "labels", "columns", "why"),
    [
        ([[1, 2], [3, 1]], ["a", "b"], None, "not symmetric at row 'a', column 'b'"),
        ([[1, 2], [2, 1]], ["a", "a"], None, "'a' stands twice"),
        ([[1, 2], [2, 1]], ["a", "b"], ["b", "a"], "names of rows and columns differ"),
        ([[1, "x"], [2, 1]], ["a", "b"], None, "row 'a', column 'b': 'x' is no number"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused_with_its_file(tmp_path, values, labels, columns, why):
    with pytest.raises(ValueError, match=f"square.csv: .*{why}"):
        matrices.read(tmp_path, write(tmp_path, values, labels, columns))


def test_a_matrix_without_a_file_or_of_no_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no\.csv: no such file"):
        matrices.read(tmp_path, {"name": "n", "file": "no.csv", "kind": "distance"})
    with pytest.raises(ValueError, match="kind 'far'"):
        matrices.read(tmp_path, {"name": "n", "file": "no.csv", "kind": "far"})
    with pytest.raises(ValueError, match="lacks kind"):
        matrices.read(tmp_path, {"name": "n", "file": "no.csv"})


def test_concepts_are_means_in_the_order_of_the_hierarchy():
    world, place = known_world()
    means, labels = similarity.concept_features(place, world, world.rows("test"))
    torch.testing.assert_close(means, place[::2])
    assert labels["domain"].is_monotonic_increasing
    found, labels = similarity.rdms(world, layers(place))
    assert found["known", "base"].diagonal().abs().max() < 1e-6
    assert labels["concept"].tolist() == [f"test{n:02d}" for n in range(CONCEPTS)]


def contenders():
    """In class c0, alignet holds concepts 0 and 1 together and unalignet 0 and 2; likewise in c1; the rest is the
    same.
    """
    world, _ = known_world()
    base = torch.eye(CONCEPTS).repeat_interleave(PICTURES, 0)
    alignet, unalignet = base.clone(), base.clone()
    alignet[2:4] = base[0:2] + 0.1 * base[2:4]
    unalignet[4:6] = base[0:2] + 0.1 * base[4:6]
    alignet[10:12] = base[8:10] + 0.5 * base[10:12]  # in class c1 too, but less
    unalignet[12:14] = base[8:10] + 0.5 * base[12:14]
    models = {"base": base, "alignet": alignet, "unalignet": unalignet}
    return world, {("m", target): {"pooled": rows} for target, rows in models.items()}


def test_the_pairs_are_those_that_the_two_models_place_most_differently():
    world, test = contenders()
    found = disagreement.pairs(world, test, SETTINGS)
    assert list(found.columns) == disagreement.COLUMNS
    first = found[found["rank"] == 1].set_index("closer_in")
    assert first.loc["alignet", ["image_0", "image_1"]].tolist() == ["test0_0", "test1_0"]
    assert first.loc["unalignet", ["image_0", "image_1"]].tolist() == ["test0_0", "test2_0"]
    assert (found.loc[found["closer_in"] == "alignet", "difference"] > 0).all()
    assert (found.loc[found["closer_in"] == "unalignet", "difference"] < 0).all()
    assert set(found["class"]) <= {"c0", "c1", "c2"}
    assert sorted(found["page"]) == list(range(1, len(found) + 1))
    for _, part in found.groupby("closer_in"):
        assert not part["class"].duplicated().any()


def test_a_class_gives_at_most_one_pair_in_each_direction():
    world, test = contenders()
    many = disagreement.pairs(world, test, dataclasses.replace(SETTINGS, pairs=100))
    assert many.groupby(["closer_in", "class"]).size().max() == 1
    assert (many.groupby("closer_in")["difference"].apply(lambda d: d.abs().is_monotonic_decreasing)).all()


def test_of_large_classes_so_many_concepts_are_compared_that_all_pairs_are_few_enough(monkeypatch):
    world, test = contenders()
    everything = disagreement._of_a_class(world, SETTINGS)
    assert [len(rows) for rows in everything.values()] == [4, 4, 4]
    monkeypatch.setattr(disagreement, "MOST", 9)  # three of each class make three pairs
    fewer = disagreement._of_a_class(world, SETTINGS)
    assert [len(rows) for rows in fewer.values()] == [3, 3, 3]
    assert all(set(rows) < set(everything[name]) for name, rows in fewer.items())
    assert len(disagreement.pairs(world, test, SETTINGS))


def test_pairs_of_the_finest_label_are_two_pictures_of_one_concept():
    world, test = contenders()
    generator = torch.Generator().manual_seed(0)
    for layers in test.values():  # else two pictures of a concept are the same to every model
        layers["pooled"] = layers["pooled"] + 0.1 * torch.randn(layers["pooled"].shape, generator=generator)
    found = disagreement.pairs(world, test, dataclasses.replace(SETTINGS, pair_class=world.hierarchy[0], pairs=5))
    concept = world.images.set_index("image")["concept"]
    assert len(found) == 10
    assert found["image_0"].map(concept).tolist() == found["image_1"].map(concept).tolist() == found["class"].tolist()
    assert (found["image_0"] != found["image_1"]).all()
    with pytest.raises(ValueError, match=r"similarity\.pair_class is 'genus'; the hierarchy has concept"):
        disagreement.pairs(world, test, dataclasses.replace(SETTINGS, pair_class="genus"))


def test_without_a_control_there_are_no_pairs_to_rate(tmp_path):
    world, test = contenders()
    alone = {key: rows for key, rows in test.items() if key[1] != "unalignet"}
    found = disagreement.pairs(world, alone, SETTINGS)
    assert found.empty
    assert disagreement.scores(world, found)["note"].tolist() == ["no pairs to rate"]
    assert disagreement.save_page(found, tmp_path / "page.csv").empty


def test_the_page_says_nothing_about_the_models_and_reads_as_ratings(tmp_path):
    world, test = contenders()
    found = disagreement.pairs(world, test, SETTINGS)
    page = disagreement.save_page(found, tmp_path / "new" / "ratings_to_fill.csv")
    written = pd.read_csv(tmp_path / "new" / "ratings_to_fill.csv")
    assert list(written.columns) == list(page.columns) == ["page", "image_0", "image_1", "rating", "participant"]
    assert written["page"].tolist() == list(range(1, len(written) + 1))
    assert written["rating"].isna().all()


def test_unrated_pairs_have_a_note_in_place_of_a_score():
    world, test = contenders()
    found = disagreement.pairs(world, test, SETTINGS)
    table = disagreement.scores(world, found)
    assert table["note"].tolist() == ["the world has no ratings.csv"]
    other = rated(world, {("test4_0", "test11_0"): 3})
    assert "too few" in disagreement.scores(other, disagreement.pairs(other, test, SETTINGS))["note"].item()


def test_rated_pairs_are_scored_as_published():
    world, test = contenders()
    found = disagreement.pairs(world, test, SETTINGS)
    ratings = {
        (row.image_1, row.image_0): (4.0 if row.closer_in == "alignet" else 2.0) - 0.1 * row.rank
        for row in found.itertuples()
    }
    rows = [
        (a, b, value + shift, person) for person, shift in (("p", 0), ("q", 0.5)) for (a, b), value in ratings.items()
    ]
    ratings = pd.DataFrame(rows, columns=["image_0", "image_1", "rating", "participant"])
    ratings.loc[(ratings["participant"] == "q") & (ratings["rating"] < 3), "rating"] += 0.2  # q's difference is smaller
    world = dataclasses.replace(world, ratings=ratings)
    found = disagreement.pairs(world, test, SETTINGS)
    assert found["n_ratings"].tolist() == [2] * len(found)
    table = disagreement.scores(world, found).set_index(["metric", "target"])
    for target, mean in (("alignet", 4.25 - 0.15), ("unalignet", 2.25 + 0.1 - 0.15)):
        row = table.loc[("mean_rating_of_closer_pairs", target)]
        assert row["value"] == pytest.approx(mean)
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
    # Differences: p 2.0, q 1.8; mean 1.9, standard error 0.1.
    t = table.loc[("paired_t", "alignet")]
    assert t["value"] == pytest.approx(19)
    assert (t["n"], t["ci_unit"]) == (2, "participants")
    assert table.loc[("spearman_distance_rating", "alignet"), "value"] < 0
    assert table.loc[("spearman_distance_rating", "unalignet"), "value"] > 0


def test_labels_of_a_matrix_stay_text(tmp_path):
    (tmp_path / "square.csv").write_text("name,NA,001,null\nNA,1,0.5,\n001,0.5,1,0.25\nnull,,0.25,1\n")
    square, labels = matrices.read(tmp_path, {"name": "n", "file": "square.csv", "kind": "similarity"})
    assert labels == ["NA", "001", "null"]
    assert square[0, 1] == 0.5
    assert torch.isnan(square[0, 2])
