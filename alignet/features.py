"""Features of a world's pictures: one backbone, in this process or in several that share the pictures.

Several devices: torchrun --nproc-per-node N -m alignet.features --backbone NAME
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from alignet import backbones, config, devices, frozen
from alignet.backbones import Embedder
from alignet.worlds import pictures, tables
from alignet.worlds.tables import SPLITS, World


@dataclass(frozen=True)
class Job:
    """Which backbone of params.yaml to run over the world, and where."""

    backbone: str
    params_file: str
    out_dir: str


def needed(world: World, backbone: str, params_file: str) -> Tensor:
    """Rows of images.csv, (n,) ascending, whose features later stages read.

    The teacher's backbone: pictures that people judged, and the synthesis split; that of the signal check: the
    synthesis split; a student's, for its base: the test split; one that no stage reads: all.
    """
    wanted = []
    if backbone == config.value("teacher.backbone", params_file):
        wanted += [world.judgements(world.triplets)[0].flatten(), world.rows("synthesis")]
    if backbone == config.value("synthesis.signal_backbone", params_file):
        wanted.append(world.rows("synthesis"))
    if backbone in config.names("students", params_file):
        wanted.append(world.rows("test"))
    return torch.cat(wanted).unique() if wanted else torch.arange(len(world.images))


def run(job: Job) -> Tensor:
    """Extract and save the features of the pictures that are `needed`, in features.devices processes.

    Returns: (n_images, dim), in the order of images.csv; NaN for pictures that are not needed.
    """
    count = config.load("features", config.Features, job.params_file).devices
    if count > 1:
        devices.launch("alignet.features", [f"--{name}={value}" for name, value in vars(job).items()], count)
    else:
        extract(job)
    return load(job, tables.read(config.folders(job.out_dir)[0] / "world"))


def load(job: Job, world: World) -> Tensor:
    """The saved features of the pictures that are `needed`: (n_images, dim), NaN for all others."""
    folder = config.folders(job.out_dir)[0] / "features" / job.backbone
    return backbones.load_features(folder, world.images["image"], needed(world, job.backbone, job.params_file))


def extract(job: Job) -> None:
    """Each process embeds its share of the pictures; the first one joins the shares.

    The shares are files beside the result, so processes on several machines need a folder that they all see.
    """
    settings = config.load("features", config.Features, job.params_file)
    model = config.load(f"backbones.{job.backbone}", config.Backbone, job.params_file)
    data = config.folders(job.out_dir)[0]
    folder, world = data / "features" / job.backbone, tables.read(data / "world")
    rows, embedder = needed(world, job.backbone, job.params_file), backbones.create(model).to(devices.local())
    if devices.count() == 1 and job.backbone in config.names("students", job.params_file) and model.layer == "pooled":
        features = _in_two_parts(job, embedder, world, rows)
    else:
        mine = world.paths(devices.part(rows, devices.rank(), devices.count()))
        shown = pictures.batches(mine, model.picture_size, settings.batch_size, settings.workers)
        embedder = backbones.folded(embedder, model.layer, model.picture_size)
        features = backbones.features(embedder, shown, model.layer, settings.precision, job.backbone)
    if devices.count() > 1:
        features = _joined(folder, features, len(rows))
    if devices.rank() == 0:
        backbones.save_features(folder, features, world.images["image"].iloc[rows.tolist()])


def _in_two_parts(job: Job, embedder: Embedder, world: World, rows: Tensor) -> Tensor:
    """A student's base, on from its frozen part's outputs, which stay stored for the student's own stages."""
    settings = config.load("features", config.Features, job.params_file)
    size = config.load(f"backbones.{job.backbone}", config.Backbone, job.params_file).picture_size
    part = frozen.of_student(embedder, config.load(f"students.{job.backbone}", config.Student, job.params_file), size)
    store, found = config.folders(job.out_dir)[0] / frozen.FOLDER, torch.empty(len(rows), embedder.dim)
    for split in SPLITS:
        chosen = torch.isin(rows, world.rows(split))
        paths, outputs = world.paths(rows[chosen]), None
        if part is not None and split != "human" and paths:
            outputs = frozen.outputs(part, paths, size, settings.precision, settings, store)
        if outputs is not None:
            shown, rest = outputs.split(settings.batch_size), part.after
            part.rest.eval()
        else:
            shown, rest = pictures.batches(paths, size, settings.batch_size, settings.workers), embedder.eval()
        if paths:
            label = f"{job.backbone}, {split} pictures"
            found[chosen] = backbones.outputs(rest, shown, settings.precision, embedder.mean.device, label)
    return found


def _joined(folder: Path, share: Tensor, n: int) -> Tensor:
    """All shares in order, in the first process; the others' own."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"share_{rank}.npy" for rank in range(devices.count())]
    np.save(files[devices.rank()], share.numpy())
    dist.barrier()
    if devices.rank() > 0:
        return share
    joined = torch.cat([torch.from_numpy(np.load(file)) for file in files])[:n]
    for file in files:
        file.unlink()
    return joined


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m alignet.features", description=__doc__)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--params_file", default="params.yaml")
    parser.add_argument("--out_dir", default=".")
    with devices.process_group():
        extract(Job(**vars(parser.parse_args(arguments))))


if __name__ == "__main__":
    main()
