import dataclasses
import math

import inputs
import pandas as pd
import pytest
import torch

from alignet.maths import intervals, metrics
from alignet.people import calibration, choice_distributions, held_out
from alignet.people.choice_distributions import Answers, ChoiceCounts, SingleChoices
from alignet.people.embeddings import Embedding
from alignet.people.vice import Posterior
from alignet.worlds.format.tables import World
from alignet.worlds.paper import things_full

SURE = 1e-9


def settings(**changes):
    return inputs.settings("human_uncertainty", **changes)


def world(rows, concepts="aabbccdd"):
    images = pd.DataFrame({"image": [f"i{n}" for n in range(len(concepts))], "concept": list(concepts)})
    triplets = pd.DataFrame(rows, columns=["image_0", "image_1", "image_2", "odd", "split"])
    triplets = triplets.assign(participant=[f"p{n}" for n in range(len(triplets))])
    return World("tiny", "human", None, ("concept",), images.assign(split="human"), triplets, None)


def by_name(rows, person="q"):
    """Rows of concept_choices.csv: three concepts and the position of the odd one out."""
    table = pd.DataFrame(rows, columns=["concept_0", "concept_1", "concept_2", "odd"])
    return table.assign(participant=person)


def posterior(*rows):
    """Objects whose embedding is known."""
    mu = torch.tensor(rows)
    return Posterior(mu, torch.full_like(mu, SURE))


def source(posterior, names="abc", held_out=True):
    return Embedding("known", list(names), posterior, held_out)


# Objects 0 and 1 are alike, 2 is not: people should leave 2 out with probability e^9 / (e^9 + 2).
KNOWN = posterior([3.0, 0.0], [3.0, 0.0], [0.0, 3.0])


