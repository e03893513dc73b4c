"""Features of 384 picture files (JPEG, 160 px): decoded, resized to 112 px, tf_efficientnet_lite0's pooled output.

Beside the network alone on pictures in memory (the limit), a first script's loop (Pillow, then a forward pass) and
thingsvision's extractor, in its own environment with an older torch. All have the same random weights.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alignet import config
from alignet.models import backbones
from alignet.worlds.format import pictures
from bench.elsewhere import Elsewhere
from bench.measure import Comparison, Way, alike

PICTURES, SIDE, SIZE, BATCH, WORKERS = 384, 160, 112, 64, 2


def picture_files(folder: Path, n: int) -> list[Path]:
    """Smooth noise as JPEG files."""
    generator = np.random.default_rng(0)
    paths = [folder / f"{number:05d}.jpg" for number in range(n)]
    for path in paths:
        coarse = Image.fromarray(generator.integers(256, size=(12, 12, 3), dtype=np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def first_script(embedder: backbones.Embedder, paths: list[Path]) -> np.ndarray:
    found = []
    with torch.no_grad():
        for start in range(0, len(paths), BATCH):
            opened = [Image.open(path).convert("RGB") for path in paths[start : start + BATCH]]
            resized = [np.array(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for picture in opened]
            found.append(embedder(torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)))
    return torch.cat(found).numpy()


def comparisons(scale: float = 1) -> Iterator[Comparison]:
    known = {"model": "tf_efficientnet_lite0", "options": {}, "weights": "random", "layer": "pooled"}
    embedder = backbones.create(config.Backbone(**known, picture_size=SIZE, seed=0)).eval()
    with tempfile.TemporaryDirectory() as name:
        folder, weights = Path(name) / "pictures", Path(name) / "weights.pt"
        folder.mkdir()
        torch.save(embedder.model.state_dict(), weights)
        paths = picture_files(folder, max(2, int(PICTURES * scale)))
        decoded = pictures.stack(paths, SIZE, 0)

        def stage() -> np.ndarray:
            fast = backbones.folded(embedder, "pooled", SIZE)
            shown = pictures.batches(paths, SIZE, BATCH, WORKERS)
            return backbones.features(fast, shown, "pooled", "float32", "ours").numpy()

        @torch.inference_mode()
        def network() -> np.ndarray:
            return torch.cat([embedder(part) for part in decoded.split(BATCH)]).numpy()

        task, note = f"features of {len(paths)} picture files", "memory of the main process"
        ours = Way("alignet.models.backbones", stage)
        script = Way("loop: Pillow, then a forward pass", lambda: first_script(embedder, paths))
        arguments = (folder, weights, SIZE, BATCH, torch.get_num_threads())
        other = Way("thingsvision 2.7.3 with torch 2.0", Elsewhere("bench.thingsvision_features", *arguments))
        yield Comparison(task, "limit", ours, Way("the network, pictures in memory", network), alike(1e-3), note=note)
        yield Comparison(task, "naive", ours, script, alike(1e-3), note=note)
        yield Comparison(task, "package", ours, other, alike(1e-2), 3, note)
