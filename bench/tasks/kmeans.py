"""k-means of 20,000 x 512 features into 100 clusters: faiss beside scikit-learn.

The inertia that is compared is of all rows to the centroids found, computed alike for all.
"""

from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans

from alignet.synthesis import kmeans
from bench.measure import Comparison, Way

ROWS, DIM, CLUSTERS, POINTS = 20_000, 512, 100, 256


def features(rows: int) -> np.ndarray:
    """Overlapping clouds whose variance falls along the axes, as that of features of pictures does."""
    generator = np.random.default_rng(0)
    axes = np.arange(1, DIM + 1, dtype=np.float32) ** -0.5
    centres = generator.standard_normal((3 * CLUSTERS, DIM), np.float32)
    noise = generator.standard_normal((rows, DIM), np.float32)
    return (centres[generator.integers(len(centres), size=rows)] + noise) * axes


def comparisons(scale: float = 1) -> Iterator[Comparison]:
    rows = features(max(10 * CLUSTERS, int(ROWS * scale)))

    def sklearn(estimator) -> np.ndarray:
        return np.ascontiguousarray(estimator.fit(rows).cluster_centers_, np.float32)

    def agree(ours: np.ndarray, other: np.ndarray) -> str:
        first, second = (kmeans.assign(rows, centroids).inertia for centroids in (ours, other))
        return f"inertia {second / first:.4f} of ours"

    ours = Way("alignet.synthesis.kmeans", lambda: kmeans.fit(rows, CLUSTERS, POINTS, 0).centroids)
    known = {"n_clusters": CLUSTERS, "n_init": 1, "random_state": 0}
    others = {
        "MiniBatchKMeans": lambda: MiniBatchKMeans(**known),
        "MiniBatchKMeans, batches of 4,096": lambda: MiniBatchKMeans(batch_size=4096, max_no_improvement=30, **known),
        "KMeans (Lloyd)": lambda: KMeans(**known),
    }
    task = f"k-means of {len(rows):,} pictures, {CLUSTERS} clusters"
    for name, made in others.items():
        label = f"scikit-learn {version('scikit-learn')}: {name}"
        yield Comparison(task, "package", ours, Way(label, lambda made=made: sklearn(made())), agree)
