"""Tables of results: writing and reading them, and the names that their columns student and target may hold."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `make repro` reads the names below, and pandas takes a second to import
    import pandas as pd

BASE, CONTROL, ALIGNED = "base", "unalignet", "alignet"
TARGETS = (BASE, CONTROL, ALIGNED)  # what a student was taught: nothing, the teacher without its map, the teacher
FLOOR = "floor"  # the target of rows about what needs no training, as colours; their column student names it
TEACHER_BEFORE, TEACHER = "teacher before", "teacher"  # targets of rows about the teacher: without its map, with it
TAUGHT = (ALIGNED, CONTROL)  # targets that need a student's training
NAMES = {BASE: "Base", CONTROL: "UnAligNet (control)", ALIGNED: "AligNet"}
OTHERS = ((BASE, "over_base"), (CONTROL, "over_control"))  # what AligNet is compared with, and the column's name
FEW_TRIPLETS = 30  # triplets or pairs; of fewer no mean, percentage or noise ceiling is told or drawn
# Columns that hold text, whatever it looks like.
TEXT = ("student", "target", "study", "class", "image_0", "image_1", "backbone", "dataset", "participant")


def save(table: pd.DataFrame, path: Path) -> None:
    """Write a table of results with six significant digits, so that equal results are equal files.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from alignet import results
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "levels.csv"
    ...     results.save(pd.DataFrame({"student": ["001"], "accuracy": [1 / 3]}), path)
    ...     path.read_text(encoding="utf-8").splitlines()
    ['student,accuracy', '001,0.333333']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.6g")


def load(path: Path, labels: Iterable[str] = ()) -> pd.DataFrame:
    """Read a table of results. Labels are text, so NA, null and 001 are kept; an empty cell is a missing value.

    Args: labels: further columns that hold labels, such as those of a hierarchy.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from alignet import results
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "levels.csv"
    ...     results.save(pd.DataFrame({"student": ["001"], "accuracy": [0.5]}), path)
    ...     results.load(path).to_dict("records")
    [{'student': '001', 'accuracy': 0.5}]
    """
    import pandas as pd

    text = dict.fromkeys((*TEXT, *labels), str)
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=text)
