import math

import pytest
import torch

from alignet import results
from alignet.evaluation import kept
from alignet.maths.intervals import Units

N = 400


def units():
    return Units(torch.arange(3 * N).view(N, 3))  # no triplet shares a concept with another


def agreement(**accuracy):
    """Choices of 400 triplets with these accuracies, each model right on the first of them."""
    names = {"teacher_before": results.TEACHER_BEFORE}
    right = {names.get(name, name): (torch.arange(N) < N * share).double() for name, share in accuracy.items()}
    return right


def test_the_shares_by_hand():
    found = kept.shares(agreement(base=0.4, unalignet=0.5, alignet=0.575, teacher_before=0.5, teacher=0.6), units())
    assert found["kept"] == pytest.approx(0.75)  # .075 of .1
    assert found["reached"] == pytest.approx(0.875)  # .175 of .2
    assert found["kept_low"] < 0.75 < found["kept_high"]


def test_a_student_that_chooses_as_its_teacher_keeps_and_reaches_all():
    found = kept.shares(agreement(base=0.4, unalignet=0.5, alignet=0.6, teacher_before=0.5, teacher=0.6), units())
    assert [found[name] for name in ("kept", "kept_low", "kept_high", "reached")] == pytest.approx([1, 1, 1, 1])


def test_a_share_of_no_gain_is_not_given():
    found = kept.shares(agreement(base=0.4, unalignet=0.5, alignet=0.55, teacher_before=0.6, teacher=0.6), units())
    assert math.isnan(found["kept"])
    assert math.isnan(found["kept_high"])
    assert found["reached"] == pytest.approx(0.75)


def test_the_interval_covers_the_share_of_drawn_triplets():
    generator = torch.Generator().manual_seed(0)
    accuracy = {"base": 0.4, "unalignet": 0.45, "alignet": 0.57, results.TEACHER_BEFORE: 0.45, results.TEACHER: 0.6}
    inside = []
    for _ in range(300):
        drawn = {name: (torch.rand(N, generator=generator) < share).double() for name, share in accuracy.items()}
        found = kept.shares(drawn, units())
        if not math.isnan(found["kept"]):
            inside.append(found["kept_low"] < 0.8 < found["kept_high"])
    assert len(inside) > 250
    assert 0.91 < sum(inside) / len(inside) < 0.99


def test_missing_models_are_named():
    with pytest.raises(ValueError, match="teacher before, teacher too"):
        kept.shares(agreement(base=0.4, unalignet=0.5, alignet=0.6), units())
