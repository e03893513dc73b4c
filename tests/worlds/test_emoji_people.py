"""The embedded world with real people: the choices that come with the package, and the world that is made of them."""

import shutil
import tomllib
from functools import partial

import inputs
import numpy as np
import pandas as pd
import pytest
from inputs import generator

from alignet import config
from alignet.worlds.emoji import choices, judged, pack
from alignet.worlds.emoji import world as emoji_world
from alignet.worlds.format import participants
from alignet.worlds.format.tables import CONCEPTS, TRIPLET, WorldError
from alignet.worlds.things.rows import Rows

SOURCES = config.home().parent / "shared" / "sources" / "things"
HERE = config.home() / "alignet" / "worlds" / "emoji"
small = partial(inputs.emoji, "things")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return emoji_world.make(small(), tmp_path_factory.mktemp("emoji"))


@pytest.fixture(scope="module")
def packed():
    return choices.packed()


@pytest.fixture(scope="module")
def emoji():
    return judged.with_concepts(emoji_world.concept_table(None), 0.5, generator())


def concepts_shown(world, table):
    """The concepts of a table's pictures, (n, 3) text."""
    concept = world.images.set_index("image")["concept"]
    return np.stack([table[column].map(concept).to_numpy(str) for column in TRIPLET], axis=1)


def by_concept(world):
    """Concepts (n, 3) and odd (n,) of all three tables, by the name of the table or of the split of triplets.csv."""
    of = dict(iter(world.triplets.groupby("split"))) | {"levels": world.levels}
    named = {name: (concepts_shown(world, table), table["odd"].to_numpy()) for name, table in of.items()}
    by_name = world.concept_choices
    return named | {"by name": (by_name[CONCEPTS].to_numpy(str), by_name["odd"].to_numpy())}


def sets(concepts):
    return {frozenset(row) for row in concepts.tolist()}


# What comes with the package


def test_the_packed_choices_are_those_of_264_people_and_of_people_whom_no_file_names(packed):
    assert len(packed.odd) == 268_589
    people = pd.Series(packed.person)
    assert participants.known(people) == 264
    assert (
        people.str.startswith(participants.UNKNOWN).sum() == people[people.str.startswith("unk")].nunique() == 141_497
    )
    assert len(choices.concept_names()) == 1854
    assert choices.concept_names().is_unique


def test_a_packed_row_is_a_set_in_ascending_order_with_the_place_of_its_odd_one_out(packed):
    assert (np.diff(packed.sets.astype(int), axis=1) > 0).all()
    assert 0 <= packed.sets.min() < packed.sets.max() == 1853
    assert set(packed.odd.tolist()) == {0, 1, 2}
    # The first rows of the two files: '1663 1132 1 0' and '732 572 1838', the odd one out last.
    for concepts, odd, person in (((1, 1132, 1663), 0, "things_000"), ((572, 732, 1838), 2, participants.UNKNOWN)):
        row = np.flatnonzero((packed.sets == concepts).all(1))
        assert any(packed.odd[place] == odd and str(packed.person[place]).startswith(person) for place in row)


def test_no_person_answers_twice_about_a_set_and_no_double_of_the_two_files_is_left(packed):
    rows = pd.DataFrame({"key": packed.key, "person": packed.person})
    unnamed = rows["person"].str.startswith(participants.UNKNOWN)
    assert not rows[~unnamed].duplicated().any()
    assert rows["key"][unnamed].is_unique
    assert not set(rows["key"][unnamed]) & set(rows["key"][~unnamed])


def test_people_leave_out_what_is_alone_in_its_category_more_often_than_by_chance(packed):
    category = choices.concepts()["category"].to_numpy()[packed.sets]
    two_alike = [(category[:, a] == category[:, b]) & (category[:, a] != category[:, c]) for a, b, c in
                 ((1, 2, 0), (0, 2, 1), (0, 1, 2))]  # fmt: skip
    usual = (category != "other").all(1)
    for place, alone in enumerate(two_alike):
        assert 0.6 < (packed.odd[alone & usual] == place).mean() < 0.95


