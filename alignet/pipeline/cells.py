"""The stage `cells`: the text of the stages' notebooks, without what running and saving a notebook adds.

python -m alignet.pipeline.cells writes data/cells/<name>.py for each numbered notebook except 00_by_hand, which belongs
to no stage: the cells in order with their kinds and tags, without outputs, counters and metadata. Stages depend on
these texts and not on the notebooks themselves, which JupyterLab rewrites even when one is only opened.
"""

import argparse
import json
import shutil
import sys
from typing import Any

from alignet import config


def text(notebook: dict[str, Any]) -> str:
    """The cells of a notebook (nbformat 4), each below '# %% [kind] tags'; cells without a source are left out."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"]).strip("\n")
        if source.strip():
            tags = " ".join(sorted(cell["metadata"].get("tags", [])))
            parts.append(f"# %% [{cell['cell_type']}] {tags}".rstrip() + f"\n{source}\n")
    return "\n".join(parts)


def main(arguments: list[str] | None = None) -> int:
    argparse.ArgumentParser(prog="python -m alignet.pipeline.cells", description=__doc__.split("\n\n")[0]).parse_args(
        arguments
    )
    folder = config.folders(".")[0] / "cells"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    numbered = sorted((config.home() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    for path in (path for path in numbered if not path.name.startswith("00_")):
        try:
            said = text(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            name = path.relative_to(config.home())
            print(f"{name}: not a notebook ({error}); 'git checkout {name}' restores it", file=sys.stderr)
            return 1
        (folder / f"{path.stem}.py").write_text(said, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
