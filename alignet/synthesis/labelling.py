"""Labelling: the representation whose dot products are the labels, its clusters, and the triplets that are written."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet import config
from alignet.config import Synthesis
from alignet.maths import metrics
from alignet.maths.sampling import sample_distinct
from alignet.synthesis import kmeans, pair_kernel, schemes, triplet_files
from alignet.synthesis.kmeans import Clustering
from alignet.synthesis.schemes import class_labels
from alignet.teacher.affine_map import AffineMap
from alignet.worlds.format.tables import World

ROWS = 1 << 15  # pictures handled at a time


def labeller(features: Tensor, teacher: AffineMap, target: str, settings: Synthesis) -> AffineMap:
    """The map whose dot products label `target`: 'alignet' (the teacher) or 'unalignet' (the control).

    The control reads the teacher's standardised features (on its principal axes if there are any) without the map. They
    are multiplied by the scale at which the mean choice entropy on triplets of the scheme settings.matched_on equals
    that of the aligned teacher (Eq. 8 of docs/method.md), so that both targets are equally sure of the choices on which
    students are trained. For cluster-border triplets each target has its own triplets, at the borders of its own
    clusters. The entropies are measured on at most clusters * points_per_cluster pictures.

    Args: features: (n, p) of the pictures to be labelled.
    Raises: ValueError if the target has another name.
    """
    if target == "alignet":
        return teacher
    if target != "unalignet":
        raise ValueError(f"target {target!r} is neither alignet nor unalignet")
    wanted = min(len(features), settings.clusters * settings.points_per_cluster)
    rows = torch.linspace(0, len(features) - 1, wanted, dtype=torch.float64).round().long()
    some = features[rows].float()
    goal = _choice_entropy(_own_similarities(teacher(some), settings))
    similarities = _own_similarities(teacher.standardised(some), settings)
    # Entropy falls as the scale grows, so its negative increases.
    scale = metrics.solve_increasing(lambda scale: -_choice_entropy(scale * similarities), -goal, 1e-6, 1e3)
    return teacher.without_map(scale**0.5)


def represent(features: Tensor, affine: AffineMap, path: Path, settings: Synthesis) -> np.ndarray:
    """The representation of every picture, written to `path` chunk by chunk and memory-mapped, (n, p) of
    settings.precision.

    Raises: ValueError if a value is not finite in that precision.
    """
    config.own(path.parent).mkdir(parents=True, exist_ok=True)
    dtype, shape = np.dtype(settings.precision), (len(features), len(affine.bias))
    written = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    for start in range(0, len(features), ROWS):
        with np.errstate(over="ignore"):  # said below, by name
            mapped = affine(features[start : start + ROWS].float()).numpy().astype(dtype)
        if not np.isfinite(mapped).all():
            raise ValueError(f"{path}: a representation is not finite in {dtype}")
        written[start : start + ROWS] = mapped
    written.flush()
    return np.load(path, mmap_mode="r")


def cluster(representation: np.ndarray, settings: Synthesis) -> Clustering:
    """k-means of the representation, (n, p). Raises: ValueError if there are fewer pictures than clusters."""
    return kmeans.fit(representation, settings.clusters, settings.points_per_cluster, settings.seed)


def elbow(representation: np.ndarray, settings: Synthesis) -> pd.DataFrame:
    """k-means at every number of clusters of settings.elbow that the pictures allow.

    Returns: clusters, inertia (sum of squared distances), inertia_share (of the inertia around one centroid),
        smallest, median, largest (pictures in a cluster), empty, chosen.
    """
    total = kmeans.assign(representation, representation.mean(0, dtype=np.float64).astype(np.float32)[None]).inertia
    rows = []
    for k in sorted({*settings.elbow, settings.clusters}):
        if k > len(representation):
            continue
        clustering = kmeans.fit(representation, k, settings.points_per_cluster, settings.seed)
        size = np.bincount(clustering.labels, minlength=k)
        sizes = {"smallest": size.min(), "median": np.median(size), "largest": size.max(), "empty": clustering.empty}
        share = clustering.inertia / total
        rows.append({"clusters": k, "inertia": clustering.inertia, "inertia_share": share, **sizes})
    return pd.DataFrame(rows).assign(chosen=lambda table: table["clusters"] == settings.clusters)


def write(
    folder: Path, world: World, representation: np.ndarray, clusters: Tensor, settings: Synthesis
) -> dict[str, Tensor]:
    """Sample triplets, none of which is in both splits, and write them; return the sampled triplets by split, (n, 3).

    The files are clusters.npy, whose row i is picture i of the synthesis split, as in representation.npy; and
    train_<scheme>.npz and valid_<scheme>.npz in the release's format.
    """
    config.own(folder).mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(settings.seed)
    sources = schemes.sources(settings.scheme, clusters, class_labels(world, settings))
    sizes = [settings.train_triplets, settings.valid_triplets]
    triplets = sample_distinct(sources, sum(sizes), generator)
    if len(triplets) < 3:
        raise ValueError(f"synthesis.scheme {schemes.name(settings.scheme)}: the pictures give fewer than 3 triplets")
    if len(triplets) < sum(sizes):  # a world of few pictures: all that there are, in the same shares
        sizes[1] = max(1, len(triplets) * sizes[1] // sum(sizes))
        sizes[0] = len(triplets) - sizes[1]
        print(f"only {len(triplets):,} different triplets: {sizes[0]:,} to train on, {sizes[1]:,} to validate")
    drawn = triplets.split(sizes)
    for split, rows in zip(("train", "valid"), drawn, strict=True):
        labels = pair_kernel.pair_similarities(representation, rows.numpy())
        triplet_files.write(
            folder / f"{split}_{schemes.name(settings.scheme)}.npz", filenames(world), rows.numpy(), labels
        )
    np.save(folder / "clusters.npy", clusters.numpy())
    return {"train": drawn[0], "valid": drawn[1]}


def filenames(world: World) -> np.ndarray:
    """Paths of the synthesis split's pictures, (n,) text, by which triplet files name them."""
    return world.images["path"].to_numpy()[world.rows("synthesis")].astype(str)


