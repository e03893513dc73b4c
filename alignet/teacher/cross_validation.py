"""Cross-validation of the teacher over concepts: the grid of settings, the best cell, and the final fit."""

import dataclasses
import itertools
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from alignet import devices
from alignet.config import Teacher
from alignet.people.choice_distributions import ChoiceCounts
from alignet.teacher.affine_map import AffineMap, fit, rescaled, scores

# settings: columns of teacher.csv
GRID = {"regularisation": "lambda", "local_weight": "local_weight", "lr": "lr", "sigma": "sigma", "steps": "steps"}


def concept_folds(concepts: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """A fold for every picture, (n,), such that all pictures of a concept share one; folds differ by one concept."""
    order = torch.randperm(int(concepts.max()) + 1, generator=generator)
    return (order % folds)[concepts]


def splits(judgements: ChoiceCounts, concepts: Tensor, settings: Teacher) -> list[dict[str, ChoiceCounts]]:
    """For each fold its 'train' judgements, which show training concepts only, and its 'validation' judgements, which
    show held-out ones only; a triplet of both is left out.

    Args: concepts: (n_images,) number of each picture's concept. Folds are over the concepts that were judged.
    Raises: ValueError if a fold is left without triplets.
    """
    _, judged = concepts[judgements.triplets].unique(return_inverse=True)
    fold_of = concept_folds(judged, settings.folds, torch.Generator().manual_seed(settings.seed))
    folds = [
        {"train": judgements.where((fold_of != fold).all(1)), "validation": judgements.where((fold_of == fold).all(1))}
        for fold in range(settings.folds)
    ]
    if any(len(side.triplets) == 0 for split in folds for side in split.values()):
        raise ValueError(f"teacher.folds: {settings.folds} folds leave one without triplets; choose fewer")
    return folds


def cells(settings: Teacher) -> list[Teacher]:
    """The settings of every cell of the grid: each combination of the values that a part of it names."""
    from sklearn.model_selection import ParameterGrid

    return [dataclasses.replace(settings, **values) for values in ParameterGrid(settings.grid)]


def cross_validate(
    features: Tensor, judgements: ChoiceCounts, concepts: Tensor, settings: Teacher, others: Tensor | None = None
) -> pd.DataFrame:
    """Scores of every fold, before any fit (`map` 'none') and after the fit of every cell of the grid ('fitted')."""
    folds = splits(judgements, concepts, settings)
    work = list(itertools.product(enumerate(folds), [None, *cells(settings)]))

    def fitted(work_item: tuple[tuple[int, dict[str, ChoiceCounts]], Teacher | None]) -> list[dict]:
        (fold, split), cell = work_item
        affine = rescaled(features, split["train"]) if cell is None else fit(features, split["train"], cell, others)
        return _Fit(fold, cell, affine).rows(features, split, settings)

    fits = tqdm(devices.each(fitted, work), desc="teacher", unit="fit", mininterval=2, total=len(work))
    return pd.DataFrame([row for rows in fits for row in rows])


def best_cell(table: pd.DataFrame, settings: Teacher) -> Teacher:
    """The settings of the most regularised cell within one standard error of the least validation loss.

    The error is that of the difference to the best cell over the folds, which all cells share: folds differ by more
    than cells do. More regularised: a larger lambda, then a larger weight of the local term, then a smaller loss.
    Source: Breiman et al., Classification and Regression Trees, 1984, section 3.4.3 (the one-standard-error rule).
    """
    fitted = table[(table["split"] == "validation") & (table["map"] == "fitted")]
    loss = fitted.pivot_table(index="fold", columns=list(GRID.values()), values="loss", sort=False)
    behind = loss.sub(loss[loss.mean().idxmin()], axis=0)
    near = behind.mean() <= behind.std(ddof=1).fillna(0) / len(behind) ** 0.5
    places = loss.mean()[near].rename("loss").reset_index()
    place = places.sort_values(["lambda", "local_weight", "loss"], ascending=[False, False, True]).iloc[0]
    return next(cell for cell in cells(settings) if all(getattr(cell, key) == place[GRID[key]] for key in GRID))


def is_cell(table: pd.DataFrame, cell: Teacher) -> pd.Series:
    """Which rows are fits with this cell's settings, (n,) bool."""
    return pd.concat([table[column] == getattr(cell, name) for name, column in GRID.items()], axis=1).all(axis=1)


def refit(
    features: Tensor,
    train: ChoiceCounts,
    test: ChoiceCounts | None,
    settings: Teacher,
    others: Tensor | None = None,
) -> tuple[AffineMap, pd.DataFrame]:
    """The final map, from all training triplets, and its scores there and on the test triplets (fold 'all')."""
    split = {"train": train} | ({"test": test} if test is not None else {})
    affine = fit(features, train, settings, others)
    fits = [_Fit("all", None, rescaled(features, train)), _Fit("all", settings, affine)]
    return affine, pd.DataFrame([row for each in fits for row in each.rows(features, split, settings)])


@dataclass(frozen=True)
class _Fit:
    """A map of one fold (`all`: the final one), fitted with the settings of `cell`; None for the map before a fit."""

    fold: int | str
    cell: Teacher | None
    affine: AffineMap

    def rows(self, features: Tensor, split: dict[str, ChoiceCounts], settings: Teacher) -> list[dict]:
        """A row of teacher.csv for each part of the split: fold, map, split, the cell's settings and the scores."""
        cell = {column: float("nan") if self.cell is None else getattr(self.cell, key) for key, column in GRID.items()}
        place = {"fold": self.fold, "map": "none" if self.cell is None else "fitted"}
        return [
            place | {"split": name} | cell | scores(self.affine, features, counts, settings)
            for name, counts in split.items()
        ]
