"""Real people's choices about THINGS: every trap of the files, on invented rows and, where they are, on real ones."""

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from alignet import config
from alignet.worlds import downloads, fetch
from alignet.worlds.folder import world as folder_world
from alignet.worlds.format import abstraction, participants
from alignet.worlds.format.tables import CONCEPTS, TRIPLET, WorldError
from alignet.worlds.things import (
    concepts as things_concepts,
)
from alignet.worlds.things import (
    photographs as things_photographs,
)
from alignet.worlds.things import (
    rows as things_rows,
)
from alignet.worlds.things import (
    world as things_world,
)

REAL = config.home().parent / "shared" / "sources" / "things"
CHOICES = REAL / "choices"
EXTERNAL = config.home() / "data" / "external" / "things"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL.name}: no real files here")
COUNT = 120
NAMES = sorted(f"thing{number:03d}" for number in range(COUNT))
SEEN = {"thing004": "01s", "thing009": "02s"}  # another photograph than the one that people saw
CATEGORIES = ["animal", "animal, food", "clothing", "tool", ""]


def wordnet(number):
    return f"n{number:08d}"


def concept_rows(names):
    rows = [
        {"Word": name, "uniqueID": name, "WordNet Synonyms": f"{name}, {name}_alias", "WordNet ID": wordnet(number)}
        | {things_concepts.CATEGORIES[0]: CATEGORIES[number % 5]}
        for number, name in enumerate(names)
    ]
    rows[0] |= {"Word": "kite", "WordNet Synonyms": "kite", "WordNet ID": wordnet(900)}  # a toy; ImageNet's is a bird
    rows[1] |= {"WordNet ID": "", "WordNet Synonyms": "'old name', other"}  # no id: matched by a synonym
    return pd.DataFrame(rows).assign(**dict.fromkeys(things_concepts.CATEGORIES[1:], ""))


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, "JPEG")


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))


