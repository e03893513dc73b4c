"""Downloads against a server of our own on this machine: whole, cut, resumed, wrong, gone."""

import dataclasses
import hashlib
import io
import json
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from alignet.worlds import downloads, fetch

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Server(ThreadingHTTPServer):
    """Serves `content`; `cut_at`: the byte at which it closes the connection, once; `status`: an error instead."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.cut_at, self.status, self.etag, self.ranges = CONTENT, None, None, '"one"', True
        self.asked = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def file(self, name="set/file.bin", unpack=False):
        return downloads.File(f"http://127.0.0.1:{self.server_port}/file", name, "https://example.org/page", unpack)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.status:
            return self.send_error(server.status)
        start = int(wanted[6:-1]) if wanted and server.ranges else 0
        if self.headers.get("If-Range", server.etag) != server.etag:
            start = 0
        size = len(server.content)
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(size - start))
        self.send_header("ETag", server.etag)
        self.end_headers()
        end, server.cut_at = server.cut_at, None
        self.wfile.write(server.content[start:end])
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


def record(folder):
    return json.loads((folder / downloads.RECORD).read_text())


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_file_is_downloaded_and_its_size_and_digest_recorded(server, tmp_path):
    path = downloads.fetch(server.file(), tmp_path)
    assert path.read_bytes() == CONTENT
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert record(tmp_path)["set/file.bin"] == {"url": server.file().url, "size": len(CONTENT), "sha256": digest}
    assert names(tmp_path) == ["fetched.json", "file.bin"]


def test_what_is_there_is_checked_and_not_fetched_again(server, tmp_path):
    downloads.fetch(server.file(), tmp_path)
    downloads.fetch(server.file(), tmp_path)
    assert len(server.asked) == 1


def test_a_cut_download_says_so_and_goes_on_where_it_stopped(server, tmp_path):
    server.cut_at = 2_000_000
    with pytest.raises(
        downloads.FetchError, match=r"run this again to go on, or put it by hand as .*file\.bin \(from https"
    ):
        downloads.fetch(server.file(), tmp_path)
    kept = (tmp_path / "set/file.bin.part").stat().st_size
    assert 0 < kept <= 2_000_000
    assert not (tmp_path / "set/file.bin").exists()
    assert not (tmp_path / downloads.RECORD).exists()
    assert downloads.fetch(server.file(), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={kept}-"]
    assert names(tmp_path) == ["fetched.json", "file.bin"]


def test_a_file_that_changed_since_it_was_cut_is_begun_anew(server, tmp_path):
    server.cut_at = 2_000_000
    with pytest.raises(downloads.FetchError):
        downloads.fetch(server.file(), tmp_path)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert downloads.fetch(server.file(), tmp_path).read_bytes() == CONTENT[::-1]


def test_a_server_that_cannot_go_on_is_asked_for_the_whole(server, tmp_path):
    server.cut_at = 2_000_000
    with pytest.raises(downloads.FetchError):
        downloads.fetch(server.file(), tmp_path)
    server.ranges = False
    assert downloads.fetch(server.file(), tmp_path).read_bytes() == CONTENT


def test_a_download_that_was_whole_but_not_yet_named_is_named(server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/file.bin.part").write_bytes(CONTENT)
    assert downloads.fetch(server.file(), tmp_path).read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_begun_anew(server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/file.bin.part").write_bytes(CONTENT + b"more")
    with pytest.raises(downloads.FetchError, match="begin anew"):
        downloads.fetch(server.file(), tmp_path)
    assert downloads.fetch(server.file(), tmp_path).read_bytes() == CONTENT


def test_a_download_that_differs_from_the_record_is_refused(server, tmp_path):
    path = downloads.fetch(server.file(), tmp_path)
    before = record(tmp_path)
    path.unlink()
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(downloads.FetchError, match=r"not as recorded in .*: refused, nothing was overwritten"):
        downloads.fetch(server.file(), tmp_path)
    assert not path.exists()
    assert record(tmp_path) == before


def test_a_file_on_disk_that_differs_from_the_record_is_refused_and_kept(server, tmp_path):
    path = downloads.fetch(server.file(), tmp_path)
    path.write_bytes(b"mine")
    with pytest.raises(downloads.FetchError, match="refused"):
        downloads.fetch(server.file(), tmp_path)
    assert path.read_bytes() == b"mine"
    assert len(server.asked) == 1


def test_a_file_put_by_hand_is_recorded_and_checked_from_then_on(server, tmp_path):
    path = tmp_path / "set/file.bin"
    path.parent.mkdir()
    path.write_bytes(b"by hand")
    assert downloads.fetch(server.file(), tmp_path) == path
    path.write_bytes(b"changed")
    with pytest.raises(downloads.FetchError, match="refused"):
        downloads.fetch(server.file(), tmp_path)


@pytest.mark.parametrize("status", [404, 500, 403])
def test_an_error_of_the_server_is_one_line_that_says_what_to_put_where(status, server, tmp_path):
    server.status = status
    with pytest.raises(
        downloads.FetchError, match=rf"{status}.*by hand as .*file\.bin \(from https://example\.org/page\)"
    ) as error:
        downloads.fetch(server.file(), tmp_path)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == []


def test_a_server_that_is_gone_is_one_line_that_says_what_to_put_where(tmp_path):
    server = Server()
    server.shutdown()
    server.server_close()
    with pytest.raises(
        downloads.FetchError, match=r"^127\.0\.0\.1:\d+ cannot be reached .*by hand as .*file\.bin"
    ) as error:
        downloads.fetch(server.file(), tmp_path)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == []


def archive(**content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, text in content.items():
            target.writestr(name, text)
    return buffer.getvalue()


def test_an_archive_is_unpacked_beside_itself_and_what_went_missing_comes_back(server, tmp_path):
    inside = {"triplet_dataset/a.txt": "1 2 3\n", "__MACOSX/x": "no"}
    server.content = archive(**inside)
    file = server.file("set/triplets.zip", unpack=True)
    downloads.fetch(file, tmp_path)
    unpacked = tmp_path / "set/triplet_dataset/a.txt"
    assert unpacked.read_text() == "1 2 3\n"
    assert not (tmp_path / "set/__MACOSX").exists()
    unpacked.unlink()
    downloads.fetch(file, tmp_path)
    assert unpacked.is_file()
    assert len(server.asked) == 1


def test_an_archive_that_is_none_is_refused(server, tmp_path):
    with pytest.raises(downloads.FetchError, match=r"triplets\.zip: is no zip file"):
        downloads.fetch(server.file("set/triplets.zip", unpack=True), tmp_path)


def test_the_command_goes_on_with_the_other_files_and_exits_with_1(server, tmp_path, capsys, monkeypatch):
    bad = downloads.File("http://127.0.0.1:9/none", "levels/none.bin", "https://example.org/page")
    monkeypatch.setitem(fetch.FILES, "levels", [bad, server.file("levels/file.bin")])
    assert fetch.main(["levels", "--to", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert shown.out == f"{tmp_path}/levels/file.bin: {len(CONTENT):,} bytes, sha256 {digest}\n"
    assert "127.0.0.1:9 cannot be reached" in shown.err


def test_imagenet_is_never_fetched_and_the_page_to_register_at_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(downloads.requests, "get", None)
    assert fetch.main(["imagenet", "--to", str(tmp_path)]) == 1
    assert "register at https://image-net.org" in capsys.readouterr().err


def test_the_released_files_default_to_the_papers_and_may_be_named():
    assert [file.path for file in fetch._files("alignet-release", [])] == [
        "alignet/uncertainty_distillation/train_cluster_border_500.npz",
        "alignet/uncertainty_distillation/val_cluster_border_500.npz",
    ]
    (file,) = fetch._files("alignet-release", ["untransformed/val_within_class.npz"])
    assert file.url == f"{fetch.RELEASE}untransformed/val_within_class.npz"


def test_one_folder_of_an_archive_is_unpacked_and_its_pictures_are_compared_with_the_pinned_ones(server, tmp_path):
    server.content = archive(
        **{"name-commit/in/a_images/1.jpg": "one", "name-commit/in/b.txt": "x", "name-commit/y": "y"}
    )
    (tmp_path / "same/a_images").mkdir(parents=True)
    (tmp_path / "same/a_images/1.jpg").write_text("one")
    digest = downloads.content_digest(tmp_path / "same", "*_images/*.jpg")
    wanted = downloads.Pictures("name-commit/in", "*_images/*.jpg", digest)
    file = dataclasses.replace(server.file("set/name.zip", unpack=True), pictures=wanted)
    folder = downloads.fetch(file, tmp_path)
    assert folder == tmp_path / "set/name-commit/in"
    assert (folder / "a_images/1.jpg").read_text() == "one"
    assert not (tmp_path / "set/name-commit/y").exists()
    (tmp_path / "set/name.zip").unlink()
    assert downloads.fetch(file, tmp_path) == folder
    assert len(server.asked) == 1
    other = dataclasses.replace(file, pictures=dataclasses.replace(wanted, content="0" * 64))
    with pytest.raises(downloads.FetchError, match=r"name-commit/in: holds other pictures than .*: refused"):
        downloads.fetch(other, tmp_path)


@pytest.mark.parametrize("place", ["names.txt", "choices/names.txt", "data/names.txt", "repository/data/names.txt"])
def test_a_file_is_taken_from_a_folder_under_its_name_or_from_a_clone(place, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads.requests, "get", None)
    source = tmp_path / "source" / place
    source.parent.mkdir(parents=True)
    source.write_text("a\nb\n")
    digest = hashlib.sha256(b"a\nb\n").hexdigest()
    file = downloads.File(
        f"{downloads.RAW}/owner/repository/commit/data/names.txt", "set/names.txt", "page", sha256=digest
    )
    assert downloads.taken(file, [tmp_path / "empty", tmp_path / "source"], tmp_path / "to").read_text() == "a\nb\n"
    assert record(tmp_path / "to")["set/names.txt"]["sha256"] == digest
    source.write_text("other")
    assert downloads.taken(file, [tmp_path / "source"], tmp_path / "to").read_text() == "a\nb\n"
    with pytest.raises(downloads.FetchError, match=r"names\.txt: is another file than at https"):
        downloads.taken(file, [tmp_path / "source"], tmp_path / "elsewhere")
    with pytest.raises(downloads.FetchError, match=r"^names\.txt: is not in .*empty \(from page\)$"):
        downloads.taken(file, [tmp_path / "empty"], tmp_path / "elsewhere")


@pytest.mark.parametrize("place", ["", "pictures", "in", "name/in", "name-commit/in"])
def test_pictures_are_taken_from_a_folder_or_a_clone_if_they_are_the_pinned_ones(place, tmp_path):
    folder = tmp_path / "source" / place / "a_images"
    folder.mkdir(parents=True)
    (folder / "1.jpg").write_text("one")
    pictures = downloads.Pictures(
        "name-commit/in", "*_images/*.jpg", downloads.content_digest(folder.parent, "*/*.jpg")
    )
    file = downloads.File("https://example.org/commit.zip", "set/name.zip", "page", unpack=True, pictures=pictures)
    assert (downloads.taken(file, [tmp_path / "source"], tmp_path / "to") / "a_images/1.jpg").read_text() == "one"
    (folder / "1.jpg").write_text("two")
    with pytest.raises(downloads.FetchError, match=r"1 pictures \*_images/\*\.jpg that are not those at .*: refused"):
        downloads.taken(file, [tmp_path / "source"], tmp_path / "elsewhere")
    (folder / "1.jpg").unlink()
    with pytest.raises(downloads.FetchError, match=r"^name: no pictures in .* \(from page\)$"):
        downloads.taken(file, [tmp_path / "source"], tmp_path / "elsewhere")


def test_nothing_is_fetched_before_the_terms_are_accepted(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(downloads.requests, "get", None)
    for typed in ("no", ""):
        monkeypatch.setattr("builtins.input", lambda _, typed=typed: typed)
        assert fetch.main(["things", "--to", str(tmp_path)]) == 1
        shown = capsys.readouterr()
        assert "research and academic use only, and not to be passed on" in " ".join(shown.out.split())
        assert shown.err == f"{fetch.NOT_ACCEPTED}\n"
    monkeypatch.setattr("builtins.input", lambda _: (_ for _ in ()).throw(EOFError))
    assert fetch.main(["things", "--to", str(tmp_path)]) == 1
    assert names(tmp_path) == []


def test_typed_yes_accepts_the_terms(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert fetch.main(["things", "--to", str(tmp_path / "to"), "--from", str(tmp_path)]) == 1
    assert "things_concepts.tsv: is not in" in capsys.readouterr().err


def test_photographs_that_are_gone_are_one_line_with_the_official_place_and_the_free_ones(server, tmp_path, capsys):
    server.status = 404
    file = dataclasses.replace(fetch.PHOTOGRAPHS, url=server.file().url)
    with pytest.raises(downloads.FetchError) as error:
        downloads.fetch(file, tmp_path)
    assert "\n" not in str(error.value)
    for place in ("osf.io/jum2f", "things-initiative.org", "508 photographs under CC0", "brialorelle/vocab-gradient"):
        assert place in str(error.value)


def test_the_official_archive_of_things_keeps_its_own_command():
    assert [file.path for file in fetch._files("things-osf", [])] == [
        "things/triplet_dataset.zip",
        "things/things_concepts.tsv",
    ]


def test_all_takes_the_large_files_in_place_of_the_small_sample_of_one():
    small, large = ({file.path for file in fetch._files("things", [], everything)} for everything in (False, True))
    assert small - large == {fetch.PERSON_SAMPLE.path}
    assert large - small == {fetch.PERSON_LARGE.path, fetch.NOBODY_LARGE.path}


def test_every_file_of_github_is_pinned_by_its_commit_and_all_but_the_large_ones_by_their_content():
    for file in [*fetch.FILES["things"], *fetch.FILES["mur92"], fetch.PERSON_LARGE, fetch.NOBODY_LARGE]:
        assert re.search(r"/[0-9a-f]{40}(/|\.zip$)", file.url)
        pinned = file.pictures.content if file.pictures else file.sha256
        assert pinned is None if file in (fetch.PERSON_LARGE, fetch.NOBODY_LARGE) else len(pinned) == 64


@pytest.mark.parametrize(
    "options",
    [
        ["levels", "--all"],
        ["levels", "--split-seed", "1"],
        ["levels", "--pictures", "."],
        ["things", "--from", "/none"],
    ],
)
def test_options_that_are_not_for_a_data_set_and_folders_that_are_not_there_are_refused(options, capsys):
    with pytest.raises(SystemExit, match="2"):
        fetch.main(options)
    assert re.search(r"are for things|no such folder", capsys.readouterr().err)
