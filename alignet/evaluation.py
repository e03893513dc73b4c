"""Scores of representations against people: one tidy table per benchmark, one row per (student, target, ...)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from alignet import metrics
from alignet.backbones import load_features
from alignet.config import Levels
from alignet.triplets import choice_counts, choices, pair_similarities
from alignet.worlds.tables import LEVELS, World

Representations = dict[tuple[str, str, str], Tensor]  # (student, target, 'pooled' or 'head') -> (n test pictures, dim)
NO_LEVELS = "the world has no levels.csv"


def load_representations(data: Path, world: World, students: list[str], targets: list[str]) -> Representations:
    """The test pictures as every student sees them: before (target 'base'; it has no head) and after each target."""
    test, found = world.rows("test"), {}
    for student in students:
        features = load_features(data / "features" / student, world.images["image"])
        found[student, "base", "pooled"] = features[test]
        for target in targets:
            for name in ("pooled", "head"):
                rows = np.load(data / "students" / student / target / f"{name}.npy")
                found[student, target, name] = torch.from_numpy(rows)
    return found


def levels(world: World, representations: Representations, settings: Levels) -> pd.DataFrame:
    """Odd-one-out accuracy at each level of abstraction, with 95 % bootstrap intervals over triplets.

    The accuracy is the share of people's single choices that the model makes too, `majority_accuracy` that of
    triplets on which it chooses as most people do, and the noise ceiling the share on which one person agrees with
    the majority of the others on the same triplet: all in [0, 1], chance 1/3. All three are resampled together, so
    that `above_ceiling` (accuracy minus ceiling) and relative_improvement have paired intervals; passes_ceiling
    says that the whole interval of above_ceiling lies above 0. Source: the paper, 'Levels'.

    Returns: the columns of levels.csv, `choices` ('human' or 'simulated') and `note`; a world without levels.csv
        gives rows of level 'all' without numbers and a note that says so.
    Raises: ValueError if levels.csv shows a picture outside the test split.
    """
    if world.levels is None:
        return _without_levels(world, representations)
    unit = {key: unit_vectors(rows, settings.centred) for key, rows in representations.items()}
    table = []
    for level, triplets, counts, _ in judged_levels(world):
        drawn = metrics.resample_weights(len(triplets), settings.bootstrap, _generator(settings))
        chosen = {key: choices(pair_similarities(rows[triplets])) for key, rows in unit.items()}
        common = _noise_ceiling(counts, settings) | {"n_triplets": len(triplets), "choices": world.choices}
        for (student, target, representation), choice in chosen.items():
            names = {"student": student, "target": target, "representation": representation, "level": level}
            base = metrics.agreement(chosen[student, "base", "pooled"], counts)
            scores = _accuracy(choice, counts, settings) | _majority(choice, counts, drawn)
            table.append(names | scores | common | _paired(metrics.agreement(choice, counts), base, counts, drawn))
    return _with_relative_improvement(pd.DataFrame(table)).assign(ci_unit="triplets", note="")


def judged_levels(world: World) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """The levels that the world has choices about, and 'all': (level, triplets, counts, log response times).

    Yields: triplets (n, 3) numbered among the test pictures, counts (n, 3) of people, and the mean log of the
        response times in seconds (n,), NaN where a triplet has none.
    Raises: ValueError if levels.csv shows a picture outside the test split.
    """
    test = world.rows("test")
    position = torch.full((len(world.images),), -1)
    position[test] = torch.arange(len(test))
    for level in (*LEVELS, "all"):
        judged = world.levels if level == "all" else world.levels[world.levels["level"] == level]
        if judged.empty:
            continue
        shown, odd = world.judgements(judged)
        if (position[shown] < 0).any():
            raise ValueError("levels.csv: shows pictures outside the test split")
        triplets, counts = choice_counts(position[shown], odd)
        yield level, triplets, counts, _mean_log_time(position[shown], judged)


def uncertainty(world: World, representations: Representations, settings: Levels) -> pd.DataFrame:
    """Spearman correlation over triplets of the model's choice entropy with people's uncertainty, by level.

    People's uncertainty is the entropy of their choices (against response_entropy) and their mean log response time
    (response_time). The model's temperature is fitted on other triplets than those it is scored on: two halves,
    each with the other's. Intervals: 95 % bootstrap over triplets. Source: the paper, 'uncertainty alignment'.

    Returns: the columns of uncertainty.csv, `choices` and `note`.
    """
    columns = ["student", "target", "level", "against", "spearman", "ci_low", "ci_high", "n", "choices", "note"]
    if world.levels is None:
        return pd.DataFrame([dict.fromkeys(columns[:-1]) | {"note": NO_LEVELS}], columns=columns)
    table = []
    for student, target, rows in _pooled(representations):
        unit = unit_vectors(rows, settings.centred)
        for level, triplets, counts, times in judged_levels(world):
            entropy = metrics.entropy(cross_fitted(pair_similarities(unit[triplets]), counts, settings))
            people = {"response_entropy": metrics.entropy(counts / counts.sum(1, keepdim=True)), "response_time": times}
            for against, value in people.items():
                score = _rank_correlation(entropy, value, settings)
                names = {"student": student, "target": target, "level": level, "against": against}
                note = "" if score["n"] else "the world has no response times"
                table.append(names | score | {"choices": world.choices, "note": note})
    return pd.DataFrame(table, columns=columns)


def reliability(world: World, representations: Representations, settings: Levels, bins: int = 10) -> pd.DataFrame:
    """How often people choose an item, by the probability that the model gives it (temperature as `uncertainty`).

    Returns: student, target, bin (from 0), predicted (mean probability), chosen (share of people), ci_low, ci_high
        (95 % bootstrap over triplets), n (items) and choices; the bins are of equal width, empty ones left out.
    """
    if world.levels is None:
        return pd.DataFrame(columns=["student", "target", "bin", "predicted", "chosen", "ci_low", "ci_high", "n"])
    _, triplets, counts, _ = list(judged_levels(world))[-1]
    drawn = metrics.resample_weights(len(triplets), settings.bootstrap, _generator(settings))
    share, table = (counts / counts.sum(1, keepdim=True)).double(), []
    for student, target, rows in _pooled(representations):
        pairs = pair_similarities(unit_vectors(rows, settings.centred)[triplets])
        predicted = cross_fitted(pairs, counts, settings)
        group = (predicted * bins).long().clamp(max=bins - 1)
        for number in group.unique().tolist():
            inside = (group == number).double()
            means = drawn @ (share * inside).sum(1) / (drawn @ inside.sum(1))
            low, high = metrics.percentile_interval(means)
            mean = [float((values * inside).sum() / inside.sum()) for values in (predicted, share)]
            names = {"student": student, "target": target, "bin": number, "predicted": mean[0], "chosen": mean[1]}
            table.append(names | {"ci_low": low, "ci_high": high, "n": int(inside.sum()), "choices": world.choices})
    return pd.DataFrame(table)


def cross_fitted(similarities: Tensor, counts: Tensor, settings: Levels) -> Tensor:
    """Choice probabilities (n, 3) float64 at a temperature fitted on the other half of the triplets, drawn at random.

    Args: similarities: (n, 3) in odd-one-out order; counts: (n, 3) people.
    """
    half = torch.rand(len(counts), generator=_generator(settings)) < 0.5
    found = torch.empty(len(counts), 3, dtype=torch.float64)
    for inside in (half, ~half):
        other = ~inside if (~inside).any() else inside
        found[inside] = (fitted_sharpness(similarities[other], counts[other]) * similarities[inside].double()).softmax(
            1
        )
    return found


def fitted_sharpness(similarities: Tensor, counts: Tensor) -> float:
    """1 / tau of the softmax under which the choices are most likely, in [0.001, 1000].

    The log-likelihood is concave in it: its slope is 0 where the expected similarity is that of the chosen pairs.
    """
    values, people = similarities.double(), counts.sum(1)
    seen = float((values * counts).sum())

    def expected(sharpness: float) -> float:
        return float((((sharpness * values).softmax(1) * values).sum(1) * people).sum())

    return metrics.solve_increasing(expected, seen, 1e-3, 1e3)


def noise_ceilings(world: World) -> pd.DataFrame:
    """One row per kind of triplet: how many, people's choices about them, and the noise ceiling (chance 1/3)."""
    tables = {"triplets.csv": world.triplets}
    if world.levels is not None:
        tables |= {f"levels.csv, {level}": rows for level, rows in world.levels.groupby("level", sort=False)}
    counts = {name: choice_counts(*world.judgements(table))[1] for name, table in tables.items()}
    return pd.DataFrame(
        {"table": name, "triplets": len(n), "choices": int(n.sum()), "noise_ceiling": metrics.noise_ceiling(n)}
        for name, n in counts.items()
    ).assign(people=world.choices)


