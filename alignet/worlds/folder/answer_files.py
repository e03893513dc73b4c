"""Files of answers as people's software writes them, as one table of text with the number of each row in its file.

Read are CSV files with commas, semicolons or tabs, with or without a byte order mark, with decimal points or commas,
with a line `sep=;` before the header, and with headers that come again where files were joined (Pavlovia, JATOS);
Parquet; and JSON: one array, one array or object a line (JATOS), or arrays one behind the other.
"""

import csv
import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd

from alignet.worlds.format import files
from alignet.worlds.format.tables import WorldError

SEPARATORS = ",;\t"
NOTHING = ("", "null", "none", "nan", "na", "undefined")  # what programs write for no value, in small letters


def read(file: Path) -> tuple[pd.DataFrame, int]:
    """All columns of a file as text, '' for no value, and how many rows repeat the header.

    The index holds the number of each row in the file: of CSV that of the line, the header being row 1; of JSON and
    Parquet that of the entry, from 1.
    Raises: WorldError, one line that names the file, and the row where there is one.
    """
    if not file.is_file():
        raise WorldError(f"{file}: no such file")
    if file.suffix == ".parquet":
        return _parquet(file), 0
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise WorldError(f"{file}: is not UTF-8 ({error}): save it as CSV UTF-8") from None
    if text.lstrip()[:1] in ("[", "{"):
        found, headers = _json(file, text), 0
    else:
        found, headers = _separated(file, text)
    if not len(found.columns):
        raise WorldError(f"{file}: is empty")
    return found, headers


def filled(table: pd.DataFrame, column: str) -> pd.Series:
    """Whether a column has a value, (n,) bool; False everywhere if there is no such column."""
    if column not in table:
        return pd.Series(False, table.index)
    return ~table[column].str.strip().str.lower().isin(NOTHING)


def numbers(texts: pd.Series) -> pd.Series:
    """Numbers of texts with a decimal point or comma, NaN where a text is none."""
    texts = texts.str.strip()
    commas = ~texts.str.contains(".", regex=False)
    return pd.to_numeric(texts.where(~commas, texts.str.replace(",", ".", regex=False)), errors="coerce")


def names(texts: pd.Series) -> pd.Series:
    """Names with composed accents and without blanks around them."""
    return texts.str.strip().map(lambda name: unicodedata.normalize("NFC", name))


def _parquet(file: Path) -> pd.DataFrame:
    try:
        table, rows, _ = files.read(file)
    except ValueError as error:
        raise WorldError(f"{file.parent / str(error)}") from None
    return _text(table.to_pandas().astype(str).set_index(pd.Index(rows)))


def _separated(file: Path, text: str) -> tuple[pd.DataFrame, int]:
    """Rows below their header; a later row that holds the same names is a header too, and may have another order."""
    first, _, rest = text.partition("\n")
    declared = first.strip().lower().startswith("sep=")
    head = (rest if declared else text).partition("\n")[0]
    separator = first.strip()[4:] if declared else max(SEPARATORS, key=head.count)
    if len(separator) > 1:
        raise WorldError(f"{file}, row 1: sep={separator} is no single character")
    lines = csv.reader(io.StringIO(rest if declared else text), delimiter=separator or "\t")
    names: list[str] = []
    found: list[dict[str, str]] = []
    rows, headers = [], 0
    for number, values in enumerate(lines, 1 + declared):
        if not any(value.strip() for value in values):
            continue
        if not names or sorted(value.strip() for value in values) == sorted(names):
            names, headers = [value.strip() for value in values], headers + 1
            _once(file, names)
            continue
        if len(values) < len(names) or any(value.strip() for value in values[len(names) :]):
            raise WorldError(f"{file}, row {number}: {len(values)} values for {len(names)} columns")
        found.append(dict(zip(names, values, strict=False)))
        rows.append(number)
    table = pd.DataFrame(found, index=pd.Index(rows, dtype=int), columns=names)
    return _text(table), max(headers - 1, 0)


def _once(file: Path, columns: list[str]) -> None:
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise WorldError(f"{file}, row 1: column {', '.join(map(repr, twice))} stands twice")


def _json(file: Path, text: str) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for value in _values(file, text):
        entries = value.get("trials", [value]) if isinstance(value, dict) else value
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise WorldError(f"{file}: is no JSON of jsPsych (an array of objects, one a screen)")
        rows += [_flat(entry) for entry in entries]
    return _text(pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1), dtype=object))


def _flat(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with the values of its object `data` among its own."""
    inner = entry.get("data")
    return {key: value for key, value in entry.items() if key != "data"} | (inner if isinstance(inner, dict) else {})


def _values(file: Path, text: str) -> list[Any]:
    """The JSON values of a text, one behind the other, with white space or commas between them."""
    decoder, place = json.JSONDecoder(), 0
    values: list[Any] = []
    while place < len(text):
        if text[place].isspace() or (text[place] == "," and values):
            place += 1
            continue
        try:
            value, place = decoder.raw_decode(text, place)
        except ValueError as error:
            raise WorldError(f"{file}: is no JSON of jsPsych ({error})") from None
        values.append(value)
    return values


def _text(table: pd.DataFrame) -> pd.DataFrame:
    return table.map(_word).astype(object)


def _word(value: Any) -> str:
    """A value as text: 7 and not 7.0, '' for none."""
    if isinstance(value, float):
        return "" if value != value else str(int(value)) if value.is_integer() else str(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
