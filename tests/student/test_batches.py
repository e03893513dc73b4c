import inputs
import numpy as np
import pytest
import torch
from PIL import Image

from alignet import devices
from alignet.student import batches


def settings(**changes):
    small = {"batch_clusters": 3, "batch_pictures": 4, "scheme": "cluster_border", "batch_triplets": None, "seed": 0}
    return inputs.settings("students.vit", inputs.SMOKE, **(small | changes))


def source(sizes=(9, 4, 17, 3, 12, 8), **changes):
    clusters = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    representation = np.random.default_rng(1).standard_normal((len(clusters), 5)).astype(np.float32)
    return batches.InBatch(representation, clusters, settings(**changes))


def test_a_batch_is_different_pictures_cluster_by_cluster():
    made = source()
    for step in range(20):
        rows = made.at(step).rows
        label = made.clusters[rows].reshape(3, 4)
        assert (label == label[:, :1]).all()
        assert len(set(label[:, 0])) == 3
        assert len(rows.unique()) == 12


def test_an_epoch_shows_no_picture_twice_and_the_next_one_others():
    made = source()
    assert made.batches == 4  # 2 + 1 + 4 + 0 + 3 + 2 groups of four, three a batch
    epochs = [torch.cat([made.at(epoch * 4 + number).rows for number in range(4)]) for epoch in range(2)]
    for rows in epochs:
        assert len(rows.unique()) == len(rows) == 48
    assert not torch.equal(*epochs)


def test_a_step_is_the_same_whenever_it_is_asked_for():
    first, second = source(batch_triplets=20), source(batch_triplets=20)
    for step in (7, 0, 7, 3):
        second.at(step + 1)
        for name in ("rows", "triplets", "similarities"):
            assert torch.equal(getattr(first.at(step), name), getattr(second.at(step), name))


def test_similarities_are_the_dot_products_of_the_pair_that_is_left():
    made = source()
    batch = made.at(0)
    seen = torch.from_numpy(made.representation)[batch.rows][batch.triplets[5]]
    expected = [seen[1] @ seen[2], seen[0] @ seen[2], seen[0] @ seen[1]]
    torch.testing.assert_close(batch.similarities[5], torch.stack(expected))


def test_too_few_large_clusters_are_refused_with_their_number():
    with pytest.raises(ValueError, match="only 2 clusters"):
        source(sizes=(8, 8, 3, 3, 3))


@pytest.mark.parametrize("groups", [[1, 1, 1], [5, 1, 1], [4, 4, 4, 4], [0, 7, 2, 2, 9]])
def test_the_deal_is_the_largest_that_the_groups_allow(groups):
    groups = np.array(groups)
    found = batches._largest_deal(groups, 3)
    assert np.minimum(groups, found).sum() >= 3 * found
    assert np.minimum(groups, found + 1).sum() < 3 * (found + 1)


def test_triplets_of_a_file_come_once_an_epoch_and_their_pictures_once_a_batch():
    generator = np.random.default_rng(0)
    triplets = np.stack([generator.permutation(9)[:3] for _ in range(20)])
    similarities = generator.standard_normal((20, 3)).astype(np.float32)
    made = batches.FromFile(triplets, similarities, settings(batch_triplets=5))
    seen = []
    for step in range(4):
        batch = made.at(step)
        assert len(batch.rows.unique()) == len(batch.rows)
        for triplet, labels in zip(batch.rows[batch.triplets], batch.similarities, strict=True):
            (number,) = np.flatnonzero((similarities == labels.numpy()).all(1))
            assert triplet.tolist() == triplets[number].tolist()
            seen.append(number)
    assert sorted(seen) == list(range(20))


def test_a_file_with_fewer_triplets_than_a_step_is_refused():
    with pytest.raises(ValueError, match="file's 2, got 5"):
        batches.FromFile(np.zeros((2, 3), int), np.zeros((2, 3)), settings(batch_triplets=5))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_parts_of_all_processes_are_equally_long_and_hold_every_row(count):
    rows = torch.arange(10, 17)
    parts = [devices.part(rows, rank, count) for rank in range(count)]
    assert {len(part) for part in parts} == {-(-7 // count)}
    assert torch.equal(torch.cat(parts)[:7], rows)


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_batches_draws_nothing_from_the_generator_that_dropout_uses(workers, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(53)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    before = torch.get_rng_state()
    steps = list(batches.Feed(source(), paths, 8, workers, cache_bytes=0).steps(3, 6))
    assert [len(shown) for shown, _ in steps] == [12, 12, 12]
    assert torch.equal(torch.get_rng_state(), before)


def test_hands_are_dealt_to_the_batches_in_turn():
    hands = np.array([[3, 0], [1, 2], [8, 6], [4, 5], [9, 9]])  # two clusters' hands, and one that is left over
    assert batches._dealt(hands, 2, 2).tolist() == [[3, 0, 8, 6], [1, 2, 4, 5]]


def test_hands_are_of_one_cluster_and_no_cluster_gives_more_than_asked():
    clusters = np.array([0] * 9 + [1] * 5 + [2])
    hands = batches._shuffled_hands(clusters, 2, 3, np.random.default_rng(0))
    assert sorted(clusters[hands].tolist()) == [[0, 0]] * 3 + [[1, 1]] * 2
    assert len(set(hands.flatten().tolist())) == 10


def test_several_schemes_stand_one_after_the_other_each_with_its_number():
    made = source(scheme=["cluster_border", "within_cluster"])
    batch = made.at(0)
    border, within = (batches.in_batch_triplets(3, 4, scheme) for scheme in ("cluster_border", "within_cluster"))
    assert batch.kinds == (len(border), len(within)) == (3 * 6 * 8, 3 * 4)
    assert torch.equal(batch.triplets, torch.cat([border, within]))


def test_a_limit_of_triplets_is_shared_equally_by_the_schemes():
    batch = source(scheme=["random", "within_cluster", "between_cluster"], batch_triplets=30).at(5)
    assert batch.kinds == (10, 10, 10)
    clusters = batch.triplets // 4
    assert (clusters[10:20] == clusters[10:20, :1]).all()
    assert all(len(row.unique()) == 3 for row in clusters[20:])


def test_pairs_are_the_teachers_dot_products_of_the_batchs_pictures():
    made = source()
    batch = made.at(3)
    seen = torch.from_numpy(made.representation)[batch.rows]
    torch.testing.assert_close(batch.pairs, seen @ seen.T)


def test_a_scheme_that_no_batch_can_hold_is_refused_with_its_name():
    with pytest.raises(ValueError, match="no triplet of the scheme within_cluster"):
        source(batch_pictures=2, scheme=["random", "within_cluster"])
