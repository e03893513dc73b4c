"""Features that others computed, read from a file, for a teacher's backbone whose network is not available.

An entry of `backbones` with the key `features` (config.FeatureFile) names the file:

- FILE.npy, (n, dim), with a text file of n names, one a line: `names`, or file_names.txt beside it, as thingsvision
  writes both;
- FILE.npz with the arrays features (n, dim) and names (n,); names may also stand in a text file;
- FILE.csv: names of columns, then a row a picture, the first column its name, all others numbers.

A row belongs to a picture by the picture's id, or by its file name with or without folder and ending. Where a name is
no picture but a concept (a value of the world's finest label), the row belongs to the photograph of that concept that
people judged.
"""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet.config import FeatureFile, home
from alignet.worlds.format.tables import World

BESIDE = "file_names.txt"  # as thingsvision.utils.storing.save_features and its extractor name it
NAMES = ("names", "file_names", "filenames")  # of an array of names in an .npz file
SHOWN = 3  # names that an error lists


def read(file: FeatureFile) -> tuple[list[str], np.ndarray]:
    """Names (n,) and features (n, dim) float32 of a file.

    Raises: ValueError, one line that names the file and what is missing or wrong in it.
    """
    path = home() / file.features
    if not path.is_file():
        raise ValueError(f"{file.features}: no such file")
    try:
        names, rows = {".npy": _npy, ".npz": _npz, ".csv": _csv}[path.suffix](path, file)
    except KeyError:
        raise ValueError(f"{file.features}: is neither .npy nor .npz nor .csv") from None
    return checked(names, rows, file.features)


def checked(names: list[str], rows: np.ndarray, source: str) -> tuple[list[str], np.ndarray]:
    """The names, and the rows as (n, dim) float32. Args: source: what an error calls the features.

    Raises: ValueError, one line: rows that are no matrix of finite numbers, or not as many as the names.
    """
    if rows.ndim != 2 or rows.dtype.kind not in "fiu" or rows.shape[1] == 0:
        raise ValueError(f"{source}: is {rows.dtype} of shape {rows.shape}, not pictures x numbers")
    if len(names) != len(rows):
        raise ValueError(f"{source}: {len(rows)} rows, and {len(names)} names: their counts must be equal")
    with np.errstate(over="ignore"):  # what is too large is said below, by name
        rows = rows.astype(np.float32)
    wrong = ~np.isfinite(rows).all(1)
    if wrong.any():
        raise ValueError(f"{source}: the features of {names[int(wrong.argmax())]!r} are not finite")
    return names, rows


def of_world(file: FeatureFile, world: World, wanted: Tensor, by_concept: bool) -> tuple[Tensor, Tensor]:
    """Features of some of the world's pictures, and whether each row was taken from another picture.

    Args: wanted: (k,) rows of images.csv; by_concept: a picture without features of its own gets those of its concept's
        judged photograph (synthesis.by_concept).
    Returns: (k, dim) float32; and (k,) bool, True where the features are those of the concept's photograph.
    Raises: ValueError naming the first pictures without features, or a name that stands twice.
    """
    advice = "" if by_concept else "; synthesis.by_concept: true gives a picture its concept's"
    return of_pictures(*read(file), file.features, world, wanted, by_concept, advice)


def of_pictures(
    names: list[str],
    rows: np.ndarray,
    source: str,
    world: World,
    wanted: Tensor,
    by_concept: bool = False,
    advice: str = "",
) -> tuple[Tensor, Tensor]:
    """Rows of named features, as `of_world` finds those of a file.

    Args: names, rows: see `checked`; source: what errors call them; advice: what an error adds to pictures without
        features.
    """
    images = world.images.iloc[wanted.tolist()]
    own = _places(names, images, source)
    concepts, judged = images[world.hierarchy[0]].astype(str), (images["split"] == "human").to_numpy()
    of_concept = _by_concept(names, world, set(concepts[own < 0]), source)
    found = concepts.map(of_concept).fillna(-1).astype(int).to_numpy()
    borrowed = (own < 0) & (found >= 0) & ~judged & by_concept
    own = np.where((own < 0) & (judged | borrowed), found, own)
    lacking = images["image"].to_numpy()[own < 0]
    if len(lacking):
        raise ValueError(
            f"{source}: has no features of {len(lacking)} of {len(images)} pictures, the first are "
            f"{', '.join(map(str, lacking[:SHOWN]))}{advice}"
        )
    return torch.from_numpy(rows[own]), torch.from_numpy(borrowed)


