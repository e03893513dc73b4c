"""Does a run give the same numbers again, on another number of threads, with fewer instructions, and with other seeds?

python bench/determinism.py [table.csv]    bench/determinism.csv if nothing is said; smoke profile, about 40 minutes

Undisturbed runs of the smoke profile in clones of the committed project. Again: every table, figure (PNG, SVG, PDF) and
dvc.lock must have the same bytes. One thread, and without the largest instructions (torch, oneDNN and NumPy are told to
do without AVX-512, or without AVX2 where the processor has no AVX-512): as `report.compare` says, of the numbers of
tables that are not the same bytes, `beyond` differ by more than is tolerated (.01, 2 %), by `largest` times at most. 20
seeds, of teacher, labels and students: `sd_over_half_interval` is the median over the aligned students' measures of
the standard deviation over seeds, over half of the 95 % interval of one run. Its students take two steps.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from smoke import ROOT, clone, different, made, run

from alignet.report import compare, provenance

WAYS = {"again": {}, "one thread": {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}}
INSTRUCTIONS = {
    "without AVX-512": ("avx2", "AVX2", ("X86_V4", "AVX512")),
    "without AVX2": ("default", "SSE41", ("X86_V3",)),
}  # the set that torch and oneDNN may use, and how NumPy's names of what it may not use begin
SEEDS = range(1, 20)


def fewer() -> dict[str, dict[str, str]]:
    """The way that leaves out this processor's largest instructions."""
    name = "without AVX-512" if "AVX-512" in provenance.processor() else "without AVX2"
    torch, dnn, numpy = INSTRUCTIONS[name]
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    left_out = " ".join(feature for feature in found if feature.startswith(numpy))
    return {name: {"ATEN_CPU_CAPABILITY": torch, "ONEDNN_MAX_CPU_ISA": dnn, "NPY_DISABLE_CPU_FEATURES": left_out}}


def compared(folder: Path, other: Path) -> dict[str, object]:
    found = compare.tables(other / "reports", folder / "reports")
    worst, differ = found.loc[found["largest"].idxmax()], different(folder, other)
    row = {"files": len(made(folder)), "files_that_differ": len(differ), "tables": len(found)}
    row |= {f"tables_{kind}": int((found["verdict"] == kind).sum()) for kind in ("same", "within", "beyond")}
    row |= {"numbers": int(found["numbers"].sum()), "beyond": int(found["beyond"].sum())}
    return row | {"largest": worst["largest"], "where": f"{worst['table']}, {worst['where']}" if worst["where"] else ""}


def spread(folder: Path) -> dict[str, object]:
    run(folder, "alignet.reruns.replicate", "--seeds", *map(str, SEEDS))
    table = pd.read_csv(folder / "reports" / "tables" / "seeds.csv")
    table = table[(table["target"] == "alignet") & table["ci_low"].notna()]
    half = (table["ci_high"] - table["ci_low"]) / 2
    ratio = (table["sd"] / half)[half > 0]
    row = {"measures": len(ratio), "sd_over_half_interval": ratio.median()}
    return row | {"lowest": ratio.min(), "highest": ratio.max()}


def main(out: Path) -> int:
    folder = Path(tempfile.mkdtemp())
    try:
        first = clone(folder / "first")
        run(first, "alignet.pipeline.repro")
        rows = []
        for name, changes in (WAYS | fewer()).items():
            other = clone(folder / name.replace(" ", "_"))
            run(other, "alignet.pipeline.repro", **changes)
            rows.append({"run": name} | compared(first, other))
            print(rows[-1], flush=True)
        rows.append({"run": f"{len(SEEDS) + 1} seeds"} | spread(first))
        print(rows[-1], flush=True)
        pd.DataFrame(rows).assign(processor=provenance.processor()).to_csv(out, index=False, float_format="%.3g")
        return int(rows[0]["files_that_differ"] > 0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "bench" / "determinism.csv"))
