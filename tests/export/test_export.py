import dataclasses
import json
import re
import stat
from pathlib import Path

import inputs
import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file, save_model

import alignet.models
from alignet import config
from alignet.export import __main__ as export
from alignet.export import card
from alignet.models import backbones
from alignet.student.network import StudentNetwork, own_tensors
from alignet.teacher import affine_map
from alignet.worlds.format import pictures, tables

BACKBONES = {
    "lite0": {"model": "tf_efficientnet_lite0", "options": {}, "weights": "package"},
    "vit": {"model": "vit_tiny_patch16_224", "options": {"img_size": 32, "depth": 1}, "weights": "random"},
}
COMMON = {"layer": "pooled", "picture_size": 32, "seed": 0}


def world(folder, choices):
    images = pd.DataFrame({"image": list("abcde"), "path": [f"{name}.png" for name in "abcde"]})
    images = images.assign(concept=list("abcde"), split=["human", "human", "human", "synthesis", "test"])
    triplets = pd.DataFrame({"image_0": ["a"], "image_1": ["b"], "image_2": ["c"], "odd": [0], "participant": ["p"]})
    for place, path in enumerate(images["path"]):
        folder.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").rotate(90 * place).resize((40, 40 + place)).save(folder / path)
    return tables.World("toy", choices, folder, ("concept",), images, triplets, None)


def scores(choices):
    rows = [
        {"student": name, "target": target, "representation": "pooled", "level": "fine", "odd_one_out_accuracy": value}
        for name in BACKBONES
        for target, value in (("base", 0.4321), ("unalignet", 0.4567), ("alignet", 0.5678))
    ]
    bounds = {"ci_low": 0.4, "ci_high": 0.6, "noise_ceiling": 0.7, "n_triplets": 10, "choices": choices}
    bounds |= {"study": "", "regime": "new"}
    return pd.DataFrame(rows).assign(**bounds)


def run(folder: Path, name: str, choices: str = "simulated") -> StudentNetwork:
    """A run's folders with one trained student: its weights differ from the backbone's."""
    params = {"backbones": {student: chosen | COMMON for student, chosen in BACKBONES.items()}}
    params["synthesis"] = {"styles": "judged"}
    params["features"] = {"batch_size": 4, "workers": 0, "precision": "float32", "cache_bytes": 0, "devices": 1}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    tables.write(world(folder / "data" / "world", choices), folder / "data" / "world")
    (folder / "reports" / "tables").mkdir(parents=True)
    scores(choices).to_csv(folder / "reports" / "tables" / "levels.csv", index=False)
    generator = torch.Generator().manual_seed(1)
    settings = config.load(f"backbones.{name}", config.Backbone, str(folder / "params.yaml"))
    student = StudentNetwork(backbones.create(settings), 8, generator).eval()
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
    text = (tmp_path / "out" / "README.md").read_text()
    assert ("SIMULATED" in text) == (choices == "simulated")
    assert ("DERIVED" in text) == (choices == "derived")
    for part in (
        "| fine | alignet | 0.568 |",
        "| fine | base | 0.432 |",
        "| fine | control | 0.457 |",
        "world `toy`, 1 pictures",
        "Apache-2.0",
    ):
        assert part in text
    assert not re.search(r"\{[a-z_]+\}", text)


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


