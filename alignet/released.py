"""Arrays of the paper's released models (JAX, big_vision's names) -> timm state dicts.

The release holds TensorFlow SavedModels of SigLIP-B, SigLIP2-B, CapPa-B, ViT-B, Scratch-B, CLIP-B, DINOv1-B and
DINOv2-B, each as base_model, alignet and untransformed. TensorFlow is needed once, to dump the arrays of one:

    python -m alignet.released SigLIP-B-alignet siglip_alignet.npz

and `weights: siglip_alignet.npz` of a backbone in params.yaml loads them (in a folder of .npy files, '/' in a name is
a folder). Settings that give the released network, whose GELU is the tanh form:

    SigLIP-B, SigLIP2-B, CapPa-B   model: vit_base_patch16_siglip_224      options: {act_layer: gelu_tanh}
    ViT-B with a class token       model: vit_base_patch16_224             options: {act_layer: gelu_tanh,
                                                                                     no_embed_class: true}
    ViT-B, average-pooled          model: vit_base_patch16_siglip_gap_224  options: {act_layer: gelu_tanh}

Verified from the release's source (google-deepmind/alignet: bv_vit.py, bv_wrapper.py, configs/siglip.py): the prefix
model/_Model_0, Transformer/encoderblock_<i>, encoder_norm, MAPHead_0, pos_embedding without the class token, cls,
triplet_head. Not verified, because no released file could be read here: i1k_head (the ImageNet read-out), and how
TensorFlow spells the names; what precedes `_Model_0/`, a final `:0` and `/.ATTRIBUTES/VARIABLE_VALUE` are taken off.
The source does not show CLIP-B, DINOv1-B and DINOv2-B, whose names are unknown: with other names than these they are
refused, with the list of names.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

READ_OUTS = ("triplet_head", "i1k_head", "head")  # of the released models; no part of a backbone
Rule = tuple[tuple[str, ...], Callable[[np.ndarray], np.ndarray]]


def timm_state(arrays: dict[str, np.ndarray], expected: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """A timm ViT's state dict, float32, from big_vision's arrays.

    Args: arrays: by name, as the release or big_vision names them, with or without prefix; read-outs are left out;
        expected: the model's own state dict, for names and shapes; source: named in errors.
    Raises: ValueError naming every array that is missing or unexpected and every shape that differs.
    Source: names as google-deepmind/alignet bv_vit.py; (ours) the check that every array is used once.
    """
    tree = backbone_arrays(arrays)
    wanted = {name: rule(name) for name in expected}
    needed = {part for rules in wanted.values() if rules for part in rules[0]}
    unknown = sorted(name for name, rules in wanted.items() if rules is None)
    problems = [f"the model's {name} has no counterpart" for name in unknown]
    problems += [f"missing {name}" for name in sorted(needed - tree.keys())]
    problems += [f"unexpected {name}" for name in sorted(tree.keys() - needed)]
    if not problems:
        state = {name: _joined(tree, parts, change) for name, (parts, change) in wanted.items()}
        problems = [
            f"{name} {tuple(state[name].shape)}, the model has {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if state[name].shape != tensor.shape
        ]
    if problems:
        raise ValueError(f"{source}: " + "; ".join(problems))
    return state


def backbone_arrays(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of the backbone by big_vision's names, one block at a time, without prefix and read-outs.

    Raises: ValueError if two arrays get the same name.
    """
    named = [(_plain(name), array) for name, array in arrays.items()]
    kept = [(name, array) for name, array in named if name.split("/")[0] not in READ_OUTS]
    tree = {}
    for name, array in kept:
        for own, part in _blocks(name, array):
            if own in tree:
                raise ValueError(f"two arrays are named {own}")
            tree[own] = part
    return tree


