"""Calibration of choice distributions on choices that were held out from their fit, and comparisons of embeddings."""

from dataclasses import dataclass
from itertools import combinations

import pandas as pd
import torch
from torch import Tensor

from alignet.config import HumanUncertainty
from alignet.maths import metrics
from alignet.maths.intervals import Units, mean_influence, reliability_bins, spearman_influence
from alignet.people.choice_distributions import ChoiceCounts, SingleChoices
from alignet.people.embeddings import Embedding

UNIT = "triplets that share objects"
CHOICES = "people's held-out choices"


def calibration(sources: list[Embedding], judged: SingleChoices, settings: HumanUncertainty) -> pd.DataFrame:
    """Scores of choice distributions on held-out choices: the columns of calibration.csv.

    distribution: 'vice'; 'embedding', where the targets come from one; 'empirical', the choices of the other people on
    the same triplet, with `smoothing` choices added to each item; 'uniform'. people: 'all' for judgements of held-out
    triplets; 'new' for those of people none of whose choices was fitted. triplets: 'all', or 'repeated' for those that
    two or more people judged, since only these have an empirical distribution and a noise ceiling. held_out: 'no' for
    an embedding that others fitted to these choices too. nll: mean -log probability of a choice, nats; ece: expected
    calibration error; accuracy: how often people choose the likeliest item (1 / k where k items tie, as in the noise
    ceiling). A triplet counts once, however many people judged it. Intervals: 95 %, over triplets that share objects.
    """
    parts = {"all": judged.held_out} | ({} if judged.by_new_people is None else {"new": judged.by_new_people})
    tables = [_scores(sources, judged.names, part, settings).assign(people=people) for people, part in parts.items()]
    return pd.concat(tables, ignore_index=True)


def _scores(
    sources: list[Embedding], names: list[str], judged: ChoiceCounts, settings: HumanUncertainty
) -> pd.DataFrame:
    rows = []
    for each in _predictions(sources, names, judged, settings):
        row: dict[str, object] = {"distribution": each.distribution, "triplets": each.which, "held_out": each.held_out}
        row |= {"n_triplets": len(each.of.unique()), "n_choices": each.n_choices}
        for column, (mean, low, high) in each.scores().items():
            row |= {column: mean, f"{column}_low": low, f"{column}_high": high}
        rows.append(row | {"ece": metrics.expected_calibration_error(each.predicted, each.shares, settings.bins)})
    return pd.DataFrame(rows).assign(**noise_ceiling_with_interval(judged), ci_unit=UNIT)


def reliability(sources: list[Embedding], judged: SingleChoices, settings: HumanUncertainty) -> pd.DataFrame:
    """The points of the reliability diagram: distribution and the columns of `intervals.reliability_bins`.

    The points of the empirical distribution are of the triplets that two or more people judged.
    """
    tables = []
    for each in _predictions(sources, judged.names, judged.held_out, settings):
        if (each.distribution == "empirical" or each.which == "all") and each.distribution != "uniform":
            bins = reliability_bins(each.predicted[:, None], each.shares[:, None], settings.bins, each.units)
            tables.append(bins.assign(distribution=each.distribution))
    return pd.concat(tables, ignore_index=True)


def others_choices(judged: ChoiceCounts, smoothing: float) -> tuple[Tensor, Tensor]:
    """Predictions of each person's choices on a triplet from the other people's choices, and the person's choices.

    Args: smoothing: the number of choices that is added to each item of the others' counts.
    Returns: (k, 3) probabilities and (k, 3) counts, a row for each row of judged.answers.
    """
    answers = judged.answers
    if answers is None:
        return torch.empty(0, 3), torch.empty(0, 3, dtype=torch.int64)
    others = judged.counts[answers.triplet] - answers.own + smoothing
    return others / others.sum(1, keepdim=True), answers.own


def noise_ceiling_with_interval(judged: ChoiceCounts) -> dict[str, float]:
    """The noise ceiling, with its 95 % interval over triplets that share objects.

    It is the agreement of one person with the majority of the others; each triplet counts once. All numbers are NaN if
    no triplet was judged by two people.
    """
    ceiling, influence = mean_influence(judged.agreement, torch.ones(len(judged.triplets)))
    low, high = Units(judged.triplets).interval(ceiling, influence)
    return {"noise_ceiling": ceiling, "noise_ceiling_low": low, "noise_ceiling_high": high}


@dataclass(frozen=True)
class _Prediction:
    """A distribution's predictions (m, 3) of choices about triplets.

    which: 'all' triplets, or the 'repeated' ones; shares: (m, 3), the choices that each prediction is about, as shares
    of all choices about its triplet; of: (m,) number of each prediction's triplet; units: the predictions, each with
    its triplet's objects.
    """

    distribution: str
    which: str
    held_out: str
    predicted: Tensor
    shares: Tensor
    of: Tensor
    units: Units
    n_choices: int

    def scores(self) -> dict[str, tuple[float, float, float]]:
        """The mean over triplets of nll and of accuracy, each with the ends of its 95 % interval."""
        weights = self.shares.sum(1)
        likeliest = (self.predicted == self.predicted.max(-1, keepdim=True).values).double()
        right = (self.shares * likeliest / likeliest.sum(-1, keepdim=True)).sum(1)
        loss = -torch.xlogy(self.shares, self.predicted.double()).sum(1)
        by_metric = {}
        for name, values in (("nll", loss), ("accuracy", right)):
            mean, influence = mean_influence(values / weights, weights)
            by_metric[name] = (mean, *self.units.interval(mean, influence))
        return by_metric


