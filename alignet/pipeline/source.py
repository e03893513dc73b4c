"""The stage `source`: digests of what people bring and may change between runs, so that `dvc repro` sees a change.

python -m alignet.pipeline.source writes data/source.txt, which changes with world.yaml and the tables of the folder
that params.yaml names (world.source: folder), and is constant for any other world; and data/given/, a text for each
section or backbone of params.yaml that may name files, which changes with the contents of these files. Pictures are not
read: after changing one in place run `dvc repro -f world`.
"""

import argparse
import hashlib
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alignet import config

TABLES = ("world", "images", "triplets", "levels", "ratings", "concept_choices")
ENDINGS = (".yaml", ".csv", ".parquet")
# What follows stands in models/ too, which takes seconds to import; tests/pipeline/test_source.py compares.
BESIDE = "file_names.txt"  # names of a file of features, beside it
LOCAL = "local-dir:"  # before the folder of an exported model
ARRAY = ".npz:"  # between an archive and the array in it
NO_FILE = ("timm", "package", "random")  # weights


def of_tables(folder: Path) -> str:
    """sha256 of the names and contents of a world's header and tables; those that are not there leave no trace."""
    return _digest(folder / f"{name}{ending}" for name in TABLES for ending in ENDINGS)


def of_files(named: Iterable[str]) -> str:
    """A line for each file or folder that a setting names: its name, and sha256 of its contents.

    Args: named: from the project's root or absolute; FILE.npz:ARRAY names FILE.npz.
    """
    lines = []
    for name in named:
        path = config.home() / (name.partition(ARRAY)[0] + ".npz" if ARRAY in name else name)
        lines.append(f"{name} {_digest(path.rglob('*') if path.is_dir() else [path])}\n")
    return "".join(lines)


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        if path.is_file():
            with path.open("rb") as opened:
                content = hashlib.file_digest(opened, "sha256").digest()
            digest.update(path.name.encode() + b"\0" + content)
    return digest.hexdigest()


def given() -> dict[str, str]:
    """The text of each file of data/given/, by its name there without its ending."""
    found = {f"backbones/{name}": _of_backbone(name) for name in config.names("backbones")}
    people, similarity = config.value("human_uncertainty"), config.value("similarity")
    embeddings = [*([people["embedding"]] if people["embedding"] else []), *people["published"]]
    found["human_uncertainty"] = [each[key] for each in embeddings for key in ("file", "names") if key in each]
    released = config.value("synthesis.released") or {}
    found["synthesis"] = [name for files in released.values() for name in files.values()]
    found["similarity"] = [each[key] for each in similarity["matrices"] for key in ("file", "labels") if key in each]
    return {name: of_files(files) for name, files in found.items()}


def _of_backbone(name: str) -> list[str]:
    """The files or folders that an entry of backbones names: of features and their names, or of weights."""
    entry: dict[str, Any] = config.value(f"backbones.{name}")
    if "features" in entry:
        return [entry["features"], entry.get("names") or str(Path(entry["features"]).with_name(BESIDE))]
    weights, model = str(entry.get("weights", "")), str(entry.get("model", ""))
    return [weights] * (weights not in ("", *NO_FILE)) + [model.removeprefix(LOCAL)] * model.startswith(LOCAL)


def main(arguments: list[str] | None = None) -> int:
    """Write data/source.txt and data/given/; return 1, after a line for each problem, if params.yaml has one."""
    parser = argparse.ArgumentParser(prog="python -m alignet.pipeline.source", description=__doc__.split("\n\n")[0])
    parser.parse_args(arguments)
    try:
        chosen, texts = config.load("world", config.WorldSource), given()
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    own = chosen.source == "folder" and chosen.path is not None
    text = of_tables(config.home() / str(chosen.path)) if own else chosen.source
    data = config.folders(".")[0]
    data.mkdir(exist_ok=True)
    (data / "source.txt").write_text(f"{text}\n", encoding="ascii")
    shutil.rmtree(data / "given", ignore_errors=True)
    for name, said in texts.items():
        file = data / "given" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(said or "no file\n", encoding="utf-8")  # dvc warns of an empty one
    return 0


if __name__ == "__main__":
    sys.exit(main())
