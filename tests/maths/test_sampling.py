"""The five sampling schemes: properties that hold whatever the labels, and small cases counted by hand."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import generator

from alignet.maths import sampling

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=40).map(torch.tensor)
SEEDS = st.integers(0, 2**31)


def fits(scheme, kinds):
    """Whether three images with these labels are a triplet of the scheme, the pair first."""
    different = len(set(kinds))
    return {
        "random": True,
        "between_class": different == 3,
        "class_border": kinds[0] == kinds[1] != kinds[2],
        "within_class": different == 1,
        "cluster_border": kinds[0] == kinds[1] != kinds[2],
    }[scheme]


def all_of(scheme, labels):
    """Every set of three images that is a triplet of the scheme in some order, by trying all."""
    numbered = itertools.permutations(range(len(labels)), 3)
    return {tuple(sorted(row)) for row in numbered if fits(scheme, [labels[i] for i in row])}


@pytest.mark.parametrize("scheme", sampling.SCHEMES)
@settings(max_examples=40, deadline=None)
@given(labels=LABELS, seed=SEEDS)
def test_every_triplet_has_three_images_and_is_of_its_scheme_or_the_scheme_is_refused(scheme, labels, seed):
    if not all_of(scheme, labels.tolist()):
        with pytest.raises(ValueError, match=scheme):
            sampling.groups(scheme, labels)
        return
    source = sampling.groups(scheme, labels)
    drawn = sampling.draw(scheme, source, 60, generator(seed))
    assert drawn.shape == (60, 3)
    for row in drawn.tolist():
        assert len(set(row)) == 3
        assert fits(scheme, labels[row].tolist())


@pytest.mark.parametrize("scheme", sampling.SCHEMES)
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, n=st.integers(0, 50), chunk=st.integers(1, 60))
def test_the_chunk_size_changes_no_triplet(scheme, seed, n, chunk):
    source = sampling.groups(scheme, torch.arange(24) % 4)
    whole = sampling.draw(scheme, source, n, generator(seed))
    assert torch.equal(sampling.draw(scheme, source, n, generator(seed), chunk=chunk), whole)
    state = generator(seed)
    parts = [sampling.draw(scheme, source, size, state) for size in (n // 3, n - n // 3)]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("scheme", sampling.SCHEMES)
@settings(max_examples=10, deadline=None)
@given(labels=LABELS, shift=st.integers(1, 5))
def test_other_names_of_the_groups_change_what_is_possible_in_nothing(scheme, labels, shift):
    renamed = (labels + shift) % 7
    assert all_of(scheme, labels.tolist()) == all_of(scheme, renamed.tolist())
    if all_of(scheme, labels.tolist()):
        sizes = [sampling.groups(scheme, found).left_out() for found in (labels, renamed)]
        assert sizes[0] == sizes[1]


@pytest.mark.parametrize("scheme", sampling.SCHEMES)
def test_every_triplet_of_a_scheme_can_be_drawn(scheme):
    labels = torch.tensor([1, 0, 1, 3, 0, 1, 1])  # number 2 is empty, 3 has one image
    drawn = sampling.draw(scheme, sampling.groups(scheme, labels), 4000, generator())
    assert {tuple(sorted(row)) for row in drawn.tolist()} == all_of(scheme, labels.tolist())


@pytest.mark.parametrize("scheme", sampling.SCHEMES)
def test_the_images_of_equal_groups_come_equally_often(scheme):
    labels = torch.arange(12) % 4
    n = 24000
    drawn = sampling.draw(scheme, sampling.groups(scheme, labels), n, generator())
    share = torch.bincount(drawn.flatten(), minlength=12) / n
    assert (share - 3 / 12).abs().max() < 5 * (0.25 * 0.75 / n) ** 0.5


def test_every_order_of_three_images_is_equally_likely():
    drawn = sampling.draw("random", sampling.groups("random", torch.zeros(3).long()), 12000, generator())
    _, counts = drawn.unique(dim=0, return_counts=True)
    assert len(counts) == 6
    assert (counts / 12000 - 1 / 6).abs().max() < 5 * (1 / 6 * 5 / 6 / 12000) ** 0.5


def test_clusters_of_different_size_give_the_pair_equally_often():
    clusters = torch.cat([torch.zeros(3), torch.ones(30)]).long()
    drawn = sampling.draw("cluster_border", sampling.groups("cluster_border", clusters), 10000, generator())
    assert abs((clusters[drawn[:, 0]] == 0).double().mean() - 0.5) < 5 * 0.5 / 100


def test_groups_that_are_too_small_give_no_pair_and_are_counted():
    labels = torch.tensor([0, 1, 1, 2, 3, 3, 3])
    border, within = sampling.groups("class_border", labels), sampling.groups("within_class", labels)
    assert border.left_out() == (2, 2)
    assert within.left_out() == (3, 4)
    drawn = sampling.draw("class_border", border, 300, generator())
    assert not torch.isin(drawn[:, :2], torch.tensor([0, 3])).any()
    assert torch.isin(torch.tensor([0, 3]), drawn[:, 2]).all()
    assert (sampling.draw("within_class", within, 50, generator()) >= 4).all()


def test_the_largest_uniform_stays_inside():
    top = torch.full((6, 4), 1 - 2.0**-53, dtype=torch.float64)
    for scheme in sampling.SCHEMES:
        source = sampling.groups(scheme, torch.arange(9) % 3)
        rows = sampling._from_uniform(scheme, source, top[: sampling.WIDTH[scheme]])
        assert all(len(set(row)) == 3 and max(row) < 9 for row in rows.tolist())


def test_an_unknown_scheme_is_refused_by_name():
    with pytest.raises(ValueError, match="'border'"):
        sampling.groups("border", torch.arange(4))


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.permutations(range(6)).map(lambda row: row[:3]), max_size=40))
def test_distinct_keeps_the_first_of_every_set_of_three(rows):
    drawn = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)
    first = [n for n, row in enumerate(rows) if set(row) not in [set(other) for other in rows[:n]]]
    assert sampling.distinct(drawn, 6).tolist() == first


@pytest.mark.parametrize("images", [2_097_151, 2_097_152, 128_000_000])
def test_millions_of_images_have_keys_that_do_not_meet(images):
    rows = [[images - 1, images - 2, images - 3], [images - 4, images - 2, images - 1], [0, 1, 2], [2, 0, 1]]
    drawn = torch.tensor([*rows, [images - 3, images - 1, images - 2], [0, 1, images - 1]])
    assert all((key >= 0).all() for key in sampling.set_keys(drawn, images))
    assert sampling.distinct(drawn, images).tolist() == [0, 1, 2, 5]
