import nbformat
import pytest

from alignet import nb

PARAMETERS = 'name = "nobody"\nsteps = 1\nlr = None'
PRINTS = "import sys\nprint('progress', file=sys.stderr)\nprint(name, steps + 1, lr, type(lr).__name__)"


def notebook(path, *sources):
    cells = [nbformat.v4.new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)]
    cells[0].metadata["tags"] = ["parameters"]
    language = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=language), path)
    return str(path)


def streams(path):
    cells = nbformat.read(path, as_version=4).cells
    return {output.name: output.text for cell in cells for output in cell.outputs if "name" in output}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nb")
    path = folder / "made" / "there" / "out.ipynb"
    arguments = [notebook(folder / "in.ipynb", PARAMETERS, PRINTS), str(path)]
    assert nb.main([*arguments, "-p", "name", "vit", "-p", "steps", "41", "-p", "lr", "0.0001"]) == 0
    return path


def test_parameters_are_injected_with_their_types(executed):
    assert streams(executed)["stdout"] == "vit 42 0.0001 float\n"


def test_the_executed_copy_holds_no_record_of_the_run_and_no_progress(executed):
    copy = nbformat.read(executed, as_version=4)
    assert "papermill" not in copy.metadata
    assert all(not {"papermill", "execution"} & set(cell.metadata) for cell in copy.cells)
    assert "stderr" not in streams(executed)
    nbformat.validate(copy)


def test_a_failing_cell_ends_with_code_one_and_its_traceback(tmp_path, capfd):
    source = notebook(tmp_path / "in.ipynb", PARAMETERS, "half = 1 / (steps - 1)")
    assert nb.main([source, str(tmp_path / "out.ipynb")]) == 1
    shown = capfd.readouterr().err
    assert "ZeroDivisionError" in shown
    assert "half = 1 / (steps - 1)" in shown


def test_cleaning_keeps_results_and_drops_what_differs_from_run_to_run(tmp_path):
    cell = nbformat.v4.new_code_cell(
        "1", id="a", metadata={"papermill": {"duration": 3}, "execution": {}, "tags": ["x"]}
    )
    cell.outputs = [nbformat.v4.new_output("stream", name=name, text=name) for name in ("stdout", "stderr")]
    book = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_markdown_cell("text", id="b")])
    book.metadata["papermill"] = {"start_time": "now"}
    nbformat.write(book, tmp_path / "out.ipynb")
    nb.clean(tmp_path / "out.ipynb")
    cleaned = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert cleaned.cells[0].metadata == {"tags": ["x"]}
    assert [output.name for output in cleaned.cells[0].outputs] == ["stdout"]
    assert dict(cleaned.metadata) == {}
