"""Arrays of the paper's released models (JAX, big_vision's names) -> timm state dicts.

The release holds TensorFlow SavedModels of SigLIP-B, SigLIP2-B, CapPa-B, ViT-B, Scratch-B, CLIP-B, DINOv1-B and
DINOv2-B, each as base_model, alignet and untransformed. TensorFlow is needed once, to dump the arrays of one:

    python -m alignet.models.big_vision SigLIP-B-alignet siglip_alignet.npz

and `weights: siglip_alignet.npz` of a backbone in params.yaml loads them (in a folder of .npy files, '/' in a name is
a folder). The dump keeps two pictures and the SavedModel's outputs for them, which the loaded model must repeat
(alignet.models.backbones tells by them whether the SavedModel normalises its pictures itself).
Settings that give the released network, whose GELU is the tanh form and whose pictures lie in [0, 1]:

    SigLIP-B, SigLIP2-B, CapPa-B   model: vit_base_patch16_siglip_224      options: {act_layer: gelu_tanh}
    ViT-B with a class token       model: vit_base_patch16_224             options: {act_layer: gelu_tanh,
                                                                                     no_embed_class: true}
    ViT-B, average-pooled          model: vit_base_patch16_siglip_gap_224  options: {act_layer: gelu_tanh}

CLIP-B, DINOv1-B and DINOv2-B are other networks, whose arrays' names and order are not public in source. They are
found by value: the base model's arrays have the values of public weights, which timm names, and the fine-tuned
model's stand in the same places:

    python -m alignet.models.big_vision dino_alignet.npz dino.npz --base dino_base.npz --like timm_dino.safetensors

Verified from the release's source (google-deepmind/alignet: bv_vit.py, bv_wrapper.py, configs/siglip.py): the prefix
model/_Model_0, Transformer/encoderblock_<i>, encoder_norm, MAPHead_0, pos_embedding without the class token, cls,
triplet_head, pictures in [0, 1]. The variables of a SavedModel have no names: they stand in the order of the sorted
names, the read-outs (triplet head, ImageNet head) last, as others found for SigLIP2-B-alignet, where big_vision's
network in timm gave the SavedModel's outputs to 3e-5 (ViCCo-Group/dimpred, training/alignet). No released file could
be read here. The release resizes with OpenCV's cubic filter, which does not smooth; alignet.worlds.format.pictures with
Pillow's, which does: there, features of the two correlated .986.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

READ_OUTS = ("triplet_head", "i1k_head", "head")  # of the released models; no part of a backbone
HEAD_WIDTH = 1024  # outputs of the triplet head
PROBE = ("probe/images", "probe/pre_logits")  # pictures, and what the SavedModel gives for them
SHOWN = 4  # names of a kind that an error lists
Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation by colour
Rule = tuple[tuple[str, ...], Callable[[np.ndarray], np.ndarray]]


def timm_state(arrays: dict[str, np.ndarray], expected: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """A timm ViT's state dict, float32, from big_vision's arrays.

    Args: arrays: by name, as the release or big_vision names them, with or without prefix; read-outs are left out;
        expected: the model's own state dict, for names and shapes; source: named in errors.
    Raises: ValueError naming every array that is missing or unexpected and every shape that differs.
    Source: names as google-deepmind/alignet bv_vit.py; (ours) the check that every array is used once.
    """
    arrays = {name: array for name, array in arrays.items() if name not in PROBE}
    if arrays.keys() == expected.keys():  # timm's own names: of `by_example`
        return {name: _tensor(array) for name, array in arrays.items()}
    tree = backbone_arrays(named(arrays, expected, source))
    wanted = {name: rule(name) for name in expected}
    needed = {part for rules in wanted.values() if rules for part in rules[0]}
    unknown = [f"the model's {name} has no counterpart" for name, rules in sorted(wanted.items()) if rules is None]
    problems = _some(unknown) + _some([f"missing {name}" for name in sorted(needed - tree.keys())])
    problems += _some([f"unexpected {name}" for name in sorted(tree.keys() - needed)])
    state, misfits = {}, []
    for name, found in wanted.items() if not problems else ():
        assert found is not None  # or it would be a problem
        parts, change = found
        tensor = _joined(tree, parts, change)
        if tensor is None or tensor.shape != expected[name].shape:
            misfits.append(_misfit(name, tensor, parts, tree, expected[name]))
        else:
            state[name] = tensor
    problems += _some(misfits)
    if problems:
        raise ValueError(f"{source}: " + "; ".join(problems))
    return state


def named(arrays: dict[str, np.ndarray], expected: dict[str, Tensor], source: str) -> dict[str, np.ndarray]:
    """Numbered arrays of a dump (0000, 0001, ...) under the names that follow from their order; other arrays unchanged.

    A SavedModel's variables have no names. jax2tf flattens the parameters with their keys sorted level by level: first
    the backbone's, then the triplet head's bias and kernel, then the ImageNet head's.
    Raises: ValueError if there are fewer than the model needs, or more than read-outs can be.
    """
    if not all(name.isdigit() for name in arrays):
        return arrays
    listed = [arrays[name] for name in sorted(arrays, key=int)]
    needed = {part for rules in map(rule, expected) if rules for part in rules[0]}
    order = sorted(needed, key=lambda name: name.split("/"))
    heads = listed[len(order) :]
    if len(listed) < len(order) or any(array.ndim > 2 for array in heads):
        raise ValueError(
            f"{source}: {len(listed)} arrays without names are not the {len(order)} of this model and its read-outs: "
            "is it another model of the release? See --base in alignet/models/big_vision.py"
        )
    found = dict(zip(order, listed, strict=False))
    if heads and heads[0].shape == (HEAD_WIDTH,):
        found |= {"triplet_head/bias": heads[0], "triplet_head/kernel": heads[1]}
        heads = heads[2:]
    return found | {f"i1k_head/{number}": array for number, array in enumerate(heads)}


@torch.no_grad()
def normalisation(
    model: nn.Module, arrays: dict[str, np.ndarray], choices: list[Statistics], source: str, tolerance: float = 1e-3
) -> Statistics:
    """The mean and standard deviation of values in [0, 1] with which the model repeats the SavedModel's outputs.

    Args: arrays: hold pictures and outputs if `dump` wrote them; otherwise the first choice is returned unchecked.
    Raises: ValueError if no choice repeats the outputs, with the smallest deviation in units of the largest output.
    """
    if not arrays.keys() >= set(PROBE):
        return choices[0]
    pictures, expected = (torch.from_numpy(np.asarray(arrays[name], np.float32)) for name in PROBE)
    differences = []
    for mean, std in choices:
        shown = (pictures - torch.tensor(mean)) / torch.tensor(std)
        found = model(shown.permute(0, 3, 1, 2))
        differences.append(((found - expected).abs().max() / expected.abs().max()).item())
    if not min(differences) <= tolerance:
        raise ValueError(
            f"{source}: the model's outputs are {min(differences):.2g} from the SavedModel's, more than {tolerance}: "
            "are its name and options those in alignet/models/big_vision.py?"
        )
    return choices[int(np.argmin(differences))]


def by_example(
    arrays: dict[str, np.ndarray], base: dict[str, np.ndarray], reference: dict[str, Tensor], source: str
) -> dict[str, np.ndarray]:
    """A fine-tuned model's arrays by timm's names: they stand where its base model has timm's weights. *(ours)*

    A tensor's values may lie in an array as they are, transposed, with heads apart, or, of attn.qkv, in three arrays.
    Args: arrays, base: two dumps of one architecture, so with the same places; reference: timm's state dict of the
        public weights that the base model has. Position embeddings, which may have been resampled, may differ.
    Raises: ValueError naming each tensor whose values no place has, or several that differ in the fine-tuned model.
    """
    tuned, problems = {}, []
    for name, tensor in reference.items():
        values = tensor.double().numpy()
        sections = [_places(values, base, name)]  # for each section of the tensor, all places that have its values
        if not sections[0] and ".attn.qkv." in name:
            sections = [_places(third, base, name) for third in np.split(values, 3)]
        places = [place for candidates in sections for place in candidates]
        if any(place.array not in arrays or arrays[place.array].shape != base[place.array].shape for place in places):
            problems.append(f"the dump has other arrays than the base model's where {name} stands")
            continue
        laid = [[place.values(arrays) for place in candidates] for candidates in sections]
        tuned_sections = [[values for values in candidates if values is not None] for candidates in laid]
        if not all(tuned_sections):
            problems.append(f"no array has the values of {name}")
        elif any(not np.array_equal(candidates[0], other) for candidates in tuned_sections for other in candidates):
            problems.append(f"several arrays have the values of {name}")
        else:
            tuned[name] = np.concatenate([candidates[0] for candidates in tuned_sections])
    if problems:
        raise ValueError(f"{source}: " + "; ".join(_some(problems)))
    return tuned | {name: arrays[name] for name in PROBE if name in arrays}


def backbone_arrays(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of the backbone by big_vision's names, one block at a time, without prefix and read-outs.

    Raises: ValueError if two arrays get the same name.
    """
    plain = [(_plain(name), array) for name, array in arrays.items()]
    kept = [(name, array) for name, array in plain if name.split("/")[0] not in READ_OUTS]
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


