"""What a later stage would refuse, said before the first one runs.

python -m alignet.pipeline.preflight [--params-file FILE]

Checks every section of the params file, the names in it and, where the world is a folder of one's own, whether the
world can give what the params ask for. `make repro` runs it first.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from alignet import config, results
from alignet.config import SECTIONS, ConfigError, FeatureFile, Student, Teacher

if TYPE_CHECKING:  # importing it takes seconds, which `make repro` spends only on a world of one's own
    from torch import Tensor

    from alignet.worlds.format.tables import World

SMALLEST = {"cluster_border": 2, "within_cluster": 3}  # pictures of a cluster that a scheme of a batch needs
ALWAYS = 0.95  # share of one position from which on a person is remarked, of at least MANY choices
MANY = 30


def problems(params_file: str = config.PARAMS) -> list[str]:
    """A line for each problem of the params and, if they are right, of the world that they name."""
    lines = [*_sections(params_file), *_names(params_file)] or [*_feature_files(params_file), *_together(params_file)]
    chosen = None if lines else config.load("world", config.World, params_file)
    if chosen is None or chosen.source != "folder" or chosen.path is None:
        return lines
    from alignet.worlds.format import places, tables

    folder = config.ROOT / chosen.path
    if not folder.is_dir():
        return [f"{params_file}: world.path: {chosen.path}: no such folder: was it moved? Say where it lies now"]
    try:
        world = tables.read(folder)
    except tables.WorldError as error:
        return str(error).splitlines()
    return places.gone(folder / "world.yaml", world.folders()) or [*of_world(world, params_file)]


def _sections(params_file: str) -> Iterator[str]:
    """Missing, unknown and mistyped keys and numbers out of range."""
    parts = list(SECTIONS.items())
    kind = config.kind_of_backbone
    parts += [(f"backbones.{name}", kind(name, params_file)) for name in _entries("backbones", params_file)]
    parts += [(f"students.{name}", Student) for name in _entries("students", params_file)]
    for section, cls in parts:
        yield from _tried(section, cls, params_file)
    if not _tried("teacher", Teacher, params_file):
        for part in config.load("teacher", Teacher, params_file).grid:
            for key, searched in part.items():
                for each in searched:
                    yield from _tried("teacher", Teacher, params_file, **{key: each})


def _tried(section: str, cls: type, params_file: str, **overrides: Any) -> list[str]:
    try:
        config.load(section, cls, params_file, **overrides)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def _entries(section: str, params_file: str) -> list[str]:
    """The entries of a section that the run names and that exist."""
    return [name for name in config.names(section, params_file) if name in config.value(section, params_file)]


def _names(params_file: str) -> Iterator[str]:
    """Names that stand for nothing."""
    where = f"{params_file}: run"
    for section in config.SHARING:
        for name in config.names(section, params_file):
            if name not in config.value(section, params_file):
                yield f"{where}.{section}: {name!r} is no entry of {section}"
    extracted = config.names("backbones", params_file)
    for name in config.names("students", params_file):
        if name not in extracted:
            yield f"{where}.students: {name!r} is not in run.backbones"
    for name in config.names("targets", params_file):
        if name not in results.TAUGHT:
            yield f"{where}.targets: {name!r} is none of {', '.join(results.TAUGHT)}"
    signal = config.value("synthesis.signal_backbone", params_file)
    named = [] if signal is None else [("synthesis.signal_backbone", signal)]
    if config.value("synthesis.released", params_file) is None:
        teachers = config.value("teacher.backbones", params_file)
        named += [("teacher.backbones", name) for name in teachers]
        if signal in teachers:
            yield f"{params_file}: synthesis.signal_backbone: {signal!r} is one of teacher.backbones: name another one"
    for key, name in named:
        if name not in extracted:
            yield f"{params_file}: {key}: {name!r} is not in run.backbones"


def _feature_files(params_file: str) -> Iterator[str]:
    """Backbones that are files: none for a student, and each on disk."""
    for name in _entries("backbones", params_file):
        entry = config.backbone(name, params_file)
        if isinstance(entry, FeatureFile):
            if name in config.names("students", params_file):
                yield f"{params_file}: run.students: {name!r} is a file of features: nothing to train"
            if not (config.ROOT / entry.features).is_file():
                yield f"{params_file}: backbones.{name}.features: {entry.features}: no such file"


def _together(params_file: str) -> Iterator[str]:
    """What values that are right one by one cannot be together."""
    clusters = config.value("synthesis.clusters", params_file)
    for name in _entries("students", params_file):
        student, where = config.load(f"students.{name}", Student, params_file), f"{params_file}: students.{name}"
        needed, scheme = max((SMALLEST.get(each, 1), each) for each in config.listed(student.scheme))
        if student.source == "in_batch" and student.batch_pictures < needed:
            yield f"{where}.batch_pictures: is {student.batch_pictures}; scheme {scheme} needs {needed} or more"
        if student.source == "in_batch" and student.batch_clusters > clusters:
            yield f"{where}.batch_clusters: is {student.batch_clusters}, and synthesis.clusters is {clusters}"
        if student.source == "file" and student.loss == "rows":
            yield f"{where}.loss: rows compares all pairs of a batch, which a file of triplets lacks: set source: in_batch"
        if student.source == "file" and student.batch_triplets is None:
            yield f"{where}.batch_triplets: source file needs a number"


def of_world(world: "World", params_file: str) -> Iterator[str]:
    """What the params ask for and the world cannot give."""
    from alignet.people import held_out
    from alignet.worlds.format.tables import NOBODY

    pictures = len(world.labelled(config.value("synthesis.styles", params_file)))
    clusters = config.value("synthesis.clusters", params_file)
    if clusters > pictures:
        yield f"{params_file}: synthesis.clusters: is {clusters}, and {world.name} has {pictures} synthesis pictures"
    for name in _entries("students", params_file):
        student = config.load(f"students.{name}", Student, params_file)
        batch = student.batch_clusters * student.batch_pictures
        if student.source == "in_batch" and batch > pictures:
            asked = f"{params_file}: students.{name}: batch_clusters x batch_pictures is {batch}"
            yield f"{asked}, and {world.name} has {pictures} synthesis pictures"
    if world.choices == NOBODY:
        return
    people = config.load("human_uncertainty", config.HumanUncertainty, params_file)
    try:
        parts = held_out.parts_to_fit(world, people)
    except ValueError as error:
        yield str(error)
        return
    triplets, _ = world.choice_rows(world.triplets)
    concepts = len(world.codes(world.hierarchy[0])[triplets[parts.fitted]].unique())
    folds = config.value("teacher.folds", params_file)
    if concepts < 3 * folds:
        judged = f"{concepts} {world.hierarchy[0]}s are judged"
        yield f"{params_file}: teacher.folds: is {folds}, and each fold needs 3 of its own, but only {judged}"
        return
    yield from _folds(world, parts.fitted, params_file)


def _folds(world: "World", fitted: "Tensor", params_file: str) -> Iterator[str]:
    """Choices too few for the teacher's folds. Args: fitted: (n,) bool, the rows of triplets.csv that are fitted to."""
    from alignet.teacher.cross_validation import folds_of

    teacher = config.load("teacher", Teacher, params_file)
    triplets, _ = world.choice_rows(world.triplets)
    fold_of = folds_of(world.codes(world.hierarchy[0])[triplets[fitted]], teacher)
    for fold in range(teacher.folds):
        if not ((fold_of == fold).all(1).any() and (fold_of != fold).all(1).any()):
            few = f"{int(fitted.sum())} choices leave a fold of {world.hierarchy[0]}s without triplets of its own"
            yield f"{params_file}: teacher.folds: is {teacher.folds}, and {few}: choose fewer, or collect more choices"
            return


