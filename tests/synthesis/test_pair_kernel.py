import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alignet.maths import choices
from alignet.synthesis import pair_kernel


def rows(n, dim, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@settings(max_examples=15, deadline=None)
@given(dim=st.integers(1, 70), n=st.integers(0, 40), chunk=st.integers(1, 50), seed=st.integers(0, 1000))
def test_similarities_are_the_direct_product(dtype, dim, n, chunk, seed):
    embeddings = rows(9, dim, dtype, seed)
    drawn = np.random.default_rng(seed).integers(0, 9, (n, 3))
    direct = choices.pair_similarities(torch.from_numpy(embeddings).double()[torch.from_numpy(drawn)]).numpy()
    found = pair_kernel.pair_similarities(embeddings, drawn, chunk=chunk)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, direct, rtol=1e-5, atol=1e-5)
    assert np.array_equal(found, pair_kernel.pair_similarities(embeddings, drawn))


def test_whole_numbers_come_out_exactly_and_in_odd_one_out_order():
    embeddings = np.array([[1, 2], [3, 5], [7, 11]], np.float16)
    assert pair_kernel.pair_similarities(embeddings, np.array([[0, 1, 2]])).tolist() == [[76.0, 29.0, 13.0]]


def test_every_float16_is_converted_exactly():
    bits = np.arange(2**16, dtype=np.uint16).view(np.float16)
    embeddings = bits[np.isfinite(bits)][:, None]
    one = np.concatenate([embeddings, np.ones((1, 1), np.float16)])
    drawn = np.stack([np.arange(len(embeddings)), np.full(len(embeddings), len(embeddings))] * 2, 1)[:, :3]
    found = pair_kernel.pair_similarities(one, drawn)  # (x, 1, x): entry 2 is x * 1
    assert np.array_equal(found[:, 2], embeddings[:, 0].astype(np.float32))


def test_a_memory_mapped_embedding_gives_the_same(tmp_path):
    embeddings, drawn = rows(50, 33, np.float16), np.random.default_rng(1).integers(0, 50, (200, 3))
    np.save(tmp_path / "e.npy", embeddings)
    mapped = np.load(tmp_path / "e.npy", mmap_mode="r")
    assert np.array_equal(
        pair_kernel.pair_similarities(mapped, drawn), pair_kernel.pair_similarities(embeddings, drawn)
    )


@pytest.mark.parametrize("wrong", [-1, 5])
def test_a_number_outside_the_embedding_is_refused_with_its_row(wrong):
    drawn = np.array([[0, 1, 2], [0, 1, 3], [wrong, 1, 2]])
    with pytest.raises(IndexError, match="triplet 2 is outside the 5 pictures"):
        pair_kernel.pair_similarities(rows(5, 3, np.float32), drawn, chunk=2)


def test_other_numbers_than_float16_and_float32_are_refused():
    with pytest.raises(TypeError, match="float64"):
        pair_kernel.pair_similarities(rows(5, 3, np.float64), np.array([[0, 1, 2]]))
