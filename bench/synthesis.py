"""Ten million cluster-border triplets with their labels, ours beside the naive ways: python bench/synthesis.py

The embedding (1.28 million x 1,152 float16, invented) lies in a temporary folder and in the page cache. The naive ways
run on fewer triplets; the table compares rates.
"""

import argparse
import random
import tempfile
from pathlib import Path

import numba
import numpy as np
import pandas as pd
import torch
from invented import embedding
from measure import Measure

from alignet import gather, release, synthesis, triplets


def python_loop(labels: np.ndarray, n: int) -> list[tuple[int, int, int]]:
    """Sampling, one triplet at a time."""
    members = [np.flatnonzero(labels == k).tolist() for k in range(labels.max() + 1)]
    found = []
    for _ in range(n):
        cluster = random.randrange(len(members))
        first, second = random.sample(members[cluster], 2)
        other = random.randrange(len(labels))
        while labels[other] == cluster:
            other = random.randrange(len(labels))
        found.append((first, second, other))
    return found


def chunked_bmm(rows: np.ndarray, drawn: np.ndarray, chunk: int = 4096) -> torch.Tensor:
    """Similarities: gather a chunk, torch.bmm in float32, pick three entries."""
    mapped, found = torch.from_numpy(rows), []
    for part in torch.from_numpy(drawn).split(chunk):
        shown = mapped[part].float()
        found.append(torch.bmm(shown, shown.mT)[:, (1, 0, 0), (2, 2, 1)])
    return torch.cat(found)


def whole_numpy(rows: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Similarities: gather all, multiply, add."""
    shown = rows[drawn].astype(np.float32)
    return (shown[:, (1, 0, 0)] * shown[:, (2, 2, 1)]).sum(-1)


@numba.njit(parallel=True)
def read_all(words):
    total = np.uint64(0)
    for i in numba.prange(len(words)):
        total += words[i]
    return total


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("images", 1_280_000), ("dim", 1152), ("clusters", 500), ("triplets", 10_000_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    wanted = parser.parse_args()
    torch.set_num_threads(numba.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        rows, labels = embedding(Path(folder) / "embedding.npy", wanted.images, wanted.dim, wanted.clusters)
        run(rows, labels, wanted.triplets, Path(folder))


def run(rows: np.ndarray, labels: np.ndarray, n: int, folder: Path) -> None:
    words = rows.reshape(-1).view(np.uint64)
    few = np.zeros((10, 3), np.int64)
    read_all(words[:1000]), gather.pair_similarities(rows, few)  # compile both
    bandwidth = []
    for _ in range(3):
        with Measure() as reading:
            read_all(words)
        bandwidth.append(rows.nbytes / reading.seconds / 1e9)
    table = []

    def note(step: str, count: int, measured: Measure, moved: int = 0) -> None:
        speed = moved / measured.seconds / 1e9
        table.append((step, count, measured.seconds, count / measured.seconds / 1e6, measured.peak / 1e9, speed))

    clusters, generator = torch.from_numpy(labels), torch.Generator().manual_seed(0)
    with Measure() as measured:
        source = triplets.groups("cluster_border", clusters)
        triplets.sample("cluster_border", source, n, generator)
    note("sampling, vectorised", n, measured)
    with Measure() as measured:
        drawn = synthesis.sample("cluster_border", source, n, generator).numpy()
    note("sampling, each set once", n, measured)
    with Measure() as measured:
        similarities = gather.pair_similarities(rows, drawn)
    note("similarities, fused kernel", n, measured, n * 3 * rows.shape[1] * rows.itemsize)
    names = np.array([f"train/n{label:08d}/n{label:08d}_{row}.JPEG" for row, label in enumerate(labels)])
    with Measure() as measured:
        release.write(folder / "train.npz", names, drawn, similarities)
    note("release file, written", n, measured)
    with Measure() as measured:
        report = release.check(release.read(folder / "train.npz"))
    note("release file, read and checked", n, measured)
    print(report, f"{(folder / 'train.npz').stat().st_size / 1e9:.2f} GB on disk")
    few = max(n // 50, 1)
    with Measure() as measured:
        python_loop(labels, few)
    note("naive: sampling, Python loop", few, measured)
    for name, way in (("chunked torch.bmm", chunked_bmm), ("whole-array NumPy", whole_numpy)):
        with Measure() as measured:
            found = np.asarray(way(rows, drawn[:few]))
        note(f"naive: similarities, {name}", few, measured, few * 3 * rows.shape[1] * rows.itemsize)
        np.testing.assert_allclose(similarities[:few], found, rtol=1e-4, atol=1e-2)
    columns = ["step", "triplets", "seconds", "million/s", "peak GB", "GB/s"]
    shown = pd.DataFrame(table, columns=columns).assign(bandwidth=lambda t: t["GB/s"] / max(bandwidth))
    print(f"sequential read of the mapped file, {numba.get_num_threads()} threads: {max(bandwidth):.1f} GB/s")
    print(shown.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
