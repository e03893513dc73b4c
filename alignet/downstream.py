"""Downstream: few-shot, linear probe, shifts of subclass, style and corruption, named public data sets."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from alignet import metrics
from alignet.config import Downstream, Features
from alignet.representations import Layers, Students, at_layers, forward
from alignet.worlds import corruptions, public
from alignet.worlds.tables import World

COLUMNS = ["student", "target", "dataset", "protocol", "shots", "classifier", "accuracy", "ci_low", "ci_high"]
COLUMNS += ["ci_unit", "relative_improvement", "relative_improvement_low", "relative_improvement_high"]
COLUMNS += ["classes", "chance", "draws", "note"]


@dataclass(frozen=True)
class Episode:
    """Training pictures and their classes, test pictures and theirs: row numbers and numbers from 0."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Task:
    dataset: str
    protocol: str
    shots: int | None
    classifier: str  # centroid | logistic
    classes: int
    episodes: list[Episode]


def downstream(
    world: World, test: Layers, students: Students, features: Features, settings: Downstream
) -> pd.DataFrame:
    """All protocols on the world's test pictures and on the public data sets on disk: the columns of downstream.csv.

    Episodes are the same for all students and targets; intervals are 95 % bootstraps over episodes, those of the
    relative improvement (percent over the base) paired. A support picture's concept is never among the tested ones.

    Args: test: features ('pooled') of the test split; students: for pictures that have none yet.
    """
    table = [row for task in tasks(world, settings) for row in scored(task, test, test, settings)]
    table += _corruption_rows(world, students, features, settings)
    for entry in settings.public:
        table += _public_rows(entry, students, features, settings)
    return pd.DataFrame(table).reindex(columns=COLUMNS)


def tasks(world: World, settings: Downstream) -> list[Task]:
    """Few-shot and probe at every level of the hierarchy but the finest, unseen subclasses, and shift of style."""
    images = world.images.iloc[world.rows("test").tolist()].reset_index(drop=True)
    concept = torch.from_numpy(pd.factorize(images[world.hierarchy[0]])[0])
    found, everything = [], torch.ones(len(images), dtype=torch.bool)
    for label in world.hierarchy[1:]:
        classes = torch.from_numpy(pd.factorize(images[label])[0])
        found += few_shot(world.name, f"few-shot {label}", classes, concept, everything, everything, settings)
        found += _probe(world.name, label, classes, concept, settings) if label == world.hierarchy[1] else []
    if len(world.hierarchy) > 2:
        found += _subclass_shift(world, images, settings)
    if "style" in images and images["style"].nunique() > 1:
        train = torch.tensor((images["style"] == images["style"].iloc[0]).to_numpy())
        label = world.hierarchy[1]
        classes = torch.from_numpy(pd.factorize(images[label])[0])
        found += few_shot(world.name, f"style shift {label}", classes, concept, train, ~train, settings)
    return found


def few_shot(dataset, protocol, classes: Tensor, concept: Tensor, train: Tensor, test: Tensor, settings) -> list[Task]:
    """k-shot episodes: one picture of each of k concepts of every class, tested on pictures of other concepts.

    The classes with more than k concepts take part; a number of shots that fewer than two classes allow is left out.

    Args: classes, concept: (n,); train, test: (n,) bool, the pictures that may be shown and tested.
    """
    found = []
    for shots in settings.shots:
        sizes = {int(c): len(concept[(classes == c) & train].unique()) for c in classes.unique()}
        usable = [label for label, size in sizes.items() if size > shots]
        if len(usable) < 2:
            continue
        for classifier, draws in (("centroid", settings.centroid_draws), ("logistic", settings.logistic_draws)):
            generator = torch.Generator().manual_seed(settings.seed)
            episodes = [_episode(usable, shots, classes, concept, train, test, generator) for _ in range(draws)]
            found.append(Task(dataset, protocol, shots, classifier, len(usable), episodes))
    return found


def _episode(usable, shots: int, classes: Tensor, concept: Tensor, train: Tensor, test: Tensor, generator) -> Episode:
    support, labels, allowed = [], [], torch.full_like(classes, -1)
    for number, label in enumerate(usable):
        rows = ((classes == label) & train).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        first = torch.from_numpy(np.unique(concept[rows].numpy(), return_index=True)[1])  # a picture of each concept
        first = rows[first][torch.randperm(len(first), generator=generator)[:shots]]
        support.append(first)
        labels.append(torch.full((len(first),), number))
        allowed[classes == label] = number
    support = torch.cat(support)
    query = (test & (allowed >= 0) & ~torch.isin(concept, concept[support])).nonzero().flatten()
    return Episode(support, torch.cat(labels), query, allowed[query])


