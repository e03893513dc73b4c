"""The whole pipeline through DVC and the runner, on params/smoke.yaml, in a copy of the repository."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import runs
from PIL import Image

from alignet import devices, results
from alignet.models.features import load_features
from alignet.worlds.format import tables

LEVELS_COLUMNS = {
    *("student", "target", "representation", "level", "odd_one_out_accuracy", "ci_low", "ci_high"),
    *("noise_ceiling", "noise_ceiling_low", "noise_ceiling_high", "relative_improvement", "n_triplets", "choices"),
}
ALWAYS = {"source"}  # reads the tables of one's own world, which may have grown
AFTER_STUDENTS = {"levels", "similarity", "reorganisation", "downstream", "cost", "figures", "report"}
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

# One process runs these in order, on one finished run.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A folder in which the pipeline has run, as `make repro` runs it, and how it ended."""
    folder = runs.copy_of_the_repository(tmp_path_factory.mktemp("smoke"), runs.smoke_params())
    return folder, runs.run(folder, sys.executable, "-m", "alignet.pipeline.repro", check=False)


@pytest.fixture(scope="session")
def pipeline(finished) -> Path:
    """The folder of the finished run, to be read: a test that changes something takes a `copy`."""
    folder, done = finished
    if done.returncode:
        pytest.skip("the pipeline failed: see test_the_whole_pipeline_runs")
    return folder


@pytest.fixture
def copy(pipeline, tmp_path) -> Path:
    """The finished run once more, with its DVC cache, so that nothing done to it reaches the other tests."""
    return shutil.copytree(pipeline, tmp_path / "copy", symlinks=True)


def test_the_whole_pipeline_runs(finished):
    _, done = finished
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert {"world", "student@vit-unalignet", "figures"} < runs.stages_that_ran(done)


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
def test_one_process_runs_all_tests_of_this_group(request):
    assert request.node.nodeid.endswith("@pipeline")


def test_every_stage_leaves_its_tables_and_figures(pipeline):
    tables = pipeline / "reports" / "tables"
    levels, teacher = pd.read_csv(tables / "levels.csv"), pd.read_csv(tables / "teacher.csv")
    assert set(levels.columns) >= LEVELS_COLUMNS
    assert set(teacher.columns) >= TEACHER_COLUMNS
    assert set(levels["target"]) == {*results.TARGETS, results.FLOOR, results.TEACHER_BEFORE, results.TEACHER}
    assert set(levels["choices"]) == set(teacher["choices"]) == {"simulated"}
    assert levels.groupby(["student", "target", "representation", "regime"])["level"].nunique().max() == 4
    assert (pipeline / "data" / "levels" / "influences.parquet").is_file()
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
    assert set(table.dropna(subset=["student"])["choices"]) == {"simulated"}  # sets that are skipped are of people


def test_the_papers_numbers_stand_beside_ours_with_their_sources(pipeline):
    table = pd.read_csv(pipeline / "reports" / "tables" / "paper.csv")
    assert table["source"].notna().all()
    assert table["ours"].notna().sum() >= 5
    calibration = pd.read_csv(pipeline / "reports" / "tables" / "calibration.csv")
    assert set(calibration["distribution"]) == {"vice", "empirical", "uniform"}


def test_executed_notebooks_hold_no_timings_and_no_progress_bars(pipeline):
    executed = sorted((pipeline / "reports" / "notebooks").glob("*.ipynb"))
    assert len(executed) == 19
    for path in executed:
        notebook = nbformat.read(path, as_version=4)
        assert "papermill" not in notebook.metadata
        for cell in notebook.cells:
            assert not {"papermill", "execution"} & set(cell.metadata)
            assert all(output.get("name") != "stderr" for output in cell.get("outputs", []))


def test_a_second_repro_runs_nothing(pipeline):
    done = runs.run(pipeline, "dvc", "repro")
    assert runs.stages_that_ran(done) == ALWAYS


