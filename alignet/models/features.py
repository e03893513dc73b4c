"""Features of a world's pictures by one backbone, computed in one process or in several that share the pictures.

Several devices: torchrun --nproc-per-node N -m alignet.models.features --backbone NAME
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from torch import Tensor

from alignet import config, devices
from alignet.maths.metrics import unit_vectors
from alignet.models import backbones, feature_files
from alignet.models.backbones import Embedder
from alignet.worlds.format import pictures, roles, tables
from alignet.worlds.format.roles import Roles
from alignet.worlds.format.tables import World

BORROWED = "borrowed.txt"  # of a features folder: pictures that have the features of their concept's photograph
MOST_LABELS = 4096  # that `label_similarity` compares: 67 MB


@config.settings
class Job:
    """A job: the backbone to run, the pictures to run it over, and where results go."""

    name: str  # of the backbone in params.yaml
    backbone: config.Backbone | config.FeatureFile
    reading: config.Features
    roles: Roles
    by_concept: bool  # as in config.Synthesis; of a file of features
    data: Path  # the run's folder, with world/ in it


def run(job: Job) -> Tensor:
    """Extract and save the features of the pictures that the backbone's roles name, in reading.devices processes.

    Returns: (n_images, dim), in the order of images.csv; NaN for all other pictures.
    """
    if job.reading.devices > 1:
        devices.launch("alignet.models.features", job, job.reading.devices)
    else:
        extract(job)
    return load(job, tables.read(job.data / "world"))


def load(job: Job, world: World) -> Tensor:
    """The saved features of the pictures that the backbone's roles name: (n_images, dim), NaN for all others."""
    return load_features(job.data / "features" / job.name, world.images["image"], roles.rows(world, job.roles))


def extract(job: Job) -> None:
    """Embed this process's share of the pictures; the first process joins the shares and saves them.

    The shares are files beside the result, so processes on several machines need a folder that they all see. The
    features of a student's base are rounded exactly as the student's own stage rounds those of the aligned student:
    batch norms are not folded, and the scored pictures have batches of their own. For all other backbones batch norms
    are folded.
    """
    settings, model, folder = job.reading, job.backbone, job.data / "features" / job.name
    world = tables.read(job.data / "world")
    rows = roles.rows(world, job.roles)
    if isinstance(model, config.FeatureFile):
        _from_file(job, model, world, rows)
        return
    embedder = backbones.create(model).to(devices.local())
    mine, size = devices.part(rows, devices.rank(), devices.count()), model.picture_size
    groups = roles.apart(world, mine)
    if not (job.roles.student and model.layer == "pooled"):
        embedder, groups = backbones.folded(embedder, model.layer, size), [torch.arange(len(mine))]
    batches = []
    for group in groups:
        shown = pictures.batches(world.paths(mine[group]), size, settings.batch_size, settings.workers)
        batches.append(backbones.features(embedder, shown, model.layer, settings.precision, job.name))
    features = torch.cat(batches)[torch.cat(groups).argsort()]
    if devices.count() > 1:
        features = _joined(folder, features, len(rows))
    if devices.rank() == 0:
        save_features(folder, features, world.images["image"].iloc[rows.tolist()], _widths(embedder, model))


def _from_file(job: Job, file: config.FeatureFile, world: World, rows: Tensor) -> None:
    """Store features from a file in the format of computed ones.

    The file BORROWED lists the ids of pictures that have the features of their concept's photograph.
    Raises: ValueError if the backbone is a student's.
    """
    if job.roles.student:
        raise ValueError(f"run.students: {job.name!r} is a file of features: there is nothing to train")
    features, borrowed = feature_files.of_world(file, world, rows, job.by_concept)
    images, folder = world.images["image"].iloc[rows.tolist()], job.data / "features" / job.name
    if devices.rank() == 0:
        save_features(folder, features, images)
        lines = "".join(f"{name}\n" for name in images[borrowed.numpy()])
        (folder / BORROWED).write_text(lines, encoding="utf-8")
        if lines:
            print(f"{job.name}: {int(borrowed.sum())} of {len(rows)} pictures have the features of their concept's")


