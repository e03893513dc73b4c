"""Cluster-border triplets of 300,000 pictures, sampled and labelled by an invented embedding of 1,152 float16 numbers.

Labels (dot products of each triplet's rows) are compared by bytes a second: beside reading the whole embedding in order
(the limit; ours gathers rows), chunks of torch.bmm, NumPy that gathers all rows at once, and the kernel itself without
asking for rows early. Sampling, each set of three once, beside a Python loop that rejects.
"""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numba
import numpy as np
import torch

from alignet.maths import sampling
from alignet.synthesis import pair_kernel, schemes
from bench.invented import embedding
from bench.measure import Comparison, Way, alike

IMAGES, DIM, CLUSTERS, TRIPLETS, FEW = 300_000, 1152, 500, 2_000_000, 20_000


def python_loop(labels: np.ndarray, n: int) -> np.ndarray:
    """One triplet at a time; a set that has been drawn before is drawn anew."""
    members, found = [np.flatnonzero(labels == k).tolist() for k in range(labels.max() + 1)], set()
    while len(found) < n:
        cluster = random.randrange(len(members))
        first, second = random.sample(members[cluster], 2)
        other = random.randrange(len(labels))
        while labels[other] == cluster:
            other = random.randrange(len(labels))
        found.add((min(first, second), max(first, second), other))
    return np.array(list(found))


def chunked_bmm(rows: np.ndarray, drawn: np.ndarray, chunk: int = 4096) -> np.ndarray:
    mapped, found = torch.from_numpy(rows), []
    for part in torch.from_numpy(drawn).split(chunk):
        shown = mapped[part].float()
        found.append(torch.bmm(shown, shown.mT)[:, (1, 0, 0), (2, 2, 1)])
    return torch.cat(found).numpy()


def whole_numpy(rows: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    shown = rows[drawn].astype(np.float32)
    return (shown[:, (1, 0, 0)] * shown[:, (2, 2, 1)]).sum(-1)


@numba.njit(parallel=True)
def read_all(words):
    total = np.uint64(0)
    for i in numba.prange(len(words)):
        total += words[i]
    return total


def comparisons(scale: float = 1) -> Iterator[Comparison]:
    images, n, few = (max(20 * CLUSTERS, int(count * scale)) for count in (IMAGES, TRIPLETS, FEW))
    torch.set_num_threads(numba.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        rows, labels = embedding(Path(folder) / "embedding.npy", images, DIM, CLUSTERS)
        clusters = torch.from_numpy(labels)

        def sample() -> np.ndarray:
            sources = schemes.sources("cluster_border", clusters, clusters)
            return sampling.sample_distinct(sources, n, torch.Generator().manual_seed(0)).numpy()

        yield from labels_of(rows, sample(), few)
        ours = Way("alignet.synthesis.schemes", sample, n)
        loop = Way("Python loop", lambda: python_loop(labels, few), few)
        yield Comparison(f"sampling of {n:,} distinct triplets", "naive", ours, loop)


def labels_of(rows: np.ndarray, drawn: np.ndarray, few: int) -> Iterator[Comparison]:
    moved, words = 3 * rows.shape[1] * rows.itemsize, rows.reshape(-1).view(np.uint64)

    def kernel() -> np.ndarray:
        return pair_kernel.pair_similarities(rows, drawn)

    def without_asking() -> np.ndarray:
        with mock.patch.dict(pair_kernel.AHEAD, {rows.dtype.name: 0}):
            return kernel()

    def agree(found: np.ndarray, other: np.ndarray) -> str:
        return alike(1e-4)(found[: len(other)], other)

    task, all_bytes = f"labels of {len(drawn):,} triplets", len(drawn) * moved
    ours = Way("alignet.synthesis.pair_kernel", kernel, all_bytes)
    read = Way("reading the embedding in order", lambda: read_all(words), rows.nbytes)
    yield Comparison(task, "limit", ours, read, note="bytes a second")
    yield Comparison(task, "naive", ours, Way("the kernel without asking early", without_asking, all_bytes), agree)
    for name, way in (("chunks of torch.bmm", chunked_bmm), ("NumPy, all rows gathered at once", whole_numpy)):
        other = Way(name, lambda way=way: way(rows, drawn[:few]), min(few, len(drawn)) * moved)
        yield Comparison(task, "naive", ours, other, agree)
