import os
import signal
import subprocess
import sys

import nbformat
import psutil
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


def runner(source, executed, **environment):
    """The runner of a notebook as a process."""
    former = {name: value for name, value in os.environ.items() if name not in ("DVC_STAGE", "OMP_WAIT_POLICY")}
    return subprocess.Popen(
        [sys.executable, "-m", "alignet.nb", source, str(executed)],
        env=former | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def test_a_notebook_shows_what_its_cells_print_and_their_results_and_nothing_else(tmp_path):
    bar = r"for done in ('1/2', '2/2'):" + "\n    " + r"sys.stderr.write(f'\r{done}')"
    table = "import pandas as pd\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\npd.DataFrame({'a': [1]})"
    source = notebook(tmp_path / "in.ipynb", PARAMETERS, PRINTS, f"{bar};", table, "object()")
    stdout, stderr = runner(source, tmp_path / "out.ipynb").communicate()
    assert stdout == "nobody 2 None NoneType\n   a\n0  1\n"
    assert stderr.split() == ["progress", "1/2", "2/2"]


def test_a_kernel_has_the_environment_that_importing_alignet_sets(tmp_path):
    shows = "import os\nprint(os.environ.get('OMP_WAIT_POLICY'))"
    stdout, _ = runner(notebook(tmp_path / "in.ipynb", PARAMETERS, shows), tmp_path / "out.ipynb").communicate()
    without = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    imported = [sys.executable, "-c", f"import alignet\n{shows}"]
    assert stdout == subprocess.check_output(imported, env=without, encoding="utf-8")


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, ["", "stopped in stage a: 'dvc repro' goes on from there"]),
        (signal.SIGTERM, 143, []),
    ],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_stopped_runner_says_one_line_at_most_and_leaves_nothing_alive(tmp_path, number, code, said):
    process, started = asleep(tmp_path)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == code
    assert stderr.splitlines() == said
    assert psutil.wait_procs(started, timeout=10)[1] == []


def test_the_kernel_of_a_killed_runner_ends_by_itself(tmp_path):
    process, started = asleep(tmp_path)
    process.kill()
    assert psutil.wait_procs(started[:1], timeout=10)[1] == []
    for left in psutil.wait_procs(started[1:], timeout=0)[1]:
        left.kill()
    process.communicate(timeout=10)


def asleep(tmp_path):
    """A runner whose notebook sleeps; its kernel and what that has started."""
    sleeps = "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    source = notebook(tmp_path / "in.ipynb", PARAMETERS, f"{sleeps}\nprint('asleep')\ntime.sleep(60)")
    process = runner(source, tmp_path / "out.ipynb", DVC_STAGE="a")
    assert process.stdout.readline() == "asleep\n"
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) == 2
    return process, started


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (
            "half = 1 / (steps - 1)",
            ["Cell In[2], line 1: half = 1 / (steps - 1)", "ZeroDivisionError: division by zero"],
        ),
        ("half = (", ["half = (", "SyntaxError: incomplete input"]),
        (
            "import json\njson.loads('{')",
            ["Cell In[2], line 2: json.loads('{')", "JSONDecodeError: Expecting property"],
        ),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", ["its kernel was killed"]),
    ],
)
def test_an_error_is_a_few_lines_that_end_with_the_notebook_and_where_to_look(tmp_path, capfd, source, shown):
    path = notebook(tmp_path / "in.ipynb", PARAMETERS, source)
    assert nb.main([path, str(tmp_path / "out.ipynb")]) == 1
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) < 10
    assert all(any(text in line for line in lines) for text in shown), lines
    assert path in "".join(lines[-2:])


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
