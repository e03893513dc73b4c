"""Triplets by scheme: which images stand together in a triplet, drawn exactly and without rejection."""

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from alignet.config import Synthesis
from alignet.worlds.format.tables import World


@dataclass(frozen=True)
class Groups:
    """Images sorted by group (class or cluster), and which groups a scheme can use.

    members: (n_images,) image numbers, group by group; start, size: (n_groups,); usable: groups that are large enough
    for `needed` different images; needed: 1, 2 or 3.
    """

    members: Tensor
    start: Tensor
    size: Tensor
    usable: Tensor
    needed: int

    @classmethod
    def of(cls, labels: Tensor, needed: int) -> "Groups":
        """Groups of images that share a label.

        Args: labels: (n_images,) int64 >= 0; unused label values are ignored.
        """
        size = torch.bincount(labels)
        usable = torch.nonzero(size >= needed).flatten()
        return cls(labels.argsort(stable=True), size.cumsum(0) - size, size, usable, needed)

    def left_out(self) -> tuple[int, int]:
        """How many groups are too small, and how many images they hold."""
        small = (self.size > 0) & (self.size < self.needed)
        return int(small.sum()), int(self.size[small].sum())


SCHEMES = ("random", "between_class", "class_border", "within_class", "cluster_border")
NEEDED = {"random": 3, "between_class": 1, "class_border": 2, "within_class": 3, "cluster_border": 2}
WIDTH = {"random": 3, "between_class": 6, "class_border": 4, "within_class": 4, "cluster_border": 4}


