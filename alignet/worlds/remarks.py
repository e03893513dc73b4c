"""Remarks about people's choices that do not stop a run: they are printed before it and stand in its report."""

from collections.abc import Iterator

import torch

from alignet.maths import metrics
from alignet.worlds.check import agreement_between_people
from alignet.worlds.format.tables import World

ALWAYS = 0.95  # share of one position from which on a person is remarked, of at least MANY choices
MANY = 30


def of_choices(world: World) -> Iterator[str]:
    """A line for each remark: no noise ceiling or a low one, and people who always press one key."""
    if not len(world.triplets):
        return
    ceiling = metrics.odd_one_out_noise_ceiling(agreement_between_people(world, world.triplets))
    if ceiling != ceiling:
        yield "triplets.csv: no triplet was judged by two people, so there is no noise ceiling"
    elif ceiling <= 1 / 3:
        yield f"triplets.csv: the noise ceiling is {ceiling:.3f}, not above chance (1/3): people do not agree at all"
    for person, rows in world.triplets.groupby("participant", sort=False):
        position = torch.bincount(torch.tensor(rows["odd"].to_numpy(int)), minlength=3)
        if len(rows) >= MANY and position.max() >= ALWAYS * len(rows):
            key = f"position {int(position.argmax())} in {int(position.max())} of {len(rows)} trials"
            yield f"triplets.csv: participant {person!r} chose {key}"
