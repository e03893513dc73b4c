"""Ten million cluster-border triplets with their labels, ours beside the naive ways: python bench/synthesis.py

The embedding (1.28 million x 1,152 float16, invented) lies in a temporary folder and in the page cache. The naive ways
run on fewer triplets; the table compares rates. Writes bench/synthesis.csv: the row 'all' is sampling, similarities and
the file in one go; peak GB is memory above the mapped embedding; load, the machine's when the step began (the bench
itself keeps two processors busy). Run it on an idle machine.
"""

import argparse
import os
import random
import tempfile
from pathlib import Path

import numba
import numpy as np
import pandas as pd
import torch
from invented import embedding
from measure import Measure

from alignet.synthesis import pair_kernel, schemes, triplet_files


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
    parser.add_argument("--table", type=Path, default=Path(__file__).with_suffix(".csv"))
    wanted = parser.parse_args()
    torch.set_num_threads(numba.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        rows, labels = embedding(Path(folder) / "embedding.npy", wanted.images, wanted.dim, wanted.clusters)
        table = Table(rows)
        drawn, similarities = ours(table, rows, labels, wanted.triplets, Path(folder))
        naive(table, rows, labels, drawn, similarities)
    shown = table.frame()
    print(shown.to_string(index=False))
    shown.to_csv(wanted.table, index=False)


class Table:
    """One row a step: rates, peak memory, and the share of the bandwidth of reading the whole embedding in order."""

    def __init__(self, rows: np.ndarray):
        self.rows, self.steps, self.row_bytes = rows, [], 3 * rows.shape[1] * rows.itemsize
        words = rows.reshape(-1).view(np.uint64)
        read_all(words[:1000]), pair_kernel.pair_similarities(rows, np.zeros((10, 3), np.int64))  # compile both
        for _ in range(4):
            self.time(f"sequential read, {numba.get_num_threads()} threads", 0, lambda: read_all(words), rows.nbytes)
        self.steps = [max(self.steps, key=lambda step: step["GB/s"])]

    def time(self, step: str, n: int, way, moved: int = 0):
        load = os.getloadavg()[0]
        with Measure() as measured:
            found = way()
        rates = {"million/s": n / measured.seconds / 1e6, "GB/s": moved / measured.seconds / 1e9}
        row = {"step": step, "triplets": n, "seconds": measured.seconds, "peak GB": measured.peak / 1e9, "load": load}
        self.steps.append(row | rates)
        return found

    def frame(self) -> pd.DataFrame:
        shown = pd.DataFrame(self.steps)
        return shown.assign(bandwidth=shown["GB/s"] / shown["GB/s"].iloc[0]).round(3)


def ours(table: Table, rows: np.ndarray, labels: np.ndarray, n: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Sampled triplets and their similarities: each step alone, then all in one go; (n, 3) each."""
    generator = torch.Generator().manual_seed(0)
    source = schemes.groups("cluster_border", torch.from_numpy(labels))
    names = np.array([f"train/n{label:08d}/n{label:08d}_{row}.JPEG" for row, label in enumerate(labels)])
    table.time("sampling, vectorised", n, lambda: schemes.draw("cluster_border", source, n, generator))

    def sample() -> np.ndarray:
        groups = schemes.groups("cluster_border", torch.from_numpy(labels))
        return schemes.sample_distinct("cluster_border", groups, n, generator).numpy()

    def everything() -> tuple[np.ndarray, np.ndarray]:
        drawn = sample()
        similarities = pair_kernel.pair_similarities(rows, drawn)
        triplet_files.write(folder / "train.npz", names, drawn, similarities)
        return drawn, similarities

    drawn = table.time("sampling, each set once", n, sample)
    moved, ahead = n * table.row_bytes, pair_kernel.AHEAD[rows.dtype.name]
    for _ in range(2):
        for name, rows_ahead in (("similarities, fused kernel", ahead), ("the same, rows not asked for early", 0)):
            pair_kernel.AHEAD[rows.dtype.name] = rows_ahead
            alone = table.time(name, n, lambda: pair_kernel.pair_similarities(rows, drawn), moved)
    pair_kernel.AHEAD[rows.dtype.name] = ahead
    table.time("release file, written", n, lambda: triplet_files.write(folder / "train.npz", names, drawn, alone))
    drawn, similarities = table.time("all: sampling, similarities, file", n, everything)
    counts = table.time(
        "release file, checked", n, lambda: triplet_files.check(triplet_files.read(folder / "train.npz"))
    )
    print(counts, f"{(folder / 'train.npz').stat().st_size / 1e9:.2f} GB on disk")
    return drawn, similarities


def naive(table: Table, rows: np.ndarray, labels: np.ndarray, drawn: np.ndarray, similarities: np.ndarray) -> None:
    """The plain ways, on a fiftieth of the triplets; their similarities must be the same."""
    few = max(len(drawn) // 50, 1)
    table.time("naive: sampling, Python loop", few, lambda: python_loop(labels, few))
    for name, way in (("chunked torch.bmm", chunked_bmm), ("whole-array NumPy", whole_numpy)):
        moved = few * table.row_bytes
        found = table.time(f"naive: similarities, {name}", few, lambda way=way: way(rows, drawn[:few]), moved)
        np.testing.assert_allclose(similarities[:few], np.asarray(found), rtol=1e-4, atol=1e-2)


if __name__ == "__main__":
    main()
