"""Executed notebooks as pages that need no network: code folded, equations as MathML, pictures inside."""

import html
import io
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import cast

if "rfc3987_syntax" not in sys.modules:  # None forbids its import: jsonschema would compile its grammar: 3 s a start
    cast(dict[str, ModuleType | None], sys.modules)["rfc3987_syntax"] = None

import nbformat
from jinja2 import DictLoader
from latex2mathml.converter import convert
from markupsafe import Markup
from nbconvert import HTMLExporter, MarkdownExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image

EQUATION = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
TAG = re.compile(r"\\tag\{(\d+[a-z]?)\}")
WIDTH = 1000  # pixels of the pictures of `write_markdown`
FOUND = "**What this run found**"  # how the findings at the end of a notebook begin (figures.findings)
FOLDED = """{%- extends 'basic/index.html.j2' -%}
{% block input %}<details><summary>code</summary>{{ super() }}</details>{% endblock input %}"""
STYLE = """body{max-width:60em;margin:2em auto;padding:0 1em;font-family:system-ui,sans-serif;line-height:1.45}
img,svg{max-width:100%;height:auto} math{font-size:1.1em} pre{white-space:pre-wrap;overflow-wrap:anywhere}
table{border-collapse:collapse;font-size:.8em;display:block;overflow-x:auto} td,th{padding:.2em .6em;text-align:right}
.anchor-link,.prompt{display:none}
.equation{display:flex;justify-content:center;align-items:center;gap:1.5em;overflow:auto hidden;padding:.4em 0}"""


def write(notebooks: Path, folder: Path) -> None:
    """A page for every executed notebook in `notebooks`."""
    folder.mkdir(parents=True, exist_ok=True)
    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"folded.html.j2": FOLDED})],
        template_file="folded.html.j2",
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        embed_images=True,
        filters={"markdown2html": to_html},
    )
    for path in sorted(notebooks.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        headings = (re.match(r"# (.+)", cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
        title = next((heading[1] for heading in headings if heading), path.stem)
        _describe_pictures(notebook, title)
        body, _ = exporter.from_notebook_node(notebook)
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(path.stem)}</title>'
        back = '<p><a href="../index.html">Report</a></p>'
        text = f"{head}<style>{STYLE}</style>{back}{body}</html>"
        (folder / f"{path.stem}.html").write_text(text, encoding="utf-8")


def write_markdown(notebooks: Path, folder: Path) -> None:
    """The executed notebooks as Markdown with small pictures, for a reader who runs nothing: one of each number.

    12_figures is left out: its figures stand beside.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    first = {
        path.stem[:2]: path
        for path in sorted(notebooks.glob("*.ipynb"), reverse=True)
        if not path.stem.endswith("_figures")
    }
    for path in first.values():
        names = {"output_files_dir": f"{path.stem}_files", "unique_key": path.stem}
        text, resources = MarkdownExporter().from_filename(str(path), resources=names)
        for name, content in resources["outputs"].items():
            file = folder / name
            file.parent.mkdir(exist_ok=True)
            if file.suffix == ".png":
                text = text.replace(name, str(Path(name).with_suffix(".webp")))
                with Image.open(io.BytesIO(content)) as picture:
                    shown = picture.convert("RGB")
                shown.thumbnail((WIDTH, 4 * WIDTH))
                shown.save(file.with_suffix(".webp"), quality=75)
            else:
                file.write_bytes(content)
        (folder / f"{path.stem}.md").write_text(text, encoding="utf-8")


class _Renderer(IPythonRenderer):
    """HTML of a notebook's Markdown; nbconvert's parser finds the equations, which become MathML here."""

    def block_math(self, body: str) -> str:
        return f'<div class="equation">{equation(body)}</div>'

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def paragraph(self, text: str) -> str:
        return text if text.startswith('<div class="equation">') else super().paragraph(text)


def to_html(text: str) -> str:
    """Markdown as HTML, with its equations as MathML."""
    return str(MarkdownWithMath(renderer=_Renderer(escape=False)).render(text))


def mathml(tex: str, display: str = "inline") -> str:
    r"""MathML of TeX; latex2mathml knows \max and not \arg."""
    return convert(re.sub(r"\\arg\b", r"\\operatorname{arg}", tex), display=display)


def equation(tex: str) -> str:
    """MathML of one equation; its number behind it."""
    number = TAG.search(tex)
    maths = mathml(TAG.sub("", tex).strip(), "block")
    return f"{maths}<p>({number[1]})</p>" if number else maths


def equations(path: Path) -> list[Markup]:
    """The numbered equations in an executed notebook."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return [Markup(equation(match[1])) for match in EQUATION.finditer(text)]


def findings(path: Path) -> Markup | None:
    """What an executed notebook found, in its own words; None if it ends without."""
    for cell in reversed(nbformat.read(path, as_version=4).cells):
        for output in cell.get("outputs", []):
            text = output.get("data", {}).get("text/markdown", "")
            if text.startswith(FOUND):
                named = text.replace(FOUND, f"**What {path.stem} found**", 1)
                return Markup(to_html(named))
    return None


def _describe_pictures(notebook: nbformat.NotebookNode, title: str) -> None:
    """Alternative texts: what the last heading above a picture says (nbconvert has one and the same for all)."""
    heading = title
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found = re.findall(r"(?m)^#+ (.+)$", cell.source)
            heading = found[-1] if found else heading
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.metadata["image/png"] = {"alt": re.sub(r"<[^>]+>", "", heading)}
