"""Pictures from glyphs: random place, scale, tilt, mirror and slight hue shift on a pale textured ground."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from alignet.config import Emoji

YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
DARKEST = 0.9  # of a background's mean colour
CHUNK = 32  # pictures drawn at once: larger ones leave the processor's cache and are slower


def render(glyphs: Tensor, settings: Emoji, generator: torch.Generator, recolour: bool) -> Tensor:
    """Draw one picture of each glyph.

    Args: glyphs: (n, 4, g, g) in [0, 1], alpha last; recolour: shift the hue by up to settings.hue_shift.
    Returns: (n, 3, size, size) uint8.
    """
    chunks = [_render(chunk, settings, generator, recolour) for chunk in glyphs.split(CHUNK)]
    return torch.cat(chunks)


def _render(glyphs: Tensor, settings: Emoji, generator: torch.Generator, recolour: bool) -> Tensor:
    n, size = len(glyphs), settings.picture_size
    grid = F.affine_grid(_placement(n, settings, generator), [n, 4, size, size], align_corners=False)
    # Premultiplied: otherwise the colour of transparent pixels bleeds into the edges.
    premultiplied = torch.cat([glyphs[:, :3] * glyphs[:, 3:], glyphs[:, 3:]], dim=1)
    placed = F.grid_sample(premultiplied, grid, mode="bilinear", align_corners=False)
    colour, alpha = placed[:, :3], placed[:, 3:]
    if recolour:
        angles = _uniform(n, -settings.hue_shift, settings.hue_shift, generator)
        colour = torch.einsum("nij,njhw->nihw", _hue_rotations(angles), colour)
    picture = colour + (1 - alpha) * _backgrounds(n, size, settings.background_contrast, generator)
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def colour_similarity(glyphs: Tensor) -> Tensor:
    """Similarity of the mean colours, (n, n) in [0, 1]: 1 minus the distance divided by the largest distance."""
    alpha = glyphs[:, 3:]
    mean = (glyphs[:, :3] * alpha).sum((2, 3)) / alpha.sum((2, 3))
    distance = torch.cdist(mean, mean)
    return 1 - distance / distance.max()


def shape_similarity(glyphs: Tensor) -> Tensor:
    """Similarity of the silhouettes, (n, n) in [0, 1]: intersection over union at 18 x 18 pixels."""
    masks = F.adaptive_avg_pool2d(glyphs[:, 3:], 18).flatten(1)
    shared = masks @ masks.T
    total = masks.square().sum(1)
    return shared / (total[:, None] + total[None, :] - shared)


def _placement(n: int, settings: Emoji, generator: torch.Generator) -> Tensor:
    """Affine maps from picture to glyph coordinates, (n, 2, 3), as F.affine_grid takes them."""
    smallest, largest = settings.glyph_scale
    scale = _uniform(n, smallest, largest, generator)
    tilt = _uniform(n, -settings.tilt, settings.tilt, generator) * math.pi / 180
    mirror = torch.randint(0, 2, (n,), generator=generator) * 2.0 - 1
    place = torch.stack([_uniform(n, -1, 1, generator), _uniform(n, -1, 1, generator)], dim=1)
    turn = torch.stack([tilt.cos() * mirror, -tilt.sin(), tilt.sin() * mirror, tilt.cos()], dim=1).view(n, 2, 2)
    linear = turn / scale[:, None, None]
    centre = place * (1 - scale)[:, None]  # the glyph stays inside the picture
    return torch.cat([linear, -(linear @ centre[:, :, None])], dim=2)


def _backgrounds(n: int, size: int, contrast: float, generator: torch.Generator) -> Tensor:
    mean = _uniform(3 * n, DARKEST, 1, generator).view(n, 3, 1, 1)
    coarse = torch.randn(n, 3, 8, 8, generator=generator)
    texture = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    return (mean + contrast * texture).clamp(0, 1)


def _hue_rotations(degrees: Tensor) -> Tensor:
    """Rotations of the chroma plane of YIQ, as (n, 3, 3) matrices on RGB."""
    angle = degrees * math.pi / 180
    rotation = torch.zeros(len(angle), 3, 3)
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1] = rotation[:, 2, 2] = angle.cos()
    rotation[:, 1, 2], rotation[:, 2, 1] = -angle.sin(), angle.sin()
    return torch.linalg.inv(YIQ) @ rotation @ YIQ


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)
