"""The figures of a run, which are saved in parallel while the next ones are drawn."""

import os
import sys
import traceback
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from alignet.figures import style

FORKS = sys.platform == "linux"  # elsewhere a process with threads or windows must not be forked


class Album:
    """A folder into which figures are saved by `style.save`, which takes four times as long as drawing them.

    On Linux each figure is saved by a forked process, with as many processes at a time as there are processors. On
    other systems, and on a single processor, this process saves the figures.
    """

    def __init__(self, folder: Path, processes: int | None = None) -> None:
        self.folder = folder
        self.most = (len(os.sched_getaffinity(0)) if processes is None else processes) if FORKS else 1
        self.saving: dict[int, str] = {}  # process -> figure

    def save(self, figure: Figure, name: str, table: pd.DataFrame | None = None) -> None:
        """Save a figure as PNG, PDF and SVG, and the plotted table as CSV, under one name.

        Raises: RuntimeError naming a figure that could not be saved, this one or an earlier one.
        """
        if self.most == 1:
            return style.save(figure, self.folder / name, table)
        for process in [process for process, saving in self.saving.items() if saving == name]:
            self._wait(process)  # a cell that is run again must not write the same files at the same time
        while len(self.saving) >= self.most:
            self._wait(next(iter(self.saving)))
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            self._save_and_end(figure, name, table)
        self.saving[process] = name
        return None

    def close(self) -> None:
        """Wait until all figures are saved. Raises: RuntimeError naming a figure that could not be saved."""
        while self.saving:
            self._wait(next(iter(self.saving)))

    def _save_and_end(self, figure: Figure, name: str, table: pd.DataFrame | None) -> None:
        """Save a figure in the forked process and end it, without the actions that the parent process takes at its own
        end.
        """
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
