"""Export of models: python -m alignet.export <student> <target> <folder>, or --teacher <folder>

A student's folder holds model.safetensors (the backbone, with timm's names), triplet_head.safetensors, config.json (in
timm's format, for `timm.create_model("local-dir:<folder>", pretrained=True)`), choice.safetensors (for
`alignet.models.load`) and README.md, the model card. The teacher's holds its affine map twice: teacher.safetensors, and
transform.npz with the arrays weights, bias, mean and std.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from alignet import config, devices
from alignet.config import Backbone
from alignet.evaluation.uncertainty import fitted_sharpness
from alignet.export.card import card, teacher_card
from alignet.maths import metrics
from alignet.maths.choices import choice_counts, pair_similarities
from alignet.models import activations, backbones
from alignet.models.backbones import Embedder
from alignet.models.exported import CHOICE
from alignet.teacher.affine_map import AffineMap
from alignet.worlds.format import tables
from alignet.worlds.format.tables import World

TRAITS = ("pool_size", "first_conv", "classifier", "license", "fixed_input_size")  # that an export has of its backbone


def export_student(student: str, target: str, folder: Path, params_file: str, out_dir: str) -> None:
    """Write a fine-tuned student to `folder`, with a model card and all that timm needs to load it.

    Raises: ValueError if a file is missing, if tensors do not fit the backbone, or if timm by itself would build
        another network from the export; the error names the file or tensors, and `folder` is left unchanged.
    """
    settings = config.load(f"backbones.{student}", Backbone, params_file)
    reading = config.load("features", config.Features, params_file)
    styles = config.value("synthesis.styles", params_file)
    data, reports = config.folders(out_dir)
    checkpoint, scores = data / "students" / student / target / "student.safetensors", reports / "tables" / "levels.csv"
    for file in (checkpoint, scores):
        if not file.is_file():
            raise ValueError(f"{file}: no such file; run the pipeline first")
    embedder = backbones.create(settings)
    model, head = parts(load_file(checkpoint), embedder.model.state_dict(), str(checkpoint))
    record = timm_config(embedder, settings)
    world = tables.read(data / "world").to_label(styles)
    text = card(student, target, settings, record, world, pd.read_csv(scores))
    embedder.model.load_state_dict(model)
    choice = chosen_by(embedder, world, settings.picture_size, reading)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
        part = Path(place) / folder.name
        write_model(part, embedder.cpu(), model, settings)
        for name, tensors in (("triplet_head", head), (Path(CHOICE).stem, choice)):
            if tensors:
                save_file(tensors, part / f"{name}.safetensors", metadata={"format": "pt"})
        (part / "README.md").write_text(text, encoding="utf-8")
        shutil.copytree(part, folder, dirs_exist_ok=True)
    _readable(folder)


def write_model(folder: Path, embedder: Embedder, tensors: dict[str, Tensor], settings: Backbone) -> None:
    """Write a backbone to a new folder as timm reads it: config.json and model.safetensors.

    Args: tensors: of `embedder`, each in memory of its own.
    Raises: ValueError if the network that timm builds from the folder does not give the embedder's features.
    """
    folder.mkdir()
    record = json.dumps(timm_config(embedder, settings), indent=2)
    (folder / "config.json").write_text(f"{record}\n", encoding="utf-8")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    size, generator = settings.picture_size, torch.Generator().manual_seed(0)
    shown = torch.randint(256, (2, 3, size, size), generator=generator, dtype=torch.uint8)
    try:
        with torch.inference_mode():
            given, expected = by_timm_alone(folder, shown), embedder.eval()(shown)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise ValueError(f"{settings.model}: timm cannot load the export: {str(error).splitlines()[0]}") from error
    if given.shape != expected.shape or not torch.allclose(given, expected, rtol=1e-3, atol=1e-3 * _largest(expected)):
        raise ValueError(f"{settings.model}: timm loads the export and gives other features: nothing is exported")


@torch.inference_mode()
def by_timm_alone(folder: Path, pictures: Tensor) -> Tensor:
    """Features, (n, dim), of pictures (n, 3, size, size) uint8 by the network that timm builds from an export."""
    with torch.random.fork_rng():
        model = timm.create_model(f"{backbones.LOCAL}{folder.resolve()}", pretrained=True).eval()
    prepared = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(prepared[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return model((pictures / 255 - mean) / std)


def _largest(features: Tensor) -> float:
    return float(features.abs().max())


def chosen_by(embedder: Embedder, world: World, size: int, reading: config.Features) -> dict[str, Tensor]:
    """The parameters that turn features into choices.

    Returns: the mean of the judged pictures' features, (dim,), and the inverse temperature under which people's choices
        about these pictures are most likely (Eq. 12 of docs/method.md), 1 if nothing was judged.
    """
    rows = world.rows("human")
    if not len(rows) or not len(world.triplets):
        return {"centre": torch.zeros(embedder.dim), "sharpness": torch.tensor(1.0)}
    shown = {("", "base"): (embedder.to(devices.local()), size)}
    features = activations.forward(shown, world.paths(rows), reading)["", "base"]["pooled"].float()
    triplets, counts = choice_counts(*world.choice_rows(world.triplets))
    place = torch.searchsorted(rows, triplets)  # triplets.csv shows pictures of the split human only
    sharpness = fitted_sharpness(pair_similarities(metrics.unit_vectors(features, True)[place]), counts)
    return {"centre": features.mean(0), "sharpness": torch.tensor(sharpness)}


def export_teacher(folder: Path, params_file: str, out_dir: str) -> None:
    """Write the teacher's map to `folder`: as fitted, and as arrays for `((features - mean) / std) @ weights + bias`.

    The arrays have the names that thingsvision's alignment reads. Raises: ValueError that names the missing file.
    """
    names = config.value("teacher.backbones", params_file)
    read = [config.backbone(name, params_file) for name in names]
    data, _ = config.folders(out_dir)
    file = data / "teacher" / "teacher.safetensors"
    if not file.is_file():
        raise ValueError(f"{file}: no such file; run the pipeline first")
    fitted = AffineMap.load(file.parent)
    weights = fitted.weight.T if fitted.components is None else fitted.components.T @ fitted.weight.T
    std = fitted.scale.expand_as(fitted.mean)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, folder / file.name)
    arrays = [tensor.contiguous().numpy() for tensor in (weights, fitted.bias, fitted.mean, std)]
    np.savez(folder / "transform.npz", weights=arrays[0], bias=arrays[1], mean=arrays[2], std=arrays[3])
    (folder / "README.md").write_text(teacher_card(read, fitted), encoding="utf-8")
    _readable(folder)


def _readable(folder: Path) -> None:
    """Give the files the folder's read permissions; safetensors writes files that only their owner can read."""
    for path in folder.glob("*.safetensors"):
        path.chmod((folder.stat().st_mode & 0o444) | 0o200)


