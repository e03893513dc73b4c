"""The world format, version 1: one folder with world.yaml, images.csv, triplets.csv and optional tables."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor

FORMAT = 1
SPLITS = ("human", "synthesis", "test")
LEVELS = ("coarse", "boundary", "fine")
TRIPLET = ["image_0", "image_1", "image_2"]


class WorldError(ValueError):
    """What is wrong with a world: one line for each problem, naming file, column, row and value."""


@dataclass(frozen=True)
class World:
    """The tables of one world.

    images: one row per picture (image, path, one column per entry of hierarchy, split, style where given);
    triplets, levels: one row per choice (image_0, image_1, image_2, odd, participant, ...); levels is None
    where the world has none. hierarchy: label columns from fine to coarse. pictures: the folder that
    images.path starts from. choices: 'human' or 'simulated'.
    """

    name: str
    choices: str
    pictures: Path
    hierarchy: tuple[str, ...]
    images: pd.DataFrame
    triplets: pd.DataFrame
    levels: pd.DataFrame | None

    def rows(self, split: str) -> Tensor:
        """Row numbers in `images` of one split's pictures, (n,) int64."""
        return torch.from_numpy(np.flatnonzero(self.images["split"] == split))

    def paths(self, rows: Tensor | None = None) -> list[Path]:
        """Picture files of some rows of `images`, or of all."""
        paths = self.images["path"] if rows is None else self.images["path"].iloc[rows.tolist()]
        return [self.pictures / path for path in paths]

    def examples(self, columns: int) -> tuple[Tensor, list[str]]:
        """Evenly spread pictures of each value of the coarsest label: rows of `images` (values, columns), names."""
        labels = self.images[self.hierarchy[-1]]
        names = list(dict.fromkeys(labels))
        found = [np.flatnonzero(labels == name) for name in names]
        spread = [rows[np.linspace(0, len(rows) - 1, columns).round().astype(int)] for rows in found]
        return torch.from_numpy(np.stack(spread)), names

    def codes(self, label: str) -> Tensor:
        """A label of every picture as integers, (n_images,) int64; equal labels have equal numbers."""
        return torch.from_numpy(pd.factorize(self.images[label])[0])

    def judgements(self, table: pd.DataFrame) -> tuple[Tensor, Tensor]:
        """Choices as row numbers in `images`, (n, 3) int64, and the position of the odd one out, (n,) int64."""
        position = pd.Series(np.arange(len(self.images)), index=self.images["image"])
        triplets = np.stack([position[table[column]].to_numpy() for column in TRIPLET], axis=1)
        return torch.from_numpy(triplets), torch.tensor(table["odd"].tolist())


def read(folder: Path) -> World:
    """A world from its folder.

    Raises: WorldError listing every problem found: a missing file, key or column, an unknown or repeated
        image, an image twice in a triplet, odd outside 0..2, an unknown split or level.
    """
    folder = Path(folder)
    missing = [name for name in ("world.yaml", "images.csv", "triplets.csv") if not (folder / name).is_file()]
    if missing:
        raise WorldError("\n".join(f"{folder / name}: no such file" for name in missing))
    header = yaml.safe_load((folder / "world.yaml").read_text())
    if not isinstance(header, dict):
        raise WorldError("world.yaml: holds no keys")
    lacking = {"format", "name", "hierarchy"} - set(header)
    if lacking:
        raise WorldError(f"world.yaml: missing key {', '.join(sorted(lacking))}")
    if header["format"] != FORMAT:
        raise WorldError(f"world.yaml: format {header['format']!r} is not known; this version reads format {FORMAT}")
    tables = {name: _table(folder / f"{name}.csv") for name in ("images", "triplets", "levels")}
    hierarchy = tuple(header["hierarchy"])
    problems = [line for name, table in tables.items() for line in _problems(name, table, tables["images"], hierarchy)]
    if problems:
        raise WorldError("\n".join(problems))
    return World(
        name=header["name"],
        choices=header.get("choices", "human"),
        pictures=folder / header.get("pictures", "."),
        hierarchy=hierarchy,
        **tables,
    )


def write(world: World, folder: Path, **header) -> None:
    """Write a world's tables into a folder; `header`: further entries of world.yaml (sources, notes)."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = {"format": FORMAT, "name": world.name, "choices": world.choices, "hierarchy": list(world.hierarchy)}
    if world.pictures != folder:
        entries["pictures"] = str(world.pictures.resolve())
    (folder / "world.yaml").write_text(yaml.safe_dump(entries | header, sort_keys=False, allow_unicode=True))
    for name in ("images", "triplets", "levels"):
        if getattr(world, name) is not None:
            getattr(world, name).to_csv(folder / f"{name}.csv", index=False)


def save_csv(table: pd.DataFrame, path: Path) -> None:
    """A table of results: six significant digits, so that equal results are equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.6g")


def _table(path: Path) -> pd.DataFrame | None:
    text = dict.fromkeys(("image", "path", "split", "style", "participant", "level", *TRIPLET), str)
    if not path.is_file():
        return None
    try:
        return pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"rt": [""]})
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise WorldError(f"{path.name}: cannot be read as a table ({error})") from None


def _problems(name: str, table: pd.DataFrame | None, images: pd.DataFrame, hierarchy: tuple[str, ...]) -> list[str]:
    if table is None:
        return []
    needed = {
        "images": ["image", "path", "split", *hierarchy],
        "triplets": [*TRIPLET, "odd", "participant"],
        "levels": [*TRIPLET, "odd", "participant", "level"],
    }[name]
    lacking = [column for column in needed if column not in table]
    if lacking or "image" not in images:
        return [f"{name}.csv: missing column {column}" for column in lacking]
    if name == "images":
        return [
            *_refused(name, table, "image", table["image"].duplicated(), "stands twice"),
            *_refused(name, table, "split", ~table["split"].isin(SPLITS), f"is none of {', '.join(SPLITS)}"),
        ]
    lines = []
    for column in TRIPLET:
        lines += _refused(name, table, column, ~table[column].isin(images["image"]), "is not in images.csv")
    lines += _refused(name, table, "odd", ~table["odd"].isin([0, 1, 2]), "is not 0, 1 or 2")
    lines += _refused(name, table, "image_2", _twice(table), "stands with the same picture twice in one triplet")
    if name == "levels":
        lines += _refused(name, table, "level", ~table["level"].isin(LEVELS), f"is none of {', '.join(LEVELS)}")
    return lines


def _twice(table: pd.DataFrame) -> pd.Series:
    a, b, c = (table[column] for column in TRIPLET)
    return (a == b) | (a == c) | (b == c)


def _refused(name: str, table: pd.DataFrame, column: str, wrong: pd.Series, why: str) -> list[str]:
    """One line for the first wrong row of a column, with the count; rows are counted as in the file."""
    if not wrong.any():
        return []
    first, count = int(np.flatnonzero(wrong)[0]), int(wrong.sum())
    more = f" (and {count - 1} more rows)" if count > 1 else ""
    return [f"{name}.csv, row {first + 2}, column {column}: {table[column].iloc[first]!r} {why}{more}"]
