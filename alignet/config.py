"""Reads params.yaml into frozen, typed settings. Every number is chosen in that file; nothing here has a default.

A profile (params/paper.yaml, params/smoke.yaml) holds only what differs from the params file that its `base` names. An
entry of its `backbones` or `students` may say `like: NAME`: it then takes all values that it does not give itself from
the entry NAME. `load` merges a profile with its base; `python -m alignet.config params/paper.yaml` writes the merged
values to params.yaml, which is the file that dvc reads.
"""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, dataclass_transform

import yaml
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

HOME = "ALIGNET_HOME"  # environment variable: the folder that relative paths start from
BESIDE = Path(__file__).resolve().parents[1]
CHECKOUT = BESIDE if (BESIDE / "dvc.yaml").is_file() else None  # of the source code; None where alignet is installed
PARAMS = "params.yaml"
DEFAULTS = Path(__file__).with_name(PARAMS)  # in an installed package only: setup.py copies the checkout's
DATA = "data"  # the folder of a run's outputs that later stages read
EXTERNAL = "external"  # in DATA: what was fetched
SHARING = ("backbones", "students")  # sections whose entries may be `like` another
BASE = "base"  # key of a profile: the params file that it differs from
Count = Annotated[int, Field(ge=1)]
TwoOrMore = Annotated[int, Field(ge=2)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(gt=0, lt=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Counts = Annotated[list[Count], Field(min_length=1)]
Scheme = Literal["random", "between_class", "class_border", "within_class", "cluster_border"]
InBatchScheme = Literal["cluster_border", "within_cluster", "between_cluster", "random"]
Searched = Literal["sigma", "regularisation", "local_weight", "lr", "steps"]
PublishedEmbedding = Annotated[dict[Literal["name", "file", "names"], str], Field(min_length=3)]  # a name a row of file
PROFILE = "profile"  # key of a params.yaml that was written from a profile: that profile's file


@dataclass_transform(kw_only_default=True, frozen_default=True)
def settings(section: type) -> type:
    """Make a class the settings of one section: frozen, each value of exactly its type, no unknown keys.

    A notebook shows its instances as YAML, one setting a line.
    """
    record: Any = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))(section)
    record._repr_markdown_ = lambda self: f"```yaml\n{_lines(self)}\n```"
    record._repr_pretty_ = lambda self, printer, cycle: printer.text(_lines(self))
    return record


def _lines(record: Any) -> str:
    """The settings of a record as the params file has them, one a line."""
    lines = ""
    for key, value in asdict(record).items():
        inner = None if isinstance(value, list | dict) else False  # YAML's style: [a, b] for the innermost lists
        lines += yaml.safe_dump({key: value}, default_flow_style=inner, sort_keys=False, width=90)
    return lines.rstrip()


class ConfigError(ValueError):
    """The params file has missing, unknown or mistyped keys; the message has one line for each."""


def home() -> Path:
    """The folder that relative paths of params and runs start from.

    Returns: $ALIGNET_HOME if it is set, else the checkout that this package stands in, else the current folder. It is
        read at each call, so that a script may set it after the import.
    """
    named = os.environ.get(HOME)
    return Path(named).resolve() if named else CHECKOUT or Path.cwd()


@settings
class WorldSource:
    source: Literal["emoji", "folder", "imagenet"]
    path: str | None  # the world's folder (source: folder), absolute or relative to the project's root


