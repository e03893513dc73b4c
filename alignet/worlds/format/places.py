"""Folders of a world's pictures, as its world.yaml names them, so that a world can be moved with its pictures."""

import os
from collections.abc import Iterable
from pathlib import Path

from alignet.config import home

ADVICE = "was it moved, or is its disk not there? Say under `pictures` where it lies now"


def said(pictures: Path, folder: Path) -> str:
    """The path by which the world.yaml in `folder` names a folder of pictures.

    It is relative to `folder` if both lie in the project, which can be moved as a whole, or if the pictures lie inside
    `folder`; it is absolute otherwise.
    """
    place, start = pictures.resolve(), folder.resolve()
    for project in (home().resolve(), start):
        if place.is_relative_to(project) and start.is_relative_to(project):
            return Path(os.path.relpath(place, start)).as_posix()
    return str(place)


def found(folder: Path, path: str) -> Path:
    """The folder that the world.yaml in `folder` names by `path`, without '..' in it."""
    place = folder / path
    return place.resolve() if ".." in Path(path).parts else place


def gone(header: Path, places: Iterable[Path]) -> list[str]:
    """A line for each of a world's folders of pictures that does not exist; it says what to do.

    Args: header: the world's world.yaml.
    """
    return [f"{header}: pictures: {place}: no such folder: {ADVICE}" for place in places if not place.is_dir()]
