"""The code of a function as a notebook shows it beside its equation: read from the module itself, and not copied."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython.display import Markdown

FENCE = "```"  # pipeline.notebook keeps outputs that begin with it off the terminal


def of(*functions: Callable[..., Any] | type) -> Markdown:
    """The source of functions, methods or classes as one highlighted block, for the last line of a cell.

    Above each stands the module that it comes from; docstrings are left out.
    Raises: OSError if its file does not hold it, as for a function that was typed into a notebook; TypeError for a
        function that is not written in Python.
    """
    return Markdown(f"{FENCE}python\n" + "\n\n".join(code(function) for function in functions) + f"\n{FENCE}")


def code(function: Callable[..., Any] | type) -> str:
    """The source of one function, method or class without its docstrings, below a comment that names its module.

    It is found by its name: line numbers are those of the import, and the file may have been edited since.
    """
    named = inspect.unwrap(function)
    lines = Path(inspect.getfile(named)).read_text(encoding="utf-8").splitlines()
    found: Any = ast.parse("\n".join(lines))
    for name in named.__qualname__.split("."):
        found = next((node for node in found.body if getattr(node, "name", "") == name), None)
        if found is None:
            raise OSError(f"{inspect.getfile(named)} has no {named.__qualname__}")
    first = min([found.lineno, *(decorator.lineno for decorator in found.decorator_list)])
    left_out = {line for start, end in _docstrings(found) for line in range(start, end + 1)}
    kept = [lines[number - 1] for number in range(first, found.end_lineno + 1) if number not in left_out]
    owner = named.__qualname__.rpartition(".")[0]
    where = f"{named.__module__}, class {owner}" if owner else named.__module__
    return f"# {where}\n" + textwrap.dedent("\n".join(line for line in kept if line.strip()))


def _docstrings(found: ast.AST) -> list[tuple[int, int]]:
    """The first and the last line of each docstring in a definition."""
    definitions = [node for node in ast.walk(found) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    said = [node.body[0] for node in definitions if ast.get_docstring(node) and len(node.body) > 1]
    return [(node.lineno, node.end_lineno or node.lineno) for node in said]
