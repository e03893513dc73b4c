"""Six families of backbones through every stage, in miniature: as teacher, as student, scored and drawn."""

import pandas as pd
import pytest
from runs import copy_of_the_repository, run_in_one_process, smoke_params

from alignet import results

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("families")]
FAMILIES = {  # name: model, pixels, layer that the teacher reads
    "vit": ("vit_tiny_patch16_224", 32, "blocks.3"),
    "convnext": ("convnext_atto", 32, "stages.2"),
    "resnet": ("resnet18", 32, "layer3"),
    "swin": ("swin_tiny_patch4_window7_224", 56, "layers.1"),
    "mobilenet": ("mobilenetv4_conv_small", 32, "blocks.3"),
    "mixer": ("mixer_s32_224", 64, "blocks.2"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    params = smoke_params()
    common = {"options": {}, "weights": "random", "seed": 0}
    params["backbones"] = {
        name: common | {"model": model, "picture_size": size, "layer": "pooled"}
        for name, (model, size, _) in FAMILIES.items()
    }
    params["backbones"] |= {
        f"{name}_layer": common | {"model": model, "picture_size": size, "layer": [layer, "pooled"]}
        for name, (model, size, layer) in FAMILIES.items()
    }
    (student,) = [params["students"][name] for name in params["run"]["students"][:1]]
    params["students"] = {name: student | {"steps": 2, "frozen_layers": []} for name in FAMILIES}
    params["run"] = {
        "backbones": list(params["backbones"]),
        "students": list(FAMILIES),
        "targets": ["alignet", "unalignet"],
    }
    params["teacher"] |= {"backbones": [f"{name}_layer" for name in FAMILIES]}
    params["synthesis"] |= {"signal_backbone": "vit"}
    params["cost"] |= {"pretraining": dict.fromkeys(FAMILIES)}
    folder = copy_of_the_repository(tmp_path_factory.mktemp("families"), params)
    run_in_one_process(folder)
    return folder


def test_every_family_is_aligned_scored_and_drawn(finished):
    scores = pd.read_csv(finished / "reports" / "tables" / "levels.csv")
    pooled = scores[(scores["representation"] == "pooled") & scores["target"].isin(results.TARGETS)]
    assert set(pooled["student"]) == set(FAMILIES)
    assert pooled["odd_one_out_accuracy"].between(0, 1).all()
    assert (finished / "reports" / "figures" / "levels.png").is_file()


def test_every_familys_layers_are_compared_for_the_teacher(finished):
    layers = pd.read_csv(finished / "reports" / "tables" / "teacher_layers.csv")
    assert set(layers["backbone"]) == {f"{name}_layer" for name in FAMILIES}
    assert (layers.groupby("backbone")["layer"].nunique() >= 4).all()
