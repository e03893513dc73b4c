import json
import math
import subprocess
import sys

import filelock
import inputs
import pandas as pd
import pytest

from alignet.collect import jspsych, plan
from alignet.collect import session as module
from alignet.collect.session import Session
from alignet.collect.widget import SIDE, Experiment
from alignet.worlds import __main__ as worlds
from alignet.worlds.folder import answers, trials
from alignet.worlds.format import tables
from alignet.worlds.format.tables import TRIPLET, WorldError


@pytest.fixture
def folder(tmp_path):
    """A world of 80 pictures in 4 classes, nothing asked yet."""
    return inputs.asked_world(tmp_path, (500, 400))


@pytest.fixture
def world(folder):
    return tables.read(folder, unfilled=True)


def classes_of(world, table):
    of = world.images.set_index("image")["class"]
    return [[of[name] for name in row] for row in table[TRIPLET].itertuples(index=False)]


@pytest.mark.parametrize(
    ("level", "split"), [(None, "human"), ("coarse", "test"), ("boundary", "test"), ("fine", "test")]
)
def test_triplets_are_of_their_level_different_and_balanced_over_pictures(world, level, split):
    table = trials.draw(world, 60, level, seed=1)
    splits = world.images.set_index("image")["split"]
    assert set(splits[table[TRIPLET].to_numpy().ravel()]) == {split}
    assert len({frozenset(row) for row in table[TRIPLET].itertuples(index=False)}) == 60
    assert all(len(set(row)) == 3 for row in table[TRIPLET].itertuples(index=False))
    labels = {"coarse": 3, "boundary": 2, "fine": 1}.get(level)
    if labels:
        assert all(len(set(row)) == labels for row in classes_of(world, table))
        assert set(table["level"]) == {level}
    counts = pd.Series(table[TRIPLET].to_numpy().ravel()).value_counts()
    assert len(counts) == (splits == split).sum()
    assert counts.max() - counts.min() <= 4


def test_repeats_ask_each_triplet_as_often_in_another_order(world):
    table = trials.draw(world, 10, repeats=3, seed=1)
    sets = [frozenset(row) for row in table[TRIPLET].itertuples(index=False)]
    assert len(table) == 30
    assert set(pd.Series(sets).value_counts()) == {3}


def test_more_triplets_than_there_are_is_one_line(folder, capsys):
    assert worlds.main(["triplets", str(folder), "--n", "9000"]) == 1
    expected = "9000 different triplets are asked for, and 32 pictures of the split 'human' give only"
    assert expected in capsys.readouterr().err


def test_a_table_for_people_asks_about_every_level_and_gives_nobody_a_triplet_twice(folder, world, capsys):
    words = ["triplets", str(folder), "--n", "20", "--per-level", "4", "--repeats", "2", "--people", "4"]
    assert worlds.main([*words, "--seconds", "30"]) == 0
    table = pd.read_csv(folder / "trials.csv", keep_default_na=False)
    triplet = table[TRIPLET].apply(lambda row: "|".join(sorted(row)), axis=1)
    assert triplet.groupby(table["level"]).nunique().to_dict() == {"": 20, "coarse": 4, "boundary": 4, "fine": 4}
    assert set(triplet.value_counts()) == {2}
    assert not pd.DataFrame({"triplet": triplet, "list": table["list"]}).duplicated().any()
    assert table["list"].value_counts().to_dict() == dict.fromkeys(range(1, 5), 16)
    split = world.images.set_index("image")["split"]
    about = table["level"].map(lambda level: "test" if level else "human")
    assert all((split[table[column]].to_numpy() == about).all() for column in TRIPLET)
    said = capsys.readouterr().out
    assert "64 trials in 4 lists" in said
    assert "4 people answer 16 trials each: about 8 minutes at 30 s a trial" in said
    assert "20 of split human (triplets.csv), 4 coarse of split test (levels.csv)" in said
    seen = len(set(table[TRIPLET].to_numpy().ravel()))
    assert f"people see {seen} of 80 pictures; nobody sees" in said
    assert "16 of split synthesis" in said


