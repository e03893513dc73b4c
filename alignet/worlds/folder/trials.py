"""Triplets to ask people about, drawn of a world's pictures, each picture about equally often."""

import numpy as np
import pandas as pd

from alignet.worlds.format.schema import LEVELS
from alignet.worlds.format.tables import TRIPLET, World, WorldError

TRIES = 200  # in a row without a new triplet, before it is said that there are no more


def draw(world: World, n: int, level: str | None = None, repeats: int = 1, seed: int = 0) -> pd.DataFrame:
    """A table to ask people by: image_0, image_1, image_2 and, with a level, `level`; n x repeats rows.

    Without a level the pictures are those of the split 'human', for triplets.csv; with one those of 'test', for
    levels.csv: three labels (coarse), two pictures of one label and one of another (boundary), or one label (fine),
    of the label above the finest. Pictures that were shown least come first, ties at random; no triplet twice. With
    repeats each triplet is asked that often, of different people, for a noise ceiling; each time in another order.

    Raises: WorldError if the pictures do not give n different triplets.
    """
    generator = np.random.default_rng(seed)
    chosen = up_to(world, n, level, generator)
    if len(chosen) < n:
        split, label = ("human", "") if level is None else ("test", f" of level {level} by {world.class_label}")
        where = f"{len(world.rows(split))} pictures of the split {split!r}"
        raise WorldError(f"{n} different triplets are asked for, and {where} give only {len(chosen)}{label}")
    parts = [generator.permuted(chosen[generator.permutation(n)], axis=1) for _ in range(repeats)]
    table = pd.DataFrame(world.images["image"].to_numpy()[np.concatenate(parts)], columns=TRIPLET)
    return table if level is None else table.assign(level=level)


def up_to(world: World, n: int, level: str | None, generator: np.random.Generator) -> np.ndarray:
    """The triplets of `draw` as rows of `images`, (n, 3), or all that were found, (m < n, 3).

    Raises: WorldError naming a level that there is not.
    """
    rows = world.rows("human" if level is None else "test").numpy()
    groups = pd.factorize(world.images[world.class_label].iloc[rows])[0]
    return rows[_triplets(len(rows), groups, level, n, generator)]


def _triplets(
    pictures: int, groups: np.ndarray, level: str | None, n: int, generator: np.random.Generator
) -> np.ndarray:
    """Different triplets of the numbers below `pictures`, (n or fewer, 3); groups: (pictures,) their labels."""
    if level is not None and level not in LEVELS:
        raise WorldError(f"--level: {level!r} is none of {', '.join(LEVELS)}")
    shown = np.zeros(pictures)
    seen: set[tuple[int, ...]] = set()
    found: list[tuple[int, ...]] = []
    tries = 0
    while len(found) < n and tries < TRIES:
        triplet = _one(shown + generator.random(pictures), groups, level)
        key = tuple(sorted(triplet))
        tries += 1
        if len(triplet) == 3 and key not in seen:
            seen.add(key)
            found.append(triplet)
            tries = 0
        # What was drawn is put back a little even where it is not new, so that others come first.
        shown[list(triplet)] += 1 if tries == 0 else 0.5
    return np.array(found, int).reshape(-1, 3)


def _one(order: np.ndarray, groups: np.ndarray, level: str | None) -> tuple[int, ...]:
    """The first pictures by `order` that make a triplet of the level; fewer than three where there are none."""
    first = int(order.argmin())
    same, free = groups == groups[first], np.ones(len(order), bool)
    triplet, free[first] = [first], False
    for place in (1, 2):
        if level == "fine" or (level == "boundary" and place == 1):
            allowed = free & same
        elif level == "boundary":
            allowed = free & ~same
        elif level == "coarse":
            allowed = free & ~np.isin(groups, groups[triplet])
        else:
            allowed = free
        if not allowed.any():
            break
        triplet.append(int(np.where(allowed, order, np.inf).argmin()))
        free[triplet[-1]] = False
    return tuple(triplet)
