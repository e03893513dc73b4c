"""A network's choices on 100,000 triplets of 512 pictures (noise), beside three forward passes for each triplet.

Ours: every picture once, as the stages do, then the dot products of all triplets. The other way: for each triplet its
three pictures through the network, on 64 of the triplets.
"""

from collections.abc import Iterator

import torch

from alignet import config
from alignet.maths.choices import odd_one_out, pair_similarities
from alignet.models import backbones
from bench.measure import Comparison, Way

PICTURES, TRIPLETS, FEW = 512, 100_000, 64


def chosen(features: torch.Tensor, triplets: torch.Tensor) -> torch.Tensor:
    return torch.cat([odd_one_out(pair_similarities(features[shown])) for shown in triplets.split(4096)])


def agree(ours: torch.Tensor, other: torch.Tensor) -> str:
    share = float((ours[: len(other)] == other).float().mean())
    assert share >= 0.95, f"the same choice on {share:.3f} of the triplets"
    return f"the same choice on {share:.3f}"


def comparisons(scale: float = 1) -> Iterator[Comparison]:
    settings = config.load("backbones.lite0", config.Backbone)
    size, generator = settings.picture_size, torch.Generator().manual_seed(0)
    pictures, n, few = (max(4, int(count * scale)) for count in (PICTURES, TRIPLETS, FEW))
    shown = torch.randint(256, (pictures, 3, size, size), generator=generator, dtype=torch.uint8)
    parts = [torch.rand(1000, pictures, generator=generator).topk(3).indices for _ in range(n // 1000 + 1)]
    embedder, triplets = backbones.create(settings), torch.cat(parts)[:n]
    fast = backbones.folded(embedder, "pooled", size)

    def embedded() -> torch.Tensor:
        return backbones.features(fast, shown.split(64), "pooled", "float32", "lite0")

    @torch.inference_mode()
    def one_by_one() -> torch.Tensor:
        return torch.cat([odd_one_out(pair_similarities(embedder(shown[t])[None])) for t in triplets[:few]])

    stored = embedded()
    other = Way("three forward passes a triplet", one_by_one, few)
    task = f"choices on {n:,} triplets of {pictures} pictures"
    ours = Way("alignet.models.backbones, each picture once", lambda: chosen(embedded(), triplets), n)
    yield Comparison(task, "naive", ours, other, agree, 3)
    ours = Way("alignet.triplets, from stored features", lambda: chosen(stored, triplets), n)
    yield Comparison(f"{task}, features stored", "naive", ours, other, agree, 3)
