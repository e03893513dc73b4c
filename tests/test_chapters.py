"""The chapters name what is there: equations of docs/method.md, keys of params.yaml, notebooks."""

import re

import nbformat
import pytest
import yaml

from alignet.config import home

ROOT = home()
NUMBERED = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
CHAPTERS = [path for path in NUMBERED if path.stem not in ("00_by_hand", "12_figures")]  # the latter is a gallery
EQUATION = re.compile(r"\$\$((?:(?!\$\$).)+?)\\tag\{(\d+)\} *\$\$", re.DOTALL)
chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def cells(path, kind):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def text(path):
    return "\n\n".join(cells(path, "markdown"))


def squeezed(maths):
    return re.sub(r"\\[,;]|\s", "", maths)


@chapters
def test_the_equations_are_those_of_the_method(path):
    method = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    numbered = {number: squeezed(maths) for maths, number in EQUATION.findall(method)}
    for maths, number in EQUATION.findall(text(path)):
        assert squeezed(maths)[:12] == numbered[number][:12], number


@chapters
def test_keys_and_notebooks_that_a_chapter_names_are_there(path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    named = set(re.findall(r"`(\w+)\.(\w+)(?:: [^`]+)?`", text(path)))
    found = {(section, key) for section, key in named if section in params}
    assert [f"{section}.{key}" for section, key in found if key not in params[section]] == []
    for name in re.findall(r"\b\d\d_[a-z]\w+\b", text(path)):
        assert (ROOT / "notebooks" / f"{name}.ipynb").is_file(), name


@chapters
def test_a_chapter_shows_functions_and_its_code_names_no_file_of_theirs(path):
    code = "\n".join(cells(path, "code"))
    assert len(re.findall(r"(?m)^source\.of\(", code)) >= 2
    assert "alignet/" not in code


@chapters
def test_a_chapter_has_its_parts_and_two_questions_with_folded_answers(path):
    said = text(path)
    headings = re.findall(r"(?m)^## (.+)$", said)
    assert re.findall(r"(?m)^.*\S #{2,} .*$", said) == []  # a heading inside a line is none
    assert headings[0] in ("What the paper did", "What the paper found")
    assert headings[-1] == "What could be otherwise"
    assert any(heading.startswith("What we ") for heading in headings)
    answers = re.findall(r"<details><summary>Answer</summary><p>(.*?)</p></details>", said, re.DOTALL)
    assert len(re.findall(r"(?m)^\*\*\d\.\*\* ", said)) == len(answers) == 2
    assert not any("$" in answer for answer in answers)  # inside HTML nothing draws mathematics