def parts(
    state: dict[str, Tensor], expected: dict[str, Tensor], source: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of a student's checkpoint: those of the backbone, by timm's names, and the head's weight and bias.

    A student without a head has neither weight nor bias.

    Raises: ValueError that names each tensor that is missing, unexpected or of another shape than the model's.
    """
    prefixes = ("embedder.model.", "triplet_head.")
    model, head = (
        {name.removeprefix(prefix): tensor.contiguous() for name, tensor in state.items() if name.startswith(prefix)}
        for prefix in prefixes
    )
    problems = [f"missing {name}" for name in sorted(expected.keys() - model.keys())]
    problems += [f"missing triplet_head.{name}" for name in sorted({"weight", "bias"} - head.keys()) if head]
    problems += [f"unexpected {name}" for name in sorted(model.keys() - expected.keys())]
    problems += [f"unexpected triplet_head.{name}" for name in sorted(head.keys() - {"weight", "bias"})]
    problems += [f"unexpected {name}" for name in sorted(state) if not name.startswith(prefixes)]
    problems += [
        f"{name} {tuple(model[name].shape)}, the model has {tuple(expected[name].shape)}"
        for name in sorted(model.keys() & expected.keys())
        if model[name].shape != expected[name].shape
    ]
    if problems:
        raise ValueError(f"{source}: " + "; ".join(problems))
    return model, head


def timm_config(embedder: Embedder, settings: Backbone) -> dict[str, Any]:
    """The content of timm's config.json: the architecture, the arguments that it was built with, and how pictures are
    prepared.
    """
    known = cast(dict[str, Any], embedder.model.pretrained_cfg)  # timm's; torch takes every attribute for a module
    mean, std = (buffer / 255 for buffer in (embedder.get_buffer("mean"), embedder.get_buffer("std")))
    size = settings.picture_size
    prepared = {
        "input_size": [3, size, size],
        "interpolation": "bicubic",  # as worlds.pictures resizes them: the whole picture
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": [round(value, 6) for value in mean.flatten().tolist()],
        "std": [round(value, 6) for value in std.flatten().tolist()],
        "num_classes": 0,
        "custom_load": False,
    }
    traits = {name: known[name] for name in TRAITS if known.get(name)}
    architecture, arguments = backbones.built(settings)
    return {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": embedder.dim,
        "model_args": arguments,
        "pretrained_cfg": traits | prepared,
    }


def main(arguments: list[str] | None = None) -> int:
    """Export one student or the teacher; return 1, after a message, if that cannot be done."""
    parser = argparse.ArgumentParser(prog="alignet export", description=__doc__.split("\n\n")[0])
    parser.add_argument("student", nargs="?")
    parser.add_argument("target", nargs="?")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--teacher", type=Path, metavar="FOLDER", help="write the teacher's map there")
    parser.add_argument("--params-file", default="params.yaml", help="params file, from the project's root or absolute")
    parser.add_argument("--out-dir", default=".", help="where data/ and reports/ lie")
    chosen = parser.parse_args(arguments)
    if chosen.teacher:
        config.refuse_beside(parser, chosen, "--teacher", "student", "target", "folder")
    elif chosen.folder is None:
        parser.error("give a student, its target and a folder, or --teacher with a folder")
    try:
        if chosen.teacher:
            export_teacher(chosen.teacher, chosen.params_file, chosen.out_dir)
            print(f"{chosen.teacher}: teacher.safetensors, transform.npz (weights, bias, mean, std), README.md")
        else:
            export_student(chosen.student, chosen.target, chosen.folder, chosen.params_file, chosen.out_dir)
            print(f"{chosen.folder}: timm {timm.__version__} loads it as local-dir:{chosen.folder}")
    except (ValueError, OSError) as error:  # OSError: a folder that is a file, or cannot be written to
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
