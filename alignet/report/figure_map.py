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
from alignet.report import finding

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
them with their intervals. Scores of students are means over training seeds; numbers of stages before them, of
reorganisation and of cost are of one run.

| the paper | its claim and number | notebook | our figure | our number | what differs |
|---|---|---|---|---|---|
"""


def page(root: Path) -> str:
    """The page. Args: root: the project's. Raises: ValueError naming what no row of a table fits."""
    numbers = pd.read_csv(published.PUBLISHED).set_index("quantity")
    rows = yaml.safe_load((root / ROWS).read_text(encoding="utf-8"))
    return HEAD + "".join(f"| {' | '.join(_cells(row, numbers, root))} |\n" for row in rows)


def of_run(root: Path, reports: Path) -> list[dict[str, Any]]:
    """The rows for the report of one run: paper, claim, pages and figures that the run has, its own numbers, differs.

    A number that its tables do not have is left out; what seeds.csv would say comes from the one run where there is no
    such file. [] where docs/figure_map.yaml is not there. Args: root: the project's; reports: the run's folder.
    """
    if not (root / ROWS).is_file():
        return []
    numbers = pd.read_csv(published.PUBLISHED).set_index("quantity")
    return [_row(row, numbers, reports) for row in yaml.safe_load((root / ROWS).read_text(encoding="utf-8"))]


def _row(row: dict[str, Any], numbers: pd.DataFrame, reports: Path) -> dict[str, Any]:
    names = dict.fromkeys(tuple(Path(figure).parts[1:]) for figure in row["figures"])  # without the world
    pages = [path for name in row["notebooks"] for path in sorted((reports / "pages").glob(f"{name}*.html"))]
    return {
        "paper": f"{row['paper']} ({row['figure'] or 'figure not read'})",
        "claim": _claim(row, numbers),
        "pages": [f"pages/{path.name}" for path in pages],
        "figures": ["/".join(name) for name in names if reports.joinpath(*name).is_file()],
        "ours": "; ".join(said for spec in row["numbers"] if (said := _here(spec, reports / "tables"))),
        "differs": row["differs"].replace("`", ""),
    }


def _here(spec: dict[str, str], tables: Path) -> str:
    """A number of a run, in words; '' where its tables do not have it or have too few triplets."""
    file = tables / f"{spec['table']}.csv"
    table = finding.of_run(tables) if spec["table"] == "seeds" else results.load(file) if file.is_file() else None
    if table is None:
        return ""
    try:
        found = table.query(spec["where"])
        few = "n_triplets" in found and found["n_triplets"].sum() < results.FEW_TRIPLETS
        said = "" if found.empty or few else _told(spec, found)
    except (NameError, KeyError):  # a column that the table of another run lacks, in `where` or in `text`
        return ""
    return "" if "nan" in said else said


def _cells(row: dict[str, Any], numbers: pd.DataFrame, root: Path) -> list[str]:
    notebooks = [f"[{name}](../notebooks/{name}.ipynb)" for name in row["notebooks"]]
    figures = [_titled(name) for name in row["figures"]]  # no links: git keeps the figures that pages show
    ours = [published_number(spec, root / REFERENCE) for spec in row["numbers"]]
    place = f"{row['paper']} ({row['figure'] or 'figure not read'})"
    parts = [", ".join(notebooks), ", ".join(figures), "; ".join(ours)]
    return [place, _claim(row, numbers), *(part or "none" for part in parts), row["differs"]]


def _claim(row: dict[str, Any], numbers: pd.DataFrame) -> str:
    """What the paper says, with its published numbers."""
    quantities = [f"{quantity}: {_reported(numbers.loc[quantity])}" for quantity in row["published"]]
    return "; ".join([row["claim"].removesuffix("."), *quantities])


def _titled(figure: str) -> str:
    """What a figure is called: its file's name, with the world if it is not THINGS'."""
    world, name = figure.split("/")[0], Path(figure).stem.replace("_", " ")
    return name if world == "things" else f"{name} ({world})"


def _reported(number: pd.Series) -> str:
    """A published number with its unit."""
    high = "" if pd.isna(number["published_high"]) else f" to {number['published_high']:g}"
    return f"{number['published']:,.15g}{high} {UNITS.get(number['unit'], number['unit'])}".rstrip()


def published_number(spec: dict[str, str], reference: Path) -> str:
    """A number of a published run, in words; the mean where it stands in several rows, as of folds.

    Args: spec: run, table, where (a pandas query) and text (a format of its columns); reference: the folder of the
        published runs.
    Raises: ValueError naming what no row of the table fits.
    """
    tables = reference / spec["run"] / "tables"
    seeds = spec["table"] == "seeds"
    table = finding.of_run(tables) if seeds else results.load(tables / f"{spec['table']}.csv")
    found = table.query(spec["where"])
    if found.empty:
        raise ValueError(f"no row of {spec['run']}'s {spec['table']}.csv is {spec['where']}")
    return _told(spec, found)


def _told(spec: dict[str, str], found: pd.DataFrame) -> str:
    values = found.iloc[0].to_dict() | found.mean(numeric_only=True).to_dict()
    return re.sub(r"(?<![\d.])0\.(?=\d)", ".", spec["text"].format(**values))


def main() -> int:
    (config.home() / OUT).write_text(page(config.home()), encoding="utf-8")
    print(config.home() / OUT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
