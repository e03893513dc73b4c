"""alignet as an installed package: its command, its dependencies, and a wheel of it away from the checkout."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib

import pandas as pd
import pytest
import torch
from inputs import backbone
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from safetensors.torch import save_file

from alignet import __main__ as command
from alignet import __version__, config
from alignet.export import __main__ as export
from alignet.models import backbones, frozen
from alignet.pipeline import cache
from alignet.worlds.format import tables

PROJECT = tomllib.loads((config.home() / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKED = [each for extra, listed in EXTRAS.items() if extra != "tensorflow" for each in listed]
OURS = [Requirement(each) for each in [*PROJECT["dependencies"], *LOCKED]]
LIBRARY = ("models", "evaluation", "worlds", "collect")  # rooms that `pip install alignet` without extras must serve
LATER = {"nltk", "seaborn", "umap", "faiss", "numba", "llvmlite", "IPython", "tensorflow"}  # imported by stages only


# the command


@pytest.mark.parametrize("name", [name for name in command.COMMANDS if name != "repro"])  # its options are dvc's
def test_every_command_has_help_under_its_own_name(name, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: alignet {name} ")


def test_help_names_every_command_and_imports_nothing_large():
    done = subprocess.run(
        [sys.executable, "-m", "alignet", "--help"], capture_output=True, text=True, cwd=config.home()
    )
    loaded = "import sys, alignet.__main__; print([m for m in ('numpy', 'yaml', 'torch') if m in sys.modules])"
    assert all(re.search(rf"^  {name} ", done.stdout, re.MULTILINE) for name in command.COMMANDS)
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_the_version_and_an_unknown_command_are_answered(capsys):
    with pytest.raises(SystemExit):
        command.main(["--version"])
    assert capsys.readouterr().out == f"{__version__}\n"
    with pytest.raises(SystemExit) as ended:
        command.main(["teach"])
    assert ended.value.code == 2
    assert "invalid choice: 'teach'" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "usage"), [(["worlds", "fetch"], "fetch"), (["collect"], "jspsych")])
def test_a_command_has_its_other_name(words, usage, capsys):
    with pytest.raises(SystemExit):
        command.main([*words, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: alignet {usage} ")


def test_a_missing_package_is_one_line_that_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(command, "import_module", lambda name: __import__("no_such_package"))
    assert command.main(["beside"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("alignet beside: the package no_such_package is not installed: pip install ")
    assert len(said.splitlines()) == 1


def test_the_cache_is_told_and_emptied(tmp_path, capsys):
    folder = tmp_path / "data" / frozen.FOLDER
    folder.mkdir(parents=True)
    (folder / "a.safetensors").write_bytes(b"x" * 1_500_000)
    (folder / "notes.txt").write_text("mine")
    assert cache.main([f"--out-dir={tmp_path}"]) == 0
    assert capsys.readouterr().out == f"{folder}: 1 files, 1.5 MB\n"
    assert cache.main(["--empty", f"--out-dir={tmp_path}"]) == 0
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


# dependencies


def test_the_lock_pins_a_version_that_every_bound_allows():
    lines = (config.home() / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins: dict[str, list[str]] = {}
    for each in (Requirement(line) for line in lines if line.strip()):
        pins.setdefault(canonicalize_name(each.name), []).append(str(each.specifier).removeprefix("=="))
    for each in OURS:
        versions = pins[canonicalize_name(each.name)]
        assert all(each.specifier.contains(version, prereleases=True) for version in versions), each


def imported(folder):
    """Packages that the modules below a folder import anywhere, but for this one and Python's own."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"alignet"}


def distributions(packages):
    known = importlib.metadata.packages_distributions()
    return {canonicalize_name(name) for package in packages for name in known.get(package, [package])[:1]}


def declared(requirements):
    return {canonicalize_name(Requirement(each).name) for each in requirements}


def test_every_package_that_is_imported_is_declared():
    everything = declared(PROJECT["dependencies"]) | declared(each for extra in EXTRAS.values() for each in extra)
    assert distributions(imported(config.home() / "alignet") - {"pydantic_core"}) <= everything  # pydantic pins its own


def test_the_library_needs_no_extra():
    rooms = set().union(*(imported(config.home() / "alignet" / room) for room in LIBRARY))
    emoji = distributions(imported(config.home() / "alignet" / "worlds" / "emoji")) & declared(EXTRAS["emoji"])
    assert distributions(rooms - LATER - {"pydantic_core"}) - emoji <= declared(PROJECT["dependencies"])


# a wheel


