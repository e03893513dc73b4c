"""Layers of a network: which there are, what they give while it runs, and what of that are features.

Every output is read by a forward hook. timm's forward_intermediates knows blocks and stages alone, by number, where a
teacher may read any submodule by name; of 14 architectures (LAYOUTS in tests/models/test_backbones.py) it gave the
hooks' features bit by bit at every layer for 5. torchvision's create_feature_extractor could not trace 2 of them, and
what it traces is another network than the one that is trained.
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
    """A network's stages or blocks, from input to output: blocks.N, stages.N, layers.N or layerN."""
    pattern = re.compile(r"(blocks|stages|layers)\.\d+|layer\d+")
    return [name for name, _ in model.named_modules() if pattern.fullmatch(name)]


@contextmanager
def watched(
    model: nn.Module,
    layers: Sequence[str],
    ended: Callable[[str, Any], None],
    started: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Inside the `with` block, call ended(layer, output) each time that one of the submodules has run, and, if it is
    given, started(layer) each time before it runs."""

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
    """The output of a submodule as it is; what comes after it is not run.

    Raises: ValueError naming a layer that is not run for the features.
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
    """What a layer of a timm model gives as features, (batch, dim) float32.

    Maps are averaged over space: pictures are square, so the two axes of space are the two neighbours of equal
    length, (batch, dim, side, side) or (batch, side, side, dim); where all three are equal, the architecture says
    which. Of tokens, (batch, tokens, dim), the class token is taken where the architecture pools by it and the
    layer has one, else the mean over the patches; (batch, dim, tokens) is averaged likewise. Vectors stay as they
    are.
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
    """The axes of a square map that are space. Raises: ValueError if no two neighbours are of equal length."""
    _, one, two, three = maps.shape
    if one != two != three:
        raise ValueError(f"a layer gives {tuple(maps.shape)}, no map of a square picture: {CHOOSE}")
    if one == two == three:
        return (1, 2) if str(getattr(model, "output_fmt", "NCHW")) == "NHWC" else (2, 3)
    return (1, 2) if one == two else (2, 3)


def _tokens_last(model: Any, output: Tensor) -> bool:
    """Whether (batch, ..., ...) holds tokens on its last axis, as between the token layers of a mixer: pictures are
    square, so that there are n * n tokens, perhaps with a few that are no patches; if both axes can hold them, that
    is the first, unless it is as long as the network is wide."""
    first, last = (
        any(math.isqrt(n - more) ** 2 == n - more for more in (0, 1, 2) if n >= more) for n in output.shape[1:]
    )
    width = output.shape[1] == model.head_hidden_size != output.shape[2]
    return last and (width or not first)


def _prefix_tokens(model: Any, tokens: int) -> int:
    """How many of a layer's tokens are not patches: pictures are square, and some layers come before the class
    token.
    """
    prefix = getattr(model, "num_prefix_tokens", 0) or 0
    return prefix if math.isqrt(max(tokens - prefix, 0)) ** 2 == tokens - prefix else 0
