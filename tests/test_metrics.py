import math

import pytest
import torch

from alignet import metrics


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def counts_of_uniform_people(n, people, seed=0):
    odd = torch.randint(3, (n, people), generator=generator(seed))
    return torch.nn.functional.one_hot(odd, 3).sum(1)


def test_agreement_is_the_share_of_people_who_chose_the_same_and_none_for_a_tie():
    counts = torch.tensor([[3, 1, 0], [0, 2, 2], [1, 1, 2], [4, 0, 0]])
    assert metrics.agreement(torch.tensor([0, 1, 2, -1]), counts).tolist() == [0.75, 0.5, 0.5, 0.0]


def test_accuracy_counts_choices_and_not_triplets():
    counts = torch.tensor([[3, 0, 0], [0, 0, 1]])
    assert metrics.odd_one_out_accuracy(torch.tensor([0, 0]), counts) == pytest.approx(3 / 4)


def test_always_the_same_item_agrees_with_a_third_of_uniform_choices():
    counts = counts_of_uniform_people(3000, 3)
    accuracies = [metrics.odd_one_out_accuracy(torch.full((3000,), item), counts) for item in range(3)]
    assert sum(accuracies) == pytest.approx(1)
    assert max(abs(accuracy - 1 / 3) for accuracy in accuracies) < 0.025


def test_leaving_one_of_two_to_one_out_agrees_by_hand():
    # Without a chooser of item 0, items 0 and 1 tie: 1/2 each for those two; without that of item 1: no agreement.
    values = metrics.leave_one_out_agreement(torch.tensor([[2, 1, 0], [3, 1, 0], [1, 1, 1], [1, 1, 0]]))
    assert values.tolist() == pytest.approx([(0.5 + 0.5 + 0) / 3, 3 / 4, 0, 0])


def test_identical_participants_agree_wholly():
    counts = torch.tensor([[5, 0, 0], [0, 2, 0], [0, 0, 7]])
    assert metrics.leave_one_out_agreement(counts).tolist() == [1, 1, 1]
    assert metrics.noise_ceiling(counts) == 1


@pytest.mark.parametrize("people", [2, 3, 6])
def test_participants_who_guess_agree_by_chance(people):
    assert metrics.noise_ceiling(counts_of_uniform_people(6000, people)) == pytest.approx(1 / 3, abs=0.03)


def test_leave_one_out_agreement_does_not_see_the_order_of_the_items():
    counts = counts_of_uniform_people(50, 5)
    moved = metrics.leave_one_out_agreement(counts[:, [2, 0, 1]])
    torch.testing.assert_close(moved, metrics.leave_one_out_agreement(counts))


def test_a_single_participant_has_no_noise_ceiling():
    counts = torch.tensor([[0, 1, 0], [2, 0, 0]])
    assert metrics.leave_one_out_agreement(counts).isnan().tolist() == [True, False]
    assert metrics.noise_ceiling(counts) == 1
    assert math.isnan(metrics.noise_ceiling(counts[:1]))


def test_the_weighted_mean_of_nothing_is_nan():
    assert metrics.weighted_mean(torch.tensor([1.0, 4.0]), torch.tensor([3, 1])) == 1.75
    assert math.isnan(metrics.weighted_mean(torch.zeros(0), torch.zeros(0)))


def test_the_bootstrap_interval_holds_the_mean_and_shrinks_with_n():
    widths = []
    for n in (50, 5000):
        values = torch.rand(n, generator=generator())
        low, high = metrics.bootstrap_interval(values, torch.ones(n), 300, generator())
        assert low < values.mean() < high
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 10, rel=0.35)


def test_the_bootstrap_interval_follows_the_weights():
    values, weights = torch.tensor([0.0] * 50 + [1.0] * 50), torch.tensor([1] * 50 + [9] * 50)
    low, high = metrics.bootstrap_interval(values, weights, 300, generator())
    assert 0.8 < low < 0.9 < high < 1


def test_the_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        values = torch.rand(60, generator=generator(seed))
        low, high = metrics.bootstrap_interval(values, torch.ones(60), 300, generator(seed), level=0.9)
        covered += low < 0.5 < high
    assert 163 <= covered <= 194  # 180 expected, standard deviation 4.2


def test_constant_values_have_an_interval_of_no_width_and_no_values_have_none():
    assert metrics.bootstrap_interval(torch.ones(9), torch.ones(9), 20, generator()) == (1, 1)
    assert all(math.isnan(end) for end in metrics.bootstrap_interval(torch.ones(0), torch.ones(0), 20, generator()))


def test_entropy_is_zero_for_a_certain_choice_and_log_three_at_most():
    probabilities = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    assert metrics.entropy(probabilities).tolist() == pytest.approx([0, math.log(2), math.log(3)])
    drawn = torch.rand(100, 3, generator=generator())
    assert (metrics.entropy(drawn / drawn.sum(1, keepdim=True)) <= math.log(3) + 1e-6).all()


def test_predictions_that_equal_the_shares_are_calibrated():
    counts = torch.tensor([[6, 3, 1], [0, 5, 5]])
    assert metrics.expected_calibration_error(counts / 10, counts) == pytest.approx(0, abs=1e-7)


def test_a_certain_and_wrong_prediction_is_wholly_uncalibrated():
    probabilities, counts = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0, 4, 0]])
    assert metrics.expected_calibration_error(probabilities, counts) == pytest.approx(2 / 3)


def test_the_calibration_error_of_two_bins_by_hand():
    # Below 1/2: predicted 0.2 + 0.2 + 0.1 + 0.3 (twice, two people), chosen 3; above: predicted 0.6 * 2 * 2, chosen 1.
    probabilities = torch.tensor([[0.6, 0.2, 0.2], [0.1, 0.3, 0.6]])
    counts = torch.tensor([[1, 1, 0], [0, 2, 0]])
    expected = (abs(2 * 0.8 - 3) + abs(2 * 1.2 - 1)) / (2 * 6)
    assert metrics.expected_calibration_error(probabilities, counts, bins=2) == pytest.approx(expected)


@pytest.mark.parametrize("target", [0.01, 2.0, 300.0])
def test_solving_finds_where_an_increasing_function_reaches_its_target(target):
    assert metrics.solve_increasing(lambda x: x**3, target**3, 1e-6, 1e3) == pytest.approx(target, rel=2e-6)


def test_solving_for_what_is_never_reached_gives_the_end():
    assert metrics.solve_increasing(lambda x: x, 1e9, 1e-3, 1e3) == pytest.approx(1e3, rel=1e-5)
