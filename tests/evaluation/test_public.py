import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision import datasets

from alignet import config
from alignet.evaluation import downstream
from alignet.evaluation.data import public
from alignet.models.backbones import Embedder
from alignet.worlds.format.tables import WorldError

COLOURS = {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}
FEATURES = config.Features(batch_size=8, workers=0, precision="float32", cache_bytes=0, devices=1)
SETTINGS = config.Downstream(
    seed=0,
    shots=[1],
    centroid_draws=3,
    logistic_draws=2,
    ridge_draws=2,
    probe_draws=2,
    logistic_iterations=100,
    ridge=0.1,
    bootstrap=50,
    corruptions=[],
    public=[],
    public_shots=[1],
    public_pictures_per_class=4,
)


class MeanColour(torch.nn.Module):
    """Stands in for a timm model: a picture's mean colour."""

    head_hidden_size = 3

    def forward(self, shown):
        return shown.mean((2, 3))


MODEL = Embedder(MeanColour(), mean=(0, 0, 0), std=(1 / 255, 1 / 255, 1 / 255))
STUDENTS = {("m", target): (MODEL, 8) for target in ("base", "unalignet", "alignet")}


def image_folder(folder, classes=COLOURS, count=6):
    for name, colour in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (12, 10), colour).save(folder / name / f"{number}.png")


def cifar(root, monkeypatch):
    """CIFAR-100's two pickles and its class names; torchvision's checksums, of the real files, are set aside."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    names, labels = list(COLOURS), [n % 3 for n in range(12)]
    data = np.stack([np.broadcast_to(np.array(COLOURS[names[n]])[:, None], (3, 1024)).ravel() for n in labels])
    for file in ("train", "test"):
        (folder / file).write_bytes(pickle.dumps({"data": data.astype(np.uint8), "fine_labels": labels}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    monkeypatch.setattr(datasets.CIFAR100, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)


def dtd(root):
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    image_folder(folder / "images")
    files = [f"{path.parent.name}/{path.name}" for path in sorted((folder / "images").rglob("*.png"))]
    for part in ("train", "test"):
        (folder / "labels" / f"{part}1.txt").write_text("\n".join(files))


def birds(root):
    """CUB-200-2011's two tables: of each class the first three pictures are for training."""
    folder = root / "CUB_200_2011"
    image_folder(folder / "images")
    files = [path.relative_to(folder / "images").as_posix() for path in sorted((folder / "images").rglob("*.png"))]
    (folder / "images.txt").write_text("".join(f"{n + 1} {file}\n" for n, file in enumerate(files)))
    parts = [f"{n + 1} {int(int(file.split('/')[1][0]) < 3)}\n" for n, file in enumerate(files)]
    (folder / "train_test_split.txt").write_text("".join(parts))


def test_birds_are_split_as_their_authors_split_them(tmp_path):
    birds(tmp_path)
    tested, learnt, _ = public.available("Caltech-Birds", str(tmp_path))
    assert len(tested) == len(learnt) == 9
    assert not {path for path, _ in tested.samples} & {path for path, _ in learnt.samples}
    assert all(path.endswith(("0.png", "1.png", "2.png")) for path, _ in learnt.samples)


def test_imagenet_a_is_learnt_from_imagenets_pictures_of_its_classes(tmp_path):
    image_folder(tmp_path / "imagenet-a", {"green": COLOURS["green"], "red": COLOURS["red"]})
    image_folder(tmp_path / "train")  # has a class more, and before the others
    entry = {"name": "ImageNet-A", "root": str(tmp_path), "train": str(tmp_path / "train")}
    table = rows(entry)
    assert (table["accuracy"] == 1).all()
    assert set(table["protocol"]) == {"learnt from ImageNet"}
    assert set(table["classes"]) == {2}
    image_folder(tmp_path / "other", {"green": COLOURS["red"], "red": COLOURS["green"]})  # labels the other way round
    assert (rows(entry | {"train": str(tmp_path / "other")})["accuracy"] == 0).all()
    (row,) = rows(entry | {"train": str(tmp_path / "nowhere")}).to_dict("records")
    assert row["note"] == f"skipped: no folder {tmp_path / 'nowhere' / 'green'}, which it is learnt from"


def rows(entry):
    return pd.DataFrame(downstream._public_rows(entry, STUDENTS, FEATURES, SETTINGS))


def test_an_unknown_data_set_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"downstream.public: 'MNIST' is none of DTD, "):
        public.available("MNIST", str(tmp_path))


@pytest.mark.parametrize("name", [name for name in public.KNOWN if name not in public.BREEDS])
def test_a_data_set_that_is_not_on_disk_is_one_line_of_the_table(tmp_path, name):
    (row,) = rows({"name": name, "root": str(tmp_path)}).to_dict("records")
    assert row["dataset"] == name
    assert row["note"] == f"skipped: no folder {tmp_path / public.KNOWN[name][0]}"


