"""Put the executed notebooks on one page, reports/index.html, that can be read offline: python -m alignet.report"""

import argparse
import sys
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from alignet.config import ROOT


def merged(folder: Path) -> nbformat.NotebookNode:
    """All executed notebooks of a folder, in order, as one notebook."""
    book = nbformat.v4.new_notebook()
    for path in sorted(folder.glob("*.ipynb")):
        for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
            cell.id = f"{path.stem}-{number}"[-64:]
            book.cells.append(cell)
    return book


def main(arguments: list[str] | None = None) -> int:
    """Write the page, without the notebooks' code; 1 if there are no executed notebooks."""
    argparse.ArgumentParser(prog="python -m alignet.report", description=__doc__).parse_args(arguments)
    executed = ROOT / "reports" / "notebooks"
    book = merged(executed)
    if not book.cells:
        print(f"{executed}: no executed notebooks; run make repro first", file=sys.stderr)
        return 1
    exporter = HTMLExporter(
        template_name="basic", exclude_input=True, mathjax_url="", require_js_url="", jquery_url="", embed_images=True
    )
    body, _ = exporter.from_notebook_node(book)
    style = "body{max-width:60em;margin:2em auto;font-family:sans-serif}img{max-width:100%}td,th{padding:.2em .6em}"
    page = f'<!doctype html><meta charset="utf-8"><title>alignet</title><style>{style}</style>{body}'
    (ROOT / "reports" / "index.html").write_text(page, encoding="utf-8")
    print("reports/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
