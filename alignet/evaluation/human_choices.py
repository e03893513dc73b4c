"""People's single choices and response times about the triplets of each level of abstraction."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet import metrics
from alignet.intervals import Units
from alignet.worlds.format.schema import LEVELS
from alignet.worlds.format.tables import World


@dataclass(frozen=True)
class TimedChoices:
    """People's choices about the n triplets of one level, one entry of (m,) a choice.

    triplets: (n, 3) numbers of test pictures, ascending; concepts: (n, 3) their concepts' numbers; triplet: (m,) which
    of them; item: (m,) the chosen odd one out, as a position in it; person: (m,) numbers; time: (m,) log response time,
    standardised within the person (`standardised_log_times`), NaN where none.
    """

    level: str
    triplets: Tensor
    concepts: Tensor
    triplet: Tensor
    item: Tensor
    person: Tensor
    time: Tensor

    @property
    def units(self) -> Units:
        """The triplets as units of intervals: those that show a common concept are not independent."""
        return Units(self.concepts)

    def counts(self, some: Tensor | None = None) -> Tensor:
        """People per item, (n, 3) int64; some: (m,) bool, of these choices only."""
        some = torch.ones_like(self.triplet, dtype=torch.bool) if some is None else some
        place = self.triplet[some] * 3 + self.item[some]
        return torch.bincount(place, minlength=3 * len(self.triplets)).view(-1, 3)


def choices_by_level(world: World) -> Iterator[TimedChoices]:
    """The levels that the world has choices about, and 'all' of them.

    Raises: ValueError if levels.csv shows a picture outside the test split.
    """
    if world.levels is None:
        return
    test = world.rows("test")
    position = torch.full((len(world.images),), -1)
    position[test] = torch.arange(len(test))
    times, concepts = standardised_log_times(world.levels), world.codes(world.hierarchy[0])[test]
    for level in (*LEVELS, "all"):
        of_level = torch.tensor((world.levels["level"] == level).tolist()) | (level == "all")
        if not of_level.any():
            continue
        rows = world.levels[of_level.numpy()]
        shown, odd = world.choice_rows(rows)
        if (position[shown] < 0).any():
            raise ValueError("levels.csv: shows pictures outside the test split")
        yield group_choices(level, position[shown], odd, rows["participant"], concepts, times[of_level])


def group_choices(
    level: str, triplets: Tensor, odd: Tensor, people: pd.Series, concepts: Tensor, times: Tensor | None = None
) -> TimedChoices:
    """Choices by distinct triplet, whatever order it was shown in.

    Args: triplets: (m, 3) numbers of pictures and odd: (m,) position of the chosen one; people: (m,) who chose;
        concepts: (pictures,) number of each picture's concept; times: (m,) as in `TimedChoices`, None: none are known.
    """
    ordered, order = triplets.sort(dim=1)
    distinct, triplet = ordered.unique(dim=0, return_inverse=True)
    return TimedChoices(
        level=level,
        triplets=distinct,
        concepts=concepts[distinct],
        triplet=triplet,
        item=(order == odd[:, None]).long().argmax(1),
        person=torch.from_numpy(pd.factorize(people)[0]),
        time=torch.full((len(odd),), torch.nan).double() if times is None else times,
    )


def standardised_log_times(rows: pd.DataFrame) -> Tensor:
    """Log response times with mean 0 and standard deviation 1 within each person, over all of the person's choices.

    People differ in speed by more than triplets do, and each judges some triplets only. NaN where there is no time (0
    or nothing), and for a person whose times do not vary. Args: rows: participant and perhaps rt, seconds.
    """
    if "rt" not in rows:
        return torch.full((len(rows),), torch.nan).double()
    seconds = pd.to_numeric(rows["rt"]).astype(float)
    logs = np.log(seconds.where(seconds > 0))
    by_person = logs.groupby(rows["participant"])
    spread = by_person.transform("std")
    return torch.tensor(((logs - by_person.transform("mean")) / spread.where(spread > 0)).to_numpy())


def human_agreement(judged: TimedChoices) -> Tensor:
    """How often one person agrees with the majority of the others, per triplet: (n,) in [0, 1], NaN for one person.

    Leave-one-participant-out: a person who judged a triplet twice is left out with both choices.
    """
    pairs = torch.stack([judged.triplet, judged.person], 1)
    distinct, which = pairs.unique(dim=0, return_inverse=True)
    own = torch.bincount(which * 3 + judged.item, minlength=3 * len(distinct)).view(-1, 3)
    return metrics.leave_participant_out_agreement(own, distinct[:, 0], len(judged.triplets))