HERE = ("alignet", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "params.yaml")
SCRIPT = """
import sys
from pathlib import Path
import alignet.evaluation, alignet.models
from alignet import config
assert config.CHECKOUT is None and config.home() == Path.cwd(), alignet.__file__
assert config.DEFAULTS.is_file()
model = alignet.models.load("export")
pictures = sorted(str(path) for path in Path("data/world").glob("*.png"))[:3]
features, choice = model.embed(pictures), model.odd_one_out(pictures)
scores = alignet.evaluation.score(model, "similarity")
assert {"torch"} <= sys.modules.keys() and not {"dvc", "papermill"} & sys.modules.keys()
print(tuple(features.shape), round(float(choice.probabilities.sum()), 6), len(scores) > 0)
"""


def venv_with(wheel, folder):
    """A new environment that has the wheel and sees the packages of this one, but not the checkout: a path in a .pth
    file is searched, and .pth files below it, such as an editable install's, are not read.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(sysconfig.get_path("purelib"))
    target = ["--python", str(folder / "bin" / "python"), "install", "--no-deps", "--ignore-installed", str(wheel)]
    pip(*target)
    return folder / "bin"


def pip(*words):
    quiet = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*quiet, *words], capture_output=True, text=True, env=elsewhere())
    assert done.returncode == 0, done.stderr


def elsewhere():
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", config.HOME)}


def exported(folder):
    """An exported model with random weights."""
    settings = backbone("vit_tiny_patch16_224", img_size=32, depth=1)
    embedder = backbones.create(settings)
    tensors = {name: tensor.contiguous() for name, tensor in embedder.model.state_dict().items()}
    export.write_model(folder, embedder, tensors, settings)
    choice = {"centre": torch.zeros(embedder.dim), "sharpness": torch.tensor(5.0)}
    save_file(choice, folder / "choice.safetensors")


def world(folder):
    """Twelve pictures of twelve concepts, and two people's choices about the first six of them."""
    folder.mkdir(parents=True)
    names = [f"picture{number:02}" for number in range(12)]
    for number, name in enumerate(names):
        Image.linear_gradient("L").rotate(29 * number).resize((40, 40 + number)).save(folder / f"{name}.png")
    images = pd.DataFrame({"image": names, "path": [f"{name}.png" for name in names], "concept": names})
    images["split"] = ["human"] * 6 + ["synthesis"] * 3 + ["test"] * 3
    rows = [(names[i], names[(i + 1) % 6], names[(i + 3) % 6], i % 3, person) for i in range(6) for person in "pq"]
    triplets = pd.DataFrame(rows, columns=["image_0", "image_1", "image_2", "odd", "participant"])
    tables.write(tables.World("toy", "simulated", folder, ("concept",), images, triplets, None), folder)


@pytest.mark.slow
def test_a_wheel_works_away_from_the_checkout(tmp_path):
    source, there = tmp_path / "source", tmp_path / "there"
    source.mkdir()
    for name in HERE:
        path = config.home() / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(path, source / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path), str(source))
    programs = venv_with(*tmp_path.glob("*.whl"), tmp_path / "venv")
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    assert (site / "alignet" / "params.yaml").read_bytes() == (source / "params.yaml").read_bytes()
    there.mkdir()
    exported(there / "export")
    world(there / "data" / "world")

    def run(*words):
        return subprocess.run(
            [str(programs / words[0]), *words[1:]], capture_output=True, text=True, cwd=there, env=env
        )

    env = elsewhere()
    done = run("python", "-c", SCRIPT)
    assert (done.returncode, done.stdout) == (0, f"{(3, 192)} 1.0 True\n"), done.stderr
    checked = run("alignet", "worlds", "check", "data/world")
    assert checked.returncode == 0, checked.stderr
    assert "toy" in checked.stdout
    asked = run("alignet", "worlds", "triplets", "data/world", "--n", "5")
    assert asked.returncode == 0, asked.stderr
    page = run("alignet", "collect", "data/world", "data/world/trials.csv", "page")
    assert page.returncode == 0, page.stderr
    assert (there / "page" / "index.html").is_file()
    assert run("alignet", "--version").stdout == f"{__version__}\n"


def test_a_package_is_not_built_from_a_profiles_params(tmp_path):
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(config.home() / name, tmp_path / name)
    (tmp_path / "alignet").mkdir()
    (tmp_path / "alignet" / "__init__.py").write_text('__version__ = "0"\n')
    (tmp_path / "params.yaml").write_text("profile: params/paper.yaml\n")
    build = [sys.executable, "setup.py", "-q", "build"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "params.yaml: was written from a profile; restore it first" in done.stderr
