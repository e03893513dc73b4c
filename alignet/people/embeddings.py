"""Embeddings of objects from which choice distributions follow: VICE's own fit, and those that others published."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alignet import config
from alignet.config import HumanUncertainty, PublishedEmbedding
from alignet.people import held_out
from alignet.people.vice import Posterior
from alignet.worlds.format.tables import World

OURS = "VICE, fitted here"
POSTERIOR, OBJECTS = "posterior.safetensors", "objects.txt"
NAMED = 5  # missing names that an error lists; the others are counted


@dataclass(frozen=True)
class Embedding:
    """An embedding of named objects, from which choice distributions follow.

    The similarity of two objects is the dot product of their rows, whose entries are at least 0. Choice probabilities
    are the softmax of three similarities (Eq. 1); where sigma is above 0, they are a mean over samples (Eq. 4).

    name: the embedding's name in tables; names: the objects, one for each row of the posterior; held_out: whether the
    choices that this world holds out were kept from the fit.

    Example:

    >>> import torch
    >>> from alignet.people.embeddings import Embedding
    >>> from alignet.people.vice import Posterior
    >>> mu = torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]])
    >>> embedding = Embedding("ours", ["owl", "duck", "car"], Posterior(mu, torch.zeros(3, 2)), held_out=True)
    >>> embedding.places(["car", "tree"]).tolist()  # it has no tree
    [2, -1]
    >>> embedding.similarity(["owl", "car"]).tolist()
    [[1.0, 0.0], [0.0, 9.0]]
    """

    name: str
    names: list[str]
    posterior: Posterior
    held_out: bool

    @property
    def kind(self) -> str:
        """The embedding's name among the distributions of calibration.csv."""
        return "vice" if self.held_out else "embedding"

    def numbers(self, world: World, objects: str) -> Tensor:
        """The row of every picture's object, (n_images,); -1 where the embedding has none."""
        labels = world.images[world.hierarchy[0] if objects == "concept" else "image"]
        return torch.from_numpy(pd.Index(self.names).get_indexer(labels))

    def places(self, names: list[str]) -> Tensor:
        """The row of each named object, (k,); -1 where the embedding has none."""
        return torch.from_numpy(pd.Index(self.names).get_indexer(names))

    def choice_distribution(self, triplets: Tensor, names: list[str], settings: HumanUncertainty) -> Tensor:
        """Choice probabilities, (n, 3), of triplets (n, 3) of numbers in `names`; the embedding must know all of these
        objects.
        """
        return self.posterior.choice_distribution(self.places(names)[triplets], settings.samples, settings.seed)

    def similarity(self, names: list[str]) -> Tensor:
        """The dot products of some named objects, (k, k)."""
        rows = self.posterior.mu[self.places(names)].relu().double()
        return rows @ rows.T

    def save(self, folder: Path) -> None:
        """Write posterior.safetensors and objects.txt, which has one name for each row of the posterior."""
        self.posterior.save(folder / POSTERIOR)
        (folder / OBJECTS).write_text("".join(f"{name}\n" for name in self.names), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Embedding":
        """The embedding that `save` wrote, except that whether choices were held out from its fit is not stored."""
        names = (folder / OBJECTS).read_text(encoding="utf-8").split("\n")[:-1]
        return cls(OURS, names, Posterior.load(folder / POSTERIOR), True)


@dataclass(frozen=True)
class PictureEmbedding:
    """An embedding of people's choices, looked up by picture: a picture has the embedding of its object.

    posterior: the objects' posterior; objects: (n_images,) number of each picture's object in it, -1 for pictures of
    other objects.

    Example:

    >>> import torch
    >>> from alignet.people.embeddings import PictureEmbedding
    >>> from alignet.people.vice import Posterior
    >>> posterior = Posterior(torch.tensor([[1.0, -1.0], [2.0, 1.0]]), torch.zeros(2, 2))
    >>> embedding = PictureEmbedding(posterior, objects=torch.tensor([1, 0, 1]))  # pictures 0 and 2 show object 1
    >>> embedding.mean(torch.tensor([1, 2])).tolist()
    [[1.0, 0.0], [2.0, 1.0]]
    """

    posterior: Posterior
    objects: Tensor

    @classmethod
    def of(cls, world: World, folder: Path, settings: HumanUncertainty) -> "PictureEmbedding | None":
        """The embedding that the stage human_uncertainty has saved; None where the targets are the shares of people's
        choices.
        """
        if settings.uncertainty == "empirical":
            return None
        source = Embedding.load(folder)
        return cls(source.posterior, source.numbers(world, settings.objects))

    def mean(self, pictures: Tensor) -> Tensor:
        """The posterior mean of the rectified embedding of some pictures, (m, dimensions)."""
        return self.posterior.rectified_mean()[self.objects[pictures]]

    def sample(self, pictures: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """Samples of the rectified embedding of some pictures, (samples, m, dimensions)."""
        mu, sigma = (part[self.objects[pictures]] for part in (self.posterior.mu, self.posterior.sigma))
        return (mu + sigma * torch.randn(samples, *mu.shape, generator=generator)).relu()


def fitted_here(posterior: Posterior, names: list[str]) -> Embedding:
    """The embedding of a posterior that this run has fitted; `names` are the judged objects in its order."""
    return Embedding(OURS, names, posterior, held_out=True)


def read(entry: PublishedEmbedding) -> Embedding:
    """A published embedding: a matrix (.npy, or numbers as text) with a row for each line of the file of names.

    Numbers below 0 are set to 0, and sigma is 0: there is no uncertainty.

    Args: entry: an entry of the params, with name, file and names.
    Raises: ValueError naming the file if it is missing, is no matrix of numbers, or differs from the names in length.
    """
    file, listed = config.home() / entry["file"], config.home() / entry["names"]
    for path in (file, listed):
        if not path.is_file():
            raise ValueError(f"{path}: no such file (human_uncertainty: {entry['name']})")
    names = [line for line in listed.read_text(encoding="utf-8").splitlines() if line]
    try:
        numbers = np.load(file, allow_pickle=False) if file.suffix == ".npy" else np.loadtxt(file)
        matrix = np.asarray(numbers, np.float32)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{file}: cannot be read as a matrix of numbers ({error})") from None
    if matrix.ndim != 2 or len(matrix) != len(names) or not np.isfinite(matrix).all():
        raise ValueError(
            f"{file}: shape {matrix.shape} is not a row of numbers for each of {len(names)} names of {listed}"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"{listed}: a name stands twice")
    mu = torch.from_numpy(matrix).relu()
    return Embedding(entry["name"], names, Posterior(mu, torch.zeros_like(mu)), held_out=False)


def published(settings: HumanUncertainty) -> list[Embedding]:
    """The embeddings of settings.published whose files are on disk; a printed line names each of the others."""
    embeddings = []
    for entry in settings.published:
        if (config.home() / entry["file"]).is_file():
            embeddings.append(read(entry))
        else:
            print(f"{entry['name']}: skipped, {entry['file']} is not on disk")
    return embeddings


def source(world: World, ours: Embedding, settings: HumanUncertainty) -> Embedding:
    """The embedding that choice distributions come from: our VICE or, if settings.uncertainty is 'embedding',
    settings.embedding.

    Only those rows of settings.embedding are kept whose objects people judged, so that nothing about a held-out object
    passes.
    Raises: ValueError if no embedding is given, or if it lacks an object that the fitted rows of triplets.csv show.
    """
    if settings.uncertainty != "embedding":
        return ours
    if settings.embedding is None or settings.objects != "concept":
        raise ValueError(
            "human_uncertainty.uncertainty: embedding needs human_uncertainty.embedding, and objects: concept"
        )
    embedding = read(settings.embedding)
    shown = held_out.shown_rows(world, held_out.parts_to_fit(world, settings).fitted)
    needed = world.images[world.hierarchy[0]].iloc[shown.tolist()].drop_duplicates().tolist()
    missing = [name for name, row in zip(needed, embedding.places(needed).tolist(), strict=True) if row < 0]
    if missing:
        some = ", ".join(missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
        raise ValueError(
            f"human_uncertainty.embedding: {embedding.name} lacks {len(missing)} of the {len(needed)} "
            f"{world.hierarchy[0]}s that people judged: {some}"
        )
    rows = embedding.places(ours.names)
    judged = [name for name, row in zip(ours.names, rows.tolist(), strict=True) if row >= 0]
    rows = rows[rows >= 0]
    posterior = Posterior(embedding.posterior.mu[rows], embedding.posterior.sigma[rows])
    return Embedding(embedding.name, judged, posterior, held_out=False)
