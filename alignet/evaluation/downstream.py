"""Downstream: few-shot, linear probe, shifts of subclass, style and corruption, named public data sets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController
from torch import Tensor

from alignet import devices, results
from alignet.config import Downstream, Features, home
from alignet.evaluation import corruptions, episodes, tasks
from alignet.evaluation.data import breeds, public
from alignet.evaluation.episodes import Episode, Labelled, Task
from alignet.maths import intervals
from alignet.models.activations import Layers, Students, embed, stacks
from alignet.worlds.format.tables import World

COLUMNS = ["student", "target", "dataset", "task", "primary", "protocol", "shots", "classifier"]
COLUMNS += ["accuracy", "ci_low", "ci_high", "ci_unit"]
COLUMNS += ["relative_improvement", "relative_improvement_low", "relative_improvement_high"]
for difference in tasks.CORRECTED:
    COLUMNS += [difference, f"{difference}_low", f"{difference}_high", tasks.CORRECTED[difference]]
COLUMNS += ["classes", "chance", "draws", "choices", "note"]
PART = 1 << 25  # scores, of pictures and classes, that are computed at a time: 134 MB
TOGETHER = 2048  # pictures of public data sets that are in memory at a time: 308 MB at 224 px
Linear = tuple[Tensor, Tensor, Tensor]  # names of k classes (k,), weights (k, dim), biases (k,): the largest score wins
ONE_LEVEL = "skipped: the world has one level of labels, so no classes of several concepts"


def downstream(
    world: World, test: Layers, students: Students, features: Features, settings: Downstream
) -> pd.DataFrame:
    """Scores by all protocols on the world's test pictures and on the public data sets on disk.

    Args: test: features ('pooled') of the test split; students: for pictures without stored features.
    Returns: the columns of downstream.csv. accuracy is the mean over classes of the share of test pictures that are
        classified correctly; chance is 1 / classes. Episodes are the same for all students and targets. 95 % intervals
        are Student's t over episodes: they say how much the draw of training pictures matters, not how accuracy would
        differ on other test pictures; a single episode has none. relative_improvement (percent over the base),
        over_base and over_control (accuracy minus that of the base and of the control) are paired. over_base_holm and
        over_control_holm are p values of the primary rows, corrected for the number of tasks (`tasks`). A training
        picture's concept is never tested.
    """
    table = [row for task in episodes.of_world(world, settings) for row in scored(task, test, test, settings)]
    table += _corruption_rows(world, test, students, features, settings)
    note = "classes are those of the pictures used for alignment" if world.shared_concepts is True else ""
    table = [row | {"note": note} for row in table]
    if len(world.hierarchy) < 2:
        table.append({"dataset": world.name, "protocol": "all", "note": ONE_LEVEL})
    for entry in settings.public:
        table += _public_rows(entry, students, features, settings)
    return _with_primary(pd.DataFrame(table)).reindex(columns=COLUMNS).assign(choices=world.choices)


def _with_primary(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its primary rows marked, and their corrected p values."""
    columns = ["student", "target", "task", "protocol", "shots", "classifier", "accuracy"]
    columns += [f"{difference}_p" for difference in tasks.CORRECTED]
    table = table.reindex(columns=[*table, *(column for column in columns if column not in table)])
    table = table.assign(primary=tasks.primary(table).map({True: "yes", False: "no"}))
    holm = {column: tasks.corrected(table, table[f"{name}_p"]) for name, column in tasks.CORRECTED.items()}
    return table.assign(**holm)


def scored(task: Task, train: Layers, test: Layers, settings: Downstream) -> list[dict]:
    """Rows of a protocol, one for every student and target: accuracy over the episodes, and differences to base and
    control.
    """
    accuracy = {
        key: accuracies(task, fitted(task, layers["pooled"], settings), test[key]["pooled"])
        for key, layers in train.items()
    }
    return rows_of(task, accuracy)


def rows_of(task: Task, accuracy: dict[tuple[str, str], Tensor]) -> list[dict]:
    """Rows of accuracies, with the p value of each difference. Args: accuracy: (student, target) -> `accuracies`."""
    rows = []
    for (student, target), values in accuracy.items():
        row: dict[str, Any] = {"student": student, "target": target, "dataset": task.dataset}
        row |= {"task": tasks.name(task.dataset, task.labels), "protocol": task.protocol}
        row |= {"shots": task.shots, "classifier": task.classifier}
        row |= _mean("accuracy", "ci", values) | {"ci_unit": "episodes"}
        row |= _improvement(values, accuracy[student, results.BASE])
        for other, name in results.OTHERS:
            if target not in (results.BASE, other) and (student, other) in accuracy:
                over = values - accuracy[student, other]
                row |= _mean(name, name, over)
                row[f"{name}_p"] = intervals.p_value(row[name], [intervals.of_draws(over)])
        rows.append(row | {"classes": task.classes, "chance": 1 / task.classes, "draws": len(values), "note": ""})
    return rows


