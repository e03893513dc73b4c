"""The level of abstraction that three pictures' classes give a triplet."""

import numpy as np

NO_CLASS = (
    "other"  # the label of what belongs to no class: it is not of a class that others have, nor of one with its like
)
COARSE, BOUNDARY, FINE, NONE = "coarse", "boundary", "fine", ""


def by_class(classes: np.ndarray) -> np.ndarray:
    """coarse, boundary, fine, or '' for each triplet of class labels, (n, 3) text -> (n,) text.

    coarse: three classes; boundary: two pictures of one class and one of another; fine: one class. One picture of
    NO_CLASS is of another class than the other two; two of them may be alike or not, so that the triplet has no level.
    """
    without = (classes == NO_CLASS).sum(1)
    equal = (classes == np.roll(classes, 1, axis=1)).sum(1)  # of the three pairs: 0, 1 or 3
    return np.where(without > 1, NONE, np.select([equal == 0, equal == 1], [COARSE, BOUNDARY], FINE)).astype(object)
