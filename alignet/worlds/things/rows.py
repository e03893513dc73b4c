"""People's odd-one-out choices about THINGS' concepts, as files in public repositories hold them.

A row is `i j k [person]`, separated by blanks: numbers of concepts from 0, the odd one out last, and the person's
number. Files are read in blocks, so that memory holds 10 bytes a row and no text.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from alignet.worlds.format.tables import WorldError

BLOCK = 1 << 18  # rows read at once
FIRST_OF_2025 = 10  # in the study's file, people with smaller numbers are of 2020 and stand in the other files as well


@dataclass(frozen=True)
class Rows:
    """People's choices.

    triplets: (n, 3) int16, the odd one out last; person: (n,) int32 from 0 or, where the file names nobody, -1 for its
    first row, -2 for its second and so on.
    """

    triplets: np.ndarray
    person: np.ndarray

    def __len__(self) -> int:
        return len(self.person)

    def __getitem__(self, kept: np.ndarray) -> "Rows":
        return Rows(self.triplets[kept], self.person[kept])

    @property
    def keys(self) -> np.ndarray:
        """A number for each row's set of three concepts, whatever their order, (n,) int64."""
        return set_keys(self.triplets)

    @property
    def named(self) -> np.ndarray:
        """Whether a row's person is known, (n,) bool."""
        return self.person >= 0

    def said(self) -> str:
        """The numbers of choices, triplets and people, in words."""
        people = len(np.unique(self.person[self.named]))
        who = [f"{people:,} people"] if people else []
        who += [f"{(~self.named).sum():,} unknown ones"] if not self.named.all() else []
        return f"{len(self):,} choices about {len(np.unique(self.keys)):,} triplets, {' and '.join(who) or 'nobody'}"


def set_keys(triplets: np.ndarray) -> np.ndarray:
    """A number for each set of three numbers below 2^15, whatever their order: (n, 3) -> (n,) int64."""
    first, second, third = np.sort(triplets, axis=1).astype(np.int64).T
    return (first << 30) | (second << 15) | third


def joined(parts: list[Rows]) -> Rows:
    """The rows of several files, one after the other; rows that name no person are numbered through."""
    triplets = np.concatenate([part.triplets for part in parts])
    person = np.concatenate([part.person for part in parts])
    unnamed = person < 0
    person[unnamed] = -1 - np.arange(unnamed.sum())
    return Rows(triplets, person)


def read(path: Path, concepts: int, people: bool) -> Rows:
    """All rows of a file, read block by block.

    Args: concepts: how many there are; people: whether a fourth column names the person.
    Raises: WorldError naming the file, the first wrong row and what is wrong with it.
    """
    if not path.is_file():
        raise WorldError(f"{path}: no such file: run python -m alignet.worlds.fetch things")
    wide, parts, row = 3 + people, [], 1
    names = list(range(wide + 1))  # one more than there should be, which must stay empty
    try:
        with pd.read_csv(
            path,
            sep=r"\s+",
            header=None,
            names=names,
            index_col=False,
            dtype=float,
            skip_blank_lines=False,
            chunksize=BLOCK,
        ) as blocks:
            for block in blocks:
                parts.append(_checked(block.to_numpy(), path, row, concepts, wide))
                row += len(block)
    except (ValueError, UnicodeDecodeError) as error:
        if isinstance(error, WorldError):
            raise
        what = "three numbers and a person" if people else "three numbers"
        raise WorldError(f"{path}: is not rows of {what} ({' '.join(str(error).split())})") from None
    return joined(parts)


def _checked(block: np.ndarray, path: Path, row: int, concepts: int, wide: int) -> Rows:
    numbers = block[:, :wide]
    ordered = np.sort(block[:, :3], axis=1)
    problems = {
        f"is not {wide} numbers": np.isnan(numbers).any(1) | ~np.isnan(block[:, wide]),
        "is not whole numbers from 0": (numbers % 1 != 0).any(1) | (numbers < 0).any(1),
        f"names a concept beyond {concepts - 1}": (numbers[:, :3] >= concepts).any(1),
        "names a concept twice": (ordered[:, 1:] == ordered[:, :-1]).any(1),
    }
    for why, wrong in problems.items():
        if wrong.any():
            place = int(wrong.argmax())
            values = " ".join(f"{value:g}" for value in block[place] if not np.isnan(value))
            raise WorldError(f"{path}, row {row + place}: {values!r} {why}")
    person = numbers[:, 3] if wide == 4 else np.full(len(block), -1)  # `joined` numbers them
    return Rows(numbers[:, :3].astype(np.int16), person.astype(np.int32))


def of_2025(path: Path, by_file_name: np.ndarray) -> Rows:
    """The rows of the study of 2025's own participants, with concepts numbered as in unique_id.txt.

    Args: by_file_name: (n,) numbers in unique_id.txt by the numbers in that study's file.
    """
    rows = read(path, len(by_file_name), people=True)
    rows = rows[rows.person >= FIRST_OF_2025]
    return Rows(by_file_name[rows.triplets].astype(np.int16), rows.person)


def single_answers(rows: Rows, study: np.ndarray) -> tuple[Rows, Counter[str]]:
    """The rows of 2020 with at most one answer of a person to a set of three, and what was left out and why.

    A person's later answers to a set are left out. Rows without a person are left out if a row with a person is about
    the same set (nearly always with the same choice, since it is the same judgement in a second file); of the others,
    all except the first about a set are left out, since they may be one person's. Sets of the study of 2025 (keys,
    sorted) are left out altogether: that study is scored separately, and no fit may see its sets.
    """
    keys, named, left_out = rows.keys, rows.named, Counter[str]()
    kept = _first_of_each(keys, np.where(named, rows.person, -1))
    left_out["a person's later answers to one set"] = int((~kept & named).sum())
    left_out["later answers to one set, no person named"] = int((~kept & ~named).sum())
    double = kept & ~named & np.isin(keys, keys[named])
    left_out["no person named, and the set stands in a file that names one"] = int(double.sum())
    kept &= ~double
    of_study = kept & np.isin(keys, study)
    left_out["about a set of the study of 2025"] = int(of_study.sum())
    return rows[kept & ~of_study], left_out


def _first_of_each(keys: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Whether a row is the first of its set and person, (n,) bool."""
    order = np.lexsort((person, keys))  # stable
    repeated = (np.diff(keys[order]) == 0) & (np.diff(person[order]) == 0)
    first = np.ones(len(keys), bool)
    first[order[1:][repeated]] = False
    return first


def people_of_each_set(keys: np.ndarray) -> np.ndarray:
    """The number of rows that share each row's key, (n,); after `single_answers` this is the number of people."""
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return counts[place]


def drawn_share(keys: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) for each key, (n,), which depends on the key and the seed only.

    Whether a set is drawn therefore does not depend on the other rows.
    Source: Steele, Lea and Flood, 'Fast splittable pseudorandom number generators' (OOPSLA 2014), mix64variant13.
    """
    mixed = keys.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % (1 << 64))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))).astype(np.float64) / 2.0**64


def shuffled(triplets: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Triplets, whose odd one out comes last, in random order, (n, 3), and the position of the odd one out, (n,)."""
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(3, dtype=np.int8), (len(triplets), 1)), axis=1)
    return np.take_along_axis(triplets, order.astype(np.int64), 1), (order == 2).argmax(1)
