"""A teacher's fit at THINGS' size: python bench/teacher.py; writes bench/teacher.csv

1,854 objects x 768 features (invented), 100 steps of 4,096 triplets, by precision and principal axes, beside the
straightforward published way: all objects transformed at each step of 256 triplets, which one-hot rows then pick. Then:
do large batches cost accuracy on unseen objects, with the same number of triplets seen?
"""

import dataclasses
import time
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F

from alignet import config
from alignet.people.choice_distributions import ChoiceCounts
from alignet.teacher import affine_map
from alignet.triplets import pair_similarities

OBJECTS, DIM, TRIPLETS, STEPS, BATCH = 1854, 768, 400_000, 100, 4096
SETTINGS = config.load("teacher", config.Teacher)


def invented() -> tuple[torch.Tensor, ChoiceCounts, ChoiceCounts]:
    """Features of which 20 directions matter to the (invented) people; judgements of 1,500 objects, and of the rest."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(OBJECTS, DIM, generator=generator) * torch.linspace(3, 0.2, DIM)
    truth = 0.25 * features @ torch.randn(DIM, 20, generator=generator) / DIM**0.5

    def judged(low: int, high: int, n: int) -> ChoiceCounts:
        triplets = low + torch.rand(n, high - low, generator=generator).topk(3, dim=1).indices
        chances = pair_similarities(truth[triplets]).softmax(-1)
        found = ChoiceCounts.of(triplets, torch.multinomial(chances, 1, generator=generator).squeeze(1))
        return found.with_targets(pair_similarities(truth[found.triplets]).softmax(-1))

    parts = [judged(0, 1500, 20_000) for _ in range(TRIPLETS // 20_000)]
    train = ChoiceCounts(*(torch.cat([getattr(p, name) for p in parts]) for name in ("triplets", "counts", "targets")))
    return features, train, judged(1500, OBJECTS, 20_000)


def published_rate(features: torch.Tensor, train: ChoiceCounts, steps: int = 20, batch: int = 256) -> float:
    """Triplets a second: all objects transformed, one-hot rows pick those of the batch."""
    weight = (0.05 * torch.eye(DIM)).requires_grad_()
    bias = torch.zeros(DIM, requires_grad=True)
    optimiser, start = torch.optim.Adam([weight, bias], lr=0.001), time.perf_counter()
    for step in range(steps):
        part = slice(step * batch, (step + 1) * batch)
        transformed = features @ weight.T + bias
        rows = F.one_hot(train.triplets[part], OBJECTS).float() @ transformed
        loss = F.cross_entropy(pair_similarities(rows), train.targets[part])
        loss = loss + (weight - weight.diagonal().mean() * torch.eye(DIM)).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return steps * batch / (time.perf_counter() - start)


def main() -> None:
    features, train, unseen = invented()
    rows = [{"way": "published: one-hot, 256", "batch": 256, "triplets_per_second": published_rate(features, train)}]
    ways = {"float32": {}, "bfloat16": {"precision": "bfloat16"}, "256 principal axes": {"pca": 256}}
    ways |= {f"batches of {size}": {"batch_size": size, "steps": STEPS * BATCH // size} for size in (256, 1024)}
    for name, changes in ways.items():
        chosen = dataclasses.replace(SETTINGS, **{"steps": STEPS, "batch_size": BATCH, "local_weight": 0.0} | changes)
        start = time.perf_counter()
        affine = affine_map.fit(features, train, chosen)
        taken = time.perf_counter() - start
        found = affine_map.scores(affine, features, unseen, chosen)
        row = {"way": f"ours: {name}", "batch": chosen.batch_size, "steps": chosen.steps, "seconds": taken}
        row |= {"triplets_per_second": chosen.steps * chosen.batch_size / taken}
        rows.append(row | {name: found[name] for name in ("kl", "odd_one_out_accuracy", "target_accuracy")})
    table = pd.DataFrame(rows)
    table["times_published"] = table["triplets_per_second"] / table["triplets_per_second"].iloc[0]
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.5g")
    print(f"{torch.get_num_threads()} threads\n{table.round(4).to_string(index=False)}")


if __name__ == "__main__":
    main()
