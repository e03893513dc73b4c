import pytest
import yaml

from alignet import config
from alignet.models import backbones, feature_files
from alignet.pipeline import source as stage
from alignet.worlds import source


def test_the_digest_changes_with_any_file_and_its_name_and_with_nothing_else(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images.csv").write_text("a")
    (tmp_path / "images" / "one.png").write_bytes(b"1")
    first = source.digest(tmp_path)
    (tmp_path / source.DIGEST).write_text(first)
    assert source.digest(tmp_path) == first
    (tmp_path / "images" / "one.png").write_bytes(b"2")
    second = source.digest(tmp_path)
    (tmp_path / "images" / "one.png").rename(tmp_path / "images" / "two.png")
    assert len({first, second, source.digest(tmp_path)}) == 3


@pytest.mark.parametrize("name", ["world.yaml", "images.csv", "triplets.parquet", "ratings.csv"])
def test_the_digest_of_a_folder_changes_with_its_tables_alone(tmp_path, name):
    (tmp_path / "triplets.csv").write_text("a")
    (tmp_path / "picture.png").write_bytes(b"1")
    before = stage.of_tables(tmp_path)
    (tmp_path / "picture.png").write_bytes(b"2")
    assert stage.of_tables(tmp_path) == before
    (tmp_path / name).write_text("b")
    assert stage.of_tables(tmp_path) != before


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose backbone `brain` is a file of features, `tuned` has weights of its own, `plain` timm's."""
    params = {"world": {"source": "emoji", "path": None}, "run": {"backbones": ["brain", "tuned", "away", "plain"]}}
    params["backbones"] = {
        "brain": {"features": "given/brain.npy", "names": None},
        "tuned": {"model": "resnet18", "weights": "given/tuned.safetensors"},
        "away": {"model": "local-dir:given/away", "weights": "timm"},
        "plain": {"model": "resnet18", "weights": "random"},
    }
    file = {"name": "n", "file": "given/vice.npy", "names": "given/names.txt"}
    params["human_uncertainty"] = {"embedding": None, "published": [file]}
    params["synthesis"] = {"released": {"alignet": {"representation": "given/all.npz:embedding"}}}
    params["similarity"] = {"matrices": [{"name": "m", "file": "given/square.csv", "kind": "distance"}]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "given" / "away").mkdir(parents=True)
    monkeypatch.setenv(config.HOME, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("brain.npy", "backbones/brain"),
        ("file_names.txt", "backbones/brain"),
        ("tuned.safetensors", "backbones/tuned"),
        ("away/model.safetensors", "backbones/away"),
        ("vice.npy", "human_uncertainty"),
        ("names.txt", "human_uncertainty"),
        ("all.npz", "synthesis"),
        ("square.csv", "similarity"),
        ("other.npy", None),
    ],
)
def test_a_file_that_params_name_changes_the_text_that_its_stage_depends_on(project, file, changed):
    def texts():
        assert stage.main([]) == 0
        folder = project / "data" / "given"
        return {path.relative_to(folder).with_suffix("").as_posix(): path.read_text() for path in folder.rglob("*.txt")}

    (project / "given" / file).write_bytes(b"1")
    before, again = texts(), texts()
    assert before == again
    assert before["backbones/plain"] == "no file\n"  # dvc would warn of an empty text
    (project / "given" / file).write_bytes(b"2")
    after = texts()
    differ = {name for name in after if after[name] != before[name]}
    assert differ == ({changed} if changed else set())


def test_an_unknown_backbone_is_one_line(project, capsys):
    text = (project / "params.yaml").read_text().replace("- brain\n", "- brian\n")
    (project / "params.yaml").write_text(text)
    assert stage.main([]) == 1
    assert capsys.readouterr().err == "params.yaml: no section 'backbones.brian'\n"


def test_names_that_other_modules_own_are_theirs():
    assert (stage.BESIDE, stage.LOCAL) == (feature_files.BESIDE, backbones.LOCAL)


def test_a_stage_that_reads_a_given_file_depends_on_it():
    stages = yaml.safe_load((config.CHECKOUT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    reading = {name: [path for path in each["deps"] if path.startswith("data/given")] for name, each in stages.items()}
    assert {name: paths for name, paths in reading.items() if paths} == {
        "features": ["data/given/backbones/${item.backbone}.txt"],
        "human_uncertainty": ["data/given/human_uncertainty.txt"],
        "synthesis": ["data/given/synthesis.txt"],
        "student": ["data/given/backbones/${item.name}.txt"],
        "similarity": ["data/given/similarity.txt"],
    }
