"""The paper's data in its public file formats, all invented: readers on hand-made files, and the whole pipeline."""

import csv
import dataclasses
import io
import os
import pickle
from collections import OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import runs
import timm
from PIL import Image

from alignet import config, results
from alignet.models import backbones
from alignet.worlds import check
from alignet.worlds.format import files, tables
from alignet.worlds.format.tables import WorldError
from alignet.worlds.paper import imagenet, levels_pickle, things_full

CLASSES = ["n01440764", "n01443537", "n02084071", "n02085620", "n02123045", "n02504458", "n03272010", "n07749582"]
CLASSES.remove("n02084071")  # dog: a synset of WordNet, no class of ImageNet-1k
CHOICE_COLUMNS = ["image1", "image2", "image3", "choice", "RT", "noise_ceiling", "subject_id", "HIT_nr", "trial_nr"]
Row = namedtuple("Row", "image1 image2 image3 choice RT noise_ceiling subject_id", defaults=("A1",))


def paint(path, number):
    """A picture of its own for every number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((40, 40), Image.Resampling.NEAREST).save(path)


def write_things(folder, rows, objects, validation, **others):
    folder.mkdir(parents=True, exist_ok=True)
    header = "Word\tuniqueID\tWordnet ID\tBottom-up Category (Human Raters)\n"
    lines = [f"{name}\t{name}\t{name}.n.01\tthing\n" for name in objects]
    (folder / "things_concepts.tsv").write_text(header + "".join(lines))
    place = folder / "triplet_dataset"
    place.mkdir(exist_ok=True)
    if rows is not None:
        table = pd.DataFrame(rows).assign(HIT_nr=1, trial_nr=1)[CHOICE_COLUMNS]
        table.to_csv(place / things_full.CHOICES, sep="\t", index=False, quoting=csv.QUOTE_NONE)
    for name, text in ({"validationset.txt": validation} | others).items():
        (place / name).write_text(text)
    return folder


def choices(folder, objects, out):
    """What the reader makes of a folder: rows (image_0, image_1, image_2, odd, participant, rt, split)."""
    report = things_full.write_choices(folder, objects, out)
    table = pd.read_parquet(out)
    return report, [tuple(None if value != value else value for value in row) for row in table.itertuples(index=False)]


# THINGS

OBJECTS = ["aardvark", "abacus", "accordion", "acorn"]
ROWS = [
    Row(1, 2, 3, 3, 1500, 0, "A1"),  # aardvark, abacus, accordion: people left out the third, accordion
    Row(4, 2, 1, 1, 800, 0, "A2"),  # acorn, abacus, aardvark: the first, acorn
    Row(2, 3, 4, 2, -1, 0, "A1"),  # abacus, accordion, acorn: the second, accordion; no usable time
    Row(1, 3, 4, 1, "", 2, "A3"),  # a repeated triplet
]
VALIDATION = "0 1 3\n"  # aardvark, abacus | acorn: the second row, in another order


def test_things_numbers_objects_from_one_and_gives_the_place_of_the_odd_one_out(tmp_path):
    folder = write_things(tmp_path / "things", ROWS, OBJECTS, VALIDATION)
    report, found = choices(folder, things_full.concepts(folder)["concept"].tolist(), tmp_path / "out.parquet")
    assert found == [
        ("aardvark", "abacus", "accordion", 2, "A1", 1.5, "train"),
        ("acorn", "abacus", "aardvark", 0, "A2", 0.8, "validation"),
        ("abacus", "accordion", "acorn", 1, "A1", None, "train"),
        ("aardvark", "accordion", "acorn", 0, "A3", None, "test"),
    ]
    assert (report.splits.tolist(), report.without_rt) == ([2, 1, 1], 2)


def test_the_split_files_number_from_zero_and_put_the_odd_one_out_last(tmp_path):
    others = {name: "" for name in things_full.SPLIT_FILES if name != "validationset.txt"}
    others |= {"trainset.txt": "0\t1\t2\n3\t0\t1\n", "testset1.txt": "2.0 3.0 0.0\n"}
    others |= dict.fromkeys(("testset2.txt", "testset2_repeat.txt", "testset3.txt"), "1,2,3\n")
    folder = write_things(tmp_path / "things", None, OBJECTS, VALIDATION, **others)
    report, found = choices(folder, OBJECTS, tmp_path / "out.parquet")
    assert found[:3] == [
        ("aardvark", "abacus", "accordion", 2, things_full.UNKNOWN, None, "train"),
        ("acorn", "aardvark", "abacus", 2, things_full.UNKNOWN, None, "train"),
        ("aardvark", "abacus", "acorn", 2, things_full.UNKNOWN, None, "validation"),
    ]
    assert found[3][:4] == ("accordion", "acorn", "aardvark", 2)
    assert report.splits.tolist() == [2, 1, 4]


def test_blocks_of_any_size_give_the_same_choices(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    rows = [Row(*(generator.permutation(4)[:3] + 1), generator.integers(1, 4), 900, 0, "A1") for _ in range(3000)]
    last = [{1: r.image1, 2: r.image2, 3: r.image3}[r.choice] for r in rows]
    shown = [[*sorted({r.image1, r.image2, r.image3} - {odd}), odd] for r, odd in zip(rows, last, strict=True)]
    validation = "".join(" ".join(str(number - 1) for number in row) + "\n" for row in shown[:2])
    folder = write_things(tmp_path / "things", rows, OBJECTS, validation)
    whole = choices(folder, OBJECTS, tmp_path / "whole.parquet")[1]
    monkeypatch.setattr(things_full, "BLOCK", 4096)
    assert choices(folder, OBJECTS, tmp_path / "blocks.parquet")[1] == whole
    assert len(whole) == 3000


WRONG_THINGS = {
    "an object beyond the last": ([ROWS[0], Row(1, 2, 5, 3, 9, 0)], VALIDATION, r"row 3: \[1, 2, 5\] is not 1 to 4"),
    "an object numbered 0": ([Row(0, 2, 3, 3, 9, 0)], VALIDATION, r"row 2: \[0, 2, 3\] is not 1 to 4"),
    "a choice of 0": ([Row(1, 2, 3, 0, 9, 0)], VALIDATION, r"row 2: 0 is not 1, 2 or 3: choice \(1 rows\)"),
    "an object twice": ([Row(1, 1, 3, 3, 9, 0)], VALIDATION, r"row 2: \[1, 1, 3\] shows an object twice"),
    "a choice in words": ([Row(1, 2, 3, "third", 9, 0)], VALIDATION, "third"),
    "a split numbered from 1": (ROWS, "1 2 3\n", "holds only 0 of the 1 different choices of validationset.txt"),
    "a split beyond the last object": (ROWS, "0 1 4\n", r"validationset\.txt, row 1: .* is not 0 to 3"),
    "a split with two columns": (ROWS, "0 1\n", r"validationset\.txt, row 1: '0 1' is not three numbers"),
    "a split in words": (ROWS, "0 1 x\n", r"validationset\.txt: cannot be read"),
}


@pytest.mark.parametrize("case", WRONG_THINGS)
def test_wrong_things_files_are_refused_by_file_row_and_value(case, tmp_path):
    rows, validation, line = WRONG_THINGS[case]
    folder = write_things(tmp_path / "things", rows, OBJECTS, validation)
    with pytest.raises(tables.WorldError, match=line):
        things_full.write_choices(folder, OBJECTS, tmp_path / "out.parquet")


def test_missing_things_files_columns_and_pictures_are_named(tmp_path):
    folder = write_things(tmp_path / "things", ROWS, OBJECTS, VALIDATION)
    objects = things_full.concepts(folder)
    paint(folder / "images/acorn/acorn_01b.jpg", 0)
    with pytest.raises(tables.WorldError, match=r"3 of 4 pictures are missing: images/aardvark/aardvark_01b\.jpg, "):
        things_full.pictures(folder, objects)
    path = folder / "triplet_dataset" / things_full.CHOICES
    path.write_text(path.read_text().replace("RT", "time"))
    with pytest.raises(tables.WorldError, match="missing column RT"):
        things_full.write_choices(folder, OBJECTS, tmp_path / "out.parquet")
    (folder / "triplet_dataset" / "validationset.txt").unlink()
    with pytest.raises(
        tables.WorldError, match=r"validationset\.txt: no such file \(python -m alignet\.worlds\.fetch things-osf\)"
    ):
        things_full.write_choices(folder, OBJECTS, tmp_path / "out.parquet")
    (folder / "things_concepts.tsv").write_text("uniqueID\nacorn\nacorn\n")
    with pytest.raises(tables.WorldError, match=r"row 3, column uniqueID: 'acorn'"):
        things_full.concepts(folder)


# Levels

# Columns, paths and names of kinds as in experiment/server_inputs/*.csv of Frieda-Josefine/HumanEval_experiment; the
# pictures are invented.
PRESENTED = """id,image1,image2,image3,trial,triplet_class
participant_0,stimuli/x_images/n04536866_66.JPEG,stimuli/x_images/n03944341_93.JPEG,stimuli/x_images/n03642806_15.JPEG,0,between_class
participant_0,stimuli/x_images/n02097047_12.JPEG,stimuli/x_images/n03814639_16.JPEG,stimuli/x_images/n02097047_24.JPEG,1,class_boundary
participant_0,stimuli/x_images/n02231487_24.JPEG,stimuli/x_images/n02231487_14.JPEG,stimuli/x_images/n02231487_27.JPEG,2,within_class
participant_0,stimuli/x_images/n02231487_24.JPEG,stimuli/x_images/n02231487_14.JPEG,stimuli/x_images/n02231487_28.JPEG,3,within_class
"""


def presented(answers, kind="triplet_class", **changes):
    """Trials as experiment/index.html records them of the list above: rt in milliseconds, None after 15 seconds."""
    shown = pd.read_csv(io.StringIO(PRESENTED)).to_dict("records")
    trials = []
    for row, place in zip(shown, answers, strict=True):
        chosen = "No image selected" if place is None else row[f"image{place + 1}"]
        given = {f"image{n}Path": row[f"image{n}"] for n in (1, 2, 3)} | {"selected_image": chosen}
        given |= {"exp_trial_type": "exp_trial", kind: row["triplet_class"], "exp_trial_number": row["trial"]}
        trials.append(given | {"rt": None if place is None else 2000 + row["trial"]} | changes)
    return {"participant_0": trials}


def test_trials_of_the_presented_lists_are_read_and_those_without_an_answer_counted(tmp_path):
    path = save_pickle(tmp_path / "levels.pkl", presented([2, 1, 0, None]))
    table, unanswered = levels_pickle.read(path, "rt", 0.001)
    assert unanswered == 1
    assert table["level"].tolist() == ["coarse", "boundary", "fine"]
    assert table["odd"].tolist() == [2, 1, 0]
    assert table["rt"].tolist() == pytest.approx([2.0, 2.001, 2.002])
    assert table["image_1"].tolist() == ["n03944341_93.JPEG", "n03814639_16.JPEG", "n02231487_14.JPEG"]


def test_the_settings_name_the_entry_that_the_experiment_writes(tmp_path):
    settings = config.load("imagenet", config.ImageNet, "params/paper.yaml")
    assert (settings.levels_rt, settings.levels_rt_unit) == ("rt", "milliseconds")


def test_a_kind_that_the_classes_of_the_pictures_contradict_is_refused(tmp_path):
    content = presented([0, 0, 0, 0], "triplet_type", triplet_type="class_border")
    with pytest.raises(tables.WorldError) as raised:
        levels_pickle.read(save_pickle(tmp_path / "levels.pkl", content), "rt", 0.001)
    assert "trial 0: is of the kind class_border, and its pictures are of 3 classes (1 trials)" in str(raised.value)
    assert "trial 2: is of the kind class_border, and its pictures are of 1 classes (2 trials)" in str(raised.value)


def trial(images, chosen, kind="class_border", time=900, **changes):
    keys = dict(zip(("image1Path", "image2Path", "image3Path"), images, strict=True))
    return (
        keys
        | {"exp_trial_type": "exp_trial", "triplet_type": kind, "selected_image": chosen}
        | ({"rt": time} | changes)
    )


def save_pickle(path, content, protocol=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def read_levels(path):
    return levels_pickle.read(path, "rt", 0.001)[0]


@pytest.mark.parametrize("protocol", range(6))
def test_levels_gives_the_place_of_the_selected_picture_in_every_protocol(protocol, tmp_path):
    people = OrderedDict(
        [
            ("p1", [trial(("a.JPEG", "x/b.JPEG", "c.JPEG"), "b.JPEG"), trial("abc", "a", exp_trial_type="practice")]),
            (2, [trial(("c.JPEG", "b.JPEG", "a.JPEG"), np.str_("a.JPEG"), "within_class", np.float64(1250))]),
            ("p3", [trial(("a.JPEG", "b.JPEG", "d.JPEG"), "a.JPEG", "between_class", None, extra=np.arange(3))]),
        ]
    )
    found = read_levels(save_pickle(tmp_path / "levels.pkl", people, protocol))
    assert found.fillna(-1).to_dict("split")["data"] == [
        ["a.JPEG", "b.JPEG", "c.JPEG", 1, "p1", 0.9, "boundary"],
        ["c.JPEG", "b.JPEG", "a.JPEG", 2, "2", 1.25, "fine"],
        ["a.JPEG", "b.JPEG", "d.JPEG", 0, "p3", -1, "coarse"],
    ]


class Malicious:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "system"), (eval, "eval"), (exec, "exec"), (getattr, "getattr"), (__import__, "__import__")],
)
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(function, name, protocol, tmp_path):
    mark = tmp_path / "it ran"
    arguments = {"system": f"touch '{mark}'", "getattr": (Path, "touch")}.get(name, f"open({str(mark)!r}, 'w')")
    content = {"p1": [Malicious(function, *(arguments if isinstance(arguments, tuple) else (arguments,)))]}
    path = save_pickle(tmp_path / "levels.pkl", content, protocol)
    with pytest.raises(tables.WorldError, match=rf"levels\.pkl: holds \w+\.{name}, which is no plain data"):
        read_levels(path)
    assert not mark.exists()


@pytest.mark.parametrize("thing", [Path("x"), pd.DataFrame({"a": [1]}), np.random.default_rng(0), print, Row])
def test_a_pickle_of_more_than_plain_data_is_refused_by_name(thing, tmp_path):
    with pytest.raises(tables.WorldError, match="which is no plain data: refused"):
        read_levels(save_pickle(tmp_path / "levels.pkl", {"p1": [thing]}))


WRONG_LEVELS = {
    "a list": ([1, 2], "is no dict of participants"),
    "nothing but practice": ({"p1": [trial("abc", "a", exp_trial_type="practice")]}, "no trial whose exp_trial_type"),
    "an unknown type": (
        {"p1": [trial("abc", "a", "other")]},
        r"'p1', trial 0: triplet_type: .*\(1 trials\)",
    ),
    "a picture that was not shown": ({"p1": [trial("abc", "z")] * 2}, r"selected_image is none .*\(2 trials\)"),
    "a picture twice": ({"p1": [trial("aab", "a")]}, "shows a picture twice"),
    "a trial without a picture": ({"p1": [trial("abc", "a", image2Path=None)]}, "trial 0: image2Path"),
    "no response time": ({"p1": [{k: v for k, v in trial("abc", "a").items() if k != "rt"}]}, "no entry"),
    "another unit": ({"p1": [trial("abc", "a", time=0.9)]}, "median of rt is 0.0009 s"),
}


@pytest.mark.parametrize("case", WRONG_LEVELS)
def test_wrong_levels_are_refused_by_participant_trial_and_entry(case, tmp_path):
    content, line = WRONG_LEVELS[case]
    with pytest.raises(tables.WorldError, match=line):
        read_levels(save_pickle(tmp_path / "levels.pkl", content))


def test_a_pickle_that_is_cut_short_or_missing_is_refused(tmp_path):
    path = save_pickle(tmp_path / "levels.pkl", {"p1": [trial("abc", "a")]})
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(tables.WorldError, match=r"levels\.pkl: cannot be read as a pickle"):
        read_levels(path)
    with pytest.raises(tables.WorldError, match=r"none\.pkl: no such file \(python -m alignet\.worlds\.fetch levels\)"):
        read_levels(tmp_path / "none.pkl")


# The world of all three

PEOPLE, TRIPLETS, OBJECT_COUNT = 8, 700, 24


def write_paper_files(folder):
    """A miniature of the public files, with invented pictures and choices by chance."""
    generator = np.random.default_rng(0)
    objects = [f"object{number:02d}" for number in range(OBJECT_COUNT)]
    shown = np.stack([generator.permutation(OBJECT_COUNT)[:3] for _ in range(TRIPLETS)])
    shown[-60:] = np.repeat(shown[-60:-50], 6, axis=0)
    odd = generator.integers(0, 3, TRIPLETS)
    rows = [
        Row(
            *(triplet + 1),
            place + 1,
            int(generator.integers(500, 9000)),
            int(number >= TRIPLETS - 60),
            f"A{number % 9}",
        )
        for number, (triplet, place) in enumerate(zip(shown, odd, strict=True))
    ]
    held = [[*np.delete(shown[number], odd[number]), shown[number][odd[number]]] for number in range(40)]
    validation = "".join(" ".join(map(str, row)) + "\n" for row in held)
    write_things(folder / "things", rows, objects, validation)
    for number, name in enumerate(objects):
        paint(folder / f"things/images/{name}/{name}_01b.jpg", number)
    write_imagenet(folder)
    save_pickle(folder / "levels/pruned_dataset.pkl", _levels(generator))
    return folder


def write_imagenet(folder):
    """ImageNet's folders with ten invented pictures a class for training and two for validation."""
    for place, synset in enumerate(CLASSES):
        for number in range(10):
            paint(folder / f"imagenet/train/{synset}/{synset}_{number}.JPEG", 1000 + 100 * place + number)
        for number in range(2):
            name = f"ILSVRC2012_val_{10 * place + number:08d}.JPEG"
            paint(folder / f"imagenet/val/{synset}/{name}", 3000 + 100 * place + number)


