"""Public photographs and embeddings of human choices -> a world whose choices are derived, not asked.

Pictures: a photograph of each ImageNet class, and those of the paper's human-validation experiment. Labels and choices:
concepts of THINGS, with the embeddings that their authors fitted to millions of people's odd-one-out choices: VICE for
triplets.csv, SPoSE for levels.csv. `alignet.worlds.fetch photos` gets the files; docs/world.md has the sources.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet.triplets import LEVEL_SCHEMES, draw, gather_pair_similarities, groups
from alignet.worlds.format import tables
from alignet.worlds.format.tables import World, WorldError, save_csv
from alignet.worlds.splits import evenly_spread

HIERARCHY = ("concept", "category", "domain")
UNLABELLED, OTHER = "unlabelled", "other"
CATEGORIES = (
    "Top-down Category (manual selection)",
    "Bottom-up Category (Human Raters)",
    "Top-down Category (WordNet)",
)
NATURAL = {"animal", "bird", "insect", "plant", "fruit", "vegetable", "body part"}
EATEN = {"food", "dessert", "drink", "candy", "breakfast food", "seafood"}
PICTURE = re.compile(r"(?P<wordnet>n\d{8})_(?P<name>.+)\.(?:JPEG|jpe?g)")
TEST_SHARE, SEED = 1 / 3, 0
TRAIN, VALIDATION, HELD_OUT, PER_LEVEL = 20000, 500, 400, 400  # triplets
ANSWERS = {"train": 1, "validation": 4, "test": 8, "level": 7}  # choices a triplet
JUDGED_TEST_SHARE = 0.12  # of the human split's concepts, kept for the test rows of triplets.csv
SOURCES = [
    {
        "name": "a photograph of each ImageNet class",
        "url": "https://github.com/EliSchwartz/imagenet-sample-images",
        "licence": "none stated; ImageNet's terms of access",
    },
    {
        "name": "pictures of the paper's human-validation experiment",
        "url": "https://github.com/Frieda-Josefine/AligNet-Human-Validation-Experiment",
        "licence": "MIT for the code; the pictures are ImageNet's",
    },
    {
        "name": "THINGS concepts and the VICE embedding (triplets.csv)",
        "url": "https://github.com/LukasMut/VICE",
        "licence": "GPL-3.0",
    },
    {
        "name": "the 66-dimensional SPoSE embedding of THINGS (levels.csv)",
        "url": "https://github.com/ViCCo-Group/semantic_features_gpt_3",
        "licence": "none stated",
    },
]
NOTES = (
    "The choices are DERIVED: drawn from the choice probabilities of embeddings that others fitted to 4.7 million "
    "people's choices about THINGS (VICE for triplets.csv, SPoSE for levels.csv). Nobody was asked about these "
    "pictures, and there are no response times."
)


@dataclass(frozen=True)
class Files:
    """Where the public files lie: tables and embeddings, and folders that are searched for pictures."""

    concepts: Path
    identifiers: Path
    vice: Path
    spose: Path
    samples: Path
    validation: Path


def make(files: Files, root: Path, out: Path) -> World:
    """Match, divide, draw choices and write the world; its pictures stay below `root`.

    Raises: WorldError naming the file that is missing or is not what it should be.
    """
    things = concept_table(files)
    images = picture_table(files, things, root)
    generator = torch.Generator().manual_seed(SEED)
    vice, spose = embeddings(files, things)
    triplets = _judged(images, vice, generator)
    levels = _levels(images, spose, generator)
    kept = images[["image", "path", *HIERARCHY, "split"]]
    world = World("photos", "derived", root, HIERARCHY, kept, triplets, levels)
    with tables.staged(out) as part:
        tables.write(world, part, sources=SOURCES, notes=NOTES)
        save_csv(images.drop_duplicates("concept")[["concept", "wordnet", "matched_by", "split"]], part / "matches.csv")
    return tables.read(out)


def concept_table(files: Files) -> pd.DataFrame:
    """THINGS' concepts, a row each in the order of its embeddings: concept, wordnet, names (set), category, domain."""
    table = _read(files.concepts, lambda path: pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False))
    lacking = sorted({"Word", "uniqueID", "WordNet Synonyms", "WordNet ID", *CATEGORIES} - set(table))
    if lacking:
        raise WorldError(f"{files.concepts}: lacks the column {', '.join(lacking)}")
    synonyms = table["WordNet Synonyms"].str.split(",").map(lambda words: {normal(word) for word in words})
    names = [found | {normal(word)} for found, word in zip(synonyms, table["Word"], strict=True)]
    category = pd.Series(OTHER, index=table.index)
    for column in reversed(CATEGORIES):
        first = table[column].str.split(",").str[0].str.strip()
        category = first.where(first != "", category)
    domain = category.map(lambda name: "natural" if name in NATURAL else "food" if name in EATEN else "artifact")
    identity = {"concept": table["uniqueID"], "wordnet": table["WordNet ID"], "names": names}
    return pd.DataFrame(identity | {"category": category, "domain": domain})


