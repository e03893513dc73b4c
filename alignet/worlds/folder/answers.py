"""What people answered, in the tables of a world: rows of triplets.csv, levels.csv or ratings.csv, appended once.

Read are CSV files with commas, semicolons or tabs, with or without a byte order mark, and what jsPsych writes (JSON or
CSV of an experiment of `alignet.collect`, rt in milliseconds).
"""

import csv
import io
import json
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from alignet.worlds.format import files, tables
from alignet.worlds.format.tables import TRIPLET, WorldError

COLUMNS = {  # of each table, in its order; those that may be missing
    "triplets": ([*TRIPLET, "odd", "participant"], ["rt"]),
    "levels": ([*TRIPLET, "odd", "participant", "level"], ["rt"]),
    "ratings": (["image_0", "image_1", "rating", "participant"], []),
}
SEPARATORS = ",;\t"


def add(world: Path, file: Path, first: int = 0) -> str:
    """Append the answers in `file` to the tables of the world in folder `world`; what was added, in words.

    Rows with a level go to levels.csv, those with a rating to ratings.csv, others to triplets.csv. Practice trials are
    left out. A row that stands in the table already is not added again, so that a file that has grown, or the same one,
    can be given twice. The tables are checked as a whole before they are replaced.

    Args: first: the number that stands for the first picture in column odd, 0 or 1.
    Raises: WorldError that names the file, row and column; the tables are then as they were.
    """
    answers = read(file, first)
    kinds = {
        "levels": answers[answers["level"].notna()] if "level" in answers else answers[:0],
        "ratings": answers[answers["rating"].notna()] if "rating" in answers else answers[:0],
    }
    taken = kinds["levels"].index.union(kinds["ratings"].index)
    kinds["triplets"] = answers.drop(index=taken)
    said, changed = [], {}
    for name, rows in kinds.items():
        if len(rows):
            path = files.find(world, name) or world / f"{name}.csv"
            old = _table(path) if path.is_file() else pd.DataFrame(columns=COLUMNS[name][0])
            new = _not_yet(rows[[column for part in COLUMNS[name] for column in part if column in rows]], old)
            if len(new):
                changed[path] = pd.concat([old, new], ignore_index=True)
            said.append(f"{path}: {len(new)} rows added, {len(rows) - len(new)} were there already")
    _replace(world, changed)
    return "\n".join(said) if said else f"{file}: holds no answers"


def read(file: Path, first: int = 0) -> pd.DataFrame:
    """Answers as a table with the columns of COLUMNS, all text but odd (0, 1, 2), rt (seconds) and rating.

    Raises: WorldError that names the file and the column or row.
    """
    if not file.is_file():
        raise WorldError(f"{file}: no such file")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise WorldError(f"{file}: is not UTF-8 ({error}): save it as CSV UTF-8") from None
    table = _json(file, text) if text.lstrip()[:1] in ("[", "{") else _separated(text)
    if "trial_type" in table:  # jsPsych: one row a screen
        table = table[_filled(table, "participant") & (_filled(table, "odd") | _filled(table, "rating"))]
        if "rt" in table:
            table = table.assign(rt=pd.to_numeric(table["rt"], errors="coerce") / 1000)
        first = 0
    if "practice" in table:
        table = table[~table["practice"].astype(str).str.lower().isin(["true", "1"])]
    kind = "ratings" if "rating" in table else "triplets"
    missing = [column for column in COLUMNS[kind][0] if column not in table]
    if missing:
        raise WorldError(f"{file}: has no column {missing[0]} (columns: {', '.join(map(str, table.columns))})")
    table = table.reset_index(drop=True)
    for column in [column for column in TRIPLET if column in table]:
        table[column] = table[column].map(lambda name: unicodedata.normalize("NFC", str(name)))
    if kind == "triplets":
        table = table.assign(odd=_positions(file, table["odd"], first))
    for column in ("level", "rt", "rating"):
        if column in table:
            table[column] = table[column].where(_filled(table, column))
    return table


def _positions(file: Path, odd: pd.Series, first: int) -> pd.Series:
    numbers = pd.to_numeric(odd, errors="coerce") - first
    wrong = ~numbers.isin([0, 1, 2])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        hint = "; --first 1 if the pictures are counted from 1" if (numbers == 3).any() and first == 0 else ""
        expected = ", ".join(str(first + place) for place in range(3))
        raise WorldError(f"{file}, row {row + 2}, column odd: {odd.iloc[row]!r} is none of {expected}{hint}")
    return numbers.astype(int)


def _json(file: Path, text: str) -> pd.DataFrame:
    try:
        found = json.loads(text)
        rows = found.get("trials", found) if isinstance(found, dict) else found
        return pd.DataFrame([{**row, **(row.get("data") or {})} for row in rows]).drop(columns="data", errors="ignore")
    except (ValueError, TypeError, AttributeError) as error:
        raise WorldError(f"{file}: is no JSON of jsPsych ({error})") from None


def _separated(text: str) -> pd.DataFrame:
    head = text.partition("\n")[0]
    separator = max(SEPARATORS, key=head.count)
    return pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, quoting=csv.QUOTE_MINIMAL)


def _filled(table: pd.DataFrame, column: str) -> pd.Series:
    """Where a column has a value."""
    if column not in table:
        return pd.Series(False, table.index)
    return table[column].notna() & (table[column].astype(str).str.strip() != "")


def _table(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _not_yet(rows: pd.DataFrame, old: pd.DataFrame) -> pd.DataFrame:
    """The rows that stand in `rows` more often than in `old`."""
    columns = [column for column in rows if column in old and column != "rt"]
    keys = [_text(table[columns]) for table in (rows, old)]
    there = keys[1].value_counts()
    nth = keys[0].groupby(keys[0]).cumcount()
    return rows[(nth >= keys[0].map(there).fillna(0)).to_numpy()]


def _text(table: pd.DataFrame) -> pd.Series:
    return table.astype(str).agg("\x1f".join, axis=1) if len(table) else pd.Series([], dtype=str)


def _replace(world: Path, changed: dict[Path, pd.DataFrame]) -> None:
    """Write tables in place of the world's, after the world has been read with them."""
    with tempfile.TemporaryDirectory(dir=world, prefix=".answers") as name:
        tried = Path(name)
        for path in world.iterdir():
            if path.is_file() and path not in changed:
                (tried / path.name).symlink_to(path.resolve())
        for path, table in changed.items():
            if path.suffix == ".parquet":
                table.to_parquet(tried / path.name, index=False)
            else:
                table.to_csv(tried / path.name, index=False)
        tables.read(tried, unfilled=True)
        for path in changed:
            (tried / path.name).replace(path)
