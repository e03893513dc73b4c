"""The data dictionary, docs/tables.md, from dictionary.yaml: python -m alignet.report.dictionary"""

import sys
from pathlib import Path
from typing import Any

import yaml

from alignet import config

OUT = "docs/tables.md"
DECLARED = Path(__file__).with_name("dictionary.yaml")
HEAD = """# The tables

What every column of reports/tables means. Generated from alignet/report/dictionary.yaml by
`python -m alignet.report.dictionary`; a test holds it against the published tables. Intervals are 95 %; docs/method.md,
section 10, has how.
"""


def declared() -> dict[str, Any]:
    return yaml.safe_load(DECLARED.read_text(encoding="utf-8"))


def headings() -> dict[str, str]:
    """What the report's tables call each column that they show."""
    return declared()["headings"]


def meanings(name: str) -> dict[str, str]:
    """The meaning of each column that a table may have: the table's own entry, else the common one."""
    words = declared()
    return words["common"] | words["tables"][name]["columns"]


def text(columns: dict[str, list[str]]) -> str:
    """The page. Args: columns: of each table, in their order."""
    parts = [HEAD]
    for name, entry in declared()["tables"].items():
        known = meanings(name)
        rows = [f"| `{column}` | {known[column]} |" for column in columns.get(name, entry["columns"])]
        parts.append("\n".join([f"## {name}.csv\n\n{entry['of']}\n\n| column | meaning |\n|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def published() -> dict[str, list[str]]:
    """The columns of the published run's tables, and of what `make bench` measured."""
    found, reference = {}, config.home() / "reports" / "reference"
    for path in sorted(path for run in ("bench", "emoji") for path in (reference / run / "tables").glob("*.csv")):
        with path.open(encoding="utf-8") as file:
            found[path.stem] = file.readline().rstrip("\n").split(",")
    return found


def main() -> int:
    out = config.home() / OUT
    out.write_text(text(published()), encoding="utf-8")
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
