"""Triplets at each level of abstraction about judged objects, with VICE's distributions for them. *(ours)*"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from alignet.config import HumanUncertainty
from alignet.maths.sampling import LEVEL_SCHEMES, draw, groups
from alignet.people.choice_distributions import ChoiceCounts
from alignet.people.embeddings import Embedding
from alignet.people.vice import Posterior
from alignet.worlds.format.tables import World

TRIES = 20  # times as many triplets are drawn, at most, where many show one object twice


@dataclass(frozen=True)
class ByLevel:
    """Draws triplets of pictures at the levels of abstraction, by the label above the finest.

    posterior: VICE's posterior of the judged objects; objects: (n_images,) number of each picture's object in it, -1
    for pictures of other objects; classes: (n_images,) number of each picture's class; pictures: (m,) rows of
    images.csv, those pictures of the human split whose objects were judged, by pictures or by name; samples, seed: how
    choice distributions are drawn.
    """

    posterior: Posterior
    objects: Tensor
    classes: Tensor
    pictures: Tensor
    samples: int
    seed: int

    @classmethod
    def of(cls, world: World, folder: Path, settings: HumanUncertainty) -> "ByLevel | None":
        """The triplets that a fitted VICE in `folder` allows.

        Returns: None where the targets are the shares of people's choices, or where the world has one label only.
        """
        if settings.uncertainty == "empirical" or len(world.hierarchy) < 2:
            return None
        source = Embedding.load(folder)
        objects, classes = source.numbers(world, settings.objects), world.codes(world.hierarchy[1])
        human = world.rows("human")
        pictures = human[objects[human] >= 0]
        return cls(source.posterior, objects, classes, pictures, settings.samples, settings.seed)

    def draw(self, pictures: Tensor, n: int, seed: int) -> dict[str, ChoiceCounts]:
        """n triplets of different objects for each level of abstraction that some pictures allow.

        Their targets are VICE's choice distributions, which also stand in the place of counts, as expected shares of
        choices.

        Args: pictures: (m,) rows of images.csv, among self.pictures.
        Returns: level -> triplets with their targets.
        """
        generator, drawn = torch.Generator().manual_seed(seed), {}
        for level, scheme in LEVEL_SCHEMES.items():
            triplets = self._different(pictures, scheme, n, generator)
            if len(triplets):
                shares = self.posterior.choice_distribution(self.objects[triplets], self.samples, self.seed)
                drawn[level] = ChoiceCounts(triplets, shares, shares)
        return drawn

    def _different(self, pictures: Tensor, scheme: str, n: int, generator: torch.Generator) -> Tensor:
        """Triplets of one scheme without two pictures of one object: (k, 3), k at most n; k is 0 if the classes allow
        none.
        """
        kinds = self.classes[pictures].unique(return_inverse=True)[1]
        try:
            source = groups(scheme, kinds)
        except ValueError:  # too few classes, or pictures of one
            return torch.empty(0, 3, dtype=torch.int64)
        triplets = pictures[draw(scheme, source, TRIES * n, generator)]
        distinct = (self.objects[triplets].sort(1).values.diff(dim=1) != 0).all(1)
        return triplets[distinct][:n]
