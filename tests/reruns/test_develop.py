import dataclasses
from pathlib import Path

import inputs
import pandas as pd
import pytest
import torch

from alignet import config
from alignet.people.by_level import ByLevel
from alignet.people.vice import Posterior
from alignet.pipeline import preflight
from alignet.reruns import ablate, develop
from alignet.worlds.format import tables
from alignet.worlds.format.tables import World

JUDGED, CLASSES = 36, 6  # concepts of the human split, and their classes


@pytest.fixture
def world():
    """Two pictures of each concept: 36 judged, four that only test rows show, six for synthesis, four of the test."""
    rows, parts = [], [("human", JUDGED), ("held", 4), ("synthesis", 6), ("test", 4)]
    for part, count in parts:
        for number in range(count):
            label = {"concept": f"{part}{number:02d}", "class": f"class{number % CLASSES}"}
            split = "human" if part == "held" else part
            rows += [{"image": f"{part}{number:02d}_{k}", "path": f"{part}{number}_{k}.png"} | label for k in (0, 1)]
            rows[-1]["split"] = rows[-2]["split"] = split
    images = pd.DataFrame(rows)
    chosen = inputs.random_triplets(torch.arange(JUDGED), 400)
    shown = [[f"human{number:02d}_0" for number in row] for row in chosen.tolist()]
    triplets = pd.DataFrame(shown, columns=["image_0", "image_1", "image_2"]).assign(split="train")
    test = pd.DataFrame([["held00_0", "held01_0", "held02_0"]], columns=["image_0", "image_1", "image_2"])
    triplets = pd.concat([triplets, test.assign(split="test")], ignore_index=True).assign(odd=0, participant="p")
    return World("tiny", "human", Path("nowhere"), ("concept", "class"), images, triplets, None)


@pytest.fixture
def by_level(world):
    objects = torch.full((len(world.images),), -1)
    objects[: 2 * JUDGED] = torch.arange(2 * JUDGED) // 2
    mu = torch.rand(JUDGED, 4, generator=inputs.generator()) * 3
    pictures, sigma = torch.arange(2 * JUDGED), torch.full_like(mu, 0.01)
    return ByLevel(Posterior(mu, sigma), objects, world.codes("class"), pictures, samples=3, seed=0)


