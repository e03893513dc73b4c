import math

import numpy as np
import pytest
import scipy.stats
import torch
from inputs import generator

from alignet import config
from alignet.evaluation import downstream
from alignet.maths import metrics
from alignet.maths.intervals import (
    Units,
    holm,
    mean_influence,
    of_draws,
    p_value,
    percentile_interval,
    resample_weights,
    spearman_influence,
    t_interval,
)


def by_hand(objects, influence):
    """The sum of products over all pairs of units that show a common object."""
    total = 0.0
    for i, first in enumerate(objects.tolist()):
        for j, second in enumerate(objects.tolist()):
            total += float(influence[i] * influence[j]) * bool(set(first) & set(second))
    sets = [set(objects_of) for objects_of in objects.tolist()]
    density = sum(bool(one & other) for one in sets for other in sets) / len(sets) ** 2
    return math.sqrt(total / (1 - density))


@pytest.mark.parametrize("width", [1, 2, 3])
def test_the_standard_error_sums_the_products_of_all_units_with_a_common_object(width):
    objects = torch.randint(9, (40, width), generator=generator())  # some show one object twice
    influence = torch.rand(40, generator=generator()).double()  # all of one sign: above independence
    assert Units(objects).standard_error(influence) == pytest.approx(by_hand(objects, influence))


def test_units_that_share_nothing_are_independent():
    influence = torch.randn(20, generator=generator()).double()
    alone = Units(torch.arange(60).view(20, 3)).standard_error(influence)
    assert alone == pytest.approx(float(influence.square().sum().sqrt()) * math.sqrt(20 / 19))


def test_repeating_every_unit_does_not_narrow_the_interval():
    objects = torch.randint(15, (50, 3), generator=generator())
    values = torch.rand(15, generator=generator())[objects].sum(1)
    mean, influence = mean_influence(values, torch.ones(50))
    again, of_twice = mean_influence(values.repeat(2), torch.ones(100))
    assert again == pytest.approx(mean)
    assert Units(objects.repeat(2, 1)).interval(mean, of_twice) == pytest.approx(
        Units(objects).interval(mean, influence)
    )


def test_an_interval_never_falls_below_that_of_independent_units():
    objects = torch.tensor([[0, 1], [0, 2], [3, 4]])
    influence = torch.tensor([1.0, -0.6, -0.4]).double()  # the product of the two that share an object is negative
    assert Units(objects).standard_error(influence) == pytest.approx(math.sqrt(1.52 / (1 - 5 / 9)))


def test_a_score_that_no_unit_moves_has_an_interval_of_no_width():
    assert Units(torch.arange(9).view(3, 3)).interval(0.5, torch.zeros(3)) == (0.5, 0.5)


def test_a_score_without_units_or_of_one_object_has_no_interval():
    assert all(math.isnan(end) for end in Units(torch.zeros(0, 3).long()).interval(0.5, torch.zeros(0)))
    assert all(math.isnan(end) for end in Units(torch.zeros(3, 3).long()).interval(0.5, torch.ones(3)))
    assert all(math.isnan(end) for end in Units(torch.arange(9).view(3, 3)).interval(math.nan, torch.ones(3)))


def test_the_influence_of_a_mean_leaves_nan_out_and_sums_to_zero():
    values = torch.tensor([0.0, 1.0, math.nan, 1.0])
    mean, influence = mean_influence(values, torch.tensor([1, 2, 5, 1]))
    assert mean == pytest.approx(0.75)
    assert influence.tolist() == pytest.approx([-0.75 / 4, 0.5 / 4, 0, 0.25 / 4])
    assert influence.sum() == pytest.approx(0)


@pytest.mark.parametrize("ties", [False, True])
def test_the_influence_on_a_rank_correlation_is_that_of_leaving_a_unit_out(ties):
    x = torch.randn(400, generator=generator(), dtype=torch.float64)
    y = x + torch.randn(400, generator=generator(), dtype=torch.float64)
    if ties:
        x, y = (x * 2).round(), (y * 2).round()
    value, influence = spearman_influence(x, y)
    assert value == pytest.approx(metrics.spearman(x, y))
    assert influence.sum().item() == pytest.approx(0, abs=1e-8)
    for unit in range(0, 400, 57):
        rest = torch.arange(400) != unit
        moved = (value - metrics.spearman(x[rest], y[rest])) * 399 / 400
        assert influence[unit].item() == pytest.approx(moved, abs=2e-5)


def test_a_rank_correlation_leaves_nan_out_and_is_none_where_one_side_is_constant():
    x, y = torch.tensor([1.0, 2.0, math.nan, 3.0, 4.0]), torch.tensor([2.0, 1.0, 5.0, 3.0, 4.0])
    value, influence = spearman_influence(x, y)
    known = [0, 1, 3, 4]
    assert value == pytest.approx(metrics.spearman(x[known], y[known]))
    assert influence[2] == 0
    constant, nothing = spearman_influence(torch.ones(5), y)
    assert math.isnan(constant)
    assert (nothing == 0).all()


