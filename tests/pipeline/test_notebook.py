import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from inputs import PATIENCE

from alignet.pipeline import kernels, notebook

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("nb")]
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")
PARAMETERS = 'name = "nobody"\nsteps = 1\nlr = None'
PRINTS = "import sys\nprint('progress', file=sys.stderr)\nprint(name, steps + 1, lr, type(lr).__name__)"


def written(path, *sources):
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
    arguments = [written(folder / "in.ipynb", PARAMETERS, PRINTS), str(path)]
    assert notebook.main([*arguments, "-p", "name", "vit", "-p", "steps", "41", "-p", "lr", "0.0001"]) == 0
    return path


def test_parameters_are_injected_with_their_types(executed):
    assert streams(executed)["stdout"] == "vit 42 0.0001 float\n"


def test_the_executed_copy_holds_no_record_of_the_run_and_no_progress(executed):
    copy = nbformat.read(executed, as_version=4)
    assert "papermill" not in copy.metadata
    assert all(not {"papermill", "execution"} & set(cell.metadata) for cell in copy.cells)
    assert "stderr" not in streams(executed)
    nbformat.validate(copy)


def test_two_runs_give_the_same_bytes(tmp_path):
    source, made = written(tmp_path / "in.ipynb", PARAMETERS, PRINTS), [tmp_path / "a.ipynb", tmp_path / "b.ipynb"]
    for path in made:
        assert notebook.main([source, str(path), "-p", "name", "vit"]) == 0
    assert made[0].read_bytes() == made[1].read_bytes()


def test_a_failing_cell_ends_with_code_one_and_its_traceback(tmp_path, capfd):
    source = written(tmp_path / "in.ipynb", PARAMETERS, "half = 1 / (steps - 1)")
    assert notebook.main([source, str(tmp_path / "out.ipynb")]) == 1
    shown = capfd.readouterr().err
    assert "ZeroDivisionError" in shown
    assert "half = 1 / (steps - 1)" in shown


def runner(source, executed, **environment):
    """The runner of a notebook as a process."""
    former = {name: value for name, value in os.environ.items() if name not in ("DVC_STAGE", "OMP_WAIT_POLICY")}
    return subprocess.Popen(
        [sys.executable, "-m", "alignet.pipeline.notebook", source, str(executed)],
        env=former | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def server():
    """A process that forks kernels, and has imported."""
    server = kernels.Server()
    server.start()
    while not server.address.exists() and server.process.poll() is None:
        time.sleep(0.1)
    yield server
    server.close()


@pytest.fixture(params=["started", pytest.param("forked", marks=only_linux)])
def kernel(request):
    """The environment in which a runner starts a kernel, or takes one from a server."""
    if request.param == "started":
        return {}
    return {kernels.ADDRESS: str(request.getfixturevalue("server").address)}


def test_a_notebook_shows_what_its_cells_print_and_their_results_and_nothing_else(tmp_path, kernel):
    bar = r"for done in ('1/2', '2/2'):" + "\n    " + r"sys.stderr.write(f'\r{done}')"
    table = "import pandas as pd\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\npd.DataFrame({'a': [1]})"
    source = written(tmp_path / "in.ipynb", PARAMETERS, PRINTS, f"{bar};", table, "object()")
    stdout, stderr = runner(source, tmp_path / "out.ipynb", **kernel).communicate()
    assert stdout == "nobody 2 None NoneType\n   a\n0  1\n"
    assert stderr.split() == ["progress", "1/2", "2/2"]


def test_a_kernel_has_the_environment_that_importing_alignet_sets(tmp_path, kernel):
    shows = "import os\nprint(os.environ.get('OMP_WAIT_POLICY'))"
    source = written(tmp_path / "in.ipynb", PARAMETERS, shows)
    stdout, _ = runner(source, tmp_path / "out.ipynb", **kernel).communicate()
    without = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    imported = [sys.executable, "-c", f"import alignet\n{shows}"]
    assert stdout == subprocess.check_output(imported, env=without, encoding="utf-8")


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, ["", "stopped in stage a: 'dvc repro' resumes from there"]),
        (signal.SIGTERM, 143, []),
    ],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_stopped_runner_says_one_line_at_most_and_leaves_nothing_alive(tmp_path, kernel, number, code, said):
    process, started = asleep(tmp_path, kernel)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert stderr.splitlines() == said
    assert psutil.wait_procs(started, timeout=PATIENCE)[1] == []


