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
    source: Literal["emoji", "folder", "imagenet"]
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
    triplets_validation: int  # of the training concepts, each judged by several: calibration and its ceiling
    triplets_test: int
    triplets_per_level: int
    raters_test: int  # for the validation and test triplets and the levels


@settings
class ImageNet:
    """Where the paper's data lies (world.source: imagenet); folders are from the project's root or absolute."""

    things: str  # a folder: things_concepts.tsv, the files of choices (here or in triplet_dataset/), images/
    levels: str  # pruned_dataset.pkl
    imagenet: str  # a folder: train/ and val/ with a folder for each WordNet id
    validation_pictures: bool  # take the pictures of val/ into the test split
    levels_rt: str  # the entry of Levels' trials that holds the response time
    levels_rt_unit: Literal["seconds", "milliseconds"]
    superclass_depth: int  # steps below WordNet's root; a shallower synset is its own superclass
    domain_depth: int


@settings
class Backbone:
    model: str  # a timm model name, or local-dir:FOLDER of an exported student (weights: timm)
    options: dict[str, int | float | str | bool]  # further arguments of timm.create_model
    weights: str  # timm | package | random | a safetensors file | arrays of a released model (.npz or folder)
    layer: str  # pooled, or the name of a submodule whose output is average-pooled
    picture_size: int  # pixels; the whole picture is resized to it
    seed: int  # of random weights


@settings
class Features:
    batch_size: int
    workers: int  # processes that decode pictures; 0: in this one
    precision: Literal["float32", "bfloat16", "float16"]
    cache_bytes: int  # students: decoded pictures are kept in memory where they take no more
    devices: int  # processes on this machine, one a device


@settings
class HumanUncertainty:
    """VICE and what is made of it. Names beside the paper's: spike_weight is pi, min_objects k, stable_epochs ws."""

    uncertainty: Literal["vice", "empirical"]  # the soft targets: VICE's, or the shares of the people who chose
    objects: Literal["concept", "picture"]  # what VICE embeds: values of the finest label, or single pictures
    held_out_most: int  # held-out triplets that are scored, those that most people judged first
    held_out_share: float  # of the triplets, for calibration, where triplets.csv names no rows for it
    smoothing: float  # choices added to each item of an empirical distribution that is scored on held-out choices
    bins: int  # of the reliability diagram
    bootstrap: int  # resamples of the triplets
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
    loss: Literal["hard", "uncertainty"]  # -log q of people's single choices, or KL to their soft targets
    sigma: float  # W starts at sigma * I
    regularisation: float  # lambda of || W - mean(diag W) I ||_F^2
    lr: float
    steps: int
    batch_size: int  # triplets a step
    local_weight: float  # alpha of gLocal's local term; 0: none
    local_temperature: float  # tau of its cosine similarities
    local_batch: int  # pictures of the synthesis split a step
    pca: int | None  # principal axes of the judged pictures that the map works in; null: all dimensions
    precision: Literal["float32", "bfloat16"]
    folds: int  # over concepts
    grid: list[
        dict[Literal["sigma", "regularisation", "lr", "steps"], list[int] | list[float]]
    ]  # tried instead of these
    soft_labels: list[int]  # numbers of training triplets at which soft, hard and argmax targets are compared
    layer_triplets: int  # drawn to compare layers
    bootstrap: int  # resamples of the triplets


@settings
class Synthesis:
    seed: int
    clusters: int
    points_per_cluster: int  # pictures that the centroids are fitted to: clusters * points_per_cluster at most
    elbow: list[int]  # numbers of clusters whose inertia is shown beside the chosen one's
    precision: Literal["float16", "float32"]  # of the stored representation
    scheme: Literal["random", "between_class", "class_border", "within_class", "cluster_border"]
    class_label: str | None  # column of the hierarchy for the class schemes; None: the one above the finest
    train_triplets: int
    valid_triplets: int
    signal_backbone: str | None  # independent of the teacher's, for the signal check; None: no check


@settings
class Student:
    seed: int
    loss: Literal["hard", "kl", "jsd"]
    head_width: int
    temperature: float  # tau of the student's dot products
    teacher_temperature: float  # tau of the teacher's similarities
    lr: float
    steps: int
    warmup_steps: int
    decay_to_initial: float  # wd of theta <- theta - lr * (adam_step + wd * (theta - theta_0))
    clip_gradient: float | None  # largest norm; null: no limit
    source: Literal["in_batch", "file"]  # triplets among the pictures of a batch, or of the release file
    scheme: Literal["cluster_border", "within_cluster", "between_cluster", "random"]  # in_batch
    file_scheme: str  # of the release files: the held-out triplets, and with source file the training triplets
    batch_clusters: int  # in_batch: P clusters x K pictures make a batch
    batch_pictures: int
    batch_triplets: int | None  # triplets a step; null (in_batch only): all
    batch_parts: int  # parts in which a batch is forwarded, to save memory: the same step, one forward pass more
    frozen_batch_norm: bool
    frozen_layers: list[str]  # submodules of the backbone that keep their initial weights
    gradient_checkpointing: bool
    compile: bool
    precision: Literal["float32", "bfloat16", "float16"]
    held_out_triplets: int
    held_out_every: int  # steps
    # A fit stops where the last stop_watches held-out losses are all more than stop_above times the first one and more
    # than stop_margin (nats) above it, the newest no lower than the oldest of them.
    stop_above: float
    stop_margin: float
    stop_watches: int
    checkpoint_every: int  # steps
    devices: int  # processes on this machine, one a device


@settings
class Levels:
    seed: int
    centred: bool  # subtract the mean representation of the scored pictures before the cosine
    bootstrap: int  # resamples of the triplets
    reliability_bins: int  # of equal width in [0, 1]


@settings
class Cost:
    """Published figures of pre-training, by student, and of the paper's alignment; sources in params.yaml."""

    timed_steps: int
    pretraining: dict[str, dict[Literal["images", "picture_size"], int] | None]  # null: none, or not known
    paper_model: str  # a timm model name
    paper_picture_size: int
    paper_alignment_images: int
    paper_pretraining_images: int


@settings
class Similarity:
    seed: int
    bootstrap: int  # resamples of the triplets, concepts or pairs
    rater_groups: int  # people are put into this many groups for RSA's noise ceiling
    pairs: int  # the disagreement experiment: pairs each way
    matrices: list[dict[Literal["name", "file", "kind", "labels"], str]]  # square files: worlds/readers/matrices.py


@settings
class Reorganisation:
    seed: int
    bootstrap: int  # resamples of the concepts
    pictures_per_concept: int
    neighbours: int  # shown of each example picture
    examples: int
    umap_neighbours: int


@settings
class Downstream:
    seed: int
    shots: list[int]
    centroid_draws: int  # episodes
    logistic_draws: int
    probe_draws: int
    logistic_iterations: int
    bootstrap: int  # resamples of the episodes
    corruptions: list[Literal["loud background", "grey", "blur", "noise"]]
    public: list[dict[Literal["name", "root", "lists"], str]]  # data sets that are used where their folder is on disk
    public_pictures_per_class: int


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


def value(key: str, params_file: str = "params.yaml") -> Any:
    """One value of the params file by its dotted key ('teacher.backbone')."""
    return _section(key, params_file)


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
