"""The cache of a run, data/frozen: how much disk it takes, and a way to empty it.

python -m alignet.pipeline.cache [--empty]

It holds the outputs of students' frozen layers, and the representations that are floors, which are computed again
where they are missing. features.cache_bytes bounds it.
"""

import argparse
import sys
from pathlib import Path

from alignet import config


def files(folder: Path) -> list[Path]:
    """The files of stored outputs, and parts of files that an interrupted process has left."""
    return sorted(path for ending in ("safetensors", "partial") for path in folder.glob(f"*.{ending}"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alignet cache", description=__doc__.split("\n\n")[0])
    parser.add_argument("--empty", action="store_true", help="delete what is stored; not while a run uses it")
    parser.add_argument("--out-dir", default=".", help="of the run")
    wanted = parser.parse_args(arguments)
    from alignet.models import frozen

    folder = config.folders(wanted.out_dir)[0] / frozen.FOLDER
    stored = files(folder)
    size = sum(path.stat().st_size for path in stored) / 1e6
    for path in stored if wanted.empty else []:
        path.unlink()
    print(f"{folder}: {len(stored)} files, {size:,.1f} MB{' deleted' if wanted.empty else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
