"""Triplets by scheme from a world's clusters and classes: distinct ones, and what each scheme leaves out."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from alignet.config import Synthesis, listed
from alignet.triplets import SCHEMES, Groups, draw, groups
from alignet.worlds.format.tables import World

ONE_KEY = 2_097_151  # images: the cube of more does not fit in 63 bits


def class_labels(world: World, settings: Synthesis) -> Tensor:
    """The class of every picture of the synthesis split, (n,), for the schemes that say that they use it.

    settings.class_label names the column; null: the one above the finest, or the finest where there is one only.
    Raises: ValueError if the hierarchy has no such column.
    """
    column = settings.class_label or world.class_label
    if column not in world.hierarchy:
        raise ValueError(f"synthesis.class_label is {column!r}; the hierarchy has {', '.join(world.hierarchy)}")
    return world.codes(column)[world.rows("synthesis")]


def scheme_groups(scheme: str, clusters: Tensor, classes: Tensor) -> Groups:
    """What a scheme draws from: clusters for cluster_border, classes for those with class in their name.

    Raises: ValueError naming the scheme if they leave no triplet of it.
    """
    return groups(scheme, classes if "class" in scheme else clusters)


def name(scheme: str | Sequence[str]) -> str:
    """What stands for the scheme in the names of files: several are joined by a plus."""
    return "+".join(listed(scheme))


def sources(scheme: str | Sequence[str], clusters: Tensor, classes: Tensor) -> dict[str, Groups]:
    """What each of the schemes draws from. Raises: ValueError naming a scheme if they leave no triplet of it."""
    return {each: scheme_groups(each, clusters, classes) for each in listed(scheme)}


def sample_distinct(sources: dict[str, Groups], n: int, generator: torch.Generator) -> Tensor:
    """Triplets of picture numbers by one scheme, or equal shares of several, (n, 3), each set of three at most once.

    The first n different ones of the schemes' stream: how many are drawn at a time changes nothing for one scheme. If
    twenty times as many draws do not give n, as in a world of few pictures, those that were found are all: (m < n, 3).

    Args: sources: scheme -> what it draws from.
    """
    images = len(next(iter(sources.values())).members)
    triplets = torch.empty(0, 3, dtype=torch.int64)
    for _ in range(20):
        drawn = _mixed(sources, n - len(triplets) + n // 50 + 100, generator)
        triplets = torch.cat([triplets, drawn])
        del drawn
        kept = distinct(triplets, images)
        triplets = triplets if len(kept) == len(triplets) else triplets[kept]
        if len(triplets) >= n:
            break
    return triplets[:n]


def _mixed(sources: dict[str, Groups], n: int, generator: torch.Generator) -> Tensor:
    """n triplets of one scheme, or at least n of several in equal shares and random order."""
    share = -(-n // len(sources))
    drawn = torch.cat([draw(scheme, groups, share, generator) for scheme, groups in sources.items()])
    return drawn if len(sources) == 1 else drawn[torch.randperm(len(drawn), generator=generator)]


def scheme_triplets(world: World, clusters: Tensor, settings: Synthesis) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Triplets of all five schemes, valid_triplets of each, and what each leaves out.

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


def distinct(triplets: Tensor, images: int) -> Tensor:
    """Row numbers, ascending, of the first of every set of three images, (m,) int64.

    Args: triplets: (n, 3) numbers in [0, images).
    """
    keys = set_keys(triplets, images)
    order = torch.arange(len(triplets))
    for key in reversed(keys):
        order = order[key[order].argsort(stable=True)]
    first = torch.ones(len(order), dtype=torch.bool)
    first[1:] = torch.stack([key[order[1:]] != key[order[:-1]] for key in keys]).any(0)
    return order[first].sort().values


def set_keys(triplets: Tensor, images: int) -> list[Tensor]:
    """Numbers that are equal for equal sets of three images, whatever their order: one, (n,) int64, or two where the
    cube of `images` does not fit in 63 bits.
    """
    low, high = triplets.amin(1), triplets.amax(1)
    pair = low * images + (triplets.sum(1) - low - high)
    return [pair * images + high] if images <= ONE_KEY else [pair, high]