def _widths(embedder: Embedder, model: config.Backbone) -> list[int]:
    """The number of dimensions of each layer of `model.layer`."""
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
    """Write features.npy, (n, dim) float32; images.txt, the picture id of each row; and widths.txt, the dimensions of
    each layer.

    Args: widths: None for the features of a single layer.

    Raises: ValueError naming the first picture whose features are not finite.
    """
    wrong, names = ~features.isfinite().all(1), list(images)
    if wrong.any():
        what = f"features of {int(wrong.sum())} of {len(names)} pictures are not finite"
        advice = "set features.precision: float32, or look at the weights"
        raise ValueError(f"{folder.name}: {what}, the first is {names[int(wrong.int().argmax())]!r}: {advice}")
    config.own(folder).mkdir(parents=True, exist_ok=True)
    np.save(folder / "features.npy", features.numpy())
    (folder / "images.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    text = "".join(f"{width}\n" for width in widths or [features.shape[1]])
    (folder / "widths.txt").write_text(text, encoding="ascii")


def load_features(folder: Path, images: Sequence[str], rows: Tensor) -> Tensor:
    """Stored features of some rows of images.csv: (n_images, dim) float32, NaN in all other rows.

    Args: images: ids of all pictures, the column `image` of images.csv; rows: (n,) rows whose features are read.
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
    rows_of_all = torch.full((len(images), features.shape[1]), torch.nan)
    rows_of_all[rows] = torch.from_numpy(features[places])
    wrong = ~rows_of_all[rows].isfinite().all(1)
    if wrong.any():
        first = images[int(rows[int(wrong.int().argmax())])]
        raise ValueError(f"{folder}: features of {first!r} are not finite: run the features stage again")
    return rows_of_all


def joined(data: Path, names: list[str], world: World, rows: Tensor) -> tuple[Tensor, list[int]]:
    """Stored features of several backbones side by side, and the number of dimensions of each of their layers.

    Returns: (n_images, dim), NaN outside `rows`; and the dimensions in order.
    """
    folders = [data / "features" / name for name in names]
    features = [load_features(folder, world.images["image"], rows) for folder in folders]
    widths = [int(line) for folder in folders for line in (folder / "widths.txt").read_text(encoding="ascii").split()]
    return torch.cat(features, dim=1), widths


def borrowed(data: Path, names: list[str], world: World) -> int:
    """The number of synthesis pictures that have the features of their concept's judged photograph instead of their
    own.

    A picture counts if this is so in any of these backbones (synthesis.by_concept).
    """
    files = [data / "features" / name / BORROWED for name in names]
    found = {line for file in files if file.is_file() for line in file.read_text(encoding="utf-8").splitlines()}
    return int(world.images["image"].iloc[world.rows("synthesis").tolist()].isin(found).sum())


def _joined(folder: Path, share: Tensor, n: int) -> Tensor:
    """All shares in their order in the first process; in any other process its own share."""
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


def resolved(chosen: argparse.Namespace) -> Job:
    """The job of a backbone by its name in the params file."""
    name, params_file = chosen.backbone, chosen.params_file
    return Job(
        name=name,
        backbone=config.backbone(name, params_file),
        reading=config.load("features", config.Features, params_file),
        roles=Roles(
            teacher=name in config.value("teacher.backbones", params_file),
            signal_check=name == config.value("synthesis.signal_backbone", params_file),
            student=name in config.names("students", params_file),
            styles=config.value("synthesis.styles", params_file),
        ),
        by_concept=config.value("synthesis.by_concept", params_file),
        data=config.folders(chosen.out_dir)[0],
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m alignet.models.features", description=__doc__)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--backbone", help="its name in the params file")
    wanted.add_argument("--job", help="a job as JSON, as alignet.models.features.run hands it over")
    parser.add_argument("--params-file", default=config.PARAMS)
    parser.add_argument("--out-dir", default=".")
    chosen = parser.parse_args(arguments)
    if chosen.job:
        config.refuse_beside(parser, chosen, "--job", "params_file", "out_dir")
    with devices.process_group():
        extract(devices.handed_over(chosen.job, Job) if chosen.job else resolved(chosen))


if __name__ == "__main__":
    main()
