import os
import re
import signal
import subprocess
import sys
from collections import Counter

import nbformat
import psutil
import pytest
from inputs import PATIENCE
from projects import STAGES, command, project, run

from alignet.config import home
from alignet.pipeline import repro

ROOT = home()

pytestmark = pytest.mark.slow

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return project(tmp_path_factory.mktemp("repro") / "ä b", STAGES)


@pytest.fixture(scope="module")
def first(folder):
    return run(folder)


def test_each_stage_has_its_number_before_its_output_and_its_time_at_the_end(first):
    code, stdout, _ = first
    times = [line.split() for line in stdout.splitlines()[-4:]]
    assert code == 0
    assert [line for line in stdout.splitlines()[:-4] if line] == ["[1/3] a", "hello a", "[2/3] b@x", "[3/3] b@y"]
    assert [name for name, *_ in times] == ["a", "b@x", "b@y", "total"]
    assert all(unit == "s" and float(seconds) >= 0 for _, seconds, unit in times)


def test_what_a_stage_writes_passes_through_unchanged(first):
    assert first[2] == "\r1/2\r2/2" * 2


def test_without_a_change_one_line_is_all(folder, first):
    code, stdout, stderr = run(folder)
    assert code == 0
    assert re.fullmatch(r"everything is up to date \(\d+\.\d s\)\n", stdout)
    assert stderr == ""


def test_a_stage_that_always_looks_for_changes_is_none(tmp_path):
    looks = {"cmd": "cat rows > source.txt", "outs": ["source.txt"], "always_changed": True}
    counts = {"cmd": "wc -l source.txt > lines.txt", "deps": ["source.txt"], "outs": ["lines.txt"]}
    folder = project(tmp_path / "project", {"source": looks, "world": counts})
    (folder / "rows").write_text("1\n")
    assert run(folder)[1].splitlines()[-1].split()[0] == "total"
    assert run(folder)[1].splitlines()[-1].startswith("everything is up to date")
    (folder / "rows").write_text("1\n2\n")
    assert "[2/2] world" in run(folder)[1].splitlines()


def test_a_file_that_params_name_reruns_the_stage_that_depends_on_its_digest_alone(tmp_path):
    """As stages depend on single files of data/given, which the stage `source` writes at every run."""
    digests = {"cmd": "mkdir given && cp x given && cp y given", "outs": ["given"], "always_changed": True}
    reads = {"matrix": {"n": "${names}"}, "cmd": "cp ${item.n} o_${item.n}", "deps": ["given/${item.n}"]}
    folder = project(tmp_path / "project", {"source": digests, "features": reads | {"outs": ["o_${item.n}"]}})
    for name in "xy":
        (folder / name).write_text("1\n")
    assert run(folder)[0] == 0
    (folder / "y").write_text("2\n")
    said = run(folder)[1].splitlines()
    assert "[3/3] features@y" in said
    assert not [line for line in said if line.endswith(" features@x")]


def test_unchanged_and_restored_stages_are_counted_and_take_a_line_for_all_and_one_each(folder, first):
    (folder / "b_y.txt").unlink()
    _, stdout, _ = run(folder)
    assert stdout.splitlines()[:2] == ["[2/3] 2 unchanged", "[3/3] b@y, restored from the cache"]
    assert stdout.splitlines()[-1].split()[0] == "total"
    assert len(stdout.splitlines()) == 3


def test_a_failing_stage_ends_with_its_name_and_exit_code_one(tmp_path):
    stages = {"good": {"cmd": "echo fine"}, "bad": {"cmd": "echo broken >&2 && exit 3", "deps": ["params.yaml"]}}
    code, stdout, stderr = run(project(tmp_path / "project", stages), "bad")
    lines = stderr.splitlines()
    assert code == 1
    assert stdout == "[1/2] bad\n"
    assert lines[0] == "broken"
    assert lines[1].startswith("ERROR: failed to reproduce 'bad'")
    assert lines[2:] == ["stage bad failed, as said above: 'make repro' resumes once that is fixed"]


def test_an_archive_without_git_runs_and_goes_on_running_once_there_is_a_git(tmp_path):
    folder = project(tmp_path / "project", {"a": STAGES["a"]}, git=False)
    assert run(folder)[0] == 0
    assert (folder / ".dvc" / "config.local").read_text() == repro.NO_SCM
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    assert run(folder)[1].startswith("everything is up to date")
    assert not (folder / ".dvc" / "config.local").exists()


def test_a_local_configuration_of_someone_else_is_left_alone(tmp_path):
    folder = project(tmp_path / "project", {}, git=False)
    local = folder / ".dvc" / "config.local"
    local.write_text("[cache]\n    dir = elsewhere\n")
    repro.without_git(folder)
    assert local.read_text() == "[cache]\n    dir = elsewhere\n"


def sleeper(path):
    """A notebook that starts a process of its own session and sleeps, unless there is a file 'awake'."""
    long = 2 * PATIENCE
    away = f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep({long})'], start_new_session=True)"
    sleeps = f"    {away}\n    print('asleep')\n    time.sleep({long})"
    source = f"import os, subprocess, sys, time\nif not os.path.exists('awake'):\n{sleeps}"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cell = nbformat.v4.new_code_cell(source, id="a")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), path)


