"""Run a notebook as a stage.

python -m alignet.pipeline.notebook notebooks/X.ipynb reports/notebooks/X.ipynb [-p name value ...]
"""

import argparse
import atexit
import logging
import os
import re
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, cast

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for Ctrl-C during the imports

import psutil
import yaml

if "rfc3987_syntax" not in sys.modules:  # None forbids its import; jsonschema would compile its grammar: 3 s a start
    cast(dict[str, ModuleType | None], sys.modules)["rfc3987_syntax"] = None

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner
from nbclient.exceptions import DeadKernelError
from nbformat.reader import NotJSONError
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from alignet.pipeline import kernels

PATIENCE = 600  # seconds for a kernel to start, or to send what a cell has left: a busy machine takes its time
STYLE = re.compile(r"<style scoped>.*?</style>\n?", re.DOTALL)  # of pandas' tables: a forge shows it as text
BACK = "git checkout HEAD -- params.yaml && dvc checkout"  # from an experiment that did not end


class Provisioner(LocalProvisioner):
    """Takes a kernel from the server of `pipeline.repro` if there is one, or starts one in the usual way."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> KernelConnectionInfo:
        self.process = kernels.forked(cmd, options["env"], options.get("cwd") or os.getcwd())
        if self.process is None:
            return await super().launch_kernel(cmd, **options)
        self.pid = self.pgid = self.process.pid
        self.cwd = options.get("cwd")
        return self.connection_info


class StageKernel(AsyncKernelManager):
    """The kernel of a stage. Its messages are encrypted, and it is asked to end without an interruption first."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        atexit.register(self.cleanup_connection_file)  # in case a signal ends the runner while the kernel starts

    @default("transport_encryption")
    def _encrypted_where_possible(self) -> str:
        return "auto"

    async def _async_pre_start_kernel(self, **options: Any) -> tuple[list[str], dict[str, Any]]:
        self.kernel_id = self.kernel_id or str(uuid.uuid4())
        self.provisioner = Provisioner(kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self)
        return await super()._async_pre_start_kernel(**options)

    # AsyncKernelManager overrides KernelManager in the same way: what it returns is awaited.
    async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:  # type: ignore[override]
        await self.request_shutdown(restart=restart)
        await self.finish_shutdown(restart=restart)
        await self.cleanup_resources(restart=restart)


def run(notebook: Path, executed: Path, parameters: dict[str, Any]) -> None:
    """Execute a notebook with parameters and save it, with its outputs but without timings, at `executed`.

    A cell's printed lines appear at once, and its results when it ends.
    Raises: PapermillExecutionError with the failing cell's traceback; DeadKernelError if the kernel was killed.
    """
    executed.parent.mkdir(parents=True, exist_ok=True)
    for name, value in kernels.MEMORY.items():
        os.environ.setdefault(name, value)  # the kernel inherits it
    try:
        papermill.execute_notebook(
            notebook,
            executed,
            parameters,
            kernel_name="python3",
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            kernel_manager_class=StageKernel,
            on_cell_executed=show_results,
            start_timeout=PATIENCE,
            iopub_timeout=PATIENCE,
        )
    except (PapermillExecutionError, DeadKernelError):
        clean(executed)
        raise
    clean(executed)


def show_results(cell: nbformat.NotebookNode, cell_index: int, execute_reply: dict[str, Any]) -> None:
    """Print a cell's results if they are text; pictures, pages and code appear in the executed notebook only."""
    for output in cell.outputs:
        data = output.get("data", {})
        text = data.get("text/markdown") or data.get("text/plain", "")
        if text and not re.fullmatch(r"\[?<.*>\]?|```.*", text, re.DOTALL):
            print(text, flush=True)


def clean(path: Path) -> None:
    """Remove what differs from run to run from an executed notebook, and the styles of tables.

    Papermill's records and id, timings and progress bars differ.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = "injected"  # papermill draws one
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for data in (output["data"] for output in cell.outputs if "text/html" in output.get("data", {})):
                data["text/html"] = STYLE.sub("", data["text/html"])
    nbformat.write(notebook, path)


def calls(traceback: list[str]) -> list[str]:
    """The calls that led to an error, each as 'place: code', without those inside installed packages except for the
    last one.

    If the traceback names no call, as for a cell that cannot be parsed, its lines are returned unchanged.
    """
    lines = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(traceback)).splitlines()
    stack: list[tuple[str, str]] = []  # place and code of each call
    for line in lines:
        if place := re.match(r"File (.+?:\d+)|(Cell In\[\d+\], line \d+)", line):
            stack.append(((place[1] or place[2]).removeprefix(f"{Path.cwd()}{os.sep}"), ""))
        elif stack and (code := re.match(r"-+> \d+ +(.*)", line)):
            stack[-1] = (stack[-1][0], code[1])
    shown = [call for call in stack[:-1] if "site-packages" not in call[0]] + stack[-1:]
    return [f"{place}: {code}" for place, code in shown] or lines


@contextmanager
def ended_by_signals(notebook: Path) -> Iterator[None]:
    """Let Ctrl-C, inside the `with` block, print one line and, like SIGTERM, end the kernel and all that it has
    started.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for process in kernels.started():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if number == signal.SIGINT:
            stage = os.environ.get("DVC_STAGE")
            place = f"stage {stage}: {after_stop()}" if stage else str(notebook)
            print(f"\nstopped in {place}", file=sys.stderr)
        sys.exit(128 + number)

    former = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def after_stop() -> str:
    """Advice, in words, after a stage was stopped.

    An experiment of dvc leaves its params.yaml, perhaps staged in git, and has removed the outputs of its stages.
    """
    if "DVC_EXP_BASELINE_REV" not in os.environ:
        return "'dvc repro' resumes from there"
    return f"params.yaml still is the experiment's: '{BACK}' restores it, 'dvc repro' resumes from there"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alignet run", description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("executed", type=Path)
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    try:
        parameters = {name: yaml.safe_load(value) for name, value in options.parameters}
    except yaml.YAMLError as error:
        parser.error(f"-p: {' '.join(str(error).split())}")
    try:
        with ended_by_signals(options.notebook):
            run(options.notebook, options.executed, parameters)
    except PapermillExecutionError as error:
        for call in calls(error.traceback):
            print(f"  {call}", file=sys.stderr)
        print(f"{options.notebook}, cell {error.exec_count}: {error.ename}: {error.evalue}", file=sys.stderr)
        print(f"The whole traceback is in {options.executed}.", file=sys.stderr)
        if "DVC_EXP_BASELINE_REV" in os.environ:
            print(after_stop(), file=sys.stderr)
        return 1
    except DeadKernelError:
        print(f"{options.notebook}: its kernel was killed, perhaps because memory ran out", file=sys.stderr)
        return 1
    except OSError as error:  # of the executed notebook, as on a full disk; those of a cell are the cell's
        print(f"{options.notebook}: {error}", file=sys.stderr)
        return 1
    except NotJSONError:
        print(f"{options.notebook}: is no notebook", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
