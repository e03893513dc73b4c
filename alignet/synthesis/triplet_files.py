"""Triplet files in the format of the AligNet release. No other module converts its order of similarities.

A file `<target>/<split>_<scheme>.npz` holds filenames (n, 3) text, similarities (n, 3) float32 in the order 01, 02, 12,
largest first (so the last image is the odd one out), and indices (n, 3) int. In the package, entry t belongs to the
pair that is left without image t, which is the release's order reversed.

Source: the data set card and data.py of the release (google-deepmind/alignet). Differs from it: members are stored and
    not deflated, so that they can be memory-mapped. The release's own members are deflated, and are streamed.

Example:

>>> import tempfile
>>> from pathlib import Path
>>> import numpy as np
>>> from alignet.synthesis import triplet_files
>>> names, similarities = np.array(["a", "b", "c"]), np.array([[0.1, 0.2, 0.9]] * 2, dtype=np.float32)
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder) / "train_random.npz"
...     triplet_files.write(path, names, np.array([[0, 1, 2], [1, 0, 2]]), similarities)
...     triplet_files.check(triplet_files.read(path))
{'triplets': 2, 'pictures': 3, 'duplicates': 1, 'ties': 0}
"""

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import torch

from alignet.maths import sampling

ARRAYS = ("filenames", "similarities", "indices")
FOLDERS = {"alignet": "uncertainty_distillation", "unalignet": "untransformed"}
RELEASED = {"cluster_border": "cluster_border_500"}  # the release's name where it is not ours
SPLITS = {"train": ("train",), "valid": ("valid", "val")}  # its files say val, its data set card valid
MOST = 1 << 28  # pictures: a name for each number is kept in memory
ROWS = 1 << 18  # rows handled at a time


class ReleaseError(ValueError):
    """A triplet file does not follow its format; the message is one line that names file, array and row."""


@dataclass(frozen=True)
class Release:
    """A triplet file in the package's order. Arrays are memory-mapped or `Streamed`; nothing is read before it is used.

    filenames: (n, 3) text; triplets: (n, 3) int, the file's own picture numbers, the odd one out last; similarities:
    (n, 3) float32 in odd-one-out order, so that they ascend along each row.
    """

    path: Path
    filenames: Any
    triplets: Any
    similarities: Any

    def __len__(self) -> int:
        return len(self.triplets)


class Streamed:
    """A deflated array of a file, which is decompressed slice by slice as rows are read.

    Slices in ascending order together cost one pass, and memory holds the rows of one slice only. A slice that goes
    back starts again at the first byte. np.asarray(...) holds all rows.

    backwards: whether columns are in reverse order.
    """

    def __init__(self, path: Path, name: str, shape: tuple, dtype: np.dtype, backwards: bool = False):
        self.path, self.name, self.shape, self.dtype, self.backwards = path, name, shape, dtype, backwards
        self.ndim, self.row_bytes = len(shape), dtype.itemsize * int(np.prod(shape[1:]))
        self._open: IO[bytes] | None = None
        self._row = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> np.ndarray:
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise TypeError(f"{self.path}: {self.name} is deflated: slices of rows only, or np.asarray(...) of all")
        start, stop, _ = part.indices(len(self))
        wanted = max(stop - start, 0) * self.row_bytes
        try:
            read = self._at(start).read(wanted) if wanted else b""  # no rows: the stream stays where it is
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ReleaseError(f"{self.path}: {self.name} cannot be decompressed ({error})") from None
        if len(read) < wanted:
            raise ReleaseError(f"{self.path}: {self.name} ends at row {start + len(read) // self.row_bytes}")
        self._row = stop if wanted else self._row
        rows = np.frombuffer(read, self.dtype).reshape(-1, *self.shape[1:])
        return rows[:, ::-1] if self.backwards else rows

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def reversed(self) -> "Streamed":
        """A view of this array with its columns in reverse order."""
        return Streamed(self.path, self.name, self.shape, self.dtype, not self.backwards)

    def _at(self, row: int) -> IO[bytes]:
        """The member's decompressed bytes, starting at a row."""
        if self._open is None or row < self._row:
            archive = zipfile.ZipFile(self.path)  # its file closes with the last member that is open
            member = self._open = archive.open(f"{self.name}.npy")
            _header(member)
            self._row = 0
        else:
            member = self._open
        left = (row - self._row) * self.row_bytes
        while left > 0 and (skipped := len(member.read(min(left, 1 << 20)))):
            left -= skipped
        return member


