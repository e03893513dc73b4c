"""params.yaml -> frozen, typed settings. Every number is chosen there; nothing here has a default."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

ROOT = Path(__file__).resolve().parents[1]

settings = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))


class ConfigError(ValueError):
    """A key of the params file that is missing, unknown or of the wrong type: one line for each."""


@settings
class World:
    source: Literal["emoji", "folder"]
    path: str | None  # the folder of a world (source: folder), from the project's root or absolute


@settings
class Emoji:
    """The embedded world: drawing (pixels, degrees, fractions of the picture) and simulated participants."""

    seed: int
    classes: int | None  # this many, spread over the taxonomy; null: all
    picture_size: int
    colour_renderings: int
    line_renderings: int
    glyph_scale: list[float]  # smallest and largest glyph, fraction of the picture's side
    tilt: float  # largest, degrees
    hue_shift: float  # largest, degrees
    background_contrast: float  # standard deviation of the background's texture, in [0, 1] pixel values
    split_shares: dict[Literal["human", "synthesis", "test"], float]
    human_test_share: float  # share of the human split's concepts kept for triplets.csv's test rows
    similarity_weights: dict[Literal["domain", "category", "class", "keywords", "colour", "shape"], float]
    participants: int
    choice_temperature: float  # of the median participant, in units of the similarity
    temperature_spread: float  # standard deviation of log temperature over participants
    lapse_rate: float  # share of choices made at random
    triplets_train: int
    raters_train: int
    triplets_test: int
    triplets_per_level: int
    raters_test: int  # for the test triplets and the levels


@settings
class Backbone:
    model: str  # a timm model name
    options: dict[str, int | float | str | bool]  # further arguments of timm.create_model
    weights: str  # timm | package | random | a safetensors file
    layer: str  # pooled, or the name of a submodule whose output is average-pooled
    picture_size: int  # pixels; the whole picture is resized to it
    seed: int  # of random weights


@settings
class Features:
    batch_size: int
    workers: int  # processes that decode pictures; 0: in this one
    precision: Literal["float32", "bfloat16"]


@settings
class Vice:
    """Names beside the paper's: spike_weight is pi, min_objects k, stable_epochs ws."""

    seed: int
    dimensions: int  # at the start, before pruning
    spike: float  # standard deviations of the prior's two parts
    slab: float
    spike_weight: float
    lr: float
    batch_size: int  # choices a step
    max_epochs: int
    burn_in: int  # epochs before dimensions are counted for the stop
    stable_epochs: int
    fdr: float  # false-discovery rate of the pruning
    min_objects: int  # a dimension with more significant objects than this is kept
    samples: int  # Monte-Carlo samples of the embedding for a choice distribution


@settings
class Teacher:
    backbone: str
    seed: int
    loss: Literal["hard", "uncertainty"]
    sigma: float  # W starts at sigma * I
    regularisation: float  # lambda of || W - mean(diag W) I ||_F^2
    lr: float
    steps: int
    batch_size: int  # triplets a step
    folds: int  # over concepts


@settings
class Synthesis:
    seed: int
    clusters: int
    scheme: Literal["cluster_border"]
    train_triplets: int
    valid_triplets: int


@settings
class Student:
    seed: int
    loss: Literal["hard", "kl", "jsd"]
    head_width: int
    temperature: float  # tau of the student's dot products
    lr: float
    steps: int
    warmup_steps: int
    decay_to_initial: float  # wd of theta <- theta - lr * (adam_step + wd * (theta - theta_0))
    batch_clusters: int  # P clusters x K pictures make a batch
    batch_pictures: int
    frozen_batch_norm: bool
    frozen_layers: list[str]  # submodules of the backbone that keep their initial weights
    precision: Literal["float32", "bfloat16"]


@settings
class Levels:
    seed: int
    centred: bool  # subtract the mean representation of the scored pictures before the cosine
    bootstrap: int  # resamples of the triplets


def load(section: str, cls: type, params_file: str = "params.yaml", **overrides: Any) -> Any:
    """One section of the params file as a frozen record.

    Args: section: key, dotted where nested ('students.lite0'); cls: the record's class; params_file: from
        ROOT or absolute; overrides: fields to replace, None meaning 'as the file says'.
    Raises: ConfigError with a line for each missing, unknown or mistyped key.
    """
    values, where = _section(section, params_file), f"{params_file}: {section}"
    try:
        changes = {name: value for name, value in overrides.items() if value is not None}
        return cls(**(values | changes))
    except ValidationError as error:
        raise ConfigError("\n".join(_line(where, problem) for problem in error.errors())) from None


def names(key: str, params_file: str = "params.yaml") -> list[str]:
    """A list of names of the section `run` (backbones, students or targets)."""
    return list(_section(f"run.{key}", params_file))


def folders(out_dir: str) -> tuple[Path, Path]:
    """The data and reports folders of a run; `out_dir` is from ROOT or absolute."""
    base = ROOT / out_dir
    return base / "data", base / "reports"


def _section(section: str, params_file: str) -> Any:
    path = ROOT / params_file
    if not path.is_file():
        raise ConfigError(f"{params_file}: no such file (looked for {path})")
    values = yaml.safe_load(path.read_text())
    for key in section.split("."):
        if not isinstance(values, dict) or key not in values:
            raise ConfigError(f"{params_file}: no section {section!r}")
        values = values[key]
    return values


def _line(where: str, problem: dict) -> str:
    key = ".".join([where, *(str(part) for part in problem["loc"])])
    if problem["type"] == "missing":
        return f"{key}: missing"
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key}: unknown key"
    hint = ""
    if isinstance(problem["input"], str) and "number" in problem["msg"]:
        hint = " (YAML reads 1e-3 as text: write 0.001)"
    return f"{key}: {problem['msg']}, got {problem['input']!r}{hint}"
