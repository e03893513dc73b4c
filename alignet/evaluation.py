"""Scores of representations against people: one tidy table per benchmark, one row per (student, target, ...)."""

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

    The accuracy is the share of people's single choices that the model makes too, and the noise ceiling the share
    on which one person agrees with the majority of the others on the same triplet: both in [0, 1], chance 1/3.
    Source: the paper, 'Levels'.

    Returns: the columns of levels.csv and `choices` ('human' or 'simulated').
    Raises: ValueError if levels.csv shows a picture outside the test split.
    """
    unit = {key: unit_vectors(rows, settings.centred) for key, rows in representations.items()}
    position = torch.full((len(world.images),), -1)
    position[world.rows("test")] = torch.arange(len(world.rows("test")))
    table = []
    for level in (*LEVELS, "all"):
        judged = world.levels if level == "all" else world.levels[world.levels["level"] == level]
        triplets, counts = choice_counts(*world.judgements(judged))
        if (position[triplets] < 0).any():
            raise ValueError("levels.csv: shows pictures outside the test split")
        common = _noise_ceiling(counts, settings) | {"n_triplets": len(triplets), "choices": world.choices}
        for (student, target, representation), rows in unit.items():
            names = {"student": student, "target": target, "representation": representation, "level": level}
            table.append(names | _accuracy(rows[position[triplets]], counts, settings) | common)
    return _with_relative_improvement(pd.DataFrame(table))


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


def _accuracy(shown: Tensor, counts: Tensor, settings: Levels) -> dict[str, float]:
    agreement, people = metrics.agreement(choices(pair_similarities(shown)), counts), counts.sum(1)
    low, high = metrics.bootstrap_interval(agreement, people, settings.bootstrap, _generator(settings))
    return {"odd_one_out_accuracy": metrics.weighted_mean(agreement, people), "ci_low": low, "ci_high": high}


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
