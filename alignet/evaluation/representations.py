"""Every student's stored representations of pictures, before and after alignment."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alignet.maths.metrics import unit_vectors
from alignet.models.activations import Layers
from alignet.models.features import load_features
from alignet.worlds.format.tables import World

Representations = dict[tuple[str, str, str], Tensor]  # (student, target, 'pooled' or 'head') -> (n pictures, dim)


def load(
    data: Path, world: World, students: list[str], targets: list[str], rows: Tensor | None = None
) -> Representations:
    """Every student's representations of pictures: before alignment (target 'base', without a head) and after each
    target.

    Args: rows: (n,) of images.csv, ascending, among those of `World.scored_rows`, which the student stage has stored;
        None: the rows of the test split.
    Raises: ValueError naming a student whose stored representations are of other pictures, or a row that none has.
    """
    scored, rows, representations = world.scored_rows(), world.rows("test") if rows is None else rows, {}
    if not torch.isin(rows, scored).all():
        raise ValueError("representations are stored of the pictures of World.scored_rows alone")
    places = torch.searchsorted(scored, rows).numpy()
    for student in students:
        features = load_features(data / "features" / student, world.images["image"], rows)
        representations[student, "base", "pooled"] = features[rows]
        for target in targets:
            for name in ("pooled", "head"):
                file = data / "students" / student / target / f"{name}.npy"
                stored = np.load(file, mmap_mode="r")
                if len(stored) != len(scored):
                    of = f"{len(stored)} pictures, and {len(scored)} are scored"
                    raise ValueError(f"{file}: holds representations of {of}: run the student stage again")
                representations[student, target, name] = torch.from_numpy(stored[places])
    return representations


def unit_of(features: Tensor, test: Tensor, centred: bool) -> Tensor:
    """Rows scaled to length 1, (n, dim), so that their dot products are cosine similarities.

    Args: features: (n, dim); test: (n,) bool, whether a row is of the test split; centred: whether to subtract the mean
        of the test split's rows first, which keeps similarities independent of the other scored rows.
    """
    return unit_vectors(features - features[test].mean(0) if centred else features, centred=False)


def pooled(stored: Representations) -> Layers:
    """The stored 'pooled' representations, including the base's, as `Layers`."""
    return {(student, target): {kind: rows} for (student, target, kind), rows in stored.items() if kind == "pooled"}
