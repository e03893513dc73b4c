"""Cross-validation of the teacher over concepts: the grid of settings, the best cell, and the final fit."""

import dataclasses
import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from alignet import devices
from alignet.config import HumanUncertainty, Teacher
from alignet.maths import metrics
from alignet.maths.choices import choice_counts, odd_one_out
from alignet.maths.intervals import Units, mean_influence
from alignet.people import held_out
from alignet.people.by_level import ByLevel
from alignet.people.choice_distributions import ChoiceCounts
from alignet.people.embeddings import PictureEmbedding
from alignet.teacher import ridge
from alignet.teacher.affine_map import (
    AffineMap,
    Drawn,
    accuracy_interval,
    fit,
    mapped_similarities,
    rescaled,
    scores,
    untransformed,
)
from alignet.worlds.format import regimes
from alignet.worlds.format.schema import LEVELS
from alignet.worlds.format.tables import World

NONE, RIDGE = "none", "ridge"  # the maps before a fit: the features as they are, and ridge regression
FEWEST = 10  # triplets; scores of fewer have no interval
JUDGED = "judged"  # the level of triplets that people judged, whatever their classes
# settings: columns of teacher.csv
GRID = {"regularisation": "lambda", "local_weight": "local_weight", "lr": "lr", "sigma": "sigma", "steps": "steps"}


