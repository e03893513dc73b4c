"""BREEDS: superclasses of ImageNet whose subclasses are divided into a source, to learn from, and a target, to test.

The four data sets follow from the authors' class hierarchy (github.com/MadryLab/BREEDS-Benchmarks, the folder
imagenet_class_hierarchy/modified: class_hierarchy.txt, node_names.txt, dataset_class_info.json) and their rules: a data
set has the nodes at one depth below the root that hold enough classes of ImageNet, and for each node equally many
classes, drawn with the seed 2 and divided into halves.

Source: Santurkar, Tsipras and Madry, BREEDS: Benchmarks for subpopulation shift, ICLR 2021; their code
(robustness.tools.breeds_helpers, split 'rand').
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

ROOT_NODE, LIVING, NONLIVING = "n00001740", "n00004258", "n00021939"
SEED = 2  # of the authors' draws
RULES = {  # depth of the superclasses, classes of each, and the node that they lie below
    "Entity-13": (3, 20, ROOT_NODE),
    "Entity-30": (4, 8, ROOT_NODE),
    "Living-17": (5, 4, LIVING),
    "Nonliving-26": (5, 4, NONLIVING),
}
FILES = ("class_hierarchy.txt", "node_names.txt", "dataset_class_info.json")
Children = dict[str, list[str]]


def lists(name: str, folder: Path) -> pd.DataFrame:
    """The classes of one of the data sets: superclass (its name), class (WordNet id) and split (source or target).

    Args: name: a key of RULES; folder: holds FILES.
    Raises: ValueError naming a file that is missing or cannot be read, or that the root is not in the hierarchy.
    """
    children, names, classes = _read(folder)
    depth, count, ancestor = RULES[name]
    depths = _depths(children, ROOT_NODE)
    below = _below(children, ancestor)
    chosen = sorted(node for node in below if depths.get(node) == depth)
    generator, rows = np.random.RandomState(SEED), []
    for node in chosen:
        if len(_leaves(children, node, classes)) >= count:
            drawn = generator.choice(_divided(children, node, classes), count, replace=False).tolist()
            for split, half in (("source", drawn[: count // 2]), ("target", drawn[count // 2 :])):
                rows += [(names.get(node, node), leaf, split) for leaf in half]
    return pd.DataFrame(rows, columns=["superclass", "class", "split"])


def missing(folder: Path) -> list[str]:
    """The files of FILES that the folder lacks."""
    return [name for name in FILES if not (folder / name).is_file()]


def _read(folder: Path) -> tuple[Children, dict[str, str], set[str]]:
    """Children of each node, among those that lead to a class of ImageNet, sorted; names of nodes; the classes."""
    for name in missing(folder):
        raise ValueError(f"{folder / name}: no such file")
    try:
        lines = (folder / FILES[0]).read_text(encoding="utf-8").splitlines()
        edges = [tuple(line.split()) for line in lines if line.strip()]
        named = [line.split("\t") for line in (folder / FILES[1]).read_text(encoding="utf-8").splitlines() if line]
        classes = {row[1] for row in json.loads((folder / FILES[2]).read_text(encoding="utf-8"))}
        parents: dict[str, set[str]] = {}
        for parent, child in edges:
            parents.setdefault(child, set()).add(parent)
        names = {row[0]: row[1].strip() for row in named}
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise ValueError(f"{folder}: is not BREEDS' class hierarchy ({error})") from None
    children: dict[str, set[str]] = {}
    waiting, reached = list(classes), set(classes)
    while waiting:
        node = waiting.pop()
        for parent in parents.get(node, ()):
            children.setdefault(parent, set()).add(node)
            if parent not in reached:
                reached.add(parent)
                waiting.append(parent)
    if ROOT_NODE not in children:
        raise ValueError(f"{folder / FILES[0]}: has no root {ROOT_NODE}")
    return {node: sorted(below) for node, below in children.items()}, names, classes


def _depths(children: Children, root: str) -> dict[str, int]:
    """The length of the longest path from the root to each node."""
    depths, level, depth = {root: 0}, {root}, 0
    while level:
        depth += 1
        level = {child for node in level for child in children.get(node, ())}
        depths |= dict.fromkeys(level, depth)
    return depths


def _below(children: Children, node: str) -> set[str]:
    """The node and all nodes below it."""
    below, waiting = {node}, [node]
    while waiting:
        new = [child for child in children.get(waiting.pop(), ()) if child not in below]
        below.update(new)
        waiting += new
    return below


def _leaves(children: Children, node: str, classes: set[str]) -> list[str]:
    """The first classes on all paths down from a node, sorted; the node itself may be one."""
    found, waiting = {node} & classes, list(children.get(node, ()))
    while waiting:
        below = waiting.pop()
        if below in classes:
            found.add(below)
        else:
            waiting += children.get(below, [])
    return sorted(found)


def _divided(children: Children, node: str, classes: set[str]) -> list[str]:
    """The classes from which those of a superclass are drawn: those below its first node with two or more children,
    sorted.

    A class below several of the children is listed several times, as in the authors' code.
    """
    below = children[node]
    while len(below) == 1 and below[0] in children:
        below = children[below[0]]
    return sorted(leaf for child in below for leaf in _leaves(children, child, classes))
