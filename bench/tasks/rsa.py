"""Representational similarity analysis: the Spearman correlation of two representations' similarities, and its error.

RSA: cosine similarities of all pairs of 2,000 pictures in two representations of 512 dimensions, ranked and correlated,
beside SciPy and rsatoolbox. Standard error of the RSA of 100 objects, from influences (dyadic-robust): beside
rsatoolbox's bootstrap over objects and a loop over pairs of objects; agreement says what both are of the standard
deviation over objects drawn anew.
"""

from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
import torch
from rsatoolbox.data import Dataset
from rsatoolbox.inference import eval_bootstrap_pattern
from rsatoolbox.model import ModelFixed
from rsatoolbox.rdm import RDMs, calc_rdm, compare
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from alignet import intervals, metrics
from bench.measure import Comparison, Way, alike

PICTURES, DIM, OBJECTS, RESAMPLES, DRAWS = 2000, 512, 100, 200, 400


def representations(pictures: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two that have a fifth of their variance in common; rows have mean 0, so that cosine and correlation agree."""
    generator = np.random.default_rng(seed)
    one, other = generator.standard_normal((2, pictures, DIM), np.float32)
    other += 0.5 * one
    return one - one.mean(1, keepdims=True), other - other.mean(1, keepdims=True)


def similarities(rows: np.ndarray) -> torch.Tensor:
    unit = metrics.unit_vectors(torch.from_numpy(rows), centred=False)
    return metrics.upper_triangle(unit @ unit.T)


def rdm(rows: np.ndarray) -> RDMs:
    return calc_rdm(Dataset(rows, obs_descriptors={"index": np.arange(len(rows))}), "correlation", "index")


def loop_error(influence: np.ndarray, pairs: np.ndarray) -> float:
    """The sum of products of all pairs of units that share an object, unit by unit; then as Units.standard_error."""
    total, sharing = 0.0, 0
    for unit, objects in enumerate(pairs):
        shared = (pairs == objects[0]).any(1) | (pairs == objects[1]).any(1)
        total += influence[unit] * influence[shared].sum()
        sharing += shared.sum()
    return (max(total, (influence**2).sum()) / (1 - sharing / len(pairs) ** 2)) ** 0.5


def comparisons(scale: float = 1) -> Iterator[Comparison]:
    pictures, objects = max(10, int(PICTURES * scale)), max(10, int(OBJECTS * min(scale, 1)))
    one, other = representations(pictures)
    task = f"RSA of {pictures:,} pictures"
    ours = Way("alignet.metrics.spearman", lambda: metrics.spearman(similarities(one), similarities(other)))
    scipy = Way(
        f"SciPy {version('scipy')}: pdist, spearmanr",
        lambda: spearmanr(pdist(one, "cosine"), pdist(other, "cosine")).statistic,
    )
    toolbox = Way(
        f"rsatoolbox {version('rsatoolbox')}: calc_rdm, compare",
        lambda: compare(rdm(one), rdm(other), "spearman")[0, 0],
    )
    yield Comparison(task, "package", ours, scipy, alike(1e-4))
    yield Comparison(task, "package", ours, toolbox, alike(1e-4))
    yield from errors(rdm(one[:objects]), rdm(other[:objects]), objects)


def errors(model: RDMs, data: RDMs, objects: int) -> Iterator[Comparison]:
    pairs = torch.triu_indices(objects, objects, 1).T
    vectors = [torch.from_numpy(found.dissimilarities[0]) for found in (model, data)]

    def ours() -> float:
        return intervals.Units(pairs).standard_error(intervals.spearman_influence(*vectors)[1])

    def bootstrap() -> float:
        found = eval_bootstrap_pattern(
            ModelFixed("model", model), data, method="spearman", N=RESAMPLES, boot_noise_ceil=False
        )
        return float(np.nanstd(found.evaluations))

    def loop() -> float:
        return loop_error(intervals.spearman_influence(*vectors)[1].numpy(), pairs.numpy())

    task, way = f"standard error of RSA, {objects} objects", Way("alignet.intervals", ours)
    label = f"rsatoolbox {version('rsatoolbox')}: bootstrap of {RESAMPLES}"
    drawn = [representations(objects, seed) for seed in range(1, DRAWS + 1)]
    true = np.std([metrics.spearman(similarities(one), similarities(other)) for one, other in drawn])

    def agree(found: float, others: float) -> str:
        return f"of the true error: ours {found / true:.2f}, the other's {others / true:.2f}"

    note = f"true: standard deviation over {DRAWS} draws of objects"
    yield Comparison(task, "package", way, Way(label, bootstrap), agree, 3, note)
    yield Comparison(task, "naive", way, Way("loop over pairs of objects", loop), alike(1e-6))
