import re
import subprocess
import sys

import nbformat
import pandas as pd
import pytest
from PIL import Image

from alignet import config
from alignet.report import __main__ as command
from alignet.report import pages

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def run(tmp_path):
    """A finished run with two figures, a table with markup in it, and an executed notebook."""
    reports = tmp_path / "reports"
    for folder in ("figures", "variants", "tables", "notebooks"):
        (reports / folder).mkdir(parents=True)
    for name in ("figures/levels", "figures/maps_lite0", "variants/seeds"):
        Image.new("RGB", (4, 4)).save(reports / f"{name}.png")
    (reports / "figures" / "levels.csv").write_text("a\n1\n")
    columns = {"student": "<b>x</b>", "target": "alignet", "level": "NA", "representation": "pooled"}
    columns |= {"odd_one_out_accuracy": 0.54321, "choices": "simulated"}
    pd.DataFrame([columns] * 70).to_csv(reports / "tables" / "levels.csv", index=False)
    text = nbformat.v4.new_markdown_cell("# Levels\n\n$$ a_{t} = \\frac{1}{2} \\tag{11} $$\n\nwhere $t$ is a triplet")
    said = [{"text/markdown": "**What this run found**\n\n- lite0 <b>gains</b>"}, {"image/png": PNG}]
    outputs = [nbformat.v4.new_output("display_data", data=data) for data in said]
    cell = nbformat.v4.new_code_cell("secret = 1", outputs=outputs)
    nbformat.write(nbformat.v4.new_notebook(cells=[text, cell]), reports / "notebooks" / "07_levels.ipynb")
    assert command.main(["--out-dir", str(tmp_path)]) == 0
    return reports


def test_the_page_needs_no_network_and_links_what_lies_beside_it(run):
    page = (run / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    for href in re.findall(r'href="([^"#]+)"', page):
        assert (run / href).is_file(), href


def test_every_picture_has_a_text_of_its_own_and_a_caption(run):
    page = (run / "index.html").read_text(encoding="utf-8")
    texts = re.findall(r'<img alt="([^"]+)"', page)
    assert len(texts) == len(set(texts)) == 3
    assert page.count("<figcaption>") == 3 + 1  # and the drawing of the way
    assert "maps of concepts before and after alignment, lite0" in page


def test_simulated_choices_are_called_so_and_markup_is_escaped(run):
    page = (run / "index.html").read_text(encoding="utf-8")
    assert "All choices are those of SIMULATED participants" in page
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<td>NA</td>" in page  # a label, and not a missing number
    assert "10 more rows there" in page


def test_that_people_saw_other_pictures_is_said_on_top_and_in_captions(run):
    file = run / "tables" / "levels.csv"
    pd.read_csv(file).assign(choices="human", judged="photographs of the same concepts").to_csv(file, index=False)
    page = command.render(run, run.parent / "data")
    assert "The choices are people&#39;s. They were shown photographs of the same concepts." in page
    assert "human participants, who were shown photographs of the same concepts" in page
    assert "SIMULATED" not in page


def test_a_notebooks_page_folds_its_code(run):
    page = (run / "pages" / "07_levels.html").read_text(encoding="utf-8")
    assert re.search(r"<details><summary>code</summary>.*secret.*</details>", page, re.DOTALL)
    assert re.search(r'alt="\s*Levels\s*"', page)  # a picture is described by the heading above it


@pytest.mark.parametrize("name", ["index.html", "pages/07_levels.html"])
def test_equations_are_mathml_with_their_numbers(run, name):
    page = (run / name).read_text(encoding="utf-8")
    assert "<mfrac>" in page
    assert "<p>(11)</p>" in page
    if name.startswith("pages"):
        assert "<mi>t</mi></mrow></math> is a triplet" in page
    assert "$" not in re.sub(r"<(script|style|details).*?</\1>", "", page, flags=re.DOTALL)


def test_no_command_of_tex_is_left_in_an_equation():
    for path in sorted((config.home() / "notebooks").glob("*.ipynb")):
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
        maths = re.findall(r"<math.*?</math>", pages.to_html("\n\n".join(cells)), re.DOTALL)
        assert [each for each in maths if "\\" in each] == [], path.name
    assert "<mo>arg</mo>" in pages.mathml(r"\arg\max_t s_t")


def test_dollars_and_underscores_of_code_and_of_prose_are_no_equations():
    html = pages.to_html("`$x$` costs 5\\$, and $a_b < c$ is *one* equation\n\n$$ x_1 \\tag{2} $$")
    assert html.count("<math") == 2
    assert "<code>$x$</code> costs 5$, and <math" in html
    assert "<em>one</em> equation" in html
    assert "<p>(2)</p></div>" in html
    assert "<p><div" not in html


def test_names_of_columns_break_between_words(tmp_path):
    (tmp_path / "tables").mkdir()
    pd.DataFrame({"only_there": [1], "name": ["a_b"]}).to_csv(tmp_path / "tables" / "x.csv", index=False)
    html = command._table({"name": "x", "columns": ["only_there", "name"], "caption": ""}, tmp_path)["html"]
    assert "<th>only_<wbr>there</th>" in html
    assert "<td>a_b</td>" in html


def test_a_section_says_what_its_notebook_found(run):
    page = (run / "index.html").read_text(encoding="utf-8")
    assert re.search(r'<div class="found">.*What 07_levels found.*lite0.*gains', page, re.DOTALL)


def test_every_figure_and_table_of_the_contents_has_what_it_needs():
    contents = command.yaml.safe_load((command.HERE / "contents.yaml").read_text(encoding="utf-8"))
    ids = [section["id"] for section in contents["sections"]]
    assert len(ids) == len(set(ids))
    for section in contents["sections"]:
        assert {"title", "text", "notebooks"} <= set(section)
        assert all({"name", "alt", "caption"} == set(figure) for figure in section.get("figures", []))
        assert all({"name", "caption", "columns"} <= set(table) for table in section.get("tables", []))


def test_a_run_without_tables_is_one_line(tmp_path, capsys):
    assert command.main(["--out-dir", str(tmp_path)]) == 1
    assert "run make repro first" in capsys.readouterr().err


def test_targets_stand_below_each_other_in_their_order():
    rows = pd.DataFrame({"student": ["a", "a", "a", "b"], "target": ["base", "alignet", "unalignet", "base"]})
    ordered = command._in_order(rows.assign(level="fine"))
    assert ordered["target"].tolist() == ["base", "unalignet", "alignet", "base"]
    assert ordered["student"].tolist() == ["a", "a", "a", "b"]


def test_executed_notebooks_can_be_read_as_markdown(run, tmp_path):
    pages.write_markdown(run / "notebooks", tmp_path / "read")
    text = (tmp_path / "read" / "07_levels.md").read_text(encoding="utf-8")
    assert "What this run found" in text
    (name,) = re.findall(r"\]\(([^)]+\.webp)\)", text)
    assert (tmp_path / "read" / name).is_file()


def test_the_report_compiles_no_grammar_of_addresses():
    code = "import sys; from alignet.report import pages; sys.exit('lark' in sys.modules)"  # three seconds
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
