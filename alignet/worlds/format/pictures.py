"""Decodes picture files to uint8 tensors of one size."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from alignet.worlds.format.tables import WorldError

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises for broken files


def decode(path: Path, size: int) -> Tensor:
    """The whole picture as RGB over white, resized (bicubic) and not cropped: (3, size, size) uint8.

    It is turned as its EXIF orientation says, as viewers turn it; of an animation the first picture is taken.
    Raises: WorldError that names the file if Pillow cannot read it as a picture, or if its values have no known range.
    """
    try:
        with Image.open(path) as file:
            return prepared(file, size)
    except UNREADABLE as error:
        raise WorldError(f"{path}: cannot be read as a picture ({error})") from None


def prepared(picture: Image.Image, size: int) -> Tensor:
    """An opened picture as `decode` gives it. Raises: one of UNREADABLE."""
    rgb = over_white(picture).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def shown(path: Path, side: int) -> Image.Image:
    """A picture file as people see it: as `decode` reads it, but in its own shape and no larger than `side` pixels.

    Raises: as `decode`.
    """
    try:
        with Image.open(path) as file:
            picture = over_white(file)
    except UNREADABLE as error:
        raise WorldError(f"{path}: cannot be read as a picture ({error})") from None
    picture.thumbnail((side, side))
    return picture


def over_white(picture: Image.Image) -> Image.Image:
    """An opened picture upright, with 8 bits, as RGB over white. Raises: one of UNREADABLE."""
    whole = eight_bits(upright(picture))
    if whole.mode in ("RGB", "L") and not whole.has_transparency_data:
        return whole.convert("RGB")  # nothing to see through: the rest would take half as long again
    rgba = whole.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says."""
    return ImageOps.exif_transpose(picture)


def eight_bits(picture: Image.Image) -> Image.Image:
    """A grey picture of other numbers with 8 bits per value; Pillow itself would clip them at 255.

    16-bit values are divided by 257. Those of wider integers and of floating-point numbers are taken to be in the first
    of the ranges 0 to 1 (numbers that are not all whole), 0 to 255 and 0 to 65,535 that holds them.
    Raises: ValueError if none does, or if a value is no number.
    """
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;"):
        return picture
    values = np.asarray(picture, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("holds values that are no numbers")
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        raise ValueError(f"values from {low:g} to {high:g} have no known range: save it with 8 or 16 bits")
    if picture.mode.startswith("I;16"):
        scale = 1 / 257
    elif high <= 1 and picture.mode == "F":
        scale = 255.0
    else:
        scale = 1.0 if high <= 255 else 1 / 257
    return Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))


class _Files(Dataset):
    """Decoded pictures, (3, size, size) uint8 each."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        return decode(self.paths[row], self.size)


class Loader(DataLoader):
    """A DataLoader that says in one line what went wrong in one of its worker processes.

    Raises, while it is iterated: WorldError as the worker raised it, without its traceback; RuntimeError if a worker
    was killed.
    """

    def __iter__(self) -> Iterator:  # type: ignore[override]  # torch declares its own class of iterators
        try:
            yield from super().__iter__()
        except WorldError as error:
            raise WorldError(str(error).rpartition(f"{WorldError.__name__}: ")[2].rstrip()) from None
        except (RuntimeError, OSError, EOFError) as error:
            # torch says so itself, or what the worker was handing over breaks off; its own errors begin with "Caught"
            noticed = str(error).startswith("DataLoader worker") or not isinstance(error, RuntimeError)
            if not self.num_workers or not noticed or str(error).startswith("Caught"):
                raise
            lower = "perhaps because memory ran out: lower features.workers or features.batch_size"
            raise RuntimeError(f"a process that decodes pictures was killed, {lower}") from error


def batches(paths: list[Path], size: int, batch_size: int, workers: int) -> Loader:
    """The pictures in the order of `paths`, in batches (batch, 3, size, size) uint8 that worker processes decode."""
    return Loader(_Files(paths, size), batch_size, num_workers=workers, generator=torch.Generator())


def stack(paths: list[Path], size: int, workers: int) -> Tensor:
    """All pictures in memory: (n, 3, size, size) uint8."""
    if not paths:
        return torch.empty(0, 3, size, size, dtype=torch.uint8)
    return torch.cat(list(batches(paths, size, 256, workers)))


def check(paths: list[Path], workers: int) -> None:
    """Read every picture once, JPEGs at an eighth of their size, which is quick and finds truncated files too.

    Raises: WorldError that names the first picture that cannot be read.
    """
    for _ in Loader(_Readable(paths), 256, num_workers=workers, generator=torch.Generator()):
        pass


class _Readable(Dataset):
    """True for each picture; a picture that cannot be read raises WorldError."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> bool:
        try:
            with Image.open(self.paths[row]) as picture:
                picture.draft("RGB", (1, 1))
                picture.load()
                eight_bits(picture)  # refuses values without a known range
        except UNREADABLE as error:
            raise WorldError(f"{self.paths[row]}: cannot be read as a picture ({error})") from None
        return True