def test_every_fifth_judged_concept_is_tested_and_no_fit_sees_it(world, by_level):
    found = develop.development_world(world, by_level, inputs.settings("human_uncertainty"))
    concepts = found.images.groupby("split")["concept"].agg(set)
    assert len(concepts["test"]) == -(-JUDGED // 5)
    assert len(concepts["human"]) == JUDGED - len(concepts["test"])
    assert concepts["test"] | concepts["human"] == {f"human{number:02d}" for number in range(JUDGED)}
    assert concepts["synthesis"] == {f"synthesis{number:02d}" for number in range(6)}
    shown = set(found.triplets[["image_0", "image_1", "image_2"]].to_numpy().ravel())
    assert {name[:-2] for name in shown} <= concepts["human"]
    levels = set(found.levels[["image_0", "image_1", "image_2"]].to_numpy().ravel())
    assert {name[:-2] for name in levels} <= concepts["test"]


def test_the_world_can_be_written_and_read_and_says_that_its_choices_are_derived(world, by_level, tmp_path):
    found = develop.development_world(world, by_level, inputs.settings("human_uncertainty"))
    tables.write(found, tmp_path / "world")
    read = tables.read(tmp_path / "world")
    assert read.choices == "derived"
    assert read.levels.groupby(["level", "image_0", "image_1", "image_2"]).size().min() >= develop.ANSWERS
    assert set(read.levels["level"]) == {"coarse", "boundary", "fine"}


def test_choices_by_name_and_shared_concepts_follow_the_new_test_split(world, by_level, tmp_path):
    names = [f"human{number:02d}" for number in range(JUDGED)]
    rows = [(names[n], names[(n + 1) % JUDGED], "unicorn", 2, "p") for n in range(JUDGED)]
    by_name = pd.DataFrame(rows, columns=["concept_0", "concept_1", "concept_2", "odd", "participant"])
    images = world.images.copy()
    images.loc[1, "split"] = "synthesis"  # another picture of a judged concept
    images.loc[3, "split"] = "synthesis"
    images.loc[5, "split"] = "synthesis"
    shared = dataclasses.replace(world, images=images, shared_concepts="judged", concept_choices=by_name)
    by_level = dataclasses.replace(by_level, pictures=shared.rows("human")[: 2 * JUDGED - 3])
    found = develop.development_world(shared, by_level, inputs.settings("human_uncertainty"))
    tables.write(found, tmp_path / "world")
    read = tables.read(tmp_path / "world")
    tested = set(read.images.loc[read.images["split"] == "test", "concept"])
    assert 0 < len(read.concept_choices) < JUDGED
    assert not tested & set(read.concept_choices[["concept_0", "concept_1", "concept_2"]].to_numpy().ravel())


def scores(**variants):
    """Two seeds each of base and variants: accuracy at three levels and in the ten-shot task, with over_base_high."""
    rows = []
    for seed in (0, 1):
        for name, (accuracies, highs) in variants.items():
            for level, accuracy, high in zip(
                ["coarse", "boundary", "fine", develop.TASK], accuracies, highs, strict=True
            ):
                row = {
                    "factor": "f",
                    "variant": name,
                    "seed": seed,
                    "fold": 0,
                    "level": level,
                    "target": "alignet",
                    "minutes": 2.0,
                }
                bounds = {"over_base": high - 0.02, "over_base_low": high - 0.04, "over_base_high": high}
                rows.append(row | {"accuracy": accuracy + 0.01 * seed} | bounds)
                rows.append(row | {"accuracy": 1 - accuracy, "target": "unalignet"} | bounds | {"minutes": 1.0})
                rows.append(row | {"target": "base", "accuracy": 0.3})
    return pd.DataFrame(rows)


def test_the_best_mean_of_those_that_lose_nowhere_is_chosen():
    table = develop.summary(
        scores(
            best_but_loses=((0.9, 0.9, 0.9, 0.1), (0.1, 0.1, 0.1, -0.01)),
            good=((0.5, 0.6, 0.4, 0.9), (0.1, 0.1, 0.01, 0.1)),
            worse=((0.5, 0.5, 0.4, 0.9), (0.1, 0.1, 0.1, 0.1)),
        )
    )
    means = table[(table["level"] == "mean") & (table["target"] != "unalignet")].set_index("variant")
    assert means["chosen"].to_dict() == {"base": False, "best_but_loses": False, "good": True, "worse": False}
    assert means.loc["good", "accuracy"] == pytest.approx(0.505)  # of the three levels and two seeds
    assert means.loc["base", "accuracy"] == pytest.approx(0.3)
    assert means.loc["good", "minutes"] == 2
    control = table[(table["level"] == "mean") & (table["target"] == "unalignet")].set_index("variant")
    assert control["chosen"].to_dict() == {"best_but_loses": False, "good": False, "worse": True}  # by its own scores
    assert control.loc["worse", "minutes"] == 1
    assert table.loc[table["variant"] == "best_but_loses", "loses"].all()


def written(folder, shots):
    """levels.csv and downstream.csv of one student; shots: the base's and the student's accuracy by protocol."""
    bounds = {"over_base": 0.1, "over_base_low": 0.0, "over_base_high": 0.2}
    levels = [
        {"student": "s", "target": target, "representation": "pooled", "level": level, "odd_one_out_accuracy": 0.5}
        | bounds
        for target in ("base", "unalignet", "alignet")
        for level in ("coarse", "all")
    ]
    pd.DataFrame(levels).to_csv(folder / "levels.csv", index=False)
    rows = [
        {"student": "s", "target": target, "protocol": protocol, "accuracy": accuracy, "relative_improvement": percent}
        | {"relative_improvement_low": percent - 5, "relative_improvement_high": percent + 5}
        for protocol, accuracies in shots.items()
        for target, accuracy in zip(("base", "alignet"), accuracies, strict=True)
        for percent in (100 * (accuracy / accuracies[0] - 1),)
    ]
    columns = ["student", "target", "protocol", "accuracy", *(f"relative_improvement{end}" for end in ("", "_low"))]
    table = pd.DataFrame(rows, columns=[*columns, "relative_improvement_high"])
    table.to_csv(folder / "downstream.csv", index=False)


def test_the_ten_shot_task_is_that_of_the_finest_label_and_may_be_missing(tmp_path):
    written(tmp_path, {"few-shot class": (0.2, 0.3), "few-shot category": (0.5, 0.4), "linear probe class": (0.1, 0.9)})
    minutes = pd.Series({"alignet": 3.0, "unalignet": 4.0})
    found = develop.scores_of(tmp_path, "s", minutes).set_index(["level", "target"])
    assert found.loc[("coarse", "alignet"), "minutes"] == 3
    assert found.loc[("coarse", "unalignet"), "minutes"] == 4
    assert found.loc[(develop.TASK, "alignet"), "accuracy"] == 0.3
    assert found.loc[(develop.TASK, "alignet"), "over_base"] == pytest.approx(0.1)
    assert found.loc[(develop.TASK, "alignet"), "over_base_low"] == pytest.approx(0.09)
    assert "all" not in found.index.get_level_values("level")
    written(tmp_path, {})
    assert set(develop.scores_of(tmp_path, "s", minutes)["level"]) == {"coarse"}


def test_the_minutes_are_those_of_the_students_notebooks(tmp_path):
    file = tmp_path / "minutes.csv"
    file.write_text("notebook,target,name,minutes\n05_synthesis,alignet,,9\n06_student,alignet,s,2.5\n07_levels,,,1\n")
    assert develop.minutes(tmp_path).to_dict() == {"alignet": 2.5}


def test_where_all_lose_none_is_chosen():
    table = develop.summary(scores(only=((0.5, 0.5, 0.5, 0.5), (-0.01, 0.1, 0.1, 0.1))))
    assert not table["chosen"].any()


def test_every_variant_of_the_file_has_values_that_pass(tmp_path):
    import yaml

    student, listed = ablate.read("params/variants/development.yaml")
    assert student in config.names("students")
    assert len({entry["name"] for entry in listed}) == len(listed)
    for entry in listed:
        profile = tmp_path / "variant.yaml"
        profile.write_text(yaml.safe_dump({"base": "params.yaml"} | entry["changes"]))
        assert preflight.problems(str(profile)) == [], entry["name"]


def test_a_run_that_is_not_finished_is_refused_in_one_line(tmp_path, capsys):
    assert develop.main(["--out-dir", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err == f"{tmp_path / 'data'}: has no human_uncertainty: finish the run first (make repro)\n"
    )
