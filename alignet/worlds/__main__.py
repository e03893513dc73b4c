"""Worlds of your own pictures: python -m alignet.worlds new | triplets | import | hold-out | check | params"""

import argparse
import math
import shlex
import sys
from pathlib import Path

from alignet.worlds import check
from alignet.worlds.folder import answers, hold_out, imagefolder, proposal, trials
from alignet.worlds.folder import world as folder_world
from alignet.worlds.format import files, tables
from alignet.worlds.format.schema import LEVELS, SPLITS
from alignet.worlds.format.tables import WorldError


def _check(options: argparse.Namespace) -> str:
    return check.summary(folder_world.read(options.path))


def _new(options: argparse.Namespace) -> str:
    shares = dict(zip(SPLITS, options.shares, strict=True))
    if not all(0 < share < math.inf for share in options.shares):
        raise WorldError("--shares: more than 0 each, and finite")
    said = imagefolder.new(options.path, options.images, shares, options.seed)
    _params(options)
    return said


def _params(options: argparse.Namespace) -> str:
    world = tables.read(options.path, unfilled=True)
    file, former = proposal.write(world, options.path, check.median_side(world))
    return f"{file}{former}: python -m alignet.config {shlex.quote(str(file))} && make repro"


def _triplets(options: argparse.Namespace) -> str:
    if options.per_level is not None and options.level != trials.ALL:
        raise WorldError(f"--per-level: without effect beside --level {options.level}: leave it out")
    for name in ("n", "repeats", "people", "per_level"):
        given = getattr(options, name)
        if given is not None and given < 1:
            raise WorldError(f"--{name.replace('_', '-')}: at least 1")
    if not 0 < options.seconds < math.inf:
        raise WorldError("--seconds: more than 0, and finite")
    world, people, said = tables.read(options.path, unfilled=True), options.people or options.repeats, list[str]()
    if options.level == trials.ALL:
        each = options.per_level or max(1, options.n // trials.PER_LEVEL)
        table, said = trials.every(world, options.n, each, options.repeats, people, options.seed)
    else:
        level = None if options.level == trials.NONE else options.level
        drawn = trials.draw(world, options.n, level, seed=options.seed)
        table = trials.in_lists(drawn, options.repeats, people, options.seed)
    out = options.out or options.path / "trials.csv"
    former = files.write(out, table.to_csv(index=False, lineterminator="\n"))
    lists = table[trials.LIST].nunique()
    head = f"{out}{former}: {len(table):,} trials in {lists} list{'s' if lists > 1 else ''}"
    if lists < people:
        said = [*said, f"--people {people}: there are trials for {lists} only"]
    return "\n".join([head, *(f"  {line}" for line in [*said, *trials.told(world, table, options.seconds)])])


def _import(options: argparse.Namespace) -> str:
    columns = dict(pair.split("=", 1) for pair in options.columns)
    if len(columns) < len(options.columns):
        raise WorldError("--columns: names one of our columns twice")
    return answers.add(options.path, options.file, options.first, columns, options.rt_unit)


def _hold_out(options: argparse.Namespace) -> str:
    return hold_out.mark(options.path, options.share)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def _pair(text: str) -> str:
    if "=" not in text[1:]:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COLUMN")
    return text


COMMANDS = {"check": _check, "new": _new, "params": _params, "triplets": _triplets, "import": _import}
COMMANDS["hold-out"] = _hold_out


def _arguments_of_triplets(asked: argparse.ArgumentParser) -> None:
    asked.add_argument("path", type=Path)
    asked.add_argument("--n", type=int, required=True, help="different triplets; of --level all those of split human")
    levels = "all (the default): split human for triplets.csv, and every level of split test for levels.csv; none: "
    levels += "triplets.csv alone; or one level"
    kinds = (trials.ALL, trials.NONE, *LEVELS)
    asked.add_argument("--level", choices=kinds, default=trials.ALL, metavar="LEVEL", help=levels)
    share = f"triplets of each level with --level all; 1 for {trials.PER_LEVEL} of --n if left out"
    asked.add_argument("--per-level", type=int, metavar="N", help=share)
    asked.add_argument("--repeats", type=int, default=1, help="people who see each triplet: 2 or more give a ceiling")
    asked.add_argument("--people", type=int, help="divides the trials among so many; as many as --repeats if left out")
    asked.add_argument(
        "--seconds", type=float, default=trials.SECONDS, help="a trial takes, for the minutes (%(default)s)"
    )
    asked.add_argument("--seed", type=_seed, default=0)
    asked.add_argument("--out", type=Path, help="trials.csv in the world's folder if left out")


def main(arguments: list[str] | None = None) -> int:
    """Check a world, or make one from class folders; return 1, after a line for each problem, if that fails."""
    parser = argparse.ArgumentParser(prog="alignet worlds", description="Worlds of your own pictures.")
    commands = parser.add_subparsers(dest="command", required=True)
    checked = commands.add_parser("check", help="a summary of a world, or everything that is wrong with it")
    checked.add_argument("path", type=Path)
    made = commands.add_parser("new", help="a world from pictures in class folders, its triplets.csv to be filled")
    made.add_argument("path", type=Path)
    made.add_argument("--images", type=Path, required=True, help="a folder of class folders, nested or not")
    made.add_argument("--shares", type=float, nargs=3, default=[0.4, 0.3, 0.3], metavar=tuple(SPLITS))
    made.add_argument("--seed", type=_seed, default=0)
    proposed = commands.add_parser("params", help="a params file by the numbers of its pictures and choices")
    proposed.add_argument("path", type=Path)
    asked = commands.add_parser("triplets", help="triplets to ask people about, as a table")
    _arguments_of_triplets(asked)
    added = commands.add_parser("import", help="append people's answers to triplets.csv, levels.csv or ratings.csv")
    added.add_argument("path", type=Path)
    added.add_argument("file", type=Path, help="CSV (comma, semicolon, tab), Parquet, or JSON of jsPsych or JATOS")
    added.add_argument("--first", type=int, choices=(0, 1), default=0, help="what odd is for the first picture")
    named = "our names of columns by the file's, such as participant=PROLIFIC_PID odd=choice"
    added.add_argument("--columns", type=_pair, nargs="+", default=[], metavar="NAME=COLUMN", help=named)
    added.add_argument(
        "--rt-unit", choices=tuple(answers.SECONDS), help="of response times; jsPsych's are milliseconds"
    )
    kept = commands.add_parser("hold-out", help="keep some of triplets.csv from all fits, to score models on them")
    kept.add_argument("path", type=Path)
    kept.add_argument("--share", type=float, default=hold_out.SHARE, help="of different triplets (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        print(COMMANDS[options.command](options))
    except (WorldError, OSError) as error:  # OSError: a place that cannot be read or written to
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
