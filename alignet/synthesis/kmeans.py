"""k-means of a representation that may lie on disk: centroids from a sample, and rows assigned chunk by chunk.

Example:

>>> import numpy as np
>>> from alignet.synthesis import kmeans
>>> rows = np.array([[0, 0], [0, 1], [9, 9], [9, 8]], dtype=np.float32)
>>> clustering = kmeans.fit(rows, clusters=2, points_per_cluster=2, seed=0)
>>> [(clustering.labels == clustering.labels[row]).tolist() for row in (0, 2)]  # two clusters of two
[[True, True, False, False], [False, False, True, True]]
>>> round(clustering.inertia, 3), clustering.empty
(1.0, 0)
"""

from dataclasses import dataclass

import faiss
import numpy as np

ITERATIONS = 25  # faiss's default; the inertia moves by less than 1 % after that (bench/tasks/kmeans.py)


@dataclass(frozen=True)
class Clustering:
    """The result of k-means.

    labels: (n,) int64 cluster of every row; centroids: (k, p) float32; inertia: sum of squared distances of all rows to
    their centroids; empty: number of clusters without a row.
    """

    labels: np.ndarray
    centroids: np.ndarray
    inertia: float

    @property
    def empty(self) -> int:
        return len(self.centroids) - len(np.unique(self.labels))


def fit(rows: np.ndarray, clusters: int, points_per_cluster: int, seed: int, chunk: int = 1 << 15) -> Clustering:
    """Lloyd's algorithm (faiss) on at most clusters * points_per_cluster rows, then the nearest centroid of every row.

    Memory holds the sample and one chunk in float32, whatever the number of rows. Equal seeds give equal labels,
    whatever the chunk size and the number of threads.

    Args: rows: (n, p) float16 or float32, in memory or memory-mapped.
    Raises: ValueError if there are fewer rows than clusters or a value is not finite.
    Source: the paper, Methods (k-means, 500 clusters of ImageNet).
    """
    if len(rows) < clusters:
        raise ValueError(f"clusters is {clusters}, but there are {len(rows)} pictures")
    wanted = min(len(rows), clusters * points_per_cluster)
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), wanted, replace=False))
    sample = rows[chosen].astype(np.float32, copy=False)
    if not np.isfinite(sample).all():
        raise ValueError("the representation holds values that are not finite")
    engine = faiss.Kmeans(
        rows.shape[1],
        clusters,
        niter=ITERATIONS,
        seed=seed + 1,  # faiss takes its own default for 0
        gpu=faiss.get_num_gpus() > 0,
        min_points_per_centroid=1,
        max_points_per_centroid=max(points_per_cluster, len(sample) // clusters + 1),
    )
    engine.train(sample)
    del sample
    centroids = engine.centroids
    assert centroids is not None  # it is trained
    return assign(rows, centroids, chunk)


def assign(rows: np.ndarray, centroids: np.ndarray, chunk: int = 1 << 15) -> Clustering:
    """The nearest centroid of every row (n, p), read in chunks.

    Example:

    >>> import numpy as np
    >>> from alignet.synthesis import kmeans
    >>> centroids = np.array([[0, 0], [9, 9]], dtype=np.float32)
    >>> kmeans.assign(np.array([[1, 1], [8, 9]], dtype=np.float32), centroids).labels.tolist()
    [0, 1]
    """
    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(centroids)
    labels, inertia = np.empty(len(rows), np.int64), 0.0
    for start in range(0, len(rows), chunk):
        block = np.ascontiguousarray(rows[start : start + chunk], dtype=np.float32)
        labels[start : start + chunk] = index.search(block, 1)[1][:, 0]
        inertia += float(((block - centroids[labels[start : start + chunk]]) ** 2).sum(dtype=np.float64))
    return Clustering(labels, centroids, inertia)
