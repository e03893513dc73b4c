"""The disagreement experiment: pairs of pictures whose distances differ most between AligNet and its control."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet import results
from alignet.config import Similarity
from alignet.evaluation.similarity import COLUMNS as SCORES
from alignet.maths.intervals import Units, mean_influence, spearman_influence
from alignet.maths.metrics import unit_vectors, upper_triangle
from alignet.models.activations import Layers
from alignet.worlds.format import pictures
from alignet.worlds.format.tables import World

CONTENDERS = ("unalignet", "alignet")
COLUMNS = ["student", "closer_in", "rank", "page", "class", "image_0", "image_1"]
COLUMNS += [f"distance_{target}" for target in results.TARGETS] + [f"z_{target}" for target in results.TARGETS]
COLUMNS += ["difference", "rating", "n_ratings", "choices"]
BENCHMARK = "disagreement pairs"
MOST = 2_000_000  # pairs that are compared; the paper's 1,000 classes of 50 pictures have 1.2 million


def pairs(world: World, test: Layers, settings: Similarity) -> pd.DataFrame:
    """Pairs of pictures of one class whose distances differ most between alignet and unalignet, for each student.

    Distances are 1 - centred cosine, z-scored for each target over all pairs of one class. These pairs show each
    concept's first test picture or, where settings.pair_class is the finest label, all test pictures; if they are more
    than MOST, pictures are spread evenly. settings.pairs pairs with the largest difference z_unalignet - z_alignet
    (closer_in alignet) are taken, and as many with the smallest (closer_in unalignet), with at most one pair of each
    class in either direction. page: the pair's number on the page for raters, whose order reveals nothing. rating: mean
    over people if ratings.csv has the pair.

    Returns: the columns of disagreements.csv; no rows if no student has both targets or no class has two members.
    Raises: ValueError if the hierarchy has no label settings.pair_class.
    Source: the paper, human-validation experiment (Eq. 13 of docs/method.md), whose pairs are of one ImageNet class,
        100 each way.
    """
    members, table = _of_a_class(world, settings), []
    several = sum(map(len, members.values())) > 2  # or there is one pair, whose distance has no z
    for student in dict.fromkeys(student for student, _ in test) if several else ():
        if all((student, target) in test for target in CONTENDERS):
            placed = _placed(members, {t: test[student, t]["pooled"] for t in results.TARGETS if (student, t) in test})
            for closer, sign in (("alignet", 1), ("unalignet", -1)):
                table.append(_top(placed, sign, settings.pairs).assign(student=student, closer_in=closer))
    if not table:
        return pd.DataFrame(columns=COLUMNS)
    selected = pd.concat(table, ignore_index=True)
    names = world.images["image"].to_numpy()[world.rows("test")]
    selected = selected.assign(image_0=names[selected["row_0"]], image_1=names[selected["row_1"]])
    return _rated(_paged(selected, settings.seed), world).assign(choices=world.choices).reindex(columns=COLUMNS)


def scores(world: World, found: pd.DataFrame) -> pd.DataFrame:
    """Scores on people's ratings of the pairs, in the columns of similarity.csv; a row with a note if nobody rated
    them.

    mean_rating_of_closer_pairs: mean over the pairs that are closer in the target than in the other one;
    spearman_distance_rating: rank correlation of the target's distance with the mean rating over all rated pairs (near
    -1 for a model that sees as people do); paired_t: each person's mean rating of the pairs closer in alignet minus
    that of the other pairs, over n people.

    Args: found: as `pairs` returns them.
    Source: the paper (3.93 against 3.14, t(48) = 20.26; Spearman -.64 and .12).
    """
    rated, table = found[found["rating"].notna()], []
    for student, part in rated.groupby("student", sort=False):
        if part["closer_in"].nunique() == 2 and len(part) > 2:
            table += [{"student": student} | row for row in _student_scores(world, part)]
    if not table:
        note = "the world has no ratings.csv" if world.ratings is None else "ratings.csv has too few of these pairs"
        table = [{"note": note if len(found) else "no pairs to rate"}]
    table = pd.DataFrame(table).reindex(columns=SCORES).assign(benchmark=BENCHMARK, choices=world.choices)
    return table.assign(n=table["n"].fillna(0).astype(int), note=table["note"].fillna(""))


def save_page(found: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Write the pairs in the page's order, to be filled in as ratings.csv; nothing tells in which target they are
    closer.

    Returns: the table that was written: page (number), image_0, image_1, and empty columns rating and participant.
    """
    page = found.drop_duplicates("page").sort_values("page")[["page", "image_0", "image_1"]]
    page = page.assign(rating="", participant="").reset_index(drop=True)
    results.save(page, path)
    return page


