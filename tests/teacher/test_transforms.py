"""Affine maps in the form of gLocal's transforms/*/transform.npz, as its own code applies them."""

import numpy as np
import pytest
import torch

from alignet import config
from alignet.export.__main__ import export_teacher
from alignet.teacher import transforms
from alignet.teacher.affine_map import AffineMap

REAL = config.home().parent / "shared" / "sources" / "glocal"
DRAW = np.random.default_rng(0)
FEATURES = DRAW.normal(1, 2, (9, 6)).astype(np.float32)


def arrays(outputs=6, scalars=True, bias=True):
    """What gLocal saves: mean and std of the whole feature matrix, as 0-dimensional arrays; bias may be absent."""
    found = {"weights": DRAW.normal(0, 0.1, (6, outputs)).astype(np.float32)}
    found |= {"bias": DRAW.normal(size=outputs).astype(np.float32)} if bias else {}
    statistics = (FEATURES.mean(), FEATURES.std()) if scalars else (FEATURES.mean(0), FEATURES.std(0))
    return found | {"mean": np.float64(statistics[0]) if scalars else statistics[0], "std": statistics[1]}


def as_glocal_does(features, transform):
    """GlocalTransform.transform_features: features from the left, weights not transposed."""
    aligned = (features - transform["mean"]) / transform["std"] @ transform["weights"]
    return aligned + transform["bias"] if "bias" in transform else aligned


@pytest.mark.parametrize("form", [{}, {"bias": False}, {"scalars": False}, {"outputs": 4}])
def test_a_map_does_what_glocals_own_code_does(tmp_path, form):
    saved = arrays(**form)
    np.savez_compressed(tmp_path / "transform.npz", **saved)
    aligned = transforms.read(tmp_path / "transform.npz")(torch.from_numpy(FEATURES))
    np.testing.assert_allclose(aligned.numpy(), as_glocal_does(FEATURES, saved), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axes", [False, True])
def test_a_teacher_that_was_exported_comes_back_as_the_same_map(tmp_path, axes):
    components = torch.linalg.qr(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)))[0].T.contiguous()
    k = 3 if axes else 6
    drawn = [torch.from_numpy(DRAW.normal(size=size).astype(np.float32)) for size in ((k, k), k, 6)]
    fitted = AffineMap(*drawn, torch.tensor(2.0), components if axes else None)
    fitted.save(tmp_path / "data" / "teacher", config.load("teacher", config.Teacher))
    export_teacher(tmp_path / "out", "params.yaml", str(tmp_path))
    shown = torch.from_numpy(FEATURES)
    torch.testing.assert_close(transforms.read(tmp_path / "out" / "transform.npz")(shown), fitted(shown))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": None}, r"transform\.npz: holds no array weights"),
        ({"mean": None}, "holds no array mean"),
        ({"weights": np.ones(6)}, r"weights is \(6,\), not features x dimensions"),
        ({"bias": np.ones(5)}, r"bias is \(5,\), and weights is \(6, 6\)"),
        ({"mean": np.ones(5)}, r"mean is \(5,\), and weights is \(6, 6\)"),
        ({"std": np.zeros(())}, r"std is \(\) and must be positive"),
        ({"weights": np.full((6, 6), np.nan)}, "weights holds numbers that are not finite"),
        ({"weights": np.array([[{}]], object)}, "cannot be read as a file of NumPy arrays"),
    ],
)
def test_a_file_of_another_form_is_one_line(tmp_path, change, message):
    saved = {name: array for name, array in (arrays() | change).items() if array is not None}
    np.savez(tmp_path / "transform.npz", **saved)
    with pytest.raises(ValueError, match=message):
        transforms.read(tmp_path / "transform.npz")


def test_a_file_that_is_none_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        transforms.read(tmp_path / "transform.npz")
    (tmp_path / "transform.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match="cannot be read"):
        transforms.read(tmp_path / "transform.npz")


@pytest.mark.skipif(not REAL.is_dir(), reason="copies of gLocal's transforms/ are not here")
def test_every_published_map_is_read():
    files = sorted(REAL.glob("**/transform.npz"))
    assert files
    for file in files:
        fitted = transforms.read(file)
        assert fitted.weight.shape == (len(fitted.bias), len(fitted.mean))