def released_path(folder: Path, target: str, split: str, scheme: str) -> Path:
    """The file of a target (alignet | unalignet), split (train | valid) and scheme in a folder of the release.

    Raises: ReleaseError naming the file if it is not there. The target has no default: the release's is a trap.
    """
    if target not in FOLDERS:
        raise ReleaseError(f"target {target!r} is neither alignet nor unalignet")
    if split not in SPLITS:
        raise ReleaseError(f"split {split!r} is neither {' nor '.join(SPLITS)}")
    names = [f"{spelt}_{RELEASED.get(scheme, scheme)}.npz" for spelt in SPLITS[split]]
    paths = [Path(folder) / FOLDERS[target] / name for name in names]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise ReleaseError(f"{' or '.join(map(str, paths))}: no such file")
    return found[0]


def read(path: Path) -> Release:
    """A triplet file: its arrays are mapped where they are stored, and streamed (`Streamed`) where they are deflated.

    Raises: ReleaseError naming what is wrong with the file, its arrays, their types or shapes. Values: see `check`.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name: member(path, archive, name) for name in ARRAYS}
    except (OSError, zipfile.BadZipFile) as error:
        raise ReleaseError(f"{path}: cannot be read as an .npz file ({error})") from None
    kinds = {"filenames": "US", "similarities": "f", "indices": "iu"}
    for name, array in members.items():
        if array.dtype.kind not in kinds[name]:
            raise ReleaseError(f"{path}: {name} is of type {array.dtype}")
        if array.ndim != 2 or array.shape[1] != 3 or len(array) != len(members["indices"]):
            raise ReleaseError(f"{path}: {name} has the shape {array.shape}, indices {members['indices'].shape}")
    similarities = members["similarities"]
    similarities = similarities.reversed() if isinstance(similarities, Streamed) else similarities[:, ::-1]
    return Release(path, members["filenames"], members["indices"], similarities)


def chunks(release: Release) -> Iterator[tuple[slice, Release]]:
    """The file in parts of at most ROWS triplets, each copied into memory, with the rows that it covers."""
    for start in range(0, len(release), ROWS):
        part = slice(start, min(start + ROWS, len(release)))
        arrays = [np.array(array[part]) for array in (release.filenames, release.triplets, release.similarities)]
        yield part, Release(release.path, *arrays)


def check(release: Release, filenames: np.ndarray | None = None) -> dict[str, int]:
    """Read the whole file once, in bounded memory, and refuse what its format rules out.

    Args: filenames: (n_pictures,) the name of each picture number where it is known; otherwise the file must agree
        with itself: one name per number, one number per name.
    Returns: the numbers of triplets, of pictures, of duplicates (triplets whose set of three occurred before) and of
        ties (the odd one out is not unique).
    Raises: ReleaseError at the first row that is not finite, not sorted, with a picture twice, with a number that is
        negative or too large, or with a name that is another number's.
    """
    ties = 0
    parts = (release.triplets[start : start + ROWS] for start in range(0, len(release), ROWS))
    images = max((int(part.max()) for part in parts), default=0) + 1
    if images > MOST:
        raise ReleaseError(f"{release.path}: indices goes up to {images - 1}; at most {MOST - 1:,}")
    names = _Names(release, filenames, images)
    keys = np.empty((1 if images <= sampling.ONE_KEY else 2, len(release)), np.int64)
    for part, rows in chunks(release):
        similarities, ordered = rows.similarities, np.sort(rows.triplets, axis=1).astype(np.int64)
        _refuse(release, part, "similarities", ~np.isfinite(similarities).all(1), "is not finite")
        _refuse(release, part, "similarities", (np.diff(similarities) < 0).any(1), "is not sorted as s01, s02, s12")
        _refuse(release, part, "indices", (rows.triplets < 0).any(1), "is negative")
        _refuse(release, part, "indices", (np.diff(ordered) == 0).any(1), "has a picture twice")
        names.check(part, rows)
        for row, key in enumerate(sampling.set_keys(torch.from_numpy(ordered), images)):
            keys[row, part] = key.numpy()
        ties += int((similarities[:, 2] == similarities[:, 1]).sum())
    pictures = names.finish()
    if len(keys) == 1:
        keys[0].sort()
    else:
        keys = keys[:, np.lexsort(keys[::-1])]
    duplicates = int((keys[:, 1:] == keys[:, :-1]).all(0).sum())
    return {"triplets": len(release), "pictures": pictures, "duplicates": duplicates, "ties": ties}


def locate(release: Release, paths: np.ndarray) -> np.ndarray:
    """The file's triplets as positions in `paths`, found by file name, not by the file's own numbers: (n, 3) int64.

    Args: paths: (n_pictures,) of a world; only their last components are compared if the file names no folders.
    Raises: ReleaseError with the count and the first name that is missing or that occurs twice.
    """
    folders = len(release) > 0 and "/" in _text(release.filenames[:1])[0, 0]
    index = pd.Index(paths if folders else [str(path).rsplit("/", 1)[-1] for path in paths])
    if not index.is_unique:
        raise ReleaseError(f"{release.path}: {index[index.duplicated()][0]!r} is the name of two pictures")
    positions = np.empty((len(release), 3), np.int64)
    for part, rows in chunks(release):
        names = _text(rows.filenames)
        positions[part] = index.get_indexer(names.ravel()).reshape(-1, 3)
        missing = (positions[part] < 0).any(1)
        if missing.any():
            row = int(missing.argmax())
            name = str(names[row][positions[part][row] < 0][0])
            count = f"{int(missing.sum())} of {len(names)} triplets from row {part.start} name such pictures"
            raise ReleaseError(f"{release.path}: filenames, row {part.start + row}: no picture {name!r} ({count})")
    return positions


def write(path: Path, filenames: np.ndarray, triplets: np.ndarray, similarities: np.ndarray) -> None:
    """Write a file in the release's format. Equal content gives equal bytes.

    The images of each triplet are sorted so that the last one is the odd one out; tied images keep their order.

    Args: filenames: (n_pictures,) text; triplets: (n, 3) picture numbers; similarities: (n, 3) in odd-one-out order.
    Raises: ReleaseError naming the row if a similarity is not finite. The file appears only once it is complete.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from alignet.synthesis import triplet_files
    >>> names, triplets = np.array(["owl.png", "duck.png", "car.png"]), np.array([[2, 0, 1]])
    >>> similarities = np.array([[0.9, 0.1, 0.2]], dtype=np.float32)  # owl and duck are the most alike
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "train_random.npz"
    ...     triplet_files.write(path, names, triplets, similarities)
    ...     triplet_files.read(path).filenames[0].tolist()  # the odd one out comes last
    ['owl.png', 'duck.png', 'car.png']
    """
    wrong = ~np.isfinite(similarities).all(1)
    if wrong.any():
        raise ReleaseError(f"{path}: similarities, row {int(wrong.argmax())} is not finite")
    filenames = np.asarray(filenames, dtype=str)
    # Ascending by the pair that is left without the image: the odd one out comes last, and entry 2 is then s01.
    order = np.argsort(similarities, axis=1, kind="stable").astype(np.int8)
    shape = (len(triplets), 3)
    partial = path.with_name(path.name + ".partial")
    with zipfile.ZipFile(partial, "w") as archive:
        parts = [slice(start, start + ROWS) for start in range(0, len(triplets), ROWS)]
        indices = (np.take_along_axis(triplets[part], order[part], 1).astype("<i8") for part in parts)
        released = (np.take_along_axis(similarities[part], order[part], 1)[:, ::-1].astype("<f4") for part in parts)
        named = (filenames[np.take_along_axis(triplets[part], order[part], 1)] for part in parts)
        _store(archive, "filenames", filenames.dtype.newbyteorder("<"), shape, named)
        _store(archive, "similarities", np.dtype("<f4"), shape, released)
        _store(archive, "indices", np.dtype("<i8"), shape, indices)
    partial.replace(path)


def _store(archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple, parts: Iterator[np.ndarray]) -> None:
    """Write one array part by part as a stored .npy member with fixed headers."""
    entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system, entry.external_attr = 3, 0o600 << 16
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with archive.open(entry, "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for part in parts:
            member.write(np.ascontiguousarray(part, dtype=dtype).data.cast("B"))


def member(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray | Streamed:
    """One array of the archive.

    It is memory-mapped from its place in the file if it is stored, and streamed otherwise; an array that is deflated
    and in column order is read as a whole.
    """
    if f"{name}.npy" not in archive.namelist():
        raise ReleaseError(f"{path}: no array {name}; has {', '.join(archive.namelist()) or 'none'}")
    entry = archive.getinfo(f"{name}.npy")
    try:
        with archive.open(entry) as member:
            shape, fortran, dtype = _header(member)
            offset = member.tell()
    except (ValueError, KeyError) as error:
        raise ReleaseError(f"{path}: {name} cannot be read as a plain array ({error})") from None
    if dtype.hasobject:
        raise ReleaseError(f"{path}: {name} holds pickled Python objects, which are not read: they could run code")
    if 0 in shape:
        return np.empty(shape, dtype)
    if entry.compress_type != zipfile.ZIP_STORED:
        found = Streamed(path, name, shape[::-1] if fortran else shape, dtype)
        return found[:].T if fortran else found
    offset += _data_start(path, entry)
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")


def _header(member: IO[bytes]) -> tuple[tuple, bool, np.dtype]:
    """Shape, order and type of a .npy member, which is left at its first number."""
    version = np.lib.format.read_magic(member)
    reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    return reader[version](member)


def _data_start(path: Path, entry: zipfile.ZipInfo) -> int:
    """The position at which a member's bytes begin, behind its local header with name and extra field of its own
    lengths.
    """
    with path.open("rb") as file:
        file.seek(entry.header_offset + 26)
        return entry.header_offset + 30 + sum(np.frombuffer(file.read(4), "<u2").tolist())


class _Names:
    """The name of each picture number, as it was given or first seen in the file."""

    def __init__(self, release: Release, filenames: np.ndarray | None, images: int):
        self.release, self.given = release, filenames is not None
        if filenames is None:
            self.table = np.zeros(images, release.filenames.dtype)
            self.seen = np.zeros(images, bool)
        else:
            self.table = np.asarray(filenames, dtype=release.filenames.dtype.kind)
            self.seen = np.zeros(len(filenames), bool)

    def check(self, part: slice, rows: Release) -> None:
        _refuse(self.release, part, "indices", (rows.triplets >= len(self.table)).any(1), "is too large")
        if not self.given:
            numbers, first = np.unique(rows.triplets, return_index=True)
            new = ~self.seen[numbers]
            self.table[numbers[new]] = rows.filenames.ravel()[first[new]]
        self.seen[rows.triplets] = True
        wrong = (self.table[rows.triplets] != rows.filenames).any(1)
        _refuse(self.release, part, "filenames", wrong, "is not the name of the indices' pictures")

    def finish(self) -> int:
        names = self.table[self.seen]
        if len(np.unique(names)) < len(names):
            raise ReleaseError(f"{self.release.path}: one file name has two indices")
        return len(names)


def _refuse(release: Release, part: slice, array: str, wrong: np.ndarray, why: str) -> None:
    if wrong.any():
        raise ReleaseError(f"{release.path}: {array}, row {part.start + int(wrong.argmax())} {why}")


def _text(names: np.ndarray) -> np.ndarray:
    return np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names
