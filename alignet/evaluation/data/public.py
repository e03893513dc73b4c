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

from alignet.config import home
from alignet.worlds.format.pictures import UNREADABLE
from alignet.worlds.format.tables import WorldError

Create = Callable[[Path], Any]
CUB, KATHER = "CUB_200_2011", "Kather_texture_2016_image_tiles_5000"
HIERARCHY = "imagenet_class_hierarchy/modified of github.com/MadryLab/BREEDS-Benchmarks"
# name -> the folder below `root`, as torchvision or its authors unpack it; the pictures that are tested; and those that
# are learnt from, where the data set has official splits (None: its pictures are split at random).
KNOWN: dict[str, tuple[str, Create, Create | None]] = {
    "DTD": ("dtd", lambda root: datasets.DTD(root, split="test"), lambda root: datasets.DTD(root, split="train")),
    "OxfordIIITPet": (
        "oxford-iiit-pet",
        lambda root: datasets.OxfordIIITPet(root, split="test"),
        lambda root: datasets.OxfordIIITPet(root, split="trainval"),
    ),
    "Flowers102": (
        "flowers-102",
        lambda root: datasets.Flowers102(root, split="test"),
        lambda root: datasets.Flowers102(root, split="train"),
    ),
    "StanfordCars": (
        "stanford_cars",
        lambda root: datasets.StanfordCars(root, split="test"),
        lambda root: datasets.StanfordCars(root, split="train"),
    ),
    "CIFAR100": (
        "cifar-100-python",
        lambda root: datasets.CIFAR100(root, train=False),
        lambda root: datasets.CIFAR100(root, train=True),
    ),
    "Caltech-Birds": (CUB, lambda root: _birds(root / CUB, "0"), lambda root: _birds(root / CUB, "1")),
    "Caltech101": ("caltech101", lambda root: datasets.ImageFolder(root / "caltech101" / "101_ObjectCategories"), None),
    "SUN397": ("SUN397", lambda root: datasets.SUN397(root), None),
    "EuroSAT": ("eurosat", lambda root: datasets.EuroSAT(root), None),
    "UC-Merced": ("UCMerced_LandUse", lambda root: datasets.ImageFolder(root / "UCMerced_LandUse" / "Images"), None),
    "Colorectal": (KATHER, lambda root: datasets.ImageFolder(root / KATHER), None),
    "ImageNet-A": ("imagenet-a", lambda root: datasets.ImageFolder(root / "imagenet-a"), None),
}


def available(name: str, root: str) -> tuple[Any, Any, str]:
    """A data set's test pictures, its training pictures (None without official splits) and ''; or why it is skipped.

    Args: root: the folder, from the project's root or absolute, that torchvision would have downloaded into.
    Raises: ValueError naming a data set that is not known.
    """
    if name not in KNOWN:
        raise ValueError(f"downstream.public: {name!r} is none of {', '.join(KNOWN)}")
    folder, tested, learnt = KNOWN[name]
    if not (home() / root / folder).is_dir():
        return None, None, f"skipped: no folder {(Path(root) / folder).as_posix()}"
    try:
        return tested(home() / root), learnt(home() / root) if learnt else None, ""
    except (RuntimeError, FileNotFoundError) as error:
        return None, None, f"skipped: {root} is not as torchvision expects ({str(error).splitlines()[0]})"


def of_classes(folder: str, names: list[str], use: str) -> tuple[Any, str]:
    """A folder of class folders with the classes `names`, numbered in their order; or None and why it is skipped.

    The reason names the folder's use in words, such as 'learnt from'.
    """
    lacking = [name for name in names if not (home() / folder / name).is_dir()]
    if lacking:
        return None, f"skipped: no folder {(Path(folder) / lacking[0]).as_posix()}, which it is {use}"
    return _SomeClasses(home() / folder, names), ""


class _SomeClasses(datasets.ImageFolder):
    """An ImageFolder of some of its folders."""

    def __init__(self, root: Path, names: list[str]):
        self.names = names
        super().__init__(root)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        return self.names, {name: number for number, name in enumerate(self.names)}


def _birds(folder: Path, part: str) -> Any:
    """CUB-200-2011's pictures whose number has `part` (1: training) in train_test_split.txt."""
    tables = [folder / "images.txt", folder / "train_test_split.txt"]
    paths, parts = (pd.read_csv(file, sep=" ", header=None, names=["number", "value"], dtype=str) for file in tables)
    chosen = {str(folder / "images" / path) for path in paths["value"][(parts["value"] == part).to_numpy()]}
    return datasets.ImageFolder(folder / "images", is_valid_file=chosen.__contains__)


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
