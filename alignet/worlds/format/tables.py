"""The world format, version 1: one folder with world.yaml, images, triplets and optional levels and ratings."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
import yaml
from torch import Tensor

from alignet.worlds.format import files, schema
from alignet.worlds.format.schema import SPLITS

FORMAT = 1
TRIPLET = ["image_0", "image_1", "image_2"]
NAMES = ("images", "triplets", "levels", "ratings")
SHOWN = 12  # the most values of the coarsest label that `examples` shows
OUTSIDE = r"^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)"


class WorldError(ValueError):
    """What is wrong with a world: one line for each problem, naming file, column, row and value."""


@dataclass(frozen=True)
class World:
    """The tables of one world.

    images: one row per picture (image, path, one column per entry of hierarchy, split, style where given);
    triplets, levels: one row per choice (image_0, image_1, image_2, odd, participant, ...); ratings: one row per
    rated pair (image_0, image_1, rating, participant); levels and ratings are None where the world has none.
    hierarchy: label columns from fine to coarse. pictures: the folder that images.path starts from; roots: where
    given, other folders by the first part of the path. choices: 'human' or 'simulated'. shared_concepts: a value of
    the finest label may stand in several splits.
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
    shared_concepts: bool = False

    def rows(self, split: str) -> Tensor:
        """Row numbers in `images` of one split's pictures, (n,) int64."""
        return torch.from_numpy(np.flatnonzero(self.images["split"] == split))

    def paths(self, rows: Tensor | None = None) -> list[Path]:
        """Picture files of some rows of `images`, or of all."""
        paths = self.images["path"] if rows is None else self.images["path"].iloc[rows.tolist()]
        return [self._path(path) for path in paths]

    def _path(self, path: str) -> Path:
        first, _, rest = path.partition("/")
        return self.roots[first] / rest if first in self.roots else self.pictures / path

    def examples(self, columns: int) -> tuple[Tensor, list[str]]:
        """Evenly spread pictures of each value of the coarsest label: rows of `images` (values, columns), names.

        Of more than SHOWN values, those with the most pictures.
        """
        labels = self.images[self.hierarchy[-1]]
        common = set(labels.value_counts(sort=True).index[:SHOWN])
        names = [name for name in dict.fromkeys(labels) if name in common]
        found = [np.flatnonzero(labels == name) for name in names]
        spread = [rows[np.linspace(0, len(rows) - 1, columns).round().astype(int)] for rows in found]
        return torch.from_numpy(np.stack(spread)), names

    def codes(self, label: str) -> Tensor:
        """A label of every picture as integers, (n_images,) int64; equal labels have equal numbers."""
        return torch.from_numpy(pd.factorize(self.images[label])[0])

    def choice_rows(self, table: pd.DataFrame) -> tuple[Tensor, Tensor]:
        """Choices as row numbers in `images`, (n, 3) int64, and the position of the odd one out, (n,) int64."""
        position = pd.Series(np.arange(len(self.images)), index=self.images["image"])
        triplets = np.empty((len(table), 3), np.int64)
        for place, column in enumerate(TRIPLET):
            codes, images = _coded(table[column])
            triplets[:, place] = position[images].to_numpy()[codes]
        return torch.from_numpy(triplets), torch.tensor(table["odd"].to_numpy(np.int64))


def read(folder: Path) -> World:
    """A world from its folder; its pictures are not opened (see `check.pictures`).

    Raises: WorldError listing every problem found: a missing file, key or column, a value that the column does not
        take, an unknown or repeated image, an image twice in a triplet, a path that leaves the folder, a concept or a
        file in two splits, an empty split or table, a choice about pictures of the wrong split.
    """
    folder = Path(folder)
    header, problems = _header(folder)
    paths = {name: _find(folder, name, problems) for name in NAMES}
    problems += [f"{folder / name}.csv: no such file" for name in NAMES[:2] if paths[name] is None]
    if problems:
        raise WorldError("\n".join(problems))
    tables, names, rows = {}, {}, {}
    for name, path in paths.items():
        tables[name], names[name], rows[name] = None, path.name if path else None, None
        if path is not None:
            tables[name], rows[name], found = _table(name, path, header.hierarchy)
            problems += found
    if tables["images"] is not None:
        problems += _image_problems(tables["images"], names["images"], rows["images"], header)
        for name in NAMES[1:]:
            if tables[name] is not None:
                problems += _choice_problems(name, tables[name], names[name], rows[name], tables["images"])
    if problems:
        raise WorldError("\n".join(problems))
    roots = header.pictures if isinstance(header.pictures, dict) else {}
    return World(
        name=header.name,
        choices=header.choices,
        pictures=folder / ("." if roots else header.pictures),
        hierarchy=tuple(header.hierarchy),
        roots={name: folder / path for name, path in roots.items()},
        shared_concepts=header.shared_concepts,
        **tables,
    )


