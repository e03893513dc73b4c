"""Downstream: few-shot, linear probe, shifts of subclass, style and corruption, named public data sets."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController
from torch import Tensor

from alignet import devices, results
from alignet.config import Downstream, Features, home
from alignet.evaluation import corruptions, episodes
from alignet.evaluation.data import public
from alignet.evaluation.episodes import Episode, Labelled, Task
from alignet.maths import intervals
from alignet.models.activations import Layers, Students, embed, stacks
from alignet.worlds.format.tables import World

COLUMNS = ["student", "target", "dataset", "protocol", "shots", "classifier", "accuracy", "ci_low", "ci_high"]
COLUMNS += ["ci_unit", "relative_improvement", "relative_improvement_low", "relative_improvement_high"]
COLUMNS += ["over_control", "over_control_low", "over_control_high", "classes", "chance", "draws", "choices", "note"]
PART = 1 << 25  # scores, of pictures and classes, that are computed at a time: 134 MB
Linear = tuple[Tensor, Tensor, Tensor]  # names of k classes (k,), weights (k, dim), biases (k,): the largest score wins
ONE_LEVEL = "skipped: the world has one level of labels, so no classes of several concepts"


def downstream(
    world: World, test: Layers, students: Students, features: Features, settings: Downstream
) -> pd.DataFrame:
    """All protocols on the world's test pictures and on the public data sets on disk: the columns of downstream.csv.

    accuracy: mean over classes of the share of test pictures classified rightly; chance is 1 / classes. Episodes are
    the same for all students and targets. Intervals are 95 % bootstraps over episodes: they say how much the draw of
    the training pictures matters, not how other test pictures would do. relative_improvement, percent over the base,
    and over_control, accuracy minus the control's, are paired. A training picture's concept is never tested.

    Args: test: features ('pooled') of the test split; students: for pictures that have none yet.
    """
    table = [row for task in episodes.of_world(world, settings) for row in scored(task, test, test, settings)]
    table += _corruption_rows(world, test, students, features, settings)
    note = "classes are those of the pictures used for alignment" if world.shared_concepts is True else ""
    table = [row | {"note": note} for row in table]
    if len(world.hierarchy) < 2:
        table.append({"dataset": world.name, "protocol": "all", "note": ONE_LEVEL})
    for entry in settings.public:
        table += _public_rows(entry, students, features, settings)
    return pd.DataFrame(table).reindex(columns=COLUMNS).assign(choices=world.choices)


def scored(task: Task, train: Layers, test: Layers, settings: Downstream) -> list[dict]:
    """A row for every student and target: accuracy over the episodes, percent over its base, and over its control."""
    accuracy = {
        key: accuracies(task, fitted(task, layers["pooled"], settings), test[key]["pooled"])
        for key, layers in train.items()
    }
    return rows_of(task, accuracy, settings)


def rows_of(task: Task, accuracy: dict[tuple[str, str], Tensor], settings: Downstream) -> list[dict]:
    """The rows of `scored`. Args: accuracy: (student, target) -> `accuracies`."""
    draws = len(task.episodes)
    weights = (
        intervals.resample_weights(draws, settings.bootstrap, torch.Generator().manual_seed(settings.seed)) / draws
    )
    rows = []
    for (student, target), values in accuracy.items():
        row: dict[str, Any] = {"student": student, "target": target}
        row |= {"dataset": task.dataset, "protocol": task.protocol}
        row |= {"shots": task.shots, "classifier": task.classifier, "accuracy": float(values.mean())}
        row |= _interval("ci", weights @ values) | {"ci_unit": "episodes"}
        base, control = accuracy[student, "base"], accuracy.get((student, results.CONTROL))
        row["relative_improvement"] = 100 * (float(values.mean() / base.mean()) - 1)
        row |= _interval("relative_improvement", 100 * (weights @ values / (weights @ base) - 1))
        if control is not None and target not in ("base", results.CONTROL):
            row["over_control"] = float((values - control).mean())
            row |= _interval("over_control", weights @ (values - control))
        rows.append(row | {"classes": task.classes, "chance": 1 / task.classes, "draws": draws, "note": ""})
    return rows


def fitted(task: Task, train: Tensor, settings: Downstream) -> list[Linear]:
    """A classifier for each episode. Args: train: (n, dim) features that the episodes' row numbers point into."""

    def fit(episode: Episode) -> Linear:
        rows = train[episode.train].float()
        if task.classifier == "centroid":
            return linear_centroids(rows, episode.train_labels)
        if task.classifier == "ridge":
            return linear_ridge(rows, episode.train_labels, settings.ridge)
        return linear_logistic(rows, episode.train_labels, settings)

    with ThreadpoolController().limit(limits=1, user_api="blas"):  # small products: two threads take ten times as long
        return list(devices.each(fit, task.episodes))


