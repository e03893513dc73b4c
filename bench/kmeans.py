"""k-means: faiss beside scikit-learn on features, then ImageNet's size: python bench/kmeans.py [FEATURES.npy] [--large]

The inertia is that of all rows to the centroids found, computed alike for all. Writes bench/kmeans.csv.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from invented import embedding
from measure import Measure
from sklearn.cluster import KMeans, MiniBatchKMeans

from alignet.synthesis import kmeans


def compare(rows: np.ndarray, clusters: int, points: int, seeds: int) -> pd.DataFrame:
    ways = {
        "faiss (ours)": lambda seed: kmeans.fit(rows, clusters, points, seed).centroids,
        "MiniBatchKMeans": lambda seed: MiniBatchKMeans(clusters, n_init=1, random_state=seed).fit(rows),
        "MiniBatchKMeans, batch 4096": lambda seed: MiniBatchKMeans(
            clusters, n_init=1, batch_size=4096, max_no_improvement=30, random_state=seed
        ).fit(rows),
        "KMeans (Lloyd)": lambda seed: KMeans(clusters, n_init=1, random_state=seed).fit(rows),
    }
    table = []
    for name, way in ways.items():
        for seed in range(-1, seeds):  # the first run, which loads libraries, does not count
            with Measure() as measured:
                found = way(max(seed, 0))
            centroids = found if isinstance(found, np.ndarray) else found.cluster_centers_
            inertia = kmeans.assign(rows, np.ascontiguousarray(centroids, np.float32)).inertia
            if seed >= 0:
                table.append({"way": name, "seconds": measured.seconds, "inertia": inertia})
    means = pd.DataFrame(table).groupby("way", sort=False).mean()
    return means.assign(relative_inertia=means["inertia"] / means["inertia"].iloc[0]).reset_index()


def large(images: int, dim: int, clusters: int, points: int) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        rows, labels = embedding(Path(folder) / "embedding.npy", images, dim, clusters)
        with Measure() as measured:
            found = kmeans.fit(rows, clusters, points, seed=0)
    pairs = len(np.unique(labels * clusters + found.labels))
    print(f"{images} x {dim}, {clusters} clusters, {points} points a cluster: {measured.seconds:.1f} s, ", end="")
    print(f"peak {measured.peak / 1e9:.2f} GB above the mapped file, inertia {found.inertia:.4g}, ", end="")
    print(f"{found.empty} empty, {pairs} pairs of true and found cluster ({clusters} would be perfect)")
    row = {"way": "faiss (ours)", "seconds": measured.seconds, "inertia": found.inertia, "peak_gb": measured.peak / 1e9}
    return pd.DataFrame([{"features": "invented", "rows": images, "dim": dim, "clusters": clusters} | row])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("features", nargs="?", default="data/features/lite2_layers/features.npy")
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--images", type=int, default=1_280_000)
    wanted = parser.parse_args()
    rows = np.ascontiguousarray(np.load(wanted.features), dtype=np.float32)
    print(f"{wanted.features}: {rows.shape}, {wanted.clusters} clusters, mean of three seeds")
    table = compare(rows, wanted.clusters, 256, 3)
    print(table.round(3).to_string(index=False))
    described = {"features": wanted.features, "rows": len(rows), "dim": rows.shape[1], "clusters": wanted.clusters}
    table = pd.DataFrame([described | row for row in table.to_dict("records")])
    if wanted.large:
        table = pd.concat([table, large(wanted.images, 1152, 500, 256)])
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
