import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from alignet import devices
from alignet.models import features
from alignet.student import __main__ as student
from alignet.student import jobs


def test_each_works_on_one_thread_in_order_and_leaves_the_threads_as_they_were():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = list(devices.each(lambda item: (item, torch.get_num_threads()), range(7)))
        assert found == [(item, 1) for item in range(7)]
        assert torch.get_num_threads() == 2
        later = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert later == [2]
        with devices.threads(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_failure_in_each_is_the_callers():
    with pytest.raises(ZeroDivisionError):
        list(devices.each(lambda item: 1 / item, [1, 0, 2]))


STUDENT = ["--name", "vit", "--target", "alignet", "--params-file", "params/smoke.yaml", "--out-dir", "a b"]
BACKBONE = ["--backbone", "lite1_layers", "--params-file", "params/smoke.yaml", "--out-dir", "a b"]


@pytest.mark.parametrize(
    ("program", "work", "arguments"), [(student, "train", [*STUDENT, "--lr", "1e-7"]), (features, "extract", BACKBONE)]
)
def test_launch_hands_a_job_to_several_processes_of_a_module_as_it_is(monkeypatch, program, work, arguments):
    taken, commands = [], []
    monkeypatch.setattr(program, work, taken.append)

    def run(command):
        commands.append(command)
        program.main(command[-2:])
        return subprocess.CompletedProcess(command, 0)

    program.main(arguments)
    monkeypatch.setattr(devices.subprocess, "run", run)
    devices.launch(program.__name__, taken[0], 3)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    assert commands == [[sys.executable, *torchrun, "-m", program.__name__, "--job", commands[0][-1]]]
    assert taken[1] == taken[0]
    assert repr(taken[1]) == repr(taken[0])  # 1 and 1.0 are equal
    assert not Path(commands[0][-1]).exists()


def test_launch_fails_where_one_of_its_processes_does():
    with pytest.raises(RuntimeError, match=r"^alignet\.student: one of its 1 processes failed"):
        devices.launch("alignet.student", {"name": "vit", "flavour": "sweet"}, 1)


def test_a_job_with_a_field_that_its_record_lacks_is_refused(tmp_path):
    (tmp_path / "job.json").write_text('{"name": "vit", "flavour": "sweet"}')
    with pytest.raises(ValueError, match="flavour"):
        devices.handed_over(str(tmp_path / "job.json"), jobs.Job)


def test_a_student_is_named_with_its_target(capsys):
    with pytest.raises(SystemExit):
        student.main(["--name", "vit"])
    assert "give --target beside --name" in capsys.readouterr().err
