"""Any model on a world's benchmarks: its rows in the tables of the evaluation stages."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Settings:
    """How a run's benchmarks are scored."""

    reading: config.Features
    people: config.HumanUncertainty
    levels: config.Levels
    similarity: config.Similarity
    downstream: config.Downstream


def resolved(params_file: str) -> Settings:
    """The settings of a run's benchmarks in its params file."""
    return Settings(
        reading=config.load("features", config.Features, params_file),
        people=config.load("human_uncertainty", config.HumanUncertainty, params_file),
        levels=config.load("levels", config.Levels, params_file),
        similarity=config.load("similarity", config.Similarity, params_file),
        downstream=config.load("downstream", config.Downstream, params_file),
    )


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
    world = tables.read(config.folders(out_dir)[0] / "world")
    return Model(model, name, world, resolved(params_file)).on(benchmark)


class Model:
    """A model in a world. What several benchmarks need is run once."""

    def __init__(self, model: exported.Aligned | config.Backbone, name: str, world: World, settings: Settings):
        if isinstance(model, config.Backbone):
            embedder: Embedder = AtLayer(backbones.create(model), model.layer).eval().to(devices.local())
            size = model.picture_size
        else:
            embedder, size = model.embedder, model.size
        self.name, self.world, self.settings = name, world, settings
        self.students: Students = {(name, "base"): (embedder, size)}

    @cached_property
    def scored(self) -> activations.Layers:
        """The pictures of `World.scored_rows`."""
        return activations.forward(self.students, self.world.paths(self.world.scored_rows()), self.settings.reading)

    def on(self, benchmark: str) -> pd.DataFrame:
        reading, people = self.settings.reading, self.settings.people
        if benchmark == "downstream":
            test = torch.isin(self.world.scored_rows(), self.world.rows("test"))
            layers = {key: {"pooled": each["pooled"][test]} for key, each in self.scored.items()}
            return downstream.downstream(self.world, layers, self.students, reading, self.settings.downstream)
        if benchmark == "similarity":
            found = similarity.with_tested(self.students, self.scored, self.world, people, reading)
            return similarity.similarity(self.world, *found, self.settings.similarity, people)
        stored = {(self.name, "base", "pooled"): self.scored[self.name, "base"]["pooled"]}
        of_choices = levels.levels if benchmark == "levels" else uncertainty.uncertainty
        return of_choices(self.world, stored, self.settings.levels, people)
