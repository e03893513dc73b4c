"""Where a world's pictures lie, as its world.yaml says it: so that what moves together stays together."""

import os
from collections.abc import Iterable
from pathlib import Path

from alignet.config import home

ADVICE = "was it moved, or is its disk not there? Say under `pictures` where it lies now"


def said(pictures: Path, folder: Path) -> str:
    """A folder of pictures for the world.yaml in `folder`: relative to it if both lie in the project, which can be
    moved as a whole, or if the pictures lie inside `folder`; absolute otherwise.
    """
    place, start = pictures.resolve(), folder.resolve()
    for project in (home().resolve(), start):
        if place.is_relative_to(project) and start.is_relative_to(project):
            return Path(os.path.relpath(place, start)).as_posix()
    return str(place)


def found(folder: Path, path: str) -> Path:
    """The folder that world.yaml in `folder` says, without '..' in it."""
    place = folder / path
    return place.resolve() if ".." in Path(path).parts else place


def gone(header: Path, places: Iterable[Path]) -> list[str]:
    """A line for each of a world's folders of pictures that is not there, which says what to do.

    Args: header: its world.yaml.
    """
    return [f"{header}: pictures: {place}: no such folder: {ADVICE}" for place in places if not place.is_dir()]
