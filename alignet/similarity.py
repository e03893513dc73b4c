"""Other human similarity judgements: held-out triplets, similarity matrices (RSA), ratings, disagreements."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
from rsatoolbox.rdm import RDMs
from scipy.stats import ttest_ind
from torch import Tensor

from alignet import metrics
from alignet.config import ROOT, Similarity
from alignet.evaluation import unit_vectors
from alignet.representations import Layers
from alignet.triplets import choice_counts, choices, pair_similarities
from alignet.worlds.tables import TRIPLET, World

COLUMNS = ["student", "target", "benchmark", "metric", "value", "ci_low", "ci_high", "ci_unit", "noise_ceiling"]
COLUMNS += ["noise_ceiling_high", "n", "choices", "note"]
UNKNOWN = (float("nan"), float("nan"))


def held_out(world: World) -> tuple[pd.DataFrame, Tensor]:
    """Human triplets kept from all fitting (split 'test' of triplets.csv), and their pictures' rows in images.csv."""
    table = world.triplets[world.triplets["split"] == "test"] if "split" in world.triplets else world.triplets[:0]
    shown = world.images["image"].isin(np.unique(table[TRIPLET].to_numpy()))
    return table, torch.from_numpy(np.flatnonzero(shown))


def similarity(world: World, human: Layers, test: Layers, settings: Similarity) -> pd.DataFrame:
    """One row per student, target and benchmark: the columns of similarity.csv.

    Benchmarks: odd-one-out accuracy on held-out triplets; RSA (Spearman, pairs of concepts) with the choice
    probabilities of these triplets and of levels.csv, and with the matrices named in the settings; Spearman with
    ratings.csv. What the world does not have is a row without a value and with a note.

    Args: human, test: features ('pooled') of the pictures of `held_out` and of the test split.
    """
    table, rows = held_out(world)
    parts = [_triplet_accuracy(world, table, rows, human, settings)]
    parts.append(_choice_rsa("held-out triplets", world, table, rows, human, settings))
    parts.append(_choice_rsa("levels.csv", world, world.levels, world.rows("test"), test, settings))
    parts.append(_ratings(world, test, settings))
    parts += [_matrix_rsa(world, matrix, test, settings) for matrix in settings.matrices]
    return pd.DataFrame([row for part in parts for row in part]).reindex(columns=COLUMNS)


def concept_features(features: Tensor, world: World, rows: Tensor) -> tuple[Tensor, pd.DataFrame]:
    """Mean feature of each concept (finest label), ordered by the hierarchy from coarse to fine.

    Args: features: (n, dim) of the pictures `rows` of images.csv, (n,).
    Returns: (k, dim) and k rows of labels, finest column first, with the index 0 to k - 1.
    """
    finest, labels = world.hierarchy[0], world.images.iloc[rows.tolist()][list(world.hierarchy)]
    names = labels.drop_duplicates(finest).sort_values(list(world.hierarchy[::-1])).reset_index(drop=True)
    group = torch.tensor(names.reset_index().set_index(finest)["index"].loc[labels[finest]].to_numpy())
    sums = torch.zeros(len(names), features.shape[1]).index_add_(0, group, features)
    return sums / torch.bincount(group, minlength=len(names))[:, None], names


def cosine(features: Tensor) -> Tensor:
    """Centred cosine similarity of all pairs, (n, n) float64 in [-1, 1]."""
    unit = unit_vectors(features.double(), centred=True)
    return unit @ unit.T


def choice_matrices(triplets: Tensor, odd: Tensor, group: Tensor, n: int, groups: int) -> Tensor:
    """How often a pair of objects was left together when it was shown, for each group of choices.

    Args: triplets: (m, 3) object numbers below n; odd: (m,) position of the chosen one; group: (m,) below `groups`.
    Returns: (groups, n, n) in [0, 1], symmetric; NaN where a pair was not shown, and on the diagonal.
    """
    shown, together = torch.zeros(2, groups * n * n, dtype=torch.float64)
    for item, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):
        for first, second in ((a, b), (b, a)):
            place = (group * n + triplets[:, first]) * n + triplets[:, second]
            shown.index_add_(0, place, torch.ones(len(place)).double())
            together.index_add_(0, place, (odd == item).double())
    matrices = (together / shown).view(groups, n, n)  # 0 / 0 is NaN: not shown
    matrices[:, range(n), range(n)] = torch.nan
    return matrices


