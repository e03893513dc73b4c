"""A world of two million pictures: read and checked, clustered, ten million triplets sampled, labelled and written.

python bench/large_world.py [--pictures N] [--triplets N] [--dim D]     writes bench/large_world.csv; three minutes

Invented: every path is a link to one file, representations are noise about 500 centres (float16, 64 numbers). Peak GB
is memory that no file backs, above that of the start of a step. Pictures are not decoded.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from invented import embedding
from measure import Measure

from alignet.maths import sampling
from alignet.synthesis import kmeans, pair_kernel, schemes, triplet_files
from alignet.worlds.folder import trials
from alignet.worlds.format import tables

TEST, HUMAN = 10_000, 10_000


def world_of(folder: Path, pictures: int) -> Path:
    """A world without choices: images.csv and world.yaml; three splits, a thousand classes in ten domains."""
    rows = np.arange(pictures)
    split = np.where(rows < HUMAN, "human", np.where(rows < HUMAN + TEST, "test", "synthesis"))
    table = pd.DataFrame({"image": [f"n{row:08d}" for row in rows]})
    table = table.assign(path=[f"p/{row % 1000:03d}/{row}.jpg" for row in rows])
    table = table.assign(concept=[f"{s}_{row % 1000}" for s, row in zip(split, rows, strict=True)])
    table = table.assign(domain=[f"d{row % 10}" for row in rows], split=split)
    table.to_csv(folder / "images.csv", index=False)
    header = {"format": 1, "name": "large", "choices": "none", "hierarchy": ["concept", "domain"]}
    (folder / "world.yaml").write_text(yaml.safe_dump(header))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=2_200_000)
    parser.add_argument("--triplets", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=64)
    wanted = parser.parse_args()
    steps = []

    def timed(step: str, n: int, way):
        with Measure() as measured:
            found = way()
        steps.append({"step": step, "n": n, "seconds": measured.seconds, "peak_gb": measured.peak / 1e9})
        print(steps[-1], flush=True)
        return found

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        place = world_of(folder, wanted.pictures)
        world = timed("world read and checked", wanted.pictures, lambda: tables.read(place))
        timed("1,000 triplets to ask about", 1000, lambda: trials.draw(world, 1000))
        rows, labels = embedding(folder / "rows.npy", wanted.pictures, wanted.dim, 500)
        timed("k-means, 500 clusters", wanted.pictures, lambda: kmeans.fit(rows, 500, 256, seed=0))
        generator = torch.Generator().manual_seed(0)
        sources = schemes.sources("cluster_border", torch.from_numpy(labels), torch.from_numpy(labels))
        n = wanted.triplets
        drawn = timed("sampled, each set once", n, lambda: sampling.sample_distinct(sources, n, generator)).numpy()
        similarities = timed("labelled", n, lambda: pair_kernel.pair_similarities(rows, drawn))
        names = world.images["path"].to_numpy().astype(str)
        file = folder / "train_cluster_border.npz"
        timed("release file, written", n, lambda: triplet_files.write(file, names, drawn, similarities))
        found = timed("release file, checked", n, lambda: triplet_files.check(triplet_files.read(file)))
    print(found)
    table = pd.DataFrame(steps)
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.3f")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
