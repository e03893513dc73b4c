"""docs/benchmarks.md, from the tables of measurements: python -m bench.page

Every number in it comes from reports/reference/bench/tables/bench.csv or bench/many_concepts.csv; tests/test_bench.py
compares, so that none can drift.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from alignet.config import home
from bench.measure import KINDS

OUT = Path("docs") / "benchmarks.md"
PART = "of the work"  # of a note: the other way did a part, whose memory says nothing about the whole
MEASURED = Path("reports") / "reference" / "bench" / "tables" / "bench.csv"
SCALE = Path("bench") / "many_concepts.csv"
HEAD = """# Speed and memory, as ratios

Made by `python -m bench.page` from `{measured}` and `{scale}`; do not edit.

`make bench` measures our ways beside others in turns, checks that both give the same result, and writes
`reports/tables/bench.csv` and `reports/figures/bench.png`; `make bench TASKS="rsa kmeans"` runs two of them. It needs
an environment for thingsvision, which it makes. The tables below were measured on one machine: {processor}.
Seconds and all else: [bench.csv](../{measured}), [figure](../reports/reference/bench/figures/bench.png).

A *ratio* is the time of the other way divided by the time of ours, so above 1 ours is faster: the median over turns,
and in brackets the smallest and the largest turn. *Memory* is ours divided by the other way's, so below 1 ours needs
less; it is left out where the other way did a part of the work.
"""


def page(root: Path) -> str:
    """The text of docs/benchmarks.md. Args: root: the project's folder."""
    table = pd.read_csv(root / MEASURED, keep_default_na=False)
    scale = pd.read_csv(root / SCALE, keep_default_na=False)
    processor = "; ".join(dict.fromkeys(table["processor"]))
    parts = [HEAD.format(measured=MEASURED.as_posix(), scale=SCALE.as_posix(), processor=processor)]
    for kind, words in KINDS.items():
        rows = table[table["kind"] == kind]
        if len(rows):
            parts.append("\n".join([f"## Beside {words}\n", *_rows(rows)]) + "\n")
    return "\n".join([*parts, *_slower(table), *_scale(scale)])


def _rows(rows: pd.DataFrame) -> Iterator[str]:
    """A Markdown table with a line for each comparison."""
    yield "| what | beside | ratio | memory | results, and notes |"
    yield "|---|---|---|---|---|"
    for row in rows.to_dict("records"):
        said = "; ".join(part for part in (row["agreement"], row["note"]) if part)
        memory = "" if PART in row["note"] else number(row["ours_gb"] / row["other_gb"])
        yield f"| {row['task']} | {row['other']} | {interval(row)} | {memory} | {said} |"


def interval(row: dict) -> str:
    """A ratio with its range over turns, in words.

    Example:

    >>> from bench.page import interval
    >>> interval({"ratio": 2.487, "low": 0.9, "high": 120.4})
    '2.5 [.90, 120]'
    """
    return f"{number(row['ratio'])} [{number(row['low'])}, {number(row['high'])}]"


def number(value: float) -> str:
    """Two decimals below 2, one below 10, none above; no zero before the point."""
    digits = 2 if value < 2 else 1 if value < 10 else 0
    return f"{value:,.{digits}f}".removeprefix("0") if value < 1 else f"{value:,.{digits}f}"


def _slower(table: pd.DataFrame) -> Iterator[str]:
    """A paragraph that names what is slower than another way in most turns."""
    slower = table[(table["ratio"] < 1) & (table["kind"] != "limit")]
    named = [f"{row['task']}, beside {row['other']}: {interval(row)}" for row in slower.to_dict("records")]
    if named:
        yield f"Slower than another way: {'; '.join(named)}.\n"


def _scale(scale: pd.DataFrame) -> Iterator[str]:
    """A paragraph about every stage at the paper's numbers of concepts and pictures."""
    concepts, pictures = (int(scale[column].max()) for column in ("concepts", "pictures"))
    yield "## Every stage at the paper's scale\n"
    growing = ", ".join(scale.loc[scale["faster_than_pictures"] != "", "stage"])
    grows = f"What grows faster than the pictures: {growing}" if growing else "None grows faster than the pictures"
    most = f"takes at most {scale['gb'].max():g} GB and {scale['seconds'].max():g} s"
    yield f"With {concepts:,} concepts and {pictures:,} pictures each stage {most}. {grows}."
    yield f"[Scale](scale.md), [rows](../{SCALE.as_posix()}).\n"


def main() -> int:
    (home() / OUT).write_text(page(home()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
