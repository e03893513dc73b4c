"""Public data sets through torchvision, when their folders are on disk. Nothing is downloaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torchvision import datasets

from alignet.config import ROOT
from alignet.worlds.format.pictures import UNREADABLE
from alignet.worlds.format.tables import WorldError

# name -> the folder below `root`, as torchvision unpacks it, and the data set
KNOWN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "DTD": ("dtd", lambda root: datasets.DTD(root, split="test")),
    "OxfordIIITPet": ("oxford-iiit-pet", lambda root: datasets.OxfordIIITPet(root, split="test")),
    "Flowers102": ("flowers-102", lambda root: datasets.Flowers102(root, split="test")),
    "StanfordCars": ("stanford_cars", lambda root: datasets.StanfordCars(root, split="test")),
    "SUN397": ("SUN397", lambda root: datasets.SUN397(root)),
    "EuroSAT": ("eurosat", lambda root: datasets.EuroSAT(root)),
    "CIFAR100": ("cifar-100-python", lambda root: datasets.CIFAR100(root, train=False)),
    "ImageNet-A": ("imagenet-a", lambda root: datasets.ImageFolder(root / "imagenet-a")),
    "BREEDS": (".", lambda root: datasets.ImageFolder(root)),
}


def available(name: str, root: str) -> tuple[Any, str]:
    """A data set and '', or None and one line that says why it is skipped.

    Args: root: the folder, from the project's root or absolute, that torchvision would have downloaded into; of BREEDS,
        the folder that holds a folder for each class.
    Raises: ValueError naming a data set that is not known.
    """
    if name not in KNOWN:
        raise ValueError(f"downstream.public: {name!r} is none of {', '.join(KNOWN)}")
    folder, create = KNOWN[name]
    if not (ROOT / root / folder).is_dir():
        return None, f"skipped: no folder {(Path(root) / folder).as_posix()}"
    try:
        return create(ROOT / root), ""
    except (RuntimeError, FileNotFoundError) as error:
        return None, f"skipped: {root} is not as torchvision expects ({str(error).splitlines()[0]})"


def targets(dataset: Any) -> Tensor:
    """The class of every picture, (n,) int64."""
    for name in ("targets", "_labels"):
        if hasattr(dataset, name):
            return torch.tensor(getattr(dataset, name))
    return torch.tensor([label for _, label in dataset._samples])  # StanfordCars


def some_of_each(labels: Tensor, per_class: int, generator: torch.Generator) -> Tensor:
    """Numbers of at most `per_class` pictures of each class, drawn at random, ascending."""
    shuffled = torch.randperm(len(labels), generator=generator)
    turn = pd.Series(labels[shuffled].numpy()).groupby(labels[shuffled].numpy()).cumcount().to_numpy()
    return shuffled[torch.from_numpy(np.flatnonzero(turn < per_class))].sort().values


def pictures(dataset: Any, rows: Tensor, size: int) -> Tensor:
    """Whole pictures resized (bicubic, not cropped): (n, 3, size, size) uint8.

    Raises: WorldError naming the data set and the number of the picture that cannot be read.
    """
    return torch.stack([_picture(dataset, row, size) for row in rows.tolist()])


def _picture(dataset: Any, row: int, size: int) -> Tensor:
    try:
        shown = dataset[row][0].convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    except UNREADABLE as error:
        name = type(dataset).__name__
        raise WorldError(f"{name}, picture {row}: cannot be read as a picture ({error})") from None
    return torch.from_numpy(np.array(shown)).permute(2, 0, 1)


def breeds(file: str, classes: list[str]) -> pd.DataFrame:
    """BREEDS' published class lists: superclass, class (a folder's name), split (source or target), with its number.

    Args: file: CSV, a row for each class, from the project's root or absolute; classes: the data set's folders.
    Raises: ValueError naming the file and what it lacks.
    """
    if not (ROOT / file).is_file():
        raise ValueError(f"{file}: no such file; it names superclass, class and split (source or target) in each row")
    table = pd.read_csv(ROOT / file, dtype=str)
    lacking = {"superclass", "class", "split"} - set(table)
    if lacking:
        raise ValueError(f"{file}: missing column {', '.join(sorted(lacking))}")
    checks = {
        "class": (~table["class"].isin(classes), "is no folder of the data set"),
        "split": (~table["split"].isin(["source", "target"]), "is neither source nor target"),
        "superclass": (table.groupby("superclass")["split"].transform("nunique") < 2, "lacks a source or a target"),
    }
    checks |= {"class ": (table["class"].duplicated(), "stands twice")}
    for column, (wrong, why) in checks.items():
        if wrong.any():
            row = int(wrong.idxmax())
            raise ValueError(f"{file}, column {column.strip()}, row {row + 2}: {table.at[row, column.strip()]!r} {why}")
    return table.assign(number=[classes.index(name) for name in table["class"]])
