"""VICE: held-out loss by batch size, and recovery of a known embedding.

python bench/vice.py [batches] [recovery]    both by default; writes bench/vice_*.csv

Choices are invented: drawn from a sparse non-negative embedding.
"""

import dataclasses
import sys
import time
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from invented import choices

from alignet import config
from alignet.maths import metrics
from alignet.people import vice

HERE = Path(__file__).parent
SETTINGS = config.load("human_uncertainty", config.HumanUncertainty)


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
    for wanted in sys.argv[1:] or ("batches", "recovery"):
        {"batches": batches, "recovery": recovery}[wanted]()