def write(world: World, folder: Path, parquet: bool = False, **header) -> None:
    """Write a world's tables into a folder, as CSV or Parquet; `header`: further entries of world.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    write_header(world, folder, **header)
    for name in NAMES:
        table = getattr(world, name)
        if table is not None and parquet:
            table.to_parquet(folder / f"{name}.parquet", index=False)
        elif table is not None:
            table.to_csv(folder / f"{name}.csv", index=False)


def write_header(world: World, folder: Path, **header) -> None:
    """world.yaml; `header`: its further entries (sources, notes)."""
    entries = {"format": FORMAT, "name": world.name, "choices": world.choices, "hierarchy": list(world.hierarchy)}
    if world.shared_concepts:
        entries["shared_concepts"] = True
    if world.roots:
        entries["pictures"] = {name: str(path.resolve()) for name, path in world.roots.items()}
    elif world.pictures != folder:
        entries["pictures"] = str(world.pictures.resolve())
    (folder / "world.yaml").write_text(yaml.safe_dump(entries | header, sort_keys=False, allow_unicode=True))


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder to write in that becomes `out` once all is written, and is gone if anything fails."""
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
    except BaseException:
        shutil.rmtree(part)
        raise
    if out.exists():
        shutil.rmtree(out)
    part.rename(out)


def save_csv(table: pd.DataFrame, path: Path) -> None:
    """A table of results: six significant digits, so that equal results are equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.6g")


def _header(folder: Path) -> tuple[schema.Header | None, list[str]]:
    path = folder / "world.yaml"
    if not path.is_file():
        return None, [f"{path}: no such file"]
    try:
        return schema.header(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return None, [f"world.yaml: cannot be read as YAML ({' '.join(str(error).split())})"]


def _find(folder: Path, name: str, problems: list[str]) -> Path | None:
    try:
        return files.find(folder, name)
    except ValueError as error:
        problems.append(str(error))
        return folder / name


def _table(name: str, path: Path, hierarchy: list[str]) -> tuple[pd.DataFrame | None, np.ndarray | None, list[str]]:
    try:
        text, rows, problems = files.read(path)
    except ValueError as error:
        return None, None, [str(error)]
    table, found = schema.typed(name, text, rows, hierarchy, path.name)
    if not len(table):
        found.append(f"{path.name}: holds no rows")
    return table, rows, problems + found


def _image_problems(images: pd.DataFrame, file: str, rows: np.ndarray, header: schema.Header) -> list[str]:
    lines, finest = [], header.hierarchy[0]

    def refuse(column: str, wrong: pd.Series, why: str) -> None:
        lines.extend(schema.refused(file, column, rows, wrong.to_numpy(bool), images[column], why))

    if "image" in images:
        refuse("image", images["image"].duplicated(), "stands twice")
    if "path" in images:
        refuse("path", images["path"].str.contains(OUTSIDE), "leaves the world's folder")
    if "split" in images and len(images):
        if "path" in images:
            refuse("path", _in_two_splits(images, "path"), "stands in two splits")
        if finest in images and not header.shared_concepts:
            why = "stands in two splits (world.yaml may say shared_concepts: true)"
            refuse(finest, _in_two_splits(images, finest), why)
        absent = [split for split in SPLITS if not (images["split"] == split).any()]
        lines += [f"{file}, column split: no picture is {split!r}" for split in absent]
    return lines


def _in_two_splits(images: pd.DataFrame, column: str) -> pd.Series:
    """Rows whose value of `column` stands first in another split than theirs."""
    return images["split"] != images.groupby(column, sort=False)["split"].transform("first")


def _choice_problems(name: str, table: pd.DataFrame, file: str, rows: np.ndarray, images: pd.DataFrame) -> list[str]:
    columns = [column for column in TRIPLET if column in schema.TABLES[name].model_fields and column in table]
    if "image" not in images or not len(table):
        return []
    known = images.drop_duplicates("image").set_index("image")
    needed = {"triplets": "human", "levels": "test"}.get(name) if "split" in images else None
    lines, numbers = [], []
    for column in columns:
        codes, values = _coded(table[column])
        place = known.index.get_indexer(values)
        unknown = (place < 0) & (np.asarray(values) != "")  # an empty one has its line already
        lines += schema.refused(file, column, rows, unknown[codes], table[column], "is not among the images")
        if needed and (known["split"] == needed).any():
            other = (place >= 0) & (known["split"].to_numpy()[place] != needed)
            lines += schema.refused(file, column, rows, other[codes], table[column], f"is not of the split {needed!r}")
        numbers.append(np.where(place >= 0, place, -1 - len(numbers)).astype(np.int32)[codes])
    return lines + _twice(table, file, rows, columns, numbers)


def _coded(column: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """A number for each row's text, (n,) int32, and the distinct texts: half the memory of pd.factorize."""
    texts = pa.array(column.array)  # of the array, not the Series, which would be walked text by text
    coded = (texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([texts])).dictionary_encode()
    coded = coded.combine_chunks()
    coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
    return coded.indices.to_numpy(), pd.Index(coded.dictionary.to_pylist(), dtype=object)


def _twice(table, file: str, rows: np.ndarray, columns: list[str], numbers: list[np.ndarray]) -> list[str]:
    lines = []
    for later in range(1, len(columns)):
        equal = np.any([numbers[later] == numbers[earlier] for earlier in range(later)], axis=0)
        why = f"stands with the same picture twice in one {'triplet' if len(columns) == 3 else 'pair'}"
        lines += schema.refused(file, columns[later], rows, equal, table[columns[later]], why)
    return lines
