"""The world that params.yaml names by `world.source`."""

import hashlib
from pathlib import Path

from alignet.config import Emoji, ImageNet, WorldSource, home
from alignet.worlds.emoji import world as emoji_world
from alignet.worlds.folder import world as folder_world
from alignet.worlds.format import tables
from alignet.worlds.paper import imagenet

DIGEST = "digest.txt"


def make(settings: WorldSource, emoji_settings: Emoji, imagenet_settings: ImageNet, out: Path) -> tables.World:
    """Make the chosen world in `out`, or refuse it and leave `out` untouched.

    Its file digest.txt changes with any other of its files. Later stages depend on that file alone, since dvc would
    take seconds in each stage to check thousands of pictures.
    Raises: tables.WorldError with every problem found in the files of others.
    """
    if settings.source == "emoji":
        with tables.staged(out) as part:
            emoji_world.make(emoji_settings, part)
        made = tables.read(out)
    elif settings.source == "imagenet":
        made = imagenet.make(imagenet_settings, out)
    elif settings.path is None:
        raise tables.WorldError("params: world.path: missing; source 'folder' needs the folder of a world")
    else:
        made = folder_world.make(home() / settings.path, out)
    (out / DIGEST).write_text(f"{digest(out)}\n", encoding="ascii")
    return made


def digest(out: Path) -> str:
    """The SHA-256 of the names and contents of all files of a world except digest.txt."""
    hashed = hashlib.sha256()
    for path in sorted(path for path in out.rglob("*") if path.is_file() and path.name != DIGEST):
        hashed.update(path.relative_to(out).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return hashed.hexdigest()