def _mean(name: str, ends: str, values: Tensor) -> dict[str, float]:
    """The mean over episodes, (episodes,), and its interval by Student's t; NaN for the interval of one."""
    mean = float(values.mean())
    low, high = intervals.t_interval(mean, [intervals.of_draws(values)])
    return {name: mean, f"{ends}_low": low, f"{ends}_high": high}


def _improvement(values: Tensor, base: Tensor) -> dict[str, float]:
    """Relative improvement over the base in percent; its interval is that of the ratio to first order, paired."""
    ratio, name = float(values.mean() / base.mean()), "relative_improvement"
    percent = 100 * (ratio - 1)
    low, high = intervals.t_interval(percent, [intervals.of_draws(100 * (values - ratio * base) / base.mean())])
    return {name: percent, f"{name}_low": low, f"{name}_high": high}


def fitted(task: Task, train: Tensor, settings: Downstream) -> list[Linear]:
    """A classifier for each episode. Args: train: (n, dim) features; episodes hold row numbers of it."""

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
    """The accuracy of each episode, a mean over classes, (episodes,) float64; chance is 1 / classes.

    Args: classifiers: one for each episode; test: (n, dim) features; episodes hold row numbers of it.
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
    """The classifier by the nearest centroid in angle, after subtraction of the training pictures' mean, in linear
    form.

    Args: train: (n, dim); labels: (n,). A class's centroid is the mean of its pictures' unit vectors.
    Returns: names of the classes (k,), weights (k, dim) of unit length, biases (k,): the largest score wins.

    Example:

    >>> import torch
    >>> from alignet.evaluation.downstream import linear_centroids
    >>> train, labels = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([7, 9])
    >>> classes, weights, biases = linear_centroids(train, labels)
    >>> test = torch.tensor([[3.0, 1.0], [1.0, 3.0]])
    >>> classes[(test.double() @ weights.double().T + biases).argmax(1)].tolist()
    [7, 9]
    """
    centre = train.mean(0)
    unit = torch.nn.functional.normalize(train - centre, dim=1)
    names, group = labels.unique(return_inverse=True)
    centroids = torch.zeros(len(names), train.shape[1], dtype=train.dtype).index_add_(0, group, unit)
    centroids = torch.nn.functional.normalize(centroids, dim=1)
    return names, centroids, -centroids @ centre


def linear_ridge(train: Tensor, labels: Tensor, penalty: float) -> Linear:
    """Ridge regression on one-hot targets as a linear classifier, in closed form in the span of the training pictures.

    Features and targets are centred. The penalty is a multiple of the features' mean squared norm and so does not
    depend on their scale. Shapes as in `linear_centroids`.
    Source: few-shot evaluation of Kolesnikov et al., Big Transfer, ECCV 2020, and later work of that group.

    Example:

    >>> import torch
    >>> from alignet.evaluation.downstream import linear_ridge
    >>> train, labels = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]]), torch.tensor([7, 9, 7])
    >>> classes, weights, biases = linear_ridge(train, labels, penalty=0.1)
    >>> classes[(train.double() @ weights.double().T + biases).argmax(1)].tolist()
    [7, 9, 7]
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

    It is fitted to centred features with mean square 1. If the span of the training pictures is smaller than the space,
    features are rotated into it, which does not change the solution. Shapes as in `linear_centroids`.
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
    """The class that each classifier gives to all rows of `test`, (n_test,).

    Ten classifiers share a matrix product, or fewer if their scores were more than PART.
    """
    largest = max(len(names) for names, _, _ in classifiers)
    together = max(1, min(10, PART // (largest * max(1, len(test)))))
    for start in range(0, len(classifiers), together):
        names, weights, biases = zip(*classifiers[start : start + together], strict=True)
        joined, offsets, predicted = torch.cat(weights).T, torch.cat(biases), []
        for some in test.split(max(1, PART // joined.shape[1])):
            scores = torch.addmm(offsets, some, joined).split([len(label) for label in names], dim=1)
            predicted.append([label[score.argmax(1)] for label, score in zip(names, scores, strict=True)])
        for parts in zip(*predicted, strict=True):
            yield torch.cat(parts)


def _corruption_rows(
    world: World, test: Layers, students: Students, features: Features, settings: Downstream
) -> list[dict]:
    """Rows for corruptions: learnt from clean pictures, tested on a picture of each other concept, clean ('none') and
    corrupted.
    """
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
            classifiers = fitted(task, layers["pooled"], settings)
            for name, changed in shown.items():
                asked = layers["pooled"]
                if changed is not None:
                    asked = asked.index_copy(0, rows, changed[key]["pooled"])
                accuracy[name, number][key] = accuracies(task, classifiers, asked)
    table = []
    for (name, number), of_models in accuracy.items():
        named = replace(chosen[number], protocol=f"corruption {name}, {label}")
        table += rows_of(named, of_models)
    return table


def _corrupted(
    world: World, rows: Tensor, students: Students, features: Features, settings: Downstream
) -> dict[str, Layers | None]:
    """Features of some test pictures after each corruption; None: as they are ('none')."""
    clean = stacks(students, world.paths(world.rows("test")[rows]), features)
    corrupted_features: dict[str, Layers | None] = {"none": None}
    for name in settings.corruptions:
        changed = {size: corruptions.corrupted(stack, name, settings.seed) for size, stack in clean.items()}
        corrupted_features[name] = embed(students, changed, features)
    return corrupted_features


def _public_rows(entry: Mapping[Any, str], students: Students, features: Features, settings: Downstream) -> list[dict]:
    """Rows for k-shot classification on a public data set, or one row that says why it is skipped.

    All pictures of the test part are tested. With official splits, training pictures are drawn from the training part,
    from public_pictures_per_class pictures of each class. BREEDS: learnt from source and tested on target subclasses.
    ImageNet-A: learnt from ImageNet's own pictures (entry 'train') of its classes.
    """
    if "hierarchy" in entry:
        return _breeds_rows(entry, students, features, settings)
    tested, learnt, why = public.available(entry["name"], entry["root"])
    if tested is not None and "train" in entry:
        learnt, why = public.of_classes(entry["train"], tested.classes, "learnt from")
    if why:
        return [{"dataset": entry["name"], "protocol": "all", "note": why}]
    parts: list[tuple[Any, int | None]] = [(tested, None)]
    parts += [] if learnt is None else [(learnt, settings.public_pictures_per_class)]
    labels, layers, train = _embedded(parts, students, features, settings)
    if "train" in entry:
        sides = [train.nonzero().flatten(), labels[train], (~train).nonzero().flatten(), labels[~train]]
        chosen = episodes.whole(entry["name"], "learnt from ImageNet", Episode(*sides), len(tested.classes))
    else:
        every, protocol = torch.ones_like(train), "few-shot" if learnt is None else "few-shot, official splits"
        shown, asked = (every, every) if learnt is None else (train, ~train)
        pictures = Labelled(entry["name"], protocol, labels, torch.arange(len(labels)), shown, asked)
        chosen = episodes.few_shot(pictures, replace(settings, shots=settings.public_shots))
        chosen += episodes.linear_probe(pictures, settings) if learnt is None else []
    return [row for task in chosen for row in scored(task, layers, layers, settings)]


def _breeds_rows(entry: Mapping[Any, str], students: Students, features: Features, settings: Downstream) -> list[dict]:
    """Rows for BREEDS, or one row that says why it is skipped.

    Superclasses are learnt from all pictures of the source subclasses in the folder 'train' and tested on all pictures
    of the target subclasses in 'root'.
    """
    lacking = breeds.missing(home() / entry["hierarchy"])
    why = f"skipped: no file {entry['hierarchy']}/{lacking[0]} ({public.HIERARCHY})" if lacking else ""
    parts, superclass = [], []
    for split, folder, use in () if why else (("target", "root", "tested on"), ("source", "train", "learnt from")):
        lists = breeds.lists(entry["name"], home() / entry["hierarchy"])
        number = pd.factorize(lists["superclass"])[0][(lists["split"] == split).to_numpy()]
        part, why = public.of_classes(entry[folder], lists.loc[lists["split"] == split, "class"].tolist(), use)
        parts.append((part, None))
        superclass.append(torch.from_numpy(number))
        if why:
            break
    if why:
        return [{"dataset": entry["name"], "protocol": "all", "note": why}]
    classes, layers, source = _embedded(parts, students, features, settings)
    labels = torch.where(source, superclass[1][classes], superclass[0][classes])
    sides = Episode(source.nonzero().flatten(), labels[source], (~source).nonzero().flatten(), labels[~source])
    chosen = episodes.whole(entry["name"], "unseen subclasses", sides, int(superclass[0].max()) + 1)
    return [row for task in chosen for row in scored(task, layers, layers, settings)]


def _embedded(
    parts: Sequence[tuple[Any, int | None]], students: Students, features: Features, settings: Downstream
) -> tuple[Tensor, Layers, Tensor]:
    """Features of one or two parts of a data set, one below the other; TOGETHER pictures are decoded at a time.

    Args: parts: each with the number of pictures that are drawn of each class, None: all.
    Returns: classes (n,); features ('pooled') of all students; and whether a picture belongs to the second part, (n,)
        bool.
    """
    labels, batches, second = [], [], []
    sizes = sorted({size for _, size in students.values()})
    for number, (part, most) in enumerate(parts):
        of_part, generator = public.targets(part), torch.Generator().manual_seed(settings.seed)
        rows = torch.arange(len(of_part)) if most is None else public.some_of_each(of_part, most, generator)
        labels.append(of_part[rows])
        second.append(torch.full((len(rows),), number == 1))
        for some in rows.split(TOGETHER):
            shown = {size: public.pictures(part, some, size) for size in sizes}
            batches.append(embed(students, shown, features))
    joined = {key: {"pooled": torch.cat([each[key]["pooled"] for each in batches])} for key in students}
    return torch.cat(labels), joined, torch.cat(second)