def groups(scheme: str, labels: Tensor) -> Groups:
    """What `draw` draws from: all images as one group (random), classes or clusters.

    Args: labels: (n_images,) int64, the cluster (cluster_border) or the class of every image; `random` reads only
        its length.
    Raises: ValueError if the scheme is unknown or the labels leave no triplet of the scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme {scheme!r} is none of {', '.join(SCHEMES)}")
    grouped = Groups.of(torch.zeros_like(labels) if scheme == "random" else labels, NEEDED[scheme])
    kinds = int((grouped.size > 0).sum())
    if scheme == "between_class" and kinds < 3:
        raise ValueError(f"scheme between_class needs three classes, there are {kinds}")
    if scheme.endswith("border") and (kinds < 2 or len(grouped.usable) == 0):
        raise ValueError(f"scheme {scheme} needs two groups, and one of them with two images; there are {kinds} groups")
    if len(grouped.usable) == 0:
        raise ValueError(f"scheme {scheme} needs three images in one group, the largest has {int(grouped.size.max())}")
    return grouped


def draw(scheme: str, source: Groups, n: int, generator: torch.Generator, chunk: int = 1 << 20) -> Tensor:
    """Triplets of three different images, (n, 3) int64 image numbers.

    random: any three images. between_class: three classes, an image of each. class_border, cluster_border: a group,
    two images of it, then any image outside it (which may be a group's only one). within_class: three images of one
    class. Groups are drawn with equal chance among those that are large enough; images of a group likewise.
    Triplet i is a function of the generator's uniforms i * width to (i + 1) * width: the chunk size changes nothing.

    Source: the paper, Methods, triplet sampling; the release's data set card. Exact by construction: no rejection.
    """
    drawn = torch.empty(n, 3, dtype=torch.int64)
    for start in range(0, n, chunk):
        rows = drawn[start : start + chunk]
        uniform = torch.rand(len(rows), WIDTH[scheme], generator=generator, dtype=torch.float64)
        rows.copy_(_from_uniform(scheme, source, uniform.T.contiguous()))
    return drawn


def class_labels(world: World, settings: Synthesis) -> Tensor:
    """The class of every picture of the synthesis split, (n,), for the schemes that say that they use it.

    settings.class_label names the column; null: the one above the finest, or the finest where there is one only.
    Raises: ValueError if the hierarchy has no such column.
    """
    column = settings.class_label or world.hierarchy[min(1, len(world.hierarchy) - 1)]
    if column not in world.hierarchy:
        raise ValueError(f"synthesis.class_label is {column!r}; the hierarchy has {', '.join(world.hierarchy)}")
    return world.codes(column)[world.rows("synthesis")]


def scheme_groups(scheme: str, clusters: Tensor, classes: Tensor) -> Groups:
    """What a scheme draws from: clusters for cluster_border, classes for those with class in their name.

    Raises: ValueError naming the scheme if they leave no triplet of it.
    """
    return groups(scheme, classes if "class" in scheme else clusters)


def sample_distinct(scheme: str, groups: Groups, n: int, generator: torch.Generator) -> Tensor:
    """Triplets of picture numbers by a scheme, (n, 3), each set of three at most once.

    The first n different ones of the scheme's stream: how many are drawn at a time changes nothing.

    Raises: ValueError if twenty times as many draws do not give that many different triplets.
    """
    images = len(groups.members)
    triplets = torch.empty(0, 3, dtype=torch.int64)
    for _ in range(20):
        drawn = draw(scheme, groups, n - len(triplets) + n // 50 + 100, generator)
        triplets = torch.cat([triplets, drawn])
        del drawn
        kept = distinct(triplets, images)
        triplets = triplets if len(kept) == len(triplets) else triplets[kept]
        if len(triplets) >= n:
            return triplets[:n]
    raise ValueError(f"scheme {scheme}: asked for {n} different triplets, found only {len(triplets)}")


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
    Raises: ValueError if `images` is above 2,097,151, whose cube leaves 63 bits.
    """
    if images > 2_097_151:
        raise ValueError(f"sets of three of {images} images have no 63-bit key; at most 2,097,151")
    key = set_key(triplets, images)
    order = key.argsort(stable=True)
    ordered = key[order]
    first = torch.ones(len(key), dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return order[first].sort().values


def set_key(triplets: Tensor, images: int) -> Tensor:
    """One int64 for every set of three images whatever its order, (n,)."""
    low, high = triplets.amin(1), triplets.amax(1)
    return (low * images + (triplets.sum(1) - low - high)) * images + high


def _from_uniform(scheme: str, source: Groups, uniform: Tensor) -> Tensor:
    """Triplets from uniforms in [0, 1), (width, n) -> (n, 3)."""
    if scheme == "random":
        return source.members[torch.stack(_different(uniform, torch.tensor(len(source.members))), dim=1)]
    if scheme == "between_class":
        chosen = source.usable[torch.stack(_different(uniform[:3], torch.tensor(len(source.usable))))]
        return source.members[source.start[chosen] + _below(uniform[3:], source.size[chosen])].T
    group = source.usable[_below(uniform[0], torch.tensor(len(source.usable)))]
    start, size = source.start[group], source.size[group]
    if scheme == "within_class":
        return source.members[start[:, None] + torch.stack(_different(uniform[1:], size), dim=1)]
    first, second = _different(uniform[1:3], size)
    other = _below(uniform[3], len(source.members) - size)  # numbered among the images outside the group
    other = other + size * (other >= start)
    return source.members[torch.stack([start + first, start + second, other], dim=1)]


def _different(uniform: Tensor, size: Tensor) -> list[Tensor]:
    """Two or three different positions below `size`, every order of them equally likely."""
    first, second = _below(uniform[0], size), _below(uniform[1], size - 1)
    second = second + (second >= first)
    if len(uniform) == 2:
        return [first, second]
    third = _below(uniform[2], size - 2)
    third = third + (third >= torch.minimum(first, second))
    return [first, second, third + (third >= torch.maximum(first, second))]


def _below(uniform: Tensor, size: Tensor) -> Tensor:
    """floor(uniform * size), in [0, size) for sizes below 2^52."""
    return (uniform * size).long().clamp_(max=size - 1)
