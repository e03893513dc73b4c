"""Levels: odd-one-out choices of some 500 people about ImageNet pictures at three levels of abstraction.

The file processed_data/pruned_dataset.pkl of the Dataset_Levels repository is a dict participant -> list of trials. A
trial is a dict with the entries of the experiment and of its analysis (Frieda-Josefine/HumanEval_experiment,
experiment/index.html, analysis/stats_eval.ipynb): rt in milliseconds, image1Path to image3Path, selected_image,
exp_trial_type, and the kind of triplet, which the experiment's trial lists call triplet_class and the analysis calls
triplet_type. Since a pickle can run code, it is read by an unpickler that knows plain containers, text, numbers and
NumPy arrays only.
"""

import pickle
import re
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from alignet.worlds.format.tables import WorldError

LEVEL_OF = {"between_class": "coarse", "class_border": "boundary", "class_boundary": "boundary", "within_class": "fine"}
CLASSES = {"coarse": 3, "boundary": 2, "fine": 1}  # whose pictures a triplet of the level shows
NO_ANSWER = "No image selected"  # what the experiment writes after 15 seconds
WORDNET = re.compile(r"n\d{8}(?=_)")  # how ImageNet's names of pictures begin
ALLOWED = {
    *(("builtins", name) for name in ("set", "frozenset", "complex", "bytearray")),
    *(("__builtin__", name) for name in ("set", "frozenset", "complex", "bytearray")),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),  # how protocol 2 writes bytes
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
SLOWEST = 3600.0  # a mean response time beyond this many seconds means another unit
FASTEST = 0.05


class Trial(BaseModel):
    """One trial; further entries are ignored."""

    model_config = ConfigDict(extra="ignore")
    level: Literal["between_class", "class_border", "class_boundary", "within_class"] = Field(
        validation_alias=AliasChoices("triplet_type", "triplet_class")
    )
    image_0: str = Field(alias="image1Path", min_length=1)
    image_1: str = Field(alias="image2Path", min_length=1)
    image_2: str = Field(alias="image3Path", min_length=1)
    chosen: str = Field(alias="selected_image", min_length=1)


class PlainUnpickler(pickle.Unpickler):
    """Builds plain containers, text, numbers and NumPy scalars and arrays; refuses everything else by name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise WorldError(f"holds {module}.{name}, which is no plain data: refused, and nothing of it was run")
        return super().find_class(module, name)


def read_pickle(path: Path) -> Any:
    """A pickle's plain content.

    Raises: WorldError naming the file, if there is none, it is cut short, or holds more than plain data.
    """
    if not path.is_file():
        raise WorldError(f"{path}: no such file (python -m alignet.worlds.fetch levels)")
    with path.open("rb") as file:
        try:
            return PlainUnpickler(file).load()
        except WorldError as error:
            raise WorldError(f"{path}: {error}") from None
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
            raise WorldError(f"{path}: cannot be read as a pickle ({error})") from None


def read(path: Path, rt: str, seconds_per_unit: float) -> tuple[pd.DataFrame, int]:
    """The experimental trials as a levels table of a world, and the number of trials that nobody answered in time.

    The table has image_0 to image_2 (file names), odd, participant, rt and level. Trials without an answer are left
    out.

    Args: rt: the trials' entry that holds the response time; seconds_per_unit: 0.001 if it is in milliseconds.
    Raises: WorldError with a line for each kind of problem, naming participant, trial and entry.
    """
    people = read_pickle(path)
    if not isinstance(people, dict) or not all(isinstance(trials, list | tuple) for trials in people.values()):
        raise WorldError(f"{path}: is no dict of participants with lists of trials")
    rows, unanswered = [], 0
    problems: dict[str, list[str]] = {}
    for person, trials in people.items():
        for number, values in enumerate(trials):
            if isinstance(values, dict) and _plain(values.get("exp_trial_type")) != "exp_trial":
                continue
            if isinstance(values, dict) and values.get("selected_image", "") in (None, NO_ANSWER):
                unanswered += 1
                continue
            try:
                rows.append(_row(values, rt, seconds_per_unit) | {"participant": str(_plain(person))})
            except ValueError as error:
                for line in _reasons(error):
                    problems.setdefault(line, []).append(f"participant {person!r}, trial {number}")
    if problems:
        found = problems.items()
        raise WorldError("\n".join(f"{path}: {where[0]}: {line} ({len(where)} trials)" for line, where in found))
    if not rows:
        raise WorldError(f"{path}: holds no trial whose exp_trial_type is exp_trial")
    return _in_seconds(pd.DataFrame(rows), path, rt), unanswered


def _row(values: Any, rt: str, seconds_per_unit: float) -> dict:
    if not isinstance(values, dict):
        raise ValueError("is no dict")
    trial = Trial(**{str(key): _plain(value) for key, value in values.items()})
    names = [PurePosixPath(name).name for name in (trial.image_0, trial.image_1, trial.image_2)]
    if len(set(names)) < 3:
        raise ValueError("shows a picture twice")
    level = LEVEL_OF[trial.level]
    classes = [found[0] for name in names if (found := WORDNET.match(name))]
    if len(classes) == 3 and len(set(classes)) != CLASSES[level]:
        raise ValueError(f"is of the kind {trial.level}, and its pictures are of {len(set(classes))} classes")
    chosen = PurePosixPath(trial.chosen).name
    if chosen not in names:
        raise ValueError("selected_image is none of the three pictures")
    if rt not in values:
        raise ValueError(f"has no entry {rt!r} (imagenet.levels_rt; it has {', '.join(sorted(map(str, values)))})")
    time = _plain(values[rt])
    usable = isinstance(time, int | float) and time >= 0
    row = dict(zip(("image_0", "image_1", "image_2"), names, strict=True))
    seconds = time * seconds_per_unit if usable else np.nan
    return row | {"odd": names.index(chosen), "rt": seconds, "level": level}


def _in_seconds(table: pd.DataFrame, path: Path, rt: str) -> pd.DataFrame:
    """The table, if its response times can be seconds.

    Raises: WorldError if they cannot.
    """
    median = table["rt"].median()
    if not np.isnan(median) and not FASTEST <= median <= SLOWEST:
        raise WorldError(f"{path}: the median of {rt} is {median:g} s: change imagenet.levels_rt_unit")
    return table[["image_0", "image_1", "image_2", "odd", "participant", "rt", "level"]]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _reasons(error: ValueError) -> list[str]:
    if not isinstance(error, ValidationError):
        return [str(error)]
    return [f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors()]
