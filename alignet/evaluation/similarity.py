"""Scores on other human judgements: held-out triplets, and RSA with choices, ratings and published matrices."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet import config
from alignet.config import HumanUncertainty, Similarity, home
from alignet.evaluation import influences, rsa
from alignet.evaluation.data import matrices
from alignet.evaluation.human_choices import TimedChoices, choices_by_level, group_choices, human_agreement
from alignet.evaluation.levels import choices
from alignet.maths import metrics
from alignet.maths.intervals import mean_influence
from alignet.maths.metrics import unit_vectors
from alignet.models import activations
from alignet.models.activations import Layers, Students
from alignet.people import held_out
from alignet.people.held_out import ChoiceParts
from alignet.worlds.format import regimes
from alignet.worlds.format.tables import TRIPLET, World

COLUMNS = ["student", "target", "benchmark", "study", "regime", "metric", "value", "ci_low", "ci_high", "ci_unit"]
COLUMNS += [f"{name}{end}" for name in ("over_base", "over_control") for end in ("", "_low", "_high")]
COLUMNS += ["centred_value", "centred_low", "centred_high"]
COLUMNS += [f"centred_{name}{end}" for name in ("over_base", "over_control") for end in ("", "_low", "_high")]
COLUMNS += ["noise_ceiling", "noise_ceiling_low", "noise_ceiling_high", "n", "choices", "judged", "note"]
HELD_OUT, SEEN = "held-out triplets", "test triplets, objects seen"
NONE_HELD_OUT = "triplets.csv has no choices about held-out objects alone"
SHOWN = 1000  # concepts between which `rdms` shows distances, at most
SHARED = "that share"  # units of intervals: triplets that share concepts, pairs that share pictures
Features = dict[tuple[str, str], Tensor]  # (student, target) -> (n, dim)
Parts = tuple[list[dict], list[pd.DataFrame]]  # rows of similarity.csv and blocks of `influences`


def tested_rows(world: World, parts: ChoiceParts) -> Tensor:
    """Rows of images.csv, (n,) ascending, of the pictures that held-out and other test choices show."""
    return held_out.shown_rows(world, parts.held_out | parts.seen)


def with_tested(
    students: Students, scored: Layers, world: World, people: HumanUncertainty, settings: config.Features
) -> tuple[Tensor, Layers]:
    """Every student's features of the pictures of `World.scored_rows` and of `tested_rows`.

    The latter are among the former unless human_uncertainty.held_out_objects names objects of rows outside the split
    test; features of these are computed here.

    Args: scored: 'pooled' features of the scored rows.
    Returns: rows of images.csv, (n,) ascending, and 'pooled' features of their pictures.
    """
    rows = world.scored_rows()
    tested = tested_rows(world, held_out.choice_parts(world, people))
    lacking = tested[~torch.isin(tested, rows)]
    if not len(lacking):
        return rows, scored
    every, found = torch.cat([rows, lacking]).sort(), activations.forward(students, world.paths(lacking), settings)
    joined = {key: torch.cat([scored[key]["pooled"], found[key]["pooled"]])[every.indices] for key in scored}
    return every.values, {key: {"pooled": features} for key, features in joined.items()}


def similarity(
    world: World, rows: Tensor, layers: Layers, settings: Similarity, people: HumanUncertainty
) -> pd.DataFrame:
    """The table that `with_influences` returns."""
    return with_influences(world, rows, layers, settings, people)[0]


def with_influences(
    world: World, rows: Tensor, layers: Layers, settings: Similarity, people: HumanUncertainty
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """The table similarity.csv, one row per student, target and benchmark, and the influences on its scores.

    Benchmarks are: odd-one-out accuracy on triplets of held-out objects and, if there are any, on test triplets that
    show objects which a fit has seen; RSA with the choice probabilities of these triplets and of each regime and level
    of 07_levels; RSA with ratings.csv and with the matrices that the settings name. Choice probabilities of different
    regimes and levels are not pooled, because how often a pair is left together depends on what it is shown with. A
    triplet counts once. A benchmark that the world does not have is a row without a value and with a note. Similarities
    are cosines; columns that begin with centred_ are for features from which the mean of the test split's pictures is
    subtracted. Differences to base and control are paired. 95 % intervals allow for triplets or pairs that share a
    concept or a picture (ci_unit).

    Args: rows: (n,) of images.csv, ascending, and layers: 'pooled' features of their pictures (`with_tested`).
    """
    test = torch.isin(rows, world.rows("test"))
    plain = {key: each["pooled"] for key, each in layers.items()}
    both = [plain, {key: features - features[test].mean(0) for key, features in plain.items()}]
    of_test = [{key: features[test] for key, features in each.items()} for each in both]
    parts = _of_triplets(world, rows, both, settings, people)
    for judged in choices_by_level(world, people):
        if judged.level != "all" and (not judged.study or judged.regime == regimes.EVERY):
            names = {"benchmark": f"levels, {influences.about(**judged.names)}"}
            names |= {"study": judged.study, "regime": judged.regime}
            place = torch.searchsorted(rows, world.scored_rows())[judged.triplets]
            parts.append(_choice_rsa(names, dataclasses.replace(judged, triplets=place), both, settings))
    if len(parts) < 3:
        parts.append(([_rsa_names({"benchmark": "levels, all"}) | {"note": "the world has no such choices"}], []))
    parts += [_rating_rsa(world, of_test, settings), *(_matrix_rsa(world, m, of_test) for m in settings.matrices)]
    scores = pd.DataFrame([row for of_one, _ in parts for row in of_one]).reindex(columns=COLUMNS)
    scores = scores.assign(n=scores["n"].fillna(0).astype(int), note=scores["note"].fillna(""))
    kept = [block for _, blocks in parts for block in blocks]
    return scores.assign(choices=world.choices, judged=world.judged), kept


def concept_features(features: Tensor, world: World, rows: Tensor) -> tuple[Tensor, pd.DataFrame]:
    """The mean feature of each concept (finest label), in the order of the hierarchy from coarse to fine.

    Args: features: (n, dim) of the pictures `rows` of images.csv, (n,).
    Returns: (k, dim) and k rows of labels, finest column first, with the index 0 to k - 1.
    """
    finest, labels = world.hierarchy[0], world.images.iloc[rows.tolist()][list(world.hierarchy)]
    names = labels.drop_duplicates(finest).sort_values(list(world.hierarchy[::-1])).reset_index(drop=True)
    group = torch.tensor(names.reset_index().set_index(finest)["index"].loc[labels[finest]].to_numpy())
    sums = torch.zeros(len(names), features.shape[1]).index_add_(0, group, features)
    return sums / torch.bincount(group, minlength=len(names))[:, None], names


def rdms(world: World, test: Layers) -> tuple[dict[tuple[str, str], Tensor], pd.DataFrame]:
    """Dissimilarities (1 - cosine) of the test concepts, (k, k) by (student, target), and the k concepts' labels.

    Concepts are in the order of the hierarchy, coarse to fine. If they are more than SHOWN, evenly spread ones are
    compared.
    """
    rows, matrices_of = world.rows("test"), {}
    for key, layers in test.items():
        means, labels = concept_features(layers["pooled"], world, rows)
        some = torch.linspace(0, len(means) - 1, min(len(means), SHOWN), dtype=torch.float64).round().long()
        unit = _unit(means[some])
        matrices_of[key] = 1 - unit @ unit.T
    return matrices_of, labels.iloc[some.tolist()].reset_index(drop=True)


def _of_triplets(
    world: World, rows: Tensor, found: list[Features], settings: Similarity, people: HumanUncertainty
) -> list[Parts]:
    """Accuracy on, and RSA with, the test choices of triplets.csv: those about held-out objects and the others."""
    chosen = held_out.choice_parts(world, people)
    out, parts = held_out.held_out_objects(world, people), list[Parts]()
    for name, some in ((HELD_OUT, chosen.held_out), (SEEN, chosen.seen)):
        table = world.triplets[some.numpy()]
        names = {"benchmark": name, "study": "", "metric": "odd_one_out_accuracy"}
        if table.empty:
            none = names | {"ci_unit": f"triplets {SHARED} concepts", "note": NONE_HELD_OUT}
            parts += [([none], []), ([_rsa_names(names) | {"note": NONE_HELD_OUT}], [])] if name == HELD_OUT else []
            continue
        shown, odd = world.choice_rows(table)
        regime = "new" if name == HELD_OUT else "mixed" if out[shown].any() else "known"
        concepts, place = world.codes(world.hierarchy[0])[rows], torch.searchsorted(rows, shown)
        judged = group_choices("all", place, odd, table["participant"], concepts, regime=regime)
        parts.append(_triplet_accuracy(names | {"regime": regime}, judged, found))
        parts.append(_choice_rsa(names | {"regime": regime}, judged, found, settings))
    return parts


def _triplet_accuracy(names: dict, judged: TimedChoices, found: list[Features]) -> Parts:
    """Accuracy on triplets, as rows of similarity.csv and blocks of influences.

    Args: found: plain and centred features of the pictures that the choices number.
    """
    counts, both = judged.counts(), []
    for of_models in found:
        agrees = {key: metrics.agreement(choices(_unit(x), judged), counts) for key, x in of_models.items()}
        both.append({key: mean_influence(each, torch.ones(len(each))) for key, each in agrees.items()})
    names = names | {"ci_unit": f"triplets {SHARED} concepts", "n": len(counts)}
    names |= influences.mean("noise_ceiling", "noise_ceiling", human_agreement(judged), judged.units)
    scores = influences.beside_centred(*(influences.compared(scores, judged.units) for scores in both))
    block = influences.block(names["benchmark"], names["metric"], judged.units, both[0])
    return [names | row for row in scores], [block]


def _rsa_names(names: dict, shared: str = "concepts") -> dict:
    """The names of the RSA benchmark with the probabilities of those choices that `names` describe."""
    benchmark = f"choice probabilities, {names['benchmark']}"
    return names | {"benchmark": benchmark, "metric": "rsa_spearman", "ci_unit": f"pairs {SHARED} {shared}"}


def _choice_rsa(names: dict, judged: TimedChoices, found: list[Features], settings: Similarity) -> Parts:
    """RSA between concepts: similarities of the mean of the pictures that people saw, and how often concepts were left
    together.
    """
    used, place = judged.triplets.unique(return_inverse=True)
    concepts = torch.empty(len(used), dtype=torch.int64)
    concepts[place.flatten()] = judged.concepts.flatten()
    codes, group = concepts.unique(return_inverse=True)
    number = torch.bincount(group)[:, None]

    def mean(features: Tensor) -> Tensor:
        return _unit(torch.zeros(len(codes), features.shape[1]).index_add_(0, group, features[used]) / number)

    means = [{key: mean(features) for key, features in of_models.items()} for of_models in found]
    shown = group[place][judged.triplet]
    different = (shown.sort(1).values.diff(dim=1) > 0).all(1)
    shown, odd, person = shown[different], judged.item[different], judged.person[different]

    def by_group(groups: int) -> rsa.Pairs:
        of, cell = person % groups, (person % groups) * len(judged.triplets) + judged.triplet[different]
        return rsa.choice_shares(shown, odd, of, groups, 1 / torch.bincount(cell)[cell].double())

    benchmark = rsa.grouped(by_group, len(person.unique()), settings.rater_groups)
    return rsa.with_influences(_rsa_names(names), benchmark, *means)


def _unit(features: Tensor) -> Tensor:
    """Vectors whose dot products are the cosine similarities of all pairs, (n, dim) float64."""
    return unit_vectors(features.double(), centred=False)


def _rating_rsa(world: World, found: list[Features], settings: Similarity) -> Parts:
    names = {"benchmark": "ratings.csv", "metric": "rsa_spearman", "ci_unit": f"pairs {SHARED} pictures"}
    names |= {"regime": "new"}
    if world.ratings is None:
        return [names | {"note": "the world has no ratings.csv"}], []
    place = torch.stack([_test_number(world, world.ratings[column]) for column in TRIPLET[:2]])
    known = (place >= 0).all(0)
    pictures, ends = place[:, known].unique(return_inverse=True)
    ratings = world.ratings[known.numpy()]
    values = torch.tensor(pd.to_numeric(ratings["rating"]).to_numpy(float))

    def by_group(groups: int) -> rsa.Pairs:
        return rsa.pair_means(ends, values, rsa.people_groups(ratings["participant"], groups), groups)

    units = [{key: _unit(features[pictures]) for key, features in of_models.items()} for of_models in found]
    benchmark = rsa.grouped(by_group, ratings["participant"].nunique(), settings.rater_groups)
    return rsa.with_influences(names, benchmark, *units)


def _matrix_rsa(world: World, matrix: Mapping[Any, str], found: list[Features]) -> Parts:
    values, named = matrices.read(home(), matrix)
    names = {"benchmark": matrix["name"], "metric": "rsa_spearman", "ci_unit": f"pairs {SHARED} concepts"}
    names |= {"regime": "new"}
    rows = world.rows("test")
    means = [{key: concept_features(features, world, rows) for key, features in of.items()} for of in found]
    labels = next(iter(means[0].values()))[1][world.hierarchy[0]].astype(str)
    place = pd.Index(named).get_indexer(labels)
    known = torch.from_numpy(np.flatnonzero(place >= 0))
    if len(known) < rsa.FEWEST:
        note = f"{matrix['file']}: names fewer than {rsa.FEWEST} {world.hierarchy[0]}s of the test split"
        return [names | {"note": note}], []
    order = torch.from_numpy(place[place >= 0])
    pairs = torch.triu_indices(len(order), len(order), 1)
    people = values[order[pairs[0]], order[pairs[1]]][None]
    models = [{key: _unit(features[known]) for key, (features, _) in of.items()} for of in means]
    return rsa.with_influences(names, rsa.grouped(lambda groups: (pairs, people), 1, 1), *models)


def _test_number(world: World, images: pd.Series) -> Tensor:
    """The numbers of pictures among those of the test split, (m,); -1 for other pictures."""
    test = pd.Index(world.images["image"].iloc[world.rows("test").tolist()])
    return torch.from_numpy(test.get_indexer(images))
