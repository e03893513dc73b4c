"""Models that others bring, as they are: any callable or torch module from a batch of pictures to vectors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from alignet.models.backbones import Embedder

Prepare = Callable[[Image.Image], Tensor]


class Given(Embedder):
    """A callable as a backbone: (batch, 3, size, size) uint8 -> (batch, dim) float32.

    The callable gets (batch, 3, size, size) float32 in [0, 1], red, green and blue, of whole pictures that are resized
    to a square; it normalises them itself. With `prepare`, for instance the transform that open_clip or torchvision
    gives with a model, it gets what that makes of each picture, stacked. It returns (batch, dim) numbers, as a tensor
    or an array. A torch module is put into evaluation mode and on the device that models run on.

    Example:

    >>> import torch
    >>> from alignet.models.given import Given
    >>> colours = Given(lambda pictures: pictures.mean((2, 3)))  # mean red, green and blue
    >>> grey = torch.full((1, 3, 8, 8), 51, dtype=torch.uint8)
    >>> [round(value, 2) for value in colours(grey)[0].tolist()]
    [0.2, 0.2, 0.2]
    """

    def __init__(self, model: Callable[[Tensor], Any], prepare: Prepare | None = None):
        nn.Module.__init__(self)
        self.model, self.prepare = model, prepare
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1), persistent=False)  # which says where models run
        self.register_buffer("std", torch.full((1, 3, 1, 1), 255.0), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """The callable's outputs for a batch of pictures, checked.

        Raises: ValueError, one line, if the callable gives anything but a row of finite numbers for each picture.
        """
        return vectors(self.model(self._prepared(pictures)), len(pictures))

    def _prepared(self, pictures: Tensor) -> Tensor:
        if self.prepare is None:
            return (pictures - self.mean) / self.std
        shown = [Image.fromarray(picture.permute(1, 2, 0).cpu().numpy()) for picture in pictures]
        prepared = [self.prepare(picture) for picture in shown]
        if not all(isinstance(picture, Tensor) and picture.shape == prepared[0].shape for picture in prepared):
            raise ValueError("prepare: must give tensors of one shape, (3, height, width), for Pillow images")
        return torch.stack(prepared).to(pictures.device)


def vectors(output: Any, pictures: int) -> Tensor:
    """What a model gave for a batch as (pictures, dim) float32.

    Raises: ValueError, one line that says what it gave in place of that.

    Example:

    >>> import numpy as np
    >>> from alignet.models import given
    >>> given.vectors(np.ones((2, 4)), pictures=2).shape
    torch.Size([2, 4])
    """
    if not isinstance(output, Tensor | np.ndarray):
        raise ValueError(f"model: gives a {type(output).__name__} for a batch of pictures, not a tensor or an array")
    try:
        found = torch.as_tensor(output).detach()
    except TypeError:  # an array of objects or of text
        raise ValueError(f"model: gives an array of {output.dtype} for a batch of pictures, not of numbers") from None
    if found.ndim != 2 or found.shape[1] == 0 or found.is_complex() or found.dtype == torch.bool:
        is_a = f"{str(found.dtype).removeprefix('torch.')} of shape {tuple(found.shape)}"
        raise ValueError(f"model: gives {is_a} for {pictures} pictures, not ({pictures}, dim) numbers: pool its output")
    if len(found) != pictures:
        raise ValueError(f"model: gives {len(found)} rows for {pictures} pictures: there must be one for each")
    wrong = ~found.isfinite().all(1)
    if wrong.any():
        raise ValueError(f"model: gives numbers that are not finite for {int(wrong.sum())} of {pictures} pictures")
    return found.float()
