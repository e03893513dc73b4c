import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from alignet.synthesis import kmeans


def groups(n=300, clusters=5, apart=30.0, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(clusters, size=n)
    return (apart * np.eye(8)[labels] + generator.standard_normal((n, 8))).astype(np.float32), labels


def test_separated_groups_are_found():
    rows, labels = groups(apart=3.0)
    best = min((kmeans.fit(rows, 5, 256, seed) for seed in range(8)), key=lambda found: found.inertia)
    agree = np.array([np.bincount(labels[best.labels == k], minlength=5).max() for k in range(5)]).sum()
    assert agree > 0.9 * len(rows)
    assert best.empty == 0


def test_every_row_has_its_nearest_centroid_and_the_inertia_is_the_sum_of_squares():
    rows, _ = groups()
    found = kmeans.fit(rows, 7, 256, 0, chunk=64)
    distances = ((rows[:, None].astype(np.float64) - found.centroids) ** 2).sum(-1)
    assert np.array_equal(found.labels, distances.argmin(1))
    assert found.inertia == pytest.approx(distances.min(1).sum(), rel=1e-5)


def test_the_seed_alone_decides_whatever_the_chunk_the_threads_and_the_file(tmp_path):
    rows, _ = groups()
    np.save(tmp_path / "rows.npy", rows)
    first = kmeans.fit(rows, 6, 20, 3)
    with threadpool_limits(1):
        single = kmeans.fit(rows, 6, 20, 3)
    others = [kmeans.fit(rows, 6, 20, 3, chunk=7), kmeans.fit(np.load(tmp_path / "rows.npy", mmap_mode="r"), 6, 20, 3)]
    for other in (single, *others):
        assert np.array_equal(other.labels, first.labels)
        assert np.array_equal(other.centroids, first.centroids)
    assert not np.array_equal(kmeans.fit(rows, 6, 20, 4).centroids, first.centroids)


def test_more_clusters_lower_the_inertia():
    rows, _ = groups(apart=1.0)
    inertia = [kmeans.fit(rows, k, 256, 0).inertia for k in (1, 4, 16, 64)]
    assert inertia == sorted(inertia, reverse=True)


def test_half_precision_gives_nearly_the_same_clusters():
    rows, _ = groups()
    whole, half = kmeans.fit(rows, 5, 256, 0), kmeans.fit(rows.astype(np.float16), 5, 256, 0)
    assert half.inertia == pytest.approx(whole.inertia, rel=1e-2)


@pytest.mark.parametrize(("rows", "clusters", "why"), [(np.ones((3, 2)), 4, "clusters is 4.* 3 pictures")])
def test_too_few_rows_are_refused(rows, clusters, why):
    with pytest.raises(ValueError, match=why):
        kmeans.fit(rows.astype(np.float32), clusters, 256, 0)


def test_a_value_that_is_not_finite_is_refused():
    rows, _ = groups()
    rows[5, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        kmeans.fit(rows, 5, 256, 0)