@settings
class Emoji:
    """The embedded world: how its pictures are drawn, and whose choices it has.

    Lengths are in pixels or fractions of the picture's side, angles in degrees. The splits of concepts and the fields
    after them apply to simulated people only.
    """

    seed: Whole
    people: Literal["things", "simulated"]  # real people about photographs of the same concepts, or simulated ones
    new_share: Part  # people: things: share of the judged concepts that no fit may see
    classes: Count | None  # how many classes to use, spread over the taxonomy; null: all
    picture_size: Count
    colour_renderings: Count
    line_renderings: Whole
    glyph_scale: list[float]  # smallest and largest glyph, as fractions of the picture's side
    tilt: NonNegative  # largest tilt of a glyph, degrees
    hue_shift: NonNegative  # largest shift of a glyph's hue, degrees
    background_contrast: NonNegative  # standard deviation of the background's texture, in [0, 1] pixel values
    split_shares: dict[Literal["human", "synthesis", "test"], float]
    human_test_share: Share  # share of the human split's concepts that are kept for the test rows of triplets.csv
    similarity_weights: dict[Literal["domain", "category", "class", "keywords", "colour", "shape"], float]
    participants: Count
    choice_temperature: Positive  # of the median participant, in units of the similarity
    temperature_spread: NonNegative  # standard deviation of log temperature over participants
    weight_spread: NonNegative  # standard deviation of the log of a participant's own weights
    lapse_rate: Share  # share of choices made at random
    triplets_train: Count
    raters_train: Count
    triplets_validation: Count  # of training concepts, each judged by several people: for calibration and its ceiling
    triplets_test: Count
    triplets_per_level: Count
    raters_test: Count  # people who judge each validation and test triplet and each triplet of the levels


@settings
class ImageNet:
    """The folders of the paper's data (world.source: imagenet), absolute or relative to the project's root."""

    # A folder with things_concepts.tsv, images/ and the choices (here or in triplet_dataset/); null: no choices.
    things: str | None
    levels: str | None  # pruned_dataset.pkl; null: no levels
    imagenet: str  # a folder with train/ and val/, each with a folder for each WordNet id
    validation_pictures: bool  # take the pictures of val/ into the test split
    levels_rt: str  # the key under which a trial of Levels holds its response time
    levels_rt_unit: Literal["seconds", "milliseconds"]
    superclass_depth: Whole  # steps below WordNet's root; a shallower synset is its own superclass
    domain_depth: Whole


@settings
class Backbone:
    model: str  # a timm model name, or local-dir:FOLDER of an exported student (weights: timm)
    options: dict[str, int | float | str | bool]  # further arguments of timm.create_model
    weights: str  # timm | package | random | a safetensors file | arrays of a released model (.npz or folder)
    layer: str | list[str]  # pooled, or a submodule whose output is average-pooled; several: one beside the other
    picture_size: Count  # pixels; the whole picture is resized to it
    seed: Whole  # of random weights


@settings
class FeatureFile:
    """An entry of backbones whose features others computed (models/feature_files.py). Only the teacher can read it."""

    features: str  # .npy, .npz or .csv, from the project's root or absolute
    names: str | None  # a text file with the name of each row's picture; null: beside the file or in it


@settings
class Features:
    batch_size: Count
    workers: Whole  # processes that decode pictures; 0: this process decodes them
    precision: Literal["float32", "bfloat16", "float16"]
    cache_bytes: Whole  # students keep the decoded pictures in memory if these take no more than this
    devices: Count  # processes on this machine, one for each device


@settings
class HumanUncertainty:
    """Settings of VICE and of the targets. VICE's paper calls spike_weight pi, min_objects k, and stable_epochs ws."""

    # Soft targets: from VICE, from the published embedding, or the shares of people who chose each item.
    uncertainty: Literal["vice", "embedding", "empirical"]
    embedding: PublishedEmbedding | None  # null: none; see people/embeddings.py
    published: list[PublishedEmbedding]  # to compare VICE with, each used if its file is on disk
    objects: Literal["concept", "picture"]  # what VICE embeds: values of the finest label, or single pictures
    held_out_most: Count  # held-out triplets to score, starting with those that the most people judged
    held_out_share: Part  # share of triplets held out for calibration if triplets.csv names no rows for it
    # Objects that no fit may see: their names, a share of the judged ones, or null (see people/held_out.py).
    held_out_objects: Share | list[str] | None
    held_out_people: Part | None  # share of people whose choices no fit sees, for calibration; null: none
    smoothing: Positive  # added to each item's count where an empirical distribution is scored on held-out choices
    bins: Count  # of the reliability diagram
    seed: Whole
    dimensions: Count  # at the start, before pruning
    spike: Positive  # standard deviation of the prior's narrow part
    slab: Positive  # standard deviation of the prior's wide part
    spike_weight: Part
    lr: Positive
    batch_size: Count  # choices per step
    max_epochs: Count
    burn_in: Whole  # epochs before the number of dimensions counts towards stopping
    stable_epochs: Count  # VICE stops after this many epochs with an unchanged number of dimensions
    fdr: Part  # false-discovery rate of the pruning
    min_objects: Whole  # a dimension with more significant objects than this is kept
    samples: Count  # Monte-Carlo samples of the embedding for a choice distribution


