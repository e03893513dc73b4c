"""All comparisons of bench/tasks/: python -m bench [TASK ...] [--scale S]

Writes reports/tables/bench.csv, a row for each task and other way, and reports/figures/bench.png. Each file of
bench/tasks/ runs in a process of its own. With TASK only those run, and the rows of the others stay.
"""

import argparse
import sys
import time
from pathlib import Path

import pandas as pd

from alignet.config import home
from alignet.figures import style
from bench import figure, rows


def main(names: list[str], scale: float, reports: Path) -> int:
    """1 if a comparison failed, else 0."""
    path, start, found, failures = reports / "tables" / "bench.csv", time.perf_counter(), [], []
    for name in names:
        began = time.perf_counter()
        made, failed = rows.alone(name, scale)
        found, failures = found + made, failures + failed
        print(f"{name:<14}{len(made):3d} rows {time.perf_counter() - began:5.0f} s", flush=True)
        for line in failed:
            print(f"bench: left out: {line}", file=sys.stderr, flush=True)
    table = pd.DataFrame(found)
    if set(names) < set(rows.NAMES) and path.is_file():
        former = pd.read_csv(path, keep_default_na=False)
        table = pd.concat([former[~former["file"].isin(names)], table])
    if len(table):
        save(table, path, reports)
    print(f"{time.perf_counter() - start:.0f} s")
    return int(bool(failures))


def save(table: pd.DataFrame, path: Path, reports: Path) -> None:
    table = table.sort_values("file", kind="stable").reset_index(drop=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.4g")
    style.save(figure.ratios(table), reports / "figures" / "bench")
    print(table[["task", "other", "ratio", "low", "high", "agreement"]].round(2).to_string(index=False))
    print(f"{path}, {reports / 'figures' / 'bench.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare alignet's ways with others, side by side.")
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"all if none is named: {', '.join(rows.NAMES)}")
    parser.add_argument("--scale", type=float, default=1, help="multiplies pictures, triplets and choices")
    parser.add_argument("--reports", type=Path, default=home() / "reports")
    wanted = parser.parse_args()
    unknown = sorted(set(wanted.tasks) - set(rows.NAMES))
    if unknown:
        parser.error(f"no task {unknown[0]}; there are {', '.join(rows.NAMES)}")
    sys.exit(main(list(dict.fromkeys(wanted.tasks)) or rows.NAMES, wanted.scale, wanted.reports))