def label_similarity(features: Tensor, world: World, labels: tuple[str, ...]) -> tuple[Tensor, pd.DataFrame]:
    """Centred cosine similarity of the mean features of each distinct combination of labels.

    Args: features: (n_images, dim); labels: columns of the hierarchy, fine to coarse.
    Returns: (k, k), ordered by the hierarchy from coarse to fine, and the k combinations in that order.
    """
    groups = world.images.groupby(list(labels[::-1]), sort=False).indices
    means = torch.stack([features[torch.from_numpy(rows)].mean(0) for rows in groups.values()])
    names = pd.DataFrame([key if isinstance(key, tuple) else (key,) for key in groups], columns=labels[::-1])
    order = names.sort_values(list(names)).index
    unit = unit_vectors(means[torch.tensor(order)], centred=True)
    return unit @ unit.T, names.loc[order].reset_index(drop=True)


def unit_vectors(embeddings: Tensor, centred: bool) -> Tensor:
    """Rows of length 1, whose dot products are (centred: after subtracting the mean row) cosine similarities."""
    return F.normalize(embeddings - embeddings.mean(0) if centred else embeddings, dim=1)


def _without_levels(world: World, representations: Representations) -> pd.DataFrame:
    numbers = ["odd_one_out_accuracy", "ci_low", "ci_high", "majority_accuracy", "majority_low", "majority_high"]
    numbers += ["noise_ceiling", "noise_ceiling_low", "noise_ceiling_high", "above_ceiling", "above_ceiling_low"]
    numbers += ["above_ceiling_high", "relative_improvement", "relative_improvement_low", "relative_improvement_high"]
    rows = [
        {"student": student, "target": target, "representation": representation, "level": "all"}
        | dict.fromkeys(numbers, float("nan"))
        for student, target, representation in representations
    ]
    notes = {
        "passes_ceiling": False,
        "n_triplets": 0,
        "choices": world.choices,
        "ci_unit": "triplets",
        "note": NO_LEVELS,
    }
    return pd.DataFrame(rows).assign(**notes)