def dump(saved_model: Path, file: Path, size: int = 224) -> None:
    """Write a SavedModel's arrays to an .npz file by their numbers, with its outputs for two pictures of noise.

    Needs TensorFlow (pip install alignet[tensorflow]). Not tested against a released model, which no test can download.
    """
    import tensorflow  # an optional extra

    loaded = tensorflow.saved_model.load(str(saved_model))
    forward = loaded.signatures["serving_default"]
    arrays = {f"{number:04d}": variable.numpy() for number, variable in enumerate(forward.variables)}
    pictures = np.random.default_rng(0).random((2, size, size, 3), np.float32)
    outputs = forward(images=tensorflow.constant(pictures))["pre_logits"].numpy()
    np.savez(file, **arrays, **dict(zip(PROBE, (pictures, outputs), strict=True)))


LAYOUTS = ("same", "transposed", "convolution")


@dataclass(frozen=True)
class _Place:
    """A place in a dump where a tensor's values lie: the array's name, its layout, and the tensor's shape."""

    array: str
    layout: str
    shape: tuple[int, ...]

    def values(self, arrays: dict[str, np.ndarray]) -> np.ndarray | None:
        """The values at this place in a dump of the same architecture; None if they cannot be laid out in this way."""
        return _laid(arrays[self.array], self.shape, self.layout)


