import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from alignet import config
from alignet.models import backbones, features, frozen
from alignet.student import network
from alignet.worlds.format import pictures, tables

BACKBONE = {"model": "vit_tiny_patch16_224", "options": {"img_size": 32, "depth": 1, "patch_size": 8}, "seed": 0}
BACKBONE |= {"weights": "random", "layer": "pooled", "picture_size": 32}
READING = {"batch_size": 4, "workers": 0, "precision": "float32", "cache_bytes": 0, "devices": 1}


@pytest.fixture
def job(tmp_path):
    """A world of seven pictures, which two processes cannot share equally."""
    folder, names = tmp_path / "data" / "world", [f"picture_{number}" for number in range(7)]
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{name}.png")
    splits = ["human"] * 3 + ["synthesis"] * 2 + ["test"] * 2
    images = pd.DataFrame({"image": names, "path": [f"images/{name}.png" for name in names], "concept": names})
    images.assign(split=splits).to_csv(folder / "images.csv", index=False)
    row = {f"image_{place}": names[place] for place in range(3)} | {"odd": 0, "participant": "a"}
    pd.DataFrame([row]).to_csv(folder / "triplets.csv", index=False)
    (folder / "world.yaml").write_text(yaml.safe_dump({"format": 1, "name": "seven", "hierarchy": ["concept"]}))
    params = tmp_path / "params.yaml"
    labels = {"signal_backbone": "w", "styles": "judged"}
    readers = {"teacher": {"backbones": ["t", "u"]}, "synthesis": labels, "run": {"students": ["s", "w"]}}
    params.write_text(yaml.safe_dump({"backbones": {"tiny": BACKBONE}, "features": READING} | readers))
    return features.Job("tiny", str(params), str(tmp_path))


def test_features_are_stored_with_the_pictures_they_are_of(job):
    found = features.run(job)
    assert found.shape == (7, 192)
    folder = config.folders(job.out_dir)[0] / "features" / "tiny"
    names = [f"picture_{number}" for number in range(7)]
    assert (folder / "images.txt").read_text().split() == names
    assert torch.equal(found, features.load_features(folder, names, torch.arange(7)))


@pytest.mark.parametrize(
    ("backbone", "rows"),
    [
        ("t", [0, 1, 2, 3, 4]),  # the teacher's: judged pictures and the synthesis split
        ("u", [0, 1, 2, 3, 4]),  # another of the teacher's
        ("w", [3, 4, 5, 6]),  # the signal check's, and a student's
        ("s", [5, 6]),  # a student's: the test split
        ("tiny", [0, 1, 2, 3, 4, 5, 6]),  # read by no stage
    ],
)
def test_only_pictures_that_later_stages_read_are_needed(job, backbone, rows):
    world = tables.read(config.folders(job.out_dir)[0] / "world")
    assert features.needed(world, backbone, job.params_file).tolist() == rows


def test_a_student_needs_the_pictures_that_evaluations_show_besides_the_test_split(job):
    world = tables.read(config.folders(job.out_dir)[0] / "world")
    held = world.triplets.assign(split="test")
    levels = world.triplets.assign(level="coarse", image_0="picture_5", image_1="picture_1", image_2="picture_6")
    for changed, rows in (({"triplets": held}, [0, 1, 2, 5, 6]), ({"levels": levels}, [1, 5, 6])):
        other = dataclasses.replace(world, **changed)
        assert other.scored_rows().tolist() == rows
        assert features.needed(other, "s", job.params_file).tolist() == rows


def as_student(job, settings, **backbone):
    """The job with its backbone as a student that starts from it."""
    params = yaml.safe_load(Path(job.params_file).read_text())
    params["backbones"]["tiny"] |= backbone
    params["run"]["students"], params["students"] = ["tiny"], {"tiny": settings}
    params["features"]["cache_bytes"] = 10**8
    Path(job.params_file).write_text(yaml.safe_dump(params))
    return job


def smoke(student):
    return config.values("params/smoke.yaml")["students"][student]


def test_a_students_features_are_of_the_test_split_and_unknown_elsewhere(job):
    found = features.run(as_student(job, smoke("vit")))
    assert found.isnan().all(1).tolist() == [True] * 5 + [False] * 2
    assert not found[5:].isnan().any()
    assert not (config.folders(job.out_dir)[0] / "frozen").exists()  # all of it is trained


