"""params/things_siglip.yaml, whose weights cannot be had off line: models and stages in miniature, random weights."""

import pandas as pd
import pytest
import timm
import torch
from runs import copy_of_the_repository, run_in_one_process, smoke_params

from alignet import config, results
from alignet.models import backbones

PROFILE = "params/things_siglip.yaml"
NAMES = config.names("backbones", PROFILE)
WIDTH = 48


def profile(section):
    return config.values(PROFILE)[section]


def shrunk(name):
    """A backbone of the profile with one narrow block and random weights, on pictures of two by two patches."""
    values = profile("backbones")[name]
    side = 2 * (14 if "patch14" in values["model"] else 16)
    options = values["options"] | {"depth": 1, "embed_dim": WIDTH, "num_heads": 2, "img_size": side}
    return values | {"weights": "random", "options": options, "picture_size": side}


@pytest.mark.parametrize("name", NAMES)
def test_every_model_has_the_weights_that_are_named_and_is_made_in_miniature(name):
    values = profile("backbones")[name]
    assert values["weights"] == "timm"
    assert timm.is_model_pretrained(values["model"])
    settings = config.Backbone(**shrunk(name))
    side = settings.picture_size
    assert backbones.create(settings)(torch.zeros(2, 3, side, side, dtype=torch.uint8)).shape == (2, WIDTH)


def test_the_teacher_is_seen_at_its_size_and_is_no_student():
    assert profile("teacher")["backbones"] == ["so400m"]
    assert profile("backbones")["so400m"]["picture_size"] == 384
    assert "so400m" not in profile("run")["students"]
    assert profile("world")["path"] == config.values("params/things.yaml")["world"]["path"]


@pytest.mark.slow
@pytest.mark.xdist_group("things_siglip")
def test_every_stage_runs_in_miniature(tmp_path):
    params, students = smoke_params(), profile("run")["students"]
    short = {"head_width": 16, "steps": 2, "warmup_steps": 1, "batch_clusters": 4, "batch_pictures": 2}
    short |= {"held_out_triplets": 8, "held_out_every": 1, "checkpoint_every": 1, "precision": "float32"}
    params["run"] |= profile("run")
    params["backbones"] = {name: shrunk(name) for name in NAMES}
    params["students"] = {name: profile("students")[name] | short for name in students}
    params["teacher"] |= {name: profile("teacher")[name] for name in ("backbones", "pca", "lr")}
    params["synthesis"] |= {"signal_backbone": profile("synthesis")["signal_backbone"]}
    params["cost"] = params["cost"] | {"pretraining": profile("cost")["pretraining"]}
    folder = copy_of_the_repository(tmp_path / "run", params)
    run_in_one_process(folder)
    scores = pd.read_csv(folder / "reports" / "tables" / "levels.csv")
    assert set(scores.loc[scores["target"].isin(results.TARGETS), "student"]) == set(students)
    assert set(scores["target"]) == {*results.TARGETS, results.FLOOR, results.TEACHER_BEFORE, results.TEACHER}
    assert (folder / "reports" / "figures" / "levels.png").is_file()
