"""The code of a function as a notebook shows it beside its equation: read from the module itself, and not copied."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from IPython.display import Markdown

FENCE = "```"  # pipeline.notebook keeps outputs that begin with it off the terminal


def of(*functions: Callable[..., Any] | type) -> Markdown:
    """The source of functions, methods or classes as one highlighted block, for the last line of a cell.

    Above each stands the module that it comes from; docstrings are left out.
    Raises: OSError if there is no source file, as for a function that was typed into a notebook; TypeError for a
        function that is not written in Python.
    """
    return Markdown(f"{FENCE}python\n" + "\n\n".join(code(function) for function in functions) + f"\n{FENCE}")


def code(function: Callable[..., Any] | type) -> str:
    """The source of one function, method or class without its docstrings, below a comment that names its module."""
    text = textwrap.dedent(inspect.getsource(function)).rstrip()
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) and len(node.body) > 1:
            first, last = node.body[0].lineno, node.body[0].end_lineno or 0
            lines[first - 1 : last] = [""] * (last - first + 1)
    kept = "\n".join(line for line in lines if line.strip())
    where = f"{function.__module__}, class {owner}" if (owner := _owner(function)) else function.__module__
    return f"# {where}\n{kept}"


def _owner(function: Callable[..., Any] | type) -> str:
    """The class that a method belongs to; '' for anything else."""
    return function.__qualname__.rpartition(".")[0]
