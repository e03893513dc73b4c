"""Triplets to ask people about, drawn of a world's pictures, each picture about equally often.

`every` draws what a whole run needs, divided into one list of trials for each person: triplets of the split human,
which teach the teacher, and triplets of the split test at each level of abstraction, on which models are scored. `draw`
draws one kind.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from alignet.worlds.folder import answer_files
from alignet.worlds.format.schema import LEVELS, SPLITS
from alignet.worlds.format.tables import TRIPLET, World, WorldError

ALL, NONE = "all", "none"  # besides a level: triplets for both tables of choices, or for triplets.csv alone
LIST = "list"  # column: which person, from 1, is asked the trial
PER_LEVEL = 5  # of so many triplets that teach the teacher, each level of abstraction has one
SECONDS = 5.0  # a trial: 4.91 s is the median of 47,126 answers of 215 people (docs/own_data.md)
TRIES = 200  # in a row without a new triplet, before it is said that there are no more


def every(
    world: World, n: int, each: int, repeats: int = 1, people: int | None = None, seed: int = 0
) -> tuple[pd.DataFrame, list[str]]:
    """Triplets for triplets.csv and for levels.csv, in one table with a list of trials for each person.

    Args: n: triplets of pictures of the split human; each: triplets of pictures of the split test at each level, or as
        many as there are; repeats, seed: see `draw`; people: lists, at least `repeats`, which is the default.
    Returns: image_0, image_1, image_2, level ('' for triplets.csv) and list, from 1, n x repeats rows and those of the
        levels; and a line for each level that has fewer triplets than were asked for.
    Raises: WorldError if there are not n triplets, or if there are fewer people than repeats.
    """
    drawn, said = at_levels(world, each, seed)
    parts = [draw(world, n, None, seed=seed).assign(level=""), drawn]
    return in_lists(pd.concat(parts, ignore_index=True), repeats, people or repeats, seed), said


def at_levels(world: World, each: int, seed: int = 0) -> tuple[pd.DataFrame, list[str]]:
    """Triplets for levels.csv: `each` at each level of abstraction, or as many as there are.

    Returns: image_0, image_1, image_2 and level; and a line for each level that has fewer.
    """
    parts, said = [], []
    for number, level in enumerate(LEVELS, start=1):
        generator = np.random.default_rng(seed + number)
        chosen = up_to(world, each, level, generator)
        parts.append(_table(world, chosen, 1, generator).assign(level=level))
        if len(chosen) < each:
            pictures = f"the {len(world.rows('test'))} pictures of split test give {len(chosen)} triplets of level"
            said.append(f"{pictures} {level} by {world.class_label}, and {each} are asked for")
    return pd.concat(parts, ignore_index=True), said


def in_lists(triplets: pd.DataFrame, repeats: int, people: int, seed: int) -> pd.DataFrame:
    """Different triplets, each asked of `repeats` people, as one list of trials for each of `people`.

    Nobody sees a triplet twice; lists are equally long, or differ by one trial; each list is in an order of its own,
    and a triplet's pictures stand in another order in each. Args: triplets: (n, ...) with a level or without.
    Raises: WorldError if there are fewer people than repeats.
    """
    if people < repeats:
        raise WorldError(f"--people {people}: fewer than --repeats {repeats}, and nobody sees a triplet twice")
    generator = np.random.default_rng(seed)
    dealt = generator.permutation(len(triplets)).repeat(repeats)
    table = triplets.iloc[dealt].assign(**{LIST: np.arange(len(dealt)) % people + 1})
    table[TRIPLET] = generator.permuted(table[TRIPLET].to_numpy(object), axis=1)
    shuffled = table.iloc[generator.permutation(len(table))]
    return shuffled.sort_values(LIST, kind="stable").reset_index(drop=True)


def told(world: World, table: pd.DataFrame, seconds: float) -> Iterator[str]:
    """Lines that say what a table of lists asks, of how many people, for how long, and which pictures nobody sees.

    Args: table: of `in_lists`; seconds: that a trial takes, for the minutes.
    """
    triplets = table[TRIPLET].apply(lambda row: "\n".join(sorted(row)), axis=1)
    level = table["level"] if "level" in table else pd.Series("", table.index)
    kinds = triplets.groupby(level).nunique()
    asked = [f"{kinds['']:,} of split human (triplets.csv)"] if "" in kinds else []
    asked += [f"{kinds[name]:,} {name} of split test (levels.csv)" for name in LEVELS if name in kinds]
    yield f"triplets: {', '.join(asked)}; each asked of {len(table) // triplets.nunique():,} people"
    longest, people = int(table[LIST].value_counts().max()), table[LIST].nunique()
    minutes = f"about {max(1, round(longest * seconds / 60)):,} minutes at {seconds:g} s a trial (--seconds)"
    whose = "one person answers" if people == 1 else f"{people:,} people answer"
    yield f"{whose} {longest:,} trials{' each' if people > 1 else ''}: {minutes}; --people N divides them among N"
    shown = set(table[TRIPLET].to_numpy().ravel())
    unseen = world.images.loc[~world.images["image"].isin(shown), "split"].value_counts()
    splits = ", ".join(f"{unseen[split]:,} of split {split}" for split in SPLITS if split in unseen)
    yield f"people see {len(shown):,} of {len(world.images):,} pictures; nobody sees {splits or 'no picture'}"


def read(file: Path, world: World) -> pd.DataFrame:
    """A table of trials as text: image_0, image_1, in triplets image_2, and what other columns it has.

    It may have been saved by a spreadsheet (`answer_files.read`).
    Raises: WorldError that names the file, and the missing column, or the row and picture that is not the world's or
        stands twice.
    """
    if not file.is_file():
        raise WorldError(f"{file}: no such file; python -m alignet.worlds triplets writes one")
    table, _ = answer_files.read(file)
    if lacking := [column for column in TRIPLET[:2] if column not in table]:
        raise WorldError(f"{file}: has no column {', '.join(lacking)}")
    if not len(table):
        raise WorldError(f"{file}: holds no trials")
    columns = [column for column in TRIPLET if column in table]
    table[columns] = table[columns].apply(answer_files.names)
    known = set(world.images["image"].astype(str))
    for row, images in zip(table.index, table[columns].itertuples(index=False), strict=True):
        if unknown := [image for image in images if image not in known]:
            raise WorldError(f"{file}, row {row}: {unknown[0]!r} is not among the images of {world.name}")
        if len({*images}) < len(images):
            raise WorldError(f"{file}, row {row}: shows a picture twice")
    return table.reset_index(drop=True)


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
    table = _table(world, chosen, repeats, generator)
    return table if level is None else table.assign(level=level)


def _table(world: World, chosen: np.ndarray, repeats: int, generator: np.random.Generator) -> pd.DataFrame:
    """Triplets (n, 3), each `repeats` times in an order of its own, as a table of the pictures' names."""
    parts = [generator.permuted(chosen[generator.permutation(len(chosen))], axis=1) for _ in range(repeats)]
    return pd.DataFrame(world.images["image"].to_numpy()[np.concatenate(parts)], columns=TRIPLET)


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
    while len(found) < n and tries < TRIES and pictures:
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
