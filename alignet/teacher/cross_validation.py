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
from alignet.people.by_level import ByLevel
from alignet.people.choice_distributions import ChoiceCounts
from alignet.teacher.affine_map import AffineMap, accuracy_interval, fit, rescaled, scores, untransformed

JUDGED = "judged"  # the level of triplets that people judged, whatever their classes
# settings: columns of teacher.csv
GRID = {"regularisation": "lambda", "local_weight": "local_weight", "lr": "lr", "sigma": "sigma", "steps": "steps"}


def concept_folds(concepts: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """A fold for every picture, (n,), such that all pictures of a concept share one; folds differ by one concept."""
    order = torch.randperm(int(concepts.max()) + 1, generator=generator)
    return (order % folds)[concepts]


@dataclass(frozen=True)
class Sight:
    """What the teacher sees, and what it is to predict.

    features: (n_images, p), of all layers of all backbones, one beside the other; widths: dimensions of each of them;
    concepts: (n_images,) number of each picture's concept; others: (m, p) of other pictures, for the local term;
    by_level: draws triplets at the levels of abstraction; None: there are none.
    """

    features: Tensor
    widths: list[int]
    concepts: Tensor
    others: Tensor | None = None
    by_level: ByLevel | None = None


@dataclass(frozen=True)
class Fold:
    """The judgements of training concepts only and those of held-out ones only; a triplet of both is left out.

    levels: drawn triplets of held-out concepts at each level; start: the map before a fit to `train`.
    """

    train: ChoiceCounts
    validation: ChoiceCounts
    levels: dict[str, ChoiceCounts]
    start: AffineMap


def folds_of(concepts: Tensor, settings: Teacher) -> Tensor:
    """The fold of each picture. Args: concepts: (m,) or (m, 3) numbers of the concepts of judged pictures."""
    judged = concepts.unique(return_inverse=True)[1]
    return concept_folds(judged, settings.folds, torch.Generator().manual_seed(settings.seed))


def judged_pictures(sight: Sight, judgements: ChoiceCounts) -> Tensor:
    """Rows of the pictures whose concepts people judged, (m,) ascending: those that the judgements show and, where
    triplets are drawn, all others of these concepts and of those judged by name."""
    shown = judgements.triplets.unique()
    return shown if sight.by_level is None else torch.cat([shown, sight.by_level.pictures]).unique()


def splits(sight: Sight, judgements: ChoiceCounts, settings: Teacher) -> list[Fold]:
    """The folds, over the concepts that were judged.

    Raises: ValueError if a fold is left without triplets to fit to or to validate on, judged or drawn.
    """
    pictures = judged_pictures(sight, judgements)
    fold_of_picture = torch.full((len(sight.concepts),), -1)
    fold_of_picture[pictures] = folds_of(sight.concepts[pictures], settings)
    fold_of = fold_of_picture[judgements.triplets]
    folds = []
    for fold in range(settings.folds):
        train, held_out = (judgements.where(kept.all(1)) for kept in (fold_of != fold, fold_of == fold))
        inside = pictures[fold_of_picture[pictures] == fold]
        levels = at_levels(sight, inside, settings.validation_per_level, settings.seed)
        train = with_drawn(sight, train, pictures[fold_of_picture[pictures] != fold], settings)
        if len(train.triplets) == 0 or not (len(held_out.triplets) or levels):
            raise ValueError(f"teacher.folds: {settings.folds} folds leave one without triplets; choose fewer")
        start = untransformed(sight.features, train, settings.sigma, settings.pca, sight.widths)
        folds.append(Fold(train, held_out, levels, start))
    return folds


def at_levels(sight: Sight, pictures: Tensor, n: int, seed: int) -> dict[str, ChoiceCounts]:
    """n drawn triplets of some judged pictures at each level, where there are any."""
    return sight.by_level.draw(pictures, n, seed) if sight.by_level is not None and n else {}


def with_drawn(sight: Sight, train: ChoiceCounts, pictures: Tensor, settings: Teacher) -> ChoiceCounts:
    """The judgements and, with train_per_level, that many drawn triplets of some pictures at each level."""
    drawn = at_levels(sight, pictures, settings.train_per_level, settings.seed + 1)
    parts = [train, *drawn.values()]
    names = ("triplets", "counts", "targets")
    triplets, counts, targets = (torch.cat([getattr(part, name) for part in parts]) for name in names)
    return ChoiceCounts(triplets, counts, targets, train.answers)  # nobody chose of the drawn ones, which stand behind


def cells(settings: Teacher) -> list[Teacher]:
    """The settings of every cell of the grid: each combination of the values that a part of it names."""
    from sklearn.model_selection import ParameterGrid

    return [dataclasses.replace(settings, **values) for values in ParameterGrid(settings.grid)]


def cross_validate(sight: Sight, judgements: ChoiceCounts, settings: Teacher) -> pd.DataFrame:
    """Scores of every fold, before any fit (`map` 'none') and after the fit of every cell of the grid ('fitted')."""
    work = list(itertools.product(enumerate(splits(sight, judgements, settings)), [None, *cells(settings)]))

    def fitted(work_item: tuple[tuple[int, Fold], Teacher | None]) -> list[dict]:
        (number, fold), cell = work_item
        if cell is None:
            affine = rescaled(sight.features, fold.train, fold.start)
        else:
            affine = fit(sight.features, fold.train, cell, sight.others, fold.start)
        parts = {("train", JUDGED): fold.train}
        parts |= {("validation", JUDGED): fold.validation} if len(fold.validation.triplets) else {}
        parts |= {("validation", level): counts for level, counts in fold.levels.items()}
        return _Fit(number, cell, affine).rows(sight.features, parts, settings)

    fits = tqdm(devices.each(fitted, work), desc="teacher", unit="fit", mininterval=2, total=len(work))
    return pd.DataFrame([row for rows in fits for row in rows])


def best_cell(table: pd.DataFrame, settings: Teacher) -> Teacher:
    """The settings of the most regularised cell within one standard error of the least validation loss.

    The loss of a fold is the mean over the levels of abstraction, where there are drawn triplets, or else that of the
    judged triplets, nearly all of which are coarse. *(the levels: ours)*
    The error is that of the difference to the best cell over the folds, which all cells share: folds differ by more
    than cells do. More regularised: a larger lambda, then a larger weight of the local term, then a smaller loss.
    Source: Breiman et al., Classification and Regression Trees, 1984, section 3.4.3 (the one-standard-error rule).
    """
    fitted = table[(table["split"] == "validation") & (table["map"] == "fitted")]
    drawn = fitted[fitted["level"] != JUDGED]
    loss = (drawn if len(drawn) else fitted).pivot_table(
        index="fold", columns=list(GRID.values()), values="loss", sort=False
    )
    behind = loss.sub(loss[loss.mean().idxmin()], axis=0)
    near = behind.mean() <= behind.std(ddof=1).fillna(0) / len(behind) ** 0.5
    places = loss.mean()[near].rename("loss").reset_index()
    place = places.sort_values(["lambda", "local_weight", "loss"], ascending=[False, False, True]).iloc[0]
    return next(cell for cell in cells(settings) if all(getattr(cell, key) == place[GRID[key]] for key in GRID))


def is_cell(table: pd.DataFrame, cell: Teacher) -> pd.Series:
    """Which rows are fits with this cell's settings, (n,) bool."""
    return pd.concat([table[column] == getattr(cell, name) for name, column in GRID.items()], axis=1).all(axis=1)


def refit(
    sight: Sight, train: ChoiceCounts, test: ChoiceCounts | None, settings: Teacher
) -> tuple[AffineMap, pd.DataFrame]:
    """The final map, from all training triplets, and its scores there and on the test triplets (fold 'all'), with 95 %
    intervals of the accuracy over triplets that share concepts (ci_low, ci_high)."""
    pictures = judged_pictures(sight, train)
    drawn = at_levels(sight, pictures, settings.validation_per_level, settings.seed)
    parts = {("train", JUDGED): train} | {("train", level): counts for level, counts in drawn.items()}
    parts |= {("test", JUDGED): test} if test is not None else {}
    train = with_drawn(sight, train, pictures, settings)
    start = untransformed(sight.features, train, settings.sigma, settings.pca, sight.widths)
    affine = fit(sight.features, train, settings, sight.others, start)
    fits = [_Fit("all", None, rescaled(sight.features, train, start)), _Fit("all", settings, affine)]
    table = pd.DataFrame([row for each in fits for row in each.rows(sight.features, parts, settings)])
    intervals = [
        accuracy_interval(each.affine, sight.features, counts, sight.concepts[counts.triplets])
        for each in fits
        for counts in parts.values()
    ]
    return affine, table.assign(**pd.DataFrame(intervals, columns=["ci_low", "ci_high"]))


@dataclass(frozen=True)
class _Fit:
    """A map of one fold (`all`: the final one), fitted with the settings of `cell`; None for the map before a fit."""

    fold: int | str
    cell: Teacher | None
    affine: AffineMap

    def rows(self, features: Tensor, parts: dict[tuple[str, str], ChoiceCounts], settings: Teacher) -> list[dict]:
        """A row of teacher.csv for each part: fold, map, split, level, the cell's settings and the scores."""
        cell = {column: float("nan") if self.cell is None else getattr(self.cell, key) for key, column in GRID.items()}
        place = {"fold": self.fold, "map": "none" if self.cell is None else "fitted"}
        return [
            place | {"split": split, "level": level} | cell | scores(self.affine, features, counts, settings)
            for (split, level), counts in parts.items()
        ]
