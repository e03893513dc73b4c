"""Photographs of THINGS' concepts and of ImageNet's classes, where they lie on disk, as rows of images.csv."""

import re
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from alignet.worlds.format.tables import WorldError
from alignet.worlds.readers.things_concepts import UNLABELLED, matched

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
NUMBERED = re.compile(r"(?P<concept>.+)_(?P<number>\d+)(?P<kind>[a-z]*)")  # aardvark_01b
SAMPLE = re.compile(r"(?P<wordnet>n\d{8})_(?P<name>.+)")  # n02084071_dog
WITHOUT_NUMBER = 10**6  # the place of acorn.jpg and acorn_plus.jpg among a concept's photographs: the last


def of_concepts(roots: dict[str, Path], concepts: list[str]) -> tuple[pd.DataFrame, Counter[str]]:
    """THINGS' photographs, sorted by concept: concept, image, path, file, exact; and what was left out and why.

    A concept's first row is its reference: the photograph that people saw, whose name ends in 01b, where it is there;
    else that with the least number. `exact` says which is the case. A name of one folder replaces that name of the
    folders before it. Files of equal content are left out where they stand for two concepts, and kept once where they
    stand for one.

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

    Classes that are no concept have the concept `n######## name` and are otherwise unlabelled. Files of equal content
    that stand for two classes are left out.
    Args: name: the first component of the path.
    """
    parts = ((file, SAMPLE.fullmatch(file.stem)) for file in _files(folder))
    found = [{"file": file, "image": file.stem, **part.groupdict()} for file, part in parts if part]
    if not found:
        raise WorldError(f"{folder}: holds no photograph named n########_name.JPEG")
    table = pd.DataFrame(found)
    table["path"] = [f"{name}/{file.relative_to(folder).as_posix()}" for file in table["file"]]
    matches = matched(table.drop_duplicates("wordnet").set_index("wordnet")["name"], things)
    row = table["wordnet"].map(matches["row"]).astype("Int64")
    of_concept = row.notna()
    for column in ("concept", "category", "domain"):
        table[column] = UNLABELLED
        table.loc[of_concept, column] = things[column].to_numpy()[row[of_concept].astype(int)]
    table.loc[~of_concept, "concept"] = table["wordnet"] + " " + table["name"]
    table["matched_by"] = table["wordnet"].map(matches["matched_by"]).fillna("")
    two = contents(table["file"].tolist()).duplicated(keep=False).to_numpy()
    left_out = Counter({"ImageNet photographs in equal files for two classes": int(two.sum())})
    return table[~two].drop(columns="name").reset_index(drop=True), left_out


def contents(files: list[Path]) -> pd.Series:
    """A text for each file that two files share if their bytes are equal; only files of equal size are read."""
    sizes = np.array([file.stat().st_size for file in files])
    values, counts = np.unique(sizes, return_counts=True)
    shared = np.isin(sizes, values[counts > 1])
    read = zip(files, shared, strict=True)
    return pd.Series([sha256(f.read_bytes()).hexdigest() if same else str(n) for n, (f, same) in enumerate(read)])


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())


def _parts(stem: str, concepts: set[str]) -> dict | None:
    """The concept, number and kind that a file's name says; None if it names no concept."""
    match = NUMBERED.fullmatch(stem)
    if match and match["concept"] in concepts:
        return {"concept": match["concept"], "number": int(match["number"]), "kind": match["kind"]}
    concept = stem.removesuffix("_plus")
    return {"concept": concept, "number": WITHOUT_NUMBER, "kind": ""} if concept in concepts else None
