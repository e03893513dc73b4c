"""Labels from the release's representations: python -m alignet.synthesis.released --target alignet|unalignet

Beside triplets, the AligNet release holds a representation of every ImageNet picture, and cluster assignments. Its
README calls the representations the last-layer activations of the open foundation model: features before the map, whose
dot products are the control's labels and not AligNet's. This command therefore first compares the dot products with the
similarities in the release's triplet file of the target, and refuses files that do not agree. `transform` names an
affine map (transform.npz, `teacher.transforms`) that is applied first.

It then matches the rows to the world's pictures by file name, samples triplets, and checks that the labels carry a
signal. It writes the files of the stage 05_synthesis, data/synthesis/<target>/, so that students are trained in the
usual way; after an error it writes nothing.
"""

import argparse
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from alignet import config, results
from alignet.config import Synthesis, home
from alignet.models.features import load_features
from alignet.synthesis import label_checks, labelling, pair_kernel, schemes, triplet_files
from alignet.synthesis.triplet_files import ROWS, ReleaseError
from alignet.teacher import transforms
from alignet.teacher.affine_map import AffineMap
from alignet.worlds.format import tables
from alignet.worlds.format.tables import World

SHOWN = 5  # names that an error lists
CHECKED = 5000  # released triplets whose similarities are compared
TOLERANCE = 0.02  # of the similarities' spread: representations in half precision are .001 off, other features about 1


def write(target: str, world: World, folder: Path, settings: Synthesis) -> dict[str, torch.Tensor]:
    """Write representation.npy, clusters.npy and a target's triplet files; return the sampled triplets by split, (n,
    3).

    Raises: ReleaseError naming file, array, row or picture: settings that name no files, unequal numbers of rows,
        repeated names, dot products that are not the released similarities of the target, pictures of the world that
        the release lacks, values that are not finite, a cluster without pictures.
    """
    given = (settings.released or {}).items()
    files: dict[str, str] = {name: place for key, entry in given if key == target for name, place in entry.items()}
    lacking = sorted({"representation", "filenames", "clusters", "triplets"} - set(files))
    if lacking:
        raise ReleaseError(f"synthesis.released.{target}: lacks {', '.join(lacking)}")
    names, clusters = _text(files["filenames"]), np.asarray(array(files["clusters"]))
    representation = array(files["representation"])
    if representation.ndim != 2 or representation.dtype.kind != "f":
        what = f"is {representation.dtype} of shape {representation.shape}, not rows of numbers"
        raise ReleaseError(f"{files['representation']}: {what}")
    if not len(names) == len(clusters) == len(representation):
        raise ReleaseError(
            f"{files['representation']}: {len(representation)} rows, with {len(names)} file names and {len(clusters)} "
            "cluster numbers: their counts must be equal"
        )
    affine = transforms.read(home() / files["transform"]) if "transform" in files else None
    place = matched(names, labelling.filenames(world), files["filenames"])
    compare(representation, names, affine, files, target)
    of_world = _clusters(clusters, files["clusters"])[place]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "representation.npy"
    stored = _copied(representation, affine, place, file, files["representation"], settings)
    return labelling.write(folder, world, stored, torch.from_numpy(of_world), settings)


