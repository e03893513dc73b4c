"""Classification tasks from labelled pictures: repeated draws of training and test pictures."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet.config import Downstream
from alignet.worlds.format.tables import World

MOST = 2000  # pictures that `one_of_each_concept` names: at 224 pixels 300 MB


@dataclass(frozen=True)
class Labelled:
    """The pictures of a protocol: numbers of their classes and concepts, (n,), and whether they may be shown and
    tested.

    labels: the column of the hierarchy that gives the classes; '' for a public data set's own classes.
    """

    dataset: str
    protocol: str
    classes: Tensor
    concept: Tensor
    train: Tensor
    test: Tensor
    labels: str = ""


@dataclass(frozen=True)
class Episode:
    """Training pictures with their classes, and test pictures with theirs, as row numbers and numbers from 0."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Task:
    """Episodes that are scored together.

    shots: number of training pictures of each class, None: all; labels: as in `Labelled`.
    """

    dataset: str
    protocol: str
    shots: int | None
    classifier: str  # centroid | logistic | ridge
    classes: int
    episodes: list[Episode]
    labels: str = ""


def of_world(world: World, settings: Downstream) -> list[Task]:
    """The tasks of a world: few-shot at every level except the finest, linear probe, unseen subclasses, and shift of
    style.

    Row numbers count the pictures of the test split.
    """
    tasks = [task for label in world.hierarchy[1:] for task in few_shot(labelled(world, label), settings)]
    for label in world.hierarchy[1:2]:
        tasks += linear_probe(labelled(world, label), settings)
    for sub, label in zip(world.hierarchy[1:], world.hierarchy[2:], strict=False):
        tasks += unseen_subclasses(labelled(world, label), _codes(world, sub), f"unseen {sub} of a {label}", settings)
    return tasks + _styles(world, settings)


def labelled(world: World, label: str) -> Labelled:
    """The test split's pictures with their classes at one level of the hierarchy; all may be shown and tested."""
    classes, concept = _codes(world, label), _codes(world, world.hierarchy[0])
    every = torch.ones(len(classes), dtype=torch.bool)
    return Labelled(world.name, f"few-shot {label}", classes, concept, every, every, label)


def few_shot(pictures: Labelled, settings: Downstream) -> list[Task]:
    """k-shot episodes: k training pictures of each class, from as many concepts as possible, tested on other concepts.

    Each class keeps at least one concept for the test. Classes whose other concepts have fewer than k pictures are left
    out, and so is a number of shots that fewer than two classes allow. Logistic and ridge regression are scored on the
    first of the nearest centroid's episodes.
    """
    counts = {"centroid": settings.centroid_draws, "logistic": settings.logistic_draws, "ridge": settings.ridge_draws}
    tasks = []
    for shots in settings.shots:
        label, classes = _numbered(pictures, shots)
        if classes < 2:
            continue
        generator = torch.Generator().manual_seed(settings.seed)
        episodes = [_episode(pictures, label, shots, generator) for _ in range(max(counts.values()))]
        for classifier, count in counts.items():
            names = (pictures.dataset, pictures.protocol, shots, classifier, classes)
            tasks += [Task(*names, episodes[:count], pictures.labels)] if count else []
    return tasks


def linear_probe(pictures: Labelled, settings: Downstream) -> list[Task]:
    """Logistic regression on half of each class's concepts, tested on the other half; classes of one concept are left
    out.
    """
    concepts = pd.DataFrame({"class": pictures.classes, "concept": pictures.concept}).drop_duplicates("concept")
    concepts = concepts[concepts.groupby("class")["concept"].transform("size") > 1]
    classes = concepts["class"].nunique()
    if classes < 2:
        return []
    generator, episodes = torch.Generator().manual_seed(settings.seed), []
    for _ in range(settings.probe_draws):
        shuffled = concepts.iloc[torch.randperm(len(concepts), generator=generator).tolist()]
        group = shuffled.groupby("class")["concept"]
        first = group.cumcount() < group.transform("size") // 2
        sides = [torch.tensor(shuffled["concept"][chosen].to_numpy()) for chosen in (first, ~first)]
        train, test = (torch.isin(pictures.concept, side).nonzero().flatten() for side in sides)
        episodes.append(Episode(train, pictures.classes[train], test, pictures.classes[test]))
    protocol = pictures.protocol.replace("few-shot", "linear probe")
    return [Task(pictures.dataset, protocol, None, "logistic", classes, episodes, pictures.labels)]


def unseen_subclasses(pictures: Labelled, sub: Tensor, protocol: str, settings: Downstream) -> list[Task]:
    """Classes learnt from all pictures of half of their subclasses and tested on the other half, as in BREEDS.

    Args: sub: (n,) the subclass of each picture; classes with a single subclass are left out.
    """
    pairs = pd.DataFrame({"class": pictures.classes, "sub": sub}).drop_duplicates().groupby("class")["sub"]
    groups = {label: torch.tensor(members.to_numpy()) for label, members in pairs if len(members) > 1}
    if len(groups) < 2:
        return []
    tasks = []
    for classifier, draws in (("centroid", settings.centroid_draws), ("logistic", settings.probe_draws)):
        generator = torch.Generator().manual_seed(settings.seed)
        episodes = [_halves(pictures.classes, sub, groups, generator) for _ in range(draws)]
        tasks.append(Task(pictures.dataset, protocol, None, classifier, len(groups), episodes, pictures.labels))
    return tasks