def from_easy_to_hard(drawn: Tensor, affine: AffineMap, features: Tensor, n: int) -> Tensor:
    """n of the triplets at equal steps of the labels' choice entropy, lowest entropy first, (n, 3)."""
    order = metrics.entropy(soft_labels(drawn, affine, features)).argsort(stable=True)
    return drawn[order[torch.linspace(0, len(order) - 1, n).round().long()]]


def soft_labels(drawn: Tensor, affine: AffineMap, features: Tensor) -> Tensor:
    """The probability under a target's map that each picture of a triplet is the odd one out, (n, 3)."""
    return label_similarities(affine, features, drawn).softmax(-1)


def cluster_examples(clusters: Tensor, rows: int, columns: int) -> tuple[Tensor, list[str]]:
    """Evenly spread pictures of the largest clusters, (rows, columns) picture numbers, and a title for each cluster.

    Pictures of small clusters are repeated.
    """
    sizes = torch.bincount(clusters)
    largest = sizes.argsort(descending=True, stable=True)[:rows]
    members = [torch.nonzero(clusters == label).flatten() for label in largest[sizes[largest] > 0]]
    spread = [found[torch.linspace(0, len(found) - 1, columns).round().long()] for found in members]
    return torch.stack(spread), [
        f"cluster {int(clusters[row[0]])}, {sizes[clusters[row[0]]]} pictures" for row in spread
    ]


def label_similarities(affine: AffineMap, features: Tensor, drawn: Tensor) -> Tensor:
    """Pair similarities (n, 3) of triplets under a map; only pictures that occur in them are mapped."""
    numbers, place = drawn.unique(return_inverse=True)
    mapped = affine(features[numbers].float()).numpy()
    return torch.from_numpy(pair_kernel.pair_similarities(mapped, place.numpy()))


def _own_similarities(representation: Tensor, settings: Synthesis) -> Tensor:
    """Pair similarities of valid_triplets triplets of the scheme settings.matched_on.

    They show any three pictures, or pictures at the borders of the representation's own clusters.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    clusters = torch.zeros(len(representation), dtype=torch.int64)
    if settings.matched_on == "cluster_border":
        clusters = torch.from_numpy(cluster(representation.numpy(), settings).labels)
    source = schemes.sources(settings.matched_on, clusters, clusters)
    drawn = sample_distinct(source, settings.valid_triplets, generator)
    return torch.from_numpy(pair_kernel.pair_similarities(representation.numpy(), drawn.numpy()))


def _choice_entropy(similarities: Tensor) -> float:
    return float(metrics.entropy(similarities.softmax(-1)).mean())
