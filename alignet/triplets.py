"""Pair similarities, choices and triplet sampling: pure tensor functions.

Odd-one-out order, everywhere in the package: entry t of a similarity or probability vector belongs to the
pair that is left when item t is taken out, so the argmax over the three pair similarities is the odd one out.
"""

import torch
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


def gather_pair_similarities(similarities: Tensor, triplets: Tensor) -> Tensor:
    """The same from a similarity matrix.

    Args: similarities: (n, n); triplets: (m, 3) row numbers.
    Returns: (m, 3); entry t belongs to the two items other than t.
    """
    pairs = triplets[:, FIRST] * len(similarities) + triplets[:, SECOND]
    # index_select, not indexing, whose backward pass adds in any order: equal seeds must give equal students.
    return similarities.flatten().index_select(0, pairs.flatten()).view(pairs.shape)


def choices(similarities: Tensor) -> Tensor:
    """The odd one out of each triplet, (m,) in {0, 1, 2}; -1 where the maximum is tied: no choice, never right.

    Args: similarities: (m, 3) in odd-one-out order.
    """
    top = similarities.max(dim=-1, keepdim=True).values
    tied = (similarities == top).sum(-1) > 1
    return similarities.argmax(-1).masked_fill(tied, -1)


def choice_counts(triplets: Tensor, odd: Tensor) -> tuple[Tensor, Tensor]:
    """How often each item of each distinct triplet was chosen, whatever order the triplet was shown in.

    Args: triplets: (m, 3) item numbers, one row per choice; odd: (m,) position of the chosen odd one out.
    Returns: distinct triplets, (n, 3), each in ascending order; counts, (n, 3) int64 in the same order.
    """
    ordered, order = triplets.sort(dim=1)
    chosen = (order == odd[:, None]).long()
    distinct, group = ordered.unique(dim=0, return_inverse=True)
    return distinct, torch.zeros_like(distinct).index_add_(0, group, chosen)


IN_BATCH = {"cluster_border": (2,), "within_cluster": (1,), "between_cluster": (3,), "random": (1, 2, 3)}


def in_batch_triplets(clusters: int, pictures: int, scheme: str) -> Tensor:
    """All triplets of a scheme in a batch of `clusters` x `pictures` images that stand cluster by cluster.

    cluster_border: two images of one cluster and one of another, P K (K - 1) / 2 (P - 1) K of them; within_cluster:
    three of one; between_cluster: of three; random: any three.

    Returns: (n, 3) ascending positions in the batch. *(ours: one similarity matrix scores them all)*
    """
    triplets = torch.combinations(torch.arange(clusters * pictures), 3)
    label = triplets // pictures
    distinct = 1 + (label[:, 1:] != label[:, :-1]).sum(1)  # clusters stand together: a change is a new one
    return triplets[torch.isin(distinct, torch.tensor(IN_BATCH[scheme]))]


def sample_cluster_border(clusters: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Triplets of two images of one cluster and one of another (the release's cluster_border).

    A cluster is drawn with equal chance, then two different images of it, then an image of another cluster.
    Clusters of a single image give no pair.

    Args: clusters: (n_images,) cluster of every image, >= 0.
    Returns: (n, 3) image numbers.
    Raises: ValueError if no cluster has two images or there is only one cluster.
    """
    sizes = torch.bincount(clusters)
    usable = torch.nonzero(sizes >= 2).flatten()
    if len(usable) == 0 or (sizes > 0).sum() < 2:
        raise ValueError("cluster-border triplets need two clusters, and one of them with two images")
    by_cluster, start = clusters.argsort(stable=True), sizes.cumsum(0) - sizes
    cluster = usable[torch.randint(len(usable), (n,), generator=generator)]
    size = sizes[cluster]
    first = _randint(size, generator)
    second = (first + 1 + _randint(size - 1, generator)) % size
    other = _randint(len(clusters) - size, generator)  # numbered among the images outside the cluster
    other = other + size * (other >= start[cluster])
    return by_cluster[torch.stack([start[cluster] + first, start[cluster] + second, other], dim=1)]


def _randint(high: Tensor, generator: torch.Generator) -> Tensor:
    """An integer in [0, high) for each entry of `high`."""
    drawn = torch.rand(high.shape, generator=generator, dtype=torch.float64)
    return (drawn * high).long().clamp(max=high - 1)
