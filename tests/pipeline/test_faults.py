"""What is broken on purpose, where no other test file has it: docs/faults.md lists all of it.

Files of a disk that is full or read-only need a mount, and so root; where the tests may not mount, permissions stand
for the second, and the first is skipped.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import nbformat
import numpy as np
import psutil
import pytest
import torch
from inputs import PATIENCE
from PIL import Image
from projects import STAGES, command, project, run

from alignet import devices
from alignet.models import features
from alignet.student.batches import Batch, Feed
from alignet.worlds.format import pictures
from alignet.worlds.format.tables import WorldError


def mounted(*arguments):
    return shutil.which("mount") and not subprocess.run(["mount", *map(str, arguments)], capture_output=True).returncode


@pytest.fixture
def small_disk(tmp_path):
    """A file system of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=512k", "tmpfs", folder):
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(folder):
    bound = mounted("--bind", folder, folder)
    if bound:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
    else:
        folder.chmod(0o500)
    try:
        yield
    finally:
        if bound:
            subprocess.run(["umount", str(folder)], check=True)
        else:
            folder.chmod(0o700)


def notebook(path, *sources):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(source, id=f"c{number}") for number, source in enumerate(sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return str(path)


def executed(path, out, **options):
    words = [sys.executable, "-m", "alignet.pipeline.notebook", path, str(out)]
    return subprocess.run(words, capture_output=True, text=True, **options)


def photographs(folder, n, size=16):
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(n)]
    for number, path in enumerate(paths):
        Image.new("RGB", (size, size), (number, 0, 0)).save(path)
    return paths


# --- the folder of a run ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_is_one_line_and_the_first_goes_on(tmp_path):
    folder = project(tmp_path / "p", {"a": {"cmd": "until [ -e go ]; do sleep 0.1; done; echo 1 > a", "outs": ["a"]}})
    first = command(folder)
    assert first.stdout.readline() == b"[1/1] a\n"
    code, stdout, stderr = run(folder)
    assert (code, stdout) == (1, "")
    assert stderr == "another 'make repro' is running in this folder: wait until it has ended, or stop it\n"
    (folder / "go").touch()
    first.communicate(timeout=PATIENCE)
    assert first.returncode == 0
    assert run(folder)[1].startswith("everything is up to date")


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_to_is_one_line_before_a_stage_removes_anything(tmp_path):
    stage = {"cmd": "echo 1 > reports/a", "outs": ["reports/a"]}
    folder = project(tmp_path / "p", {"a": stage})
    (folder / "reports").mkdir()
    assert run(folder)[0] == 0
    (folder / "dvc.yaml").write_text((folder / "dvc.yaml").read_text().replace("echo 1", "echo 2"))
    with read_only(folder / "reports"):
        code, stdout, stderr = run(folder)
        assert (code, stdout) == (1, "")
        assert stderr == "reports: cannot be written to: change its permissions, or its mount\n"
        assert (folder / "reports" / "a").read_text() == "1\n"
    assert run(folder)[0] == 0
    assert (folder / "reports" / "a").read_text() == "2\n"


@pytest.mark.slow
def test_a_disk_that_is_full_is_one_line_and_the_next_run_goes_on(small_disk):
    folder = project(small_disk / "p", STAGES)
    assert run(folder, "a")[0] == 0
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
    code, _, stderr = run(folder)
    assert code == 1
    assert "No space left on device" in stderr
    assert "Traceback" not in stderr
    filler.unlink()
    assert run(folder)[0] == 0
    assert (folder / "b_y.txt").read_text() == "y\n"


# --- a stage ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("source", ["open('{0}/big', 'wb').write(bytes(10**6))", "print('x' * 10**6)"])
def test_a_full_disk_in_a_stage_is_one_line(small_disk, tmp_path, source):
    """A cell's own file, and the executed notebook, which holds what the cell prints."""
    path = notebook(tmp_path / "in.ipynb", source.format(small_disk))
    done = executed(path, small_disk / "out.ipynb")
    told = [line for line in done.stderr.splitlines() if line.startswith(path)]
    assert done.returncode == 1
    assert len(told) == 1
    assert "No space left on device" in told[0]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep this limit")