@settings
class Teacher:
    backbones: Annotated[list[str], Field(min_length=1)]  # whose features are joined, each layer standardised
    seed: Whole
    loss: Literal["hard", "uncertainty"]  # -log q of people's single choices, or KL to their soft targets
    # identity: W starts at sigma * I; ridge: at ridge regression onto the embedding of people's choices.
    start: Literal["identity", "ridge"]
    ridge: Annotated[list[Positive], Field(min_length=1)]  # penalties tried, in units of the pictures' mean square norm
    sigma: Positive  # W starts at sigma * I
    regularisation: NonNegative  # lambda of || W - mean(diag W) I ||_F^2; of a ridge start: of || W - its start ||_F^2
    lr: Positive
    steps: Whole  # 0: the start as it is
    batch_size: Count  # triplets per step, of those that people judged and of those that are drawn
    batch_concepts: Annotated[int, Field(ge=3)] | None  # all triplets of so many concepts a step instead; null: no
    local_weight: BelowOne  # alpha, the weight of gLocal's local term; 0: no such term
    local_temperature: Positive  # tau of its cosine similarities
    local_batch: TwoOrMore  # pictures of the synthesis split per step
    pca: Count | None  # principal axes of the judged pictures that the map works in; null: all dimensions
    precision: Literal["float32", "bfloat16"]
    folds: TwoOrMore  # over concepts
    # Triplets at each level of abstraction, drawn of judged objects with VICE's distribution: to validate on in each
    # fold, and to train on beside people's own (0: none). Without VICE (uncertainty: empirical) there are none.
    validation_per_level: Whole
    train_per_level: Whole
    # Values that cross-validation tries in place of the fields of the same names above.
    grid: Annotated[list[dict[Searched, Annotated[list[int] | list[float], Field(min_length=1)]]], Field(min_length=1)]
    soft_labels: Counts  # numbers of training triplets at which soft, hard and argmax targets are compared
    layer_triplets: Count  # triplets drawn to compare layers


ReleasedFile = Literal["representation", "filenames", "clusters", "triplets", "transform"]  # synthesis/released.py
Released = dict[Literal["alignet", "unalignet"], dict[ReleasedFile, str]]


@settings
class Synthesis:
    seed: Whole
    clusters: Count
    # Of each target files of the release in place of a teacher: FILE.npy, FILE.npz:ARRAY or, for file names, FILE.txt.
    released: Released | None
    points_per_cluster: Count  # the centroids are fitted to at most clusters * points_per_cluster pictures
    elbow: Counts  # numbers of clusters whose inertia is shown beside the chosen one's
    precision: Literal["float16", "float32"]  # of the stored representation
    styles: Literal["judged", "all"]  # whether pictures of styles that no person judged stay out
    scheme: Scheme | Annotated[list[Scheme], Field(min_length=1)]  # several: equal shares of each
    matched_on: Literal["random", "cluster_border"]  # triplets on which the control is as sure as AligNet
    class_label: str | None  # label of the hierarchy that the class schemes use; null: the one above the finest
    # The teacher's features from files: pictures without features get those of their concept's judged photograph.
    by_concept: bool
    train_triplets: Count
    valid_triplets: Count
    signal_backbone: str | None  # a backbone independent of the teacher's, for the signal check; null: no check


