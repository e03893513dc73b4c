"""Waiting threads that sleep or spin, idle and beside one and two busy processes, in one run.

python bench/disturbed.py    writes bench/disturbed.csv; nine minutes on two cores

Each measurement is a process of its own, since OpenMP reads OMP_WAIT_POLICY once. Timed: training steps of lite0 behind
its frozen part (params.yaml), its forward pass, and a training step of a VICE-like size on all threads and on one.
Policies take turns. Ratios are to the same work, policy `unset`, idle.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

POLICIES, BUSY, TURNS = ("unset", "ACTIVE", "PASSIVE"), (0, 1, 2), 2
SECONDS = 4  # of each work


def works() -> dict:
    """name -> a function to call again and again."""
    import torch

    from alignet import config, devices
    from alignet.maths.choices import row_pair_similarities
    from alignet.student import network, training

    settings = config.load("students.lite0", config.Student)
    backbone = config.load("backbones.lite0", config.Backbone)
    model = network.create(backbone, settings)
    part = network.split(model, settings, backbone.picture_size)
    size, count = backbone.picture_size, settings.batch_clusters * settings.batch_pictures
    pictures = torch.randint(256, (count, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        outputs = part.before(pictures).contiguous()
    fitted = training.Run(model, settings)
    embedding = torch.randn(728, 50, requires_grad=True)
    triplets, adam = torch.randint(728, (1024, 3)), torch.optim.Adam([embedding], fused=True)

    def step() -> None:
        fitted.optimiser.zero_grad()
        model(outputs)[1].square().mean().backward()
        fitted.optimiser.step()

    def forward() -> None:
        with torch.no_grad():
            part.before(pictures)

    def small() -> None:
        adam.zero_grad()
        row_pair_similarities(embedding.relu(), triplets).log_softmax(-1)[:, 0].mean().backward()
        adam.step()

    def alone() -> None:
        with devices.threads(1):
            small()

    return {
        "lite0 training step": step,
        "lite0 frozen part": forward,
        "small step": small,
        "small step, one thread": alone,
    }


def measure() -> dict[str, float]:
    """Seconds of one call of each work, in this process."""
    found = {}
    for name, work in works().items():
        work()
        calls, start = 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            work()
            calls += 1
        found[name] = (time.perf_counter() - start) / calls
    return found


def child(policy: str, busy: int) -> dict[str, float]:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if policy != "unset":
        environment["OMP_WAIT_POLICY"] = policy
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        command = [sys.executable, __file__, "child", policy]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    finally:
        for other in others:
            other.kill()
    return json.loads(done.stdout)


def main() -> None:
    rows = []
    for turn in range(TURNS):
        for busy in BUSY:
            for policy in POLICIES:
                found = child(policy, busy)
                rows += [
                    {"turn": turn, "work": n, "policy": policy, "busy": busy, "seconds": s} for n, s in found.items()
                ]
    table = pd.DataFrame(rows).groupby(["work", "policy", "busy"], sort=False)["seconds"].min().reset_index()
    idle = table[(table["policy"] == "unset") & (table["busy"] == 0)].set_index("work")["seconds"]
    table["times_idle"] = table["seconds"] / table["work"].map(idle)
    table.round({"seconds": 5, "times_idle": 2}).to_csv(Path(__file__).with_suffix(".csv"), index=False)
    print(table.pivot(index=["work", "policy"], columns="busy", values="times_idle").round(2).to_string())


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        if sys.argv[2] == "unset":
            import torch  # noqa: F401  before alignet, which sets the policy where the user has not
        print(json.dumps(measure()))
    else:
        main()