def test_an_experiment_that_does_not_end_says_how_to_go_back(tmp_path, monkeypatch, capfd):
    process, _ = asleep(tmp_path, {}, DVC_EXP_BASELINE_REV="1234")
    process.send_signal(signal.SIGINT)
    said = "params.yaml still is the experiment's: 'git checkout HEAD -- params.yaml && dvc checkout' restores it"
    assert f"stopped in stage a: {said}" in process.communicate(timeout=PATIENCE)[1]
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "1234")
    assert notebook.main([written(tmp_path / "in.ipynb", PARAMETERS, "1 / 0"), str(tmp_path / "out.ipynb")]) == 1
    assert capfd.readouterr().err.splitlines()[-1].startswith(said)


def test_the_kernel_of_a_killed_runner_ends_by_itself(tmp_path, kernel):
    process, started = asleep(tmp_path, kernel)
    process.kill()
    assert psutil.wait_procs(started[:1], timeout=PATIENCE)[1] == []
    for left in psutil.wait_procs(started[1:], timeout=0)[1]:
        left.kill()
    process.communicate(timeout=PATIENCE)


def asleep(tmp_path, kernel, **environment):
    """A runner whose notebook sleeps; its kernel and what that has started."""
    long = 2 * PATIENCE
    sleeps = (
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep({long})'])\nprint(os.getpid(), flush=True)"
    )
    both = f"import os, subprocess, sys, time\n{sleeps}\ntime.sleep({long})"
    source = written(tmp_path / "in.ipynb", PARAMETERS, both)
    process = runner(source, tmp_path / "out.ipynb", DVC_STAGE="a", **kernel, **environment)
    started = psutil.Process(int(process.stdout.readline()))
    assert (started.ppid() == process.pid) == (not kernel)
    return process, [started, *started.children()]


@only_linux
def test_a_forked_kernel_shows_tables_and_figures_as_another_one_does_and_has_imported_nothing_of_ours(
    tmp_path, server, monkeypatch
):
    table = "import pandas as pd\npd.DataFrame([range(30)])"
    figure = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    modules = "import sys\nprint('torch' in sys.modules, [name for name in sys.modules if name.startswith('alignet.')])"
    found = {}
    for place in ("/nowhere", str(server.address)):
        monkeypatch.setenv(kernels.ADDRESS, place)
        source = written(tmp_path / "in.ipynb", PARAMETERS, table, figure, modules)
        assert notebook.main([source, str(tmp_path / "out.ipynb")]) == 0
        found[place] = [cell.get("outputs") for cell in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells]
    started, forked = found.values()
    assert started[:-1] == forked[:-1]
    assert "image/png" in forked[-2][-1].data
    assert (started[-1][0].text, forked[-1][0].text) == (
        "False []\n",
        "True ['alignet.pipeline']\n",  # the folder that the server's own module lies in
    )


@pytest.mark.parametrize("signalled", ["terminate", "kill"])
def test_a_forked_kernel_that_has_ended_before_it_is_signalled_is_no_fault(signalled):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    provisioner = notebook.Provisioner(kernel_id="gone")
    with socket.socket() as connection:
        provisioner.process = kernels.Forked(child.pid, connection)
        provisioner.pid = provisioner.pgid = child.pid
        child.communicate()
        asyncio.run(getattr(provisioner, signalled)())
        getattr(provisioner.process, signalled)()
        assert provisioner.process.poll() == 0


