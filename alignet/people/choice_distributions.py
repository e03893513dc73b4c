"""Human choices as counts, as the single choices that VICE is fitted to, and as the teacher's targets."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet import config
from alignet.config import HumanUncertainty
from alignet.maths import metrics
from alignet.maths.choices import choices_by_person
from alignet.people import held_out
from alignet.people.embeddings import Embedding
from alignet.people.vice import Posterior, top_objects
from alignet.worlds.format.tables import CONCEPTS, World

FEW = 500


@dataclass(frozen=True)
class Answers:
    """People's answers: a row for each triplet and person.

    own: (k, 3) the person's choices per item; triplet: (k,) number of the triplet, ascending.
    """

    own: Tensor
    triplet: Tensor

    def where(self, kept: Tensor, n: int) -> "Answers":
        """The answers about some of n triplets, in the order of these.

        Args: kept: (n,) bool, or numbers of triplets.
        """
        number = torch.full((n,), -1)
        number[kept] = torch.arange(int(kept.sum()) if kept.dtype == torch.bool else len(kept))
        triplet = number[self.triplet]
        order = triplet.argsort(stable=True)
        order = order[triplet[order] >= 0]
        return Answers(self.own[order], triplet[order])


@dataclass(frozen=True)
class ChoiceCounts:
    """Distinct triplets with people's choices about them and the targets that a teacher is fitted to.

    triplets: (n, 3) rows of pictures; counts: (n, 3) choices of each item; targets: (n, 3) probabilities, the shares of
    the choices unless others have replaced them; answers: the choices by person, None where nobody chose, as with drawn
    distributions.
    """

    triplets: Tensor
    counts: Tensor
    targets: Tensor
    answers: Answers | None = None

    @classmethod
    def of(cls, triplets: Tensor, odd: Tensor, person: Tensor | None = None) -> "ChoiceCounts":
        """The counts of single choices.

        Args: triplets: (m, 3), a row per choice; odd: (m,) position of the chosen odd one out; person: (m,) number of
            the person who chose; None: each choice is another person's.

        Example:

        >>> import torch
        >>> from alignet.people.choice_distributions import ChoiceCounts
        >>> triplets = torch.tensor([[0, 1, 2], [2, 1, 0], [0, 1, 2], [0, 1, 3]])
        >>> counts = ChoiceCounts.of(triplets, odd=torch.tensor([2, 0, 1, 2]), person=torch.tensor([0, 1, 2, 0]))
        >>> counts.triplets.tolist(), counts.counts.tolist(), counts.people.tolist()
        ([[0, 1, 2], [0, 1, 3]], [[0, 1, 2], [0, 0, 1]], [3, 1])
        """
        person = torch.arange(len(odd)) if person is None else person
        distinct, own, triplet = choices_by_person(triplets, odd, person)
        counts = torch.zeros_like(distinct).index_add_(0, triplet, own)
        return cls(distinct, counts, counts / counts.sum(1, keepdim=True), Answers(own, triplet))

    @property
    def people(self) -> Tensor:
        """The number of people who judged each triplet, (n,)."""
        if self.answers is None:
            return torch.zeros(len(self.triplets), dtype=torch.int64)
        return torch.bincount(self.answers.triplet, minlength=len(self.triplets))

    @property
    def agreement(self) -> Tensor:
        """How often one person agrees with the majority of the others, (n,); NaN where fewer than two people judged."""
        if self.answers is None:
            return torch.full((len(self.triplets),), torch.nan)
        return metrics.leave_participant_out_agreement(self.answers.own, self.answers.triplet, len(self.triplets))

    def where(self, kept: Tensor) -> "ChoiceCounts":
        """The counts of some triplets. Args: kept: (n,) bool, or numbers of triplets.

        Example:

        >>> import torch
        >>> from alignet.people.choice_distributions import ChoiceCounts
        >>> counts = ChoiceCounts.of(torch.tensor([[0, 1, 2], [0, 1, 2], [1, 2, 3]]), torch.tensor([2, 1, 0]))
        >>> often = counts.where(counts.people >= 2)
        >>> often.triplets.tolist(), often.targets.tolist()
        ([[0, 1, 2]], [[0.0, 0.5, 0.5]])
        """
        answers = None if self.answers is None else self.answers.where(kept, len(self.triplets))
        return ChoiceCounts(self.triplets[kept], self.counts[kept], self.targets[kept], answers)

    def with_targets(self, targets: Tensor) -> "ChoiceCounts":
        return dataclasses.replace(self, targets=targets)


@dataclass(frozen=True)
class SingleChoices:
    """Single choices about objects: those that VICE is fitted to, and those that are held out to check it.

    names: the objects in the order of their numbers; triplets: (n, 3) object numbers, and odd: (n,) position of the odd
    one out, a row per fitted choice; held_out: judgements of other triplets of the same objects; by_new_people:
    judgements of any triplets of these objects by people none of whose choices is fitted, None without such people.
    """

    names: list[str]
    triplets: Tensor
    odd: Tensor
    held_out: ChoiceCounts
    by_new_people: ChoiceCounts | None = None


def human_choice_counts(world: World, settings: HumanUncertainty) -> tuple[ChoiceCounts, ChoiceCounts | None]:
    """The choices of triplets.csv that are fitted, and those about held-out objects only (`held_out.choice_parts`).

    The second is None if there are no such choices.
    """
    parts = held_out.parts_to_fit(world, settings)
    triplets, odd = world.choice_rows(world.triplets)
    person = numbered_people(world.triplets["participant"])
    fitted_to, unseen = (
        ChoiceCounts.of(triplets[part], odd[part], person[part]) for part in (parts.fitted, parts.held_out)
    )
    return fitted_to, unseen if parts.held_out.any() else None


def single_choices(world: World, settings: HumanUncertainty) -> SingleChoices:
    """The choices that VICE is fitted to, and those that are held out to check it.

    They are the choices that the teacher is fitted to (`human_choice_counts`) and the choices about concepts by name
    (`held_out.choices_by_name`); some of both are held out. Of the rows of triplets.csv these are the ones whose split
    is 'validation', or 'test' where other rows are about their objects (`ChoiceParts.seen`); if there are none, or if
    nothing else would be left, the choices about a share of the distinct triplets, drawn at random, are held out. The
    same share of the sets of concepts by name is held out. If there are very many held-out triplets, only the
    `held_out_most` that most people judged are scored. A choice by name is left out if its three concepts are those of
    a row of triplets.csv that is not fitted.

    Raises: ValueError if objects are concepts and a triplet shows one concept twice.
    """
    parts, (number, names) = held_out.parts_to_fit(world, settings), object_numbers(world, settings)
    triplets, odd = world.choice_rows(world.triplets)
    objects, fitted = number[triplets], parts.fitted
    _refuse_repeated(objects[fitted], world.hierarchy[0])
    checked = fitted & torch.from_numpy((held_out.choice_split(world) != "train").to_numpy(copy=True))
    tested = parts.seen & (objects >= 0).all(1)
    if torch.equal(checked, fitted) or not (checked | tested).any():
        checked = _drawn(objects, fitted, settings)
    checked |= tested
    seen = fitted & ~checked
    table = held_out.choices_by_name(world, settings)
    by_name, odd_by_name = _numbered(table, names)
    new = ~torch.isin(_keys(by_name, len(names)), _keys(objects[~seen], len(names)))
    of_known = new & ~held_out.rows_of(table, held_out.held_out_people(world, settings))
    checked_by_name = of_known & _drawn(by_name, of_known, settings)

    of_new = torch.cat([_of_new_people(world, objects, settings), new & ~of_known])
    objects, odd = torch.cat([objects, by_name]), torch.cat([odd, odd_by_name])
    person = numbered_people(pd.concat([world.triplets["participant"], table["participant"]]))
    seen, checked = torch.cat([seen, of_known & ~checked_by_name]), torch.cat([checked, checked_by_name])

    def judged(part: Tensor) -> ChoiceCounts:
        return _most_judged(ChoiceCounts.of(objects[part], odd[part], person[part]), settings)

    return SingleChoices(names, objects[seen], odd[seen], judged(checked), judged(of_new) if of_new.any() else None)


def numbered_people(participants: pd.Series) -> Tensor:
    """A number for each row's participant, (m,)."""
    return torch.from_numpy(pd.factorize(participants)[0].astype(np.int64))


