"""What of a teacher's gain its student keeps: two shares, on the same triplets, with intervals.

The teacher after and before its fit differ in the affine map alone, and so do a student and its control: `kept`
divides the second difference by the first (Eq. 11b of docs/method.md). `reached` says how far the student came from its
own base to its teacher (Eq. 11c); it counts what a student learns of its teacher's backbones too, so that a student may
reach much and keep little.
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
    """The share of a teacher's gain that a student keeps and how far it came towards its teacher, at one level.

    Args: agreement: (n,) share of people who chose as a model did, of each triplet, for base, unalignet and alignet of
        one student and for the teacher before and after its fit; units: the triplets, which share concepts.
    Returns: kept and reached, each with _low and _high, a 95 % interval by the influence of the ratio; NaN where the
        interval of the gain that it is divided by holds 0, since a share of no gain says nothing.
    Raises: ValueError naming the models that are missing.
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
