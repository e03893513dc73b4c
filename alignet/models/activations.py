"""Forward passes through students, before and after alignment, for representations that no stage has saved."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from alignet import devices
from alignet.config import Backbone, Features
from alignet.models import backbones, frozen, layers
from alignet.models.backbones import Embedder, autocast
from alignet.models.frozen import Split
from alignet.worlds.format import pictures

Students = dict[tuple[str, str], tuple[Embedder, int]]  # (student, target) -> backbone, picture size
Models = dict[tuple[str, str], Embedder]  # of one student: (student, target) -> backbone
Layers = dict[tuple[str, str], dict[str, Tensor]]  # (student, target) -> layer -> (n, dim), from input to output


def load(data: Path, settings: dict[str, Backbone], targets: list[str]) -> Students:
    """Every student's backbone: before (target 'base') and after each target.

    Args: settings: by student. Raises: FileNotFoundError or RuntimeError naming the checkpoint that does not fit.
    """
    students = {}
    for student, backbone in settings.items():
        base = backbones.create(backbone)
        for target in ("base", *targets):
            embedder = copy.deepcopy(base)
            if target != "base":
                restore(embedder, data / "students" / student / target / "student.safetensors")
            students[student, target] = embedder.to(devices.local()), backbone.picture_size
    return students


def restore(embedder: Embedder, checkpoint: Path) -> None:
    """Load a student's backbone (embedder.model.*) in place; its triplet head is left out."""
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: no such file; run the student stage")
    start = "embedder.model."
    state = {name.removeprefix(start): value for name, value in load_file(checkpoint).items() if name.startswith(start)}
    embedder.model.load_state_dict(state, strict=True)


def forward(students: Students, paths: list[Path], settings: Features, by_layer: bool = False) -> Layers:
    """Representations of all pictures by all students.

    Pictures are decoded once if all of them fit into cache_bytes, otherwise batch by batch, once for each student.

    Args: by_layer: whether to return every block's output, average-pooled, before 'pooled', or 'pooled' only.
    """
    sizes = {size for _, size in students.values()}
    if len(paths) * sum(3 * size**2 for size in sizes) <= settings.cache_bytes:
        return embed(students, stacks(students, paths, settings), settings, by_layer)
    features: Layers = {}
    for models, size in _by_student(students):
        batches = pictures.batches(paths, size, settings.batch_size, settings.workers)
        features |= _embedded(models, pictures.stack(paths[:2], size, 0), batches, settings, by_layer)
    return features


def stacks(students: Students, paths: list[Path], settings: Features) -> dict[int, Tensor]:
    """The pictures at each student's size: size -> (n, 3, size, size) uint8."""
    sizes = sorted({size for _, size in students.values()})
    return {size: pictures.stack(paths, size, settings.workers) for size in sizes}


def embed(students: Students, shown: dict[int, Tensor], settings: Features, by_layer: bool = False) -> Layers:
    """Representations of pictures in memory by all students. Args: shown: as `stacks` returns them."""
    features: Layers = {}
    for models, size in _by_student(students):
        batches = shown[size].split(settings.batch_size)
        features |= _embedded(models, shown[size][:2], batches, settings, by_layer)
    return features


def _by_student(students: Students) -> Iterator[tuple[Models, int]]:
    """The models of each student, and the size of its pictures."""
    for student in dict.fromkeys(name for name, _ in students):
        models = {key: embedder for key, (embedder, _) in students.items() if key[0] == student}
        yield models, next(size for key, (_, size) in students.items() if key in models)


def _embedded(models: Models, first: Tensor, batches: Iterable[Tensor], settings: Features, by_layer: bool) -> Layers:
    """Representations of pictures by the models of one student.

    The frozen part that these models share is run once a picture for all of them.

    Args: first: a few of the pictures.
    """
    embedders = list(models.values())
    names = readable(embedders[0], first) if by_layer else []
    splits = frozen.split_all(embedders, first.shape[-1])
    outputs = at_layers(embedders, batches, names, settings.precision, splits)
    return dict(zip(models, outputs, strict=True))


@torch.inference_mode()
def readable(embedder: Embedder, shown: Tensor) -> list[str]:
    """The names of `layers.names` whose outputs are computed for the features and can be pooled; a line names each
    other one.

    Args: shown: (n, 3, size, size) uint8, a few pictures.
    """
    names = layers.names(embedder.model)
    faults: dict[str, str] = dict.fromkeys(names, "is not run for the features")

    def look(name: str, output: Any) -> None:
        try:
            embedder.pooled(output)
            faults[name] = ""
        except ValueError as error:
            faults[name] = str(error)

    with layers.watched(embedder.model, names, look):
        embedder(shown.to(embedder.mean.device))
    for name in (name for name in names if faults[name]):
        print(f"layer {name} is left out: {faults[name]}")
    return [name for name in names if not faults[name]]


def by_layer(embedder: Embedder, batches: Iterable[Tensor], precision: str) -> dict[str, Tensor]:
    """The pooled output of every block that can be read, and 'pooled': layer -> (n, dim), from input to output."""
    every = iter(batches)
    first = next(every)
    return at_layers([embedder], chain([first], every), readable(embedder, first[:2]), precision)[0]


@torch.inference_mode()
def at_layers(
    embedders: list[Embedder],
    batches: Iterable[Tensor],
    names: list[str],
    precision: str,
    splits: list[Split] | None = None,
) -> list[dict[str, Tensor]]:
    """Average-pooled outputs of some layers and the pooled pre-logits: layer -> (n, dim), for each model.

    Each batch passes each model once or, if their splits are given, the part that they share once and the rest of each
    model.
    """
    device = embedders[0].mean.device
    kept: list[dict[str, list[Tensor]]] = [{name: [] for name in (*names, "pooled")} for _ in embedders]

    def keep(embedder: Embedder, rows: dict[str, list[Tensor]]) -> Callable[[str, Tensor], None]:
        return lambda name, output: rows[name].append(embedder.pooled(output).cpu())

    with ExitStack() as stack:
        for embedder, rows in zip(embedders, kept, strict=True):
            stack.enter_context(layers.watched(embedder.model, names, keep(embedder, rows)))
        for shown in batches:
            with autocast(precision, device.type):
                for rows, pooled in zip(kept, _pooled(embedders, shown.to(device), splits), strict=True):
                    rows["pooled"].append(pooled.float().cpu())
    common = kept[0]  # a layer of the common part is run in the first model only
    return [{name: torch.cat(rows[name] or common[name]) for name in rows} for rows in kept]


def _pooled(embedders: list[Embedder], shown: Tensor, splits: list[Split] | None) -> list[Tensor]:
    if splits is None:
        return [embedder(shown) for embedder in embedders]
    activations = splits[0].before(shown)
    return [split.after(activations) for split in splits]