def _npy(path: Path, file: FeatureFile) -> tuple[list[str], np.ndarray]:
    found = _load(path, file)
    assert isinstance(found, np.ndarray)  # `_load` gives arrays by name of .npz only
    return _names(path, file), found


def _npz(path: Path, file: FeatureFile) -> tuple[list[str], np.ndarray]:
    arrays = _load(path, file)
    if "features" not in arrays:
        raise ValueError(f"{file.features}: no array features; has {', '.join(arrays) or 'none'}")
    named = [name for name in NAMES if name in arrays]
    if file.names is None and named:
        text = arrays[named[0]]
        if text.dtype.kind not in "US":
            raise ValueError(f"{file.features}: {named[0]} is {text.dtype}, not text")
        return (np.char.decode(text, "utf-8") if text.dtype.kind == "S" else text).tolist(), arrays["features"]
    return _names(path, file), arrays["features"]


def _csv(path: Path, file: FeatureFile) -> tuple[list[str], np.ndarray]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            columns = next(csv.reader(opened), [])[1:]
        table = pd.read_csv(path, keep_default_na=False, converters={0: str})
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("row 1 names fewer columns than the rows have")
        read = table.iloc[:, 0].str.strip().tolist(), table.iloc[:, 1:].to_numpy(np.float64)
    except (ValueError, IndexError, csv.Error) as error:
        raise ValueError(f"{file.features}: is no table of a name and numbers a row ({error})") from None
    if any(_is_fraction(column) for column in columns):
        raise ValueError(
            f"{file.features}: row 1 holds numbers: give the columns names, of which features are not read"
        )
    return read


def _is_fraction(word: str) -> bool:
    """Whether a column's name is a number with decimals, so that row 1 is no header; 0, 1, 2 ... may be names."""
    try:
        return not float(word).is_integer()
    except (ValueError, OverflowError):
        return False


def _load(path: Path, file: FeatureFile) -> np.ndarray | dict[str, np.ndarray]:
    try:
        with path.open("rb") as opened:
            found = np.load(opened, allow_pickle=False)
            return dict(found) if path.suffix == ".npz" else np.array(found)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{file.features}: cannot be read as {path.suffix} ({error})") from None


def _names(path: Path, file: FeatureFile) -> list[str]:
    """The lines of the text file of names."""
    place = path.with_name(BESIDE) if file.names is None else home() / file.names
    if not place.is_file():
        raise ValueError(f"{file.names or place}: no such file, which would name the rows of {file.features}")
    try:
        return [line.strip() for line in place.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{file.names or place}: is not UTF-8 ({error})") from None


def _places(names: list[str], images: pd.DataFrame, source: str) -> np.ndarray:
    """The file's row of each picture, by id, file name, or file name without ending, (k,); -1 for none."""
    given = pd.Index(names)
    short, bare = (pd.Index([_short(name, ending) for name in names]) for ending in (True, False))
    paths = images["path"].astype(str).tolist()
    place = np.full(len(images), -1)
    for index, wanted in (
        (given, images["image"].astype(str).tolist()),
        (short, [_short(path, True) for path in paths]),
        (bare, [_short(path, False) for path in paths]),
    ):
        open_ = np.flatnonzero(place < 0)
        asked = [wanted[row] for row in open_]
        twice = index[index.duplicated()].intersection(asked)
        if len(twice):
            raise ValueError(f"{source}: {twice[0]!r} is the name of two rows")
        place[open_] = index[~index.duplicated()].get_indexer(asked)
        place[open_] = _first(index)[place[open_]]
    return place


def _first(index: pd.Index) -> np.ndarray:
    """The first row of each distinct entry, and -1 at the end, to which the -1 of a missing entry points."""
    return np.append(np.flatnonzero(~index.duplicated()), -1)


def _by_concept(names: list[str], world: World, concepts: set[str], source: str) -> dict[str, int]:
    """The file's row for each of these concepts: the row of its judged photograph or, without one, that of its name."""
    label = world.images[world.hierarchy[0]].astype(str)
    judged = world.images[(world.images["split"] == "human") & label.isin(concepts)].drop_duplicates(world.hierarchy[0])
    place = _places(names, judged, source)
    photographs = zip(judged[world.hierarchy[0]].astype(str), place, strict=True)
    named = {name: row for row, name in enumerate(names) if name in concepts}
    return named | {concept: int(row) for concept, row in photographs if row >= 0}


def _short(name: str, ending: bool) -> str:
    """A file's name without its folder, with or without its ending."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return last if ending else last.rsplit(".", 1)[0] if "." in last else last
