"""A drawing of the way from people's choices to an aligned model, with one stage marked."""

from pathlib import Path

from IPython.display import SVG

FILE = Path(__file__).with_name("way.svg")
FILL = "#cfe5f3"


def drawn(stage: str = "") -> str:
    """The drawing as SVG. Args: stage: the number of the notebook whose box is filled ('07' to '12' share one).

    Raises: ValueError if no box has that number.
    """
    text = FILE.read_text(encoding="utf-8")
    if not stage:
        return text
    box = f'id="box-{stage if stage < "07" else "07"}"'
    if box not in text:
        raise ValueError(f"{FILE.name} has no box for notebook {stage!r}")
    return text.replace(box, f'{box} fill="{FILL}" stroke-width="2.5"')


def mark(stage: str) -> SVG:
    """The drawing as a cell shows it."""
    return SVG(drawn(stage))
