import re
import subprocess

import pandas as pd
import pytest
import yaml

from alignet import config
from alignet.report import compare, provenance

LEVELS = pd.DataFrame(
    {
        "student": ["a", "a"],
        "target": ["base", "alignet"],
        "level": ["fine", "fine"],
        "odd_one_out_accuracy": [0.4, 0.5],
    }
).assign(passes_ceiling=False, flops=1e12)


def reports(folder, **tables):
    (folder / "tables").mkdir(parents=True)
    for name, table in tables.items():
        table.to_csv(folder / "tables" / f"{name}.csv", index=False)
    return folder


def verdict(tmp_path, ours, theirs):
    found = compare.tables(reports(tmp_path / "ours", levels=ours), reports(tmp_path / "theirs", levels=theirs))
    (row,) = found.to_dict("records")
    return row


def test_equal_bytes_are_the_same(tmp_path):
    assert verdict(tmp_path, LEVELS, LEVELS)["verdict"] == "same"


@pytest.mark.parametrize(("by", "expected"), [(0.009, "within"), (0.011, "beyond"), (-0.011, "beyond")])
def test_a_difference_is_measured_against_the_tolerance_and_named(tmp_path, by, expected):
    moved = LEVELS.assign(odd_one_out_accuracy=[0.4, 0.5 + by])
    row = verdict(tmp_path, moved, LEVELS)
    assert row["verdict"] == expected
    assert row["difference"] == pytest.approx(by)
    assert row["where"] == "odd_one_out_accuracy: a, alignet, fine"


@pytest.mark.parametrize(("factor", "expected"), [(1.019, "within"), (1.021, "beyond")])
def test_large_numbers_are_compared_by_their_share(tmp_path, factor, expected):
    assert verdict(tmp_path, LEVELS.assign(flops=1e12 * factor), LEVELS)["verdict"] == expected


def test_rows_are_matched_by_what_they_are_about_and_not_by_their_order(tmp_path):
    row = verdict(tmp_path, LEVELS[::-1], LEVELS)
    assert (row["verdict"], row["rows"], row["largest"]) == ("within", 2, 0)


def test_rows_of_one_side_and_other_words_are_beyond(tmp_path):
    row = verdict(tmp_path, LEVELS[:1], LEVELS)
    assert (row["verdict"], row["only_here"], row["only_there"]) == ("beyond", 0, 1)


def test_words_that_differ_are_counted(tmp_path):
    row = verdict(tmp_path, LEVELS.assign(passes_ceiling=[False, True]), LEVELS)
    assert (row["verdict"], row["words_differ"]) == ("beyond", 1)


def test_a_number_that_one_side_lacks_is_beyond(tmp_path):
    row = verdict(tmp_path, LEVELS.assign(flops=[1e12, None]), LEVELS)
    assert (row["verdict"], row["words_differ"]) == ("beyond", 1)


def test_cells_without_words_are_alike_and_not_compared(tmp_path):
    theirs = LEVELS.assign(note=[None, "x"], ci_low=[None, 0.3])
    row = verdict(tmp_path, theirs.assign(odd_one_out_accuracy=[0.401, 0.5]), theirs)
    assert (row["verdict"], row["words_differ"], row["numbers"], row["beyond"]) == ("within", 0, 5, 0)


def test_percentages_of_a_base_and_tables_of_examples_are_not_judged(tmp_path):
    theirs = LEVELS.assign(relative_improvement_low=[1.0, 20.0])
    row = verdict(tmp_path, theirs.assign(relative_improvement_low=[9.0, 2.0]), theirs)
    assert (row["verdict"], row["largest"]) == ("within", 0)
    moved = LEVELS.assign(odd_one_out_accuracy=0.1)
    found = compare.tables(
        reports(tmp_path / "a", paper=LEVELS, levels=LEVELS), reports(tmp_path / "b", paper=moved, levels=moved)
    ).set_index("table")
    assert found["verdict"].to_dict() == {"levels.csv": "beyond", "paper.csv": "not judged"}
    assert compare.lines(found.reset_index()) == [
        "  levels.csv  beyond, 2 of 4 numbers: largest difference +0.4, odd_one_out_accuracy: a, alignet, fine",
        "  paper.csv   not judged: repeats other tables",
        "digits: 1 beyond, 1 not judged; 50.0% of 4 numbers are within 0.01 or 2% (reports/compare.csv)",
    ]


