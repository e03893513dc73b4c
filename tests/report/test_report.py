import re
import subprocess
import sys

import nbformat
import pandas as pd
import pytest
from PIL import Image

from alignet import config
from alignet.report import __main__ as command
from alignet.report import dictionary, figure_map, pages

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


def scored(run):
    """The tables of a run whose AligNet is scored at the coarse level of new concepts."""
    over = {"over_base": 0.1, "over_base_low": 0.05, "over_base_high": 0.15, "n_triplets": 500, "regime": "new"}
    over |= {"relative_improvement": 25, "relative_improvement_low": 12, "relative_improvement_high": 38}
    columns = {"student": "lite0", "target": "alignet", "level": "coarse", "representation": "pooled", "study": ""}
    scores = {"odd_one_out_accuracy": 0.5, "noise_ceiling": None, "n_repeated": 0, "choices": "human"}
    rows = pd.DataFrame([columns | over | scores])
    rows.to_csv(run / "tables" / "levels.csv", index=False)
    return command.render(run, run.parent / "data")


def test_the_page_opens_with_the_finding_and_its_figure_and_not_with_the_way(run):
    page = scored(run)
    order = [page.index(text) for text in ("lite0 chooses as people do in .500", "variants/seeds.png", "up to 93.5")]
    order += [page.index(text) for text in ("What falls short</h2>", "What was done", '<section id="world">')]
    assert page.index('id="finding"') < page.index('class="picture"') < page.index("What was done")
    assert order[0] == min(order)
    assert order[-2:] == sorted(order)[-2:]
    assert "+25\N{NO-BREAK SPACE}% [+12,\N{NO-BREAK SPACE}+38] over its base" in page
    assert page.count('<a href="variants/seeds.png"><img') == 1  # not again in its section, which says where it stands
    assert "at the top of this page" in page.partition('<section id="levels">')[2].partition("</section>")[0]


def test_the_page_says_so_where_the_seeds_are_of_an_earlier_run(run):
    assert "is of an earlier run" not in scored(run)
    seeds = {"seed": 0, "student": "lite0", "target": "alignet", "regime": "new", "level": "coarse", "value": 0.4}
    seeds |= {"benchmark": "levels, new, coarse", "metric": "odd_one_out_accuracy", "n_seeds": 3, "study": ""}
    for name in ("seeds", "replicates"):
        pd.DataFrame([seeds]).to_csv(run / "tables" / f"{name}.csv", index=False)
    assert "is of an earlier run" in scored(run)


def test_a_run_without_scores_has_no_finding(run):
    page = (run / "index.html").read_text(encoding="utf-8")
    assert 'id="finding"' not in page
    assert "What falls short" not in page


def test_the_figure_map_shows_this_runs_numbers_figures_and_pages(run):
    page = scored(run)
    rows = page.partition('id="figure-map"')[2].partition("</table>")[0]
    assert "new concepts: coarse" not in rows  # over_control is missing: the number is left out
    (levels,) = [row for row in rows.split("<tr>") if "accuracy at three levels" in row]
    assert "relative improvement at the coarse level: 93.5 %" in levels
    assert 'href="pages/07_levels.html"' in levels
    assert 'href="variants/seeds.png"' in levels


def test_large_counts_are_written_out():
    assert [command._number(value) for value in (4.7e6, 12340.0, 0.5, 1e18)] == [
        "4,700,000",
        "12,340",
        "0.500",
        "1e+18",
    ]


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
    assert "<p>(5a)</p></div>" in pages.to_html("$$ x_1 \\tag{5a} $$")
    assert "<p><div" not in html


def test_columns_and_models_are_called_in_words(tmp_path):
    (tmp_path / "tables").mkdir()
    columns = {"difference": ["over_base"], "over_base_low": [0.5], "target": ["unalignet"], "ci_high": [1.06]}
    columns |= {"odd_one_out_accuracy": [0.9], "variant": ["over_base"]}
    pd.DataFrame(columns).to_csv(tmp_path / "tables" / "x.csv", index=False)
    html = str(command._table({"name": "x", "columns": [*columns], "caption": ""}, tmp_path)["html"])
    heads = re.findall("<th>(.*?)</th>", html)
    assert heads[:3] == ["difference", "its 95 % interval, low", "model"]
    assert re.findall("<td>(.*?)</td>", html) == [
        *("AligNet minus base", "0.500", "UnAligNet (control)", "1.000", "0.900", "over_base")
    ]


def test_ceilings_and_percentages_of_few_triplets_are_left_out():
    table = pd.DataFrame({"noise_ceiling": [0.6, 0.6], "noise_ceiling_low": 0.5, "n_repeated": [29, 30]})
    table = table.assign(relative_improvement=31.0, n_triplets=[30, 29])
    found = command._with_enough(table)
    assert found["noise_ceiling"].isna().tolist() == [True, False]
    assert found["noise_ceiling_low"].isna().tolist() == [True, False]
    assert found["relative_improvement"].isna().tolist() == [False, True]
    calibration = pd.DataFrame({"triplets": ["all", "repeated"], "n_triplets": [900, 29], "noise_ceiling": 0.6})
    assert command._with_enough(calibration)["noise_ceiling"].isna().all()
    assert command._with_enough(calibration.assign(n_triplets=[900, 30]))["noise_ceiling"].notna().all()


def test_every_column_that_the_report_shows_has_a_head_of_its_own():
    contents = command.yaml.safe_load((command.HERE / "contents.yaml").read_text(encoding="utf-8"))
    heads = dictionary.headings()
    for table in (table for section in contents["sections"] for table in section.get("tables", [])):
        words = [heads[column] for column in table["columns"]]
        assert len(words) == len(set(words)), table["name"]
        assert [word for word in words if "_" in word] == []


def test_this_run_stands_before_the_paper_where_a_telephone_shows_it(run):
    page = scored(run)
    heads = re.findall("<th>(.*?)</th>", page.partition("The paper and this run")[2].partition("</thead>")[0])
    assert heads == ["measure", "this run", "the paper"]


def test_a_section_says_what_its_notebook_found(run):
    page = (run / "index.html").read_text(encoding="utf-8")
    assert re.search(r'<div class="found">.*What 07_levels found.*lite0.*gains', page, re.DOTALL)


def test_nothing_but_tables_figures_and_equations_is_wider_than_a_telephone():
    page = (command.HERE / "page.html").read_text(encoding="utf-8")
    assert 'name="viewport" content="width=device-width' in page
    for wide in ("table", "picture", "equation"):  # each scrolls by itself
        assert re.search(rf"\.{wide} {{[^}}]*overflow(-x: auto|: auto hidden)", page), wide


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


def test_the_figure_map_leaves_out_a_number_of_few_triplets(tmp_path):
    spec = {"table": "teacher", "where": "map == 'fitted'", "text": "{accuracy:.3f}"}
    table = pd.DataFrame({"map": ["fitted"] * 2, "n_triplets": [14, 15], "accuracy": [0.25, 0.5]})
    table.to_csv(tmp_path / "teacher.csv", index=False)
    assert figure_map._here(spec, tmp_path) == ""
    table.assign(n_triplets=15).to_csv(tmp_path / "teacher.csv", index=False)
    assert figure_map._here(spec, tmp_path) == ".375"
    assert figure_map._here(spec | {"where": "fold == 1"}, tmp_path) == ""
