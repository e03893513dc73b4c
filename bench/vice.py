"""VICE: speed of an epoch beside the published way, held-out loss by batch size, and recovery of a known embedding.

python bench/vice.py [speed] [batches] [recovery]    all three by default; writes bench/vice_*.csv

Choices are invented: drawn from a sparse non-negative embedding. The published way (one-hot rows times the embedding,
batches of 128) runs on fewer choices; the table compares rates.
"""

import dataclasses
import sys
import time
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from measure import Measure

from alignet import config, metrics
from alignet.people import vice
from alignet.triplets import pair_similarities

HERE = Path(__file__).parent
SETTINGS = config.load("human_uncertainty", config.HumanUncertainty)


def choices(objects: int, dimensions: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Triplets (n, 3), odd (n,) and the true distributions (n, 3) of an embedding of which `seed` % 100 is the seed."""
    generator = torch.Generator().manual_seed(seed % 100)
    embedding = 2 * torch.rand(objects, dimensions, generator=generator)
    embedding *= torch.rand(objects, dimensions, generator=generator) < 0.3
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(objects, (n,), generator=generator)
    second = (first + torch.randint(1, objects // 2, (n,), generator=generator)) % objects
    third = (first + torch.randint(objects // 2, objects, (n,), generator=generator)) % objects
    triplets, truth = torch.stack([first, second, third], 1), torch.empty(n, 3)
    for part, shown in zip(truth.split(1 << 16), triplets.split(1 << 16), strict=True):
        part.copy_(pair_similarities(embedding[shown]).softmax(-1))
    return triplets, torch.multinomial(truth, 1, generator=generator).squeeze(1), truth


def published_seconds(triplets: torch.Tensor, odd: torch.Tensor, objects: int, dimensions: int) -> float:
    """An epoch by the straightforward published recipe: one-hot rows, batches of 128, log densities written out."""
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(objects, dimensions, generator=generator).requires_grad_()
    log_sigma = torch.full((objects, dimensions), -1.0).requires_grad_()
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
    return time.perf_counter() - start


def speed(n: int = 4_100_000, objects: int = 1854, dimensions: int = 100) -> None:
    triplets, odd, _ = choices(objects, 49, n, 0)
    few = 128 * 400
    rows = [{"way": "published: one-hot, batches of 128", "choices": few, "batch": 128}]
    rows[0] |= {"seconds": published_seconds(triplets[:few], odd[:few], objects, dimensions), "peak_gb": float("nan")}
    for batch in (2048, 8192):
        chosen = dataclasses.replace(SETTINGS, dimensions=dimensions, batch_size=batch, max_epochs=1)
        with Measure() as measured:
            vice.fit(triplets, odd, objects, chosen)
        row = {"way": "ours: gathered rows", "choices": n, "batch": batch, "seconds": measured.seconds}
        rows.append(row | {"peak_gb": measured.peak / 1e9})
    table = pd.DataFrame(rows).assign(choices_per_second=lambda t: t["choices"] / t["seconds"])
    table["times_published"] = table["choices_per_second"] / table["choices_per_second"].iloc[0]
    write(table, "speed")


def scored(fitted: vice.Posterior, curve: pd.DataFrame, held_out: tuple, seconds: float) -> dict:
    triplets, odd, truth = held_out
    kept = fitted.pruned(SETTINGS)
    found = kept.choice_distribution(triplets, SETTINGS.samples, 0)
    nll = [-q.gather(1, odd[:, None]).log().mean().item() for q in (found, truth)]
    ece = metrics.expected_calibration_error(found, F.one_hot(odd, 3))
    return {"dimensions": kept.mu.shape[1], "epochs": len(curve), "nll": nll[0], "nll_truth": nll[1], "ece": ece} | {
        "seconds": seconds
    }


def fit(seed: int, n: int, objects: int, dimensions: int, **changes) -> dict:
    triplets, odd, _ = choices(objects, dimensions, n, seed)
    start = time.perf_counter()
    fitted = vice.fit(triplets, odd, objects, dataclasses.replace(SETTINGS, **changes))
    return scored(*fitted, choices(objects, dimensions, 20_000, seed + 100), time.perf_counter() - start)


def batches() -> None:
    """Equal numbers of epochs, the learning rate raised with the square root of the batch."""
    rows = []
    for batch in (128, 512, 2048, 8192):
        lr = 0.01 * (batch / 1024) ** 0.5
        found = fit(0, 100_000, 200, 8, batch_size=batch, lr=lr, max_epochs=40, burn_in=40)
        rows.append({"batch": batch, "lr": lr} | found)
    write(pd.DataFrame(rows), "batches")


def recovery() -> None:
    """8 true dimensions, 200 objects, 100,000 choices: three data sets."""
    rows = [{"data": seed} | fit(seed, 100_000, 200, 8, max_epochs=150) for seed in range(3)]
    write(pd.DataFrame(rows), "recovery")


def write(table: pd.DataFrame, name: str) -> None:
    table.to_csv(HERE / f"vice_{name}.csv", index=False, float_format="%.5g")
    print(f"{name}, {torch.get_num_threads()} threads\n{table.round(4).to_string(index=False)}")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ("speed", "batches", "recovery"):
        {"speed": speed, "batches": batches, "recovery": recovery}[wanted]()
