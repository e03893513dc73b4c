"""The chapters name what is there: equations of docs/method.md, keys of params.yaml, notebooks."""

import re

import nbformat
import pytest
import yaml

from alignet.config import home

ROOT = home()
NUMBERED = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
CHAPTERS = [path for path in NUMBERED if path.stem not in ("00_by_hand", "12_figures")]  # the latter is a gallery
METHOD = ROOT / "docs" / "method.md"
EQUATION = re.compile(r"\$\$((?:(?!\$\$).)+?)\\tag\{(\w+)\} *\$\$", re.DOTALL)
MATHS = re.compile(r"\$\$.+?\$\$|\$[^$]+\$", re.DOTALL)
# A symbol is a Greek letter or a single Latin one. Words in \text and \mathrm are none, nor are accents and signs.
WORDS = re.compile(r"\\(?:text|mathrm|tag)\{[^}]*\}|\\rVert_F")
GREEK = re.compile(
    r"alpha|beta|[Gg]amma|[Dd]elta|(var)?epsilon|zeta|eta|[Tt]heta|kappa|[Ll]ambda|mu|nu|[Xx]i|[Pp]i|rho|[Ss]igma|tau|"
    r"(var)?phi|Phi|chi|[Pp]si|[Oo]mega"
)
SYMBOL = re.compile(r"\\[A-Za-z]+|(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
numbered = pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)


def cells(path, kind):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def text(path):
    return "\n\n".join(cells(path, "markdown"))


def equations(said):
    """The numbered equations of a text: number -> its TeX on one line, without the punctuation at its end."""
    return {number: " ".join(maths.split()).rstrip(" .,;") for maths, number in EQUATION.findall(said)}


def symbols(said):
    """The letters that stand for something in the formulas of a text: Latin ones, and Greek ones by their name."""
    formulas = " ".join(WORDS.sub(" ", maths) for maths in MATHS.findall(said))
    return {found.lstrip("\\") for found in SYMBOL.findall(formulas) if found[0] != "\\" or GREEK.fullmatch(found[1:])}


def drifted(said, method):
    """The numbers of the equations in a text that are not word for word those of docs/method.md."""
    return [number for number, maths in equations(said).items() if equations(method).get(number) != maths]


@numbered
def test_the_equations_are_those_of_the_method(path):
    said = text(path)
    assert drifted(said, METHOD.read_text(encoding="utf-8")) == []
    assert said.count("\\tag{") == len(EQUATION.findall(said))  # each one has been compared


def test_a_drifted_copy_of_an_equation_is_found():
    method = METHOD.read_text(encoding="utf-8")
    for number, maths in equations(method).items():
        copy = f"$$ {maths}, \\tag{{{number}}} $$"
        assert drifted(copy.replace(" ", "\n"), method) == []  # other line breaks, another sign at the end
        assert drifted(copy.replace(maths, maths + "'"), method) == [number]
    assert drifted("$$ x = y \\tag{99} $$", method) == ["99"]


def test_the_equations_of_the_method_are_numbered_in_order():
    method = METHOD.read_text(encoding="utf-8")
    found = [number for _, number in EQUATION.findall(method)]
    assert found == sorted(set(found), key=lambda number: (int(re.sub(r"\D", "", number)), number))
    assert len(found) == method.count("\\tag{")


def test_the_equations_that_docstrings_cite_are_there():
    known = equations(METHOD.read_text(encoding="utf-8"))
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "alignet").rglob("*.py")))
    cited = re.findall(r"Eq\.\s+(\d+[a-z]?)\s+of\s+docs/method\.md|docs/method\.md,\s+Eq\.\s+(\d+[a-z]?)", code)
    assert len(cited) > 15
    assert {number for pair in cited for number in pair if number} <= set(known)


@pytest.mark.parametrize("path", [METHOD, *NUMBERED], ids=lambda path: path.stem)
def test_each_symbol_stands_in_the_table_of_symbols(path):
    table = METHOD.read_text(encoding="utf-8").split("| symbol | meaning |")[1].split("\n\n")[0]
    explained = symbols(table)
    assert symbols(text(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")) <= explained


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
    assert 800 <= len(said.split()) <= 1500
    headings = re.findall(r"(?m)^## (.+)$", said)
    assert re.findall(r"(?m)^.*\S #{2,} .*$", said) == []  # a heading inside a line is none
    assert headings[0] in ("What the paper did", "What the paper found")
    assert headings[-1] == "What could be otherwise"
    assert any(heading.startswith("What we ") for heading in headings)
    answers = re.findall(r"<details><summary>Answer</summary><p>(.*?)</p></details>", said, re.DOTALL)
    assert len(re.findall(r"(?m)^\*\*\d\.\*\* ", said)) == len(answers) == 2
    assert not any("$" in answer for answer in answers)  # inside HTML nothing draws mathematics
