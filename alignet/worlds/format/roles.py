"""Roles of backbones in a run, and the pictures whose features each role needs."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from alignet import config
from alignet.worlds.format.tables import World


@config.settings
class Roles:
    """The roles of a backbone in a run. Styles: as in `World.labelled`."""

    teacher: bool  # the teacher's map is fitted to its features
    signal_check: bool  # the labels are checked against its features
    student: bool  # it is fine-tuned, and its features are the base that the students are compared with
    styles: Literal["judged", "all"]


def rows(world: World, roles: Roles) -> Tensor:
    """Rows of images.csv, (n,) ascending, whose features are needed of a backbone.

    They are `of_teacher` for the teacher's backbones, the labelled pictures for the signal check's, `World.scored_rows`
    for a student's, and all pictures for a backbone without a role.
    """
    wanted = []
    if roles.teacher:
        wanted.append(of_teacher(world, roles.styles))
    if roles.signal_check:
        wanted.append(world.labelled(roles.styles))
    if roles.student:
        wanted.append(world.scored_rows())
    return torch.cat(wanted).unique() if wanted else torch.arange(len(world.images))


def apart(world: World, rows: Tensor) -> list[Tensor]:
    """Positions in `rows`, (n,) of images.csv: those of `World.scored_rows`, then each split's other pictures."""
    splits = world.images["split"].to_numpy(object)[rows.numpy()]
    splits[torch.isin(rows, world.scored_rows()).numpy()] = "scored"
    return [torch.from_numpy(np.flatnonzero(splits == name)) for name in np.unique(splits.astype(str))]


def of_teacher(world: World, styles: str) -> Tensor:
    """Rows of images.csv, (n,) ascending, whose features the teacher reads.

    They are the pictures whose concepts people judged (the split human, from all of which triplets are drawn), the
    pictures to be labelled, and those that levels.csv shows, on which the teacher is scored.
    """
    rows = [world.rows("human"), world.labelled(styles)]
    if world.levels is not None:
        rows.append(world.choice_rows(world.levels)[0].flatten())
    return torch.cat(rows).unique()
