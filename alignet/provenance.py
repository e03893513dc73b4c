"""What was run where: commit, versions, seeds, processor."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from alignet import config

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "dvc", "papermill")
SEEDS = ("emoji", "human_uncertainty", "teacher")  # sections of the params with a seed of their own
UNITS = {"avx512f": "AVX-512", "avx512_bf16": "bf16", "amx_bf16": "AMX", "avx2": "AVX2"}  # flags of /proc/cpuinfo


def facts() -> dict[str, str]:
    """What stands in the report, in exports and beside a reference run."""
    return {
        "alignet": f"{version('alignet')}, commit {commit()}",
        "written": pd.Timestamp.now().strftime("%Y-%m-%d %H:%M"),
        "world": str(config.value("world.source")),
        "seeds": ", ".join(f"{name} {config.value(f'{name}.seed')}" for name in SEEDS),
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "processor": processor(),
    }


def commit() -> str:
    """The commit of the working tree, '-dirty' where it has changes."""
    command = ["git", "-C", str(config.ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git checkout)"


def processor() -> str:
    """Number and name of the cores, and the units that decide how sums are ordered."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    if not names:
        return platform.processor() or platform.machine()
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    units = [name for flag, name in UNITS.items() if flag in flags]
    return f"{len(names)} x {names[0]} ({', '.join(units)})"
