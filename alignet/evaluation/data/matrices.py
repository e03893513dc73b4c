"""Square matrices of similarity judgements, such as those of multi-arrangement data sets, read from files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from torch import Tensor

NAMES = ("name", "image_name", "image", "label", "word")  # columns of a .csv of labels, in small letters


def read(root: Path, matrix: Mapping[Any, str]) -> tuple[Tensor, list[str]]:
    """People's judgements as similarities (n, n) float64, NaN where there is none, and the name of each row.

    Args: root: the folder that relative names start from; matrix: name; file: .csv with names in the first row and
        column, or .npy or .mat (its one square variable) with `labels`: a text file with a name a line, or a .csv with
        a column of NAMES; kind: similarity or distance.
    Raises: ValueError, one line that names the file and what is wrong with it.
    """
    missing = [key for key in ("name", "file", "kind") if key not in matrix]
    if missing:
        raise ValueError(f"similarity.matrices: {matrix} lacks {', '.join(missing)}")
    if matrix["kind"] not in ("similarity", "distance"):
        raise ValueError(f"{matrix['file']}: kind {matrix['kind']!r} is neither similarity nor distance")
    values, labels = (
        _labelled(root, matrix) if matrix["file"].endswith((".npy", ".mat")) else _csv(root, matrix["file"])
    )
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


def _labelled(root: Path, matrix: Mapping[Any, str]) -> tuple[np.ndarray, list[str]]:
    name = matrix["file"]
    if "labels" not in matrix:
        raise ValueError(f"{name}: needs labels, a text file with a name a line (similarity.matrices)")
    file, labels = _found(root, name), _found(root, matrix["labels"])
    if labels.suffix == ".csv":
        table = pd.read_csv(labels, dtype=str, keep_default_na=False)
        columns = [column for column in table if column.lower() in NAMES]
        if not columns:
            raise ValueError(f"{matrix['labels']}: has no column named {', '.join(NAMES)}")
        lines = table[columns[0]].tolist()
    else:
        lines = labels.read_text(encoding="utf-8-sig").splitlines()
    values = _numpy(name, file) if name.endswith(".npy") else _matlab(name, file)
    return values.astype(float), [line for line in lines if line]


def _numpy(name: str, file: Path) -> np.ndarray:
    try:
        with file.open("rb") as opened:
            found = np.load(opened, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{name}: cannot be read as .npy ({error})") from None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu":
        raise ValueError(f"{name}: is no array of numbers")
    return found


def _matlab(name: str, file: Path) -> np.ndarray:
    try:
        variables = [value for value in loadmat(file).values() if isinstance(value, np.ndarray)]
    except (NotImplementedError, ValueError, TypeError, MatReadError) as error:
        raise ValueError(f"{name}: cannot be read as a MATLAB file ({error})") from None
    square = [value for value in variables if value.ndim == 2 and value.shape[0] == value.shape[1] > 1]
    if len(square) != 1:
        raise ValueError(f"{name}: holds {len(square)} square variables and not one")
    return square[0]


def _once(name: str, labels: list[str]) -> None:
    repeated = pd.Index(labels)[pd.Index(labels).duplicated()]
    if len(repeated):
        raise ValueError(f"{name}: {repeated[0]!r} stands twice")


def _found(root: Path, name: str) -> Path:
    if not (root / name).is_file():
        raise ValueError(f"{name}: no such file (similarity.matrices)")
    return root / name