@settings
class Student:
    family: Literal["supervised", "image-text", "self-supervised", "captioning", "from scratch"]  # of its pre-training
    seed: Whole
    loss: Literal["hard", "kl", "jsd", "rows"]  # of triplets; rows: of all pairs of a batch (in_batch only)
    head_width: Count | None  # of the linear head that the loss reads; null: none, it reads what is scored, `pooled`
    similarity: Literal["dot", "cosine"]  # that the loss compares: of the head's outputs, or of `pooled`
    temperature: Positive  # tau of the student's similarities
    teacher_temperature: Positive  # tau of the teacher's similarities
    lr: Positive
    steps: Count
    warmup_steps: Whole
    keep_neighbours: BelowOne  # weight of a term that keeps the neighbourhoods of the initial representation; 0: none
    neighbour_temperature: Positive  # tau of its cosine similarities
    decay_to_initial: NonNegative  # wd of theta <- theta - lr * (adam_step + wd * (theta - theta_0))
    clip_gradient: Positive | None  # largest norm; null: no limit
    source: Literal["in_batch", "file"]  # train on triplets among a batch's pictures, or on those of a release file
    scheme: InBatchScheme | Annotated[list[InBatchScheme], Field(min_length=1)]  # in_batch; several: equal shares
    file_scheme: str  # scheme of the release file with the held-out triplets (source: file: the training ones too)
    batch_clusters: Count  # in_batch: clusters in a batch (P)
    batch_pictures: Count  # in_batch: pictures of each of these clusters (K)
    batch_triplets: Count | None  # triplets per step; null (in_batch only): all
    batch_parts: Count  # a batch passes in this many parts: less memory, the same step, one more forward pass
    frozen_batch_norm: bool
    frozen_layers: list[str]  # submodules of the backbone that keep their initial weights
    gradient_checkpointing: bool
    compile: bool
    precision: Literal["float32", "bfloat16", "float16"]
    held_out_triplets: Count
    held_out_every: Count  # steps
    # A fit stops when the last stop_watches held-out losses are all more than stop_above times the first one and more
    # than stop_margin (nats) above it, and the newest of them is no lower than the oldest.
    stop_above: Positive
    stop_margin: NonNegative
    stop_watches: Count
    checkpoint_every: Count  # steps
    devices: Count  # processes on this machine, one for each device


@settings
class Levels:
    seed: Whole
    centred: bool  # subtract the mean representation of the scored pictures before taking cosine similarities
    reliability_bins: Count  # of equal width in [0, 1]
    floor_colours: Count  # boxes along each of red, green and blue of the histogram that is a floor
    floor_pixels: Count  # cells along each side of the grid whose mean colours are a floor
    floor_untrained: bool  # whether students' architectures with random weights are floors


@settings
class Cost:
    """Published numbers about students' pre-training and the paper's alignment; params.yaml names their sources."""

    pretraining: dict[str, dict[Literal["images", "picture_size"], int] | None]  # null: none, or unknown
    paper_model: str  # a timm model name
    paper_picture_size: Count
    paper_alignment_images: Count
    paper_pretraining_images: Count


@settings
class Similarity:
    seed: Whole
    rater_groups: Count  # people are put into this many groups for RSA's noise ceiling
    pairs: Count  # pairs in each direction of the disagreement experiment
    pair_class: str | None  # label that both pictures of a pair share; null: the one above the finest
    matrices: list[dict[Literal["name", "file", "kind", "labels"], str]]  # square files: evaluation/data/matrices.py
    # Judgements about pictures of their own, each used if its folder is on disk: evaluation/data/picture_sets.py.
    picture_sets: list[dict[Literal["name", "format", "root", "set", "file", "kind", "labels"], str]]


@settings
class Reorganisation:
    seed: Whole
    bootstrap: Count  # resamples of the concepts, for CKA
    pictures_per_concept: Count
    neighbours: Count  # nearest neighbours that are shown of each example picture
    examples: Count  # example pictures
    umap_neighbours: TwoOrMore


