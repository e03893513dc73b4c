"""Choices of triplets.csv that no fit sees: models are scored on them where nobody was asked about test pictures."""

import hashlib
from pathlib import Path

import pandas as pd

from alignet.worlds.folder import answers
from alignet.worlds.format import files, tables
from alignet.worlds.format.tables import TRIPLET, WorldError

SHARE = 0.2
SPLIT, FITTED, SCORED = "split", ("", "train"), "test"


def mark(world: Path, share: float = SHARE) -> str:
    """Write split 'test' beside about this share of the different triplets of triplets.csv; what was marked, in words.

    A triplet is chosen by a digest of its pictures' names, so that all people's choices about it stand on one side, and
    choices that are imported later join theirs when the command is given again. Rows that say test or validation
    already stay as they are. VICE and the teacher then leave these rows out, and the Levels stage scores models on them
    as known concepts, at the level that the labels of their pictures give.

    Args: world: the world's folder; share: above 0 and below 1.
    Raises: WorldError if the share is neither, or if triplets.csv has no rows or would keep none to fit to.
    """
    if not 0 < share < 1:
        raise WorldError(f"--share {share:g}: above 0 and below 1")
    path = files.find(world, "triplets")
    table = pd.DataFrame() if path is None else answers.stored(path)
    if path is None or not len(table):
        raise WorldError(f"{world}: triplets.csv has no choices yet: import answers first")
    tables.read(world)  # says all that is wrong with it
    split = table[SPLIT].fillna("").astype(str) if SPLIT in table else pd.Series("", table.index)
    chosen = table[TRIPLET].apply(lambda row: _place(row) < share, axis=1) & split.isin(FITTED)
    split = split.mask(chosen, SCORED)
    if not (split == SCORED).any():
        raise WorldError(
            f"{path}: a share of {share:g} holds out none of its triplets: there are few; say a larger --share"
        )
    if not split.isin(FITTED).any():
        raise WorldError(f"{path}: a share of {share:g} leaves no choices to fit to")
    answers.replace(world, {path: table.assign(**{SPLIT: split.mask(split == "", FITTED[1])})})
    rows = f"{int((split == SCORED).sum()):,} of {len(table):,} choices"
    return f"{path}: {rows} are of split test ({int(chosen.sum()):,} of them new): models are scored on them"


def _place(images: pd.Series) -> float:
    """A number in [0, 1) of a triplet, whatever the order of its pictures."""
    name = "\n".join(sorted(images.astype(str)))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
