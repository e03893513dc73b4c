"""The teacher: an affine map on frozen features, fitted to human choice distributions (uncertainty distillation)."""

import dataclasses
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize_scalar
from torch import Tensor
from tqdm import tqdm

from alignet import devices, losses, metrics
from alignet.backbones import autocast
from alignet.config import Teacher
from alignet.human_uncertainty import Judgements
from alignet.triplets import choices, row_pair_similarities
from alignet.worlds.tables import World

CHUNK = 1 << 15  # triplets gathered at a time: 1,152 dimensions take 450 MB
FINAL_LR = 0.05  # the learning rate falls linearly to this share of its start
GRID = {"regularisation": "lambda", "lr": "lr", "sigma": "sigma", "steps": "steps"}  # settings: columns of teacher.csv
KINDS = ("soft", "hard", "argmax")  # targets that `soft_label_curve` compares


@dataclass(frozen=True)
class AffineMap:
    """x' = W z + b with z = (features - mean) / scale, z projected on the principal axes where there are any.

    weight: (k, k); bias: (k,); mean: (p,); scale: scalar; components: (k, p) with orthonormal rows, or None, and then
    k = p. mean, scale and components come from the training objects only.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor
    components: Tensor | None = None

    def __call__(self, features: Tensor) -> Tensor:
        """(n, p) features -> (n, k) representations, whose dot products are the teacher's similarities."""
        return self.standardised(features) @ self.weight.T + self.bias

    def standardised(self, features: Tensor) -> Tensor:
        """z of (n, p) features: (n, k)."""
        z = (features - self.mean) / self.scale
        return z if self.components is None else z @ self.components.T

    def save(self, folder: Path, settings: Teacher) -> None:
        """Map, statistics and axes in teacher.safetensors, with the settings of the fit as its metadata."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "teacher.safetensors"
        tensors = {name: tensor.contiguous() for name, tensor in vars(self).items() if tensor is not None}
        save_file(tensors, path, metadata={"settings": json.dumps(dataclasses.asdict(settings))})

    @classmethod
    def load(cls, folder: Path) -> "AffineMap":
        return cls(**load_file(folder / "teacher.safetensors"))


def fit(features: Tensor, judgements: Judgements, settings: Teacher, others: Tensor | None = None) -> AffineMap:
    """Fit W and b by Adam on batches of triplets, from W = sigma I and b = 0.

    The loss is (1 - alpha) L + alpha `losses.local` + lambda || W - mean(diag W) I ||_F^2, where L is KL to the
    judgements' targets (loss 'uncertainty') or -log q of the people's single choices ('hard').
    Source: the paper, Methods, 'uncertainty distillation'; gLocal. Settings that worked: see params.yaml.

    Args: features: (n, p) of all pictures; only those in `judgements` are used. others: (m, p) of other pictures, whose
        neighbourhoods the local term keeps.
    Raises: ValueError if the local term has a weight and there are no other pictures.
    """
    if settings.local_weight and others is None:
        raise ValueError("teacher.local_weight is above 0, and there are no other pictures for the local term")
    start = untransformed(features, judgements, settings.sigma, settings.pca)
    weight, bias = start.weight.clone().requires_grad_(), start.bias.clone().requires_grad_()
    optimiser = torch.optim.Adam([weight, bias], lr=settings.lr, fused=True)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, FINAL_LR, settings.steps)
    objective = _objective(start, features, judgements, settings, others)
    for _ in range(settings.steps):
        optimiser.zero_grad()
        with autocast(settings.precision):
            loss = objective(weight, bias)
        loss.backward()
        optimiser.step()
        decay.step()
    return dataclasses.replace(start, weight=weight.detach(), bias=bias.detach())


def _objective(start: AffineMap, features: Tensor, judgements: Judgements, settings: Teacher, others: Tensor | None):
    """The loss of the next batch as a function of W and b."""
    generator = torch.Generator().manual_seed(settings.seed)
    rows, triplets = judgements.triplets.unique(return_inverse=True)
    z, targets = start.standardised(features[rows]), _fitted_to(judgements, settings.loss)
    kept = None if others is None else start.standardised(others)

    def loss(weight: Tensor, bias: Tensor) -> Tensor:
        batch = torch.randint(len(triplets), (settings.batch_size,), generator=generator)
        similarities = row_pair_similarities((z @ weight.T + bias).float(), triplets[batch])
        total = (1 - settings.local_weight) * losses.kl(similarities, targets[batch])
        if settings.local_weight:
            shown = kept[torch.randint(len(kept), (settings.local_batch,), generator=generator)]
            after = (shown @ weight.T + bias).float()
            total = total + settings.local_weight * losses.local(shown, after, settings.local_temperature)
        return total + settings.regularisation * losses.distance_to_scaled_identity(weight)

    return loss


def untransformed(features: Tensor, judgements: Judgements, sigma: float, pca: int | None) -> AffineMap:
    """The map before any fit: W = sigma I, b = 0, with the statistics and principal axes of the judged pictures.

    Raises: ValueError if there are fewer dimensions or judged pictures than axes.
    """
    used = features[judgements.triplets.unique()]
    mean = used.mean(0)
    scale = (used - mean).square().mean().sqrt()
    components = None if pca is None else _principal_axes((used - mean) / scale, pca)
    dim = features.shape[1] if pca is None else pca
    return AffineMap(sigma * torch.eye(dim), torch.zeros(dim), mean, scale, components)


def rescaled(features: Tensor, judgements: Judgements) -> AffineMap:
    """The untransformed features with the one scalar that predicts the targets best: the fair 'before'."""
    plain = untransformed(features, judgements, 1.0, None)
    similarities = _similarities(plain, features, judgements.triplets)

    def loss(log_sigma: float) -> float:
        return float(losses.kl(10 ** (2 * log_sigma) * similarities, judgements.targets))

    best = minimize_scalar(loss, bounds=(-4, 1), method="bounded", options={"xatol": 1e-3})
    return dataclasses.replace(plain, weight=10 ** float(best.x) * plain.weight)


def scores(affine: AffineMap, features: Tensor, judgements: Judgements, settings: Teacher) -> dict[str, float]:
    """The fitted loss (mean, without regularisers), KL to the targets, nll: mean -log q of a single choice (nats),
    odd-one-out accuracy (agreement with single choices), majority_accuracy and target_accuracy (agreement with most
    people's choice and the likeliest one of the targets), calibration error; noise ceiling of `n_repeated` triplets."""
    similarities = _similarities(affine, features, judgements.triplets)
    chosen, counts = choices(similarities), judgements.counts
    return {
        "n_triplets": len(judgements.triplets),
        "loss": float(losses.kl(similarities, _fitted_to(judgements, settings.loss))),
        "kl": float(losses.kl(similarities, judgements.targets)),
        "nll": metrics.weighted_mean(-(counts * similarities.log_softmax(-1)).sum(1) / counts.sum(1), counts.sum(1)),
        "odd_one_out_accuracy": metrics.odd_one_out_accuracy(chosen, counts),
        "majority_accuracy": float(metrics.majority_agreement(chosen, counts).mean()),
        "target_accuracy": float((chosen == judgements.targets.argmax(1)).double().mean()),
        "ece": metrics.expected_calibration_error(similarities.softmax(-1), counts),
        "noise_ceiling": metrics.noise_ceiling(counts),
        "n_repeated": int((counts.sum(1) >= 2).sum()),
    }


def concept_folds(concepts: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """A fold for every picture, (n,), such that all pictures of a concept share one; folds differ by one concept."""
    order = torch.randperm(int(concepts.max()) + 1, generator=generator)
    return (order % folds)[concepts]


def splits(judgements: Judgements, concepts: Tensor, settings: Teacher) -> list[dict[str, Judgements]]:
    """For each fold its 'train' judgements, which show training concepts only, and its 'validation' judgements, which
    show held-out ones only; a triplet of both is left out.

    Args: concepts: (n_images,) number of each picture's concept. Folds are over the concepts that were judged.
    Raises: ValueError if a fold is left without triplets.
    """
    _, judged = concepts[judgements.triplets].unique(return_inverse=True)
    fold_of = concept_folds(judged, settings.folds, torch.Generator().manual_seed(settings.seed))
    found = [
        {"train": judgements.where((fold_of != fold).all(1)), "validation": judgements.where((fold_of == fold).all(1))}
        for fold in range(settings.folds)
    ]
    if any(len(part.triplets) == 0 for split in found for part in split.values()):
        raise ValueError(f"teacher.folds: {settings.folds} folds leave one without triplets; choose fewer")
    return found


def cells(settings: Teacher) -> list[Teacher]:
    """The settings of every cell of the grid: each combination of the values that a part of it names."""
    from sklearn.model_selection import ParameterGrid

    return [dataclasses.replace(settings, **values) for values in ParameterGrid(settings.grid)]


def cross_validate(
    features: Tensor, judgements: Judgements, concepts: Tensor, settings: Teacher, others: Tensor | None = None
) -> pd.DataFrame:
    """Scores of every fold, before any fit (`map` 'none') and after the fit of every cell of the grid ('fitted')."""
    folds = splits(judgements, concepts, settings)
    work = list(itertools.product(enumerate(folds), [None, *cells(settings)]))

    def fitted(one: tuple) -> list[dict]:
        (fold, split), cell = one
        affine = rescaled(features, split["train"]) if cell is None else fit(features, split["train"], cell, others)
        return [_row(fold, part, cell, affine, features, judged, settings) for part, judged in split.items()]

    found = devices.each(fitted, work)
    rows = [row for one in tqdm(found, desc="teacher", unit="fit", mininterval=2, total=len(work)) for row in one]
    return pd.DataFrame(rows)


def best_cell(table: pd.DataFrame, settings: Teacher) -> Teacher:
    """The settings of the cell with the least validation loss, mean over folds."""
    fitted = table[(table["split"] == "validation") & (table["map"] == "fitted")]
    loss = fitted.groupby(list(GRID.values()), sort=False)["loss"].mean()
    place = dict(zip(GRID.values(), loss.idxmin(), strict=True))
    return next(cell for cell in cells(settings) if all(getattr(cell, key) == place[GRID[key]] for key in GRID))


def is_cell(table: pd.DataFrame, cell: Teacher) -> pd.Series:
    """Which rows are fits with this cell's settings, (n,) bool."""
    return pd.concat([table[column] == getattr(cell, name) for name, column in GRID.items()], axis=1).all(axis=1)


def refit(
    features: Tensor,
    train: Judgements,
    test: Judgements | None,
    settings: Teacher,
    others: Tensor | None = None,
) -> tuple[AffineMap, pd.DataFrame]:
    """The final map, from all training triplets, and its scores there and on the test triplets (fold 'all')."""
    split = {"train": train} | ({"test": test} if test is not None else {})
    affine = fit(features, train, settings, others)
    rows = [
        _row("all", part, cell, mapped, features, judged, settings)
        for cell, mapped in ((None, rescaled(features, train)), (settings, affine))
        for part, judged in split.items()
    ]
    return affine, pd.DataFrame(rows)


def soft_label_curve(
    features: Tensor, judgements: Judgements, concepts: Tensor, settings: Teacher, others: Tensor | None = None
) -> pd.DataFrame:
    """What few and many triplets teach when their targets are soft, hard or argmax: scores on the held-out concepts.

    soft: the judgements' targets; hard: people's single choices; argmax: the likeliest choice of the targets, as if it
    were sure. Each number of settings.soft_labels is drawn from a fold's training triplets; a fold with fewer gives all
    that it has.

    Returns: targets, n_train (triplets asked for), n_used, fold and the columns of `scores`.
    """
    chosen = dataclasses.replace(settings, loss="uncertainty")
    folds = enumerate(splits(judgements, concepts, settings))

    def fitted(one: tuple) -> dict:
        n, (fold, split), kind = one
        generator = torch.Generator().manual_seed(settings.seed)
        some = split["train"].where(torch.randperm(len(split["train"].triplets), generator=generator)[:n])
        likeliest = F.one_hot(some.targets.argmax(1), 3).float()
        targets = {"soft": some.targets, "hard": _fitted_to(some, "hard"), "argmax": likeliest}[kind]
        affine = fit(features, some.with_targets(targets), chosen, others)
        names = {"targets": kind, "n_train": n, "n_used": len(some.triplets), "fold": fold}
        return names | scores(affine, features, split["validation"], chosen)

    return pd.DataFrame(devices.each(fitted, itertools.product(settings.soft_labels, folds, KINDS)))


def by_layer(layers: dict[str, Tensor], judgements: Judgements, concepts: Tensor, settings: Teacher) -> pd.DataFrame:
    """Zero-shot scores of every layer of a backbone: the odd one out by centred dot products, no map.

    Args: layers: name -> (n, p), features of one picture of each concept, from input to output; judgements: about
        pictures, of which `layer_triplets` are drawn; concepts: (n_images,) row of a picture's concept in the features.
    Returns: layer, depth, dimensions, odd_one_out_accuracy with its 95 % bootstrap interval over triplets, and the kl
        and ece of the one scalar that predicts the targets best.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    some = torch.randperm(len(judgements.triplets), generator=generator)[: settings.layer_triplets]
    shown = dataclasses.replace(judgements.where(some), triplets=concepts[judgements.triplets[some]])
    weight, table = shown.counts.sum(1), []
    drawn = metrics.resample_weights(len(weight), settings.bootstrap, generator)
    for depth, (layer, features) in enumerate(layers.items()):
        affine = rescaled(features, shown)
        found = scores(affine, features, shown, settings)
        agrees = metrics.agreement(choices(_similarities(affine, features, shown.triplets)), shown.counts)
        low, high = metrics.bootstrap_interval(agrees, weight, drawn)
        row = {"layer": layer, "depth": depth, "dimensions": features.shape[1]}
        row |= {"odd_one_out_accuracy": found["odd_one_out_accuracy"], "ci_low": low, "ci_high": high}
        table.append(row | {"kl": found["kl"], "ece": found["ece"], "n_triplets": found["n_triplets"]})
    return pd.DataFrame(table)


def first_pictures(world: World, judgements: Judgements) -> tuple[Tensor, Tensor]:
    """A picture of each judged concept, (k,) rows of images.csv, and each picture's concept among them, (n_images,)."""
    codes = world.codes(world.hierarchy[0])
    judged = judgements.triplets.unique()
    concepts, place = codes[judged].unique(return_inverse=True)
    first = torch.full((len(concepts),), len(codes)).scatter_reduce_(0, place, judged, "amin")
    return first, torch.searchsorted(concepts, codes).clamp(max=len(concepts) - 1)


def disagreements(
    affine: AffineMap, features: Tensor, judgements: Judgements, n: int, seed: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Triplets on which the teacher chooses another odd one out than the base: n of them, those that more people judged
    first and in random order else, whoever is right.

    Returns: triplets (n, 3) of picture rows, and who -> (n, 3) probabilities: people, base (`rescaled`), teacher.
    """
    maps = {"base": rescaled(features, judgements), "teacher": affine}
    found = {name: _similarities(each, features, judgements.triplets).softmax(-1) for name, each in maps.items()}
    people = judgements.counts.sum(1)
    rows = (found["base"].argmax(1) != found["teacher"].argmax(1)).nonzero().flatten()
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    rows = rows[people[rows].argsort(descending=True, stable=True)[:n]]
    shown = {"people": judgements.counts / people[:, None], **found}
    return judgements.triplets[rows], {name: each[rows] for name, each in shown.items()}


def _row(fold, part: str, cell: Teacher | None, affine: AffineMap, features, judged: Judgements, settings) -> dict:
    setting = {column: float("nan") if cell is None else getattr(cell, name) for name, column in GRID.items()}
    place = {"fold": fold, "map": "none" if cell is None else "fitted", "split": part} | setting
    return place | scores(affine, features, judged, settings)


def _fitted_to(judgements: Judgements, loss: str) -> Tensor:
    """(n, 3): KL to the people's shares is -log q of their single choices, up to a constant."""
    if loss == "uncertainty":
        return judgements.targets
    return judgements.counts / judgements.counts.sum(1, keepdim=True)


def _principal_axes(z: Tensor, count: int) -> Tensor:
    """(count, p), of centred rows (n, p); each axis's largest entry is positive."""
    if count > min(z.shape):
        raise ValueError(f"teacher.pca is {count}; {len(z)} judged pictures of {z.shape[1]} dimensions have fewer axes")
    axes = torch.linalg.svd(z, full_matrices=False).Vh[:count]
    return axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()


def _similarities(affine: AffineMap, features: Tensor, triplets: Tensor) -> Tensor:
    rows, inverse = triplets.unique(return_inverse=True)
    mapped = affine(features[rows])
    return torch.cat([row_pair_similarities(mapped, part) for part in inverse.split(CHUNK)])
