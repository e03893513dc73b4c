"""The world of THINGS' photographs and real people's choices, with known and new concepts.

People judged all concepts. Three tenths of the concepts are made new: no choice about them and no photograph of them
reaches a fit. docs/world.md says which rows go where; `alignet.worlds.fetch things` gets the files.
"""

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from alignet import results
from alignet.worlds.format import abstraction, participants, tables
from alignet.worlds.format.schema import CHOICE_SPLITS, LEVELS, SPLITS
from alignet.worlds.format.tables import CONCEPTS, TRIPLET, World
from alignet.worlds.splits import evenly_spread
from alignet.worlds.things import concepts as things_concepts
from alignet.worlds.things import photographs as things_photographs
from alignet.worlds.things import rows as things_rows
from alignet.worlds.things.concepts import HIERARCHY
from alignet.worlds.things.rows import Rows

SEED, NEW_SHARE, TEST_SHARE = 0, 0.3, 0.1
SEVERAL = 3  # people about a set of judged concepts: the set is for validation
STUDY = "2025"
JUDGED, NEW, WITHOUT = "judged", "new", "no photograph"  # a concept's role
SOURCES = [
    {
        "name": "THINGS: choices of 2020",
        "url": "https://osf.io/f5rn6, from github.com/MirkoTh/semantic-representations-ID and "
        "github.com/florianmahner/gpt-behavior",
        "licence": "CC BY 4.0",
    },
    {
        "name": "choices of 2025 about 440 triplets",
        "url": "https://github.com/MirkoTh/semantic-representations-ID",
        "licence": "repository GPL-3.0",
    },
    {
        "name": "THINGS: photographs",
        "url": "https://things-initiative.org, from github.com/jobellet/psychophysics",
        "licence": "research and academic use only, not to be passed on",
    },
    {
        "name": "THINGS: concepts and categories",
        "url": "https://osf.io/jum2f, from github.com/LukasMut/VICE",
        "licence": "CC BY 4.0",
    },
    {
        "name": "a photograph of each ImageNet class",
        "url": "https://github.com/EliSchwartz/imagenet-sample-images",
        "licence": "none stated; ImageNet's terms of access",
    },
]


@dataclass(frozen=True)
class Files:
    """The paths of the files from which the world is made.

    concepts, identifiers: THINGS' table and names; people, nobody: files of choices of 2020 whose rows do, and do not,
    name a person; study: the file that holds the study of 2025; photographs: folders of THINGS' photographs, by the
    first component of their paths, where files of a later folder replace those of the same name in an earlier one;
    classes: a folder of ImageNet's photographs, or None.
    """

    concepts: Path
    identifiers: Path
    people: tuple[Path, ...]
    nobody: tuple[Path, ...]
    study: Path
    photographs: dict[str, Path]
    classes: Path | None


@dataclass
class Report:
    """A report on what was read, as lines, and on what was left out, as counts by reason."""

    lines: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def text(self) -> str:
        """The lines about what was read, and a line for each reason why something was left out."""
        return "\n".join([*self.lines, *(f"left out: {n:,} {why}" for why, n in self.left_out.items() if n)])


def make(files: Files, out: Path, seed: int = SEED) -> tuple[World, Report]:
    """Read, divide and write the world; photographs stay where they are.

    Args: seed: of the draw of new concepts.
    Raises: WorldError naming the file that is missing or not as expected; `out` is then left untouched.
    """
    report = Report()
    with tables.staged(out) as part:
        _write(files, part, report, seed)
        world = tables.read(part)
    return dataclasses.replace(world, pictures=out), report