def triplet_head(arrays: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """Weight (1024, dim) and bias (1024,) of the released model's triplet head, as nn.Linear holds them.

    Raises: ValueError if the arrays hold none (a base model has none).
    """
    plain = {_plain(name): array for name, array in arrays.items()}
    if not {"triplet_head/kernel", "triplet_head/bias"} <= plain.keys():
        raise ValueError("the arrays hold no triplet_head/kernel and triplet_head/bias")
    return _tensor(plain["triplet_head/kernel"].T), _tensor(plain["triplet_head/bias"])


def rule(name: str) -> Rule | None:
    """big_vision's arrays that make up timm's tensor `name`, and what is done to each; None if none do."""
    outer = {"patch_embed.proj": "embedding", "norm": "Transformer/encoder_norm"}
    if name in ("cls_token", "pos_embed", "attn_pool.latent"):
        own = {"cls_token": "cls", "pos_embed": "pos_embedding", "attn_pool.latent": "MAPHead_0/probe"}[name]
        return (own,), _same
    module, _, leaf = name.rpartition(".")
    if module in outer:
        return _leaf(outer[module], leaf, _convolution if module == "patch_embed.proj" else _in)
    if module.startswith("blocks."):
        _, number, inner = module.split(".", 2)
        return _inner(f"Transformer/encoderblock_{number}", inner, leaf, {"norm1": 0, "norm2": 1})
    if module.startswith("attn_pool."):
        return _inner("MAPHead_0", module.removeprefix("attn_pool."), leaf, {"norm": 0})
    return None


def dump(saved_model: Path, file: Path) -> None:
    """Write a SavedModel's arrays to an .npz file by their names. Needs TensorFlow (pip install alignet[tensorflow]).

    Not tested against a released model, which no test can download.
    """
    import tensorflow  # an optional extra

    variables = tensorflow.saved_model.load(str(saved_model)).signatures["serving_default"].variables
    np.savez(file, **{variable.name: variable.numpy() for variable in variables})


def _plain(name: str) -> str:
    name = name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").split(":")[0]
    for prefix in ("_Model_0/", "params/img/", "params/"):
        name = name.rpartition(prefix)[2]
    parts = name.split("/")
    return "/".join(parts[-2:]) if len(parts) > 1 and parts[-2] in READ_OUTS else name


def _blocks(name: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """big_vision may stack the blocks ('encoderblock/...', first axis the block): one array each."""
    stacked = "Transformer/encoderblock/"
    if not name.startswith(stacked):
        return [(name, array)]
    return [(f"Transformer/encoderblock_{i}/{name.removeprefix(stacked)}", part) for i, part in enumerate(array)]


def _inner(block: str, inner: str, leaf: str, norms: dict[str, int]) -> Rule | None:
    attention = f"{block}/MultiHeadDotProductAttention_0"
    projections = {"attn.qkv": ("query", "key", "value"), "q": ("query",), "kv": ("key", "value")}
    if inner in norms:
        return _leaf(f"{block}/LayerNorm_{norms[inner]}", leaf, _in)
    if inner in projections:
        array = {"weight": "kernel", "bias": "bias"}[leaf]
        parts = tuple(f"{attention}/{part}/{array}" for part in projections[inner])
        return parts, _in if leaf == "weight" else np.ravel
    if inner in ("attn.proj", "proj"):
        return _leaf(f"{attention}/out", leaf, _out)
    if inner in ("mlp.fc1", "mlp.fc2"):
        return _leaf(f"{block}/MlpBlock_0/Dense_{int(inner[-1]) - 1}", leaf, _out)
    return None


def _leaf(module: str, leaf: str, kernel: Callable[[np.ndarray], np.ndarray]) -> Rule:
    if leaf == "bias":
        return (f"{module}/bias",), _same
    norm = module.rpartition("/")[2].startswith(("LayerNorm", "encoder_norm"))
    return ((f"{module}/scale",), _same) if norm else ((f"{module}/kernel",), kernel)


def _joined(tree: dict[str, np.ndarray], parts: tuple[str, ...], change: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    return _tensor(np.concatenate([change(tree[part]) for part in parts]))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _in(kernel: np.ndarray) -> np.ndarray:
    """(dim, heads, dim per head) -> (heads * dim per head, dim)."""
    return kernel.reshape(len(kernel), -1).T


def _out(kernel: np.ndarray) -> np.ndarray:
    """(heads, dim per head, dim) or (dim in, dim out) -> (dim out, dim in)."""
    return kernel.reshape(-1, kernel.shape[-1]).T


def _convolution(kernel: np.ndarray) -> np.ndarray:
    """(height, width, in, out) -> (out, in, height, width)."""
    return kernel.transpose(3, 2, 0, 1)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m alignet.released <SavedModel folder> <file.npz>")
    dump(Path(sys.argv[1]), Path(sys.argv[2]))