PUBLIC: tuple[str, ...] = (
    "DTD",
    "OxfordIIITPet",
    "Flowers102",
    "StanfordCars",
    "CIFAR100",
    "Caltech-Birds",
    "Caltech101",
    "SUN397",
)
PUBLIC += ("EuroSAT", "UC-Merced", "Colorectal", "ImageNet-A", "Entity-13", "Entity-30", "Living-17", "Nonliving-26")


@settings
class Downstream:
    seed: Whole
    shots: Counts
    centroid_draws: Count  # episodes
    logistic_draws: Whole
    ridge_draws: Whole
    probe_draws: Count
    logistic_iterations: Count
    ridge: Positive  # penalty, as a multiple of the features' mean squared norm
    corruptions: list[Literal["loud background", "grey", "blur", "noise"]]
    # Data sets, each used if its folder is on disk. train: what ImageNet-A and BREEDS are learnt from; hierarchy: the
    # folder of BREEDS' class hierarchy (evaluation/data/breeds.py).
    public: list[dict[Literal["name", "root", "hierarchy", "train"], str]]
    public_shots: Counts
    public_pictures_per_class: TwoOrMore  # of a training part, to draw the shots from; all test pictures are tested


SECTIONS: dict[str, type] = {
    "world": WorldSource,
    "emoji": Emoji,
    "imagenet": ImageNet,
    "features": Features,
    "human_uncertainty": HumanUncertainty,
    "teacher": Teacher,
    "synthesis": Synthesis,
    "levels": Levels,
    "similarity": Similarity,
    "reorganisation": Reorganisation,
    "downstream": Downstream,
    "cost": Cost,
}


def load(section: str, cls: type, params_file: str = PARAMS, **overrides: Any) -> Any:
    """One section of the params file as a frozen record.

    Args: section: its key, dotted if it is nested ('students.lite0'); cls: the record's class; params_file: absolute
        or relative to `home`; overrides: fields to replace; None keeps the file's value.
    Raises: ConfigError with a line for each missing, unknown or mistyped key.
    """
    fields, where = _section(section, params_file), f"{params_file}: {section}"
    if not isinstance(fields, dict):
        raise ConfigError(f"{where}: is {fields!r}, not keys with values")
    try:
        changes = {name: value for name, value in overrides.items() if value is not None}
        return cls(**(fields | changes))
    except ValidationError as error:
        raise ConfigError("\n".join(_line(where, problem) for problem in error.errors())) from None


def backbone(name: str, params_file: str = PARAMS) -> Backbone | FeatureFile:
    """An entry of the section backbones: a network or, if it has the key `features`, a file of features."""
    return load(f"backbones.{name}", kind_of_backbone(name, params_file), params_file)


def kind_of_backbone(name: str, params_file: str = PARAMS) -> type:
    """The class of the record of an entry of the section backbones."""
    entry = _section(f"backbones.{name}", params_file)
    return FeatureFile if isinstance(entry, dict) and "features" in entry else Backbone


def value(key: str, params_file: str = PARAMS) -> Any:
    """One value of the params file by its dotted key ('teacher.backbone')."""
    return _section(key, params_file)


def listed(one_or_several: str | Sequence[str]) -> list[str]:
    """A value that may be one name or a list of them, as a list.

    Example:

    >>> from alignet import config
    >>> config.listed("random"), config.listed(["random", "cluster_border"])
    (['random'], ['random', 'cluster_border'])
    """
    return [one_or_several] if isinstance(one_or_several, str) else [*one_or_several]


def names(key: str, params_file: str = PARAMS) -> list[str]:
    """One of the lists of names in the section `run`: backbones, students or targets."""
    found = _section(f"run.{key}", params_file)
    if not isinstance(found, list) or not found or not all(isinstance(name, str) for name in found):
        raise ConfigError(f"{params_file}: run.{key}: is {found!r}, not a list of names")
    if twice := [name for number, name in enumerate(found) if name in found[:number]]:
        raise ConfigError(f"{params_file}: run.{key}: {twice[0]!r} stands twice")
    return found


