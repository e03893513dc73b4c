"""Scores on human similarity judgements about pictures of their own: RSA, and the paper's rated pairs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from alignet.config import Features, Similarity, home
from alignet.evaluation import rsa
from alignet.evaluation.data import picture_sets
from alignet.evaluation.data.picture_sets import RatedPairs
from alignet.evaluation.disagreement import CONTENDERS, paired_t
from alignet.evaluation.similarity import COLUMNS
from alignet.maths.intervals import Units, mean_influence, spearman_influence
from alignet.maths.metrics import unit_vectors
from alignet.models import activations
from alignet.models.activations import Students
from alignet.worlds.format.tables import World

SHARED = "pairs that share pictures"
Vectors = dict[tuple[str, str], Tensor]  # (student, target) -> (n, dim)


def scores(students: Students, features: Features, settings: Similarity, world: World | None = None) -> pd.DataFrame:
    """Rows of similarity.csv for every entry of settings.picture_sets; a row with a note if its folder is not on disk.

    RSA: Spearman's correlation of a model's cosine similarities with those of each person (or of the mean person, if
    only that is given), averaged over people, for plain features and for features centred by the mean of the set's
    pictures. The format `things` has further rows for the pairs of known and of new concepts of the world (`regimes`).
    The format `validation` is scored by `rated`. choices are 'human'.

    Args: world: the world that the students were aligned on; None: no regimes.
    Raises: WorldError naming the file of a set that is there and cannot be read.
    """
    rows = []
    for entry in settings.picture_sets:
        lacking = _lacking(entry)
        if lacking:
            rows.append({"benchmark": entry["name"], "note": f"skipped: {lacking}"})
        elif entry["format"] == "validation":
            rows += _validation(entry, students, features)
        else:
            rows += _rsa(entry, students, features, world)
    table = pd.DataFrame(rows).reindex(columns=COLUMNS).assign(choices="human")
    return table.assign(n=table["n"].fillna(0).astype(int), note=table["note"].fillna(""))


def _lacking(entry: Mapping[Any, str]) -> str:
    """The parts of an entry that are not on disk, in words; '' if all are."""
    if not (home() / entry["root"]).is_dir():
        return f"no folder {entry['root']}"
    if entry["format"] != "things":  # whose judgements and photographs are fetched apart from each other
        return ""
    files = [entry[key] for key in ("file", "labels") if key in entry and not (home() / entry[key]).is_file()]
    pictures = [] if files else picture_sets.lacking(home(), entry)
    return f"no file {files[0]}" if files else f"no {pictures[0]} below {entry['root']}" if pictures else ""


def _rsa(entry: Mapping[Any, str], students: Students, features: Features, world: World | None) -> list[dict]:
    judged = picture_sets.read(home(), entry)
    models = _units(judged.paths, students, features)
    names = {"benchmark": entry["name"], "metric": "rsa_spearman", "ci_unit": SHARED}
    rows = _of_pictures(names, judged.people, models, torch.ones(len(judged.paths), dtype=torch.bool))
    if entry["format"] == "things" and world is not None:
        for regime, chosen in regimes(judged.paths, world).items():
            of_regime = names | {"benchmark": f"{entry['name']}, {regime} concepts", "regime": regime}
            rows += _of_pictures(of_regime, judged.people, models, chosen)
    return rows


def regimes(paths: list[Path], world: World) -> dict[str, Tensor]:
    """The regimes of pictures of THINGS: `known` and `new`, (n,) bool each.

    A picture is known if its concept is in the split human, so that fitted choices may be about it, and new if its
    concept is in the split test, which no fit has seen. A concept that is not in the world is neither.
    """
    labels = world.images[world.hierarchy[0]].astype(str)
    split = dict(zip(labels, world.images["split"], strict=True))
    split |= dict.fromkeys(labels[world.images["split"] == "human"], "human")
    splits = [split.get(picture_sets.concept(path)) for path in paths]
    return {name: torch.tensor([of == kind for of in splits]) for name, kind in (("known", "human"), ("new", "test"))}


def _of_pictures(names: dict, people: Tensor, models: list[Vectors], chosen: Tensor) -> list[dict]:
    """RSA over those pairs of the chosen pictures, (n,) bool, that every person judged. Args: models: see `_units`."""
    rows = chosen.nonzero().flatten()
    pairs = torch.triu_indices(len(rows), len(rows), 1)
    values = people[:, rows[:, None], rows][:, pairs[0], pairs[1]]
    known = ~values.isnan().any(0)
    note = "" if len(people) > 1 else "no noise ceiling: one person or group"
    benchmark = rsa.Benchmark(pairs[:, known], values[:, known], note)
    return rsa.rsa_rows(names, benchmark, *({key: of[rows] for key, of in each.items()} for each in models))


def _units(paths: list[Path], students: Students, features: Features) -> list[Vectors]:
    """Vectors of the pictures whose dot products are cosine similarities, and those of centred features."""
    layers = activations.forward(students, paths, features)
    return [
        {key: unit_vectors(rows["pooled"].double(), centred) for key, rows in layers.items()}
        for centred in (False, True)
    ]


def _validation(entry: Mapping[Any, str], students: Students, features: Features) -> list[dict]:
    judged = picture_sets.read_validation(home() / entry["root"])
    _, centred = _units(judged.paths, students, features)
    models = {key: unit @ unit.T for key, unit in centred.items()}
    return rated(entry["name"], judged, models)


def rated(name: str, judged: RatedPairs, models: dict[tuple[str, str], Tensor]) -> list[dict]:
    """Scores of models on rated pairs, with 95 % intervals over pairs that share pictures.

    spearman_distance_rating, pearson_distance_rating: correlation of a model's distance, 1 - centred cosine, with a
    pair's mean rating; mean_rating_of_closer_pairs: mean over the pairs that are closer in the published target;
    paired_t: each person's mean rating of the pairs closer in alignet minus that of the other pairs, over people. The
    last two are about the published models, whichever models are scored.

    Args: models: (student, target) -> centred cosines (n, n) of the pictures.
    Source: the paper, human-validation experiment; its authors' analysis notebook.
    """
    pairs = judged.ratings.groupby(["first", "second", "closer_in"], as_index=False)["rating"].mean()
    ends = torch.tensor(pairs[["first", "second"]].to_numpy(int))
    rating, units, rows = torch.tensor(pairs["rating"].to_numpy(float)), Units(ends), []
    common = {"benchmark": name, "ci_unit": SHARED}
    for (student, target), similar in models.items():
        distance = 1 - similar[ends[:, 0], ends[:, 1]]
        both = {"spearman": spearman_influence(distance, rating), "pearson": pearson_influence(distance, rating)}
        for kind, score in both.items():
            low, high = units.interval(*score)
            row = {"student": student, "target": target, "metric": f"{kind}_distance_rating", "value": score[0]}
            rows.append(common | row | {"ci_low": low, "ci_high": high, "n": len(pairs)})
    for target in CONTENDERS:
        closer = torch.tensor((pairs["closer_in"] == target).tolist())
        mean, influence = mean_influence(rating, closer.double())
        low, high = units.interval(mean, influence)
        row = {"target": target, "metric": "mean_rating_of_closer_pairs", "value": mean, "ci_low": low, "ci_high": high}
        rows.append(common | row | {"n": int(closer.sum()), "note": "of the published models"})
    means = judged.ratings.groupby(["participant", "closer_in"])["rating"].mean().unstack()
    test = paired_t(means.reindex(columns=list(CONTENDERS)))
    return [*rows, common | test | {"note": f"of the published models; {test['note']}"}]


def pearson_influence(x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """Pearson's correlation of x and y, (n,) each, and its influence, (n,)."""
    x, y = ((values - values.mean()) / values.std(unbiased=False) for values in (x.double(), y.double()))
    correlation = (x * y).mean()
    return float(correlation), (x * y - correlation * (x.square() + y.square()) / 2) / len(x)
