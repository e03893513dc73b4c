"""Levels: representations against people's choices from fine to coarse. One row per student, target and level."""

from collections.abc import Iterator
from dataclasses import dataclass
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
COLUMNS = ["student", "target", "representation", "level", "odd_one_out_accuracy", "ci_low", "ci_high"]
COLUMNS += ["majority_accuracy", "majority_low", "majority_high"]
COLUMNS += ["noise_ceiling", "noise_ceiling_low", "noise_ceiling_high"]
COLUMNS += ["above_ceiling", "above_ceiling_low", "above_ceiling_high", "passes_ceiling"]
COLUMNS += ["relative_improvement", "relative_improvement_low", "relative_improvement_high"]
COLUMNS += ["n_triplets", "n_choices", "choices", "ci_unit", "note"]


@dataclass(frozen=True)
class Judged:
    """People's choices about the n triplets of one level, one entry of (m,) a choice.

    triplets: (n, 3) numbers of test pictures, ascending; triplet: (m,) which of them; item: (m,) the chosen odd one
    out, as a position in it; person: (m,) numbers; log_time: (m,) log of the response time in seconds, NaN where none.
    """

    level: str
    triplets: Tensor
    triplet: Tensor
    item: Tensor
    person: Tensor
    log_time: Tensor

    def counts(self, some: Tensor | None = None) -> Tensor:
        """People per item, (n, 3) int64; some: (m,) bool, of these choices only."""
        some = torch.ones_like(self.triplet, dtype=torch.bool) if some is None else some
        place = self.triplet[some] * 3 + self.item[some]
        return torch.bincount(place, minlength=3 * len(self.triplets)).view(-1, 3)


def load_representations(data: Path, world: World, students: list[str], targets: list[str]) -> Representations:
    """The test pictures as every student sees them: before (target 'base'; it has no head) and after each target."""
    test, found = world.rows("test"), {}
    for student in students:
        features = load_features(data / "features" / student, world.images["image"], test)
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
    the majority of the others on the same triplet: all in [0, 1], chance 1/3. All are resampled together, so that
    `above_ceiling` (accuracy minus ceiling, on triplets that two people or more judged) and relative_improvement have
    paired intervals; passes_ceiling says that the whole interval of above_ceiling lies above 0. A majority of few
    others is unsure, which lowers the ceiling: to pass it is not to be more human than people.

    Returns: the columns of levels.csv, `choices` ('human' or 'simulated') and `note`; a world without levels.csv
        gives rows of level 'all' without numbers and a note that says so.
    Raises: ValueError if levels.csv shows a picture outside the test split.
    Source: the paper, 'Levels'.
    """
    if world.levels is None:
        return _without_levels(world, representations)
    unit = {key: unit_vectors(rows, settings.centred) for key, rows in representations.items()}
    table = []
    for judged in judged_levels(world):
        drawn, counts = triplet_weights(judged, settings), judged.counts()
        agrees = {key: metrics.agreement(*_choices(rows, judged, counts)) for key, rows in unit.items()}
        ceiling = human_agreement(judged)
        common = {"level": judged.level, "n_triplets": len(counts), "n_choices": len(judged.item)}
        common |= _noise_ceiling(ceiling, counts, drawn)
        for (student, target, representation), agreement in agrees.items():
            row = {"student": student, "target": target, "representation": representation}
            row |= _interval("odd_one_out_accuracy", "ci", agreement, counts.sum(1), drawn)
            majority = metrics.majority_agreement(*_choices(unit[student, target, representation], judged, counts))
            row |= _interval("majority_accuracy", "majority", majority, torch.ones(len(counts)), drawn)
            row |= _above_ceiling(agreement, ceiling, counts, drawn)
            row |= _improvement(agreement, agrees[student, "base", "pooled"], counts, drawn)
            table.append(row | common)
    return pd.DataFrame(table).assign(choices=world.choices, ci_unit="triplets", note="")[COLUMNS]


def judged_levels(world: World) -> Iterator[Judged]:
    """The levels that the world has choices about, and 'all' of them.

    Raises: ValueError if levels.csv shows a picture outside the test split.
    """
    test = world.rows("test")
    position = torch.full((len(world.images),), -1)
    position[test] = torch.arange(len(test))
    for level in (*LEVELS, "all"):
        rows = world.levels if level == "all" else world.levels[world.levels["level"] == level]
        if rows.empty:
            continue
        shown, odd = world.judgements(rows)
        if (position[shown] < 0).any():
            raise ValueError("levels.csv: shows pictures outside the test split")
        yield judgements(level, position[shown], odd, rows)


def judgements(level: str, triplets: Tensor, odd: Tensor, rows: pd.DataFrame) -> Judged:
    """Choices by distinct triplet, whatever order it was shown in.

    Args: triplets: (m, 3) and odd: (m,) position of the chosen one; rows: m rows with participant and perhaps rt in
        seconds, where 0 or nothing is no time.
    """
    ordered, order = triplets.sort(dim=1)
    distinct, triplet = ordered.unique(dim=0, return_inverse=True)
    seconds = pd.to_numeric(rows["rt"]).to_numpy(float) if "rt" in rows else np.full(len(rows), np.nan)
    seconds = torch.tensor(seconds)
    return Judged(
        level=level,
        triplets=distinct,
        triplet=triplet,
        item=(order == odd[:, None]).long().argmax(1),
        person=torch.from_numpy(pd.factorize(rows["participant"])[0]),
        log_time=seconds.where(seconds > 0, torch.nan).log(),
    )


def human_agreement(judged: Judged) -> Tensor:
    """How often one person agrees with the majority of the others, per triplet: (n,) in [0, 1], NaN for one person.

    Leave-one-participant-out: a person who judged a triplet twice is left out with both choices.
    """
    pairs = torch.stack([judged.triplet, judged.person], 1)
    distinct, which = pairs.unique(dim=0, return_inverse=True)
    own = torch.bincount(which * 3 + judged.item, minlength=3 * len(distinct)).view(-1, 3)
    return metrics.leave_participant_out_agreement(own, distinct[:, 0], len(judged.triplets))


def triplet_weights(judged: Judged, settings: Levels) -> Tensor:
    """Bootstrap resamples of the triplets, (resamples, n): the same in every call, so that all scores are paired."""
    generator = torch.Generator().manual_seed(settings.seed)
    return metrics.resample_weights(len(judged.triplets), settings.bootstrap, generator)


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

    Args: features: (n_images, dim), NaN for pictures that are left out; labels: columns of the hierarchy, fine to
        coarse.
    Returns: (k, k), ordered by the hierarchy from coarse to fine, and the k combinations in that order.
    """
    known = ~features.isnan().any(1)
    groups = world.images[known.numpy()].groupby(list(labels[::-1]), sort=False).indices
    means = torch.stack([features[known][torch.from_numpy(rows)].mean(0) for rows in groups.values()])
    names = pd.DataFrame([key if isinstance(key, tuple) else (key,) for key in groups], columns=labels[::-1])
    order = names.sort_values(list(names)).index
    unit = unit_vectors(means[torch.tensor(order)], centred=True)
    return unit @ unit.T, names.loc[order].reset_index(drop=True)