def shown(world: World, found: pd.DataFrame, size: int) -> Tensor:
    """The two pictures of each pair: (n, 2, 3, size, size) uint8."""
    if found.empty:
        return torch.empty(0, 2, 3, size, size, dtype=torch.uint8)
    rows = pd.Index(world.images["image"]).get_indexer(found[["image_0", "image_1"]].to_numpy().flatten())
    return pictures.stack(world.paths(torch.from_numpy(rows)), size, workers=0).unflatten(0, (len(found), 2))


def _of_a_class(world: World, settings: Similarity) -> dict[str, np.ndarray]:
    """The members of each class, as numbers of test pictures.

    They are the first picture of each concept, or all pictures if the class is the finest label. A class with more than
    `_largest_class` members has evenly spread ones.
    """
    label = settings.pair_class or world.class_label
    if label not in world.hierarchy:
        raise ValueError(f"similarity.pair_class is {label!r}; the hierarchy has {', '.join(world.hierarchy)}")
    images = world.images.iloc[world.rows("test").tolist()].reset_index(drop=True)
    finest = settings.pair_class == world.hierarchy[0]
    groups = (images if finest else images.drop_duplicates(world.hierarchy[0])).groupby(label, sort=True)
    members = {str(name): rows.index.to_numpy() for name, rows in groups if len(rows) > 1}
    most = _largest_class([len(rows) for rows in members.values()])
    return {
        name: rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int)]
        for name, rows in members.items()
    }


