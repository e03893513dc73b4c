"""The rows of bench.csv: the comparisons of a file of bench/tasks/, measured in a process of its own."""

import json
import platform
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import torch

from alignet import devices
from alignet.config import home
from bench.measure import measured

NAMES = sorted(path.stem for path in (Path(__file__).parent / "tasks").glob("[a-z]*.py"))


def rows_of(name: str, scale: float) -> tuple[list[dict], list[str]]:
    """The rows of a file of bench/tasks/, and a line for each comparison that failed."""
    rows, failed, task = [], [], name
    try:
        for comparison in import_module(f"bench.tasks.{name}").comparisons(scale):
            task = f"{name}, {comparison.task}, {comparison.other.label}"
            try:
                rows.append({"file": name} | measured(comparison) | {"processor": processor()})
            except Exception as error:
                failed.append(f"{task}: {said(error)}")
    except Exception as error:
        failed.append(f"{name}: after {task}: {said(error)}" if task != name else f"{name}: {said(error)}")
    return rows, failed


def said(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def processor() -> str:
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
    units = "with" if devices.has_units("bfloat16", "cpu") else "without"
    return f"{name}, {torch.get_num_threads()} threads, {units} bf16 units"


def alone(name: str, scale: float) -> tuple[list[dict], list[str]]:
    """`rows_of` in a process of its own, so that memory and threads of one task do not count for the next."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "bench.rows", name, str(scale), str(out)]
        done = subprocess.run(command, cwd=home(), capture_output=True, text=True, errors="replace")
        if done.returncode == 0:
            return tuple(json.loads(out.read_text()))
    last = (done.stderr.splitlines() or ["no word"])[-1]
    return [], [f"{name}: its process ended with {done.returncode}: {last}"[:300]]


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(json.dumps(rows_of(sys.argv[1], float(sys.argv[2]))))
