import inputs
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from alignet import config
from alignet.models import backbones, big_vision

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
TOK = {**SMALL, "no_embed_class": True}
SIGLIP, VIT, GAP = "vit_base_patch16_siglip_224", "vit_base_patch16_224", "vit_base_patch16_siglip_gap_224"


def arrays(depth=2, width=24, heads=3, patch=8, tokens=16, pool="map", prefix="model/_Model_0/"):
    """Random arrays of the names and shapes of google-deepmind/alignet's bv_vit.py."""
    generator = np.random.default_rng(0)

    def attention(name):
        each = width // heads
        shapes = {f"{name}/{part}/kernel": (width, heads, each) for part in ("query", "key", "value")}
        shapes |= {f"{name}/{part}/bias": (heads, each) for part in ("query", "key", "value")}
        return shapes | {f"{name}/out/kernel": (heads, each, width), f"{name}/out/bias": (width,)}

    def mlp(name):
        shapes = {f"{name}/Dense_0/kernel": (width, 4 * width), f"{name}/Dense_0/bias": (4 * width,)}
        return shapes | {f"{name}/Dense_1/kernel": (4 * width, width), f"{name}/Dense_1/bias": (width,)}

    def norm(name):
        return {f"{name}/scale": (width,), f"{name}/bias": (width,)}

    shapes = {"embedding/kernel": (patch, patch, 3, width), "embedding/bias": (width,)}
    shapes |= {"pos_embedding": (1, tokens, width)} | norm("Transformer/encoder_norm")
    for number in range(depth):
        block = f"Transformer/encoderblock_{number}"
        shapes |= norm(f"{block}/LayerNorm_0") | norm(f"{block}/LayerNorm_1")
        shapes |= attention(f"{block}/MultiHeadDotProductAttention_0") | mlp(f"{block}/MlpBlock_0")
    if pool == "map":
        shapes |= {"MAPHead_0/probe": (1, 1, width)} | norm("MAPHead_0/LayerNorm_0") | mlp("MAPHead_0/MlpBlock_0")
        shapes |= attention("MAPHead_0/MultiHeadDotProductAttention_0")
    if pool == "tok":
        shapes["cls"] = (1, 1, width)
    return {prefix + name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def heads(width=24):
    generator = np.random.default_rng(1)
    shapes = {"triplet_head/kernel": (width, 1024), "triplet_head/bias": (1024,), "i1k_head/kernel": (width, 1000)}
    shapes["i1k_head/bias"] = (1000,)
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def model(name=SIGLIP, options=SMALL):
    return timm.create_model(name, num_classes=0, **options).eval()


def stacked(blocks, depth=2):
    """The same arrays as big_vision's scan stores them: all blocks in one."""
    found = {name: array for name, array in blocks.items() if "encoderblock_" not in name}
    for name in (name for name in blocks if "encoderblock_0/" in name):
        parts = [blocks[name.replace("encoderblock_0/", f"encoderblock_{i}/")] for i in range(depth)]
        found[name.replace("encoderblock_0/", "encoderblock/")] = np.stack(parts)
    return found


CASES = [(SIGLIP, SMALL, "map"), (VIT, TOK, "tok"), (GAP, SMALL, "gap")]


@pytest.mark.parametrize(("name", "options", "pool"), CASES)
def test_timms_own_big_vision_loader_gives_the_same_tensors(name, options, pool, tmp_path):
    np.savez(tmp_path / "timm.npz", **arrays(pool=pool, prefix="params/"))
    theirs = model(name, options)
    theirs.load_pretrained(str(tmp_path / "timm.npz"))
    ours = big_vision.timm_state(arrays(pool=pool) | heads(), theirs.state_dict(), "test")
    assert ours.keys() == theirs.state_dict().keys()
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(ours[key], tensor), key


def test_a_block_of_the_released_width_converts():
    options = {"depth": 1}
    shapes = arrays(depth=1, width=768, heads=12, patch=16, tokens=196)
    theirs = model(SIGLIP, options)
    theirs.load_state_dict(big_vision.timm_state(shapes, theirs.state_dict(), "test"), strict=True)
    kernel = shapes["model/_Model_0/Transformer/encoderblock_0/MultiHeadDotProductAttention_0/key/kernel"]
    weight = theirs.blocks[0].attn.qkv.weight.detach().numpy()
    assert np.array_equal(weight[768:1536], kernel.reshape(768, 768).T)


@pytest.mark.parametrize("prefix", ["", "params/", "params/img/", "params/model/_Model_0/"])
def test_prefixes_stacked_blocks_and_tensorflows_endings_give_the_same_state(prefix):
    expected = model().state_dict()
    plain = big_vision.timm_state(arrays(), expected, "test")
    others = [arrays(prefix=prefix), stacked(arrays(prefix=prefix))]
    others += [{name + ":0": array for name, array in arrays(prefix=prefix).items()}]
    others += [{name + "/.ATTRIBUTES/VARIABLE_VALUE": array for name, array in arrays(prefix=prefix).items()}]
    for other in others:
        found = big_vision.timm_state(other, expected, "test")
        assert all(torch.equal(found[name], plain[name]) for name in expected)


def test_missing_and_unexpected_arrays_are_named_together():
    found = arrays(prefix="")
    found["Transformer/encoderblock_2/LayerNorm_0/scale"] = np.zeros(24)
    del found["MAPHead_0/probe"], found["embedding/bias"]
    with pytest.raises(ValueError, match=r"siglip\.npz: ") as caught:
        big_vision.timm_state(found, model().state_dict(), "siglip.npz")
    for part in ("missing MAPHead_0/probe", "missing embedding/bias", "unexpected Transformer/encoderblock_2/LayerN"):
        assert part in str(caught.value)


def test_another_shape_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"pos_embed \(1, 9, 24\), the model has \(1, 16, 24\)"):
        big_vision.timm_state(arrays(tokens=9), model().state_dict(), "test")


