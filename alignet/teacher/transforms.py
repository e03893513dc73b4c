"""Affine maps that others fitted, in the format that gLocal publishes and thingsvision reads: transform.npz.

The file holds these arrays: weights (p, k), the right factor of features @ weights; bias (k,), which may be absent;
mean and std, either scalars over all of THINGS' features or one number for each feature, (p,).
Source: LukasMut/gLocal, utils/evaluation/transforms.py (GlocalTransform.transform_features) and transforms/.
"""

import zipfile
from pathlib import Path

import numpy as np
import torch

from alignet.teacher.affine_map import AffineMap


def read(path: Path) -> AffineMap:
    """The map x' = ((x - mean) / std) weights + bias of a transform.npz, as a teacher of ours.

    Raises: ValueError, one line that names the file and the array that is missing or does not fit.
    """
    arrays = _arrays(path)
    weights = arrays["weights"]
    if weights.ndim != 2:
        raise ValueError(f"{path}: weights is {weights.shape}, not features x dimensions")
    inputs, outputs = weights.shape
    bias = arrays.get("bias", np.zeros(outputs))
    for name, array, shape in (("bias", bias, (outputs,)), ("mean", arrays["mean"], (inputs,))):
        if array.shape not in (shape, () if name == "mean" else shape):
            raise ValueError(f"{path}: {name} is {array.shape}, and weights is {weights.shape}")
    std = arrays["std"]
    if std.shape not in ((), (inputs,)) or not (std > 0).all():
        raise ValueError(f"{path}: std is {std.shape} and must be positive, one number or {inputs}")
    return AffineMap(
        weight=_tensor(weights.T),
        bias=_tensor(bias),
        mean=_tensor(np.broadcast_to(arrays["mean"], (inputs,))),
        scale=_tensor(std),
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("weights", "bias", "mean", "std") if name in archive}
    except (ValueError, OSError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read as a file of NumPy arrays ({error})") from None
    lacking = [name for name in ("weights", "mean", "std") if name not in arrays]
    if lacking:
        raise ValueError(f"{path}: holds no array {', '.join(lacking)}")
    wrong = [name for name, array in arrays.items() if array.dtype.kind != "f" or not np.isfinite(array).all()]
    if wrong:
        raise ValueError(f"{path}: {', '.join(wrong)} holds numbers that are not finite floating-point numbers")
    return arrays


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32, order="C"))
