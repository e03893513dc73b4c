"""The default run, stage by stage: kernel start and imports included, in a clone of its own.

python bench/pipeline.py [FOLDER]    writes bench/pipeline.csv: each stage, all of `make repro`, one where nothing has
                                     changed; FOLDER, which must not exist yet, keeps the clone
"""

import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^  (\S+) +([0-9.]+) s$")


def repro(clone: Path) -> str:
    command = [sys.executable, "-m", "alignet.pipeline.repro"]
    done = subprocess.run(command, cwd=clone, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def main() -> None:
    capable = torch.cpu.get_capabilities()
    name = capable.get("cpu_name") or platform.processor()
    units = "with" if capable.get("avx512_bf16") or capable.get("amx_bf16") else "without"
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(sys.argv[1]) if sys.argv[1:] else Path(folder) / "alignet"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        found = [LINE.match(line) for line in repro(clone).splitlines()]
        rows = [{"stage": match[1], "seconds": float(match[2])} for match in found if match]
        (again,) = re.findall(r"up to date \(([0-9.]+) s\)", repro(clone))
    rows.append({"stage": "nothing to do", "seconds": float(again)})
    table = pd.DataFrame(rows).assign(processor=f"{name}, {torch.get_num_threads()} cores, {units} bf16 units")
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
