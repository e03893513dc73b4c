"""Labels of the triplets of every scheme, and a check whether they carry a signal."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from alignet.config import Synthesis
from alignet.maths import metrics
from alignet.maths.choices import odd_one_out
from alignet.models.features import load_features
from alignet.synthesis import pair_kernel, triplet_files
from alignet.synthesis.labelling import filenames, label_similarities
from alignet.synthesis.schemes import class_labels
from alignet.teacher.affine_map import AffineMap
from alignet.worlds.format.tables import World

CHANCE = 1 / 3


def labels_by_scheme(
    drawn: dict[str, Tensor], features: Tensor, targets: dict[str, AffineMap]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each target's labels of the same triplets.

    Args: drawn: scheme -> (n, 3); features: (n_pictures, p); targets: 'alignet', 'unalignet' -> its map.
    Returns: two tables. The first has a row per scheme, target and triplet: the labels' choice entropy (nats, 0 to ln
        3). The second has a row per scheme: the agreement of the aligned teacher's choices with those of the same
        backbone without its map, its 95 % interval (Wilson) and n.
    """
    entropies, agreements = [], []
    for scheme, rows in drawn.items():
        shown = {name: label_similarities(affine, features, rows) for name, affine in targets.items()}
        for name, similarities in shown.items():
            entropy = metrics.entropy(similarities.softmax(-1))
            entropies.append(pd.DataFrame({"scheme": scheme, "labels": name, "entropy": entropy.numpy()}))
        alike = _alike(odd_one_out(shown["alignet"]), odd_one_out(shown["unalignet"]))
        agreements.append({"scheme": scheme, **_share(alike, "agreement")})
    return pd.concat(entropies, ignore_index=True), pd.DataFrame(agreements)


def summary(left_out: pd.DataFrame, entropies: pd.DataFrame, agreements: pd.DataFrame, target: str) -> pd.DataFrame:
    """A summary of each scheme's labels.

    A row has what the scheme drew from, the quartiles and mean of the target's choice entropy, and the agreement of
    AligNet's choices with the control's on the same triplets.
    """
    own = entropies[entropies["labels"] == target].groupby("scheme")["entropy"]
    quantiles = (
        own.quantile([0.25, 0.5, 0.75]).unstack().set_axis(["entropy_q25", "entropy_q50", "entropy_q75"], axis=1)
    )
    table = left_out.merge(own.mean().rename("entropy_mean"), on="scheme", how="left")
    table = table.merge(quantiles, on="scheme", how="left").merge(agreements.drop(columns="n"), on="scheme", how="left")
    return table.assign(target=target)[["target", *table.columns.drop("note"), "note"]]


def signal(
    labelled: dict[str, tuple[Tensor, Tensor]], independent: Tensor, classes: Tensor | None, backbone: str
) -> pd.DataFrame:
    """The signal check: how often labels agree with choices that do not depend on them. *(ours)*

    These witnesses are the zero-shot choices (centred cosine) of a backbone that is not the teacher's and, in
    class_border triplets, the classes, where the odd one out is the image of the other class. Labels that are shuffled
    or matched to the wrong pictures agree with both at chance, 1/3. They would raise no error, and a student that is
    trained on them stays at chance.

    Args: labelled: scheme -> picture numbers (n, 3) and label similarities (n, 3) in odd-one-out order;
        independent: (n_pictures, dim) features; classes: (n_pictures,), or None where there are none.
    Returns: one row per scheme and witness: scheme, witness, agreement, ci_low, ci_high (Wilson, 95 %, over triplets),
        n, threshold (chance + 3 standard errors of a share of n triplets at chance), warning ('' if above it).
    """
    unit = F.normalize(independent.float() - independent.float().mean(0), dim=1).numpy()
    rows = []
    for scheme, (drawn, similarities) in labelled.items():
        chosen = odd_one_out(similarities)
        seen = odd_one_out(torch.from_numpy(pair_kernel.pair_similarities(unit, drawn.numpy())))
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
    teachers: list[str],
    settings: Synthesis,
) -> pd.DataFrame:
    """The signal check of a target's labels of all schemes; no row if settings.signal_backbone is null.

    Args: folder: holds the features of every backbone; teachers: the teacher's backbones.
    Raises: ValueError if the signal's backbone is one of the teacher's: it would agree with itself.
    """
    backbone = settings.signal_backbone
    if backbone in teachers:
        raise ValueError(f"synthesis.signal_backbone is {backbone!r}, the teacher's own: name another one, or null")
    labelled = {scheme: (rows, label_similarities(affine, features, rows)) for scheme, rows in drawn.items()}
    if backbone is None:
        return signal({}, torch.zeros(1, 1), None, "none")
    rows = world.rows("synthesis")
    independent = load_features(folder / backbone, world.images["image"], rows)[rows]
    return signal(labelled, independent, class_labels(world, settings), backbone)


def released_signal(
    paths: dict[str, Path], world: World, independent: Tensor, settings: Synthesis, backbone: str
) -> pd.DataFrame:
    """The signal check of triplet files, own or released, given by scheme; pictures are found by their file names.

    Args: independent: (n_pictures, dim), features of the synthesis split.
    Raises: release.ReleaseError if a file is not what its format says or names pictures that the world lacks.
    """
    labelled = {}
    for scheme, path in paths.items():
        found = triplet_files.read(path)
        triplet_files.check(found)
        similarities = torch.from_numpy(np.ascontiguousarray(found.similarities, dtype=np.float32))
        labelled[scheme] = (torch.from_numpy(triplet_files.locate(found, filenames(world))), similarities)
    return signal(labelled, independent, class_labels(world, settings), backbone)


def verdict(table: pd.DataFrame) -> str:
    """The result of the signal check in Markdown: a warning for each row that fails, or one line if none does."""
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


def _alike(first: Tensor, second: Tensor) -> Tensor:
    """Whether two choices are the same; a tie (-1) agrees with nothing."""
    return (first == second) & (first >= 0)


def _share(alike: Tensor, name: str) -> dict[str, float]:
    """A share, its 95 % interval (Wilson, over triplets) and n; nan where there are none."""
    n, right = len(alike), int(alike.sum())
    if n == 0:
        return {name: np.nan, "ci_low": np.nan, "ci_high": np.nan, "n": 0}
    from scipy.stats import binomtest

    interval = binomtest(right, n).proportion_ci(method="wilson")
    return {name: right / n, "ci_low": float(interval.low), "ci_high": float(interval.high), "n": n}