def _write(files: Files, out: Path, report: Report, seed: int) -> None:
    """Write world.yaml and the tables. `make` calls this so that the tables are freed before they are read again."""
    things = things_concepts.concept_table(files.concepts)
    names = things_concepts.identifiers(files.identifiers, things)
    photographs, left_out = things_photographs.of_concepts(files.photographs, names)
    report.left_out += left_out
    things = things.assign(role=roles(things, set(photographs["concept"]), seed))
    references = photographs.drop_duplicates("concept").set_index("concept")
    things["reference"], things["exact"] = (things["concept"].map(references[name]) for name in ("image", "exact"))
    _say_concepts(things, report)
    images, matches = _images(photographs, things, files.classes, report)
    triplets, by_name, at_levels = _tables(*_read(files, names, report), things, report)
    roots = files.photographs | ({} if files.classes is None else {"imagenet": files.classes})
    world = World(
        "things", "human", out, HIERARCHY, images, triplets, at_levels, None, roots, "judged", concept_choices=by_name
    )
    tables.write(world, out, sources=SOURCES, notes=report.text())
    results.save(things[["concept", "category", "domain", "role", "reference", "exact"]], out / "concepts.csv")
    if matches is not None:
        results.save(matches, out / "matches.csv")


def roles(things: pd.DataFrame, pictured: set[str], seed: int = SEED) -> np.ndarray:
    """The role of every concept, (n,): JUDGED, NEW or WITHOUT; NEW_SHARE of each category's concepts are new.

    New ones are drawn among all concepts, so whether a concept is new does not depend on the photographs on disk.
    """
    order = np.random.default_rng(seed).random(len(things))
    places = np.lexsort((order, things["category"]))
    roles_of = np.empty(len(things), dtype=object)
    roles_of[places] = np.where(evenly_spread(len(things)) < NEW_SHARE, NEW, JUDGED)
    roles_of[~things["concept"].isin(pictured).to_numpy()] = WITHOUT
    return roles_of


