"""Large files of a published run: its figures and what its notebooks show, in one archive beside the repository.

Git keeps a published run's tables, params, facts (run.yaml) and the figures that README and docs show. All other
figures and the notebooks are in one zip file, whose name, SHA-256 and address run.yaml records.
"""

import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import yaml

from alignet import config
from alignet.worlds import downloads
from alignet.worlds.downloads import FetchError, File

FACTS = "run.yaml"
KEY = "archive"  # of FACTS: file, sha256, bytes, url
FETCHED = "published"  # folder of reports/: archives that were fetched, unpacked
MADE = "dist"  # folder of archives that are to be uploaded
ALWAYS = (".csv", ".yaml")  # endings of the files of a published run that git keeps
SAME_TIME = (1980, 1, 1, 0, 0, 0)  # of all files in an archive: the same run gives the same bytes


def shown() -> set[Path]:
    """Figures of published runs that README.md and docs/ show."""
    root, found = config.home(), set()
    for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8") if page.is_file() else ""
        for link in re.findall(r"\]\(([^)\s#]+)\)|src=\"([^\"]+)\"", text):
            path = (page.parent / "".join(link)).resolve()
            if path.is_relative_to(root / "reports" / "reference"):
                found.add(path)
    return found


def split(folder: Path) -> tuple[list[Path], list[Path]]:
    """A published run's files: those that git keeps, and those that go into the archive."""
    files, kept = sorted(path for path in folder.rglob("*") if path.is_file()), shown()
    stays = [path for path in files if path.suffix in ALWAYS or path.resolve() in kept]
    return stays, [path for path in files if path not in stays]


def write(folder: Path, place: str | None) -> dict[str, Any]:
    """Move what git does not keep of a published run into MADE/<name>-<digest>.zip.

    Args: folder: reports/reference/<name>; place: the address of the folder that the archive will be uploaded to.
    Returns: what run.yaml says of the archive; nothing where there is nothing to archive.
    """
    _, large = split(folder)
    if not large:
        return {}
    made = config.home() / MADE
    made.mkdir(exist_ok=True)
    part = made / f"{folder.name}.zip.part"
    with zipfile.ZipFile(part, "w") as content:
        for path in large:
            name = zipfile.ZipInfo(path.relative_to(folder).as_posix(), SAME_TIME)
            content.writestr(name, path.read_bytes(), zipfile.ZIP_DEFLATED)
    digest, size = downloads.sha256(part), part.stat().st_size
    file = f"{folder.name}-{digest[:8]}.zip"
    part.replace(made / file)
    for path in large:
        path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    return {"file": file, "sha256": digest, "bytes": size, "url": f"{place.rstrip('/')}/{file}" if place else None}


def fetch(folder: Path, source: Path | None = None) -> Path:
    """The archive of a published run, downloaded or copied, verified and unpacked.

    Args: folder: reports/reference/<name>; source: the archive, or a folder that holds it; then nothing is downloaded.
    Returns: the folder that it is unpacked into, reports/published/<name>-<digest>.
    Raises: FetchError if the run has no archive, or if it cannot be had or is another one than run.yaml names.
    """
    facts = yaml.safe_load((folder / FACTS).read_text(encoding="utf-8")) if (folder / FACTS).is_file() else {}
    record = facts.get(KEY)
    if not record:
        raise FetchError(f"{folder / FACTS}: names no archive: of this run only the files in {folder} can be had")
    there = config.home() / "reports" / FETCHED / Path(record["file"]).stem
    url = record["url"] or ""
    wanted = File(url=url, path=record["file"], page=url or str(folder / FACTS), unpack=True, sha256=record["sha256"])
    if source is not None:
        _take(wanted, source, there / wanted.path)
    elif not url and not (there / wanted.path).is_file():
        raise FetchError(f"{folder / FACTS}: {KEY}.url: is empty: get {wanted.path} otherwise, and say --from FILE")
    downloads.fetch(wanted, there)
    return there


def _take(wanted: File, source: Path, out: Path) -> None:
    """Copy an archive that lies on disk, if it is the wanted one."""
    given = source / wanted.path if source.is_dir() else source
    if not given.is_file():
        raise FetchError(f"{given}: no such file")
    if downloads.sha256(given) != wanted.sha256:
        raise FetchError(f"{given}: is another archive than {wanted.path}, by its SHA-256: refused")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"{out.name}.copy")
    shutil.copyfile(given, part)
    part.replace(out)
