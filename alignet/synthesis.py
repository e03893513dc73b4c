"""AligNet triplets: the labelling representation, its clusters, triplets by scheme with their soft labels, and the
check that labels carry a signal."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from alignet import backbones, gather, kmeans, metrics, release, triplets
from alignet.config import Synthesis
from alignet.kmeans import Clustering
from alignet.teacher import AffineMap
from alignet.triplets import SCHEMES, choices
from alignet.worlds.tables import World

CHANCE = 1 / 3
ROWS = 1 << 15  # pictures handled at a time


def labeller(features: Tensor, teacher: AffineMap, target: str, settings: Synthesis) -> AffineMap:
    """The map whose dot products label `target`: 'alignet' (the teacher) or 'unalignet' (the control).

    The control is the same teacher without its map, on a scale of its own: such that the mean choice entropy on its
    own cluster-border triplets equals the aligned teacher's on its. Its labels are as decided as AligNet's and differ
    in what they say only. Both entropies are those of at most clusters * points_per_cluster pictures.

    Args: features: (n, p) of the pictures to be labelled.
    Raises: ValueError if the target is neither.
    """
    if target == "alignet":
        return teacher
    if target != "unalignet":
        raise ValueError(f"target {target!r} is neither alignet nor unalignet")
    wanted = min(len(features), settings.clusters * settings.points_per_cluster)
    rows = torch.linspace(0, len(features) - 1, wanted, dtype=torch.float64).round().long()
    some = features[rows].float()
    goal = _choice_entropy(_border_similarities(teacher(some), settings))
    similarities = _border_similarities((some - teacher.mean) / teacher.scale, settings)
    # Entropy falls as the scale grows, so its negative increases.
    scale = metrics.solve_increasing(lambda scale: -_choice_entropy(scale * similarities), -goal, 1e-6, 1e3)
    dim = len(teacher.mean)
    return AffineMap(scale**0.5 * torch.eye(dim), torch.zeros(dim), teacher.mean, teacher.scale)


def represent(features: Tensor, affine: AffineMap, path: Path, settings: Synthesis) -> np.ndarray:
    """The representation of every picture, written to `path` chunk by chunk and memory-mapped, (n, p) of
    settings.precision.

    Raises: ValueError if a value is not finite in that precision.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype, shape = np.dtype(settings.precision), (len(features), len(affine.bias))
    written = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    for start in range(0, len(features), ROWS):
        with np.errstate(over="ignore"):  # said below, by name
            part = affine(features[start : start + ROWS].float()).numpy().astype(dtype)
        if not np.isfinite(part).all():
            raise ValueError(f"{path}: a representation is not finite in {dtype}")
        written[start : start + ROWS] = part
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
        found = kmeans.fit(representation, k, settings.points_per_cluster, settings.seed)
        size = np.bincount(found.labels, minlength=k)
        sizes = {"smallest": size.min(), "median": np.median(size), "largest": size.max(), "empty": found.empty}
        share = found.inertia / total
        rows.append({"clusters": k, "inertia": found.inertia, "inertia_share": share, **sizes})
    return pd.DataFrame(rows).assign(chosen=lambda table: table["clusters"] == settings.clusters)


def class_labels(world: World, settings: Synthesis) -> Tensor:
    """The class of every picture of the synthesis split, (n,), for the schemes that say that they use it.

    settings.class_label names the column; null: the one above the finest, or the finest where there is one only.
    Raises: ValueError if the hierarchy has no such column.
    """
    column = settings.class_label or world.hierarchy[min(1, len(world.hierarchy) - 1)]
    if column not in world.hierarchy:
        raise ValueError(f"synthesis.class_label is {column!r}; the hierarchy has {', '.join(world.hierarchy)}")
    return world.codes(column)[world.rows("synthesis")]


def scheme_groups(scheme: str, clusters: Tensor, classes: Tensor) -> triplets.Groups:
    """What a scheme draws from: clusters for cluster_border, classes for those with class in their name.

    Raises: ValueError naming the scheme if they leave no triplet of it.
    """
    return triplets.groups(scheme, classes if "class" in scheme else clusters)


