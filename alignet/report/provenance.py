"""What was run where: commit, versions, seeds, processor."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from alignet import config

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "dvc", "papermill")
SEEDS = ("emoji", "human_uncertainty", "teacher")  # sections of the params with a seed of their own
CODE = ("alignet", "notebooks", "params", "params.yaml", "dvc.yaml")  # what decides a run's results
UNITS = {"avx512f": "AVX-512", "avx512_bf16": "bf16", "amx_bf16": "AMX", "avx2": "AVX2"}  # flags of /proc/cpuinfo


def facts() -> dict[str, str]:
    """What stands in the report and beside a reference run; nothing that differs between two runs of the same code."""
    return {
        "alignet": f"{version('alignet')}, commit {commit()}",
        "world": str(config.value("world.source")),
        "seeds": ", ".join(f"{name} {config.value(f'{name}.seed')}" for name in SEEDS),
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "processor": processor(),
    }


def commit() -> str:
    """The last commit that changed CODE and its date, '-dirty' where CODE has changes that are not committed."""
    if config.CHECKOUT is None:
        return "unknown (installed, not a checkout)"
    git = ["git", "-C", str(config.CHECKOUT)]
    try:
        last = subprocess.run(
            [*git, "log", "-1", "--abbrev=10", "--format=%h (%cs)", "--", *CODE],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *CODE], capture_output=True).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git checkout)"
    return f"{last}{'-dirty' * bool(changed)}"


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