def test_answers_to_such_a_table_fill_triplets_and_levels(folder, tmp_path):
    assert worlds.main(["triplets", str(folder), "--n", "20"]) == 0
    asked = pd.read_csv(folder / "trials.csv", keep_default_na=False)
    asked.assign(odd=0, participant="p").to_csv(tmp_path / "answers.csv", index=False)
    assert "not read" not in answers.add(folder, tmp_path / "answers.csv")
    read = tables.read(folder)
    assert len(read.triplets) == 20
    assert read.levels["level"].value_counts().to_dict() == {"coarse": 4, "boundary": 4, "fine": 4}


def test_a_level_that_has_fewer_triplets_than_are_asked_for_is_said(world):
    table, said = trials.every(world, 5, 1200)
    found = table["level"].value_counts().to_dict()
    assert found | {"fine": 0} == {"": 5, "coarse": 1200, "boundary": 1200, "fine": 0}
    pictures = world.images.loc[world.images["split"] == "test", "class"].value_counts()
    assert 0.9 < found["fine"] / sum(math.comb(n, 3) for n in pictures) <= 1
    of_fine = f"{found['fine']} triplets of level fine by class"
    assert said == [f"the 32 pictures of split test give {of_fine}, and 1200 are asked for"]


def test_triplets_are_drawn_once_and_a_plan_asks_for_as_many_where_a_level_has_few(world, monkeypatch):
    asked, up_to = [], trials.up_to
    monkeypatch.setattr(trials, "up_to", lambda *words: asked.append(words[2]) or up_to(*words))
    trials.every(world, 5, 4)
    assert sorted(asked, key=str) == [None, "boundary", "coarse", "fine"]
    asked.clear()
    made = plan.triplets(world, 2400, "all", practice=0, checks=0)
    assert sorted(asked, key=str) == [None, None, "boundary", "coarse", "fine"]  # practice besides
    assert len(made) == 2400
    assert (made["level"] == "fine").sum() < 2400 // plan.EACH


