import json
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file, save_file, save_model

from alignet import config, export
from alignet.models import backbones
from alignet.student.network import Student
from alignet.worlds.format import tables

BACKBONES = {
    "lite0": {"model": "tf_efficientnet_lite0", "options": {}, "weights": "package"},
    "vit": {"model": "vit_tiny_patch16_224", "options": {"img_size": 32, "depth": 1}, "weights": "random"},
}
COMMON = {"layer": "pooled", "picture_size": 32, "seed": 0}


def world(pictures, choices):
    images = pd.DataFrame({"image": list("abcde"), "path": [f"{name}.png" for name in "abcde"]})
    images = images.assign(concept=list("abcde"), split=["human", "human", "human", "synthesis", "test"])
    triplets = pd.DataFrame({"image_0": ["a"], "image_1": ["b"], "image_2": ["c"], "odd": [0], "participant": ["p"]})
    return tables.World("toy", choices, pictures, ("concept",), images, triplets, None)


def scores(choices):
    rows = [
        {"student": name, "target": target, "representation": "pooled", "level": "fine", "odd_one_out_accuracy": value}
        for name in BACKBONES
        for target, value in (("base", 0.4321), ("alignet", 0.5678))
    ]
    bounds = {"ci_low": 0.4, "ci_high": 0.6, "noise_ceiling": 0.7, "n_triplets": 10, "choices": choices}
    return pd.DataFrame(rows).assign(**bounds)


def run(folder: Path, name: str, choices: str = "simulated") -> Student:
    """A run's folders with one trained student: its weights differ from the backbone's."""
    params = {"backbones": {student: chosen | COMMON for student, chosen in BACKBONES.items()}}
    params["synthesis"] = {"styles": "judged"}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    tables.write(world(folder / "data" / "world", choices), folder / "data" / "world")
    (folder / "reports" / "tables").mkdir(parents=True)
    scores(choices).to_csv(folder / "reports" / "tables" / "levels.csv", index=False)
    generator = torch.Generator().manual_seed(1)
    settings = config.load(f"backbones.{name}", config.Backbone, str(folder / "params.yaml"))
    student = Student(backbones.create(settings), 8, generator).eval()
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(0.01 * torch.randn(weight.shape, generator=generator))
    checkpoint = folder / "data" / "students" / name / "alignet"
    checkpoint.mkdir(parents=True)
    save_model(student, str(checkpoint / "student.safetensors"))
    return student


def export_it(folder, name):
    arguments = [name, "alignet", str(folder / "out"), f"--params={folder / 'params.yaml'}", f"--out-dir={folder}"]
    return export.main(arguments)


@pytest.mark.parametrize("name", list(BACKBONES))
@torch.inference_mode()
def test_timm_loads_the_export_and_gives_the_students_outputs(name, tmp_path):
    with torch.inference_mode(False):
        student = run(tmp_path, name)
    assert export_it(tmp_path, name) == 0
    file = str(tmp_path / "out" / "model.safetensors")
    options = {"num_classes": 0} | BACKBONES[name]["options"]
    overlay = {"file": file, "num_classes": 0, "custom_load": False}
    by_card = timm.create_model(BACKBONES[name]["model"], pretrained=True, pretrained_cfg_overlay=overlay, **options)
    by_file = timm.create_model(
        BACKBONES[name]["model"], pretrained=True, pretrained_cfg_overlay={"file": file}, **options
    )
    by_folder = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    shown = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pooled, head = student(shown)
    linear = load_file(tmp_path / "out" / "triplet_head.safetensors")
    for model in (by_card, by_file, by_folder):
        found = model.eval()((shown / 255 - 0.5) / 0.5)
        torch.testing.assert_close(found, pooled, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found @ linear["weight"].T + linear["bias"], head, atol=1e-4, rtol=1e-4)


def test_the_config_says_how_pictures_are_prepared(tmp_path):
    run(tmp_path, "vit")
    export_it(tmp_path, "vit")
    record = json.loads((tmp_path / "out" / "config.json").read_text())
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    data = timm.data.resolve_model_data_config(model)
    assert record["model_args"] == {"img_size": 32, "depth": 1}
    assert data["interpolation"] == "bicubic"
    assert (data["crop_pct"], data["crop_mode"]) == (1.0, "squash")
    assert tuple(data["input_size"]) == (3, 32, 32)
    assert tuple(data["mean"]) == tuple(data["std"]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("choices", ["simulated", "human", "derived"])
def test_the_card_has_scores_and_says_whose_choices_they_are(choices, tmp_path):
    run(tmp_path, "vit", choices)
    export_it(tmp_path, "vit")
    card = (tmp_path / "out" / "README.md").read_text()
    assert ("SIMULATED" in card) == (choices == "simulated")
    assert ("DERIVED" in card) == (choices == "derived")
    for part in ("| fine | alignet | 0.568 |", "| fine | base | 0.432 |", "world `toy`, 1 pictures", "Apache-2.0"):
        assert part in card
    assert "{" not in card


def test_a_checkpoint_of_another_network_is_refused_by_tensor(tmp_path, capsys):
    run(tmp_path, "vit")
    file = tmp_path / "data" / "students" / "vit" / "alignet" / "student.safetensors"
    state = load_file(file)
    del state["embedder.model.pos_embed"]
    state |= {"stray": torch.zeros(1), "triplet_head.scale": torch.zeros(1)}
    state["embedder.model.cls_token"] = torch.zeros(1, 1, 7)
    save_file(state, file)
    assert export_it(tmp_path, "vit") == 1
    error = capsys.readouterr().err
    for part in ("missing pos_embed", "unexpected stray", "unexpected triplet_head.scale", "cls_token (1, 1, 7)"):
        assert part in error
    assert not (tmp_path / "out").exists()


def test_what_was_not_trained_or_scored_is_refused(tmp_path, capsys):
    run(tmp_path, "vit")
    assert export_it(tmp_path, "lite0") == 1
    assert "student.safetensors: no such file" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no scores of student 'vit', target 'unalignet'"):
        export.score_table(scores("human"), "vit", "unalignet")
