"""Representational similarity analysis: the Spearman correlation of two representations' similarities, and its error.

RSA: cosine similarities of all pairs of 2,000 pictures in two representations of 512 dimensions, ranked and correlated,
beside SciPy and rsatoolbox. Standard error of the RSA of 100 objects, from influences (dyadic-robust): beside
rsatoolbox's bootstrap over objects and a loop over pairs of objects; agreement says what both are of the standard
deviation over objects that are drawn anew.
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

from alignet.maths import intervals, metrics
from bench.measure import Comparison, Way, alike

PICTURES, DIM, OBJECTS, RESAMPLES, SAMPLES, DRAWS = 2000, 512, 100, 200, 20, 400


def representations(pictures: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two that have a fifth of their variance in common; rows have mean 0, so that cosine and correlation agree."""
    generator = np.random.default_rng(seed)
    one, other = generator.standard_normal((2, pictures, DIM), np.float32)
    other += 0.5 * one
    return one - one.mean(1, keepdims=True), other - other.mean(1, keepdims=True)


def similarities(rows: np.ndarray) -> torch.Tensor:
    unit = metrics.unit_vectors(torch.from_numpy(rows), centred=False)
    return metrics.upper_triangle(unit @ unit.T)


def rsa(one: np.ndarray, other: np.ndarray) -> float:
    return metrics.spearman(similarities(one), similarities(other))


def rdm(rows: np.ndarray) -> RDMs:
    return calc_rdm(Dataset(rows, obs_descriptors={"index": np.arange(len(rows))}), "correlation", "index")


def loop_error(influence: torch.Tensor, of: torch.Tensor) -> float:
    """The sum of products of all pairs of units that share an object, unit by unit; then as Units.standard_error."""
    influence, pairs, total, sharing = influence.numpy(), of.numpy(), 0.0, 0
    for unit, objects in enumerate(pairs):
        shared = (pairs == objects[0]).any(1) | (pairs == objects[1]).any(1)
        total += influence[unit] * influence[shared].sum()
        sharing += shared.sum()
    return (max(total, (influence**2).sum()) / (1 - sharing / len(pairs) ** 2)) ** 0.5


def comparisons(scale: float = 1) -> Iterator[Comparison]:
    pictures, objects = max(10, int(PICTURES * scale)), max(10, int(OBJECTS * min(scale, 1)))
    one, other = representations(pictures)
    task = f"RSA of {pictures:,} pictures"
    ours = Way("alignet.maths.metrics.spearman", lambda: rsa(one, other))
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
    yield from errors(one[:objects], other[:objects])


def errors(one: np.ndarray, other: np.ndarray) -> Iterator[Comparison]:
    objects = len(one)
    task, way = (
        f"standard error of RSA, {objects} objects",
        Way("alignet.maths.intervals", lambda: our_error(one, other)),
    )
    label = f"rsatoolbox {version('rsatoolbox')}: bootstrap of {RESAMPLES}"
    toolbox = Way(label, lambda: bootstrap_error(one, other))
    naive = Way("loop over pairs of objects", lambda: loop_error(*influences(one, other)))
    yield Comparison(task, "package", way, toolbox, lambda _ours, _other: of_the_true_error(objects), 3)
    yield Comparison(task, "naive", way, naive, alike(1e-6))


def influences(one: np.ndarray, other: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every pair of objects on the RSA, (n,), and its objects, (n, 2)."""
    pairs = torch.triu_indices(len(one), len(one), 1).T
    return intervals.spearman_influence(similarities(one), similarities(other))[1], pairs


def our_error(one: np.ndarray, other: np.ndarray) -> float:
    influence, pairs = influences(one, other)
    return intervals.Units(pairs).standard_error(influence)


def bootstrap_error(one: np.ndarray, other: np.ndarray) -> float:
    model, data = ModelFixed("model", rdm(one)), rdm(other)
    found = eval_bootstrap_pattern(model, data, method="spearman", N=RESAMPLES, boot_noise_ceil=False)
    return float(np.nanstd(found.evaluations))


def of_the_true_error(objects: int) -> str:
    """Means of both errors over SAMPLES samples, as shares of the standard deviation of the RSA over DRAWS others."""
    samples = [representations(objects, seed) for seed in range(SAMPLES)]
    true = np.std([rsa(*representations(objects, seed)) for seed in range(SAMPLES, SAMPLES + DRAWS)])
    ours, others = (np.mean([way(*sample) for sample in samples]) / true for way in (our_error, bootstrap_error))
    return f"of the true error: ours {ours:.2f}, the other's {others:.2f} (means of {SAMPLES})"
