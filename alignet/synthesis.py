"""AligNet triplets: clusters of the teacher's representation, cluster-border triplets, release-format files."""

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor

from alignet import metrics
from alignet.config import Synthesis
from alignet.teacher import AffineMap
from alignet.triplets import pair_similarities, sample_cluster_border
from alignet.worlds.tables import World


def cluster(representation: Tensor, settings: Synthesis) -> Tensor:
    """k-means cluster of every picture, (n,) int64. Source: the paper, Methods (500 clusters of ImageNet).

    Raises: ValueError if there are fewer pictures than clusters.
    """
    if len(representation) < settings.clusters:
        raise ValueError(f"synthesis.clusters is {settings.clusters}, but there are {len(representation)} pictures")
    kmeans = KMeans(settings.clusters, n_init=1, random_state=settings.seed)
    with threadpool_limits(1):  # with several threads the sums, and so the clusters, differ from run to run
        return torch.from_numpy(kmeans.fit_predict(representation.numpy()).astype(np.int64))


def represent(features: Tensor, teacher: AffineMap, target: str, settings: Synthesis) -> Tensor:
    """The labelling representation of `target`: 'alignet' (the teacher) or 'unalignet' (`control`), (n, p)."""
    if target == "alignet":
        return teacher(features)
    if target == "unalignet":
        return control(features, teacher, settings)
    raise ValueError(f"target {target!r} is neither alignet nor unalignet")


def control(features: Tensor, teacher: AffineMap, settings: Synthesis) -> Tensor:
    """The UnAligNet representation: the same teacher without its map, on a scale of its own.

    The scale is such that the mean choice entropy on its own cluster-border triplets equals the aligned
    teacher's on its: the control's labels are as decided as AligNet's and differ in what they say only.

    Args: features: (n, p) of the pictures to be labelled.
    Returns: (n, p).
    """
    wanted = _choice_entropy(_triplet_similarities(teacher(features), settings))
    standardised = (features - teacher.mean) / teacher.scale
    similarities = _triplet_similarities(standardised, settings)
    # Entropy falls as the scale grows, so its negative increases.
    scale = metrics.solve_increasing(lambda scale: -_choice_entropy(scale * similarities), -wanted, 1e-6, 1e3)
    return scale**0.5 * standardised


def sample(clusters: Tensor, settings: Synthesis, n: int, generator: torch.Generator) -> Tensor:
    """Triplets of picture numbers by the chosen scheme, (n, 3), each set of three at most once.

    Raises: ValueError if the clusters do not give that many different triplets.
    """
    found = torch.empty(0, 3, dtype=torch.int64)
    for _ in range(20):
        drawn = sample_cluster_border(clusters, 2 * n, generator)
        found = _distinct(torch.cat([found, drawn]))
        if len(found) >= n:
            return found[:n]
    raise ValueError(f"scheme {settings.scheme}: asked for {n} different triplets, found only {len(found)}")


def write(
    folder: Path, world: World, representation: Tensor, clusters: Tensor, settings: Synthesis
) -> dict[str, Tensor]:
    """Sample triplets, none in both splits, and write a target's folder; the sampled triplets by split, (n, 3).

    representation.npy and clusters.npy: row i is picture i of the synthesis split; train_ and valid_<scheme>.npz: the
    release's format.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(settings.seed)
    total = settings.train_triplets + settings.valid_triplets
    drawn = sample(clusters, settings, total, generator).split([settings.train_triplets, settings.valid_triplets])
    files = world.images["path"].to_numpy()[world.rows("synthesis")].astype(str)
    for split, triplets in zip(("train", "valid"), drawn, strict=True):
        write_release_file(folder / f"{split}_{settings.scheme}.npz", files, representation, triplets)
    np.save(folder / "representation.npy", representation.numpy())
    np.save(folder / "clusters.npy", clusters.numpy())
    return {"train": drawn[0], "valid": drawn[1]}


def cluster_examples(clusters: Tensor, rows: int, columns: int) -> tuple[Tensor, list[str]]:
    """Evenly spread pictures of the largest clusters: picture numbers (rows, columns), repeated in small clusters, and
    a title for each."""
    sizes = torch.bincount(clusters)
    largest = sizes.argsort(descending=True, stable=True)[:rows]
    members = [torch.nonzero(clusters == label).flatten() for label in largest]
    spread = [found[torch.linspace(0, len(found) - 1, columns).round().long()] for found in members]
    return torch.stack(spread), [f"cluster {label}, {sizes[label]} pictures" for label in largest.tolist()]


def soft_labels(representation: Tensor, triplets: Tensor) -> Tensor:
    """The teacher's probability that each picture of a triplet is the odd one out, (n, 3)."""
    return pair_similarities(representation[triplets]).softmax(-1)


def write_release_file(path: Path, filenames: np.ndarray, representation: Tensor, triplets: Tensor) -> None:
    """One file in the release's format: the images of each triplet sorted so that the last one is the odd one out.

    Arrays: filenames (n, 3) text, similarities (n, 3) float32 in the release's order 01, 02, 12, largest first,
    indices (n, 3) int64. Equal content gives equal bytes.

    Args: filenames: (n_images,); representation: (n_images, dim); triplets: (n, 3) image numbers.
    """
    similarities = pair_similarities(representation[triplets])
    # Ascending by the pair that is left without the image: the odd one out, without which the most similar pair is
    # left, comes last, and entry 2 is then s01, entry 1 s02, entry 0 s12.
    order = similarities.argsort(dim=1)
    sorted_triplets = triplets.gather(1, order)
    released = similarities.gather(1, order).flip(1)
    arrays = {
        "filenames": filenames[sorted_triplets.numpy()],
        "similarities": released.numpy().astype(np.float32),
        "indices": sorted_triplets.numpy(),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o600 << 16
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(entry, buffer.getvalue())


def _triplet_similarities(representation: Tensor, settings: Synthesis) -> Tensor:
    """Of valid_triplets triplets sampled on the representation's own clusters, in odd-one-out order."""
    generator = torch.Generator().manual_seed(settings.seed)
    triplets = sample(cluster(representation, settings), settings, settings.valid_triplets, generator)
    return pair_similarities(representation[triplets])


def _choice_entropy(similarities: Tensor) -> float:
    return float(metrics.entropy(similarities.softmax(-1)).mean())


def _distinct(triplets: Tensor) -> Tensor:
    """The first of every set of three images, in the order in which they came."""
    _, group = triplets.sort(dim=1).values.unique(dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(triplets)).scatter_reduce(
        0, group, torch.arange(len(triplets)), reduce="amin"
    )
    return triplets[first.sort().values]
