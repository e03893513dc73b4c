"""A student killed (SIGKILL) at random moments inside its training steps, then resumed: are its final weights the same?

python bench/resume.py [kills [table.csv]]    ten kills and bench/resume.csv if nothing is said; about a minute

Each kill is of a run of its own: a small ViT with dropout on invented pictures, a checkpoint every third step. Once the
run is in the step that was drawn, it is killed after a random part of a step's time.
"""

import dataclasses
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from alignet import config
from alignet.student import batches, network, training

STEPS, EVERY = 40, 3
BACKBONE = config.Backbone(
    model="vit_tiny_patch16_224",
    options={"img_size": 32, "depth": 2, "patch_size": 8, "proj_drop_rate": 0.1, "drop_path_rate": 0.1},
    weights="random",
    layer="pooled",
    picture_size=32,
    seed=0,
)
CHANGES = {"steps": STEPS, "warmup_steps": 5, "batch_clusters": 4, "batch_pictures": 8, "checkpoint_every": EVERY}
CHANGES |= {"precision": "float32", "frozen_layers": [], "head_width": 16, "held_out_every": 10, "source": "in_batch"}


def pictures(folder: Path) -> list[Path]:
    """64 pictures of noise in four colours, 16 each."""
    generator = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(64)]
    for number, path in enumerate(paths):
        noise = generator.integers(0, 100, (32, 32, 3)) + 150 * np.eye(4, 3)[number // 16]
        Image.fromarray(noise.astype(np.uint8)).save(path)
    return paths


def learn(folder: Path, paths: list[Path], place) -> None:
    """Fit the student, from its checkpoint if there is one. place: step, 1 inside its update, and runs' step times."""
    torch.set_num_threads(1)
    settings = dataclasses.replace(config.load("students.vit", config.Student, "params/smoke.yaml"), **CHANGES)
    clusters = np.arange(64) // 16
    teacher = 2 * np.eye(4, dtype=np.float32)[clusters]
    held_out = batches.batch_of(np.array([[0, 1, 16], [17, 18, 40]]), np.array([[0, 0, 4], [0, 0, 4.0]]), np.arange(2))
    model, update = network.create(BACKBONE, settings), training._update

    def watched(run, *arguments):
        place[:2] = [run.step, 1]
        start = time.perf_counter()
        found = update(run, *arguments)
        place[1:] = [0, time.perf_counter() - start]
        return found

    training._update = watched
    feed = batches.Feed(batches.InBatch(teacher, clusters, settings), paths, 32, 0, 10**8)
    training.fit(model, feed, held_out, settings, folder / "run.pt", "bench")
    torch.save(model.state_dict(), folder / "weights.pt")


def killed_at(context, folder: Path, paths: list[Path], step: int, part: float) -> dict:
    """Start a run, kill it `part` of a step's time after it began `step`, and resume it."""
    folder.mkdir()
    place = context.Array("d", [-1, 0, 0.01], lock=False)
    run = context.Process(target=learn, args=(folder, paths, place))
    run.start()
    while place[0] < step and run.is_alive():
        time.sleep(0.0001)
    time.sleep(part * place[2])
    run.kill()  # SIGKILL
    run.join()
    assert run.exitcode == -9, f"the run ended ({run.exitcode}) before it was killed"
    row = {"step": int(place[0]), "inside_update": bool(place[1]), "cut_file": (folder / "run.partial").exists()}
    saved = torch.load(folder / "run.pt", weights_only=True)["step"] if (folder / "run.pt").exists() else 0
    resume(context, folder, paths)
    return row | {"resumed_from": saved}


def resume(context, folder: Path, paths: list[Path]) -> None:
    run = context.Process(target=learn, args=(folder, paths, context.Array("d", 3, lock=False)))
    run.start()
    run.join()
    assert run.exitcode == 0, f"the run failed ({run.exitcode})"


def main(kills: int, table: Path) -> None:
    context, generator = multiprocessing.get_context("forkserver"), np.random.default_rng()
    os.environ["OMP_NUM_THREADS"] = "1"
    context.set_forkserver_preload(["alignet.student", "torch._dynamo"])  # imported once, not in every run
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths, rows = pictures(folder), []
        (folder / "whole").mkdir()
        resume(context, folder / "whole", paths)  # there is nothing to resume: the run that nobody kills
        expected = torch.load(folder / "whole" / "weights.pt", weights_only=True)
        for number in range(kills):
            step, part = int(generator.integers(1, STEPS - 1)), generator.random()
            row = killed_at(context, folder / str(number), paths, step, part)
            found = torch.load(folder / str(number) / "weights.pt", weights_only=True)
            same = all(torch.equal(found[key], expected[key]) for key in expected)
            rows.append({"kill": number} | row | {"weights_equal": same})
    found = pd.DataFrame(rows)
    print(found.to_string(index=False))
    inside, same = found["inside_update"].sum(), found["weights_equal"].sum()
    print(f"{kills} kills, {inside} inside an update; final weights equal bit for bit after {same}")
    found.to_csv(table, index=False)
    sys.exit(0 if same == kills else 1)


if __name__ == "__main__":
    wanted = sys.argv[1:]
    main(int(wanted[0]) if wanted else 10, Path(wanted[1]) if wanted[1:] else Path(__file__).with_suffix(".csv"))
