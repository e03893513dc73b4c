"""Floors by hand, the primary rows of tasks, and what seeds.csv makes of both."""

import math
from dataclasses import replace

import inputs
import pandas as pd
import pytest
import torch
from PIL import Image

from alignet import config
from alignet.evaluation import benchmarks, downstream, floors, seeds, tasks
from alignet.evaluation.episodes import Task
from alignet.worlds.format.tables import World


def test_a_histogram_of_colours_is_that_by_hand_and_does_not_see_where_colours_are():
    red, blue = torch.tensor([255, 0, 0]), torch.tensor([0, 0, 255])
    picture = torch.stack([red, red, red, blue]).T.reshape(1, 3, 2, 2).to(torch.uint8)
    found = floors.colour_histogram(picture, 4)
    assert found.shape == (1, 64)
    assert (found[0, 3 * 16], found[0, 3], found.sum()) == (0.75, 0.25, 1)
    assert torch.equal(found, floors.colour_histogram(picture.flip(3), 4))


def test_cells_have_the_mean_colour_of_their_pixels_and_see_where_it_is():
    picture = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    picture[0, 0, :2, :2] = 255
    found = floors.cell_colours(picture, 2)
    assert found[0].tolist() == [1, 0, 0, 0] + [0] * 8
    assert not torch.equal(found, floors.cell_colours(picture.flip(3), 2))


@pytest.fixture
def world(tmp_path):
    """Three pictures on disk, all scored."""
    names = [f"{number}.png" for number in range(3)]
    for name, picture in zip(names, inputs.random_pictures(3), strict=True):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / name)
    images = pd.DataFrame({"image": names, "path": names, "concept": names, "split": "test"})
    return World("w", "none", tmp_path, ("concept",), images, pd.DataFrame(), None)


def test_floors_that_are_kept_are_those_computed_to_the_last_bit_and_in_order(world, tmp_path, monkeypatch):
    students = {
        "b": inputs.backbone("resnet18"),
        "a": replace(inputs.backbone("tf_efficientnet_lite0"), picture_size=64),
    }
    settings = config.load("levels", config.Levels)
    reading = replace(config.load("features", config.Features), workers=0)
    computed = floors.representations(world, students, settings, reading)
    floors.representations(world, students, settings, reading, tmp_path)
    (stored,) = (tmp_path / "frozen").iterdir()
    with monkeypatch.context() as changed:
        changed.setattr(floors, "_computed", None)  # nothing is computed again
        kept = floors.representations(world, students, settings, reading, tmp_path)
    assert list(kept) == list(computed)
    assert [name for name, _, _ in kept] == ["64 colours", "4 x 4 pixels", "untrained b", "untrained a"]
    assert all(torch.equal(kept[key], computed[key]) for key in kept)
    for other in (replace(settings, floor_pixels=2), replace(settings, floor_untrained=False)):
        floors.representations(world, students, other, reading, tmp_path)
    Image.new("RGB", (32, 32)).save(tmp_path / "0.png")
    floors.representations(world, students, settings, reading, tmp_path)
    assert len(list((tmp_path / "frozen").iterdir())) == 4 and stored.is_file()
    floors.representations(world, students, settings, replace(reading, cache_bytes=0), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def scored(protocol, classifier, shots, task="emoji, class", **more):
    return {"task": task, "protocol": protocol, "classifier": classifier, "shots": shots, "accuracy": 0.5} | more


def test_the_primary_row_is_the_middle_number_of_shots_by_nearest_centroid():
    few = [scored("few-shot class", kind, shots) for kind in ("ridge", "centroid") for shots in (1, 2, 5, 10)]
    rows = pd.DataFrame([*few, scored("linear probe class", "logistic", math.nan)])
    chosen = rows[tasks.primary(rows)]
    assert chosen[["classifier", "shots"]].to_numpy().tolist() == [["centroid", 5]]


def test_a_task_without_few_shot_rows_has_its_first_protocol_and_classifier_and_one_without_scores_has_none():
    rows = pd.DataFrame(
        [
            scored("unseen subclasses", "centroid", math.nan, "Living-17"),
            scored("unseen subclasses", "logistic", math.nan, "Living-17"),
            scored("all", math.nan, math.nan, "DTD") | {"accuracy": math.nan},
        ]
    )
    assert tasks.primary(rows).tolist() == [True, False, False]


def test_leads_are_counted_once_a_task_after_correction():
    rows = pd.DataFrame({"student": "s", "target": "alignet", "primary": ["yes", "yes", "yes", "no"]})
    p = pd.Series([0.01, 0.03, 0.04, 0.0001])
    rows = rows.assign(over_control=[0.1, -0.1, 0.1, 0.1], over_control_holm=tasks.corrected(rows, p))
    assert rows["over_control_holm"].tolist() == pytest.approx([0.03, 0.06, 0.06, math.nan], nan_ok=True)
    assert tasks.leads(rows, "over_control") == (1, 0, 3)


def test_primary_rows_keep_their_mark_and_their_correction_over_seeds():
    draw = torch.Generator().manual_seed(0)
    parts = []
    for seed in range(3):
        table = []
        for number, labels in enumerate(("class", "domain")):
            of_task = Task("emoji", f"few-shot {labels}", 5, "centroid", 4, [None] * 8, labels)
            base = 0.4 + 0.02 * torch.rand(8, generator=draw).double()
            noise = 0.01 * torch.randn(2, 8, generator=draw).double()
            accuracy = {("s", "base"): base, ("s", "unalignet"): base + noise[0]}
            accuracy["s", "alignet"] = base + noise[1] + 0.2 * (number == 0)
            table += downstream.rows_of(of_task, accuracy)
        table = downstream._with_primary(pd.DataFrame(table)).reindex(columns=downstream.COLUMNS)
        none = {
            name: pd.DataFrame(
                columns=["student", "target", "study", "regime", "level", "against", "metric", "representation"]
            )
            for name in ("levels", "uncertainty", "similarity")
        }
        parts.append(benchmarks.tidy(none | {"downstream": table}).assign(seed=seed))
    found = seeds.summary(pd.concat(parts), {seed: {} for seed in range(3)})
    aligned = found[found["target"] == "alignet"]
    assert aligned["task"].tolist() == ["emoji, class", "emoji, domain"]
    assert tasks.leads(aligned, "over_control") == (1, 0, 2)
