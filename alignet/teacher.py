"""The teacher: an affine map on frozen features, fitted to human choice distributions (uncertainty distillation)."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize_scalar
from torch import Tensor
from tqdm import tqdm

from alignet import losses, metrics
from alignet.config import Teacher
from alignet.triplets import choice_counts, choices, pair_similarities
from alignet.worlds.tables import World

FINAL_LR = 0.05  # the learning rate falls linearly to this share of its start


@dataclass(frozen=True)
class AffineMap:
    """x' = W z + b with z = (features - mean) / scale.

    weight: (p, p); bias, mean: (p,); scale: scalar; mean and scale come from the training objects only.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """(n, p) features -> (n, p) representations, whose dot products are the teacher's similarities."""
        return (features - self.mean) / self.scale @ self.weight.T + self.bias

    def save(self, path: Path) -> None:
        save_file({name: tensor.contiguous() for name, tensor in vars(self).items()}, path)

    @classmethod
    def load(cls, path: Path) -> "AffineMap":
        return cls(**load_file(path))


@dataclass(frozen=True)
class Judgements:
    """Distinct triplets (n, 3) of feature rows, how many people chose each item (n, 3), and the shares of it (n, 3):
    the empirical choice distribution."""

    triplets: Tensor
    counts: Tensor
    targets: Tensor

    @classmethod
    def of(cls, triplets: Tensor, odd: Tensor) -> "Judgements":
        """From one row per choice: triplets (m, 3), position of the chosen odd one out (m,)."""
        distinct, counts = choice_counts(triplets, odd)
        return cls(distinct, counts, counts / counts.sum(1, keepdim=True))

    def where(self, kept: Tensor) -> "Judgements":
        return Judgements(self.triplets[kept], self.counts[kept], self.targets[kept])


def human_judgements(world: World) -> tuple[Judgements, Judgements | None]:
    """The choices of triplets.csv to fit on, and its rows of split 'test' as a test on unseen concepts.

    The second is None if there are no such rows, or if they show concepts that other rows show too: then the column
    splits triplets, not objects, cannot test generalisation to unseen ones, and all rows are fitted on.
    """
    triplets, odd = world.judgements(world.triplets)
    split = world.triplets["split"] if "split" in world.triplets else pd.Series("train", index=world.triplets.index)
    test = torch.tensor((split == "test").tolist())
    concepts = world.codes(world.hierarchy[0])[triplets]
    if not test.any() or torch.isin(concepts[test], concepts[~test]).any():
        return Judgements.of(triplets, odd), None
    return Judgements.of(triplets[~test], odd[~test]), Judgements.of(triplets[test], odd[test])


