"""Several finished and replicated runs in one figure, by level: python -m alignet.reruns.beside NAME=REPORTS ...

Each REPORTS is a folder with tables/seeds.csv and tables/replicates.csv (`reruns.replicate`); people's noise ceilings
are drawn if it has tables/levels.csv. Writes --out with .png, .pdf and .svg.
"""

import argparse
import sys
from pathlib import Path

from alignet import results
from alignet.figures import seeds, style

TABLES = ("seeds", "replicates")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alignet beside", description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", nargs="+", metavar="NAME=REPORTS")
    parser.add_argument("--out", type=Path, default=Path("reports/reference/worlds"), help="without ending")
    wanted = parser.parse_args(arguments)
    runs = {}
    for each in wanted.runs:
        name, equals, folder = each.partition("=")
        if not (name and equals) or name in runs:
            parser.error(f"{each!r} is not NAME=REPORTS" if name not in runs else f"{name!r} names two runs")
        files = [Path(folder) / "tables" / f"{table}.csv" for table in TABLES]
        missing = [file for file in files if not file.is_file()]
        if missing:
            print(f"{missing[0]}: no such file: run python -m alignet.reruns.replicate there first", file=sys.stderr)
            return 1
        people = Path(folder) / "tables" / "levels.csv"
        runs[name] = (*map(results.load, files), results.load(people) if people.is_file() else None)
    style.use()
    style.save(seeds.by_world(runs), wanted.out)
    print(wanted.out.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