def test_memory_that_runs_out_is_one_line_that_says_how_much_was_asked_for(tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

    path = notebook(tmp_path / "in.ipynb", "import numpy as np", "np.ones((10**5, 10**5))")
    done = executed(path, tmp_path / "out.ipynb", preexec_fn=limited)
    assert done.returncode == 1
    assert f"{path}, cell 2: MemoryError: Unable to allocate 74.5 GiB" in done.stderr.replace(
        "_ArrayMemoryError", "MemoryError"
    )


# --- pictures --------------------------------------------------------------------------------------------------------


def test_a_process_that_decodes_and_is_killed_is_one_line(tmp_path, monkeypatch):
    paths, decode = photographs(tmp_path / "p", 40), pictures.decode

    def killed(path, size):
        if path == paths[30]:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(path, size)

    monkeypatch.setattr(pictures, "decode", killed)
    before = set(psutil.Process().children())
    said = r"^a process that decodes pictures was killed, .*: lower features\.workers"
    with pytest.raises(RuntimeError, match=said) as raised:
        list(pictures.batches(paths, 8, 4, 2))
    # The other process ends too while the error is kept, as a notebook keeps its last one.
    assert psutil.wait_procs(set(psutil.Process().children()) - before, timeout=PATIENCE)[1] == []
    assert raised.value is not None


def test_reading_that_is_left_off_leaves_no_process_behind(tmp_path):
    before = set(psutil.Process().children())
    read = iter(pictures.batches(photographs(tmp_path / "p", 40), 8, 4, 2))
    next(read)
    started = set(psutil.Process().children()) - before
    assert len(started) == 2
    read.close()
    assert psutil.wait_procs(started, timeout=PATIENCE)[1] == []


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), EOFError(), FileNotFoundError(2, "no socket")])
def test_a_batch_that_breaks_off_because_its_process_is_gone_is_the_same_line(tmp_path, monkeypatch, error):
    def broken(self):
        yield torch.zeros(1)
        raise error

    monkeypatch.setattr(torch.utils.data.DataLoader, "__iter__", broken)
    with pytest.raises(RuntimeError, match=r"^a process that decodes pictures was killed"):
        list(pictures.batches(photographs(tmp_path / "p", 2), 8, 1, 2))
    with pytest.raises(type(error)):  # without worker processes it is something else
        list(pictures.batches(photographs(tmp_path / "q", 2), 8, 1, 0))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_vanishes_in_training_stops_it_in_one_line_with_its_name(tmp_path, workers):
    paths = photographs(tmp_path / "p", 6)

    class Source:
        def at(self, step):
            return Batch(torch.tensor([step % 6]), torch.empty(0, 3), torch.empty(0, 3))

    feed = Feed(Source(), paths, 8, workers, cache_bytes=0)
    paths[5].unlink()
    seen = []
    with pytest.raises(WorldError) as raised:
        seen += [batch.rows for _, batch in feed.steps(0, 12)]
    assert str(raised.value).startswith(f"{paths[5]}: cannot be read as a picture")
    assert len(str(raised.value).splitlines()) == 1


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_features_that_are_no_numbers_are_named_before_they_are_saved_and_when_they_are_read(tmp_path):
    rows, names = torch.ones(3, 4), ["a", "b", "c"]
    features.save_features(tmp_path / "lite0", rows, names)
    rows[1, 2] = torch.inf
    said = r"^lite0: features of 1 of 3 pictures are not finite, the first is 'b': set features\.precision"
    with pytest.raises(ValueError, match=said):
        features.save_features(tmp_path / "lite0", rows, names)
    assert np.isfinite(np.load(tmp_path / "lite0" / "features.npy")).all()
    np.save(tmp_path / "lite0" / "features.npy", rows.numpy())
    with pytest.raises(ValueError, match=r"lite0: features of 'b' are not finite: run the features stage again"):
        features.load_features(tmp_path / "lite0", names, torch.arange(3))
    found = features.load_features(tmp_path / "lite0", names, torch.tensor([0, 2]))  # nobody needs b
    assert torch.equal(found[[0, 2]], torch.ones(2, 4))


# --- several processes -----------------------------------------------------------------------------------------------

ONE_KILLED = """
import os, signal, time
if os.environ["RANK"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
open("first", "w").write(str(os.getpid()))
time.sleep(int(os.environ["SLEEP"]))
open("slept", "w").close()
"""


@pytest.mark.slow
def test_a_process_of_torchrun_that_is_killed_ends_the_others_and_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "killed.py").write_text(ONE_KILLED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SLEEP", str(PATIENCE))
    with pytest.raises(RuntimeError, match=r"^killed: one of its 2 processes failed or was killed"):
        devices.launch("killed", {}, 2)
    assert not (tmp_path / "slept").exists()
    assert not (tmp_path / "first").exists() or not psutil.pid_exists(int((tmp_path / "first").read_text()))
