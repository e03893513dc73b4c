import copy
import json
import re

import nbformat
import pytest

from alignet import config
from alignet.pipeline import cells

NOTEBOOKS = sorted((config.home() / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def edited(notebook, change):
    changed = copy.deepcopy(notebook)
    change(changed)
    return cells.text(changed)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_saved_and_executed_notebook_says_the_same(path):
    notebook = json.loads(path.read_text())
    executed = nbformat.read(path, as_version=4)
    executed.metadata.language_info = {"name": "python", "version": "3.99"}
    for number, cell in enumerate(executed.cells):
        cell.metadata.trusted = True
        cell.id = f"new{number}"
        if cell.cell_type == "code":
            cell.execution_count = 7
            cell.outputs = [nbformat.v4.new_output("stream", text="shown")]
    executed.cells.append(nbformat.v4.new_code_cell(""))  # as JupyterLab adds one after 'run'
    assert cells.text(json.loads(nbformat.writes(executed))) == cells.text(notebook)
    assert cells.text(notebook)


def test_what_a_notebook_says_changes_with_its_code_its_text_its_tags_and_its_order():
    notebook = json.loads(NOTEBOOKS[0].read_text())
    said = cells.text(notebook)
    code = next(number for number, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code")
    assert edited(notebook, lambda n: n["cells"][0]["source"].append("!")) != said
    assert edited(notebook, lambda n: n["cells"][code]["source"].append("\n1")) != said
    assert edited(notebook, lambda n: n["cells"][code]["metadata"].update(tags=["parameters"])) != said
    assert edited(notebook, lambda n: n["cells"].reverse()) != said
    assert edited(notebook, lambda n: n["cells"][code].update(cell_type="markdown")) != said


def test_the_stage_writes_a_text_for_each_numbered_notebook_and_removes_those_that_are_gone(tmp_path, monkeypatch):
    monkeypatch.setenv(config.HOME, str(tmp_path))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_world.ipynb").write_text(NOTEBOOKS[0].read_text())
    (tmp_path / "notebooks" / "explore.ipynb").write_text(NOTEBOOKS[0].read_text())
    (tmp_path / "notebooks" / "00_by_hand.ipynb").write_text(NOTEBOOKS[0].read_text())
    (tmp_path / "data" / "cells").mkdir(parents=True)
    (tmp_path / "data" / "cells" / "99_gone.py").write_text("")
    assert cells.main([]) == 0
    assert [path.name for path in (tmp_path / "data" / "cells").iterdir()] == ["01_world.py"]


def test_a_broken_notebook_is_named_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(config.HOME, str(tmp_path))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_world.ipynb").write_text("{}")
    assert cells.main([]) == 1
    assert re.fullmatch(r"notebooks/01_world.ipynb: not a notebook \(.+\); .+\n", capsys.readouterr().err)