def sample(scheme: str, groups: triplets.Groups, n: int, generator: torch.Generator) -> Tensor:
    """Triplets of picture numbers by a scheme, (n, 3), each set of three at most once.

    The first n different ones of the scheme's stream: how many are drawn at a time changes nothing.

    Raises: ValueError if twenty times as many draws do not give that many different triplets.
    """
    images = len(groups.members)
    found = torch.empty(0, 3, dtype=torch.int64)
    for _ in range(20):
        drawn = triplets.sample(scheme, groups, n - len(found) + n // 50 + 100, generator)
        found = torch.cat([found, drawn])
        del drawn
        kept = triplets.distinct(found, images)
        found = found if len(kept) == len(found) else found[kept]
        if len(found) >= n:
            return found[:n]
    raise ValueError(f"scheme {scheme}: asked for {n} different triplets, found only {len(found)}")


def write(
    folder: Path, world: World, representation: np.ndarray, clusters: Tensor, settings: Synthesis
) -> dict[str, Tensor]:
    """Sample triplets, none in both splits, and write them; the sampled triplets by split, (n, 3).

    clusters.npy: row i is picture i of the synthesis split, as in representation.npy; train_ and valid_<scheme>.npz:
    the release's format.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(settings.seed)
    groups = scheme_groups(settings.scheme, clusters, class_labels(world, settings))
    sizes = [settings.train_triplets, settings.valid_triplets]
    drawn = sample(settings.scheme, groups, sum(sizes), generator).split(sizes)
    for split, rows in zip(("train", "valid"), drawn, strict=True):
        labels = gather.pair_similarities(representation, rows.numpy())
        release.write(folder / f"{split}_{settings.scheme}.npz", filenames(world), rows.numpy(), labels)
    np.save(folder / "clusters.npy", clusters.numpy())
    return {"train": drawn[0], "valid": drawn[1]}


def filenames(world: World) -> np.ndarray:
    """Paths of the synthesis split's pictures, (n,) text: what the release files name."""
    return world.images["path"].to_numpy()[world.rows("synthesis")].astype(str)


def scheme_triplets(world: World, clusters: Tensor, settings: Synthesis) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Triplets of all five schemes, valid_triplets of each, and what each leaves out.

    Returns: scheme -> (n, 3), for those that the world allows; a table: scheme, n_triplets, groups,
        groups_left_out (too small), pictures_left_out (in those), note (why there are none).
    """
    classes = class_labels(world, settings)
    generator, drawn, rows = torch.Generator().manual_seed(settings.seed), {}, []
    for scheme in SCHEMES:
        try:
            groups = scheme_groups(scheme, clusters, classes)
        except ValueError as error:
            rows.append({"scheme": scheme, "n_triplets": 0, "note": str(error)})
            continue
        drawn[scheme] = triplets.sample(scheme, groups, settings.valid_triplets, generator)
        left_out = dict(zip(("groups_left_out", "pictures_left_out"), groups.left_out(), strict=True))
        counts = {"n_triplets": len(drawn[scheme]), "groups": int((groups.size > 0).sum()), **left_out}
        rows.append({"scheme": scheme, **counts, "note": ""})
    return drawn, pd.DataFrame(rows)


def labels_by_scheme(
    drawn: dict[str, Tensor], features: Tensor, targets: dict[str, AffineMap]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each target's labels say about the same triplets.

    Args: drawn: scheme -> (n, 3); features: (n_pictures, p); targets: 'alignet', 'unalignet' -> its map.
    Returns: one row per scheme, labels and triplet: choice entropy (nats, 0 to ln 3); one per scheme: agreement of
        the aligned teacher's choices with those of the same backbone without its map, its 95 % interval (Wilson), n.
    """
    entropies, agreements = [], []
    for scheme, rows in drawn.items():
        shown = {name: _similarities(affine, features, rows) for name, affine in targets.items()}
        for name, similarities in shown.items():
            entropy = metrics.entropy(similarities.softmax(-1))
            entropies.append(pd.DataFrame({"scheme": scheme, "labels": name, "entropy": entropy.numpy()}))
        alike = _alike(choices(shown["alignet"]), choices(shown["unalignet"]))
        agreements.append({"scheme": scheme, **_share(alike, "agreement")})
    return pd.concat(entropies, ignore_index=True), pd.DataFrame(agreements)


def summary(left_out: pd.DataFrame, entropies: pd.DataFrame, agreements: pd.DataFrame, target: str) -> pd.DataFrame:
    """One row per scheme: what it drew from, the quartiles and mean of the target's choice entropy, and the agreement
    of AligNet's choices with the control's on the same triplets."""
    own = entropies[entropies["labels"] == target].groupby("scheme")["entropy"]
    quantiles = (
        own.quantile([0.25, 0.5, 0.75]).unstack().set_axis(["entropy_q25", "entropy_q50", "entropy_q75"], axis=1)
    )
    table = left_out.merge(own.mean().rename("entropy_mean"), on="scheme", how="left")
    table = table.merge(quantiles, on="scheme", how="left").merge(agreements.drop(columns="n"), on="scheme", how="left")
    return table.assign(target=target)[["target", *table.columns.drop("note"), "note"]]


def from_easy_to_hard(drawn: Tensor, affine: AffineMap, features: Tensor, n: int) -> Tensor:
    """`n` of the triplets at equal steps of the labels' choice entropy, from the surest to the least sure, (n, 3)."""
    order = metrics.entropy(soft_labels(drawn, affine, features)).argsort(stable=True)
    return drawn[order[torch.linspace(0, len(order) - 1, n).round().long()]]


def soft_labels(drawn: Tensor, affine: AffineMap, features: Tensor) -> Tensor:
    """The probability under a target's map that each picture of a triplet is the odd one out, (n, 3)."""
    return _similarities(affine, features, drawn).softmax(-1)


def signal(
    labelled: dict[str, tuple[Tensor, Tensor]], independent: Tensor, classes: Tensor | None, backbone: str
) -> pd.DataFrame:
    """Do labels say anything? How often they agree with choices that owe them nothing. *(ours)*

    The witnesses are the zero-shot choices (centred cosine) of a backbone that is not the teacher's, and, in
    class_border triplets, the classes: the odd one out is the image of the other class. A file that is shuffled or
    matched to the wrong pictures agrees with both by chance, 1/3, and trains a student to chance without an error.

    Args: labelled: scheme -> picture numbers (n, 3) and label similarities (n, 3) in odd-one-out order;
        independent: (n_pictures, dim) features; classes: (n_pictures,), or None where there are none.
    Returns: one row per scheme and witness: scheme, witness, agreement, ci_low, ci_high (Wilson, 95 %, over triplets),
        n, threshold (chance + 3 standard errors of a share of n triplets at chance), warning ('' if above it).
    """
    unit = F.normalize(independent.float() - independent.float().mean(0), dim=1).numpy()
    rows = []
    for scheme, (drawn, similarities) in labelled.items():
        chosen = choices(similarities)
        seen = choices(torch.from_numpy(gather.pair_similarities(unit, drawn.numpy())))
        rows.append({"scheme": scheme, "witness": backbone, **_share(_alike(chosen, seen), "agreement")})
        if scheme == "class_border" and classes is not None:
            shown = classes[drawn]
            same = shown[:, (1, 0, 0)] == shown[:, (2, 2, 1)]
            border = same.sum(1) == 1  # two of one class, one of another
            alike = chosen[border] == same[border].long().argmax(1)
            rows.append({"scheme": scheme, "witness": "class labels", **_share(alike, "agreement")})
    table = pd.DataFrame(rows, columns=["scheme", "witness", "agreement", "ci_low", "ci_high", "n"])
    threshold = CHANCE + 3 * (CHANCE * (1 - CHANCE) / table["n"].clip(lower=1)) ** 0.5
    below = ~(table["agreement"] > threshold)
    return table.assign(threshold=threshold, warning=np.where(below, "NO SIGNAL: not above chance", ""))


def own_signal(
    drawn: dict[str, Tensor],
    features: Tensor,
    affine: AffineMap,
    world: World,
    folder: Path,
    teachers: str,
    settings: Synthesis,
) -> pd.DataFrame:
    """The signal check of a target's labels of all schemes; no row if settings.signal_backbone is null.

    Args: folder: holds the features of every backbone; teachers: the teacher's backbone.
    Raises: ValueError if the signal's backbone is the teacher's: it would agree with itself.
    """
    backbone = settings.signal_backbone
    if backbone == teachers:
        raise ValueError(f"synthesis.signal_backbone is {backbone!r}, the teacher's own: name another one, or null")
    labelled = {scheme: (rows, _similarities(affine, features, rows)) for scheme, rows in drawn.items()}
    if backbone is None:
        return signal({}, torch.zeros(1, 1), None, "none")
    rows = world.rows("synthesis")
    independent = backbones.load_features(folder / backbone, world.images["image"], rows)[rows]
    return signal(labelled, independent, class_labels(world, settings), backbone)


def released_signal(
    paths: dict[str, Path], world: World, independent: Tensor, settings: Synthesis, backbone: str
) -> pd.DataFrame:
    """The signal check of triplet files, own or released: scheme -> file; pictures are found by their file names.

    Args: independent: (n_pictures, dim), features of the synthesis split.
    Raises: release.ReleaseError if a file is not what its format says or names pictures that the world lacks.
    """
    labelled = {}
    for scheme, path in paths.items():
        found = release.read(path)
        release.check(found)
        similarities = torch.from_numpy(np.ascontiguousarray(found.similarities, dtype=np.float32))
        labelled[scheme] = (torch.from_numpy(release.locate(found, filenames(world))), similarities)
    return signal(labelled, independent, class_labels(world, settings), backbone)


def verdict(table: pd.DataFrame) -> str:
    """The signal check in Markdown: a loud warning for each row that fails it, or one line that none does."""
    if table.empty:
        return "**No signal check**: synthesis.signal_backbone is null."
    failed = table[table["warning"] != ""]
    if failed.empty:
        return "**Signal check passed**: every agreement is above chance + 3 standard errors."
    lines = [
        f"- scheme {row.scheme}, against {row.witness}: {row.agreement:.3f} of {row.n} triplets, "
        f"threshold {row.threshold:.3f}"
        for row in failed.itertuples()
    ]
    start = "# WARNING: labels without a signal\n\nA student trained on these labels goes to chance without an error. "
    return start + "Are the file's pictures the world's, in the right order?\n\n" + "\n".join(lines)


def cluster_examples(clusters: Tensor, rows: int, columns: int) -> tuple[Tensor, list[str]]:
    """Evenly spread pictures of the largest clusters: picture numbers (rows, columns), repeated in small clusters, and
    a title for each."""
    sizes = torch.bincount(clusters)
    largest = sizes.argsort(descending=True, stable=True)[:rows]
    members = [torch.nonzero(clusters == label).flatten() for label in largest[sizes[largest] > 0]]
    spread = [found[torch.linspace(0, len(found) - 1, columns).round().long()] for found in members]
    return torch.stack(spread), [
        f"cluster {int(clusters[row[0]])}, {sizes[clusters[row[0]]]} pictures" for row in spread
    ]


def _similarities(affine: AffineMap, features: Tensor, drawn: Tensor) -> Tensor:
    """Pair similarities (n, 3) of triplets under a map, computed for the pictures that occur only."""
    numbers, place = drawn.unique(return_inverse=True)
    mapped = affine(features[numbers].float()).numpy()
    return torch.from_numpy(gather.pair_similarities(mapped, place.numpy()))


def _border_similarities(representation: Tensor, settings: Synthesis) -> Tensor:
    """Of valid_triplets triplets sampled at the borders of the representation's own clusters."""
    generator = torch.Generator().manual_seed(settings.seed)
    clusters = torch.from_numpy(cluster(representation.numpy(), settings).labels)
    groups = triplets.groups("cluster_border", clusters)
    drawn = sample("cluster_border", groups, settings.valid_triplets, generator)
    return torch.from_numpy(gather.pair_similarities(representation.numpy(), drawn.numpy()))


def _choice_entropy(similarities: Tensor) -> float:
    return float(metrics.entropy(similarities.softmax(-1)).mean())


def _alike(first: Tensor, second: Tensor) -> Tensor:
    """Where two choices are the same; a tie (-1) agrees with nothing."""
    return (first == second) & (first >= 0)


def _share(alike: Tensor, name: str) -> dict[str, float]:
    """A share, its 95 % interval (Wilson, over triplets) and n; nan where there are none."""
    n, right = len(alike), int(alike.sum())
    if n == 0:
        return {name: np.nan, "ci_low": np.nan, "ci_high": np.nan, "n": 0}
    from scipy.stats import binomtest

    interval = binomtest(right, n).proportion_ci(method="wilson")
    return {name: right / n, "ci_low": float(interval.low), "ci_high": float(interval.high), "n": n}