def _direct(distribution: str, which: str, held_out: str, judged: ChoiceCounts, predicted: Tensor) -> _Prediction:
    """The predictions of a distribution, (n, 3), each for all choices about one triplet."""
    shares = judged.counts.double() / judged.counts.sum(1, keepdim=True)
    triplets, n = judged.triplets, int(judged.counts.sum())
    return _Prediction(distribution, which, held_out, predicted, shares, torch.arange(len(shares)), Units(triplets), n)


def _predictions(
    sources: list[Embedding], names: list[str], judged: ChoiceCounts, settings: HumanUncertainty
) -> list[_Prediction]:
    """The predictions of each source, of the uniform distribution and of the other people's choices.

    A source predicts choices about the triplets whose objects it has; the other people's choices predict those about
    triplets that two or more people judged.

    Args: names: the objects by the numbers that judged.triplets hold.
    """
    repeatedly_judged = judged.where(judged.people >= 2)
    predictions = []
    for source in sources:
        part = judged.where((source.places(names)[judged.triplets] >= 0).all(1))
        distribution = source.choice_distribution(part.triplets, names, settings)
        held_out, repeated = "yes" if source.held_out else "no", part.people >= 2
        predictions.append(_direct(source.kind, "all", held_out, part, distribution))
        if repeated.any():
            predictions.append(_direct(source.kind, "repeated", held_out, part.where(repeated), distribution[repeated]))
    predictions.insert(1, _direct("uniform", "all", "yes", judged, torch.full(judged.triplets.shape, 1 / 3)))
    if repeatedly_judged.answers is not None and len(repeatedly_judged.triplets):
        predicted, own = others_choices(repeatedly_judged, settings.smoothing)
        of = repeatedly_judged.answers.triplet
        shares = own.double() / repeatedly_judged.counts.sum(1)[of, None]
        units = Units(repeatedly_judged.triplets[of])
        predictions.append(_Prediction("empirical", "repeated", "yes", predicted, shares, of, units, int(own.sum())))
    return predictions


def comparison(embeddings: list[Embedding], judged: SingleChoices, settings: HumanUncertainty) -> pd.DataFrame:
    """Comparison of embeddings with each other and with people's held-out choices: the columns of embeddings.csv.

    metric: nll (mean -log probability of a choice, nats) and accuracy on the held-out choices about objects that the
    embedding has, where each triplet counts once; rsa with another embedding: Spearman's correlation of the upper
    triangles of their dot products, over the judged objects that both have. held_out: 'no' where others fitted the
    embedding to these choices too. Intervals: 95 %, over triplets or pairs that share objects.
    """
    rows = [row for each in embeddings for row in _on_choices(each, judged, settings)]
    units: dict[int, Units] = {}  # of the pairs of some objects, by how many these are: found once
    rows += [_rsa(one, other, judged.names, units) for one, other in combinations(embeddings, 2)]
    return pd.DataFrame(rows)


def _on_choices(embedding: Embedding, judged: SingleChoices, settings: HumanUncertainty) -> list[dict]:
    known = (embedding.places(judged.names)[judged.held_out.triplets] >= 0).all(1)
    some = judged.held_out.where(known)
    if not len(some.triplets):
        return []
    predicted = embedding.choice_distribution(some.triplets, judged.names, settings)
    common = {"n": len(some.triplets), "objects": len(some.triplets.unique()), "ci_unit": UNIT}
    return [
        _names(embedding, CHOICES) | {"metric": metric, "value": mean, "ci_low": low, "ci_high": high} | common
        for metric, (mean, low, high) in _direct(embedding.kind, "all", "", some, predicted).scores().items()
    ]


def _rsa(one: Embedding, other: Embedding, judged: list[str], units: dict[int, Units]) -> dict:
    """A row of embeddings.csv: the RSA of two embeddings over the judged objects that both have."""
    places = torch.stack([one.places(judged), other.places(judged)])
    shared = [name for name, known in zip(judged, (places >= 0).all(0).tolist(), strict=True) if known]
    pairs = torch.triu_indices(len(shared), len(shared), 1)
    rho, influence = spearman_influence(*(each.similarity(shared)[pairs[0], pairs[1]] for each in (one, other)))
    low, high = units.setdefault(len(shared), Units(pairs.T)).interval(rho, influence)
    row = {"metric": "rsa", "value": rho, "ci_low": low, "ci_high": high, "n": pairs.shape[1]}
    return _names(one, other.name) | row | {"objects": len(shared), "ci_unit": "pairs that share objects"}


def _names(embedding: Embedding, against: str) -> dict:
    dimensions, fitted = embedding.posterior.mu.shape[1], "yes" if embedding.held_out else "no"
    return {"embedding": embedding.name, "dimensions": dimensions, "against": against, "held_out": fitted}