def test_a_table_of_one_side_is_said_to_be_there_only(tmp_path):
    found = compare.tables(reports(tmp_path / "a", levels=LEVELS, seeds=LEVELS), reports(tmp_path / "b", levels=LEVELS))
    assert dict(zip(found["table"], found["verdict"], strict=True)) == {"levels.csv": "same", "seeds.csv": "only here"}


def test_labels_that_look_like_missing_numbers_are_text(tmp_path):
    table = pd.DataFrame({"student": ["NA", "null"], "value": [0.1, 0.2]})
    assert verdict(tmp_path, table[::-1], table)["rows"] == 2


def test_the_published_run_of_the_same_params_is_found(tmp_path):
    for name, lr in (("emoji", 1), ("photos", 2)):
        folder = tmp_path / "reference" / name
        folder.mkdir(parents=True)
        (folder / "params.yaml").write_text(yaml.safe_dump({"lr": lr}))
    assert compare.reference(tmp_path, {"lr": 2}) == tmp_path / "reference" / "photos"
    assert compare.reference(tmp_path, {"lr": 3}) is None


def test_two_runs_are_compared_by_the_command(tmp_path, capsys):
    reports(tmp_path / "one" / "reports", levels=LEVELS)
    reports(tmp_path / "other", levels=LEVELS.assign(flops=1))
    assert compare.main(["--against", str(tmp_path / "other"), "--out-dir", str(tmp_path / "one")]) == 0
    said = capsys.readouterr().out
    assert "levels.csv  beyond, 2 of 4 numbers: largest difference +1e+12, flops: a, base, fine" in said
    assert pd.read_csv(tmp_path / "one" / "reports" / "compare.csv")["verdict"].tolist() == ["beyond"]


def test_a_folder_without_tables_is_one_line(tmp_path, capsys):
    (tmp_path / "reports" / "tables").mkdir(parents=True)
    assert compare.main(["--against", str(tmp_path / "nowhere"), "--out-dir", str(tmp_path)]) == 1
    assert f"{tmp_path / 'nowhere' / 'tables'}: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(("source", "shown"), [("emoji", True), ("folder", False)])
def test_a_published_run_leaves_out_pictures_of_a_world_of_ones_own(tmp_path, monkeypatch, source, shown):
    made = reports(tmp_path / "reports", levels=LEVELS)
    (made / "figures").mkdir()
    for name in ("world.png", "seeds.png", "seeds.pdf", "seeds.csv"):
        (made / "figures" / name).write_text("x")
    params = (config.ROOT / "params.yaml").read_text().replace("source: emoji", f"source: {source}")
    (tmp_path / "params.yaml").write_text(params)
    monkeypatch.setattr(config, "ROOT", tmp_path)
    assert compare.main(["--publish", "mine", "--out-dir", str(tmp_path)]) == 0
    there = made / "reference" / "mine"
    expected = {"seeds.csv", "seeds.png"} | ({"world.png"} if shown else set())
    assert {path.name for path in (there / "figures").iterdir()} == expected
    assert yaml.safe_load((there / "params.yaml").read_text()) == yaml.safe_load(params)
    assert "processor" in yaml.safe_load((there / "run.yaml").read_text())


def test_what_made_a_report_is_the_last_change_of_the_code_whatever_else_is_committed(tmp_path, monkeypatch):
    def git(*words):
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *named, *words], check=True, capture_output=True)

    monkeypatch.setattr(provenance.config, "ROOT", tmp_path)
    assert provenance.commit() == "unknown (no git checkout)"
    git("init", "--quiet")
    (tmp_path / "params.yaml").write_text("a: 1\n")
    git("add", ".")
    git("commit", "-m", "one")
    first = provenance.commit()
    assert re.fullmatch(r"[0-9a-f]{10} \(\d{4}-\d\d-\d\d\)", first)
    (tmp_path / "dvc.lock").write_text("x")
    git("add", ".")
    git("commit", "-m", "a run of it")
    (tmp_path / "README.md").write_text("x")
    assert provenance.commit() == first
    (tmp_path / "params.yaml").write_text("a: 2\n")
    assert provenance.commit() == f"{first}-dirty"
    git("commit", "--all", "-m", "two")
    assert provenance.commit() != first
