"""The figures of a run, saved one beside the other while the next ones are drawn."""

import os
import sys
import traceback
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from alignet.figures import style

FORKS = sys.platform == "linux"  # elsewhere a process with threads or windows must not be forked


class Album:
    """Saves figures in a folder, as `style.save` does, which takes four times as long as drawing them.

    On Linux each figure is saved by a forked process, as many at a time as there are processors; elsewhere, or on a
    single processor, by this one.
    """

    def __init__(self, folder: Path, processes: int | None = None) -> None:
        self.folder = folder
        self.most = (len(os.sched_getaffinity(0)) if processes is None else processes) if FORKS else 1
        self.saving: dict[int, str] = {}  # process -> figure

    def save(self, figure: Figure, name: str, table: pd.DataFrame | None = None) -> None:
        """PNG, PDF and SVG of a figure, and the plotted table as CSV, under one name.

        Raises: RuntimeError naming a figure that was not saved, this one or one before.
        """
        if self.most == 1:
            return style.save(figure, self.folder / name, table)
        while len(self.saving) >= self.most:
            self._wait(next(iter(self.saving)))
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            self._save_and_end(figure, name, table)
        self.saving[process] = name
        return None

    def close(self) -> None:
        """Wait until all figures are saved. Raises: RuntimeError naming one that was not."""
        while self.saving:
            self._wait(next(iter(self.saving)))

    def _save_and_end(self, figure: Figure, name: str, table: pd.DataFrame | None) -> None:
        """The forked process: nothing of what this process would do at its end may happen twice."""
        code = 1
        try:
            style.save(figure, self.folder / name, table)
            code = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)

    def _wait(self, process: int) -> None:
        _, status = os.waitpid(process, 0)
        name = self.saving.pop(process)
        if status:
            raise RuntimeError(f"figure {name} was not saved: the error stands above")