def _levels(generator):
    kinds = {"within_class": (0, 0, 0), "class_border": (0, 0, 1), "between_class": (0, 1, 2)}
    triplets = []
    for kind, places in kinds.items():
        for _ in range(12):
            classes = generator.permutation(CLASSES)
            numbers = generator.permutation(4)
            triplets.append((kind, [f"{classes[p]}_{n}.JPEG" for p, n in zip(places, numbers, strict=False)]))
    return {
        f"p{person}": [
            trial(images, images[generator.integers(3)], kind, 700 + 10 * person) for kind, images in triplets
        ]
        for person in range(PEOPLE)
    }


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    return write_paper_files(tmp_path_factory.mktemp("paper"))


def paper_settings(folder, **changes):
    places = {"things": folder / "things", "imagenet": folder / "imagenet"}
    places["levels"] = folder / "levels" / "pruned_dataset.pkl"
    names = {name: str(path) for name, path in places.items()}
    return config.load("imagenet", config.ImageNet, "params/paper.yaml", **(names | changes))


def test_imagenet_alone_becomes_a_world_without_choices(paper, tmp_path):
    chosen = dataclasses.replace(paper_settings(paper), things=None, levels=None)
    world = imagenet.make(chosen, tmp_path / "world")
    assert world.choices == "none"
    assert world.levels is None
    assert len(world.triplets) == 0
    assert set(world.images["split"]) == {"synthesis", "test"}
    assert not (tmp_path / "world" / "triplets.parquet").exists()
    assert "choices of nobody" in check.summary(world)
    with pytest.raises(WorldError, match=r"imagenet\.levels: needs imagenet\.things"):
        imagenet.make(dataclasses.replace(paper_settings(paper), things=None), tmp_path / "other")


