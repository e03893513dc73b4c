"""People's single choices and response times about the triplets of each study, regime and level of abstraction."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet.config import HumanUncertainty
from alignet.maths import metrics
from alignet.maths.intervals import Units
from alignet.people import held_out
from alignet.worlds.format import abstraction, participants, regimes
from alignet.worlds.format.schema import LEVELS
from alignet.worlds.format.tables import World


@dataclass(frozen=True)
class TimedChoices:
    """m choices of people about the n triplets of one level and regime.

    study: the study that the choices belong to, or ''; regime: see `regimes`; triplets: (n, 3) numbers of pictures in
    the order of `World.scored_rows`, ascending in each triplet; concepts: (n, 3) numbers of their concepts. For each
    choice: triplet: (m,) number of the triplet; item: (m,) position of the chosen odd one out in it; person: (m,)
    number; time: (m,) log response time, standardised within the person (`standardised_log_times`), NaN without one.
    people: the number of named people; unnamed: the number of choices that name nobody.
    """

    study: str
    regime: str
    level: str
    triplets: Tensor
    concepts: Tensor
    triplet: Tensor
    item: Tensor
    person: Tensor
    time: Tensor
    people: int
    unnamed: int

    @cached_property
    def units(self) -> Units:
        """The triplets as units of intervals; triplets that show a common concept are not independent."""
        return Units(self.concepts)

    @property
    def names(self) -> dict[str, str]:
        """The columns of results that say what the choices are about: study, regime and level."""
        return {"study": self.study, "regime": self.regime, "level": self.level}

    def counts(self, some: Tensor | None = None) -> Tensor:
        """People per item, (n, 3) int64. Args: some: (m,) bool, the choices to count; None: all."""
        some = torch.ones_like(self.triplet, dtype=torch.bool) if some is None else some
        place = self.triplet[some] * 3 + self.item[some]
        return torch.bincount(place, minlength=3 * len(self.triplets)).view(-1, 3)

    def shares(self) -> Tensor:
        """Share of the people who chose each item, (n, 3) float64: a triplet counts once, however many judged it."""
        counts = self.counts().double()
        return counts / counts.sum(1, keepdim=True)


@dataclass(frozen=True)
class ScoredChoices:
    """The m single choices on which models are scored, whatever their levels.

    table: study, regime, level ('' where the labels give none) and participant; triplets: (m, 3) numbers of pictures in
    the order of `World.scored_rows`; odd: (m,) position of the chosen one; time: (m,) as in `TimedChoices`.
    """

    table: pd.DataFrame
    triplets: Tensor
    odd: Tensor
    time: Tensor


def choices_by_level(world: World, people: HumanUncertainty) -> Iterator[TimedChoices]:
    """The choices of each study ('' first), regime and level that has any, and of 'all' levels of each study and
    regime.

    A named study's regimes are also taken together, as `regimes.EVERY`. Args: people: settings that say which objects
    are held out.
    """
    scored = scored_choices(world, people)
    concepts = world.codes(world.hierarchy[0])[world.scored_rows()]
    columns = {name: scored.table[name].to_numpy(str) for name in ("study", "regime", "level")}
    for study in sorted({"", *map(str, columns["study"])}):
        for regime in (*regimes.REGIMES, *((regimes.EVERY,) if study else ())):
            of_regime = (columns["study"] == study) & ((columns["regime"] == regime) | (regime == regimes.EVERY))
            for level in (*LEVELS, "all"):
                some = np.flatnonzero(of_regime & ((columns["level"] == level) | (level == "all")))
                if not len(some):
                    continue
                rows, asked = torch.from_numpy(some), scored.table["participant"].iloc[some]
                shown, odd, time = scored.triplets[rows], scored.odd[rows], scored.time[rows]
                yield group_choices(level, shown, odd, asked, concepts, time, study=study, regime=regime)


def scored_choices(world: World, people: HumanUncertainty) -> ScoredChoices:
    """All rows of levels.csv and the rows of split 'test' of triplets.csv about objects that a fit has seen.

    A picture's concept is known if the picture is in the split human and shows no held-out object. The level of rows of
    triplets.csv follows from their pictures' classes (three, two or one); they have none in a world with one label
    only.
    """
    columns = ["image_0", "image_1", "image_2", "odd", "participant"]
    seen = world.triplets[held_out.choice_parts(world, people).seen.numpy()]
    parts = [seen[[*columns, *(["rt"] if "rt" in seen else [])]].assign(level=class_levels(world, seen), study="")]
    if world.levels is not None:
        extra = [name for name in ("rt", "study", "level") if name in world.levels]
        parts.append(world.levels[[*columns, *extra]])
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    shown, odd = world.choice_rows(rows)
    known = torch.tensor((world.images["split"] == "human").to_numpy()) & ~held_out.held_out_objects(world, people)
    study = rows["study"].fillna("") if "study" in rows else ""
    table = rows[["participant", "level"]].assign(study=study, regime=regimes.of_triplets(known[shown]))
    return ScoredChoices(table, torch.searchsorted(world.scored_rows(), shown), odd, standardised_log_times(rows))


def class_levels(world: World, table: pd.DataFrame) -> np.ndarray:
    """The level that follows from the classes of each row's pictures, (n,) text; '' if the world has one label only."""
    if len(world.hierarchy) < 2 or not len(table):
        return np.full(len(table), "")
    classes = world.images[world.class_label].to_numpy(str)
    return abstraction.by_class(classes[world.choice_rows(table)[0].numpy()])


