import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from alignet import backbones, config, features

BACKBONE = {"model": "vit_tiny_patch16_224", "options": {"img_size": 32, "depth": 1, "patch_size": 8}, "seed": 0}
BACKBONE |= {"weights": "random", "layer": "pooled", "picture_size": 32}
READING = {"batch_size": 4, "workers": 0, "precision": "float32", "cache_bytes": 0, "devices": 1}


@pytest.fixture
def job(tmp_path):
    """A world of seven pictures, which two processes cannot share equally."""
    folder, names = tmp_path / "data" / "world", [f"picture_{number}" for number in range(7)]
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{name}.png")
    splits = ["human"] * 3 + ["synthesis"] * 2 + ["test"] * 2
    images = pd.DataFrame({"image": names, "path": [f"images/{name}.png" for name in names], "concept": names})
    images.assign(split=splits).to_csv(folder / "images.csv", index=False)
    row = {f"image_{place}": names[place] for place in range(3)} | {"odd": 0, "participant": "a"}
    pd.DataFrame([row]).to_csv(folder / "triplets.csv", index=False)
    (folder / "world.yaml").write_text(yaml.safe_dump({"format": 1, "name": "seven", "hierarchy": ["concept"]}))
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump({"backbones": {"tiny": BACKBONE}, "features": READING}))
    return features.Job("tiny", str(params), str(tmp_path))


def test_features_are_stored_with_the_pictures_they_are_of(job):
    found = features.run(job)
    assert found.shape == (7, 192)
    folder = config.folders(job.out_dir)[0] / "features" / "tiny"
    assert (folder / "images.txt").read_text().split() == [f"picture_{number}" for number in range(7)]
    assert torch.equal(found, backbones.load_features(folder, [f"picture_{number}" for number in range(7)]))


def test_two_processes_give_the_features_of_one(job):
    alone = features.run(job)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [f"--{name}={value}" for name, value in vars(job).items()]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(config.ROOT)}
    command = [*torchrun, "-m", "alignet.features", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = config.folders(job.out_dir)[0] / "features" / "tiny"
    assert sorted(path.name for path in folder.iterdir()) == ["features.npy", "images.txt"]
    torch.testing.assert_close(torch.from_numpy(np.load(folder / "features.npy")), alone)
