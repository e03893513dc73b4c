"""The explorer: three tabs over a `Scene`."""

import html
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
import torch
import traitlets

from alignet import config, results
from alignet.collect.widget import data_url
from alignet.explore.scene import Scene
from alignet.figures import style
from alignet.worlds.format.schema import LEVELS
from alignet.worlds.format.tables import WorldError

NAMES = {**results.NAMES, "people": "People"}
PEOPLE = {"human": "People", "simulated": "SIMULATED people", "derived": "People (DERIVED choices)"}
ANY = "any pictures"
PICKER, LABEL = 240, 70  # pixels, so that three stand beside each other in a notebook, and of their label
BAR = 90  # pixels of a probability of 1
CAPTION = "font-size:11px;text-align:center;vertical-align:top;line-height:1.2;overflow-wrap:anywhere"
SHOWN = 24  # pictures of a label that are shown
BUTTONS = 40  # values of a label that have a button; the others are found by a part of their names
OPTIONS = 200  # pictures that a list names; likewise


class Explorer(widgets.VBox):
    """Choose three pictures or drop own files; nearest neighbours; the tree of labels."""

    def __init__(self, params_file: str = config.PARAMS, out_dir: str = "."):
        self.params_file, self.out_dir = params_file, out_dir
        self.student = widgets.Dropdown(options=config.names("students", params_file), description="student")
        self.student.observe(lambda change: self._load(), "value")
        self.tabs = widgets.Tab()
        super().__init__([self.student, self.tabs])
        self._load()

    def _load(self) -> None:
        self.scene = Scene(self.student.value, self.params_file, self.out_dir)
        self.choices, self.neighbours, self.tree = Choices(self.scene), Neighbours(self.scene), Tree(self.scene)
        self.tabs.children = (self.choices, self.neighbours, self.tree)
        self.tabs.titles = ("Odd one out", "Neighbours", "Hierarchy")


class Picker(widgets.VBox):
    """One of many pictures: a list of OPTIONS at most, which part of a name narrows down. `value` is its number."""

    value = traitlets.Int(0)

    def __init__(self, names: list[str], description: str):
        self.names, self.filling = names, False
        self.find = widgets.Text(
            description=description,
            placeholder="part of a name",
            continuous_update=False,
            layout={"width": f"{PICKER}px"},
            style={"description_width": f"{LABEL}px"},
        )
        indented = {"width": f"{PICKER - LABEL - 6}px", "margin": f"2px 2px 10px {LABEL + 6}px"}
        self.list = widgets.Dropdown(layout=indented)
        super().__init__([self.find, self.list])
        self.find.observe(lambda change: self._find(), "value")
        self.list.observe(lambda change: self._chosen(), "value")
        self._fill()

    def _find(self) -> None:
        """Go to the first picture whose name holds the text, if there is one."""
        matches = containing(self.names, self.find.value)
        if matches and self.value not in matches:
            self.value = matches[0]
        self._fill()

    def _chosen(self) -> None:
        if not self.filling:
            self.value = self.list.value

    @traitlets.observe("value")
    def _fill(self, change: Any = None) -> None:
        shown = containing(self.names, self.find.value)[:OPTIONS]
        if self.value not in shown:
            shown = [self.value, *shown[: OPTIONS - 1]]
        self.filling = True  # new options choose the first one by themselves
        self.list.options = [(f"{number}: {self.names[number]}", number) for number in shown]
        self.list.value = self.value
        self.filling = False


