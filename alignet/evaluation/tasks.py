"""Downstream tasks: the rows about one task, its primary row, and the number of tasks on which a model leads.

A task is a public data set, or one label of the world's own pictures. All protocols, numbers of shots and classifiers
of a task use the same pictures, so they are one piece of evidence. The primary row of a task is chosen by a rule that
looks at no score: few-shot, nearest centroid, and the middle number of shots (the larger of the two middle ones of an
even number); a data set without a few-shot protocol has its first protocol and classifier. Counts and verdicts are
about primary rows alone, with p values that are corrected for the number of tasks (Holm); all other rows are secondary
(docs/method.md, section 9).
"""

import pandas as pd

from alignet.maths.intervals import holm

DEFAULT = "centroid"  # the classifier of primary rows
CLEAR = 0.05
CORRECTED = {"over_base": "over_base_holm", "over_control": "over_control_holm"}  # a difference -> its corrected p


def name(dataset: str, labels: str) -> str:
    """The name of a task. Args: labels: the column of the hierarchy; '' for a public data set's own classes.

    Example:

    >>> from alignet.evaluation import tasks
    >>> tasks.name("world", "class"), tasks.name("cifar100", "")
    ('world, class', 'cifar100')
    """
    return f"{dataset}, {labels}" if labels else dataset


def primary(scored: pd.DataFrame) -> pd.Series:
    """Whether each row of downstream.csv is the primary one of its task, (n,) bool; every model has one for each task.

    Args: scored: columns task, protocol, shots and classifier; rows without accuracy are never primary.
    """
    is_first = pd.Series(False, scored.index)
    for _, rows in scored.dropna(subset=["task", "accuracy"]).groupby("task", sort=False):
        few = rows[rows["protocol"].str.startswith("few-shot") & (rows["classifier"] == DEFAULT)]
        if len(few):
            shots = sorted(few["shots"].unique())
            is_first[few.index[few["shots"] == shots[len(shots) // 2]]] = True
        else:
            first = rows[rows["protocol"] == rows["protocol"].iloc[0]]
            is_first[first.index[first["classifier"] == first["classifier"].iloc[0]]] = True
    return is_first


def corrected(table: pd.DataFrame, p: pd.Series) -> pd.Series:
    """Holm's correction over the primary rows of each student and target, (n,); NaN for all other rows.

    Args: table: columns student, target and primary; p: (n,) of one difference.
    """
    adjusted = pd.Series(float("nan"), table.index)
    rows = table[is_primary(table)]
    for _, some in rows.groupby(["student", "target"], sort=False):
        adjusted[some.index] = holm(p[some.index].tolist())
    return adjusted


def is_primary(table: pd.DataFrame) -> pd.Series:
    """Whether each row says 'yes' in the column primary, (n,) bool; False everywhere if there is no such column."""
    return pd.Series(False, table.index) if "primary" not in table else table["primary"] == "yes"


def leads(table: pd.DataFrame, difference: str) -> tuple[int, int, int]:
    """The numbers of tasks on which a model is above, and below, after correction, and the number of tasks.

    Args: table: rows of one model; difference: over_base or over_control, a column with its corrected p.

    Example:

    >>> import pandas as pd
    >>> from alignet.evaluation import tasks
    >>> table = pd.DataFrame({"primary": ["yes", "yes", ""], "over_base": [0.1, -0.1, 0.2]})
    >>> table["over_base_holm"] = [0.01, 0.2, None]
    >>> tasks.leads(table, "over_base")  # above on one task of two
    (1, 0, 2)
    """
    tested = table[is_primary(table) & table[CORRECTED[difference]].notna()]
    clear = tested[tested[CORRECTED[difference]] < CLEAR][difference]
    return int((clear > 0).sum()), int((clear < 0).sum()), len(tested)
