import math

import pytest
import torch

from alignet.maths import losses

EQUAL = torch.zeros(1, 3, dtype=torch.float64)  # softmax: 1/3 each


def logits_and_targets(n=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(n, 3, generator=generator, dtype=torch.float64) for _ in range(2)]
    return draw[0], draw[1].softmax(-1)


def test_hard_is_the_cross_entropy_of_the_likeliest_choice():
    similarities = torch.tensor([[0.0, math.log(2), 0.0]]).double()  # softmax: 1/4, 1/2, 1/4
    assert losses.hard(similarities, torch.tensor([[0.2, 0.7, 0.1]])).item() == pytest.approx(math.log(2))
    assert losses.hard(similarities, torch.tensor([[0.6, 0.3, 0.1]])).item() == pytest.approx(math.log(4))


def test_kl_of_a_certain_target_and_an_undecided_model_is_log_three():
    assert losses.kl(EQUAL, torch.tensor([[1.0, 0.0, 0.0]]).double()).item() == pytest.approx(math.log(3))


def test_kl_is_the_sum_of_p_log_p_over_q():
    similarities = torch.tensor([[0.0, math.log(2), 0.0]]).double()
    expected = 0.5 * math.log(0.5 / 0.25) + 0.25 * math.log(0.25 / 0.5) + 0.25 * math.log(0.25 / 0.25)
    assert losses.kl(similarities, torch.tensor([[0.5, 0.25, 0.25]]).double()).item() == pytest.approx(expected)


def test_jsd_is_the_mean_divergence_from_the_mixture():
    target = torch.tensor([[1.0, 0.0, 0.0]]).double()  # mixture with 1/3 each: 2/3, 1/6, 1/6
    expected = 0.5 * math.log(1.5) + 0.5 * (1 / 3 * math.log(0.5) + 2 / 3 * math.log(2))
    assert losses.jsd(EQUAL, target).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [losses.hard, losses.kl, losses.jsd])
def test_a_loss_is_the_mean_over_the_batch(loss):
    similarities, targets = logits_and_targets()
    each = [loss(similarities[row : row + 1], targets[row : row + 1]) for row in range(len(targets))]
    torch.testing.assert_close(loss(similarities, targets), torch.stack(each).mean())


@pytest.mark.parametrize("loss", [losses.kl, losses.jsd])
def test_a_divergence_is_zero_at_equality_and_positive_elsewhere(loss):
    similarities, targets = logits_and_targets()
    assert loss(targets.log() + 5, targets).item() == pytest.approx(0, abs=1e-12)
    assert loss(similarities, targets) > 0


@pytest.mark.parametrize("loss", [losses.hard, losses.kl, losses.jsd])
def test_a_loss_does_not_see_a_shift_of_the_similarities_nor_the_order_of_the_items(loss):
    similarities, targets = logits_and_targets()
    moved = loss((similarities + 7)[:, [2, 0, 1]], targets[:, [2, 0, 1]])
    torch.testing.assert_close(moved, loss(similarities, targets))


def test_jsd_is_symmetric():
    similarities, targets = logits_and_targets()
    torch.testing.assert_close(losses.jsd(similarities, targets), losses.jsd(targets.log(), similarities.softmax(-1)))


def test_jsd_stays_below_log_two_and_comes_near_it():
    opposite = losses.jsd(torch.tensor([[0.0, 30.0, 0.0]]).double(), torch.tensor([[1.0, 0.0, 0.0]]).double())
    assert opposite.item() == pytest.approx(math.log(2), abs=1e-6)
    assert opposite <= math.log(2)
    assert losses.jsd(*logits_and_targets()) < math.log(2)


