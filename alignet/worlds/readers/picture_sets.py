"""Similarity judgements that come with pictures of their own: a folder in, pictures and people's similarities out.

Formats: `cichy` (multi-arrangement, Cichy et al. 2019), `king` (free arrangement, King et al. 2019) and `peterson`
(ratings within a category, Peterson et al. 2016) as gLocal's loaders expect them (Muttenthaler et al., NeurIPS 2023,
data/ of LukasMut/gLocal); `matrix`, a square file of your own whose names are file names (`worlds.readers.matrices`);
and `validation`, the ratings of the paper's human-validation experiment
(Frieda-Josefine/AligNet-Human-Validation-Experiment).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from torch import Tensor

from alignet.worlds.format.tables import WorldError
from alignet.worlds.readers import matrices
from alignet.worlds.readers.levels_pickle import read_pickle

ENDINGS = (".jpg", ".jpeg", ".png")
LARGEST = 5  # of the experiment's scale; the pilots' went to 10
TARGETS_FILE = "max_divergence_top_100_of_1.csv"  # which target holds a pair closer
RATINGS_FILE = "AligNet_Human_Validation_results.csv"


@dataclass(frozen=True)
class PictureSet:
    """n pictures and similarities of all pairs for each person or group: paths (n,), people (groups, n, n), NaN where
    there is none; higher is more alike."""

    paths: list[Path]
    people: Tensor


@dataclass(frozen=True)
class RatedPairs:
    """Ratings of pairs of pictures. paths: (n,); ratings: participant, first and second (numbers of pictures), rating,
    closer_in ('alignet' or 'unalignet': which target holds the pair closer)."""

    paths: list[Path]
    ratings: pd.DataFrame


def read(root: Path, entry: Mapping[Any, str]) -> PictureSet:
    """Pictures and judgements of one entry of similarity.picture_sets.

    Args: root: the folder that relative names start from; entry: name, format, root and, of king, `set` (set1 or set2),
        of peterson `set` (the category's folder), of matrix `file` and `kind`.
    Raises: WorldError, one line that names the file or folder and what is wrong with it.
    """
    if entry["format"] not in FORMATS:
        raise WorldError(f"similarity.picture_sets: format {entry['format']!r} is none of {', '.join(FORMATS)}")
    found = FORMATS[entry["format"]](root, root / entry["root"], entry)
    if found.people.shape[1:] != (len(found.paths), len(found.paths)):
        raise WorldError(
            f"{entry['root']}: {len(found.paths)} pictures, and judgements about {found.people.shape[1]} of them"
        )
    return found


def _cichy(_root: Path, folder: Path, _entry: Mapping[Any, str]) -> PictureSet:
    file = folder / "sim_judgements" / "judgments_general.mat"
    distances = np.asarray(_matlab(file, "judgments"), float)  # (people, n, n)
    if distances.ndim != 3 or distances.shape[1] != distances.shape[2]:
        raise WorldError(f"{file}: judgments is {distances.shape}, not people x pictures x pictures")
    return PictureSet(_pictures(folder / "images"), -torch.from_numpy(distances))


def _king(_root: Path, folder: Path, entry: Mapping[Any, str]) -> PictureSet:
    name, file = entry.get("set", "set1"), folder / "sim_judgements" / "BEHAVIOR.mat"
    paths, behaviour = _pictures(folder / "images" / name), _matlab(file, "BEHAVIOR")
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
            return PictureSet(paths, torch.from_numpy(np.asarray(_matlab(file, "sim"), float))[None])
    for file in files:
        if file.suffix == ".pickle":
            return PictureSet(paths, _mean_ratings(file, len(paths))[None])
    raise WorldError(f"{judged}: holds no .mat file with 'sim' in its name and no .pickle")


def _mean_ratings(file: Path, n: int) -> Tensor:
    """From a dict 'name i,name j' -> ratings, whose names hold numbers from 1: (n, n), NaN for pairs without
    ratings.
    """
    similarities = torch.full((n, n), torch.nan, dtype=torch.float64)
    for pair, ratings in read_pickle(file).items():
        places = [int(number[0]) - 1 for name in str(pair).split(",") if (number := re.search(r"\d+", name))]
        if len(places) != 2 or not all(0 <= place < n for place in places):
            raise WorldError(f"{file}: {pair!r} names no two of the {n} pictures by their numbers from 1")
        similarities[places[0], places[1]] = similarities[places[1], places[0]] = float(np.mean(ratings))
    return similarities


def _matrix(root: Path, folder: Path, entry: Mapping[Any, str]) -> PictureSet:
    try:
        values, names = matrices.read(root, entry)
    except ValueError as error:
        raise WorldError(str(error)) from None
    return PictureSet([_picture(folder, name) for name in names], values[None])


FORMATS: dict[str, Callable[[Path, Path, Mapping[Any, str]], PictureSet]] = {
    "cichy": _cichy,
    "king": _king,
    "peterson": _peterson,
    "matrix": _matrix,
}


def read_validation(folder: Path) -> RatedPairs:
    """The paper's human-validation experiment: who rated which pair how, 1 to 5, and which target holds it closer.

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
    return RatedPairs([_picture(folder / "images", name) for name in names], table)


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, as gLocal numbers them."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in ENDINGS) if folder.is_dir() else []
    if not paths:
        raise WorldError(f"{folder}: no such folder, or no pictures ({', '.join(ENDINGS)}) in it")
    return paths


def _picture(folder: Path, name: str) -> Path:
    path = next((place for place in (folder / name, *folder.rglob(name)) if place.is_file()), None)
    if path is None:
        raise WorldError(f"{folder / name}: no such file")
    return path


def _matlab(file: Path, name: str) -> Any:
    """The variable of a MATLAB file (not of version 7.3) whose name holds `name`."""
    if not file.is_file():
        raise WorldError(f"{file}: no such file")
    try:
        variables = loadmat(file)
    except (NotImplementedError, ValueError, TypeError, MatReadError) as error:
        raise WorldError(f"{file}: cannot be read as a MATLAB file ({error})") from None
    fitting = [key for key in variables if name.lower() in key.lower() and not key.startswith("__")]
    if not fitting:
        raise WorldError(f"{file}: has no variable {name}")
    return variables[fitting[-1]]


def _csv(file: Path, separator: str) -> pd.DataFrame:
    if not file.is_file():
        raise WorldError(f"{file}: no such file")
    return pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False).rename(columns=str.strip)


def _columns(file: Path, table: pd.DataFrame, needed: set[str]) -> None:
    lacking = sorted(needed - set(table))
    if lacking:
        raise WorldError(f"{file}: missing column {', '.join(lacking)}")