def test_a_students_features_go_through_its_frozen_part_which_stays_stored(job):
    lite0 = {"model": "tf_efficientnet_lite0", "options": {}}
    found = features.run(as_student(job, smoke("lite0") | {"frozen_layers": ["conv_stem", "bn1", "blocks.0"]}, **lite0))
    (stored,) = (config.folders(job.out_dir)[0] / "frozen").iterdir()
    assert len(load_file(stored)["outputs"]) == 2
    plain = backbones.create(config.load("backbones.tiny", config.Backbone, job.params_file))
    folder = config.folders(job.out_dir)[0] / "world" / "images"
    shown = pictures.batches([folder / f"picture_{number}.png" for number in (5, 6)], 32, 2, 0)
    expected = backbones.features(plain, shown, "pooled", "float32", "plain")
    torch.testing.assert_close(found[5:], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_two_processes_give_the_features_of_one(job):
    alone = features.run(job)
    folder = config.folders(job.out_dir)[0] / "features" / "tiny"
    (folder / "features.npy").unlink()
    params = yaml.safe_load(Path(job.params_file).read_text())
    params["features"]["devices"] = 2
    Path(job.params_file).write_text(yaml.safe_dump(params))
    torch.testing.assert_close(features.run(job), alone)
    assert sorted(path.name for path in folder.iterdir()) == ["features.npy", "images.txt", "widths.txt"]


def test_several_layers_stand_beside_each_other_and_those_of_several_backbones_are_joined(job):
    params = yaml.safe_load(Path(job.params_file).read_text())
    params["backbones"]["tiny"] |= {"layer": ["blocks.0", "pooled"]}
    Path(job.params_file).write_text(yaml.safe_dump(params))
    both = features.run(job)
    model = backbones.create(config.load("backbones.tiny", config.Backbone, job.params_file))
    folder = config.folders(job.out_dir)[0] / "world" / "images"
    shown = list(pictures.batches([folder / f"picture_{number}.png" for number in range(7)], 32, 7, 0))
    for number, layer in enumerate(("blocks.0", "pooled")):
        expected = backbones.features(model, shown, layer, "float32", layer)
        torch.testing.assert_close(both[:, 192 * number : 192 * (number + 1)], expected, rtol=1e-4, atol=1e-4)
    data = config.folders(job.out_dir)[0]
    found, widths = features.joined(data, ["tiny", "tiny"], tables.read(data / "world"), torch.arange(7))
    assert widths == [192, 192, 192, 192]
    assert torch.equal(found, torch.cat([both, both], dim=1))
    with pytest.raises(ValueError, match=r"has no layer 'blocks\.7'"):
        backbones.create(config.Backbone(**(BACKBONE | {"layer": ["pooled", "blocks.7"]})))


def test_a_student_finds_what_its_features_stored(job):
    lite0 = {"model": "tf_efficientnet_lite0", "options": {}}
    settings = smoke("lite0") | {"frozen_layers": ["conv_stem", "bn1", "blocks.0"]}
    features.run(as_student(job, settings, **lite0))
    data, reading = config.folders(job.out_dir)[0], config.load("features", config.Features, job.params_file)
    chosen = config.load("students.tiny", config.Student, job.params_file)
    model = network.create(config.load("backbones.tiny", config.Backbone, job.params_file), chosen)
    part, world = network.split(model, chosen, 32), tables.read(data / "world")
    paths = world.paths(world.rows("test"))
    frozen.outputs(part, paths, 32, chosen.precision, reading, data / frozen.FOLDER)
    assert len(list((data / frozen.FOLDER).iterdir())) == 1


@pytest.mark.parametrize("students", [[], ["t"], ["u"], ["t", "u"]])
def test_of_two_backbones_the_teacher_reads_what_both_are_needed_for_whichever_is_a_student(job, students):
    params = yaml.safe_load(Path(job.params_file).read_text())
    params["run"]["students"] = students
    Path(job.params_file).write_text(yaml.safe_dump(params))
    data = config.folders(job.out_dir)[0]
    world = tables.read(data / "world")
    for number, name in enumerate(["t", "u"]):
        rows = features.needed(world, name, job.params_file)
        values = torch.full((len(rows), 2), float(number))
        features.save_features(data / "features" / name, values, world.images["image"].iloc[rows.tolist()])
    wanted = features.of_teacher(world, job.params_file)
    found, widths = features.joined(data, ["t", "u"], world, wanted)
    assert wanted.tolist() == [0, 1, 2, 3, 4]
    assert widths == [2, 2]
    assert found[wanted].tolist() == [[0, 0, 1, 1]] * 5
    assert found[5:].isnan().all()
