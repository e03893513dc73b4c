import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from alignet import config
from alignet.models import backbones, features
from alignet.student import network
from alignet.worlds.format import pictures, roles, tables
from alignet.worlds.format.roles import Roles

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
    backbone, reading = config.Backbone(**BACKBONE), config.Features(**READING)
    of = {"backbone": backbone, "reading": reading, "roles": in_roles(), "data": tmp_path / "data"}
    return features.Job(name="tiny", by_concept=False, **of)


def in_roles(*names):
    given = {name: name in names for name in ("teacher", "signal_check", "student")}
    return Roles(**given, styles="judged")


def test_features_are_stored_with_the_pictures_they_are_of(job):
    found = features.run(job)
    assert found.shape == (7, 192)
    folder = job.data / "features" / "tiny"
    names = [f"picture_{number}" for number in range(7)]
    assert (folder / "images.txt").read_text().split() == names
    assert torch.equal(found, features.load_features(folder, names, torch.arange(7)))


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["teacher"], [0, 1, 2, 3, 4]),  # judged pictures and the synthesis split
        (["signal_check"], [3, 4]),
        (["signal_check", "student"], [3, 4, 5, 6]),
        (["student"], [5, 6]),  # the test split
        (["teacher", "student"], [0, 1, 2, 3, 4, 5, 6]),
        ([], [0, 1, 2, 3, 4, 5, 6]),  # read by no stage
    ],
)
def test_only_pictures_that_later_stages_read_are_needed(job, names, rows):
    world = tables.read(job.data / "world")
    assert roles.rows(world, in_roles(*names)).tolist() == rows
    groups = roles.apart(world, torch.tensor(rows))
    assert {len({world.images["split"][rows[place]] for place in group.tolist()}) for group in groups} == {1}
    assert torch.cat(groups).sort().values.tolist() == [*range(len(rows))]


def test_what_is_not_needed_is_unknown(job):
    found = features.run(dataclasses.replace(job, roles=in_roles("student")))
    assert found.isnan().all(1).tolist() == [True] * 5 + [False] * 2
    assert not found[5:].isnan().any()


def test_a_student_needs_the_pictures_that_evaluations_show_besides_the_test_split(job):
    world = tables.read(job.data / "world")
    held = world.triplets.assign(split="test")
    levels = world.triplets.assign(level="coarse", image_0="picture_5", image_1="picture_1", image_2="picture_6")
    for changed, rows in (({"triplets": held}, [0, 1, 2, 5, 6]), ({"levels": levels}, [1, 5, 6])):
        other = dataclasses.replace(world, **changed)
        assert other.scored_rows().tolist() == rows
        assert roles.rows(other, in_roles("student")).tolist() == rows


@pytest.mark.parametrize("more", [(), ("signal_check",), ("teacher",)])
def test_a_students_features_are_those_that_the_student_computes(job, more):
    lite0 = config.Backbone(**BACKBONE | {"model": "tf_efficientnet_lite0", "options": {}})
    found = features.run(dataclasses.replace(job, backbone=lite0, roles=in_roles("student", *more)))
    settings = config.load("students.lite0", config.Student, "params/smoke.yaml")
    model, shown = network.create(lite0, settings), tables.read(job.data / "world").paths(torch.tensor([5, 6]))
    expected, _ = network.represent(model, [pictures.stack(shown, 32, 0)], "float32")
    assert torch.equal(found[5:], expected)  # in other batches it would be rounded otherwise
    folded = features.run(dataclasses.replace(job, backbone=lite0))[5:]
    assert not torch.equal(folded, expected)
    torch.testing.assert_close(folded, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_two_processes_give_the_features_of_one(job):
    alone = features.run(job)
    folder = job.data / "features" / "tiny"
    (folder / "features.npy").unlink()
    in_two = dataclasses.replace(job, reading=dataclasses.replace(job.reading, devices=2))
    torch.testing.assert_close(features.run(in_two), alone)
    assert sorted(path.name for path in folder.iterdir()) == ["features.npy", "images.txt", "widths.txt"]


def test_several_layers_stand_beside_each_other_and_those_of_several_backbones_are_joined(job):
    backbone = config.Backbone(**BACKBONE | {"layer": ["blocks.0", "pooled"]})
    both, model = features.run(dataclasses.replace(job, backbone=backbone)), backbones.create(backbone)
    folder = job.data / "world" / "images"
    shown = list(pictures.batches([folder / f"picture_{number}.png" for number in range(7)], 32, 7, 0))
    for number, layer in enumerate(("blocks.0", "pooled")):
        expected = backbones.features(model, shown, layer, "float32", layer)
        torch.testing.assert_close(both[:, 192 * number : 192 * (number + 1)], expected, rtol=1e-4, atol=1e-4)
    world = tables.read(job.data / "world")
    found, widths = features.joined(job.data, ["tiny", "tiny"], world, torch.arange(7))
    assert widths == [192, 192, 192, 192]
    assert torch.equal(found, torch.cat([both, both], dim=1))
    with pytest.raises(ValueError, match=r"has no layer 'blocks\.7'"):
        backbones.create(config.Backbone(**(BACKBONE | {"layer": ["pooled", "blocks.7"]})))


@pytest.mark.parametrize("students", [[], ["t"], ["u"], ["t", "u"]])
def test_of_two_backbones_the_teacher_reads_what_both_are_needed_for_whichever_is_a_student(job, students):
    world = tables.read(job.data / "world")
    for number, name in enumerate(["t", "u"]):
        rows = roles.rows(world, in_roles("teacher", *(["student"] if name in students else [])))
        values = torch.full((len(rows), 2), float(number))
        features.save_features(job.data / "features" / name, values, world.images["image"].iloc[rows.tolist()])
    wanted = roles.of_teacher(world, "judged")
    found, widths = features.joined(job.data, ["t", "u"], world, wanted)
    assert wanted.tolist() == [0, 1, 2, 3, 4]
    assert widths == [2, 2]
    assert found[wanted].tolist() == [[0, 0, 1, 1]] * 5
    assert found[5:].isnan().all()