def shared_triplets(draw, concepts=60, triplets=500):
    """Triplets of concepts with random effects: objects (n, 3), values (n,), and a second value with the same
    effects.
    """
    objects = torch.rand(triplets, concepts, generator=draw).topk(3, dim=1).indices
    first, second = (torch.randn(concepts, generator=draw).double() * 0.25 for _ in range(2))
    noise = torch.randn(2, triplets, generator=draw).double()
    return objects, first[objects].sum(1) + noise[0], (first + second)[objects].sum(1) + noise[1]


@pytest.mark.slow
def test_intervals_of_means_and_differences_cover_the_truth_where_triplets_share_concepts():
    draw, runs, covered, naive = generator(), 1500, {"mean": 0, "difference": 0}, 0
    for _ in range(runs):
        objects, one, other = shared_triplets(draw)
        units, ones = Units(objects), torch.ones(len(one))
        for name, values in (("mean", one), ("difference", one - other)):
            mean, influence = mean_influence(values, ones)
            low, high = units.interval(mean, influence)
            covered[name] += low <= 0 <= high
        spread = 1.96 * one.std() / len(one) ** 0.5
        naive += abs(one.mean()) <= spread
    assert {name: round(count / runs, 3) for name, count in covered.items()} == {
        name: pytest.approx(0.95, abs=0.02) for name in covered
    }
    assert naive / runs < 0.85  # what intervals over independent triplets cover: the reason for this module


@pytest.mark.slow
def test_intervals_of_rank_correlations_cover_the_truth_where_triplets_share_concepts():
    draw, runs, covered = generator(), 1000, 0
    objects, one, other = shared_triplets(draw, concepts=3000, triplets=100_000)
    truth = metrics.spearman(one, other)
    for _ in range(runs):
        objects, one, other = shared_triplets(draw)
        value, influence = spearman_influence(one, other)
        low, high = Units(objects).interval(value, influence)
        covered += low <= truth <= high
    assert covered / runs == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.5, 0.9], [1.0, 1.0]), ([0.2, math.nan], [0.2, math.nan])],
)
def test_holms_correction_is_that_by_hand_and_leaves_nan_out(values, expected):
    assert holm(values) == pytest.approx(expected, nan_ok=True)


def test_a_p_value_is_below_five_percent_exactly_where_the_interval_leaves_zero_out():
    parts = [(0.0004, 4.0), (0.0001, math.inf)]
    low, _ = t_interval(0.1, parts)
    edge = 0.1 - low  # the score whose interval ends at 0
    assert p_value(edge, parts) == pytest.approx(0.05)
    assert p_value(1.01 * edge, parts) < 0.05 < p_value(0.99 * edge, parts)
    assert (p_value(0.0, [(0.0, 4)]), p_value(0.1, [(0.0, 4)])) == (1.0, 0.0)


def test_the_interval_of_a_mean_of_draws_is_students():
    values = torch.tensor([0.2, 0.4, 0.9])
    expected = scipy.stats.t.interval(0.95, 2, 0.5, values.std().item() / 3**0.5)
    assert t_interval(0.5, [of_draws(values)]) == pytest.approx(expected)
    assert all(map(math.isnan, t_interval(0.5, [of_draws(values[:1])])))


def draws_in_params():
    settings = config.load("downstream", config.Downstream, "params.yaml")
    names = ("centroid", "logistic", "ridge", "probe")
    return sorted({getattr(settings, f"{name}_draws") for name in names} | {3, 5})  # 3 and 5: params/paper.yaml


@pytest.mark.slow
@pytest.mark.parametrize("draws", draws_in_params())
def test_intervals_over_few_draws_hold_the_truth_and_percentile_bootstraps_would_not(draws):
    """Simulated accuracies of two models in the same episodes, whose difficulty is skewed: Beta(8, 3) and noise."""
    draw, runs = np.random.default_rng(draws), 4000
    covered, by_bootstrap = {"mean": 0, "over_control": 0, "relative_improvement": 0}, 0
    truth = {"mean": 8 / 11 + 0.05, "over_control": 0.05, "relative_improvement": 100 * 0.05 / (8 / 11)}
    weights = resample_weights(draws, 1000, generator()) / draws
    for _ in range(runs):
        difficulty = draw.beta(8, 3, draws)
        control = torch.from_numpy(difficulty + 0.03 * draw.standard_normal(draws))
        ours = torch.from_numpy(difficulty + 0.05 + 0.03 * draw.standard_normal(draws))
        found = downstream._mean("mean", "mean", ours) | downstream._mean(
            "over_control", "over_control", ours - control
        )
        found |= downstream._improvement(ours, control)
        for name, value in truth.items():
            covered[name] += found[f"{name}_low"] <= value <= found[f"{name}_high"]
        low, high = percentile_interval(weights @ (ours - control))
        by_bootstrap += low <= truth["over_control"] <= high
    print(draws, {name: count / runs for name, count in covered.items()}, "bootstrap", by_bootstrap / runs)
    assert {name: count / runs for name, count in covered.items()} == {
        name: pytest.approx(0.95, abs=0.02) for name in covered
    }
    assert draws > 5 or by_bootstrap / runs < 0.9
