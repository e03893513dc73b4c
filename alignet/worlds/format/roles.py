"""Which pictures' features a run reads of a backbone, by what the backbone is in it."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from alignet import config
from alignet.worlds.format.tables import World


@config.settings
class Roles:
    """What a backbone is in a run. Styles: as in `World.labelled`."""

    teacher: bool  # the teacher's map is fitted to its features
    signal_check: bool  # the labels are checked against its features
    student: bool  # it is fine-tuned, and its features are the base that the students are compared with
    styles: Literal["judged", "all"]


def rows(world: World, roles: Roles) -> Tensor:
    """Rows of images.csv, (n,) ascending, whose features are read: of the teacher's backbones `of_teacher`, of the
    signal check's the labelled pictures, of a student's `World.scored_rows`; of a backbone without a role all.
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
    """Places in `rows`, (n,) of images.csv, of `World.scored_rows`, and of each split's other pictures."""
    splits = world.images["split"].to_numpy(object)[rows.numpy()]
    splits[torch.isin(rows, world.scored_rows()).numpy()] = "scored"
    return [torch.from_numpy(np.flatnonzero(splits == name)) for name in np.unique(splits.astype(str))]


def of_teacher(world: World, styles: str) -> Tensor:
    """Rows, (n,) ascending, of the pictures whose concepts people judged (the split human: triplets are drawn of all of
    them), of those to be labelled and of those that levels.csv shows, on which the teacher is scored: what the teacher
    reads of each of its backbones.
    """
    rows = [world.rows("human"), world.labelled(styles)]
    if world.levels is not None:
        rows.append(world.choice_rows(world.levels)[0].flatten())
    return torch.cat(rows).unique()