def object_numbers(world: World, settings: HumanUncertainty) -> tuple[Tensor, list[str]]:
    """The number of every picture's object, (n_images,), and the names of the objects that people judged.

    First come the objects that the fitted rows of triplets.csv show, then those that only choices by name are about,
    which may have no picture. Pictures of other objects have the number -1.
    """
    labels = world.images[world.hierarchy[0] if settings.objects == "concept" else "image"]
    shown = held_out.shown_rows(world, held_out.parts_to_fit(world, settings).fitted)
    names = labels.iloc[shown.tolist()].drop_duplicates().tolist()
    by_name = held_out.choices_by_name(world, settings)
    by_name = by_name[~held_out.rows_of(by_name, held_out.held_out_people(world, settings)).numpy()]
    others = set().union(*(by_name[column].unique() for column in CONCEPTS)) - set(names)
    names += sorted(others)
    return torch.from_numpy(pd.Index(names).get_indexer(labels)), names


def object_pictures(world: World, names: list[str], objects: str) -> Tensor:
    """One picture of each object, (k,) rows of images.csv; -1 for an object without pictures.

    It is the object's first picture of the human split or, without such a picture, its first one of another split.
    """
    labels = world.images[world.hierarchy[0] if objects == "concept" else "image"]
    order = np.argsort(world.images["split"] != "human", kind="stable")
    first = labels.iloc[order].drop_duplicates()
    found = pd.Index(first).get_indexer(names)
    return torch.from_numpy(np.where(found < 0, -1, first.index.to_numpy()[found]))


def top_pictures(world: World, posterior: Posterior, names: list[str], objects: str, count: int) -> Tensor:
    """Pictures of the objects with the largest weights in each dimension, (dimensions, count) rows of images.csv.

    The largest weight comes first. Objects without a picture are passed over; there are fewer columns if fewer objects
    have one.
    """
    pictures = object_pictures(world, names, objects)
    pictured = (pictures >= 0).nonzero().flatten()
    among = Posterior(posterior.mu[pictured], posterior.sigma[pictured])
    return pictures[pictured][top_objects(among, min(count, len(pictured)))]


