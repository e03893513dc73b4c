"""Other human similarity judgements: held-out triplets, and RSA with matrices of choices, of ratings and of others."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet import metrics
from alignet.config import ROOT, Features, Similarity
from alignet.evaluation import rsa
from alignet.evaluation.human_choices import group_choices, human_agreement
from alignet.intervals import mean_influence
from alignet.metrics import unit_vectors
from alignet.models import activations
from alignet.models.activations import Layers, Students
from alignet.people import held_out
from alignet.people.held_out import ChoiceParts
from alignet.triplets import odd_one_out, pair_similarities
from alignet.worlds.format.schema import LEVELS
from alignet.worlds.format.tables import TRIPLET, World
from alignet.worlds.readers import matrices

COLUMNS = ["student", "target", "benchmark", "metric", "value", "ci_low", "ci_high", "ci_unit"]
COLUMNS += ["noise_ceiling", "noise_ceiling_low", "noise_ceiling_high", "n", "choices", "note"]
HELD_OUT, SEEN = "held-out triplets", "test triplets, objects seen"
SHOWN = 1000  # concepts between which `rdms` shows distances, at most
SHARED = "that share"  # units of intervals: triplets that share concepts, pairs that share pictures


def tested_rows(world: World, parts: ChoiceParts) -> Tensor:
    """Rows of images.csv of the pictures that held-out and other test choices show, (n,), ascending."""
    return held_out.shown_rows(world, parts.held_out | parts.seen)


def tested_features(students: Students, world: World, parts: ChoiceParts, settings: Features) -> Layers:
    """The pictures of `tested_rows` through every student, before and after: 'pooled'; nothing where there are none."""
    rows = tested_rows(world, parts)
    return activations.forward(students, world.paths(rows), settings) if len(rows) else {}


def similarity(world: World, parts: ChoiceParts, human: Layers, test: Layers, settings: Similarity) -> pd.DataFrame:
    """One row per student, target and benchmark: the columns of similarity.csv, 95 % intervals.

    Benchmarks: odd-one-out accuracy on triplets of held-out objects and, where there are any, on test triplets that
    show objects which a fit has seen; RSA with the choice probabilities of these triplets and of each level of
    levels.csv, whose levels are kept apart because how often a pair is left together depends on what it is shown with;
    RSA with ratings.csv and with the matrices named in the settings. What the world does not have is a row without a
    value and with a note. Intervals allow for triplets or pairs that share a concept or a picture (ci_unit).

    Args: parts: of triplets.csv; human: 'pooled' features of the pictures of `tested_rows`; test: of the test split.
    """
    rows, of_choices = tested_rows(world, parts), []
    for name, chosen in ((HELD_OUT, parts.held_out), (SEEN, parts.seen)):
        if name == HELD_OUT or chosen.any():
            table = world.triplets[chosen.numpy()]
            of_choices.append(_triplet_accuracy(name, world, table, rows, human))
            of_choices.append(_choice_rsa(name, world, table, rows, human, settings))
    for level in LEVELS if world.levels is not None else ("all",):
        table = None if world.levels is None else world.levels[world.levels["level"] == level]
        of_choices.append(_choice_rsa(f"levels.csv, {level}", world, table, world.rows("test"), test, settings))
    of_others = [_rating_rsa(world, test, settings), *(_matrix_rsa(world, m, test) for m in settings.matrices)]
    scores = pd.DataFrame([row for part in of_choices + of_others for row in part]).reindex(columns=COLUMNS)
    return scores.assign(n=scores["n"].fillna(0).astype(int), note=scores["note"].fillna(""), choices=world.choices)


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


def centred_unit(features: Tensor) -> Tensor:
    """Vectors whose dot products are the centred cosine similarities of all pairs, (n, dim) float64."""
    return unit_vectors(features.double(), centred=True)


def rdms(world: World, test: Layers) -> tuple[dict[tuple[str, str], Tensor], pd.DataFrame]:
    """1 - centred cosine similarity between the test concepts, (k, k) by (student, target), and their k labels.

    Concepts stand in the order of the hierarchy, coarse to fine; of more than SHOWN evenly spread ones are compared.
    """
    rows, matrices_of = world.rows("test"), {}
    for key, layers in test.items():
        means, labels = concept_features(layers["pooled"], world, rows)
        some = torch.linspace(0, len(means) - 1, min(len(means), SHOWN), dtype=torch.float64).round().long()
        unit = centred_unit(means)[some]
        matrices_of[key] = 1 - unit @ unit.T
    return matrices_of, labels.iloc[some.tolist()].reset_index(drop=True)


def _triplet_accuracy(name: str, world: World, table: pd.DataFrame, rows: Tensor, human: Layers) -> list[dict]:
    names = {"benchmark": name, "metric": "odd_one_out_accuracy", "ci_unit": f"triplets {SHARED} concepts"}
    if table.empty:
        return [names | {"note": "triplets.csv has no choices about held-out objects alone"}]
    shown, odd = world.choice_rows(table)
    concepts = world.codes(world.hierarchy[0])[rows]
    judged = group_choices("all", _position(world, rows)[shown], odd, table["participant"], concepts)
    counts = judged.counts()
    people = counts.sum(1)
    ceiling, influence = mean_influence(human_agreement(judged), people)
    low, high = judged.units.interval(ceiling, influence)
    common = {"noise_ceiling": ceiling, "noise_ceiling_low": low, "noise_ceiling_high": high}
    scores = []
    for (student, target), layers in human.items():
        unit = unit_vectors(layers["pooled"], centred=True)
        agrees = metrics.agreement(odd_one_out(pair_similarities(unit[judged.triplets])), counts)
        value, influence = mean_influence(agrees, people)
        low, high = judged.units.interval(value, influence)
        row = {"student": student, "target": target, "value": value, "ci_low": low, "ci_high": high}
        scores.append(names | row | common | {"n": len(counts)})
    return scores


def _choice_rsa(
    name: str, world: World, table: pd.DataFrame | None, rows: Tensor, found: Layers, settings: Similarity
) -> list[dict]:
    names = {"benchmark": f"choice probabilities, {name}", "metric": "rsa_spearman"}
    names |= {"ci_unit": f"pairs {SHARED} concepts"}
    if table is None or table.empty:
        return [names | {"note": "the world has no such choices"}]
    used = torch.isin(rows, world.choice_rows(table)[0].unique())
    means = {key: concept_features(layers["pooled"][used], world, rows[used]) for key, layers in found.items()}
    labels = next(iter(means.values()))[1][world.hierarchy[0]]
    shown, odd = world.choice_rows(table)
    code = pd.Series(range(len(labels)), index=labels).reindex(world.images[world.hierarchy[0]]).fillna(-1)
    concepts = torch.tensor(code.to_numpy(int))[shown]
    different = (concepts.sort(1).values.diff(dim=1) > 0).all(1)
    concepts, odd, people = concepts[different], odd[different], table["participant"][different.numpy()]

    def by_group(groups: int) -> rsa.Pairs:
        return rsa.choice_shares(concepts, odd, rsa.people_groups(people, groups), groups)

    benchmark = rsa.grouped(by_group, people.nunique(), settings.rater_groups)
    return rsa.rsa_rows(names, benchmark, {key: centred_unit(features) for key, (features, _) in means.items()})


def _rating_rsa(world: World, test: Layers, settings: Similarity) -> list[dict]:
    names = {"benchmark": "ratings.csv", "metric": "rsa_spearman", "ci_unit": f"pairs {SHARED} pictures"}
    if world.ratings is None:
        return [names | {"note": "the world has no ratings.csv"}]
    place = torch.stack([_test_number(world, world.ratings[column]) for column in TRIPLET[:2]])
    known = (place >= 0).all(0)
    pictures, ends = place[:, known].unique(return_inverse=True)
    ratings = world.ratings[known.numpy()]
    values = torch.tensor(pd.to_numeric(ratings["rating"]).to_numpy(float))

    def by_group(groups: int) -> rsa.Pairs:
        return rsa.pair_means(ends, values, rsa.people_groups(ratings["participant"], groups), groups)

    units = {key: centred_unit(layers["pooled"])[pictures] for key, layers in test.items()}
    benchmark = rsa.grouped(by_group, ratings["participant"].nunique(), settings.rater_groups)
    return rsa.rsa_rows(names, benchmark, units)


def _matrix_rsa(world: World, matrix: Mapping[Any, str], test: Layers) -> list[dict]:
    values, named = matrices.read(ROOT, matrix)
    names = {"benchmark": matrix["name"], "metric": "rsa_spearman", "ci_unit": f"pairs {SHARED} concepts"}
    means = {key: concept_features(layers["pooled"], world, world.rows("test")) for key, layers in test.items()}
    labels = next(iter(means.values()))[1][world.hierarchy[0]].astype(str)
    place = pd.Index(named).get_indexer(labels)
    known = torch.from_numpy(np.flatnonzero(place >= 0))
    if len(known) < rsa.FEWEST:
        return [
            names | {"note": f"{matrix['file']}: names fewer than {rsa.FEWEST} {world.hierarchy[0]}s of the test split"}
        ]
    order = torch.from_numpy(place[place >= 0])
    pairs = torch.triu_indices(len(order), len(order), 1)
    people = values[order[pairs[0]], order[pairs[1]]][None]
    models = {key: centred_unit(features)[known] for key, (features, _) in means.items()}
    return rsa.rsa_rows(names, rsa.grouped(lambda groups: (pairs, people), 1, 1), models)


def _test_number(world: World, images: pd.Series) -> Tensor:
    """Numbers of pictures among those of the test split, -1 for others: (m,)."""
    test = pd.Index(world.images["image"].iloc[world.rows("test").tolist()])
    return torch.from_numpy(test.get_indexer(images))


def _position(world: World, rows: Tensor) -> Tensor:
    position = torch.full((len(world.images),), -1)
    position[rows] = torch.arange(len(rows))
    return position
