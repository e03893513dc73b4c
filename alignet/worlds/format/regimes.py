"""Regimes of judged triplets: whether fits have seen other choices about the concepts that a triplet shows.

known: fits have seen choices about all these concepts in other triplets; new: no fit has seen a choice about any of
them; mixed: fits have seen choices about some of them. Rows of a named study are scored separately, regime by regime
and, as EVERY, all together.
"""

import numpy as np
import pandas as pd
from torch import Tensor

REGIMES = ("known", "new", "mixed")
EVERY = "all"  # the regimes of a study together
CONCEPTS = {"known": "Known concepts", "new": "New concepts", "mixed": "Mixed concepts", EVERY: "All concepts"}
HEADLINE = ("new", "known", "mixed")  # the regime that stands first where a table has several


def of_triplets(known: Tensor) -> np.ndarray:
    """The regime of each triplet, (n,) text. Args: known: (n, 3) bool, whether fits have seen the picture's concept.

    Example:

    >>> import torch
    >>> from alignet.worlds.format import regimes
    >>> known = torch.tensor([[True, True, True], [False, False, False], [True, False, True]])
    >>> regimes.of_triplets(known).tolist()
    ['known', 'new', 'mixed']
    """
    seen = known.sum(1).numpy()
    return np.where(seen == 3, "known", np.where(seen == 0, "new", "mixed"))


def main(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of results that belong to no named study; all, of a table without that column.

    Example:

    >>> import pandas as pd
    >>> from alignet.worlds.format import regimes
    >>> table = pd.DataFrame({"study": ["", "2025"], "accuracy": [0.5, 0.6]})
    >>> regimes.main(table)["accuracy"].tolist()
    [0.5]
    """
    return table[text(table, "study") == ""]


def text(table: pd.DataFrame, column: str) -> pd.Series:
    """A column of a table of results as text; '' for empty cells, or everywhere if there is no such column."""
    if column not in table:
        return pd.Series("", table.index)
    values = table[column].astype(object)
    return values.where(values.notna(), "").astype(str)


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of no study and of one regime: new concepts if there are any, otherwise known, otherwise mixed ones."""
    rows = main(table)
    if "regime" not in rows:
        return rows
    return rows[rows["regime"] == next((name for name in HEADLINE if (rows["regime"] == name).any()), None)]


def shown(table: pd.DataFrame) -> list[str]:
    """The regimes that figures draw, in their order: new, known and perhaps mixed.

    Mixed triplets are drawn if there are no new ones, or if there are more mixed than new ones, so that they say more.
    """
    rows = main(table)
    rows = rows[text(rows, "regime") != ""]
    column = next((name for name in ("n_triplets", "n") if name in rows), None)
    number = {name: len(of) if column is None else of[column].max() for name, of in rows.groupby(text(rows, "regime"))}
    found = [name for name in HEADLINE if name in number]
    return [name for name in found if name != "mixed" or number["mixed"] > number.get("new", 0)]


def studies(table: pd.DataFrame) -> list[str]:
    """The named studies of a table of results, in their order."""
    return [name for name in dict.fromkeys(text(table, "study")) if name]
