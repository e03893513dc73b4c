"""What is read from others is never run, and cannot leave its folder or fill the memory."""

import ast
import re
import zipfile
import zlib

import pytest
import yaml
from PIL import Image

from alignet import config
from alignet.worlds import downloads
from alignet.worlds.format import pictures, tables
from alignet.worlds.format.tables import WorldError

MODULES = sorted((config.home() / "alignet").rglob("*.py"))
UNPICKLERS = {"alignet/worlds/paper/levels_pickle.py"}  # the safe one, which finds plain data only


def calls(path):
    """Every call in a module, as 'name' or 'module.name', with its keywords."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
            yield ast.unparse(node.func), keywords, [ast.unparse(argument) for argument in node.args]


FORBIDDEN = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "pickle.load",
    "pickle.loads",
    "marshal.loads",
    "yaml.unsafe_load",
}
FORBIDDEN |= {"pd.read_pickle", "joblib.load", "torch.hub.load", "shelve.open"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(config.home()).as_posix())
def test_a_module_calls_nothing_that_runs_what_it_reads(path):
    for name, keywords, arguments in calls(path):
        assert name not in FORBIDDEN, name
        assert keywords.get("shell") != "True", name
        assert keywords.get("allow_pickle") != "True", name
        if name == "torch.load":
            assert keywords.get("weights_only") == "True"
        if name == "yaml.load":
            assert "SafeLoader" in " ".join([*arguments[1:], *keywords.values()])
        if name.endswith("Unpickler"):
            assert path.relative_to(config.home()).as_posix() in UNPICKLERS


def test_the_check_finds_what_it_looks_for(tmp_path):
    (tmp_path / "x.py").write_text("import torch\ntorch.load('a')\neval('1')\n")
    assert [name for name, *_ in calls(tmp_path / "x.py")] == ["torch.load", "eval"]


def test_jupyterlab_keeps_its_token_and_its_loopback_address():
    (line,) = [line for line in (config.home() / "Makefile").read_text().splitlines() if "jupyterlab" in line]
    assert not re.search(r"token|password|ip=|allow_origin|allow.root", line)


@pytest.mark.parametrize("name", ["../../outside.txt", "/tmp/outside_alignet.txt", "a/../../outside.txt"])
def test_an_archive_cannot_write_outside_its_folder(tmp_path, name):
    folder = tmp_path / "inner" / "inner"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(downloads.FetchError):
        downloads.unpack(folder / "a.zip")
    assert not list(tmp_path.rglob("outside*"))


def test_a_picture_that_decompresses_to_gigabytes_is_refused_by_name(tmp_path):
    """A black PNG of 60,000 x 60,000 pixels in a few kilobytes."""

    def chunk(kind, data):
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    head = (60_000).to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    packed = zlib.compress(bytes(7_501) * 1_000)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(png)
    with pytest.raises(WorldError, match=r"bomb.png: cannot be read as a picture \(Image size \(3600000000 pixels\)"):
        pictures.decode(tmp_path / "bomb.png", 32)


def small_world(folder, **header):
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    entries = {"format": 1, "name": "toy", "hierarchy": ["label"], "choices": "none"} | header
    (folder / "world.yaml").write_text(yaml.safe_dump(entries))
    rows = "".join(f"{split},a{place}.png,{split},{split}\n" for place, split in enumerate(("synthesis", "test")))
    (folder / "images.csv").write_text(f"image,path,label,split\n{rows}")
    return folder


@pytest.mark.parametrize("path", ["../a.png", "/etc/passwd", "x/../../a.png", "C:\\a.png"])
def test_a_picture_outside_the_worlds_folder_is_refused(tmp_path, path):
    folder = small_world(tmp_path / "world")
    text = (folder / "images.csv").read_text().replace("a0.png", path)
    (folder / "images.csv").write_text(text)
    with pytest.raises(WorldError, match=r"images.csv, row 2, column path: .* leaves the world's folder"):
        tables.read(folder)


def test_a_yaml_that_repeats_itself_a_billion_times_is_one_short_line(tmp_path):
    lines = ['a0: &a0 ["x","x","x","x","x","x","x","x","x"]']
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    folder = small_world(tmp_path / "world")
    (folder / "world.yaml").write_text("\n".join([*lines, "format: 1", "name: *a8", "hierarchy: *a8"]))
    with pytest.raises(WorldError, match=r"world.yaml: holds an alias") as refused:
        tables.read(folder)
    assert len(str(refused.value)) < 200


def test_a_csv_with_one_enormous_cell_is_read_or_refused_in_a_line(tmp_path):
    folder = small_world(tmp_path / "world")
    (folder / "images.csv").write_text('image,path,label,split\n"' + "x" * 20_000_000 + '",a.png,l,test\n')
    with pytest.raises(WorldError) as refused:
        tables.read(folder)
    assert len(str(refused.value)) < 5_000
