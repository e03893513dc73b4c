"""How far do findings move with the processor, its instructions and the number of threads?

python bench/processors.py NAME=REPORTS [NAME=REPORTS ...]    writes bench/processors.csv

Finished runs of the same params and seed, made in different ways, for instance with OMP_NUM_THREADS=1, or without
AVX-512 (ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL"). A row for each
finding of the published run of these params (`report.reproduced`): its mean and standard deviation over seeds, where
one run is expected, and the difference in each run. The printed lines are each run's verdict, and the standard
deviation between the runs over that between seeds.
"""

import sys
from pathlib import Path

import pandas as pd

from alignet import config
from alignet.report import compare, reproduced

OUT = config.home() / "bench" / "processors.csv"
KEPT = ["mean", "sd_seeds", "run_low", "run_high", "clear"]


def collected(runs: dict[str, Path], published: Path) -> pd.DataFrame:
    """Findings of the published run (rows), with the difference of each run under its name."""
    findings = reproduced.published(published / "tables")
    table = findings.set_index(reproduced.KEY)[KEPT]
    for name, reports in runs.items():
        found = reproduced.compared(findings, reproduced.scores(reports / "tables"))
        print(f"{name}: {reproduced.verdict(found)[0]}")
        table[name] = found.set_index(reproduced.KEY)["here"]
    return table


def main(arguments: list[str]) -> int:
    runs = {name: Path(place) for name, _, place in (each.partition("=") for each in arguments)}
    params = config.values(config.PARAMS)
    published = compare.reference(config.home() / "reports", params)
    if len(runs) < 2 or published is None:
        print("name two runs or more of params that have a published run: NAME=REPORTS", file=sys.stderr)
        return 1
    table = collected(runs, published)
    ratio = (table[[*runs]].std(axis=1) / table["sd_seeds"])[table["sd_seeds"] > 0]
    print(f"deviation between runs over that between seeds: median {ratio.median():.2f}, largest {ratio.max():.2f}")
    table.reset_index().to_csv(OUT, index=False, float_format="%.4g")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