class Choices(widgets.VBox):
    """Three pictures, and which is the odd one out for base, control, AligNet and people."""

    def __init__(self, scene: Scene):
        self.scene, self.generator, self.busy = scene, torch.Generator().manual_seed(0), False
        first = scene.opening()
        self.slots = [Picker(scene.images["image"].tolist(), f"picture {n + 1}") for n in range(3)]
        self.kind = widgets.Dropdown(options=[ANY, *present(scene)], description="draw")
        self.kind.value = scene.level_of(first) or ANY
        self.kind.observe(lambda change: self.another(), "value")
        self.draw = widgets.Button(description="another triplet", tooltip="a triplet of this kind, at random")
        self.draw.on_click(lambda button: self.another())
        self.files = widgets.FileUpload(
            accept="image/*", multiple=True, description="own pictures (3)", layout={"width": "auto"}
        )
        self.files.observe(lambda change: self._own(), "value")
        self.shown = widgets.HTML()
        for slot in self.slots:
            slot.observe(lambda change: self._show(), "value")
        super().__init__([widgets.HBox([self.kind, self.draw, self.files]), widgets.HBox(self.slots), self.shown])
        self._set(first)

    def another(self) -> None:
        """A judged triplet of the chosen level, or three pictures at random."""
        judged = [] if self.kind.value == ANY else self.scene.triplets(self.kind.value)
        if judged:
            three = judged[int(torch.randint(len(judged), (1,), generator=self.generator))]
        else:
            three = tuple(torch.randperm(len(self.scene.images), generator=self.generator)[:3].tolist())
        self._set(three)

    def _set(self, three: tuple[int, ...]) -> None:
        self.busy = True
        for slot, picture in zip(self.slots, three, strict=True):
            slot.value = picture
        self.busy = False
        self._show()

    def _show(self) -> None:
        three = [slot.value for slot in self.slots]
        if self.busy:  # the three are being set one by one
            return
        if len(set(three)) < 3:
            self.shown.value = "<p>Choose three different pictures.</p>"
            return
        table = self.scene.choices((three[0], three[1], three[2]))
        named = [" / ".join(self.scene.images.iloc[picture][[*self.scene.world.hierarchy]]) for picture in three]
        paths, world = [self.scene.paths[picture] for picture in three], self.scene.world
        self.shown.value = choices_table(paths, named, table, PEOPLE.get(world.choices, "People"), world.judged)

    def _own(self) -> None:
        if len(self.files.value) != 3:
            self.shown.value = f"<p>Three pictures are needed, and {len(self.files.value)} were given.</p>"
            return
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for number, given in enumerate(self.files.value):
                files.append(Path(folder) / f"{number}{Path(given['name']).suffix}")
                files[-1].write_bytes(bytes(given["content"]))
            try:
                table = self.scene.choices_of(files)
                self.shown.value = choices_table(files, [given["name"] for given in self.files.value], table)
            except WorldError as error:
                self.shown.value = f"<p>{escaped(str(error).replace(folder, ''))}</p>"


class Neighbours(widgets.VBox):
    """The nearest pictures of one before and after, with the finest label that they share with it."""

    def __init__(self, scene: Scene):
        self.scene = scene
        self.picture = Picker(scene.images["image"].tolist(), "picture")
        self.picture.observe(lambda change: self._show(), "value")
        self.shown = widgets.HTML()
        super().__init__([self.picture, self.shown])
        self._show()

    def _show(self) -> None:
        chosen = self.picture.value
        rows = [f"<p>{picture_tag(self.scene.paths[chosen], 96)}</p><table>"]
        for target, found in self.scene.neighbours(chosen).items():
            cells = "".join(
                f"<td style='{CAPTION};width:86px;max-width:86px'>"
                f"{picture_tag(self.scene.paths[other], 72)}<br>{escaped(self.scene.common(chosen, other))}</td>"
                for other in found
            )
            rows.append(f"<tr><th style='text-align:left;padding-right:10px'>{NAMES[target]}</th>{cells}</tr>")
        self.shown.value = "".join(rows) + "</table><p>Below each: the finest label that it shares.</p>"


