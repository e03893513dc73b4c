"""A folder of pictures in class folders (the ImageFolder convention) -> a world with an empty triplets.csv."""

import hashlib
import os
import re
import shlex
import unicodedata
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import torch
import yaml

from alignet.worlds import check
from alignet.worlds.format import places
from alignet.worlds.format.schema import SPLITS
from alignet.worlds.format.tables import FORMAT, OUTSIDE, WorldError, read, staged
from alignet.worlds.splits import evenly_spread

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
OTHERS = (".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif", ".avif", ".svg", ".raw", ".cr2", ".nef", ".psd")
NAMED = 5  # files of a kind that are named; the others are counted
BREAKING = ("Cc", "Zl", "Zp")  # Unicode's categories of control characters and line breaks
LEVEL_NAMES = ("class", "superclass", "domain")
FEW = 30  # with fewer class folders than this, single pictures are split and not classes
NEXT = """{out}: {pictures} pictures in {classes} classes, splits by {by}: {splits}
People see those of split human and test alone; the models label those of split synthesis.

What to do next (paths are from the project's root, where you run make)
  1. Ask people: python -m alignet.worlds triplets {out} --n {good} --repeats 2 draws what to ask, and says how many
     trials and minutes that is for each person. notebooks/collect.ipynb shows the trials, or python -m
     alignet.collect.jspsych puts them on the web; python -m alignet.worlds import {out} FILE takes the answers. Or fill
     the tables yourself: a row of triplets.csv for each choice among three pictures of the split human (odd: 0, 1 or 2,
     the place of the picture that does not belong; participant: who chose), a row of levels.csv for each choice among
     pictures of the split test, with a column level (coarse, boundary or fine). Ids stand in images.csv.
  2. python -m alignet.worlds check {out}
  3. python -m alignet.worlds params {out} proposes settings; python -m alignet.config {out}/params.yaml takes them
  4. make repro, which replaces the results in data/ and reports/; docs/own_data.md says how to get those back
How many choices: {advice}"""
ADVICE = "about {few:,} show whether people agree, about {good:,} fit a teacher (docs/own_data.md has the curve)"
FEW_EACH, GOOD_EACH = 20, 40  # choices for each object of the split human: bench/choices_needed.csv


def new(out: Path, images: Path, shares: dict[str, float], seed: int) -> str:
    """Write a world about the pictures of `images`, which stay there; what to do next.

    Nested folders become the hierarchy, the innermost the finest label. With few of them each picture is a label of
    its own, below them, and pictures are split; otherwise whole classes are. Splits are drawn within the next label.

    Args: shares: of each split, any sum.
    Raises: WorldError if `out` is there, pictures lie at different depths, or a split would be empty.
    """
    if out.exists():
        raise WorldError(f"{out}: is there already")
    paths, left_out = _pictures(images)
    table, hierarchy = _labels(paths)
    table = table.assign(split=_splits(table, hierarchy, shares, torch.Generator().manual_seed(seed)))
    counts = table["split"].value_counts()
    empty = [split for split in SPLITS if split not in counts]
    if empty:
        raise WorldError(f"{images}: {len(table)} pictures give none for the split {', '.join(empty)}")
    header = {"format": FORMAT, "name": out.name, "hierarchy": hierarchy, "pictures": places.said(images, out)}
    with staged(out) as part:
        (part / "world.yaml").write_text(yaml.safe_dump(header, sort_keys=False, allow_unicode=True), encoding="utf-8")
        table[["image", "path", *hierarchy, "split"]].to_csv(part / "images.csv", index=False)
        (part / "triplets.csv").write_text("image_0,image_1,image_2,odd,participant\n")
        read(part, unfilled=True)  # what it refuses is not left behind
    splits = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
    classes = table["class"].nunique()
    human = table.loc[table["split"] == "human", hierarchy[0]].nunique()
    advice = ADVICE.format(few=FEW_EACH * human, good=GOOD_EACH * human)
    names = {
        "out": shlex.quote(str(out)),
        "pictures": len(table),
        "classes": classes,
        "by": hierarchy[0],
        "splits": splits,
        "good": GOOD_EACH * human // 2,
    }
    return "\n".join([*left_out, NEXT.format(**names, advice=advice)])


