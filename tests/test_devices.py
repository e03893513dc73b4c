import dataclasses
import importlib
import subprocess
import sys
import threading

import pytest
import torch

from alignet import devices
from alignet.models import features
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


def test_launch_starts_a_module_in_several_processes_with_its_options_as_flags(monkeypatch):
    commands = []

    def run(command):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(devices.subprocess, "run", run)
    devices.launch("alignet.student", {"name": "vit", "out_dir": "a b", "lr": None, "steps": 7}, 3)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    flags = ["--name=vit", "--out-dir=a b", "--steps=7"]
    assert commands == [[sys.executable, *torchrun, "-m", "alignet.student", *flags]]


def test_launch_fails_where_one_of_its_processes_does():
    with pytest.raises(RuntimeError, match=r"^alignet\.student: one of its 1 processes failed"):
        devices.launch("alignet.student", {"name": "vit", "flavour": "sweet"}, 1)


@pytest.mark.parametrize(
    ("module", "record"),
    [("alignet.student.__main__", jobs.Job), ("alignet.models.features", features.Job)],
)
def test_a_started_program_takes_every_field_of_its_job_as_a_flag(module, record, monkeypatch):
    program, taken = importlib.import_module(module), []
    monkeypatch.setattr(program, "train" if "student" in module else "extract", taken.append)
    values = {field.name: 3 if field.name in ("lr", "steps") else field.name for field in dataclasses.fields(record)}
    program.main([f"--{name.replace('_', '-')}={value}" for name, value in values.items()])
    assert taken == [record(**values)]
