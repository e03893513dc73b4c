"""The level of abstraction that three pictures' classes give a triplet."""

import numpy as np

NO_CLASS = (
    "other"  # the label of what belongs to no class: it is not of a class that others have, nor of one with its like
)
COARSE, BOUNDARY, FINE, NONE = "coarse", "boundary", "fine", ""


def by_class(classes: np.ndarray) -> np.ndarray:
    """The level of each triplet of class labels, (n, 3) text: 'coarse', 'boundary', 'fine' or '', (n,) text.

    coarse: three classes; boundary: two pictures of one class and one of another; fine: one class. A single picture of
    NO_CLASS counts as a class of its own; of two such pictures nobody knows whether they share a class, so the triplet
    has no level.

    Example:

    >>> import numpy as np
    >>> from alignet.worlds.format import abstraction
    >>> classes = np.array([["dog", "dog", "dog"], ["dog", "dog", "car"], ["dog", "car", "tree"]], dtype=object)
    >>> abstraction.by_class(classes).tolist()
    ['fine', 'boundary', 'coarse']
    """
    without = (classes == NO_CLASS).sum(1)
    equal = (classes == np.roll(classes, 1, axis=1)).sum(1)  # of the three pairs: 0, 1 or 3
    return np.where(without > 1, NONE, np.select([equal == 0, equal == 1], [COARSE, BOUNDARY], FINE)).astype(object)