def rsa_noise_ceiling(matrices: Tensor) -> tuple[float, float]:
    """Lower and upper noise ceiling of RSA (Spearman) between groups of people, by rsatoolbox.

    Args: matrices: (groups, n, n) similarities; pairs that some group lacks are left out.
    """
    vectors = torch.stack([1 - metrics.upper_triangle(matrix) for matrix in matrices])
    if len(vectors) < 2:
        return UNKNOWN
    vectors[:, vectors.isnan().any(0)] = torch.nan
    low, high = boot_noise_ceiling(RDMs(vectors.numpy()), method="spearman")
    return float(low), float(high)


def disagreements(world: World, test: Layers, settings: Similarity) -> pd.DataFrame:
    """Pairs of one class, of different concepts, that alignet and unalignet place most differently.

    Distances (1 - centred cosine) are z-scored over all such pairs for each target; the N pairs with the highest and
    the lowest difference are taken, each concept once. rating: mean of ratings.csv where it has the pair.

    Returns: student, closer_in (alignet or unalignet), rank, class, image_0, image_1, z_alignet, z_unalignet,
        difference (z_unalignet - z_alignet), rating, n_ratings, rated ('human', 'simulated' or 'nobody yet').
    """
    rows, rated = world.rows("test"), _mean_ratings(world)
    images = world.images.iloc[rows.tolist()].reset_index(drop=True)
    first = images.drop_duplicates(world.hierarchy[0])
    table = []
    for student in dict.fromkeys(student for student, target in test if target == "alignet"):
        if (student, "unalignet") not in test:
            continue
        pairs = _pairs_of_a_class(first, world.hierarchy[min(1, len(world.hierarchy) - 1)])
        for target in ("alignet", "unalignet"):
            similar = cosine(test[student, target]["pooled"])
            distance = 1 - similar.numpy()[pairs["row_0"].to_numpy(), pairs["row_1"].to_numpy()]
            pairs[f"z_{target}"] = (distance - distance.mean()) / distance.std()
        pairs["difference"] = pairs["z_unalignet"] - pairs["z_alignet"]
        for closer, sign in (("alignet", -1), ("unalignet", 1)):
            table.append(_top(pairs, sign, settings.pairs).assign(student=student, closer_in=closer))
    found = pd.concat(table, ignore_index=True).drop(columns=["row_0", "row_1"])
    mean = [rated.get(frozenset(pair), UNKNOWN) for pair in zip(found["image_0"], found["image_1"], strict=True)]
    rated_by = [world.choices if count > 0 else "nobody yet" for _, count in mean]
    return found.assign(rating=[m for m, _ in mean], n_ratings=[n for _, n in mean], rated=rated_by)


def disagreement_score(pairs: pd.DataFrame) -> dict[str, float]:
    """Mean rating of the pairs that each model holds closer, with Welch's t; NaN where nobody rated them."""
    groups = {name: part["rating"].dropna() for name, part in pairs.groupby("closer_in")}
    if any(len(group) < 2 for group in groups.values()):
        return {"alignet": float("nan"), "unalignet": float("nan"), "t": float("nan"), "p": float("nan"), "n": 0}
    test = ttest_ind(groups["alignet"], groups["unalignet"], equal_var=False)
    means = {name: float(group.mean()) for name, group in groups.items()}
    return means | {"t": float(test.statistic), "p": float(test.pvalue), "n": sum(map(len, groups.values()))}


def _pairs_of_a_class(images: pd.DataFrame, label: str) -> pd.DataFrame:
    parts = []
    for name, members in images.groupby(label, sort=True):
        a, b = np.triu_indices(len(members), 1)
        shown, rows = members["image"].to_numpy(), members.index.to_numpy()
        part = {"class": name, "image_0": shown[a], "image_1": shown[b], "row_0": rows[a], "row_1": rows[b]}
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def _top(pairs: pd.DataFrame, sign: int, count: int) -> pd.DataFrame:
    """The `count` pairs with the largest (sign -1) or smallest (sign 1) difference that share no picture."""
    used, kept = set(), []
    for row in pairs.sort_values("difference", ascending=sign > 0, kind="stable").itertuples():
        if not {row.image_0, row.image_1} & used:
            used |= {row.image_0, row.image_1}
            kept.append(row.Index)
        if len(kept) == count:
            break
    return pairs.loc[kept].assign(rank=range(1, len(kept) + 1))


