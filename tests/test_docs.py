"""docs/figure_map.md and the site of `make docs`; the site itself is built where its packages are installed."""

import importlib.util
import inspect
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from alignet.config import home
from alignet.evaluation import published
from alignet.report import figure_map

ROOT = home()

MAP = yaml.safe_load((ROOT / figure_map.ROWS).read_text(encoding="utf-8"))


def conf():
    """docs/conf.py as a module."""
    spec = importlib.util.spec_from_file_location("conf_of_the_site", ROOT / "docs" / "conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figure_map_is_that_of_the_published_tables():
    assert (ROOT / figure_map.OUT).read_text(encoding="utf-8") == figure_map.page(ROOT)


def test_every_published_number_and_every_stage_has_a_row_of_the_figure_map():
    known = set(pd.read_csv(published.PUBLISHED)["quantity"])
    assert {quantity for row in MAP for quantity in row["published"]} == known
    named = {name for row in MAP for name in row["notebooks"]}
    stages = {path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert stages - named == {"12_figures"}  # which draws what the others found


def test_no_number_of_ours_is_typed_into_the_figure_map():
    for row in MAP:
        words = " ".join([row["claim"], row["differs"], *(spec["text"] for spec in row["numbers"])])
        words = re.sub(r"\{[^}]*\}|chance \.333|study of 2025", "", words)
        assert not re.search(r"\d\.\d|\.\d|\d{3}", words), words


def test_a_number_that_no_table_has_is_named(tmp_path):
    tables = tmp_path / figure_map.REFERENCE / "things" / "tables"
    tables.mkdir(parents=True)
    pd.DataFrame({"level": ["fine", "fine"], "mean": [0.5, 0.25]}).to_csv(tables / "seeds.csv", index=False)
    spec = {"run": "things", "table": "seeds", "where": "level == 'fine'", "text": "fine {mean:.3f}"}
    assert figure_map.published_number(spec, tmp_path / figure_map.REFERENCE) == "fine .375"
    with pytest.raises(ValueError, match=r"no row of things's seeds.csv is level == 'coarse'"):
        figure_map.published_number(spec | {"where": "level == 'coarse'"}, tmp_path / figure_map.REFERENCE)


def test_docstrings_become_paragraphs_with_their_marks_escaped_and_links():
    docstring = """|| W - W' ||_F^2 (Eq. 5a of
        docs/method.md), *(ours)*, 2 * `x_` wide, `row`s.

    Args: x: (n, p); rows_ of
        `before`. Returns: a mean.
    Raises: ValueError if p is 0.
    """
    assert conf().restructured(inspect.cleandoc(docstring)) == [
        r"\|\| W - W' \|\|_F^2 (:ref:`Eq. 5a <equation-5a>` of :doc:`docs/method.md </docs/method>`), "
        "*(ours)*, "
        r"2 \* ``x_`` wide, ``row``\ s.",
        "",
        r"**Args.** x: (n, p); rows\_ of ``before``.",
        "",
        "**Returns.** a mean.",
        "",
        "**Raises.** ValueError if p is 0.",
        "",
    ]


def test_an_example_stays_as_it_is():
    assert conf().restructured("Half.\n\n>>> half(4)\n2") == ["Half.", "", ">>> half(4)", "2", ""]


def test_every_public_module_has_its_place_in_the_api():
    pages = "\n".join(text for _, text in conf().api_pages(ROOT / "alignet"))
    listed = re.findall(r"\.\. automodule:: (\S+)", pages)
    files = [path.relative_to(ROOT).with_suffix("").parts for path in (ROOT / "alignet").rglob("*.py")]
    assert sorted(listed) == sorted(
        ".".join(part for part in parts if part != "__init__") for parts in files if parts[-1] != "__main__"
    )


def test_a_notebook_is_shown_as_the_last_run_executed_it(tmp_path):
    runs = tmp_path / "reports" / "notebooks"
    runs.mkdir(parents=True)
    for name in ("06_student_lite1_alignet", "06_student_lite0_alignet", "07_levels"):
        (runs / f"{name}.ipynb").write_text("{}")
    shown = conf().executed
    assert shown(tmp_path, "notebooks/06_student").stem == "06_student_lite0_alignet"
    assert shown(tmp_path, "notebooks/07_levels").stem == "07_levels"
    assert shown(tmp_path, "notebooks/08_similarity") is None
    assert shown(tmp_path, "docs/07_levels") is None


def built(folder, page):
    """What Sphinx says of a site of one page, with the settings of ours: (its errors, the page as HTML or None)."""
    pytest.importorskip("myst_nb", reason="the site's packages come with `make docs`")
    (folder / "docs" / "_static").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "conf.py", folder / "docs" / "conf.py")
    shutil.copy(ROOT / "docs" / "_static" / "site.css", folder / "docs" / "_static")
    (folder / "docs" / "index.md").write_text(page, encoding="utf-8")
    command = ["-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", ".", "site"]
    ran = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True)
    made = folder / "site" / "docs" / "index.html"
    return ran.stderr, made.read_text(encoding="utf-8") if ran.returncode == 0 else None


@pytest.mark.slow
def test_a_page_of_the_site_asks_for_nothing_from_the_net(tmp_path):
    said, page = built(tmp_path, "# One\n\n$$ a_i = b \\tag{3} $$\n\n```mermaid\na --> b\n```\n")
    assert said == ""
    assert "<math" in page and "(3)" in page and "a --&gt; b" in page
    loaded = re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="([^"]+)"', page)
    assert loaded and not [address for address in loaded if address.startswith(("http", "//"))]


@pytest.mark.slow
@pytest.mark.parametrize("link", ["[x](gone.md)", "[x](#no-such-heading)", "{ref}`no-such-label`"])
def test_a_broken_link_fails_the_site(tmp_path, link):
    said, page = built(tmp_path, f"# One\n\n{link}\n")
    assert page is None
    assert "index.md:3" in said
