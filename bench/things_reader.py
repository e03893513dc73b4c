"""Reading THINGS' 4.7 million choices: time and peak memory of the reader here, of pandas, and of a loop.

    python bench/things_reader.py [rows]

Writes an invented file of the published form (no real choice in it) to a temporary folder. Each way runs in a process
of its own, whose peak memory is the operating system's (about 650 MB of it PyTorch and its kin, before a row is read).
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from alignet.worlds.format import tables
from alignet.worlds.readers import things

OBJECTS, PEOPLE, VALIDATION = 1854, 12340, 453_642
LOOP_ROWS = 200_000


def invent(folder: Path, rows: int) -> None:
    generator = np.random.default_rng(0)
    names = [f"object_{number:04d}" for number in range(OBJECTS)]
    (folder / things.CONCEPTS).write_text("\n".join(["uniqueID", *names]) + "\n")
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
    with (folder / things.CHOICES).open("wb") as file:
        file.write(("\t".join(columns) + "\n").encode())
        pa.csv.write_csv(pa.table(columns), file, options)
    kept = np.flatnonzero(columns["noise_ceiling"] == 0)[: min(VALIDATION, rows // 10)]
    chosen = np.take_along_axis(shown, odd[:, None], 1)
    others = shown[np.arange(3) != odd[:, None]].reshape(-1, 2)
    np.savetxt(folder / "validationset.txt", np.concatenate([others, chosen], axis=1)[kept], fmt="%d")
    images = pa.table({"image": names, "path": names, "concept": names, "split": ["human"] * OBJECTS})
    others = pa.table({"image": ["s", "t"], "path": ["s", "t"], "concept": ["s", "t"], "split": ["synthesis", "test"]})
    pa.csv.write_csv(pa.concat_tables([images, others]), folder / "images.csv")
    (folder / "world.yaml").write_text("{format: 1, name: invented, hierarchy: [concept]}\n")


def stream(folder: Path) -> str:
    names = things.concepts(folder)["concept"].tolist()
    report = things.write_choices(folder, names, folder / "triplets.parquet")
    return f"{report.splits.sum():,} choices into triplets.parquet"


def load(folder: Path) -> str:
    return f"{len(tables.read(folder).triplets):,} choices checked and in memory"


def pandas_way(folder: Path) -> str:
    import pandas as pd

    table = pd.read_csv(folder / things.CHOICES, sep="\t")
    names = np.array(things.concepts(folder)["concept"], dtype=object)
    for place in (1, 2, 3):
        table[f"image_{place - 1}"] = names[table[f"image{place}"] - 1]
    known = {tuple(row) for row in np.loadtxt(folder / "validationset.txt", dtype=int).tolist()}
    shown = table[["image1", "image2", "image3"]].to_numpy() - 1
    odd = table["choice"].to_numpy() - 1
    chosen = np.take_along_axis(shown, odd[:, None], 1)
    others = shown[np.arange(3) != odd[:, None]].reshape(-1, 2)
    table["split"] = [tuple(row) in known for row in np.concatenate([others, chosen], 1).tolist()]
    table.to_csv(folder / "naive.csv", index=False)
    return f"{len(table):,} choices into a CSV, unchecked"


def loop(folder: Path) -> str:
    names, rows = things.concepts(folder)["concept"].tolist(), []
    with (folder / things.CHOICES).open() as file:
        header = next(file).rstrip("\n").split("\t")
        for line, _ in zip(file, range(LOOP_ROWS), strict=False):
            values = dict(zip(header, line.rstrip("\n").split("\t"), strict=True))
            rows.append({f"image_{place}": names[int(values[f"image{place + 1}"]) - 1] for place in range(3)} | values)
    return f"{len(rows):,} choices only, as a list of dicts"


WAYS = {"ours: stream to a world": stream, "ours: read the world": load, "pandas": pandas_way, "a loop": loop}


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own too: Linux counts what a parent held as its child's peak.
        subprocess.run([sys.executable, __file__, "--invent", name, str(rows)], check=True)
        size = (folder / things.CHOICES).stat().st_size / 1e6
        print(f"{rows:,} invented choices, {size:.0f} MB\n\n| way | seconds | peak MB | result |\n|---|---|---|---|")
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, name]
            print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="", flush=True)


def one(way: str, folder: Path) -> None:
    start = time.perf_counter()
    result = WAYS[way](folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {way} | {time.perf_counter() - start:.1f} | {peak:.0f} | {result} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--invent"]:
        invent(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["--way"]:
        one(sys.argv[2], Path(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 4_699_160)
