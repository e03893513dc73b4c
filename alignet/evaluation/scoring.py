"""Any model on a world's benchmarks: its rows in the tables of the evaluation stages."""

from functools import cached_property

import pandas as pd
import torch
from torch import Tensor

from alignet import config, devices
from alignet.evaluation import downstream, levels, similarity, uncertainty
from alignet.models import activations, backbones, exported
from alignet.models.activations import Students
from alignet.models.backbones import Embedder
from alignet.worlds.format import tables
from alignet.worlds.format.tables import World

BENCHMARKS = ("levels", "uncertainty", "similarity", "downstream")


class AtLayer(Embedder):
    """A backbone whose output is one of its layers: (batch, 3, size, size) uint8 -> (batch, dim)."""

    def __init__(self, embedder: Embedder, layer: str | list[str]):
        super().__init__(embedder.model, (0, 0, 0), (1, 1, 1))
        self.mean, self.std, self.layer = embedder.mean, embedder.std, layer  # buffers, which move with the model

    def forward(self, pictures: Tensor) -> Tensor:
        return super().forward(pictures) if self.layer == "pooled" else self.at_layer(pictures, self.layer)


def score(
    model: exported.Aligned | config.Backbone,
    benchmark: str,
    name: str = "model",
    params_file: str = config.PARAMS,
    out_dir: str = ".",
) -> pd.DataFrame:
    """A model on one of BENCHMARKS, in the world of a finished run: the columns of that stage's table, target 'base'.

    Args: model: of `alignet.models.load`, or the settings of any timm model; name: in the column student.
    Raises: ValueError naming the benchmark, model or layer that is not known.
    """
    if benchmark not in BENCHMARKS:
        raise ValueError(f"benchmark {benchmark!r}: choose one of {', '.join(BENCHMARKS)}")
    return Model(model, name, tables.read(config.folders(out_dir)[0] / "world"), params_file).on(benchmark)


class Model:
    """A model in a world. What several benchmarks need is run once."""

    def __init__(self, model: exported.Aligned | config.Backbone, name: str, world: World, params_file: str):
        if isinstance(model, config.Backbone):
            embedder: Embedder = AtLayer(backbones.create(model), model.layer).eval().to(devices.local())
            size = model.picture_size
        else:
            embedder, size = model.embedder, model.size
        self.name, self.world, self.params_file = name, world, params_file
        self.students: Students = {(name, "base"): (embedder, size)}
        self.reading = config.load("features", config.Features, params_file)

    @cached_property
    def scored(self) -> activations.Layers:
        """The pictures of `World.scored_rows`."""
        return activations.forward(self.students, self.world.paths(self.world.scored_rows()), self.reading)

    @cached_property
    def people(self) -> config.HumanUncertainty:
        return config.load("human_uncertainty", config.HumanUncertainty, self.params_file)

    def on(self, benchmark: str) -> pd.DataFrame:
        if benchmark == "downstream":
            tasks = config.load("downstream", config.Downstream, self.params_file)
            test = torch.isin(self.world.scored_rows(), self.world.rows("test"))
            layers = {key: {"pooled": each["pooled"][test]} for key, each in self.scored.items()}
            return downstream.downstream(self.world, layers, self.students, self.reading, tasks)
        if benchmark == "similarity":
            found = similarity.with_tested(self.students, self.scored, self.world, self.people, self.reading)
            alike = config.load("similarity", config.Similarity, self.params_file)
            return similarity.similarity(self.world, *found, alike, self.people)
        stored = {(self.name, "base", "pooled"): self.scored[self.name, "base"]["pooled"]}
        choices = config.load("levels", config.Levels, self.params_file)
        of_choices = levels.levels if benchmark == "levels" else uncertainty.uncertainty
        return of_choices(self.world, stored, choices, self.people)