def test_the_papers_files_become_one_world_that_refers_to_their_pictures(paper, tmp_path, capsys):
    world = imagenet.make(paper_settings(paper), tmp_path / "world")
    assert "nltk.downloader wordnet" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "world").iterdir()) == [
        *("images.parquet", "levels.parquet", "triplets.parquet", "world.yaml")
    ]
    assert all(path.is_file() and path.is_relative_to(paper) for path in world.paths())
    shown = set(world.levels[tables.TRIPLET].to_numpy().ravel())
    counts = world.images["split"].value_counts()
    assert counts["human"] == OBJECT_COUNT
    assert counts["test"] == len(shown) + 2 * len(CLASSES)
    assert counts["synthesis"] == 10 * len(CLASSES) - len(shown)
    assert not shown & set(world.images.loc[world.images["split"] == "synthesis", "image"])
    assert world.shared_concepts
    choices = world.triplets["split"].value_counts()
    assert (choices["test"], choices.sum()) == (60, TRIPLETS)
    assert 40 <= choices["validation"] < 60  # a choice equal to one of validationset.txt is held out too
    assert len(world.levels) == 36 * PEOPLE
    concepts = world.images.set_index("image")["concept"]
    assert concepts[f"{CLASSES[0]}_0"] == "n01440764 tench"
    kinds = world.levels.groupby("level")[tables.TRIPLET].apply(
        lambda rows: rows.map(concepts.get).nunique(axis=1).max()
    )
    assert kinds.to_dict() == {"boundary": 2, "coarse": 3, "fine": 1}


