"""The whole pipeline through DVC and the runner, on params/smoke.yaml, in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
LEVELS_COLUMNS = {
    *("student", "target", "representation", "level", "odd_one_out_accuracy", "ci_low", "ci_high"),
    *("noise_ceiling", "noise_ceiling_low", "noise_ceiling_high", "relative_improvement", "n_triplets", "choices"),
}
AFTER_STUDENTS = {"levels", "similarity", "reorganisation", "downstream", "cost", "figures"}
EVALUATION = {  # columns of architecture.md's table contract
    "uncertainty": {"student", "target", "level", "against", "spearman", "ci_low", "ci_high", "n"},
    "similarity": {"student", "target", "benchmark", "metric", "value", "ci_low", "ci_high", "noise_ceiling"},
    "reorganisation": {"student", "target", "layer", "relation", "change", "effect_size"},
    "downstream": {
        *("student", "target", "dataset", "protocol", "shots", "accuracy", "ci_low", "ci_high"),
        "relative_improvement",
    },
}
TEACHER_COLUMNS = {
    *("fold", "lambda", "lr", "sigma", "split", "map", "loss", "n_triplets", "choices"),
    *("odd_one_out_accuracy", "kl", "ece", "noise_ceiling", "steps", "chosen"),
}


def copy_of_the_repository(folder: Path, params: dict) -> Path:
    files = ["alignet", "notebooks", "params", "dvc.yaml", ".dvcignore", "pyproject.toml"]
    for name in files:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    run(folder, "git", "init", "--quiet")
    return folder


def run(folder: Path, *command: str, check: bool = True, cwd: str = ".") -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, cwd=folder / cwd, env=environment, capture_output=True, text=True)
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)} exited with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done


def stages_that_ran(done: subprocess.CompletedProcess) -> set[str]:
    return set(re.findall(r"Running stage '(.+?)'", done.stdout + done.stderr))


def smoke_params() -> dict:
    return yaml.safe_load((ROOT / "params" / "smoke.yaml").read_text())


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory) -> Path:
    folder = copy_of_the_repository(tmp_path_factory.mktemp("smoke"), smoke_params())
    run(folder, "dvc", "repro")
    return folder


def test_every_stage_leaves_its_tables_and_figures(pipeline):
    tables = pipeline / "reports" / "tables"
    levels, teacher = pd.read_csv(tables / "levels.csv"), pd.read_csv(tables / "teacher.csv")
    assert set(levels.columns) >= LEVELS_COLUMNS
    assert set(teacher.columns) >= TEACHER_COLUMNS
    assert set(levels["target"]) == {"base", "unalignet", "alignet"}
    assert set(levels["choices"]) == set(teacher["choices"]) == {"simulated"}
    assert levels.groupby(["student", "target", "representation"])["level"].nunique().eq(4).all()
    for target in ("alignet", "unalignet"):
        schemes, signal = (pd.read_csv(tables / f"{name}_{target}.csv") for name in ("synthesis", "signal"))
        assert len(schemes) == 5
        assert set(signal["witness"]) == {"lite0", "class labels"}
        assert set(schemes["choices"]) == {"simulated"}
    made = {path.name for path in (pipeline / "reports" / "figures").iterdir()}
    assert made >= {f"levels.{ending}" for ending in ("png", "pdf", "svg", "csv")}


@pytest.mark.parametrize("name", EVALUATION)
def test_every_evaluation_table_has_three_rows_a_student_and_says_whose_choices_they_are(pipeline, name):
    table = pd.read_csv(pipeline / "reports" / "tables" / f"{name}.csv")
    assert set(table.columns) >= EVALUATION[name] | {"choices"}
    targets = table.dropna(subset=["student"]).groupby("student")["target"].agg(set)
    assert targets.to_dict() == {student: {"base", "unalignet", "alignet"} for student in ("lite0", "vit")}
    assert set(table["choices"]) == {"simulated"}


def test_the_papers_numbers_stand_beside_ours_with_their_sources(pipeline):
    table = pd.read_csv(pipeline / "reports" / "tables" / "paper.csv")
    assert table["source"].notna().all()
    assert table["ours"].notna().sum() >= 5
    calibration = pd.read_csv(pipeline / "reports" / "tables" / "calibration.csv")
    assert set(calibration["distribution"]) == {"vice", "empirical", "uniform"}


def test_another_model_is_scored_beside_the_students(pipeline):
    command = [sys.executable, "-m", "alignet.evaluate", "--backbone", "tf_efficientnet_lite2", "--weights", "package"]
    run(pipeline, *command, "--layer", "blocks.5", "--picture_size", "48")
    folder = pipeline / "reports" / "comparison"
    table = pd.read_csv(folder / "comparison.csv")
    assert set(table["model"]) == {"tf_efficientnet_lite2"}
    kinds = {name.split(",")[0] for name in table["benchmark"]}
    assert kinds >= {"levels", "uncertainty", "held-out triplets", "emoji"}
    assert (folder / "comparison.png").is_file()


def test_executed_notebooks_hold_no_timings_and_no_progress_bars(pipeline):
    executed = sorted((pipeline / "reports" / "notebooks").glob("*.ipynb"))
    assert len(executed) == 18
    for path in executed:
        notebook = nbformat.read(path, as_version=4)
        assert "papermill" not in notebook.metadata
        for cell in notebook.cells:
            assert not {"papermill", "execution"} & set(cell.metadata)
            assert all(output.get("name") != "stderr" for output in cell.get("outputs", []))


def test_a_second_repro_runs_nothing(pipeline):
    assert stages_that_ran(run(pipeline, "dvc", "repro")) == set()


def test_one_learning_rate_runs_that_student_and_what_follows_only(pipeline):
    params = yaml.safe_load((pipeline / "params.yaml").read_text())
    params["students"]["vit"]["lr"] *= 2
    (pipeline / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    before = pd.read_csv(pipeline / "reports" / "tables" / "levels.csv")
    ran = stages_that_ran(run(pipeline, "dvc", "repro"))
    after = pd.read_csv(pipeline / "reports" / "tables" / "levels.csv")
    assert ran - AFTER_STUDENTS == {"student@vit-alignet", "student@vit-unalignet"}
    assert before[before["student"] == "lite0"].equals(after[after["student"] == "lite0"])


def test_papermill_and_a_lab_working_directory_run_a_notebook_by_hand(pipeline):
    papermill = ["papermill", "--no-progress-bar", "-k", "python3"]
    run(pipeline, *papermill, "notebooks/07_levels.ipynb", "by_hand.ipynb")
    lab = ["jupyter", "nbconvert", "--execute", "--to", "notebook", "--stdout", "07_levels.ipynb"]
    run(pipeline, *lab, cwd="notebooks")
    shutil.copytree(pipeline / "data", pipeline / "elsewhere" / "data")
    changed = ["-p", "name", "vit", "-p", "lr", "0.0001", "-p", "steps", "1", "-p", "out_dir", "elsewhere"]
    run(pipeline, *papermill, "notebooks/06_student.ipynb", "out.ipynb", *changed)
    curve = pd.read_csv(pipeline / "elsewhere" / "data" / "students" / "vit" / "alignet" / "curve.csv")
    assert curve["lr"].dropna().tolist() == [0.0001]


def test_the_report_is_one_page_without_an_address(pipeline):
    run(pipeline, sys.executable, "-m", "alignet.report")
    page = (pipeline / "reports" / "index.html").read_text(encoding="utf-8")
    assert "SIMULATED" in page
    assert "data:image/png" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)


def test_a_refused_world_is_one_clear_line_and_leaves_nothing(tmp_path):
    params = smoke_params()
    params["world"] = {"source": "folder", "path": "no_such_world"}
    folder = copy_of_the_repository(tmp_path, params)
    done = run(folder, "dvc", "repro", "world", check=False)
    assert done.returncode != 0
    assert "world.yaml: no such file" in done.stdout + done.stderr
    assert not (folder / "data" / "world").exists()


@pytest.mark.skipif("ALIGNET_TEST_WORLD" not in os.environ, reason="ALIGNET_TEST_WORLD names no folder of photographs")
def test_the_map_fitted_on_photographs_chooses_more_like_people_on_unseen_objects(tmp_path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["world"] = {"source": "folder", "path": os.environ["ALIGNET_TEST_WORLD"]}
    params["run"]["backbones"] = ["lite0"]
    params["backbones"]["lite0"]["layer"] = "blocks.5"
    params["teacher"] |= {"backbone": "lite0", "folds": 2, "grid": [{}], "soft_labels": [1000]}
    folder = copy_of_the_repository(tmp_path, params)
    run(folder, "dvc", "repro", "teacher")
    scores = pd.read_csv(folder / "reports" / "tables" / "teacher.csv")
    unseen = scores[scores["split"] == "validation"].pivot(index="fold", columns="map", values="odd_one_out_accuracy")
    assert len(unseen) == 2
    assert (unseen["fitted"] > unseen["none"]).all()
    assert set(scores["choices"]) == {"human"}