def soft_targets(world: World, source: Embedding, settings: HumanUncertainty) -> ChoiceCounts:
    """The judgements that the teacher is fitted to, with targets from the chosen distribution.

    empirical: the shares of people's choices. vice, embedding: Monte-Carlo choice distributions (VICE, section 3.3) of
    the triplets' objects in `source`.
    """
    judged, _ = human_choice_counts(world, settings)
    if settings.uncertainty == "empirical":
        return judged
    objects = source.numbers(world, settings.objects)[judged.triplets]
    return judged.with_targets(source.posterior.choice_distribution(objects, settings.samples, settings.seed))


def examples(judged: ChoiceCounts, n: int) -> tuple[Tensor, dict[str, Tensor]]:
    """n of the FEW triplets that most people judged, at equal steps of the targets' entropy, lowest entropy first.

    Returns: triplets (n, 3) of picture rows; 'people' and 'target' -> (n, 3) probabilities.
    """
    some = judged.where(judged.people.argsort(descending=True, stable=True)[:FEW])
    order = metrics.entropy(some.targets).argsort(stable=True)
    shown = some.where(order[torch.linspace(0, len(order) - 1, n).round().long()])
    return shown.triplets, {"people": shown.counts / shown.counts.sum(1, keepdim=True), "target": shown.targets}


def save(folder: Path, source: Embedding, curve: pd.DataFrame, judged: ChoiceCounts) -> None:
    """Write the source's embedding, curve.csv and targets.npy (n, 3), which `load_targets` reads."""
    config.own(folder).mkdir(parents=True, exist_ok=True)
    source.save(folder)
    curve.to_csv(folder / "curve.csv", index=False, float_format="%.6g")
    np.save(folder / "triplets.npy", judged.triplets.numpy())
    np.save(folder / "targets.npy", judged.targets.numpy())


def load_targets(folder: Path, judged: ChoiceCounts) -> ChoiceCounts:
    """The judgements with the targets that `save` has stored.

    Raises: ValueError if the stored targets are those of other triplets.
    """
    if not np.array_equal(np.load(folder / "triplets.npy"), judged.triplets.numpy()):
        raise ValueError(f"{folder}: targets of other triplets than the world's; run the human_uncertainty stage again")
    return judged.with_targets(torch.from_numpy(np.load(folder / "targets.npy")))


def _refuse_repeated(objects: Tensor, label: str) -> None:
    """Refuse triplets of objects, (m, 3), that show one object twice: raise a ValueError."""
    if (objects.sort(1).values.diff(dim=1) == 0).any():
        raise ValueError(f"triplets.csv: a triplet shows one {label} twice; set human_uncertainty.objects to picture")


def _numbered(table: pd.DataFrame, names: list[str]) -> tuple[Tensor, Tensor]:
    """Choices by name as numbers of the names, (m, 3), -1 for an unknown name, and the position of the odd one out,
    (m,).
    """
    index = pd.Index(names)
    columns = [torch.tensor(index.get_indexer(table[column]), dtype=torch.int64) for column in CONCEPTS]
    return torch.stack(columns, 1), torch.tensor(table["odd"].to_numpy(np.int64))


def _keys(triplets: Tensor, n: int) -> Tensor:
    """A number for each set of three objects, (m,); triplets with an unknown object (-1) have negative ones."""
    low, middle, high = triplets.sort(1).values.unbind(1)
    return torch.where(low < 0, -1, (low * n + middle) * n + high)


def _of_new_people(world: World, objects: Tensor, settings: HumanUncertainty) -> Tensor:
    """Whether each row of triplets.csv is about known objects only, by a person none of whose choices is fitted, (m,)
    bool.
    """
    people = held_out.held_out_people(world, settings)
    test = torch.from_numpy((held_out.choice_split(world) == "test").to_numpy(copy=True))
    return held_out.rows_of(world.triplets, people) & (objects >= 0).all(1) & ~test


def _most_judged(judged: ChoiceCounts, settings: HumanUncertainty) -> ChoiceCounts:
    """The `held_out_most` triplets that most people judged, in random order among equals."""
    order = torch.randperm(len(judged.triplets), generator=_generator(settings))
    most = order[judged.people[order].argsort(descending=True, stable=True)[: settings.held_out_most]]
    return judged.where(most.sort().values)


def _drawn(objects: Tensor, among: Tensor, settings: HumanUncertainty) -> Tensor:
    """A mask, (m,) bool, of all choices about a random share of the distinct triplets in the rows `among`."""
    distinct, group = objects[among].sort(1).values.unique(dim=0, return_inverse=True)
    drawn = torch.zeros_like(among)
    drawn[among] = (torch.rand(len(distinct), generator=_generator(settings)) < settings.held_out_share)[group]
    return drawn


def _generator(settings: HumanUncertainty) -> torch.Generator:
    return torch.Generator().manual_seed(settings.seed)