def test_without_pictures_for_validation_only_levels_are_tested(paper, tmp_path):
    world = imagenet.make(paper_settings(paper, validation_pictures=False), tmp_path / "world")
    assert not world.images["image"].str.startswith("ILSVRC").any()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("train", r"train: no such folder \(register at image-net\.org"),
        ("class", r"train: cats is no class of ImageNet-1k"),
        ("picture", r"Levels: 1 of \d+ pictures are not in ImageNet here: n01440764_0"),
        ("things", r"things_concepts\.tsv: no such file \(python -m alignet\.worlds\.fetch things-osf\)"),
        ("choices", r"triplets_large.*row 2: \[99, "),
    ],
)
def test_what_is_missing_is_named_and_no_world_is_left(change, line, tmp_path):
    folder = write_paper_files(tmp_path / "paper")
    if change == "train":
        (folder / "imagenet/train").rename(folder / "imagenet/training")
    elif change == "class":
        (folder / "imagenet/train/cats").mkdir()
    elif change == "picture":
        (folder / f"imagenet/train/{CLASSES[0]}/{CLASSES[0]}_0.JPEG").unlink()
    elif change == "things":
        (folder / "things/things_concepts.tsv").unlink()
    else:
        path = folder / "things/triplet_dataset" / things_full.CHOICES
        header, first, rest = path.read_text().split("\n", 2)
        path.write_text("\n".join([header, "99" + first[first.index("\t") :], rest]))
    with pytest.raises(tables.WorldError, match=line):
        imagenet.make(paper_settings(folder), tmp_path / "world")
    assert {path.name for path in tmp_path.iterdir()} == {"paper"}