def _images(
    photographs: pd.DataFrame, things: pd.DataFrame, classes: Path | None, report: Report
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The tables images.csv and matches.csv.

    Split human holds the references of judged concepts, split synthesis their other photographs and those of ImageNet's
    classes that match no new concept, and split test all photographs of new concepts.
    """
    labelled = photographs.merge(things.drop(columns="exact"), on="concept", validate="many_to_one")
    reference = labelled["image"] == labelled["reference"]
    split = np.where(labelled["role"] == NEW, "test", np.where(reference, "human", "synthesis"))
    parts, matches = [labelled.assign(split=split, exact=labelled["exact"].map({True: "yes", False: "no"}))], None
    if classes is None:
        report.lines.append("ImageNet: no photographs here; synthesis has THINGS' alone")
    else:
        found, left_out = things_photographs.of_classes("imagenet", classes, things)
        report.left_out += left_out
        role = found["concept"].map(things.set_index("concept")["role"]).fillna("")
        same = things_photographs.contents([*labelled["file"], *found["file"]]).duplicated(keep=False)
        same = same.to_numpy()[len(labelled) :]
        report.left_out["ImageNet photographs of classes that are new concepts"] = int((role == NEW).sum())
        report.left_out["ImageNet photographs in files equal to THINGS'"] = int((same & (role != NEW)).sum())
        kept = found[(role != NEW) & ~same].assign(split="synthesis", exact="no")
        matches = found[["concept", "wordnet", "matched_by"]].assign(role=role)
        report.lines.append(f"ImageNet: {len(kept):,} photographs of classes for synthesis, of {len(found):,}")
        parts.append(kept)
    images = pd.concat(parts, ignore_index=True)[["image", "path", *HIERARCHY, "split", "exact"]]
    counts = images["split"].value_counts()
    report.lines.append("pictures: " + ", ".join(f"{counts.get(name, 0):,} of split {name}" for name in SPLITS))
    return images, matches


def _read(files: Files, names: list[str], report: Report) -> tuple[Rows, Rows]:
    """The rows of 2020, with at most one answer of a person to a set, and those of the study of 2025."""
    parts = []
    for path in (*files.people, *files.nobody):
        parts.append(things_rows.read(path, len(names), people=path in files.people))
        report.lines.append(f"{path.name}: {parts[-1].said()}")
    study = things_rows.of_2025(files.study, things_concepts.by_file_name(names))
    report.lines.append(f"{files.study.name}, the study of 2025: {study.said()}")
    rows, left_out = things_rows.single_answers(things_rows.joined(parts), np.unique(study.keys))
    report.left_out += left_out
    return rows, study


def _tables(
    rows: Rows, study: Rows, things: pd.DataFrame, report: Report
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The tables triplets, concept_choices and levels."""
    judged, new, without = ((things["role"] == role).to_numpy() for role in (JUDGED, NEW, WITHOUT))
    of_judged, of_new = judged[rows.triplets].all(1), new[rows.triplets].all(1)
    by_name = ~new[rows.triplets].any(1) & ~of_judged
    report.left_out["choices about new concepts together with others"] = int((~of_judged & ~of_new & ~by_name).sum())
    pictured = ~without[study.triplets].any(1)
    report.left_out["choices of 2025 about a concept without a photograph"] = int((~pictured).sum())
    triplets = _triplets(rows[of_judged], things, report)
    report.lines.append(f"choices by name, with a concept without a photograph: {rows[by_name].said()}")
    named = _table(rows[by_name], things["concept"], CONCEPTS, "2020")
    parts = [_levels(rows[of_new], things, "", report), _levels(study[pictured], things, STUDY, report)]
    return triplets, named, pd.concat(parts, ignore_index=True)


def _triplets(rows: Rows, things: pd.DataFrame, report: Report) -> pd.DataFrame:
    splits = choice_splits(rows.keys)
    report.lines += [f"triplets, {name}: {rows[splits == name].said()}" for name in CHOICE_SPLITS]
    return _table(rows, things["reference"], TRIPLET, "2020").assign(split=splits)


def choice_splits(keys: np.ndarray) -> np.ndarray:
    """The split of each row of triplets.csv, (n,): validation, test or train.

    Sets that SEVERAL people or more judged are for validation; a random TEST_SHARE of the other sets is for test.
    """
    several = things_rows.people_of_each_set(keys) >= SEVERAL
    test = things_rows.drawn_share(keys, SEED) < TEST_SHARE
    return np.where(several, "validation", np.where(test, "test", "train"))


def _levels(rows: Rows, things: pd.DataFrame, study: str, report: Report) -> pd.DataFrame:
    """The rows of levels.csv; triplets without a level are left out."""
    level = abstraction.by_class(things["category"].to_numpy()[rows.triplets])
    whose = f"choices of {study}" if study else "choices about new concepts"
    report.left_out[f"{whose} with two concepts of no category, so of no level"] = int(
        (level == abstraction.NONE).sum()
    )
    name = f"study of {study}" if study else "new concepts"
    report.lines += [f"levels, {name}, {kind}: {rows[level == kind].said()}" for kind in LEVELS]
    table = _table(rows, things["reference"], TRIPLET, study or "2020").assign(level=level, study=study)
    return table[level != abstraction.NONE]


def _table(rows: Rows, names: pd.Series, columns: list[str], year: str) -> pd.DataFrame:
    """A table of choices by name, with the odd one out in a random place.

    A participant is the year and the person's number, so that people of two studies remain two people. Where nobody is
    named it is `unknown_` and the row's own number, so that nobody is taken for another person.
    Args: names: the concepts' names by their numbers.
    """
    triplets, odd = things_rows.shuffled(rows.triplets, SEED)
    shown = {column: names.to_numpy()[triplets[:, place]] for place, column in enumerate(columns)}
    people = [f"{year}_{n}" if n >= 0 else f"{participants.UNKNOWN}{-n}" for n in rows.person.tolist()]
    return pd.DataFrame(shown | {"odd": odd, "participant": people})


def _say_concepts(things: pd.DataFrame, report: Report) -> None:
    counts, exact = things["role"].value_counts(), things.groupby("role")["exact"].sum()
    report.lines += [
        f"{role} concepts: {counts.get(role, 0):,}, of which {exact.get(role, 0):,} have the photograph that people saw"
        for role in (JUDGED, NEW)
    ]
    without = things.loc[things["role"] == WITHOUT, "concept"]
    report.lines.append(f"concepts without a photograph: {len(without)} ({', '.join(without) or 'none'})")