def test_a_model_of_another_kind_is_refused():
    expected = model("vit_base_patch16_clip_224", SMALL).state_dict()
    with pytest.raises(ValueError, match=r"the model's norm_pre\.weight has no counterpart"):
        big_vision.timm_state(arrays(pool="tok"), expected, "test")


def test_an_array_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match="two arrays are named embedding/kernel"):
        big_vision.timm_state(arrays() | arrays(prefix="params/"), model().state_dict(), "test")


def test_the_triplet_head_is_a_linear_layer_of_the_same_outputs():
    found = {f"params/{name}": array for name, array in heads().items()}
    weight, bias = big_vision.triplet_head(found)
    rows = np.random.default_rng(2).normal(size=(5, 24)).astype(np.float32)
    expected = rows @ heads()["triplet_head/kernel"] + heads()["triplet_head/bias"]
    torch.testing.assert_close(torch.from_numpy(rows) @ weight.T + bias, torch.from_numpy(expected))
    with pytest.raises(ValueError, match="no triplet_head"):
        big_vision.triplet_head(arrays())


def settings(path):
    return inputs.backbone(SIGLIP, weights=str(path), **SMALL)


@torch.inference_mode()
def test_an_npz_file_and_a_folder_of_arrays_are_weights_of_a_backbone(tmp_path):
    found = arrays() | heads()
    np.savez(tmp_path / "siglip.npz", **found)
    for name, array in found.items():
        file = tmp_path / "siglip" / f"{name}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, array)
    by_hand = model()
    by_hand.load_state_dict(big_vision.timm_state(found, by_hand.state_dict(), "test"))
    pictures = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = by_hand(pictures / 255)  # the release's pictures lie in [0, 1]
    for path in (tmp_path / "siglip.npz", tmp_path / "siglip"):
        torch.testing.assert_close(backbones.create(settings(path))(pictures), expected, atol=1e-4, rtol=1e-4)


def test_an_empty_folder_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"no \.npy file"):
        backbones.create(settings(tmp_path))


def numbered(tree):
    """What `dump` writes: arrays in the order of jax2tf, without names."""
    order = sorted((name for name in tree if "head/" not in name), key=lambda name: name.split("/"))
    order += ["triplet_head/bias", "triplet_head/kernel", "i1k_head/bias", "i1k_head/kernel"]
    return {f"{number:04d}": tree[name] for number, name in enumerate(order) if name in tree}


@pytest.mark.parametrize(("name", "options", "pool"), CASES)
def test_arrays_without_names_are_named_by_their_order(name, options, pool):
    tree = arrays(depth=12, pool=pool, prefix="")
    tree |= {"triplet_head/bias": np.zeros(1024), "triplet_head/kernel": np.ones((24, 1024))}
    tree |= {"i1k_head/bias": np.zeros(10), "i1k_head/kernel": np.zeros((24, 10))}
    expected = model(name, options | {"depth": 12}).state_dict()
    plain, found = (big_vision.timm_state(each, expected, "test") for each in (tree, numbered(tree)))
    assert all(torch.equal(found[key], plain[key]) for key in expected)
    heads = big_vision.triplet_head(big_vision.named(numbered(tree), expected, "test"))
    assert [tuple(part.shape) for part in heads] == [(1024, 24), (1024,)]