class Synset:
    def __init__(self, *path):
        self.path = path

    def name(self):
        return f"{self.path[-1]}.n.01"

    def hypernym_paths(self):
        return [[Synset(*self.path[: place + 1]) for place in range(len(self.path))]]


class WordNet:
    """A stand-in with two synsets; nltk's own has the same two calls."""

    def __init__(self):
        above = ("entity", "animal")
        self.known = {"dog.n.01": Synset(*above, "mammal", "dog"), 1440764: Synset(*above, "fish", "tench")}

    def synset(self, name):
        from nltk.corpus.reader.wordnet import WordNetError

        if name not in self.known:
            raise WordNetError(name)
        return self.known[name]

    def synset_from_pos_and_offset(self, pos, offset):
        assert pos == "n"
        return self.synset(offset)


def test_with_wordnet_the_hierarchy_is_its_names_at_the_given_depths():
    images = pd.DataFrame(
        {"concept": ["dog", "n01440764 tench", "gizmo", "x"], "synset": ["dog.n.01", "n01440764", "", "y"]}
    )
    settings = config.load("imagenet", config.ImageNet, superclass_depth=2, domain_depth=1)
    labelled, hierarchy, notes = imagenet._labelled(images, settings, WordNet())
    assert hierarchy == ("concept", "superclass", "domain")
    assert labelled["superclass"].tolist() == ["mammal", "fish", "not in WordNet", "not in WordNet"]
    assert labelled["domain"].tolist() == ["animal", "animal", "not in WordNet", "not in WordNet"]
    assert notes == []


