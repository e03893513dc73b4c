"""Run teacher, synthesis and students again with other seeds: python -m alignet.replicate [--seeds 1 2 3 4]

The finished run is the replicate of its own seed. Each other seed gets a folder data/replicates/seed_<n>, whose world,
features and people's choices are the run's, and a params file that differs in the seeds of teacher, synthesis and
students; the stages' own notebooks run there. What is finished is not run again, unless the params or the run's own
teacher have changed. Writes reports/tables/replicates.csv and seeds.csv, and reports/figures/seeds.*.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from alignet import config
from alignet.evaluation import comparison, seeds
from alignet.figures import seeds as figures
from alignet.figures import style
from alignet.worlds.format.tables import save_csv

SHARED = ("world", "features", "human_uncertainty", "frozen")  # of data/: the run's own in every replicate
DONE = "done.txt"  # holds the fingerprint of what a replicate was made from


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m alignet.replicate", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4], help="beside the run's own")
    parser.add_argument("--params-file", default=config.PARAMS)
    parser.add_argument("--out-dir", default=".", help="of the finished run")
    wanted = parser.parse_args(arguments)
    try:
        replicate(wanted.seeds, wanted.params_file, wanted.out_dir)
    except (ValueError, FileNotFoundError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def replicate(others: list[int], params_file: str, out_dir: str) -> None:
    """Run what is missing, then collect and draw.

    Raises: ValueError if the run is not finished or a seed is its own; CalledProcessError naming a stage that failed.
    """
    data, reports = config.folders(out_dir)
    own = int(config.value("teacher.seed", params_file))
    missing = [stage for stage in comparison.STAGES if not (reports / "tables" / f"{stage}.csv").is_file()]
    if missing or not (data / "teacher").is_dir():
        raise ValueError(
            f"{reports / 'tables'}: no {', '.join(missing) or 'teacher'}: finish the run first (make repro)"
        )
    if own in others:
        raise ValueError(f"--seeds: {own} is the run's own seed (teacher.seed in {params_file})")
    folders = {own: reports}
    for seed in others:
        place = data / "replicates" / f"seed_{seed}"
        _run(seed, place, params_file, data)
        folders[seed] = place / "reports"
    scores = seeds.collect({seed: folder / "tables" for seed, folder in folders.items()})
    summary = seeds.summary(scores, own)
    save_csv(scores, reports / "tables" / "replicates.csv")
    save_csv(summary, reports / "tables" / "seeds.csv")
    style.use()
    style.save(figures.by_level(summary, scores), reports / "figures" / "seeds", summary)
    style.save(figures.over_control(summary), reports / "figures" / "seeds_over_control")
    print(f"{len(folders)} seeds: {reports / 'tables' / 'seeds.csv'}, {reports / 'figures' / 'seeds.png'}")


def _run(seed: int, place: Path, params_file: str, data: Path) -> None:
    """The stages of one seed, in their own processes, one after the other."""
    place.mkdir(parents=True, exist_ok=True)
    profile = place / "params.yaml"
    profile.write_text(yaml.safe_dump(_profile(seed, params_file)), encoding="utf-8")
    made_from = hashlib.sha256(f"{config.values(str(profile))}".encode() + _teacher(data)).hexdigest()
    done = place / DONE
    if done.is_file() and done.read_text(encoding="ascii") == made_from:
        print(f"seed {seed}: finished before")
        return
    for name in SHARED:
        link = place / "data" / name
        link.parent.mkdir(exist_ok=True)
        if (data / name).exists() and not link.is_symlink():
            link.symlink_to(os.path.relpath(data / name, link.parent), target_is_directory=True)
    for number, (notebook, names) in enumerate(stages(params_file), start=1):
        print(f"seed {seed}: {notebook} {' '.join(names.values())}", flush=True)
        executed = place / "notebooks" / f"{number:02d}_{notebook}.ipynb"
        parameters = {"params_file": str(profile), "out_dir": str(place)} | names
        command = [sys.executable, "-m", "alignet.nb", f"notebooks/{notebook}.ipynb", str(executed)]
        command += [word for name, value in parameters.items() for word in ("-p", name, value)]
        subprocess.run(command, cwd=config.ROOT, check=True, stdout=subprocess.DEVNULL)
    done.write_text(made_from, encoding="ascii")


def stages(params_file: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The notebooks that a seed changes and that `seeds` reads, in order, with their parameters."""
    targets = config.names("targets", params_file)
    yield "04_teacher", {}
    yield from (("05_synthesis", {"target": target}) for target in targets)
    for student in config.names("students", params_file):
        yield from (("06_student", {"name": student, "target": target}) for target in targets)
    yield from ((notebook, {}) for notebook in ("07_levels", "08_similarity", "10_downstream"))


def _profile(seed: int, params_file: str) -> dict:
    students = {name: {"seed": seed} for name in config.names("students", params_file)}
    return {config.BASE: params_file, "teacher": {"seed": seed}, "synthesis": {"seed": seed}, "students": students}


def _teacher(data: Path) -> bytes:
    """The run's teacher stands for all that came before it: world, features, choices and code."""
    return (data / "teacher" / "teacher.safetensors").read_bytes()


if __name__ == "__main__":
    sys.exit(main())