def _triplet_accuracy(world: World, table, rows: Tensor, human: Layers, settings: Similarity) -> list[dict]:
    names = {"benchmark": "held-out triplets", "metric": "odd_one_out_accuracy", "ci_unit": "triplets"}
    if table.empty:
        return [names | {"note": "triplets.csv has no rows of split 'test'"}]
    triplets, counts = choice_counts(_position(world, rows)[world.judgements(table)[0]], world.judgements(table)[1])
    ceiling = metrics.noise_ceiling(counts) if (counts.sum(1) >= 2).any() else float("nan")
    scores = []
    for (student, target), layers in human.items():
        shown = unit_vectors(layers["pooled"], centred=True)[triplets]
        agrees, people = metrics.agreement(choices(pair_similarities(shown)), counts), counts.sum(1)
        low, high = metrics.bootstrap_interval(agrees, people, settings.bootstrap, _generator(settings))
        value = metrics.weighted_mean(agrees, people)
        row = {"student": student, "target": target, "value": value, "ci_low": low, "ci_high": high}
        scores.append(names | row | {"noise_ceiling": ceiling, "n": len(triplets), "choices": world.choices})
    return scores


def _choice_rsa(name: str, world: World, table, rows: Tensor, found: Layers, settings: Similarity) -> list[dict]:
    names = {"benchmark": f"choice probabilities, {name}", "metric": "rsa_spearman", "ci_unit": "concepts"}
    if table is None or table.empty:
        return [names | {"note": "the world has no such choices"}]
    triplets, odd = world.judgements(table)
    some = next(iter(found.values()))["pooled"]
    labels = concept_features(some, world, rows)[1][world.hierarchy[0]]
    code = pd.Series(range(len(labels)), index=labels)
    concepts = torch.tensor(code.reindex(world.images[world.hierarchy[0]]).fillna(-1).to_numpy(int))[triplets]
    different = (concepts.sort(1).values.diff(dim=1) > 0).all(1)
    concepts, odd = concepts[different], odd[different]
    keys = pd.DataFrame(concepts.sort(1).values.numpy())
    turn = torch.tensor(keys.groupby([0, 1, 2]).cumcount().to_numpy())
    groups = min(settings.rater_groups, int(turn.max()) + 1)
    people = choice_matrices(concepts, odd, torch.zeros_like(odd), len(labels), 1)[0]
    ceiling = rsa_noise_ceiling(choice_matrices(concepts, odd, turn % groups, len(labels), groups))
    return _rsa_rows(names, people, ceiling, world, rows, found, settings)


def _rsa_rows(names: dict, people: Tensor, ceiling, world: World, rows, found: Layers, settings) -> list[dict]:
    weights = metrics.resample_weights(len(people), settings.bootstrap, _generator(settings))
    common = {"noise_ceiling": ceiling[0], "noise_ceiling_high": ceiling[1], "choices": world.choices}
    common["n"] = int((~metrics.upper_triangle(people).isnan()).sum())
    scores = []
    for (student, target), layers in found.items():
        model = cosine(concept_features(layers["pooled"], world, rows)[0])
        low, high = metrics.rsa_interval(model, people, weights)
        row = {"student": student, "target": target, "value": metrics.rsa(model, people)}
        scores.append(names | row | {"ci_low": low, "ci_high": high} | common)
    return scores


def _ratings(world: World, test: Layers, settings: Similarity) -> list[dict]:
    """Spearman of similarity and mean rating over pairs of test pictures; ceiling: one rater and the others' mean."""
    names = {"benchmark": "ratings.csv", "metric": "spearman", "ci_unit": "pairs"}
    ratings = getattr(world, "ratings", None)
    if ratings is None:
        return [names | {"note": "the world has no ratings.csv"}]
    rated = _mean_ratings(world)
    number = {image: row for row, image in enumerate(world.images["image"].iloc[world.rows("test").tolist()])}
    pairs = [sorted(pair, key=number.get) for pair in rated if all(image in number for image in pair)]
    if len(pairs) < 3:
        return [names | {"note": "ratings.csv rates fewer than 3 pairs of test pictures"}]
    mean = torch.tensor([rated[frozenset(pair)][0] for pair in pairs], dtype=torch.float64)
    rows = torch.tensor([[number[a], number[b]] for a, b in pairs])
    scores, ceiling = [], rating_ceiling(ratings)
    for (student, target), layers in test.items():
        similar = cosine(layers["pooled"])[rows[:, 0], rows[:, 1]]
        low, high = metrics.spearman_interval(similar, mean, settings.bootstrap, _generator(settings))
        row = {"student": student, "target": target, "value": metrics.spearman(similar, mean)}
        row |= {"ci_low": low, "ci_high": high, "noise_ceiling": ceiling, "n": len(pairs), "choices": world.choices}
        scores.append(names | row)
    return scores