class Tree(widgets.VBox):
    """Down the hierarchy, a label at a time: the pictures, and how close they are before and after."""

    def __init__(self, scene: Scene):
        self.scene = scene
        self.chosen: dict[str, str] = {}
        self.up = widgets.Button(description="up", disabled=True)
        self.up.on_click(lambda button: self._go_up())
        self.where, self.shown, self.buttons = widgets.HTML(), widgets.HTML(), widgets.HBox()
        self.find = widgets.Text(placeholder="part of a name", continuous_update=False)
        self.find.observe(lambda change: self._show_buttons(), "value")
        self.buttons.layout.flex_flow = "row wrap"
        super().__init__([widgets.HBox([self.up, self.where]), self.find, self.buttons, self.shown])
        self._show()

    def enter(self, label: str, value: str) -> None:
        self.chosen[label] = value
        self._show()

    def _go_up(self) -> None:
        if self.chosen:
            self.chosen.popitem()
            self._show()

    def _show_buttons(self) -> None:
        """A button for each value of the next label whose name holds the text, BUTTONS at most."""
        label, values, _ = self.scene.below(self.chosen)
        names = [str(value) for value in values if label]
        made = []
        for number in containing(names, self.find.value)[:BUTTONS]:
            button = widgets.Button(description=names[number], tooltip=f"{label} {names[number]}")
            button.on_click(self._enter(str(label), values[number]))
            made.append(button)
        self.find.layout.display = None if len(names) > BUTTONS else "none"
        self.find.description = f"{len(made)} of {len(names):,}"
        self.buttons.children = tuple(made)

    def _show(self) -> None:
        _, _, pictures = self.scene.below(self.chosen)
        self.up.disabled = not self.chosen
        path = " / ".join(self.chosen.values()) or "all test pictures"
        self.where.value = f"<b>{escaped(path)}</b>, {len(pictures)} pictures"
        self.find.value = ""
        self._show_buttons()
        close = [f"{NAMES[target]} {mean:.3f}" for target, mean in self.scene.closeness(pictures).items()]
        step = max(1, len(pictures) // SHOWN)
        some = pictures[::step][:SHOWN]  # evenly spread
        tags = "".join(picture_tag(self.scene.paths[picture], 72) for picture in some)
        more = f" and {len(pictures) - len(some)} more" if len(pictures) > len(some) else ""
        self.shown.value = f"<p>Mean cosine between them: {', '.join(close)}.</p><p>{tags}{more}</p>"

    def _enter(self, label: str, value: str) -> Callable[[widgets.Button], None]:
        return lambda button: self.enter(label, value)


def containing(names: list[str], text: str) -> list[int]:
    """Numbers of the names that hold a text, whatever its case; of all where it is empty."""
    return [number for number, name in enumerate(names) if text.lower() in name.lower()]


def present(scene: Scene) -> list[str]:
    """The levels that people judged triplets of."""
    return [level for level in LEVELS if scene.triplets(level)] if scene.judged else []


def choices_table(
    paths: list[Path], names: list[str], table: pd.DataFrame, people: str = "People", judged: str = ""
) -> str:
    """HTML: pictures above, below each a bar for the probability that it is the odd one out, a row a model.

    Args: people: whose choices the row 'people' holds; judged: what they were shown, '' if these pictures.
    """
    head = "".join(
        f"<td style='{CAPTION};max-width:150px'>{picture_tag(path, 140)}<br>{escaped(name)}</td>"
        for path, name in zip(paths, names, strict=True)
    )
    rows = []
    for target, row in table.iterrows():
        values = [float(row[place]) for place in range(3)]
        who = f"{people}, n = {int(row['n'])}" if str(target) == "people" else NAMES[str(target)]
        cells = "".join(bar(value, value == max(values), style.COLOURS.get(str(target), "#333")) for value in values)
        rows.append(f"<tr><th style='text-align:left;padding-right:10px'>{who}</th>{cells}</tr>")
    note = "Bars: the probability that a picture is the odd one out."
    if "people" in table.index:
        note += f" {people}: the share who chose it{f'; they were shown {escaped(judged)}' if judged else ''}."
    return f"<table><tr><td></td>{head}</tr>{''.join(rows)}</table><p>{note}</p>"


def bar(value: float, most: bool, colour: str) -> str:
    weight = "bold" if most else "normal"
    drawn = f"<span style='display:inline-block;height:10px;width:{value * BAR:.0f}px;background:{colour}'></span>"
    return f"<td style='padding:2px 10px;font-weight:{weight}'>{drawn} {value:.2f}</td>"


def picture_tag(path: Path, side: int) -> str:
    within = f"max-width:{side}px;max-height:{side}px"
    return f"<img src='{data_url(path, 2 * side)}' alt='{escaped(path.stem)}' style='{within}'>"


def escaped(text: str) -> str:
    return html.escape(text, quote=True)
