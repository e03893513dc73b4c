import math

import pytest
import torch
from inputs import generator
from rsatoolbox.rdm import RDMs, compare
from scipy.stats import rankdata, spearmanr

from alignet.maths import metrics


def counts_of_uniform_people(n, people, seed=0):
    odd = torch.randint(3, (n, people), generator=generator(seed))
    return torch.nn.functional.one_hot(odd, 3).sum(1)


def agreement_of_strangers(counts):
    """Every choice is another person's, as where nobody judged a triplet twice."""
    item = torch.arange(counts.numel()).repeat_interleave(counts.flatten())
    own = torch.nn.functional.one_hot(item % 3, 3)
    return metrics.leave_participant_out_agreement(own, item // 3, len(counts))


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
    values = agreement_of_strangers(torch.tensor([[2, 1, 0], [3, 1, 0], [1, 1, 1], [1, 1, 0]]))
    assert values.tolist() == pytest.approx([(0.5 + 0.5 + 0) / 3, 3 / 4, 0, 0])


def test_identical_participants_agree_wholly():
    counts = torch.tensor([[5, 0, 0], [0, 2, 0], [0, 0, 7]])
    agreement = agreement_of_strangers(counts)
    assert agreement.tolist() == [1, 1, 1]
    assert metrics.odd_one_out_noise_ceiling(agreement) == 1


@pytest.mark.parametrize("people", [2, 3, 6])
def test_participants_who_guess_agree_by_chance(people):
    agreement = agreement_of_strangers(counts_of_uniform_people(6000, people))
    assert metrics.odd_one_out_noise_ceiling(agreement) == pytest.approx(1 / 3, abs=0.03)


def test_agreement_between_people_does_not_see_the_order_of_the_items():
    counts = counts_of_uniform_people(50, 5)
    moved = agreement_of_strangers(counts[:, [2, 0, 1]])
    torch.testing.assert_close(moved, agreement_of_strangers(counts))


def test_a_single_participant_has_no_noise_ceiling():
    agreement = agreement_of_strangers(torch.tensor([[0, 1, 0], [2, 0, 0]]))
    assert agreement.isnan().tolist() == [True, False]
    assert metrics.odd_one_out_noise_ceiling(agreement) == 1
    assert math.isnan(metrics.odd_one_out_noise_ceiling(agreement[:1]))


def test_in_the_noise_ceiling_a_triplet_counts_once_however_many_people_judged_it():
    agreement = agreement_of_strangers(torch.tensor([[99, 0, 0], [1, 1, 0]]))
    assert metrics.odd_one_out_noise_ceiling(agreement) == 0.5


def test_the_weighted_mean_of_nothing_is_nan():
    assert metrics.weighted_mean(torch.tensor([1.0, 4.0]), torch.tensor([3, 1])) == 1.75
    assert math.isnan(metrics.weighted_mean(torch.zeros(0), torch.zeros(0)))


def test_a_person_who_judged_twice_is_left_out_with_both_choices():
    # Person 0 chose item 0 twice, person 1 item 0, person 2 item 1. Against the other two, person 0 meets a tie: 1/2;
    # person 1 finds 2 : 1 and agrees; person 2 finds 3 : 0 and does not. Triplet 1 has one person only.
    own, triplet = torch.tensor([[2, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 3]]), torch.tensor([0, 0, 0, 1])
    found = metrics.leave_participant_out_agreement(own, triplet, 2)
    assert found[0] == pytest.approx((2 * 0.5 + 1 + 0) / 4)
    assert math.isnan(found[1])


def test_the_rank_correlation_is_scipys_also_with_ties():
    x, y = torch.randint(6, (2, 80), generator=generator()).double()
    assert metrics.spearman(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    assert metrics.ranks(x).tolist() == pytest.approx((rankdata(x) - 0.5) / 80)


def test_a_rank_correlation_is_one_for_any_increasing_function_and_none_for_a_constant():
    x = torch.rand(30, generator=generator(), dtype=torch.float64)
    assert metrics.spearman(x, x.exp()) == pytest.approx(1)
    assert metrics.spearman(x, -(x**3)) == pytest.approx(-1)
    assert math.isnan(metrics.spearman(x, torch.ones(30)))
    assert math.isnan(metrics.spearman(x[:0], x[:0]))


def rsa(similarity, other):
    """Spearman correlation of two (n, n) matrices above the diagonal."""
    return metrics.spearman(metrics.upper_triangle(similarity), metrics.upper_triangle(other))


def matrices(n=12, seed=0):
    """Two similarity matrices that have something in common."""
    features = torch.randn(n, 4, generator=generator(seed), dtype=torch.float64)
    other = features + torch.randn(n, 4, generator=generator(seed + 1), dtype=torch.float64)
    return features @ features.T, other @ other.T


def test_rsa_is_rsatoolboxs_and_the_direct_formulas():
    similarity, other = matrices()
    upper = [metrics.upper_triangle(matrix) for matrix in (similarity, other)]
    theirs = compare(*(RDMs(-values[None].numpy()) for values in upper), method="spearman").item()
    assert rsa(similarity, other) == pytest.approx(theirs, abs=1e-6)
    ranks = [rankdata(values) for values in upper]
    n = len(ranks[0])
    assert rsa(similarity, other) == pytest.approx(
        1 - 6 * ((ranks[0] - ranks[1]) ** 2).sum() / (n * (n**2 - 1)), abs=1e-6
    )


def test_rsa_of_a_matrix_with_itself_is_one_and_with_permuted_labels_about_zero():
    similarity, _ = matrices(40)
    assert rsa(similarity, similarity) == pytest.approx(1)
    order = torch.randperm(40, generator=generator())
    assert abs(rsa(similarity, similarity[order][:, order])) < 0.15
    moved = rsa(similarity[order][:, order], similarity[order][:, order])
    assert moved == pytest.approx(1)


def test_cka_is_rsatoolboxs_whitened_cosine_and_the_direct_formula():
    x = torch.randn(15, 6, generator=generator(), dtype=torch.float64)
    y = x[:, :3] + torch.randn(15, 3, generator=generator(1), dtype=torch.float64)
    direct = [value - value.mean(0) for value in (x, y)]
    cross = [(a.T @ b).norm() ** 2 for a, b in ((direct[0], direct[1]), (direct[0], direct[0]), (direct[1], direct[1]))]
    assert metrics.cka(x, y) == pytest.approx(float(cross[0] / (cross[1] * cross[2]).sqrt()), abs=1e-6)
    squared = [RDMs(metrics.upper_triangle(torch.cdist(rows, rows) ** 2)[None].numpy()) for rows in (x, y)]
    assert metrics.cka(x, y) == pytest.approx(compare(*squared, method="cosine_cov").item(), abs=1e-6)


def test_cka_does_not_see_rotation_scale_or_offset():
    x = torch.randn(20, 5, generator=generator(), dtype=torch.float64)
    turned = torch.linalg.qr(torch.randn(5, 5, generator=generator(1), dtype=torch.float64)).Q
    assert metrics.cka(x, 3 * x @ turned + 2) == pytest.approx(1)
    assert 0 <= metrics.cka(x, torch.randn(20, 5, generator=generator(2))) < 0.6


def test_the_majoritys_choice_is_shared_where_it_is_tied():
    counts = torch.tensor([[3, 1, 0], [2, 2, 0], [1, 1, 1], [4, 0, 0]])
    assert metrics.majority_agreement(torch.tensor([0, 1, 2, -1]), counts).tolist() == pytest.approx(
        [1, 1 / 2, 1 / 3, 0]
    )


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
