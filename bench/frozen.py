"""A student's training with its frozen part run once a picture, and without, in one run.

python bench/frozen.py    after `make repro`; writes bench/frozen.csv; three minutes on two cores

Both fits have the settings of params.yaml, the same batches and the labels of the default run. A third way has neither
the stored outputs nor the gradient of alignet/depthwise.py. Steps are timed in turns, medians compared; then the first
two fits are run to their end.
"""

import statistics
import time
from pathlib import Path

import pandas as pd
import torch

from alignet import config
from alignet.models import depthwise, frozen
from alignet.student import jobs, network, training
from alignet.student.batches import Feed

NAME, TARGET, STEPS, TURNS = "lite0", "alignet", 4, 3
DATA = config.folders(".")[0]


def prepared(kept: bool) -> tuple[network.Student, Feed]:
    settings = config.load(f"students.{NAME}", config.Student)
    backbone = config.load(f"backbones.{NAME}", config.Backbone)
    reading, world = config.load("features", config.Features), jobs.labelled_world(DATA, config.PARAMS)
    model, paths = network.create(backbone, settings), world.paths(world.rows("synthesis"))
    size, outputs = backbone.picture_size, None
    part = network.split(model, settings, size)
    if kept:
        outputs = frozen.outputs(part, paths, size, settings.precision, reading, DATA / frozen.FOLDER)
    source = jobs.load_source(DATA / "synthesis" / TARGET, world, settings)
    return model, Feed(source, paths, size, reading.workers, reading.cache_bytes, outputs)


def step_seconds(model: network.Student, feed: Feed) -> list[float]:
    """Of each of STEPS forward and backward passes and Adam steps, after one untimed."""
    settings, seconds = config.load(f"students.{NAME}", config.Student), []
    run = training.Run(model, settings)
    frozen.train_mode(model, settings.frozen_batch_norm)
    for shown, batch in feed.steps(0, STEPS + 1):
        start = time.perf_counter()
        training._update(run, shown, batch)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def main() -> None:
    settings, speed_up = config.load(f"students.{NAME}", config.Student), depthwise.speed_up
    held_out = jobs.load_held_out(DATA / "synthesis" / TARGET, jobs.labelled_world(DATA, config.PARAMS), settings)
    ways = {"stored outputs": prepared(True), "whole network": prepared(False)}
    depthwise.speed_up = lambda model: None
    ways["whole network, torch's gradients"] = prepared(False)
    depthwise.speed_up = speed_up
    states = {way: {k: v.clone() for k, v in model.state_dict().items()} for way, (model, _) in ways.items()}
    seconds = {way: [] for way in ways}
    for _ in range(TURNS):
        for way, (model, feed) in ways.items():
            seconds[way] += step_seconds(model, feed)
    rows = []
    for way, (model, feed) in ways.items():
        row = {"way": way, "seconds_a_step": statistics.median(seconds[way])}
        if not way.endswith("gradients"):
            model.load_state_dict(states[way])
            curve = training.fit(model, feed, held_out, settings).dropna(subset="held_out_loss")
            row |= {"steps": settings.steps, "held_out_loss": curve["held_out_loss"].iloc[-1]}
            row |= {"held_out_accuracy": curve["held_out_accuracy"].iloc[-1]}
        rows.append(row)
    table = pd.DataFrame(rows)
    table["times_stored"] = table["seconds_a_step"] / table["seconds_a_step"].iloc[0]
    table.round(4).to_csv(Path(__file__).with_suffix(".csv"), index=False)
    print(table.round(4).to_string(index=False), f"\n{torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
