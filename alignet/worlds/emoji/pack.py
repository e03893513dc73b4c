"""Packs public files of THINGS into choices.parquet and concepts.csv of this package.

    python -m alignet.worlds.emoji.pack --from FOLDER

FOLDER holds, itself or below, with the names and contents that FILES pins:
- test_10_ID.txt: github.com/MirkoTh/semantic-representations-ID, commit 84e6e82, data/ (264 people by number);
- behavior_triplets_test10.txt: github.com/florianmahner/gpt-behavior, commit 4a8bd2f, data/ (no person named);
- unique_id.txt: as the first; things_concepts.tsv: as the second.
All are THINGS' own data (Hebart et al., 2023), CC BY 4.0. The 2025 study of the first repository is not packed.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from alignet.worlds.format.tables import WorldError
from alignet.worlds.things import concepts as things_concepts
from alignet.worlds.things import rows as things_rows

HERE = Path(__file__).parent
NAMED, UNNAMED = "test_10_ID.txt", "behavior_triplets_test10.txt"
CONCEPTS, ORDER = "things_concepts.tsv", "unique_id.txt"
FILES = {
    NAMED: "37224154a8715612949dc559d47be07f77659f48bae1fb3f4d73afa3cd53991d",
    UNNAMED: "3d99c59ba4793d7ccee4e3dccfce926a9ab9af5b515d30fb8a5e5541dc440617",
    ORDER: "e2e59d02197e89776034938e7a73940a0823cacac4b6084b56b1d8959816ff76",
    CONCEPTS: "f6eb4ec6fcad61e50a746bee820f98d1595fe655e9e210a9a407e9a17fd8cee4",
}


def pack(folder: Path, out: Path) -> None:
    """Write the two files to `out`; equal sources give equal bytes.

    Raises: WorldError naming the file that is missing, stands twice, or has another sha256 than the pinned one.
    """
    found = {name: _verified(folder, name, digest) for name, digest in FILES.items()}
    table = things_concepts.concept_table(found[CONCEPTS])
    count = len(things_concepts.identifiers(found[ORDER], table))
    files = [things_rows.read(found[name], count, people=name == NAMED) for name in (NAMED, UNNAMED)]
    rows, left_out = things_rows.single_answers(things_rows.joined(files), np.empty(0, np.int64))
    out.mkdir(parents=True, exist_ok=True)
    choice_table(rows).to_parquet(
        out / "choices.parquet", index=False, compression="zstd", compression_level=19, use_dictionary=False
    )
    table[["concept", "category"]].to_csv(out / "concepts.csv", index=False, lineterminator="\n")
    print(f"{len(rows)} choices about {count} concepts")
    for why, number in left_out.items():
        print(f"  left out: {number} {why}")


def choice_table(rows: things_rows.Rows) -> pd.DataFrame:
    """The table of choices: concept_0, concept_1 and concept_2 (ascending numbers), odd (position) and person (-1: not
    named).

    It is sorted by all columns, which makes the file small.

    Args: rows: have the odd one out last, as in the sources.
    """
    order = np.argsort(rows.triplets, axis=1)
    table = pd.DataFrame(np.take_along_axis(rows.triplets, order, 1), columns=["concept_0", "concept_1", "concept_2"])
    table["odd"] = (order == 2).argmax(1).astype(np.int8)
    table["person"] = np.where(rows.named, rows.person, -1).astype(np.int16)
    return table.sort_values(list(table)).reset_index(drop=True)


def _verified(folder: Path, name: str, digest: str) -> Path:
    found = sorted(folder.rglob(name))
    if len(found) != 1:
        raise WorldError(f"{folder}: holds {len(found)} files named {name}, and one is needed")
    seen = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if seen != digest:
        raise WorldError(f"{found[0]}: sha256 {seen}, expected {digest}")
    return found[0]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m alignet.worlds.emoji.pack", description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="folder", type=Path, required=True, help="where the public files lie")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write (default: this package)")
    chosen = parser.parse_args(arguments)
    pack(chosen.folder, chosen.out)


if __name__ == "__main__":
    main()
