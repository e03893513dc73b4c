"""A student's training on invented pictures and labels, with the default run's lite0 (bench/student.py: other models).

The loop, beside a bare one: forward, backward and Adam step of the same model and batch (the limit). Triplets a second
of in-batch triplets, beside the published way, three forward passes for each triplet. Training on the frozen
part's stored outputs, beside the whole network at each step, and beside torch's gradients of depthwise convolutions.
"""

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import torch

from alignet import config
from alignet.models import depthwise, frozen
from alignet.models.backbones import autocast
from alignet.student import batches, network, training
from bench.measure import Comparison, Timed, Way, alike

STEPS, AHEAD = 8, 2
CLUSTERS, EACH = 24, 20  # of the invented pictures


@dataclasses.dataclass(frozen=True)
class Bench:
    """What is timed: a backbone, how it is trained, and where; steps: of a call; pictures: (n, 3, size, size) uint8."""

    backbone: config.Backbone
    settings: config.Student
    device: torch.device
    steps: int = STEPS

    @property
    def pictures(self) -> torch.Tensor:
        shape = CLUSTERS * max(EACH, self.settings.batch_pictures), 3, *[self.backbone.picture_size] * 2
        return torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)

    @property
    def in_batch(self) -> batches.InBatch:
        n = CLUSTERS * max(EACH, self.settings.batch_pictures)
        representation = np.random.default_rng(0).standard_normal((n, 32), np.float32) / 6
        return batches.InBatch(representation, np.arange(n) % CLUSTERS, self.settings)

    def create(self) -> network.StudentNetwork:
        return network.create(self.backbone, self.settings).to(self.device)

    def clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


class ThreeForwards:
    """The published recipe: each triplet brings its own three pictures, forwarded however often they came."""

    def __init__(self, pictures: int, a_step: int):
        self.pictures, self.n = pictures, a_step

    def at(self, step: int) -> batches.Batch:
        generator = torch.Generator().manual_seed(step)
        chosen = torch.rand(self.n, self.pictures, generator=generator).topk(3).indices
        labels = torch.randn(self.n, 3, generator=generator)
        return batches.Batch(chosen.flatten(), torch.arange(3 * self.n).view(self.n, 3), labels)


class Clocked:
    """A source that notes when the batch of each step is asked for."""

    def __init__(self, source: batches.Source, clock: Callable[[], float]):
        self.source, self.clock, self.times = source, clock, []

    def at(self, step: int) -> batches.Batch:
        self.times.append(self.clock())
        return self.source.at(step)


def step_starts(
    bench: Bench, source: batches.Source, shown: torch.Tensor, model: network.StudentNetwork, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """When each of `steps` steps of student.training.fit began, and their losses, (steps,) each.

    Args: shown: pictures, or what a frozen part gives for them, in memory.
    """
    clocked = Clocked(source, bench.clock)
    watched = batches.Batch(torch.arange(3), torch.arange(3)[None], torch.zeros(1, 3))
    settings = dataclasses.replace(bench.settings, steps=steps, held_out_every=10**6)
    curve = training.fit(model, batches.Feed(clocked, [], 0, 0, 0, shown), watched, settings)
    return np.array(clocked.times), curve["loss"].to_numpy()[:steps]


def loop(bench: Bench, source: batches.Source, shown: torch.Tensor, model: network.StudentNetwork) -> Timed:
    """The losses and the seconds of `bench.steps` steps, after the first ones."""
    times, losses = step_starts(bench, source, shown, model, AHEAD + bench.steps + 1)
    return Timed(losses, times[-1] - times[AHEAD])


def bare(bench: Bench, pictures: torch.Tensor) -> Timed:
    """Forward and backward passes and Adam steps, and nothing else."""
    model, shown = bench.create(), pictures[: batch_size(bench.settings)].to(bench.device)
    depthwise.speed_up(model.embedder.model)
    optimiser = torch.optim.Adam(network.trainable(model, bench.settings.frozen_layers), lr=0.0, fused=True)
    frozen.train_mode(model, bench.settings.frozen_batch_norm)
    for step in range(AHEAD + bench.steps):
        if step == AHEAD:
            start = bench.clock()
        bare_step(bench, model, optimiser, shown)
    return Timed(None, bench.clock() - start)


def bare_step(
    bench: Bench, model: network.StudentNetwork, optimiser: torch.optim.Optimizer, shown: torch.Tensor
) -> None:
    with autocast(bench.settings.precision, bench.device.type):
        loss = model(shown)[1].square().mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def batch_size(settings: config.Student) -> int:
    return settings.batch_clusters * settings.batch_pictures


def whole_network(bench: Bench, turns: int) -> Iterator[Comparison]:
    """The loop beside a bare one, and in-batch triplets beside three forward passes a triplet."""
    pictures, source, size = bench.pictures, bench.in_batch, batch_size(bench.settings)
    three = ThreeForwards(len(pictures), size // 3)
    model = f"{bench.backbone.model}, {bench.settings.precision}"

    def run(of: batches.Source) -> Timed:
        return loop(bench, of, pictures, bench.create())

    ours, other = Way("alignet.student", lambda: run(source)), Way("bare loop", lambda: bare(bench, pictures))
    yield Comparison(f"training step, {model}", "limit", ours, other, turns=turns)
    ours = Way("alignet.student.batches.InBatch", lambda: run(source), len(source.triplets))
    other = Way("three forward passes a triplet", lambda: run(three), size // 3)
    note = f"triplets a second, {size} pictures a step"
    yield Comparison(f"cluster-border triplets trained on, {model}", "naive", ours, other, None, turns, note)


def frozen_part(bench: Bench, turns: int) -> Iterator[Comparison]:
    """Stored outputs of the frozen part beside the whole network, and beside torch's depthwise gradients."""
    pictures, source = bench.pictures, bench.in_batch
    model = bench.create()
    network.split(model, bench.settings, bench.backbone.picture_size)
    with torch.no_grad():
        outputs = torch.cat([model.split.before(part.to(bench.device)).cpu() for part in pictures.split(64)])

    def run(shown: torch.Tensor) -> Timed:
        return loop(bench, source, shown, copy.deepcopy(model))

    def plain() -> Timed:
        with mock.patch.object(depthwise, "speed_up"):
            return run(outputs)

    task, note = f"training step, {bench.backbone.model}, frozen part stored", "agreement of the losses"
    ours = Way("alignet.models.frozen", lambda: run(outputs))
    other = Way("the whole network at each step", lambda: run(pictures))
    yield Comparison(task, "naive", ours, other, alike(1e-2), turns, note)
    ours, other = Way("alignet.models.depthwise", lambda: run(outputs)), Way("torch's depthwise gradients", plain)
    yield Comparison(task, "naive", ours, other, alike(1e-2), turns, note)


def comparisons(scale: float = 1) -> Iterator[Comparison]:
    backbone, settings = config.load("backbones.lite0", config.Backbone), config.load("students.lite0", config.Student)
    clusters = max(3, int(settings.batch_clusters * min(scale, 1)))
    settings = dataclasses.replace(settings, scheme="cluster_border", batch_clusters=clusters)
    bench = Bench(backbone, settings, torch.device("cpu"), max(1, int(STEPS * min(scale, 1))))
    yield from whole_network(bench, turns=4)
    yield from frozen_part(bench, turns=3)
