"""The site of `make docs`: docs/*.md, the notebooks and the API, by Sphinx, off line.

The source folder is the project's root, so that links between README, docs/ and notebooks/ are the files' own links. A
notebook is shown as the last run executed it (reports/notebooks), or as it stands in git where nothing was run;
00_by_hand, which is no stage's, is executed here. Equations become MathML, which browsers draw without a script.
`sphinx-build -W` turns every warning into an error, also one of a link to a file, heading or name that is not there.
"""

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

for name in ("faiss", "traitlets"):  # what they say of themselves would hide what the build says
    logging.getLogger(name).setLevel(logging.WARNING)

project = "alignet"
author = "the authors of alignet"
root_doc = "docs/index"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
include_patterns = [
    "*.md",
    "docs/*.md",
    "docs/api/*.rst",
    "notebooks/*.ipynb",
    "reports/reference/*/notebooks/*.md",
]
exclude_patterns = ["docs/_build", "data", "alignet", "tests", "bench", "**/.*", ".*", "dist", "**/node_modules"]

html_theme = "furo"
html_title = "alignet"
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
nb_execution_mode = "auto"  # 00_by_hand is executed; the stages' notebooks were, by a run, or are shown without results
nb_execution_excludepatterns = ["*/0[1-9]_*.ipynb", "*/1[0-9]_*.ipynb", "*/explore.ipynb", "*/collect.ipynb"]
nb_execution_raise_on_error = True
nb_execution_timeout = 300
highlight_language = "text"

