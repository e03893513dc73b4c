"""SIMULATED participants: odd-one-out choices and response times from a known similarity. Nobody was asked."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet.config import Emoji
from alignet.maths.choices import gather_pair_similarities

NON_DECISION, PER_ENTROPY, NOISE = 0.6, 1.0, 0.3  # log seconds ~ log(NON_DECISION + PER_ENTROPY * H), sd of log


def same(labels: pd.Series) -> Tensor:
    """A matrix (n, n) that is 1 where two entries are equal, else 0."""
    codes = torch.from_numpy(pd.factorize(labels)[0])
    return (codes[:, None] == codes[None, :]).float()


def overlap(sets: pd.Series) -> Tensor:
    """Jaccard overlap of sets of words: (n, n) in [0, 1]; two empty sets overlap by 0."""
    words = sorted(set().union(*sets))
    column = {word: number for number, word in enumerate(words)}
    member = torch.zeros(len(sets), len(words))
    for row, entry in enumerate(sets):
        member[row, [column[word] for word in entry]] = 1
    shared, size = member @ member.T, member.sum(1)
    return shared / (size[:, None] + size[None, :] - shared).clamp(min=1)


@dataclass(frozen=True)
class People:
    """Simulated participants: (k,) choice temperatures, and (k, relations) weights of the kinds of similarity."""

    temperatures: Tensor
    weights: Tensor


def draw_people(settings: Emoji, generator: torch.Generator) -> People:
    """Participants whose temperatures and weights are lognormal around the settings' own (docs/world.md)."""
    k, weights = settings.participants, torch.tensor(list(settings.similarity_weights.values()))
    spread = torch.randn(k, generator=generator) * settings.temperature_spread
    own = torch.randn(k, len(weights), generator=generator) * settings.weight_spread
    return People(settings.choice_temperature * spread.exp(), weights * own.exp())


@dataclass(frozen=True)
class Experiment:
    """The material of a simulated experiment.

    concepts: split, held_out and class of each of n concepts; images: their pictures, of which only colour ones are
    shown; relations: (r, n, n) in [0, 1], the similarity of two concepts in each kind that settings.similarity_weights
    names.
    """

    concepts: pd.DataFrame
    images: pd.DataFrame
    relations: Tensor
    people: People
    settings: Emoji
    generator: torch.Generator


def judge(experiment: Experiment) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulated choices: triplets.csv and levels.csv.

    triplets.csv has training and validation triplets of the training concepts and test triplets of other concepts;
    levels.csv has triplets of the test split at three levels.
    """
    concepts, settings, generator = experiment.concepts, experiment.settings, experiment.generator
    human, held_out = concepts["split"] == "human", concepts["held_out"]
    classes = torch.from_numpy(pd.factorize(concepts["class"])[0])

    def table(triplets: Tensor, raters: int, **columns: str) -> pd.DataFrame:
        return _choices(experiment, triplets, raters).assign(**columns)

    train = _different(_rows(human & ~held_out), settings.triplets_train, generator)
    test = _different(_rows(held_out), settings.triplets_test, generator)
    triplets = [table(train, settings.raters_train, split="train"), table(test, settings.raters_test, split="test")]
    pool, n = _rows(concepts["split"] == "test"), settings.triplets_per_level
    shown = {
        "coarse": _in_classes(pool, classes, (1, 1, 1), n, generator),
        "boundary": _in_classes(pool, classes, (2, 1), n, generator),
        "fine": _in_classes(pool, classes, (3,), n, generator),
    }
    levels = [table(of_level, settings.raters_test, level=level) for level, of_level in shown.items()]
    validation = _different(_rows(human & ~held_out), settings.triplets_validation, generator)
    triplets.append(table(validation, settings.raters_test, split="validation"))
    return pd.concat(triplets, ignore_index=True), pd.concat(levels, ignore_index=True)


def _rows(mask: pd.Series) -> Tensor:
    return torch.from_numpy(np.flatnonzero(mask))


def _different(pool: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n triplets of three different entries of `pool`, (n, 3)."""
    return pool[torch.rand(n, len(pool), generator=generator).topk(3, dim=1).indices]


def _in_classes(pool: Tensor, classes: Tensor, sizes: tuple[int, ...], n: int, generator: torch.Generator) -> Tensor:
    """n triplets with `sizes` different concepts from each of len(sizes) classes ((2, 1): a class border), (n, 3).

    Classes are drawn in proportion to their size, so that each concept has about the same chance to be shown; the
    concepts stand in random order.
    """
    members = [pool[classes[pool] == label] for label in classes[pool].unique()]
    members = [rows for rows in members if len(rows) >= max(sizes)]
    weights = torch.tensor([float(len(rows)) for rows in members])

    def triplet() -> Tensor:
        drawn = torch.multinomial(weights, len(sizes), generator=generator).tolist()
        chosen = [members[label][torch.randperm(len(members[label]), generator=generator)] for label in drawn]
        return torch.cat([rows[:size] for rows, size in zip(chosen, sizes, strict=True)])

    drawn = torch.stack([triplet() for _ in range(n)])
    shuffle = torch.rand(n, 3, generator=generator).argsort(dim=1)
    return drawn.gather(1, shuffle)


def _choices(experiment: Experiment, triplets: Tensor, raters: int) -> pd.DataFrame:
    """One row per choice: each triplet is shown, with the same pictures, to `raters` different participants."""
    settings, generator = experiment.settings, experiment.generator
    names = _shown_pictures(experiment, triplets)
    n = len(triplets)
    asked = torch.rand(n, settings.participants, generator=generator).topk(raters, dim=1).indices
    chances = _chances(experiment, triplets, asked)
    odd = torch.multinomial(chances.flatten(0, 1), 1, generator=generator).view(n, raters)
    entropy = -(chances * chances.log()).sum(-1) / math.log(3)
    noise = torch.randn(n, raters, generator=generator) * NOISE
    seconds = (NON_DECISION + PER_ENTROPY * entropy) * noise.exp()
    table = pd.DataFrame(np.repeat(names, raters, axis=0), columns=["image_0", "image_1", "image_2"])
    table["odd"] = odd.flatten().numpy()
    table["participant"] = [f"simulated_{number:03d}" for number in asked.flatten().tolist()]
    return table.assign(rt=seconds.flatten().numpy().round(3))


def _chances(experiment: Experiment, triplets: Tensor, asked: Tensor) -> Tensor:
    """Probability that each person asked chooses each item, (n, raters, 3). Args: asked: (n, raters) participants."""
    people, lapse = experiment.people, experiment.settings.lapse_rate
    pairs = torch.stack([gather_pair_similarities(relation, triplets) for relation in experiment.relations], dim=-1)
    logits = torch.einsum("nir,nkr->nki", pairs, people.weights[asked]) / people.temperatures[asked][:, :, None]
    return (1 - lapse) * logits.softmax(-1) + lapse / 3


def _shown_pictures(experiment: Experiment, triplets: Tensor) -> np.ndarray:
    """A random colour picture of each concept, (n, 3) picture ids."""
    images = experiment.images
    colour = images[images["style"] == "colour"].groupby("concept")["image"].apply(list)
    pictures = np.array(colour[experiment.concepts["concept"]].tolist())  # (n_concepts, renderings)
    which = torch.randint(pictures.shape[1], triplets.shape, generator=experiment.generator)
    return pictures[triplets.numpy(), which.numpy()]