def compare(
    representation: Any, names: np.ndarray, affine: AffineMap | None, files: dict[str, str], target: str
) -> None:
    """Refuse representations whose dot products differ from the similarities in the release's triplet file of the
    target.

    If a map is given, it is applied first. At most CHECKED triplets are compared.

    Args: representation: (n, p) rows of the pictures `names`, (n,).
    Raises: ReleaseError with the share of triplets in which both choose the same odd one out.
    """
    released = triplet_files.read(home() / files["triplets"])
    some = slice(0, min(len(released), CHECKED))
    shown, triplets, similarities = (
        np.array(values[some]) for values in (released.filenames, released.triplets, released.similarities)
    )
    without_folders = np.array([Path(name).name for name in shown.flatten().tolist()]).reshape(shown.shape)
    first = triplet_files.Release(released.path, without_folders, triplets, similarities)
    place = triplet_files.locate(first, np.array([Path(name).name for name in names.tolist()]))
    numbers, triplets = np.unique(place, return_inverse=True)
    rows = _mapped(_rows(representation, numbers), affine, files["representation"])
    found = pair_kernel.pair_similarities(rows.astype(np.float32), triplets.reshape(-1, 3))
    wanted = np.asarray(first.similarities, np.float64)
    apart = float(np.sqrt(np.square(found - wanted).mean()) / max(wanted.std(), 1e-12))
    if apart > TOLERANCE:
        alike = float((found.argmax(1) == wanted.argmax(1)).mean())
        raise ReleaseError(
            f"{files['representation']}: dot products are not the similarities in {files['triplets']} (the same odd "
            f"one out in {alike:.1%} of {len(first)} triplets), so they cannot label {target!r}. The release's README "
            f"calls its representations activations of the open model, before the map: name the map in "
            f"synthesis.released.{target}.transform, or train on the released triplets (students: source: file)"
        )


def array(place: str) -> Any:
    """The array that a setting names, as FILE.npy or FILE.npz:ARRAY; memory-mapped, or streamed if it is deflated.

    Raises: ReleaseError naming the file and what is wrong with it.
    """
    name, _, member = place.partition(":")
    path = home() / name
    if not path.is_file():
        raise ReleaseError(f"{name}: no such file")
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r")
        with zipfile.ZipFile(path) as archive:
            return triplet_files.member(path, archive, member)
    except ReleaseError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ReleaseError(f"{name}: cannot be read as .npy or .npz ({error})") from None


def matched(names: np.ndarray, wanted: np.ndarray, source: str) -> np.ndarray:
    """The release's row of each of the world's pictures, (n,), by file name without folder.

    Raises: ReleaseError naming names that stand twice, and pictures that the release lacks.
    """
    index = pd.Index([Path(name).name for name in names.tolist()])
    if index.has_duplicates:
        raise ReleaseError(f"{source}: {index[index.duplicated()][0]!r} stands twice")
    place = index.get_indexer([Path(name).name for name in wanted.tolist()])
    missing = wanted[place < 0]
    if len(missing):
        raise ReleaseError(
            f"{source}: has no row for {len(missing)} of the world's {len(wanted)} synthesis pictures: "
            f"{', '.join(missing[:SHOWN])}"
        )
    return place


def checked_signal(
    drawn: torch.Tensor, representation: np.ndarray, world: World, features: Path, settings: Synthesis
) -> pd.DataFrame:
    """The signal check of sampled triplets (`label_checks.signal`); without a backbone it has no rows."""
    backbone = settings.signal_backbone
    if backbone is None:
        return label_checks.signal({}, torch.zeros(1, 1), None, "none")
    rows = world.rows("synthesis")
    independent = load_features(features / backbone, world.images["image"], rows)[rows]
    labels = torch.from_numpy(pair_kernel.pair_similarities(representation, drawn.numpy()))
    classes = schemes.class_labels(world, settings)
    return label_checks.signal({schemes.name(settings.scheme): (drawn, labels)}, independent, classes, backbone)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m alignet.synthesis.released", description=__doc__.split("\n\n")[0])
    parser.add_argument("--target", required=True, choices=["alignet", "unalignet"])
    parser.add_argument("--params-file", default=config.PARAMS)
    parser.add_argument("--out-dir", default=".", help="of the run: data/world and data/features are read")
    wanted = parser.parse_args(arguments)
    try:
        settings = config.load("synthesis", Synthesis, wanted.params_file)
        data, reports = config.folders(wanted.out_dir)
        world = tables.read(data / "world").to_label(settings.styles)
        with tables.staged(data / "synthesis" / wanted.target) as folder:
            drawn = write(wanted.target, world, folder, settings)
            stored = np.load(folder / "representation.npy", mmap_mode="r")
            signal = checked_signal(drawn["valid"], stored, world, data / "features", settings)
            if (signal["warning"] != "").any():
                raise ReleaseError(label_checks.verdict(signal))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    results.save(signal.assign(target=wanted.target), reports / "tables" / f"signal_{wanted.target}.csv")
    print(label_checks.verdict(signal))
    print(f"{len(stored)} pictures, {len(drawn['train'])} triplets: {data / 'synthesis' / wanted.target}")
    return 0


