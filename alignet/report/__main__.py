"""Write the report of a finished run: python -m alignet.report [--out-dir FOLDER]

reports/index.html can be read offline and printed. It opens with the finding beside the paper's number; then come text,
equations, what each notebook found, figures with captions and tables of the run, which figure of the paper is where,
how far the run is from the published one, and what was run where. reports/pages/ holds the executed notebooks, their
code folded.
"""

import argparse
import base64
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, select_autoescape
from markupsafe import Markup

from alignet import config, results
from alignet.figures import way
from alignet.report import cautions, compare, dictionary, figure_map, finding, pages, provenance, shortfalls
from alignet.report.cautions import Caution
from alignet.worlds.format.schema import PARTICIPANTS

HERE = Path(__file__).parent
OPENING = ("seeds", "levels")  # the figure that the page opens with: the first of these that the run has
FOLDERS = ("figures", "variants")  # of reports/: the run's figures, and those of other seeds and settings
SHOWN = 60  # rows of a table that stand on the page


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alignet report", description=__doc__.split("\n\n")[0])
    parser.add_argument("--out-dir", default=".", help="of the finished run")
    wanted = parser.parse_args(arguments)
    data, reports = config.folders(wanted.out_dir)
    if not (reports / "tables").is_dir():
        print(f"{reports / 'tables'}: no such folder; run make repro first", file=sys.stderr)
        return 1
    try:
        print(*compare.told(out_dir=wanted.out_dir), sep="\n")  # table by table: make compare
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    pages.write(reports / "notebooks", reports / "pages")
    page = reports / "index.html"
    page.write_text(render(reports, data), encoding="utf-8")
    print(f"{page}: {page.stat().st_size / 1e6:.1f} MB")
    return 0


def render(reports: Path, data: Path) -> str:
    """The page of a finished run. Everything that comes from files is escaped."""
    contents = yaml.safe_load((HERE / "contents.yaml").read_text(encoding="utf-8"))
    values = _values(reports)
    environment = Environment(autoescape=select_autoescape(default=True, default_for_string=True))
    template = environment.from_string((HERE / "page.html").read_text(encoding="utf-8"))
    kind, warned = values["kind"], cautions.of_run(data, reports)
    sections = [_section(section, reports, values, warned) for section in contents["sections"]]
    return template.render(
        title=contents["title"],
        lead=contents["lead"],
        paper=contents["paper"],
        warning=_warning(kind, values["judged"]),
        cautions=warned,
        way=Markup(way.drawn()),
        found=_finding(reports / "tables"),
        opening=_opening(sections),
        sections=sections,
        map=figure_map.of_run(config.home(), reports),
        facts=provenance.facts(),
        params=(config.home() / config.PARAMS).read_text(encoding="utf-8"),
    )


def _finding(tables: Path) -> dict[str, Any]:
    """What the page opens with, in words."""
    rows = finding.of_run(tables)
    return {
        "sentence": _unbroken(finding.sentence(rows)),
        "control": _unbroken(finding.control(rows)),
        "basis": finding.basis(rows).replace("`", ""),
        "compared": [[_unbroken(cell) for cell in row] for row in finding.compared(rows)],
        "no_ceiling": finding.no_ceiling(rows),
        "shortfalls": shortfalls.sentence(rows),
        "columns": shortfalls.COLUMNS,
        "short": [[_unbroken(cell) for cell in row] for row in shortfalls.table(rows)],
        "ridge": shortfalls.beside_ridge(tables),
        "outdated": finding.outdated(tables),
    }


def _unbroken(text: str) -> str:
    """The text with spaces at which no line breaks before a percent sign and inside an interval."""
    return re.sub(r" (?=%)|(?<=,) (?=[^\[\]]*\])", "\N{NO-BREAK SPACE}", text)


def _opening(sections: list[dict[str, Any]]) -> dict[str, str] | None:
    """The figure that the page opens with, taken out of its section, which then says so (`opens`)."""
    for name in OPENING:
        for section in sections:
            for figure in section["figures"]:
                if figure["name"] == name:
                    section["figures"].remove(figure)
                    section["opens"] = True
                    return figure
    return None


WARNINGS = {
    "simulated": "Nobody was asked: this report shows what the method does, and says nothing about people.",
    "derived": "They were sampled from embeddings that were fitted to people's choices, and are not people's own.",
}


def _warning(kind: str, judged: str) -> str:
    """What a reader must know about the choices: that no person made them, or that people saw other pictures."""
    if kind != "human":
        return f"All choices are those of {PARTICIPANTS[kind]}. {WARNINGS.get(kind, '')}"
    return f"The choices are people's. They were shown {judged}." if judged else ""


def _values(reports: Path) -> dict[str, Any]:
    """What captions name: whose choices, about what, how many seeds; and the students."""
    table = reports / "tables" / "levels.csv"
    rows = results.load(table) if table.is_file() else pd.DataFrame({"choices": ["human"]})
    kind, judged = rows["choices"].iloc[0], rows["judged"].astype(object).fillna("").iloc[0] if "judged" in rows else ""
    people = f"{PARTICIPANTS[kind]}, who were shown {judged}" if judged else PARTICIPANTS[kind]
    seeds = reports / "tables" / "seeds.csv"
    count = int(pd.read_csv(seeds)["n_seeds"].max()) if seeds.is_file() else 0
    studies = finding.judges(finding.of_run(reports / "tables"))
    unsure = f"people's choices: {studies}" if studies and kind == "human" else people
    values = {"kind": kind, "judged": judged, "people": people, "unsure": unsure, "seeds": count}
    return values | {"students": config.names("students")}