def _probe(dataset: str, label: str, classes: Tensor, concept: Tensor, settings: Downstream) -> list[Task]:
    """Linear probe: half of each class's concepts train, the other half test."""
    generator, episodes = torch.Generator().manual_seed(settings.seed), []
    for _ in range(settings.probe_draws):
        order = torch.randperm(int(concept.max()) + 1, generator=generator)
        firsts = pd.DataFrame({"class": classes, "concept": concept, "order": order[concept]}).drop_duplicates(
            "concept"
        )
        rank = firsts.groupby("class")["order"].rank(pct=True)
        chosen = torch.tensor(firsts["concept"][rank <= 0.5].to_numpy())
        train = torch.isin(concept, chosen)
        known = torch.isin(classes, classes[train].unique())
        test = ~train & known
        episodes.append(Episode(train.nonzero().flatten(), classes[train], test.nonzero().flatten(), classes[test]))
    return [Task(dataset, f"linear probe {label}", None, "logistic", len(classes.unique()), episodes)]


def _subclass_shift(world: World, images: pd.DataFrame, settings: Downstream) -> list[Task]:
    """Like BREEDS: superclasses learnt from half of their subclasses, tested on the others."""
    sub, label = world.hierarchy[1], world.hierarchy[2]
    groups = images.groupby(label)[sub].unique()
    groups = groups[groups.map(len) >= 2]
    if len(groups) < 2:
        return []
    found = []
    for classifier, draws in (("centroid", settings.centroid_draws), ("logistic", settings.probe_draws)):
        generator = torch.Generator().manual_seed(settings.seed)
        episodes = [_shifted(images, groups, sub, generator) for _ in range(draws)]
        found.append(Task(world.name, f"unseen {sub} of a {label}", None, classifier, len(groups), episodes))
    return found


