"""THINGS' published choices read into a world: a million invented ones, beside pandas and a loop over lines.

The file has the published form, and no real choice is in it. Ours streams it into triplets.parquet and checks it.
pandas reads all of it and writes a CSV; the loop, on a fifth of the lines, makes a list of dicts; neither checks.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from alignet.worlds.paper import things_full
from bench.measure import Comparison, Way

CHOICES, FEW, OBJECTS, PEOPLE, VALIDATION = 1_000_000, 200_000, 1854, 12340, 453_642


def invent(folder: Path, rows: int) -> None:
    generator = np.random.default_rng(0)
    names = [f"object_{number:04d}" for number in range(OBJECTS)]
    (folder / things_full.CONCEPTS).write_text("\n".join(["uniqueID", *names]) + "\n")
    first = generator.integers(0, OBJECTS, rows)
    second = (first + generator.integers(1, OBJECTS // 2, rows)) % OBJECTS
    third = (first + generator.integers(OBJECTS // 2, OBJECTS, rows)) % OBJECTS
    shown, odd = np.stack([first, second, third], axis=1), generator.integers(0, 3, rows)
    columns = {f"image{place + 1}": shown[:, place] + 1 for place in range(3)}
    columns |= {"choice": odd + 1, "RT": generator.integers(500, 20000, rows)}
    columns |= {"noise_ceiling": (generator.random(rows) < 0.03).astype(int)}
    columns |= {"subject_id": [f"A{person:06d}" for person in generator.integers(0, PEOPLE, rows)]}
    columns |= {"HIT_nr": generator.integers(0, 10**6, rows), "trial_nr": generator.integers(0, 20, rows)}
    columns |= {"age": generator.integers(18, 80, rows), "date": ["2019-05-01"] * rows, "time": ["12:30:10"] * rows}
    options = pa.csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    with (folder / things_full.CHOICES).open("wb") as file:
        file.write(("\t".join(columns) + "\n").encode())
        pa.csv.write_csv(pa.table(columns), file, options)
    kept = np.flatnonzero(columns["noise_ceiling"] == 0)[: min(VALIDATION, rows // 10)]
    np.savetxt(folder / "validationset.txt", odd_last(shown, odd)[kept], fmt="%d")


def odd_last(shown: np.ndarray, odd: np.ndarray) -> np.ndarray:
    """Triplets (n, 3) with the chosen object last, as the published split files have them."""
    others = shown[np.arange(3) != odd[:, None]].reshape(-1, 2)
    return np.concatenate([others, np.take_along_axis(shown, odd[:, None], 1)], axis=1)


def stream(folder: Path) -> int:
    names = things_full.concepts(folder)["concept"].tolist()
    return int(things_full.write_choices(folder, names, folder / "triplets.parquet").splits.sum())


def with_pandas(folder: Path) -> int:
    table = pd.read_csv(folder / things_full.CHOICES, sep="\t")
    names = np.array(things_full.concepts(folder)["concept"], dtype=object)
    for place in (1, 2, 3):
        table[f"image_{place - 1}"] = names[table[f"image{place}"] - 1]
    known = {tuple(row) for row in np.loadtxt(folder / "validationset.txt", dtype=int).tolist()}
    shown, odd = table[["image1", "image2", "image3"]].to_numpy() - 1, table["choice"].to_numpy() - 1
    table["split"] = [tuple(row) in known for row in odd_last(shown, odd).tolist()]
    table.to_csv(folder / "naive.csv", index=False)
    return len(table)


def loop(folder: Path, n: int) -> list[dict[str, str]]:
    names, rows = things_full.concepts(folder)["concept"].tolist(), []
    with (folder / things_full.CHOICES).open() as file:
        header = next(file).rstrip("\n").split("\t")
        for line, _ in zip(file, range(n), strict=False):
            values = dict(zip(header, line.rstrip("\n").split("\t"), strict=True))
            rows.append({f"image_{place}": names[int(values[f"image{place + 1}"]) - 1] for place in range(3)} | values)
    return rows


def agree(ours: int, other: int) -> str:
    assert ours == other, f"{ours} and {other} choices"
    return "as many choices"


def comparisons(scale: float = 1) -> Iterator[Comparison]:
    n, few = (max(100, int(count * scale)) for count in (CHOICES, FEW))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        invent(folder, n)
        task, ours = (
            f"THINGS' file of {n:,} choices",
            Way("alignet.worlds.paper.things_full", lambda: stream(folder), n),
        )
        other = Way(f"pandas {pd.__version__}, unchecked", lambda: with_pandas(folder), n)
        yield Comparison(task, "package", ours, other, agree, 3)
        other = Way("loop over lines, unchecked", lambda: loop(folder, few), few)
        yield Comparison(task, "naive", ours, other, turns=3)
