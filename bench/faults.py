"""`make repro` killed (SIGKILL to every process that it started) at a random moment of every stage, and gone on with.

python bench/faults.py [table.csv]     bench/faults.csv if nothing is said; the smoke profile, about 12 minutes

In two clones of the committed project the smoke profile runs: once undisturbed, once killed in each stage after a
random share of the time that this stage took undisturbed, and started again. At the end the tables, figures and hashes
of dvc.lock must be those of the undisturbed run, and no process may be left.
"""

import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
from smoke import ROOT, clone, different, environment, left, made

STAGE = re.compile(r"^\[ *\d+/\d+\] (\S+)$")
SHORT = 1.0  # seconds: stages without a kernel are killed within it


def followed(folder: Path, delays: dict[str, float], killed: dict[str, float]) -> tuple[int | None, dict[str, float]]:
    """Run `make repro`'s program; kill it and all that it started `delays[stage]` seconds into the first stage that was
    not killed yet.

    Returns: its exit code, None if it was killed; when each stage began.
    """
    log = (folder.parent / f"{folder.name}.log").open("a")
    child = subprocess.Popen(
        [sys.executable, "-m", "alignet.pipeline.repro"],
        cwd=folder,
        env=environment(folder, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    begun: dict[str, float] = {}
    for line in child.stdout:
        found = STAGE.match(line.strip())
        if found:
            begun[found[1]] = time.monotonic()
            if found[1] in delays and found[1] not in killed:
                time.sleep(delays[found[1]])
                family = [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]
                for process in family:
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(signal.SIGKILL)
                killed[found[1]] = delays[found[1]]
                child.wait()
                return None, begun
    return child.wait(), begun


def main(out: Path) -> int:
    folder = Path(tempfile.mkdtemp())
    try:
        calm, hurt = clone(folder / "calm"), clone(folder / "hurt")
        start = time.monotonic()
        code, begun = followed(calm, {}, {})
        if code:
            print(f"the undisturbed run failed: {(folder / 'calm.log').read_text()[-500:]}", file=sys.stderr)
            return 1
        ends = [*begun.values(), time.monotonic()][1:]
        times = {stage: end - at for (stage, at), end in zip(begun.items(), ends, strict=True)}
        print(f"undisturbed: {len(times)} stages, {time.monotonic() - start:.0f} s", flush=True)
        generator = random.Random(0)
        delays = {stage: generator.uniform(0.05, 0.95) * max(taken, SHORT) for stage, taken in times.items()}
        killed: dict[str, float] = {}
        rows, code = [], None
        while code is None:
            before = set(killed)
            code, _ = followed(hurt, delays, killed)
            time.sleep(1)
            for stage in set(killed) - before:
                rows.append({"stage": stage, "killed_after_s": delays[stage], "left_running": len(left(hurt))})
                print(f"killed in {stage} after {delays[stage]:.1f} s", flush=True)
        if code:
            print(f"gone on after {[*killed]} it ended with {code}: {(folder / 'hurt.log').read_text()[-2000:]}")
            return 1
        files, differ = made(calm), different(calm, hurt)
        table = pd.DataFrame(rows).assign(exit_code_at_the_end=code, files=len(files), files_that_differ=len(differ))
        table.to_csv(out, index=False, float_format="%.3g")
        print(f"{len(rows)} kills, then exit code {code}; {len(files)} files, {len(differ)} differ: {differ[:5]}")
        return int(bool(differ) or bool(table["left_running"].sum()))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "bench" / "faults.csv"))