def folders(out_dir: str) -> tuple[Path, Path]:
    """The data and reports folders of a run; `out_dir` is absolute or relative to `home`."""
    base = home() / out_dir
    return base / DATA, base / "reports"


def own(folder: Path) -> Path:
    """A folder that a stage is about to write to, if it is the run's own.

    A variant of a run and a student that is tried by itself link parts of data/ of the finished run; a stage that wrote
    through such a link would change the finished run.

    The part is the innermost folder within one called data. `data/external`, fetched files, is nobody's run.

    Raises: ConfigError naming the part of data/ that is a link.
    """
    part = next((place for place in (folder, *folder.parents) if place.parent.name == DATA), folder)
    if part.is_symlink() and part.name != EXTERNAL:
        belongs = f"is a link to {os.readlink(part)}, as the parts of another run are"
        raise ConfigError(f"{part}: {belongs}: remove the link (rm {part}) if this run is to have its own")
    return folder


def values(params_file: str = PARAMS) -> dict[str, Any]:
    """All values of a params file. A profile's values are merged over those of its base, mapping by mapping.

    Raises: ConfigError if a file is missing, if a profile has a section that its base lacks, or if its base is a
        params.yaml that was written from another profile.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from alignet import config
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     base, profile = Path(folder) / "base.yaml", Path(folder) / "short.yaml"
    ...     _ = base.write_text("teacher: {lr: 0.1, steps: 900}", encoding="utf-8")
    ...     _ = profile.write_text(f"{{base: {base}, teacher: {{steps: 9}}}}", encoding="utf-8")
    ...     config.values(str(profile))
    {'teacher': {'lr': 0.1, 'steps': 9}}
    """
    return _values(params_file)


def _values(params_file: str, before: tuple[str, ...] = ()) -> dict[str, Any]:
    """All values of a params file. Args: before: the profiles that build on it, the first one first."""
    own = _read(params_file)
    if BASE not in own:
        return own
    name, written_from = own.pop(BASE), own.pop(PROFILE, params_file)
    if not isinstance(name, str):
        raise ConfigError(f"{params_file}: base: is {name!r}, not a params file")
    if name in (*before, params_file):
        raise ConfigError(f"{params_file}: base: {name} builds on {params_file} itself")
    base = _values(name, (*before, params_file))
    if base.get(PROFILE, written_from) != written_from:
        raise ConfigError(f"{name}: was written from {base[PROFILE]}; restore it first (git checkout {name})")
    unknown = sorted(own.keys() - base.keys())
    if unknown:
        raise ConfigError(f"{params_file}: {name} has no section {', '.join(unknown)}")
    merged = _merged(base, own)
    shared = [section for section in SHARING if section in merged]
    return merged | {section: _alike(merged[section], f"{params_file}: {section}") for section in shared}


def write_profile(params_file: str) -> None:
    """Write a profile's merged values into params.yaml and keep its comments, so that `dvc repro` runs the profile.

    Raises: ConfigError as `values` does, or if the file is not a profile of params.yaml.
    """
    from ruamel.yaml import YAML

    merged = values(params_file)
    if PARAMS not in _bases(params_file):
        raise ConfigError(f"{params_file}: is no profile of {PARAMS} (base: {PARAMS})")
    engine, path = YAML(), home() / PARAMS
    engine.width = 120
    unfinished = path.with_name(f"{PARAMS}.part")
    shutil.copyfile(path, unfinished)
    for _ in range(2):  # again, since an entry that takes another's values (<<) has followed that one's changes
        document = engine.load(unfinished.read_text(encoding="utf-8"))
        _update(document, {PROFILE: params_file} | merged)
        with unfinished.open("w", encoding="utf-8") as file:
            engine.dump(document, file)
    unfinished.replace(path)


def _bases(params_file: str) -> list[str]:
    """The params files on which a profile builds, nearest first."""
    base = _read(params_file).get(BASE)
    return [] if base is None else [base, *_bases(base)]


