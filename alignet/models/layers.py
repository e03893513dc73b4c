"""Layers of a network: their names, their outputs while it runs, and the features in these outputs.

Every output is read by a forward hook. timm's forward_intermediates knows blocks and stages by number only, whereas a
teacher may read any submodule by name; for 5 of 14 architectures (LAYOUTS in tests/models/test_backbones.py) it gave
exactly the hooks' features at every layer. torchvision's create_feature_extractor could not trace 2 of them, and the
network that it traces is not the one that is trained.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

CHOOSE = "choose a block or stage of the backbone"


class _Reached(Exception):
    def __init__(self, output: Tensor):
        self.output = output


def names(model: nn.Module) -> list[str]:
    """The names of a network's stages or blocks, from input to output: blocks.N, stages.N, layers.N or layerN.

    Example:

    >>> from torch import nn
    >>> from alignet.models import layers
    >>> network = nn.ModuleDict({"stem": nn.Linear(2, 2), "blocks": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))})
    >>> layers.names(network)
    ['blocks.0', 'blocks.1']
    """
    pattern = re.compile(r"(blocks|stages|layers)\.\d+|layer\d+")
    return [name for name, _ in model.named_modules() if pattern.fullmatch(name)]


@contextmanager
def watched(
    model: nn.Module,
    layers: Sequence[str],
    ended: Callable[[str, Any], None],
    started: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Call ended(layer, output) each time one of the submodules has run inside the `with` block.

    If started is given, call started(layer) each time before one runs.
    """

    def after(layer: str) -> Callable:
        return lambda module, args, output: ended(layer, output)

    def before(layer: str, started: Callable[[str], None]) -> Callable:
        return lambda module, args: started(layer)

    hooks = []
    for layer in layers:
        module = model.get_submodule(layer)
        hooks.append(module.register_forward_hook(after(layer)))
        if started is not None:
            hooks.append(module.register_forward_pre_hook(before(layer, started)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def output_of(model: nn.Module, layer: str, shown: Tensor) -> Tensor:
    """The output of a submodule; what comes after it is not run.

    Raises: ValueError naming a layer that is not run for the features.

    Example:

    >>> import torch
    >>> from torch import nn
    >>> from alignet.models import layers
    >>> network = nn.Sequential(nn.ReLU(), nn.Flatten())
    >>> layers.output_of(network, "0", torch.tensor([[[-1.0, 2.0]]])).tolist()
    [[[0.0, 2.0]]]
    """

    def stop(layer: str, output: Tensor) -> None:
        raise _Reached(output)

    try:
        with watched(model, [layer], stop):
            model(shown)
    except _Reached as reached:
        return reached.output
    raise not_run(layer)


def not_run(layer: str) -> ValueError:
    return ValueError(f"layer {layer!r} is not run for the features of this model")


def pooled(model: Any, output: Any) -> Tensor:
    """The output of a layer of a timm model as features, (batch, dim) float32.

    Maps are averaged over space. Pictures are square, so the two axes of space are neighbours of equal length, as in
    (batch, dim, side, side) or (batch, side, side, dim); if all three lengths are equal, the architecture tells which
    two they are. Tokens, (batch, tokens, dim), give the class token if the architecture pools by it and the layer has
    one, and otherwise the mean over the patches; so do tokens of shape (batch, dim, tokens). Vectors are left
    unchanged.
    Raises: ValueError if the output is something else.
    """
    if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"a layer gives {found}, which cannot be pooled: {CHOOSE}")
    if output.ndim == 4:
        return output.mean(_space(model, output), dtype=torch.float32)
    if output.ndim == 2:
        return output.float()
    if _tokens_last(model, output):
        output = output.transpose(1, 2)
    prefix = _prefix_tokens(model, output.shape[1])
    if prefix and getattr(model, "global_pool", "avg") == "token":
        return output[:, 0].float()
    return output[:, prefix:].mean(1, dtype=torch.float32)


def _space(model: Any, maps: Tensor) -> tuple[int, int]:
    """The two axes of space of a square map. Raises: ValueError if no two neighbouring axes have equal lengths."""
    _, one, two, three = maps.shape
    if one != two != three:
        raise ValueError(f"a layer gives {tuple(maps.shape)}, no map of a square picture: {CHOOSE}")
    if one == two == three:
        return (1, 2) if str(getattr(model, "output_fmt", "NCHW")) == "NHWC" else (2, 3)
    return (1, 2) if one == two else (2, 3)


def _tokens_last(model: Any, output: Tensor) -> bool:
    """Whether an output (batch, ..., ...) has its tokens on the last axis, as between the token layers of a mixer.

    Pictures are square, so there are n * n tokens, perhaps with a few that are no patches. If both axes can hold them,
    tokens are on the first, unless it is as long as the network is wide.
    """
    first, last = (
        any(math.isqrt(n - more) ** 2 == n - more for more in (0, 1, 2) if n >= more) for n in output.shape[1:]
    )
    width = output.shape[1] == model.head_hidden_size != output.shape[2]
    return last and (width or not first)


def _prefix_tokens(model: Any, tokens: int) -> int:
    """The number of a layer's tokens that are not patches.

    Pictures are square, and some layers come before the class token is added.
    """
    prefix = getattr(model, "num_prefix_tokens", 0) or 0
    return prefix if math.isqrt(max(tokens - prefix, 0)) ** 2 == tokens - prefix else 0