@pytest.mark.parametrize("gap", [1.0, 50.0, 104.0, 200.0, 1e3, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("loss", list(losses.BY_NAME.values()))
def test_large_gaps_give_finite_losses_and_gradients_that_lead_to_the_target(loss, dtype, gap):
    similarities = torch.tensor([[gap, 0.0, -gap], [0.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    targets = torch.tensor([[-gap, 0.0, gap], [gap, 0.0, 0.0]], dtype=dtype).softmax(-1)
    value = loss(similarities, targets)
    value.backward()
    assert value.isfinite()
    assert similarities.grad.isfinite().all()
    assert value >= 0
    assert similarities.grad[1].argmin() == 0  # undecided, and taught the first: its similarity is to grow


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gap", [0.1, 1.0, 10.0, 200.0, 1e4])
def test_jsd_is_bounded_and_agrees_with_its_definition_at_any_gap(gap, dtype):
    similarities = torch.tensor([[gap, 0.0, -gap]], dtype=dtype)
    p, q = torch.tensor([[-gap, 0.0, gap]], dtype=torch.float64).softmax(-1), similarities.double().softmax(-1)
    m = (p + q) / 2
    expected = (torch.xlogy(p, p / m) + torch.xlogy(q, q / m)).nansum() / 2
    value = losses.jsd(similarities, p.to(dtype))
    assert value.item() == pytest.approx(expected.item(), abs=1e-6)
    assert 0 <= value <= math.log(2) + 1e-6


@pytest.mark.parametrize("temperature", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_local_term_and_its_gradient_are_finite_at_small_temperatures(temperature, dtype):
    generator = torch.Generator().manual_seed(0)
    before, after = (torch.randn(6, 4, generator=generator).to(dtype) for _ in range(2))
    after.requires_grad_()
    value = losses.local(before, after, temperature)
    value.backward()
    assert value.isfinite()
    assert after.grad.isfinite().all()


@pytest.mark.parametrize("loss", [losses.kl, losses.jsd])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_targets_of_zero_give_finite_losses_and_gradients(loss, dtype):
    similarities = torch.tensor([[5.0, -90.0, 3.0]], dtype=dtype, requires_grad=True)
    value = loss(similarities, torch.tensor([[0.0, 1.0, 0.0]], dtype=dtype))
    value.backward()
    assert value.isfinite()
    assert similarities.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(losses.BY_NAME))
def test_gradients_are_those_of_finite_differences(name):
    similarities, targets = logits_and_targets(4)
    similarities.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.BY_NAME[name](x, targets), similarities)


@pytest.mark.parametrize("scale", [0.0, -2.5, 3.0])
def test_a_scaled_identity_is_at_distance_zero(scale):
    distance = losses.distance_to_scaled_identity(scale * torch.eye(5, dtype=torch.float64))
    assert distance.item() == pytest.approx(0, abs=1e-12)


def test_the_distance_to_a_scaled_identity_is_the_direct_formula():
    weight = torch.tensor([[1.0, 2.0], [0.0, 3.0]])  # mean of the diagonal: 2
    assert losses.distance_to_scaled_identity(weight).item() == 6
    weight = torch.randn(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    direct = (weight - weight.diagonal().mean() * torch.eye(7)).square().sum()
    torch.testing.assert_close(losses.distance_to_scaled_identity(weight), direct)


def test_the_local_term_by_hand_and_its_least_value_where_nothing_moves():
    before = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    after = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])  # the second picture moves to the third
    sure, rest = math.exp(1) / (math.exp(1) + 1), 1 / (math.exp(1) + 1)
    crossed = -(sure * math.log(rest) + rest * math.log(sure))  # the first two pictures' rows, as of picture 2
    even = math.log(2)  # picture 1 is as far from both afterwards; picture 3 was
    by_hand = (even + crossed - 0.5 * (math.log(sure) + math.log(rest))) / 3
    assert losses.local(before, after, 1.0).item() == pytest.approx(by_hand, rel=1e-5)
    assert losses.local(before, before, 1.0) < losses.local(before, after, 1.0)
    torch.testing.assert_close(losses.local(before, 7 * before, 1.0), losses.local(before, before, 1.0))


def test_the_local_terms_gradient_is_that_of_finite_differences():
    drawn = torch.Generator().manual_seed(0)
    before, after = (torch.randn(5, 3, generator=drawn, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: losses.local(before, x, 0.5), after.requires_grad_())


def test_the_loss_of_rows_by_hand():
    taught = torch.tensor([[9.0, math.log(3), 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])  # rows: 3/4 1/4, halves, halves
    found = losses.rows(torch.zeros(3, 3), taught).item()
    assert found == pytest.approx((0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)) / 3)


def square_matrices(n=6):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, n, generator=generator, dtype=torch.float64) for _ in range(2)]


def test_the_loss_of_rows_does_not_see_the_diagonal_a_shift_of_a_row_or_the_order_of_pictures():
    student, taught = square_matrices()
    expected = losses.rows(student, taught)
    shifted = student + torch.arange(6.0)[:, None] + 50 * torch.eye(6)
    torch.testing.assert_close(losses.rows(shifted, taught - 50 * torch.eye(6)), expected)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(losses.rows(student[order][:, order], taught[order][:, order]), expected)


def test_the_loss_of_rows_is_zero_where_student_and_teacher_agree_and_positive_elsewhere():
    student, taught = square_matrices()
    assert losses.rows(taught + 3, taught).item() == pytest.approx(0, abs=1e-12)
    assert losses.rows(student, taught) > 0


@pytest.mark.parametrize("gap", [1.0, 200.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_with_large_gaps_give_finite_losses_and_gradients_that_lead_to_the_target(dtype, gap):
    taught = gap * torch.tensor([[1.0, 1.0, -1.0], [1.0, 0.0, -1.0], [1.0, -1.0, 0.0]], dtype=dtype)
    student = torch.zeros(3, 3, dtype=dtype, requires_grad=True)
    value = losses.rows(student, taught)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
    assert (student.grad.diagonal() == 0).all()
    assert student.grad[0, 1] < 0 < student.grad[0, 2]
    assert losses.rows(-taught, taught).isfinite()


def test_the_gradient_of_the_loss_of_rows_is_that_of_finite_differences():
    student, taught = square_matrices(4)
    assert torch.autograd.gradcheck(lambda x: losses.rows(x, taught), student.requires_grad_())
