"""People's answers as experiment software and spreadsheets write them: read whole, or said what is left out."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from alignet.worlds import __main__ as command
from alignet.worlds.folder import answers
from alignet.worlds.format import tables
from alignet.worlds.format.tables import TRIPLET, WorldError

SHOWN = [[f"v{number}", f"v{number + 1}", f"v{number + 3}"] for number in range(6)]
# The form of data/interim/similarity/all_triplets.csv of garciakathy/similarity-judgments-finetuning; invented rows.
HEAD = (
    "participation,task,trial,stim1_name,stim2_name,stim3_name,choice,response_time,catch_trial_flag,token,survey_code"
)
VIDEOS = f"""{HEAD}
brisk-heron,set1,0,30,17,12,30,11.919,False,p1,9239.0
brisk-heron,set1,1,22,38,46,38,34.714,False,p1,9239.0
brisk-heron,set1,2,10,2,2,10,3.915,False,p1,9239.0
brisk-heron,set1,3,15,32,17,32,59599.98,False,p1,9239.0
calm-otter,set1,0,30,17,12,12,4.105,False,x10,
calm-otter,set1,1,22,38,46,46,2.004,False,x10,
calm-otter,set2,0,5,5,5,5,2.5,False,x10,
calm-otter,set2,1,17,46,10,10,7.219,False,x10,
"""
COLUMNS = {"participant": "participation", "odd": "choice"}
COLUMNS |= {image: f"stim{number}_name" for number, image in enumerate(TRIPLET, 1)}


@pytest.fixture
def folder(tmp_path):
    """A world of pictures v0 to v9 and 0 to 49, which people are asked about."""
    world, names = tmp_path / "world", [*(f"v{number}" for number in range(10)), *map(str, range(50))]
    world.mkdir()
    for number, name in enumerate([*names, "other", "tested"]):
        Image.new("RGB", (8, 8), (number, 2 * number, 0)).save(world / f"{name}.png")
    rows = [(name, f"{name}.png", f"kind of {name}", "human") for name in names]
    rows += [("other", "other.png", "other", "synthesis"), ("tested", "tested.png", "tested", "test")]
    pd.DataFrame(rows, columns=["image", "path", "concept", "split"]).to_csv(world / "images.csv", index=False)
    (world / "world.yaml").write_text("format: 1\nname: small\nchoices: human\nhierarchy: [concept]\n")
    (world / "triplets.csv").write_text("image_0,image_1,image_2,odd,participant\n")
    return world


def trials(odd, person="p1", rt=800.0, **more):
    rows = [dict(zip(TRIPLET, SHOWN[number], strict=True)) | {"odd": o} for number, o in enumerate(odd)]
    return [row | {"participant": person, "rt": rt + number} | more for number, row in enumerate(rows)]


def jspsych(odd, **more):
    return trials(odd, trial_type="html-button-response", **more)


def saved(file, rows, **how):
    table = pd.DataFrame(rows)
    table.to_csv(file, index=False, **how)
    return file


def stored(folder):
    return tables.read(folder, unfilled=True).triplets


def test_a_real_files_form_is_read_by_its_columns_names_and_all_that_is_left_out_is_said(folder, tmp_path, capsys):
    file = tmp_path / "all_triplets.csv"
    file.write_text(VIDEOS)
    named = [f"{name}={column}" for name, column in COLUMNS.items()]
    assert command.main(["import", str(folder), str(file), "--columns", *named]) == 0
    said = capsys.readouterr().out
    assert "6 answers of 2 people, median response time 7.22 s" in said
    assert "left out: 2 trials that show a picture twice" in said
    assert "1 response times above 3600 s (the longest 59600 s, row 5): left empty, their choices are kept" in said
    assert "column response_time is taken as rt" in said
    assert "column odd names the picture" in said
    assert "columns that are not read: task, trial, catch_trial_flag, token, survey_code" in said
    table = stored(folder)
    assert table["odd"].tolist() == [0, 1, 1, 2, 2, 2]
    assert table["participant"].tolist() == ["brisk-heron"] * 3 + ["calm-otter"] * 3
    np.testing.assert_array_equal(table["rt"], [11.919, 34.714, np.nan, 4.105, 2.004, 7.219])
    assert command.main(["import", str(folder), str(file), "--columns", *named]) == 0
    assert "0 rows added, 6 were there already" in capsys.readouterr().out
    with pytest.raises(WorldError, match=r"has no column image_0 \(columns: participation, task, .*--columns image_0="):
        answers.read(file)


def test_decimal_commas_of_a_european_spreadsheet_are_numbers(folder, tmp_path):
    rows = [row | {"rt": str(row["rt"] + 0.4).replace(".", ",")} for row in jspsych([0, 1, 2, 0, 1])]
    file = saved(tmp_path / "excel.csv", rows, sep=";", encoding="utf-8-sig")
    file.write_text("sep=;\n" + file.read_text(encoding="utf-8-sig"))  # as Excel writes it
    answers.add(folder, file)
    np.testing.assert_allclose(stored(folder)["rt"], [0.8004, 0.8014, 0.8024, 0.8034, 0.8044])


def test_a_time_that_is_no_number_is_counted_and_the_choice_is_kept(folder, tmp_path):
    rows = jspsych([0, 1, 2])
    rows[1]["rt"] = "soon"
    said = answers.add(folder, saved(tmp_path / "a.csv", rows))
    assert "1 response times are no numbers from 0 on (the first in row 3): left empty" in said
    assert stored(folder)["rt"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("nobody", ["", "null", "NaN"])
def test_rows_without_a_participant_are_counted(folder, tmp_path, nobody):
    rows = jspsych([0, 1, 2, 0, 1])
    rows[1]["participant"] = rows[2]["participant"] = nobody
    said = answers.add(folder, saved(tmp_path / "a.csv", rows))
    assert "3 answers of 1 people" in said
    assert "left out: 2 rows without a participant" in said
    assert len(stored(folder)) == 3


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_a_missed_trial_is_left_out_of_csv_and_json_alike(folder, tmp_path, ending):
    rows, file = jspsych([0, None, 2]), tmp_path / f"missed.{ending}"
    if ending == "json":
        file.write_text(json.dumps(rows))
    else:
        saved(file, [row | {"odd": "null" if row["odd"] is None else row["odd"]} for row in rows])
    assert "left out: 1 trials without an answer" in answers.add(folder, file)
    assert stored(folder)["odd"].tolist() == [0, 2]


def test_milliseconds_in_a_plain_table_are_asked_about_and_not_taken_as_seconds(folder, tmp_path, capsys):
    file = saved(tmp_path / "a.csv", trials([0, 1, 2]))
    assert command.main(["import", str(folder), str(file)]) == 1
    assert "in seconds the median would be 801 s; say --rt-unit seconds or milliseconds" in capsys.readouterr().err
    assert not len(stored(folder))
    assert command.main(["import", str(folder), str(file), "--rt-unit", "milliseconds"]) == 0
    assert stored(folder)["rt"].tolist() == [0.8, 0.801, 0.802]


def test_files_of_jatos_hold_one_array_a_line_or_arrays_one_behind_the_other(folder, tmp_path):
    parts = [json.dumps(jspsych([0, 1], person=person)) for person in ("a", "b", "c")]
    (tmp_path / "lines.txt").write_text("\n".join(parts[:2]))
    assert "4 answers of 2 people" in answers.add(folder, tmp_path / "lines.txt")
    (tmp_path / "joined.json").write_text("".join(parts))
    assert "4 were there already" in answers.add(folder, tmp_path / "joined.json")
    (tmp_path / "objects.txt").write_text("\n".join(map(json.dumps, jspsych([2, 2], person="d"))))
    answers.add(folder, tmp_path / "objects.txt")
    assert stored(folder)["participant"].value_counts().to_dict() == dict.fromkeys("abcd", 2)
    (tmp_path / "cut.json").write_text(parts[0][:-9])
    with pytest.raises(WorldError, match=r"cut\.json: is no JSON of jsPsych"):
        answers.add(folder, tmp_path / "cut.json")


def test_headers_that_come_again_are_no_rows_even_in_another_order(folder, tmp_path):
    first, second = (pd.DataFrame(jspsych([0, 1], person=person)) for person in "ab")
    text = first.to_csv(index=False) + second[second.columns[::-1]].to_csv(index=False)
    (tmp_path / "joined.csv").write_text(text)
    said = answers.add(folder, tmp_path / "joined.csv")
    assert "left out: 1 headers that come again" in said
    assert stored(folder)["odd"].tolist() == [0, 1, 0, 1]
    assert stored(folder)["participant"].tolist() == ["a", "a", "b", "b"]


def test_the_row_in_an_error_is_the_files(folder, tmp_path):
    rows = jspsych([0, 1, 2, 1])
    rows[1]["practice"], rows[3]["odd"] = True, 7
    with pytest.raises(WorldError, match=r"a\.csv, row 5, column odd: '7' is none of 0, 1, 2"):
        answers.add(folder, saved(tmp_path / "a.csv", rows))
    rows[3] |= {"odd": 1, "image_1": "unknown"}
    with pytest.raises(WorldError, match=r"a\.csv, row 5, column image_1: 'unknown' is not among the images"):
        answers.add(folder, saved(tmp_path / "a.csv", rows))
    rows[3]["image_1"] = "tested"
    with pytest.raises(WorldError, match=r"row 5, column image_1: 'tested' is not of the split 'human'"):
        answers.add(folder, saved(tmp_path / "a.csv", rows))
    (tmp_path / "b.csv").write_text((tmp_path / "a.csv").read_text() + "v1,v2\n")
    with pytest.raises(WorldError, match=r"b\.csv, row 6: 2 values for \d+ columns"):
        answers.add(folder, tmp_path / "b.csv")


def test_a_person_called_7_is_no_7_point_0(folder, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([*jspsych([0, 1], person=7.0), {"trial_type": "preload"}]))
    assert "left out: 1 screens that ask nothing" in answers.add(folder, tmp_path / "a.json")
    saved(tmp_path / "b.csv", [*jspsych([2], person=7), {"trial_type": "preload"}])  # pandas writes 7.0
    answers.add(folder, tmp_path / "b.csv")
    assert stored(folder)["participant"].tolist() == ["7"] * 3


@pytest.mark.parametrize("name", ["PROLIFIC_PID", "subject_id"])
def test_usual_names_of_the_participants_column_are_known_and_said(folder, tmp_path, name):
    rows = [{name if key == "participant" else key: value for key, value in row.items()} for row in jspsych([0])]
    assert f"column {name} is taken as participant" in answers.add(folder, saved(tmp_path / "a.csv", rows))
    assert stored(folder)["participant"].tolist() == ["p1"]


def test_columns_that_are_not_there_or_not_ours_are_named(folder, tmp_path):
    file = saved(tmp_path / "a.csv", jspsych([0]))
    with pytest.raises(WorldError, match="has no column WHO"):
        answers.add(folder, file, columns={"participant": "WHO"})
    with pytest.raises(WorldError, match="--columns: 'person' is none of image_0"):
        answers.add(folder, file, columns={"person": "participant"})


def test_first_counts_for_jspsychs_files_too(folder, tmp_path):
    file = saved(tmp_path / "a.csv", jspsych([1, 2, 3]))
    with pytest.raises(WorldError, match="--first 1 if the pictures are counted from 1"):
        answers.add(folder, file)
    answers.add(folder, file, first=1)
    assert stored(folder)["odd"].tolist() == [0, 1, 2]


def test_a_second_session_is_added_whole_and_the_same_one_never_twice(folder, tmp_path):
    one, two = (saved(tmp_path / f"{n}.csv", jspsych(odd)) for n, odd in enumerate(([0, 1, 2, 0, 1], [0, 1, 2, 1, 2])))
    answers.add(folder, one)
    said = answers.add(folder, two)
    assert "p1: another session of a person who has 5 answers: 5 rows added" in said
    assert stored(folder)["odd"].tolist() == [0, 1, 2, 0, 1, 0, 1, 2, 1, 2]
    for file in (one, two):
        assert "0 rows added, 5 were there already" in answers.add(folder, file)


def test_a_session_with_the_same_answers_at_other_times_is_another_one(folder, tmp_path):
    answers.add(folder, saved(tmp_path / "a.csv", jspsych([0, 1, 2])))
    assert "3 rows added" in answers.add(folder, saved(tmp_path / "b.csv", jspsych([0, 1, 2], rt=1234.5)))


def test_a_file_that_has_grown_by_repeats_adds_only_what_is_new(folder, tmp_path):
    """The last trials of a session show earlier triplets again, with the same answer or another one."""
    rows = jspsych([0, 1, 2, 0])
    grown = [*rows, rows[0] | {"rt": 950.0}, rows[1] | {"odd": 2, "rt": 960.0}]
    answers.add(folder, saved(tmp_path / "before.csv", jspsych([2, 2], rt=500.0)))  # an earlier session
    answers.add(folder, saved(tmp_path / "a.csv", rows))
    assert "2 rows added, 4 were there already" in answers.add(folder, saved(tmp_path / "a.csv", grown))
    assert len(stored(folder)) == 8


def test_answers_join_tables_in_parquet_and_come_from_parquet(folder, tmp_path):
    (folder / "triplets.csv").unlink()
    first = pd.DataFrame(trials([0, 1], rt=0.8))
    first.astype({"image_0": "category"}).to_parquet(folder / "triplets.parquet", index=False)
    assert "3 rows added, 0" in answers.add(folder, saved(tmp_path / "a.csv", jspsych([0, 1, 2], person="p2")))
    pd.DataFrame(trials([2, 1], person="p3", rt=1.5)).to_parquet(tmp_path / "b.parquet", index=False)
    assert "2 rows added, 0" in answers.add(folder, tmp_path / "b.parquet")
    assert stored(folder)["odd"].tolist() == [0, 1, 0, 1, 2, 2, 1]
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(WorldError, match=r"c\.parquet: cannot be read as a table"):
        answers.add(folder, tmp_path / "c.parquet")


def test_a_file_of_which_nothing_can_be_used_says_why(folder, tmp_path):
    file = saved(tmp_path / "a.csv", jspsych([0, 1], practice=True))
    said = answers.add(folder, file)
    assert "left out: 2 practice trials" in said
    assert "holds no answers" in said


HEADER = "image_0,image_1,image_2,odd,participant"


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("", [], "answers.csv: is empty"),
        ("[]", [], "answers.csv: is empty"),
        (f"sep=||\n{HEADER}\nv0,v1,v2,0,p\n", [], "answers.csv, row 1: sep=|| is no single character"),
        (
            f"{HEADER},rating\nv0,v1,v2,0,p,4\n",
            [],
            "answers.csv, row 2: holds a rating and an odd one out: give one of them a row of its own",
        ),
        (f"{HEADER}\nv0,v1,v2,0,p\n", ["odd=odd", "odd=participant"], "--columns: names one of our columns twice"),
        (f"{HEADER}\nv0,v1,v2,0,p\n", ["odd="], "--columns: odd= names no column"),
    ],
)
def test_what_would_be_lost_or_cannot_be_read_is_one_line_and_changes_nothing(
    folder, tmp_path, capsys, text, words, said
):
    file, before = tmp_path / "answers.csv", (folder / "triplets.csv").read_bytes()
    file.write_text(text)
    assert command.main(["import", str(folder), str(file), *(["--columns", *words] if words else [])]) == 1
    assert capsys.readouterr().err.strip().removeprefix(f"{tmp_path}/") == said
    assert (folder / "triplets.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("table", "text", "said"),
    [
        ("triplets", "", "triplets.csv: cannot be read as a table"),
        ("triplets", "image_0;image_1;image_2;odd;participant\n", "triplets.csv: missing column image_0, image_1"),
        ("triplets", "image_0,image_1,image_2\n", "triplets.csv: missing column odd, participant"),
        ("images", "", "images.csv: cannot be read as a table"),
    ],
)
def test_a_world_whose_table_is_damaged_is_one_line(folder, tmp_path, capsys, table, text, said):
    file = saved(tmp_path / "answers.csv", trials([0, 1], rt=1.0))
    (folder / f"{table}.csv").write_text(text)
    assert command.main(["import", str(folder), str(file)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert (folder / f"{table}.csv").read_text() == text


def test_a_folder_that_is_no_world_or_cannot_be_written_to_is_one_line(folder, tmp_path, capsys, monkeypatch):
    file = saved(tmp_path / "answers.csv", trials([0, 1], rt=1.0))
    for place in (tmp_path / "nowhere", file):
        assert command.main(["import", str(place), str(file)]) == 1
        assert f"{place} is not the folder of a world" in capsys.readouterr().err

    def refused(*words):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(answers, "replace", refused)
    assert command.main(["import", str(folder), str(file)]) == 1
    assert capsys.readouterr().err == f"[Errno 13] Permission denied: '{folder}'\n"


def test_a_unit_of_times_that_are_not_there_is_said_and_an_infinite_time_is_none(folder, tmp_path):
    file = saved(tmp_path / "answers.csv", [{**row, "rt": ""} for row in trials([0])])
    pd.read_csv(file).drop(columns="rt").to_csv(file, index=False)
    assert "has no response times, whose unit was said to be seconds" in answers.add(folder, file, unit="seconds")
    saved(file, [{**row, "rt": "inf"} for row in trials([0, 1], person="p2")])
    assert "2 response times are no numbers from 0 on" in answers.add(folder, file)
    assert stored(folder)["rt"].isna().all()
