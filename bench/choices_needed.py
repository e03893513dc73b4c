"""How many choices recover people's similarities? VICE and plain shares, by objects and choices for each object.

python bench/choices_needed.py     bench/choices_needed.csv; two minutes

People are SIMULATED: an embedding of 8 sparse dimensions, choices drawn from its softmax. VICE's settings are those
that `python -m alignet.worlds params` proposes. rsa: Spearman's correlation of recovered and true similarities over all
pairs; shares: how often a pair was left together where it was shown (pairs never shown count as chance).
"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from alignet import config
from alignet.maths.choices import row_pair_similarities
from alignet.people import vice
from alignet.worlds.folder import proposal

OUT = Path(__file__).with_suffix(".csv")
OBJECTS, EACH = (24, 40, 80, 160), (10, 20, 40, 80, 160)


def people(objects: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """True embedding (objects, 8), triplets (n, 3), odd (n,)."""
    generator = torch.Generator().manual_seed(seed)
    shown = torch.rand(objects, 8, generator=generator) < 0.3
    truth = shown * (1 + torch.rand(objects, 8, generator=generator))
    triplets = torch.rand(n, objects, generator=generator).topk(3).indices
    chances = row_pair_similarities(truth, triplets).softmax(1)
    return truth, triplets, torch.multinomial(chances, 1, generator=generator)[:, 0]


def shares(objects: int, triplets: torch.Tensor, odd: torch.Tensor) -> np.ndarray:
    """Share of times that a pair was left together, (objects, objects)."""
    together, seen = np.zeros((objects, objects)), np.zeros((objects, objects))
    for place in range(3):
        one, other = (triplets[:, column].numpy() for column in range(3) if column != place)
        for a, b in ((one, other), (other, one)):
            np.add.at(seen, (a, b), 1)
            np.add.at(together, (a, b), (odd == place).numpy())
    return np.where(seen > 0, together / np.maximum(seen, 1), 1 / 3)


def row(objects: int, each: int, seed: int = 0) -> dict[str, float]:
    n = objects * each
    truth, triplets, odd = people(objects, n, seed)
    batch = proposal.between(32, n // 20, 1024)
    settings = dataclasses.replace(
        config.load("human_uncertainty", config.HumanUncertainty),
        batch_size=batch,
        max_epochs=proposal.between(150, proposal.VICE_STEPS * batch // n, 1500),
    )
    posterior, _ = vice.fit(triplets, odd, objects, settings)
    kept = len(vice.kept_dimensions(posterior, settings.fdr, settings.min_objects))
    upper = np.triu_indices(objects, 1)
    true = (truth @ truth.T).numpy()[upper]
    embedding = posterior.mu.relu()
    recovered = (embedding @ embedding.T).numpy()[upper]
    found = {"objects": objects, "choices_each": each, "choices": n, "dimensions": kept}
    found |= {"rsa_vice": spearmanr(recovered, true).statistic}
    return found | {"rsa_shares": spearmanr(shares(objects, triplets, odd)[upper], true).statistic}


if __name__ == "__main__":
    torch.set_num_threads(1)
    table = pd.DataFrame([row(objects, each) for objects in OBJECTS for each in EACH])
    table.to_csv(OUT, index=False, float_format="%.3f")
    print(table.round(3).to_string(index=False))
