"""A world that somebody has made, in the format of `tables`."""

from pathlib import Path

import yaml

from alignet.worlds import check
from alignet.worlds.format import files, places, tables


def make(path: Path, out: Path) -> tables.World:
    """Check a world and write its tables to `out`; its pictures stay where they are.

    Raises: tables.WorldError with every problem found; `out` is then left untouched.
    """
    world = read(path)
    header = yaml.safe_load((path / "world.yaml").read_text(encoding="utf-8"))
    kept = {key: header[key] for key in ("sources", "notes") if key in header}
    with tables.staged(out) as part:
        tables.write(world, part, **kept)
    return tables.read(out)


def read(path: Path) -> tables.World:
    """A world whose tables and pictures have been checked.

    Raises: tables.WorldError with every problem found.
    """
    world = tables.read(path)
    problems = places.gone(path / "world.yaml", world.folders()) or check.pictures(
        world, (files.find(path, "images") or path / "images.csv").name
    )
    if problems:
        raise tables.WorldError("\n".join(problems))
    return world