def remarks(world: "World") -> Iterator[str]:
    """What does not stop a run and should be known: no or a low noise ceiling, people who always press one key."""
    import torch

    from alignet.maths import metrics
    from alignet.worlds.check import agreement_between_people

    if not len(world.triplets):
        return
    ceiling = metrics.odd_one_out_noise_ceiling(agreement_between_people(world, world.triplets))
    if ceiling != ceiling:
        yield "triplets.csv: no triplet was judged by two people, so there is no noise ceiling"
    elif ceiling <= 1 / 3:
        yield f"triplets.csv: the noise ceiling is {ceiling:.3f}, not above chance (1/3): people do not agree at all"
    for person, rows in world.triplets.groupby("participant", sort=False):
        position = torch.bincount(torch.tensor(rows["odd"].to_numpy(int)), minlength=3)
        if len(rows) >= MANY and position.max() >= ALWAYS * len(rows):
            key = f"position {int(position.argmax())} in {int(position.max())} of {len(rows)} trials"
            yield f"triplets.csv: participant {person!r} chose {key}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m alignet.pipeline.preflight", description=__doc__.split("\n\n")[0])
    parser.add_argument("--params-file", default=config.PARAMS)
    params_file = parser.parse_args(arguments).params_file
    try:
        lines = problems(params_file)
    except ConfigError as error:
        lines = str(error).splitlines()
    for line in lines:
        print(line, file=sys.stderr)
    if lines:
        return 1
    for line in _remarks_of_own(params_file):
        print(f"remark: {line}")
    return 0


def _remarks_of_own(params_file: str) -> list[str]:
    chosen = config.load("world", config.World, params_file)
    if chosen.source != "folder" or chosen.path is None:
        return []
    from alignet.worlds.format import tables

    return [*remarks(tables.read(config.ROOT / chosen.path))]


if __name__ == "__main__":
    sys.exit(main())
