"""The paper's world: THINGS (people's choices), ImageNet-1k (synthesis) and Levels (test), where they lie on disk.

Nothing is copied: images.parquet refers to the pictures by two roots, `things` and `imagenet`.
"""

import os
from pathlib import Path
from typing import Any

import pandas as pd

from alignet.config import ImageNet, home
from alignet.worlds.format import tables
from alignet.worlds.format.tables import WorldError
from alignet.worlds.paper import levels_pickle, things_full

ENDINGS = (".jpeg", ".jpg", ".png")
REGISTER = "register at image-net.org/download-images, unpack ILSVRC2012 into train/<WordNet id>/ and val/<WordNet id>/"
GET_WORDNET = "no WordNet here, so labels are concepts only; python -m nltk.downloader wordnet brings its hierarchy"
SECONDS = {"seconds": 1.0, "milliseconds": 0.001}
SOURCES = [
    {"name": "THINGS concepts, pictures and odd-one-out choices", "url": "https://things-initiative.org"},
    {"name": "ImageNet-1k (ILSVRC2012)", "licence": "ImageNet terms of access", "url": "https://image-net.org"},
    {"name": "Levels", "url": "https://gin.g-node.org/fborn/Dataset_Levels"},
]


def make(settings: ImageNet, out: Path) -> tables.World:
    """Read the public files into a world at `out`, the choices block by block.

    Split human holds the objects of THINGS; without THINGS the world has no choices. Split test holds the pictures of
    Levels and, if the settings say so, ImageNet's validation pictures. Split synthesis holds ImageNet's training
    pictures except those of Levels.
    Raises: WorldError with the problems of the files found; `out` is then left untouched.
    """
    if settings.things is None and settings.levels is not None:
        raise WorldError("params: imagenet.levels: needs imagenet.things, whose choices are fitted to; or null")
    roots = {"imagenet": home() / settings.imagenet}
    found, judged, unanswered = _imagenet(roots["imagenet"], settings.validation_pictures), None, 0
    if settings.levels is not None:
        unit = SECONDS[settings.levels_rt_unit]
        judged, unanswered = levels_pickle.read(home() / settings.levels, settings.levels_rt, unit)
        judged, shown = _with_ids(judged, found)
        found.loc[found["image"].isin(shown), "split"] = "test"
    images, people = found.assign(collection="ImageNet"), []
    if settings.things is not None:
        roots |= {"things": home() / settings.things}
        seen = _objects(roots["things"])
        images, people = pd.concat([seen, images], ignore_index=True), seen["image"].tolist()
    images, hierarchy, notes = _labelled(images, settings)
    images = images[["image", "path", *hierarchy, "split"]]
    choices = "human" if people else tables.NOBODY
    world = tables.World("imagenet", choices, out, hierarchy, images, None, judged, roots=roots, shared_concepts=True)
    with tables.staged(out) as part:
        tables.write(world, part, parquet=True)
        if settings.things is not None:
            report = things_full.write_choices(roots["things"], people, part / "triplets.parquet")
            notes += [f"THINGS: {report.without_rt} of {report.splits.sum()} choices without a usable response time"]
        notes += [f"ImageNet: {found['concept'].nunique()} of 1000 classes"]
        notes += [f"Levels: {unanswered} trials without an answer left out"] if unanswered else []
        tables.write_header(world, part, sources=SOURCES, notes="; ".join(notes))
        tables.read(part)
    return tables.read(out)


def _objects(folder: Path) -> pd.DataFrame:
    """THINGS' objects as pictures of the human split."""
    objects = things_full.concepts(folder)
    paths = ["things/" + path for path in things_full.pictures(folder, objects)]
    return objects.assign(path=paths, split="human", image="things_" + objects["concept"], collection="THINGS")


def _imagenet(folder: Path, validation: bool) -> pd.DataFrame:
    """A row for each picture: image (file name without ending), path, concept, synset, split.

    Raises: WorldError if a folder is missing or is named after no class of ImageNet-1k.
    """
    from timm.data import ImageNetInfo  # here, because it takes seconds

    info, problems, rows = ImageNetInfo("imagenet-1k"), [], []
    synsets = set(info.label_names())
    for part, split in [("train", "synthesis"), ("val", "test")][: 1 + validation]:
        if not (folder / part).is_dir():
            problems.append(f"{folder / part}: no such folder ({REGISTER})")
            continue
        classes = sorted(entry.name for entry in os.scandir(folder / part) if entry.is_dir())
        unknown = [name for name in classes if name not in synsets]
        if unknown or not classes:
            problems.append(f"{folder / part}: {', '.join(unknown[:5]) or 'nothing'} is no class of ImageNet-1k")
            continue
        for synset in classes:
            concept = f"{synset} {info.label_name_to_description(synset).split(',')[0]}"
            names = sorted(e.name for e in os.scandir(folder / part / synset) if e.name.lower().endswith(ENDINGS))
            rows += [(name, f"imagenet/{part}/{synset}/{name}", concept, synset, split) for name in names]
    if problems:
        raise WorldError("\n".join(problems))
    table = pd.DataFrame(rows, columns=["image", "path", "concept", "synset", "split"])
    return table.assign(image=table["image"].str.rsplit(".", n=1).str[0])


def _with_ids(judged: pd.DataFrame, found: pd.DataFrame) -> tuple[pd.DataFrame, set[str]]:
    """Levels with the ids of ImageNet's pictures instead of file names, and the pictures that it shows.

    Raises: WorldError with the count and the first five of the pictures that ImageNet lacks here.
    """
    judged = judged.copy()
    for column in tables.TRIPLET:
        judged[column] = judged[column].str.rsplit(".", n=1).str[0]
    shown = set(judged[tables.TRIPLET].to_numpy().ravel())
    missing = sorted(shown - set(found["image"]))
    if missing:
        raise WorldError(
            f"Levels: {len(missing)} of {len(shown)} pictures are not in ImageNet here: {', '.join(missing[:5])}"
        )
    return judged, shown


def _labelled(
    images: pd.DataFrame, settings: ImageNet, wordnet: Any = None
) -> tuple[pd.DataFrame, tuple[str, ...], list[str]]:
    """The pictures with columns superclass and domain from WordNet if it is there, the hierarchy, and notes."""
    wordnet = wordnet or _wordnet()
    if wordnet is None:
        print(GET_WORDNET)
        return images, ("concept", "collection"), [GET_WORDNET]
    synsets = images["synset"].unique()
    above = {name: _hypernyms(name, wordnet) for name in synsets}
    depths = {"superclass": settings.superclass_depth, "domain": settings.domain_depth}
    for column, depth in depths.items():
        labels = {name: path[min(depth, len(path) - 1)] if path else "not in WordNet" for name, path in above.items()}
        images = images.assign(**{column: images["synset"].map(labels)})
    return images, ("concept", *depths), []


def _hypernyms(name: str, wordnet: Any) -> list[str]:
    """WordNet's names from entity down to the synset, by its first path; name: a WordNet id or 'dog.n.01'."""
    from nltk.corpus.reader.wordnet import WordNetError

    try:
        is_id = name[1:].isdigit()
        synset = wordnet.synset_from_pos_and_offset("n", int(name[1:])) if is_id else wordnet.synset(name)
    except (ValueError, WordNetError):
        return []
    return [above.name().split(".")[0].replace("_", " ") for above in synset.hypernym_paths()[0]]


def _wordnet() -> Any:
    """nltk's WordNet, or None where its data is not installed."""
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return None
    return wordnet
