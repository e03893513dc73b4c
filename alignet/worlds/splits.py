"""Assignment of rows to splits, such that the shares hold in every stretch of rows."""

import numpy as np


def evenly_spread(n: int) -> np.ndarray:
    """Places in [0, 1) of n rows, by the golden-ratio sequence, (n,).

    Every stretch of the sequence is evenly spread. With rows sorted by class, the shares therefore hold within each
    class and over all rows, which they would not if each class were rounded by itself.
    """
    return np.arange(n) * (np.sqrt(5) - 1) / 2 % 1
