"""Comparisons around the teacher: kinds of targets, layers of the backbone, triplets whose choice the map changes."""

import dataclasses
import itertools
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from alignet import config, devices
from alignet.config import Teacher
from alignet.models import activations, backbones
from alignet.models import features as stored
from alignet.people.choice_distributions import ChoiceCounts
from alignet.teacher.affine_map import (
    AffineMap,
    accuracy_interval,
    fit,
    fitted_targets,
    mapped_similarities,
    rescaled,
    scores,
)
from alignet.teacher.cross_validation import Sight, splits
from alignet.worlds.format import pictures
from alignet.worlds.format.tables import World

KINDS = ("soft", "hard", "argmax")  # targets that `soft_label_curve` compares


def soft_label_curve(sight: Sight, judgements: ChoiceCounts, settings: Teacher) -> pd.DataFrame:
    """Scores on held-out concepts after fits to few and to many triplets, with soft, hard and argmax targets.

    soft: the judgements' targets; hard: people's single choices; argmax: the likeliest choice of the targets, taken as
    certain. Each number of triplets in settings.soft_labels is drawn from a fold's training triplets; a fold with fewer
    triplets gives all of them. Folds whose held-out concepts have no judged triplet are left out.

    Returns: targets, n_train (triplets asked for), n_used, fold and the columns of `scores`.
    """
    # The comparison is of the triplets' targets alone.
    chosen = dataclasses.replace(settings, loss="uncertainty", train_per_level=0, start="identity", batch_concepts=None)
    folds = [each for each in enumerate(splits(sight, judgements, chosen)) if len(each[1].validation.triplets)]

    def fitted(one: tuple) -> dict:
        n, (number, fold), kind = one
        generator = torch.Generator().manual_seed(settings.seed)
        some = fold.train.where(torch.randperm(len(fold.train.triplets), generator=generator)[:n])
        likeliest = F.one_hot(some.targets.argmax(1), 3).float()
        targets = {"soft": some.targets, "hard": fitted_targets(some, "hard"), "argmax": likeliest}[kind]
        affine = fit(sight.features, some.with_targets(targets), chosen, sight.others, fold.start.plain)
        names = {"targets": kind, "n_train": n, "n_used": len(some.triplets), "fold": number}
        return names | scores(affine, sight.features, fold.validation, chosen)

    return pd.DataFrame(devices.each(fitted, itertools.product(settings.soft_labels, folds, KINDS)))


def by_layer(layers: dict[str, Tensor], judgements: ChoiceCounts, concepts: Tensor, settings: Teacher) -> pd.DataFrame:
    """Zero-shot scores of every layer of a backbone, whose choices follow from centred dot products without a map.

    Args: layers: name -> (n, p), features of one picture of each concept, from input to output; judgements: about
        pictures, of which `layer_triplets` are drawn; concepts: (n_images,) row of a picture's concept in the features.
    Returns: layer, depth, dimensions, odd_one_out_accuracy with its 95 % interval over triplets that share concepts,
        and kl and ece of the similarities, scaled by the factor that predicts the targets best.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    some = torch.randperm(len(judgements.triplets), generator=generator)[: settings.layer_triplets]
    about_concepts = dataclasses.replace(judgements.where(some), triplets=concepts[judgements.triplets[some]])
    table = []
    for depth, (layer, features) in enumerate(layers.items()):
        affine = rescaled(features, about_concepts)
        of_layer = scores(affine, features, about_concepts, settings)
        low, high = accuracy_interval(affine, features, about_concepts, about_concepts.triplets)
        row = {"layer": layer, "depth": depth, "dimensions": features.shape[1]}
        row |= {"odd_one_out_accuracy": of_layer["odd_one_out_accuracy"], "ci_low": low, "ci_high": high}
        table.append(row | {name: of_layer[name] for name in ("kl", "ece", "n_triplets")})
    return pd.DataFrame(table)


@dataclasses.dataclass(frozen=True)
class Source:
    """One of the teacher's backbones. folder: holds its stored features and has its name."""

    folder: Path
    backbone: config.Backbone | config.FeatureFile
    reading: config.Features


def of_backbone(
    source: Source, world: World, rows: Tensor, judgements: ChoiceCounts, concepts: Tensor, settings: Teacher
) -> pd.DataFrame:
    """The table of `by_layer` for one of the teacher's backbones.

    Two columns are added: backbone, and read (whether the teacher reads the layer). A backbone whose features others
    computed has one layer, named 'file'.

    Args: rows: (k,) of images.csv, a picture of each concept.
    """
    backbone, reading = source.backbone, source.reading
    if isinstance(backbone, config.FeatureFile):
        layers, read = {"file": stored.load_features(source.folder, world.images["image"], rows)[rows]}, ["file"]
    else:
        shown = pictures.batches(world.paths(rows), backbone.picture_size, reading.batch_size, reading.workers)
        layers = activations.by_layer(backbones.create(backbone), shown, reading.precision)
        read = backbones.layers(backbone)
    table = by_layer(layers, judgements, concepts, settings)
    return table.assign(backbone=source.folder.name, read=table["layer"].isin(read))


def first_pictures(world: World, judgements: ChoiceCounts) -> tuple[Tensor, Tensor]:
    """The first picture of each judged concept, (k,) rows of images.csv, and each picture's concept among these,
    (n_images,).
    """
    codes = world.codes(world.hierarchy[0])
    judged = judgements.triplets.unique()
    concepts, place = codes[judged].unique(return_inverse=True)
    first = torch.full((len(concepts),), len(codes)).scatter_reduce_(0, place, judged, "amin")
    return first, torch.searchsorted(concepts, codes).clamp(max=len(concepts) - 1)


def disagreements(
    affine: AffineMap, features: Tensor, judgements: ChoiceCounts, n: int, seed: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """n triplets on which the teacher chooses another odd one out than the base, whoever is right.

    Triplets that more people judged come first; among equals the order is random.

    Returns: triplets (n, 3) of picture rows, and who -> (n, 3) probabilities: people, base (`rescaled`), teacher.
    """
    start = dataclasses.replace(affine, bias=torch.zeros_like(affine.bias))  # the fitted bias is no base's
    maps = {"base": rescaled(features, judgements, start), "teacher": affine}
    triplets = judgements.triplets
    predicted = {name: mapped_similarities(each, features, triplets).softmax(-1) for name, each in maps.items()}
    people = judgements.counts.sum(1)
    rows = (predicted["base"].argmax(1) != predicted["teacher"].argmax(1)).nonzero().flatten()
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    rows = rows[people[rows].argsort(descending=True, stable=True)[:n]]
    who = {"people": judgements.counts / people[:, None], **predicted}
    return judgements.triplets[rows], {name: each[rows] for name, each in who.items()}
