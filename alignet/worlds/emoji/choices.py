"""Real people's odd-one-out choices about THINGS' concepts, which come with the package, and the emoji that show them.

choices.parquet and concepts.csv hold data of Hebart et al., 2023 (CC BY 4.0; things_attribution.md); `pack` makes them
from the public files. matches.csv names the emoji that show a concept, and the matches by name that were rejected after
a look at photographs of the concept.
"""

from dataclasses import dataclass
from importlib import resources

import numpy as np
import pandas as pd

from alignet.worlds.format.participants import UNKNOWN

SOURCE = {
    "name": "THINGS: concepts and odd-one-out choices of 2020 (Hebart et al., eLife 2023, doi 10.7554/eLife.82580)",
    "licence": "CC BY 4.0; packed and reordered by alignet, choices unchanged",
    "url": "https://osf.io/f5rn6",
}
JUDGED = "photographs of the same concepts, not these pictures"


@dataclass(frozen=True)
class Choices:
    """People's choices, a row each.

    sets: (n, 3) numbers of concepts in `concept_names`, ascending; odd: (n,) position of the odd one out in the set;
    person: (n,) text; key: (n,) a number for each distinct set.
    """

    sets: np.ndarray
    odd: np.ndarray
    person: np.ndarray
    key: np.ndarray

    def where(self, kept: np.ndarray) -> "Choices":
        return Choices(self.sets[kept], self.odd[kept], self.person[kept], self.key[kept])


def concept_names() -> pd.Index:
    """The names of THINGS' 1,854 concepts, in the order that numbers them."""
    return pd.Index(concepts()["concept"])


def concepts() -> pd.DataFrame:
    """The columns concept and category (THINGS' own, or 'other') of the 1,854 concepts."""
    return pd.read_csv(_file("concepts.csv"), keep_default_na=False)


def packed() -> Choices:
    """All choices that come with the package."""
    with _file("choices.parquet").open("rb") as file:
        table = pd.read_parquet(file)
    sets = table[["concept_0", "concept_1", "concept_2"]].to_numpy()
    numbers = enumerate(table["person"].tolist())
    people = np.array([f"{UNKNOWN}{row}" if number < 0 else f"things_{number:03d}" for row, number in numbers])
    _, key = np.unique(sets, axis=0, return_inverse=True)
    return Choices(sets, table["odd"].to_numpy(), people, key.reshape(-1))


def matches() -> pd.DataFrame:
    """The emoji that show a concept: emoji (short name), concept and matched_by ('name', 'synonym' or 'eye')."""
    table = pd.read_csv(_file("matches.csv"), keep_default_na=False)
    return table[table["rejected"] == ""].drop(columns="rejected").reset_index(drop=True)


def _file(name: str) -> resources.abc.Traversable:
    return resources.files("alignet.worlds.emoji") / name
