"""Invented inputs for the benches: a clustered embedding of ImageNet's size on disk, choices of a known embedding."""

from pathlib import Path

import numpy as np
import torch

from alignet.maths.choices import pair_similarities


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


def choices(objects: int, dimensions: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Triplets (n, 3), odd (n,) and the true distributions (n, 3) of an embedding of which `seed` % 100 is the seed."""
    generator = torch.Generator().manual_seed(seed % 100)
    embedding = 2 * torch.rand(objects, dimensions, generator=generator)
    embedding *= torch.rand(objects, dimensions, generator=generator) < 0.3
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(objects, (n,), generator=generator)
    second = (first + torch.randint(1, objects // 2, (n,), generator=generator)) % objects
    third = (first + torch.randint(objects // 2, objects, (n,), generator=generator)) % objects
    triplets, truth = torch.stack([first, second, third], 1), torch.empty(n, 3)
    for part, shown in zip(truth.split(1 << 16), triplets.split(1 << 16), strict=True):
        part.copy_(pair_similarities(embedding[shown]).softmax(-1))
    return triplets, torch.multinomial(truth, 1, generator=generator).squeeze(1), truth
