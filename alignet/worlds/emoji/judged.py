"""The embedded world with real people's choices: emoji that show judged concepts, splits, and tables of choices.

People saw photographs of the concepts, not the emoji. A concept is judged (split human) or new (split test): no fit
sees a choice about a new concept. Second pictures of judged concepts and emoji that show no concept are for synthesis.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from alignet.worlds.emoji import choices
from alignet.worlds.emoji.choices import Choices
from alignet.worlds.format.tables import TRIPLET
from alignet.worlds.splits import evenly_spread

HIERARCHY = ("concept", "category", "domain")
VALIDATION_SHARE = 0.25  # of the known sets that are not needed to show every judged concept once in training
LEVELS = {1: "fine", 2: "boundary", 3: "coarse"}  # by the number of categories in a set
NOTES = (
    "Real people's choices of 2020 about photographs of THINGS' concepts, not about these emoji. Each stands for the "
    "concept that it shows (alignet/worlds/emoji/matches.csv, checked by eye beside photographs of the concept). There "
    "are no response times. Hardly any three concepts that emoji show were judged by two people, so these rows have "
    "next to no noise ceiling of their own."
)


@dataclass(frozen=True)
class Tables:
    """The tables triplets, levels and concept_choices of the world."""

    triplets: pd.DataFrame
    levels: pd.DataFrame
    concept_choices: pd.DataFrame


def with_concepts(emoji: pd.DataFrame, new_share: float, generator: torch.Generator) -> pd.DataFrame:
    """Each emoji with the concept that it shows and a split: human (judged), test (new) or synthesis (no concept).

    All emoji of a concept share its split, and the category and domain of the emoji whose name is closest to the
    concept's. An emoji without a concept keeps its own name as its concept, with a mark if a concept of THINGS has that
    name.

    Args: emoji: as `world.concept_table` returns them; new_share: the share of new concepts in each category.
    """
    matches = choices.matches().set_index("emoji")
    table = emoji.rename(columns={"concept": "emoji"}).join(matches, on="emoji")
    shown = table[table["concept"].notna()]
    closest = shown.sort_values("matched_by", key=lambda how: how.map(["name", "synonym", "eye"].index), kind="stable")
    labels = closest.drop_duplicates("concept").set_index("concept")[list(HIERARCHY[1:])].sort_index()
    labels["split"] = _splits(labels["category"], new_share, generator)
    own = table["emoji"].where(~table["emoji"].isin(choices.concept_names()), table["emoji"] + "_emoji")
    named = table.assign(concept=table["concept"].fillna(own), split="synthesis")
    rows = named["concept"].isin(labels.index)
    for column in labels:
        named.loc[rows, column] = labels[column].reindex(named.loc[rows, "concept"]).to_numpy()
    return named


def _splits(category: pd.Series, new_share: float, generator: torch.Generator) -> pd.Series:
    """'test' for new_share of the concepts, spread over the categories, and 'human' for the others."""
    order = pd.Series(torch.rand(len(category), generator=generator, dtype=torch.float64).numpy(), category.index)
    ordered = pd.DataFrame({"category": category, "order": order}).sort_values(["category", "order"]).index
    place = pd.Series(evenly_spread(len(ordered)), ordered)
    return (place < new_share).map({True: "test", False: "human"}).reindex(category.index)


def pictures_by_split(images: pd.DataFrame) -> pd.DataFrame:
    """Pictures with their splits: every second colour picture of a judged concept goes to synthesis."""
    second = (images["split"] == "human") & (images["style"] == "colour") & (images["number"] % 2 == 1)
    return images.assign(split=images["split"].mask(second, "synthesis")).drop(columns="number")


def tables_of_choices(images: pd.DataFrame, seed: int) -> Tables:
    """People's choices as tables of a world.

    levels: sets with a new concept whose three concepts are all shown by emoji. triplets: sets of judged concepts that
    emoji show. concept_choices: all other sets without a new concept, whether or not emoji show them. No set is in two
    tables or two splits. The odd one out has a random place.

    Args: images: with concept, category, split and style.
    """
    rng = np.random.default_rng(seed)
    names, people = choices.concept_names(), choices.packed()
    first = images.drop_duplicates("concept").set_index("concept").reindex(names)
    pictured = names.isin(images["concept"])[people.sets].all(1)
    new = (first["split"] == "test").to_numpy()[people.sets].any(1)
    known = people.where(pictured & ~new)
    triplets = _shown(known, images, rng).assign(split=_choice_splits(known, rng))
    tested = people.where(pictured & new)
    category = pd.factorize(first["category"])[0][tested.sets]
    levels = _shown(tested, images, rng).assign(level=pd.Series(_distinct(category)).map(LEVELS))
    sets, odd = _in_random_places(people.where(~new & ~pictured), rng)
    by_name = pd.DataFrame(names.to_numpy()[sets], columns=["concept_0", "concept_1", "concept_2"])
    return Tables(triplets, levels, by_name.assign(odd=odd, participant=people.person[~new & ~pictured]))


def _choice_splits(known: Choices, rng: np.random.Generator) -> np.ndarray:
    """'train', 'validation' or 'test' for each row, the same for all rows of a set.

    The sets are put in random order, and those with a concept that no earlier set shows go to 'train', since VICE and
    the teacher must see every judged concept. A share of the other sets goes to 'validation'.
    """
    seen: set[int] = set()
    split: dict[int, str] = {}
    for row in rng.permutation(len(known.key)):
        shown, key = set(known.sets[row].tolist()), int(known.key[row])
        if key not in split:
            split[key] = "train" if shown - seen else "validation" if rng.random() < VALIDATION_SHARE else "test"
            seen |= shown if split[key] == "train" else set()
    return np.array([split[key] for key in known.key.tolist()])


def _shown(people: Choices, images: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Choices as rows about pictures: image_0, image_1, image_2, odd, participant.

    A set has one picture of each of its concepts; a concept's colour pictures take turns from set to set.
    """
    colour = images[(images["style"] == "colour") & (images["split"] != "synthesis")]
    pictures = colour.groupby("concept")["image"].apply(list).reindex(choices.concept_names()).tolist()
    drawn: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    turn: dict[int, int] = {}
    rows = []
    for concepts, odd, key in zip(people.sets, people.odd, people.key, strict=True):
        if key not in drawn:
            drawn[key] = (_turns(concepts.tolist(), pictures, turn), rng.permutation(3))
        shown, order = drawn[key]
        rows.append((*shown[order], int(np.flatnonzero(order == odd)[0])))
    return pd.DataFrame(rows, columns=[*TRIPLET, "odd"]).assign(participant=people.person)


def _turns(concepts: list[int], pictures: list[list[str]], turn: dict[int, int]) -> np.ndarray:
    """The next picture of each concept; `turn` is advanced."""
    shown = []
    for concept in concepts:
        shown.append(pictures[concept][turn.get(concept, 0) % len(pictures[concept])])
        turn[concept] = turn.get(concept, 0) + 1
    return np.array(shown)


def _in_random_places(people: Choices, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The concepts of each row in random order, (n, 3), and the position of the odd one out, (n,)."""
    order = rng.permuted(np.tile(np.arange(3), (len(people.odd), 1)), axis=1)
    return np.take_along_axis(people.sets, order, 1), (order == people.odd[:, None]).argmax(1)


def _distinct(labels: np.ndarray) -> np.ndarray:
    """The number of different entries in each row of (n, 3)."""
    return 1 + (np.diff(np.sort(labels, axis=1), axis=1) != 0).sum(1)
