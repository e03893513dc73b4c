"""params.yaml's `world.source` -> the world."""

from pathlib import Path

from alignet.config import ROOT, Emoji, ImageNet, World
from alignet.worlds import emoji, folder, imagenet, tables


def make(settings: World, emoji_settings: Emoji, imagenet_settings: ImageNet, out: Path) -> tables.World:
    """Make the chosen world in `out`, or refuse it and leave `out` alone.

    Raises: tables.WorldError with every problem found in the files of others.
    """
    if settings.source == "emoji":
        return emoji.make(emoji_settings, out)
    if settings.source == "imagenet":
        return imagenet.make(imagenet_settings, out)
    if settings.path is None:
        raise tables.WorldError("params: world.path: missing; source 'folder' needs the folder of a world")
    return folder.make(ROOT / settings.path, out)