def test_the_package_holds_the_choices_with_their_licence_and_authors():
    text = (HERE / "things_attribution.md").read_text(encoding="utf-8")
    for needed in ("CC BY 4.0", "Hebart", "10.7554/eLife.82580", "osf.io/f5rn6", "268,589", "Changed by alignet"):
        assert needed in text
    data = tomllib.loads((config.home() / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    held = {path.name for path in HERE.iterdir() if path.suffix in (".parquet", ".csv", ".md")}
    assert set(data["alignet.worlds.emoji"]) == held


def test_every_match_is_an_emoji_of_the_world_and_a_concept_of_things_and_an_emoji_shows_one_concept():
    matches = choices.matches()
    assert set(matches["emoji"]) <= set(emoji_world.concept_table(None)["concept"])
    assert set(matches["concept"]) <= set(choices.concept_names())
    assert matches["emoji"].is_unique
    assert (len(matches), matches["concept"].nunique()) == (557, 463)


@pytest.mark.parametrize(
    ("emoji", "concept"),
    [("clubs", "golf_club"), ("bat", "bat2"), ("mouse", "mouse2"), ("chicken", "chicken1"), ("billed_cap", "cap")],
)
def test_a_name_that_means_another_thing_is_no_match_and_the_file_says_why(emoji, concept):
    table = pd.read_csv(HERE / "matches.csv", keep_default_na=False)
    row = table[(table["emoji"] == emoji) & (table["concept"] == concept)]
    assert row["rejected"].str.len().gt(0).tolist() == [True]
    assert not ((choices.matches()["emoji"] == emoji) & (choices.matches()["concept"] == concept)).any()


# The world


def test_the_world_says_that_people_judged_photographs_of_the_concepts_and_where_their_choices_are_from(world):
    assert (world.choices, world.judged) == ("human", choices.JUDGED)
    assert world.asked == "human participants, who were shown photographs of the same concepts, not these pictures"
    header = (world.pictures / "world.yaml").read_text(encoding="utf-8")
    assert "not about" in header and "CC BY 4.0" in header and "Hebart" in header
    assert "SIMULATED" not in header
    assert all("rt" not in table for table in (world.triplets, world.levels, world.concept_choices))


def test_no_fit_sees_a_choice_about_a_new_concept(world):
    new = set(world.images.loc[world.images["split"] == "test", "concept"])
    assert len(new) > 200
    for name, (shown, _) in by_concept(world).items():
        assert (name == "levels") == bool(new & set(shown.ravel().tolist()))


def test_a_new_concept_has_no_picture_outside_the_test_split(world):
    splits = world.images.groupby("concept")["split"].agg(set)
    assert set(map(frozenset, splits)) == {
        frozenset(kinds) for kinds in ({"test"}, {"synthesis"}, {"human", "synthesis"})
    }


def test_no_set_of_three_concepts_stands_in_two_tables_or_splits(world):
    parts = {name: sets(shown) for name, (shown, _) in by_concept(world).items()}
    assert {"train", "validation", "test", "levels", "by name"} == set(parts)
    assert sum(map(len, parts.values())) == len(set().union(*parts.values()))


def test_every_row_is_one_that_a_person_chose(world, packed):
    names, parts = choices.concept_names(), by_concept(world)
    people = pd.concat(
        [world.triplets[world.triplets["split"] == name]["participant"] for name in ("train", "validation", "test")]
    )
    shown = np.concatenate([parts[name][0] for name in ("train", "validation", "test", "levels", "by name")])
    odd = np.concatenate([parts[name][1] for name in ("train", "validation", "test", "levels", "by name")])
    people = pd.concat([people, world.levels["participant"], world.concept_choices["participant"]]).to_numpy()
    made = {(*sorted(row), row[place], who) for row, place, who in zip(shown.tolist(), odd, people, strict=True)}
    held = names.to_numpy()[packed.sets].tolist()
    theirs = {(*sorted(row), row[place], who) for row, place, who in zip(held, packed.odd, packed.person, strict=True)}
    assert made <= theirs
    assert len(made) == len(odd)


def test_the_odd_one_out_stands_in_each_place_equally_often(world):
    for table in (world.levels, world.concept_choices):
        share, n = table["odd"].value_counts(normalize=True), len(table)
        assert (share - 1 / 3).abs().max() < 4 * (2 / 9 / n) ** 0.5


def test_the_place_of_a_concept_says_nothing_about_its_name(world):
    first = world.concept_choices[CONCEPTS].to_numpy(str)
    ascending = (first[:, 0] < first[:, 1]).mean()
    assert abs(ascending - 0.5) < 4 * (0.25 / len(first)) ** 0.5


def test_the_training_rows_show_every_judged_concept_that_any_row_shows(world):
    parts = by_concept(world)
    train = set(parts["train"][0].ravel().tolist())
    assert set(parts["test"][0].ravel().tolist()) | set(parts["validation"][0].ravel().tolist()) <= train
    assert len(train) > 200


def test_real_rows_about_new_concepts_are_hundreds_and_every_level_has_some(world):
    split = world.images.set_index("image")["split"]
    shown = np.stack([world.levels[column].map(split).to_numpy(str) for column in TRIPLET], axis=1)
    assert (shown == "test").any(1).all()
    assert set(np.unique(shown)) == {"human", "test"}
    assert (shown == "test").all(1).sum() > 400
    assert world.levels["level"].value_counts().min() > 100
    assert (world.triplets["split"] == "test").sum() > 200


def test_a_level_is_the_number_of_categories_of_its_concepts(world):
    label = world.images.set_index("image")[world.class_label]
    distinct = pd.concat([world.levels[column].map(label) for column in TRIPLET], axis=1).nunique(axis=1)
    assert world.class_label == "category"
    assert distinct.map({1: "fine", 2: "boundary", 3: "coarse"}).tolist() == world.levels["level"].tolist()


def test_only_colour_pictures_are_shown_and_the_pictures_of_a_concept_take_turns(world):
    images = world.images.set_index("image")
    shown = pd.concat([table[TRIPLET].stack() for table in (world.triplets, world.levels)])
    assert set(shown.map(images["style"])) == {"colour"}
    times = shown.value_counts().groupby(lambda name: images["concept"][name])
    held = images[(images["style"] == "colour") & (images["split"] != "synthesis")].groupby("concept").size()
    assert len(times) == len(held)
    assert (times.size() == np.minimum(times.sum(), held[times.size().index])).all()


def test_all_people_who_judged_a_set_are_given_the_same_pictures(world):
    concepts = [frozenset(row) for row in concepts_shown(world, world.levels).tolist()]
    pictures = world.levels[TRIPLET].agg(tuple, axis=1).groupby(concepts)
    assert (pictures.size() > 1).any()
    assert (pictures.nunique() == 1).all()


def test_second_pictures_of_judged_concepts_and_emoji_without_a_concept_are_for_synthesis(world):
    images, matched = world.images, set(choices.matches()["emoji"])
    colour = images[
        (images["style"] == "colour") & images["concept"].isin(images["concept"][images["split"] == "human"])
    ]
    assert colour["split"].value_counts().nunique() == 1
    without = images[~images["emoji"].isin(matched)]
    assert set(without["split"]) == {"synthesis"}
    assert not set(without["concept"]) & set(choices.concept_names())
    assert "bank_emoji" in set(without["concept"])


def test_new_concepts_are_spread_over_the_categories_and_drawn_by_the_seed(emoji):
    shown = emoji[emoji["split"] != "synthesis"].drop_duplicates("concept")
    by_category = shown.assign(new=shown["split"] == "test").groupby("category")["new"]
    assert ((by_category.sum() - 0.5 * by_category.size()).abs() <= 2).all()
    table = emoji_world.concept_table(None)
    for seed, share in ((1, 0.5), (0, 0.3)):
        again = judged.with_concepts(table, share, generator(seed))
        assert not again["split"].equals(emoji["split"])
    assert judged.with_concepts(table, 0.5, generator()).equals(emoji)
    assert (again.drop_duplicates("concept")["split"] == "test").sum() == pytest.approx(0.3 * 463, abs=2)


def test_all_emoji_of_a_concept_share_its_split_and_labels(emoji):
    shown = emoji[emoji["split"] != "synthesis"]
    assert shown["concept"].duplicated().any()
    assert (shown.groupby("concept")[["split", "category", "domain"]].nunique() == 1).all(axis=None)


def test_a_world_of_fewer_classes_has_people_too(tmp_path):
    few = emoji_world.make(small(classes=12), tmp_path / "few")
    assert few.choices == "human"
    assert few.images["concept"].nunique() < 400
    assert len(few.concept_choices) > 200_000


def test_simulated_people_judge_a_world_as_before(tmp_path):
    changes = {"people": "simulated", "classes": 8, "participants": 10, "triplets_train": 50, "triplets_test": 20}
    few = {"triplets_validation": 20, "triplets_per_level": 20, "raters_test": 2, "colour_renderings": 2}
    world = emoji_world.make(small(**changes, **few), tmp_path / "simulated")
    assert (world.choices, world.judged, world.concept_choices) == ("simulated", "", None)
    assert world.hierarchy == ("concept", "class", "category", "domain")
    assert list(world.images) == ["image", "path", *world.hierarchy, "split", "style"]


@pytest.mark.slow
def test_one_seed_gives_the_same_bytes(world, tmp_path):
    again = emoji_world.make(small(), tmp_path / "again")
    for path in (path for path in world.pictures.rglob("*") if path.is_file()):
        assert path.read_bytes() == (again.pictures / path.relative_to(world.pictures)).read_bytes()


# How it is made


def test_a_set_is_trained_on_only_if_it_shows_a_concept_that_no_earlier_one_shows():
    concepts = np.array([(0, 1, 2), (0, 1, 3), (0, 1, 2), (1, 2, 3), (0, 2, 3)])
    people = judged.Choices(concepts, np.zeros(5, int), np.array(list("abcde")), np.array([0, 1, 0, 2, 3]))
    for seed in range(20):
        split = judged._choice_splits(people, np.random.default_rng(seed))
        assert split[0] == split[2]
        train = split == "train"
        assert set(concepts[train].ravel().tolist()) == {0, 1, 2, 3}
        assert len({frozenset(row) for row in concepts[train].tolist()}) == 2  # three new ones, then the fourth


def test_random_places_keep_the_odd_one_out():
    concepts = np.array([(4, 5, 9)] * 300)
    odd = np.arange(300) % 3
    people = judged.Choices(concepts, odd, np.full(300, "a"), np.zeros(300, int))
    shown, place = judged._in_random_places(people, np.random.default_rng(0))
    assert (np.sort(shown, axis=1) == concepts).all()
    assert (shown[np.arange(300), place] == concepts[np.arange(300), odd]).all()
    assert len({tuple(row) for row in shown.tolist()}) == 6


def test_the_table_that_is_packed_sorts_the_concepts_and_keeps_the_last_as_the_odd_one_out():
    rows = Rows(np.array([(7, 3, 5), (9, 2, 1)], np.int16), np.array([4, -1], np.int32))
    table = pack.choice_table(rows)
    assert table.to_numpy().tolist() == [[1, 2, 9, 0, -1], [3, 5, 7, 1, 4]]


def test_files_that_are_missing_stand_twice_or_are_others_are_refused_by_name(tmp_path):
    with pytest.raises(WorldError, match=r"holds 0 files named test_10_ID\.txt"):
        pack.pack(tmp_path, tmp_path / "out")
    (tmp_path / "test_10_ID.txt").write_text("1 2 3 0\n")
    with pytest.raises(WorldError, match=r"test_10_ID\.txt: sha256 \w{64}, expected 37224154"):
        pack.main(["--from", str(tmp_path), "--out", str(tmp_path / "out")])
    (tmp_path / "again").mkdir()
    shutil.copy(tmp_path / "test_10_ID.txt", tmp_path / "again")
    with pytest.raises(WorldError, match="holds 2 files named"):
        pack.pack(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not SOURCES.is_dir(), reason="the public files are not here")
def test_the_packed_files_are_made_of_the_public_ones_byte_by_byte(tmp_path, capsys):
    pack.main(["--from", str(SOURCES), "--out", str(tmp_path)])
    for name in ("choices.parquet", "concepts.csv"):
        assert (tmp_path / name).read_bytes() == (HERE / name).read_bytes()
    assert "268589 choices about 1854 concepts" in capsys.readouterr().out
