"""What many tests begin with: generators, settings with some values changed, small backbones, random triplets."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from alignet import config
from alignet.worlds.folder import imagefolder

RECORDS = {
    "cost": config.Cost,
    "emoji": config.Emoji,
    "human_uncertainty": config.HumanUncertainty,
    "synthesis": config.Synthesis,
    "teacher": config.Teacher,
    "students.vit": config.Student,
}
SMOKE = "params/smoke.yaml"
# Seconds after which a test gives up on what should have ended at once, and what must be ended sleeps for longer: on a
# machine however busy, only a fault lasts so long.
PATIENCE = 300


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def settings(section: str, params_file: str = "params.yaml", **changes: Any) -> Any:
    """A section of a params file; unlike an override of `config.load`, a change to None is a value."""
    return dataclasses.replace(config.load(section, RECORDS[section], params_file), **changes)


def backbone(
    model: str, weights: str = "random", layer: str = "pooled", seed: int = 0, **options: Any
) -> config.Backbone:
    """A timm model at 32 pixels."""
    return config.Backbone(model=model, options=options, weights=weights, layer=layer, picture_size=32, seed=seed)


def random_triplets(pool: Tensor, n: int, seed: int = 0) -> Tensor:
    """n triplets of three different entries of `pool`, (n, 3)."""
    return pool[torch.rand(n, len(pool), generator=generator(seed)).topk(3, dim=1).indices]


def random_pictures(n: int = 2, size: int = 32) -> Tensor:
    """(n, 3, size, size) uint8."""
    return torch.randint(256, (n, 3, size, size), generator=generator(), dtype=torch.uint8)


def asked_world(folder: Path, size: tuple[int, int] = (8, 8)) -> Path:
    """A world of 80 pictures of one's own in 4 classes, nothing asked yet: its folder."""
    for number in range(80):
        place = folder / "pictures" / f"class {number % 4}"
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number * 3, 20, 255 - number)).save(place / f"p{number:02}.png")
    imagefolder.new(folder / "world", folder / "pictures", {"human": 0.4, "synthesis": 0.2, "test": 0.4}, seed=0)
    return folder / "world"


# Small embedded worlds by whose choices they have: what differs from params.yaml.
EMOJI = {
    "things": {"picture_size": 32, "colour_renderings": 4, "line_renderings": 1},
    "simulated": {
        "classes": 8,
        "picture_size": 32,
        "colour_renderings": 2,
        "line_renderings": 1,
        "participants": 10,
        "triplets_train": 200,
        "raters_train": 1,
        "triplets_test": 40,
        "triplets_per_level": 30,
        "raters_test": 4,
    },
}


def emoji(whose: str, **changes: Any) -> config.Emoji:
    """Settings of a small embedded world with choices of real people (things) or simulated ones."""
    return settings("emoji", **({"people": whose} | EMOJI[whose] | changes))
