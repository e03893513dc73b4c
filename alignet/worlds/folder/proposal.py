"""A params file for a world of one's own, by its numbers of pictures and choices."""

import math
from pathlib import Path
from typing import Any

import yaml

from alignet import config
from alignet.worlds.format import files
from alignet.worlds.format.tables import World

VICE_STEPS = 9000  # 150 epochs of 59 batches, which recovered the similarities of bench/choices_needed.csv
ENOUGH = 24, 40  # objects, and choices for each, from which on VICE recovers similarities: bench/choices_needed.csv
LARGE = 160  # pixels of the shorter side from which on pictures are read at 224 px
GRID = [
    {"regularisation": [0.0, 0.1, 0.3, 1.0, 3.0, 10.0]},
    {"lr": [0.0003, 0.003]},
]  # of fits that start at the identity
HEAD = """# Proposed for {name} by `python -m alignet.worlds params`: {human} pictures to judge and {choices} choices,
# {synthesis} pictures to label, {test} to test on. `python -m alignet.config {file}` makes it
# params.yaml. Propose again when there are more choices.
"""


def propose(world: World, folder: Path, side: int) -> dict[str, Any]:
    """A profile for the world in `folder`. Args: side: its pictures' median shorter side, pixels."""
    counts = world.images["split"].value_counts()
    human, synthesis = (int(counts.get(split, 0)) for split in ("human", "synthesis"))
    choices = len(world.triplets)
    of_pictures = _shows_a_class_twice(world)
    objects = human if of_pictures else world.images.loc[world.images["split"] == "human", world.hierarchy[0]].nunique()
    clusters = between(2, synthesis // 8, 40)
    sets = math.comb(synthesis, 3)
    teacher: dict[str, Any] = {"folds": between(2, objects // 10, 4), "pca": between(5, human // 3, 150)}
    if choices:
        teacher["soft_labels"] = [between(10, choices // 20, 1000), between(20, choices // 2, 20000)]
    people = _people(choices)
    if of_pictures:
        people["objects"] = "picture"
    if objects < ENOUGH[0] or choices < ENOUGH[1] * objects:
        people["uncertainty"] = "empirical"  # without VICE there is no embedding to start at
        teacher |= {"start": "identity", "batch_concepts": None, "grid": GRID}
    proposed: dict[str, Any] = {
        "base": config.PARAMS,
        "world": {"source": "folder", "path": str(folder)},
        "human_uncertainty": people,
        "teacher": teacher,
        "synthesis": {
            "clusters": clusters,
            "train_triplets": between(50, sets // 4, 20000),
            "valid_triplets": between(20, sets // 20, 2000),
            "elbow": sorted({between(2, clusters // 2, 80), clusters, between(2, 2 * clusters, synthesis)}),
        },
        "students": {"lite0": {"batch_clusters": between(2, min(clusters, synthesis // 4), 12)}},
        "downstream": {"shots": _shots(world)},
    }
    proposed["students"]["lite1"] = proposed["students"]["lite0"]
    if side >= LARGE:
        sizes = {name: {"picture_size": 224} for name in ("lite1_layers", "lite0", "lite1")}
        proposed["backbones"] = sizes
    return proposed


def _people(choices: int) -> dict[str, Any]:
    """VICE's batches and epochs for a number of choices."""
    batch = between(32, choices // 20, 1024)
    return {
        "lr": 0.01,  # of batches of up to 1,024; the default's batches are larger
        "batch_size": batch,
        "burn_in": 50,
        "max_epochs": between(150, VICE_STEPS * batch // max(choices, 1), 1500),
    }


def write(world: World, folder: Path, side: int) -> tuple[Path, str]:
    """Write the proposal to <folder>/params.yaml; return that file, and words about a former one (`files.write`)."""
    counts = world.images["split"].value_counts()
    file = folder / "params.yaml"
    numbers = {split: int(counts.get(split, 0)) for split in ("human", "synthesis", "test")}
    head = HEAD.format(name=world.name, choices=len(world.triplets), file=file, **numbers)
    text = yaml.safe_dump(propose(world, folder, side), sort_keys=False, allow_unicode=True)
    return file, files.write(file, head + text)


def _shows_a_class_twice(world: World) -> bool:
    """Whether a triplet that people judged shows two pictures of one class, so that pictures are VICE's objects."""
    shown = world.codes(world.hierarchy[0])[world.choice_rows(world.triplets)[0]]
    return bool((shown.sort(1).values.diff(dim=1) == 0).any())


def _shots(world: World) -> list[int]:
    """The numbers of 1, 2, 5 and 10 shots that leave a picture of most classes of the test split to be classified."""
    test = world.images[world.images["split"] == "test"]
    label = world.class_label
    most = int(test[label].value_counts().median()) if len(test) else 0
    return [shots for shots in (1, 2, 5, 10) if shots < most] or [1]


def between(low: int, value: int, high: int) -> int:
    """The value, or the bound that it passes; `low` where the bounds cross."""
    return max(low, min(value, high))
