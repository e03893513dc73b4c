"""Plans of experiments: the practice trials, the trials and the repeated trials that a person sees, in order."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from alignet.evaluation import representations
from alignet.maths.choices import pair_similarities
from alignet.maths.metrics import unit_vectors
from alignet.worlds.folder import trials
from alignet.worlds.format.tables import TRIPLET, World, WorldError

CANDIDATES = 20  # triplets drawn for each that is kept, where base and aligned are to disagree
SHARPNESS = 10.0
EACH = 8  # of so many trials about all levels, each level has one, as in `trials.every`
PAIR = TRIPLET[:2]


def triplets(
    world: World, n: int, level: str | None = None, practice: int = 3, checks: float = 0.1, seed: int = 0
) -> pd.DataFrame:
    """Odd-one-out trials of one person, in order.

    Args: level: None for triplets.csv, or one of levels.csv; 'all': one of EACH trials is about each level, or fewer
        where a level has not so many, and the others are for triplets.csv; practice: trials before, which are not
        exported; checks: share of the trials that come a second time, in another order of pictures, to see whether a
        person attends.
    Returns: image_0, image_1, image_2 in the order on the screen, level ('' where none), practice (bool), repeat_of
        (the row of the first time, or -1).
    Raises: WorldError if the pictures do not give n different triplets.
    """
    if level == trials.ALL:
        at_levels, _ = trials.at_levels(world, n // EACH, seed)
        human = trials.draw(world, n - len(at_levels), seed=seed).assign(level="")
        drawn = trials.in_lists(pd.concat([human, at_levels], ignore_index=True), 1, 1, seed)
        return _after_practice(world, drawn.drop(columns=trials.LIST), practice, checks, seed)
    return _planned(trials.draw(world, n + practice, level, seed=seed), practice, checks, seed)


def of_list(
    world: World, file: Path, number: int, practice: int = 3, checks: float = 0.1, seed: int = 0
) -> pd.DataFrame:
    """The trials of one person from a table that `worlds triplets` has written, in the form of `triplets`, after
    practice.

    Args: number: of the person's list, from 1.
    Raises: WorldError that names the file, and the columns that it lacks, its lists where it has none of this number,
        or a picture that is not the world's.
    """
    table = trials.read(file, world)
    if TRIPLET[2] not in table:
        raise WorldError(f"{file}: has no column {TRIPLET[2]}")
    lists = table[trials.LIST] if trials.LIST in table else pd.Series("1", table.index)
    mine = table[lists == str(number)]
    if not len(mine):
        raise WorldError(f"{file}: has no list {number}; its lists are {', '.join(dict.fromkeys(lists))}")
    kept = [column for column in (*TRIPLET, "level") if column in mine]
    return _after_practice(world, mine[kept], practice, checks, seed)


def disagreements(
    world: World,
    data: Path,
    student: str,
    n: int,
    level: str | None,
    practice: int = 3,
    checks: float = 0.1,
    seed: int = 0,
) -> pd.DataFrame:
    """Trials in the form of `triplets`, with triplets on which a finished run's base and AligNet disagree most.

    Each triplet is the best of CANDIDATES. Without a level, or with 'all', they are boundary triplets. Disagreement is
    the total variation distance between the choice distributions of both models: the softmax of SHARPNESS times the
    cosines.
    """
    level = "boundary" if level in (None, trials.ALL) else level
    drawn = trials.up_to(world, (n + practice) * CANDIDATES, level, np.random.default_rng(seed))
    if len(drawn) < n + practice:
        raise WorldError(f"{n + practice} triplets are asked for, and the world gives {len(drawn)} of level {level}")
    stored = representations.load(data, world, [student], ["alignet"])
    rows = torch.searchsorted(world.rows("test"), torch.from_numpy(drawn))
    base, aligned = (
        (SHARPNESS * pair_similarities(unit_vectors(stored[student, target, "pooled"], True)[rows])).softmax(1)
        for target in ("base", "alignet")
    )
    apart = (base - aligned).abs().sum(1) / 2
    most = drawn[
        apart.argsort(descending=True, stable=True)[: n + practice].roll(practice).numpy()
    ]  # practice: the last of them
    chosen = pd.DataFrame(world.images["image"].to_numpy()[most], columns=TRIPLET)
    return _planned(chosen.assign(level=level), practice, checks, seed)


def pairs(world: World, n: int, practice: int = 2, checks: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """Rating trials (1 to 5) of pairs of test pictures: as `triplets`, without image_2 and level.

    Half of the pairs share the label above the finest, since pairs of different labels are nearly all equally
    dissimilar.
    """
    drawn = trials.draw(world, n + practice, "boundary", seed=seed)
    label = world.class_label
    of = world.images.set_index("image")[label]
    rows = []
    for number, row in enumerate(drawn[TRIPLET].itertuples(index=False)):
        same = [(a, b) for a, b in ((row[0], row[1]), (row[0], row[2]), (row[1], row[2])) if of[a] == of[b]]
        other = [(a, b) for a, b in ((row[0], row[1]), (row[0], row[2]), (row[1], row[2])) if of[a] != of[b]]
        rows.append((same if number % 2 == 0 and same else other)[0])
    return _planned(pd.DataFrame(rows, columns=PAIR), practice, checks, seed)


def _after_practice(world: World, drawn: pd.DataFrame, practice: int, checks: float, seed: int) -> pd.DataFrame:
    """All drawn trials, after practice trials from the split human, which are drawn separately."""
    first = trials.draw(world, practice, seed=seed + 1)
    return _planned(pd.concat([first, drawn], ignore_index=True).fillna(""), practice, checks, seed)


def _planned(drawn: pd.DataFrame, practice: int, checks: float, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    columns = [column for column in TRIPLET if column in drawn]
    table = drawn.assign(practice=np.arange(len(drawn)) < practice, repeat_of=-1)
    again = generator.permutation(np.arange(practice, len(drawn)))[: round(checks * (len(drawn) - practice))]
    repeated = table.iloc[np.sort(again)].copy()
    repeated[columns] = generator.permuted(repeated[columns].to_numpy(object), axis=1)
    repeated["repeat_of"] = np.sort(again)
    table = pd.concat([table, repeated], ignore_index=True)
    if "level" not in table and len(columns) == 3:
        table["level"] = ""
    return table