def _largest_class(sizes: list[int]) -> int:
    """The number of members of a class that may be compared so that all classes together give at most MOST pairs."""
    most = max(sizes, default=0)
    while sum(min(size, most) * (min(size, most) - 1) // 2 for size in sizes) > MOST:
        most = most * 9 // 10
    return most


def _placed(members: dict[str, np.ndarray], features: dict[str, Tensor]) -> pd.DataFrame:
    """All pairs of members of a class: class, row_0, row_1 (numbers of test pictures), distances, z, difference."""
    ends = [np.triu_indices(len(rows), 1) for rows in members.values()]
    placed = pd.DataFrame({"class": np.repeat(np.array([*members], object), [len(first) for first, _ in ends])})
    for side in (0, 1):
        sides = [rows[pair[side]] for rows, pair in zip(members.values(), ends, strict=True)]
        placed[f"row_{side}"] = np.concatenate(sides)
    for target, rows in features.items():
        unit = unit_vectors(rows.double(), centred=True)
        alike = [upper_triangle(unit[some] @ unit[some].T) for some in members.values()]
        distance = 1 - torch.cat(alike)
        placed[f"distance_{target}"] = distance.numpy()
        placed[f"z_{target}"] = ((distance - distance.mean()) / distance.std()).numpy()
    return placed.assign(difference=placed["z_unalignet"] - placed["z_alignet"])


def _top(placed: pd.DataFrame, sign: int, count: int) -> pd.DataFrame:
    """The `count` pairs with the largest (sign 1) or smallest (sign -1) difference, at most one of each class."""
    ordered = placed[sign * placed["difference"] > 0].sort_values("difference", ascending=sign < 0, kind="stable")
    kept = ordered.drop_duplicates("class").head(count)
    return kept.assign(rank=range(1, len(kept) + 1))


def _paged(found: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Add `page`: a number from 1 for each pair of pictures, in random order; pairs of several students share one."""
    code, distinct = pd.factorize(_pair(found))
    number = 1 + torch.randperm(len(distinct), generator=torch.Generator().manual_seed(seed)).numpy()
    return found.assign(page=number[code])


def _rated(found: pd.DataFrame, world: World) -> pd.DataFrame:
    if world.ratings is None:
        return found.assign(rating=np.nan, n_ratings=0)
    rating = pd.to_numeric(world.ratings["rating"]).groupby(_pair(world.ratings))
    pair = _pair(found)
    return found.assign(rating=pair.map(rating.mean()), n_ratings=pair.map(rating.size()).fillna(0).astype(int))


def _pair(table: pd.DataFrame) -> pd.Series:
    """A text for each pair of pictures, whatever the order of the two."""
    ends = np.sort(table[["image_0", "image_1"]].to_numpy(str), axis=1)
    return pd.Series([f"{a}\n{b}" for a, b in ends], index=table.index)


def _student_scores(world: World, part: pd.DataFrame) -> list[dict]:
    table = []
    for target in CONTENDERS:
        closer = part[part["closer_in"] == target]
        rating = torch.tensor(closer["rating"].to_numpy(float))
        table.append(
            _row(target, "mean_rating_of_closer_pairs", closer, mean_influence(rating, torch.ones(len(closer))))
        )
    for target in (target for target in results.TARGETS if part[f"distance_{target}"].notna().all()):
        distance, rating = (torch.tensor(part[column].to_numpy(float)) for column in (f"distance_{target}", "rating"))
        table.append(_row(target, "spearman_distance_rating", part, spearman_influence(distance, rating)))
    return [*table, _paired_t(world.ratings, part)]


def _row(target: str, metric: str, pairs: pd.DataFrame, score: tuple[float, Tensor]) -> dict:
    """A row of similarity.csv about some pairs. Args: score: the score and its influence, (pairs,)."""
    pictures = pd.factorize(pairs[["image_0", "image_1"]].to_numpy().ravel())[0].reshape(-1, 2)
    low, high = Units(torch.from_numpy(pictures)).interval(*score)
    row = {"target": target, "metric": metric, "value": score[0], "ci_low": low, "ci_high": high}
    return row | {"ci_unit": "pairs that share pictures", "n": len(pairs)}


def _paired_t(ratings: pd.DataFrame, part: pd.DataFrame) -> dict:
    closer = pd.Series(part["closer_in"].to_numpy(), index=_pair(part))
    closer = closer[~closer.index.duplicated(keep=False)]  # a pair cannot be closer in both
    side = _pair(ratings).map(closer)
    rating = pd.to_numeric(ratings["rating"])
    means = rating.groupby([ratings["participant"], side]).mean().unstack().reindex(columns=list(CONTENDERS))
    return paired_t(means)


def paired_t(means: pd.DataFrame) -> dict:
    """A row of similarity.csv: the paired t test, over people, of the mean ratings of pairs closer in alignet and in
    unalignet.

    Args: means: a row a person, columns unalignet and alignet; people with both numbers count.
    """
    means = means.dropna()
    row = {"target": "alignet", "metric": "paired_t", "ci_unit": "participants", "n": len(means)}
    if len(means) < 2 or (means["alignet"] - means["unalignet"]).std() == 0:
        return row | {"note": "no two people whose differences vary rated pairs of both kinds"}
    from scipy.stats import ttest_rel

    test = ttest_rel(means["alignet"], means["unalignet"])
    low, high = test.confidence_interval(0.95)
    mean = (means["alignet"] - means["unalignet"]).mean()
    note = f"difference {mean:.3g} [{low:.3g}, {high:.3g}], p = {test.pvalue:.2g}"
    return row | {"value": float(test.statistic), "note": note}
