import itertools

import pytest
import torch
from inputs import generator

from alignet.maths import choices, metrics
from alignet.student import batches

ORDERS = list(itertools.permutations(range(3)))


def embeddings(n=20, dim=5):
    return torch.randn(n, 3, dim, generator=generator(), dtype=torch.float64)


def test_each_entry_belongs_to_the_pair_that_leaves_the_item_out():
    items = torch.tensor([[[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]]])
    assert choices.pair_similarities(items).tolist() == [[3.0, 0.0, 2.0]]  # pairs 12, 02, 01


@pytest.mark.parametrize("shape", [(4, 2, 5), (3, 5), (4, 4, 5)])
def test_anything_but_three_items_is_refused(shape):
    with pytest.raises(ValueError, match="batch, 3, dim"):
        choices.pair_similarities(torch.zeros(shape))


@pytest.mark.parametrize("order", ORDERS)
def test_relabelling_items_relabels_the_odd_one_out(order):
    items, order = embeddings(), torch.tensor(order)
    similarities = choices.pair_similarities(items)
    relabelled = choices.pair_similarities(items[:, order])
    assert torch.equal(relabelled, similarities[:, order])
    assert torch.equal(order[choices.odd_one_out(relabelled)], choices.odd_one_out(similarities))


def test_the_choice_is_the_item_outside_the_most_similar_pair():
    assert choices.odd_one_out(torch.tensor([[3.0, 0.0, 2.0], [0.0, 1.0, 0.5], [-3.0, -2.0, -1.0]])).tolist() == [
        0,
        1,
        2,
    ]


def test_a_tie_at_the_top_is_no_choice_and_a_tie_below_it_is_none_of_its_business():
    assert choices.odd_one_out(torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0], [0.0, 0.0, 1.0]])).tolist() == [
        -1,
        -1,
        2,
    ]


def test_constant_embeddings_earn_no_accuracy():
    choice = choices.odd_one_out(choices.pair_similarities(torch.ones(6, 3, 4)))
    assert metrics.odd_one_out_accuracy(choice, torch.ones(6, 3, dtype=torch.int64)) == 0


def test_gathered_similarities_are_those_of_the_embeddings():
    items = torch.randn(9, 4, generator=generator(), dtype=torch.float64)
    rows = torch.stack([torch.randperm(9, generator=generator(seed))[:3] for seed in range(30)])
    gathered = choices.gather_pair_similarities(items @ items.T, rows)
    torch.testing.assert_close(gathered, choices.pair_similarities(items[rows]))


def test_choices_of_one_triplet_in_two_orders_are_counted_together():
    shown = torch.tensor([[4, 2, 7], [7, 4, 2], [2, 4, 7], [0, 1, 2]])
    odd = torch.tensor([0, 1, 2, 1])  # images 4, 4, 7 and 1
    distinct, counts = choices.choice_counts(shown, odd)
    assert distinct.tolist() == [[0, 1, 2], [2, 4, 7]]
    assert counts.tolist() == [[0, 1, 0], [0, 2, 1]]


def test_choices_by_person_have_a_row_for_each_person_of_a_triplet_in_whatever_order_it_was_shown():
    shown, odd = torch.tensor([[5, 1, 3], [1, 3, 5], [3, 5, 1], [0, 1, 2]]), torch.tensor([0, 2, 0, 1])
    distinct, own, triplet = choices.choices_by_person(shown, odd, torch.tensor([7, 7, 2, 2]))
    assert distinct.tolist() == [[0, 1, 2], [1, 3, 5]]
    assert triplet.tolist() == [0, 1, 1]
    assert own.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 2]]  # person 2 left out item 3, person 7 item 5 twice


def test_the_order_in_which_a_triplet_is_shown_does_not_change_its_counts():
    shown = torch.stack([torch.randperm(6, generator=generator(seed))[:3] for seed in range(40)])
    odd = torch.randint(3, (40,), generator=generator())
    order = torch.rand(40, 3, generator=generator(1)).argsort(1)
    moved_odd = (order == odd[:, None]).long().argmax(1)
    before, after = choices.choice_counts(shown, odd), choices.choice_counts(shown.gather(1, order), moved_odd)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert before[1].sum() == 40


@pytest.mark.parametrize(("clusters", "pictures"), [(2, 2), (3, 4), (5, 2)])
def test_a_batch_gives_every_cluster_border_triplet_once(clusters, pictures):
    found = batches.in_batch_triplets(clusters, pictures, "cluster_border")
    assert len(found) == clusters * pictures * (pictures - 1) // 2 * (clusters - 1) * pictures
    assert len(found.sort(dim=1).values.unique(dim=0)) == len(found)
    assert (found[:, 1:] > found[:, :-1]).all()
    assert all(len({place // pictures for place in triplet}) == 2 for triplet in found.tolist())


@pytest.mark.parametrize(
    ("scheme", "distinct"), [("within_cluster", {1}), ("between_cluster", {3}), ("random", {1, 2, 3})]
)
def test_every_scheme_gives_its_triplets_of_a_batch_once(scheme, distinct):
    found = batches.in_batch_triplets(3, 4, scheme).tolist()
    expected = [t for t in itertools.combinations(range(12), 3) if len({place // 4 for place in t}) in distinct]
    assert found == [list(t) for t in expected]


def test_similarities_of_rows_are_those_of_the_gathered_pictures_and_their_gradients_too():
    rows = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    shown = torch.tensor([[0, 1, 2], [6, 2, 4], [0, 2, 1]])
    found, expected = choices.row_pair_similarities(rows, shown), choices.pair_similarities(rows[shown])
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(each.square().sum(), rows)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients)
