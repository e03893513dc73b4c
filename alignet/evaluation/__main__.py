"""Score any model on a world's Levels, similarity and downstream tasks, beside the models that were scored before.

python -m alignet.evaluation --backbone NAME --weights timm|package|random|FILE [--layer L] [--picture-size N]

NAME is a timm model, or local-dir:FOLDER of an exported student (`alignet.export`). Its rows are added to
reports/comparison/comparison.csv, where they replace those of the same model, and drawn with the students of the run.
"""

import argparse
import sys

import pandas as pd
from torch import Tensor

from alignet import config, devices
from alignet.evaluation import comparison, downstream, levels, similarity, uncertainty
from alignet.figures import comparison as drawn_comparison
from alignet.figures import style
from alignet.models import activations, backbones
from alignet.models.backbones import Embedder
from alignet.people import held_out
from alignet.worlds.format import tables
from alignet.worlds.format.tables import World


class AtLayer(Embedder):
    """A backbone whose output is one of its layers: (batch, 3, size, size) uint8 -> (batch, dim)."""

    def __init__(self, embedder: Embedder, layer: str | list[str]):
        super().__init__(embedder.model, (0, 0, 0), (1, 1, 1))
        self.mean, self.std, self.layer = embedder.mean, embedder.std, layer  # buffers, which move with the model

    def forward(self, pictures: Tensor) -> Tensor:
        return super().forward(pictures) if self.layer == "pooled" else self.at_layer(pictures, self.layer)


def evaluate(name: str, model: config.Backbone, world: World, params_file: str) -> dict[str, pd.DataFrame]:
    """The tables of the evaluation stages, by their names, for one model: its rows are of target 'base'."""
    reading = config.load("features", config.Features, params_file)
    embedder = AtLayer(backbones.create(model), model.layer).eval().to(devices.local())
    students: activations.Students = {(name, "base"): (embedder, model.picture_size)}
    test = activations.forward(students, world.paths(world.rows("test")), reading)
    people = config.load("human_uncertainty", config.HumanUncertainty, params_file)
    parts = held_out.choice_parts(world, people)
    rows = similarity.tested_rows(world, parts)
    human = activations.forward(students, world.paths(rows), reading) if len(rows) else {}
    stored = {(name, "base", "pooled"): test[name, "base"]["pooled"]}
    choices = config.load("levels", config.Levels, params_file)
    alike = config.load("similarity", config.Similarity, params_file)
    tasks = config.load("downstream", config.Downstream, params_file)
    return {
        "levels": levels.levels(world, stored, choices),
        "uncertainty": uncertainty.uncertainty(world, stored, choices),
        "similarity": similarity.similarity(world, parts, human, test, alike),
        "downstream": downstream.downstream(world, test, students, reading, tasks),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m alignet.evaluation", description=__doc__.split("\n\n")[0])
    parser.add_argument("--backbone", required=True, help="a timm model, or local-dir:FOLDER of an exported student")
    parser.add_argument("--weights", required=True, help="timm, package, random or a file")
    parser.add_argument("--layer", default="pooled", help="pooled, or the name of a block")
    parser.add_argument("--picture-size", type=int, default=224, help="pixels")
    parser.add_argument("--name", help="in table and figure; the backbone's if left out")
    parser.add_argument("--params-file", default="params.yaml")
    parser.add_argument("--out-dir", default=".", help="of the run: its data/world is scored on")
    wanted = parser.parse_args(arguments)
    try:
        print(run(wanted).to_string(index=False))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(wanted: argparse.Namespace) -> pd.DataFrame:
    """Score, add to the table, draw; the model's own rows."""
    data, reports = config.folders(wanted.out_dir)
    size = wanted.picture_size
    model = config.Backbone(
        model=wanted.backbone, options={}, weights=wanted.weights, layer=wanted.layer, seed=0, picture_size=size
    )
    world, name = tables.read(data / "world"), wanted.name or wanted.backbone
    scores = comparison.tidy(evaluate(name, model, world, wanted.params_file))
    key = {"model": name, "weights": wanted.weights, "layer": wanted.layer, "picture_size": size, "world": world.name}
    folder = reports / "comparison"
    table = comparison.with_model(folder / "comparison.csv", key, scores)
    style.use()
    drawn = pd.concat([comparison.of_the_run(reports, world), table[table["world"] == world.name]], ignore_index=True)
    style.save(drawn_comparison.by_model(drawn), folder / "comparison")
    return scores[["benchmark", "metric", "value", "ci_low", "ci_high", "noise_ceiling", "n"]].round(3)


if __name__ == "__main__":
    sys.exit(main())
