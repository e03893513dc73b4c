"""The batch of each training step: pictures, triplets among them and the teacher's similarities.

A source is stateless: `at(step)` depends on the seed and the step only. A run that is resumed, or shared between
processes, therefore sees the batches of an uninterrupted run of one process.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from alignet import config, devices
from alignet.maths.choices import gather_pair_similarities
from alignet.worlds.format import pictures


@dataclass(frozen=True)
class Batch:
    """Pictures, triplets among them, and the teacher's similarities.

    rows: (b,) picture numbers, each once; triplets: (m, 3) positions in `rows`; similarities: (m, 3) of the teacher, in
    odd-one-out order; kinds: the numbers of consecutive triplets of each kind, m in all (None: one kind), where each
    kind has an equal share of the loss; pairs: (b, b) the teacher's similarities of all pairs of pictures, None where
    only those of the triplets are known.
    """

    rows: Tensor
    triplets: Tensor
    similarities: Tensor
    kinds: tuple[int, ...] | None = None
    pairs: Tensor | None = None


class Source(Protocol):
    """A source of batches, each of which depends on the seed and the step only."""

    def at(self, step: int) -> Batch: ...


class InBatch:
    """Batches of P clusters x K pictures, with all triplets of one or several schemes among them. *(ours)*

    An epoch shows every picture at most once. Each cluster's pictures are shuffled and divided into hands of K; the
    hands are laid out cluster by cluster and dealt to the B batches in turn, like cards. A cluster gives at most B
    hands, so no batch gets two hands of one cluster. B is the largest number for which P * B hands remain.

    Example: P = 2, K = 2, clusters a with 4 and b with 5 pictures. Each gives two hands, so B = 2. Shuffled hands
    (a3 a0), (a1 a2), (b4 b2), (b0 b1) are dealt to batches 0, 1, 0, 1: batch 0 is a3 a0 b4 b2, batch 1 is a1 a2 b0 b1,
    and b3 is left out of this epoch.

    Args: representation: (n, p), perhaps memory-mapped; its dot products are the teacher's similarities. clusters:
        (n,).
    Raises: ValueError if fewer than P clusters have K pictures, or if a batch holds no triplet of a scheme.
    """

    def __init__(self, representation: np.ndarray, clusters: np.ndarray, settings: config.Student):
        self.representation, self.clusters, self.settings = representation, clusters, settings
        groups = np.bincount(clusters) // settings.batch_pictures
        if (groups > 0).sum() < settings.batch_clusters:
            raise ValueError(
                f"a batch needs {settings.batch_clusters} clusters of {settings.batch_pictures} pictures, and only "
                f"{(groups > 0).sum()} clusters are that large: lower batch_clusters or batch_pictures"
            )
        self.batches = _largest_deal(groups, settings.batch_clusters)
        schemes = config.listed(settings.scheme)
        self.triplets = [in_batch_triplets(settings.batch_clusters, settings.batch_pictures, each) for each in schemes]
        for scheme, triplets in zip(schemes, self.triplets, strict=True):
            if not len(triplets):
                raise ValueError(
                    f"{settings.batch_clusters} clusters of {settings.batch_pictures} pictures hold no triplet of the "
                    f"scheme {scheme}: raise batch_clusters or batch_pictures"
                )
        self.epoch = lru_cache(maxsize=2)(self._epoch)

    def at(self, step: int) -> Batch:
        epoch, number = divmod(step, self.batches)
        rows, kinds = self.epoch(epoch)[number], self.triplets
        if self.settings.batch_triplets is not None:
            generator = torch.Generator().manual_seed(self.settings.seed + (step << 20))
            most = max(1, self.settings.batch_triplets // len(kinds))
            kinds = [kind[torch.randperm(len(kind), generator=generator)[:most]] for kind in kinds]
        seen = torch.from_numpy(np.asarray(self.representation[rows], dtype=np.float32))
        pairs, triplets = seen @ seen.T, torch.cat(kinds)
        similarities = gather_pair_similarities(pairs, triplets)
        return Batch(torch.from_numpy(rows), triplets, similarities, tuple(len(kind) for kind in kinds), pairs)

    def _epoch(self, epoch: int) -> np.ndarray:
        """Picture numbers of every batch of an epoch, (batches, P * K), group by group."""
        generator = np.random.default_rng((self.settings.seed, epoch))
        hands = _shuffled_hands(self.clusters, self.settings.batch_pictures, self.batches, generator)
        return generator.permutation(_dealt(hands, self.settings.batch_clusters, self.batches))


class FromFile:
    """Batches of batch_triplets triplets of a release file, each triplet once an epoch.

    A picture that several triplets of a batch show is forwarded once.

    Args: triplets: (n, 3) picture numbers; similarities: (n, 3) in odd-one-out order; both perhaps memory-mapped.
    """

    def __init__(self, triplets: np.ndarray, similarities: np.ndarray, settings: config.Student):
        if settings.batch_triplets is None or settings.batch_triplets > len(triplets):
            raise ValueError(
                f"source file needs batch_triplets between 1 and the file's {len(triplets)}, "
                f"got {settings.batch_triplets}"
            )
        self.triplets, self.similarities, self.settings = triplets, similarities, settings
        self.size = settings.batch_triplets
        self.batches = len(triplets) // self.size
        self.epoch = lru_cache(maxsize=2)(self._epoch)

    def at(self, step: int) -> Batch:
        epoch, number = divmod(step, self.batches)
        size = self.size
        return batch_of(self.triplets, self.similarities, np.sort(self.epoch(epoch)[number * size :][:size]))

    def _epoch(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.settings.seed, epoch)).permutation(len(self.triplets))


def batch_of(triplets: np.ndarray, similarities: np.ndarray, chosen: np.ndarray) -> Batch:
    """The chosen triplets as a batch, with each of their pictures once.

    Example:

    >>> import numpy as np
    >>> from alignet.student.batches import batch_of
    >>> triplets = np.array([[7, 3, 5], [3, 5, 8], [1, 2, 4]])
    >>> batch = batch_of(triplets, np.zeros((3, 3), dtype=np.float32), chosen=np.array([0, 1]))
    >>> batch.rows.tolist(), batch.triplets.tolist()
    ([3, 5, 7, 8], [[2, 0, 1], [0, 1, 3]])
    """
    rows, places = np.unique(np.asarray(triplets[chosen]), return_inverse=True)
    labels = torch.from_numpy(np.asarray(similarities[chosen], dtype=np.float32))
    return Batch(torch.from_numpy(rows), torch.from_numpy(places.reshape(-1, 3)), labels)


IN_BATCH = {"cluster_border": (2,), "within_cluster": (1,), "between_cluster": (3,), "random": (1, 2, 3)}


def in_batch_triplets(clusters: int, pictures: int, scheme: str) -> Tensor:
    """All triplets of a scheme in a batch of `clusters` x `pictures` images, cluster by cluster.

    cluster_border: two images of one cluster and one of another, P K (K - 1) / 2 (P - 1) K triplets; within_cluster:
    three images of one cluster; between_cluster: images of three clusters; random: any three images.

    Returns: (n, 3) ascending positions in the batch. *(ours: one similarity matrix scores them all)*

    Example:

    >>> from alignet.student.batches import in_batch_triplets
    >>> in_batch_triplets(clusters=2, pictures=2, scheme="cluster_border").tolist()  # clusters 0, 1 and 2, 3
    [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]
    >>> len(in_batch_triplets(clusters=16, pictures=3, scheme="random"))
    17296
    """
    triplets = torch.combinations(torch.arange(clusters * pictures), 3)
    label = triplets // pictures
    distinct = 1 + (label[:, 1:] != label[:, :-1]).sum(1)  # clusters stand together: a change is a new one
    return triplets[torch.isin(distinct, torch.tensor(IN_BATCH[scheme]))]


class Feed:
    """A source, with the inputs of the student: pictures, or the outputs of its frozen part for them.

    Pictures are kept in memory if they fit into `cache_bytes`, and otherwise decoded step by step in worker processes.
    Every picture is read before the first step, so that a broken one stops the run at its start, and its name is
    printed. Each process decodes its own share of a batch.

    Args: paths: the pictures that the source numbers; size: in pixels; workers: processes that decode; outputs: (n,
        ...) of the frozen part for these pictures (`frozen.outputs`), None if there are none.
    Raises: WorldError naming the first picture that cannot be read.
    """

    def __init__(
        self,
        source: Source,
        paths: list[Path],
        size: int,
        workers: int,
        cache_bytes: int,
        outputs: Tensor | None = None,
    ):
        self.source, self.paths, self.size, self.workers = source, paths, size, workers
        self.cache_bytes, self.cached = cache_bytes, outputs
        self.again: tuple[Tensor, Tensor] | None = None  # row numbers and pictures of the last `watched`
        if self.cached is None and len(paths) * 3 * size * size <= cache_bytes:
            self.cached = pictures.stack(paths, size, workers)
        elif self.cached is None and devices.rank() == 0:
            pictures.check(paths, workers)

    def steps(self, start: int, stop: int) -> pictures.Loader:
        """Yield for each step this process's share of the inputs, as `show` gives them, and the batch."""
        workers = 0 if self.cached is not None else self.workers
        steps = _Steps(self, devices.rank(), devices.count())
        own = torch.Generator()  # or starting to read would draw from the generator that dropout uses
        return pictures.Loader(steps, batch_size=None, sampler=range(start, stop), num_workers=workers, generator=own)

    def watched(self, rows: Tensor, part: int) -> Iterator[Tensor]:
        """Inputs for pictures that are shown repeatedly, `part` at a time; they are decoded once if they fit into
        cache_bytes.
        """
        if self.cached is not None or 3 * self.size**2 * len(rows) > self.cache_bytes:
            yield from map(self.show, rows.split(part))
            return
        if self.again is None or not torch.equal(self.again[0], rows):
            self.again = rows, pictures.stack([self.paths[row] for row in rows.tolist()], self.size, self.workers)
        yield from self.again[1].split(part)

    def show(self, rows: Tensor) -> Tensor:
        """The inputs for pictures by their numbers: (n, 3, size, size) uint8, or the frozen part's outputs."""
        if self.cached is not None:
            return self.cached[rows]
        return torch.stack([pictures.decode(self.paths[row], self.size) for row in rows.tolist()])