@pytest.mark.parametrize(
    ("number", "first"),
    [
        (signal.SIGINT, ""),
        (signal.SIGTERM, ""),
        pytest.param(signal.SIGINT, "until [ -e $ALIGNET_KERNELS ]; do sleep 0.1; done && ", marks=only_linux),
    ],
    ids=["Ctrl-C", "SIGTERM", "Ctrl-C, forked kernel"],
)
def test_a_stopped_run_leaves_nothing_alive_and_the_next_one_goes_on(tmp_path, number, first):
    stages = {
        "notebook": {"cmd": f"{first}python -m alignet.pipeline.notebook in.ipynb out.ipynb", "deps": ["in.ipynb"]}
    }
    folder = project(tmp_path / "project", stages)
    sleeper(folder / "in.ipynb")
    process = command(folder)
    assert process.stdout.readline() == b"[1/1] notebook\n"
    assert process.stdout.readline() == b"asleep\n"
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 4  # dvc, the runner, the kernel and what that has started
    process.send_signal(number)
    _, stderr = process.communicate(timeout=PATIENCE)  # two seconds where nothing else runs
    assert psutil.wait_procs(started, timeout=PATIENCE)[1] == []
    assert process.returncode == 130
    assert stderr == b"\nstopped in stage notebook: 'make repro' resumes from there\n"
    (folder / "awake").touch()
    code, stdout, stderr = run(folder)
    assert (code, stderr) == (0, "")
    assert stdout.startswith("[1/1] notebook\n")


def test_plain_dvc_repro_works_beside_it(folder, first):
    environment = os.environ | {"PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])}
    done = subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=folder, env=environment, capture_output=True)
    assert b"up to date" in done.stdout


def test_the_pipelines_stages_are_counted_as_dvc_expands_them(tmp_path):
    folder = project(tmp_path / "project", {})
    for name in ("dvc.yaml", "params.yaml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    listed = [sys.executable, "-m", "dvc", "stage", "list", "--name-only"]
    done = subprocess.run(listed, cwd=folder, capture_output=True, check=True)
    assert repro.stages(folder) == len(done.stdout.splitlines()) > 10


@pytest.mark.parametrize(
    ("stage", "count"),
    [
        ({"cmd": "x"}, 1),
        ({"foreach": ["p", "q", "r"], "do": {}}, 3),
        ({"foreach": {"p": 1, "q": 2}, "do": {}}, 2),
        ({"foreach": "${names}", "do": {}}, 2),
        ({"matrix": {"n": "${names}", "m": [1, 2, 3]}}, 6),
        ({"matrix": {"n": "${nothing}"}}, None),
    ],
)
def test_an_entry_of_dvc_yaml_stands_for_as_many_stages_as_it_has_values(tmp_path, stage, count):
    assert repro.stages(project(tmp_path / "project", {"s": stage})) == count


def told(*pieces):
    return list(repro.events(("out", piece) for piece in pieces))


def test_dvcs_lines_are_events_however_they_are_cut():
    lines = b"Stage 'a' didn't change, skipping\nRunning stage 'b@x':\n> python x\nUpdating lock file 'dvc.lock'\n"
    expected = [("unchanged", b"a"), ("run", b"b@x"), ("saved", b"Updating lock file 'dvc.lock'")]
    assert told(lines) == expected
    assert told(*(lines[i : i + 1] for i in range(len(lines)))) == expected
    assert told(b"no newline" + lines)[0] == ("out", b"no newline")
    assert told(b"no newline" + lines)[1:] == expected


def test_a_stages_output_is_not_held_back_nor_taken_for_dvcs():
    assert told(b"\r 1/9", b"\r 2/9", b"\n> quoted\n") == [
        *(("out", b"\r 1/9"), ("out", b"\r 2/9")),
        *(("out", b"\n"), ("out", b"> quoted\n")),
    ]
    assert told(b"Stage") == [("out", b"Stage")]


def test_a_line_starts_where_the_output_before_it_has_ended(capfdbinary):
    spans = {}
    counts = repro.follow(iter([("run", b"a"), ("out", b"no newline"), ("run", b"b"), ("err", b"\r5/9")]), 12, spans)
    assert counts == Counter(run=2)
    assert list(spans) == ["a", "b"]
    assert repro.unfinished(spans) == "b"
    assert capfdbinary.readouterr().out == b"[ 1/12] a\nno newline\n[ 2/12] b\n\n"


@pytest.mark.parametrize(("content", "kept"), [('{"a": {}}', True), ('{"a"', False), ("", False)])
def test_a_broken_table_of_locks_does_not_stop_the_next_run(tmp_path, content, kept):
    table = tmp_path / ".dvc" / "tmp" / "rwlock"
    table.parent.mkdir(parents=True)
    table.write_text(content)
    repro.mend_locks(tmp_path)
    assert table.exists() is kept


def test_data_that_is_linked_to_another_disk_is_refused_before_a_stage_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    monkeypatch.chdir(tmp_path)
    assert repro.main([]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"data: is a link to {tmp_path / 'disk'}; dvc takes no outputs outside the project")
    assert not list((tmp_path / "disk").iterdir())


LOCKED = "schema: '2.0'\nstages:\n  a:\n    cmd: x\n    deps:\n    - path: d\n      md5: 1\n  b:\n    cmd: y\n"


@pytest.mark.parametrize("length", [0, 9, 24, 30, 45, len(LOCKED) - 10])
def test_a_lock_file_that_a_kill_has_cut_off_is_taken_back_to_the_last_whole_one(tmp_path, length, capsys):
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    lock = tmp_path / "dvc.lock"
    lock.write_text(LOCKED)
    repro.keep_lock(tmp_path)
    lock.write_text(LOCKED[:length])
    repro.keep_lock(tmp_path)  # a broken one is not kept
    repro.mend_lock(tmp_path)
    assert lock.read_text() == LOCKED
    assert "was cut off" in capsys.readouterr().out
    repro.mend_lock(tmp_path)
    assert capsys.readouterr().out == ""


def test_a_cut_off_lock_file_without_a_copy_goes(tmp_path):
    (tmp_path / "dvc.lock").write_text(LOCKED[:30])
    repro.mend_lock(tmp_path)
    assert not (tmp_path / "dvc.lock").exists()
