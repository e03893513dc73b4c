"""The world format, version 1: one folder with world.yaml, images, triplets and optional levels and ratings."""

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
import yaml
from torch import Tensor

from alignet import config
from alignet.worlds.format import files, places, schema
from alignet.worlds.format.schema import SPLITS

FORMAT = 1
NOBODY = "none"  # choices of a world that has no triplets.csv
TRIPLET = ["image_0", "image_1", "image_2"]
CONCEPTS = ["concept_0", "concept_1", "concept_2"]
NAMES = ("images", "triplets", "levels", "ratings", "concept_choices")
ABOUT = {"triplets": ("human",), "levels": ("test", "human")}  # splits whose pictures a table of choices may show
MANY = 50_000  # rows, from which on a table is written as Parquet
SHOWN = 12  # the most values of the coarsest label that `examples` shows
# A path that leaves its folder: absolute, on another drive, or with '..' in it.
OUTSIDE = r"^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)"


class WorldError(ValueError):
    """A world is wrong; the message has one line for each problem, which names its file, column, row and value."""


@dataclass(frozen=True)
class World:
    """The tables of one world.

    images: one row per picture (image, path, one column for each entry of hierarchy, split, and style if it is given).
    triplets, levels: one row per choice (image_0, image_1, image_2, odd, participant, ...). ratings: one row per rated
    pair (image_0, image_1, rating, participant). concept_choices: one row per choice about concepts by name, whether or
    not they have pictures (concept_0, concept_1, concept_2, odd, participant). The last three are None if the world has
    none.
    hierarchy: the label columns, from fine to coarse. pictures: the folder that images.path starts from. roots: other
    folders, if any, by the first component of the path. choices: 'human', 'simulated' or 'derived' (drawn from
    embeddings that were fitted to people's choices). shared_concepts: whether a value of the finest label may stand in
    several splits; 'judged': in human and synthesis only. judged: what people were shown, '' if these pictures.

    Example:

    >>> import pandas as pd
    >>> from pathlib import Path
    >>> from alignet.worlds.format.tables import World
    >>> images = pd.DataFrame(
    ...     {
    ...         "image": ["a", "b", "c", "d"],
    ...         "path": ["a.png", "b.png", "c.png", "d.png"],
    ...         "concept": ["owl", "duck", "car", "bus"],
    ...         "class": ["bird", "bird", "vehicle", "vehicle"],
    ...         "split": ["human", "human", "human", "test"],
    ...     }
    ... )
    >>> choice = {"image_0": ["c"], "image_1": ["a"], "image_2": ["b"], "odd": [0], "participant": ["p1"]}
    >>> triplets = pd.DataFrame(choice)
    >>> world = World("mine", "human", Path("pictures"), ("concept", "class"), images, triplets, levels=None)
    >>> world.class_label, world.rows("human").tolist(), world.codes("class").tolist()
    ('class', [0, 1, 2], [0, 0, 1, 1])
    """

    name: str
    choices: str
    pictures: Path
    hierarchy: tuple[str, ...]
    images: pd.DataFrame
    triplets: pd.DataFrame
    levels: pd.DataFrame | None
    ratings: pd.DataFrame | None = None
    roots: dict[str, Path] = field(default_factory=dict)
    shared_concepts: bool | str = False
    concept_choices: pd.DataFrame | None = None
    judged: str = ""

    @property
    def class_label(self) -> str:
        """The label that defines levels of abstraction: the one above the finest, or the only one."""
        return self.hierarchy[min(1, len(self.hierarchy) - 1)]

    @property
    def asked(self) -> str:
        """A phrase that says who chose and, if people were not shown the world's pictures, what they were shown."""
        people = schema.PARTICIPANTS[self.choices]
        return f"{people}, who were shown {self.judged}" if self.judged else people

    def rows(self, split: str) -> Tensor:
        """The row numbers in `images` of one split's pictures, (n,) int64."""
        return torch.from_numpy(np.flatnonzero(self.images["split"] == split))

    def scored_rows(self) -> Tensor:
        """Rows of the pictures that evaluations show to models, (n,) ascending.

        They are the test split, and the pictures of other splits that levels.csv or rows of split 'test' of
        triplets.csv show.
        """
        rows = [self.rows("test")]
        if self.levels is not None:
            rows.append(self.choice_rows(self.levels)[0].flatten())
        if "split" in self.triplets:
            rows.append(self.choice_rows(self.triplets[self.triplets["split"] == "test"])[0].flatten())
        return torch.cat(rows).unique()

    def labelled(self, styles: str) -> Tensor:
        """Rows of the synthesis pictures that are to be labelled, (n,).

        With styles 'all' they are the whole split. With 'judged', in a world that has styles and choices, they are the
        pictures whose style people have judged: otherwise the odd one out would be the picture of another style rather
        than of another kind. *(ours)*
        """
        rows = self.rows("synthesis")
        if styles == "all" or "style" not in self.images or not len(self.triplets):
            return rows
        style = self.images["style"].astype(str)
        shown = style.iloc[self.choice_rows(self.triplets)[0].unique().tolist()].unique()
        return rows[torch.tensor(style.isin(shown).tolist())[rows]]

    def to_label(self, styles: str) -> "World":
        """This world with the `labelled` pictures as its synthesis split."""
        kept = (self.images["split"] != "synthesis").to_numpy(copy=True)
        kept[self.labelled(styles).numpy()] = True
        return dataclasses.replace(self, images=self.images[kept].reset_index(drop=True))

    def paths(self, rows: Tensor | None = None) -> list[Path]:
        """The picture files of the given rows of `images`, or of all rows."""
        paths = self.images["path"] if rows is None else self.images["path"].iloc[rows.tolist()]
        return [self._path(path) for path in paths]

    def folders(self) -> list[Path]:
        """The folders that hold the pictures."""
        return [*self.roots.values()] or [self.pictures]

    def _path(self, path: str) -> Path:
        first, _, rest = path.partition("/")
        return self.roots[first] / rest if first in self.roots else self.pictures / path

    def examples(self, columns: int) -> tuple[Tensor, list[str]]:
        """Evenly spread pictures of each value of the coarsest label: rows of `images`, (values, columns), and names.

        If there are more than SHOWN values, only those with the most pictures are returned.
        """
        labels = self.images[self.hierarchy[-1]]
        common = set(labels.value_counts(sort=True).index[:SHOWN])
        names = [name for name in dict.fromkeys(labels) if name in common]
        members = [np.flatnonzero(labels == name) for name in names]
        spread = [rows[np.linspace(0, len(rows) - 1, columns).round().astype(int)] for rows in members]
        return torch.from_numpy(np.stack(spread)), names

    def codes(self, label: str) -> Tensor:
        """One label of every picture as a number, (n_images,) int64; equal labels have equal numbers."""
        return torch.from_numpy(pd.factorize(self.images[label])[0])

    def choice_rows(self, table: pd.DataFrame) -> tuple[Tensor, Tensor]:
        """Choices as row numbers in `images`, (n, 3) int64, and the position of the odd one out, (n,) int64.

        Example:

        >>> import pandas as pd
        >>> from pathlib import Path
        >>> from alignet.worlds.format.tables import World
        >>> images = pd.DataFrame({"image": ["owl", "duck", "car"]})
        >>> choices = pd.DataFrame({"image_0": ["car"], "image_1": ["owl"], "image_2": ["duck"], "odd": [0]})
        >>> world = World("mine", "human", Path("pictures"), ("concept",), images, choices, levels=None)
        >>> triplets, odd = world.choice_rows(choices)
        >>> triplets.tolist(), odd.tolist()  # the car, row 2 of images, is the odd one out
        ([[2, 0, 1]], [0])
        """
        if not len(table):
            return torch.empty(0, 3, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
        position = pd.Series(np.arange(len(self.images)), index=self.images["image"])
        triplets = np.empty((len(table), 3), np.int64)
        for place, column in enumerate(TRIPLET):
            codes, images = _coded(table[column])
            triplets[:, place] = position[images].to_numpy()[codes]
        return torch.from_numpy(triplets), torch.tensor(table["odd"].to_numpy(np.int64))


@dataclass(frozen=True)
class _TableFile:
    """One table of a world as it was read from its file.

    name: a key of schema.TABLES. table: empty if the file cannot be read. rows: (n,) the number of each row in the
    file. problems: a line for each problem that reading has found.
    """

    name: str
    path: Path
    table: pd.DataFrame
    rows: np.ndarray
    problems: list[str]

    def refused(self, column: str, wrong: np.ndarray, why: str) -> list[str]:
        """A line about the wrong rows, (n,) bool, of a column, if there are any."""
        return schema.refused(self.path.name, column, self.rows, wrong, self.table[column], why)


def read(folder: Path, unfilled: bool = False) -> World:
    """A world from its folder; its pictures are not opened (see `check.pictures`).

    Args: unfilled: nobody has been asked yet, so tables of choices may be empty.

    Raises: WorldError that lists every problem: a missing file, key or column, a value that its column does not take,
        an unknown or repeated image, an image twice in a triplet, a path that leaves the folder, a concept or a file in
        two splits, an empty split or table, a choice about pictures of the wrong split.
    """
    folder = Path(folder)
    header, problems = _header(folder)
    paths = {name: _find(folder, name, problems) for name in NAMES}
    needed = NAMES[:1] if header is not None and header.choices == NOBODY else NAMES[:2]
    problems += [f"{folder / name}.csv: no such file" for name in needed if paths[name] is None]
    if header is None or problems:
        raise WorldError("\n".join(problems))
    files_found = {name: path for name, path in paths.items() if path is not None}
    parts = {name: _table_file(name, path, header.hierarchy, unfilled) for name, path in files_found.items()}
    problems += [*_problems(parts, header)]
    if problems:
        raise WorldError("\n".join(problems))
    tables = {name: part.table for name, part in parts.items()}
    roots = header.pictures if isinstance(header.pictures, dict) else {}
    return World(
        name=header.name,
        choices=header.choices,
        pictures=places.found(folder, header.pictures if isinstance(header.pictures, str) else "."),
        hierarchy=tuple(header.hierarchy),
        images=tables["images"],
        triplets=tables.get("triplets", pd.DataFrame(columns=[*TRIPLET, "odd", "participant"]).astype({"odd": int})),
        levels=tables.get("levels"),
        ratings=tables.get("ratings"),
        roots={name: places.found(folder, path) for name, path in roots.items()},
        shared_concepts=header.shared_concepts,
        concept_choices=tables.get("concept_choices"),
        judged=header.judged,
    )


def write(world: World, folder: Path, parquet: bool = False, **header: Any) -> None:
    """Write a world's tables to a folder and its world.yaml with the further entries `header`.

    Tables are CSV; Parquet if `parquet` says so or if they have more than MANY rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_header(world, folder, **header)
    for name in NAMES:
        table = getattr(world, name)
        if table is None or (world.choices == NOBODY and name == "triplets"):
            continue
        if parquet or len(table) > MANY:
            table.to_parquet(folder / f"{name}.parquet", index=False)
        else:
            table.to_csv(folder / f"{name}.csv", index=False)


def write_header(world: World, folder: Path, **header: Any) -> None:
    """Write a world's world.yaml to a folder, with the further entries `header` (sources, notes)."""
    entries: dict[str, Any] = {
        "format": FORMAT,
        "name": world.name,
        "choices": world.choices,
        "hierarchy": list(world.hierarchy),
    }
    if world.shared_concepts:
        entries["shared_concepts"] = world.shared_concepts
    if world.judged:
        entries["judged"] = world.judged
    if world.roots:
        entries["pictures"] = {name: places.said(path, folder) for name, path in world.roots.items()}
    elif world.pictures != folder:
        entries["pictures"] = places.said(world.pictures, folder)
    (folder / "world.yaml").write_text(yaml.safe_dump(entries | header, sort_keys=False, allow_unicode=True))


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A new folder to write in. It replaces `out` when the `with` block ends, and is removed if the block fails."""
    unfinished = config.own(out).with_name(f"{out.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
    except BaseException:
        shutil.rmtree(unfinished)
        raise
    if out.exists():
        shutil.rmtree(out)
    unfinished.rename(out)


def _header(folder: Path) -> tuple[schema.Header | None, list[str]]:
    path = folder / "world.yaml"
    if not path.is_file():
        return None, [f"{path}: no such file"]
    try:
        text = path.read_text(encoding="utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            return None, ["world.yaml: holds an alias (*name), which is not read: write the value itself"]
        return schema.header(yaml.safe_load(text))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return None, [f"world.yaml: cannot be read as YAML ({' '.join(str(error).split())})"]


def _find(folder: Path, name: str, problems: list[str]) -> Path | None:
    try:
        return files.find(folder, name)
    except ValueError as error:
        problems.append(str(error))
        return folder / name


def _table_file(name: str, path: Path, hierarchy: list[str], unfilled: bool) -> _TableFile:
    try:
        text, rows, problems = files.read(path)
    except ValueError as error:
        return _TableFile(name, path, pd.DataFrame(), np.arange(0), [str(error)])
    table, wrong = schema.typed(name, text, rows, hierarchy, path.name)
    if not len(table) and not (unfilled and name != "images"):
        wrong.append(f"{path.name}: holds no rows")
    return _TableFile(name, path, table, rows, problems + wrong)


def _problems(parts: dict[str, _TableFile], header: schema.Header) -> Iterator[str]:
    """A line for each problem of a world's tables, by themselves and together."""
    for part in parts.values():
        yield from part.problems
    yield from _image_problems(parts["images"], header)
    for name in NAMES[1:]:
        if name in parts and name == "concept_choices":
            yield from _concept_problems(parts[name], parts["images"].table, header.hierarchy[0])
        elif name in parts:
            yield from _choice_problems(parts[name], parts["images"].table)


def _image_problems(file: _TableFile, header: schema.Header) -> list[str]:
    """A line for each problem of images.csv that no single column shows."""
    images, finest = file.table, header.hierarchy[0]
    lines: list[str] = []

    def refuse(column: str, wrong: pd.Series, why: str) -> None:
        lines.extend(file.refused(column, wrong.to_numpy(bool), why))

    if "image" in images:
        refuse("image", images["image"].duplicated(), "stands twice")
    if "path" in images:
        refuse("path", images["path"].str.contains(OUTSIDE), "leaves the world's folder")
    if "split" in images and len(images):
        if "path" in images:
            refuse("path", _in_two_splits(images, "path"), "stands in two splits")
        if finest in images and header.shared_concepts is not True:
            shared = header.shared_concepts == "judged"
            apart = images.assign(split=images["split"].replace("synthesis", "human")) if shared else images
            why = "stands in the test split and in another one" if shared else "stands in two splits"
            refuse(finest, _in_two_splits(apart, finest), f"{why} (world.yaml may say shared_concepts: true)")
        needed = [split for split in SPLITS if split != "human" or header.choices != NOBODY]
        absent = [split for split in needed if not (images["split"] == split).any()]
        lines += [f"{file.path.name}, column split: no picture is {split!r}" for split in absent]
    return lines


def _in_two_splits(images: pd.DataFrame, column: str) -> pd.Series:
    """Whether the first row with the same value of `column` is in another split, for each row."""
    return images["split"] != images.groupby(column, sort=False)["split"].transform("first")


def _choice_problems(file: _TableFile, images: pd.DataFrame) -> list[str]:
    """A line for each problem with the pictures that a table of choices or ratings names."""
    table = file.table
    columns = [column for column in TRIPLET if column in schema.TABLES[file.name].model_fields and column in table]
    if "image" not in images or not len(table):
        return []
    known = images.drop_duplicates("image").set_index("image")
    allowed = ABOUT.get(file.name, ()) if "split" in images else ()
    lines: list[str] = []
    numbers: list[np.ndarray] = []  # of the images that each column names; those that are unknown count as different
    for column in columns:
        codes, values = _coded(table[column])
        place = known.index.get_indexer(values)
        unknown = (place < 0) & (np.asarray(values) != "")  # an empty one has its line already
        lines += file.refused(column, unknown[codes], "is not among the images")
        if allowed and known["split"].isin(allowed).any():
            other = (place >= 0) & ~known["split"].isin(allowed).to_numpy()[place]
            named = " or ".join(map(repr, allowed))
            lines += file.refused(column, other[codes], f"is not of the split {named}")
        numbers.append(np.where(place >= 0, place, -1 - len(numbers)).astype(np.int32)[codes])
    return lines + _twice(file, columns, numbers)


def _concept_problems(file: _TableFile, images: pd.DataFrame, finest: str) -> list[str]:
    """A line for each column of concept_choices.csv with wrong concepts.

    Wrong are concepts of the test split, which no fit may see, and those that an earlier column of the row names too.
    """
    table, lines = file.table, []
    columns = [column for column in CONCEPTS if column in table]
    tested: set[str] = set()
    if finest in images and "split" in images:
        tested = set(images.loc[images["split"] == "test", finest])
    vocabulary = pd.Index(pd.unique(pd.concat([table[column] for column in columns]))) if columns else pd.Index([])
    numbers = []
    for column in columns:
        codes, concepts = _coded(table[column])
        lines += file.refused(column, np.array([c in tested for c in concepts], bool)[codes], "is of the split 'test'")
        numbers.append(vocabulary.get_indexer(concepts)[codes])
    return lines + _twice(file, columns, numbers)


def _coded(column: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """A number for each row's text, (n,) int32, and the distinct texts. This takes half the memory of pd.factorize."""
    texts = pa.array(column.array)  # not from the Series, which pyarrow would walk text by text
    coded = (texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([texts])).dictionary_encode()
    coded = coded.combine_chunks()
    coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
    return coded.indices.to_numpy(), pd.Index(coded.dictionary.to_pylist(), dtype=object)


def _twice(file: _TableFile, columns: list[str], numbers: list[np.ndarray]) -> list[str]:
    """A line for each column that names a picture which an earlier column of the row names too."""
    lines: list[str] = []
    for later in range(1, len(columns)):
        equal = np.any([numbers[later] == numbers[earlier] for earlier in range(later)], axis=0)
        shown = "concept" if columns[0] in CONCEPTS else "picture"
        why = f"stands with the same {shown} twice in one {'triplet' if len(columns) == 3 else 'pair'}"
        lines += file.refused(columns[later], equal, why)
    return lines
