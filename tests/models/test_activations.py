import copy
import dataclasses

import inputs
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from alignet import config
from alignet.models import activations, backbones, layers

FEATURES = config.Features(batch_size=2, workers=0, precision="float32", cache_bytes=0, devices=1)


def settings(model, seed=0, **options):
    options = {"img_size": 32, "depth": 2} if "vit" in model else options
    return inputs.backbone(model, seed=seed, **options)


VIT = settings("vit_tiny_patch16_224")
SHOWN = inputs.random_pictures(5)


def save_student(folder, seed):
    embedder = backbones.create(settings("vit_tiny_patch16_224", seed=seed))
    state = {f"embedder.model.{name}": value.contiguous() for name, value in embedder.model.state_dict().items()}
    folder.mkdir(parents=True)
    save_file(state | {"triplet_head.weight": torch.zeros(2, 2)}, folder / "student.safetensors")
    return embedder


def test_students_are_loaded_before_and_after_each_target(tmp_path):
    trained = save_student(tmp_path / "students" / "vit" / "alignet", seed=7)
    students = activations.load(tmp_path, {"vit": VIT}, ["alignet"])
    assert list(students) == [("vit", "base"), ("vit", "alignet")]
    (base, size), (aligned, _) = students.values()
    assert size == 32
    with torch.inference_mode():
        assert torch.equal(aligned(SHOWN), trained(SHOWN))
        assert not torch.allclose(base(SHOWN), aligned(SHOWN))


def test_a_checkpoint_that_is_missing_or_of_another_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"student.safetensors: no such file; run the student stage"):
        activations.load(tmp_path, {"vit": VIT}, ["alignet"])
    save_student(tmp_path / "students" / "vit" / "alignet", seed=7)
    with pytest.raises(RuntimeError, match="state_dict"):
        activations.load(tmp_path, {"vit": settings("resnet18")}, ["alignet"])


def test_pictures_that_do_not_fit_into_memory_give_the_same_features(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path, picture in zip(paths, SHOWN, strict=True):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path)
    students = {("vit", target): (backbones.create(settings("vit_tiny_patch16_224", seed=7)), 32) for target in "ab"}
    sizes = [dataclasses.replace(FEATURES, cache_bytes=size) for size in (1, 10**9)]
    some, all_at_once = (activations.forward(students, paths, reading, by_layer=True) for reading in sizes)
    for key, by_layer in all_at_once.items():
        assert list(some[key]) == list(by_layer)
        for name, rows in by_layer.items():
            torch.testing.assert_close(some[key][name], rows, atol=1e-5, rtol=1e-5)


def test_layers_are_blocks_or_stages_in_order_and_no_parts_of_them():
    assert layers.names(backbones.create(VIT).model) == ["blocks.0", "blocks.1"]
    efficient = backbones.create(settings("tf_efficientnet_lite0"))
    assert layers.names(efficient.model) == [f"blocks.{n}" for n in range(7)]
    assert layers.names(backbones.create(settings("resnet18")).model) == [f"layer{n}" for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "resnet18"])
def test_one_pass_gives_what_a_pass_for_each_layer_gives_whatever_the_batches(model):
    embedder = backbones.create(settings(model))
    names = layers.names(embedder.model)
    found = activations.at_layers([embedder], SHOWN.split(2), names, "float32")[0]
    assert list(found) == [*names, "pooled"]
    with torch.inference_mode():
        for name, rows in found.items():
            assert torch.allclose(rows, embedder.at_layer(SHOWN, name), atol=1e-5), name


def test_the_hooks_are_gone_even_after_a_failure():
    embedder = backbones.create(VIT)
    with pytest.raises(AttributeError):
        activations.at_layers([embedder], [None], ["blocks.0"], "float32")
    assert not embedder.model.blocks[0]._forward_hooks


def test_pictures_from_files_are_those_in_memory_at_each_students_size(tmp_path):
    paths = []
    for number, picture in enumerate(SHOWN):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(paths[-1])
    students = {("vit", "base"): (backbones.create(VIT), 32)}
    shown = activations.stacks(students, paths, FEATURES)
    assert torch.equal(shown[32], SHOWN)
    found = activations.forward(students, paths, FEATURES, by_layer=True)["vit", "base"]
    again = activations.embed(students, {32: SHOWN}, FEATURES)["vit", "base"]
    assert list(found) == ["blocks.0", "blocks.1", "pooled"]
    assert list(again) == ["pooled"]
    assert torch.equal(found["pooled"], again["pooled"])


def fine_tuned(base, *changed):
    """A copy of a model whose parameters below the named submodules are others."""
    twin = copy.deepcopy(base)
    for name in changed:
        for parameter in twin.model.get_submodule(name).parameters():
            parameter.data.mul_(1.5)
    return twin


@pytest.mark.parametrize(
    ("model", "changed", "common"),
    [
        ("tf_efficientnet_lite0", ["blocks.5"], ["blocks.0", "blocks.4"]),
        ("resnet18", ["layer3", "layer4"], ["layer1", "layer2"]),
        ("vit_tiny_patch16_224", ["blocks.1"], []),
    ],
)
def test_models_of_one_student_run_what_they_share_once_and_give_what_each_gives_alone(model, changed, common):
    base = backbones.create(settings(model))
    students = {("s", "base"): (base, 32), ("s", "alignet"): (fine_tuned(base, *changed), 32)}
    alone = {key: activations.embed({key: students[key]}, {32: SHOWN}, FEATURES, True)[key] for key in students}
    passes = []
    for name in common:
        students["s", "alignet"][0].model.get_submodule(name).register_forward_hook(lambda *_: passes.append(1))
    together = activations.embed(students, {32: SHOWN}, FEATURES, by_layer=True)
    assert passes == []
    for key, by_layer in alone.items():
        assert list(together[key]) == list(by_layer)
        for name, rows in by_layer.items():
            torch.testing.assert_close(together[key][name], rows, rtol=0, atol=0)
    assert not torch.equal(together["s", "base"]["pooled"], together["s", "alignet"]["pooled"])


def test_layers_that_are_not_run_or_cannot_be_pooled_are_left_out_and_said(capsys):
    embedder = backbones.create(dataclasses.replace(settings("twins_svt_small"), picture_size=224))
    shown = inputs.random_pictures(2, 224)
    names = activations.readable(embedder, shown)
    said = capsys.readouterr().out
    assert names == []  # its blocks.N hold lists of blocks, which are not run themselves
    assert "layer blocks.0 is left out: is not run for the features" in said
    by_layer = activations.by_layer(embedder, iter([shown]), "float32")
    assert list(by_layer) == [*names, "pooled"]
