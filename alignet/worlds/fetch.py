"""Download the paper's public data.

python -m alignet.worlds.fetch photos | things | levels | alignet-release [FILE ...] | imagenet

photos: a thousand photographs and the embeddings of 4.7 million choices, 140 MB, made into a world at once
(`readers/photos.py`); params/photos.yaml runs it.

Files go to data/external/. An interrupted download resumes where it stopped. Each file's size and SHA-256 are recorded
in fetched.json at its first download and verified in all later runs; a file that differs is refused and kept.
"""

import argparse
import hashlib
import json
import re
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm

from alignet.config import ROOT
from alignet.worlds import check
from alignet.worlds.format.tables import OUTSIDE, WorldError
from alignet.worlds.readers import photos

RECORD = "fetched.json"
CHUNK = 1 << 20
TIMEOUT = (20, 60)  # seconds to connect, and between two pieces
RELEASE = "https://storage.googleapis.com/alignet/data/release_1.1/"
PAGES = {
    "photos": "https://github.com/EliSchwartz/imagenet-sample-images and the other pages in docs/world.md",
    "things": "https://osf.io/f5rn6 (choices) and https://osf.io/jum2f (concepts and pictures)",
    "levels": "https://gin.g-node.org/fborn/Dataset_Levels",
    "alignet-release": f"{RELEASE}index.html",
    "imagenet": "https://image-net.org/download-images",
}
DEFAULT_RELEASE = [f"uncertainty_distillation/{split}_cluster_border_500.npz" for split in ("train", "val")]


class FetchError(RuntimeError):
    """Why a file is not there, in one line that says what to do."""


@dataclass(frozen=True)
class File:
    """A file of the net: where it is, where it goes below data/external/, and the page that leads to it."""

    url: str
    path: str
    page: str
    unpack: bool = False
    sha256: str | None = None  # of the file at the pinned commit, where it is known


GITHUB = "https://github.com"
RAW = "https://raw.githubusercontent.com"
SAMPLES, SAMPLES_AT = "EliSchwartz/imagenet-sample-images", "bc69043e2862758a1906c6a24a792bb28c6bb2ff"
EXPERIMENT = "Frieda-Josefine/AligNet-Human-Validation-Experiment"
EXPERIMENT_AT = "ecc25c08da6d45c44ae23fdef14f8973fc2b43d8"
VICE, VICE_AT = "LukasMut/VICE", "5f80103ef4c9eb29477c4cadb1c9c54476d59e97"
SPOSE, SPOSE_AT = "ViCCo-Group/semantic_features_gpt_3", "3b132af668bc61706b944dcfd6b01672d3a49c34"
FILES = {
    "photos": [
        File(
            f"{RAW}/{VICE}/{VICE_AT}/data/files/things_concepts.tsv",
            "photos/things_concepts.tsv",
            f"{GITHUB}/{VICE}",
            sha256="f6eb4ec6fcad61e50a746bee820f98d1595fe655e9e210a9a407e9a17fd8cee4",
        ),
        File(
            f"{RAW}/{VICE}/{VICE_AT}/embeddings/things/final_embedding.npy",
            "photos/vice.npy",
            f"{GITHUB}/{VICE}",
            sha256="6c596ec9fe6e135e3fd32207d4d1d5eb004e3cef3810d5cb40474b1996d5392f",
        ),
        File(
            f"{RAW}/{SPOSE}/{SPOSE_AT}/data/things/unique_id.txt",
            "photos/unique_id.txt",
            f"{GITHUB}/{SPOSE}",
            sha256="e2e59d02197e89776034938e7a73940a0823cacac4b6084b56b1d8959816ff76",
        ),
        File(
            f"{RAW}/{SPOSE}/{SPOSE_AT}/data/things/spose_embedding_66d_sorted.txt",
            "photos/spose_66d.txt",
            f"{GITHUB}/{SPOSE}",
            sha256="6a485922fe22c10b2eb920140198488451d44ac6de0c6be5e8ee8eec8a2007cc",
        ),
        File(f"{GITHUB}/{SAMPLES}/archive/{SAMPLES_AT}.zip", "photos/samples.zip", f"{GITHUB}/{SAMPLES}", unpack=True),
        File(
            f"{GITHUB}/{EXPERIMENT}/archive/{EXPERIMENT_AT}.zip",
            "photos/experiment.zip",
            f"{GITHUB}/{EXPERIMENT}",
            unpack=True,
        ),
    ],
    "things": [
        File("https://osf.io/n9u4a/download", "things/triplet_dataset.zip", PAGES["things"], unpack=True),
        File("https://osf.io/pc98z/download", "things/things_concepts.tsv", PAGES["things"]),
    ],
    "levels": [
        File(
            f"{PAGES['levels']}/raw/master/processed_data/pruned_dataset.pkl",
            "levels/pruned_dataset.pkl",
            PAGES["levels"],
        )
    ],
}
BY_HAND = {
    "things": "the pictures are not fetched: unpack those of https://osf.io/jum2f to {folder}/things/images/<concept>/",
    "imagenet": "ImageNet is never fetched: register at {page} and unpack it to {folder}/imagenet/train/<WordNet id>/ "
    "and {folder}/imagenet/val/<WordNet id>/",
}