FEW = {"depth": 2}
EXPORTED = [  # model, pixels that are mostly not its own, options; those of a fixed size first
    ("vit_tiny_patch16_224", 112, {}),
    ("vit_tiny_patch16_224", 112, {"dynamic_img_size": True}),
    ("vit_tiny_patch16_384", 384, FEW),
    ("vit_small_patch14_dinov2", 112, FEW),
    ("vit_small_patch14_reg4_dinov2", 112, FEW),
    ("vit_base_patch16_siglip_224", 112, FEW),
    ("deit_tiny_patch16_224", 112, FEW),
    ("deit_tiny_distilled_patch16_224", 112, FEW),
    ("deit3_small_patch16_224", 112, FEW),
    ("beit_base_patch16_224", 112, FEW),
    ("eva02_tiny_patch14_224", 112, FEW),
    ("eva02_tiny_patch14_336", 336, FEW),
    ("swin_tiny_patch4_window7_224", 112, {}),
    ("swinv2_tiny_window8_256", 128, {}),
    ("swinv2_cr_tiny_224", 112, {}),
    ("maxvit_pico_rw_256", 128, {}),
    ("coatnet_nano_rw_224", 224, {}),
    ("cait_xxs24_224", 112, FEW),
    ("convit_tiny", 112, {}),
    ("xcit_nano_12_p16_224", 112, FEW),
    ("crossvit_tiny_240", 120, {}),
    ("mixer_s32_224", 112, {}),
    ("gmlp_ti16_224", 112, {}),
    ("levit_128s", 112, {}),
    ("pit_ti_224", 112, {}),
    ("nest_tiny", 112, {}),
    ("tiny_vit_5m_224", 112, {}),
    ("efficientvit_m0", 112, {}),
    ("volo_d1_224", 224, {}),
    ("samvit_base_patch16_224", 112, FEW),
    ("coat_lite_tiny", 224, {}),
    ("mobilevit_xxs", 128, {}),
    ("convnext_atto", 64, {}),
    ("resnet10t", 64, {}),
    ("mobilenetv4_conv_small", 64, {}),
    ("regnetx_002", 64, {}),
    ("ghostnet_050", 64, {}),
    ("poolformer_s12", 64, {}),
    ("fastvit_t8", 64, {}),
    ("edgenext_xx_small", 64, {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "options"), EXPORTED, ids=[f"{name}-{size}" for name, size, _ in EXPORTED])
def test_what_timm_alone_makes_of_an_export_of_any_family_gives_the_same_features(name, size, options, tmp_path):
    settings = config.Backbone(model=name, options=options, weights="random", layer="pooled", picture_size=size, seed=0)
    embedder, again = backbones.create(settings), dataclasses.replace(settings, model=f"local-dir:{tmp_path / 'out'}")
    with torch.no_grad():
        for weight in embedder.parameters():
            weight.add_(0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    export.write_model(tmp_path / "out", embedder, own_tensors(embedder.model), settings)
    shown = torch.randint(256, (2, 3, size, size), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    alone = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    prepared = timm.data.resolve_model_data_config(alone)
    mean, std = (torch.tensor(prepared[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        expected = embedder(shown)
        close = {"rtol": 1e-3, "atol": 1e-3 * float(expected.abs().max())}
        torch.testing.assert_close(alone((shown / 255 - mean) / std), expected, **close)
        loaded = backbones.create(dataclasses.replace(again, weights="timm", options={}))
        torch.testing.assert_close(loaded(shown), expected, **close)
    assert tuple(prepared["input_size"]) == (3, size, size)
    assert expected.std() > 0


def test_an_export_of_an_export_is_of_its_architecture_and_of_the_size_that_it_is_given(tmp_path):
    common = {"options": {"depth": 1}, "weights": "random", "layer": "pooled", "seed": 0}
    first = config.Backbone(model="vit_tiny_patch16_224.augreg_in21k", picture_size=64, **common)
    embedder = backbones.create(first)
    export.write_model(tmp_path / "one", embedder, own_tensors(embedder.model), first)
    second = config.Backbone(
        model=f"local-dir:{tmp_path / 'one'}", picture_size=32, **(common | {"options": {}, "weights": "timm"})
    )
    embedder = backbones.create(second)
    export.write_model(tmp_path / "two", embedder, own_tensors(embedder.model), second)
    record = json.loads((tmp_path / "two" / "config.json").read_text())
    assert record["architecture"] == "vit_tiny_patch16_224"
    assert record["model_args"] == {"depth": 1, "img_size": 32}


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"model_args": {"img_size": 48, "depth": 1}}, "timm cannot load the export"),
        ({"model_args": {"img_size": 32, "depth": 1, "act_layer": "relu"}}, "timm loads the export and gives other"),
    ],
)
def test_an_export_that_timm_makes_something_else_of_is_refused_and_leaves_the_folder_as_it_was(
    spoilt, said, tmp_path, capsys, monkeypatch
):
    run(tmp_path, "vit")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("an earlier export")
    record = export.timm_config
    monkeypatch.setattr(export, "timm_config", lambda *given: record(*given) | spoilt)
    assert export_it(tmp_path, "vit") == 1
    assert said in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]
    assert (tmp_path / "out" / "config.json").read_text() == "an earlier export"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


def test_what_was_not_trained_or_scored_is_refused(tmp_path, capsys):
    run(tmp_path, "vit")
    assert export_it(tmp_path, "lite0") == 1
    assert "student.safetensors: no such file" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no scores of student 'vit', target 'unalignet'"):
        card.score_table(scores("human").query("target != 'unalignet'"), "vit", "unalignet")


def test_an_exported_student_embeds_and_chooses_in_three_lines(tmp_path):
    student = run(tmp_path, "vit")
    export_it(tmp_path, "vit")
    paths = [tmp_path / "data" / "world" / f"{name}.png" for name in "abc"]
    model = alignet.models.load(tmp_path / "out")
    features = model.embed(paths)
    expected = student(torch.stack([pictures.decode(path, 32) for path in paths]))[0]
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
    with Image.open(paths[0]) as opened:
        torch.testing.assert_close(model.embed(opened), features[:1], atol=1e-5, rtol=1e-5)
    odd, probabilities = model.odd_one_out(paths)
    unit = torch.nn.functional.normalize(features - features.mean(0), dim=1)  # all three were judged: they are centred
    cosines = torch.stack([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]])
    assert odd == int(cosines.argmax())
    assert float(probabilities.sum()) == pytest.approx(1)
    assert probabilities.argsort().tolist() == cosines.argsort().tolist()
    assert model.embed([]).shape == (0, features.shape[1])