def _section(section: dict[str, Any], reports: Path, values: dict[str, Any], warned: list[Caution]) -> dict[str, Any]:
    figures = [made for figure in section.get("figures", []) for made in _figures(figure, reports, values)]
    tables = [_table(table, reports) for table in section.get("tables", []) if _file(table, reports).is_file()]
    notebooks = [
        path for name in section["notebooks"] for path in sorted((reports / "notebooks").glob(f"{name}.ipynb"))
    ]
    first = {path.stem.split("_")[0]: path for path in reversed(notebooks)}  # one of each: others repeat its equations
    return section | {
        "cautions": [caution for caution in warned if caution.section == section["id"]],
        "figures": figures,
        "tables": tables,
        "pages": [{"name": path.stem, "href": f"pages/{path.stem}.html"} for path in notebooks],
        "equations": [each for _, path in sorted(first.items()) for each in pages.equations(path)],
        "findings": [found for path in notebooks if (found := pages.findings(path)) is not None],
    }


def _figures(figure: dict[str, str], reports: Path, values: dict[str, Any]) -> list[dict[str, str]]:
    """A figure, or one for each student where its name holds {student}; none where there is no file."""
    students = values["students"] if "{student}" in figure["name"] else [""]
    found = []
    for student in students:
        named = {key: text.format(student=student, **values) for key, text in figure.items()}
        places = [reports / folder / f"{named['name']}.png" for folder in FOLDERS]
        for file in [place for place in places if place.is_file()]:
            csv, png = file.with_suffix(".csv"), f"{file.parent.name}/{file.name}"
            data = base64.b64encode(file.read_bytes()).decode()
            alt = f"{named['alt']}{f', {student}' if student else ''}"
            found.append(
                named
                | {
                    "alt": alt,
                    "data": data,
                    "png": png,
                    "csv": f"{csv.parent.name}/{csv.name}" if csv.is_file() else "",
                }
            )
    return found


def _file(table: dict[str, Any], reports: Path) -> Path:
    return reports / table.get("folder", "tables") / f"{table['name']}.csv"


def _table(table: dict[str, Any], reports: Path) -> dict[str, Any]:
    rows = results.load(_file(table, reports))
    chosen = _with_enough(rows.query(table["rows"]) if "rows" in table else rows)
    shown = _in_order(chosen)[[column for column in table["columns"] if column in chosen]].head(SHOWN)
    text = _in_words(shown).to_html(index=False, na_rep="", float_format=_number, border=0, escape=True)
    csv = _file(table, reports).relative_to(reports)
    left_out = len(rows) - len(shown)
    return {"html": Markup(text), "caption": table["caption"], "csv": csv.as_posix(), "left_out": left_out}


def _with_enough(rows: pd.DataFrame) -> pd.DataFrame:
    """A table without the noise ceilings and percentages of fewer than results.FEW_TRIPLETS triplets."""
    if "noise_ceiling" in rows:
        repeated = rows.get("n_repeated", pd.Series(float("nan"), rows.index))
        if "triplets" in rows:  # calibration.csv: those that several people judged have rows of their own
            repeated = repeated.fillna(rows.loc[rows["triplets"] == "repeated", "n_triplets"].max())
        names = [name for name in rows if name.startswith("noise_ceiling")]
        rows = rows.assign(**{name: rows[name].where(repeated >= results.FEW_TRIPLETS) for name in names})
    if "relative_improvement" in rows:
        few = rows["n_triplets"] < results.FEW_TRIPLETS
        rows = rows.assign(relative_improvement=rows["relative_improvement"].mask(few))
    return rows


def _in_words(rows: pd.DataFrame) -> pd.DataFrame:
    """A table with the heads of dictionary.yaml, values that name models or columns in words, and intervals that end
    where their score does."""
    words = dictionary.headings()
    if finding.ACCURACY in rows:
        of_score = rows.assign(metric=finding.ACCURACY)
        ends = [name for name in ("ci_low", "ci_high") if name in rows]
        rows = rows.assign(**{name: finding.bounded(of_score, name) for name in ends})
    if "target" in rows:
        rows = rows.assign(target=rows["target"].replace(results.NAMES))
    for name in ("difference", "metric"):  # a difference is also a number, in compare.csv
        if name in rows and not pd.api.types.is_numeric_dtype(rows[name]):
            rows = rows.assign(**{name: rows[name].replace(words)})
    return rows.rename(columns=words)


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Base, control and AligNet below each other wherever they are of one thing."""
    things = [column for column in ("student", "level", "layer", "benchmark") if column in rows]
    if "target" not in rows or not things:
        return rows
    thing = rows.groupby(things, sort=False, dropna=False).ngroup()
    place = rows["target"].map({name: number for number, name in enumerate(results.TARGETS)})
    return rows.assign(thing=thing, place=place).sort_values(["thing", "place"], kind="stable")


def _number(value: float) -> str:
    if 1e3 <= abs(value) < 1e9 or (abs(value) >= 10 and value == round(value) and abs(value) < 1e9):
        return f"{value:,.0f}"
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e3 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
