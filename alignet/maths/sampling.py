"""Triplets drawn by groups, without rejection and without repeats, as pure tensor functions."""

from dataclasses import dataclass

import torch
from torch import Tensor

ONE_KEY = 2_097_151  # images: the cube of more does not fit in 63 bits


@dataclass(frozen=True)
class Groups:
    """Images sorted by group (class or cluster), and the groups that a scheme can use.

    members: (n_images,) image numbers, group by group; start, size: (n_groups,); usable: the groups that hold at least
    `needed` images; needed: 1, 2 or 3.
    """

    members: Tensor
    start: Tensor
    size: Tensor
    usable: Tensor
    needed: int

    @classmethod
    def of(cls, labels: Tensor, needed: int) -> "Groups":
        """The groups of images that share a label.

        Args: labels: (n_images,) int64 >= 0; unused label values are ignored.
        """
        size = torch.bincount(labels)
        usable = torch.nonzero(size >= needed).flatten()
        return cls(labels.argsort(stable=True), size.cumsum(0) - size, size, usable, needed)

    def left_out(self) -> tuple[int, int]:
        """The number of groups that are too small, and the number of images in them."""
        small = (self.size > 0) & (self.size < self.needed)
        return int(small.sum()), int(self.size[small].sum())


SCHEMES = ("random", "between_class", "class_border", "within_class", "cluster_border")
LEVEL_SCHEMES = {"coarse": "between_class", "boundary": "class_border", "fine": "within_class"}
NEEDED = {"random": 3, "between_class": 1, "class_border": 2, "within_class": 3, "cluster_border": 2}
WIDTH = {"random": 3, "between_class": 6, "class_border": 4, "within_class": 4, "cluster_border": 4}


def groups(scheme: str, labels: Tensor) -> Groups:
    """The groups that `draw` draws from: all images as one group (random), classes or clusters.

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

    random: any three images. between_class: one image of each of three classes. class_border, cluster_border: two
    images of one group, and any image outside it, whose own group may be of any size. within_class: three images of one
    class. All groups that are large enough have the same chance to be drawn, and so have all images of a group. Triplet
    i depends on the generator's uniforms i * width to (i + 1) * width only, so the chunk size changes nothing.

    Source: the paper, Methods, triplet sampling; the release's data set card. The schemes hold by construction, without
        rejection.

    Example:

    >>> import torch
    >>> from alignet.maths import sampling
    >>> clusters = torch.tensor([0, 0, 0, 1, 1])
    >>> source = sampling.groups("cluster_border", clusters)
    >>> triplets = sampling.draw("cluster_border", source, 4, torch.Generator().manual_seed(0))
    >>> triplets.shape
    torch.Size([4, 3])
    >>> (clusters[triplets[:, 0]] == clusters[triplets[:, 1]]).all().item()  # two images of one cluster
    True
    >>> (clusters[triplets[:, 0]] != clusters[triplets[:, 2]]).all().item()  # and one of another
    True
    """
    drawn = torch.empty(n, 3, dtype=torch.int64)
    for start in range(0, n, chunk):
        rows = drawn[start : start + chunk]
        uniform = torch.rand(len(rows), WIDTH[scheme], generator=generator, dtype=torch.float64)
        rows.copy_(_from_uniform(scheme, source, uniform.T.contiguous()))
    return drawn


def sample_distinct(sources: dict[str, Groups], n: int, generator: torch.Generator) -> Tensor:
    """Distinct triplets of one scheme, or of several schemes in equal shares, (n, 3) picture numbers.

    They are the first n distinct triplets in the order in which they are drawn. If 20 n draws give fewer than n
    distinct triplets, as in a world of few pictures, fewer are returned.

    Args: sources: scheme -> the groups that it draws from.
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


def distinct(triplets: Tensor, images: int) -> Tensor:
    """Row numbers, (m,) int64 ascending, of the first row with each set of three images.

    Args: triplets: (n, 3) numbers in [0, images).

    Example:

    >>> import torch
    >>> from alignet.maths import sampling
    >>> triplets = torch.tensor([[0, 1, 2], [2, 1, 0], [1, 2, 3]])
    >>> sampling.distinct(triplets, images=4).tolist()  # the second row is the first set again
    [0, 2]
    """
    keys = set_keys(triplets, images)
    order = torch.arange(len(triplets))
    for key in reversed(keys):
        order = order[key[order].argsort(stable=True)]
    first = torch.ones(len(order), dtype=torch.bool)
    first[1:] = torch.stack([key[order[1:]] != key[order[:-1]] for key in keys]).any(0)
    return order[first].sort().values


def set_keys(triplets: Tensor, images: int) -> list[Tensor]:
    """Keys that are equal for equal sets of three images, whatever their order.

    Returns: one key, (n,) int64, or two where the cube of `images` does not fit in 63 bits.
    """
    low, high = triplets.amin(1), triplets.amax(1)
    pair = low * images + (triplets.sum(1) - low - high)
    return [pair * images + high] if images <= ONE_KEY else [pair, high]


def _from_uniform(scheme: str, source: Groups, uniform: Tensor) -> Tensor:
    """Triplets, (n, 3), from uniforms in [0, 1), (width, n)."""
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
    """Two or three different positions below `size`; all orders are equally likely."""
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
