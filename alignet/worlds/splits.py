"""Which rows go into which split, so that shares hold inside every stretch of them."""

import numpy as np


def evenly_spread(n: int) -> np.ndarray:
    """Places in [0, 1) of n rows, by the golden-ratio sequence, (n,).

    The sequence is evenly spread in every stretch of it, so with rows sorted by class the shares hold within each class
    and over the whole, which rounding class by class would not give.
    """
    return np.arange(n) * (np.sqrt(5) - 1) / 2 % 1
