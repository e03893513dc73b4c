"""Decodes picture files to uint8 tensors of one size.

All reading and checking of picture files uses `_opened`, so every later stage can decode the files that `fault`
accepts.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from alignet.worlds.format.tables import WorldError

UNREADABLE = (  # what Pillow raises for broken files
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
QUICK = 32  # pixels of the shorter side, at least, of a JPEG that is only tried
TURNS = {  # of the EXIF tag Orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(path: Path, size: int) -> Tensor:
    """The whole picture as RGB over white, resized (bicubic) and not cropped: (3, size, size) uint8.

    It is turned as its EXIF orientation says, as in viewers; the first picture of an animation is taken.
    Raises: WorldError that names the file if Pillow cannot read it as a picture, or if its values have no known range.
    """
    return _resized(_rgb(path), size)


def prepared(picture: Image.Image, size: int) -> Tensor:
    """An opened picture as `decode` gives it. Raises: one of UNREADABLE."""
    return _resized(over_white(picture), size)


def _resized(rgb: Image.Image, size: int) -> Tensor:
    return torch.from_numpy(np.array(rgb.resize((size, size), Image.Resampling.BICUBIC))).permute(2, 0, 1)


def shown(path: Path, side: int) -> Image.Image:
    """A picture file as people see it: as `decode` reads it, but in its own shape and no larger than `side` pixels.

    Raises: as `decode`.
    """
    picture = _rgb(path)
    picture.thumbnail((side, side))
    return picture


def fault(path: Path) -> str | None:
    """The reason why a picture file cannot be read; None if it can. The whole file is read, JPEGs at an eighth of their
    size.
    """
    try:
        _opened(path, quick=True)
    except UNREADABLE as error:
        return "no such file" if isinstance(error, FileNotFoundError) else _reason(error)
    return None


def _rgb(path: Path) -> Image.Image:
    """The picture in a file, upright, as RGB over white. Raises: WorldError that names the file."""
    try:
        return _opened(path)
    except UNREADABLE as error:
        raise WorldError(f"{path}: cannot be read as a picture ({_reason(error)})") from None


def _opened(path: Path, quick: bool = False) -> Image.Image:
    """The picture in a file, upright, as RGB over white; with fewer pixels if a JPEG is only checked. Raises:
    UNREADABLE.
    """
    with Image.open(path) as file:
        if quick:
            file.draft("RGB", (QUICK, QUICK))
        return over_white(file)


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def over_white(picture: Image.Image) -> Image.Image:
    """An opened picture, upright, with 8 bits, as RGB over white. Raises: one of UNREADABLE."""
    whole = eight_bits(upright(picture))
    if whole.mode in ("RGB", "L") and not whole.has_transparency_data:
        return whole.convert("RGB")  # nothing to see through: the rest would take half as long again
    rgba = whole.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def upright(picture: Image.Image) -> Image.Image:
    """The picture, turned as its EXIF orientation says; not turned if its EXIF or XMP data cannot be read.

    Pillow's own exif_transpose also rewrites the data without the orientation, which fails for malformed data.
    """
    picture.load()
    try:
        turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except UNREADABLE:
        turn = None
    return picture if turn is None else picture.transpose(turn)


def eight_bits(picture: Image.Image) -> Image.Image:
    """A grey picture whose values have another type, with 8 bits per value; Pillow itself would clip the values at 255.

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
    """A DataLoader whose worker processes' errors are one line each.

    Raises, while it is iterated: WorldError as the worker raised it, without its traceback; RuntimeError if a worker
    was killed.
    """

    def __iter__(self) -> Iterator:  # type: ignore[override]  # torch declares its own class of iterators
        read = super().__iter__()
        try:
            yield from read
        except WorldError as error:
            raise WorldError(str(error).rpartition(f"{WorldError.__name__}: ")[2].rstrip()) from None
        except (RuntimeError, OSError, EOFError) as error:
            # torch says so itself, or what the worker was handing over breaks off; its own errors begin with "Caught"
            noticed = str(error).startswith("DataLoader worker") or not isinstance(error, RuntimeError)
            if not self.num_workers or not noticed or str(error).startswith("Caught"):
                raise
            lower = "perhaps because memory ran out: lower features.workers or features.batch_size"
            raise RuntimeError(f"a process that decodes pictures was killed, {lower}") from error
        finally:
            _end_workers(read)


def _end_workers(read: Any) -> None:
    """End the worker processes of a DataLoader's iterator now.

    torch ends them when the iterator is collected. An error that is kept, as in a notebook until the kernel ends, keeps
    the iterator alive.
    """
    end = getattr(read, "_shutdown_workers", None)  # torch has no public name for it; without workers there is none
    if end is not None:
        with suppress(RuntimeError):  # torch raises again, for the worker that was killed, as each of the others ends
            end()


def batches(paths: list[Path], size: int, batch_size: int, workers: int) -> Loader:
    """Batches of pictures, (batch, 3, size, size) uint8, in the order of `paths`; worker processes decode them."""
    return Loader(_Files(paths, size), batch_size, num_workers=workers, generator=torch.Generator())


def stack(paths: list[Path], size: int, workers: int) -> Tensor:
    """All pictures in memory: (n, 3, size, size) uint8."""
    if not paths:
        return torch.empty(0, 3, size, size, dtype=torch.uint8)
    return torch.cat(list(batches(paths, size, 256, workers)))


def check(paths: list[Path], workers: int) -> None:
    """Read every picture once, JPEGs at an eighth of their size, which is fast and finds truncated files too.

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
        found = fault(self.paths[row])
        if found:
            raise WorldError(f"{self.paths[row]}: cannot be read as a picture ({found})")
        return True