def test_a_notebook_that_was_opened_run_and_saved_makes_no_stage_stale(copy):
    for path in (copy / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata.language_info.version = "3.99"
        for cell in notebook.cells:
            cell.metadata.trusted = True
        nbformat.write(notebook, path)
    (copy / "notebooks" / ".ipynb_checkpoints").mkdir()
    assert runs.stages_that_ran(runs.run(copy, "dvc", "repro")) == ALWAYS | {"cells"}


def test_a_notebook_that_says_something_else_runs_its_stage_and_the_report(copy):
    path = copy / "notebooks" / "11_cost.ipynb"
    text = path.read_text(encoding="utf-8")
    assert text.count("## One layer by hand") == 1
    path.write_text(text.replace("## One layer by hand", "## By hand"), encoding="utf-8")
    runs.run(copy, "dvc", "repro", "cells")
    status = runs.run(copy, "dvc", "status", "--json")
    assert set(json.loads(status.stdout)) - ALWAYS == {"cost", "report"}


def test_one_learning_rate_runs_that_student_and_what_follows_only(copy):
    params = runs.params_of(copy)
    params["students"]["vit"]["lr"] *= 2
    runs.write_params(copy, params)
    before = pd.read_csv(copy / "reports" / "tables" / "levels.csv")
    ran = runs.stages_that_ran(runs.run(copy, "dvc", "repro", "levels"))
    assert ran - ALWAYS == {"student@vit-alignet", "student@vit-unalignet", "levels"}
    status = runs.run(copy, "dvc", "status", "--json")
    waiting = set(json.loads(status.stdout))
    assert waiting - AFTER_STUDENTS - ALWAYS == set()
    assert waiting >= {"similarity", "reorganisation", "downstream", "figures"}
    after = pd.read_csv(copy / "reports" / "tables" / "levels.csv")
    assert before[before["student"] == "lite0"].equals(after[after["student"] == "lite0"])
    assert not before[before["student"] == "vit"].equals(after[after["student"] == "vit"])


def test_another_model_is_scored_beside_the_students(copy):
    command = [
        sys.executable,
        "-m",
        "alignet.evaluation",
        "--backbone",
        "tf_efficientnet_lite2",
        "--weights",
        "package",
    ]
    runs.run(copy, *command, "--layer", "blocks.5", "--picture-size", "48")
    folder = copy / "reports" / "comparison"
    table = pd.read_csv(folder / "comparison.csv")
    assert set(table["model"]) == {"tf_efficientnet_lite2"}
    kinds = {name.split(",")[0] for name in table["benchmark"]}
    assert kinds >= {"levels", "uncertainty", "held-out triplets", "emoji"}
    assert (folder / "comparison.png").is_file()


def test_papermill_runs_a_notebook_by_hand_with_other_settings_and_another_folder(copy):
    changed = ["-p", "name", "vit", "-p", "lr", "0.0001", "-p", "steps", "1", "-p", "out_dir", "elsewhere"]
    papermill = ["papermill", "--no-progress-bar", "-k", "python3"]
    runs.run(copy, *papermill, "notebooks/06_student.ipynb", "out.ipynb", *changed)
    data, kept = copy / "elsewhere" / "data", copy / "data" / "students" / "vit" / "alignet" / "curve.csv"
    curve = pd.read_csv(data / "students" / "vit" / "alignet" / "curve.csv")
    assert curve["lr"].dropna().tolist() == [0.0001]
    assert (data / "world").is_symlink()
    assert pd.read_csv(kept)["lr"].dropna().tolist() != [0.0001]  # the run's own student stays


VARIANTS = """
import sys
from pathlib import Path
from alignet.pipeline import kernels
from alignet.reruns import variants
with kernels.served():
    for name, change in {"teacher": {"seed": 7}, "synthesis": {"seed": 7}, "students": {"vit": {"seed": 7}}}.items():
        changes = {name: change, "run": {"students": ["vit"]}}
        variants.run(variants.Variant(Path(sys.argv[1]) / name, changes, ("07_levels",)), "params.yaml", ".")
"""


def contents(folder):
    """Digest and time of change of each file below a folder, and the target of each link."""
    return {
        path.relative_to(folder): os.readlink(path)
        if path.is_symlink()
        else (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_a_variant_of_teacher_labels_or_students_changes_no_file_of_the_run(copy, tmp_path):
    before = {name: contents(copy / name) for name in ("data", "reports")}
    runs.run(copy, sys.executable, "-c", VARIANTS, str(tmp_path / "variants"))
    assert {name: contents(copy / name) for name in before} == before
    for name, own in {"teacher": 3, "synthesis": 2, "students": 1}.items():
        place = tmp_path / "variants" / name
        made = {part for part in ("teacher", "synthesis", "students") if not (place / "data" / part).is_symlink()}
        assert made == set(("teacher", "synthesis", "students")[-own:])
        assert len(pd.read_csv(place / "reports" / "tables" / "levels.csv"))


def test_a_notebook_runs_in_labs_working_directory_and_leaves_the_same_table(copy):
    table = copy / "reports" / "tables" / "levels.csv"
    before = table.read_text()
    table.unlink()
    lab = ["jupyter", "nbconvert", "--execute", "--to", "notebook", "--stdout", "07_levels.ipynb"]
    runs.run(copy, *lab, cwd="notebooks")
    assert table.read_text() == before


def test_every_code_cell_can_be_run_twice_and_the_tables_stay_the_same(copy):
    params = runs.params_of(copy)["run"]
    student, target = params["students"][0], params["targets"][0]
    one = {"features": params["backbones"][0], "synthesis": target, "student": f"{student}-{target}"}
    notebooks = {name: stage["cmd"] for name, stage in runs.stages_of(copy).items() if "notebooks/" in stage["cmd"]}
    numbered = {path.name for path in (copy / "notebooks").glob("[0-9][0-9]_*.ipynb")} - {"00_by_hand.ipynb"}
    assert {name for name in numbered if any(name in command for command in notebooks.values())} == numbered
    before = {path.name: path.read_bytes() for path in (copy / "reports" / "tables").glob("*.csv")}
    stages = [f"{name}@{one[name]}" if name in one else name for name in notebooks]
    runs.run_in_one_process(copy, *stages, twice=True)
    after = {path.name: path.read_bytes() for path in (copy / "reports" / "tables").glob("*.csv")}
    assert [name for name in before if after[name] != before[name]] == []


def test_the_report_is_one_page_without_an_address(copy):
    runs.run(copy, sys.executable, "-m", "alignet.report")
    page = (copy / "reports" / "index.html").read_text(encoding="utf-8")
    assert "SIMULATED" in page
    assert "data:image/png" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Between the rows of two arrays."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)


@pytest.mark.skipif(not devices.has_units("bfloat16", "cpu"), reason="this processor has no units for bfloat16")
def test_features_teacher_and_students_in_bfloat16_are_near_those_in_float32(pipeline, copy):
    params = runs.params_of(copy)
    for section in (params["features"], params["teacher"], *params["students"].values()):
        section["precision"] = "bfloat16"
    for section in params["students"].values():
        section["lr"] = 1e-6  # two steps of Adam that hardly move: students are then near their base
    runs.write_params(copy, params)
    students = [f"student@{name}-{target}" for name in params["run"]["students"] for target in params["run"]["targets"]]
    for folder in ("features", "teacher", "synthesis", "students"):
        shutil.rmtree(copy / "data" / folder)
    features = [f"features@{name}" for name in params["run"]["backbones"]]
    synthesis = [f"synthesis@{target}" for target in params["run"]["targets"]]
    runs.run_in_one_process(copy, *features, "teacher", *synthesis, *students)
    world = tables.read(copy / "data" / "world")
    scored = world.scored_rows()
    for name in params["run"]["backbones"]:
        base, half = (np.load(run / "data" / "features" / name / "features.npy") for run in (pipeline, copy))
        near(base, half, f"features of {name}")
    for name in params["run"]["students"]:
        base = load_features(pipeline / "data" / "features" / name, world.images["image"], scored)[scored].numpy()
        near(base, np.load(copy / "data" / "students" / name / "alignet" / "pooled.npy"), f"student {name}")
    curves = [pd.read_csv(path) for path in (copy / "data" / "students").rglob("curve.csv")]
    assert len(curves) == 4
    assert all(np.isfinite(curve["held_out_loss"].dropna()).all() for curve in curves)


def near(in_float32: np.ndarray, in_bfloat16: np.ndarray, what: str) -> None:
    found = cosines(in_float32, in_bfloat16)
    assert found.min() > 0.98, what
    assert found.min() < 1 - 1e-9, f"{what} is as in float32"


def test_a_student_is_trained_from_the_releases_representations(pipeline, copy):
    world, made = tables.read(copy / "data" / "world").to_label("judged"), copy / "data" / "synthesis" / "alignet"
    names = world.images["path"].to_numpy()[world.rows("synthesis")].astype(str)
    order = np.random.default_rng(0).permutation(len(names))
    arrays = {"rows": np.load(made / "representation.npy")[order], "names": names[order]}
    np.savez(copy / "release.npz", **arrays, clusters=np.load(made / "clusters.npy")[order])
    params = runs.params_of(copy)
    places = {"representation": "rows", "filenames": "names", "clusters": "clusters"}
    places = {name: f"{copy / 'release.npz'}:{array}" for name, array in places.items()}
    (triplets,) = made.glob("valid_*.npz")
    places["triplets"] = str(shutil.copyfile(triplets, copy / "triplets.npz"))
    params["synthesis"] |= {"released": {"alignet": places}, "signal_backbone": None}  # 100 triplets tell no signal
    runs.write_params(copy, params)
    before = np.load(made / "representation.npy")
    shutil.rmtree(made)
    shutil.rmtree(copy / "data" / "students" / "vit" / "alignet")
    runs.run(copy, sys.executable, "-m", "alignet.synthesis.released", "--target", "alignet", "--out-dir", str(copy))
    assert np.array_equal(np.load(made / "representation.npy"), before)
    arguments = ["--name", "vit", "--target", "alignet", "--out-dir", str(copy)]
    runs.run(copy, sys.executable, "-m", "alignet.student", *arguments)
    assert (copy / "data" / "students" / "vit" / "alignet" / "pooled.npy").is_file()


@pytest.mark.xdist_group("refused world")
def test_a_refused_world_is_one_clear_line_and_leaves_nothing(tmp_path):
    params = runs.smoke_params()
    params["world"] = {"source": "folder", "path": "no_such_world"}
    folder = runs.copy_of_the_repository(tmp_path, params)
    done = runs.run(folder, "dvc", "repro", "world", check=False)
    assert done.returncode != 0
    assert "world.yaml: no such file" in done.stdout + done.stderr
    assert not (folder / "data" / "world").exists()


@pytest.mark.xdist_group("refused world")
def test_rows_that_are_added_to_ones_own_world_are_seen_by_the_next_run(tmp_path):
    own = tmp_path / "own"
    (own / "pictures").mkdir(parents=True)
    names = [f"{split}{n}" for split in ("human", "synthesis", "test") for n in range(4)]
    for number, name in enumerate(names):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(own / "pictures" / f"{name}.png")
    images = pd.DataFrame({"image": names, "path": [f"pictures/{name}.png" for name in names], "concept": names})
    images.assign(split=[name[:-1] for name in names]).to_csv(own / "images.csv", index=False)
    choices = "image_0,image_1,image_2,odd,participant\nhuman0,human1,human2,0,p\n"
    (own / "triplets.csv").write_text(choices)
    (own / "world.yaml").write_text("format: 1\nname: own\nhierarchy: [concept]\n")
    params = runs.smoke_params() | {"world": {"source": "folder", "path": str(own)}}
    (tmp_path / "copy").mkdir()
    folder = runs.copy_of_the_repository(tmp_path / "copy", params)
    runs.run(folder, "dvc", "repro", "world")
    assert "Stage 'world' didn't change" in runs.run(folder, "dvc", "repro", "world").stdout
    (own / "triplets.csv").write_text(choices + "human1,human2,human3,2,q\n")
    assert "Running stage 'world'" in runs.run(folder, "dvc", "repro", "world").stdout
    assert len(tables.read(folder / "data" / "world").triplets) == 2


@pytest.mark.xdist_group("photographs")
@pytest.mark.skipif("ALIGNET_TEST_WORLD" not in os.environ, reason="ALIGNET_TEST_WORLD names no folder of photographs")
def test_the_map_fitted_on_photographs_chooses_more_like_people_on_unseen_objects(tmp_path):
    params = runs.params_of(runs.ROOT)
    params["world"] = {"source": "folder", "path": os.environ["ALIGNET_TEST_WORLD"]}
    params["run"]["backbones"] = ["lite0"]
    params["backbones"]["lite0"]["layer"] = "blocks.5"
    params["teacher"] |= {"backbones": ["lite0"], "folds": 2, "grid": [{}], "soft_labels": [1000]}
    params["synthesis"]["signal_backbone"] = None
    folder = runs.copy_of_the_repository(tmp_path, params)
    runs.run(folder, "dvc", "repro", "teacher")
    scores = pd.read_csv(folder / "reports" / "tables" / "teacher.csv")
    scores = scores[scores["level"] == "judged"]
    unseen = scores[scores["split"] == "validation"].pivot(index="fold", columns="map", values="odd_one_out_accuracy")
    assert len(unseen) == 2
    assert (unseen["fitted"] > unseen["none"]).all()
    assert set(scores["choices"]) == {"human"}