def _places(values: np.ndarray, base: dict[str, np.ndarray], name: str) -> list[_Place]:
    """All places where a tensor's values lie; for resampled position embeddings, the only array of their size."""
    sized = [array for array in base if base[array].size == values.size and array not in PROBE]
    size = np.sqrt(np.square(values).mean())
    places = []
    for array in sized:
        if not np.isclose(np.sqrt(np.square(base[array], dtype=np.float64).mean()), size, rtol=1e-3, atol=1e-12):
            continue
        for layout in LAYOUTS:
            laid = _laid(base[array], values.shape, layout)
            if laid is not None and np.allclose(laid, values, rtol=1e-3, atol=1e-3 * size):
                places.append(_Place(array, layout, values.shape))
                break
    if not places and name == "pos_embed" and len(sized) == 1:
        return [_Place(sized[0], "same", values.shape)]
    return places


def _laid(array: np.ndarray, shape: tuple, layout: str) -> np.ndarray | None:
    """The array in another shape of the same size, as (out, in) or as a convolution's kernel; None if it is none."""
    if layout == "same":
        return array.reshape(shape)
    if layout == "transposed" and len(shape) == 2:
        return array.reshape(shape[::-1]).T
    if layout == "convolution" and array.ndim == 4 and _convolution(array).shape == shape:
        return _convolution(array)
    return None


def _some(problems: list[str]) -> list[str]:
    """The first few names and the number of others, so that an error fits in one line."""
    more = len(problems) - SHOWN
    return problems[:SHOWN] + ([f"and {more} more"] if more > 0 else [])


def _misfit(name: str, found: Tensor | None, parts: tuple, tree: dict[str, np.ndarray], tensor: Tensor) -> str:
    shape = tuple(found.shape) if found is not None else " + ".join(str(tree[part].shape) for part in parts)
    return f"{name} {shape}, the model has {tuple(tensor.shape)}"


def _plain(name: str) -> str:
    name = name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").split(":")[0]
    for prefix in ("_Model_0/", "params/img/", "params/"):
        name = name.rpartition(prefix)[2]
    parts = name.split("/")
    return "/".join(parts[-2:]) if len(parts) > 1 and parts[-2] in READ_OUTS else name


def _blocks(name: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """One array for each block, also where big_vision stacks them ('encoderblock/...', the first axis is the block)."""
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


def _joined(
    tree: dict[str, np.ndarray], parts: tuple[str, ...], change: Callable[[np.ndarray], np.ndarray]
) -> Tensor | None:
    """The tensor that the parts make, or None if their shapes are not those of such parts."""
    try:
        return _tensor(np.concatenate([change(tree[part]) for part in parts]))
    except ValueError:
        return None


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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m alignet.models.big_vision", description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a SavedModel's folder or, with --base, its dump")
    parser.add_argument("file", type=Path, help="the .npz file to write")
    parser.add_argument("--base", type=Path, help="the dump of the same model's base_model")
    parser.add_argument("--like", type=Path, help="timm's public weights of it, a safetensors file")
    chosen = parser.parse_args(arguments)
    if chosen.base is None and chosen.like is None:
        dump(chosen.source, chosen.file)
        return 0
    if chosen.base is None or chosen.like is None:
        parser.error("--base and --like go together")
    dumps = [dict(np.load(file)) for file in (chosen.source, chosen.base)]
    try:
        tuned, base = dumps
        np.savez(chosen.file, allow_pickle=False, **by_example(tuned, base, load_file(chosen.like), str(chosen.source)))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
