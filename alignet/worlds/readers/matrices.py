"""Square matrices of similarity judgements, such as those of multi-arrangement data sets: a file in, a tensor out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor


def read(root: Path, matrix: Mapping[Any, str]) -> tuple[Tensor, list[str]]:
    """People's judgements as similarities (n, n) float64, NaN where there is none, and the name of each row.

    Args: root: the folder that relative names start from; matrix: name; file: .csv with names in the first row and
        column, or .npy with `labels`, a text file of a name a line; kind: similarity or distance.
    Raises: ValueError, one line that names the file and what is wrong with it.
    """
    missing = [key for key in ("name", "file", "kind") if key not in matrix]
    if missing:
        raise ValueError(f"similarity.matrices: {matrix} lacks {', '.join(missing)}")
    if matrix["kind"] not in ("similarity", "distance"):
        raise ValueError(f"{matrix['file']}: kind {matrix['kind']!r} is neither similarity nor distance")
    values, labels = _numpy(root, matrix) if matrix["file"].endswith(".npy") else _csv(root, matrix["file"])
    if values.shape != (len(labels), len(labels)):
        raise ValueError(f"{matrix['file']}: is {values.shape}, with {len(labels)} names")
    _once(matrix["file"], labels)
    unlike = np.argwhere(~np.isclose(values, values.T, equal_nan=True))
    if len(unlike):
        row, column = unlike[0]
        raise ValueError(f"{matrix['file']}: is not symmetric at row {labels[row]!r}, column {labels[column]!r}")
    square = torch.tensor(values, dtype=torch.float64)
    return (square if matrix["kind"] == "similarity" else -square), labels


def _csv(root: Path, name: str) -> tuple[np.ndarray, list[str]]:
    # All as text: a label NA or 001 stays what it is.
    table = pd.read_csv(_found(root, name), dtype=str, keep_default_na=False)
    table = table.set_index(table.columns[0])
    rows, columns = ([str(label) for label in labels] for labels in (table.index, table.columns))
    _once(name, rows)  # pandas renames a column that stands twice
    if rows != columns:
        raise ValueError(f"{name}: the names of rows and columns differ")
    numbers = table.apply(pd.to_numeric, errors="coerce")
    absent = table.isin(["", "NA", "NaN", "nan"])
    wrong = np.argwhere(numbers.isna().to_numpy() & ~absent.to_numpy())
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(f"{name}: row {rows[row]!r}, column {rows[column]!r}: {table.iat[row, column]!r} is no number")
    return numbers.to_numpy(float), rows


def _numpy(root: Path, matrix: Mapping[Any, str]) -> tuple[np.ndarray, list[str]]:
    if "labels" not in matrix:
        raise ValueError(f"{matrix['file']}: needs labels, a text file with a name a line (similarity.matrices)")
    lines = _found(root, matrix["labels"]).read_text(encoding="utf-8").splitlines()
    return np.load(_found(root, matrix["file"])).astype(float), [line for line in lines if line]


def _once(name: str, labels: list[str]) -> None:
    repeated = pd.Index(labels)[pd.Index(labels).duplicated()]
    if len(repeated):
        raise ValueError(f"{name}: {repeated[0]!r} stands twice")


def _found(root: Path, name: str) -> Path:
    if not (root / name).is_file():
        raise ValueError(f"{name}: no such file (similarity.matrices)")
    return root / name
