"""A world that somebody has made, in the format of `tables`."""

from pathlib import Path

import yaml

from alignet.worlds import tables


def make(path: Path, out: Path) -> tables.World:
    """Check a world and write its tables to `out`; its pictures stay where they are.

    Raises: tables.WorldError with every problem found; `out` is then left untouched.
    """
    world = tables.read(path)
    header = yaml.safe_load((path / "world.yaml").read_text())
    kept = {key: header[key] for key in ("shared_concepts", "sources", "notes") if key in header}
    tables.write(world, out, **kept)
    return tables.read(out)
