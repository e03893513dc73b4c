"""Any model, or a matrix of features, on a world's benchmarks: its rows in the tables of the evaluation stages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet import config, devices
from alignet.evaluation import downstream, levels, similarity, uncertainty
from alignet.models import activations, backbones, exported, feature_files, given
from alignet.models.activations import Layers, Students
from alignet.models.backbones import Embedder
from alignet.people import held_out
from alignet.worlds.format import tables
from alignet.worlds.format.tables import World

MATRIX = "features"  # what errors call a matrix of features
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


Features: TypeAlias = Tensor | np.ndarray | pd.DataFrame
Scored: TypeAlias = exported.Aligned | config.Backbone | Callable[[Tensor], Any] | Features


def score(
    model: Scored,
    benchmark: str,
    name: str = "model",
    params_file: str = config.PARAMS,
    out_dir: str = ".",
    *,
    names: Sequence[str] | None = None,
    picture_size: int = 224,
    prepare: given.Prepare | None = None,
) -> pd.DataFrame:
    """A model on one of BENCHMARKS, in the world of a finished run: the columns of that stage's table, target 'base'.

    Args:
        model: of `alignet.models.load`; or the settings of any timm model (`config.Backbone`); or a torch module or
            other callable from a batch of pictures to vectors, (batch, 3, size, size) float32 in [0, 1] -> (batch, dim)
            (`models.given.Given`); or a matrix of features, (n, dim) numbers: a tensor, an array, or a data frame whose
            index names the pictures. Of a matrix no picture can be changed, so its rows of 'downstream' have neither
            corruptions nor public data sets.
        benchmark: levels, uncertainty, similarity or downstream.
        name: in the column student.
        names: of a matrix's n pictures: ids of images.csv, or file names with or without folder and ending; names of
            concepts stand for the photographs that people judged. Other pictures may be among them.
        picture_size: pixels of the square that a callable's pictures are resized to.
        prepare: makes of a Pillow image of that size what a callable takes, as the transform of open_clip does.
    Raises: ValueError, one line: a benchmark, model or layer that is not known; a callable that does not give a row of
        finite numbers for each picture; a matrix of another shape, with values that are not finite, without names, or
        without some of the pictures.
    """
    if benchmark not in BENCHMARKS:
        raise ValueError(f"benchmark {benchmark!r}: choose one of {', '.join(BENCHMARKS)}")
    world = tables.read(config.folders(out_dir)[0] / "world")
    scored = Model(model, name, world, resolved(params_file), names, picture_size, prepare)
    return scored.on(benchmark)


class Model:
    """A model in a world. What several benchmarks need is run once.

    Args: see `score`; source: what errors call a matrix of features, such as its file.
    """

    def __init__(
        self,
        model: Scored,
        name: str,
        world: World,
        settings: Settings,
        names: Sequence[str] | None = None,
        picture_size: int = 224,
        prepare: given.Prepare | None = None,
        source: str = MATRIX,
    ):
        self.source = source
        self.name, self.world, self.settings = name, world, settings
        self.students: Students = {}
        self.features: tuple[list[str], np.ndarray] | None = None
        if isinstance(model, Features):
            self.features = named_features(model, names, source)
        else:
            self.students = {(name, "base"): network(model, picture_size, prepare)}

    @cached_property
    def scored(self) -> Layers:
        """The pictures of `World.scored_rows`."""
        rows = self.world.scored_rows()
        if self.features is not None:
            return self._of_matrix(rows)
        return activations.forward(self.students, self.world.paths(rows), self.settings.reading)

    def on(self, benchmark: str) -> pd.DataFrame:
        """The model's rows of the table of one of BENCHMARKS."""
        reading, people = self.settings.reading, self.settings.people
        if benchmark == "downstream":
            test = torch.isin(self.world.scored_rows(), self.world.rows("test"))
            layers = {key: {"pooled": each["pooled"][test]} for key, each in self.scored.items()}
            settings = self.settings.downstream
            if self.features is not None:  # there is no network for pictures that have no features
                settings = replace(settings, corruptions=[], public=[])
            return downstream.downstream(self.world, layers, self.students, reading, settings)
        if benchmark == "similarity":
            return similarity.similarity(self.world, *self._with_tested(), self.settings.similarity, people)
        stored = {(self.name, "base", "pooled"): self.scored[self.name, "base"]["pooled"]}
        of_choices = levels.levels if benchmark == "levels" else uncertainty.uncertainty
        return of_choices(self.world, stored, self.settings.levels, people)

    def _with_tested(self) -> tuple[Tensor, Layers]:
        """See `similarity.with_tested`."""
        people = self.settings.people
        if self.features is None:
            return similarity.with_tested(self.students, self.scored, self.world, people, self.settings.reading)
        tested = similarity.tested_rows(self.world, held_out.choice_parts(self.world, people))
        rows = torch.cat([self.world.scored_rows(), tested]).unique()
        return rows, self._of_matrix(rows)

    def _of_matrix(self, rows: Tensor) -> Layers:
        assert self.features is not None
        found, _ = feature_files.of_pictures(*self.features, self.source, self.world, rows)
        return {(self.name, "base"): {"pooled": found}}


def network(model: Any, picture_size: int, prepare: given.Prepare | None) -> tuple[Embedder, int]:
    """A model as a backbone, and the size of its pictures. Raises: ValueError if it is no model."""
    if isinstance(model, config.Backbone):
        return AtLayer(backbones.create(model), model.layer).eval().to(devices.local()), model.picture_size
    if isinstance(model, exported.Aligned):
        return model.embedder, model.size
    if isinstance(model, Embedder):
        return model.eval().to(devices.local()), picture_size
    if callable(model):
        return given.Given(model, prepare).eval().to(devices.local()), picture_size
    known = "a model of alignet.models.load, a config.Backbone, a callable, or a matrix of features with names"
    raise ValueError(f"model: is a {type(model).__name__}, and not {known}")


def named_features(features: Features, names: Sequence[str] | None, source: str) -> tuple[list[str], np.ndarray]:
    """Names (n,) and features (n, dim) float32 of a matrix. Raises: ValueError as `feature_files.checked`."""
    if isinstance(features, pd.DataFrame):
        names = features.index.astype(str).tolist() if names is None else names
        rows = features.to_numpy()
    elif isinstance(features, Tensor):
        rows = (features.float() if features.is_floating_point() else features).detach().cpu().numpy()
    else:
        rows = features
    if names is None:
        raise ValueError(f"{source}: names: missing; they say which picture each row is of")
    return feature_files.checked([str(name) for name in names], rows, source)
