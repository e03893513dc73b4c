"""Checks that open the pictures of a world, and a summary of the world in numbers."""

import hashlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor, bincount, from_numpy

from alignet.maths import metrics
from alignet.maths.choices import choice_counts, choices_by_person
from alignet.worlds.format import participants
from alignet.worlds.format.pictures import UNREADABLE, fault
from alignet.worlds.format.schema import SPLITS
from alignet.worlds.format.tables import World

NAMED = 5  # the problems of one kind that are named; the others are counted


def pictures(world: World, table: str = "images.csv") -> list[str]:
    """A line for each picture that cannot be read and for each pair of equal files in two splits.

    Args: table: the file that names the pictures, which the lines name.
    """
    paths, names = world.paths(), world.images["path"].tolist()
    reasons = faults(paths)
    lines = _named(
        table, "cannot be read as a picture", [f"{n} ({f})" for n, f in zip(names, reasons, strict=True) if f]
    )
    same = [
        f"{names[one]} ({world.images['split'].iloc[one]}) and {names[other]} ({world.images['split'].iloc[other]})"
        for one, other in _in_two_splits(paths, world.images["split"].tolist(), reasons)
    ]
    return lines + _named(table, "the same picture in two splits", same)


def summary(world: World) -> str:
    """A world in numbers: pictures and labels of each split, choices, people, raters and noise ceilings."""
    lines = [
        f"{world.name}: {len(world.images)} pictures, choices of {world.asked}",
        "",
        "labels and pictures",
    ]
    for split in SPLITS:
        rows = world.images[world.images["split"] == split]
        labels = ", ".join(f"{rows[label].nunique()} x {label}" for label in world.hierarchy)
        lines.append(f"  {split:<10} {len(rows):>8} pictures: {labels}")
    lines += ["", "choices"] + [_choices(world, name, table) for name, table in _parts(world)]
    if not len(world.triplets):
        lines.append("  triplets   none: no teacher can be fitted")
    if world.levels is None:
        lines += [f"  levels     none: {line}" for line in _without_levels(world)]
    if world.ratings is not None:
        raters = world.ratings["participant"].nunique()
        lines.append(f"  ratings    {len(world.ratings):>8} ratings of {raters} participants")
    if world.concept_choices is not None:
        people = participants.said(world.concept_choices["participant"])
        of_names = f"{len(world.concept_choices):>8} choices of {people}"
        lines.append(f"  by name    {of_names}, which VICE alone reads")
    if world.shared_concepts:
        where = "human and synthesis" if world.shared_concepts == "judged" else "several splits"
        lines += ["", f"{world.hierarchy[0]}s may stand in {where} (shared_concepts: {world.shared_concepts})"]
    return "\n".join(lines)


def _without_levels(world: World) -> list[str]:
    """Lines that say what is scored in place of levels.csv."""
    if "split" in world.triplets and (world.triplets["split"] == "test").any():
        return ["models are scored on the rows of split test of triplets.csv, as known concepts"]
    return [
        "the teacher alone is scored, by cross-validation; `alignet worlds triplets` asks about test pictures, and "
        "`alignet worlds hold-out` keeps choices that the students are scored on"
    ]


def median_side(world: World, most: int = 50) -> int:
    """The median of the pictures' shorter sides in pixels, over those of the first `most` that open; 0 if none does."""
    sides = []
    for path in world.paths()[:most]:
        with suppress(*UNREADABLE), Image.open(path) as opened:
            sides.append(min(opened.size))
    return sorted(sides)[len(sides) // 2] if sides else 0


def noise_ceilings_by_table(world: World) -> pd.DataFrame:
    """The noise ceiling of each kind of triplet (chance is 1/3).

    Returns: a row for each kind: table, triplets, choices, repeated (triplets that several people judged) and
        noise_ceiling on the repeated ones. A named study of levels.csv has rows of its own.
    """
    tables = {"triplets.csv": world.triplets} if len(world.triplets) else {}
    if world.levels is not None:
        study = world.levels["study"].fillna("") if "study" in world.levels else pd.Series("", index=world.levels.index)
        for (name, level), rows in world.levels.groupby([study, "level"], sort=False):
            tables[", ".join(part for part in ("levels.csv", name, level) if part)] = rows
    agreements = {name: agreement_between_people(world, table) for name, table in tables.items()}
    return pd.DataFrame(
        {
            "table": name,
            "triplets": len(of_table),
            "choices": len(tables[name]),
            "repeated": int((~of_table.isnan()).sum()),
            "noise_ceiling": metrics.odd_one_out_noise_ceiling(of_table),
        }
        for name, of_table in agreements.items()
    ).assign(people=world.choices)


def agreement_between_people(world: World, table: pd.DataFrame) -> Tensor:
    """Agreement of one person with the majority of the others, for each distinct triplet of a table of choices, (n,).

    NaN where a single person judged the triplet, however often.
    """
    person = from_numpy(pd.factorize(table["participant"])[0])
    distinct, own, triplet = choices_by_person(*world.choice_rows(table), person)
    return metrics.leave_participant_out_agreement(own, triplet, len(distinct))


def _parts(world: World) -> list:
    parts = [("triplets", world.triplets)] if len(world.triplets) else []
    if "split" in world.triplets:
        parts += [(f"  {split}", rows) for split, rows in world.triplets.groupby("split", sort=False)]
    if world.levels is not None:
        studies = world.levels["study"].fillna("") if "study" in world.levels else ""
        kinds = (world.levels["level"] + " " + studies).str.strip()
        parts += [("levels", world.levels), *((f"  {kind}", rows) for kind, rows in world.levels.groupby(kinds))]
    return parts


def _choices(world: World, name: str, table: pd.DataFrame) -> str:
    counts = choice_counts(*world.choice_rows(table))[1]
    raters = counts.sum(1)
    line = f"  {name:<13} {len(table):>8} choices by {participants.said(table['participant'])}"
    line += f" on {len(counts)} triplets, raters per triplet {_spread(raters)}"
    ceiling = metrics.odd_one_out_noise_ceiling(agreement_between_people(world, table))
    if ceiling == ceiling:
        line += f", noise ceiling {ceiling:.3f}"
    else:
        line += ", no noise ceiling: no two people judged one triplet"
    if "rt" in table:
        line += f", {100 * table['rt'].notna().mean():.0f} % with a response time"
    return line


def _spread(raters: Tensor) -> str:
    shares = bincount(raters)
    present = np.flatnonzero(shares.numpy())
    return str(present[0]) if len(present) == 1 else f"{present[0]} to {present[-1]}"


def faults(paths: list[Path]) -> list[str | None]:
    """The reason why each picture cannot be read; None for one that can."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(fault, paths))


def _in_two_splits(paths: list[Path], splits: list[str], faults: list[str | None]) -> list[tuple[int, int]]:
    """Pairs of rows with equal bytes in different splits; only files of equal size are read."""
    by_size, pairs = defaultdict(list), []
    first: dict[bytes, int] = {}  # the first row with each content, by its digest
    for row, (path, found) in enumerate(zip(paths, faults, strict=True)):
        if found is None:
            by_size[path.stat().st_size].append(row)
    for rows in by_size.values():
        if len({splits[row] for row in rows}) > 1:
            for row in rows:
                other = first.setdefault(hashlib.sha256(paths[row].read_bytes()).digest(), row)
                if splits[other] != splits[row]:
                    pairs.append((other, row))
    return pairs


def _named(table: str, what: str, found: list[str]) -> list[str]:
    if not found:
        return []
    more = f", and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return [f"{table}, column path: {len(found)} x {what}: {'; '.join(found[:NAMED])}{more}"]