def _section(section: str, params_file: str) -> Any:
    entry: Any = values(params_file)
    for key in section.split("."):
        if not isinstance(entry, dict) or key not in entry:
            raise ConfigError(f"{params_file}: no section {section!r}")
        entry = entry[key]
    return entry


def _read(params_file: str) -> dict[str, Any]:
    path = home() / params_file
    if params_file == PARAMS and not path.is_file():
        path = DEFAULTS if DEFAULTS.is_file() else BESIDE / PARAMS
    if not path.is_file():
        raise ConfigError(f"{params_file}: no such file (looked for {path})")
    try:
        parsed = _parsed(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split()).replace(' in "<unicode string>",', "")
        raise ConfigError(f"{params_file}: cannot be read as YAML ({why})") from None
    if not isinstance(parsed, dict):
        raise ConfigError(f"{params_file}: holds {'nothing' if parsed is None else 'no sections'}")
    return deepcopy(parsed)


class _SafeLoader(yaml.SafeLoader):
    """Reads YAML, but refuses a key that stands twice, of which others keep the last without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # before merge keys (<<) add those of others
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value]
        for number, (key, _) in enumerate(node.value):
            if key.value in keys[:number]:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
        return node


_SafeLoader.add_implicit_resolver(  # 3e-05, as `write_profile` and `dvc exp run -S` write it: text in YAML 1.1
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@lru_cache(maxsize=16)
def _parsed(text: str) -> Any:
    """The content of a params file, parsed once in a process: the checks before a run read it a hundred times."""
    return yaml.load(text, _SafeLoader)


def _merged(base: Any, own: Any) -> Any:
    """A base with a profile's values over it: mappings merged key by key, other values replaced."""
    if not isinstance(base, dict) or not isinstance(own, dict):
        return own
    return base | {key: _merged(base.get(key), value) for key, value in own.items()}


def _alike(entries: dict[str, Any], where: str) -> dict[str, Any]:
    """The entries of a section; an entry that is `like` another takes that one's values for all keys that it lacks."""

    def full(name: str, seen: tuple[str, ...] = ()) -> Any:
        entry = entries.get(name)
        if not isinstance(entry, dict) or "like" not in entry:
            return entry
        own, other = {key: value for key, value in entry.items() if key != "like"}, entry["like"]
        if other not in entries or other in (name, *seen):
            raise ConfigError(f"{where}.{name}.like: {other!r} is no other entry")
        return _merged(full(other, (name, *seen)), own)

    return {name: full(name) for name in entries}


def _update(document: Any, merged: Mapping[str, Any]) -> None:
    """Change only those values of a round-trip YAML document that differ, so that its comments keep their places."""
    for key, value in merged.items():
        if isinstance(value, dict) and isinstance(document.get(key), dict):
            _update(document[key], value)
        elif key not in document or document[key] != value:
            document[key] = value


def _line(where: str, problem: ErrorDetails) -> str:
    """The line that tells the user about a problem of a section's values."""
    key = ".".join([where, *(str(part) for part in problem["loc"])])
    if problem["type"] == "missing":
        return f"{key}: missing"
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key}: unknown key"
    return f"{key}: {problem['msg']}, got {problem['input']!r}"


def refuse_beside(parser: argparse.ArgumentParser, wanted: argparse.Namespace, chosen: str, *names: str) -> None:
    """End a command, in one line, if it was given options that it would ignore.

    Args: chosen: the option or value beside which they have no effect; names: of the options, as argparse stores them.
        An option counts as given if its value is not its default.
    """
    given = [name for name in names if getattr(wanted, name) != parser.get_default(name)]
    flags = {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}
    if given:
        shown = ", ".join(flags.get(name, name) for name in given)
        parser.error(f"{shown}: without effect beside {chosen}: leave {'it' if len(given) == 1 else 'them'} out")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alignet config", description=f"Write a profile to {PARAMS}.")
    parser.add_argument("profile", help="for instance params/paper.yaml")
    try:
        write_profile(parser.parse_args(arguments).profile)
    except (ConfigError, OSError) as error:  # OSError: params.yaml cannot be written
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
