import dataclasses
import math

import inputs
import pandas as pd
import pytest
import torch
from inputs import SMOKE
from torch import nn

from alignet import config
from alignet.evaluation import cost
from alignet.worlds.format.tables import World


def settings(**changes):
    return inputs.settings("cost", SMOKE, **changes)


def of_smoke(settings, world=None):
    names = config.names("students", SMOKE)
    students = {name: config.load(f"students.{name}", config.Student, SMOKE) for name in names}
    backbones = {name: config.load(f"backbones.{name}", config.Backbone, SMOKE) for name in names}
    teacher = config.load("teacher", config.Teacher, SMOKE)
    people = config.load("human_uncertainty", config.HumanUncertainty, SMOKE)
    networks = [config.backbone(name, SMOKE) for name in teacher.backbones]
    before = cost.Before(people, teacher, networks, config.value("synthesis.styles", SMOKE))
    return cost.table(students, backbones, settings, world or of_three(), before)


def of_three():
    """Three judged pictures, two to be labelled, and two choices."""
    names = [f"{split}_{n}" for split, n in (("human", 3), ("synthesis", 2), ("test", 1)) for n in range(n)]
    images = pd.DataFrame({"image": names, "path": names, "concept": names, "kind": "thing"})
    images["split"] = images["image"].str.split("_").str[0]
    rows = [["human_0", "human_1", "human_2", odd, f"p{odd}"] for odd in (0, 1)]
    choices = pd.DataFrame(rows, columns=["image_0", "image_1", "image_2", "odd", "participant"])
    return World("w", "human", None, ("concept", "kind"), images, choices, None)


@pytest.fixture(scope="module")
def table():
    return of_smoke(settings())


def test_a_forward_pass_is_counted_by_hand():
    layers = network(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1))
    assert cost.forward_flops(layers, 8) == 2 * 8 * 64 * 3 * 9 + 2 * 4 * 64 * 8


def test_what_is_done_once_for_all_students_stands_in_the_table(table):
    once = table[table["student"] == cost.ONCE].set_index("stage")
    assert {"teacher features", "VICE"} <= set(once.index)
    assert once["ratio_to_pretraining"].isna().all()
    names = config.value("teacher.backbones", SMOKE)
    assert once.loc["teacher features", "images"] == 5 * len(names)  # the judged pictures and those to be labelled
    assert (once["flops"] > 0).all()
    empty = dataclasses.replace(of_three(), triplets=of_three().triplets[:0], choices="none")
    assert cost.ONCE not in set(of_smoke(settings(), empty)["student"])


def test_vice_and_the_fits_are_counted_by_hand():
    people = inputs.settings("human_uncertainty", max_epochs=2, batch_size=4, dimensions=5)
    flops, read = cost.vice_flops(10, 7, people)
    assert read == 2 * 10
    assert flops == 20 * 3 * 3 * 2 * 5 + 2 * 3 * cost.UPDATE * 2 * 7 * 5
    assert cost.vice_flops(10, 7, dataclasses.replace(people, uncertainty="empirical")) == (0, 0)
    grid = [{"regularisation": [0.0, 1.0]}, {"steps": [30]}]
    teacher = inputs.settings("teacher", pca=6, folds=2, steps=10, batch_size=8, grid=grid)
    flops, read = cost.fits_flops(9, teacher)
    steps = 2 * (10 + 10 + 30) + 10
    assert read == steps * 8
    assert flops == steps * (4 * 9 * 36 + 8 * 18 * 6)
    assert cost.fits_flops(9, dataclasses.replace(teacher, pca=None)) == (0, 0)


def network(*layers):
    return nn.Sequential(*layers, nn.Flatten())


def test_a_convolutions_forward_and_weight_gradient_are_counted_by_hand():
    # 8 outputs of 8 x 8 pixels, each from 3 inputs of 3 x 3, two operations each; the pictures need no gradient
    forward = 2 * 8 * 8 * 8 * 3 * 3 * 3
    assert cost.training_flops(network(nn.Conv2d(3, 8, 3, padding=1)), 8) == 2 * forward