def normal(name: str) -> str:
    """A name without case, quotes and brackets, its words separated by one space."""
    return " ".join(re.sub(r"[^a-z0-9]+", " ", name.lower()).split())


def picture_table(files: Files, things: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The rows of images.csv, with wordnet and matched_by ('WordNet', 'name' or nothing).

    A class is a concept if THINGS gives its WordNet id or, for a concept without an id, if its name or a synonym is
    that of one class alone (a kite, a plane or an ear is a bird, a tool or a part of corn in ImageNet). Concepts are
    divided into human and test within their category; pictures of no concept are for synthesis. A class has one
    concept, so no concept stands in two splits. Pictures that stand for two classes, in equal files, are left out.
    """
    found = pd.DataFrame([*_found(files.samples, root), *_found(files.validation, root)])
    if found.empty:
        raise WorldError(f"{files.samples}: holds no picture named n########_name.JPEG")
    named = found[found["path"].str.startswith(str(files.samples.relative_to(root).as_posix()))]
    classes = named.drop_duplicates("wordnet").set_index("wordnet")["name"]
    matches = matched(classes, things)
    content = found["path"].map(lambda path: sha256((root / path).read_bytes()).hexdigest())
    twice = content.duplicated(keep=False) | found["image"].duplicated()  # one picture that stands for two classes
    images = found[found["wordnet"].isin(classes.index) & ~twice].reset_index(drop=True)
    row = images["wordnet"].map(matches["row"]).astype("Int64")
    labelled = row.notna()
    for column in ("concept", "category", "domain"):
        images[column] = UNLABELLED
        images.loc[labelled, column] = things[column].to_numpy()[row[labelled].astype(int)]
    images.loc[~labelled, "concept"] = images["wordnet"] + " " + images["wordnet"].map(classes)
    images["matched_by"] = images["wordnet"].map(matches["matched_by"]).fillna("")
    images["thing"] = row.fillna(-1).astype(int)
    images["split"] = images["concept"].map(_splits(images[labelled])).fillna("synthesis")
    return images.sort_values("image").reset_index(drop=True)


def matched(classes: pd.Series, things: pd.DataFrame) -> pd.DataFrame:
    """The concept of each class that has one: WordNet id -> row of `things`, matched_by.

    Args: classes: WordNet id -> name. Names that two classes or two concepts have match nothing.
    """
    by_id = {wordnet: row for row, wordnet in enumerate(things["wordnet"]) if wordnet in classes.index}
    free = classes[~classes.index.isin(list(by_id))].map(normal)
    free = free[~free.duplicated(keep=False) & ~free.isin(set(classes[list(by_id)].map(normal)))]
    rows: dict[str, list[int]] = {}
    for row, names in enumerate(things["names"]):
        if not things["wordnet"].iloc[row]:
            for name in names:
                rows.setdefault(name, []).append(row)
    by_name = {wordnet: rows[name][0] for wordnet, name in free.items() if len(rows.get(name, [])) == 1}
    once = pd.Series(by_name, dtype=int).drop_duplicates(keep=False)
    found = [(wordnet, row, "WordNet") for wordnet, row in by_id.items()]
    found += [(wordnet, row, "name") for wordnet, row in once.items()]
    return pd.DataFrame(found, columns=["wordnet", "row", "matched_by"]).set_index("wordnet")


def embeddings(files: Files, things: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """VICE's and SPoSE's embedding of THINGS' concepts, (1854, d) each, not negative, rows in the order of `things`.

    Raises: WorldError if they are of other concepts.
    """
    identifiers = _read(files.identifiers, lambda path: path.read_text(encoding="utf-8").split())
    if identifiers != things["concept"].tolist():
        raise WorldError(f"{files.identifiers}: names other concepts than {files.concepts}, or in another order")
    found = []
    for path, read in ((files.vice, np.load), (files.spose, np.loadtxt)):
        rows = np.asarray(_read(path, read), dtype=np.float32)
        if rows.ndim != 2 or len(rows) != len(things) or not np.isfinite(rows).all():
            raise WorldError(f"{path}: is {rows.shape}, and there are {len(things)} concepts")
        found.append(torch.from_numpy(rows).relu())
    return found[0], found[1]


def _found(folder: Path, root: Path) -> list[dict[str, str]]:
    parts = ((path, PICTURE.fullmatch(path.name)) for path in sorted(folder.rglob("n*")))
    return [
        {"image": path.stem, "path": path.relative_to(root).as_posix(), **part.groupdict()}
        for path, part in parts
        if part
    ]


def _splits(labelled: pd.DataFrame) -> dict[str, str]:
    """human or test for every concept, spread evenly within its category."""
    concepts = labelled.drop_duplicates("concept")[["concept", "category"]]
    order = torch.rand(len(concepts), generator=torch.Generator().manual_seed(SEED)).numpy()
    concepts = concepts.assign(order=order).sort_values(["category", "order"])
    split = np.where(evenly_spread(len(concepts)) < TEST_SHARE, "test", "human")
    return dict(zip(concepts["concept"], split, strict=True))


def _judged(images: pd.DataFrame, vice: Tensor, generator: torch.Generator) -> pd.DataFrame:
    """triplets.csv: any three concepts of the human split; test rows about some that no other row shows."""
    concepts = torch.tensor(sorted(images.loc[images["split"] == "human", "thing"].unique()))
    shuffled = concepts[torch.randperm(len(concepts), generator=generator)]
    kept = round(JUDGED_TEST_SHARE * len(concepts))
    parts = []
    for split, pool, n in (
        ("train", shuffled[kept:], TRAIN),
        ("validation", shuffled[kept:], VALIDATION),
        ("test", shuffled[:kept], HELD_OUT),
    ):
        drawn = pool[draw("random", groups("random", torch.zeros(len(pool), dtype=torch.int64)), n, generator)]
        parts.append(_choices(images, drawn, vice, ANSWERS[split], generator).assign(split=split))
    return pd.concat(parts, ignore_index=True)


def _levels(images: pd.DataFrame, spose: Tensor, generator: torch.Generator) -> pd.DataFrame:
    """levels.csv: concepts of the test split; 'other' is no category, so that its concepts are left out."""
    of_test = images[(images["split"] == "test") & (images["category"] != OTHER)].drop_duplicates("concept")
    pool = torch.tensor(of_test["thing"].tolist())
    categories = torch.from_numpy(pd.factorize(of_test["category"])[0])
    parts = []
    for level, scheme in LEVEL_SCHEMES.items():
        try:
            drawn = pool[_distinct(draw(scheme, groups(scheme, categories), 50 * PER_LEVEL, generator), PER_LEVEL)]
        except ValueError as error:
            raise WorldError(f"levels.csv, {level}: too few concepts of the test split were matched: {error}") from None
        parts.append(_choices(images, drawn, spose, ANSWERS["level"], generator).assign(level=level))
    return pd.concat(parts, ignore_index=True)


def _distinct(triplets: Tensor, n: int) -> Tensor:
    """The first n different sets of three, (k, 3): small categories have few."""
    seen = dict.fromkeys(map(frozenset, triplets.tolist()))
    return torch.tensor([sorted(members) for members in seen][:n])


def _choices(
    images: pd.DataFrame, drawn: Tensor, embedding: Tensor, answers: int, generator: torch.Generator
) -> pd.DataFrame:
    """A row per choice: `answers` draws from Eq. 1 of docs/method.md for each triplet of concepts (n, 3), about a
    picture of each concept."""
    used, place = drawn.unique(return_inverse=True)
    chances = gather_pair_similarities(embedding[used] @ embedding[used].T, place).softmax(-1)
    odd = torch.multinomial(chances, answers, replacement=True, generator=generator)
    pictures = images[images["thing"] >= 0].groupby("thing")["image"].apply(list)
    lists = [pictures[thing] for thing in used.tolist()]
    which = torch.rand(drawn.shape, generator=generator, dtype=torch.float64)
    shown = [
        [lists[concept][int(share * len(lists[concept]))] for concept, share in zip(row, shares, strict=True)]
        for row, shares in zip(place.tolist(), which.tolist(), strict=True)
    ]
    table = pd.DataFrame(np.repeat(np.array(shown), answers, axis=0), columns=["image_0", "image_1", "image_2"])
    people = [f"drawn_{number}" for number in range(answers)] * len(drawn)
    return table.assign(odd=odd.flatten().numpy(), participant=people)


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    if not path.is_file():
        raise WorldError(f"{path}: no such file: run python -m alignet.worlds.fetch photos")
    try:
        return read(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise WorldError(f"{path}: cannot be read ({error})") from None
