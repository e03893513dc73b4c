"""The comparisons of `make bench`: how two ways are measured, every task at a tiny size, the table and its figure."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from alignet.config import home
from bench import __main__ as bench
from bench import figure, page, rows
from bench.elsewhere import Elsewhere
from bench.measure import Comparison, Timed, Way, alike, measured, once

ROOT = home()

COLUMNS = ["task", "kind", "ours", "other", "ratio", "low", "high", "turns", "ours_s", "other_s", "ours_gb", "other_gb"]
COLUMNS += ["agreement", "note"]
QUICK = {"kmeans", "rsa", "synthesis", "things_reader"}


def timed(name: str, seconds: list[float], called: list[str]) -> Callable[[], Timed]:
    """A way that says how long it took: the first number untimed, then one a turn."""
    left = iter(seconds)

    def way() -> Timed:
        called.append(name)
        return Timed(name, next(left), 0.5)

    return way


def test_ways_take_turns_and_the_ratio_is_of_each_turn() -> None:
    called: list[str] = []
    ours = Way("ours", timed("a", [100, 1, 2, 1], called))
    other = Way("other", timed("b", [100, 3, 4, 7], called))
    row = measured(Comparison("task", "naive", ours, other, turns=3))
    assert "".join(called) == "ab" + "ab" + "ba" + "ab"
    assert list(row) == COLUMNS
    assert (row["low"], row["ratio"], row["high"]) == (2, 3, 7)
    assert (row["ours_s"], row["other_s"], row["ours_gb"], row["turns"]) == (1, 4, 0.5, 3)


def test_a_way_that_does_less_of_the_work_is_compared_by_rates() -> None:
    ours, other = Way("ours", timed("a", [0, 2], []), work=100), Way("other", timed("b", [0, 1], []), work=10)
    row = measured(Comparison("task", "naive", ours, other, turns=1, note="rates"))
    assert (row["ratio"], row["other_s"]) == (5, 10)
    assert row["note"] == "rates; the other way did 0.1 of the work"


def test_ways_that_disagree_are_an_error() -> None:
    ours, other = Way("ours", lambda: [1.0, 2.0]), Way("other", lambda: [1.0, 2.1])
    assert "0.05" in measured(Comparison("task", "naive", ours, other, alike(0.1), 1))["agreement"]
    with pytest.raises(AssertionError, match="relative difference"):
        measured(Comparison("task", "naive", ours, other, alike(0.01), 1))


def test_memory_and_time_of_a_call_are_measured() -> None:
    found = once(Way("", lambda: float(np.ones(40_000_000).cumsum()[-1])))  # 320 MB twice, longer than a look
    assert found.result == 40_000_000 and found.seconds > 0.01
    assert 0.3 < found.gb < 0.9


def test_a_missing_environment_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr("bench.elsewhere.PYTHON", tmp_path / "python")
    with pytest.raises(RuntimeError, match="make bench"):
        Elsewhere("bench.thingsvision_features")()


def test_a_script_in_another_environment_answers_and_its_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.elsewhere.PYTHON", Path(sys.executable))
    with pytest.raises(RuntimeError, match=r"no\.such\.module|No module named"):
        Elsewhere("no.such.module")()


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in rows.NAMES])
def test_every_task_runs_at_a_tiny_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but thingsvision, which has an environment of its own; one turn each."""
    monkeypatch.setattr(rows, "measured", lambda comparison: measured(replace(comparison, turns=1)))
    monkeypatch.setattr("bench.elsewhere.PYTHON", ROOT / "no-such-file")
    found, failed = rows.rows_of(name, 0.002)
    assert [line for line in failed if "no environment .venv/bench" not in line] == []
    assert found
    for row in found:
        assert list(row) == ["file", *COLUMNS, "processor"]
        assert row["ours"].startswith("alignet.") and row["kind"] in ("limit", "naive", "package")
        assert 0 < row["low"] <= row["ratio"] <= row["high"]


