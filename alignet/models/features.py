"""Features of a world's pictures: one backbone, in this process or in several that share the pictures.

Several devices: torchrun --nproc-per-node N -m alignet.models.features --backbone NAME
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from torch import Tensor

from alignet import config, devices
from alignet.maths.metrics import unit_vectors
from alignet.models import backbones, feature_files, frozen
from alignet.models.backbones import Embedder
from alignet.worlds.format import pictures, tables
from alignet.worlds.format.tables import World

BORROWED = "borrowed.txt"  # of a features folder: pictures that have the features of their concept's photograph
MOST_LABELS = 4096  # that `label_similarity` compares: 67 MB


@dataclass(frozen=True)
class Job:
    """Which backbone of params.yaml to run over the world, and where."""

    backbone: str
    params_file: str
    out_dir: str


def needed(world: World, backbone: str, params_file: str) -> Tensor:
    """Rows of images.csv, (n,) ascending, whose features later stages read.

    The teacher's backbones: pictures that people judged, in whatever table, and those to be labelled; that of the signal check: those to
    be labelled; a student's, for its base: `World.scored_rows`; one that no stage reads: all.
    """
    wanted = []
    if backbone in config.value("teacher.backbones", params_file):
        wanted.append(of_teacher(world, params_file))
    if backbone == config.value("synthesis.signal_backbone", params_file):
        wanted.append(world.labelled(config.value("synthesis.styles", params_file)))
    if backbone in config.names("students", params_file):
        wanted.append(world.scored_rows())
    return torch.cat(wanted).unique() if wanted else torch.arange(len(world.images))


def of_teacher(world: World, params_file: str) -> Tensor:
    """Rows, (n,) ascending, of the pictures whose concepts people judged (the split human: triplets are drawn of all of
    them), of those to be labelled and of those that levels.csv shows, on which the teacher is scored: what the teacher
    reads of each of its backbones, whatever else a backbone is needed for.
    """
    rows = [world.rows("human"), world.labelled(config.value("synthesis.styles", params_file))]
    if world.levels is not None:
        rows.append(world.choice_rows(world.levels)[0].flatten())
    return torch.cat(rows).unique()


def run(job: Job) -> Tensor:
    """Extract and save the features of the pictures that are `needed`, in features.devices processes.

    Returns: (n_images, dim), in the order of images.csv; NaN for pictures that are not needed.
    """
    count = config.load("features", config.Features, job.params_file).devices
    if count > 1:
        devices.launch("alignet.models.features", vars(job), count)
    else:
        extract(job)
    return load(job, tables.read(config.folders(job.out_dir)[0] / "world"))


def load(job: Job, world: World) -> Tensor:
    """The saved features of the pictures that are `needed`: (n_images, dim), NaN for all others."""
    folder = config.folders(job.out_dir)[0] / "features" / job.backbone
    return load_features(folder, world.images["image"], needed(world, job.backbone, job.params_file))


def extract(job: Job) -> None:
    """Each process embeds its share of the pictures; the first one joins the shares.

    The shares are files beside the result, so processes on several machines need a folder that they all see.
    """
    settings = config.load("features", config.Features, job.params_file)
    model = config.backbone(job.backbone, job.params_file)
    data = config.folders(job.out_dir)[0]
    folder, world = data / "features" / job.backbone, tables.read(data / "world")
    if isinstance(model, config.FeatureFile):
        _from_file(job, model, world, folder)
        return
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
        save_features(folder, features, world.images["image"].iloc[rows.tolist()], _widths(embedder, model))


def _from_file(job: Job, file: config.FeatureFile, world: World, folder: Path) -> None:
    """Store features of a file as those that are computed; with BORROWED, the ids of pictures that have those of
    their concept's photograph. Raises: ValueError if the backbone is a student's."""
    if job.backbone in config.names("students", job.params_file):
        raise ValueError(f"{job.params_file}: run.students: {job.backbone!r} is a file of features: nothing to train")
    rows = needed(world, job.backbone, job.params_file)
    found, borrowed = feature_files.of_world(file, world, rows, config.value("synthesis.by_concept", job.params_file))
    images = world.images["image"].iloc[rows.tolist()]
    if devices.rank() == 0:
        save_features(folder, found, images)
        lines = "".join(f"{name}\n" for name in images[borrowed.numpy()])
        (folder / BORROWED).write_text(lines, encoding="utf-8")
        if lines:
            print(f"{job.backbone}: {int(borrowed.sum())} of {len(rows)} pictures have the features of their concept's")


def _widths(embedder: Embedder, model: config.Backbone) -> list[int]:
    """How many dimensions each layer of `model.layer` has."""
    shown = torch.zeros(1, 3, model.picture_size, model.picture_size, dtype=torch.uint8, device=embedder.mean.device)
    with torch.inference_mode():
        return [part.shape[1] for part in embedder.eval().at_layers(shown, backbones.layers(model))]


def label_similarity(features: Tensor, world: World, labels: tuple[str, ...]) -> tuple[Tensor, pd.DataFrame]:
    """Centred cosine similarity of the mean features of each distinct combination of labels.

    Of more than MOST_LABELS combinations, evenly spread ones are taken.

    Args: features: (n_images, dim), NaN for pictures that are left out; labels: columns of the hierarchy, fine to
        coarse.
    Returns: (k, k), ordered by the hierarchy from coarse to fine, and the k combinations in that order.
    """
    known = ~features.isnan().any(1)
    groups = world.images.loc[known.numpy(), list(labels[::-1])].groupby(list(labels[::-1]), sort=True)
    names, number = groups.size().index.to_frame(index=False), torch.tensor(groups.ngroup().to_numpy())
    sums = torch.zeros(len(names), features.shape[1]).index_add_(0, number, features[known])
    means = sums / torch.bincount(number, minlength=len(names))[:, None]
    some = torch.linspace(0, len(names) - 1, min(len(names), MOST_LABELS), dtype=torch.float64).round().long()
    unit = unit_vectors(means[some], centred=True)
    return unit @ unit.T, names.iloc[some.tolist()].reset_index(drop=True)


def save_features(folder: Path, features: Tensor, images: Iterable[str], widths: list[int] | None = None) -> None:
    """features.npy (n, dim) float32; images.txt, the picture id of each row; widths.txt, the dimensions of each layer
    of which they are (None: of one).

    Raises: ValueError naming the first picture whose features are not finite.
    """
    wrong, names = ~features.isfinite().all(1), list(images)
    if wrong.any():
        what = f"features of {int(wrong.sum())} of {len(names)} pictures are not finite"
        advice = "set features.precision: float32, or look at the weights"
        raise ValueError(f"{folder.name}: {what}, the first is {names[int(wrong.int().argmax())]!r}: {advice}")
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "features.npy", features.numpy())
    (folder / "images.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    text = "".join(f"{width}\n" for width in widths or [features.shape[1]])
    (folder / "widths.txt").write_text(text, encoding="ascii")


def load_features(folder: Path, images: Sequence[str], rows: Tensor) -> Tensor:
    """Stored features of some rows of images.csv: (n_images, dim) float32, NaN in all other rows.

    Args: images: ids of all pictures, the column `image` of images.csv; rows: (n,) those whose features are read.
    Raises: ValueError if the folder lacks one of them, or holds numbers that are not finite.
    """
    stored = {image: row for row, image in enumerate((folder / "images.txt").read_text(encoding="utf-8").splitlines())}
    places = [stored.get(images[row], -1) for row in rows.tolist()]
    if -1 in places:
        raise ValueError(
            f"{folder}: no features of {places.count(-1)} of {len(places)} pictures, the first is "
            f"{images[int(rows[places.index(-1)])]!r}: run the features stage again"
        )
    features = np.load(folder / "features.npy", mmap_mode="r")
    found = torch.full((len(images), features.shape[1]), torch.nan)
    found[rows] = torch.from_numpy(features[places])
    wrong = ~found[rows].isfinite().all(1)
    if wrong.any():
        first = images[int(rows[int(wrong.int().argmax())])]
        raise ValueError(f"{folder}: features of {first!r} are not finite: run the features stage again")
    return found


def joined(data: Path, names: list[str], world: World, rows: Tensor) -> tuple[Tensor, list[int]]:
    """Stored features of several backbones, one beside the other: (n_images, dim), NaN outside `rows`, and how many
    dimensions each layer of each has.
    """
    folders = [data / "features" / name for name in names]
    features = [load_features(folder, world.images["image"], rows) for folder in folders]
    widths = [int(line) for folder in folders for line in (folder / "widths.txt").read_text(encoding="ascii").split()]
    return torch.cat(features, dim=1), widths


def borrowed(data: Path, names: list[str], world: World) -> int:
    """How many of the world's synthesis pictures have, in one of these backbones, the features of their concept's
    judged photograph in place of their own (synthesis.by_concept)."""
    files = [data / "features" / name / BORROWED for name in names]
    found = {line for file in files if file.is_file() for line in file.read_text(encoding="utf-8").splitlines()}
    return int(world.images["image"].iloc[world.rows("synthesis").tolist()].isin(found).sum())


def _in_two_parts(job: Job, embedder: Embedder, world: World, rows: Tensor) -> Tensor:
    """A student's base, on from its frozen part's outputs, which stay stored for the student's own stages."""
    settings = config.load("features", config.Features, job.params_file)
    size = config.load(f"backbones.{job.backbone}", config.Backbone, job.params_file).picture_size
    part = frozen.of_student(embedder, config.load(f"students.{job.backbone}", config.Student, job.params_file), size)
    store, found = config.folders(job.out_dir)[0] / frozen.FOLDER, torch.empty(len(rows), embedder.dim)
    groups = {"synthesis": world.rows("synthesis"), "scored": world.scored_rows()}
    groups["other"] = rows[~torch.isin(rows, torch.cat([*groups.values()]))]
    for name, of_group in groups.items():
        chosen = torch.isin(rows, of_group)
        paths, outputs = world.paths(rows[chosen]), None
        if part is not None and name != "other" and paths:
            outputs = frozen.outputs(part, paths, size, settings.precision, settings, store)
        if part is not None and outputs is not None:
            shown, rest = outputs.split(settings.batch_size), part.after
            part.rest.eval()
        else:
            shown, rest = pictures.batches(paths, size, settings.batch_size, settings.workers), embedder.eval()
        if paths:
            label = f"{job.backbone}, {name} pictures"
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
    parser = argparse.ArgumentParser(prog="python -m alignet.models.features", description=__doc__)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--params-file", default="params.yaml")
    parser.add_argument("--out-dir", default=".")
    with devices.process_group():
        extract(Job(**vars(parser.parse_args(arguments))))


if __name__ == "__main__":
    main()