def test_a_world_without_test_pictures_is_asked_about_no_level(world):
    images = world.images[world.images["split"] != "test"].reset_index(drop=True)
    table, said = trials.every(tables.World(**(vars(world) | {"images": images})), 5, 2)
    assert table["level"].tolist() == [""] * 5
    assert [line.partition(" of level")[0] for line in said] == ["the 0 pictures of split test give 0 triplets"] * 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--repeats", "3", "--people", "2"], "--people 2: fewer than --repeats 3"),
        (["--people", "-1"], "--people: at least 1"),
        (["--people", "0"], "--people: at least 1"),
        (["--repeats", "0"], "--repeats: at least 1"),
        (["--per-level", "0"], "--per-level: at least 1"),
        (["--out", "/no/such/folder/trials.csv"], "/no/such/folder/trials.csv"),
        (["--n", "0"], "--n: at least 1"),
        (["--seconds", "inf"], "--seconds: more than 0, and finite"),
        (["--seconds", "0"], "--seconds: more than 0"),
    ],
)
def test_a_division_that_cannot_be_is_one_line(folder, capsys, words, message):
    assert worlds.main(["triplets", str(folder), "--n", "9", *words]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (folder / "trials.csv").exists()


def test_a_persons_list_is_planned_whole_after_practice_of_its_own(folder, world):
    assert worlds.main(["triplets", str(folder), "--n", "20", "--repeats", "2"]) == 0
    asked = pd.read_csv(folder / "trials.csv", keep_default_na=False)
    planned = plan.of_list(world, folder / "trials.csv", 2, practice=3, checks=0)
    rows = planned[~planned["practice"]]
    assert (
        rows[[*TRIPLET, "level"]].to_numpy().tolist() == asked[asked["list"] == 2][[*TRIPLET, "level"]].values.tolist()
    )
    assert planned["practice"].sum() == 3
    with pytest.raises(WorldError, match=r"trials\.csv: has no list 3; its lists are 1, 2"):
        plan.of_list(world, folder / "trials.csv", 3)
    with pytest.raises(WorldError, match=r"nowhere\.csv: no such file"):
        plan.of_list(world, folder / "nowhere.csv", 1)
    asked.drop(columns="image_1").to_csv(folder / "other.csv", index=False)
    with pytest.raises(WorldError, match=r"other\.csv: has no column image_1"):
        plan.of_list(world, folder / "other.csv", 1)
    (folder / "other.csv").write_text("")
    with pytest.raises(WorldError, match=r"other\.csv: is empty"):
        plan.of_list(world, folder / "other.csv", 1)


def test_trials_that_a_level_lacks_are_about_the_other_pictures(world):
    images = world.images[world.images["split"] != "test"].reset_index(drop=True)
    table = plan.triplets(tables.World(**(vars(world) | {"images": images})), 16, "all", practice=0, checks=0)
    assert table["level"].tolist() == [""] * 16


def test_a_session_about_all_levels_is_exported_into_both_tables(folder, world, tmp_path):
    session = Session(tmp_path / "session", plan.triplets(world, 16, "all", practice=2, checks=0))
    while session.trial() is not None:
        session.answer(session.done, 1, 0.5)
    session.export(folder)
    read = tables.read(folder)
    assert len(read.triplets) == 10
    assert read.levels["level"].value_counts().to_dict() == {"coarse": 2, "boundary": 2, "fine": 2}


def answered(table, first=0, **more):
    rows = table[TRIPLET].assign(odd=[(number % 3) + first for number in range(len(table))], participant="p1")
    return rows.assign(**more)


@pytest.mark.parametrize(("separator", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-8")])
def test_answers_are_appended_and_never_twice(folder, world, tmp_path, separator, encoding):
    table, file = answered(trials.draw(world, 12), first=1, rt=0.7), tmp_path / "answers.csv"
    table[:8].to_csv(file, index=False, sep=separator, encoding=encoding)
    assert "8 rows added, 0 were there" in answers.add(folder, file, first=1)
    table.to_csv(file, index=False, sep=separator, encoding=encoding)  # the file has grown
    assert "4 rows added, 8 were there" in answers.add(folder, file, first=1)
    assert "0 rows added, 12 were there" in answers.add(folder, file, first=1)
    stored = tables.read(folder).triplets
    assert len(stored) == 12
    assert stored["odd"].tolist() == [number % 3 for number in range(12)]
    assert stored["rt"].tolist() == [0.7] * 12


def test_answers_with_a_level_go_to_levels_and_ratings_to_ratings(folder, world, tmp_path):
    fine, file = trials.draw(world, 4, "fine"), tmp_path / "answers.csv"
    answered(fine, level="fine").to_csv(file, index=False)
    answers.add(folder, file)
    ratings = fine[TRIPLET[:2]].assign(rating=4, participant="p1")
    ratings.to_csv(file, index=False)
    answers.add(folder, file)
    read = tables.read(folder, unfilled=True)
    assert set(read.levels["level"]) == {"fine"}
    assert read.ratings["rating"].tolist() == [4] * 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"odd": 3}, r"answers.csv, row 2, column odd: '3' is none of 0, 1, 2; --first 1 if"),
        ({"odd": "left"}, r"answers.csv, row 2, column odd: 'left' is none of"),
        ({"image_0": "no such"}, r"answers.csv, row 2, column image_0: .no such. is not among the images"),
    ],
)
def test_wrong_answers_are_one_line_and_change_nothing(folder, world, tmp_path, changes, message):
    file = tmp_path / "answers.csv"
    answered(trials.draw(world, 3)).assign(**changes).to_csv(file, index=False)
    before = (folder / "triplets.csv").read_bytes()
    with pytest.raises(WorldError, match=message):
        answers.add(folder, file)
    assert (folder / "triplets.csv").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["images.csv", "triplets.csv", "world.yaml"]


