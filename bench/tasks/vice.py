"""An epoch of VICE on a million invented choices of 1,854 objects, 100 dimensions, beside the published way.

The published way: one-hot rows times the embedding, batches of 128. It runs on fewer choices, and rates are compared.
"""

import dataclasses
import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from alignet import config
from alignet.maths.choices import pair_similarities
from alignet.people import vice
from bench.invented import choices
from bench.measure import Comparison, Timed, Way

CHOICES, FEW, OBJECTS, DIMENSIONS = 1_000_000, 128 * 200, 1854, 100


def published(triplets: torch.Tensor, odd: torch.Tensor, objects: int) -> Timed:
    """An epoch by the straightforward recipe: one-hot rows, batches of 128, log densities written out."""
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(objects, DIMENSIONS, generator=generator).requires_grad_()
    log_sigma = torch.full((objects, DIMENSIONS), -1.0).requires_grad_()
    optimiser, normal = torch.optim.Adam([mu, log_sigma], lr=0.001), torch.distributions.Normal
    start = time.perf_counter()
    for part in torch.arange(len(triplets)).split(128):
        rows = F.one_hot(triplets[part], objects).float()
        x = mu + log_sigma.exp() * torch.randn(mu.shape, generator=generator)
        nll = F.cross_entropy(pair_similarities(rows @ x.relu()), odd[part])
        spike, slab = (share * normal(0, scale).log_prob(x).exp() for share, scale in ((0.5, 0.25), (0.5, 1.0)))
        complexity = (normal(mu, log_sigma.exp()).log_prob(x) - (spike + slab).log()).sum() / len(triplets)
        optimiser.zero_grad()
        (nll + complexity).backward()
        optimiser.step()
    return Timed(None, time.perf_counter() - start)


def comparisons(scale: float = 1) -> Iterator[Comparison]:
    n, few = (max(128, int(count * scale)) for count in (CHOICES, FEW))
    triplets, odd, _ = choices(OBJECTS, 49, n, 0)
    settings = config.load("human_uncertainty", config.HumanUncertainty)
    other = Way("published: one-hot, batches of 128", lambda: published(triplets[:few], odd[:few], OBJECTS), few)
    for batch in (2048, 8192):
        chosen = dataclasses.replace(settings, dimensions=DIMENSIONS, batch_size=batch, max_epochs=1)
        ours = Way("alignet.people.vice", lambda s=chosen: vice.fit(triplets, odd, OBJECTS, s), n)
        yield Comparison(f"VICE, an epoch in batches of {batch:,}", "naive", ours, other, turns=3)
