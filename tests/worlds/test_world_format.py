"""The world format: what is read, what is refused and how, making a world from class folders."""

import dataclasses
import os
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from alignet import config, results
from alignet.pipeline import preflight
from alignet.worlds import __main__ as command
from alignet.worlds import check, source
from alignet.worlds.folder import imagefolder
from alignet.worlds.folder import world as folder_world
from alignet.worlds.format import files, places, tables

HEADER = {"format": 1, "name": "tiny", "hierarchy": ["concept", "class"], "notes": "made by hand"}
IMAGES = """image,path,concept,class,split
a,a.png,cat,animal,human
b,b.png,dog,animal,human
c,c.png,car,vehicle,human
d,sub/d.png,owl,animal,synthesis
e,e.png,cow,animal,test
f,f.png,pig,animal,test
007,g.png,bus,vehicle,test
"""
TRIPLETS = """image_0,image_1,image_2,odd,participant,rt
a,b,c,2,p1,1.5
c,b,a,0,p2,
b,c,a,1,p1,0.75
"""
LEVELS = """image_0,image_1,image_2,odd,participant,level
e,f,007,2,p1,boundary
007,e,f,1,p2,boundary
"""
RATINGS = """image_0,image_1,rating,participant
e,f,4.5,p1
f,007,-1,p2
"""
NAMED = """concept_0,concept_1,concept_2,odd,participant
cat,dog,boat,2,p1
boat,car,cat,2,p2
"""
TABLES = {"images": IMAGES, "triplets": TRIPLETS, "levels": LEVELS, "ratings": None, "concept_choices": None}