def test_the_lines_of_the_readme_use_an_exported_student(tmp_path, monkeypatch, capsys):
    run(tmp_path, "vit")
    export_it(tmp_path, "vit")
    (tmp_path / "exports").mkdir()
    (tmp_path / "out").rename(tmp_path / "exports" / "lite0")
    for name, world_name in zip(("dog", "cat", "car"), "abc", strict=True):
        with Image.open(tmp_path / "data" / "world" / f"{world_name}.png") as opened:
            opened.convert("RGB").save(tmp_path / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)
    readme = (config.home() / "README.md").read_text(encoding="utf-8")
    block = readme.partition("## Use an aligned model\n")[2].partition("\nYour own")[0]
    names: dict = {}
    exec("\n".join(line.removeprefix("    ") for line in block.splitlines()), names)
    assert names["features"].shape[0] == 3
    assert re.search(r"(?m)^(dog|cat|car)\.jpg tensor\(\[", capsys.readouterr().out)


def test_what_cannot_be_chosen_or_loaded_is_one_line(tmp_path):
    run(tmp_path, "vit")
    export_it(tmp_path, "vit")
    model = alignet.models.load(tmp_path / "out")
    with pytest.raises(ValueError, match="of three pictures, not of 1"):
        model.odd_one_out([tmp_path / "data" / "world" / "a.png"])
    with pytest.raises(ValueError, match=r"README.md: cannot be read as a picture"):
        model.embed(tmp_path / "out" / "README.md")
    (tmp_path / "out" / "choice.safetensors").unlink()
    with pytest.raises(ValueError, match=r"choice.safetensors: no such file"):
        alignet.models.load(tmp_path / "out")


def test_exported_files_can_be_read_by_others(tmp_path):
    run(tmp_path, "vit")
    (tmp_path / "out").mkdir(mode=0o755)
    export_it(tmp_path, "vit")
    assert all(path.stat().st_mode & stat.S_IROTH for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize("axes", [True, False])
def test_the_teachers_arrays_give_the_maps_outputs(tmp_path, axes):
    run(tmp_path, "vit")
    generator = torch.Generator().manual_seed(3)
    components = torch.linalg.qr(torch.randn(5, 3, generator=generator))[0].T if axes else None
    k = 3 if axes else 5
    scale = torch.rand(5, generator=generator) + 0.5 if axes else torch.tensor(2.0)
    parts = (torch.randn(k, k, generator=generator), torch.randn(k, generator=generator))
    fitted = affine_map.AffineMap(*parts, torch.randn(5, generator=generator), scale, components)
    teacher = tmp_path / "data" / "teacher"
    teacher.mkdir()
    tensors = {name: tensor.contiguous() for name, tensor in vars(fitted).items() if tensor is not None}
    save_file(tensors, teacher / "teacher.safetensors")
    export.export_teacher(tmp_path / "out", "params.yaml", str(tmp_path))
    arrays = np.load(tmp_path / "out" / "transform.npz")
    features = torch.randn(4, 5, generator=generator)
    found = (features.numpy() - arrays["mean"]) / arrays["std"] @ arrays["weights"] + arrays["bias"]
    np.testing.assert_allclose(found, fitted(features).numpy(), rtol=1e-5, atol=1e-5)
    assert "tf_efficientnet_lite1" in (tmp_path / "out" / "README.md").read_text()


def test_the_map_of_a_teacher_that_reads_a_file_of_features_says_so_and_a_folder_that_is_a_file_is_one_line(
    tmp_path, capsys
):
    params = {"base": "params.yaml", "backbones": {"clip": {"features": "clip.npy", "names": None}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(params | {"teacher": {"backbones": ["clip"]}}))
    (tmp_path / "data").mkdir()
    fitted = affine_map.AffineMap(torch.eye(2), torch.zeros(2), torch.zeros(2), torch.tensor(1.0), None)
    fitted.save(tmp_path / "data" / "teacher", inputs.settings("teacher"))
    words = ["--params-file", str(tmp_path / "mine.yaml"), "--out-dir", str(tmp_path)]
    assert export.main(["--teacher", str(tmp_path / "out"), *words]) == 0
    assert "features of the file clip.npy" in (tmp_path / "out" / "README.md").read_text()
    capsys.readouterr()
    assert export.main(["--teacher", str(tmp_path / "mine.yaml"), *words]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_student_without_a_head_has_one_part():
    model = {"blocks.0.weight": torch.ones(2)}
    state = {f"embedder.model.{name}": tensor for name, tensor in model.items()}
    found, head = export.parts(state, model, "student.safetensors")
    assert found.keys() == model.keys()
    assert head == {}
    with pytest.raises(ValueError, match=r"missing triplet_head\.bias"):
        export.parts(state | {"triplet_head.weight": torch.ones(2, 2)}, model, "student.safetensors")
