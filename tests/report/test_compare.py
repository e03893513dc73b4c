import functools
import http.server
import re
import shutil
import subprocess
import threading
import zipfile

import pandas as pd
import pytest
import yaml

from alignet import config
from alignet.report import compare, provenance
from alignet.worlds import downloads

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


def finished(tmp_path, monkeypatch, source="emoji"):
    """A project with a finished run: reports/, params.yaml and a page that shows one of its published figures."""
    made = reports(tmp_path / "reports", levels=LEVELS)
    for folder in ("figures", "variants"):
        (made / folder).mkdir()
    for name in ("figures/world.png", "figures/late.png", "figures/late.pdf", "figures/late.csv", "variants/seeds.png"):
        (made / name).write_text(name)
    params = (config.home() / "params.yaml").read_text().replace("source: emoji", f"source: {source}")
    (tmp_path / "params.yaml").write_text(params)
    (tmp_path / "README.md").write_text("![seeds](reports/reference/mine/variants/seeds.png)")
    monkeypatch.setenv(config.HOME, str(tmp_path))
    return made / "reference" / "mine"


def publish(tmp_path, *more):
    return compare.main(["--publish", "mine", "--out-dir", str(tmp_path), *more])


def facts(folder):
    return yaml.safe_load((folder / "run.yaml").read_text())


def inside(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("source", "shown"), [("emoji", True), ("folder", False)])
def test_git_keeps_a_published_runs_tables_and_what_the_readme_shows(tmp_path, monkeypatch, capsys, source, shown):
    there = finished(tmp_path, monkeypatch, source)
    assert publish(tmp_path, "--url", "https://host/v1/") == 0
    said = capsys.readouterr().out.splitlines()
    kept = {"params.yaml", "run.yaml", "tables/levels.csv", "figures/late.csv", "variants/seeds.png"}
    assert inside(there) == kept
    assert (there / "params.yaml").read_text() == (tmp_path / "params.yaml").read_text()
    assert "processor" in facts(there)
    record = facts(there)["archive"]
    file = tmp_path / "dist" / record["file"]
    assert said[1].endswith(f"upload it to https://host/v1/{file.name}")
    assert (file.stat().st_size, downloads.sha256(file)) == (record["bytes"], record["sha256"])
    names = zipfile.ZipFile(file).namelist()  # pictures of a world of one's own stay out
    assert set(names) == {"figures/late.png"} | ({"figures/world.png"} if shown else set())


def test_a_run_published_again_has_the_same_archive_and_its_address(tmp_path, monkeypatch):
    there = finished(tmp_path, monkeypatch)
    assert publish(tmp_path, "--url", "https://host/v1") == 0
    first = facts(there)["archive"]
    assert publish(tmp_path) == 0
    assert facts(there)["archive"] == first


def test_a_published_runs_archive_is_fetched_from_disk_and_verified(tmp_path, monkeypatch, capsys):
    there = finished(tmp_path, monkeypatch)
    assert publish(tmp_path) == 0
    capsys.readouterr()
    assert compare.main(["--fetch"]) == 1
    assert "archive.url: is empty" in capsys.readouterr().err
    record = facts(there)["archive"]
    archived = tmp_path / "dist" / record["file"]
    assert compare.main(["--from", str(archived.parent)]) == 0
    out = tmp_path / "reports" / "published" / archived.stem
    assert inside(out) >= {"figures/world.png", "figures/late.png"}
    assert compare.main(["--fetch"]) == 0  # once there, nothing is asked of anybody
    shutil.rmtree(out)
    with archived.open("ab") as file:
        file.write(b"x")
    capsys.readouterr()
    assert compare.main(["--from", str(archived)]) == 1
    assert f"{archived}: is another archive than {archived.name}, by its SHA-256: refused" in capsys.readouterr().err
    assert not out.exists()


def test_a_published_runs_archive_is_fetched_from_its_address(tmp_path, monkeypatch, capsys):
    there = finished(tmp_path, monkeypatch)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "dist")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert publish(tmp_path, "--url", f"http://127.0.0.1:{server.server_port}") == 0
        assert compare.main(["--fetch"]) == 0
        server.shutdown()
    name = facts(there)["archive"]["file"].removesuffix(".zip")
    assert inside(tmp_path / "reports" / "published" / name) >= {"figures/world.png", "figures/late.png"}


def test_a_run_without_an_archive_says_so(tmp_path, monkeypatch, capsys):
    there = finished(tmp_path, monkeypatch)
    there.mkdir(parents=True)
    (there / "params.yaml").write_bytes((tmp_path / "params.yaml").read_bytes())
    assert compare.main(["--fetch"]) == 1
    assert "run.yaml: names no archive" in capsys.readouterr().err


def test_a_home_without_params_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(config.HOME, str(tmp_path))
    assert compare.main([]) == 1
    assert "params.yaml: no such file: run this in alignet's folder" in capsys.readouterr().err


def test_what_made_a_report_is_the_last_change_of_the_code_whatever_else_is_committed(tmp_path, monkeypatch):
    def git(*words):
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *named, *words], check=True, capture_output=True)

    monkeypatch.setattr(config, "CHECKOUT", tmp_path)
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
