"""Pair similarities, choices and triplet sampling by groups, exact and without rejection: pure tensor functions.

Odd-one-out order (docs/method.md, Eq. 1), everywhere in the package: entry t of a similarity or probability vector
belongs to the pair that is left when item t is taken out, so the argmax over the three pair similarities is the odd one
out.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FIRST, SECOND = (1, 0, 0), (2, 2, 1)  # the pair that is left when item 0, 1, 2 is taken out


def pair_similarities(embeddings: Tensor) -> Tensor:
    """Similarity of the pair that is left when each item is taken out.

    Args: embeddings: (batch, 3, dim); the caller normalises.
    Returns: (batch, 3) dot products; entry t belongs to the two items other than t.
    Raises: ValueError if the second axis is not 3.
    """
    if embeddings.ndim != 3 or embeddings.shape[1] != 3:
        raise ValueError(f"embeddings must be (batch, 3, dim), got {tuple(embeddings.shape)}")
    return (embeddings[:, FIRST] * embeddings[:, SECOND]).sum(-1)


def row_pair_similarities(embeddings: Tensor, triplets: Tensor) -> Tensor:
    """Pair similarities of triplets that name rows of an embedding.

    It takes a third of the time of `pair_similarities(embeddings[triplets])`.
    Args: embeddings: (n, dim); triplets: (m, 3) row numbers.
    Returns: (m, 3) dot products; entry t belongs to the two items other than t.
    """
    # F.embedding rather than indexing: indexing adds up gradients in any order, and equal seeds must give equal fits.
    first, second, third = (F.embedding(column, embeddings) for column in triplets.unbind(1))
    return torch.stack([(second * third).sum(-1), (first * third).sum(-1), (first * second).sum(-1)], dim=1)


def gather_pair_similarities(similarities: Tensor, triplets: Tensor) -> Tensor:
    """Pair similarities of triplets, looked up in a matrix of all similarities.

    Args: similarities: (n, n); triplets: (m, 3) row numbers.
    Returns: (m, 3); entry t belongs to the two items other than t.
    """
    pairs = triplets[:, FIRST] * len(similarities) + triplets[:, SECOND]
    # index_select rather than indexing: indexing adds up gradients in any order; equal seeds must give equal students.
    return similarities.flatten().index_select(0, pairs.flatten()).view(pairs.shape)


def odd_one_out(similarities: Tensor) -> Tensor:
    """The odd one out of each triplet, (m,) in {0, 1, 2}; -1 where the maximum is tied, which agrees with nobody.

    Args: similarities: (m, 3) in odd-one-out order.
    """
    top = similarities.max(dim=-1, keepdim=True).values
    tied = (similarities == top).sum(-1) > 1
    return similarities.argmax(-1).masked_fill(tied, -1)


def choice_counts(triplets: Tensor, odd: Tensor) -> tuple[Tensor, Tensor]:
    """How often each item of each distinct triplet was chosen, in whatever order the triplet was shown.

    Args: triplets: (m, 3) item numbers, one row per choice; odd: (m,) position of the chosen odd one out.
    Returns: the distinct triplets, (n, 3), each in ascending order, and their counts, (n, 3) int64 in that order.
    """
    ordered, order = triplets.sort(dim=1)
    chosen = (order == odd[:, None]).long()
    distinct, group = ordered.unique(dim=0, return_inverse=True)
    return distinct, torch.zeros_like(distinct).index_add_(0, group, chosen)


def choices_by_person(triplets: Tensor, odd: Tensor, person: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What each person chose of each distinct triplet, in whatever order it was shown.

    Args: triplets: (m, 3) item numbers, one row per choice; odd: (m,) position of the chosen odd one out; person: (m,)
        numbers from 0 of the people who chose.
    Returns: the distinct triplets, (n, 3), each in ascending order; own, (k, 3) int64 choices per item, a row for each
        triplet and person; triplet, (k,) the number of that row's triplet, ascending.
    """
    ordered, order = triplets.sort(dim=1)
    distinct, group = ordered.unique(dim=0, return_inverse=True)
    people = int(person.max()) + 1 if len(person) else 1
    answers, row = (group * people + person).unique(return_inverse=True)
    own = torch.zeros(len(answers), 3, dtype=torch.int64).index_add_(0, row, (order == odd[:, None]).long())
    return distinct, own, answers // people


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
LEVEL_SCHEMES = {"coarse": "between_class", "boundary": "class_border", "fine": "within_class"}
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
