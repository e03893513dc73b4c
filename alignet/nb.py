"""Run a notebook as a stage: python -m alignet.nb notebooks/X.ipynb reports/notebooks/X.ipynb [-p name value ...]"""

import argparse
import logging
import sys
from pathlib import Path

import nbformat
import papermill
import yaml
from papermill.exceptions import PapermillExecutionError


def run(notebook: Path, executed: Path, parameters: dict) -> None:
    """Execute a notebook with parameters and save it, its outputs but no timings, at `executed`.

    What the cells print appears as it is printed. Raises: PapermillExecutionError with the failing cell's traceback.
    """
    executed.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            notebook, executed, parameters, kernel_name="python3", log_output=True, progress_bar=False
        )
    finally:
        if executed.is_file():
            clean(executed)


def clean(path: Path) -> None:
    """Drop from an executed notebook what differs from run to run: papermill's records, timings, progress bars."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(notebook, path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m alignet.nb", description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("executed", type=Path)
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("papermill").setLevel(logging.INFO)
    try:
        run(options.notebook, options.executed, {name: yaml.safe_load(value) for name, value in options.parameters})
    except PapermillExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
