"""Triplets by scheme from a world's clusters and classes, and the pictures that each scheme leaves out."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from alignet.config import Synthesis, listed
from alignet.maths.sampling import SCHEMES, Groups, draw, groups
from alignet.worlds.format.tables import World


def class_labels(world: World, settings: Synthesis) -> Tensor:
    """The class of every picture of the synthesis split, (n,), for schemes that use classes.

    settings.class_label names the column; null stands for the label above the finest, or for the only label.
    Raises: ValueError if the hierarchy has no such column.
    """
    column = settings.class_label or world.class_label
    if column not in world.hierarchy:
        raise ValueError(f"synthesis.class_label is {column!r}; the hierarchy has {', '.join(world.hierarchy)}")
    return world.codes(column)[world.rows("synthesis")]


def scheme_groups(scheme: str, clusters: Tensor, classes: Tensor) -> Groups:
    """The groups that a scheme draws from: clusters for cluster_border, classes for schemes with 'class' in their
    names.

    Raises: ValueError naming the scheme if they leave no triplet of it.

    Example:

    >>> import torch
    >>> from alignet.synthesis import schemes
    >>> clusters, classes = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 1, 2, 2])
    >>> schemes.scheme_groups("cluster_border", clusters, classes).size.tolist()
    [2, 3]
    >>> schemes.scheme_groups("class_border", clusters, classes).size.tolist()
    [1, 2, 2]
    """
    return groups(scheme, classes if "class" in scheme else clusters)


def name(scheme: str | Sequence[str]) -> str:
    """The scheme's name in names of files; several schemes are joined by a plus.

    Example:

    >>> from alignet.synthesis import schemes
    >>> schemes.name("random"), schemes.name(["cluster_border", "random"])
    ('random', 'cluster_border+random')
    """
    return "+".join(listed(scheme))


def sources(scheme: str | Sequence[str], clusters: Tensor, classes: Tensor) -> dict[str, Groups]:
    """The groups that each scheme draws from. Raises: ValueError naming a scheme if they leave no triplet of it."""
    return {each: scheme_groups(each, clusters, classes) for each in listed(scheme)}


def scheme_triplets(world: World, clusters: Tensor, settings: Synthesis) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """valid_triplets triplets of each of the five schemes, and the pictures that each scheme leaves out.

    Returns: scheme -> (n, 3), for those that the world allows; a table: scheme, n_triplets, groups,
        groups_left_out (too small), pictures_left_out (in those), note (why there are none).
    """
    classes = class_labels(world, settings)
    generator, drawn, rows = torch.Generator().manual_seed(settings.seed), {}, []
    for scheme in SCHEMES:
        try:
            groups = scheme_groups(scheme, clusters, classes)
        except ValueError as error:
            rows.append({"scheme": scheme, "n_triplets": 0, "note": str(error)})
            continue
        drawn[scheme] = draw(scheme, groups, settings.valid_triplets, generator)
        left_out = dict(zip(("groups_left_out", "pictures_left_out"), groups.left_out(), strict=True))
        counts = {"n_triplets": len(drawn[scheme]), "groups": int((groups.size > 0).sum()), **left_out}
        rows.append({"scheme": scheme, **counts, "note": ""})
    return drawn, pd.DataFrame(rows)
