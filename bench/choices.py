"""A model's choices on many triplets: from its representations, beside the per-triplet way, in one run.

python bench/choices.py    writes bench/choices.csv

Per triplet: three pictures through the network, three dot products. Ours: every picture once, as the stages do, then
the dot products of all triplets. Pictures are noise: only time is looked at.
"""

import time
from pathlib import Path

import pandas as pd
import torch

from alignet import config
from alignet.models import backbones
from alignet.triplets import odd_one_out, pair_similarities

PICTURES, TRIPLETS, FEW = 512, 100_000, 128


def main() -> None:
    settings = config.load("backbones.lite0", config.Backbone)
    size, generator = settings.picture_size, torch.Generator().manual_seed(0)
    embedder = backbones.create(settings)
    pictures = torch.randint(256, (PICTURES, 3, size, size), generator=generator, dtype=torch.uint8)
    triplets = torch.stack([torch.randperm(PICTURES, generator=generator)[:3] for _ in range(TRIPLETS)])
    with torch.inference_mode():
        embedder(pictures[:64])
        start = time.perf_counter()
        one_by_one = torch.cat(
            [odd_one_out(pair_similarities(embedder(pictures[shown])[None])) for shown in triplets[:FEW]]
        )
        each = (time.perf_counter() - start) / FEW
        start = time.perf_counter()
        fast = backbones.folded(embedder, "pooled", size)
        features = backbones.features(fast, pictures.split(64), "pooled", "float32", "lite0")
        embedded = time.perf_counter() - start
        start = time.perf_counter()
        ours = torch.cat([odd_one_out(pair_similarities(features[shown])) for shown in triplets.split(4096)])
        chosen = time.perf_counter() - start
    agree = float((ours[:FEW] == one_by_one).float().mean())
    rows = [{"way": "per triplet", "triplets": FEW, "seconds": each * FEW}]
    rows.append({"way": "ours, with the forward passes", "triplets": TRIPLETS, "seconds": embedded + chosen})
    rows.append({"way": "ours, features stored", "triplets": TRIPLETS, "seconds": chosen})
    table = pd.DataFrame(rows).assign(triplets_per_second=lambda t: t["triplets"] / t["seconds"], agreement=agree)
    table["times_per_triplet"] = table["triplets_per_second"] * each
    table.round(3).to_csv(Path(__file__).with_suffix(".csv"), index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
