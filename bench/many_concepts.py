"""Every stage on a world with as many concepts as THINGS: time, memory, and what grows faster than the pictures.

python -m bench.many_concepts [--concepts N] [--pictures N]     writes bench/many_concepts.csv; eight minutes

The world is invented: pictures of 24 pixels, three columns of labels, choices that follow the labels. Networks have one
block and random weights and fits are short (params/smoke.yaml); evaluations are those of params.yaml. Stages run one
after the other, each in a process of its own, with half and with all of the pictures and concepts.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SIDE, CATEGORIES, DOMAINS, PEOPLE = 24, 27, 5, 40
SHARES = {"human": 0.4, "synthesis": 0.3, "test": 0.3}  # of the concepts
BLOCK: dict[str, Any] = {"model": "vit_tiny_patch16_224", "options": {"img_size": 32, "depth": 1}, "weights": "random"}
BLOCK |= {"layer": "pooled", "picture_size": 32}
START = "start"  # a row for a process that runs nothing
FULL = ("levels", "similarity", "reorganisation", "downstream")  # sections that are those of params.yaml


def world(folder: Path, concepts: int, pictures: int, choices: int) -> None:
    """Write a world: `pictures` pictures of `concepts` concepts, 27 categories and 5 domains, `choices` choices to fit
    to, a tenth as many at each level of abstraction, and as many ratings."""
    concept = np.sort(np.arange(pictures) % concepts)
    category, names = concept % CATEGORIES, np.array([f"i{row:06d}" for row in range(pictures)], object)
    bounds = np.cumsum([*SHARES.values()])
    split = np.array([*SHARES], object)[np.searchsorted(bounds, np.random.default_rng(0).random(concepts) * bounds[-1])]
    images = pd.DataFrame({"image": names, "path": [f"p/{name}.png" for name in names], "split": split[concept]})
    images["concept"] = [f"concept {number:05d}" for number in concept]
    images["category"] = [f"category {number:02d}" for number in category]
    images["domain"] = [f"domain {number % DOMAINS}" for number in category]
    _draw(folder, images["path"], category)
    images.to_csv(folder / "images.csv", index=False)
    some = [np.flatnonzero(images["split"] == kind) for kind in ("human", "test")]
    choose = Chosen(names, torch.from_numpy(concept), torch.from_numpy(category))
    triplets = choose.table(some[0], choices, "random")
    held_out = np.where(np.arange(len(triplets)) // 3 % 20 == 0, "validation", "train")
    triplets.assign(split=held_out).to_csv(folder / "triplets.csv", index=False)
    schemes = {"coarse": "between_class", "boundary": "class_border", "fine": "within_class"}
    levels = [choose.table(some[1], choices // 10, scheme).assign(level=level) for level, scheme in schemes.items()]
    pd.concat(levels).to_csv(folder / "levels.csv", index=False)
    pairs = levels[0][["image_0", "image_1", "participant"]]
    pairs.assign(rating=np.arange(len(pairs)) % 5 + 1).to_csv(folder / "ratings.csv", index=False)
    header = {
        "format": 1,
        "name": "many concepts",
        "choices": "simulated",
        "hierarchy": ["concept", "category", "domain"],
    }
    (folder / "world.yaml").write_text(yaml.safe_dump(header), encoding="utf-8")


class Chosen:
    """Choices of people who follow the labels: of three pictures the one that shares least with the others."""

    def __init__(self, names: np.ndarray, concept: torch.Tensor, category: torch.Tensor):
        self.names, self.concept, self.category = names, concept, category
        self.generator = torch.Generator().manual_seed(0)

    def table(self, rows: np.ndarray, choices: int, scheme: str) -> pd.DataFrame:
        """Rows of triplets.csv about some pictures, three people for each triplet of different concepts."""
        from alignet.maths.sampling import draw, groups

        pool = torch.from_numpy(rows)
        kinds = self.category[pool].unique(return_inverse=True)[1]
        shown = pool[draw(scheme, groups(scheme, kinds), choices // 3, self.generator)]
        shown = shown[(self.concept[shown].sort(1).values.diff(dim=1) > 0).all(1)].repeat_interleave(3, 0)
        of = self.category[shown]
        left = torch.stack([of[:, 1], of[:, 0], of[:, 0]], 1), torch.stack([of[:, 2], of[:, 2], of[:, 1]], 1)
        alike = 2.0 * (left[0] == left[1]) + (left[0] % DOMAINS == left[1] % DOMAINS)
        odd = (alike + torch.rand(alike.shape, generator=self.generator)).argmax(1)
        table = pd.DataFrame(self.names[shown.numpy()], columns=["image_0", "image_1", "image_2"])
        return table.assign(odd=odd.numpy(), participant=[f"p{row % PEOPLE}" for row in range(len(table))])


def _draw(folder: Path, paths: pd.Series, category: np.ndarray) -> None:
    """Pictures in the colour of their category, with noise, so that no two are the same."""
    generator = np.random.default_rng(1)
    colours = generator.integers(40, 216, (CATEGORIES, 1, 1, 3))
    (folder / "p").mkdir(parents=True)
    for path, kind in zip(paths, category, strict=True):
        shown = colours[kind] + generator.integers(-40, 40, (SIDE, SIDE, 3))
        Image.fromarray(shown.astype(np.uint8)).save(folder / path, compress_level=1)


def params(smoke: dict[str, Any], full: dict[str, Any], place: Path) -> dict[str, Any]:
    """The params of a run on the world in `place`. Args: smoke, full: values of params/smoke.yaml and params.yaml."""
    names = ("teacher", "witness", "vit")
    made = smoke | {section: full[section] for section in FULL}
    made["world"] = {"source": "folder", "path": str(place)}
    made["backbones"] = {name: BLOCK | {"seed": seed} for seed, name in enumerate(names)}
    made["students"] = {"vit": smoke["students"]["vit"]}
    made["run"] = smoke["run"] | {"backbones": [*names], "students": ["vit"]}
    made["teacher"] = smoke["teacher"] | {"backbones": ["teacher"]}
    made["synthesis"] = smoke["synthesis"] | {"signal_backbone": "witness", "clusters": 40, "elbow": [20, 40]}
    vice = {"max_epochs": 60, "stable_epochs": 60, "lr": 0.03, "min_objects": 0, "held_out_most": 2000}
    made["human_uncertainty"] = smoke["human_uncertainty"] | vice
    made["cost"] = smoke["cost"] | {"pretraining": {"vit": None}}
    return made


def forked(run: Callable[[], Any]) -> dict[str, float]:
    """seconds, and gb: largest memory, shared libraries and all, of a call in a process of its own.

    Raises: SystemExit if it fails.
    """
    sys.stdout.flush()
    start, child = time.perf_counter(), os.fork()
    if child == 0:
        try:
            run()
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"a stage ended with {status}")
    return {"seconds": time.perf_counter() - start, "gb": used.ru_maxrss / 1e6}


def measured(concepts: int, pictures: int, choices: int) -> tuple[pd.DataFrame, float]:
    """A row a stage: stage, seconds, gb; and the gb of a process that has only imported what stages need.

    The stages belong to a copy of the repository, whose modules another interpreter imports.
    """
    sys.path.append(str(ROOT / "tests"))
    import runs  # of tests/: makes the copy

    from alignet import config

    with tempfile.TemporaryDirectory() as temporary:
        place, folder = Path(temporary) / "world", Path(temporary) / "run"
        folder.mkdir()
        world(place, concepts, pictures, choices)
        values = params(config.values("params/smoke.yaml"), config.values("params.yaml"), place)
        runs.copy_of_the_repository(folder, values)
        settings = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (folder, ROOT / "tests")))}
        file = Path(temporary) / "stages.csv"
        subprocess.run([sys.executable, __file__, "--stages", str(file)], cwd=folder, env=settings, check=True)
        table = pd.read_csv(file)
    return table[table["stage"] != START], float(table.loc[table["stage"] == START, "gb"].iloc[0])


def stages(file: Path) -> None:
    """Run every stage of the copy of the repository in the working folder, and write stage, seconds and gb.

    Raises: SystemExit if a stage fails, or if the modules are those of another folder, where data would be written.
    """
    import matplotlib
    import runs
    from dvc.repo import Repo
    from networkx import topological_sort

    from alignet import config
    from alignet.evaluation import downstream, reorganisation  # noqa: F401  imported once, for all forked processes

    if Path.cwd().resolve() != config.home().resolve():
        raise SystemExit(f"alignet is that of {config.home()}, and not of {Path.cwd()}")
    matplotlib.use("agg")
    table = [{"stage": START, **forked(lambda: None)}]
    for stage in reversed(list(topological_sort(Repo().index.graph))):
        table.append({"stage": stage.addressing, **forked(partial(runs._run_cells, stage.cmd))})
        print(f"{stage.addressing:<28}{table[-1]['seconds']:8.1f} s {table[-1]['gb']:6.2f} GB", flush=True)
    pd.DataFrame(table).to_csv(file, index=False)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--concepts", type=int, default=1854)
    parser.add_argument("--pictures", type=int, default=26000)
    parser.add_argument("--choices", type=int, default=60000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--stages", type=Path, help=argparse.SUPPRESS)  # the stages of the working folder alone
    wanted = parser.parse_args()
    if wanted.stages:
        return stages(wanted.stages)
    from bench.rows import processor

    half, _ = measured(wanted.concepts // 2, wanted.pictures // 2, wanted.choices // 2)
    table, start = measured(wanted.concepts, wanted.pictures, wanted.choices)
    table["seconds_at_half"], table["gb_at_half"] = half["seconds"], half["gb"]
    # Twice the pictures in more than 2.5 times the time, or with more than 2.5 times the memory above the start.
    slower = (table["seconds"] > 2.5 * half["seconds"]) & (table["seconds"] > 5)
    larger = (table["gb"] - start > 2.5 * (half["gb"] - start)) & (table["gb"] - start > 0.2)
    table["faster_than_pictures"] = np.where(
        slower & larger, "time, memory", np.where(slower, "time", np.where(larger, "memory", ""))
    )
    sizes = {"concepts": wanted.concepts, "pictures": wanted.pictures, "choices": wanted.choices, "gb_at_start": start}
    table.assign(**sizes, processor=processor()).to_csv(wanted.out, index=False, float_format="%.3g")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