def write_world(path, header=HEADER, **changes):
    (path / "sub").mkdir(parents=True)
    (path / "world.yaml").write_text(header if isinstance(header, str) else yaml.safe_dump(header))
    for name, text in (TABLES | changes).items():
        if text is not None:
            (path / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    for number, name in enumerate(("a", "b", "c", "sub/d", "e", "f", "g")):
        Image.new("RGB", (8, 8), (30 * number, 20, 30)).save(path / f"{name}.png")
    return path


@pytest.fixture
def tiny(tmp_path):
    return write_world(tmp_path / "tiny")


def settings(path):
    return config.WorldSource(source="folder", path=path)


def sections():
    return [config.load("emoji", config.Emoji), config.load("imagenet", config.ImageNet)]


# Reading


def test_choices_by_name_may_be_about_concepts_without_a_picture(tmp_path):
    made = folder_world.make(write_world(tmp_path / "tiny", concept_choices=NAMED), tmp_path / "out")
    assert made.concept_choices[tables.CONCEPTS].values.tolist() == [["cat", "dog", "boat"], ["boat", "car", "cat"]]
    assert made.concept_choices["odd"].tolist() == [2, 2]
    assert "2 choices of 2 participants, which VICE alone reads" in check.summary(made)


def test_a_judged_concept_may_have_pictures_for_synthesis(tmp_path):
    header = HEADER | {"shared_concepts": "judged", "judged": "photographs of the same concepts"}
    images = IMAGES.replace("sub/d.png,owl", "sub/d.png,cat")
    made = folder_world.make(write_world(tmp_path / "tiny", header, images=images), tmp_path / "out")
    assert (made.shared_concepts, made.judged) == ("judged", "photographs of the same concepts")
    assert "human participants, who were shown photographs of the same concepts\n" in check.summary(made)


def test_evaluations_show_the_test_split_and_what_held_out_choices_are_about(tmp_path):
    levels = "study,image_0,image_1,image_2,odd,participant,level\n2025,e,b,007,2,p1,boundary\n,007,e,f,1,p2,boundary\n"
    path = write_world(tmp_path / "tiny", levels=levels)
    assert tables.read(path).levels["study"].tolist() == ["2025", ""]
    assert tables.read(path).scored_rows().tolist() == [1, 4, 5, 6]
    named = TRIPLETS.replace(",rt", ",split").replace("1.5", "train").replace("0.75", "test")
    (path / "triplets.csv").write_text(named)
    assert tables.read(path).scored_rows().tolist() == [0, 1, 2, 4, 5, 6]


def test_a_world_reads_as_it_is_written(tiny):
    world = tables.read(tiny)
    assert (world.name, world.choices, world.hierarchy) == ("tiny", "human", ("concept", "class"))
    assert world.images["image"].tolist() == ["a", "b", "c", "d", "e", "f", "007"]
    assert world.rows("test").tolist() == [4, 5, 6]
    assert world.codes("class").tolist() == [0, 0, 1, 0, 0, 0, 1]
    assert world.paths(torch.tensor([3, 0])) == [tiny / "sub/d.png", tiny / "a.png"]
    assert world.triplets["rt"].fillna(-1).tolist() == [1.5, -1, 0.75]
    assert world.triplets["odd"].dtype == "int64"


def test_judgements_are_rows_of_images_and_positions(tiny):
    world = tables.read(tiny)
    triplets, odd = world.choice_rows(world.triplets)
    assert triplets.tolist() == [[0, 1, 2], [2, 1, 0], [1, 2, 0]]
    assert odd.tolist() == [2, 0, 1]
    assert triplets.dtype == odd.dtype == torch.int64
    assert world.choice_rows(world.levels)[0].tolist() == [[4, 5, 6], [6, 4, 5]]


def test_examples_are_pictures_of_each_value_of_the_coarsest_label(tiny):
    rows, names = tables.read(tiny).examples(columns=2)
    assert (rows.tolist(), names) == ([[0, 5], [2, 6]], ["animal", "vehicle"])


def test_of_many_labels_the_examples_show_those_with_the_most_pictures(tiny):
    world = tables.read(tiny)
    names = [f"label_{number}" for number in range(20) for _ in range(1 + (number in (3, 17)))]
    many = pd.DataFrame({"class": names})
    rows, shown = tables.World("many", "human", tiny, ("class",), many, world.triplets, None).examples(columns=1)
    assert len(shown) == len(rows) == tables.SHOWN
    assert {"label_3", "label_17"} <= set(shown)


@pytest.mark.parametrize("name", ["images", "triplets", "levels", "ratings"])
def test_parquet_reads_as_csv_does(name, tiny, tmp_path):
    (tiny / "ratings.csv").write_text(RATINGS)
    expected = tables.read(tiny)
    other = write_world(tmp_path / "other", ratings=RATINGS)
    table = pd.read_csv(other / f"{name}.csv", dtype={"image": str, "image_0": str, "image_1": str, "image_2": str})
    table.to_parquet(other / f"{name}.parquet")
    (other / f"{name}.csv").unlink()
    pd.testing.assert_frame_equal(getattr(tables.read(other), name), getattr(expected, name))


def test_a_parquet_column_may_hold_empty_texts_and_no_values(tmp_path):
    pd.DataFrame({"a": ["x", "", None], "b": [None, None, "y"]}).to_parquet(tmp_path / "t.parquet")
    pd.DataFrame({"a": [None, "x"], "b": pd.Series([None, None], dtype=object)}).to_parquet(tmp_path / "u.parquet")
    assert files.read(tmp_path / "t.parquet")[0].to_pandas().astype(str).to_numpy().tolist() == [
        ["x", ""],
        ["", ""],
        ["", "y"],
    ]
    assert files.read(tmp_path / "u.parquet")[0].to_pandas().astype(str).to_numpy().tolist() == [["", ""], ["x", ""]]


def test_a_parquet_column_of_nothing_is_nothing(tiny):
    table = pd.read_csv(tiny / "triplets.csv").assign(rt=None, note=None)
    table.to_parquet(tiny / "triplets.parquet")
    (tiny / "triplets.csv").unlink()
    world = tables.read(tiny)
    assert world.triplets["rt"].isna().all()
    assert world.triplets["note"].tolist() == ["", "", ""]


def test_columns_beyond_the_format_are_kept(tmp_path):
    text = TRIPLETS.replace("rt\n", "rt,mood\n").replace("1.5\n", "1.5,well\n").replace("p2,\n", "p2,,\n")
    world = tables.read(write_world(tmp_path / "tiny", triplets=text.replace("0.75\n", "0.75,ill\n")))
    assert world.triplets["mood"].tolist() == ["well", "", "ill"]


def test_a_byte_order_mark_windows_line_ends_and_empty_lines_do_no_harm(tmp_path):
    text = b"\xef\xbb\xbf" + TRIPLETS.replace("\n", "\r\n").encode() + b"\r\n\r\n"
    world = tables.read(write_world(tmp_path / "tiny", triplets=text))
    assert world.triplets["image_0"].tolist() == ["a", "c", "b"]


def test_a_world_without_levels_ratings_and_response_times_reads(tmp_path):
    plain = "\n".join(line.rsplit(",", 1)[0] for line in TRIPLETS.splitlines())
    world = folder_world.make(write_world(tmp_path / "tiny", levels=None, triplets=plain), tmp_path / "out")
    assert world.levels is None
    assert world.ratings is None
    assert "rt" not in world.triplets
    assert "none" in check.summary(world)
    assert check.noise_ceilings_by_table(world)["table"].tolist() == ["triplets.csv"]  # as 01_world shows it


def test_a_concept_in_two_splits_is_allowed_where_the_world_says_so(tmp_path):
    images = IMAGES.replace("owl", "cat")
    world = tables.read(write_world(tmp_path / "tiny", HEADER | {"shared_concepts": True}, images=images))
    assert world.shared_concepts
    tables.write(world, tmp_path / "again")
    assert tables.read(tmp_path / "again").shared_concepts


def test_roots_lead_to_pictures_in_several_folders(tiny, tmp_path):
    header = HEADER | {"pictures": {"one": str(tiny), "two": "two"}}
    images = IMAGES.replace(",", ",one/", 1).replace("image,one/path", "image,path")
    images = "\n".join(line.replace(",", ",one/", 1) if number else line for number, line in enumerate(IMAGES.split()))
    images = images.replace("one/a.png", "two/a.png")
    path = write_world(tmp_path / "split", header, images=images)
    (path / "two").mkdir()
    (path / "a.png").rename(path / "two" / "a.png")
    world = folder_world.make(path, tmp_path / "out")
    assert world.paths()[:2] == [path / "two/a.png", tiny / "b.png"]
    assert all(file.is_file() for file in world.paths())


def test_a_folder_copies_its_tables_and_points_to_its_pictures(tiny, tmp_path):
    (tiny / "ratings.csv").write_text(RATINGS)
    (tiny / "concept_choices.csv").write_text(NAMED)
    before, after = tables.read(tiny), folder_world.make(tiny, tmp_path / "out")
    for name in tables.NAMES:
        pd.testing.assert_frame_equal(getattr(before, name), getattr(after, name))
    assert [path.resolve() for path in after.paths()] == [path.resolve() for path in before.paths()]
    assert yaml.safe_load((tmp_path / "out" / "world.yaml").read_text())["notes"] == "made by hand"
    assert not list((tmp_path / "out").glob("*.png"))
    assert not (tmp_path / "out.part").exists()


# What is refused: file, column, row, value

REFUSALS = {
    "an unknown format": ({"header": HEADER | {"format": 2}}, [r"world\.yaml", "format 2"]),
    "no format": ({"header": {"name": "tiny", "hierarchy": ["concept"]}}, [r"world\.yaml", "missing key format"]),
    "no hierarchy": ({"header": {"format": 1, "name": "tiny"}}, [r"world\.yaml", "missing key hierarchy"]),
    "an empty hierarchy": ({"header": HEADER | {"hierarchy": []}}, [r"world\.yaml", "hierarchy"]),
    "a hierarchy that is a word": ({"header": HEADER | {"hierarchy": "concept"}}, [r"world\.yaml", "hierarchy"]),
    "a label twice in the hierarchy": (
        {"header": HEADER | {"hierarchy": ["concept", "concept"]}},
        [r"world\.yaml", "hierarchy", "'concept'"],
    ),
    "a hierarchy of the split": (
        {"header": HEADER | {"hierarchy": ["concept", "split"]}},
        [r"world\.yaml", "hierarchy", "'split'"],
    ),
    "an unknown key": ({"header": HEADER | {"shared_concept": True}}, [r"world\.yaml", "unknown key shared_concept"]),
    "sources without a name": ({"header": HEADER | {"sources": [{"licence": "MIT"}]}}, [r"world\.yaml", "sources"]),
    "a header that is a list": ({"header": "[1, 2]"}, [r"world\.yaml", "no keys"]),
    "a header that is no YAML": ({"header": "a: [1"}, [r"world\.yaml", "YAML"]),
    "a label without a column": ({"images": IMAGES.replace("class", "kind")}, [r"images\.csv", "missing column class"]),
    "images without ids": ({"images": IMAGES.replace("image,", "id,")}, [r"images\.csv", "missing column image"]),
    "an empty label": ({"images": IMAGES.replace("owl,animal", "owl,")}, [r"images\.csv, row 5, column class: ''"]),
    "an empty id": ({"images": IMAGES.replace("d,sub", ",sub")}, [r"images\.csv, row 5, column image: ''"]),
    "an empty path": ({"images": IMAGES.replace("sub/d.png", "")}, [r"images\.csv, row 5, column path: ''"]),
    "a repeated image": ({"images": IMAGES.replace("b,b.png", "a,b.png")}, [r"images\.csv, row 3, column image: 'a'"]),
    "an unknown split": (
        {"images": IMAGES.replace("synthesis", "train")},
        [r"images\.csv, row 5, column split: 'train'"],
    ),
    "an empty split": ({"images": IMAGES.replace("synthesis", "human")}, [r"images\.csv, column split", "synthesis"]),
    "a path upwards": ({"images": IMAGES.replace("a.png", "../a.png")}, [r"images\.csv, row 2, column path: '\.\./a"]),
    "a path up in the middle": (
        {"images": IMAGES.replace("sub/d", "sub/../../d")},
        [r"images\.csv, row 5, column path"],
    ),
    "an absolute path": (
        {"images": IMAGES.replace("a.png", "/a.png")},
        ["row 2, column path: '/a"],
    ),
    "a path in two splits": (
        {"images": IMAGES.replace("e.png", "a.png")},
        ["row 6, column path: 'a"],
    ),
    "a concept in two splits": (
        {"images": IMAGES.replace("owl", "cat")},
        [r"images\.csv, row 5, column concept: 'cat'", "shared_concepts"],
    ),
    "a picture that is not there": (
        {"images": IMAGES.replace("a.png", "z.png")},
        ["images", "path", r"z\.png"],
    ),
    "a column missing from triplets": ({"triplets": TRIPLETS.replace("odd", "even")}, [r"triplets\.csv", "column odd"]),
    "nobody who chose": ({"triplets": TRIPLETS.replace("p2", "")}, [r"triplets\.csv, row 3, column participant: ''"]),
    "an unknown image": (
        {"triplets": TRIPLETS.replace("c,b,a", "c,zebra,a")},
        [r"triplets\.csv, row 3, column image_1: 'zebra'"],
    ),
    "an image of another split": (
        {"triplets": TRIPLETS.replace("c,b,a", "c,d,a")},
        [r"triplets\.csv, row 3, column image_1: 'd'", "human"],
    ),
    "an odd one out of 3": (
        {"triplets": TRIPLETS.replace("a,1,p1", "a,3,p1")},
        [r"triplets\.csv, row 4, column odd: '3' is not 0, 1 or 2"],
    ),
    "an odd one out of -1": (
        {"triplets": TRIPLETS.replace("a,1,p1", "a,-1,p1")},
        ["row 4, column odd: '-1'"],
    ),
    "an odd one out of 1.5": ({"triplets": TRIPLETS.replace("a,1,p", "a,1.5,p")}, [r"row 4, column odd: '1\.5'"]),
    "an odd one out that is a word": ({"triplets": TRIPLETS.replace("c,2", "c,two")}, ["row 2, column odd: 'two'"]),
    "no odd one out": ({"triplets": TRIPLETS.replace("c,2,p1", "c,,p1")}, [r"triplets\.csv, row 2, column odd: ''"]),
    "an image twice in a triplet": (
        {"triplets": TRIPLETS.replace("a,b,c", "a,a,c")},
        [r"triplets\.csv, row 2, column image_1: 'a'", "twice"],
    ),
    "a negative response time": (
        {"triplets": TRIPLETS.replace("0.75", "-2")},
        ["row 4, column rt: '-2'"],
    ),
    "a response time in words": ({"triplets": TRIPLETS.replace("0.75", "fast")}, ["row 4, column rt: 'fast'"]),
    "an endless response time": ({"triplets": TRIPLETS.replace("0.75", "inf")}, ["row 4, column rt: 'inf'"]),
    "a split of choices that is unknown": (
        {"triplets": TRIPLETS.replace(",rt", ",split").replace("1.5", "training").replace("0.75", "test")},
        [r"triplets\.csv, row 2, column split: 'training'"],
    ),
    "no choices": ({"triplets": "image_0,image_1,image_2,odd,participant\n"}, [r"triplets\.csv", "no rows"]),
    "an empty file": ({"triplets": ""}, [r"triplets\.csv", "is empty"]),
    "a column twice": ({"triplets": TRIPLETS.replace("rt", "odd")}, [r"triplets\.csv, row 1", "'odd'"]),
    "too many values in a row": (
        {"triplets": TRIPLETS.replace("0.75", "0.75,9")},
        ["row 4: 7 values"],
    ),
    "too few values in a row": ({"triplets": TRIPLETS.replace("p2,", "p2")}, ["row 3: 5 values"]),
    "text that is not UTF-8": ({"triplets": TRIPLETS.encode() + b"a,b,c,2,p\xff,1\n"}, [r"triplets\.csv", "utf-8"]),
    "a column missing from levels": ({"levels": LEVELS.replace("level", "kind")}, [r"levels\.csv", "column level"]),
    "an unknown level": ({"levels": LEVELS.replace("boundary\n0", "middle\n0")}, [r"levels\.csv, row 2, column level"]),
    "a choice by name about a concept of the test split": (
        {"concept_choices": NAMED.replace("cat,dog", "cat,cow")},
        [r"concept_choices\.csv, row 2, column concept_1: 'cow'", "'test'"],
    ),
    "a choice by name that shows a concept twice": (
        {"concept_choices": NAMED.replace("boat,car,cat", "boat,cat,cat")},
        [r"concept_choices\.csv, row 3, column concept_2: 'cat'", "same concept twice"],
    ),
    "a concept in human and test where judged ones are shared": (
        {"header": HEADER | {"shared_concepts": "judged"}, "images": IMAGES.replace("e,e.png,cow", "e,e.png,cat")},
        [r"images\.csv, row 6, column concept: 'cat' stands in the test split and in another one"],
    ),
    "shared_concepts is neither of the three": (
        {"header": HEADER | {"shared_concepts": "some"}},
        ["shared_concepts", "some"],
    ),
    "levels about pictures of another split": (
        {"levels": LEVELS.replace("e,f,007,2", "e,d,007,2")},
        [r"levels\.csv, row 2, column image_1: 'd'", "'test' or 'human'"],
    ),
    "a rating that is no number": (
        {"ratings": RATINGS.replace("4.5", "high")},
        [r"ratings\.csv, row 2, column rating: 'high' is not a number"],
    ),
    "a rating of nothing": ({"ratings": RATINGS.replace("4.5", "")}, [r"ratings\.csv, row 2, column rating: ''"]),
    "a rating of nan": ({"ratings": RATINGS.replace("4.5", "nan")}, [r"ratings\.csv, row 2, column rating: 'nan'"]),
    "a rating of an unknown image": (
        {"ratings": RATINGS.replace("e,f", "e,zebra")},
        [r"ratings\.csv, row 2, column image_1: 'zebra'"],
    ),
    "a rating of one image": (
        {"ratings": RATINGS.replace("e,f", "e,e")},
        ["row 2, column image_1", "twice"],
    ),
    "ratings without a column": ({"ratings": RATINGS.replace("rating,", "value,")}, [r"ratings\.csv", "column rating"]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_wrong_world_is_refused_by_file_row_and_column_and_leaves_nothing(case, tmp_path):
    changes, parts = REFUSALS[case]
    path = write_world(tmp_path / "tiny", **changes)
    with pytest.raises(tables.WorldError, match=".*".join(parts)):
        folder_world.make(path, tmp_path / "out")
    assert {entry.name for entry in tmp_path.iterdir()} == {"tiny"}


@pytest.mark.parametrize("name", ["world.yaml", "images.csv", "triplets.csv"])
def test_a_missing_file_is_refused_by_name(name, tiny, tmp_path):
    (tiny / name).unlink()
    with pytest.raises(tables.WorldError, match=rf"{name}: no such file"):
        source.make(settings(str(tiny)), *sections(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_table_that_stands_twice_is_refused(tiny):
    pd.read_csv(tiny / "triplets.csv").to_parquet(tiny / "triplets.parquet")
    pd.read_csv(tiny / "levels.csv").to_parquet(tiny / "levels.parquet")
    with pytest.raises(tables.WorldError) as error:
        tables.read(tiny)
    lines = [f"{name}.csv: stands beside {name}.parquet; keep one of them" for name in ("triplets", "levels")]
    assert str(error.value).splitlines() == lines


def test_rows_of_parquet_are_counted_from_one(tiny):
    table = pd.read_csv(tiny / "triplets.csv").assign(odd=[0, 1, 9])
    table.to_parquet(tiny / "triplets.parquet")
    (tiny / "triplets.csv").unlink()
    with pytest.raises(tables.WorldError, match=r"triplets\.parquet, row 3, column odd: '9'"):
        tables.read(tiny)


def test_the_source_folder_needs_a_path(tmp_path):
    with pytest.raises(tables.WorldError, match=r"world\.path"):
        source.make(settings(None), *sections(), tmp_path / "out")


def test_the_source_folder_takes_an_absolute_path(tiny, tmp_path):
    assert source.make(settings(str(tiny)), *sections(), tmp_path / "out").name == "tiny"


def test_problems_of_all_tables_are_listed_at_once(tmp_path):
    path = write_world(
        tmp_path / "tiny",
        images=IMAGES.replace("owl", "cat").replace("e.png", "../e.png"),
        triplets=TRIPLETS.replace("a,1,p1", "a,5,p1").replace("a,b,c", "x,y,c"),
        levels=LEVELS.replace("boundary", "border"),
        ratings=RATINGS.replace("4.5", "high").replace("f,007", "f,f"),
    )
    with pytest.raises(tables.WorldError) as error:
        tables.read(path)
    assert len(str(error.value).splitlines()) == 8


def test_equal_problems_of_many_rows_are_counted_and_not_repeated(tmp_path):
    path = write_world(tmp_path / "tiny", images=IMAGES.replace(",test", ",probe"))
    with pytest.raises(tables.WorldError, match=r"row 6, column split: 'probe' .*\(and 2 more rows\)"):
        tables.read(path)


def test_an_empty_line_does_not_shift_the_numbers_of_the_rows_below(tmp_path):
    path = write_world(tmp_path / "tiny", triplets=TRIPLETS.replace("c,b,a,0", "\nc,b,a,8"))
    with pytest.raises(tables.WorldError, match=r"triplets\.csv, row 4, column odd: '8'"):
        tables.read(path)


def test_broken_pictures_are_counted_and_the_first_five_named(tiny, tmp_path):
    for name in ("a", "b", "c", "e", "f", "g"):
        (tiny / f"{name}.png").write_text("no picture")
    with pytest.raises(tables.WorldError, match=r"6 x cannot be read as a picture: a\.png .*f\.png .*, and 1 more"):
        folder_world.make(tiny, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_picture_that_is_cut_short_is_found(tiny):
    whole = (tiny / "a.png").read_bytes()
    (tiny / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(tables.WorldError, match=r"1 x cannot be read as a picture: a\.png"):
        folder_world.read(tiny)


def test_the_same_picture_in_two_splits_is_refused_by_content(tiny):
    (tiny / "e.png").write_bytes((tiny / "b.png").read_bytes())
    with pytest.raises(
        tables.WorldError, match=r"1 x the same picture in two splits: b\.png \(human\) and e\.png \(test\)"
    ):
        folder_world.read(tiny)


def test_the_same_picture_twice_in_one_split_is_no_problem(tiny):
    (tiny / "b.png").write_bytes((tiny / "a.png").read_bytes())
    assert folder_world.read(tiny).name == "tiny"


def test_what_fails_while_writing_leaves_nothing_and_keeps_what_was_there(tmp_path):
    out = tmp_path / "out"
    with tables.staged(out) as part:
        (part / "first").write_text("kept")
    with pytest.raises(KeyError), tables.staged(out) as part:
        (part / "second").write_text("lost")
        raise KeyError
    assert [path.name for path in out.iterdir()] == ["first"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# python -m alignet.worlds


def test_check_prints_a_summary(tmp_path, capsys):
    levels = LEVELS + "e,f,007,2,p3,boundary\n"
    path = write_world(tmp_path / "tiny", levels=levels, ratings=RATINGS)
    assert command.main(["check", str(path)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "human 3 pictures: 3 x concept, 2 x class" in lines
    assert any(
        line.startswith("triplets 3 choices by 2 participants on 1 triplets, raters per triplet 3") for line in lines
    )
    # a,b,c: people chose c, c and c; e,f,007: 007, e and 007
    assert any("noise ceiling 1.000, 67 % with a response time" in line for line in lines)
    assert any(line.startswith("levels 3 choices by 3 participants on 1 triplets") for line in lines)
    assert any(line.startswith("ratings 2 ratings of 2 participants") for line in lines)


def test_check_prints_the_problems_and_exits_with_1(tmp_path, capsys):
    path = write_world(tmp_path / "tiny", triplets=TRIPLETS.replace("a,1,p1", "a,5,p1"))
    assert command.main(["check", str(path)]) == 1
    assert capsys.readouterr().err == "triplets.csv, row 4, column odd: '5' is not 0, 1 or 2\n"


def draw(path, names):
    for number, name in enumerate(names):
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(file)
    return path


def test_a_new_world_has_the_nested_folders_as_hierarchy_and_reads_once_filled(tmp_path, capsys):
    names = [f"domain_{n % 2}/kind_{n % 8}/class_{n % 40}/{n}.png" for n in range(120)]
    images = draw(tmp_path / "pictures", names)
    assert command.main(["new", str(tmp_path / "mine"), "--images", str(images)]) == 0
    assert "triplets.csv" in capsys.readouterr().out
    with pytest.raises(tables.WorldError, match=r"^triplets\.csv: holds no rows$"):
        tables.read(tmp_path / "mine")
    shown = pd.read_csv(tmp_path / "mine" / "images.csv").query("split == 'human'")["image"].iloc[:3]
    with (tmp_path / "mine" / "triplets.csv").open("a") as file:
        file.write(f"{','.join(shown)},1,me\n")
    world = folder_world.make(tmp_path / "mine", tmp_path / "out")
    assert world.hierarchy == ("class", "superclass", "domain")
    row = world.images.set_index("image").loc["domain_1/kind_3/class_11/51.png"]
    assert row[list(world.hierarchy)].tolist() == ["class_11", "kind_3", "domain_1"]
    assert world.images.groupby("class")["split"].nunique().eq(1).all()
    shares = world.images["split"].value_counts(normalize=True)
    assert (shares - pd.Series({"human": 0.4, "synthesis": 0.3, "test": 0.3})).abs().max() < 0.06
    assert all(path.is_file() for path in world.paths())


def test_with_few_classes_pictures_are_split_within_each_class(tmp_path):
    images = draw(tmp_path / "pictures", [f"class_{n % 4}/{n}.jpg" for n in range(80)])
    assert command.main(["new", str(tmp_path / "mine"), "--images", str(images)]) == 0
    header = yaml.safe_load((tmp_path / "mine" / "world.yaml").read_text())
    table = pd.read_csv(tmp_path / "mine" / "images.csv")
    assert header["hierarchy"] == ["picture", "class"]
    assert table.groupby("class")["split"].nunique().eq(3).all()


def test_one_name_below_two_parents_is_two_labels(tmp_path):
    images = draw(tmp_path / "pictures", [f"{part}/other/{n}.png" for part in ("land", "sea") for n in range(9)])
    assert command.main(["new", str(tmp_path / "mine"), "--images", str(images)]) == 0
    assert set(pd.read_csv(tmp_path / "mine" / "images.csv")["class"]) == {"land/other", "sea/other"}


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["a.png"], "no class folder"),
        (["x/a.png", "x/y/b.png"], "different depth"),
        (["x/a.txt"], "holds no picture"),
        (["x/a.png", "x/b.png"], "none for the split"),
    ],
)
def test_pictures_that_make_no_world_are_refused(names, why, tmp_path, capsys):
    for number, name in enumerate(names):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / "pictures" / name, "PNG")
    assert command.main(["new", str(tmp_path / "mine"), "--images", str(tmp_path / "pictures")]) == 1
    assert why in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_a_new_world_does_not_overwrite_an_old_one(tiny, capsys):
    assert command.main(["new", str(tiny), "--images", str(tiny)]) == 1
    assert "is there already" in capsys.readouterr().err


@pytest.mark.skipif("ALIGNET_TEST_WORLD" not in os.environ, reason="ALIGNET_TEST_WORLD names no folder of photographs")
def test_a_world_of_photographs_passes(capsys):
    assert command.main(["check", os.environ["ALIGNET_TEST_WORLD"]]) == 0
    assert "noise ceiling" in capsys.readouterr().out


def styled(triplets):
    """Four synthesis pictures of two styles, of which people judged `colour` in one triplet."""
    names = [f"h{n}" for n in range(3)] + [f"s{n}" for n in range(4)]
    images = pd.DataFrame({"image": names, "path": names, "concept": names})
    images = images.assign(split=["human"] * 3 + ["synthesis"] * 4, style=["colour"] * 3 + ["colour", "line"] * 2)
    columns = ["image_0", "image_1", "image_2", "odd", "participant"]
    return tables.World(
        "styled", "human", Path("nowhere"), ("concept",), images, pd.DataFrame(triplets, columns=columns), None
    )


def test_pictures_of_a_style_that_nobody_judged_are_not_labelled():
    world = styled([["h0", "h1", "h2", 0, "p"]])
    assert world.labelled("judged").tolist() == [3, 5]
    assert world.labelled("all").tolist() == [3, 4, 5, 6]
    less = world.to_label("judged")
    assert less.images["image"].tolist() == ["h0", "h1", "h2", "s0", "s2"]
    assert less.choice_rows(less.triplets)[0].tolist() == [[0, 1, 2]]
    assert len(world.images) == 7  # the world itself stays


def test_without_styles_or_without_choices_every_picture_is_labelled():
    assert styled([]).labelled("judged").tolist() == [3, 4, 5, 6]
    plain = styled([["h0", "h1", "h2", 0, "p"]])
    plain = dataclasses.replace(plain, images=plain.images.drop(columns="style"))
    assert plain.labelled("judged").tolist() == [3, 4, 5, 6]


def test_labels_in_tables_of_results_stay_text(tmp_path):
    table = pd.DataFrame(
        {"class": ["NA", "null", "001", ""], "domain": ["1.0", "nan", "x", "y"], "value": [0.5, 1, 2, None]}
    )
    table.to_csv(tmp_path / "a.csv", index=False)
    read = results.load(tmp_path / "a.csv", ["domain"])
    assert read["class"].tolist()[:3] == ["NA", "null", "001"]
    assert read["domain"].tolist() == ["1.0", "nan", "x", "y"]
    assert read["value"].tolist()[:3] == [0.5, 1, 2]
    assert read["value"].isna().tolist() == [False, False, False, True]


def picture(path, *colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour or (0, 0, 0)).save(path)


def folder_of(tmp_path, n=12):
    for number in range(n):
        picture(tmp_path / "pictures" / f"class {number % 2}" / f"{number}.png", number, 0, 0)
    return tmp_path / "pictures"


def new(tmp_path, capsys):
    code = command.main(["new", str(tmp_path / "mine"), "--images", str(tmp_path / "pictures")])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_hidden_files_and_what_macs_add_are_no_pictures(tmp_path, capsys):
    folder = folder_of(tmp_path)
    for name in ("class 0/._1.jpg", ".thumbnails/a.png", "__MACOSX/class 0/b.png"):
        picture(folder / name.replace(".jpg", ".png"), 99)
    code, said = new(tmp_path, capsys)
    assert code == 0
    assert "12 pictures in 2 classes" in said
    assert "left out" not in said


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("class 0/scan.tif", b"II*", "1 of a kind that is not read: save them as PNG or JPEG: class 0/scan.tif"),
        ("class 0/live.heic", b"x", "class 0/live.heic"),
        ("class 0/cut.jpg", b"\xff\xd8\xff", "1 do not open as pictures: class 0/cut.jpg"),
        ("class 0/nothing.png", b"", "1 do not open as pictures: class 0/nothing.png"),
        ("class 1/again.png", None, "1 are equal to another file: class 1/again.png"),
    ],
)
def test_what_is_left_out_of_a_new_world_is_named(tmp_path, capsys, name, content, why):
    folder = folder_of(tmp_path)
    (folder / name).write_bytes((folder / "class 0" / "0.png").read_bytes() if content is None else content)
    code, said = new(tmp_path, capsys)
    assert code == 0
    assert why in said
    assert len(pd.read_csv(tmp_path / "mine" / "images.csv")) == 12


def test_linked_folders_are_named_and_not_entered(tmp_path, capsys):
    folder = folder_of(tmp_path)
    (folder / "again").symlink_to(folder / "class 0")
    assert "1 are linked folders: again" in new(tmp_path, capsys)[1]


def test_a_name_that_is_not_utf8_is_one_line(tmp_path, capsys):
    folder = folder_of(tmp_path)
    with open(os.fsencode(folder / "class 0") + b"/\xff.png", "wb") as file:
        file.write(b"x")
    code, said = new(tmp_path, capsys)
    assert code == 1
    assert "the name is not UTF-8: rename it" in said
    assert len(said.splitlines()) == 1


def test_accents_composed_either_way_are_one_name(tmp_path, capsys):
    folder = folder_of(tmp_path)
    picture(folder / "class 0" / "cafe\u0301.png", 50)
    new(tmp_path, capsys)
    images = pd.read_csv(tmp_path / "mine" / "images.csv")
    assert "class 0/caf\u00e9.png" in set(images["image"])
    assert "class 0/cafe\u0301.png" in set(images["path"])


@pytest.mark.parametrize("moved_up", [False, True])
def test_a_project_that_is_moved_takes_its_world_and_pictures_along(tmp_path, capsys, monkeypatch, moved_up):
    before, after = tmp_path / "project", tmp_path / ("home" if moved_up else "deeper/home")
    folder_of(before)
    monkeypatch.setenv(config.HOME, str(before))
    assert new(before, capsys)[0] == 0
    filled(before / "mine")
    folder_world.make(before / "mine", before / "data" / "world")
    after.parent.mkdir(exist_ok=True)
    before.rename(after)
    for world in (tables.read(after / "mine"), tables.read(after / "data" / "world")):
        assert all(path.is_file() for path in world.paths())
        assert all(path.is_relative_to(after) for path in world.paths())


@pytest.mark.parametrize("what", ["the pictures", "the world"])
def test_pictures_that_are_no_longer_there_are_one_line_that_says_what_to_do(tmp_path, capsys, what):
    folder_of(tmp_path)
    assert new(tmp_path, capsys)[0] == 0
    filled(tmp_path / "mine")
    params = tmp_path / "params.yaml"
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    if what == "the world":
        (tmp_path / "mine").rename(tmp_path / "other")
    world = {"source": "folder", "path": str(tmp_path / "mine")}
    params.write_text(yaml.safe_dump({"base": "params.yaml", "world": world}))
    (line,) = preflight.problems(str(params))
    if what == "the world":
        assert line == f"{params}: world.path: {tmp_path / 'mine'}: no such folder: was it moved? Say where it lies now"
        return
    said = f"{tmp_path / 'mine' / 'world.yaml'}: pictures: {tmp_path / 'pictures'}: no such folder: {places.ADVICE}"
    assert line == said
    with pytest.raises(tables.WorldError) as raised:
        folder_world.make(tmp_path / "mine", tmp_path / "out")
    assert str(raised.value) == said
    header = yaml.safe_load((tmp_path / "mine" / "world.yaml").read_text())
    (tmp_path / "mine" / "world.yaml").write_text(yaml.safe_dump(header | {"pictures": "../elsewhere"}))
    assert all(path.is_file() for path in folder_world.make(tmp_path / "mine", tmp_path / "out").paths())


def filled(folder):
    """Give a new world one choice."""
    shown = pd.read_csv(folder / "images.csv").query("split == 'human'")["image"].iloc[:3]
    with (folder / "triplets.csv").open("a") as file:
        file.write(f"{','.join(shown)},1,me\n")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["class 0/caf\u00e9.png", "class 0/cafe\u0301.png"],
            "differ only in how their accents are composed: rename one",
        ),
        (["caf\u00e9/1.png", "cafe\u0301/2.png"], "differ only in how their accents are composed: rename one"),
        (["class 0/two\nlines.png"], r"two\nlines.png': a line break or another control character stands in the name"),
        (["new\u2028line/1.png"], "a line break or another control character stands in the name"),
        (["bell\x07/1.png"], "a line break or another control character stands in the name"),
        (["C:cats/1.png"], "'C:cats': reads as a path outside the folder: rename it"),
    ],
)
def test_names_that_no_table_can_hold_are_refused_as_they_stand_and_leave_nothing(tmp_path, capsys, names, said):
    folder = folder_of(tmp_path)
    for number, name in enumerate(names):
        picture(folder / name, 90 + number)
    code, told = new(tmp_path, capsys)
    assert code == 1
    assert said in told
    assert ".csv" not in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]
    for name in names:
        (folder / name).unlink()
        (folder / name).parent.rmdir() if not [*(folder / name).parent.iterdir()] else None
    assert new(tmp_path, capsys)[0] == 0


