"""Changes of pictures that keep what they show, for shifts between training and test pictures."""

import torch
import torch.nn.functional as F
from torch import Tensor


def corrupted(pictures: Tensor, corruption: str, seed: int) -> Tensor:
    """The pictures after one change; the same seed gives the same bytes.

    Args: pictures: (n, 3, size, size) uint8; corruption: 'loud background' (the picture at 70 % of its side on
        coloured patches), 'grey', 'blur' (box of 1/14 of the side, twice) or 'noise' (standard deviation 40 of 255).
    Raises: ValueError naming a corruption that is not known.
    """
    if corruption not in BY_NAME:
        raise ValueError(f"corruption {corruption!r} is none of {', '.join(BY_NAME)}")
    generator = torch.Generator().manual_seed(seed)
    parts = (BY_NAME[corruption](part.float(), generator) for part in pictures.split(256))
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])


def _loud_background(pictures: Tensor, generator: torch.Generator) -> Tensor:
    size = pictures.shape[-1]
    patches = torch.randint(256, (len(pictures), 3, 6, 6), generator=generator).float()
    background = F.interpolate(patches, size=(size, size), mode="nearest")
    inner = round(0.7 * size)
    start = (size - inner) // 2
    shrunk = F.interpolate(pictures, size=(inner, inner), mode="bilinear", antialias=True)
    background[:, :, start : start + inner, start : start + inner] = shrunk
    return background


def _grey(pictures: Tensor, generator: torch.Generator) -> Tensor:
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (pictures * luma).sum(1, keepdim=True).expand_as(pictures)


def _blur(pictures: Tensor, generator: torch.Generator) -> Tensor:
    width = max(1, pictures.shape[-1] // 28)
    for _ in range(2):
        pictures = F.avg_pool2d(F.pad(pictures, [width] * 4, mode="replicate"), 2 * width + 1, stride=1)
    return pictures


def _noise(pictures: Tensor, generator: torch.Generator) -> Tensor:
    return pictures + 40 * torch.randn(pictures.shape, generator=generator)


BY_NAME = {"loud background": _loud_background, "grey": _grey, "blur": _blur, "noise": _noise}
