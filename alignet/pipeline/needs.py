"""The part of `preflight` that reads a user's own world and checks what all stages need of it.

It is a module of its own because it imports torch: `make repro` spends these seconds only for a user's own world.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from alignet import config
from alignet.config import HumanUncertainty, Student, Teacher
from alignet.maths import sampling
from alignet.people import choice_distributions, embeddings, held_out
from alignet.people.by_level import ByLevel
from alignet.people.vice import Posterior
from alignet.synthesis import schemes
from alignet.teacher import cross_validation
from alignet.worlds.format.tables import NOBODY, World

MAPPED = 5  # test concepts that the maps of 09_reorganisation need
LABELLED = 4  # pictures that give three triplets, to train on and to watch


def of_world(world: World, params_file: str) -> Iterator[str]:
    """A line for each thing that the params ask for and the world cannot give."""
    yield from _synthesis(world, params_file)
    concepts = world.images[world.hierarchy[0]].iloc[world.rows("test").tolist()].nunique()
    if concepts < MAPPED:
        asked = f"the maps of 09_reorganisation need {MAPPED} {world.hierarchy[0]}s of split test"
        yield f"images.csv, column split: {asked}, and {world.name} has {concepts}: add pictures of others"
    if world.choices != NOBODY:
        yield from _choices(world, params_file)


def _synthesis(world: World, params_file: str) -> Iterator[str]:
    """Lines about too few pictures to be labelled, or about labels that leave no triplet of a scheme."""
    labelled = world.to_label(config.value("synthesis.styles", params_file))
    pictures = len(labelled.rows("synthesis"))
    clusters = config.value("synthesis.clusters", params_file)
    if pictures < LABELLED:
        yield f"images.csv, column split: labels need {LABELLED} synthesis pictures, and {world.name} has {pictures}"
        return
    if clusters > pictures:
        yield f"{params_file}: synthesis.clusters: is {clusters}, and {world.name} has {pictures} synthesis pictures"
    for name in config.names("students", params_file):
        student = config.load(f"students.{name}", Student, params_file)
        batch = student.batch_clusters * student.batch_pictures
        if student.source == "in_batch" and batch > pictures:
            asked = f"{params_file}: students.{name}: batch_clusters x batch_pictures is {batch}"
            yield f"{asked}, and {world.name} has {pictures} synthesis pictures"
    settings = config.load("synthesis", config.Synthesis, params_file)
    try:
        classes = schemes.class_labels(labelled, settings)
    except ValueError as error:
        yield f"{params_file}: {error}"
        return
    of_classes = {each for each in config.listed(settings.scheme) if "class" in each}
    for scheme in sorted(of_classes):
        try:
            sampling.groups(scheme, classes)
        except ValueError as error:
            yield f"{params_file}: synthesis.scheme: {error} in {world.name}'s synthesis pictures"


def _choices(world: World, params_file: str) -> Iterator[str]:
    """Lines about choices that are too few, or about the wrong objects, for VICE and for the teacher."""
    people = config.load("human_uncertainty", HumanUncertainty, params_file)
    try:
        choices = choice_distributions.single_choices(world, people)
        fitted = held_out.parts_to_fit(world, people).fitted
        source = _embedding(world, choices.names, people)
    except ValueError as error:
        yield str(error)
        return
    objects = len(choices.names)
    if people.uncertainty == "vice" and objects <= people.min_objects:
        least = f"human_uncertainty.min_objects: is {people.min_objects}, and VICE keeps dimensions of more objects"
        yield f"{params_file}: {least}, but only {objects} were judged"
        return
    yield from _folds(world, fitted, _by_level(world, source, people), params_file)


def _embedding(world: World, names: list[str], people: HumanUncertainty) -> embeddings.Embedding:
    """The embedding that the teacher's targets come from; before VICE is fitted it holds the objects' names only."""
    nothing = torch.zeros(len(names), 1)
    return embeddings.source(world, embeddings.fitted_here(Posterior(nothing, nothing), names), people)


def _by_level(world: World, source: embeddings.Embedding, people: HumanUncertainty) -> ByLevel | None:
    """The source of the triplets that 04_teacher draws (`ByLevel.of`), before VICE is fitted; one sample is enough
    here.
    """
    if people.uncertainty == "empirical" or len(world.hierarchy) < 2:
        return None
    objects, human = source.numbers(world, people.objects), world.rows("human")
    classes, judged = world.codes(world.hierarchy[1]), human[objects[human] >= 0]
    return ByLevel(source.posterior, objects, classes, judged, 1, people.seed)


def _folds(world: World, fitted: Tensor, by_level: ByLevel | None, params_file: str) -> Iterator[str]:
    """Lines about too few concepts, or too few judged or drawn triplets, for the teacher's folds
    (`cross_validation.splits`).

    Args: fitted: (n,) bool, the rows of triplets.csv that are fitted to.
    """
    teacher = config.load("teacher", Teacher, params_file)
    label, concepts = world.hierarchy[0], world.codes(world.hierarchy[0])
    triplets = world.choice_rows(world.triplets)[0][fitted]
    drawn = [] if by_level is None else [by_level.pictures]
    pictures = torch.cat([triplets.unique(), *drawn]).unique()
    judged = len(concepts[pictures].unique())
    asked = f"{params_file}: teacher.folds: is {teacher.folds}"
    if judged < 3 * teacher.folds:
        yield f"{asked}, and each fold needs 3 of its own, but only {judged} {label}s are judged"
        return
    fold_of = torch.full((len(concepts),), -1)
    fold_of[pictures] = cross_validation.folds_of(concepts[pictures], teacher)

    def found(inside: Tensor, per_level: int) -> bool:
        """Whether some pictures have triplets. Args: inside: (n_images,) bool."""
        if inside[triplets].all(1).any():
            return True
        return by_level is not None and per_level > 0 and bool(by_level.draw(inside.nonzero()[:, 0], per_level, 0))

    for fold in range(teacher.folds):
        validation, train = fold_of == fold, (fold_of >= 0) & (fold_of != fold)
        if not (found(validation, teacher.validation_per_level) and found(train, teacher.train_per_level)):
            few = f"{int(fitted.sum())} choices leave a fold of {label}s without triplets of its own"
            yield f"{asked}, and {few}: choose fewer, or collect more choices"
            return
