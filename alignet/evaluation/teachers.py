"""The teacher's representations of pictures, which are scored beside those of its students."""

from pathlib import Path

import torch

from alignet import results
from alignet.evaluation.representations import Representations
from alignet.models.features import joined
from alignet.teacher.affine_map import AffineMap
from alignet.worlds.format import roles
from alignet.worlds.format.tables import World


def representations(data: Path, world: World, backbones: list[str], styles: str) -> Representations:
    """The teacher's representations of the pictures of `World.scored_rows`, without its map and with it.

    Their keys are ('teacher', 'teacher before' or 'teacher', 'pooled'). Rows are NaN where the teacher reads no
    features. Without a fitted teacher there are none.

    Args: backbones: the teacher's; styles: as in `World.labelled`.
    """
    if not (data / "teacher").is_dir():
        return {}
    affine, scored = AffineMap.load(data / "teacher"), world.scored_rows()
    rows = scored[torch.isin(scored, roles.of_teacher(world, styles))]
    features = joined(data, backbones, world, rows)[0][scored]
    maps = {results.TEACHER_BEFORE: affine.without_map(), results.TEACHER: affine}
    return {(results.TEACHER, name, "pooled"): each(features) for name, each in maps.items()}
