"""Checks before a run, which find at once what a later stage would refuse.

python -m alignet.pipeline.preflight [--params-file FILE]

It checks every section of the params file, the names in it and, if the world is a user's own folder, whether the world
can give what the params ask for. `make repro` runs it first.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from alignet import config, results
from alignet.config import SECTIONS, ConfigError, FeatureFile, Student, Teacher

if TYPE_CHECKING:
    from alignet.worlds.format.tables import World

SMALLEST = {"cluster_border": 2, "within_cluster": 3}  # pictures of a cluster that a scheme of a batch needs


def problems(params_file: str = config.PARAMS) -> list[str]:
    """A line for each problem of the params and, if there is none, for each problem of the world that they name."""
    return _looked_at(params_file)[0]


def _looked_at(params_file: str) -> tuple[list[str], "World | None"]:
    """The lines of `problems` and, if the params name a folder that holds one, the world that was read for them."""
    lines = [*_sections(params_file), *_names(params_file)] or [*_feature_files(params_file), *_together(params_file)]
    chosen = None if lines else config.load("world", config.WorldSource, params_file)
    if chosen is None or chosen.source != "folder" or chosen.path is None:
        return lines, None
    from alignet.pipeline import needs  # and torch with it: seconds that only a world of one's own takes
    from alignet.worlds.format import places, tables

    folder = config.home() / chosen.path
    if not folder.is_dir():
        return [f"{params_file}: world.path: {chosen.path}: no such folder: was it moved? Say where it lies now"], None
    try:
        world = tables.read(folder)
    except tables.WorldError as error:
        return str(error).splitlines(), None
    return places.gone(folder / "world.yaml", world.folders()) or [*needs.of_world(world, params_file)], world


def _sections(params_file: str) -> Iterator[str]:
    """Lines about missing, unknown and mistyped keys, and about numbers out of range."""
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
    """The entries of a section that the run names, as far as they exist."""
    return [name for name in config.names(section, params_file) if name in config.value(section, params_file)]


def _names(params_file: str) -> Iterator[str]:
    """Lines about names that nothing has."""
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
    """Lines about backbones that are files of features: no student may have one, and each file must exist."""
    for name in _entries("backbones", params_file):
        entry = config.backbone(name, params_file)
        if isinstance(entry, FeatureFile):
            if name in config.names("students", params_file):
                yield f"{params_file}: run.students: {name!r} is a file of features: nothing to train"
            if not (config.home() / entry.features).is_file():
                yield f"{params_file}: backbones.{name}.features: {entry.features}: no such file"


def _together(params_file: str) -> Iterator[str]:
    """Lines about values that are valid each by itself, but not together."""
    clusters = config.value("synthesis.clusters", params_file)
    for name in _entries("students", params_file):
        student, where = config.load(f"students.{name}", Student, params_file), f"{params_file}: students.{name}"
        needed, scheme = max((SMALLEST.get(each, 1), each) for each in config.listed(student.scheme))
        if student.source == "in_batch" and student.batch_pictures < needed:
            yield f"{where}.batch_pictures: is {student.batch_pictures}; scheme {scheme} needs {needed} or more"
        if student.source == "in_batch" and student.batch_clusters > clusters:
            yield f"{where}.batch_clusters: is {student.batch_clusters}, and synthesis.clusters is {clusters}"
        if student.source == "file":
            yield from _file_batches(student, where, params_file)
        if config.kind_of_backbone(name, params_file) is FeatureFile:
            continue  # `_feature_files` has refused it
        layer = config.value(f"backbones.{name}.layer", params_file)
        if layer != "pooled":
            asked = f"{params_file}: backbones.{name}.layer: is {layer!r}"
            yield f"{asked}, and a student's must be 'pooled': give the teacher a backbone of its own"
        if name not in config.value("cost.pretraining", params_file):
            yield f"{params_file}: cost.pretraining: has no entry for student {name!r} (null: none known)"
    yield from _start(params_file)
    yield from _data_sets(params_file)


def _start(params_file: str) -> Iterator[str]:
    """Lines about a start of the teacher that people's choices cannot give."""
    start, uncertainty = (config.value(key, params_file) for key in ("teacher.start", "human_uncertainty.uncertainty"))
    if start == "ridge" and uncertainty == "empirical":
        advice = "set identity, or human_uncertainty.uncertainty: vice"
        yield f"{params_file}: teacher.start: ridge needs an embedding of people's choices: {advice}"


def _file_batches(student: Student, where: str, params_file: str) -> Iterator[str]:
    """Lines about batches that a file of triplets cannot fill."""
    most = config.value("synthesis.train_triplets", params_file)
    if student.loss == "rows":
        yield f"{where}.loss: rows compares all pairs of a batch, which a file of triplets lacks: set source: in_batch"
    if student.batch_triplets is None:
        yield f"{where}.batch_triplets: source file needs a number"
    elif student.batch_triplets > most:
        yield f"{where}.batch_triplets: is {student.batch_triplets}, and synthesis.train_triplets is {most}"


def _data_sets(params_file: str) -> Iterator[str]:
    """Lines about unknown data sets of the last stages, and about matrices that cannot be read."""
    for entry in config.value("downstream.public", params_file):
        if entry.get("name") not in config.PUBLIC or "root" not in entry:
            known = f"is none of {', '.join(config.PUBLIC)} with its root"
            yield f"{params_file}: downstream.public: {entry.get('name')!r} {known}"
    for matrix in config.value("similarity.matrices", params_file):
        from alignet.evaluation.data import matrices  # and torch with it

        try:
            matrices.read(config.home(), matrix)
        except ValueError as error:
            yield f"{params_file}: {error}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alignet preflight", description=__doc__.split("\n\n")[0])
    parser.add_argument("--params-file", default=config.PARAMS)
    params_file = parser.parse_args(arguments).params_file
    try:
        lines, world = _looked_at(params_file)
    except ConfigError as error:
        lines, world = str(error).splitlines(), None
    for line in lines:
        print(line, file=sys.stderr)
    if lines:
        return 1
    if world is not None:
        from alignet.worlds import remarks

        for line in remarks.of_choices(world):
            print(f"remark: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
