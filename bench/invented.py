"""An invented, clustered embedding of ImageNet's size on disk, for the benches."""

from pathlib import Path

import numpy as np


def embedding(path: Path, images: int, dim: int, clusters: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(images, dim) float16 written to `path` and mapped, and the cluster of every row: a centre plus noise, which is
    taken from a pool of 32,768 rows so that making it takes seconds."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(clusters, size=images)
    centres = generator.standard_normal((clusters, dim), np.float32).astype(np.float16)
    pool = generator.standard_normal((1 << 15, dim), np.float32).astype(np.float16)
    written = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(images, dim))
    for start in range(0, images, 1 << 15):
        part = labels[start : start + (1 << 15)]
        noise = pool[generator.permutation(len(pool))[: len(part)]]
        written[start : start + (1 << 15)] = centres[part].astype(np.float32) + noise.astype(np.float32)
    written.flush()
    return np.load(path, mmap_mode="c"), labels  # copy on write: torch asks for a writable array
