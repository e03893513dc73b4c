import argparse

import numpy as np
import pandas as pd
import pytest
import torch

from alignet.config import FeatureFile
from alignet.models import feature_files, features
from alignet.worlds.format import tables
from alignet.worlds.format.tables import World

HUMAN = ["dog", "cat", "red_car"]
FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3)


def world():
    """A judged photograph of each concept, two pictures to be labelled, and one that is neither."""
    rows = [(f"{name}_id", f"photos/{name}_01b.jpg", name, "human") for name in HUMAN]
    rows += [("dog_2", "photos/dog/dog_02s.jpg", "dog", "synthesis"), ("cat_2", "cat_02s.png", "cat", "synthesis")]
    rows += [("cup_1", "cup_01b.jpg", "cup", "test")]
    images = pd.DataFrame(rows, columns=["image", "path", "concept", "split"]).assign(category="thing")
    choices = pd.DataFrame(
        [["dog_id", "cat_id", "red_car_id", 2, "p"]], columns=[*tables.TRIPLET, "odd", "participant"]
    )
    return World("w", "human", None, ("concept", "category"), images, choices, None, shared_concepts="judged")


@pytest.fixture
def write(tmp_path):
    """A file of features with names, in one of the forms."""

    def made(names, rows=FEATURES, kind="npy", beside="file_names.txt"):
        rows, path = np.asarray(rows)[: len(names)], tmp_path / f"clip.{kind}"
        if kind == "npy":
            np.save(path, rows)
            (tmp_path / beside).write_text("".join(f"{name}\n" for name in names))
        elif kind == "npz":
            np.savez(path, features=rows, names=np.array(names))
        else:
            pd.DataFrame(rows, index=pd.Index(names, name="name")).to_csv(path)
        named = None if beside == "file_names.txt" else str(tmp_path / beside)
        return FeatureFile(features=str(path), names=named)

    return made


@pytest.mark.parametrize("kind", ["npy", "npz", "csv"])
def test_the_three_forms_give_the_same_names_and_numbers(write, kind):
    names, rows = feature_files.read(write(["a", "001", "NA", "d"], kind=kind))
    assert names == ["a", "001", "NA", "d"]
    assert rows.dtype == np.float32
    assert np.array_equal(rows, FEATURES)