def rating_ceiling(ratings: pd.DataFrame) -> float:
    """Mean Spearman correlation of each rater with the mean of the others on the pairs they share; NaN if none."""
    pair = [frozenset(names) for names in zip(ratings["image_0"], ratings["image_1"], strict=True)]
    table = ratings.assign(pair=pair, rating=pd.to_numeric(ratings["rating"]))
    wide = table.pivot_table("rating", "pair", "participant", aggfunc="mean")
    scores = []
    for person in wide:
        others = wide.drop(columns=person).mean(axis=1)
        both = wide[person].notna() & others.notna()
        if both.sum() >= 3:
            scores.append(metrics.spearman(*(torch.tensor(v[both].to_numpy(float)) for v in (wide[person], others))))
    return float(np.nanmean(scores)) if scores and not np.isnan(scores).all() else float("nan")


def _mean_ratings(world: World) -> dict[frozenset, tuple[float, int]]:
    """Mean rating of each pair of pictures, whatever its order, and how many people gave one."""
    ratings = getattr(world, "ratings", None)
    if ratings is None:
        return {}
    pair = [frozenset(names) for names in zip(ratings["image_0"], ratings["image_1"], strict=True)]
    means = pd.to_numeric(ratings["rating"]).groupby(pd.Series(pair, index=ratings.index)).agg(["mean", "size"])
    return {key: (mean, int(size)) for key, mean, size in means.itertuples()}


def _matrix_rsa(world: World, matrix: dict[str, str], test: Layers, settings: Similarity) -> list[dict]:
    names = {"benchmark": matrix["name"], "metric": "rsa_spearman", "ci_unit": "concepts"}
    values, labels = read_matrix(matrix)
    rows = world.rows("test")
    concepts = concept_features(next(iter(test.values()))["pooled"], world, rows)[1][world.hierarchy[0]]
    place = pd.Series(range(len(labels)), index=labels).reindex(concepts)
    known = torch.tensor(place.notna().to_numpy())
    if known.sum() < 3:
        return [names | {"note": f"{matrix['file']}: names fewer than 3 {world.hierarchy[0]}s of the test split"}]
    people = torch.full((len(concepts), len(concepts)), torch.nan, dtype=torch.float64)
    order = torch.tensor(place.dropna().to_numpy(int))
    people[known.nonzero(), known.nonzero().T] = values[order[:, None], order]
    return _rsa_rows(names, people, UNKNOWN, world, rows, test, settings)


def read_matrix(matrix: dict[str, str]) -> tuple[Tensor, list[str]]:
    """A square matrix of people's judgements, as similarities (n, n) float64, and the name of each row.

    Args: matrix: name; file: .csv with names in the first row and column, or .npy with `labels`, a text file of a name
        a line; kind: similarity or distance.
    Raises: ValueError naming the file if it is not square, its names do not fit or its kind is unknown.
    """
    file = ROOT / matrix["file"]
    if not file.is_file():
        raise ValueError(f"{matrix['file']}: no such file (similarity.matrices, {matrix['name']})")
    if file.suffix == ".npy":
        values, labels = np.load(file), (ROOT / matrix["labels"]).read_text(encoding="utf-8").split("\n")
        labels = [label for label in labels if label]
    else:
        table = pd.read_csv(file, index_col=0)
        values, labels = table.to_numpy(float), [str(label) for label in table.index]
        if labels != [str(name) for name in table.columns]:
            raise ValueError(f"{matrix['file']}: the names of rows and columns differ")
    if values.ndim != 2 or values.shape != (len(labels), len(labels)):
        raise ValueError(f"{matrix['file']}: is {values.shape}, with {len(labels)} names")
    if matrix["kind"] not in ("similarity", "distance"):
        raise ValueError(f"{matrix['file']}: kind {matrix['kind']!r} is neither similarity nor distance")
    symmetric = torch.tensor((values + values.T) / 2, dtype=torch.float64)
    return (symmetric if matrix["kind"] == "similarity" else -symmetric), labels


def _position(world: World, rows: Tensor) -> Tensor:
    position = torch.full((len(world.images),), -1)
    position[rows] = torch.arange(len(rows))
    return position


def _generator(settings: Similarity) -> torch.Generator:
    return torch.Generator().manual_seed(settings.seed)


def pooled(found: dict) -> Layers:
    """Stored 'pooled' representations of the test pictures (`evaluation.load_representations`) as `Layers`."""
    return {(student, target): {kind: rows} for (student, target, kind), rows in found.items() if kind == "pooled"}


def save_page(pairs: pd.DataFrame, folder: Path, settings: Similarity) -> None:
    """ratings_to_fill.csv: the pairs to be rated, shuffled, without saying which model holds them closer."""
    page = pairs[["image_0", "image_1"]].drop_duplicates()
    page = page.iloc[torch.randperm(len(page), generator=_generator(settings)).tolist()]
    folder.mkdir(parents=True, exist_ok=True)
    page.assign(rating="", participant="").to_csv(folder / "ratings_to_fill.csv", index=False)
