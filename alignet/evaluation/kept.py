"""The share of a teacher's gain that its student keeps, and the share of the way to its teacher that it reached.

The teacher after its fit differs from the teacher before it by the affine map only, and the same holds for a student
and its control: `kept` is the second difference divided by the first (Eq. 11b of docs/method.md). `reached` is how far
a student came from its own base to its teacher (Eq. 11c). It also counts what the student learns from its teacher's
backbones, so a student may reach much and keep little.
"""

from collections.abc import Mapping

from torch import Tensor

from alignet import results
from alignet.evaluation.influences import NAN, Score, interval
from alignet.maths.intervals import Units, mean_influence

SHARES = {
    "kept": ((results.ALIGNED, results.CONTROL), (results.TEACHER, results.TEACHER_BEFORE)),
    "reached": ((results.ALIGNED, results.BASE), (results.TEACHER, results.BASE)),
}


ENDS = ("", "_low", "_high")
COLUMNS = [f"{name}{end}" for name in SHARES for end in ENDS]


def shares(agreement: Mapping[str, Tensor], units: Units) -> dict[str, float]:
    """The shares `kept` and `reached` of a student at one level.

    Args: agreement: (n,) share of people who chose as a model did, of each triplet, for base, unalignet and alignet of
        one student and for the teacher before and after its fit; units: the triplets, which share concepts.
    Returns: kept and reached, each with a 95 % interval (_low and _high) by the influence of the ratio; NaN if the
        interval of the divisor contains 0, since a share of no gain means nothing.
    Raises: ValueError naming the models that are missing.

    Example:

    >>> import torch
    >>> from alignet.evaluation import kept
    >>> from alignet.maths.intervals import Units
    >>> people = torch.tensor([0.0, 1.0] * 10)  # how many people chose as the base did, in 20 triplets
    >>> names = ["base", "unalignet", "alignet", "teacher before", "teacher"]
    >>> agreement = {name: people.clone() for name in names}
    >>> agreement["teacher"][::4] = 1.0  # the map gains 5 triplets, and the student 4 of them
    >>> agreement["alignet"][:16:4] = 1.0
    >>> shares = kept.shares(agreement, Units(torch.arange(60).reshape(20, 3)))
    >>> round(shares["kept"], 2), round(shares["reached"], 2)
    (0.8, 0.8)
    """
    missing = [name for name in (*results.TARGETS, results.TEACHER_BEFORE, results.TEACHER) if name not in agreement]
    if missing:
        raise ValueError(f"what a student keeps needs the choices of {', '.join(missing)} too")
    row: dict[str, float] = {}
    for name, (student, teacher) in SHARES.items():
        part, whole = (_difference(agreement[after], agreement[before]) for after, before in (student, teacher))
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), _ratio(part, whole, units), strict=True))
    return row


def _difference(after: Tensor, before: Tensor) -> Score:
    values = after - before
    return mean_influence(values, values.new_ones(len(values)))


def _ratio(part: Score, whole: Score, units: Units) -> tuple[float, float, float]:
    low, _ = interval(units, whole)
    if not low > 0:  # NaN of too few triplets too
        return NAN, NAN, NAN
    share = part[0] / whole[0]
    return (share, *interval(units, (share, (part[1] - share * whole[1]) / whole[0])))