def unit_vectors(embeddings: Tensor, centred: bool) -> Tensor:
    """Rows of length 1, whose dot products are (centred: after subtracting the mean row) cosine similarities."""
    return F.normalize(embeddings - embeddings.mean(0) if centred else embeddings, dim=1)


def _without_levels(world: World, representations: Representations) -> pd.DataFrame:
    rows = [dict(zip(COLUMNS, (*key, "all"), strict=False)) for key in representations]
    notes = {"passes_ceiling": False, "n_triplets": 0, "n_choices": 0, "choices": world.choices}
    return pd.DataFrame(rows).reindex(columns=COLUMNS).assign(**notes, ci_unit="triplets", note=NO_LEVELS)


def _choices(unit: Tensor, judged: Judged, counts: Tensor) -> tuple[Tensor, Tensor]:
    return choices(pair_similarities(unit[judged.triplets])), counts


def _interval(name: str, ends: str, values: Tensor, weights: Tensor, drawn: Tensor) -> dict[str, float]:
    """The weighted mean of the values that are no NaN, and its 95 % interval, under these names."""
    low, high = metrics.bootstrap_interval(values, weights, drawn)
    mean = float(metrics.weighted_means(values, weights, torch.ones(1, len(values)).double()))
    return {name: mean, f"{ends}_low": low, f"{ends}_high": high}


def _noise_ceiling(ceiling: Tensor, counts: Tensor, drawn: Tensor) -> dict[str, float]:
    return _interval("noise_ceiling", "noise_ceiling", ceiling, counts.sum(1), drawn)


def _above_ceiling(agreement: Tensor, ceiling: Tensor, counts: Tensor, drawn: Tensor) -> dict:
    found = _interval("above_ceiling", "above_ceiling", agreement - ceiling, counts.sum(1), drawn)
    return found | {"passes_ceiling": found["above_ceiling_low"] > 0}


def _improvement(agreement: Tensor, base: Tensor, counts: Tensor, drawn: Tensor) -> dict[str, float]:
    """Percent over the base's pooled representation at the same level, with its paired interval; NaN over 0."""
    people, once = counts.sum(1), torch.ones(1, len(counts)).double()
    after, before = (metrics.weighted_means(values, people, torch.cat([once, drawn])) for values in (agreement, base))
    percent = (100 * (after / before - 1)).masked_fill(before == 0, torch.nan)
    low, high = metrics.percentile_interval(percent[1:])
    names = ("relative_improvement", "relative_improvement_low", "relative_improvement_high")
    return dict(zip(names, (float(percent[0]), low, high), strict=True))
