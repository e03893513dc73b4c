"""Commands, files and messages that README and docs name are there."""

import importlib.util
import re
import subprocess
import sys

import pytest

from alignet import __main__ as alignet
from alignet import config

ROOT = config.home()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}


def commands():
    """Indented or inline commands of every page: (page, words)."""
    found = []
    for name, text in TEXTS.items():
        lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
        lines += re.findall(r"`((?:python -m|make|dvc|papermill|python bench|alignet(?! needs)) [^`]*)`", text)
        for line in lines:
            for part in re.split(r"&&|;", line.partition("  #")[0]):
                words = part.strip().split()
                if words and words[0] in ("python", "make", "dvc", "papermill", "alignet"):
                    found.append((name, _spelled_out(part.strip())))
    return sorted(set(found))


def _spelled_out(command):
    """`alignet NAME ...` as python -m MODULE ...; a name that the command lacks stays, for a test to find."""
    match = re.match(r"alignet ([a-z]+)\b", command)
    if match is None or match[1] not in alignet.COMMANDS:
        return command
    module = alignet.COMMANDS[match[1]][0].removesuffix(".__main__")
    return f"python -m {module}{command[match.end() :]}"


COMMANDS = commands()
OURS = re.compile(r"python -m (alignet\S*)(.*)")


def test_there_are_commands_to_check():
    assert len(COMMANDS) > 30
    assert len({page for page, _ in COMMANDS}) > 3


@pytest.mark.parametrize(("page", "command"), [(p, c) for p, c in COMMANDS if c.startswith("make")])
def test_a_target_of_make_exists(page, command):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for word in command.split()[1:]:
        if "=" not in word and word.isidentifier() | ("-" in word):
            assert word.rstrip(",.") in targets, (page, command)


def test_words_after_alignet_are_its_commands():
    assert _spelled_out("alignet compare --fetch") == "python -m alignet.report.compare --fetch"
    assert _spelled_out("alignet teach") == "alignet teach"
    kept = [(page, command) for page, command in COMMANDS if re.match("alignet [a-z]", command)]
    assert [pair for pair in kept if tuple(pair[1].split()[1:3]) not in alignet.ALSO] == []


def modules():
    return sorted({match[1] for _, c in COMMANDS if (match := OURS.match(c))})


@pytest.mark.parametrize("module", modules())
def test_a_module_that_is_to_be_run_exists(module):
    found = importlib.util.find_spec(module)
    assert found is not None
    if found.submodule_search_locations:
        assert importlib.util.find_spec(f"{module}.__main__") is not None


def options():
    """module -> the options that pages give it."""
    found = {}
    for _, command in COMMANDS:
        match = OURS.match(command)
        if match:
            found.setdefault(match[1], set()).update(re.findall(r"(--[a-z][a-z-]*)", match[2]))
    return {module: names for module, names in found.items() if names}


@pytest.mark.parametrize("module", options())
def test_options_that_are_named_exist(module):
    words = [[]] if module != "alignet.worlds" else [["new"], ["triplets"], ["import"]]
    said = "".join(
        subprocess.run([sys.executable, "-m", module, *more, "--help"], cwd=ROOT, capture_output=True, text=True).stdout
        for more in words
    )
    assert {name for name in options()[module] if name not in said} == set()


@pytest.mark.parametrize("page", TEXTS)
def test_files_that_are_linked_or_named_are_there(page):
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#]+)\)", TEXTS[page]):
        assert target.startswith("http") or (folder / target).exists(), target
    for name in re.findall(r"(?<![/\w])((?:docs|bench|params|notebooks|tests)/[\w/]+\.\w+)", TEXTS[page]):
        assert "/X." in name or "/NAME" in name or (ROOT / name).exists(), name


def messages():
    """The first column of the second table of docs/glossary.md, cut at what stands for names and numbers."""
    table = TEXTS["docs/glossary.md"].partition("## What people meet")[2]
    return [row for row in re.findall(r"^\| (.+?) \|", table, re.MULTILINE) if "`" in row and "dvc:" not in row]


@pytest.mark.parametrize("message", messages())
def test_a_message_that_is_explained_is_one_that_people_meet(message):
    sources = [*(ROOT / "alignet").rglob("*.py"), ROOT / "Makefile"]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for quoted in re.findall(r"`([^`]+)`", message):
        pieces = [piece.strip(" :'") for piece in re.split(r"\b[A-Z]{1,5}\b|\.\.\.|\(|\)|'", quoted)]
        longest = max(pieces, key=len)
        assert longest in code, (quoted, longest)
