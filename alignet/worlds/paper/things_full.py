"""THINGS: 1,854 object concepts with pictures, and 4.7 million odd-one-out choices about them.

Files, as published (Hebart et al. 2023; OSF f5rn6 and jum2f):
- things_concepts.tsv: one row per object, in the order that numbers the objects;
- triplets_large_final_correctednc_correctedorder.csv (tabs): image1 image2 image3, numbers from 1; choice, the place of
  the odd one out from 1; RT in milliseconds; subject_id; noise_ceiling (0: training or validation; 1, 2, 3: triplets
  that were judged repeatedly);
- trainset.txt and its kin: three numbers from 0 a row, the odd one out last;
- pictures in <concept>/<concept>_01b.jpg.
Only this module knows these conventions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from alignet.worlds.format import files
from alignet.worlds.format.tables import WorldError

CHOICES = "triplets_large_final_correctednc_correctedorder.csv"
CONCEPTS = "things_concepts.tsv"
SPLIT_FILES = {
    "trainset.txt": "train",
    "validationset.txt": "validation",
    **dict.fromkeys(("testset1.txt", "testset2.txt", "testset2_repeat.txt", "testset3.txt"), "test"),
}
UNKNOWN = "not recorded"  # the participant of the split files, which name none
AGREE = 0.9  # the least share of validationset.txt that the choices must hold, or the two number objects differently
BLOCK = 1 << 23  # bytes of text read at once
COLUMNS = {
    **dict.fromkeys(("image1", "image2", "image3", "choice"), pa.int64()),
    "subject_id": pa.string(),
    "RT": pa.float64(),
    "noise_ceiling": pa.float64(),
}
SCHEMA = pa.schema(
    [
        *((f"image_{place}", pa.dictionary(pa.int32(), pa.string())) for place in range(3)),
        ("odd", pa.int8()),
        ("participant", pa.string()),
        ("rt", pa.float64()),
        ("split", pa.dictionary(pa.int8(), pa.string())),
    ]
)
SPLITS = pa.array(["train", "validation", "test"])


@dataclass
class Report:
    """The counts that reading has made: choices by split, and choices whose response time is missing or negative."""

    splits: np.ndarray = field(default_factory=lambda: np.zeros(len(SPLITS), np.int64))
    without_rt: int = 0


def concepts(folder: Path) -> pd.DataFrame:
    """One row per object in the order that numbers them: concept, category, synset ('' where unknown).

    Raises: WorldError if things_concepts.tsv or its column uniqueID is missing, or a concept stands twice.
    """
    path = _file(folder, CONCEPTS)
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    if "uniqueID" not in table:
        raise WorldError(f"{path}: missing column uniqueID")
    ids = table["uniqueID"]
    wrong = ids.duplicated() | (ids == "")
    if wrong.any():
        row = int(wrong.argmax())
        raise WorldError(f"{path}, row {row + 2}, column uniqueID: {ids[row]!r} is empty or repeated")
    nothing = pd.Series("", index=table.index)
    synset = next((table[name] for name in table if name.lower() == "wordnet id"), nothing)
    return pd.DataFrame(
        {"concept": ids, "category": table.get("Bottom-up Category (Human Raters)", nothing), "synset": synset}
    )


def pictures(folder: Path, objects: pd.DataFrame) -> list[str]:
    """The picture that people saw of each object, as a path from `folder`: images/<concept>/<concept>_01b.jpg.

    Raises: WorldError with the count and the first five of the objects that lack it.
    """
    paths = [f"images/{name}/{name}_01b.jpg" for name in objects["concept"]]
    missing = [path for path in paths if not (folder / path).is_file()]
    if missing:
        more = ", ..." if len(missing) > 5 else ""
        raise WorldError(
            f"{folder}: {len(missing)} of {len(paths)} pictures are missing: {', '.join(missing[:5])}{more}"
        )
    return paths


def write_choices(folder: Path, images: list[str], out: Path) -> Report:
    """All choices as a world's triplets.parquet, block by block, so that memory does not grow with their number.

    With the file of choices (who chose, and how fast), validationset.txt tells training from validation; without it
    the split files alone are read.

    Args: images: the id of each object's picture, in the objects' order.
    Raises: WorldError with a line for each kind of problem, naming file, row and value.
    """
    report, numbered = Report(), pa.array(images, pa.string())
    source = _choices(folder, len(images)) if _find(folder, CHOICES) else _split_rows(folder, len(images))
    with pa.parquet.ParquetWriter(out, SCHEMA) as writer:
        for triplets, odd, people, seconds, split in source:
            unusable = ~(seconds >= 0)
            report.splits += np.bincount(split, minlength=len(SPLITS))
            report.without_rt += int(unusable.sum())
            columns = [
                pa.DictionaryArray.from_arrays(triplets[:, place].astype(np.int32), numbered) for place in range(3)
            ]
            columns += [pa.array(odd.astype(np.int8)), people, pa.array(np.where(unusable, 0, seconds), mask=unusable)]
            columns += [pa.DictionaryArray.from_arrays(split.astype(np.int8), SPLITS)]
            writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
    return report


def _choices(folder: Path, n: int) -> Iterator[tuple]:
    """Blocks of the file of choices: triplets (m, 3) and odd (m,) from 0, people, seconds (m,), split (m,)."""
    path = _file(folder, CHOICES)
    known = np.unique(_keys(*_read_split(folder, "validationset.txt", n), n))
    seen, row, problems = np.zeros(len(known), bool), 2, _Problems(path.name)
    for batch in _blocks(path):
        triplets = np.stack([_numbers(batch[f"image{place}"]) for place in (1, 2, 3)], axis=1) - 1
        odd = _numbers(batch["choice"]) - 1
        problems.add(row, ((triplets < 0) | (triplets >= n)).any(1), triplets + 1, f"is not 1 to {n}: image1 to image3")
        problems.add(row, np.logical_or(odd < 0, odd > 2), odd + 1, "is not 1, 2 or 3: choice")
        problems.add(row, _twice(triplets), triplets + 1, "shows an object twice: image1 to image3")
        row += len(odd)
        if not problems.lines:
            place, inside = _find_keys(_keys(triplets, odd, n), known)
            repeated = np.nan_to_num(_numbers(batch["noise_ceiling"])) != 0
            seen[place[inside & ~repeated]] = True
            split = np.where(repeated, 2, np.where(inside, 1, 0))
            yield triplets, odd, batch["subject_id"].cast(pa.string()), _numbers(batch["RT"]) / 1000, split
    problems.stop()
    if seen.mean() < AGREE:
        raise WorldError(
            f"{path.name}: holds only {seen.sum()} of the {len(known)} different choices of validationset.txt: "
            "the two are of different versions or number the objects differently"
        )


def _split_rows(folder: Path, n: int) -> Iterator[tuple]:
    for name, split in SPLIT_FILES.items():
        triplets, odd = _read_split(folder, name, n)
        people, seconds = pa.array([UNKNOWN] * len(odd)), np.full(len(odd), np.nan)
        for start in range(0, len(odd), 1 << 18):
            part = slice(start, start + (1 << 18))
            rows = len(odd[part])
            number = SPLITS.index(split).as_py()
            yield triplets[part], odd[part], people[:rows], seconds[part], np.full(rows, number)


def _read_split(folder: Path, name: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A split file's triplets (m, 3), from 0, and the place of the odd one out, always the last: (m,)."""
    path = _file(folder, name)
    first = path.open(encoding="utf-8").readline()
    delimiter = next((mark for mark in "\t, " if mark in first.strip()), None)
    if delimiter is None or len(first.split(delimiter if delimiter != " " else None)) != 3:
        raise WorldError(f"{path.name}, row 1: {first.strip()!r} is not three numbers")
    names = ["a", "b", "c"]
    try:
        table = pa.csv.read_csv(
            path,
            pa.csv.ReadOptions(column_names=names),
            pa.csv.ParseOptions(delimiter=delimiter),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.float64())),
        )
    except pa.ArrowException as error:
        raise WorldError(f"{path.name}: cannot be read as rows of three numbers ({error})") from None
    numbers = np.stack([_numbers(table[name]) for name in names], axis=1)
    triplets, problems = np.nan_to_num(numbers, nan=-1).astype(np.int64), _Problems(path.name)
    problems.add(1, ((triplets != numbers) | (triplets < 0) | (triplets >= n)).any(1), numbers, f"is not 0 to {n - 1}")
    problems.add(1, _twice(triplets), triplets, "shows an object twice")
    problems.stop()
    return triplets, np.full(len(triplets), 2)