def test_a_missing_column_is_named_with_those_that_are_there(folder, tmp_path):
    file = tmp_path / "answers.csv"
    file.write_text("image_0,image_1,odd\na,b,0\n")
    with pytest.raises(WorldError, match=r"has no column image_2 \(columns: image_0, image_1, odd\)"):
        answers.add(folder, file)


def jspsych_rows(table):
    """What jsPsych keeps: a preload screen, a welcome, and a row a trial, times in milliseconds."""
    rows = [{"trial_type": "preload", "participant": "p9", "rt": None}]
    rows.append({"trial_type": "html-button-response", "participant": "p9", "rt": 900, "response": 0})
    for number, row in enumerate(table[TRIPLET].to_dict("records")):
        given = {"trial_type": "html-button-response", "rt": 1500 + number, "response": 2, "odd": 2}
        rows.append(given | row | {"participant": "p9", "practice": number == 0, "level": ""})
    return rows


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_what_jspsych_writes_is_read(folder, world, tmp_path, ending):
    rows, file = jspsych_rows(trials.draw(world, 5)), tmp_path / f"answers.{ending}"
    if ending == "json":
        file.write_text(json.dumps(rows))
    else:
        pd.DataFrame(rows).to_csv(file, index=False)
    assert "4 rows added" in answers.add(folder, file)  # the first was practice
    stored = tables.read(folder).triplets
    assert stored["odd"].tolist() == [2] * 4
    assert stored["rt"].tolist() == pytest.approx([1.501, 1.502, 1.503, 1.504])
    assert set(stored["participant"]) == {"p9"}


def test_a_plan_has_practice_first_and_repeats_last(world):
    planned = plan.triplets(world, 20, practice=3, checks=0.2)
    assert planned["practice"].tolist() == [True] * 3 + [False] * 24
    again = planned[planned["repeat_of"] >= 0]
    assert len(again) == 4
    for row in again.to_dict("records"):
        first = planned.iloc[row["repeat_of"]]
        assert {row[column] for column in TRIPLET} == set(first[TRIPLET])
        assert not first["practice"]


def test_pairs_to_rate_are_half_of_one_class(world):
    planned = plan.pairs(world, 40, checks=0)
    of = world.images.set_index("image")["class"]
    same = [of[row.image_0] == of[row.image_1] for row in planned.itertuples()]
    assert sum(same) == 21
    assert "image_2" not in planned


@pytest.fixture
def session(world, tmp_path):
    return Session(tmp_path / "session", plan.triplets(world, 10, practice=2, checks=0.2))


def test_a_session_goes_on_after_a_break_and_takes_answers_back(session, tmp_path):
    for trial in range(5):
        session.answer(trial, trial % 3, 0.5)
    session.answer(0, 1, 9.0)  # late: another trial is open
    again = Session(tmp_path / "session")
    assert (again.done, again.total, again.participant) == (5, 14, session.participant)
    again.undo()
    assert again.trial()["trial"] == 4
    again.answer(4, 2, 0.25)
    rows = again.rows()
    assert len(rows) == 3
    assert rows["odd"].tolist() == [2, 0, 2]
    assert rows["rt"].tolist() == [0.5, 0.5, 0.25]
    with pytest.raises(ValueError, match="3 is none of 0, 1, 2"):
        again.answer(5, 3, 0.1)