def _shifted(images: pd.DataFrame, groups: pd.Series, label: str, generator: torch.Generator) -> Episode:
    sides = [[], [], [], []]
    for number, members in enumerate(groups):
        order = torch.randperm(len(members), generator=generator).tolist()
        for start, side in ((0, order[: len(order) // 2]), (2, order[len(order) // 2 :])):
            rows = np.flatnonzero(images[label].isin([members[place] for place in side]))
            sides[start].append(torch.from_numpy(rows))
            sides[start + 1].append(torch.full((len(rows),), number))
    return Episode(*(torch.cat(side) for side in sides))


def scored(task: Task, train: Layers, test: Layers, settings: Downstream) -> list[dict]:
    """A row for every student and target: accuracy over the episodes, and percent over the student's base."""
    accuracy = {
        key: torch.tensor(
            [_accuracy(task.classifier, e, train[key]["pooled"], test[key]["pooled"], settings) for e in task.episodes],
            dtype=torch.float64,
        )
        for key in train
    }
    weights = metrics.resample_weights(
        len(task.episodes), settings.bootstrap, torch.Generator().manual_seed(settings.seed)
    )
    weights, rows = weights / len(task.episodes), []
    for (student, target), values in accuracy.items():
        base = accuracy[student, "base"]
        low, high = metrics.percentile_interval(weights @ values)
        better = metrics.percentile_interval(100 * (weights @ values / (weights @ base) - 1))
        row = {"student": student, "target": target, "dataset": task.dataset, "protocol": task.protocol}
        row |= {"shots": task.shots, "classifier": task.classifier, "accuracy": float(values.mean())}
        row |= {"ci_low": low, "ci_high": high, "ci_unit": "episodes", "classes": task.classes}
        row |= {"relative_improvement": 100 * (float(values.mean() / base.mean()) - 1)}
        row |= {"relative_improvement_low": better[0], "relative_improvement_high": better[1]}
        rows.append(row | {"chance": 1 / task.classes, "draws": len(task.episodes), "note": ""})
    return rows


def _accuracy(classifier: str, episode: Episode, train: Tensor, test: Tensor, settings: Downstream) -> float:
    """Mean over classes of the share of test pictures that are classified rightly: chance is 1 / classes."""
    shown, asked = train[episode.train].double(), test[episode.test].double()
    centre = shown.mean(0)
    shown, asked = shown - centre, asked - centre
    predict = nearest_centroid if classifier == "centroid" else logistic
    right = (predict(shown, episode.train_labels, asked, settings) == episode.test_labels).double()
    classes = episode.test_labels.unique()
    return float(torch.stack([right[episode.test_labels == label].mean() for label in classes]).mean())


def nearest_centroid(train: Tensor, labels: Tensor, test: Tensor, settings: Downstream) -> Tensor:
    """The class whose mean unit vector is nearest in angle, (n_test,)."""
    unit = torch.nn.functional.normalize(train, dim=1)
    names, group = labels.unique(return_inverse=True)
    centroids = torch.zeros(len(names), train.shape[1], dtype=train.dtype).index_add_(0, group, unit)
    return names[(test @ torch.nn.functional.normalize(centroids, dim=1).T).argmax(1)]


def logistic(train: Tensor, labels: Tensor, test: Tensor, settings: Downstream) -> Tensor:
    """L2-regularised multinomial logistic regression (scikit-learn, C = 1) on features of mean square 1.

    The features are rotated into the span of the training pictures, which leaves the solution as it is.
    """
    scale = train.square().mean().sqrt()
    axes = torch.linalg.svd(train / scale, full_matrices=False).Vh
    model = LogisticRegression(max_iter=settings.logistic_iterations, tol=1e-3)
    model.fit((train / scale @ axes.T).numpy(), labels.numpy())
    return torch.from_numpy(model.predict((test / scale @ axes.T).numpy()))


def _corruption_rows(world: World, students: Students, features: Features, settings: Downstream) -> list[dict]:
    """Learnt from clean pictures, tested on corrupted ones of other concepts: one picture of each test concept."""
    test, label = world.rows("test"), world.hierarchy[min(1, len(world.hierarchy) - 1)]
    images = world.images.iloc[test.tolist()].reset_index(drop=True)
    rows = torch.from_numpy(images.drop_duplicates(world.hierarchy[0]).index.to_numpy())
    paths, one = world.paths(test[rows]), images.iloc[rows.tolist()]
    concept, classes = (torch.from_numpy(pd.factorize(one[name])[0]) for name in (world.hierarchy[0], label))
    every, table = torch.ones(len(one), dtype=torch.bool), []
    clean = forward(students, paths, features)
    for corruption in ("none", *settings.corruptions):
        changed = clean if corruption == "none" else _forward_corrupted(students, paths, features, corruption, settings)
        for task in few_shot(world.name, f"corruption {corruption}, {label}", classes, concept, every, every, settings):
            if task.classifier == "centroid":
                table += scored(task, clean, changed, settings)
    return table


def _forward_corrupted(students: Students, paths, features: Features, corruption: str, settings: Downstream) -> Layers:
    return forward(students, paths, features, change=lambda x: corruptions.corrupted(x, corruption, settings.seed))


def _public_rows(entry: dict[str, str], students: Students, features: Features, settings: Downstream) -> list[dict]:
    """k-shot on a public data set, or one row that says why not; BREEDS: source against target subclasses."""
    dataset, why = public.available(entry["name"], entry["root"])
    if dataset is None:
        return [{"dataset": entry["name"], "protocol": "few-shot", "note": why}]
    generator = torch.Generator().manual_seed(settings.seed)
    labels = public.targets(dataset)
    rows = public.some_of_each(labels, settings.public_pictures_per_class, generator)
    found = {}
    for key, (embedder, size) in students.items():
        shown = public.pictures(dataset, rows, size).split(features.batch_size)
        found[key] = at_layers(embedder, shown, [], features.precision)
    classes, every = labels[rows], torch.ones(len(rows), dtype=torch.bool)
    if "lists" in entry:
        return _breeds_rows(entry, dataset, classes, found, settings)
    chosen = few_shot(entry["name"], "few-shot", classes, torch.arange(len(rows)), every, every, settings)
    return [row for task in chosen for row in scored(task, found, found, settings)]


def _breeds_rows(entry: dict[str, str], dataset, classes: Tensor, found: Layers, settings: Downstream) -> list[dict]:
    lists = public.breeds(entry["lists"], dataset.classes)
    number = {name: place for place, name in enumerate(dict.fromkeys(lists["superclass"]))}
    sides = []
    for split in ("source", "target"):
        part = lists[lists["split"] == split].set_index("number")["superclass"].map(number)
        rows = torch.from_numpy(np.flatnonzero(np.isin(classes.numpy(), part.index)))
        sides += [rows, torch.tensor(part.loc[classes[rows].tolist()].to_numpy())]
    table = []
    for classifier in ("centroid", "logistic"):
        task = Task(entry["name"], "unseen subclasses", None, classifier, len(number), [Episode(*sides)])
        table += scored(task, found, found, settings)
    return table
