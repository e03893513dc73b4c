"""Ways that need other packages than alignet: each is a script that runs in an environment of its own, .venv/bench.

The script loads, then works once for every line that it reads, and answers with seconds and memory. Arrays go through
.npy files.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.measure import Timed, Way, once

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv" / "bench" / "bin" / "python"


class Elsewhere:
    """Calls a script `python -m MODULE RESULT.npy ARGUMENTS...` in .venv/bench; it starts with the first call.

    Raises: RuntimeError with the script's last line of error, or where the environment is missing.
    """

    def __init__(self, module: str, *arguments: object):
        self.module, self.arguments, self.process = module, arguments, None

    def __call__(self) -> Timed:
        if self.process is None:
            self._start()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("again\n")
            self.process.stdin.flush()
        answer = next((line for line in self.process.stdout if line.startswith("{")), "")  # packages print, too
        if not answer:
            self.errors.seek(0)
            raise RuntimeError(f"{self.module}: {(self.errors.read().splitlines() or ['no word'])[-1]}")
        return Timed(np.load(self.result), **json.loads(answer))

    def _start(self) -> None:
        if not PYTHON.is_file():
            raise RuntimeError("no environment .venv/bench: `make bench` sets it up")
        self.folder = tempfile.TemporaryDirectory()
        self.errors = (Path(self.folder.name) / "errors.txt").open("w+")
        self.result = Path(self.folder.name) / "result.npy"
        command = [PYTHON, "-W", "ignore", "-m", self.module, self.result, *self.arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen([str(part) for part in command], cwd=ROOT, text=True, **pipes)


def serve(way: Callable[[], np.ndarray], result: Path) -> None:
    """The script's side: one call of `way` for every line of the input."""
    for _ in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            found = once(Way("", way))
        np.save(result, found.result)
        print(json.dumps({"seconds": found.seconds, "gb": found.gb}), flush=True)
