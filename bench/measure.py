"""Wall time and peak memory of a block, for the benches."""

import threading
import time
from pathlib import Path


def anonymous_bytes() -> int:
    """Memory of this process that no file backs: pages of a mapped embedding do not count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


class Measure:
    """`with Measure() as m: ...` -> m.seconds; m.peak: bytes above the start that no file backs (each 10 ms)."""

    def __enter__(self) -> "Measure":
        self.start, self.peak, self._done = anonymous_bytes(), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._clock = time.perf_counter()
        return self

    def __exit__(self, *_error) -> None:
        self.seconds = time.perf_counter() - self._clock
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.peak = max(self.peak, anonymous_bytes() - self.start)
