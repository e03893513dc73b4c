"""The test pictures as every student represents them, before and after alignment, as the earlier stages stored them."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alignet.models.activations import Layers
from alignet.models.features import load_features
from alignet.worlds.format.tables import World

Representations = dict[tuple[str, str, str], Tensor]  # (student, target, 'pooled' or 'head') -> (n test pictures, dim)


def load(data: Path, world: World, students: list[str], targets: list[str]) -> Representations:
    """The test pictures as every student sees them: before (target 'base'; it has no head) and after each target."""
    test, representations = world.rows("test"), {}
    for student in students:
        features = load_features(data / "features" / student, world.images["image"], test)
        representations[student, "base", "pooled"] = features[test]
        for target in targets:
            for name in ("pooled", "head"):
                rows = np.load(data / "students" / student / target / f"{name}.npy")
                representations[student, target, name] = torch.from_numpy(rows)
    return representations


def pooled(stored: Representations) -> Layers:
    """Stored 'pooled' representations of the test pictures, base included, as `Layers`."""
    return {(student, target): {kind: rows} for (student, target, kind), rows in stored.items() if kind == "pooled"}