def _text(place: str) -> np.ndarray:
    """File names, (n,), from an array of text or bytes, or from a .txt file with one name a line."""
    if place.endswith(".txt"):
        if not (home() / place).is_file():
            raise ReleaseError(f"{place}: no such file")
        return np.array((home() / place).read_text(encoding="utf-8").splitlines())
    names = np.asarray(array(place))
    if names.dtype.kind not in "US" or names.ndim != 1:
        raise ReleaseError(f"{place}: is {names.dtype} of shape {names.shape}, not a list of file names")
    return np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names


def _clusters(numbers: np.ndarray, source: str) -> np.ndarray:
    """Cluster numbers, (n,) int64 from 0; each cluster has a picture."""
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or (len(numbers) and numbers.min() < 0):
        raise ReleaseError(f"{source}: is {numbers.dtype} of shape {numbers.shape}, not cluster numbers from 0")
    empty = np.flatnonzero(np.bincount(numbers) == 0)
    if len(empty):
        raise ReleaseError(f"{source}: cluster {empty[0]} has no picture (and {len(empty) - 1} more)")
    return numbers.astype(np.int64)


def _rows(representation: Any, numbers: np.ndarray) -> np.ndarray:
    """The chosen rows, in ascending order, read block by block in one pass over an array that may be streamed."""
    blocks = range(0, len(representation), ROWS)
    inside = [numbers[(numbers >= start) & (numbers < start + ROWS)] - start for start in blocks]
    parts = [np.asarray(representation[at : at + ROWS])[rows] for at, rows in zip(blocks, inside, strict=True)]
    return np.concatenate(parts)


def _mapped(rows: np.ndarray, affine: AffineMap | None, source: str) -> np.ndarray:
    """The rows after the map. Raises: ReleaseError if the map expects another number of features."""
    if affine is None:
        return rows
    if rows.shape[1] != affine.weight.shape[1]:
        raise ReleaseError(f"{source}: {rows.shape[1]} features, and the transform is of {affine.weight.shape[1]}")
    return affine(torch.from_numpy(rows.astype(np.float32))).numpy()


def _copied(
    representation: Any, affine: AffineMap | None, place: np.ndarray, path: Path, source: str, settings: Synthesis
) -> np.ndarray:
    """Write the world's rows, mapped and in the world's order, block by block in one pass over the release's array."""
    width = representation.shape[1] if affine is None else len(affine.bias)
    dtype, shape = np.dtype(settings.precision), (len(place), width)
    written = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    to = np.full(len(representation), -1)
    to[place] = np.arange(len(place))
    for start in range(0, len(representation), ROWS):
        wanted = to[start : start + ROWS]
        with np.errstate(over="ignore"):  # said below, by row
            rows = np.asarray(representation[start : start + ROWS])[wanted >= 0]
            rows = _mapped(rows, affine, source).astype(dtype)
        wrong = ~np.isfinite(rows).all(1)
        if wrong.any():
            row = start + np.flatnonzero(wanted >= 0)[wrong][0]
            raise ReleaseError(f"{source}, row {row}: is not finite in {dtype}")
        written[wanted[wanted >= 0]] = rows
    written.flush()
    return np.load(path, mmap_mode="r")


if __name__ == "__main__":
    sys.exit(main())
