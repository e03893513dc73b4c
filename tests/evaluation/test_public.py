import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision import datasets

from alignet import config
from alignet.evaluation import downstream
from alignet.evaluation.data import breeds, public
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


@pytest.mark.parametrize("name", [*public.KNOWN])
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


def test_all_test_pictures_are_tested_whatever_the_shots_are_drawn_from(tmp_path):
    image_folder(tmp_path / FOLDERS["EuroSAT"])  # six pictures a class, of which four may be drawn with official splits
    dataset, *_ = public.available("EuroSAT", str(tmp_path))
    labels, _, second = downstream._embedded([(dataset, None)], STUDENTS, FEATURES, SETTINGS)
    assert torch.bincount(labels).tolist() == [6, 6, 6]
    assert not second.any()
    labels, _, second = downstream._embedded([(dataset, None), (dataset, 4)], STUDENTS, FEATURES, SETTINGS)
    assert torch.bincount(labels[~second]).tolist() == [6, 6, 6]
    assert torch.bincount(labels[second]).tolist() == [4, 4, 4]


def test_pictures_are_decoded_in_parts_with_equal_features(tmp_path, monkeypatch):
    image_folder(tmp_path / FOLDERS["EuroSAT"], SHADES)
    dataset, *_ = public.available("EuroSAT", str(tmp_path))
    whole = downstream._embedded([(dataset, None)], STUDENTS, FEATURES, SETTINGS)[1]
    monkeypatch.setattr(downstream, "TOGETHER", 7)
    parts = downstream._embedded([(dataset, None)], STUDENTS, FEATURES, SETTINGS)[1]
    for key, layers in whole.items():
        assert torch.equal(parts[key]["pooled"], layers["pooled"])


SHADES = {"blue": (0, 0, 200), "cyan": (0, 100, 200), "orange": (200, 100, 0), "other": (9, 9, 9), "red": (200, 0, 0)}
ROOT = breeds.ROOT_NODE


def hierarchy(folder, edges, leaves, names=()):
    """The authors' three files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "class_hierarchy.txt").write_text("".join(f"{parent} {child}\n" for parent, child in edges))
    (folder / "node_names.txt").write_text("".join(f"{node}\t{name}\n" for node, name in names))
    rows = [[number, leaf, f"{leaf}, of many names"] for number, leaf in enumerate(leaves)]
    (folder / "dataset_class_info.json").write_text(json.dumps(rows))
    return folder


COLOUR_EDGES = [(ROOT, "w"), (ROOT, "c"), ("w", "red"), ("w", "orange"), ("c", "blue"), ("c", "cyan"), (ROOT, "empty")]
COLOUR_EDGES += [(ROOT, "other")]


@pytest.fixture
def colours(tmp_path, monkeypatch):
    """Two superclasses, warm and cold, of two classes each, and pictures of all in train/ and val/."""
    monkeypatch.setitem(breeds.RULES, "Living-17", (1, 2, ROOT))
    leaves = ["red", "orange", "blue", "cyan", "other"]
    hierarchy(tmp_path / "breeds", COLOUR_EDGES, leaves, [("w", "warm"), ("c", "cold")])
    image_folder(tmp_path / "train", SHADES)
    image_folder(tmp_path / "val", SHADES, count=2)
    places = {"root": tmp_path / "val", "train": tmp_path / "train", "hierarchy": tmp_path / "breeds"}
    return {"name": "Living-17"} | {name: str(place) for name, place in places.items()}


def test_breeds_learns_from_all_source_pictures_and_is_tested_on_target_subclasses(colours):
    table = rows(colours)
    assert set(table["classifier"]) == {"centroid", "logistic", "ridge"}
    assert set(table["protocol"]) == {"unseen subclasses"}
    assert (table["accuracy"] == 1).all()  # orange is warm and cyan is cold
    assert set(table["classes"]) == {2}
    assert set(table["draws"]) == {1}


def test_a_missing_part_of_breeds_is_one_line_of_the_table(colours, tmp_path):
    (row,) = rows(colours | {"hierarchy": str(tmp_path / "nowhere")}).to_dict("records")
    assert row["note"].startswith(f"skipped: no file {tmp_path}/nowhere/class_hierarchy.txt (imagenet_class_hierarchy")
    for folder, use in (("train", "learnt from"), ("root", "tested on")):
        (row,) = rows(colours | {folder: str(tmp_path / "nowhere")}).to_dict("records")
        assert row["note"].startswith(f"skipped: no folder {tmp_path}/nowhere/")
        assert row["note"].endswith(f", which it is {use}")


def test_the_superclasses_are_nodes_at_one_depth_with_enough_classes_whose_halves_are_disjoint(colours, tmp_path):
    table = breeds.lists("Living-17", tmp_path / "breeds")
    assert sorted(set(table["superclass"])) == ["cold", "warm"]  # neither a node without classes nor a class
    assert set(table["class"]) == {"red", "orange", "blue", "cyan"}
    assert table.groupby(["superclass", "split"]).size().tolist() == [1, 1, 1, 1]


def test_a_depth_is_that_of_the_longest_way_and_a_chain_of_single_children_is_followed(tmp_path, monkeypatch):
    monkeypatch.setitem(breeds.RULES, "Living-17", (2, 2, ROOT))
    edges = [(ROOT, "a"), ("a", "s"), (ROOT, "s"), ("s", "only"), ("only", "x"), ("only", "y"), (ROOT, "z")]
    table = breeds.lists("Living-17", hierarchy(tmp_path / "breeds", edges, ["x", "y", "z"]))
    assert set(table["superclass"]) == {"s"}
    assert sorted(table["class"]) == ["x", "y"]


def test_draws_are_those_of_the_authors_generator(tmp_path, monkeypatch):
    """Their rule, by hand: RandomState(2).choice of the sorted classes, superclass by superclass in sorted order."""
    monkeypatch.setitem(breeds.RULES, "Living-17", (1, 4, ROOT))
    leaves = {node: [f"{node}{n}" for n in range(6)] for node in ("b", "a")}
    edges = [edge for node, below in leaves.items() for edge in [(ROOT, node), *((node, leaf) for leaf in below)]]
    folder = hierarchy(tmp_path / "breeds", edges, [leaf for below in leaves.values() for leaf in below])
    generator = np.random.RandomState(2)
    expected = [generator.choice(leaves[node], 4, replace=False).tolist() for node in ("a", "b")]
    table = breeds.lists("Living-17", folder)
    assert table["class"].tolist() == expected[0] + expected[1]
    assert table["split"].tolist() == ["source", "source", "target", "target"] * 2


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("class_hierarchy.txt", "one two three\n", r"is not BREEDS' class hierarchy"),
        ("node_names.txt", "n1 without a tab\n", r"is not BREEDS' class hierarchy"),
        ("dataset_class_info.json", "{", r"is not BREEDS' class hierarchy"),
        ("class_hierarchy.txt", "a red\n", rf"class_hierarchy\.txt: has no root {ROOT}"),
    ],
)
def test_files_that_are_no_hierarchy_are_refused_by_name(colours, tmp_path, file, text, message):
    (tmp_path / "breeds" / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        breeds.lists("Living-17", tmp_path / "breeds")
