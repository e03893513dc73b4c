"""A map of the paper's results: docs/figure_map.md, from docs/figure_map.yaml and the published runs' tables.

python -m alignet.report.figure_map

No number is typed: the paper's come from evaluation/published.csv, ours from reports/reference; a test compares.
"""

import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from alignet import config, results
from alignet.evaluation import published

ROWS = Path("docs") / "figure_map.yaml"
OUT = Path("docs") / "figure_map.md"
REFERENCE = Path("reports") / "reference"
UNITS = {"percent": "%", "1 to 5": "on a scale from 1 to 5", "correlation": ""}  # as a sentence has them
HEAD = """# Which figure of the paper is where

Made by `python -m alignet.report.figure_map` from docs/figure_map.yaml and the published tables; do not edit.

A row is a result of the paper that one of our stages is about. **What could be read of the paper** where this page was
written: its abstract, the beginning of its Methods, its code and data release, and reports of the press. Captions,
tables, extended data and supplement could not. So a figure's number is the one that our notebooks name, unchecked; "not
read" stands where there is none; and a claim without a number is in our words. Published numbers have their sources in
alignet/evaluation/published.csv. Ours are of THINGS' photographs unless a figure says emoji; [results](results.md) has
them with their intervals.

| the paper | its claim and number | notebook | our figure | our number | what differs |
|---|---|---|---|---|---|
"""


def page(root: Path) -> str:
    """The page. Args: root: the project's. Raises: ValueError naming what no row of a table fits."""
    numbers = pd.read_csv(published.PUBLISHED).set_index("quantity")
    rows = yaml.safe_load((root / ROWS).read_text(encoding="utf-8"))
    return HEAD + "".join(f"| {' | '.join(_cells(row, numbers, root))} |\n" for row in rows)


def _cells(row: dict[str, Any], numbers: pd.DataFrame, root: Path) -> list[str]:
    notebooks = [f"[{name}](../notebooks/{name}.ipynb)" for name in row["notebooks"]]
    figures = [_titled(name) for name in row["figures"]]  # no links: git keeps the figures that pages show
    said = [
        row["claim"].removesuffix("."),
        *(f"{quantity}: {_reported(numbers.loc[quantity])}" for quantity in row["published"]),
    ]
    ours = [_ours(spec, root) for spec in row["numbers"]]
    place = f"{row['paper']} ({row['figure'] or 'figure not read'})"
    parts = [", ".join(notebooks), ", ".join(figures), "; ".join(ours)]
    return [place, "; ".join(said), *(part or "none" for part in parts), row["differs"]]


def _titled(figure: str) -> str:
    """What a figure is called: its file's name, with the world if it is not THINGS'."""
    world, name = figure.split("/")[0], Path(figure).stem.replace("_", " ")
    return name if world == "things" else f"{name} ({world})"


def _reported(number: pd.Series) -> str:
    """A published number with its unit."""
    high = "" if pd.isna(number["published_high"]) else f" to {number['published_high']:g}"
    return f"{number['published']:,.15g}{high} {UNITS.get(number['unit'], number['unit'])}".rstrip()


def _ours(spec: dict[str, str], root: Path) -> str:
    """A number of a published run, in words; the mean where it stands in several rows, as of folds."""
    table = results.load(root / REFERENCE / spec["run"] / "tables" / f"{spec['table']}.csv")
    found = table.query(spec["where"])
    if found.empty:
        raise ValueError(f"{ROWS}: no row of {spec['run']}'s {spec['table']}.csv is {spec['where']}")
    values = found.iloc[0].to_dict() | found.mean(numeric_only=True).to_dict()
    return re.sub(r"(?<![\d.])0\.(?=\d)", ".", spec["text"].format(**values))


def main() -> int:
    (config.home() / OUT).write_text(page(config.home()), encoding="utf-8")
    print(config.home() / OUT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
