"""Pictures as the students see them, before and after: forward passes for what the student stage did not save."""

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from alignet import backbones, devices
from alignet.backbones import Embedder, autocast
from alignet.config import Backbone, Features
from alignet.worlds import pictures

Students = dict[tuple[str, str], tuple[Embedder, int]]  # (student, target) -> backbone, picture size
Layers = dict[tuple[str, str], dict[str, Tensor]]  # (student, target) -> layer -> (n, dim), from input to output


def load(data: Path, settings: dict[str, Backbone], targets: list[str]) -> Students:
    """Every student's backbone: before (target 'base') and after each target.

    Args: settings: by student. Raises: FileNotFoundError or RuntimeError naming the checkpoint that does not fit.
    """
    found = {}
    for student, backbone in settings.items():
        for target in ("base", *targets):
            embedder = backbones.create(backbone)
            if target != "base":
                restore(embedder, data / "students" / student / target / "student.safetensors")
            found[student, target] = embedder.to(devices.local()), backbone.picture_size
    return found


def restore(embedder: Embedder, checkpoint: Path) -> None:
    """Load a student's backbone (embedder.model.*) in place; its triplet head is left out."""
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: no such file; run the student stage")
    start = "embedder.model."
    state = {name.removeprefix(start): value for name, value in load_file(checkpoint).items() if name.startswith(start)}
    embedder.model.load_state_dict(state, strict=True)


def forward(students: Students, paths: list[Path], settings: Features, by_layer: bool = False) -> Layers:
    """All pictures through all students.

    Args: by_layer: every block's output, average-pooled, before 'pooled'; or 'pooled' alone.
    """
    return embed(students, stacks(students, paths, settings), settings, by_layer)


def stacks(students: Students, paths: list[Path], settings: Features) -> dict[int, Tensor]:
    """The pictures at each student's size: size -> (n, 3, size, size) uint8."""
    sizes = sorted({size for _, size in students.values()})
    return {size: pictures.stack(paths, size, settings.workers) for size in sizes}


def embed(students: Students, shown: dict[int, Tensor], settings: Features, by_layer: bool = False) -> Layers:
    """Pictures in memory through all students; shown: see `stacks`."""
    found = {}
    for key, (embedder, size) in students.items():
        layers = layer_names(embedder) if by_layer else []
        found[key] = at_layers(embedder, shown[size].split(settings.batch_size), layers, settings.precision)
    return found


def layer_names(embedder: Embedder) -> list[str]:
    """The backbone's stages or blocks, from input to output: blocks.N, stages.N, layers.N or layerN."""
    pattern = re.compile(r"(blocks|stages|layers)\.\d+|layer\d+")
    return [name for name, _ in embedder.model.named_modules() if pattern.fullmatch(name)]


def by_layer(embedder: Embedder, batches: Iterable[Tensor], precision: str) -> dict[str, Tensor]:
    """Every block's output, average-pooled, and 'pooled': layer -> (n, dim), from input to output."""
    return at_layers(embedder, batches, layer_names(embedder), precision)


@torch.inference_mode()
def at_layers(embedder: Embedder, batches: Iterable[Tensor], layers: list[str], precision: str) -> dict[str, Tensor]:
    """Average-pooled outputs of some layers and the pooled pre-logits, from one forward pass: layer -> (n, dim)."""
    device, kept = embedder.mean.device, {name: [] for name in (*layers, "pooled")}

    def keep(name: str):
        return lambda module, args, output: kept[name].append(_flat(embedder, output))

    hooks = [embedder.model.get_submodule(name).register_forward_hook(keep(name)) for name in layers]
    try:
        for shown in batches:
            with autocast(precision, device.type):
                kept["pooled"].append(embedder(shown.to(device)).float().cpu())
    finally:
        for hook in hooks:
            hook.remove()
    return {name: torch.cat(rows) for name, rows in kept.items()}


def _flat(embedder: Embedder, output: Tensor) -> Tensor:
    """Mean over space (batch, dim, height, width) or over patch tokens (batch, tokens, dim), as `at_layer`."""
    if output.ndim == 4:
        return output.mean((2, 3), dtype=torch.float32).cpu()
    return output[:, embedder.model.num_prefix_tokens :].mean(1, dtype=torch.float32).cpu()
