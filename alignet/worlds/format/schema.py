"""The columns of a world's tables and the keys of world.yaml, declared once, and the checks of their values."""

from typing import Annotated, Any, Literal, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

Split = Literal["human", "synthesis", "test"]
LevelName = Literal["coarse", "boundary", "fine"]
ChoiceSplit = Literal["train", "validation", "test"]
# derived: drawn from embeddings fitted to people's choices; none: the world has no choices to fit to
ChoiceKind = Literal["human", "simulated", "derived", "none"]
SPLITS: tuple[str, ...] = get_args(Split)
PARTICIPANTS = {  # whose choices a world has, in words
    "human": "human participants",
    "simulated": "SIMULATED participants",
    "derived": "participants DERIVED from embeddings of people's choices",
    "none": "nobody",
}
LEVELS: tuple[str, ...] = get_args(LevelName)
CHOICE_SPLITS: tuple[str, ...] = get_args(ChoiceSplit)

Text = Annotated[str, Field(min_length=1, description="filled in")]
Position = Annotated[int, Field(ge=0, le=2, description="0, 1 or 2")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a number of seconds, 0 or more")]
Number = Annotated[float, Field(allow_inf_nan=False, description="a number")]


class Image(BaseModel):
    """A row of images.csv, which has a further column of Text for each label that `hierarchy` names."""

    image: Text
    path: Text
    split: Annotated[Split, Field(description=f"one of {', '.join(SPLITS)}")]
    style: Text | None = None


class Choice(BaseModel):
    """A row of triplets.csv: which of three pictures one person chose as the odd one out."""

    image_0: Text
    image_1: Text
    image_2: Text
    odd: Position
    participant: Text
    rt: Seconds | None = None
    split: Annotated[ChoiceSplit, Field(description=f"one of {', '.join(CHOICE_SPLITS)}")] | None = None


class Level(Choice):
    """A row of levels.csv: a choice, with the level of abstraction of its triplet and, where it belongs to a study
    that is scored by itself, the study's name."""

    level: Annotated[LevelName, Field(description=f"one of {', '.join(LEVELS)}")]
    study: Text | None = None


class ConceptChoice(BaseModel):
    """A row of concept_choices.csv: which of three concepts, named as in hierarchy[0], one person left out."""

    concept_0: Text
    concept_1: Text
    concept_2: Text
    odd: Position
    participant: Text


class Rating(BaseModel):
    """A row of ratings.csv: how similar one person finds two pictures."""

    image_0: Text
    image_1: Text
    rating: Number
    participant: Text


TABLES: dict[str, type[BaseModel]] = {
    "images": Image,
    "triplets": Choice,
    "levels": Level,
    "ratings": Rating,
    "concept_choices": ConceptChoice,
}


class Source(BaseModel):
    """The source of a part of the world. Further keys are allowed and kept."""

    model_config = ConfigDict(extra="allow")
    name: Text


class Header(BaseModel):
    """The keys of world.yaml. alignet itself writes `choices` (who chose) and `pictures` (where the pictures lie).

    shared_concepts: with 'judged' a concept may be in both splits human and synthesis, with true in any splits. judged:
    what people were shown, if it was not the world's pictures.
    """

    model_config = ConfigDict(extra="forbid")
    format: Literal[1]
    name: Text
    hierarchy: Annotated[list[Text], Field(min_length=1)]
    shared_concepts: bool | Literal["judged"] = False
    judged: str = ""
    choices: ChoiceKind = "human"
    pictures: Text | dict[Text, Text] = "."
    sources: list[Source] = []
    notes: str = ""


def header(values: Any) -> tuple[Header | None, list[str]]:
    """The header in the content of world.yaml, or None; and a line for each missing, unknown or wrong key."""
    if not isinstance(values, dict):
        return None, ["world.yaml: holds no keys"]
    try:
        checked = Header(**values)
    except ValidationError as error:
        return None, [_header_line(problem) for problem in error.errors()]
    names = checked.hierarchy
    twice = sorted({name for name in names if names.count(name) > 1} | set(names) & set(Image.model_fields))
    return checked, [f"world.yaml: hierarchy: {name!r} stands twice, or names another column" for name in twice]


def typed(
    name: str, table: pa.Table, rows: np.ndarray, hierarchy: list[str], file: str
) -> tuple[pd.DataFrame, list[str]]:
    """A table with columns of their declared types, and a line for each column that is missing or has wrong values.

    Each distinct value of a column is checked once, so that millions of rows cost little.

    Args: name: a key of TABLES; table: columns of text, or of dictionary-encoded text, with '' for no value; rows: (n,)
        the number of each row in its file; hierarchy: the label columns of images; file: the name to put in the lines.
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
    """A line about the wrong rows of a column, if there are any: the first row, its value, and the number of others.

    Args: name: of the file; rows: (n,) the number of each row in the file; wrong: (n,) bool; values: the column, (n,);
        why: what is wrong with the value, as the end of the sentence.
    """
    if not wrong.any():
        return []
    first, count = int(np.flatnonzero(wrong)[0]), int(wrong.sum())
    more = f" (and {count - 1} more rows)" if count > 1 else ""
    return [f"{name}, row {rows[first]}, column {column}: {values.iloc[first]!r} {why}{more}"]


def _fields(name: str, hierarchy: list[str]) -> dict[str, tuple[Any, bool, str]]:
    """The declared columns: type, whether the table must have it, and its allowed values in words."""
    model = TABLES[name]
    declared = model.model_json_schema()["properties"]
    fields = {
        key: (info.rebuild_annotation(), info.is_required(), _description(declared[key]))
        for key, info in model.model_fields.items()
    }
    if name == "images":
        fields |= {label: (Text, True, _description(TypeAdapter(Text).json_schema())) for label in hierarchy}
    return fields


def _description(declared: dict[str, Any]) -> str:
    """The description in a column's JSON schema; an optional column has it in one of its alternatives."""
    return next(entry["description"] for entry in [declared, *declared.get("anyOf", [])] if "description" in entry)


def _typed_column(
    column: pa.ChunkedArray, annotation: Any, needed: bool, numeric: bool
) -> tuple[np.ndarray | None, np.ndarray]:
    """The numbers in a column, (n,), or None if it holds text or wrong values; and whether each row is wrong, (n,)
    bool.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    coded = column.unify_dictionaries().combine_chunks()
    coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
    texts, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)
    used = set(pa.compute.unique(coded.indices).to_pylist())  # a dictionary may hold texts that no row uses
    texts = [text if number in used or not used else texts[codes[0]] for number, text in enumerate(texts)]
    values = [None if text == "" and not needed else text for text in texts]
    try:
        values = TypeAdapter(list[annotation]).validate_python(values)
    except ValidationError as error:
        bad = sorted({int(problem["loc"][0]) for problem in error.errors()})
        return None, np.isin(codes, bad)
    nothing_wrong = np.zeros(len(codes), bool)
    if any(isinstance(value, int) for value in values):
        return np.array(values, np.int64)[codes], nothing_wrong
    if numeric and values:
        return np.array([np.nan if value is None else value for value in values], float)[codes], nothing_wrong
    return None, nothing_wrong


def _header_line(problem: ErrorDetails) -> str:
    """The line that tells the user about a problem of world.yaml."""
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"world.yaml: missing key {key}"
    if problem["type"] == "extra_forbidden":
        return f"world.yaml: unknown key {key}"
    if key == "format":
        return f"world.yaml: format {problem['input']!r} is not known; this version reads format 1"
    return f"world.yaml: {key}: {problem['msg']}, got {problem['input']!r}"
