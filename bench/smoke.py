"""Clones of the committed project with the smoke profile, and what a run in one leaves, for the benches of runs."""

import hashlib
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]


def environment(folder: Path, **changes: str) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PYTHONPATH": str(folder), "PATH": path} | changes


def run(folder: Path, *module: str, **changes: str) -> str:
    """What `python -m module` in a clone prints. Raises: SystemExit with its last lines if it fails."""
    command, settings = [sys.executable, "-m", *module], environment(folder, **changes)
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(module)} in {folder.name} failed:\n{done.stdout[-500:]}{done.stderr[-2000:]}")
    return done.stdout


def clone(folder: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    run(folder, "alignet.config", "params/smoke.yaml")
    return folder


def made(folder: Path) -> dict[str, str]:
    """Digests of what a run leaves: tables, figures in their three formats, and dvc.lock, which has those of data/."""
    parts = [folder / "reports" / part for part in ("tables", "figures")]
    files = [folder / "dvc.lock", *(path for part in parts for path in sorted(part.iterdir()))]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def different(one: Path, other: Path) -> list[str]:
    """The files of `made` that differ between two clones, or that only one has."""
    ours, theirs = made(one), made(other)
    return sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))


def left(folder: Path) -> list[int]:
    """Processes that run in the clone."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.cwd().startswith(str(folder)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found
