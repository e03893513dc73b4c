"""A teacher's fit at THINGS' size: 1,854 objects x 768 invented features, 100 steps of 4,096 triplets.

Beside the published way: all objects transformed at each step of 256 triplets, which one-hot rows then pick. Triplets a
second are compared; in bfloat16 only where the processor has units for it. With principal axes the map is smaller.
"""

import dataclasses
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from alignet import config, devices
from alignet.maths.choices import pair_similarities
from alignet.people.choice_distributions import ChoiceCounts
from alignet.teacher import affine_map
from bench.measure import Comparison, Way

OBJECTS, DIM, TRIPLETS, STEPS, BATCH = 1854, 768, 100_000, 100, 4096
PUBLISHED_STEPS, PUBLISHED_BATCH = 20, 256


def invented() -> torch.Tensor:
    """Features (OBJECTS, DIM)."""
    return torch.randn(OBJECTS, DIM, generator=torch.Generator().manual_seed(0)) * torch.linspace(3, 0.2, DIM)


def judgements(features: torch.Tensor, n: int, low: int = 0, high: int = OBJECTS) -> ChoiceCounts:
    """Choices about objects low to high of invented people, to whom 20 directions of the features matter."""
    generator = torch.Generator().manual_seed(0)
    truth = 0.25 * features @ torch.randn(DIM, 20, generator=generator) / DIM**0.5
    numbers = torch.rand(-(-n // 100), high - low, generator=generator).argsort(1)  # each row gives many triplets
    triplets = low + torch.cat([part for part in numbers.split(3, 1) if part.shape[1] == 3])[:n]
    chances = pair_similarities(truth[triplets]).softmax(-1)
    found = ChoiceCounts.of(triplets, torch.multinomial(chances, 1, generator=generator).squeeze(1))
    return found.with_targets(pair_similarities(truth[found.triplets]).softmax(-1))


def published(features: torch.Tensor, train: ChoiceCounts, steps: int) -> None:
    weight = (0.05 * torch.eye(DIM)).requires_grad_()
    bias = torch.zeros(DIM, requires_grad=True)
    optimiser = torch.optim.Adam([weight, bias], lr=0.001)
    for step in range(steps):
        part = torch.arange(PUBLISHED_BATCH) + step * PUBLISHED_BATCH
        transformed = features @ weight.T + bias
        rows = F.one_hot(train.triplets[part % len(train.triplets)], OBJECTS).float() @ transformed
        loss = F.cross_entropy(pair_similarities(rows), train.targets[part % len(train.triplets)])
        loss = loss + (weight - weight.diagonal().mean() * torch.eye(DIM)).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def comparisons(scale: float = 1) -> Iterator[Comparison]:
    steps, few = (max(2, int(count * min(scale, 1))) for count in (STEPS, PUBLISHED_STEPS))
    features = invented()
    train = judgements(features, int(TRIPLETS * scale))
    settings = config.load("teacher", config.Teacher)
    settings = dataclasses.replace(settings, steps=steps, batch_size=BATCH, local_weight=0.0, pca=None)
    label, work = "published: one-hot, batches of 256, float32", few * PUBLISHED_BATCH
    other = Way(label, lambda: published(features, train, few), work)
    ways = {"float32": {}, "bfloat16": {"precision": "bfloat16"}, "float32, 256 principal axes": {"pca": 256}}
    for name, changes in ways.items():
        chosen = dataclasses.replace(settings, **changes)
        if devices.has_units(chosen.precision, "cpu"):
            ours = Way("alignet.teacher.affine_map", lambda s=chosen: affine_map.fit(features, train, s), steps * BATCH)
            yield Comparison(f"teacher, {name}", "naive", ours, other, turns=3, note="triplets a second")
