"""Options that a command would ignore are refused by name, before anything is read or written."""

import subprocess
import sys

import pytest

from alignet import __main__ as alignet
from alignet.config import home
from alignet.models import features
from alignet.student import __main__ as student

BACKBONE = ["evaluate", "--backbone", "resnet18", "--weights", "random"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "--features", "a.npy", "--weights", "timm"], "--weights: without effect beside --features"),
        (
            ["evaluate", "--features", "a.npy", "--layer", "pooled", "--picture-size", "224", "--options", "depth=1"],
            "--options, --layer, --picture-size: without effect beside --features: leave them out",
        ),
        ([*BACKBONE, "--names", "n.txt"], "--names: without effect beside --backbone: leave it out"),
        ([*BACKBONE, "--picture-size", "0"], "'0' is no number of pixels"),
        (["export", "lite0", "--teacher", "out"], "student: without effect beside --teacher"),
        (["export", "lite0", "alignet", "out", "--teacher", "t"], "student, target, folder: without effect beside"),
        (["compare", "--publish", "x", "--against", "y", "--from", "z"], "--against, --from: without effect beside"),
        (["compare", "--url", "https://x"], "--url: without effect beside no --publish"),
        (["compare", "--fetch", "--out-dir", "x"], "--out-dir: without effect beside --fetch"),
        (["fetch", "mur92", "--all"], "--accept-terms are for things"),
        (["beside", "reports"], "'reports' is not NAME=REPORTS"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused_by_name(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        alignet.main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("main", [student.main, features.main])
def test_a_job_holds_its_settings(main, capsys):
    with pytest.raises(SystemExit):
        main(["--job", "{}", "--out-dir", "elsewhere"])
    assert "--out-dir: without effect beside --job" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "--backbone", "", "--weights", "random"], "--backbone, --features: no name"),
        (["evaluate", "--features", ""], "--backbone, --features: no name"),
        (["run", "a.ipynb", "b.ipynb", "-p", "steps", "["], "-p: while parsing a flow node"),
    ],
)
def test_a_value_that_is_none_is_refused(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        alignet.main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_file_that_is_no_notebook_is_one_line(tmp_path, capsys):
    (tmp_path / "a.ipynb").write_text("name,odd\n")
    assert alignet.main(["run", str(tmp_path / "a.ipynb"), str(tmp_path / "b.ipynb")]) == 1
    assert capsys.readouterr().err == f"{tmp_path / 'a.ipynb'}: is no notebook\n"


def test_numbers_for_every_level_are_refused_beside_one_level(tmp_path, capsys):
    words = ["worlds", "triplets", str(tmp_path), "--n", "9", "--level", "fine", "--per-level", "3"]
    assert alignet.main(words) == 1
    assert capsys.readouterr().err == "--per-level: without effect beside --level fine: leave it out\n"


@pytest.mark.parametrize("module", ["alignet.pipeline.cells", "alignet.pipeline.source"])
def test_stages_that_take_no_words_say_so_and_write_nothing(module, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", module, "--what"], cwd=home(), env={"ALIGNET_HOME": str(tmp_path)}, capture_output=True
    )
    assert done.returncode == 2 and b"--what" in done.stderr
    assert not any(tmp_path.iterdir())
