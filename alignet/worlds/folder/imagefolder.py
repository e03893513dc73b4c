"""A folder of pictures in class folders (the ImageFolder convention) -> a world with an empty triplets.csv."""

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import torch
import yaml

from alignet.worlds.format.schema import SPLITS
from alignet.worlds.format.tables import FORMAT, WorldError, staged
from alignet.worlds.splits import evenly_spread

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
LEVEL_NAMES = ("class", "superclass", "domain")
FEW = 30  # with fewer class folders than this, single pictures are split and not classes
NEXT = """{out}: {pictures} pictures in {classes} classes, splits by {by}: {splits}

What to do next
  1. Fill {out}/triplets.csv: one row for each choice that somebody made among three pictures of the split 'human'
     (odd: 0, 1 or 2, the place of the picture that does not belong; participant: who chose). Ids stand in images.csv.
     Choices about pictures of the split 'test' go to levels.csv, with a column level: coarse, boundary or fine.
  2. python -m alignet.worlds check {out}
  3. In params.yaml: world: {{source: folder, path: {out}}}
  4. make repro"""


def new(out: Path, images: Path, shares: dict[str, float], seed: int) -> str:
    """Write a world about the pictures of `images`, which stay there; what to do next.

    Nested folders become the hierarchy, the innermost the finest label. With few of them each picture is a label of
    its own, below them, and pictures are split; otherwise whole classes are. Splits are drawn within the next label.

    Args: shares: of each split, any sum.
    Raises: WorldError if `out` is there, pictures lie at different depths, or a split would be empty.
    """
    if out.exists():
        raise WorldError(f"{out}: is there already")
    table, hierarchy = _labels(_pictures(images))
    table = table.assign(split=_splits(table, hierarchy, shares, torch.Generator().manual_seed(seed)))
    counts = table["split"].value_counts()
    empty = [split for split in SPLITS if split not in counts]
    if empty:
        raise WorldError(f"{images}: {len(table)} pictures give none for the split {', '.join(empty)}")
    header = {"format": FORMAT, "name": out.name, "hierarchy": hierarchy, "pictures": str(images.resolve())}
    with staged(out) as part:
        (part / "world.yaml").write_text(yaml.safe_dump(header, sort_keys=False, allow_unicode=True), encoding="utf-8")
        table[["image", "path", *hierarchy, "split"]].to_csv(part / "images.csv", index=False)
        (part / "triplets.csv").write_text("image_0,image_1,image_2,odd,participant\n")
    splits = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
    classes = table["class"].nunique()
    return NEXT.format(out=out, pictures=len(table), classes=classes, by=hierarchy[0], splits=splits)


def _pictures(folder: Path) -> list[PurePosixPath]:
    """Paths below the folder, sorted; all equally deep, in a class folder at least."""
    if not folder.is_dir():
        raise WorldError(f"{folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not found:
        raise WorldError(f"{folder}: holds no picture ({', '.join(ENDINGS)})")
    paths = [PurePosixPath(path.relative_to(folder).as_posix()) for path in found]
    depths = {len(path.parts) - 1: str(path) for path in reversed(paths)}
    if 0 in depths:
        raise WorldError(f"{folder}: {depths[0]} lies in no class folder")
    if len(depths) > 1:
        examples = ", ".join(f"{path} ({depth})" for depth, path in sorted(depths.items()))
        raise WorldError(f"{folder}: pictures lie in folders of different depth: {examples}")
    return paths


def _labels(paths: list[PurePosixPath]) -> tuple[pd.DataFrame, list[str]]:
    depth = len(paths[0].parts) - 1
    names = [*LEVEL_NAMES, *(f"level_{number}" for number in range(len(LEVEL_NAMES) + 1, depth + 1))][:depth]
    table = pd.DataFrame({"image": map(str, paths), "path": map(str, paths)})
    for up, name in enumerate(names):
        parents = pd.Series([str(path.parents[up]) for path in paths])
        short = parents.str.rsplit("/", n=1).str[-1]
        # One name below two parents is two labels: they keep their parents' names.
        ambiguous = parents.groupby(short).transform("nunique") > 1
        table[name] = short.where(~ambiguous, parents)
    if table["class"].nunique() >= FEW:
        return table, names
    return table.assign(picture=table["image"]), ["picture", *names]


def _splits(
    table: pd.DataFrame, hierarchy: list[str], shares: dict[str, float], generator: torch.Generator
) -> pd.Series:
    """A split for every value of the finest label, in about the given shares within each value of the next."""
    labels = table[hierarchy[:2]].drop_duplicates(hierarchy[0])
    order = torch.rand(len(labels), generator=generator, dtype=torch.float64).numpy()
    shuffled = labels.assign(order=order).sort_values([*hierarchy[1:2], "order"])
    ends = np.cumsum([shares[split] for split in SPLITS])
    drawn = np.array(SPLITS)[np.searchsorted(ends / ends[-1], evenly_spread(len(shuffled)), side="right")]
    return table[hierarchy[0]].map(dict(zip(shuffled[hierarchy[0]], drawn, strict=True)))