def concept_folds(concepts: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """The fold of every picture, (n,): pictures of a concept share a fold, and folds differ by at most one concept."""
    order = torch.randperm(int(concepts.max()) + 1, generator=generator)
    return (order % folds)[concepts]


@dataclass(frozen=True)
class Sight:
    """What the teacher reads and what it is to predict.

    features: (n_images, p), all layers of all backbones side by side; widths: the dimensions of each layer; concepts:
    (n_images,) number of each picture's concept; others: (m, p) features of other pictures, for the local term;
    by_level: draws triplets at each level of abstraction, None: no triplets are drawn; embedding: the embedding of
    people's choices onto which a ridge start is fitted, None: there is none.
    """

    features: Tensor
    widths: list[int]
    concepts: Tensor
    others: Tensor | None = None
    by_level: ByLevel | None = None
    embedding: PictureEmbedding | None = None


@dataclass(frozen=True)
class Start:
    """What a fit starts from.

    plain: the standardised features without a map; ridge: ridge regression onto the embedding, None where
    settings.start is 'identity'; drawn: what all triplets of a batch are drawn from, None where they are not.
    """

    plain: AffineMap
    ridge: AffineMap | None
    drawn: Drawn | None

    @classmethod
    def of(cls, sight: Sight, train: ChoiceCounts, pictures: Tensor, settings: Teacher) -> "Start":
        """The start of a fit to some judgements.

        Args: train: the judgements to fit to; pictures: (m,) rows of the pictures that they may show.
        Raises: ValueError if settings.start is 'ridge' and people's choices have no embedding.
        """
        plain = untransformed(sight.features, train, settings.sigma, settings.pca, sight.widths)
        if sight.embedding is None:
            if settings.start == "ridge":
                raise ValueError(
                    "teacher.start: ridge needs an embedding of people's choices, and human_uncertainty.uncertainty is "
                    "empirical: set teacher.start to identity, or uncertainty to vice"
                )
            return cls(plain, None, None)
        drawn = Drawn(sight.embedding, pictures, sight.concepts[pictures])
        if settings.start == "identity":
            return cls(plain, None, drawn)
        targets = sight.embedding.mean(pictures)
        ridge_map, _ = ridge.fit(plain, sight.features, pictures, targets, drawn.concepts, train, settings.ridge)
        return cls(plain, ridge_map, drawn)

    def fit(self, sight: Sight, train: ChoiceCounts, cell: Teacher) -> AffineMap:
        """The map that is fitted with the settings of one cell of the grid."""
        first = self.plain.without_map(cell.sigma) if self.ridge is None else self.ridge
        return fit(sight.features, train, cell, sight.others, first, self.drawn)


@dataclass(frozen=True)
class Fold:
    """One fold: judgements of training concepts only and judgements of held-out concepts only.

    A triplet with concepts of both kinds is left out.

    levels: triplets drawn from held-out concepts at each level; start: what a fit to `train` starts from.
    """

    train: ChoiceCounts
    validation: ChoiceCounts
    levels: dict[str, ChoiceCounts]
    start: Start


def folds_of(concepts: Tensor, settings: Teacher) -> Tensor:
    """The fold of each picture. Args: concepts: (m,) or (m, 3) numbers of the concepts of judged pictures."""
    judged = concepts.unique(return_inverse=True)[1]
    return concept_folds(judged, settings.folds, torch.Generator().manual_seed(settings.seed))


def judged_pictures(sight: Sight, judgements: ChoiceCounts) -> Tensor:
    """Rows of the pictures whose concepts people judged, (m,) ascending.

    They are the pictures that the judgements show and, where triplets are drawn, all other pictures of these concepts
    and of the concepts that were judged by name.
    """
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
        outside = pictures[fold_of_picture[pictures] != fold]
        train = with_drawn(sight, train, outside, settings)
        if len(train.triplets) == 0 or not (len(held_out.triplets) or levels):
            raise ValueError(f"teacher.folds: {settings.folds} folds leave one of them without triplets: choose fewer")
        folds.append(Fold(train, held_out, levels, Start.of(sight, train, outside, settings)))
    return folds


def at_levels(sight: Sight, pictures: Tensor, n: int, seed: int) -> dict[str, ChoiceCounts]:
    """n drawn triplets of some judged pictures at each level, where there are any."""
    return sight.by_level.draw(pictures, n, seed) if sight.by_level is not None and n else {}


def with_drawn(sight: Sight, train: ChoiceCounts, pictures: Tensor, settings: Teacher) -> ChoiceCounts:
    """The judgements, joined by train_per_level drawn triplets of some pictures at each level."""
    drawn = at_levels(sight, pictures, settings.train_per_level, settings.seed + 1)
    parts = [train, *drawn.values()]
    names = ("triplets", "counts", "targets")
    triplets, counts, targets = (torch.cat([getattr(part, name) for part in parts]) for name in names)
    return ChoiceCounts(triplets, counts, targets, train.answers)  # nobody chose of the drawn ones, which stand behind


def cells(settings: Teacher) -> list[Teacher]:
    """The settings of every cell of the grid: for each part of the grid, all combinations of its values."""
    from sklearn.model_selection import ParameterGrid

    return [dataclasses.replace(settings, **values) for values in ParameterGrid(settings.grid)]


def cross_validate(sight: Sight, judgements: ChoiceCounts, settings: Teacher) -> pd.DataFrame:
    """Scores of every fold before and after the fit.

    Returns: the rows of teacher.csv, whose column `map` says 'none' (before any fit), 'ridge' (ridge regression, where
        fits start there) or 'fitted' (after the fit of each cell of the grid).
    """
    tried: list[Teacher | str] = [*_unfitted(settings), *cells(settings)]
    work = list(itertools.product(enumerate(splits(sight, judgements, settings)), tried))

    def fitted(work_item: tuple[tuple[int, Fold], Teacher | str]) -> list[dict]:
        (number, fold), cell = work_item
        parts = {("train", JUDGED): fold.train}
        parts |= {("validation", JUDGED): fold.validation} if len(fold.validation.triplets) else {}
        parts |= {("validation", level): counts for level, counts in fold.levels.items()}
        affine = _map(fold.start, sight, fold.train, cell)
        return _Fit(number, cell, affine).rows(sight.features, parts, settings)

    fits = tqdm(devices.each(fitted, work), desc="teacher", unit="fit", mininterval=2, total=len(work))
    return pd.DataFrame([row for rows in fits for row in rows])


def _map(start: Start, sight: Sight, train: ChoiceCounts, cell: Teacher | str) -> AffineMap:
    """The map that a cell names: the fitted one, ridge regression, or the rescaled features without a map."""
    if cell == NONE:
        return rescaled(sight.features, train, start.plain)
    if cell == RIDGE and start.ridge is not None:
        return start.ridge
    return start.fit(sight, train, cast(Teacher, cell))


def _unfitted(settings: Teacher) -> list[str]:
    """The kinds of maps that are not fitted by gradient: none and, where fits start there, ridge regression."""
    return [NONE, RIDGE] if settings.start == "ridge" else [NONE]


def _of_fold(sight: Sight, cell: Teacher | str, fold: Fold) -> AffineMap:
    return _map(fold.start, sight, fold.train, cell)


def cross_fitted(sight: Sight, judgements: ChoiceCounts, best: Teacher) -> pd.DataFrame:
    """Scores on people's triplets whose three concepts are new to the fit, all folds together.

    A triplet counts once, whichever fold it was held out in. `fold` is 'all' and `split` 'cross-fitted'; there is a row
    for each level of abstraction and one for all of them. Further columns: `on_people`.
    """
    folds, tables = splits(sight, judgements, best), []
    kept = [fold for fold in folds if len(fold.validation.triplets)]
    if not kept:
        return pd.DataFrame()
    triplets, counts = (torch.cat([getattr(fold.validation, name) for fold in kept]) for name in ("triplets", "counts"))
    tried: list[Teacher | str] = [*_unfitted(best), best]
    for cell in tried:
        maps = devices.each(partial(_of_fold, sight, cell), kept)
        predicted = [
            mapped_similarities(affine, sight.features, fold.validation.triplets)
            for affine, fold in zip(maps, kept, strict=True)
        ]
        names = {"fold": "all", "split": "cross-fitted"} | _cell_columns(cell)
        levels = {"all": torch.ones(len(triplets), dtype=torch.bool)}
        if sight.by_level is not None:
            levels |= _levels(sight.by_level.classes[triplets])
        for level, some in levels.items():
            if some.any():
                scored = on_people(torch.cat(predicted)[some], counts[some], sight.concepts[triplets[some]])
                tables.append(names | {"level": level} | scored)
    return pd.DataFrame(tables)


def _levels(classes: Tensor) -> dict[str, Tensor]:
    """A mask of the triplets (n, 3) of each level of abstraction, by the classes of their pictures."""
    different = 1 + (classes.sort(1).values.diff(dim=1) != 0).sum(1)
    return {"coarse": different == 3, "boundary": different == 2, "fine": different == 1}


def best_cell(table: pd.DataFrame, settings: Teacher) -> Teacher:
    """The settings of the most regularised cell within one standard error of the least validation loss.

    The loss of a fold is the mean over the levels of abstraction where there are drawn triplets, and otherwise the loss
    on the judged triplets, nearly all of which are coarse. *(the levels: ours)*
    The standard error is that of the difference to the best cell over the folds. All cells share the folds, and folds
    differ by more than cells do. More regularised means fewer steps from a ridge start, then a larger lambda, then a
    larger weight of the local term, then a smaller loss.
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
    order = {"steps": True} if settings.start == "ridge" else {}  # whether ascending
    order |= {"lambda": False, "local_weight": False, "loss": True}
    place = places.sort_values(list(order), ascending=list(order.values())).iloc[0]
    return next(cell for cell in cells(settings) if all(getattr(cell, key) == place[GRID[key]] for key in GRID))


def is_cell(table: pd.DataFrame, cell: Teacher) -> pd.Series:
    """A mask, (n,) bool, of the rows that are fits with this cell's settings."""
    return pd.concat([table[column] == getattr(cell, name) for name, column in GRID.items()], axis=1).all(axis=1)


def refit(
    sight: Sight, train: ChoiceCounts, test: ChoiceCounts | None, settings: Teacher
) -> tuple[dict[str, AffineMap], pd.DataFrame]:
    """The final maps, fitted to all training triplets, and their scores.

    Returns: the maps by name ('none', 'fitted' and, where fits start there, 'ridge'); and their scores on the training
        and test triplets (fold 'all'), with the 95 % interval of the accuracy over triplets that share concepts
        (ci_low, ci_high).
    """
    pictures = judged_pictures(sight, train)
    drawn = at_levels(sight, pictures, settings.validation_per_level, settings.seed)
    parts = {("train", JUDGED): train} | {("train", level): counts for level, counts in drawn.items()}
    parts |= {("test", JUDGED): test} if test is not None else {}
    train = with_drawn(sight, train, pictures, settings)
    start = Start.of(sight, train, pictures, settings)
    tried: list[Teacher | str] = [*_unfitted(settings), settings]
    fits = [_Fit("all", cell, _map(start, sight, train, cell)) for cell in tried]
    table = pd.DataFrame([row for each in fits for row in each.rows(sight.features, parts, settings)])
    intervals = [
        accuracy_interval(each.affine, sight.features, counts, sight.concepts[counts.triplets])
        for each in fits
        for counts in parts.values()
    ]
    maps = {str(_cell_columns(each.cell)["map"]): each.affine for each in fits}
    return maps, table.assign(**pd.DataFrame(intervals, columns=["ci_low", "ci_high"]))


def on_new_and_known(
    maps: dict[str, AffineMap], best: Teacher, sight: Sight, world: World, people: HumanUncertainty
) -> pd.DataFrame:
    """Scores of the final maps on people's rows of levels.csv that belong to no named study.

    A triplet counts once. There is a row for each regime (`split`: known, new or mixed) and level (those of the table,
    and 'all'). Further columns: `on_people`.

    Args: maps: 'none', 'fitted' and perhaps 'ridge', as `refit` returns them.
    """
    if world.levels is None:
        return pd.DataFrame()
    table = world.levels[regimes.text(world.levels, "study") == ""]
    known = torch.tensor((world.images["split"] == "human").to_numpy()) & ~held_out.held_out_objects(world, people)
    triplets, odd = world.choice_rows(table)
    regime, levels, rows = regimes.of_triplets(known[triplets]), table["level"].to_numpy(str), []
    for split, level in itertools.product(regimes.REGIMES, (*LEVELS, "all")):
        some = torch.from_numpy((regime == split) & ((levels == level) | (level == "all")))
        if not some.any():
            continue
        shown, counts = choice_counts(triplets[some], odd[some])
        for name, affine in maps.items():
            similarities = mapped_similarities(affine, sight.features, shown)
            cell = _cell_columns(best if name == "fitted" else name)
            place = {"fold": "all", "split": split, "level": level}
            rows.append(place | cell | on_people(similarities, counts, sight.concepts[shown]))
    return pd.DataFrame(rows)


def on_people(similarities: Tensor, counts: Tensor, concepts: Tensor) -> dict[str, float]:
    """Scores of similarities (n, 3) on people's choices (n, 3); a triplet counts once, however many people judged it.

    Args: concepts: (n, 3) concepts of the triplets, which may share them.
    Returns: n_triplets, odd_one_out_accuracy with its 95 % interval (ci_low, ci_high; none for fewer than ten
        triplets), nll (nats) and ece.
    """
    shares, chosen = counts / counts.sum(1, keepdim=True), odd_one_out(similarities)
    value, influence = mean_influence(metrics.agreement(chosen, counts), torch.ones(len(counts)))
    few = len(counts) < FEWEST
    low, high = (float("nan"),) * 2 if few else Units(concepts).interval(value, influence)
    return {
        "n_triplets": len(counts),
        "odd_one_out_accuracy": value,
        "ci_low": low,
        "ci_high": high,
        "nll": float(-(shares * similarities.log_softmax(-1)).sum(1).mean()),
        "ece": metrics.expected_calibration_error(similarities.softmax(-1), shares),
    }


@dataclass(frozen=True)
class _Fit:
    """A map of one fold ('all': the final map).

    cell: the settings that it was fitted with, NONE without a fit, or RIDGE for ridge regression.
    """

    fold: int | str
    cell: Teacher | str
    affine: AffineMap

    def rows(self, features: Tensor, parts: dict[tuple[str, str], ChoiceCounts], settings: Teacher) -> list[dict]:
        """Rows of teacher.csv, one for each set of judgements: fold, map, split, level, the cell's settings and the
        scores.
        """
        place = {"fold": self.fold} | _cell_columns(self.cell)
        return [
            place | {"split": split, "level": level} | scores(self.affine, features, counts, settings)
            for (split, level), counts in parts.items()
        ]


def _cell_columns(cell: Teacher | str) -> dict[str, Any]:
    """The columns of teacher.csv that name a cell: map and its settings; NaN for the maps that have none."""
    if isinstance(cell, str):
        return {"map": cell} | dict.fromkeys(GRID.values(), float("nan"))
    return {"map": "fitted"} | {column: getattr(cell, name) for name, column in GRID.items()}
