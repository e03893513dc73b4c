"""Reads CSV and Parquet files as tables of text, with the number of each row in its file."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

ENDINGS = (".csv", ".parquet")
CODED = pa.dictionary(pa.int32(), pa.string())
FIRST_ROW = {".csv": 2, ".parquet": 1}  # the number of the first row of values; in a CSV file row 1 names the columns


def find(folder: Path, name: str) -> Path | None:
    """The file of the table `name` in a folder, CSV or Parquet; None if there is none.

    Raises: ValueError if there are both.
    """
    paths = [folder / f"{name}{ending}" for ending in ENDINGS if (folder / f"{name}{ending}").is_file()]
    if len(paths) > 1:
        raise ValueError(f"{paths[0].name}: stands beside {paths[1].name}; keep one of them")
    return paths[0] if paths else None


def read(path: Path, delimiter: str = ",") -> tuple[pa.Table, np.ndarray, list[str]]:
    """A file's table, each row's number in the file, (n,), and a line for each row of the wrong length.

    The columns hold text, with '' for no value; those of Parquet files are dictionary-encoded.
    Raises: ValueError with one line if the file cannot be read as a table at all.
    """
    try:
        return _parquet(path) if path.suffix == ".parquet" else _csv(path, delimiter)
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path.name}: cannot be read as a table ({' '.join(str(error).split())})") from None


def write(path: Path, text: str) -> str:
    """Write a text file. One that is there and says something else is kept as NAME.before.ENDING.

    Returns: '', or words that say where the former file is.
    """
    former = path.with_suffix(f".before{path.suffix}")
    differs = path.is_file() and path.read_bytes() != text.encode()
    if differs:
        path.replace(former)
    path.write_text(text, encoding="utf-8", newline="")
    return f" (the former one is {former.name})" if differs else ""


def column_names(path: Path, delimiter: str = ",") -> list[str]:
    """The names of the columns, from the first line of a CSV file.

    Raises: ValueError if the file is empty, or if a name stands twice.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file, delimiter=delimiter), [])
    if not names:
        raise ValueError(f"{path.name}: is empty")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path.name}, row 1: column {', '.join(map(repr, twice))} stands twice")
    return names


def csv_options(
    names: list[str], delimiter: str, handler: Callable[[pa.csv.InvalidRow], str] | None = None
) -> dict[str, Any]:
    """How every CSV file is read: all columns as text, rows in their order, rows of the wrong length by `handler`."""
    text = dict.fromkeys(names, pa.string())
    return {
        "read_options": pa.csv.ReadOptions(use_threads=False),
        "parse_options": pa.csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=handler
        ),
        "convert_options": pa.csv.ConvertOptions(column_types=text, strings_can_be_null=False),
    }


def _csv(path: Path, delimiter: str) -> tuple[pa.Table, np.ndarray, list[str]]:
    names, skipped, problems = column_names(path, delimiter), [], []

    def handler(row: pa.csv.InvalidRow) -> str:
        skipped.append(row.number)
        if row.text.strip():  # an empty line is not a row
            problems.append(f"{path.name}, row {row.number}: {row.actual_columns} values for {len(names)} columns")
        return "skip"

    table = pa.csv.read_csv(path, **csv_options(names, delimiter, handler))
    numbers = np.arange(FIRST_ROW[".csv"], FIRST_ROW[".csv"] + len(table) + len(skipped))
    empty = np.all([pa.compute.equal(column, "").to_numpy() for column in table.columns], axis=0)
    return table.filter(pa.array(~empty)), np.setdiff1d(numbers, skipped)[~empty], problems


def _parquet(path: Path) -> tuple[pa.Table, np.ndarray, list[str]]:
    table = pa.parquet.read_table(path)
    columns = [pa.chunked_array(map(_text, column.chunks), CODED) for column in table.columns]
    rows = np.arange(FIRST_ROW[".parquet"], FIRST_ROW[".parquet"] + len(table), dtype=np.int32)
    return pa.table(columns, names=table.column_names), rows, []


def _text(array: pa.Array) -> pa.Array:
    """Values as the text that a CSV file would hold, dictionary-encoded, so that each distinct value is stored once."""
    coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    words, codes = coded.dictionary.cast(pa.string()).fill_null(""), coded.indices.cast(pa.int32())
    if codes.null_count:
        empty = pa.compute.index(words, "").as_py()
        if empty < 0:
            words, empty = pa.concat_arrays([words, pa.array([""])]), len(words)
        codes = codes.fill_null(empty)
    return pa.DictionaryArray.from_arrays(codes, words)