def accuracies(task: Task, classifiers: list[Linear], test: Tensor) -> Tensor:
    """Accuracy of each episode, mean over classes, (episodes,) float64: chance is 1 / classes.

    Args: classifiers: one for each episode; test: (n, dim) features that the episodes' row numbers point into.
    """
    asked = torch.zeros(len(test), dtype=torch.bool)
    for episode in task.episodes:
        asked[episode.test] = True
    place, test = asked.cumsum(0) - 1, test[asked].float()  # the pictures that some episode tests, and no others
    by_episode = []
    for episode, predicted in zip(task.episodes, _predictions(classifiers, test), strict=True):
        right = (predicted[place[episode.test]] == episode.test_labels).double()
        pictures = torch.bincount(episode.test_labels).double()
        share = torch.bincount(episode.test_labels, right) / pictures
        by_episode.append(share[pictures > 0].mean())
    return torch.stack(by_episode)


def linear_centroids(train: Tensor, labels: Tensor) -> Linear:
    """Nearest centroid in angle, after subtracting the training pictures' mean, as a linear classifier.

    Args: train: (n, dim); labels: (n,). A class's centroid is the mean of its pictures' unit vectors.
    Returns: names of the classes (k,), weights (k, dim) of unit length, biases (k,): the largest score wins.
    """
    centre = train.mean(0)
    unit = torch.nn.functional.normalize(train - centre, dim=1)
    names, group = labels.unique(return_inverse=True)
    centroids = torch.zeros(len(names), train.shape[1], dtype=train.dtype).index_add_(0, group, unit)
    centroids = torch.nn.functional.normalize(centroids, dim=1)
    return names, centroids, -centroids @ centre


def linear_ridge(train: Tensor, labels: Tensor, penalty: float) -> Linear:
    """Ridge regression on one-hot targets as a linear classifier, in closed form in the span of the training pictures.

    Features and targets are centred; the penalty is a multiple of the features' mean squared norm, so that it does not
    depend on their scale. Shapes as in `linear_centroids`.
    Source: few-shot evaluation of Kolesnikov et al., Big Transfer, ECCV 2020, and later work of that group.
    """
    names, group = labels.unique(return_inverse=True)
    targets = torch.nn.functional.one_hot(group, len(names)).double()
    centre, rows = train.double().mean(0), train.double() - train.double().mean(0)
    wide = rows.shape[1] > len(rows)  # the smaller of two matrices that give the same solution
    gram = rows @ rows.T if wide else rows.T @ rows
    gram.diagonal().add_(penalty * (rows.square().sum() / len(rows)).clamp(min=1e-12))
    centred = targets - targets.mean(0)
    weights = torch.linalg.solve(gram, centred).T @ rows if wide else torch.linalg.solve(gram, rows.T @ centred).T
    biases = targets.mean(0) - weights @ centre
    return names, weights.to(train.dtype), biases.to(train.dtype)