def _blocks(path: Path) -> Iterator[pa.RecordBatch]:
    """The columns of COLUMNS, block by block."""
    try:
        missing = sorted(set(COLUMNS) - set(files.column_names(path, "\t")))
        if missing:
            raise WorldError(f"{path.name}: missing column {', '.join(missing)}")
        options = pa.csv.ReadOptions(block_size=BLOCK)
        convert = pa.csv.ConvertOptions(column_types=COLUMNS, include_columns=list(COLUMNS))
        with pa.csv.open_csv(path, options, pa.csv.ParseOptions(delimiter="\t"), convert) as reader:
            yield from reader
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise WorldError(f"{path.name}: {' '.join(str(error).split())}") from None
    except WorldError:
        raise
    except ValueError as error:
        raise WorldError(str(error)) from None


class _Problems:
    """One line for each kind of problem: the first row and the count."""

    def __init__(self, file: str):
        self.file = file
        self.lines: dict[str, tuple[int, Any, int]] = {}  # why -> first row, its value, count

    def add(self, first_row: int, wrong: Any, values: np.ndarray, why: str) -> None:
        if wrong.any():
            place = int(wrong.argmax())
            row, value, count = self.lines.get(why, (first_row + place, values[place].tolist(), 0))
            self.lines[why] = (row, value, count + int(wrong.sum()))

    def stop(self) -> None:
        if self.lines:
            found = self.lines.items()
            lines = [f"{self.file}, row {row}: {value} {why} ({count} rows)" for why, (row, value, count) in found]
            raise WorldError("\n".join(lines))