autodoc_default_options = {"members": True, "undoc-members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
add_module_names = False
nitpicky = True
# Names of other packages, whose pages are not asked for, and variables of types.
nitpick_ignore_regex = [(r"py:.*", r"(?!alignet\.).*"), (r"py:class", r"alignet\.devices\.(Item|Result)")]
suppress_warnings = ["ref.python"]  # two classes are called World, and signatures name them without their modules

HEADING = re.compile(r"(?m)^(?:Args|Returns|Raises|Source|Differs from it|Example|Examples):")
INLINE_HEADING = re.compile(r"(?<=[.;)]) (?=(?:Args|Returns|Raises|Source):)")
PAGE = re.compile(r"docs/(\w+)\.md")
EQUATION = re.compile(r"Eq\. (\d+[a-z]?)(?=\s+of\s+docs/method\.md)|(?<=docs/method\.md, )Eq\. (\d+[a-z]?)")
STYLE_BLOCK = re.compile(r"<style scoped>.*?</style>\s*", re.DOTALL)
TAG = re.compile(r"\\tag\{(\d+[a-z]?)\}")


def restructured(docstring: str) -> list[str]:
    """Lines of reStructuredText of one of our docstrings, whose prose is plain text with code in backticks.

    Args, Returns, Raises and Source begin paragraphs of their own; lines that belong together are joined; what starts
    with >>> stays as it is, and so does a list. Pages of docs/ and equations of docs/method.md become links.
    """
    text = INLINE_HEADING.sub("\n", docstring)
    text = HEADING.sub(lambda match: f"\n{match[0]}", text)
    lines: list[str] = []
    for part in re.split(r"\n\s*\n", text):
        if part.lstrip().startswith(">>>"):
            lines += [*part.splitlines(), ""]
        elif part.strip():
            items = re.split(r"\n(?=- )", part.strip("\n"))
            lines += [" ".join(_inline(item).split()) for item in items] + [""]
    return lines


def _inline(text: str) -> str:
    """Prose with the marks of reStructuredText escaped, outside backticks; code in backticks as code."""
    pieces = re.split(r"(?<!`)`([^`]+)`(?!`)", text)  # prose, code, prose, ...
    for place in range(0, len(pieces), 2):
        piece = re.sub(r"([\\*|`])", r"\\\1", pieces[place])
        piece = re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", piece)
        piece = piece.replace(r"\*(ours)\*", "*(ours)*")
        piece = EQUATION.sub(lambda match: _reference(match[1] or match[2]), piece)
        piece = PAGE.sub(r":doc:`docs/\1.md </docs/\1>`", piece)
        piece = re.sub(r"^(\s*)(Args|Returns|Raises|Source|Differs from it|Examples?):", r"\1**\2.**", piece)
        # Code ends before a space or a mark: an escaped space, which is not shown, stands between it and a letter.
        pieces[place] = f"\\ {piece}" if place and piece[:1].isalnum() else piece
    for place in range(1, len(pieces), 2):
        pieces[place] = f"``{' '.join(pieces[place].split())}``"
    return "".join(pieces)


def _reference(number: str) -> str:
    return f":ref:`Eq. {number} <equation-{number}>`"


def api_pages(folder: Path) -> Iterator[tuple[str, str]]:
    """The API's pages by name: one for each room of alignet/, with its modules in alphabetical order."""
    modules = sorted(path.relative_to(folder.parent).with_suffix("") for path in folder.rglob("*.py"))
    public = [module.parts for module in modules if not module.name.startswith("__main__")]
    rooms: dict[str, list[str]] = {}
    for parts in public:
        named = ".".join(part for part in parts if part != "__init__")
        rooms.setdefault(".".join(parts[:2]) if len(parts) > 2 else "alignet", []).append(named)
    for room, names in rooms.items():
        lines = [room, "=" * len(room), ""]
        for name in sorted(names, key=lambda name: (name != room, name)):
            lines += [] if name == room else [name, "-" * len(name), ""]
            lines += [f".. automodule:: {name}", ""]
        yield room, "\n".join(lines)


def write_api(app) -> None:
    """Write docs/api/ROOM.rst; pages that say the same are left, so that they are not read again."""
    folder = Path(app.srcdir) / "docs" / "api"
    pages = dict(api_pages(Path(app.srcdir) / "alignet")) if (Path(app.srcdir) / "alignet").is_dir() else {}
    for old in folder.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.rst"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def executed(root: Path, docname: str) -> Path | None:
    """The executed notebook of a page, the first of those that one notebook was run for; None where none was run."""
    found = sorted((root / "reports" / "notebooks").glob(f"{Path(docname).name}*.ipynb"))
    return found[0] if docname.startswith("notebooks/") and found else None


def read(app, docname: str, source: list[str]) -> None:
    """A page's text as it is shown: notebooks executed, published ones without the style blocks of pandas' tables."""
    run = executed(Path(app.srcdir), docname)
    if run:
        source[0] = run.read_text(encoding="utf-8")
    if docname.startswith("reports/"):
        source[0] = STYLE_BLOCK.sub("", source[0])


def label_equations(app, doctree) -> None:
    """Give each numbered equation of docs/method.md the label equation-N, to which docstrings link."""
    from docutils import nodes

    docname = app.env.docname
    if docname != "docs/method":
        return
    labels = app.env.domains.standard_domain
    for node in doctree.findall(nodes.math_block):
        for number in TAG.findall(node.astext()):
            name = f"equation-{number}"
            node["ids"].append(name)
            labels.labels[name] = docname, name, f"Eq. {number}"
            labels.anonlabels[name] = docname, name


def _docstring(app, what, name, obj, options, lines: list[str]) -> None:
    lines[:] = restructured("\n".join(lines))


def _inline_equation(writer, node) -> None:
    from docutils.nodes import SkipNode

    from alignet.report import pages

    writer.body.append(pages.mathml(node.astext()))
    raise SkipNode


def _equation(writer, node) -> None:
    from docutils.nodes import SkipNode

    from alignet.report import pages

    place = f' id="{node["ids"][0]}"' if node["ids"] else ""
    writer.body.append(f'<div class="equation"{place}>{pages.equation(node.astext())}</div>')
    raise SkipNode


def _redirect(app, exception) -> None:
    """index.html at the site's top, which leads to docs/index.html."""
    if exception is None and app.builder.name == "html":
        moved = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=docs/index.html">'
        page = f'{moved}<title>alignet</title><a href="docs/index.html">alignet</a>\n'
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")


def setup(app) -> dict[str, bool]:
    from docutils import nodes
    from docutils.parsers.rst import Directive

    class Mermaid(Directive):
        """A diagram in Mermaid's language, shown as its text: drawing it takes a script from the net."""

        has_content = True

        def run(self) -> list[nodes.Node]:
            text = "\n".join(self.content)
            return [nodes.literal_block(text, text, language="text")]

    app.add_directive("mermaid", Mermaid)
    app.add_html_math_renderer("mathml", (_inline_equation, None), (_equation, None))
    app.connect("builder-inited", write_api)
    app.connect("source-read", read)
    app.connect("doctree-read", label_equations)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("build-finished", _redirect)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
