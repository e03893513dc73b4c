"""Similarity judgements about pictures of their own, read from folders.

Formats:
- `cichy` (multi-arrangement, Cichy et al. 2019), `king` (free arrangement, King et al. 2019) and `peterson` (ratings
  within a category, Peterson et al. 2016), as gLocal's loaders expect them (Muttenthaler et al., NeurIPS 2023, data/ of
  LukasMut/gLocal);
- `mur92`, the 92 objects of Mur et al. (2013) in the files of rsatoolbox (demos/92imageData; 16 people);
- `matrix`, a square file of your own whose names are file names (`evaluation.data.matrices`);
- `things`, a `matrix` whose pictures have THINGS' names, <concept>_<number>.jpg, so that their concepts are known;
- `validation`, the ratings of the paper's human-validation experiment
  (Frieda-Josefine/AligNet-Human-Validation-Experiment).

Where judgements name their pictures, they are joined by name. Where they do not, row i belongs to picture i in natural
order (2 before 10), which is the order of the names as text where numbers have leading zeros.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet.evaluation.data import matrices
from alignet.worlds import mur92
from alignet.worlds.format.tables import WorldError
from alignet.worlds.paper.levels_pickle import read_pickle

ENDINGS = (".jpg", ".jpeg", ".png")
LARGEST = 5  # of the experiment's scale; the pilots' went to 10
TARGETS_FILE = "max_divergence_top_100_of_1.csv"  # which target holds a pair closer
RATINGS_FILE = "AligNet_Human_Validation_results.csv"


@dataclass(frozen=True)
class PictureSet:
    """n pictures, and the similarities of all pairs for each person or group.

    paths: (n,); people: (groups, n, n), NaN where there is no judgement; higher is more alike.
    """

    paths: list[Path]
    people: Tensor


@dataclass(frozen=True)
class RatedPairs:
    """Ratings of pairs of pictures. paths: (n,); ratings: participant, first and second (numbers of pictures), rating,
    closer_in ('alignet' or 'unalignet', the target in which the pair is closer)."""

    paths: list[Path]
    ratings: pd.DataFrame


def read(root: Path, entry: Mapping[Any, str]) -> PictureSet:
    """Pictures and judgements of one entry of similarity.picture_sets.

    Args: root: the folder that relative names start from; entry: name, format, root and, of king, `set` (set1 or set2),
        of peterson `set` (the category's folder), of matrix and things `file`, `kind` and perhaps `labels`.
    Raises: WorldError, one line that names the file or folder and what is wrong with it.
    """
    if entry["format"] not in FORMATS:
        raise WorldError(f"similarity.picture_sets: format {entry['format']!r} is none of {', '.join(FORMATS)}")
    picture_set = FORMATS[entry["format"]](root, root / entry["root"], entry)
    pictures, judged = len(picture_set.paths), picture_set.people.shape[1:]
    if judged != (pictures, pictures):
        raise WorldError(f"{entry['root']}: {pictures} pictures, and judgements about {judged[0]} of them")
    return picture_set


def _cichy(_root: Path, folder: Path, _entry: Mapping[Any, str]) -> PictureSet:
    file = folder / "sim_judgements" / "judgments_general.mat"
    distances = np.asarray(mur92.matlab(file, "judgments"), float)  # (people, n, n)
    if distances.ndim != 3 or distances.shape[1] != distances.shape[2]:
        raise WorldError(f"{file}: judgments is {distances.shape}, not people x pictures x pictures")
    return PictureSet(_pictures(folder / "images"), -torch.from_numpy(distances))


def _king(_root: Path, folder: Path, entry: Mapping[Any, str]) -> PictureSet:
    name, file = entry.get("set", "set1"), folder / "sim_judgements" / "BEHAVIOR.mat"
    paths, behaviour = _pictures(folder / "images" / name), mur92.matlab(file, "BEHAVIOR")
    try:
        distances = np.asarray(behaviour[name][0, 0]["pairwisedistances"][0, 0], float)  # (people, pairs)
    except (ValueError, IndexError, KeyError):
        raise WorldError(f"{file}: BEHAVIOR has no {name}.pairwisedistances") from None
    first, second = np.triu_indices(len(paths), 1)  # the pairs' order: row by row above the diagonal
    if distances.ndim != 2 or distances.shape[1] != len(first):
        raise WorldError(f"{file}: {name} has {distances.shape[-1]} pairs; {len(paths)} pictures make {len(first)}")
    people = np.full((len(distances), len(paths), len(paths)), np.nan)
    people[:, first, second] = people[:, second, first] = -distances
    return PictureSet(paths, torch.from_numpy(people))


def _peterson(_root: Path, folder: Path, entry: Mapping[Any, str]) -> PictureSet:
    if "set" not in entry:
        raise WorldError("similarity.picture_sets: format peterson needs set, the folder of a category")
    place = folder / entry["set"]
    paths, judged = _pictures(place / "images"), place / "sim_judgments"
    files = sorted(judged.glob("*")) if judged.is_dir() else []
    for file in files:
        if file.suffix == ".mat" and "sim" in file.name.lower():
            return PictureSet(paths, torch.from_numpy(np.asarray(mur92.matlab(file, "sim"), float))[None])
    for file in files:
        if file.suffix == ".pickle":
            return PictureSet(paths, _mean_ratings(file, paths)[None])
    raise WorldError(f"{judged}: holds no .mat file with 'sim' in its name and no .pickle")


def _mean_ratings(file: Path, paths: list[Path]) -> Tensor:
    """Mean ratings of all pairs, (n, n), from a dict 'name,name' -> ratings; NaN for pairs without ratings.

    A name is a picture's file name, with or without its ending, or contains a picture's number from 1. The number is
    that in the picture's own name or, if pictures' names have no numbers, its place.
    """
    place = {name: number for number, path in enumerate(paths) for name in (path.name, path.stem)}
    numbers = [_number(path.stem) for path in paths]
    if len(set(numbers)) < len(paths) or None in numbers:
        numbers = list(range(1, len(paths) + 1))
    similarities = torch.full((len(paths), len(paths)), torch.nan, dtype=torch.float64)
    for pair, ratings in read_pickle(file).items():
        ends = [name.strip() for name in str(pair).split(",")]
        found = [
            place[name] if name in place else numbers.index(_number(name))
            for name in ends
            if name in place or _number(name) in numbers
        ]
        if len(ends) != 2 or len(set(found)) != 2:
            raise WorldError(f"{file}: {pair!r} names no two of the {len(paths)} pictures, by name or number from 1")
        similarities[found[0], found[1]] = similarities[found[1], found[0]] = float(np.mean(ratings))
    return similarities


def _number(name: str) -> int | None:
    """The first number in a name, if there is one."""
    number = re.search(r"\d+", name)
    return int(number[0]) if number else None


def _mur92(_root: Path, folder: Path, _entry: Mapping[Any, str]) -> PictureSet:
    people = mur92.matlab(folder / mur92.PEOPLE, "rdms_behav_92")
    try:
        distances = np.stack([np.asarray(person["RDM"], float) for person in people.ravel()])
    except (ValueError, IndexError, KeyError, TypeError):
        raise WorldError(f"{folder / mur92.PEOPLE}: rdms_behav_92 holds no square RDM for each person") from None
    if not (folder / "pictures").is_dir():
        raise WorldError(f"{folder / 'pictures'}: no such folder (python -m alignet.worlds.fetch mur92 makes it)")
    return PictureSet(_pictures(folder / "pictures"), -torch.from_numpy(distances))


def _matrix(root: Path, folder: Path, entry: Mapping[Any, str]) -> PictureSet:
    try:
        values, names = matrices.read(root, entry)
    except ValueError as error:
        raise WorldError(str(error)) from None
    return PictureSet(_named(folder, names), values[None])


FORMATS: dict[str, Callable[[Path, Path, Mapping[Any, str]], PictureSet]] = {
    "cichy": _cichy,
    "king": _king,
    "peterson": _peterson,
    "mur92": _mur92,
    "matrix": _matrix,
    "things": _matrix,
}


def read_validation(folder: Path) -> RatedPairs:
    """The ratings, 1 to 5, of the paper's human-validation experiment, and the target in which each pair is closer.

    Only trials of type exp_trial count. Participants with a rating above 5 are pilots on another scale and are left
    out.

    Args: folder: holds RATINGS_FILE, TARGETS_FILE (separated by semicolons) and the pictures below `images`.
    Raises: WorldError naming the file and what it lacks.
    """
    ratings, targets = _csv(folder / RATINGS_FILE, ","), _csv(folder / TARGETS_FILE, ";")
    needed = {"prolific_id", "exp_trial_type", "response", "image1Path", "image2Path"}
    _columns(folder / RATINGS_FILE, ratings, needed)
    _columns(folder / TARGETS_FILE, targets, {"Image1", "Image2", "align_unalign_z_diff_signed"})
    trials = ratings[ratings["exp_trial_type"] == "exp_trial"]
    trials = trials.assign(rating=pd.to_numeric(trials["response"], errors="coerce")).dropna(subset=["rating"])
    trials = trials[trials.groupby("prolific_id")["rating"].transform("max") <= LARGEST]
    pairs = trials[["image1Path", "image2Path"]].map(lambda path: Path(str(path)).name)
    signed = pd.to_numeric(targets["align_unalign_z_diff_signed"])
    closer = dict(zip(zip(targets["Image1"], targets["Image2"], strict=True), signed < 0, strict=True))
    keys = list(pairs.itertuples(index=False, name=None))
    known = [key in closer for key in keys]
    if not any(known):
        raise WorldError(f"{folder / RATINGS_FILE}: none of its pairs stands in {TARGETS_FILE}")
    names = pd.unique(pairs[known].to_numpy().ravel())
    number = {name: place for place, name in enumerate(names)}
    rows = [
        (person, number[key[0]], number[key[1]], rating, "alignet" if closer[key] else "unalignet")
        for person, key, rating in zip(trials["prolific_id"], keys, trials["rating"], strict=True)
        if key in closer
    ]
    table = pd.DataFrame(rows, columns=["participant", "first", "second", "rating", "closer_in"])
    return RatedPairs(_named(folder / "images", list(names)), table)


def lacking(root: Path, entry: Mapping[Any, str]) -> list[str]:
    """Names of pictures of a `matrix` or `things` entry that are not on disk."""
    return [name for name, path in _places(root / entry["root"], matrices.read(root, entry)[1]).items() if path is None]


def concept(path: Path) -> str:
    """The concept in the name of a picture of THINGS: bowler_hat of bowler_hat_01b.jpg."""
    return path.stem.rpartition("_")[0]


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder in the natural order of their names: 2 before 10."""
    paths = [path for path in folder.glob("*") if path.suffix.lower() in ENDINGS] if folder.is_dir() else []
    if not paths:
        raise WorldError(f"{folder}: no such folder, or no pictures ({', '.join(ENDINGS)}) in it")
    return sorted(paths, key=lambda path: (_natural(path.name), path.name))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """A key to sort names by, in which digits count as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _named(folder: Path, names: list[str]) -> list[Path]:
    """The file of each name, in the folder or below it. Raises: WorldError that names the first one that is missing."""
    places = _places(folder, names)
    absent = [name for name, path in places.items() if path is None]
    if absent:
        raise WorldError(f"{folder / absent[0]}: no such file ({len(absent)} of {len(names)} pictures are not there)")
    return [path for path in places.values() if path is not None]


def _places(folder: Path, names: list[str]) -> dict[str, Path | None]:
    """The file of each name: the one in the folder, or the first by path in the folders below it; None without one."""
    below = {path.name: path for path in sorted(folder.rglob("*"), reverse=True) if path.suffix.lower() in ENDINGS}
    return {name: folder / name if (folder / name).is_file() else below.get(name) for name in names}


def _csv(file: Path, separator: str) -> pd.DataFrame:
    if not file.is_file():
        raise WorldError(f"{file}: no such file")
    return pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False).rename(columns=str.strip)


def _columns(file: Path, table: pd.DataFrame, needed: set[str]) -> None:
    lacking = sorted(needed - set(table))
    if lacking:
        raise WorldError(f"{file}: missing column {', '.join(lacking)}")