def group_choices(
    level: str,
    triplets: Tensor,
    odd: Tensor,
    people: pd.Series,
    concepts: Tensor,
    times: Tensor | None = None,
    study: str = "",
    regime: str = "",
) -> TimedChoices:
    """Choices by distinct triplet, whatever the order in which it was shown.

    Args: triplets: (m, 3) numbers of pictures and odd: (m,) position of the chosen one; people: (m,) who chose;
        concepts: (pictures,) number of each picture's concept; times: (m,) as in `TimedChoices`, None: none are known.
    """
    ordered, order = triplets.sort(dim=1)
    distinct, triplet = ordered.unique(dim=0, return_inverse=True)
    return TimedChoices(
        study=study,
        regime=regime,
        level=level,
        triplets=distinct,
        concepts=concepts[distinct],
        triplet=triplet,
        item=(order == odd[:, None]).long().argmax(1),
        person=torch.from_numpy(pd.factorize(people)[0]),
        time=torch.full((len(odd),), torch.nan).double() if times is None else times,
        people=participants.known(people),
        unnamed=int(people.astype(str).str.startswith(participants.UNKNOWN).sum()),
    )


def standardised_log_times(rows: pd.DataFrame) -> Tensor:
    """Log response times, standardised to mean 0 and standard deviation 1 over all choices of each person.

    People differ in speed by more than triplets do, and each person judges only some triplets. The result is NaN where
    there is no time (0 or empty), and for a person whose times do not vary.

    Args: rows: the columns participant and perhaps rt, in seconds.
    """
    if "rt" not in rows:
        return torch.full((len(rows),), torch.nan).double()
    seconds = pd.to_numeric(rows["rt"]).astype(float)
    logs = np.log(seconds.where(seconds > 0))
    by_person = logs.groupby(rows["participant"])
    spread = by_person.transform("std")
    return torch.tensor(((logs - by_person.transform("mean")) / spread.where(spread > 0)).to_numpy())


def human_agreement(judged: TimedChoices) -> Tensor:
    """Agreement of one person with the majority of the others, for each triplet, (n,) in [0, 1]; NaN for a single
    person.

    All choices of that person are left out of the majority, also if the person judged a triplet twice.
    """
    pairs = torch.stack([judged.triplet, judged.person], 1)
    distinct, which = pairs.unique(dim=0, return_inverse=True)
    own = torch.bincount(which * 3 + judged.item, minlength=3 * len(distinct)).view(-1, 3)
    return metrics.leave_participant_out_agreement(own, distinct[:, 0], len(judged.triplets))
