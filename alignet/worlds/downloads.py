"""Files from the net: downloaded, resumed, recorded and verified, or copied from folders on disk.

Each file's size and SHA-256 are recorded in fetched.json at its first download and verified in all later runs; a file
that differs is refused and kept.
"""

import hashlib
import json
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm

from alignet.worlds.format.tables import OUTSIDE

RECORD = "fetched.json"
CHUNK = 1 << 20
TIMEOUT = (20, 60)  # seconds to connect, and between two pieces
RAW = "https://raw.githubusercontent.com"


class FetchError(RuntimeError):
    """A file cannot be had; the message is one line that says why, and what to do."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of an archive that are to be unpacked.

    folder: holds them, in the archive and later beside it; pattern: of their paths in it, for glob; content: their
    `content_digest`.
    """

    folder: str
    pattern: str
    content: str


@dataclass(frozen=True)
class File:
    """A file on the net: its address, its place below data/external/, and the page that leads to it.

    sha256: the digest at the pinned commit, where it is known; pictures: the wanted pictures of an archive, if not all
    of it is wanted; needed: whether nothing can be made without the file.
    """

    url: str
    path: str
    page: str
    unpack: bool = False
    sha256: str | None = None
    pictures: Pictures | None = None
    needed: bool = True


def fetch(file: File, folder: Path) -> Path:
    """The path of a file, which is downloaded unless it is on disk and agrees with its record.

    Raises: FetchError if the file cannot be reached, breaks off, or differs from the record; what is on disk is kept.
    """
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if _has_pictures(file, path.parent):
        return path.parent / str(file.pictures and file.pictures.folder)
    if not path.is_file():
        _get(file, path, folder)
    _check(path, file, folder)
    if file.unpack:
        unpack(path, file.pictures.folder if file.pictures else "")
    if file.pictures is None:
        return path
    if not _has_pictures(file, path.parent):
        there = path.parent / file.pictures.folder
        raise FetchError(f"{there}: holds other pictures than {file.url}: refused; delete it and run this again")
    return path.parent / file.pictures.folder


def taken(file: File, sources: list[Path], folder: Path) -> Path:
    """The path of a file, which is copied from the first of `sources` that has it unless it is on disk; nothing is
    downloaded.

    A source is a folder of files under their own names, perhaps in `choices` or `pictures`, a clone of the GitHub
    repository that the file is from, or a folder of such clones.
    Raises: FetchError if no source has the file, or if it differs from the pinned one.
    """
    path = folder / file.path
    if file.pictures is not None:
        return _taken_pictures(file, file.pictures, sources, path.parent / file.pictures.folder)
    if not path.is_file():
        found = next((place for place in _places(file, sources) if place.is_file()), None)
        if found is None:
            raise FetchError(f"{Path(file.path).name}: is not in {', '.join(map(str, sources))} (from {file.page})")
        if file.sha256 not in (None, sha256(found)):
            raise FetchError(f"{found}: is another file than at {file.url}: refused")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        shutil.copyfile(found, part)
        part.replace(path)
    _check(path, file, folder)
    return path


def _taken_pictures(file: File, pictures: Pictures, sources: list[Path], out: Path) -> Path:
    if _has_pictures(file, out.parents[len(Path(pictures.folder).parts) - 1]):
        return out
    places = [place for place in _places(file, sources) if place.is_dir() and any(place.glob(pictures.pattern))]
    if not places:
        raise FetchError(f"{Path(file.path).stem}: no pictures in {', '.join(map(str, sources))} (from {file.page})")
    for place in places:
        if content_digest(place, pictures.pattern) == pictures.content:
            part = out.with_name(f"{out.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            for picture in place.glob(pictures.pattern):
                copy = part / picture.relative_to(place)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(picture, copy)
            shutil.rmtree(out, ignore_errors=True)
            part.replace(out)
            return out
    raise FetchError(
        f"{places[0]}: {len(list(places[0].glob(pictures.pattern)))} pictures {pictures.pattern} that are not those at "
        f"{file.url}: refused"
    )


def _places(file: File, sources: list[Path]) -> list[Path]:
    """The places where sources may have a file, or the folder of an archive's pictures."""
    parts = Path(file.url.removeprefix(f"{RAW}/")).parts
    if file.pictures is not None:
        first, *rest = Path(file.pictures.folder).parts
        within = Path(*rest) if rest else Path()
        repository = first.rpartition("-")[0]  # the folder in GitHub's archives is the repository and the commit
        inside = [Path(), Path("pictures"), within, Path(repository, within), Path(file.pictures.folder)]
    else:
        names = dict.fromkeys([Path(file.path).name, Path(file.url).name])
        inside = [folder / name for folder in (Path(), Path("choices")) for name in names]
        inside += [Path(file.path), Path(*parts[3:]), Path(*parts[1:2], *parts[3:])]
    return [source / place for source in sources for place in inside]


def content_digest(folder: Path, pattern: str) -> str:
    """SHA-256 over the names and the contents of the files in a folder that match a glob pattern."""
    found = sorted((path.relative_to(folder).as_posix(), path) for path in folder.glob(pattern))
    lines = (f"{sha256(path)} {name}\n" for name, path in found)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _has_pictures(file: File, beside: Path) -> bool:
    """Whether all pictures of an archive are unpacked and unchanged."""
    wanted = file.pictures
    return wanted is not None and content_digest(beside / wanted.folder, wanted.pattern) == wanted.content


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
    """Download what `part` lacks; begin anew if the server cannot resume or if its file has changed since.

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
    """Compare a file with its record, or record it at its first download. Raises: FetchError if they differ."""
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
    """The SHA-256 digest of a file, which is read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive: Path, only: str = "") -> None:
    """Unpack an archive, or one folder of it, beside it; files that are there are not unpacked again.

    Raises: FetchError if the archive is no zip, or holds a name that leads out of its folder; then nothing is unpacked.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            leaving = [name for name in content.namelist() if re.search(OUTSIDE, name)]
            if leaving:
                raise FetchError(f"{archive}: refused: {leaving[0]!r} leads out of its folder")
            for member in content.infolist():
                if only and not member.filename.startswith(f"{only}/"):
                    continue
                there = archive.parent / member.filename
                whole = there.is_file() and there.stat().st_size == member.file_size
                if not whole and not member.filename.startswith("__MACOSX"):
                    content.extract(member, archive.parent)
    except zipfile.BadZipFile:
        raise FetchError(f"{archive}: is no zip file; delete it and its entry in {RECORD}") from None


def _total(answer: requests.Response) -> int:
    """The file size in a server's answer to a request beyond its end ('bytes */1234'); -1 if it names none."""
    size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(size) if size.isdigit() else -1


def _host(url: str) -> str:
    return url.split("/")[2]


def _by_hand(file: File, path: Path) -> str:
    return f"run this again to go on, or put it by hand as {path} (from {file.page})"
