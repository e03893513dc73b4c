"""Fitting and saving one student from its labels and pictures, in one process or in several."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from safetensors.torch import save_file
from torch import Tensor

from alignet import config, devices, results
from alignet.config import Backbone
from alignet.models import frozen
from alignet.student.batches import Batch, Feed, FromFile, InBatch, batch_of
from alignet.student.network import StudentNetwork, create, own_tensors, represent, split
from alignet.student.training import fit
from alignet.synthesis import triplet_files
from alignet.worlds.format import pictures, tables
from alignet.worlds.format.tables import World

READ = ("world", "synthesis")  # parts of data/ that a student is fitted from
PIECE = 4096  # bytes of a file that are looked at together


@config.settings
class Job:
    """A job: the student to fit, its target, the settings, and the folders."""

    name: str  # of the student in params.yaml
    target: str  # one of run.targets
    settings: config.Student
    backbone: Backbone
    reading: config.Features
    styles: Literal["judged", "all"]  # of the pictures that the labels are of: as in `World.labelled`
    data: Path  # the run's folder, with world/ and synthesis/ in it


def folder(out_dir: str) -> Path:
    """The data folder of `out_dir`, which a student is fitted in.

    Where it has no world, what a student reads of the project's own run (READ) is linked into it, and the stored
    outputs of frozen parts one by one, so that one student can be tried with other settings in an empty folder. Stages
    that would write through these links refuse to (`config.own`).
    """
    data, own = config.folders(out_dir)[0], config.folders(".")[0]
    if not (data / "world").exists() and (own / "world").is_dir():
        data.mkdir(parents=True, exist_ok=True)
        linked = [name for name in READ if (own / name).is_dir() and not (data / name).exists()]
        print(f"{data}: links to {', '.join(linked)} of {own}, which it has not itself")
        for name in linked:
            place = data / name
            if place.is_symlink():  # to where the run lay before it was moved
                place.unlink(missing_ok=True)
            with contextlib.suppress(FileExistsError):  # linked by another student of the folder
                place.symlink_to((own / name).resolve(), target_is_directory=True)
        frozen.share(own / frozen.FOLDER, data / frozen.FOLDER)
    return data


def run(job: Job) -> pd.DataFrame:
    """Fit and save a student in this process or, if settings.devices > 1, in that many; return its training curve."""
    if job.settings.devices > 1:
        devices.launch("alignet.student", job, job.settings.devices)
    else:
        train(job)
    return pd.read_csv(job.data / "students" / job.name / job.target / "curve.csv")


def train(job: Job) -> None:
    """Fit a student in the processes that torchrun has started, or in this one; the first process saves it.

    A run that was killed resumes from a checkpoint under data/checkpoints/, which is removed at the end.
    """
    settings, backbone, reading = job.settings, job.backbone, job.reading
    if backbone.layer != "pooled":
        raise ValueError(
            f"backbones.{job.name}.layer is {backbone.layer!r}, and a student is trained and scored at 'pooled': give "
            "the teacher a backbone of its own"
        )
    world, labels = tables.read(job.data / "world").to_label(job.styles), job.data / "synthesis" / job.target
    student = create(backbone, settings).to(devices.local())
    part, size = split(student, settings, backbone.picture_size), backbone.picture_size
    paths = {"synthesis": world.paths(world.rows("synthesis")), "scored": world.paths(world.scored_rows())}
    outputs = dict.fromkeys(paths)
    if part is not None:
        store = job.data / frozen.FOLDER
        outputs = {rows: frozen.outputs(part, paths[rows], size, settings.precision, reading, store) for rows in paths}
    source = load_source(labels, world, settings)
    feed = Feed(source, paths["synthesis"], size, reading.workers, reading.cache_bytes, outputs["synthesis"])
    checkpoint = job.data / "checkpoints" / job.name / f"{job.target}.pt"
    work = _work(labels, settings, backbone)
    curve = fit(student, feed, load_held_out(labels, world, settings), settings, checkpoint, work)
    if devices.rank() == 0:
        scored = pictures.batches(paths["scored"], size, reading.batch_size, reading.workers)
        if outputs["scored"] is not None:
            scored = outputs["scored"].split(reading.batch_size)
        names = {"student": job.name, "target": job.target}
        save(job.data / "students" / job.name / job.target, student, curve.assign(**names), scored, settings)
        checkpoint.unlink(missing_ok=True)


def load_labels(folder: Path, world: World) -> tuple[np.ndarray, np.ndarray]:
    """A target's representation (n, p), memory-mapped, and clusters (n,) of the synthesis split's pictures.

    Raises: ValueError if their numbers of pictures differ from that of the split.
    """
    representation = np.load(folder / "representation.npy", mmap_mode="r")
    clusters = np.load(folder / "clusters.npy")
    if not len(clusters) == len(representation) == len(world.rows("synthesis")):
        raise ValueError(
            f"{folder}: labels {len(representation)} pictures, the world has {len(world.rows('synthesis'))}"
        )
    return representation, clusters


def load_source(folder: Path, world: World, settings: config.Student) -> InBatch | FromFile:
    """The source of a student's triplets: a target's clusters, or its release file of training triplets."""
    if settings.source == "file":
        return FromFile(*_release_triplets(folder / f"train_{settings.file_scheme}.npz", world), settings)
    return InBatch(*load_labels(folder, world), settings)


def load_held_out(folder: Path, world: World, settings: config.Student) -> Batch:
    """The first held_out_triplets triplets of a target's release file of validation triplets."""
    triplets, similarities = _release_triplets(folder / f"valid_{settings.file_scheme}.npz", world)
    return batch_of(triplets, similarities, np.arange(min(settings.held_out_triplets, len(triplets))))


def _release_triplets(path: Path, world: World) -> tuple[np.ndarray, np.ndarray]:
    """A file's triplets as positions in the synthesis split, by file name, and their similarities, (n, 3) each."""
    release = triplet_files.read(path)
    names = world.images["path"].to_numpy()[world.rows("synthesis")]
    return triplet_files.locate(release, names), np.asarray(
        release.similarities
    )  # mapped still, or all of a streamed one


def _work(labels: Path, settings: config.Student, backbone: Backbone) -> str:
    """A digest of what decides a student: its settings, its backbone and its labels (of large files 256 pieces)."""
    digest = hashlib.sha256(repr((dataclasses.asdict(settings), dataclasses.asdict(backbone))).encode())
    for path in sorted(labels.glob("*.np[yz]")):
        content = np.memmap(path, np.uint8, "r")
        digest.update(f"{path.name} {len(content)}".encode())
        for start in np.linspace(0, max(0, len(content) - PIECE), 256).astype(int):
            digest.update(content[start : start + PIECE].tobytes())
    return digest.hexdigest()


def save(
    folder: Path, student: StudentNetwork, curve: pd.DataFrame, scored: Iterable[Tensor], settings: config.Student
) -> None:
    """Write the checkpoint, the training curve and the scored pictures' representations.

    student.safetensors: embedder.model.* (timm's names) and triplet_head.*; curve.csv; pooled.npy (n, dim) and
    head.npy (n, head_width), in the order of `World.scored_rows`.
    """
    config.own(folder).mkdir(parents=True, exist_ok=True)
    pooled, head = represent(student, scored, settings.precision)
    save_file(own_tensors(student), folder / "student.safetensors")
    results.save(curve, folder / "curve.csv")
    np.save(folder / "pooled.npy", pooled.numpy())
    np.save(folder / "head.npy", head.numpy())