def test_a_synset_shallower_than_the_depth_is_its_own_superclass():
    assert imagenet._hypernyms("dog.n.01", WordNet())[-1] == "dog"
    images = pd.DataFrame({"concept": ["dog"], "synset": ["dog.n.01"]})
    settings = config.load("imagenet", config.ImageNet, superclass_depth=9, domain_depth=0)
    labelled = imagenet._labelled(images, settings, WordNet())[0]
    assert labelled[["superclass", "domain"]].to_numpy().tolist() == [["dog", "entity"]]


# params/paper.yaml


def test_every_model_of_the_paper_is_one_of_timms_and_has_the_weights_that_are_named():
    for name, values in runs.paper_params()["backbones"].items():
        assert timm.is_model(values["model"]), name
        if values["weights"] == "timm":
            assert timm.is_model_pretrained(values["model"]), name


@pytest.mark.parametrize("name", runs.paper_params()["backbones"])
def test_every_model_of_the_paper_is_made_and_embeds_a_picture(name):
    import torch

    settings = config.Backbone(**shrunk_backbone(runs.paper_params()["backbones"][name]))
    embedder = backbones.create(settings)
    pictures = torch.zeros(2, 3, settings.picture_size, settings.picture_size, dtype=torch.uint8)
    assert embedder(pictures).shape == (2, 48)