def test_two_kernels_on_one_session_lose_no_answer(session, tmp_path):
    other = Session(tmp_path / "session")
    assert other.participant == session.participant
    for trial in range(9):
        session.answer(trial, trial % 3, 0.5)
    other.undo()  # it shows no answer yet: nothing of its own is taken back
    assert other.done == 9
    session.answer(9, 0, 0.5)
    other.answer(0, 2, 1.0)  # its window shows the first trial still
    assert other.trial()["trial"] == 10
    other.answer(10, 1, 1.0)
    session.answer(10, 2, 1.0)
    session.answer(11, 2, 1.0)
    stored = pd.read_csv(tmp_path / "session" / "answers.csv")
    assert stored["trial"].tolist() == list(range(12))
    assert stored["chosen"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert len(pd.read_csv(tmp_path / "session" / "answers.before.csv")) == 11


ANSWERS_FROM_A_KERNEL = """
import sys
from pathlib import Path
from alignet.collect.session import Session
session = Session(Path(sys.argv[1]))
while session.trial() is not None:
    session.answer(session.done, int(sys.argv[2]), 0.5)
"""


@pytest.mark.slow
def test_kernels_that_answer_at_once_give_each_trial_one_answer(session, tmp_path):
    words = [sys.executable, "-c", ANSWERS_FROM_A_KERNEL, str(tmp_path / "session")]
    kernels = [subprocess.Popen([*words, str(chosen)]) for chosen in (0, 1)]
    assert [kernel.wait() for kernel in kernels] == [0, 0]
    assert pd.read_csv(tmp_path / "session" / "answers.csv")["trial"].tolist() == list(range(session.total))


def test_a_session_whose_lock_is_not_given_back_is_one_line(session, monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0)
    with filelock.FileLock(session.folder / module.LOCK), pytest.raises(WorldError, match="another program holds"):
        session.answer(0, 1, 0.5)


def test_repeated_trials_show_who_attends(session):
    while session.trial() is not None:
        names = session.trial()["images"]
        session.answer(session.done, names.index(min(names)), 0.5)
    assert session.consistency() == (2, 2)
    assert session.trial() is None


def test_a_session_is_exported_into_the_world_once(session, folder):
    while session.trial() is not None:
        session.answer(session.done, 1, 0.5)
    assert "12 rows added" in session.export(folder)
    assert "0 rows added, 12 were there" in session.export(folder)
    stored = tables.read(folder).triplets
    assert set(stored["participant"]) == {session.participant}
    assert session.participant.startswith("p")


def test_the_widget_shows_a_trial_and_keeps_the_answer(session, world):
    widget = Experiment(session, world)
    shown = widget.trial
    assert shown["practice"] is True
    assert len(shown["images"]) == 3
    assert shown["images"][0].startswith("data:image/png;base64,")
    widget.answer = {"trial": 0, "chosen": 2, "rt": 1.25}
    assert (widget.trial["trial"], session.done) == (1, 1)
    widget.undone = 1
    assert (widget.trial["trial"], session.done) == (0, 0)
    assert SIDE >= 400


def test_the_jspsych_page_names_every_picture_and_nothing_else(world, tmp_path, folder, capsys):
    planned = plan.triplets(world, 6)
    planned.to_csv(tmp_path / "plan.csv", index=False)
    out = tmp_path / "experiment"
    assert jspsych.main([str(folder), str(tmp_path / "plan.csv"), str(out), "--source", "jspsych"]) == 0
    page = (out / "index.html").read_text()
    listed = json.loads(page.partition("const TRIALS = ")[2].partition(";\n")[0])
    assert {name for trial in listed for name in trial["files"]} == {path.name for path in (out / "pictures").iterdir()}
    assert [trial["data"]["image_0"] for trial in listed] == planned["image_0"].tolist()
    assert 'src="jspsych/jspsych@8' in page
    assert "class 1" not in " ".join(path.name for path in (out / "pictures").iterdir())
    assert jspsych.main([str(folder), str(tmp_path / "plan.csv"), str(out)]) == 1
    assert "is there already" in capsys.readouterr().err


def test_the_jspsych_page_asks_one_of_the_lists(world, tmp_path):
    table, _ = trials.every(world, 10, 2, repeats=2)
    jspsych.write(world, table, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    listed = json.loads(page.partition("const TRIALS = ")[2].partition(";\n")[0])
    assert [trial["list"] for trial in listed] == ["1"] * 16 + ["2"] * 16
    assert "for (const trial of asked)" in page


def test_markup_in_a_name_cannot_leave_the_jspsych_page(world, tmp_path):
    name = world.images["image"].iloc[0]
    odd = world.images.assign(image=world.images["image"].replace({name: "</script><b>"}))
    planned = pd.DataFrame(
        {"image_0": ["</script><b>"], "image_1": [odd["image"].iloc[1]], "image_2": [odd["image"].iloc[2]]}
    )
    jspsych.write(tables.World(**(vars(world) | {"images": odd})), planned, tmp_path / "out")
    assert "</script><b>" not in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("image_0,image_1,image_2\n", "holds no trials"),
        ("a,b\n1,2\n", "has no column image_0, image_1"),
        ("image_0,image_2\n1,2\n", "has no column image_1"),
        ("image_0,image_1,image_2\n{0},{1},x\n", "row 2: 'x' is not among the images of world"),
        ("image_0,image_1,image_2\n{0},{1},{2}\n{0},{1},{0}\n", "row 3: shows a picture twice"),
    ],
)
def test_a_table_that_holds_no_trials_of_the_world_is_refused_and_no_page_is_written(
    folder, world, tmp_path, capsys, text, said
):
    file, out = tmp_path / "trials.csv", tmp_path / "experiment"
    file.write_text(text.format(*world.images["image"]))
    assert jspsych.main([str(folder), str(file), str(out)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(str(file)) and said in line
    assert not out.exists()
    with pytest.raises(WorldError, match=r"trials\.csv"):
        plan.of_list(world, file, 1)


def test_trials_that_a_spreadsheet_saved_are_asked(folder, world, tmp_path):
    table, _ = trials.every(world, 4, 1)
    table.to_csv(tmp_path / "trials.csv", index=False, sep=";", lineterminator="\r\n", encoding="utf-8-sig")
    assert jspsych.main([str(folder), str(tmp_path / "trials.csv"), str(tmp_path / "experiment")]) == 0
    page = (tmp_path / "experiment" / "index.html").read_text()
    listed = json.loads(page.partition("const TRIALS = ")[2].partition(";\n")[0])
    assert [trial["data"]["image_0"] for trial in listed] == table["image_0"].tolist()
    assert len(plan.of_list(world, tmp_path / "trials.csv", 1, checks=0)) == 3 + len(table)


def test_more_people_than_trials_are_said(folder, capsys):
    assert worlds.main(["triplets", str(folder), "--n", "3", "--level", "none", "--people", "50"]) == 0
    said = capsys.readouterr().out
    assert "3 trials in 3 lists" in said and "--people 50: there are trials for 3 only" in said


@pytest.mark.parametrize("shares", [["0", "0", "0"], ["-1", "1", "1"], ["nan", "1", "1"], ["1", "inf", "1"]])
def test_shares_of_splits_are_numbers_above_0(tmp_path, capsys, shares):
    words = ["new", str(tmp_path / "mine"), "--images", str(tmp_path), "--shares", *shares]
    assert worlds.main(words) == 1
    assert capsys.readouterr().err == "--shares: more than 0 each, and finite\n"


def test_trials_and_settings_that_are_made_again_keep_the_former_ones(folder, capsys):
    words = ["triplets", str(folder), "--level", "none", "--n"]
    for n, kept in (("5", False), ("5", False), ("6", True)):
        assert worlds.main([*words, n]) == 0
        assert ("(the former one is trials.before.csv)" in capsys.readouterr().out) == kept
    assert len(pd.read_csv(folder / "trials.before.csv")) == 5
    worlds.main(["params", str(folder)])
    (folder / "params.yaml").write_text("base: params.yaml\n# mine\n")
    capsys.readouterr()
    worlds.main(["params", str(folder)])
    assert "(the former one is params.before.yaml)" in capsys.readouterr().out
    assert "# mine" in (folder / "params.before.yaml").read_text()
