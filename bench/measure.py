"""How two ways to do the same are measured: time and memory, in turns, with a check that both give the same result."""

import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

STATUS = Path("/proc/self/status")
KINDS = {"limit": "what the processor can do", "naive": "straightforward code", "package": "public packages"}


@dataclass(frozen=True)
class Way:
    """run: () -> result, or Timed where the way keeps its own time; work: how much of the task one call does, in a unit
    that both ways share (1 and 1 where they do the same)."""

    label: str
    run: Callable[[], Any]
    work: float = 1


@dataclass(frozen=True)
class Timed:
    """A result with the seconds and, unless they are to be measured from outside, the gigabytes that it took."""

    result: Any
    seconds: float
    gb: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A task done in two ways.

    kind: what the other way is (KINDS); agree: both results -> how far they agree, in words; it raises AssertionError
    where they should agree and do not.
    """

    task: str
    kind: Literal["limit", "naive", "package"]
    ours: Way
    other: Way
    agree: Callable[[Any, Any], str] | None = None
    turns: int = 5
    note: str = ""


def measured(comparison: Comparison) -> dict[str, Any]:
    """A row of bench.csv: each way once untimed, then in turns A B, B A, A B, ...

    ratio, low, high: median, least and largest over turns of the other way's time for our way's work over our time;
    ours_s, other_s: median seconds, both for our way's work; ours_gb, other_gb: largest memory of any call.
    """
    ways = comparison.ours, comparison.other
    first = [once(way) for way in ways]
    agreement = comparison.agree(*(found.result for found in first)) if comparison.agree else ""
    gb, seconds = [found.gb for found in first], np.empty((2, comparison.turns))
    del first
    for turn in range(comparison.turns):
        for place in (0, 1) if turn % 2 == 0 else (1, 0):
            found = once(ways[place])
            seconds[place, turn] = found.seconds * ways[0].work / ways[place].work
            gb[place] = max(gb[place], found.gb)
    ratios = seconds[1] / seconds[0]
    share = ways[1].work / ways[0].work
    less = f"the other way did {share:.3g} of the work" if share < 0.995 else ""
    row = {"task": comparison.task, "kind": comparison.kind, "ours": ways[0].label, "other": ways[1].label}
    row |= {"ratio": np.median(ratios), "low": ratios.min(), "high": ratios.max(), "turns": comparison.turns}
    row |= dict(zip(("ours_s", "other_s"), np.median(seconds, axis=1), strict=True))
    row |= dict(zip(("ours_gb", "other_gb"), gb, strict=True))
    return row | {"agreement": agreement, "note": "; ".join(part for part in (comparison.note, less) if part)}


def once(way: Way) -> Timed:
    """One call of a way; what it freed goes back to the system first, or it would not count as memory of the next."""
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
    with Measure() as taken:
        found = way.run()
    if not isinstance(found, Timed):
        return Timed(found, taken.seconds, taken.peak / 1e9)
    return found if found.gb is not None else Timed(found.result, found.seconds, taken.peak / 1e9)


def alike(tolerance: float) -> Callable[[Any, Any], str]:
    """Two arrays agree if no difference is above `tolerance` times the largest absolute value of the other way's."""

    def agree(ours: Any, other: Any) -> str:
        ours, other = np.asarray(ours, np.float64), np.asarray(other, np.float64)
        assert ours.shape == other.shape, f"shapes {ours.shape} and {other.shape}"
        difference = float(np.abs(ours - other).max() / np.abs(other).max())
        assert difference <= tolerance, f"relative difference {difference:.2g}, above {tolerance:g}"
        return f"relative difference {difference:.1g}"

    return agree


class Measure:
    """`with Measure() as m: ...` -> m.seconds; m.peak: bytes above the start that no file backs (each 10 ms)."""

    def __enter__(self) -> "Measure":
        self.start, self._done = anonymous_bytes(), threading.Event()
        self.peak = 0 * self.start  # NaN stays NaN
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


def anonymous_bytes() -> float:
    """Memory of this process that no file backs: pages of a mapped embedding do not count. NaN if it is not Linux's."""
    if not STATUS.is_file():
        return float("nan")
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
