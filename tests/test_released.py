import numpy as np
import pytest
import timm
import torch

from alignet import backbones, config, released

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
    ours = released.timm_state(arrays(pool=pool) | heads(), theirs.state_dict(), "test")
    assert ours.keys() == theirs.state_dict().keys()
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(ours[key], tensor), key


def test_a_block_of_the_released_width_converts():
    options = {"depth": 1}
    shapes = arrays(depth=1, width=768, heads=12, patch=16, tokens=196)
    theirs = model(SIGLIP, options)
    theirs.load_state_dict(released.timm_state(shapes, theirs.state_dict(), "test"), strict=True)
    kernel = shapes["model/_Model_0/Transformer/encoderblock_0/MultiHeadDotProductAttention_0/key/kernel"]
    weight = theirs.blocks[0].attn.qkv.weight.detach().numpy()
    assert np.array_equal(weight[768:1536], kernel.reshape(768, 768).T)


@pytest.mark.parametrize("prefix", ["", "params/", "params/img/", "params/model/_Model_0/"])
def test_prefixes_stacked_blocks_and_tensorflows_endings_give_the_same_state(prefix):
    expected = model().state_dict()
    plain = released.timm_state(arrays(), expected, "test")
    others = [arrays(prefix=prefix), stacked(arrays(prefix=prefix))]
    others += [{name + ":0": array for name, array in arrays(prefix=prefix).items()}]
    others += [{name + "/.ATTRIBUTES/VARIABLE_VALUE": array for name, array in arrays(prefix=prefix).items()}]
    for other in others:
        found = released.timm_state(other, expected, "test")
        assert all(torch.equal(found[name], plain[name]) for name in expected)


def test_missing_and_unexpected_arrays_are_named_together():
    found = arrays(prefix="")
    found["Transformer/encoderblock_2/LayerNorm_0/scale"] = np.zeros(24)
    del found["MAPHead_0/probe"], found["embedding/bias"]
    with pytest.raises(ValueError, match=r"siglip\.npz: ") as caught:
        released.timm_state(found, model().state_dict(), "siglip.npz")
    for part in ("missing MAPHead_0/probe", "missing embedding/bias", "unexpected Transformer/encoderblock_2/LayerN"):
        assert part in str(caught.value)


def test_another_shape_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"pos_embed \(1, 9, 24\), the model has \(1, 16, 24\)"):
        released.timm_state(arrays(tokens=9), model().state_dict(), "test")


def test_a_model_of_another_kind_is_refused():
    expected = model("vit_base_patch16_clip_224", SMALL).state_dict()
    with pytest.raises(ValueError, match=r"the model's norm_pre\.weight has no counterpart"):
        released.timm_state(arrays(pool="tok"), expected, "test")


def test_an_array_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match="two arrays are named embedding/kernel"):
        released.timm_state(arrays() | arrays(prefix="params/"), model().state_dict(), "test")


def test_the_triplet_head_is_a_linear_layer_of_the_same_outputs():
    found = {f"params/{name}": array for name, array in heads().items()}
    weight, bias = released.triplet_head(found)
    rows = np.random.default_rng(2).normal(size=(5, 24)).astype(np.float32)
    expected = rows @ heads()["triplet_head/kernel"] + heads()["triplet_head/bias"]
    torch.testing.assert_close(torch.from_numpy(rows) @ weight.T + bias, torch.from_numpy(expected))
    with pytest.raises(ValueError, match="no triplet_head"):
        released.triplet_head(arrays())


def settings(path):
    return config.Backbone(model=SIGLIP, options=SMALL, weights=str(path), layer="pooled", picture_size=32, seed=0)


@torch.inference_mode()
def test_an_npz_file_and_a_folder_of_arrays_are_weights_of_a_backbone(tmp_path):
    found = arrays() | heads()
    np.savez(tmp_path / "siglip.npz", **found)
    for name, array in found.items():
        file = tmp_path / "siglip" / f"{name}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, array)
    by_hand = model()
    by_hand.load_state_dict(released.timm_state(found, by_hand.state_dict(), "test"))
    pictures = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = by_hand((pictures / 255 - 0.5) / 0.5)
    for path in (tmp_path / "siglip.npz", tmp_path / "siglip"):
        torch.testing.assert_close(backbones.create(settings(path))(pictures), expected, atol=1e-4, rtol=1e-4)


def test_an_empty_folder_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"no \.npy file"):
        backbones.create(settings(tmp_path))