def test_a_later_convolution_costs_its_forward_pass_three_times():
    first, second = 2 * 8 * 64 * 3, 2 * 4 * 64 * 8 * 9
    both = network(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 3, padding=1))
    assert cost.training_flops(both, 8) == 2 * first + 3 * second


def test_a_depthwise_convolution_is_counted_by_its_groups():
    first, depthwise = 2 * 8 * 64 * 3, 2 * 8 * 64 * 9
    both = network(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8))
    assert cost.training_flops(both, 8) == 2 * first + 3 * depthwise


def test_a_frozen_layer_has_no_backward_pass():
    first, second = 2 * 8 * 64 * 3, 2 * 4 * 64 * 8
    both = network(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1))
    both[0].requires_grad_(False)
    assert cost.training_flops(both, 8) == first + 2 * second


def test_a_transposed_and_a_strided_convolution_are_counted_once_each_way():
    strided = network(nn.Conv2d(3, 8, 2, stride=2))
    assert cost.training_flops(strided, 8) == 2 * (2 * 8 * 16 * 3 * 4)
    transposed = network(nn.ConvTranspose2d(3, 8, 2, stride=2))
    assert cost.training_flops(transposed, 8) == 2 * (2 * 64 * 3 * 8 * 4)


def test_a_linear_layer_is_counted_by_hand():
    assert cost.training_flops(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 5)), 4) == 2 * (2 * 48 * 5)


def test_the_published_vit_b_costs_about_three_times_its_35_billion_operations():
    assert cost._published_flops("vit_base_patch16_224", 224) == pytest.approx(3 * 35.1e9, rel=0.01)


def test_alignments_row_is_steps_times_pictures_times_one_pictures_operations(table):
    aligned = table[(table["student"] == "lite0") & (table["stage"] == "alignment")].iloc[0]
    assert aligned["images"] == 2 * 4 * 2
    assert aligned["flops"] % aligned["images"] == 0
    assert "seconds" not in table  # the saved table is the same in every clone
    before = table[(table["student"] == "lite0") & (table["stage"] == "pretraining")].iloc[0]
    assert before["images"] == 218949 * 2048
    assert aligned["ratio_to_pretraining"] == pytest.approx(aligned["flops"] / before["flops"])
    assert before["basis"] == "published"


def test_a_student_without_published_pretraining_has_no_ratio_and_no_pretraining(table):
    rows = table[table["student"] == "vit"]
    assert rows["stage"].tolist() == ["alignment"]
    assert math.isnan(rows["ratio_to_pretraining"].iloc[0])


def test_at_the_papers_scale_the_ratio_is_that_of_the_pictures(table):
    paper = table[table["student"].str.endswith("(paper)")].set_index("stage")
    assert paper.loc["alignment", "images"] == 100_000 * 512 * 3
    expected = paper.loc["alignment", "images"] / paper.loc["pretraining", "images"]
    assert paper.loc["alignment", "ratio_to_pretraining"] == pytest.approx(expected)


def test_a_student_without_an_entry_is_refused_by_name():
    with pytest.raises(ValueError, match=r"cost\.pretraining has no entry for student 'lite0'"):
        of_smoke(settings(pretraining={"vit": None}))


def test_a_step_of_a_release_file_forwards_at_most_three_pictures_a_triplet():
    student = config.load("students.vit", config.Student, SMOKE, source="file", batch_triplets=5)
    assert cost.step_images(student) == 15
    assert cost.step_images(config.load("students.vit", config.Student, SMOKE)) == 8


def test_counting_computes_nothing():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten())
    cost.training_flops(network, 4)
    assert all(weight.device == torch.device("meta") for weight in network.parameters())


@pytest.mark.parametrize("file", ["params.yaml", "params/paper.yaml", SMOKE])
def test_every_profile_has_an_entry_for_each_of_its_students(file):
    entries = config.load("cost", config.Cost, file).pretraining
    assert set(config.names("students", file)) <= set(entries)
    assert all(entry is None or set(entry) == {"images", "picture_size"} for entry in entries.values())
