"""The columns of a world's tables and the keys of world.yaml, declared once; docs: the world format, version 1."""

from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

SPLITS = ("human", "synthesis", "test")
LEVELS = ("coarse", "boundary", "fine")
CHOICE_SPLITS = ("train", "validation", "test")

Text = Annotated[str, Field(min_length=1, description="filled in")]
Position = Annotated[int, Field(ge=0, le=2, description="0, 1 or 2")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a number of seconds, 0 or more")]
Number = Annotated[float, Field(allow_inf_nan=False, description="a number")]


class Image(BaseModel):
    """A row of images.csv; the columns that `hierarchy` names are Text too."""

    image: Text
    path: Text
    split: Annotated[Literal[SPLITS], Field(description=f"one of {', '.join(SPLITS)}")]
    style: Text | None = None


class Choice(BaseModel):
    """A row of triplets.csv: one person's odd one out of three pictures."""

    image_0: Text
    image_1: Text
    image_2: Text
    odd: Position
    participant: Text
    rt: Seconds | None = None
    split: Annotated[Literal[CHOICE_SPLITS], Field(description=f"one of {', '.join(CHOICE_SPLITS)}")] | None = None


class Level(Choice):
    """A row of levels.csv: a choice at a named level of abstraction."""

    level: Annotated[Literal[LEVELS], Field(description=f"one of {', '.join(LEVELS)}")]


class Rating(BaseModel):
    """A row of ratings.csv: how similar two pictures are to one person."""

    image_0: Text
    image_1: Text
    rating: Number
    participant: Text


TABLES = {"images": Image, "triplets": Choice, "levels": Level, "ratings": Rating}


class Source(BaseModel):
    """Where a part of the world comes from; further keys are kept."""

    model_config = ConfigDict(extra="allow")
    name: Text


class Header(BaseModel):
    """world.yaml. `choices` and `pictures` are written by alignet: who chose, and where the pictures lie."""

    model_config = ConfigDict(extra="forbid")
    format: Literal[1]
    name: Text
    hierarchy: Annotated[list[Text], Field(min_length=1)]
    shared_concepts: bool = False
    choices: Literal["human", "simulated"] = "human"
    pictures: Text | dict[Text, Text] = "."
    sources: list[Source] = []
    notes: str = ""


def header(values: Any) -> tuple[Header | None, list[str]]:
    """world.yaml's content, or a line for each key that is missing, unknown or wrong."""
    if not isinstance(values, dict):
        return None, ["world.yaml: holds no keys"]
    try:
        found = Header(**values)
    except ValidationError as error:
        return None, [_header_line(problem) for problem in error.errors()]
    names = found.hierarchy
    twice = sorted({name for name in names if names.count(name) > 1} | set(names) & set(Image.model_fields))
    return found, [f"world.yaml: hierarchy: {name!r} stands twice, or names another column" for name in twice]


def typed(
    name: str, table: pa.Table, rows: np.ndarray, hierarchy: list[str], file: str
) -> tuple[pd.DataFrame, list[str]]:
    """A table with the columns' types, and a line for each column that is missing or holds a wrong value.

    Every distinct value of a column is checked once, so that millions of rows cost little.

    Args: name: a key of TABLES; table: columns of text, or dictionaries of it, '' for nothing; rows: (n,) where each
        row stands in its file; hierarchy: the label columns of images; file: the name for the lines.
    """
    fields = _fields(name, hierarchy)
    missing = [key for key, (_, needed, _) in fields.items() if needed and key not in table.column_names]
    problems = [f"{file}: missing column {key}" for key in missing]
    columns = {}
    for key in table.column_names:
        numbers = None
        if key in fields:
            annotation, needed, takes = fields[key]
            numbers, wrong = _typed_column(table[key], annotation, needed, numeric="number" in takes)
        columns[key] = table[key].cast(pa.large_string()).to_pandas() if numbers is None else numbers
        if key in fields and numbers is None:
            problems += refused(file, key, rows, wrong, columns[key], f"is not {takes}")
    return pd.DataFrame(columns, copy=False), problems


def refused(name: str, column: str, rows: np.ndarray, wrong: np.ndarray, values: pd.Series, why: str) -> list[str]:
    """One line for the wrong rows of a column, if any: the first row and its value, and how many more.

    Args: name: the file's; wrong: (n,) bool; values: the column.
    """
    if not wrong.any():
        return []
    first, count = int(np.flatnonzero(wrong)[0]), int(wrong.sum())
    more = f" (and {count - 1} more rows)" if count > 1 else ""
    return [f"{name}, row {rows[first]}, column {column}: {values.iloc[first]!r} {why}{more}"]


def _fields(name: str, hierarchy: list[str]) -> dict[str, tuple[Any, bool, str]]:
    """For each column that is known: its type, whether it must be there, and what it takes, in words."""
    model = TABLES[name]
    declared = model.model_json_schema()["properties"]
    fields = {
        key: (info.rebuild_annotation(), info.is_required(), _description(declared[key]))
        for key, info in model.model_fields.items()
    }
    if name == "images":
        fields |= {label: (Text, True, _description(TypeAdapter(Text).json_schema())) for label in hierarchy}
    return fields


def _description(declared: dict) -> str:
    return next(part["description"] for part in [declared, *declared.get("anyOf", [])] if "description" in part)


def _typed_column(
    column: pa.ChunkedArray, annotation: Any, needed: bool, numeric: bool
) -> tuple[np.ndarray | None, np.ndarray]:
    """A column's numbers, (n,), None if it is text or wrong; and which rows are wrong, (n,) bool."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    coded = column.unify_dictionaries().combine_chunks()
    coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
    texts, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)
    used = set(pa.compute.unique(coded.indices).to_pylist())  # a dictionary may hold texts that no row has
    texts = [text if number in used or not used else texts[codes[0]] for number, text in enumerate(texts)]
    values = [None if text == "" and not needed else text for text in texts]
    try:
        values = TypeAdapter(list[annotation]).validate_python(values)
    except ValidationError as error:
        bad = sorted({problem["loc"][0] for problem in error.errors()})
        return None, np.isin(codes, bad)
    right = np.zeros(len(codes), bool)
    if any(isinstance(value, int) for value in values):
        return np.array(values, np.int64)[codes], right
    if numeric and values:
        return np.array([np.nan if value is None else value for value in values], float)[codes], right
    return None, right


def _header_line(problem: dict) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"world.yaml: missing key {key}"
    if problem["type"] == "extra_forbidden":
        return f"world.yaml: unknown key {key}"
    if key == "format":
        return f"world.yaml: format {problem['input']!r} is not known; this version reads format 1"
    return f"world.yaml: {key}: {problem['msg']}, got {problem['input']!r}"