@only_linux
def test_a_kernel_that_has_ended_by_itself_is_shut_down_in_silence(tmp_path, server, monkeypatch, caplog):
    monkeypatch.setenv(kernels.ADDRESS, str(server.address))
    finish = notebook.StageKernel.finish_shutdown

    async def late(self, restart=False):
        process = self.provisioner.process
        os.kill(process.pid, signal.SIGKILL)
        assert psutil.wait_procs([psutil.Process(process.pid)], timeout=PATIENCE)[1] == []
        monkeypatch.setattr(process, "poll", iter([None] * 3 + [0] * 99).__next__)  # it looked alive a moment ago
        await self._async_send_kernel_sigterm()
        await self._async_kill_kernel()
        await finish(self, restart=restart)

    monkeypatch.setattr(notebook.StageKernel, "finish_shutdown", late)
    assert notebook.main([written(tmp_path / "in.ipynb", PARAMETERS, PRINTS), str(tmp_path / "out.ipynb")]) == 0
    assert streams(tmp_path / "out.ipynb")["stdout"].startswith("nobody")
    assert caplog.text == ""


@only_linux
def test_a_kernel_starts_the_usual_way_where_a_server_has_ended(tmp_path):
    ended = kernels.Server()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(ended.address))
    source, executed = written(tmp_path / "in.ipynb", PARAMETERS, PRINTS), tmp_path / "out.ipynb"
    assert runner(source, executed, **{kernels.ADDRESS: str(ended.address)}).communicate()[0].startswith("nobody")
    ended.close()


@only_linux
def test_a_server_ends_with_whoever_has_started_it():
    starts = "import time\nfrom alignet.pipeline import kernels\nserver = kernels.Server()\nserver.start()"
    command = [sys.executable, "-c", f"{starts}\nprint(server.process.pid, flush=True)\ntime.sleep({2 * PATIENCE})"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        process = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
    assert psutil.wait_procs([process], timeout=PATIENCE)[1] == []


@only_linux
def test_what_runs_inside_a_block_is_served_and_nothing_is_left_after_it():
    with pytest.raises(ZeroDivisionError), kernels.served():
        address = os.environ[kernels.ADDRESS]
        (server,) = [child for child in psutil.Process().children() if address in child.cmdline()]
        raise ZeroDivisionError
    assert kernels.ADDRESS not in os.environ
    assert not os.path.exists(os.path.dirname(address))
    assert psutil.wait_procs([server], timeout=PATIENCE)[1] == []


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (
            "half = 1 / (steps - 1)",
            ["Cell In[2], line 1: half = 1 / (steps - 1)", "ZeroDivisionError: division by zero"],
        ),
        ("half = (", ["half = (", "Error: incomplete input"]),
        (
            "import json\njson.loads('{')",
            ["Cell In[2], line 2: json.loads('{')", "JSONDecodeError: Expecting property"],
        ),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", ["its kernel was killed"]),
    ],
)
def test_an_error_is_a_few_lines_that_end_with_the_notebook_and_where_to_look(tmp_path, capfd, source, shown):
    path = written(tmp_path / "in.ipynb", PARAMETERS, source)
    assert notebook.main([path, str(tmp_path / "out.ipynb")]) == 1
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
    notebook.clean(tmp_path / "out.ipynb")
    cleaned = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert cleaned.cells[0].metadata == {"tags": ["x"]}
    assert [output.name for output in cleaned.cells[0].outputs] == ["stdout"]
    assert dict(cleaned.metadata) == {}


def test_code_that_a_cell_shows_is_not_printed_and_its_findings_are(capsys):
    shown = [{"text/markdown": "```python\nx = 1\n```", "text/plain": "<Markdown>"}, {"text/markdown": "**Found** 1"}]
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data) for data in shown])
    notebook.show_results(cell, 0, {})
    assert capsys.readouterr().out == "**Found** 1\n"
