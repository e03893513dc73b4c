"""Floors: the scores of colours, of coarse pixels and of untrained networks, beside which a gain is read."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from alignet import devices, results
from alignet.config import Backbone, Features, Levels
from alignet.evaluation.representations import Representations
from alignet.models import backbones, frozen
from alignet.models.backbones import Embedder, autocast
from alignet.worlds.format import pictures
from alignet.worlds.format.tables import World


def representations(
    world: World, students: dict[str, Backbone], settings: Levels, features: Features, data: Path | None = None
) -> Representations:
    """Untrained representations of the pictures of `World.scored_rows`, under (name, 'floor', 'pooled').

    They are a histogram of colours and the mean colours of a grid of cells, at the first student's picture size, and
    the pooled features of each student's architecture with random weights (batch normalisation then changes nothing).
    An architecture that several students share at one size is run once.

    Args: students: the settings of the students' backbones, by name; data: the data folder of a run, whose store of
        frozen parts' outputs (`models.frozen`) keeps the floors too, for other runs of the stage and for variants.
    """
    untrained: dict[int, dict[str, Embedder]] = {}
    for name, backbone in _architectures(students) if settings.floor_untrained else ():
        embedder = backbones.create(replace(backbone, weights="random")).to(devices.local())
        untrained.setdefault(backbone.picture_size, {})[f"untrained {name}"] = embedder
    first = next(iter(students.values())).picture_size
    paths = world.paths(world.scored_rows())
    file = None
    if data is not None:
        name = f"floors_{_digest(paths, first, untrained, settings, features)}.safetensors"
        file = data / frozen.FOLDER / name
    if file is not None and file.is_file():
        stored = load_file(file)
        floors = {key.partition(" ")[2]: stored[key] for key in sorted(stored)}
    else:
        floors = _computed(paths, first, untrained, settings, features)
    size = sum(rows.nbytes for rows in floors.values())
    if file is not None and not file.is_file() and size <= features.cache_bytes:
        numbered = {f"{number:03d} {name}": rows for number, (name, rows) in enumerate(floors.items())}
        frozen.store(numbered, file, features.cache_bytes)
    return {(name, results.FLOOR, "pooled"): rows for name, rows in floors.items()}


def _computed(
    paths: list[Path], first: int, untrained: dict[int, dict[str, Embedder]], settings: Levels, features: Features
) -> dict[str, Tensor]:
    """The floors of pictures, (n, dim) each. Args: first: the picture size of colours and cells; untrained: by size."""
    floors: dict[str, Tensor] = {}
    for size in dict.fromkeys((first, *untrained)):
        networks = untrained.get(size, {})
        shown = pictures.batches(paths, size, features.batch_size, features.workers)
        parts = [_of_batch(batch, networks, settings, features.precision) for batch in shown]
        wanted = parts[0] if size == first else networks
        floors |= {name: torch.cat([part[name] for part in parts]) for name in wanted}
    return floors


def _digest(
    paths: list[Path], first: int, untrained: dict[int, dict[str, Embedder]], settings: Levels, features: Features
) -> str:
    """A fingerprint of all that decides the floors: pictures' contents, networks with their weights, and settings."""
    used = (torch.__version__, first, settings.floor_colours, settings.floor_pixels)
    digest = hashlib.sha256(repr((used, features.precision, features.batch_size)).encode())
    for size, networks in untrained.items():
        for name, embedder in networks.items():
            digest.update(repr((size, name, str(embedder.mean.device), embedder)).encode())
            for buffer in (*embedder.state_dict().values(), embedder.mean, embedder.std):
                digest.update(buffer.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def colour_histogram(shown: Tensor, bins: int) -> Tensor:
    """The share of a picture's pixels in each of bins^3 boxes of red, green and blue, (n, bins^3); rows sum to 1.

    Args: shown: (n, 3, height, width) uint8; bins: boxes of equal width along each colour.

    Example:

    >>> import torch
    >>> from alignet.evaluation.floors import colour_histogram
    >>> black, white = torch.zeros(3, 4, 4, dtype=torch.uint8), torch.full((3, 4, 4), 255, dtype=torch.uint8)
    >>> colour_histogram(torch.stack([black, white]), bins=2).tolist()
    [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]
    """
    red, green, blue = (shown.long() * bins // 256).flatten(2).unbind(1)
    box = (red * bins + green) * bins + blue
    counts = torch.zeros(len(shown), bins**3).scatter_add_(1, box, torch.ones(()).expand(box.shape))
    return counts / box.shape[1]


def cell_colours(shown: Tensor, grid: int) -> Tensor:
    """The mean colour of each cell of a grid over the picture, (n, 3 grid^2) in [0, 1].

    Args: shown: (n, 3, height, width) uint8; grid: cells along each side.

    Example:

    >>> import torch
    >>> from alignet.evaluation.floors import cell_colours
    >>> picture = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    >>> picture[:, 0, :2, :2] = 255  # red at the upper left
    >>> cell_colours(picture, grid=2).tolist()
    [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    """
    return torch.nn.functional.adaptive_avg_pool2d(shown.float() / 255, grid).flatten(1)


@torch.inference_mode()
def _of_batch(shown: Tensor, untrained: dict[str, Embedder], settings: Levels, precision: str) -> dict[str, Tensor]:
    """The floors of a batch of pictures, (n, dim) each. Args: untrained: name -> network."""
    found = {
        f"{settings.floor_colours**3} colours": colour_histogram(shown, settings.floor_colours),
        f"{settings.floor_pixels} x {settings.floor_pixels} pixels": cell_colours(shown, settings.floor_pixels),
    }
    for name, embedder in untrained.items():
        device = embedder.mean.device
        with autocast(precision, device.type):
            found[name] = embedder(shown.to(device)).float().cpu()
    return found


def _architectures(students: dict[str, Backbone]) -> Iterator[tuple[str, Backbone]]:
    """The first of the students that share an architecture and a picture size, for each of these."""
    taken = set()
    for name, backbone in students.items():
        what = (backbone.model, repr(backbone.options), backbone.picture_size)
        if what not in taken:
            taken.add(what)
            yield name, backbone
