"""The training loop beside a bare one, and in-batch triplets beside three forward passes a triplet, in one run.

python bench/student.py    after `dvc repro`; writes bench/student.csv, bench/student_rates.csv and bench/student.png
python bench/student.py --model vit_base_patch16_224 --picture-size 224 --precision bfloat16 --device cuda \\
    --clusters 64 --pictures 8 --steps 1000 --peak-tflops 989 --out /tmp/vit_b

does the same for a timm model with random weights on a GPU; with --steps also that many steps without a pause, the last
tenth's time over the first's.

Bare: forward, backward and Adam step of the same model, batch and precision; loop and bare take turns, and the medians
are compared. The peak is what the maker names for dense products in the precision.
"""

import argparse
import copy
import dataclasses
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from alignet import config
from alignet.figures import style
from alignet.models import frozen
from alignet.models.backbones import autocast
from alignet.student import batches, jobs, network, training
from alignet.worlds.format import tables

STEPS, TURNS = 12, 3
DATA = config.folders(".")[0]
LABELS = DATA / "synthesis" / "alignet"


@dataclasses.dataclass(frozen=True)
class Bench:
    """What is timed: a backbone, how it is trained, and where."""

    backbone: config.Backbone
    settings: config.Student
    device: torch.device

    def create(self, settings: config.Student | None = None) -> network.Student:
        return network.create(self.backbone, settings or self.settings).to(self.device)

    def clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


class ThreeForwards:
    """The published recipe: each triplet brings its own three pictures, forwarded however often they came."""

    def __init__(self, triplets: np.ndarray, similarities: np.ndarray, n: int):
        self.triplets, self.similarities, self.n = triplets, similarities, n

    def at(self, step: int) -> batches.Batch:
        chosen = np.random.default_rng((0, step)).integers(len(self.triplets), size=self.n)
        places = torch.arange(3 * self.n).view(self.n, 3)
        similarities = torch.from_numpy(np.ascontiguousarray(self.similarities[chosen]))
        return batches.Batch(torch.from_numpy(self.triplets[chosen].ravel()), places, similarities)


def bare_step(bench: Bench, model: network.Student, optimiser: torch.optim.Optimizer, pictures: torch.Tensor) -> None:
    with autocast(bench.settings.precision, bench.device.type):
        loss = model(pictures)[1].square().mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def bare_seconds(bench: Bench, pictures: torch.Tensor) -> tuple[float, int]:
    """Seconds of a forward and backward pass and an Adam step, and nothing else; floating-point operations of one."""
    model, shown = bench.create(), pictures.to(bench.device)
    optimiser = torch.optim.Adam(network.trainable(model, bench.settings.frozen_layers), lr=0.0, fused=True)
    frozen.train_mode(model, bench.settings.frozen_batch_norm)
    with FlopCounterMode(display=False) as counted:
        bare_step(bench, model, optimiser, shown)
    start = bench.clock()
    for _ in range(STEPS):
        bare_step(bench, model, optimiser, shown)
    return (bench.clock() - start) / STEPS, counted.get_total_flops()


def loop_seconds(bench: Bench, feed: batches.Feed, held_out: batches.Batch, steps: int = STEPS) -> float:
    """Seconds of a step of student.fit, from two lengths of run, so that what comes before the first one cancels."""
    taken = []
    for length in (5, 5 + steps):
        chosen = dataclasses.replace(bench.settings, steps=length)
        model = bench.create(chosen)
        start = bench.clock()
        training.fit(model, feed, held_out, chosen)
        taken.append(bench.clock() - start)
    return (taken[1] - taken[0]) / steps


def step_times(bench: Bench, feed: batches.Feed, held_out: batches.Batch, settings: config.Student) -> pd.DataFrame:
    """A fit's curve with `began`, the seconds at which each step began, the clock standing still while it is scored."""
    seconds, stopped, watch = [], [], training._watch

    def timed(run, *arguments):
        seconds.append(bench.clock())
        found = watch(run, *arguments)
        stopped.append(bench.clock() - seconds[-1])
        return found

    training._watch = timed
    try:
        curve = training.fit(bench.create(settings), feed, held_out, settings)
    finally:
        training._watch = watch
    return curve.assign(seconds=np.array(seconds) - seconds[0] - np.concatenate([[0], np.cumsum(stopped)[:-1]]))