def judged(*counts):
    """One triplet (0, 1, 2) for each row of counts, of people of whom nobody chose twice."""
    counts = torch.tensor(counts)
    item = torch.arange(counts.numel()).repeat_interleave(counts.flatten())
    own = torch.nn.functional.one_hot(item % 3, 3)
    triplets = torch.tensor([[0, 1, 2]]).expand(len(counts), 3)
    return ChoiceCounts(triplets, counts, counts / counts.sum(1, keepdim=True), Answers(own, item // 3))


def single(held_out, by_new_people=None):
    nothing = torch.empty(0, dtype=torch.int64)
    return SingleChoices(["a", "b", "c"], nothing.view(0, 3), nothing, held_out, by_new_people)


def test_judgements_are_shares_of_people_per_distinct_triplet():
    judged = ChoiceCounts.of(torch.tensor([[5, 1, 3], [1, 3, 5], [0, 1, 2]]), torch.tensor([0, 0, 2]))
    assert judged.triplets.tolist() == [[0, 1, 2], [1, 3, 5]]
    assert judged.targets.tolist() == [[0, 0, 1], [0.5, 0, 0.5]]
    assert judged.where(torch.tensor([False, True])).counts.tolist() == [[1, 0, 1]]


def test_test_rows_of_unseen_concepts_are_kept_apart():
    rows = [("i0", "i2", "i4", 1, "train"), ("i1", "i3", "i5", 0, "train"), ("i6", "i7", "i8", 2, "test")]
    train, test = choice_distributions.human_choice_counts(world(rows, "aabbccdde"), settings())
    assert train.triplets.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert test.triplets.tolist() == [[6, 7, 8]]
    assert test.targets.tolist() == [[0, 0, 1]]


def test_test_rows_about_seen_objects_are_neither_fitted_nor_called_held_out():
    rows = [("i0", "i2", "i4", 1, "train"), ("i0", "i2", "i6", 0, "train"), ("i7", "i4", "i2", 2, "test")]
    shared = world(rows)  # the test row shows b, c and d, of which the training rows show other pictures too
    train, test = choice_distributions.human_choice_counts(shared, settings())
    assert test is None
    assert train.triplets.tolist() == [[0, 2, 4], [0, 2, 6]]
    parts = held_out.choice_parts(shared, settings())
    assert parts.seen.tolist() == [False, False, True]
    assert not held_out.held_out_objects(shared, settings()).any()


def things_like(n=400, objects=12):
    """Triplets of a few objects, split by triplet and not by object, as in THINGS."""
    shown = torch.rand(n, objects, generator=torch.Generator().manual_seed(0)).topk(3, dim=1).indices.tolist()
    split = ["train"] * (n - 80) + ["validation"] * 40 + ["test"] * 40
    rows = [
        (*(f"i{i}" for i in triplet), k % 3, part) for k, (triplet, part) in enumerate(zip(shown, split, strict=True))
    ]
    return world(rows, [f"c{i}" for i in range(objects)])


@pytest.mark.parametrize("chosen", [0.5, ["c1", "c4", "c5", "c8", "c9", "c11"]])
def test_no_held_out_object_reaches_any_fit(chosen):
    shared, changed = things_like(), settings(held_out_objects=chosen)
    kept = held_out.held_out_objects(shared, changed)
    assert kept.sum() == 6
    train, test = choice_distributions.human_choice_counts(shared, changed)
    assert not kept[train.triplets].any()
    assert kept[test.triplets].all()
    names = choice_distributions.single_choices(shared, changed).names
    assert not set(names) & set(shared.images["concept"][kept.numpy()])
    parts, triplets = held_out.choice_parts(shared, changed), shared.choice_rows(shared.triplets)[0]
    assert (parts.fitted.int() + parts.held_out + parts.seen <= 1).all()
    assert not kept[triplets[parts.fitted]].any()
    assert (~kept[triplets[parts.seen]]).any(1).all()
    assert set(shared.triplets["split"][parts.seen.numpy()]) == {"test"}


def test_an_object_that_nobody_judged_cannot_be_held_out_and_some_choices_must_be_left():
    with pytest.raises(ValueError, match=r"held_out_objects: triplets\.csv shows no concept 'unicorn'"):
        held_out.held_out_objects(things_like(), settings(held_out_objects=["unicorn"]))
    with pytest.raises(ValueError, match="no choices are left to fit to"):
        choice_distributions.human_choice_counts(things_like(), settings(held_out_objects=1.0))


def test_one_person_who_judged_a_triplet_twice_is_one_person():
    rows = [("i0", "i2", "i4", 1, "train"), ("i4", "i2", "i0", 1, "train"), ("i0", "i2", "i6", 0, "train")]
    twice = world(rows)
    twice.triplets["participant"] = ["p0", "p0", "p1"]
    found, _ = choice_distributions.human_choice_counts(twice, settings())
    assert found.counts.tolist() == [[0, 2, 0], [1, 0, 0]]
    assert found.people.tolist() == [1, 1]
    assert found.agreement.isnan().all()
    assert found.where(torch.tensor([1])).answers.own.tolist() == [[1, 0, 0]]


def test_no_choice_of_a_held_out_person_reaches_any_fit_and_they_are_scored_apart():
    shared = things_like()
    shared.triplets["participant"] = [f"p{n % 10}" for n in range(399)] + [held_out.NOT_RECORDED]
    changed = settings(held_out_people=0.3)
    people = held_out.held_out_people(shared, changed)
    assert len(people) == 3
    assert held_out.NOT_RECORDED not in people
    parts, found = held_out.parts_to_fit(shared, changed), choice_distributions.single_choices(shared, changed)
    assert not set(shared.triplets["participant"][parts.fitted.numpy()]) & people
    of_them = shared.triplets[shared.triplets["participant"].isin(people) & (shared.triplets["split"] != "test")]
    assert int(found.by_new_people.counts.sum()) == len(of_them)
    assert choice_distributions.single_choices(shared, settings()).by_new_people is None
    scored = calibration.calibration([source(posterior(*[[1.0]] * 12), found.names)], found, changed)
    assert set(scored["people"]) == {"all", "new"}


def test_the_reader_of_things_names_people_who_are_not_recorded_as_held_out_knows_them():
    assert things_full.UNKNOWN == held_out.NOT_RECORDED


NAMED = [("a", "b", "zebra", 2), ("zebra", "c", "yak", 0), ("a", "b", "c", 1), ("a", "d", "zebra", 0)]


def test_vice_reads_choices_about_concepts_by_name_also_of_those_without_a_picture():
    rows = [("i0", "i2", "i4", 1, "validation"), ("i0", "i2", "i4", 0, "train"), ("i1", "i3", "i6", 0, "train")]
    plain = dataclasses.replace(world(rows), concept_choices=by_name(NAMED))
    found = choice_distributions.single_choices(plain, settings(held_out_share=1e-9))
    assert found.names == ["a", "b", "c", "d", "yak", "zebra"]  # with a picture first
    assert found.triplets.tolist() == [[0, 1, 2], [0, 1, 3], [0, 1, 5], [5, 2, 4], [0, 3, 5]]  # a, b, c is held out
    assert found.odd.tolist() == [0, 0, 2, 0, 0]
    assert found.held_out.triplets.tolist() == [[0, 1, 2]]
    number, _ = choice_distributions.object_numbers(plain, settings())
    assert number.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert choice_distributions.single_choices(plain, settings(objects="picture")).names == [
        *("i0", "i1", "i2", "i3"),
        "i4",
        "i6",
    ]


def test_no_choice_by_name_about_a_held_out_or_test_concept_or_of_a_held_out_person_is_used():
    rows = [("i0", "i2", "i4", 1, "train"), ("i1", "i3", "i6", 0, "train")]
    plain = dataclasses.replace(world(rows, "aabbccddt"), concept_choices=by_name([*NAMED, ("a", "b", "t", 0)]))
    plain.images.loc[8, "split"] = "test"
    used = held_out.choices_by_name(plain, settings(held_out_objects=["zebra"]))
    assert used[["concept_0", "concept_1", "concept_2"]].to_numpy().tolist() == [["a", "b", "c"]]
    used = held_out.choices_by_name(plain, settings(held_out_objects=["d"]))
    assert used["concept_2"].tolist() == ["zebra", "yak", "c"]
    plain.concept_choices["participant"] = ["p0", held_out.NOT_RECORDED, "unknown_7", "p1", "p3"]
    changed = settings(held_out_people=0.5, held_out_share=1e-9)
    people = held_out.held_out_people(plain, changed)
    assert people < {"p0", "p1", "p3"}
    assert len(people) == 2
    found, used = choice_distributions.single_choices(plain, changed), held_out.choices_by_name(plain, changed)
    of_them = sum(name in people for name in [*plain.triplets["participant"], *used["participant"]])
    assert int(found.by_new_people.counts.sum()) == of_them > 0
    assert {2, 5} <= set(found.triplets.flatten().tolist())  # the others' choices are fitted


def test_a_share_of_the_sets_of_concepts_by_name_is_held_out_with_all_choices_about_it():
    rows = [("i0", "i2", "i4", 1, "validation"), ("i1", "i3", "i6", 0, "train")]
    drawn = torch.combinations(torch.arange(12), 3)
    names = [f"n{number}" for number in range(12)]
    twice = [(*(names[n] for n in triplet), k) for triplet in drawn.tolist() for k in (0, 1)]
    plain = dataclasses.replace(world(rows), concept_choices=by_name(twice))
    found = choice_distributions.single_choices(plain, settings(held_out_share=0.2))
    held, fitted = (
        {tuple(row) for row in t.sort(1).values.tolist()} for t in (found.held_out.triplets, found.triplets)
    )
    assert not held & fitted
    assert 20 < len(held) - 1 < 70  # of 220 sets
    assert int(found.held_out.counts.sum()) == 1 + 2 * (len(held) - 1)
    assert len(found.triplets) == 1 + 440 - 2 * (len(held) - 1)


def test_rows_without_a_split_are_all_fitted_on():
    rows = [("i0", "i2", "i4", 1, "test"), ("i1", "i3", "i6", 0, "train")]
    plain = world(rows)
    without = World("tiny", "human", None, ("concept",), plain.images, plain.triplets.drop(columns="split"), None)
    train, test = choice_distributions.human_choice_counts(without, settings())
    assert test is None
    assert len(train.triplets) == 2


def test_validation_rows_are_held_out_and_test_concepts_never_seen():
    rows = [("i0", "i2", "i4", 1, "train"), ("i4", "i3", "i1", 0, "validation"), ("i6", "i7", "i8", 2, "test")]
    found = choice_distributions.single_choices(world(rows, "aabbccdde"), settings())
    assert found.names == ["a", "b", "c"]
    assert found.triplets.tolist() == [[0, 1, 2]]
    assert found.odd.tolist() == [1]
    assert found.held_out.triplets.tolist() == [[0, 1, 2]]
    assert found.held_out.counts.tolist() == [[0, 0, 1]]  # the odd one out was i4, of concept c


def test_test_rows_about_objects_that_other_rows_are_about_check_vice_too():
    shared = things_like()
    found = choice_distributions.single_choices(shared, settings())
    assert int(found.held_out.counts.sum()) == 80  # 40 of validation, 40 of test
    assert len(found.triplets) == 320
    objects = settings(held_out_objects=["c1"])
    found = choice_distributions.single_choices(shared, objects)
    assert "c1" not in found.names
    rows = shared.triplets[shared.triplets["split"] != "train"][["image_0", "image_1", "image_2"]]
    assert int(found.held_out.counts.sum()) == int((rows != "i1").all(axis=1).sum())


def test_without_named_rows_all_choices_of_a_share_of_the_triplets_are_held_out():
    names = [f"i{n}" for n in range(30)]
    shown = torch.rand(300, 30, generator=torch.Generator().manual_seed(0)).topk(3, dim=1).indices
    rows = [(*(names[i] for i in triplet), n % 3, "train") for triplet in shown.tolist() for n in range(2)]
    found = choice_distributions.single_choices(world(rows, [f"c{n}" for n in range(30)]), settings(held_out_share=0.2))
    fitted, kept = (set(map(tuple, t.sort(1).values.tolist())) for t in (found.triplets, found.held_out.triplets))
    assert not fitted & kept
    assert 30 < len(kept) < 90
    assert (found.held_out.counts.sum(1) % 2 == 0).all()
    assert len(found.odd) + int(found.held_out.counts.sum()) == 600


def test_of_many_held_out_triplets_those_that_most_people_judged_are_scored():
    rows = [("i0", "i2", "i4", 1, "train")]
    rows += [
        ("i0", "i2", "i6", 0, "validation"),
        ("i0", "i4", "i6", 1, "validation"),
        ("i0", "i4", "i6", 1, "validation"),
    ]
    found = choice_distributions.single_choices(world(rows), settings(held_out_most=1))
    assert found.held_out.counts.sum().item() == 2


def test_a_concept_twice_in_a_triplet_asks_for_pictures_as_objects():
    rows = [("i0", "i1", "i4", 1, "train"), ("i0", "i2", "i4", 1, "validation")]
    with pytest.raises(ValueError, match=r"shows one concept twice; set human_uncertainty\.objects to picture"):
        choice_distributions.single_choices(world(rows), settings())
    assert choice_distributions.single_choices(world(rows), settings(objects="picture")).names == [
        "i0",
        "i1",
        "i2",
        "i4",
    ]


def test_an_objects_picture_is_its_first_one():
    plain = world([("i0", "i2", "i4", 1, "train")])
    assert choice_distributions.object_pictures(plain, ["c", "a"], "concept").tolist() == [4, 0]
    assert choice_distributions.object_pictures(plain, ["i5", "i1"], "picture").tolist() == [5, 1]
    assert choice_distributions.object_pictures(plain, ["zebra", "b"], "concept").tolist() == [-1, 2]
    plain.images.loc[0, "split"] = "synthesis"  # people saw the other one
    assert choice_distributions.object_pictures(plain, ["a"], "concept").tolist() == [1]


def test_the_top_pictures_of_a_dimension_are_of_its_heaviest_objects_that_have_one():
    plain = world([("i0", "i2", "i4", 1, "train")])
    known = posterior([1.0, 5.0], [9.0, 0.0], [3.0, 2.0], [2.0, 4.0])
    shown = choice_distributions.top_pictures(plain, known, ["a", "zebra", "b", "c"], "concept", 2)
    assert shown.tolist() == [[2, 4], [0, 4]]
    assert choice_distributions.top_pictures(plain, known, ["a", "zebra", "b", "c"], "concept", 9).shape == (2, 3)


def test_soft_targets_are_vices_or_the_shares_of_the_people():
    rows = [("i0", "i2", "i4", 1, "train"), ("i0", "i2", "i4", 2, "train")]
    tiny = world(rows, "abcdef"[:5] + "f")
    empirical = choice_distributions.soft_targets(tiny, source(KNOWN), settings(uncertainty="empirical"))
    assert empirical.targets.tolist() == [[0, 0.5, 0.5]]
    assert tiny.images["concept"].tolist() == list("abcdef")
    named = source(KNOWN, ["c", "a", "e"])  # the third picture and the first are alike
    soft = choice_distributions.soft_targets(tiny, named, settings(uncertainty="vice")).targets
    torch.testing.assert_close(soft, torch.tensor([[0.0, 0.0, 9.0]]).softmax(1))


def test_stored_targets_load_back_and_those_of_other_triplets_are_refused(tmp_path):
    first = judged([1, 0, 0]).with_targets(torch.tensor([[0.2, 0.3, 0.5]]))
    choice_distributions.save(tmp_path, source(KNOWN), pd.DataFrame({"epoch": [1]}), first)
    again = choice_distributions.load_targets(tmp_path, judged([1, 0, 0]))
    torch.testing.assert_close(again.targets, first.targets)
    other = dataclasses.replace(first, triplets=torch.tensor([[0, 1, 3]]))
    with pytest.raises(ValueError, match="run the human_uncertainty stage again"):
        choice_distributions.load_targets(tmp_path, other)


def test_what_the_others_chose_is_smoothed_and_leaves_the_choice_out():
    predicted, own = calibration.others_choices(judged([2, 1, 0]), 0.5)
    assert predicted[0].tolist() == pytest.approx([1.5 / 3.5, 1.5 / 3.5, 0.5 / 3.5])  # without one of the two
    assert predicted[2].tolist() == pytest.approx([2.5 / 3.5, 0.5 / 3.5, 0.5 / 3.5])
    assert own.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_what_the_others_chose_leaves_all_choices_of_a_person_out():
    of_two = ChoiceCounts.of(torch.tensor([[0, 1, 2]] * 3), torch.tensor([0, 0, 1]), torch.tensor([5, 5, 9]))
    predicted, own = calibration.others_choices(of_two, 0.5)
    assert predicted[0].tolist() == pytest.approx([0.5 / 2.5, 1.5 / 2.5, 0.5 / 2.5])
    assert own.tolist() == [[2, 0, 0], [0, 1, 0]]


def test_calibration_of_known_distributions_by_hand():
    held_out = judged([0, 0, 4], [0, 1, 3])
    table = calibration.calibration([source(KNOWN)], single(held_out), settings())
    table = table.set_index(["distribution", "triplets"])
    chances = torch.tensor([0.0, 0.0, 9.0]).softmax(0).log().tolist()
    assert table.loc[("vice", "all"), "nll"] == pytest.approx(-(7 * chances[2] + chances[1]) / 8, rel=1e-4)
    assert table.loc[("vice", "all"), "accuracy"] == pytest.approx(7 / 8)
    assert table.loc[("uniform", "all"), "nll"] == pytest.approx(math.log(3))
    assert table.loc[("uniform", "all"), "accuracy"] == pytest.approx(1 / 3)
    others = -(4 * math.log(3.5 / 4.5) + 3 * math.log(2.5 / 4.5) + math.log(0.5 / 4.5)) / 8
    assert table.loc[("empirical", "repeated"), "nll"] == pytest.approx(others, rel=1e-5)
    ceiling = metrics.odd_one_out_noise_ceiling(held_out.agreement)
    assert table["noise_ceiling"].tolist() == pytest.approx([ceiling] * 4)
    assert table.loc[("empirical", "repeated"), "accuracy"] == pytest.approx(ceiling)
    assert set(table["held_out"]) == {"yes"}
    assert set(table["people"]) == {"all"}


def test_a_triplet_that_many_judged_counts_once():
    few, many = judged([0, 0, 1], [1, 0, 0]), judged([0, 0, 99], [1, 0, 0])
    rows = [calibration.calibration([source(KNOWN)], single(each), settings()).iloc[0] for each in (few, many)]
    assert rows[0]["accuracy"] == rows[1]["accuracy"] == 0.5
    assert rows[0]["nll"] == pytest.approx(rows[1]["nll"])
    assert rows[0]["ece"] == pytest.approx(rows[1]["ece"])


def test_single_choices_have_no_empirical_distribution_and_no_ceiling():
    table = calibration.calibration([source(KNOWN)], single(judged([0, 0, 1], [1, 0, 0])), settings())
    assert table["distribution"].tolist() == ["vice", "uniform"]
    assert table["noise_ceiling"].isna().all()
    bins = calibration.reliability([source(KNOWN)], single(judged([0, 0, 1])), settings())
    assert set(bins["distribution"]) == {"vice"}


def test_reliability_bins_by_hand():
    predicted = torch.tensor([[[0.1, 0.2, 0.7]], [[0.1, 0.2, 0.7]]])
    counts = torch.tensor([[[0, 1, 3]], [[0, 0, 4]]])
    bins = intervals.reliability_bins(predicted, counts, 2, intervals.Units(torch.arange(6).view(2, 3)))
    assert bins["predicted"].tolist() == pytest.approx([0.15, 0.7])
    assert bins["chosen"].tolist() == pytest.approx([1 / 16, 7 / 8])
    assert bins["n"].tolist() == [4, 2]
    assert ((bins["ci_low"] <= bins["chosen"]) & (bins["chosen"] <= bins["ci_high"])).all()


def test_examples_run_from_sure_to_unsure_among_the_most_judged(monkeypatch):
    monkeypatch.setattr(choice_distributions, "FEW", 3)
    targets = torch.tensor([[0.4, 0.3, 0.3], [0.0, 0.0, 1.0], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6]])
    many = judged([1, 1, 1], [0, 0, 3], [0, 1, 2], [1, 0, 0]).with_targets(targets)
    _, who = choice_distributions.examples(many, 3)
    torch.testing.assert_close(who["target"], targets[[1, 2, 0]])