def random_rows(n, seed, people=0):
    generator = np.random.default_rng(seed)
    rows = [generator.choice(COUNT, 3, replace=False).tolist() for _ in range(n)]
    return [[*row, number % people] for number, row in enumerate(rows)] if people else rows


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Invented files, laid out as the real ones: thing003 has no photograph, SEEN none that people saw."""
    folder = tmp_path_factory.mktemp("source")
    concept_rows(NAMES).to_csv(folder / "things_concepts.tsv", sep="\t", index=False)
    (folder / "unique_id.txt").write_text("\n".join(NAMES) + "\n")
    people = random_rows(9000, 1, people=30)
    people += [[*row[:3], (row[3] + turn) % 30] for row in people[:40] for turn in (1, 2)]  # judged by three people
    people += [people[50], [people[51][1], people[51][0], *people[51][2:]]]  # a person again, in another order
    write_rows(folder / "choices/test_10_ID.txt", people)
    write_rows(folder / "choices/train_90_ID_smallsample.txt", random_rows(500, 2, people=5))
    nobody = random_rows(3000, 3)
    nobody += [people[60][:3], nobody[0]]  # stands in the person file; stands twice
    write_rows(folder / "choices/behavior_triplets_test10.txt", nobody)
    study = [[*row, person] for row in random_rows(60, 4) for person in range(10, 18)]
    study += [[*people[70][:3], person] for person in range(10, 18)]  # a set of 2020, too
    write_rows(folder / "choices" / Path(fetch.STUDY.path).name, [[*row, 3] for row in random_rows(50, 5)] + study)
    for number, name in enumerate(NAMES):
        if number != 3:
            picture(folder / f"pictures/neutral_images/{name}_{SEEN.get(name, '01b')}.jpg", number)
            picture(folder / f"pictures/outliers_images/{name}_07s.jpg", 1000 + number)
    picture(folder / "pictures/outliers_images/stranger_01b.jpg", 5000)
    samples = tmp_path_factory.mktemp("samples")
    names = {wordnet(number): name for number, name in enumerate(NAMES[:60])}
    names |= {wordnet(0): "kite", wordnet(1): "old_name"} | {wordnet(500 + n): f"free_{n}" for n in range(8)}
    for key, name in names.items():
        picture(samples / f"{key}_{name}.JPEG", 2000 + int(key[1:]))
    for name in ("n00000600_one.JPEG", "n00000601_two.JPEG"):
        picture(samples / name, 7000)  # one picture of two classes
    return folder, samples


@pytest.fixture
def pinned(source, monkeypatch):
    """fetch, with the invented files as the pinned ones."""
    files = []
    for file in fetch.FILES["things"]:
        if file.pictures:
            there = source[0] / "pictures" if file == fetch.PHOTOGRAPHS else source[1]
            content = downloads.content_digest(there, file.pictures.pattern)
            files.append(dataclasses.replace(file, pictures=dataclasses.replace(file.pictures, content=content)))
        else:
            found = [place for place in downloads._places(file, [source[0]]) if place.is_file()]
            files.append(dataclasses.replace(file, sha256=downloads.sha256(found[0]) if found else None))
    monkeypatch.setitem(fetch.FILES, "things", files)
    monkeypatch.setattr(downloads.requests, "get", None)


def run(source, to, *more):
    taken = [option for folder in source for option in ("--from", str(folder))]
    return fetch.main(["things", "--accept-terms", "--to", str(to), *taken, *more])


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    """The world of the invented files, and the report."""
    folder, samples = source
    return things_world.make(files_of(folder, samples), tmp_path_factory.mktemp("made") / "world")


def files_of(folder, samples, **changes):
    choices = folder / "choices"
    tables = choices if (choices / "unique_id.txt").is_file() else folder
    found = {
        "concepts": tables / "things_concepts.tsv",
        "identifiers": tables / "unique_id.txt",
        "people": (choices / "test_10_ID.txt", choices / "train_90_ID_smallsample.txt"),
        "nobody": (choices / "behavior_triplets_test10.txt",),
        "study": choices / Path(fetch.STUDY.path).name,
        "photographs": {"things": folder / "pictures"},
        "classes": samples,
    }
    return things_world.Files(**found | changes)


def named_sets(table, columns=TRIPLET):
    """The concepts of each row, as sets. Pictures have the names of their concepts, but for the number."""
    names = table[columns].map(lambda name: name.rpartition("_")[0] if columns == TRIPLET else name)
    return [frozenset(row) for row in names.to_numpy().tolist()]


def role(made):
    return pd.read_csv(made[0].pictures / "concepts.csv").set_index("concept")["role"]


def rows_of(source, name, width=4):
    return np.loadtxt(source[0] / "choices" / name, dtype=int)[:, :width]


def sets_of(rows):
    return [frozenset(NAMES[number] for number in row[:3]) for row in rows.tolist()]


# what is invented


def test_the_command_takes_files_from_folders_and_makes_a_world_that_passes_the_check(pinned, source, tmp_path, capsys):
    assert run(source, tmp_path / "to") == 0
    shown = capsys.readouterr().out
    world = folder_world.read(tmp_path / "to/things/world")
    assert (world.choices, world.shared_concepts) == ("human", "judged")
    assert "concepts without a photograph: 1 (thing003)" in shown
    assert all(f"licence: {source['licence']}" in shown for source in things_world.SOURCES)
    assert "vice.npy: is not in" in shown
    before = (tmp_path / "to/things/world/triplets.csv").read_bytes()
    assert run(source, tmp_path / "to") == 0
    assert (tmp_path / "to/things/world/triplets.csv").read_bytes() == before


def test_without_imagenet_photographs_synthesis_has_those_of_things_alone_and_it_is_said(
    pinned, source, tmp_path, capsys
):
    assert run(source[:1], tmp_path) == 0
    assert "synthesis has THINGS' alone" in capsys.readouterr().out
    images = folder_world.read(tmp_path / "things/world").images
    assert images["path"].str.startswith("things/").all()


def test_imagenets_own_folders_are_used_where_they_are_there(pinned, source, tmp_path, capsys):
    for number, synset in enumerate(("n02084071", "n01440764")):  # dog, tench
        for each in range(12):
            picture(tmp_path / "imagenet" / "train" / synset / f"{synset}_{each:05d}.JPEG", 500 + 20 * number + each)
    assert run(source, tmp_path) == 0
    assert "in place of the photographs" in capsys.readouterr().out
    images = folder_world.read(tmp_path / "things/world").images
    own = images[images["path"].str.startswith("imagenet/")]
    assert own["concept"].value_counts().to_dict() == dict.fromkeys(("n02084071 dog", "n01440764 tench"), 10)
    assert set(own["split"]) == {"synthesis"}


def test_photographs_of_ones_own_suffice_where_the_archive_is_gone(pinned, source, tmp_path, capsys):
    own, rest = tmp_path / "own", tmp_path / "rest"
    shutil.copytree(source[0] / "choices", rest / "choices")
    for name in ("things_concepts.tsv", "unique_id.txt"):
        shutil.copy(source[0] / name, rest / name)
    assert run([rest], tmp_path / "to") == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    for number, name in enumerate(NAMES[:100]):
        picture(own / f"{name}.jpg", number)  # as the photographs under CC0 are named
    assert run([rest, source[1]], tmp_path / "to", "--pictures", str(own)) == 0
    assert "continues without it" in capsys.readouterr().out
    images = folder_world.read(tmp_path / "to/things/world").images
    assert set(images["exact"]) == {"no"}
    assert set(images.loc[images["split"] == "synthesis", "path"].str.partition("/")[0]) == {"imagenet"}


def test_another_split_seed_draws_other_new_concepts_as_a_world_of_its_own(pinned, source, tmp_path, capsys):
    assert run(source, tmp_path / "to") == 0
    assert run(source, tmp_path / "to", "--split-seed", "1") == 0
    tables = [tmp_path / "to/things" / name / "concepts.csv" for name in ("world", "world_split_1")]
    roles = [pd.read_csv(table).set_index("concept")["role"] for table in tables]
    assert roles[0].value_counts().equals(roles[1].value_counts())
    assert not roles[0].equals(roles[1])


def test_a_world_without_imagenet_stands_beside_the_other(pinned, source, tmp_path, capsys):
    assert run(source, tmp_path) == 0
    assert run(source, tmp_path, "--no-imagenet") == 0
    worlds = [folder_world.read(tmp_path / "things" / name) for name in ("world", "world_no_imagenet")]
    of_imagenet = [int(world.images["path"].str.startswith("imagenet/").sum()) for world in worlds]
    assert of_imagenet[0] > 0 and of_imagenet[1] == 0
    assert worlds[0].triplets.equals(worlds[1].triplets)


def test_rows_of_clip_are_named_in_the_order_of_the_file_names(tmp_path):
    clip = tmp_path / "clip.npy"
    fetch._name_rows(clip, ["a_b", "aa", "ab"])  # an underscore sorts after the letters
    assert (tmp_path / fetch.CLIP_NAMES).read_text().split() == ["aa", "ab", "a_b"]


def test_three_tenths_of_the_concepts_are_new_within_each_category(made):
    things = pd.read_csv(made[0].pictures / "concepts.csv")
    share = (things["role"] == "new").groupby(things["category"]).mean()
    assert share.between(0.2, 0.4).all()
    assert (things["role"] == "new").mean() == pytest.approx(0.3, abs=0.03)
    assert things.loc[things["role"] == "no photograph", "concept"].tolist() == ["thing003"]


def test_a_concept_is_new_or_judged_whichever_photographs_there_are(source):
    things = things_concepts.concept_table(source[0] / "things_concepts.tsv")
    some, every = (things_world.roles(things, set(NAMES[:n])) for n in (80, COUNT))
    assert (some[:80] == every[:80]).all()
    assert (some[80:] == things_world.WITHOUT).all()


def test_no_choice_about_a_new_concept_reaches_a_fit_and_rows_that_mix_are_left_out(made):
    world, roles = made[0], role(made)
    assert {roles[name] for found in named_sets(world.triplets) for name in found} == {"judged"}
    by_name = named_sets(world.concept_choices, CONCEPTS)
    assert all("thing003" in found for found in by_name)
    assert {roles[name] for found in by_name for name in found} == {"judged", "no photograph"}
    main = world.levels[world.levels["study"].isna() | (world.levels["study"] == "")]
    assert {roles[name] for found in named_sets(main) for name in found} == {"new"}


def test_pictures_are_split_by_concept_and_by_which_one_people_saw(made):
    world, roles = made[0], role(made)
    images = world.images.set_index("image")
    for name in NAMES:
        if roles[name] == "judged":
            assert images.loc[f"{name}_{SEEN.get(name, '01b')}", "split"] == "human"
            assert images.loc[f"{name}_07s", "split"] == "synthesis"
        elif roles[name] == "new":
            assert (
                images.loc[[name_ for name_ in images.index if name_.startswith(f"{name}_0")], "split"] == "test"
            ).all()
    assert (images["exact"] == "yes").equals(pd.Series(images.index.str.endswith("_01b"), images.index, name="exact"))
    assert "stranger_01b" not in images.index
    assert made[1].left_out["photographs whose names are no concept's"] == 1


def test_classes_that_are_new_concepts_and_one_picture_of_two_classes_are_left_out(made):
    world, roles = made[0], role(made)
    images = world.images.set_index("image")
    for number in range(2, 60):
        kept = f"{wordnet(number)}_{NAMES[number]}" in images.index
        assert kept == (roles[NAMES[number]] != "new")
    assert images.loc[f"{wordnet(500)}_free_0", ["category", "domain"]].tolist() == ["unlabelled", "unlabelled"]
    assert images.loc[f"{wordnet(0)}_kite", "concept"] == f"{wordnet(0)} kite"  # a bird is no toy
    assert not {"n00000600_one", "n00000601_two"} & set(images.index)
    matches = pd.read_csv(world.pictures / "matches.csv").set_index("wordnet")
    assert matches.loc[wordnet(1), ["concept", "matched_by"]].tolist() == ["thing001", "name"]
    assert (matches["matched_by"] == "WordNet").sum() == 58


def test_the_odd_one_out_is_the_last_of_a_row_and_stands_in_random_places(made, source):
    names = ("test_10_ID.txt", "train_90_ID_smallsample.txt", "behavior_triplets_test10.txt")
    rows = np.concatenate([rows_of(source, name, 3) for name in names])
    last = pd.Series([NAMES[number] for number in rows[:, 2]]).groupby(pd.Series(sets_of(rows))).agg(set)
    table = made[0].triplets
    odd = table[TRIPLET].to_numpy()[np.arange(len(table)), table["odd"]]
    assert all(name.rpartition("_")[0] in last[found] for found, name in zip(named_sets(table), odd, strict=True))
    assert (np.bincount(table["odd"]) / len(table)) == pytest.approx([1 / 3] * 3, abs=0.03)


def test_every_answer_to_a_set_is_another_persons(made, source):
    table = made[0].triplets
    assert not pd.DataFrame({"set": named_sets(table), "who": table["participant"]}).duplicated().any()
    left_out = made[1].left_out
    people = np.concatenate([rows_of(source, name) for name in ("test_10_ID.txt", "train_90_ID_smallsample.txt")])
    answers = {(found, row[3]) for found, row in zip(sets_of(people), people, strict=True)}
    assert left_out["a person's later answers to one set"] == len(people) - len(answers) > 0
    nobody = sets_of(rows_of(source, "behavior_triplets_test10.txt", 3))
    known = {found for found, _ in answers}
    assert left_out["later answers to one set, no person named"] == len(nobody) - len(set(nobody)) > 0
    both = left_out["no person named, and the set stands in a file that names one"]
    assert both == len(set(nobody) & known) > 0


def test_repeats_doubles_and_sets_of_the_study_are_left_out_as_counted_by_hand():
    triplets = np.array([[0, 1, 2], [2, 1, 0], [0, 1, 2], [0, 1, 3], [5, 6, 7], [1, 2, 0], [8, 9, 7], [9, 7, 8]])
    rows = things_rows.Rows(triplets.astype(np.int16), np.array([4, 4, 6, 4, 4, -1, -2, -3], np.int32))
    kept, left_out = things_rows.single_answers(rows, things_rows.set_keys(np.array([[7, 6, 5]])))
    assert kept.triplets.tolist() == [[0, 1, 2], [0, 1, 2], [0, 1, 3], [8, 9, 7]]
    assert kept.person.tolist() == [4, 6, 4, -2]
    assert sorted(left_out.values()) == [1, 1, 1, 1]
    assert kept.said() == "4 choices about 3 triplets, 2 people and 1 unknown ones"


def test_a_set_stands_in_one_split_and_validation_has_the_sets_of_three_people_and_more(made):
    table = made[0].triplets.assign(found=named_sets(made[0].triplets))
    assert table.groupby("found")["split"].nunique().max() == 1
    people = table.groupby("found")["participant"].nunique()
    split = table.groupby("found")["split"].first()
    assert (split[people >= 3] == "validation").all()
    assert (people[split == "validation"] >= 3).all()
    assert 0.08 < (split == "test").sum() / (split != "validation").sum() < 0.12


def test_whether_a_set_is_for_testing_depends_on_nothing_but_the_set():
    keys = np.random.default_rng(0).permutation(10**6)
    drawn = things_rows.drawn_share(keys, 0) < 0.1
    assert drawn.mean() == pytest.approx(0.1, abs=0.002)
    assert (things_rows.drawn_share(keys[:100], 0) < 0.1).tolist() == drawn[:100].tolist()
    assert (things_rows.drawn_share(keys, 1) < 0.1).tolist() != drawn.tolist()


def test_the_study_of_2025_stands_apart_with_people_of_its_own(made):
    world = made[0]
    of_study = world.levels["study"] == "2025"
    apart, others = set(named_sets(world.levels[of_study])), named_sets(world.levels[~of_study])
    assert len(apart) > 30
    assert not apart & {*named_sets(world.triplets), *named_sets(world.concept_choices, CONCEPTS), *others}
    assert made[1].left_out["about a set of the study of 2025"] >= 3  # of people[70], if not more by chance
    assert set(world.levels.loc[of_study, "participant"]) == {f"2025_{number}" for number in range(10, 18)}
    assert world.levels.loc[~of_study, "participant"].str.match(r"(2020|unknown)_\d+$").all()


def test_unknown_people_are_nobody_else_and_are_not_counted_as_people(made):
    table = pd.concat([made[0].triplets, made[0].levels, made[0].concept_choices])
    unknown = table.loc[table["participant"].str.startswith(participants.UNKNOWN), "participant"]
    assert len(unknown) > 500
    assert not unknown.duplicated().any()
    assert participants.known(made[0].triplets["participant"]) == 30
    assert participants.said(pd.Series(["2020_1", "unknown_4", "2020_1", "unknown_5"])) == (
        "1 participants and 2 unknown ones"
    )


def test_levels_follow_the_categories(made):
    category = made[0].images.set_index("image")["category"]
    table = made[0].levels
    for level, rows in table.groupby("level"):
        kinds = rows[TRIPLET].map(lambda image: category[image])
        assert set(kinds.nunique(axis=1)) == {"coarse": {3}, "boundary": {2}, "fine": {1}}[level]
        assert ((kinds == "other").sum(axis=1) <= 1).all()


@pytest.mark.parametrize(
    ("classes", "level"),
    [
        ("abc", "coarse"),
        ("aab", "boundary"),
        ("aba", "boundary"),
        ("baa", "boundary"),
        ("aaa", "fine"),
        ("ab?", "coarse"),
        ("?aa", "boundary"),
        ("a??", ""),
        ("???", ""),
    ],
)
def test_one_picture_of_no_class_is_of_another_than_the_rest_and_two_leave_the_level_open(classes, level):
    names = np.array([[abstraction.NO_CLASS if name == "?" else name for name in classes]], dtype=object)
    assert abstraction.by_class(names).tolist() == [level]


def test_the_study_numbers_concepts_by_file_name(tmp_path):
    names = ["air", "air_mattress", "airbag", "bow"]  # as unique_id.txt has them
    order = things_concepts.by_file_name(names)
    assert [names[number] for number in order] == ["air", "airbag", "air_mattress", "bow"]
    write_rows(tmp_path / "study.txt", [[0, 2, 1, 9], [0, 2, 1, 10]])
    rows = things_rows.of_2025(tmp_path / "study.txt", order)
    assert (rows.triplets.tolist(), rows.person.tolist()) == ([[0, 1, 2]], [10])


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("1 2", "row 3: '1 2' is not 3 numbers"),
        ("1 2 3 4", "row 3: '1 2 3 4' is not 3 numbers"),
        ("", "row 3: '' is not 3 numbers"),
        ("1 2 2.5", "row 3: '1 2 2.5' is not whole numbers from 0"),
        ("1 -2 3", "row 3: '1 -2 3' is not whole numbers from 0"),
        ("1 2 120", "row 3: '1 2 120' names a concept beyond 119"),
        ("1 2 1", "row 3: '1 2 1' names a concept twice"),
        ("1 2 x", "is not rows of three numbers"),
    ],
)
def test_a_wrong_row_is_refused_by_file_and_number(row, why, tmp_path):
    file = tmp_path / "rows.txt"
    file.write_text(f"0 1 2\n3  4\t5\n{row}\n6 7 8\n")
    with pytest.raises(WorldError, match=f"rows.txt.*{re.escape(why)}") as error:
        things_rows.read(file, COUNT, people=False)
    assert "\n" not in str(error.value)


def test_a_pointer_of_git_lfs_in_place_of_a_large_file_is_refused(tmp_path):
    (tmp_path / "large.txt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(WorldError, match=r"large\.txt: is not rows of three numbers and a person"):
        things_rows.read(tmp_path / "large.txt", COUNT, people=True)


def test_large_files_are_read_block_by_block_and_kept_in_ten_bytes_a_row(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).permuted(np.tile(np.arange(COUNT), (50_000, 1)), axis=1)[:, :3]
    np.savetxt(tmp_path / "rows.txt", rows, fmt="%d")
    sizes, checked = [], things_rows._checked
    monkeypatch.setattr(things_rows, "BLOCK", 7_000)
    monkeypatch.setattr(things_rows, "_checked", lambda block, *more: sizes.append(len(block)) or checked(block, *more))
    read = things_rows.read(tmp_path / "rows.txt", COUNT, people=False)
    assert sizes == [7_000] * 7 + [1_000]
    assert read.triplets.nbytes + read.person.nbytes == 10 * len(rows)
    assert (read.triplets == rows).all()
    assert read.person.tolist() == list(range(-1, -50_001, -1))


def test_all_reads_the_large_files_and_makes_the_same_split_of_concepts(pinned, source, tmp_path, capsys):
    more = tmp_path / "more/choices"
    small = (source[0] / "choices/train_90_ID_smallsample.txt").read_text()
    write_rows(more / "train_90_ID.txt", random_rows(1000, 8, people=9))
    (more / "train_90_ID.txt").write_text(small + (more / "train_90_ID.txt").read_text())
    write_rows(more / "behavior_triplets_train90.txt", random_rows(4000, 9))
    assert run(source, tmp_path / "small") == 0
    assert run([*source, tmp_path / "more"], tmp_path / "large", "--all") == 0
    assert "behavior_triplets_train90.txt: 4,000 choices" in capsys.readouterr().out
    few, many = (folder_world.read(tmp_path / name / "things/world") for name in ("small", "large"))
    assert len(many.triplets) > 1.2 * len(few.triplets)
    assert few.images.equals(many.images)
    tested = [set(named_sets(world.triplets[world.triplets["split"] == "test"])) for world in (few, many)]
    assert len(tested[0] - tested[1]) <= 0.02 * len(tested[0])  # three people may have judged a set by now
    record = (tmp_path / "large/fetched.json").read_text()
    assert "things/choices/train_90_ID.txt" in record


def test_photographs_of_ones_own_replace_those_of_the_same_name_and_join_the_others(source, tmp_path):
    own = tmp_path / "object_images"
    picture(own / "thing004/thing004_01b.jpg", 9000)  # the one that people saw
    picture(own / "thing005/thing005_01b.jpg", 9001)
    picture(own / "thing005/thing005_11n.jpg", 9002)
    shutil.copy(own / "thing005/thing005_11n.jpg", own / "thing005/thing005_12n.jpg")
    picture(own / "thing003/thing003_plus.jpg", 9003)
    both = {"things": source[0] / "pictures", "pictures": own}
    table, left_out = things_photographs.of_concepts(both, NAMES)
    paths = table.set_index("image")["path"]
    first = table.drop_duplicates("concept").set_index("concept")
    assert first.loc["thing004", ["image", "exact"]].tolist() == ["thing004_01b", True]
    assert paths["thing005_01b"] == "pictures/thing005/thing005_01b.jpg"
    assert paths["thing006_01b"].startswith("things/")
    assert first.loc["thing003", ["image", "exact"]].tolist() == ["thing003_plus", False]
    assert {"thing005_11n", "thing005_12n"} & set(paths.index) == {"thing005_11n"}
    assert left_out["photographs in equal files for one concept"] == 1
    assert left_out["photographs that others of the same name replaced"] == 1


def test_one_picture_for_two_concepts_is_left_out_of_both(tmp_path):
    for name in ("thing000_01b", "thing001_01b"):
        picture(tmp_path / f"{name}.jpg", 1)
    picture(tmp_path / "thing001_02s.jpg", 2)
    table, left_out = things_photographs.of_concepts({"things": tmp_path}, NAMES)
    assert table["image"].tolist() == ["thing001_02s"]
    assert left_out["photographs in equal files for two concepts"] == 2
    with pytest.raises(WorldError, match="holds no photograph named after a concept"):
        things_photographs.of_concepts({"things": tmp_path}, ["other"])


def test_names_and_concepts_that_differ_are_refused(source, tmp_path):
    things = things_concepts.concept_table(source[0] / "things_concepts.tsv")
    (tmp_path / "unique_id.txt").write_text("\n".join(reversed(NAMES)))
    with pytest.raises(WorldError, match=r"unique_id\.txt: names other concepts"):
        things_concepts.identifiers(tmp_path / "unique_id.txt", things)
    (tmp_path / "things_concepts.tsv").write_text("Word\nx\n")
    with pytest.raises(WorldError, match=r"things_concepts\.tsv: lacks the column"):
        things_concepts.concept_table(tmp_path / "things_concepts.tsv")
    with pytest.raises(WorldError, match=r"none\.tsv: no such file: run python -m alignet\.worlds\.fetch things"):
        things_concepts.concept_table(tmp_path / "none.tsv")


# what is real


@pytest.fixture(scope="module")
def real_rows():
    names = things_concepts.identifiers(
        CHOICES / "unique_id.txt", things_concepts.concept_table(CHOICES / "things_concepts.tsv")
    )
    found = {
        "people": things_rows.read(CHOICES / "test_10_ID.txt", len(names), people=True),
        "sample": things_rows.read(CHOICES / "train_90_ID_smallsample.txt", len(names), people=True),
        "nobody": things_rows.read(CHOICES / "behavior_triplets_test10.txt", len(names), people=False),
        "study": things_rows.of_2025(CHOICES / Path(fetch.STUDY.path).name, things_concepts.by_file_name(names)),
    }
    return names, found


@pytest.fixture(scope="module")
def real_world(tmp_path_factory):
    samples = next(EXTERNAL.glob("imagenet-sample-images-*"), None)
    return things_world.make(files_of(REAL, samples), tmp_path_factory.mktemp("real") / "world")


@real
def test_the_copies_are_the_pinned_files():
    for file in fetch.FILES["things"]:
        for place in downloads._places(file, [REAL]):
            if place.is_file():
                assert downloads.sha256(place) == file.sha256
    content = fetch.PHOTOGRAPHS.pictures
    assert downloads.content_digest(REAL / "pictures", content.pattern) == content.content


@real
def test_the_real_files_have_the_rows_and_people_that_their_list_says(real_rows):
    names, rows = real_rows
    assert len(names) == 1854
    assert {name: len(found) for name, found in rows.items()} == {
        "people": 127_304,
        "sample": 21_616,
        "nobody": 146_168,
        "study": 87_560,
    }
    assert [len(np.unique(rows[name].person)) for name in ("people", "sample", "study")] == [264, 10, 199]
    assert set(rows["sample"].person) <= set(rows["people"].person)
    assert len(np.unique(rows["study"].keys)) == 440


@real
def test_the_two_orders_of_the_concepts_differ_in_192_names(real_rows):
    names, _ = real_rows
    order = things_concepts.by_file_name(names)
    assert (order != np.arange(len(names))).sum() == 192


@real
@pytest.mark.skipif(not (EXTERNAL / "spose_66d.txt").is_file(), reason="no SPoSE embedding here")
def test_an_embedding_of_the_choices_of_2020_tells_the_right_order_and_the_odd_one_out(real_rows):
    names, rows = real_rows
    embedding = np.loadtxt(EXTERNAL / "spose_66d.txt").clip(0)
    likeness = embedding @ embedding.T

    def agreement(triplets):
        first, second, third = triplets.astype(int).T
        pairs = np.stack([likeness[second, third], likeness[first, third], likeness[first, second]], 1)
        return np.bincount(pairs.argmax(1), minlength=3) / len(triplets)

    for name in ("people", "sample", "nobody"):
        places = agreement(rows[name].triplets)
        assert places[2] > 0.6
        assert max(places[:2]) < 0.25
    back = np.argsort(things_concepts.by_file_name(names))
    right, wrong = agreement(rows["study"].triplets)[2], agreement(back[rows["study"].triplets])[2]
    assert right == pytest.approx(0.542, abs=0.001)
    assert wrong == pytest.approx(0.491, abs=0.001)


@real
def test_the_validation_file_repeats_4663_sets_of_the_person_file_with_the_same_odd_one_out(real_rows):
    _, rows = real_rows
    people, nobody = rows["people"], rows["nobody"]
    both = np.intersect1d(people.keys, nobody.keys)
    assert len(both) == 4663
    odd = dict(zip(people.keys.tolist(), people.triplets[:, 2].tolist(), strict=True))
    repeated = np.isin(nobody.keys, both)
    pairs = zip(nobody.keys[repeated].tolist(), nobody.triplets[repeated, 2].tolist(), strict=True)
    assert np.mean([odd[key] == last for key, last in pairs]) > 0.99  # the odd one out stands last in both


@real
def test_the_real_world_keeps_one_of_each_double_and_every_reason_is_counted(real_world):
    world, report = real_world
    table = world.triplets.assign(found=named_sets(world.triplets))
    assert not table.duplicated(["found", "participant"]).any()
    assert table.groupby("found")["split"].nunique().max() == 1
    counts = report.left_out
    assert counts["a person's later answers to one set"] == 463
    assert counts["later answers to one set, no person named"] == 8
    assert counts["no person named, and the set stands in a file that names one"] == 5450
    assert counts["about a set of the study of 2025"] == 590
    assert table["split"].value_counts().to_dict() == {"train": 86_654, "test": 9_857, "validation": 531}


@real
def test_the_photograph_that_people_saw_is_the_one_whose_name_ends_in_01b(real_world):
    things = pd.read_csv(real_world[0].pictures / "concepts.csv")
    assert things["exact"].sum() == 1639
    assert things["role"].value_counts().to_dict() == {"judged": 1290, "new": 555, "no photograph": 9}
    references = things.set_index("concept")["reference"]
    assert references["aardvark"] == "aardvark_01b"
    assert references["bib"] == "bib_01n"  # another photograph of the same concept
    assert references["bow3"] == "bow3_11s"
    shown = real_world[0].images[real_world[0].images["split"] == "human"]
    assert shown["exact"].eq("yes").equals(shown["image"].str.endswith("_01b"))


@real
def test_the_real_study_of_2025_is_apart_and_keeps_its_199_people(real_world):
    world = real_world[0]
    of_study = world.levels["study"] == "2025"
    study = world.levels[of_study].assign(found=named_sets(world.levels[of_study]))
    assert (study.groupby("found")["participant"].nunique() == 199).all()
    others = {*named_sets(world.triplets), *named_sets(world.levels[~of_study])}
    assert not others & set(study["found"])
    assert not others & {*named_sets(world.concept_choices, CONCEPTS)}
    assert study["found"].nunique() == 365


@real
def test_people_choose_the_picture_of_the_other_category(real_world):
    """Two of one category and one of another: 78 to 87 % in 2020, 61 to 84 % in 2025, by sources/README.md."""
    world = real_world[0]
    category = world.images.set_index("image")["category"]
    for study, low in (("", 0.74), ("2025", 0.6)):
        rows = world.levels[(world.levels["level"] == "boundary") & (world.levels["study"].fillna("") == study)]
        kinds = rows[TRIPLET].map(lambda image: category[image]).to_numpy()
        other = (kinds[:, :, None] == kinds[:, None, :]).sum(2).argmin(1)
        assert (rows["odd"].to_numpy() == other).mean() > low
