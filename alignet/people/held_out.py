"""Held-out objects and choices: one rule for VICE, for the teacher and for all that scores them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet.config import HumanUncertainty
from alignet.worlds.format.participants import UNKNOWN
from alignet.worlds.format.tables import CONCEPTS, World

NOT_RECORDED = "not recorded"  # the participant of choices of many people whose source does not say who made them


@dataclass(frozen=True)
class ChoiceParts:
    """The rows of triplets.csv in three parts, (m,) bool each; a row that is in none is not used.

    fitted: rows that show no held-out object, are not of split 'test' and belong to no held-out person; VICE and the
    teacher see these rows of triplets.csv and no others. held_out: rows that show held-out objects only, of any split.
    seen: the other rows of split 'test'; a fit has seen some of their objects in other triplets, so they test new
    triplets and not new objects.
    """

    fitted: Tensor
    held_out: Tensor
    seen: Tensor


def choice_parts(world: World, settings: HumanUncertainty) -> ChoiceParts:
    """The world's choices, divided by whether they show `held_out_objects`."""
    triplets, _ = world.choice_rows(world.triplets)
    of_held_out = held_out_objects(world, settings)[triplets]
    test = torch.tensor((choice_split(world) == "test").tolist(), dtype=torch.bool)
    of_fitted_people = ~rows_of(world.triplets, held_out_people(world, settings))
    fitted, held_out = ~test & ~of_held_out.any(1) & of_fitted_people, of_held_out.all(1)
    return ChoiceParts(fitted, held_out, test & ~held_out)


def parts_to_fit(world: World, settings: HumanUncertainty) -> ChoiceParts:
    """The parts of `choice_parts`, with rows to fit to.

    Raises: ValueError if no row is left to fit to.
    """
    parts = choice_parts(world, settings)
    if not parts.fitted.any():
        raise ValueError("triplets.csv: no choices are left to fit to: all are of split test, or show held-out objects")
    return parts


def held_out_objects(world: World, settings: HumanUncertainty) -> Tensor:
    """Whether a picture shows an object (finest label) that no fit may see, (n_images,) bool.

    settings.held_out_objects says which objects these are: a list of objects; a share of the judged objects, drawn at
    random; or null for the objects that rows of split 'test' show, if no other row shows any of them, and otherwise for
    none (as in THINGS, which is split by triplets and not by objects).

    Raises: ValueError naming an object of the list that nobody judged.
    """
    finest, chosen = world.hierarchy[0], settings.held_out_objects
    codes, triplets = world.codes(finest), world.choice_rows(world.triplets)[0]
    if isinstance(chosen, list):
        judged = set(world.images[finest].iloc[triplets.unique().tolist()])
        if world.concept_choices is not None:
            judged.update(*(world.concept_choices[column].unique() for column in CONCEPTS))
        unknown = [name for name in chosen if name not in judged]
        if unknown:
            raise ValueError(f"human_uncertainty.held_out_objects: triplets.csv shows no {finest} {unknown[0]!r}")
        return torch.tensor(world.images[finest].isin(chosen).tolist())
    judged_codes = codes[triplets.unique()].unique()
    if chosen is not None:
        order = torch.randperm(len(judged_codes), generator=torch.Generator().manual_seed(settings.seed))
        return torch.isin(codes, judged_codes[order[: round(chosen * len(judged_codes))]])
    test = torch.tensor((choice_split(world) == "test").tolist(), dtype=torch.bool)
    of_test, of_others = codes[triplets[test]], codes[triplets[~test]]
    alone = not torch.isin(of_test, of_others).any()
    return torch.isin(codes, of_test) if alone else torch.zeros(len(codes), dtype=torch.bool)


def held_out_people(world: World, settings: HumanUncertainty) -> set[str]:
    """A share of the participants of triplets.csv and of concept_choices.csv, drawn at random.

    People who are not recorded cannot be told apart and are never among them. The set is empty where
    settings.held_out_people is null.
    """
    if settings.held_out_people is None:
        return set()
    tables = [world.triplets] if world.concept_choices is None else [world.triplets, world.concept_choices]
    names = {name for table in tables for name in table["participant"].unique()} - {NOT_RECORDED}
    people = sorted(name for name in names if not name.startswith(UNKNOWN))
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(settings.seed))
    return {people[number] for number in order[: round(settings.held_out_people * len(people))].tolist()}


def rows_of(table: pd.DataFrame, people: set[str]) -> Tensor:
    """Whether each row of a table of choices is one of these people's, (m,) bool."""
    if not people:
        return torch.zeros(len(table), dtype=torch.bool)
    return torch.from_numpy(table["participant"].isin(people).to_numpy(copy=True))


def choices_by_name(world: World, settings: HumanUncertainty) -> pd.DataFrame:
    """The rows of concept_choices.csv that name no held-out concept and no concept of the test split.

    There are none where the objects are pictures or where the world has no such table.
    """
    table = world.concept_choices
    if table is None or settings.objects != "concept":
        return pd.DataFrame(columns=[*CONCEPTS, "odd", "participant"])
    concepts = world.images[world.hierarchy[0]]
    unseen = held_out_objects(world, settings).numpy() | (world.images["split"] == "test").to_numpy()
    names = set(concepts[unseen])
    names.update(settings.held_out_objects if isinstance(settings.held_out_objects, list) else [])
    shown = np.any([table[column].isin(names).to_numpy() for column in CONCEPTS], axis=0)
    return table[~shown].reset_index(drop=True)


def choice_split(world: World) -> pd.Series:
    """The split of every row of triplets.csv, 'train' where the table names none."""
    missing = pd.Series("train", index=world.triplets.index)
    return world.triplets["split"].fillna("train") if "split" in world.triplets else missing


def shown_rows(world: World, rows: Tensor) -> Tensor:
    """Rows of images.csv, (n,) ascending, of the pictures that the chosen rows of triplets.csv, (m,) bool, show."""
    triplets, _ = world.choice_rows(world.triplets[np.asarray(rows)])
    return triplets.unique()