def test_the_numbers_of_the_paper_stand_in_its_parameters():
    params = runs.paper_params()
    assert params["synthesis"]["clusters"] == 500
    assert params["synthesis"]["train_triplets"] == 10_000_000
    for student in params["students"].values():
        numbers = [student[key] for key in ("loss", "temperature", "lr", "warmup_steps", "steps", "decay_to_initial")]
        assert numbers == ["jsd", 100.0, 3e-5, 5000, 100_000, 1.0]
        assert student["batch_clusters"] * student["batch_pictures"] == 512


def shrunk_backbone(values):
    """The same kind of model, one narrow block with random weights, on small pictures."""
    patch = 14 if "patch14" in values["model"] else 16
    options = {"depth": 1, "embed_dim": 48, "num_heads": 2, "img_size": 2 * patch}
    return values | {"weights": "random", "options": options, "picture_size": 2 * patch}


def shrunk(params, folder):
    """The profile on the miniature files: fewer students, steps and triplets, the same keys."""
    sizes = {"clusters": 6, "train_triplets": 120, "valid_triplets": 40}
    student = {"head_width": 16, "steps": 2, "warmup_steps": 1, "batch_clusters": 2, "batch_pictures": 2}
    student |= {"held_out_triplets": 8, "compile": False, "devices": 1}
    places = {"things": "things", "levels": "levels/pruned_dataset.pkl", "imagenet": "imagenet"}
    params["run"] |= {"backbones": ["so400m", "siglip2"], "students": ["siglip2"]}
    params["imagenet"] |= {name: str(folder / place) for name, place in places.items()}
    params["backbones"] = {name: shrunk_backbone(values) for name, values in params["backbones"].items()}
    params["students"] = {name: values | student for name, values in params["students"].items()}
    params["features"] |= {"batch_size": 64, "workers": 0, "devices": 1}
    params["human_uncertainty"] |= {"dimensions": 8, "max_epochs": 3, "held_out_most": 100}
    params["teacher"] |= {"steps": 5, "batch_size": 128, "folds": 2, "soft_labels": [20]}
    params["teacher"]["grid"] = [{"regularisation": [0.0, 0.3]}]
    params["synthesis"] |= sizes | {"elbow": [2, 6], "signal_backbone": "siglip2"}
    params["reorganisation"] |= {"bootstrap": 50}
    params["downstream"] |= {"centroid_draws": 3, "logistic_draws": 2, "shots": [1, 2], "corruptions": ["grey"]}
    return params


@pytest.mark.slow
@pytest.mark.xdist_group("paper's files")
def test_the_whole_pipeline_runs_on_the_papers_file_formats(paper, tmp_path):
    folder = runs.copy_of_the_repository(tmp_path, shrunk(runs.paper_params(), paper))
    runs.run_in_one_process(folder)
    scores = pd.read_csv(folder / "reports" / "tables" / "levels.csv")
    assert set(scores["target"]) == {*results.TARGETS, results.FLOOR, results.TEACHER_BEFORE, results.TEACHER}
    assert set(scores.loc[scores["target"].isin(results.TARGETS), "student"]) == {"siglip2"}
    assert set(scores["choices"]) == {"human"}
    assert scores.groupby("level")["n_triplets"].first()["all"] <= 36
    teacher = pd.read_csv(folder / "reports" / "tables" / "teacher.csv")
    assert teacher["odd_one_out_accuracy"].between(0, 1).all()
    assert (folder / "reports" / "figures" / "levels.png").is_file()
    for name in ("calibration", "uncertainty", "similarity", "reorganisation", "downstream", "paper"):
        assert len(pd.read_csv(folder / "reports" / "tables" / f"{name}.csv")), name
    assert files.find(folder / "data" / "world", "triplets").suffix == ".parquet"


