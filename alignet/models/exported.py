"""An exported student in use: `load`, `embed`, `odd_one_out`."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from alignet import config, devices
from alignet.maths.choices import pair_similarities
from alignet.models import backbones
from alignet.models.backbones import Embedder
from alignet.worlds.format import pictures

CHOICE = "choice.safetensors"  # centre: (dim,); sharpness: scalar
Picture = str | Path | Image.Image


class Choice(NamedTuple):
    """odd: 0, 1, 2, the likeliest odd one out; probabilities: (3,) float64, that each is."""

    odd: int
    probabilities: Tensor


class Aligned:
    """An exported student. Pictures are given as paths or as Pillow images, in any number, size and mode."""

    def __init__(self, embedder: Embedder, size: int, centre: Tensor, sharpness: float):
        self.embedder, self.size, self.centre, self.sharpness = embedder, size, centre, sharpness

    @torch.inference_mode()
    def embed(self, shown: Picture | Iterable[Picture], batch: int = 64) -> Tensor:
        """Pooled features of pictures: (n, dim) float32 on the CPU.

        Raises: WorldError (a ValueError) that names a file that is no picture.

        Example:

        >>> import torch
        >>> from PIL import Image
        >>> from alignet.models.exported import Aligned
        >>> from alignet.models.given import Given
        >>> colours = Given(lambda pictures: pictures.mean((2, 3)))  # in the place of an exported student
        >>> model = Aligned(colours, size=8, centre=torch.full((3,), 0.5), sharpness=5.0)
        >>> model.embed([Image.new("RGB", (20, 10), "red"), Image.new("L", (5, 5))]).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
        """
        given = [shown] if isinstance(shown, str | Path | Image.Image) else list(shown)
        if not given:
            return torch.empty(0, self.embedder.dim)
        device = devices.local()
        parts = []
        for start in range(0, len(given), batch):
            decoded = torch.stack([_decoded(picture, self.size) for picture in given[start : start + batch]])
            parts.append(self.embedder(decoded.to(device)).float().cpu())
        return torch.cat(parts)

    def odd_one_out(self, three: Sequence[Picture]) -> Choice:
        """The odd one out of three pictures, by the cosines of centred features (Eq. 1 of docs/method.md).

        Raises: ValueError if there are not three.

        Example:

        >>> import torch
        >>> from PIL import Image
        >>> from alignet.models.exported import Aligned
        >>> from alignet.models.given import Given
        >>> colours = Given(lambda pictures: pictures.mean((2, 3)))
        >>> model = Aligned(colours, size=8, centre=torch.full((3,), 0.5), sharpness=5.0)
        >>> model.odd_one_out([Image.new("RGB", (8, 8), colour) for colour in ("red", "orange", "blue")]).odd
        2
        """
        if len(three) != 3:
            raise ValueError(f"an odd one out of three pictures, not of {len(three)}")
        centred = torch.nn.functional.normalize(self.embed(three) - self.centre, dim=1)
        probabilities = (self.sharpness * pair_similarities(centred[None]).double()).softmax(1)[0]
        return Choice(int(probabilities.argmax()), probabilities)


def load(folder: str | Path) -> Aligned:
    """A student that `python -m alignet.export` has written.

    Raises: ValueError that names the file that is missing or is not of such an export.
    """
    folder = Path(folder).resolve()
    for name in ("config.json", "model.safetensors", CHOICE):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name}: no such file; python -m alignet.export writes it")
    record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    size = int(record["pretrained_cfg"]["input_size"][-1])
    settings = config.Backbone(
        model=f"{backbones.LOCAL}{folder}", options={}, weights="timm", layer="pooled", picture_size=size, seed=0
    )
    choice = load_file(folder / CHOICE)
    embedder = backbones.create(settings).to(devices.local())
    return Aligned(embedder, size, choice["centre"], float(choice["sharpness"]))


def _decoded(picture: Picture, size: int) -> Tensor:
    return (
        pictures.prepared(picture, size) if isinstance(picture, Image.Image) else pictures.decode(Path(picture), size)
    )
