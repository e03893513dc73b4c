"""Copies of the repository and runs of its pipeline in them: by dvc, or stage by stage in one process."""

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from alignet import config

ROOT = Path(__file__).resolve().parents[1]
TWICE = "--twice"
sys.modules.setdefault("rfc3987_syntax", None)  # as in alignet.pipeline.notebook: nbformat then takes 3 s less


def copy_of_the_repository(folder: Path, params: dict) -> Path:
    files = ["alignet", "notebooks", "params", "dvc.yaml", ".dvcignore", "pyproject.toml"]
    for name in files:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    write_params(folder, params)
    run(folder, "git", "init", "--quiet")
    return folder


def params_of(folder: Path) -> dict:
    return yaml.safe_load((folder / "params.yaml").read_text())


def stages_of(folder: Path) -> dict:
    return yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]


def write_params(folder: Path, params: dict) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def smoke_params() -> dict:
    return _of_the_run(config.values("params/smoke.yaml"))


def paper_params() -> dict:
    return _of_the_run(config.values("params/paper.yaml"))


def _of_the_run(params: dict) -> dict:
    """Without the backbones and students of the base that the profile's run does not name."""
    named = {section: {name: params[section][name] for name in params["run"][section]} for section in config.SHARING}
    return params | named


def run(folder: Path, *command: str, check: bool = True, cwd: str = ".") -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder / cwd, env=environment, capture_output=True, text=True)
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)} exited with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done


def stages_that_ran(done: subprocess.CompletedProcess) -> set[str]:
    """By what dvc says, or `alignet.pipeline.repro`."""
    found = re.findall(r"Running stage '(.+?)'|^\[ *\d+/\d+\] (\S+)$", done.stdout + done.stderr, re.MULTILINE)
    return {dvc or ours for dvc, ours in found}


def run_in_one_process(folder: Path, *stages: str, twice: bool = False) -> None:
    """Run the cells of stages ('teacher', 'student@lite0-alignet'; all if none is named) as `dvc repro` orders and
    parametrises them, without a kernel for each: tests of what stages compute, not of how they are started.

    Like dvc, it stops at a stage that fails, lacks a dependency before or has not written its outputs after.

    Args: twice: whether each cell is run twice before the next one, as a reader may do.
    """
    run(folder, sys.executable, __file__, *([TWICE] if twice else []), *stages)


def _run_cells(command: str, twice: bool) -> None:
    """The code cells of `python -m alignet.pipeline.notebook NOTEBOOK EXECUTED [-p NAME VALUE ...]`, in a namespace of
    their own.

    Of another module its program is run.
    """
    import matplotlib.pyplot as plt
    import nbformat

    runner, *words = shlex.split(command.removeprefix("python -m "))
    if runner != "alignet.pipeline.notebook":
        module = importlib.import_module(runner)
        if hasattr(module, "__path__"):
            module = importlib.import_module(f"{runner}.__main__")
        if module.main([]):
            sys.exit(f"{command} failed")
        return
    notebook, _, *words = words
    parameters = dict(zip(words[1::3], map(yaml.safe_load, words[2::3]), strict=True))
    namespace = {}
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code":
            for _ in range(2 if twice else 1):
                exec(compile(cell.source, f"{notebook}, cell {cell.id}", "exec"), namespace)
                plt.close("all")  # as a notebook does, which has shown them
        if "parameters" in cell.metadata.get("tags", []):
            namespace |= parameters


def _main(names: list[str], twice: bool) -> None:
    import matplotlib
    from dvc.repo import Repo
    from networkx import topological_sort

    matplotlib.use("agg")
    for stage in reversed(list(topological_sort(Repo().index.graph))):
        if names and stage.addressing not in names:
            continue
        print(stage.addressing, flush=True)
        _check(stage.addressing, "lacks", stage.deps)
        _run_cells(stage.cmd, twice)
        _check(stage.addressing, "has not written", stage.outs)


def _check(stage: str, what: str, files: list) -> None:
    missing = [str(file) for file in files if not file.exists]
    if missing:
        sys.exit(f"{stage} {what} {missing}")


if __name__ == "__main__":
    _main([name for name in sys.argv[1:] if name != TWICE], TWICE in sys.argv)