def fit(features: Tensor, judgements: Judgements, settings: Teacher) -> AffineMap:
    """Fit W and b by Adam on batches of triplets, from W = sigma I and b = 0.

    The loss is the chosen one of `losses` plus lambda || W - mean(diag W) I ||_F^2.
    Source: the paper, Methods, 'uncertainty distillation'; gLocal. Settings that worked: see params.yaml.

    Args: features: (n, p) of all pictures; only those in `judgements` are used.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    start = untransformed(features, judgements, settings.sigma)
    rows, triplets = judgements.triplets.unique(return_inverse=True)
    z = (features[rows] - start.mean) / start.scale
    weight, bias = start.weight.clone().requires_grad_(), start.bias.clone().requires_grad_()
    optimiser = torch.optim.Adam([weight, bias], lr=settings.lr)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, FINAL_LR, settings.steps)
    for _ in tqdm(range(settings.steps), desc="teacher", unit="step", mininterval=2):
        batch = torch.randint(len(triplets), (settings.batch_size,), generator=generator)
        # F.embedding, not indexing: the backward pass of indexing adds in any order, and no two fits would be equal.
        similarities = pair_similarities(F.embedding(triplets[batch], z @ weight.T + bias))
        loss = losses.BY_NAME[settings.loss](similarities, judgements.targets[batch])
        loss = loss + settings.regularisation * losses.distance_to_scaled_identity(weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()
    return AffineMap(weight.detach(), bias.detach(), start.mean, start.scale)


def untransformed(features: Tensor, judgements: Judgements, sigma: float) -> AffineMap:
    """The map before any fit: W = sigma I, b = 0, with the statistics of the judged pictures."""
    used = features[judgements.triplets.unique()]
    mean = used.mean(0)
    scale = (used - mean).square().mean().sqrt()
    dim = features.shape[1]
    return AffineMap(sigma * torch.eye(dim), torch.zeros(dim), mean, scale)


def rescaled(features: Tensor, judgements: Judgements) -> AffineMap:
    """The untransformed features with the one scalar that predicts the choices best: the fair 'before'."""

    def loss(log_sigma: float) -> float:
        similarities = _similarities(untransformed(features, judgements, 10**log_sigma), features, judgements.triplets)
        return float(losses.kl(similarities, judgements.targets))

    best = minimize_scalar(loss, bounds=(-4, 1), method="bounded", options={"xatol": 1e-3})
    return untransformed(features, judgements, 10 ** float(best.x))


def scores(affine: AffineMap, features: Tensor, judgements: Judgements, loss: str) -> dict[str, float]:
    """Mean loss (by its name in `losses`) and KL to the empirical choice distribution, odd-one-out accuracy and
    calibration error."""
    similarities = _similarities(affine, features, judgements.triplets)
    return {
        "n_triplets": len(judgements.triplets),
        "loss": float(losses.BY_NAME[loss](similarities, judgements.targets)),
        "odd_one_out_accuracy": metrics.odd_one_out_accuracy(choices(similarities), judgements.counts),
        "kl": float(losses.kl(similarities, judgements.targets)),
        "ece": metrics.expected_calibration_error(similarities.softmax(-1), judgements.counts),
        "noise_ceiling": metrics.noise_ceiling(judgements.counts),
    }


def concept_folds(concepts: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """A fold for every picture, (n,), such that all pictures of a concept share one; folds differ by one concept."""
    order = torch.randperm(int(concepts.max()) + 1, generator=generator)
    return (order % folds)[concepts]


def cross_validate(features: Tensor, judgements: Judgements, concepts: Tensor, settings: Teacher) -> pd.DataFrame:
    """Scores of every fold before and after its fit: train triplets show training concepts only, validation triplets
    held-out ones only; a triplet of both is left out."""
    generator = torch.Generator().manual_seed(settings.seed)
    fold_of = concept_folds(concepts, settings.folds, generator)[judgements.triplets]
    rows = []
    for fold in range(settings.folds):
        split = {"train": judgements.where((fold_of != fold).all(1))}
        split["validation"] = judgements.where((fold_of == fold).all(1))
        rows += _before_and_after(features, split, settings, fold)[1]
    return pd.DataFrame(rows)


def refit(
    features: Tensor, train: Judgements, test: Judgements | None, settings: Teacher
) -> tuple[AffineMap, pd.DataFrame]:
    """The final map, from all training triplets, and its scores there and on the test triplets (fold 'all')."""
    split = {"train": train} | ({"test": test} if test is not None else {})
    affine, rows = _before_and_after(features, split, settings, "all")
    return affine, pd.DataFrame(rows)


def _before_and_after(features, split: dict[str, Judgements], settings: Teacher, fold) -> tuple[AffineMap, list[dict]]:
    maps = {"none": rescaled(features, split["train"]), "fitted": fit(features, split["train"], settings)}
    setting = {"fold": fold, "lambda": settings.regularisation, "lr": settings.lr, "sigma": settings.sigma}
    rows = [
        setting | {"map": name, "split": part} | scores(affine, features, judged, settings.loss)
        for name, affine in maps.items()
        for part, judged in split.items()
    ]
    return maps["fitted"], rows


def _similarities(affine: AffineMap, features: Tensor, triplets: Tensor) -> Tensor:
    rows, inverse = triplets.unique(return_inverse=True)
    return pair_similarities(affine(features[rows])[inverse])