def accuracy_over_time(bench: Bench, feed: batches.Feed, held_out: batches.Batch, steps: int) -> pd.DataFrame:
    """Held-out triplet accuracy by seconds of training, a tenth of the steps at a time (the schedule runs through)."""
    tenth = max(1, steps // 10)
    chosen = dataclasses.replace(bench.settings, steps=steps, held_out_every=tenth, warmup_steps=tenth)
    return step_times(bench, feed, held_out, chosen).dropna(subset="held_out_accuracy")


def sources(bench: Bench, world: tables.World) -> tuple[dict[str, batches.Feed], dict[str, int]]:
    """A feed of the same number of pictures a step for each recipe, and its triplets a step."""
    pictures = bench.settings.batch_clusters * bench.settings.batch_pictures
    in_batch = batches.InBatch(*jobs.load_labels(LABELS, world), bench.settings)
    file = LABELS / f"train_{bench.settings.file_scheme}.npz"
    made = {"in-batch": in_batch}
    made["three forward passes"] = ThreeForwards(*jobs._release_triplets(file, world), pictures // 3)
    feed = batches.Feed(in_batch, world.paths(world.rows("synthesis")), bench.backbone.picture_size, 2, 10**10)
    feeds = {name: copy.copy(feed) for name in made}  # pictures are decoded once
    for name, source in made.items():
        feeds[name].source = source
    return feeds, {"in-batch": len(in_batch.triplets), "three forward passes": pictures // 3}


def rates(bench: Bench, feeds: dict, per_step: dict, held_out: batches.Batch, peak: float | None) -> pd.DataFrame:
    """Pictures and triplets a second of each recipe and of the bare loop, which take turns: medians over TURNS."""
    pictures = bench.settings.batch_clusters * bench.settings.batch_pictures
    shown, turns = feeds["in-batch"].cached[:pictures], []
    for _ in range(TURNS):
        bare, flops = bare_seconds(bench, shown)
        turns.append({"bare": bare} | {name: loop_seconds(bench, feed, held_out) for name, feed in feeds.items()})
    seconds = pd.DataFrame(turns).median()
    table = pd.DataFrame({"seconds": seconds, "pictures_per_second": pictures / seconds})
    table["share_of_bare"] = seconds["bare"] / seconds
    table["triplets_per_second"] = pd.Series(per_step) / seconds
    table["triplets_ratio"] = table["triplets_per_second"] / table["triplets_per_second"]["three forward passes"]
    table["tflops"] = flops / seconds / 1e12  # three forward passes forwards as many pictures
    if peak is not None:
        table["share_of_peak"] = table["tflops"] / peak
    if bench.device.type == "cuda":
        table["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return table.rename_axis("loop").reset_index()


def slow_down(bench: Bench, feed: batches.Feed, held_out: batches.Batch, steps: int) -> float:
    """Time of the last tenth of the steps over that of the first after ten."""
    curve = step_times(bench, feed, held_out, dataclasses.replace(bench.settings, steps=steps))
    began, tenth = curve["seconds"].to_numpy(), max(1, steps // 10)
    return (began[-1] - began[-1 - tenth]) / (began[10 + tenth] - began[10])


def chosen(wanted: argparse.Namespace) -> Bench:
    """The default run's lite0, or a timm model with random weights, on the device asked for."""
    if wanted.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "bench/student.py: no GPU is present (torch.cuda.is_available() is False); leave --device out for the CPU"
        )
    backbone, settings = config.load("backbones.lite0", config.Backbone), config.load("students.lite0", config.Student)
    if wanted.model is not None:
        backbone = dataclasses.replace(backbone, model=wanted.model, options={}, weights="random", layer="pooled")
        settings = dataclasses.replace(settings, frozen_layers=[])
    if wanted.picture_size is not None:
        backbone = dataclasses.replace(backbone, picture_size=wanted.picture_size)
    named = {"batch_clusters": wanted.clusters, "batch_pictures": wanted.pictures, "precision": wanted.precision}
    changes = {name: value for name, value in named.items() if value is not None}
    return Bench(backbone, dataclasses.replace(settings, held_out_every=10**6, **changes), torch.device(wanted.device))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", help="a timm model; without it the default run's lite0")
    parser.add_argument("--precision", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    for name in ("picture-size", "clusters", "pictures", "steps"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--peak-tflops", type=float)
    parser.add_argument("--seconds", type=float, default=40, help="of training, for accuracy over time")
    parser.add_argument("--only", choices=["rates", "accuracy"], help="accuracy: at the rates measured before")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(""))
    wanted = parser.parse_args()
    bench, world = chosen(wanted), jobs.labelled_world(DATA, config.PARAMS)
    feeds, per_step = sources(bench, world)
    few, held_out = (
        jobs.load_held_out(LABELS, world, dataclasses.replace(bench.settings, held_out_triplets=n)) for n in (20, 400)
    )
    table = wanted.out.with_name(wanted.out.name + "_rates.csv")
    if wanted.only != "accuracy":
        found = rates(bench, feeds, per_step, few, wanted.peak_tflops).assign(**described(bench))
        if wanted.steps is not None:
            found["slow_down"] = slow_down(bench, feeds["in-batch"], few, wanted.steps)
        print(found.round(3).T.to_string(header=False), flush=True)
        found.to_csv(table, index=False, float_format="%.4g")
    if wanted.only != "rates":
        taken = pd.read_csv(table).set_index("loop")["seconds"]
        runs = [
            accuracy_over_time(bench, feed, held_out, int(wanted.seconds / taken[name])).assign(recipe=name)
            for name, feed in feeds.items()
        ]
        draw(pd.concat(runs)[["recipe", "step", "seconds", "held_out_loss", "held_out_accuracy"]], wanted.out)


def described(bench: Bench) -> dict:
    device = torch.cuda.get_device_name() if bench.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    model = {"model": bench.backbone.model, "picture_size": bench.backbone.picture_size}
    return model | {"precision": bench.settings.precision, "device": device}


def draw(table: pd.DataFrame, path: Path) -> None:
    style.use()
    figure, ax = plt.subplots(figsize=(style.SINGLE, 0.7 * style.SINGLE), layout="constrained")
    for (name, run), marker in zip(table.groupby("recipe", sort=False), "os", strict=True):
        ax.plot(run["seconds"], run["held_out_accuracy"], marker=marker, markersize=3, label=name)
    ax.set(xlabel="Training time (s)", ylabel="Held-out agreement with the teacher")
    style.chance(ax)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 0.08))
    figure.savefig(path.with_suffix(".png"))
    table.to_csv(path.with_suffix(".csv"), index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
