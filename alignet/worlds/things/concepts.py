"""THINGS' 1,854 concepts: names, categories, domains, WordNet ids, two orders that number them, ImageNet's classes.

Files: things_concepts.tsv (github.com/LukasMut/VICE, data/files) and unique_id.txt, the names alone, a line each. Both
stand in the order that numbers the rows of THINGS' embeddings.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from alignet.worlds.format.abstraction import NO_CLASS
from alignet.worlds.format.tables import WorldError

HIERARCHY = ("concept", "category", "domain")
UNLABELLED, OTHER = "unlabelled", NO_CLASS  # of pictures that show no concept; of concepts without a category
CATEGORIES = (  # the columns that name a concept's categories; the first that names one decides
    "Top-down Category (manual selection)",
    "Bottom-up Category (Human Raters)",
    "Top-down Category (WordNet)",
)
NATURAL = {"animal", "bird", "insect", "plant", "fruit", "vegetable", "body part"}
EATEN = {"food", "dessert", "drink", "candy", "breakfast food", "seafood"}


def concept_table(path: Path) -> pd.DataFrame:
    """THINGS' concepts, a row each in the order of its embeddings: concept, wordnet, names (set), category, domain.

    Raises: WorldError naming the file and what it lacks.
    """
    table = _concepts_file(path)
    synonyms = table["WordNet Synonyms"].str.split(",").map(lambda words: {normal(word) for word in words})
    names = [found | {normal(word)} for found, word in zip(synonyms, table["Word"], strict=True)]
    category = pd.Series(OTHER, index=table.index)
    for column in reversed(CATEGORIES):
        first = table[column].str.split(",").str[0].str.strip()
        category = first.where(first != "", category)
    domain = category.map(lambda name: "natural" if name in NATURAL else "food" if name in EATEN else "artifact")
    identity = {"concept": table["uniqueID"], "wordnet": table["WordNet ID"], "names": names}
    return pd.DataFrame(identity | {"category": category, "domain": domain})


def _concepts_file(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise WorldError(f"{path}: no such file: run python -m alignet.worlds.fetch things")
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise WorldError(f"{path}: cannot be read ({error})") from None
    lacking = sorted({"Word", "uniqueID", "WordNet Synonyms", "WordNet ID", *CATEGORIES} - set(table))
    if lacking:
        raise WorldError(f"{path}: lacks the column {', '.join(lacking)}")
    return table


def identifiers(path: Path, things: pd.DataFrame) -> list[str]:
    """The names in unique_id.txt, which number the concepts in the rows of 2020 and in the embeddings.

    Raises: WorldError if they are not those of `things` in the same order.
    """
    if not path.is_file():
        raise WorldError(f"{path}: no such file: run python -m alignet.worlds.fetch things")
    names = path.read_text(encoding="utf-8").split()
    if names != things["concept"].tolist():
        raise WorldError(f"{path}: names other concepts than things_concepts.tsv, or in another order")
    return names


def by_file_name(names: list[str]) -> np.ndarray:
    """Numbers of concepts in unique_id.txt, (n,) int64, by the numbers that the study of 2025 gives them.

    That study numbers concepts in the order of their file names, where an underscore sorts after the letters.
    """
    return np.array(sorted(range(len(names)), key=lambda number: names[number].replace("_", "~")))


def normal(name: str) -> str:
    """A name without case, quotes and brackets, its words separated by one space."""
    return " ".join(re.sub(r"[^a-z0-9]+", " ", name.lower()).split())


def matched(classes: pd.Series, things: pd.DataFrame) -> pd.DataFrame:
    """The concept of each ImageNet class that has one: WordNet id -> row of `things`, matched_by ('WordNet', 'name').

    A class matches a concept if THINGS gives its WordNet id or, for a concept without an id, if only one class has the
    concept's name or a synonym of it (in ImageNet, kite is a bird, plane a tool and ear a part of corn).

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
    matches = [(wordnet, row, "WordNet") for wordnet, row in by_id.items()]
    matches += [(wordnet, row, "name") for wordnet, row in once.items()]
    return pd.DataFrame(matches, columns=["wordnet", "row", "matched_by"]).set_index("wordnet")
