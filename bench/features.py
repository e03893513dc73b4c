"""Pictures a second of the features stage, beside a bare loop and thingsvision's extractor, in one run.

python bench/features.py [PYTHON]    writes bench/features.csv

PYTHON: the interpreter of an environment that holds thingsvision (its versions of torch and timm are old, so it needs
one of its own); without it that way is skipped. All ways decode the same picture files, of the default run's world, and
give tf_efficientnet_lite0's pooled features at the same size, with random weights; the best of three turns of each.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from alignet import config
from alignet.models import backbones
from alignet.worlds.format import pictures, tables

PICTURES, TURNS, BATCH = 1024, 3, 64
THINGSVISION = """
import sys, time, torch
from thingsvision import get_extractor
from thingsvision.utils.data import DataLoader, ImageDataset
root, size, batch, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
extractor = get_extractor("tf_efficientnet_lite0", source="timm", device="cpu", pretrained=False)
start = time.perf_counter()
data = ImageDataset(root=root, out_path=root, backend=extractor.get_backend(),
                    transforms=extractor.get_transformations(resize_dim=size, crop_dim=size))
loader = DataLoader(dataset=data, batch_size=batch, backend=extractor.get_backend())
found = extractor.extract_features(batches=loader, module_name="global_pool", flatten_acts=True)
print(len(found) / (time.perf_counter() - start))
"""


def ours(paths: list[Path], settings: config.Backbone) -> float:
    reading, start = config.load("features", config.Features), time.perf_counter()
    fast = backbones.folded(backbones.create(settings), "pooled", settings.picture_size)
    shown = pictures.batches(paths, settings.picture_size, reading.batch_size, reading.workers)
    found = backbones.features(fast, shown, "pooled", "float32", "ours")
    return len(found) / (time.perf_counter() - start)


def bare(paths: list[Path], settings: config.Backbone) -> float:
    """As in a first script: decode a batch with Pillow, forward it."""
    model, start = backbones.create(settings).model, time.perf_counter()
    found, size = [], (settings.picture_size,) * 2
    with torch.no_grad():
        for part in range(0, len(paths), BATCH):
            opened = [Image.open(path).convert("RGB").resize(size) for path in paths[part : part + BATCH]]
            shown = torch.from_numpy(np.stack(opened)).permute(0, 3, 1, 2).float() / 127.5 - 1
            found.append(model(shown))
    return sum(map(len, found)) / (time.perf_counter() - start)


def thingsvision(python: str, paths: list[Path], settings: config.Backbone) -> float:
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            (Path(folder) / path.name).symlink_to(path.resolve())
        size, threads = str(settings.picture_size), str(torch.get_num_threads())
        command = [python, "-c", THINGSVISION, folder, size, str(BATCH), threads]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"thingsvision failed: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout.splitlines()[-1])


def main(python: str | None) -> None:
    world = tables.read(config.folders(".")[0] / "world")
    settings = config.Backbone(
        model="tf_efficientnet_lite0", options={}, weights="random", layer="pooled", picture_size=112, seed=0
    )
    paths = world.paths(world.rows("test"))[:PICTURES]
    ways = {"bare loop": lambda: bare(paths, settings), "ours": lambda: ours(paths, settings)}
    if python is None:
        print("thingsvision: skipped, no interpreter of an environment that holds it was given")
    else:
        ways["thingsvision"] = lambda: thingsvision(python, paths, settings)
    rates = {name: max(way() for _ in range(TURNS)) for name, way in ways.items()}
    table = pd.DataFrame({"way": rates.keys(), "pictures_per_second": rates.values()})
    table["times_bare"] = table["pictures_per_second"] / rates["bare loop"]
    table.round(2).to_csv(Path(__file__).with_suffix(".csv"), index=False)
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else None)
