"""The examples in docstrings: every module that people import has some, and all of them run."""

import ast
import doctest
import importlib
import re

import pytest

from alignet.config import home

ROOT = home()
ENOUGH = 2  # examples of a module, or one of each of its public names where there are fewer
PATHS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted((ROOT / "alignet").rglob("*.py"))
}
MODULES = [
    "alignet.config",
    "alignet.devices",
    "alignet.evaluation.downstream",
    "alignet.evaluation.floors",
    "alignet.evaluation.influences",
    "alignet.evaluation.kept",
    "alignet.evaluation.reorganisation",
    "alignet.evaluation.rsa",
    "alignet.evaluation.tasks",
    "alignet.evaluation.uncertainty",
    "alignet.maths.choices",
    "alignet.maths.intervals",
    "alignet.maths.losses",
    "alignet.maths.metrics",
    "alignet.maths.sampling",
    "alignet.models.exported",
    "alignet.models.given",
    "alignet.models.layers",
    "alignet.people.choice_distributions",
    "alignet.people.embeddings",
    "alignet.people.vice",
    "alignet.results",
    "alignet.student.batches",
    "alignet.student.training",
    "alignet.synthesis.kmeans",
    "alignet.synthesis.schemes",
    "alignet.synthesis.triplet_files",
    "alignet.teacher.affine_map",
    "alignet.teacher.ridge",
    "alignet.worlds.format.abstraction",
    "alignet.worlds.format.regimes",
    "alignet.worlds.format.tables",
]


def public_names(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [name for name in named if not name.startswith("_")]


def examples(name):
    """The docstrings of a module that hold examples; each runs by itself, with what it imports."""
    found = doctest.DocTestFinder().find(importlib.import_module(name), globs={})
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name):
    tests, said = examples(name), []
    assert len(tests) >= min(ENOUGH, len(public_names(PATHS[name])))
    runner = doctest.DocTestRunner(verbose=False)
    for test in tests:
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)


def test_every_module_with_examples_is_named_here():
    assert {name for name, path in PATHS.items() if re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), re.M)} == {
        *MODULES
    }


def test_an_example_that_is_wrong_fails():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed == 1