def whole(dataset: str, protocol: str, sides: Episode, classes: int) -> list[Task]:
    """One episode that learns from all pictures of one side, by each classifier."""
    return [Task(dataset, protocol, None, name, classes, [sides]) for name in ("centroid", "logistic", "ridge")]


def one_of_each_concept(world: World) -> Tensor:
    """Numbers, among the test split's pictures, of the first picture of each concept.

    If there are more than MOST concepts, evenly spread ones are taken.
    """
    first = _images(world).drop_duplicates(world.hierarchy[0]).index.to_numpy()
    return torch.tensor(first[np.linspace(0, len(first) - 1, min(len(first), MOST)).round().astype(int)])


def _styles(world: World, settings: Downstream) -> list[Task]:
    """Tasks that learn from the first style and are tested on it and on each other style, by the nearest centroid."""
    images = _images(world)
    if "style" not in images or images["style"].nunique() < 2 or len(world.hierarchy) < 2:
        return []
    label, first = world.hierarchy[1], images["style"].iloc[0]
    train = torch.tensor((images["style"] == first).to_numpy())
    pictures, tasks = labelled(world, label), []
    for to, test in ((first, train), ("other", ~train)):
        protocol = f"style {first} to {to}, {label}"
        shifted = replace(pictures, protocol=protocol, train=train, test=test)
        tasks += few_shot(shifted, replace(settings, logistic_draws=0, ridge_draws=0))
    return tasks


def _images(world: World) -> pd.DataFrame:
    return world.images.iloc[world.rows("test").tolist()].reset_index(drop=True)


def _codes(world: World, label: str) -> Tensor:
    return torch.from_numpy(pd.factorize(_images(world)[label])[0])


def _numbered(pictures: Labelled, shots: int) -> tuple[Tensor, int]:
    """The number from 0 of each picture's class, (n,), or -1 if the class does not take part; and the number of
    classes.
    """
    shown = pd.DataFrame({"class": pictures.classes, "concept": pictures.concept})[pictures.train.numpy()]
    sizes = shown.groupby(["class", "concept"]).size()
    spare = sizes.groupby("class").sum() - sizes.groupby("class").max()  # without its largest concept
    tested = set(pictures.classes[pictures.test].tolist())
    usable = [label for label, size in spare.items() if size >= shots and label in tested]
    number = torch.full((int(pictures.classes.max()) + 1,), -1)
    number[usable] = torch.arange(len(usable))
    return number[pictures.classes], len(usable)


def _episode(pictures: Labelled, label: Tensor, shots: int, generator: torch.Generator) -> Episode:
    """An episode with `shots` training pictures of each class and all pictures of other concepts as test pictures.

    The concepts of a class are put in random order and the last one is kept back for the test. From the others,
    training pictures are taken in rounds: one picture of each concept, then a second one, until there are enough.

    Example: the class bird has the pictures a, b of owl, c, d of duck and e of swan. If the order is owl, duck, swan,
        then swan is kept back. The first round takes one owl and one duck, the second round the others. For shots = 2,
        an owl and a duck are learnt from, and e is tested; for shots = 1, an owl is learnt from, and c, d and e are
        tested.

    Args: label: (n,) classes numbered from 0, -1 for pictures of classes that do not take part.
    """
    shuffled = torch.randperm(len(label), generator=generator)
    candidates = shuffled[pictures.train[shuffled] & (label[shuffled] >= 0)]
    rank_of_concept = torch.randperm(int(pictures.concept.max()) + 1, generator=generator)
    class_of = label[candidates].numpy()
    rank_of = rank_of_concept[pictures.concept[candidates]].numpy()
    kept_back = np.zeros(class_of.max() + 1, np.int64)  # the highest rank among the concepts of each class
    np.maximum.at(kept_back, class_of, rank_of)
    offered = np.flatnonzero(rank_of < kept_back[class_of])
    round_of = _occurrences_before(rank_of[offered])
    offered = offered[np.lexsort((rank_of[offered], round_of, class_of[offered]))]  # by class, round and concept
    chosen = offered[_occurrences_before(class_of[offered]) < shots]
    train = candidates[torch.from_numpy(chosen)]
    learnt_from = torch.zeros(len(rank_of_concept), dtype=torch.bool)
    learnt_from[pictures.concept[train]] = True
    test = (pictures.test & (label >= 0) & ~learnt_from[pictures.concept]).nonzero().flatten()
    return Episode(train, label[train], test, label[test])


def _occurrences_before(values: np.ndarray) -> np.ndarray:
    """The number of equal values before each value, (n,): [7, 5, 7, 7, 5] gives [0, 0, 1, 2, 1]."""
    order = np.argsort(values, kind="stable")
    ordered, occurrences = values[order], np.empty(len(values), np.int64)
    occurrences[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return occurrences


def _halves(classes: Tensor, sub: Tensor, groups: dict[int, Tensor], generator: torch.Generator) -> Episode:
    """Each class divided by subclass: training pictures of a random half of its subclasses, test pictures of the
    others.
    """
    train, train_labels, test, test_labels = [], [], [], []
    for number, (label, members) in enumerate(groups.items()):
        chosen = members[torch.randperm(len(members), generator=generator)[: len(members) // 2]]
        of_chosen = torch.isin(sub, chosen)
        train.append(((classes == label) & of_chosen).nonzero().flatten())
        train_labels.append(torch.full_like(train[-1], number))
        test.append(((classes == label) & ~of_chosen).nonzero().flatten())
        test_labels.append(torch.full_like(test[-1], number))
    return Episode(torch.cat(train), torch.cat(train_labels), torch.cat(test), torch.cat(test_labels))