# The real files of THINGS, where they lie beside the project

REAL = config.home().parent / "shared" / "sources" / "things"
STAND_IN = "abacus"  # shown for the nine second senses that have no photograph


def write_real_things(folder):
    """THINGS as its reader expects it: real choices as the official split files, real photographs under the official
    names, that of another number where the very one is not here."""
    place = folder / "triplet_dataset"
    place.mkdir(parents=True)
    (folder / "things_concepts.tsv").symlink_to(REAL / "choices" / "things_concepts.tsv")
    (place / "validationset.txt").symlink_to(REAL / "choices" / "behavior_triplets_test10.txt")
    rows = pd.read_csv(REAL / "choices" / "test_10_ID.txt", sep=" ", header=None).to_numpy()[:, :3]
    _, number, times = np.unique(np.sort(rows, axis=1), axis=0, return_inverse=True, return_counts=True)
    repeated = times[number.ravel()] > 1
    np.savetxt(place / "trainset.txt", rows[~repeated], "%d")
    for part, name in enumerate(name for name, split in things_full.SPLIT_FILES.items() if split == "test"):
        np.savetxt(place / name, rows[repeated][part::4], "%d")
    shown = {}
    for path in sorted(
        (REAL / "pictures").glob("*/*.jpg"), key=lambda path: (not path.stem.endswith("_01b"), path.name)
    ):
        shown.setdefault(path.stem.rsplit("_", 1)[0], path)
    objects = things_full.concepts(folder)["concept"].tolist()
    for name in objects:
        picture = folder / "images" / name / f"{name}_01b.jpg"
        picture.parent.mkdir(parents=True)
        picture.symlink_to(shown.get(name, shown[STAND_IN]))
    return len(rows), int(repeated.sum()), sum(name not in shown for name in objects)


@pytest.mark.slow
@pytest.mark.xdist_group("paper's files")
@pytest.mark.skipif(not REAL.is_dir(), reason="the real files of THINGS are not beside the project")
def test_the_papers_profile_runs_on_things_real_files_up_to_synthesis(tmp_path):
    """1,854 objects and 273,000 choices of real people; only ImageNet's pictures are invented, and Levels is absent."""
    n, tested, without = write_real_things(tmp_path / "files" / "things")
    write_imagenet(tmp_path / "files")
    params = shrunk(runs.paper_params(), tmp_path / "files")
    params["imagenet"] |= {"levels": None}
    params["human_uncertainty"] |= {"dimensions": 50, "lr": 0.01, "max_epochs": 40, "held_out_most": 20000}
    params["teacher"] |= {"soft_labels": [1000], "validation_per_level": 200, "train_per_level": 500}
    folder = runs.copy_of_the_repository(tmp_path / "run", params)
    stages = ["world", "human_uncertainty", "teacher", *(f"features@{name}" for name in params["run"]["backbones"])]
    runs.run_in_one_process(folder, "source", "cells", *stages, "synthesis@alignet", "synthesis@unalignet")

    world = tables.read(folder / "data" / "world")
    assert without == 9
    assert (world.images["split"] == "human").sum() == 1854
    splits = world.triplets["split"].value_counts().to_dict()
    assert splits == {"train": n - tested, "validation": 146_168, "test": tested}
    scores = pd.read_csv(folder / "reports" / "tables" / "calibration.csv").set_index(["distribution", "triplets"])
    assert scores.loc[("vice", "all"), "nll_high"] < scores.loc[("uniform", "all"), "nll"]  # real people, held out
    assert scores.loc[("vice", "all"), "accuracy_low"] > 1 / 3
    names = (folder / "data" / "human_uncertainty" / "objects.txt").read_text().splitlines()
    assert 0.88 * 1854 < len(names) < 0.92 * 1854  # a tenth of the objects is held out
    teacher = pd.read_csv(folder / "reports" / "tables" / "teacher.csv")
    assert set(teacher["split"]) == {"train", "validation", "cross-fitted", "test"}
    for target in ("alignet", "unalignet"):
        assert (folder / "data" / "synthesis" / target / "representation.npy").is_file()
