"""Influences: how much each triplet or pair moves a score. Every run stores them for intervals over several training
seeds.

They are one Parquet file with a row for each unit of each benchmark: benchmark, metric, object_0 to object_2 (numbers
of concepts or pictures, -1: none) and, for each model, a column student|target with the unit's influence on that
model's score (docs/method.md, section 10).
"""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from alignet import config, results
from alignet.maths.intervals import Units, mean_influence

FEWEST = 10  # units that an interval is given for: of fewer the spread says too little
OBJECTS = ["object_0", "object_1", "object_2"]
FILE = "influences.parquet"
MODEL = ("student", "target")
MOST = 200_000  # units whose influences are kept: of a benchmark with more, pairs of many objects, none are
NAN = float("nan")
Score = tuple[float, Tensor]  # a score and its influence, (n,)
Stored = dict[tuple[str, str], tuple[Units, dict[tuple[str, str], Tensor]]]  # by benchmark and metric


def about(study: str, regime: str, level: str) -> str:
    """The name of a benchmark of choices: 'new, coarse', or 'study, all, coarse'.

    Example:

    >>> from alignet.evaluation import influences
    >>> influences.about("", "new", "coarse"), influences.about("2025", "all", "fine")
    ('new, coarse', '2025, all, fine')
    """
    return ", ".join(part for part in (study, regime, level) if part)


def interval(units: Units, score: Score, counted: Tensor | None = None) -> tuple[float, float]:
    """The 95 % interval of a score; NaN if fewer than FEWEST units count.

    Args: counted: (n,) bool, whether each unit counts; None: all do.
    """
    n = len(units.objects) if counted is None else int(counted.sum())
    return units.interval(*score) if n >= FEWEST else (NAN, NAN)


def mean(name: str, ends: str, values: Tensor, units: Units) -> dict[str, float]:
    """The mean of the values, (n,), that are not NaN, and its 95 % interval, under the given names."""
    score = mean_influence(values, torch.ones(len(values)))
    low, high = interval(units, score, ~values.isnan())
    return {name: score[0], f"{ends}_low": low, f"{ends}_high": high}


def compared(
    scores: dict[tuple[str, str], Score], units: Units, name: str = "value", counted: Tensor | None = None
) -> list[dict]:
    """A row for each (student, target): its score, and its differences to the base and the control of the same student.

    The score is in the column `name`, its interval in ci_low and ci_high. over_base and over_control are paired
    differences, each with its interval.

    Args: counted: (n,) bool, whether the scores count each unit; None: they count all.

    Example:

    >>> import torch
    >>> from alignet.evaluation import influences
    >>> from alignet.maths.intervals import Units, mean_influence
    >>> right = {
    ...     ("tiny", "base"): torch.tensor([0.0, 1.0, 0.0, 1.0] * 5),
    ...     ("tiny", "alignet"): torch.tensor([1.0, 1.0, 0.0, 1.0] * 5),
    ... }
    >>> scores = {model: mean_influence(values, torch.ones(20)) for model, values in right.items()}
    >>> _, row = influences.compared(scores, Units(torch.arange(60).reshape(20, 3)))
    >>> row["target"], row["value"], row["over_base"]
    ('alignet', 0.75, 0.25)
    """
    rows = []
    for (student, target), (value, influence) in scores.items():
        low, high = interval(units, (value, influence), counted)
        row = {"student": student, "target": target, name: value, "ci_low": low, "ci_high": high}
        for other, difference in results.OTHERS:
            if target not in ("base", other) and (student, other) in scores:
                before, of_before = scores[student, other]
                low, high = interval(units, (value - before, influence - of_before), counted)
                row |= {difference: value - before, f"{difference}_low": low, f"{difference}_high": high}
        rows.append(row)
    return rows


def beside_centred(plain: list[dict], centred: list[dict]) -> list[dict]:
    """Rows of `compared` for plain cosines, joined with those for centred ones in columns that begin with centred_."""
    renamed = {"ci_low": "centred_low", "ci_high": "centred_high"}
    return [
        row | {renamed.get(name, f"centred_{name}"): number for name, number in other.items() if name not in MODEL}
        for row, other in zip(plain, centred, strict=True)
    ]


def block(benchmark: str, metric: str, units: Units, scores: dict[tuple[str, str], Score]) -> pd.DataFrame:
    """The influences of one benchmark as rows of the file. Args: scores: (student, target) -> score and influence."""
    objects = torch.full((len(units.objects), len(OBJECTS)), -1, dtype=torch.int32)
    objects[:, : units.objects.shape[1]] = units.objects
    rows = pd.DataFrame(objects.numpy(), columns=OBJECTS).assign(benchmark=benchmark, metric=metric)
    models = {f"{student}|{target}": u.float().numpy() for (student, target), (_, u) in scores.items()}
    return pd.concat([rows, pd.DataFrame(models, index=rows.index)], axis=1)


def save(blocks: list[pd.DataFrame], folder: Path) -> None:
    """Write the blocks that have at most MOST units as one file; equal blocks give equal bytes."""
    config.own(folder).mkdir(parents=True, exist_ok=True)
    blocks = [block for block in blocks if len(block) <= MOST]
    table = pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=["benchmark", "metric", *OBJECTS])
    names = {column: table[column].astype("category") for column in ("benchmark", "metric")}
    table.assign(**names).to_parquet(folder / FILE, index=False, compression="zstd")


def load(folder: Path) -> Stored:
    """The influences that `save` has written, by benchmark and metric, in double precision."""
    table, found = pd.read_parquet(folder / FILE), {}
    models = [column for column in table if column not in ("benchmark", "metric", *OBJECTS)]
    for key, rows in table.groupby(["benchmark", "metric"], sort=False, observed=True):
        objects = torch.tensor(rows[OBJECTS].to_numpy("int64"))
        known = {name: torch.tensor(rows[name].to_numpy(float)) for name in models if rows[name].notna().all()}
        named = {(name.rpartition("|")[0], name.rpartition("|")[2]): u for name, u in known.items()}
        found[key[0], key[1]] = Units(objects[:, (objects >= 0).any(0)]), named
    return found