def task(*ways: Callable[[], object]) -> SimpleNamespace:
    """A module of bench/tasks/ with a comparison for each other way."""
    made = [
        Comparison(f"task {n}", "naive", Way("alignet", lambda: 0), Way("other", way), turns=1)
        for n, way in enumerate(ways)
    ]
    return SimpleNamespace(comparisons=lambda scale: iter(made))


def broken() -> None:
    raise ValueError("two\nlines")


def test_a_comparison_that_fails_is_one_line_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path, capsys
) -> None:
    modules = {"bench.tasks.rsa": task(broken, lambda: 1), "bench.tasks.kmeans": task(lambda: 1)}
    monkeypatch.setattr(rows, "import_module", modules.__getitem__)
    monkeypatch.setattr(rows, "alone", rows.rows_of)
    assert bench.main(["rsa", "kmeans"], 1, tmp_path) == 1
    assert capsys.readouterr().err == "bench: left out: rsa, task 0, other: ValueError: two lines\n"
    table = pd.read_csv(tmp_path / "tables" / "bench.csv")
    assert table[["file", "task"]].to_numpy().tolist() == [["kmeans", "task 0"], ["rsa", "task 1"]]
    assert bench.main(["kmeans"], 1, tmp_path) == 0
    assert len(pd.read_csv(tmp_path / "tables" / "bench.csv")) == 2  # the row of rsa has stayed
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".png", ".pdf", ".svg"}


def test_an_unknown_task_is_named() -> None:
    done = subprocess.run([sys.executable, "-m", "bench", "nothing"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "no task nothing" in done.stderr


def test_names_and_numbers_of_the_figure_do_not_overlap() -> None:
    row = {
        "task": "a task of some length",
        "other": "another way",
        "ratio": 2.0,
        "low": 1.0,
        "high": 3.0,
        "processor": "P",
    }
    drawn = figure.ratios(pd.DataFrame([row | {"kind": kind} for kind in ("limit", "naive", "naive", "package")]))
    FigureCanvasAgg(drawn).draw()
    for ax in drawn.axes:
        for texts in (ax.get_yticklabels(), ax.texts):
            boxes = sorted((text.get_window_extent() for text in texts), key=lambda box: box.y0)
            assert all(low.y1 <= high.y0 for low, high in pairwise(boxes))


def test_the_page_is_that_of_the_tables() -> None:
    assert (ROOT / page.OUT).read_text(encoding="utf-8") == page.page(ROOT)


def test_the_page_says_what_is_slower_and_what_grows(tmp_path: Path) -> None:
    row = {"task": "labels", "kind": "naive", "other": "a loop", "ratio": 0.5, "low": 0.4, "high": 1.1, "agreement": ""}
    row |= {"ours_gb": 0.3, "other_gb": 0.2, "note": "", "processor": "P"}
    scale = {
        "stage": "world",
        "seconds": 3,
        "gb": 0.5,
        "faster_than_pictures": "seconds",
        "concepts": 9,
        "pictures": 90,
    }
    for path, made in ((page.MEASURED, row), (page.SCALE, scale)):
        (tmp_path / path).parent.mkdir(parents=True)
        pd.DataFrame([made]).to_csv(tmp_path / path, index=False)
    text = page.page(tmp_path)
    assert "| labels | a loop | .50 [.40, 1.10] | 1.50 |  |" in text
    assert "Slower than another way: labels, beside a loop: .50 [.40, 1.10]." in text
    assert "What grows faster than the pictures: world." in text


def test_the_numbers_of_choices_that_own_data_names_are_those_of_the_table() -> None:
    table = pd.read_csv(ROOT / "bench" / "choices_needed.csv")
    text = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
    columns = ["choices_each", "dimensions", "rsa_vice", "rsa_shares"]
    for objects, measured_for in table.groupby("objects"):
        (cells,) = re.findall(rf"^\| {objects} \| (.+) \|$", text, re.MULTILINE)
        said = [[float(value) for value in cell.split(" / ")] for cell in cells.split(" | ")]
        np.testing.assert_allclose(said, measured_for[columns].T, atol=0.0051)