class _Steps(Dataset):
    """The feed's steps by number. A worker process has no torchrun, so it is given the rank."""

    def __init__(self, feed: Feed, rank: int, count: int):
        self.feed, self.rank, self.count = feed, rank, count

    def __getitem__(self, step: int) -> tuple[Tensor, Batch]:
        batch = self.feed.source.at(step)
        return self.feed.show(devices.part(batch.rows, self.rank, self.count)), batch


def _shuffled_hands(clusters: np.ndarray, size: int, most: int, generator: np.random.Generator) -> np.ndarray:
    """Hands of `size` shuffled pictures of one cluster each, (hands, size) picture numbers.

    Clusters are in random order. A cluster has at most `most` hands, which follow each other.
    """
    labels = generator.permutation(clusters.max() + 1)[clusters]
    order = np.lexsort((generator.random(len(labels)), labels))
    counts = np.bincount(labels)
    place_in_cluster = np.arange(len(order)) - np.repeat(counts.cumsum() - counts, counts)
    kept = np.minimum(counts // size, most) * size
    return order[place_in_cluster < np.repeat(kept, counts)].reshape(-1, size)


def _dealt(hands: np.ndarray, hands_of_batch: int, batches: int) -> np.ndarray:
    """Deal hand h to batch h modulo `batches` until each batch has `hands_of_batch`; return (batches, pictures of a
    batch).
    """
    rounds = hands[: batches * hands_of_batch].reshape(hands_of_batch, batches, -1)
    return rounds.transpose(1, 0, 2).reshape(batches, -1)


def _largest_deal(groups: np.ndarray, batch_clusters: int) -> int:
    """The largest B for which sum(min(groups, B)) >= B * P."""
    low, high = 1, int(groups.sum()) // batch_clusters
    while low < high:
        middle = (low + high + 1) // 2
        if np.minimum(groups, middle).sum() >= middle * batch_clusters:
            low = middle
        else:
            high = middle - 1
    return low