def linear_logistic(train: Tensor, labels: Tensor, settings: Downstream) -> Linear:
    """L2-regularised multinomial logistic regression (scikit-learn, C = 1) as a linear classifier.

    It is fitted to centred features of mean square 1, rotated into the span of the training pictures where that is
    smaller than the space, which leaves the solution as it is. Shapes as in `linear_centroids`.
    """
    centre = train.mean(0)
    scale = (train - centre).square().mean().sqrt().clamp(min=1e-12)
    rows, axes = (train - centre) / scale, None
    if len(rows) < rows.shape[1]:
        axes, lengths = torch.linalg.qr(rows.T)  # rows = lengths.T @ axes.T
        rows = lengths.T
    copies = 2 if len(labels.unique()) == len(labels) else 1  # of a picture a class scikit-learn warns; two at half C
    model = LogisticRegression(C=1 / copies, max_iter=settings.logistic_iterations, tol=1e-3)
    model.fit(rows.repeat(copies, 1).numpy(), labels.repeat(copies).numpy())
    weights, biases = (torch.from_numpy(array).to(train.dtype) for array in (model.coef_, model.intercept_))
    if len(weights) == 1:  # two classes: scikit-learn keeps the second one's score
        weights, biases = (torch.cat([torch.zeros_like(array), array]) for array in (weights, biases))
    weights = (weights if axes is None else weights @ axes.T) / scale
    return torch.from_numpy(model.classes_), weights, biases - weights @ centre