def _keys(triplets: np.ndarray, odd: np.ndarray, n: int) -> np.ndarray:
    """A number for each choice, which does not depend on the order of the other two objects, (m,) int64."""
    chosen = np.take_along_axis(triplets, odd[:, None], 1)[:, 0]
    others = np.sort(np.where(np.arange(3) == odd[:, None], -1, triplets), axis=1)[:, 1:]
    return (others[:, 0] * n + others[:, 1]) * n + chosen


def _find_keys(keys: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The position of each key in the sorted `known`, and whether it is there."""
    place = np.searchsorted(known, keys).clip(max=len(known) - 1)
    return place, known[place] == keys


def _twice(triplets: np.ndarray) -> np.ndarray:
    return (triplets[:, 0] == triplets[:, 1]) | (triplets[:, 0] == triplets[:, 2]) | (triplets[:, 1] == triplets[:, 2])


def _numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The numbers of a column; an empty cell is -1 in a column of whole numbers and NaN in others."""
    if pa.types.is_integer(column.type):
        column = column.fill_null(-1)
    return column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()


def _find(folder: Path, name: str) -> Path | None:
    places = [folder / name, folder / "triplet_dataset" / name]
    return next((place for place in places if place.is_file()), None)


def _file(folder: Path, name: str) -> Path:
    found = _find(folder, name)
    if found is None:
        raise WorldError(f"{folder / name}: no such file (python -m alignet.worlds.fetch things-osf)")
    return found
