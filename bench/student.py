"""The training loop beside a bare one, and in-batch triplets beside three forward passes a triplet, in one run.

python bench/student.py [seconds]    after `dvc repro`; writes bench/student.csv and bench/student.png
"""

import dataclasses
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from alignet import batches, config, student
from alignet.backbones import autocast
from alignet.figures import style
from alignet.worlds import tables

STEPS = 25
DATA = config.folders(".")[0]
LABELS = DATA / "synthesis" / "alignet"
BACKBONE = config.load("backbones.lite0", config.Backbone)
SETTINGS = config.load("students.lite0", config.Student)
SETTINGS = dataclasses.replace(SETTINGS, held_out_every=10**6)


class ThreeForwards:
    """The published recipe: each triplet brings its own three pictures, forwarded however often they came."""

    def __init__(self, triplets: np.ndarray, similarities: np.ndarray, n: int):
        self.triplets, self.similarities, self.n = triplets, similarities, n

    def at(self, step: int) -> batches.Batch:
        chosen = np.random.default_rng((0, step)).integers(len(self.triplets), size=self.n)
        places = torch.arange(3 * self.n).view(self.n, 3)
        similarities = torch.from_numpy(np.ascontiguousarray(self.similarities[chosen]))
        return batches.Batch(torch.from_numpy(self.triplets[chosen].ravel()), places, similarities)


def bare_seconds(model: student.Student, pictures: torch.Tensor) -> float:
    """Seconds of a forward and backward pass and an Adam step, and nothing else."""
    optimiser = torch.optim.Adam(student.trainable(model, SETTINGS.frozen_layers), lr=0.0, fused=True)
    student.train_mode(model, SETTINGS.frozen_batch_norm)
    start = time.perf_counter()
    for _ in range(STEPS):
        with autocast(SETTINGS.precision):
            loss = model(pictures)[1].square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return (time.perf_counter() - start) / STEPS


def loop_seconds(feed: batches.Feed, held_out: batches.Batch) -> float:
    """Seconds of a step of student.fit, from two lengths of run, so that what comes before the first one cancels."""
    taken = []
    for steps in (5, 5 + STEPS):
        chosen = dataclasses.replace(SETTINGS, steps=steps)
        model = student.create(BACKBONE, chosen)
        start = time.perf_counter()
        student.fit(model, feed, held_out, chosen)
        taken.append(time.perf_counter() - start)
    return (taken[1] - taken[0]) / STEPS


def accuracy_over_time(name: str, feed: batches.Feed, held_out: batches.Batch, steps: int) -> pd.DataFrame:
    """Held-out triplet accuracy by seconds of training, a tenth of the steps at a time (the schedule runs through)."""
    chosen = dataclasses.replace(SETTINGS, steps=steps, held_out_every=max(1, steps // 10), warmup_steps=steps // 10)
    seconds, watch = [], student._watch

    def timed(run, *arguments):
        seconds.append(time.perf_counter())
        found = watch(run, *arguments)
        stopped.append(time.perf_counter() - seconds[-1])
        return found

    stopped: list[float] = []
    student._watch = timed  # the clock stands still while held-out triplets are scored
    try:
        curve = student.fit(student.create(BACKBONE, chosen), feed, held_out, chosen)
    finally:
        student._watch = watch
    elapsed = np.array(seconds) - seconds[0] - np.concatenate([[0], np.cumsum(stopped)[:-1]])
    return curve.assign(recipe=name, seconds=elapsed).dropna(subset="held_out_accuracy")


def main(budget: float) -> None:
    world = tables.read(DATA / "world")
    paths = world.paths(world.rows("synthesis"))
    in_batch = batches.InBatch(*student.load_labels(LABELS, world), SETTINGS)
    pictures = SETTINGS.batch_clusters * SETTINGS.batch_pictures
    of_file = ThreeForwards(
        *student._release_triplets(LABELS / f"train_{SETTINGS.file_scheme}.npz", world), pictures // 3
    )
    feeds = {"in-batch": batches.Feed(in_batch, paths, BACKBONE.picture_size, 2, 10**10)}
    feeds["three forward passes"] = batches.Feed(of_file, paths, BACKBONE.picture_size, 2, 10**10)
    held_out = student.load_held_out(LABELS, world, dataclasses.replace(SETTINGS, held_out_triplets=500))
    bare = bare_seconds(student.create(BACKBONE, SETTINGS), feeds["in-batch"].cached[:pictures])
    seconds = {name: loop_seconds(feed, held_out) for name, feed in feeds.items()}
    per_step = {"in-batch": len(in_batch.triplets), "three forward passes": pictures // 3}
    print(f"{torch.get_num_threads()} threads, {BACKBONE.model}, {BACKBONE.picture_size} px, {SETTINGS.precision}")
    print(f"bare loop                  {pictures / bare:8.0f} pictures/s")
    for name, taken in seconds.items():
        line = (
            f"{pictures / taken:8.0f} pictures/s ({bare / taken:.2f} of bare) {per_step[name] / taken:9.0f} triplets/s"
        )
        print(f"{name:26s} {line}")
    rate = {name: per_step[name] / taken for name, taken in seconds.items()}
    print(f"in-batch scores {rate['in-batch'] / rate['three forward passes']:.0f} times as many triplets a second")
    runs = [accuracy_over_time(name, feeds[name], held_out, int(budget / taken)) for name, taken in seconds.items()]
    table = pd.concat(runs)[["recipe", "step", "seconds", "held_out_loss", "held_out_accuracy"]]
    draw(table, Path(__file__).with_name("student"))


def draw(table: pd.DataFrame, path: Path) -> None:
    style.use()
    figure, ax = plt.subplots(figsize=(style.SINGLE, 0.7 * style.SINGLE), layout="constrained")
    for (name, run), marker in zip(table.groupby("recipe", sort=False), "os", strict=True):
        ax.plot(run["seconds"], run["held_out_accuracy"], marker=marker, markersize=3, label=name)
    ax.set(xlabel="Training time (s)", ylabel="Held-out agreement with the teacher")
    ax.axhline(1 / 3, color="0.4", linestyle=":")
    ax.legend()
    figure.savefig(path.with_suffix(".png"))
    table.to_csv(path.with_suffix(".csv"), index=False, float_format="%.5g")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60)