def _mean_log_time(triplets: Tensor, judged: pd.DataFrame) -> Tensor:
    """Per distinct triplet, in the order of `choice_counts`; times that are missing or 0 do not count."""
    distinct, group = triplets.sort(dim=1).values.unique(dim=0, return_inverse=True)
    if "rt" not in judged:
        return torch.full((len(distinct),), torch.nan, dtype=torch.float64)
    seconds = torch.tensor(pd.to_numeric(judged["rt"]).to_numpy(float))
    known = seconds > 0
    sums = torch.zeros(2, len(distinct), dtype=torch.float64)
    sums[0].index_add_(0, group[known], seconds[known].log())
    sums[1].index_add_(0, group[known], torch.ones(int(known.sum())).double())
    return sums[0] / sums[1]  # 0 / 0 is NaN: no time


def _rank_correlation(model: Tensor, people: Tensor, settings: Levels) -> dict[str, float]:
    known = ~people.isnan()
    if known.sum() < 3:
        return {"spearman": float("nan"), "ci_low": float("nan"), "ci_high": float("nan"), "n": int(known.sum())}
    low, high = metrics.spearman_interval(model[known], people[known], settings.bootstrap, _generator(settings))
    score = metrics.spearman(model[known], people[known])
    return {"spearman": score, "ci_low": low, "ci_high": high, "n": int(known.sum())}


def _pooled(representations: Representations) -> Iterator[tuple[str, str, Tensor]]:
    for (student, target, representation), rows in representations.items():
        if representation == "pooled":
            yield student, target, rows


def _accuracy(choice: Tensor, counts: Tensor, settings: Levels) -> dict[str, float]:
    agreement, people = metrics.agreement(choice, counts), counts.sum(1)
    low, high = metrics.bootstrap_interval(agreement, people, settings.bootstrap, _generator(settings))
    return {"odd_one_out_accuracy": metrics.weighted_mean(agreement, people), "ci_low": low, "ci_high": high}


def _majority(choice: Tensor, counts: Tensor, drawn: Tensor) -> dict[str, float]:
    agrees = metrics.majority_agreement(choice, counts)
    low, high = metrics.percentile_interval(drawn @ agrees / drawn.sum(1))
    return {"majority_accuracy": float(agrees.mean()), "majority_low": low, "majority_high": high}


def _paired(agreement: Tensor, base: Tensor, counts: Tensor, drawn: Tensor) -> dict:
    """Accuracy minus ceiling, over the triplets that two or more people judged, and over base in percent."""
    people = counts.sum(1).double()
    judged = people * (people >= 2)
    gap = (agreement - metrics.leave_one_out_agreement(counts)).nan_to_num().double() * judged
    low, high = metrics.percentile_interval(drawn @ gap / (drawn @ judged))
    better = 100 * (drawn @ (agreement * people) / (drawn @ (base * people)) - 1)
    relative = metrics.percentile_interval(better[better.isfinite()])
    return {
        "above_ceiling": float(gap.sum() / judged.sum()),
        "above_ceiling_low": low,
        "above_ceiling_high": high,
        "passes_ceiling": low > 0,
        "relative_improvement_low": relative[0],
        "relative_improvement_high": relative[1],
    }


def _noise_ceiling(counts: Tensor, settings: Levels) -> dict:
    judged = counts[counts.sum(1) >= 2]
    agreement, people = metrics.leave_one_out_agreement(judged), judged.sum(1)
    low, high = metrics.bootstrap_interval(agreement, people, settings.bootstrap, _generator(settings))
    return {"noise_ceiling": metrics.noise_ceiling(counts), "noise_ceiling_low": low, "noise_ceiling_high": high}


def _with_relative_improvement(table: pd.DataFrame) -> pd.DataFrame:
    """Add relative_improvement, percent over the student's base at the same level; a head, which the base lacks,
    is compared with the base's pooled representation."""
    base = table[table["target"] == "base"].set_index(["student", "level"])["odd_one_out_accuracy"]
    before = base.loc[list(zip(table["student"], table["level"], strict=True))].to_numpy()
    return table.assign(relative_improvement=100 * (table["odd_one_out_accuracy"] / before - 1))


def _generator(settings: Levels) -> torch.Generator:
    return torch.Generator().manual_seed(settings.seed)
