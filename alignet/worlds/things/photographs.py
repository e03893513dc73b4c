"""Photographs of THINGS' concepts and of ImageNet's classes on disk, as rows of images.csv."""

import re
from collections import Counter
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from alignet.worlds.format.tables import WorldError
from alignet.worlds.things.concepts import UNLABELLED, matched

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
NUMBERED = re.compile(r"(?P<concept>.+)_(?P<number>\d+)(?P<kind>[a-z]*)")  # aardvark_01b
SAMPLE = re.compile(r"(?P<wordnet>n\d{8})_(?P<name>.+)")  # n02084071_dog
OF_A_CLASS = 10  # photographs that are taken of each folder of ImageNet's own, the first by name
WITHOUT_NUMBER = 10**6  # the place of acorn.jpg and acorn_plus.jpg among a concept's photographs: the last


def of_concepts(roots: dict[str, Path], concepts: list[str]) -> tuple[pd.DataFrame, Counter[str]]:
    """THINGS' photographs, sorted by concept: concept, image, path, file, exact; and what was left out and why.

    A concept's first row is its reference: the photograph that people saw, whose name ends in 01b, or without it the
    photograph with the least number. `exact` says whether it is the former. A file of a later folder replaces files of
    the same name in earlier ones. Files of equal content are left out if they stand for two concepts, and kept once if
    they stand for one.

    Args: roots: first component of the path -> folder, which is searched.
    """
    known, rows, left_out = set(concepts), dict[str, dict](), Counter[str]()
    for name, folder in roots.items():
        for file in _files(folder):
            parts = _parts(file.stem, known)
            if parts is None:
                left_out["photographs whose names are no concept's"] += 1
                continue
            path = f"{name}/{file.relative_to(folder).as_posix()}"
            left_out["photographs that others of the same name replaced"] += file.stem in rows
            rows[file.stem] = parts | {"image": file.stem, "path": path, "file": file}
    if not rows:
        where = ", ".join(map(str, roots.values())) or "no folder"
        raise WorldError(f"{where}: holds no photograph named after a concept of THINGS, as aardvark_01b.jpg")
    table = pd.DataFrame(list(rows.values()))
    table["exact"] = (table["number"] == 1) & (table["kind"] == "b")
    order = {"concept": True, "exact": False, "number": True, "image": True}
    table = table.sort_values(list(order), ascending=list(order.values()), ignore_index=True)
    content = contents(table["file"].tolist())
    two = table.groupby(content)["concept"].transform("nunique") > 1
    again = pd.DataFrame({"concept": table["concept"], "content": content}).duplicated() & ~two
    left_out["photographs in equal files for two concepts"] = int(two.sum())
    left_out["photographs in equal files for one concept"] = int(again.sum())
    return table[~two & ~again][["concept", "image", "path", "file", "exact"]].reset_index(drop=True), left_out


def of_classes(name: str, folder: Path, things: pd.DataFrame) -> tuple[pd.DataFrame, Counter[str]]:
    """ImageNet photographs n########_name.JPEG: image, path, file, concept, category, domain, wordnet, matched_by.

    The first OF_A_CLASS pictures of each of ImageNet's own folders, n########/n########_number.JPEG, are taken; timm
    names the class. Classes that match no concept have the concept `n######## name` and no other label. Files of equal
    content that stand for two classes are left out.
    Args: name: the first component of the path.
    """
    parts = ((file, SAMPLE.fullmatch(file.stem)) for file in _some_of_each(folder) or _files(folder))
    found = [{"file": file, "image": file.stem, **part.groupdict()} for file, part in parts if part]
    if not found:
        raise WorldError(f"{folder}: holds no photograph named n########_name.JPEG")
    table = pd.DataFrame(found)
    own = table["name"].str.isdigit()
    table.loc[own, "name"] = table.loc[own, "wordnet"].map(_class_name)
    table["path"] = [f"{name}/{file.relative_to(folder).as_posix()}" for file in table["file"]]
    matches = matched(table.drop_duplicates("wordnet").set_index("wordnet")["name"], things)
    row = table["wordnet"].map(matches["row"]).astype("Int64")
    of_concept = row.notna()
    for column in ("concept", "category", "domain"):
        table[column] = UNLABELLED
        table.loc[of_concept, column] = things[column].to_numpy()[row[of_concept].astype(int)]
    table.loc[~of_concept, "concept"] = table["wordnet"] + " " + table["name"]
    table["matched_by"] = [matches["matched_by"].get(each, "") for each in table["wordnet"]]
    two = contents(table["file"].tolist()).duplicated(keep=False).to_numpy()
    left_out = Counter({"ImageNet photographs in equal files for two classes": int(two.sum())})
    return table[~two].drop(columns="name").reset_index(drop=True), left_out


def contents(files: list[Path]) -> pd.Series:
    """A text for each file, equal for files of equal bytes; only files of equal size are read."""
    sizes = np.array([file.stat().st_size for file in files])
    values, counts = np.unique(sizes, return_counts=True)
    shared = np.isin(sizes, values[counts > 1])
    read = zip(files, shared, strict=True)
    return pd.Series([sha256(f.read_bytes()).hexdigest() if same else str(n) for n, (f, same) in enumerate(read)])


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())


def _some_of_each(folder: Path) -> list[Path]:
    """The first pictures of each of ImageNet's own folders; none if the folder has another layout."""
    classes = sorted(path for path in folder.glob("n????????") if path.is_dir())
    return [file for each in classes for file in _files(each)[:OF_A_CLASS]]


@cache
def _class_name(wordnet: str) -> str:
    """The first name of an ImageNet class, by its WordNet id."""
    from timm.data import ImageNetInfo

    return ImageNetInfo("imagenet-22k").label_name_to_description(wordnet).partition(",")[0]


def _parts(stem: str, concepts: set[str]) -> dict | None:
    """The concept, number and kind that a file's name says; None if it names no concept."""
    match = NUMBERED.fullmatch(stem)
    if match and match["concept"] in concepts:
        return {"concept": match["concept"], "number": int(match["number"]), "kind": match["kind"]}
    concept = stem.removesuffix("_plus")
    return {"concept": concept, "number": WITHOUT_NUMBER, "kind": ""} if concept in concepts else None
