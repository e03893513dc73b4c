"""People's single choices and response times about the triplets of each level of abstraction."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet import metrics
from alignet.config import Levels
from alignet.worlds.format.schema import LEVELS
from alignet.worlds.format.tables import World


@dataclass(frozen=True)
class TimedChoices:
    """People's choices about the n triplets of one level, one entry of (m,) a choice.

    triplets: (n, 3) numbers of test pictures, ascending; triplet: (m,) which of them; item: (m,) the chosen odd one
    out, as a position in it; person: (m,) numbers; log_time: (m,) log of the response time in seconds, NaN where none.
    """

    level: str
    triplets: Tensor
    triplet: Tensor
    item: Tensor
    person: Tensor
    log_time: Tensor

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
    for level in (*LEVELS, "all"):
        rows = world.levels if level == "all" else world.levels[world.levels["level"] == level]
        if rows.empty:
            continue
        shown, odd = world.choice_rows(rows)
        if (position[shown] < 0).any():
            raise ValueError("levels.csv: shows pictures outside the test split")
        yield group_choices(level, position[shown], odd, rows)


def group_choices(level: str, triplets: Tensor, odd: Tensor, rows: pd.DataFrame) -> TimedChoices:
    """Choices by distinct triplet, whatever order it was shown in.

    Args: triplets: (m, 3) and odd: (m,) position of the chosen one; rows: m rows with participant and perhaps rt in
        seconds, where 0 or nothing is no time.
    """
    ordered, order = triplets.sort(dim=1)
    distinct, triplet = ordered.unique(dim=0, return_inverse=True)
    seconds = pd.to_numeric(rows["rt"]).to_numpy(float) if "rt" in rows else np.full(len(rows), np.nan)
    seconds = torch.tensor(seconds)
    return TimedChoices(
        level=level,
        triplets=distinct,
        triplet=triplet,
        item=(order == odd[:, None]).long().argmax(1),
        person=torch.from_numpy(pd.factorize(rows["participant"])[0]),
        log_time=seconds.where(seconds > 0, torch.nan).log(),
    )


def human_agreement(judged: TimedChoices) -> Tensor:
    """How often one person agrees with the majority of the others, per triplet: (n,) in [0, 1], NaN for one person.

    Leave-one-participant-out: a person who judged a triplet twice is left out with both choices.
    """
    pairs = torch.stack([judged.triplet, judged.person], 1)
    distinct, which = pairs.unique(dim=0, return_inverse=True)
    own = torch.bincount(which * 3 + judged.item, minlength=3 * len(distinct)).view(-1, 3)
    return metrics.leave_participant_out_agreement(own, distinct[:, 0], len(judged.triplets))


def triplet_weights(judged: TimedChoices, settings: Levels) -> Tensor:
    """Bootstrap resamples of the triplets, (resamples, n): the same in every call, so that all scores are paired."""
    generator = torch.Generator().manual_seed(settings.seed)
    return metrics.resample_weights(len(judged.triplets), settings.bootstrap, generator)
