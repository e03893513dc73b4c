"""A digest of the tables of one's own world, so that `dvc repro` sees rows that were added: the stage `source`.

python -m alignet.worlds.folder.digest writes data/source.txt, which changes with world.yaml and the tables of the
folder that params.yaml names (world.source: folder), and is constant for any other world. Pictures are not read: after
changing one in place run `dvc repro -f world`.
"""

import argparse
import hashlib
import sys
from pathlib import Path

from alignet import config

FILES = ("world", "images", "triplets", "levels", "ratings", "concept_choices")
ENDINGS = (".yaml", ".csv", ".parquet")


def of_tables(folder: Path) -> str:
    """sha256 of the names and contents of a world's header and tables; those that are not there leave no trace."""
    digest = hashlib.sha256()
    for path in sorted(folder / f"{name}{ending}" for name in FILES for ending in ENDINGS):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m alignet.worlds.folder.digest", description=__doc__.split("\n\n")[0]
    )
    parser.parse_args(arguments)
    chosen = config.load("world", config.WorldSource)
    own = chosen.source == "folder" and chosen.path is not None
    text = of_tables(config.home() / str(chosen.path)) if own else chosen.source
    file = config.folders(".")[0] / "source.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{text}\n", encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