def fetch(file: File, folder: Path) -> Path:
    """The file on disk: downloaded, or already there and as it was recorded.

    Raises: FetchError if it cannot be reached, breaks off, or differs from the record; what is there stays as it is.
    """
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        _get(file, path, folder)
    _check(path, file, folder)
    if file.unpack:
        _unpack(path)
    return path


def _get(file: File, path: Path, folder: Path) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        _download(file, part)
    except requests.ConnectionError:
        raise FetchError(f"{_host(file.url)} cannot be reached or broke off: {_by_hand(file, path)}") from None
    except requests.RequestException as error:
        raise FetchError(f"{file.url}: {error}: {_by_hand(file, path)}") from None
    _check(part, file, folder)
    part.rename(path)


def _download(file: File, part: Path) -> None:
    """Append to `part` what it lacks; begin anew where the server cannot go on, or its file has changed since.

    Raises: requests.RequestException, with `part` kept, if the connection fails or breaks off.
    """
    tag = part.with_name(f"{part.name}.etag")
    done = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-"} | ({"If-Range": tag.read_text()} if tag.is_file() else {})
    with requests.get(file.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416 and _total(answer) == done:
            return
        if answer.status_code == 416:
            part.unlink()
            raise requests.RequestException("the file has changed since; run the command again to begin anew")
        answer.raise_for_status()
        goes_on = answer.status_code == 206
        done = done if goes_on else 0
        if answer.headers.get("ETag", "W/").startswith("W/"):
            tag.unlink(missing_ok=True)
        else:
            tag.write_text(answer.headers["ETag"])
        length = int(answer.headers["Content-Length"]) if "Content-Length" in answer.headers else None
        _save(answer, part, done, None if length is None else done + length)
    tag.unlink(missing_ok=True)


def _save(answer: requests.Response, part: Path, done: int, size: int | None) -> None:
    with (
        part.open("ab" if done else "wb") as out,
        tqdm(total=size, initial=done, unit="B", unit_scale=True, desc=part.stem, mininterval=2) as progress,
    ):
        for piece in answer.iter_content(CHUNK):
            out.write(piece)
            progress.update(len(piece))
    if size is not None and part.stat().st_size < size:
        raise requests.ConnectionError(f"broke off at {part.stat().st_size} of {size} bytes")


def _check(path: Path, file: File, folder: Path) -> None:
    """Compare with the record, or record at the first time. Raises: FetchError if they differ."""
    record = folder / RECORD
    known = json.loads(record.read_text()) if record.is_file() else {}
    present: dict[str, Any] = {"url": file.url, "size": path.stat().st_size, "sha256": sha256(path)}
    before: dict[str, Any] | None = known.get(file.path)
    if file.sha256 not in (None, present["sha256"]):
        raise FetchError(
            f"{path}: sha256 {present['sha256'][:12]}... and not {str(file.sha256)[:12]}..., as at {file.url}: "
            "refused; delete it and run this again"
        )
    if before is None:
        staged = record.with_name(f"{RECORD}.part")
        staged.write_text(json.dumps(known | {file.path: present}, indent=1, sort_keys=True) + "\n")
        staged.replace(record)
    elif (before["size"], before["sha256"]) != (present["size"], present["sha256"]):
        raise FetchError(
            f"{path}: sha256 {present['sha256'][:12]}..., {present['size']} bytes, and not as recorded in {record} "
            f"({before['sha256'][:12]}..., {before['size']} bytes): refused, nothing was overwritten; delete it, "
            "and the record's entry if the new file is the right one"
        )


def sha256(path: Path) -> str:
    """The digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack(archive: Path) -> None:
    """Unpack what is not there yet beside the archive.

    Raises: FetchError if it is no zip, or holds a name that leads out of its folder; then nothing is unpacked.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            leaving = [name for name in content.namelist() if re.search(OUTSIDE, name)]
            if leaving:
                raise FetchError(f"{archive}: refused: {leaving[0]!r} leads out of its folder")
            for member in content.infolist():
                there = archive.parent / member.filename
                whole = there.is_file() and there.stat().st_size == member.file_size
                if not whole and not member.filename.startswith("__MACOSX"):
                    content.extract(member, archive.parent)
    except zipfile.BadZipFile:
        raise FetchError(f"{archive}: is no zip file; delete it and its entry in {RECORD}") from None


def _total(answer: requests.Response) -> int:
    """The size that a server names when asked for bytes beyond the end ('bytes */1234'); -1 if it names none."""
    size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(size) if size.isdigit() else -1


def _host(url: str) -> str:
    return url.split("/")[2]


def _by_hand(file: File, path: Path) -> str:
    return f"run this again to go on, or put it by hand as {path} (from {file.page})"


def _files(dataset: str, names: list[str]) -> list[File]:
    if dataset == "alignet-release":
        page = PAGES[dataset]
        return [File(RELEASE + name, f"alignet/{name}", page) for name in names or DEFAULT_RELEASE]
    return FILES.get(dataset, [])


def _made(folder: Path) -> bool:
    """Make the world of photographs from the files in `folder` and say what it holds; False if it cannot be made."""
    experiment = folder / f"{EXPERIMENT.partition('/')[2]}-{EXPERIMENT_AT}"
    files = photos.Files(
        concepts=folder / "things_concepts.tsv",
        identifiers=folder / "unique_id.txt",
        vice=folder / "vice.npy",
        spose=folder / "spose_66d.txt",
        samples=folder / f"{SAMPLES.partition('/')[2]}-{SAMPLES_AT}",
        validation=experiment / "experiment" / "stimuli" / "images_revision",
    )
    try:
        world = photos.make(files, folder, folder / "world")
    except WorldError as error:
        print(error, file=sys.stderr)
        return False
    for source in photos.SOURCES:
        print(f"{source['name']}: {source['url']}, licence: {source['licence']}")
    print(check.summary(world))
    return True


def main(arguments: list[str] | None = None) -> int:
    """Fetch the files of a data set; 1 and a line for each file that cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m alignet.worlds.fetch", description="The paper's public data.")
    parser.add_argument("dataset", choices=sorted(PAGES))
    parser.add_argument("files", nargs="*", help="of alignet-release: <target>/<split>_<scheme>.npz")
    parser.add_argument("--to", type=Path, default=ROOT / "data" / "external")
    options = parser.parse_args(arguments)
    if options.files and options.dataset != "alignet-release":
        parser.error("only alignet-release takes names of files")
    failed = options.dataset == "imagenet"
    for file in _files(options.dataset, options.files):
        try:
            path = fetch(file, options.to)
            print(f"{path}: {path.stat().st_size:,} bytes, sha256 {sha256(path)}")
        except FetchError as error:
            print(error, file=sys.stderr)
            failed = True
    if options.dataset == "photos":
        failed |= not _made(options.to / "photos")
    if options.dataset in BY_HAND:
        print(BY_HAND[options.dataset].format(folder=options.to, page=PAGES[options.dataset]), file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
