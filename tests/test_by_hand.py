"""notebooks/00_by_hand.ipynb is executed, every code cell twice, and looked at as a reader sees it."""

import copy
import re

import nbformat
import pytest
from nbclient import NotebookClient

from alignet.config import home
from alignet.report import pages

ROOT = home()

PATH = ROOT / "notebooks" / "00_by_hand.ipynb"


def notebook():
    return nbformat.read(PATH, as_version=4)


def text():
    return "\n".join(cell.source for cell in notebook().cells if cell.cell_type == "markdown")


def with_code_cells_twice(read):
    cells = []
    for cell in read.cells:
        cells.append(cell)
        if cell.cell_type == "code":
            cells.append(copy.deepcopy(cell) | {"id": f"{cell.id}_again"})
    read.cells = [nbformat.from_dict(cell) for cell in cells]
    return read


@pytest.fixture(scope="module")
def executed():
    """The notebook with each code cell run twice, as a reader who goes back does; a cell that fails raises."""
    run = with_code_cells_twice(notebook())
    NotebookClient(
        run, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(PATH.parent)}}
    ).execute()
    return run


@pytest.mark.slow
def test_every_cell_runs_and_says_the_same_when_it_is_run_again(executed):
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert len(code) == 2 * sum(cell.cell_type == "code" for cell in notebook().cells)
    for first, again in zip(code[::2], code[1::2], strict=True):
        said = [
            [output.get("text") or output.get("data", {}).get("text/plain") for output in cell.outputs]
            for cell in (first, again)
        ]
        assert said[0] == said[1], first.source


@pytest.mark.slow
def test_it_shows_the_pictures_and_the_numbers_of_the_text(executed):
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    said = "\n".join(output.get("text", "") for output in outputs)
    assert "answers [4, 1, 1]" in said  # section 9: four, one and one of six people
    five = next(
        output.data["text/plain"] for output in outputs if "people" in output.get("data", {}).get("text/plain", "")
    )
    assert sum(int(row.split()[1]) for row in five.splitlines()[1:]) == 5  # section 1: five people


def test_it_checks_what_it_computes_by_hand_against_the_package():
    code = [cell.source for cell in notebook().cells if cell.cell_type == "code"]
    checks = sum(source.count("assert") for source in code)
    assert checks >= 25
    assert sum("assert" in source for source in code) >= len(code) - 4


def test_it_has_the_equations_that_it_works_through():  # tests/test_chapters.py compares them with docs/method.md
    assert re.findall(r"\\tag\{(\w+)\}", text()) == ["5", "1", "6", "8"]


def test_it_has_five_exercises_whose_answers_are_folded(tmp_path):
    assert len(re.findall(r"(?m)^\*\*\d\.\*\* ", text())) == 5
    pages.write(PATH.parent, tmp_path)
    page = (tmp_path / PATH.with_suffix(".html").name).read_text(encoding="utf-8")
    answers = re.findall(r"<details><summary>Answer</summary>(.*?)</details>", page, re.DOTALL)
    assert len(answers) == 5
    assert min(map(len, answers)) > 80


def test_the_notebooks_and_modules_that_it_names_are_there():
    for name in re.findall(r"\b\d\d_\w+\b", text()):
        assert (ROOT / "notebooks" / f"{name}.ipynb").is_file(), name
    for name in re.findall(r"`(alignet(?:\.\w+)+)`", text()):
        place = ROOT.joinpath(*name.split("."))
        assert place.is_dir() or place.with_suffix(".py").is_file(), name
