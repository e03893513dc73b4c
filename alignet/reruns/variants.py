"""Variants of a finished run: the stages' own notebooks on the same world and features with other settings.

A variant has a folder of its own with a params file, which is a profile of the run's, and with `data/`, whose unchanged
parts are links to the run's; no stage of a variant writes through them. A finished variant is not run again unless its
params or the run have changed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from alignet import config
from alignet.models import frozen
from alignet.pipeline import kernels

# Parts of data/ in the order in which they are made, and the section whose change makes them anew.
MADE_BY = {
    "world": None,
    "features": None,
    "human_uncertainty": None,
    "teacher": "teacher",
    "synthesis": "synthesis",
    "students": "students",
}
MINUTES = "minutes.csv"  # of each notebook of a variant
DONE = "done.txt"  # holds the fingerprint of what a variant was made from


@dataclass(frozen=True)
class Variant:
    """place: its folder; changes: sections of the params file that differ; evaluation: notebooks to run at the end."""

    place: Path
    changes: dict[str, Any]
    evaluation: tuple[str, ...]

    def made_anew(self) -> list[str]:
        """The parts of data/ that are made in the variant's own folder: the first part that changes and all parts after
        it.
        """
        parts = list(MADE_BY)
        changed = [place for place, section in enumerate(MADE_BY.values()) if section and section in self.changes]
        return parts[min(changed, default=len(parts)) :]


def run(variant: Variant, params_file: str, out_dir: str) -> Path:
    """Make a variant of the finished run in `out_dir`, unless it exists; return the folder of its tables.

    Raises: ValueError if the run is not finished; CalledProcessError naming a stage that failed.
    """
    data, _ = config.folders(out_dir)
    if not (data / "teacher").is_dir() or not (data / "students").is_dir():
        raise ValueError(f"{data}: has no teacher and students: finish the run first (make repro)")
    place = variant.place
    (place / "data").mkdir(parents=True, exist_ok=True)
    profile = place / "params.yaml"
    profile.write_text(yaml.safe_dump(based_on(params_file) | variant.changes), encoding="utf-8")
    done, made_from = place / DONE, fingerprint(profile, data / "teacher" / "teacher.safetensors")
    if not (done.is_file() and done.read_text(encoding="ascii") == made_from):
        _link(variant, data)
        execute(place, profile, stages(variant, str(profile)))
        done.write_text(made_from, encoding="ascii")
    return place / "reports" / "tables"


def told(action: Callable[[], None]) -> int:
    """Run a command with a server of kernels; return 0, or 1 after a line that names the unfinished run or the failed
    stage.
    """
    try:
        with kernels.served():
            action()
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def based_on(params_file: str) -> dict[str, str]:
    """The first entries of a profile of this params file, which may itself have been written from another profile."""
    written_from = config.values(params_file).get(config.PROFILE)
    return {config.BASE: params_file} | ({config.PROFILE: written_from} if written_from else {})


def execute(place: Path, profile: Path, stages: Iterable[tuple[str, dict[str, str]]]) -> None:
    """Run notebooks, each with parameters of its own, with `place` as their folder; write their times to its file
    MINUTES.

    Raises: CalledProcessError naming one that failed.
    """
    times = []
    for notebook, names in stages:
        print(f"{place.name}: {notebook} {' '.join(names.values())}", flush=True)
        executed = place / "notebooks" / f"{'_'.join([notebook, *names.values()])}.ipynb"
        parameters = {"params_file": str(profile), "out_dir": str(place)} | names
        command = [sys.executable, "-m", "alignet.pipeline.notebook", f"notebooks/{notebook}.ipynb", str(executed)]
        command += [word for name, value in parameters.items() for word in ("-p", name, value)]
        began = time.monotonic()
        subprocess.run(command, cwd=config.home(), check=True, stdout=subprocess.DEVNULL)
        times.append({"notebook": notebook, **names, "minutes": (time.monotonic() - began) / 60})
        pd.DataFrame(times).to_csv(place / MINUTES, index=False)


def stages(variant: Variant, params_file: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The notebooks that a variant runs, in order, with their parameters."""
    targets, anew = config.names("targets", params_file), variant.made_anew()
    if "teacher" in anew:
        yield "04_teacher", {}
    if "synthesis" in anew:
        yield from (("05_synthesis", {"target": target}) for target in targets)
    for student in config.names("students", params_file):
        yield from (("06_student", {"name": student, "target": target}) for target in targets)
    yield from ((notebook, {}) for notebook in variant.evaluation)


def _link(variant: Variant, data: Path) -> None:
    """Link the parts of data/ that the variant does not make anew.

    What the folder holds of a variant that was made there before is removed: a link where the variant now has a part of
    its own, which its stages would write through, and a part of its own where it now has the run's.
    """
    anew = variant.made_anew()
    for name in MADE_BY:
        link = variant.place / config.DATA / name
        if link.is_symlink():
            link.unlink()
        if name not in anew and (data / name).exists():
            if link.exists():
                shutil.rmtree(link)
            link.symlink_to(os.path.relpath((data / name).resolve(), link.parent.resolve()), target_is_directory=True)
    store = variant.place / config.DATA / frozen.FOLDER
    if store.is_symlink():
        store.unlink()
    frozen.share(data / frozen.FOLDER, store)


def fingerprint(profile: Path, last: Path) -> str:
    """Changes with the settings of a profile and with the last output that it starts from, such as the run's teacher,
    which stands for all that came before it.
    """
    return hashlib.sha256(f"{config.values(str(profile))}".encode() + last.read_bytes()).hexdigest()
