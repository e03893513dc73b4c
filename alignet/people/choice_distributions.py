"""Human choices -> choice distributions, empirical or VICE's, and how calibrated they are on choices held out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet import metrics
from alignet.config import HumanUncertainty
from alignet.intervals import Units, mean_influence, reliability_bins
from alignet.people import held_out
from alignet.people.vice import Posterior
from alignet.triplets import choice_counts
from alignet.worlds.format.tables import World

FEW = 500
UNIT = "triplets that share objects"


@dataclass(frozen=True)
class ChoiceCounts:
    """Distinct triplets (n, 3) of picture rows, how many people chose each item (n, 3), and the targets that a teacher
    is fitted to, (n, 3) probabilities: the shares of the people, unless others are put in their place."""

    triplets: Tensor
    counts: Tensor
    targets: Tensor

    @classmethod
    def of(cls, triplets: Tensor, odd: Tensor) -> "ChoiceCounts":
        """From one row per choice: triplets (m, 3), position of the chosen odd one out (m,)."""
        distinct, counts = choice_counts(triplets, odd)
        return cls(distinct, counts, counts / counts.sum(1, keepdim=True))

    def where(self, kept: Tensor) -> "ChoiceCounts":
        return ChoiceCounts(self.triplets[kept], self.counts[kept], self.targets[kept])

    def with_targets(self, targets: Tensor) -> "ChoiceCounts":
        return ChoiceCounts(self.triplets, self.counts, targets)


@dataclass(frozen=True)
class SingleChoices:
    """Single choices about objects, to fit VICE on and held out to check it on.

    names: of the objects, in the order of their numbers; triplets (n, 3) object numbers and odd (n,): a row per choice
    to fit on; held_out: judgements of other triplets of the same objects.
    """

    names: list[str]
    triplets: Tensor
    odd: Tensor
    held_out: ChoiceCounts


def human_choice_counts(world: World, settings: HumanUncertainty) -> tuple[ChoiceCounts, ChoiceCounts | None]:
    """The choices of triplets.csv to fit to, and those about held-out objects alone (`held_out.choice_parts`).

    The second is None if there are none.
    """
    parts = held_out.parts_to_fit(world, settings)
    triplets, odd = world.choice_rows(world.triplets)
    fitted_to = ChoiceCounts.of(triplets[parts.fitted], odd[parts.fitted])
    if not parts.held_out.any():
        return fitted_to, None
    return fitted_to, ChoiceCounts.of(triplets[parts.held_out], odd[parts.held_out])


def single_choices(world: World, settings: HumanUncertainty) -> SingleChoices:
    """VICE's choices: those that the teacher is fitted to (`human_choice_counts`), some of them held out.

    Held out are the rows whose split is not 'train'; where all are, or no split is named, the choices about a share of
    the distinct triplets, drawn at random. Of very many the `held_out_most` that most people judged are scored.

    Raises: ValueError if objects are concepts and a triplet shows one concept twice.
    """
    triplets, odd = world.choice_rows(world.triplets)
    fitted = held_out.parts_to_fit(world, settings).fitted
    number, names = object_numbers(world, triplets[fitted], settings.objects)
    objects, odd = number[triplets[fitted]], odd[fitted]
    if (objects.sort(1).values.diff(dim=1) == 0).any():
        raise ValueError(
            f"triplets.csv: a triplet shows one {world.hierarchy[0]} twice; set human_uncertainty.objects to picture"
        )
    split = held_out.choice_split(world)[fitted.numpy()].to_numpy()
    checked = torch.from_numpy(split != "train")
    if checked.all() or not checked.any():
        checked = _drawn(objects, settings)
    judged = ChoiceCounts.of(objects[checked], odd[checked])
    order = torch.randperm(len(judged.triplets), generator=_generator(settings))
    most = order[judged.counts.sum(1)[order].argsort(descending=True, stable=True)[: settings.held_out_most]]
    return SingleChoices(names, objects[~checked], odd[~checked], judged.where(most.sort().values))


def object_numbers(world: World, triplets: Tensor, objects: str) -> tuple[Tensor, list[str]]:
    """A number for every picture's object, (n_images,), and the names of the objects that `triplets` show.

    Numbers of objects that are not shown are -1. Args: triplets: (m, 3) rows of images.csv; objects: concept | picture.
    """
    labels = world.images[world.hierarchy[0] if objects == "concept" else "image"]
    names = labels.iloc[triplets.unique().tolist()].drop_duplicates()
    return torch.from_numpy(pd.Index(names).get_indexer(labels)), names.tolist()


def object_pictures(world: World, names: list[str], objects: str) -> Tensor:
    """The first picture of each object, (k,) rows of images.csv."""
    labels = world.images[world.hierarchy[0] if objects == "concept" else "image"]
    first = labels.drop_duplicates()
    return torch.from_numpy(first.index.to_numpy()[pd.Index(first).get_indexer(names)])


def soft_targets(world: World, posterior: Posterior, settings: HumanUncertainty) -> ChoiceCounts:
    """The judgements that the teacher is fitted to, with the chosen distribution as their targets.

    empirical: the shares of the people. vice: Monte-Carlo choice distributions (VICE, 3.3) of the triplets' objects.
    """
    judged, _ = human_choice_counts(world, settings)
    if settings.uncertainty == "empirical":
        return judged
    number, _ = object_numbers(world, judged.triplets, settings.objects)
    return judged.with_targets(posterior.choice_distribution(number[judged.triplets], settings.samples, settings.seed))


def examples(judged: ChoiceCounts, n: int) -> tuple[Tensor, dict[str, Tensor]]:
    """n of the FEW triplets that most people judged, at equal steps of the targets' entropy, from sure to unsure.

    Returns: triplets (n, 3) of picture rows; 'people' and 'target' -> (n, 3) probabilities.
    """
    people = judged.counts.sum(1)
    some = judged.where(people.argsort(descending=True, stable=True)[:FEW])
    order = metrics.entropy(some.targets).argsort(stable=True)
    shown = some.where(order[torch.linspace(0, len(order) - 1, n).round().long()])
    return shown.triplets, {"people": shown.counts / shown.counts.sum(1, keepdim=True), "target": shown.targets}


def save(folder: Path, posterior: Posterior, curve: pd.DataFrame, names: list[str], judged: ChoiceCounts) -> None:
    """posterior.safetensors, objects.txt (a name a row of it), curve.csv and targets.npy (n, 3), for `load_targets`."""
    folder.mkdir(parents=True, exist_ok=True)
    posterior.save(folder / "posterior.safetensors")
    (folder / "objects.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    curve.to_csv(folder / "curve.csv", index=False, float_format="%.6g")
    np.save(folder / "triplets.npy", judged.triplets.numpy())
    np.save(folder / "targets.npy", judged.targets.numpy())


def load_targets(folder: Path, judged: ChoiceCounts) -> ChoiceCounts:
    """The judgements with the stored targets.

    Raises: ValueError if the stored ones are of other triplets.
    """
    if not np.array_equal(np.load(folder / "triplets.npy"), judged.triplets.numpy()):
        raise ValueError(f"{folder}: targets of other triplets than the world's; run the human_uncertainty stage again")
    return judged.with_targets(torch.from_numpy(np.load(folder / "targets.npy")))


def calibration(posterior: Posterior, judged: ChoiceCounts, settings: HumanUncertainty) -> pd.DataFrame:
    """Scores of choice distributions on held-out choices: the columns of calibration.csv.

    distribution: vice; empirical (what the others chose on the same triplet, `smoothing` choices added to each item);
    uniform. triplets: all, or those that two or more people judged, on which alone there is an empirical distribution
    and a noise ceiling. nll: mean -log probability of a choice, nats; ece: expected calibration error; accuracy: how
    often people choose the likeliest item (1 / k where k items tie, as in the noise ceiling). Intervals: 95 %, over
    triplets that share objects.
    """
    rows = []
    for name, (triplets, predicted, counts, units) in _predictions(posterior, judged, settings).items():
        people = counts.sum((1, 2))
        likeliest = (predicted == predicted.max(-1, keepdim=True).values).double()
        right = (counts * likeliest / likeliest.sum(-1, keepdim=True)).sum((1, 2)) / people
        loss = -torch.xlogy(counts, predicted.double()).sum((1, 2)) / people
        row = {
            "distribution": name.split(",")[0],
            "triplets": triplets,
            "n_triplets": len(counts),
            "n_choices": int(people.sum()),
        }
        for column, values in (("nll", loss), ("accuracy", right)):
            mean, influence = mean_influence(values, people)
            low, high = units.interval(mean, influence)
            row |= {column: mean, f"{column}_low": low, f"{column}_high": high}
        ece = metrics.expected_calibration_error(predicted.flatten(0, 1), counts.flatten(0, 1), settings.bins)
        rows.append(row | {"ece": ece})
    return pd.DataFrame(rows).assign(**noise_ceiling_with_interval(judged), ci_unit=UNIT)


def reliability(posterior: Posterior, judged: ChoiceCounts, settings: HumanUncertainty) -> pd.DataFrame:
    """The points of the reliability diagram: distribution and the columns of `intervals.reliability_bins`; of the
    empirical distribution, on the triplets that two or more people judged."""
    tables = []
    for name, (_, predicted, counts, units) in _predictions(posterior, judged, settings).items():
        if name in ("vice", "empirical"):
            bins = reliability_bins(predicted, counts, settings.bins, units)
            tables.append(bins.assign(distribution=name))
    return pd.concat(tables, ignore_index=True)


def leave_one_out(counts: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """What the others chose, as a prediction of each choice, and that choice.

    Args: counts: (n, 3) people; smoothing: choices added to each item of the others'.
    Returns: (n, 3, 3) probabilities and (n, 3, 3) counts: row k of a triplet leaves one choice of item k out and holds
        the people who made it.
    """
    one = torch.eye(3, dtype=counts.dtype)
    others = (counts[:, None, :] - one).clamp(min=0) + smoothing
    return others / others.sum(-1, keepdim=True), counts[:, None, :] * one


def noise_ceiling_with_interval(judged: ChoiceCounts) -> dict[str, float]:
    """One person against the majority of the others, with its 95 % interval over triplets that share objects; NaN if
    nobody judged what another did."""
    ceiling, influence = mean_influence(metrics.leave_one_out_agreement(judged.counts), judged.counts.sum(1))
    low, high = Units(judged.triplets).interval(ceiling, influence)
    return {"noise_ceiling": ceiling, "noise_ceiling_low": low, "noise_ceiling_high": high}


def _predictions(posterior: Posterior, judged: ChoiceCounts, settings: HumanUncertainty) -> dict[str, tuple]:
    """name -> which triplets, probabilities and counts (n, k, 3), k predictions of a triplet's choices, and units."""
    counts, repeated, units = judged.counts, judged.counts.sum(1) >= 2, Units(judged.triplets)
    vice = posterior.choice_distribution(judged.triplets, settings.samples, settings.seed)[:, None]
    predictions: dict[str, tuple] = {"vice": ("all", vice, counts[:, None], units)}
    predictions["uniform"] = ("all", torch.full_like(vice, 1 / 3), counts[:, None], units)
    if repeated.any():
        of_repeated = Units(judged.triplets[repeated])
        predictions["vice, repeated"] = ("repeated", vice[repeated], counts[repeated, None], of_repeated)
        others = leave_one_out(counts[repeated], settings.smoothing)
        predictions["empirical"] = ("repeated", *others, of_repeated)
    return predictions


def _drawn(objects: Tensor, settings: HumanUncertainty) -> Tensor:
    """All choices of a share of the distinct triplets, (m,) bool."""
    distinct, group = objects.sort(1).values.unique(dim=0, return_inverse=True)
    return (torch.rand(len(distinct), generator=_generator(settings)) < settings.held_out_share)[group]


def _generator(settings: HumanUncertainty) -> torch.Generator:
    return torch.Generator().manual_seed(settings.seed)