@pytest.mark.parametrize("name", ["DTD", "EuroSAT", "ImageNet-A", "CIFAR100", "SUN397", "StanfordCars", "Flowers102"])
def test_a_folder_that_holds_something_else_is_one_line_too(tmp_path, name):
    (tmp_path / public.KNOWN[name][0]).mkdir()
    dataset, _, why = public.available(name, str(tmp_path))
    assert dataset is None
    assert why.startswith(f"skipped: {tmp_path} is not as torchvision expects (")
    assert "\n" not in why


FOLDERS = {
    "EuroSAT": "eurosat/2750",
    "UC-Merced": "UCMerced_LandUse/Images",
    "Colorectal": "Kather_texture_2016_image_tiles_5000",
    "Caltech101": "caltech101/101_ObjectCategories",
}


@pytest.mark.parametrize("name", ["DTD", "CIFAR100", "Caltech-Birds", *FOLDERS])
def test_a_data_set_in_its_published_format_is_read_and_scored(tmp_path, monkeypatch, name):
    if name == "DTD":
        dtd(tmp_path)
    elif name == "CIFAR100":
        cifar(tmp_path, monkeypatch)
    elif name == "Caltech-Birds":
        birds(tmp_path)
    else:
        image_folder(tmp_path / FOLDERS[name])
    dataset, learnt, why = public.available(name, str(tmp_path))
    assert why == ""
    assert (learnt is None) == (name in FOLDERS)
    assert set(public.targets(dataset).tolist()) == {0, 1, 2}
    table = rows({"name": name, "root": str(tmp_path)})
    assert (table["accuracy"] == 1).all()  # a class is a colour, and the model sees colour
    assert set(table["protocol"]) == ({"few-shot", "linear probe"} if learnt is None else {"few-shot, official splits"})
    assert set(table["classifier"]) == {"centroid", "logistic", "ridge"}
    assert set(table.loc[table["classifier"] == "ridge", "draws"]) == {2}
    assert set(table["target"]) == {"base", "unalignet", "alignet"}
    assert table["chance"].tolist() == [1 / 3] * len(table)


def test_pictures_are_resized_whole_and_a_broken_one_is_named(tmp_path):
    image_folder(tmp_path / "imagenet-a", count=2)
    dataset, *_ = public.available("ImageNet-A", str(tmp_path))
    shown = public.pictures(dataset, torch.tensor([0, 5]), 6)
    assert shown.shape == (2, 3, 6, 6)
    assert shown.dtype == torch.uint8
    assert shown.float().mean((2, 3)).tolist() == [list(COLOURS["blue"]), list(COLOURS["red"])]
    (tmp_path / "imagenet-a" / "blue" / "0.png").write_bytes(b"no picture")
    with pytest.raises(WorldError, match=r"ImageFolder, picture 0: cannot be read as a picture"):
        public.pictures(dataset, torch.tensor([0]), 6)


def test_some_of_each_class_are_drawn_the_same_for_a_seed():
    labels = torch.tensor([0] * 5 + [1] * 2 + [2] * 9)
    drawn = [public.some_of_each(labels, 3, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.bincount(labels[drawn[0]]).tolist() == [3, 2, 3]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


LISTS = "superclass,class,split\nwarm,red,source\nwarm,orange,target\ncold,blue,source\ncold,cyan,target\n"
SHADES = {"blue": (0, 0, 200), "cyan": (0, 100, 200), "orange": (200, 100, 0), "other": (9, 9, 9), "red": (200, 0, 0)}


def test_breeds_learns_from_source_and_is_tested_on_target_subclasses(tmp_path):
    image_folder(tmp_path / "val", SHADES)
    (tmp_path / "breeds.csv").write_text(LISTS)
    table = rows({"name": "Living-17", "root": str(tmp_path / "val"), "lists": str(tmp_path / "breeds.csv")})
    assert set(table["classifier"]) == {"centroid", "logistic"}
    assert set(table["protocol"]) == {"unseen subclasses"}
    assert (table["accuracy"] == 1).all()  # orange is warm and cyan is cold
    assert set(table["classes"]) == {2}
    assert set(table["draws"]) == {2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("superclass,class\nwarm,red\n", "missing column split"),
        (LISTS + "cold,violet,source\n", "column class, row 6: 'violet' is no folder of the data set"),
        (LISTS.replace("cyan,target", "cyan,test"), "column split, row 5: 'test' is neither source nor target"),
        (
            LISTS.replace("orange,target", "orange,source"),
            "column superclass, row 2: 'warm' lacks a source or a target",
        ),
        (LISTS + "warm,blue,source\n", "column class, row 6: 'blue' stands twice"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_with_file_row_and_value(tmp_path, text, message):
    (tmp_path / "breeds.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        public.breeds(str(tmp_path / "breeds.csv"), list(SHADES))
    assert str(tmp_path / "breeds.csv") in str(error.value)


def test_lists_that_are_not_there_are_one_line_of_the_table(tmp_path):
    image_folder(tmp_path / "val", SHADES)
    entry = {"name": "Entity-13", "root": str(tmp_path / "val"), "lists": str(tmp_path / "breeds.csv")}
    (row,) = rows(entry).to_dict("records")
    assert row["note"].startswith(f"skipped: no file {tmp_path / 'breeds.csv'}, a row of superclass, class and split")