def _predictions(classifiers: list[Linear], test: Tensor) -> Iterator[Tensor]:
    """The class that each classifier gives all of `test`, (n_test,); ten of them share a matrix product, or as many as
    have PART scores of all of `test`."""
    largest = max(len(names) for names, _, _ in classifiers)
    together = max(1, min(10, PART // (largest * max(1, len(test)))))
    for start in range(0, len(classifiers), together):
        names, weights, biases = zip(*classifiers[start : start + together], strict=True)
        joined, offsets, found = torch.cat(weights).T, torch.cat(biases), []
        for some in test.split(max(1, PART // joined.shape[1])):
            scores = torch.addmm(offsets, some, joined).split([len(label) for label in names], dim=1)
            found.append([label[score.argmax(1)] for label, score in zip(names, scores, strict=True)])
        for parts in zip(*found, strict=True):
            yield torch.cat(parts)


def _interval(name: str, values: Tensor) -> dict[str, float]:
    low, high = intervals.percentile_interval(values)
    return {f"{name}_low": low, f"{name}_high": high}


def _corruption_rows(
    world: World, test: Layers, students: Students, features: Features, settings: Downstream
) -> list[dict]:
    """Learnt from clean pictures, tested on a picture of each other concept, clean ('none') and corrupted."""
    if len(world.hierarchy) < 2 or not settings.corruptions:
        return []
    rows, label = episodes.one_of_each_concept(world), world.hierarchy[1]
    pictures = episodes.labelled(world, label)
    tested = torch.zeros_like(pictures.test)
    tested[rows] = True
    chosen = episodes.few_shot(replace(pictures, test=tested), replace(settings, logistic_draws=0, ridge_draws=0))
    shown = _corrupted(world, rows, students, features, settings)
    accuracy: dict[tuple[str, int], dict] = {(name, number): {} for name in shown for number in range(len(chosen))}
    for number, task in enumerate(chosen):
        for key, layers in test.items():
            found = fitted(task, layers["pooled"], settings)
            for name, changed in shown.items():
                asked = layers["pooled"]
                if changed is not None:
                    asked = asked.index_copy(0, rows, changed[key]["pooled"])
                accuracy[name, number][key] = accuracies(task, found, asked)
    table = []
    for (name, number), of_models in accuracy.items():
        named = replace(chosen[number], protocol=f"corruption {name}, {label}")
        table += rows_of(named, of_models, settings)
    return table


def _corrupted(
    world: World, rows: Tensor, students: Students, features: Features, settings: Downstream
) -> dict[str, Layers | None]:
    """Features of some test pictures after each corruption; None: as they are ('none')."""
    clean = stacks(students, world.paths(world.rows("test")[rows]), features)
    found: dict[str, Layers | None] = {"none": None}
    for name in settings.corruptions:
        changed = {size: corruptions.corrupted(stack, name, settings.seed) for size, stack in clean.items()}
        found[name] = embed(students, changed, features)
    return found


def _public_rows(entry: Mapping[Any, str], students: Students, features: Features, settings: Downstream) -> list[dict]:
    """k-shot on a public data set, or one row that says why not.

    With official splits pictures of the training part are learnt from and those of the test part tested. BREEDS: source
    against target subclasses. ImageNet-A: learnt from ImageNet's own pictures (entry 'train') of its classes.
    """
    tested, learnt, why = public.available(entry["name"], entry["root"])
    if tested is not None and "train" in entry:
        learnt, why = public.of_classes(entry["train"], tested.classes)
    if "lists" in entry and not why and not (home() / entry["lists"]).is_file():
        why = f"skipped: no file {entry['lists']}, a row of superclass, class and split for each class"
    if why:
        return [{"dataset": entry["name"], "protocol": "all", "note": why}]
    labels, found, train = _embedded([tested] if learnt is None else [tested, learnt], students, features, settings)
    if "lists" in entry:
        tasks = _breeds(entry, tested.classes, labels, settings)
    elif "train" in entry:
        sides = [train.nonzero().flatten(), labels[train], (~train).nonzero().flatten(), labels[~train]]
        tasks = episodes.whole(entry["name"], "learnt from ImageNet", Episode(*sides), len(tested.classes))
    else:
        every, protocol = torch.ones_like(train), "few-shot" if learnt is None else "few-shot, official splits"
        shown, asked = (every, every) if learnt is None else (train, ~train)
        pictures = Labelled(entry["name"], protocol, labels, torch.arange(len(labels)), shown, asked)
        tasks = episodes.few_shot(pictures, replace(settings, shots=settings.public_shots))
        tasks += episodes.linear_probe(pictures, settings) if learnt is None else []
    return [row for task in tasks for row in scored(task, found, found, settings)]


def _embedded(
    parts: list[Any], students: Students, features: Features, settings: Downstream
) -> tuple[Tensor, Layers, Tensor]:
    """Some pictures of each class of one or two parts of a data set, one part below the other.

    Returns: classes (n,), features ('pooled') of all students, and which pictures are of the second part, (n,) bool.
    """
    labels, stacks_of, second = [], [], []
    sizes = sorted({size for _, size in students.values()})
    for number, part in enumerate(parts):
        of_part, generator = public.targets(part), torch.Generator().manual_seed(settings.seed)
        rows = public.some_of_each(of_part, settings.public_pictures_per_class, generator)
        labels.append(of_part[rows])
        stacks_of.append({size: public.pictures(part, rows, size) for size in sizes})
        second.append(torch.full((len(rows),), number == 1))
    shown = {size: torch.cat([stack[size] for stack in stacks_of]) for size in sizes}
    return torch.cat(labels), embed(students, shown, features), torch.cat(second)


def _breeds(entry: Mapping[Any, str], names: list[str], classes: Tensor, settings: Downstream) -> list[Task]:
    lists, sides = public.breeds(entry["lists"], names), []
    number = {name: place for place, name in enumerate(dict.fromkeys(lists["superclass"]))}
    for split in ("source", "target"):
        of_split = lists[lists["split"] == split]
        superclass = torch.full((len(names),), -1)
        superclass[of_split["number"].tolist()] = torch.tensor(of_split["superclass"].map(number).tolist())
        rows = (superclass[classes] >= 0).nonzero().flatten()
        sides += [rows, superclass[classes[rows]]]
    return episodes.source_and_target(entry["name"], Episode(*sides), len(number), settings)
