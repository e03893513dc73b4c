"""A widget for the experiment, which shows a session's open trial and stores the answers."""

import base64
import io
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from alignet.collect.session import Session
from alignet.worlds.format import pictures
from alignet.worlds.format.tables import World

HERE = Path(__file__).parent
SIDE = 440  # pixels of the longer side: twice what is shown, for dense screens


class Experiment(anywidget.AnyWidget):
    """A widget with three pictures, or two and a scale, for mouse and keys. The browser measures response times."""

    _esm = HERE / "widget.js"
    _css = HERE / "widget.css"
    trial = traitlets.Dict().tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)
    undone = traitlets.Int(0).tag(sync=True)

    def __init__(self, session: Session, world: World):
        self.session = session
        self.paths = dict(zip(world.images["image"], world.paths(), strict=True))
        super().__init__(trial=self._shown())

    @traitlets.observe("answer")
    def _answered(self, change: Any) -> None:
        given = change["new"]
        if given:
            self.session.answer(int(given["trial"]), int(given["chosen"]), float(given["rt"]))
            self.trial = self._shown()

    @traitlets.observe("undone")
    def _undone(self, change: Any) -> None:
        if change["new"] > change["old"]:
            self.session.undo()
            self.trial = self._shown()

    def _shown(self) -> dict[str, Any]:
        trial = self.session.trial()
        state = {"kind": self.session.kind, "done": self.session.done, "total": self.session.total}
        if trial is None:
            return state | {"trial": self.session.done, "images": None, "practice": False}
        images = [data_url(self.paths[image]) for image in trial["images"]]
        return state | {"trial": trial["trial"], "images": images, "practice": trial["practice"]}


def data_url(path: Path, side: int = SIDE) -> str:
    """A picture as the browser shows it, upright and no larger than `side` pixels, inside a URL."""
    written = io.BytesIO()
    pictures.shown(path, side).save(written, "PNG")
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