def _pictures(folder: Path) -> tuple[list[PurePosixPath], list[str]]:
    """Paths below the folder, sorted; all equally deep, in a class folder at least; and what was left out, in words.

    Hidden files and folders and what macOS adds (`._x.jpg`, `__MACOSX`) are no pictures; other kinds of pictures,
    linked folders, and files that do not open or show what another file shows are named and left out.
    Raises: WorldError if there is no picture, depths differ, or a name is no text, cannot stand in a table, or differs
        from another one by how its accents are composed alone.
    """
    if not folder.is_dir():
        raise WorldError(f"{folder}: no such folder")
    files, said = _files(folder)
    found = [path for path in files if path.suffix.lower() in ENDINGS]
    others = [path for path in files if path.suffix.lower() in OTHERS]
    said += _left_out("of a kind that is not read: save them as PNG or JPEG", others, folder)
    broken = [path for path, fault in zip(found, check.faults(found), strict=True) if fault]
    said += _left_out("do not open as pictures", broken, folder)
    twice = _same_content([path for path in found if path not in set(broken)])
    said += _left_out("are equal to another file", twice, folder)
    gone = {*broken, *twice}
    found = [path for path in found if path not in gone]
    if not found:
        raise WorldError("\n".join([f"{folder}: holds no picture ({', '.join(ENDINGS)})", *said]))
    paths = [PurePosixPath(path.relative_to(folder).as_posix()) for path in found]
    refused = [*_unwritable(paths), *_alike(paths)]
    if refused:
        raise WorldError("\n".join(f"{folder}: {line}" for line in refused))
    depths = {len(path.parts) - 1: str(path) for path in reversed(paths)}
    if 0 in depths:
        raise WorldError(f"{folder}: {depths[0]} lies in no class folder")
    if len(depths) > 1:
        examples = ", ".join(f"{path} ({depth})" for depth, path in sorted(depths.items()))
        raise WorldError(f"{folder}: pictures lie in folders of different depth: {examples}")
    return paths, said


def _unwritable(paths: list[PurePosixPath]) -> list[str]:
    """A line for each name, of a file or folder, that a table of paths cannot hold."""
    names = sorted({str(place) for path in paths for place in (path, *path.parents)})
    breaking = [name for name in names if any(unicodedata.category(letter) in BREAKING for letter in name)]
    outside = [name for name in names if re.search(OUTSIDE, name)]
    lines = [f"{name!r}: a line break or another control character stands in the name: rename it" for name in breaking]
    return lines[:NAMED] + [f"{name!r}: reads as a path outside the folder: rename it" for name in outside[:NAMED]]


def _alike(paths: list[PurePosixPath]) -> list[str]:
    """A line for each two names that differ in how their accents are composed alone: they look the same."""
    first: dict[str, str] = {}
    lines = []
    for name in sorted({str(place) for path in paths for place in (path, *path.parents)}):
        other = first.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name and PurePosixPath(other).parent == PurePosixPath(name).parent:
            lines.append(f"{other!a} and {name!a} differ only in how their accents are composed: rename one")
    return lines[:NAMED]


def _files(folder: Path) -> tuple[list[Path], list[str]]:
    """All visible files below, sorted, and a line about linked folders, which are not entered."""
    files: list[Path] = []
    linked = []
    for place, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            try:
                name.encode("utf-8")
            except UnicodeEncodeError:
                shown = os.fsencode(Path(place) / name).decode("utf-8", "replace")
                raise WorldError(f"{shown}: the name is not UTF-8: rename it") from None
        folders[:] = sorted(name for name in folders if not _hidden(name))
        linked += [Path(place) / name for name in folders if (Path(place) / name).is_symlink()]
        files += [Path(place) / name for name in names if not _hidden(name)]
    return sorted(path for path in files if path.is_file()), _left_out("are linked folders", linked, folder)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _same_content(paths: list[Path]) -> list[Path]:
    """Files equal to an earlier one."""
    by_size: dict[int, list[Path]] = {}
    for path in paths:
        by_size.setdefault(path.stat().st_size, []).append(path)
    twice = []
    for alike in by_size.values():
        seen: set[str] = set()
        for path in alike if len(alike) > 1 else []:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            twice += [path] if digest in seen else []
            seen.add(digest)
    return sorted(twice)


def _left_out(why: str, paths: list[Path], folder: Path) -> list[str]:
    if not paths:
        return []
    named = ", ".join(str(path.relative_to(folder)) for path in paths[:NAMED])
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return [f"left out, {len(paths)} {why}: {named}{more}"]


def _labels(paths: list[PurePosixPath]) -> tuple[pd.DataFrame, list[str]]:
    depth = len(paths[0].parts) - 1
    names = [*LEVEL_NAMES, *(f"level_{number}" for number in range(len(LEVEL_NAMES) + 1, depth + 1))][:depth]
    ids = [unicodedata.normalize("NFC", str(path)) for path in paths]  # one name, however the disk composes accents
    table = pd.DataFrame({"image": ids, "path": map(str, paths)})
    for up, name in enumerate(names):
        parents = pd.Series([str(PurePosixPath(name).parents[up]) for name in ids])
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