def test_names_may_have_a_byte_order_mark_and_windows_line_ends_and_must_be_utf8(write, tmp_path):
    file = write(["a", "b"])
    (tmp_path / "file_names.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\r\n")
    assert feature_files.read(file)[0] == ["a", "b"]
    (tmp_path / "file_names.txt").write_bytes("ä\nb\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"file_names\.txt: is not UTF-8"):
        feature_files.read(file)


def test_a_table_whose_first_row_is_a_picture_is_refused(tmp_path):
    """pandas takes it for the names of columns, and the picture would be lost."""
    file = FeatureFile(features=str(tmp_path / "a.csv"), names=None)
    (tmp_path / "a.csv").write_text("dog,0.25,1.5\ncat,1,2\n")
    with pytest.raises(ValueError, match=r"a\.csv: row 1 holds numbers: give the columns names"):
        feature_files.read(file)
    (tmp_path / "a.csv").write_text("V1,V2\ndog,1,2\n")  # as R's write.table has it
    with pytest.raises(ValueError, match=r"a\.csv: is no table .*row 1 names fewer columns"):
        feature_files.read(file)
    (tmp_path / "a.csv").write_text("name,0,1\ndog,0.25,1.5\n007,1,2\n")
    assert feature_files.read(file)[0] == ["dog", "007"]


def test_names_may_stand_in_a_text_file_of_another_name(write):
    assert feature_files.read(write(["a", "b"], beside="mine.txt"))[0] == ["a", "b"]


def of(file, rows, by_concept=False):
    found, borrowed = feature_files.of_world(file, world(), torch.tensor(rows), by_concept)
    return found[:, 0].div(3).tolist(), borrowed.tolist()


@pytest.mark.parametrize(
    "names",
    [
        ["dog_id", "cat_id", "red_car_id", "dog_2"],  # ids
        ["x/dog_01b.jpg", "cat_01b.jpg", "y/z/red_car_01b.jpg", "dog_02s.jpg"],  # files, in whatever folder
        ["dog_01b", "cat_01b", "red_car_01b", "dog_02s"],  # without ending
        ["windows\\dog_01b.jpg", "cat_01b.png", "red_car_01b", "dog_2"],  # a mixture; another ending
        ["dog", "cat", "red_car", "dog_02s.jpg"],  # concepts: their judged photographs
    ],
)
def test_rows_are_joined_by_id_file_name_or_concept(write, names):
    assert of(write(names), [0, 1, 2, 3]) == ([0, 1, 2, 3], [False] * 4)
    assert of(write(names), [3, 0]) == ([3, 0], [False] * 2)


def test_rows_follow_their_names_and_not_their_order(write):
    assert of(write(["cat_01b.jpg", "other.jpg", "dog_01b.jpg"]), [0, 1]) == ([2, 0], [False, False])


def test_pictures_without_features_are_refused_with_count_names_and_advice(write):
    file = write(["dog", "cat", "red_car"])
    message = r"clip\.npy: has no features of 2 of 3 pictures, the first are dog_2, cat_2; synthesis\.by_concept: true"
    with pytest.raises(ValueError, match=message):
        of(file, [0, 3, 4])


def test_by_concept_they_get_those_of_their_concepts_photograph_and_are_told_apart(write):
    for names in (["dog", "cat", "red_car"], ["dog_01b.jpg", "cat_01b.jpg", "red_car_01b.jpg"]):
        assert of(write(names), [0, 3, 4], True) == ([0, 0, 1], [False, True, True])
    assert of(write(["dog", "cat", "red_car", "cat_02s.png"]), [3, 4], True) == ([0, 3], [True, False])
    with pytest.raises(ValueError, match=r"no features of 1 of 2 pictures, the first are cup_1$"):
        of(write(["dog"]), [0, 5], True)


def test_a_name_that_stands_twice_is_refused_only_where_it_is_asked_for(write):
    file = write(["dog_01b.jpg", "b/dog_01b.jpg", "cat_01b.jpg", "x"])
    assert of(file, [1]) == ([2], [False])
    with pytest.raises(ValueError, match=r"'dog_01b\.jpg' is the name of two rows"):
        of(file, [0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "clip.npy").unlink(), r"clip\.npy: no such file$"),
        (lambda folder: (folder / "file_names.txt").unlink(), r"file_names\.txt: no such file, which would name the r"),
        (lambda folder: (folder / "file_names.txt").write_text("a\n"), r"clip\.npy: 2 rows, and 1 names"),
        (lambda folder: (folder / "clip.npy").write_bytes(b"no array"), r"clip\.npy: cannot be read as \.npy"),
        (lambda folder: np.save(folder / "clip.npy", np.ones(2)), r"clip\.npy: is float64 of shape \(2,\), not pict"),
        (lambda folder: np.save(folder / "clip.npy", np.array([[1.0], [np.nan]])), "the features of 'b' are not fin"),
        (
            lambda folder: np.save(folder / "clip.npy", np.array([{}, {}]), allow_pickle=True),
            r"clip\.npy: cannot be read as \.npy \(Object arrays cannot be loaded",
        ),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_one_line(write, tmp_path, change, message):
    file = write(["a", "b"])
    change(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        feature_files.read(file)
    assert "\n" not in str(error.value)


def test_other_kinds_of_file_and_arrays_without_names_are_named(tmp_path):
    (tmp_path / "clip.mat").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"clip\.mat: is neither \.npy nor \.npz nor \.csv"):
        feature_files.read(FeatureFile(features=str(tmp_path / "clip.mat"), names=None))
    np.savez(tmp_path / "clip.npz", other=FEATURES)
    with pytest.raises(ValueError, match=r"clip\.npz: no array features; has other"):
        feature_files.read(FeatureFile(features=str(tmp_path / "clip.npz"), names=None))
    (tmp_path / "clip.csv").write_text("name,a\ndog,x\n")
    with pytest.raises(ValueError, match=r"clip\.csv: is no table of a name and numbers a row"):
        feature_files.read(FeatureFile(features=str(tmp_path / "clip.csv"), names=None))


def params(tmp_path, file, by_concept, **run):
    """A params file whose teacher reads `file`, and the world on disk."""
    import yaml

    (tmp_path / "pictures").mkdir(exist_ok=True)
    made = world()
    tables.write(made.__class__(**(vars(made) | {"pictures": tmp_path / "pictures"})), tmp_path / "data" / "world")
    entry = {"features": file.features, "names": file.names}
    changed = {"base": "params.yaml", "backbones": {"clip": entry}, "teacher": {"backbones": ["clip"]}}
    changed |= {"synthesis": {"by_concept": by_concept}, "run": {"backbones": ["clip", "lite0"]} | run}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(changed))
    chosen = argparse.Namespace(backbone="clip", params_file=str(tmp_path / "mine.yaml"), out_dir=str(tmp_path))
    return features.resolved(chosen)


def test_the_stage_stores_them_as_it_stores_computed_ones_and_names_borrowed_ones(write, tmp_path, capsys):
    job = params(tmp_path, write(["dog", "cat", "red_car", "cat_02s"]), True)
    assert isinstance(job.backbone, FeatureFile)
    features.extract(job)
    found = features.load(job, world())
    assert found[:5, 0].div(3).tolist() == [0, 1, 2, 0, 3]
    assert found[5].isnan().all()
    joined, widths = features.joined(tmp_path / "data", ["clip"], world(), torch.arange(5))
    assert (joined.shape, widths) == ((6, 3), [3])
    assert (tmp_path / "data" / "features" / "clip" / features.BORROWED).read_text() == "dog_2\n"
    assert features.borrowed(tmp_path / "data", ["clip"], world()) == 1
    assert "clip: 1 of 5 pictures have the features of their concept's" in capsys.readouterr().out


def test_a_student_cannot_be_a_file_of_features(write, tmp_path):
    job = params(tmp_path, write(["dog", "cat", "red_car"]), True, students=["clip"])
    with pytest.raises(ValueError, match=r"run\.students: 'clip' is a file of features: there is nothing to train"):
        features.extract(job)
