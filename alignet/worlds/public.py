"""Public data sets through torchvision, when their folders are on disk. Nothing is downloaded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torchvision import datasets
from torchvision.transforms.functional import pil_to_tensor, resize

from alignet.config import ROOT

SPLITS: dict[str, Callable[[Path], object]] = {
    "DTD": lambda root: datasets.DTD(root, split="test"),
    "OxfordIIITPet": lambda root: datasets.OxfordIIITPet(root, split="test"),
    "Flowers102": lambda root: datasets.Flowers102(root, split="test"),
    "StanfordCars": lambda root: datasets.StanfordCars(root, split="test"),
    "SUN397": lambda root: datasets.SUN397(root),
    "EuroSAT": lambda root: datasets.EuroSAT(root),
    "CIFAR100": lambda root: datasets.CIFAR100(root, train=False),
    "ImageNet-A": lambda root: datasets.ImageFolder(root),
    "BREEDS": lambda root: datasets.ImageFolder(root),
}


def available(name: str, root: str) -> tuple[object | None, str]:
    """A data set and '', or None and one line that says why it is skipped.

    Raises: ValueError naming a data set that is not known.
    """
    if name not in SPLITS:
        raise ValueError(f"downstream.public: {name!r} is none of {', '.join(SPLITS)}")
    if not (ROOT / root).is_dir():
        return None, f"skipped: no folder {root}"
    try:
        return SPLITS[name](ROOT / root), ""
    except (RuntimeError, FileNotFoundError) as error:
        return None, f"skipped: {root} is not as torchvision expects ({str(error).splitlines()[0]})"


def targets(dataset: object) -> Tensor:
    """The class of every picture, (n,) int64."""
    for name in ("targets", "_labels"):
        if hasattr(dataset, name):
            return torch.tensor(getattr(dataset, name))
    samples = getattr(dataset, "_samples", None) or getattr(dataset, "dataset", dataset)
    return torch.tensor([samples[row][1] for row in range(len(samples))])


def some_of_each(labels: Tensor, per_class: int, generator: torch.Generator) -> Tensor:
    """Numbers of at most `per_class` pictures of each class, drawn at random, ascending."""
    shuffled = torch.randperm(len(labels), generator=generator)
    turn = pd.Series(labels[shuffled].numpy()).groupby(labels[shuffled].numpy()).cumcount().to_numpy()
    return shuffled[torch.from_numpy(np.flatnonzero(turn < per_class))].sort().values


def pictures(dataset: object, rows: Tensor, size: int) -> Tensor:
    """Whole pictures resized (bicubic, not cropped): (n, 3, size, size) uint8."""
    shown = (dataset[row][0].convert("RGB") for row in rows.tolist())
    return torch.stack([pil_to_tensor(resize(picture, [size, size], interpolation=3)) for picture in shown])


def breeds(file: str, classes: list[str]) -> pd.DataFrame:
    """BREEDS' published class lists: superclass, class (a folder's name), split (source or target), with its number.

    Raises: ValueError naming the file and what it lacks.
    """
    if not (ROOT / file).is_file():
        raise ValueError(f"{file}: no such file; it names superclass, class and split (source or target) in each row")
    table = pd.read_csv(ROOT / file, dtype=str)
    lacking = {"superclass", "class", "split"} - set(table)
    if lacking:
        raise ValueError(f"{file}: missing column {', '.join(sorted(lacking))}")
    unknown = sorted(set(table["class"]) - set(classes))
    if unknown:
        raise ValueError(f"{file}, column class: {unknown[0]!r} is no folder of the data set")
    return table.assign(number=[classes.index(name) for name in table["class"]])
