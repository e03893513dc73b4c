"""python -m alignet.worlds check PATH | new PATH --images DIR"""

import argparse
import sys
from pathlib import Path

from alignet.worlds import check
from alignet.worlds.folder import imagefolder
from alignet.worlds.folder import world as folder_world
from alignet.worlds.format.schema import SPLITS
from alignet.worlds.format.tables import WorldError


def main(arguments: list[str] | None = None) -> int:
    """Check a world, or make one from class folders; 1 and a line for each problem if that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m alignet.worlds", description="Worlds of your own pictures.")
    commands = parser.add_subparsers(dest="command", required=True)
    checked = commands.add_parser("check", help="a summary of a world, or everything that is wrong with it")
    checked.add_argument("path", type=Path)
    made = commands.add_parser("new", help="a world from pictures in class folders, its triplets.csv to be filled")
    made.add_argument("path", type=Path)
    made.add_argument("--images", type=Path, required=True, help="a folder of class folders, nested or not")
    made.add_argument("--shares", type=float, nargs=3, default=[0.4, 0.3, 0.3], metavar=tuple(SPLITS))
    made.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        if options.command == "check":
            print(check.summary(folder_world.read(options.path)))
        else:
            shares = dict(zip(SPLITS, options.shares, strict=True))
            print(imagefolder.new(options.path, options.images, shares, options.seed))
    except WorldError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