def test_whatever_reading_a_new_world_refuses_leaves_no_folder_behind(tmp_path, capsys, monkeypatch):
    folder_of(tmp_path)
    monkeypatch.setattr(imagefolder, "_unwritable", lambda paths: [])
    picture(tmp_path / "pictures" / "C:cats" / "1.png", 90)
    assert new(tmp_path, capsys)[0] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]


@pytest.mark.parametrize(
    "name", ["a, b", 'he said "no"', "=1+1", "#1", " space ", "100%", "NA", "\u4e2d\u6587", "a;b", "'"]
)
def test_any_other_name_stays_what_it_is(tmp_path, capsys, name):
    folder = folder_of(tmp_path)
    for number in range(3):
        picture(folder / name / f"{name}{number}.png", 90 + number)
    assert new(tmp_path, capsys)[0] == 0
    images = tables.read(tmp_path / "mine", unfilled=True).images
    assert (images["class"] == name).sum() == 3
    assert f"{name}/{name}0.png" in set(images["image"])


def test_a_new_world_proposes_params_that_are_right_for_it(tmp_path, capsys):
    folder_of(tmp_path, n=96)
    assert new(tmp_path, capsys)[0] == 0
    file = tmp_path / "mine" / "params.yaml"
    profile = yaml.safe_load(file.read_text())
    assert profile["world"] == {"source": "folder", "path": str(tmp_path / "mine")}
    assert profile["human_uncertainty"]["uncertainty"] == "empirical"
    assert config.load("teacher", config.Teacher, str(file)).start == "identity"  # there is no embedding to start at
    assert not [line for line in preflight.problems(str(file)) if "teacher" in line]
    assert config.load("synthesis", config.Synthesis, str(file)).clusters == profile["synthesis"]["clusters"]
    assert command.main(["params", str(tmp_path / "mine")]) == 0


@pytest.mark.parametrize("twice", [False, True])
def test_a_triplet_with_two_pictures_of_one_class_makes_pictures_the_objects(tmp_path, capsys, twice):
    for number in range(96):  # 32 classes: with fewer, each picture is a label of its own
        picture(tmp_path / "pictures" / f"class {number // 3:02d}" / f"{number}.png", number)
    assert new(tmp_path, capsys)[0] == 0
    images = pd.read_csv(tmp_path / "mine" / "images.csv").query("split == 'human'")
    label = yaml.safe_load((tmp_path / "mine" / "world.yaml").read_text())["hierarchy"][0]
    shown = images.drop_duplicates(label)["image"].tolist()[:3]
    if twice:
        shown[1] = images[images[label] == images[label].iloc[0]]["image"].iloc[1]
    with (tmp_path / "mine" / "triplets.csv").open("a") as file:
        file.write(f"{','.join(shown)},1,me\n")
    assert command.main(["params", str(tmp_path / "mine")]) == 0
    proposed = yaml.safe_load((tmp_path / "mine" / "params.yaml").read_text())["human_uncertainty"]
    assert proposed.get("objects") == ("picture" if twice else None)
