"""Write the report of a finished run: python -m alignet.report [--out-dir FOLDER]

reports/index.html can be read offline and printed: text, figures with captions and tables of the run, the numbers that
the paper publishes beside ours, and what was run where. reports/pages/ holds the executed notebooks, their code folded.
"""

import argparse
import base64
import html
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from platform import processor, python_version
from typing import Any

import nbformat
import pandas as pd
import yaml
from jinja2 import DictLoader, Environment, select_autoescape
from markupsafe import Markup
from nbconvert import HTMLExporter

from alignet import config
from alignet.figures import way
from alignet.worlds.format.schema import PARTICIPANTS

HERE = Path(__file__).parent
FOLDERS = ("figures", "variants")  # of reports/: the run's figures, and those of other seeds and settings
SHOWN = 60  # rows of a table that stand on the page
PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "dvc", "papermill")
FOLDED = """{%- extends 'basic/index.html.j2' -%}
{% block input %}<details><summary>code</summary>{{ super() }}</details>{% endblock input %}"""
STYLE = "body{max-width:60em;margin:2em auto;font-family:sans-serif}img{max-width:100%}td,th{padding:.2em .6em}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m alignet.report", description=__doc__.split("\n\n")[0])
    parser.add_argument("--out-dir", default=".", help="of the finished run")
    _, reports = config.folders(parser.parse_args(arguments).out_dir)
    if not (reports / "notebooks").is_dir() or not any((reports / "notebooks").glob("*.ipynb")):
        print(f"{reports / 'notebooks'}: no executed notebooks; run make repro first", file=sys.stderr)
        return 1
    write_pages(reports)
    page = reports / "index.html"
    page.write_text(render(reports), encoding="utf-8")
    print(f"{page}: {page.stat().st_size / 1e6:.1f} MB")
    return 0


def render(reports: Path) -> str:
    """The page. Everything that comes from files is escaped."""
    contents = yaml.safe_load((HERE / "contents.yaml").read_text(encoding="utf-8"))
    values = _values(reports)
    environment = Environment(autoescape=select_autoescape(default=True, default_for_string=True))
    template = environment.from_string((HERE / "page.html").read_text(encoding="utf-8"))
    kind = values["kind"]
    return template.render(
        title=contents["title"],
        lead=contents["lead"],
        paper=contents["paper"],
        warning="" if kind == "human" else f"All choices are those of {PARTICIPANTS[kind]}. {WARNINGS.get(kind, '')}",
        way=Markup(way.drawn()),
        sections=[_section(section, reports, values) for section in contents["sections"]],
        facts=_facts(),
        params=(config.ROOT / config.PARAMS).read_text(encoding="utf-8"),
    )


WARNINGS = {
    "simulated": "Nobody was asked: this report shows what the method does, and says nothing about people.",
    "derived": "They were drawn from embeddings that were fitted to people's choices, and are not people's own.",
}


def write_pages(reports: Path) -> None:
    """Every executed notebook as a page of its own, its code folded."""
    folder = reports / "pages"
    folder.mkdir(exist_ok=True)
    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"folded.html.j2": FOLDED})],
        template_file="folded.html.j2",
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        embed_images=True,
    )
    for path in sorted((reports / "notebooks").glob("*.ipynb")):
        body, _ = exporter.from_notebook_node(nbformat.read(path, as_version=4))
        head = f'<!doctype html><meta charset="utf-8"><title>{html.escape(path.stem)}</title><style>{STYLE}</style>'
        back = '<p><a href="../index.html">Report</a></p>'
        (folder / f"{path.stem}.html").write_text(f"{head}{back}{body}", encoding="utf-8")


def _values(reports: Path) -> dict[str, Any]:
    """What captions name: whose choices, how many seeds; and the students."""
    table = reports / "tables" / "levels.csv"
    kind = pd.read_csv(table)["choices"].iloc[0] if table.is_file() else "human"
    seeds = reports / "tables" / "seeds.csv"
    count = int(pd.read_csv(seeds)["n_seeds"].max()) if seeds.is_file() else 0
    return {"kind": kind, "people": PARTICIPANTS[kind], "seeds": count, "students": config.names("students")}


def _section(section: dict[str, Any], reports: Path, values: dict[str, Any]) -> dict[str, Any]:
    figures = [made for figure in section.get("figures", []) for made in _figures(figure, reports, values)]
    tables = [_table(table, reports) for table in section.get("tables", []) if _file(table, reports).is_file()]
    names = [
        path.stem for pattern in section["notebooks"] for path in sorted((reports / "pages").glob(f"{pattern}.html"))
    ]
    pages = [{"name": name, "href": f"pages/{name}.html"} for name in names]
    return section | {"figures": figures, "tables": tables, "pages": pages}


def _figures(figure: dict[str, str], reports: Path, values: dict[str, Any]) -> list[dict[str, str]]:
    """A figure, or one for each student where its name holds {student}; none where there is no file."""
    students = values["students"] if "{student}" in figure["name"] else [""]
    found = []
    for student in students:
        named = {key: text.format(student=student, **values) for key, text in figure.items()}
        places = [reports / folder / f"{named['name']}.png" for folder in FOLDERS]
        for file in [place for place in places if place.is_file()]:
            csv = file.with_suffix(".csv")
            data = base64.b64encode(file.read_bytes()).decode()
            alt = f"{named['alt']}{f', {student}' if student else ''}"
            found.append(
                named | {"alt": alt, "data": data, "csv": f"{csv.parent.name}/{csv.name}" if csv.is_file() else ""}
            )
    return found


def _file(table: dict[str, Any], reports: Path) -> Path:
    return reports / "tables" / f"{table['name']}.csv"


def _table(table: dict[str, Any], reports: Path) -> dict[str, Any]:
    rows = pd.read_csv(_file(table, reports), keep_default_na=False, na_values=[""])
    chosen = rows.query(table["rows"]) if "rows" in table else rows
    shown = chosen[[column for column in table["columns"] if column in chosen]].head(SHOWN)
    text = shown.to_html(index=False, na_rep="", float_format=lambda value: f"{value:.3g}", border=0, escape=True)
    csv = f"tables/{table['name']}.csv"
    return {"html": Markup(text), "caption": table["caption"], "csv": csv, "left_out": len(rows) - len(shown)}


def _facts() -> dict[str, str]:
    """What was run where."""
    seeds = ", ".join(f"{name} {config.value(f'{name}.seed')}" for name in ("emoji", "human_uncertainty", "teacher"))
    return {
        "alignet": f"{version('alignet')}, commit {_commit()}",
        "written": pd.Timestamp.now().strftime("%Y-%m-%d %H:%M"),
        "world": str(config.value("world.source")),
        "seeds": seeds,
        "Python": python_version(),
        **{name: version(name) for name in PACKAGES},
        "processor": _processor(),
    }


def _commit() -> str:
    command = ["git", "-C", str(config.ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git checkout)"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else processor()


if __name__ == "__main__":
    sys.exit(main())