def test_the_order_is_that_of_the_siglip2_savedmodel():
    """Places that others read from the released file: ViCCo-Group/dimpred, training/alignet/mapping.tsv."""
    tree = arrays(depth=12, prefix="")
    order = list(big_vision.named(numbered(tree), model(options=SMALL | {"depth": 12}).state_dict(), "test"))
    assert order[0] == "MAPHead_0/LayerNorm_0/bias"
    assert order[7] == "MAPHead_0/MultiHeadDotProductAttention_0/key/kernel"
    assert order[14:16] == ["MAPHead_0/probe", "Transformer/encoder_norm/bias"]
    assert order[49] == "Transformer/encoderblock_10/LayerNorm_0/bias"
    assert order[80:82] == [
        "Transformer/encoderblock_11/MultiHeadDotProductAttention_0/value/kernel",
        "Transformer/encoderblock_2/LayerNorm_0/bias",
    ]
    assert len(order) == 212


@pytest.mark.parametrize("other", ["vit_base_patch16_clip_224", VIT, "vit_base_patch14_dinov2"])
def test_arrays_without_names_of_another_model_are_refused_in_one_line(other):
    with pytest.raises(ValueError, match=r"clip\.npz: ") as caught:
        big_vision.timm_state(numbered(arrays(prefix="")), model(other, SMALL).state_dict(), "clip.npz")
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_a_deeper_model_than_the_one_asked_for_is_refused():
    with pytest.raises(ValueError, match=r"68 arrays without names are not the 52 of this model"):
        big_vision.timm_state(numbered(arrays(depth=3)), model().state_dict(), "test")


@torch.inference_mode()
def probed(network, tree, mean=0.0, std=1.0):
    """A dump with the outputs of a SavedModel that is `network` behind a normalisation."""
    images = np.random.default_rng(3).random((2, 32, 32, 3), np.float32)
    outputs = network((torch.from_numpy(images).permute(0, 3, 1, 2) - mean) / std)
    return tree | {"probe/images": images, "probe/pre_logits": outputs.numpy()}


def loaded(options=SMALL):
    network = model(options=options)
    network.load_state_dict(big_vision.timm_state(arrays(), network.state_dict(), "test"))
    return network


def create(tree, path, options=SMALL):
    np.savez(path, **tree)
    chosen = config.Backbone(model=SIGLIP, options=options, weights=str(path), layer="pooled", picture_size=32, seed=0)
    return backbones.create(chosen)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.5)])
def test_the_savedmodels_outputs_tell_how_it_normalises(mean, std, tmp_path):
    embedder = create(probed(loaded(), numbered(arrays(prefix="")), mean, std), tmp_path / "siglip.npz")
    assert embedder.mean.unique().tolist() == [255 * mean]
    assert embedder.std.unique().tolist() == [255 * std]


def test_a_model_with_other_outputs_than_the_savedmodels_is_refused(tmp_path):
    tree = probed(loaded(SMALL | {"act_layer": "gelu_tanh"}), arrays())
    create(tree, tmp_path / "right.npz", SMALL | {"act_layer": "gelu_tanh"})
    swapped = tree | {
        f"model/_Model_0/Transformer/encoder_norm/{one}": tree[f"model/_Model_0/Transformer/encoder_norm/{other}"]
        for one, other in (("scale", "bias"), ("bias", "scale"))
    }
    with pytest.raises(ValueError, match=r"wrong\.npz: the model's outputs are \S+ from the SavedModel's"):
        create(swapped, tmp_path / "wrong.npz", SMALL | {"act_layer": "gelu_tanh"})


# CLIP-B, DINOv1-B and DINOv2-B: names and order are unknown, so the base model's values must tell.
OTHERS = ["vit_base_patch16_clip_quickgelu_224", VIT, "vit_base_patch14_dinov2"]


def another_order(state, heads=3, fused=False):
    """A state dict's arrays as a JAX network might hold them: shuffled, kernels (in, out), heads apart."""
    found = []
    for name, tensor in state.items():
        array = tensor.numpy().copy()
        parts = [array] if fused or ".attn.qkv." not in name else np.split(array, 3)
        for part in parts:
            if part.ndim == 4 and "patch_embed" in name:
                part = part.transpose(2, 3, 1, 0)
            elif part.ndim == 2:
                part = part.T.reshape(part.shape[1], heads, -1) if ".attn.qkv." in name else part.T
            found.append(part)
    order = np.random.default_rng(4).permutation(len(found))
    return {f"{number:04d}": found[place] for number, place in enumerate(order)}


