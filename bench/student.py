"""A student's training with other models or on a GPU, and its accuracy over time: python -m bench.student

python -m bench.student rates --model vit_base_patch16_224 --picture-size 224 --precision bfloat16 --device cuda \\
    --clusters 64 --pictures 8 --steps 1000 --peak-tflops 989 --out /tmp/vit_b

writes OUT_rates.csv: what bench/tasks/student.py compares, for a timm model with random weights and invented pictures
in memory; with --steps also that many steps without a pause, the last tenth's time over the first's. The peak is what
the maker names for dense products in the precision. bench/student_vit_b_h200.csv is from an earlier form of this.

python -m bench.student accuracy    after `make repro`; bench/student.csv and bench/student.png

is the held-out agreement with the teacher by training time, of in-batch triplets and of three forward passes a triplet.
"""

import argparse
import copy
import dataclasses
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from alignet import config
from alignet.figures import style
from alignet.student import batches, jobs, network, training
from alignet.worlds.format import tables
from bench.measure import measured
from bench.tasks.student import Bench, bare_step, batch_size, step_starts, whole_network

DATA = config.folders(".")[0]
LABELS = DATA / "synthesis" / "alignet"


def rates(bench: Bench, peak: float | None, steps: int | None) -> pd.DataFrame:
    """The rows of `whole_network`, with rates of our loop."""
    table = pd.DataFrame([measured(comparison) for comparison in whole_network(bench, turns=3)])
    seconds = table["ours_s"] / bench.steps
    table["pictures_per_second"] = batch_size(bench.settings) / seconds
    table["tflops"] = operations(bench) / seconds / 1e12
    table["share_of_peak"] = table["tflops"] / peak if peak else float("nan")
    if bench.device.type == "cuda":
        table["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    table["slow_down"] = slow_down(bench, steps) if steps else float("nan")
    device = torch.cuda.get_device_name() if bench.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return table.assign(picture_size=bench.backbone.picture_size, device=device)


def operations(bench: Bench) -> int:
    """Floating-point operations of a bare step."""
    model = bench.create()
    optimiser = torch.optim.Adam(network.trainable(model, bench.settings.frozen_layers), lr=0.0, fused=True)
    with FlopCounterMode(display=False) as counted:
        bare_step(bench, model, optimiser, bench.pictures[: batch_size(bench.settings)].to(bench.device))
    return counted.get_total_flops()


def slow_down(bench: Bench, steps: int) -> float:
    """Time of the last tenth of the steps over that of the first after ten."""
    began, _ = step_starts(bench, bench.in_batch, bench.pictures, bench.create(), steps)
    tenth = max(1, steps // 10)
    return (began[-1] - began[-1 - tenth]) / (began[10 + tenth] - began[10])


def chosen(wanted: argparse.Namespace) -> Bench:
    """The default run's lite0, or a timm model with random weights, on the device asked for."""
    if wanted.device == "cuda" and not torch.cuda.is_available():
        sys.exit("bench/student.py: no GPU (torch.cuda.is_available() is False); leave --device out for the CPU")
    backbone, settings = config.load("backbones.lite0", config.Backbone), config.load("students.lite0", config.Student)
    if wanted.model is not None:
        backbone = dataclasses.replace(backbone, model=wanted.model, options={}, weights="random", layer="pooled")
        settings = dataclasses.replace(settings, frozen_layers=[])
    if wanted.picture_size is not None:
        backbone = dataclasses.replace(backbone, picture_size=wanted.picture_size)
    named = {"batch_clusters": wanted.clusters, "batch_pictures": wanted.pictures, "precision": wanted.precision}
    changes = {name: value for name, value in named.items() if value is not None}
    settings = dataclasses.replace(settings, scheme="cluster_border", **changes)
    return Bench(backbone, settings, torch.device(wanted.device), steps=12)


class FileForwards:
    """Three forward passes for each triplet of the run's release file, as many pictures a step as in a batch."""

    def __init__(self, triplets: np.ndarray, similarities: np.ndarray, n: int):
        self.triplets, self.similarities, self.n = triplets, similarities, n

    def at(self, step: int) -> batches.Batch:
        drawn = np.random.default_rng((0, step)).integers(len(self.triplets), size=self.n)
        places = torch.arange(3 * self.n).view(self.n, 3)
        similarities = torch.from_numpy(np.ascontiguousarray(self.similarities[drawn]))
        return batches.Batch(torch.from_numpy(self.triplets[drawn].ravel()), places, similarities)


def accuracy_over_time(bench: Bench, steps: int) -> pd.DataFrame:
    """Held-out triplet accuracy by seconds of training, a tenth of the steps at a time, with the labels of the run."""
    world, tenth = tables.read(DATA / "world").to_label(config.value("synthesis.styles")), max(1, steps // 10)
    settings = dataclasses.replace(
        bench.settings, steps=steps, held_out_every=tenth, warmup_steps=tenth, held_out_triplets=400
    )
    in_batch = batches.InBatch(*jobs.load_labels(LABELS, world), settings)
    fed = batches.Feed(in_batch, world.paths(world.rows("synthesis")), bench.backbone.picture_size, 2, 10**10)
    file = jobs._release_triplets(LABELS / f"train_{settings.file_scheme}.npz", world)
    found = []
    three = FileForwards(*file, batch_size(settings) // 3)
    for name, source in {"in-batch": in_batch, "three forward passes": three}.items():
        same = copy.copy(fed)  # pictures are decoded once
        same.source = source
        curve = step_times(bench, same, jobs.load_held_out(LABELS, world, settings), settings)
        found.append(curve.dropna(subset="held_out_accuracy").assign(recipe=name))
    return pd.concat(found)[["recipe", "step", "seconds", "held_out_loss", "held_out_accuracy"]]


def step_times(bench: Bench, feed: batches.Feed, held_out: batches.Batch, settings: config.Student) -> pd.DataFrame:
    """A fit's curve with the seconds at which each step began, the clock standing still while it is scored."""
    seconds, stopped, watch = [], [], training._watch

    def timed(run, *arguments):
        seconds.append(bench.clock())
        found = watch(run, *arguments)
        stopped.append(bench.clock() - seconds[-1])
        return found

    training._watch = timed
    try:
        curve = training.fit(bench.create(), feed, held_out, settings)
    finally:
        training._watch = watch
    return curve.assign(seconds=np.array(seconds) - seconds[0] - np.concatenate([[0], np.cumsum(stopped)[:-1]]))


def draw(table: pd.DataFrame, path: Path) -> None:
    style.use()
    figure, ax = plt.subplots(figsize=(style.SINGLE, 0.7 * style.SINGLE), layout="constrained")
    for (name, run), marker in zip(table.groupby("recipe", sort=False), "os", strict=True):
        ax.plot(run["seconds"], run["held_out_accuracy"], marker=marker, markersize=3, label=name)
    ax.set(xlabel="Training time (s)", ylabel="Held-out agreement with the teacher")
    style.chance(ax)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 0.08))
    figure.savefig(path.with_suffix(".png"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["rates", "accuracy"])
    parser.add_argument("--model", help="a timm model; without it the default run's lite0")
    parser.add_argument("--precision", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    for name in ("picture-size", "clusters", "pictures", "steps"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--peak-tflops", type=float)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(""))
    wanted = parser.parse_args()
    bench, table = chosen(wanted), wanted.out.with_suffix(".csv")
    if wanted.what == "rates":
        found = rates(bench, wanted.peak_tflops, wanted.steps)
        print(found.round(3).T.to_string(header=False))
        table = wanted.out.with_name(wanted.out.name + "_rates.csv")
    else:
        found = accuracy_over_time(bench, wanted.steps or 107)
        draw(found, wanted.out)
    found.to_csv(table, index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