def pair(name, seed=0):
    """timm's random weights of a small model as base, and a fine-tuned version."""
    generator = torch.Generator().manual_seed(seed)
    base = {key: torch.randn(tensor.shape, generator=generator) for key, tensor in model(name).state_dict().items()}
    return base, {key: tensor + 0.1 * torch.randn(tensor.shape, generator=generator) for key, tensor in base.items()}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_a_models_arrays_are_found_where_its_base_has_timms_values(name, fused, tmp_path):
    base, tuned = pair(name)
    dumps = [another_order(state, fused=fused) for state in (tuned, base)]
    found = big_vision.by_example(*dumps, base, "test")
    state = big_vision.timm_state(found, base, "test")
    assert all(torch.equal(state[key], tuned[key]) for key in tuned)


def test_resampled_position_embeddings_are_found_by_their_size():
    base, tuned = pair(VIT)
    other = {**base, "pos_embed": base["pos_embed"] + 1}
    found = big_vision.by_example(another_order(tuned), another_order(other), base, "test")
    assert np.array_equal(found["pos_embed"], tuned["pos_embed"])


def test_values_that_no_array_or_that_several_have_are_named():
    base, tuned = pair(VIT)
    dumps = [another_order(state) for state in (tuned, base)]
    other = {**base, "blocks.1.mlp.fc2.bias": base["blocks.1.mlp.fc2.bias"] + 1}
    with pytest.raises(ValueError, match=r"test: no array has the values of blocks\.1\.mlp\.fc2\.bias"):
        big_vision.by_example(*dumps, other, "test")
    twice = {**base, "norm.bias": base["norm.weight"]}
    with pytest.raises(ValueError, match=r"several arrays have the values of norm\.weight; several .* norm\.bias"):
        big_vision.by_example(dumps[0], another_order(twice), twice, "test")
    cut = {number: array[:1] for number, array in dumps[0].items()}
    with pytest.raises(ValueError, match=r"other arrays than the base model's where patch_embed\.proj\.weight stands"):
        big_vision.by_example(cut, dumps[1], base, "test")


def test_the_command_writes_weights_that_a_backbone_loads(tmp_path, capsys):
    base, tuned = pair(SIGLIP)
    network = model()
    network.load_state_dict(tuned)
    np.savez(tmp_path / "tuned.npz", **probed(network, another_order(tuned)))
    np.savez(tmp_path / "base.npz", **another_order(base))
    save_file(base, tmp_path / "timm.safetensors")
    command = [str(tmp_path / "tuned.npz"), str(tmp_path / "out.npz"), f"--base={tmp_path / 'base.npz'}"]
    assert big_vision.main([*command, f"--like={tmp_path / 'timm.safetensors'}"]) == 0
    embedder = backbones.create(settings(tmp_path / "out.npz"))
    assert all(torch.equal(tensor, tuned[key]) for key, tensor in embedder.model.state_dict().items())
    save_file(tuned, tmp_path / "timm.safetensors")
    assert big_vision.main([*command, f"--like={tmp_path / 'timm.safetensors'}"]) == 1
    error = capsys.readouterr().err
    assert "no array has the values of" in error
    assert error.count("\n") == 1


def test_a_savedmodel_is_dumped_with_its_outputs(tmp_path):
    tensorflow = pytest.importorskip("tensorflow", reason="an optional extra: alignet[tensorflow]")
    module = tensorflow.Module()
    module.weights = [tensorflow.Variable(np.full((2, 3), number, np.float32)) for number in range(3)]

    @tensorflow.function(input_signature=[tensorflow.TensorSpec((None, 32, 32, 3), tensorflow.float32)])
    def forward(images):
        pooled = tensorflow.reduce_mean(images, (1, 2))
        total = pooled @ tensorflow.transpose(module.weights[1] + module.weights[2] + module.weights[0])
        return {"pre_logits": total}

    tensorflow.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": forward})
    big_vision.dump(tmp_path / "model", tmp_path / "dump.npz", size=32)
    found = dict(np.load(tmp_path / "dump.npz"))
    assert sorted(found) == ["0000", "0001", "0002", "probe/images", "probe/pre_logits"]
    expected = found["probe/images"].mean((1, 2)) @ np.full((3, 2), 3.0)
    np.testing.assert_allclose(found["probe/pre_logits"], expected, rtol=1e-4)
