import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from alignet import config
from alignet.evaluation.data import breeds, public
from alignet.pipeline import needs, preflight
from alignet.worlds import remarks
from alignet.worlds.format import tables
from alignet.worlds.format.tables import TRIPLET, World


def params(tmp_path, changes):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"base": "params.yaml"} | changes))
    return str(path)


@pytest.mark.parametrize("file", ["params.yaml", "params/smoke.yaml", "params/paper.yaml", "params/release.yaml"])
def test_the_repositorys_params_pass(file):
    assert preflight.problems(file) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"downstream": {"shots": [0]}}, "downstream.shots.0: Input should be greater than or equal to 1, got 0"),
        ({"features": {"batch_size": 0}}, "features.batch_size: Input should be greater than or equal to 1, got 0"),
        ({"features": {"workers": -1}}, "features.workers: Input should be greater than or equal to 0, got -1"),
        (
            {"human_uncertainty": {"uncertainty": "empirical"}},
            "teacher.start: ridge needs an embedding of people's choices: set identity, or "
            "human_uncertainty.uncertainty: vice",
        ),
        ({"teacher": {"folds": 1}}, "teacher.folds: Input should be greater than or equal to 2, got 1"),
        ({"teacher": {"grid": []}}, "teacher.grid: List should have at least 1 item"),
        ({"teacher": {"soft_labels": []}}, "teacher.soft_labels: List should have at least 1 item"),
        ({"teacher": {"grid": [{"steps": [-1]}]}}, "teacher.steps: Input should be greater than or equal to 0, got -1"),
        ({"teacher": {"local_weight": 2.0}}, "teacher.local_weight: Input should be less than 1, got 2.0"),
        ({"teacher": {"regularisation": -1.0}}, "teacher.regularisation: Input should be greater than or equal to 0"),
        ({"synthesis": {"clusters": 0}}, "synthesis.clusters: Input should be greater than or equal to 1, got 0"),
        (
            {"human_uncertainty": {"held_out_share": 1.0}},
            "human_uncertainty.held_out_share: Input should be less than 1",
        ),
        (
            {"human_uncertainty": {"max_epochs": 0}},
            "human_uncertainty.max_epochs: Input should be greater than or equal",
        ),
        ({"reorganisation": {"umap_neighbours": 1}}, "reorganisation.umap_neighbours: Input should be greater than"),
        ({"students": {"lite0": {"temperature": 0.0}}}, "students.lite0.temperature: Input should be greater than 0"),
        (
            {"students": {"lite0": {"head_width": 0}}},
            "students.lite0.head_width: Input should be greater than or equal",
        ),
        ({"backbones": {"lite0": {"picture_size": 0}}}, "backbones.lite0.picture_size: Input should be greater than"),
        (
            {"students": {"lite0": {"batch_pictures": 1, "scheme": ["random", "cluster_border"]}}},
            "students.lite0.batch_pictures: is 1; scheme cluster_border needs 2",
        ),
        (
            {"students": {"lite0": {"batch_clusters": 41}}},
            "students.lite0.batch_clusters: is 41, and synthesis.clusters is 40",
        ),
        (
            {"students": {"lite0": {"source": "file", "batch_triplets": 8, "loss": "rows"}}},
            "students.lite0.loss: rows compares all pairs of a batch",
        ),
        ({"students": {"lite0": {"source": "file"}}}, "students.lite0.batch_triplets: source file needs a number"),
        ({"run": {"targets": ["alignet", "unaligned"]}}, "run.targets: 'unaligned' is none of alignet, unalignet"),
        ({"run": {"students": ["lite9"]}}, "run.students: 'lite9' is no entry of students"),
        ({"run": {"students": ["lite0"], "backbones": ["lite2"]}}, "run.students: 'lite0' is not in run.backbones"),
        ({"teacher": {"backbones": ["resnet"]}}, "teacher.backbones: 'resnet' is not in run.backbones"),
        ({"teacher": {"backbones": ["lite0"]}}, "synthesis.signal_backbone: 'lite0' is one of teacher.backbones"),
        ({"synthesis": {"signal_backbone": "x"}}, "synthesis.signal_backbone: 'x' is not in run.backbones"),
        (
            {"students": {"lite0": {"source": "file", "batch_triplets": 20001}}},
            "students.lite0.batch_triplets: is 20001, and synthesis.train_triplets is 20000",
        ),
        ({"backbones": {"lite0": {"layer": "blocks.4"}}}, "backbones.lite0.layer: is 'blocks.4', and a student's must"),
        (
            {
                "run": {"students": ["lite9"], "backbones": ["lite1_layers", "lite2_layers", "lite0", "lite9"]},
                "students": {"lite9": {"like": "lite0"}},
                "backbones": {"lite9": {"like": "lite0"}},
            },
            "cost.pretraining: has no entry for student 'lite9' (null: none known)",
        ),
        ({"downstream": {"public": [{"name": "MNIST", "root": "x"}]}}, "downstream.public: 'MNIST' is none of DTD, "),
        (
            {"similarity": {"matrices": [{"name": "x", "file": "x.csv"}]}},
            "similarity.matrices: {'file': 'x.csv', 'name': 'x'} lacks kind",
        ),
        (
            {"similarity": {"matrices": [{"name": "x", "file": "gone.csv", "kind": "distance"}]}},
            "gone.csv: no such file (similarity.matrices)",
        ),
    ],
)
def test_a_number_out_of_range_or_a_name_for_nothing_is_one_line_with_its_key(tmp_path, changes, line):
    lines = preflight.problems(params(tmp_path, changes))
    assert any(line in found for found in lines), lines
    assert all(found.startswith(str(tmp_path / "mine.yaml")) for found in lines)


def tiny(synthesis=100, concepts=30, choices=90, people=3, odd=None, test=5, classes=None):
    """A world with so many synthesis pictures, judged concepts, choices, people a triplet and test concepts.

    Args: odd: the position that all choose; classes: so many values of a second label, None: there is none.
    """
    names = [f"{part}{n}" for part, size in zip("hst", (concepts, synthesis, test), strict=True) for n in range(size)]
    split = ["human"] * concepts + ["synthesis"] * synthesis + ["test"] * test
    images = pd.DataFrame({"image": names, "path": names, "concept": names, "split": split})
    draw = np.random.default_rng(0)
    rows = [
        [*draw.choice(concepts, 3, replace=False), draw.integers(3) if odd is None else odd]
        for _ in range(choices // people)
    ]
    rows = [
        [f"h{a}", f"h{b}", f"h{c}", position, f"p{person}"] for a, b, c, position in rows for person in range(people)
    ]
    triplets = pd.DataFrame(rows, columns=[*TRIPLET, "odd", "participant"])
    hierarchy = ("concept",) if classes is None else ("concept", "class")
    images["class"] = [f"c{row % (classes or 1)}" for row in range(len(images))]
    return World("tiny", "human", None, hierarchy, images, triplets, None)


CLIP = {"backbones": {"clip": {"features": "no/clip.npy", "names": None}}, "teacher": {"backbones": ["clip"]}}


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"run": {"backbones": ["clip", "lite0"]}}, ["backbones.clip.features: no/clip.npy: no such file"]),
        (
            {"run": {"backbones": ["clip", "lite0"], "students": ["clip"]}, "students": {"clip": {"like": "lite0"}}},
            [
                "run.students: 'clip' is a file of features: nothing to train",
                "backbones.clip.features: no/clip.npy: no such file",
            ],
        ),
        (
            {"run": {"backbones": ["clip", "lite0"]}, "backbones": {"clip": {"features": "x.npy", "names": 1}}},
            ["backbones.clip.names: Input should be a valid string, got 1"],
        ),
    ],
)
def test_a_backbone_that_is_a_file_is_no_student_and_must_be_there(tmp_path, changes, lines):
    file = params(tmp_path, CLIP | changes)
    assert preflight.problems(file) == [f"{file}: {line}" for line in lines]


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        ({"synthesis": 28}, "synthesis.clusters: is 40, and tiny has 28 synthesis pictures"),
        (
            {"synthesis": 45},
            "students.lite0: batch_clusters x batch_pictures is 48, and tiny has 45 synthesis pictures",
        ),
        ({"concepts": 11}, "teacher.folds: is 4, and each fold needs 3 of its own, but only 11 concepts are judged"),
        ({"choices": 30}, "teacher.folds: is 4, and 30 choices leave a fold of concepts without triplets of its own"),
        ({"synthesis": 3}, "labels need 4 synthesis pictures, and tiny has 3"),
        ({"test": 4}, "the maps of 09_reorganisation need 5 concepts of split test, and tiny has 4"),
        ({"concepts": 5}, "human_uncertainty.min_objects: is 5, and VICE keeps dimensions of more objects, but only 5"),
    ],
)
def test_what_the_world_cannot_give_is_said_before_the_first_stage(sizes, line):
    lines = [*needs.of_world(tiny(**sizes), "params.yaml")]
    assert any(line in found for found in lines), lines


def test_a_world_that_gives_what_is_asked_for_passes_and_one_without_choices_to_fit_does_not():
    assert [*needs.of_world(tiny(choices=900), "params.yaml")] == []
    world = tiny()
    world.triplets["split"] = "test"
    assert "no choices are left to fit to" in " ".join(needs.of_world(world, "params.yaml"))


@pytest.mark.parametrize(
    ("changes", "world", "line"),
    [
        ({"synthesis": {"class_label": "kind"}}, {}, "synthesis.class_label is 'kind'; the hierarchy has concept"),
        ({"synthesis": {"scheme": "between_class"}}, {"classes": 2}, "between_class needs three classes, there are 2"),
        ({"synthesis": {"scheme": ["random", "within_class"]}}, {}, "within_class needs three images in one group"),
        ({"human_uncertainty": {"held_out_objects": ["x"]}}, {}, "held_out_objects: triplets.csv shows no concept 'x'"),
        ({"human_uncertainty": {"uncertainty": "embedding"}}, {}, "embedding needs human_uncertainty.embedding"),
    ],
)
def test_params_that_a_world_does_not_fit_are_said_before_the_first_stage(tmp_path, changes, world, line):
    lines = [*needs.of_world(tiny(choices=900, **world), params(tmp_path, changes))]
    assert any(line in found for found in lines), lines


def test_a_triplet_that_shows_one_concept_twice_is_said_before_the_first_stage():
    world = tiny(choices=900)
    world.images.loc[world.images["image"] == "h1", "concept"] = "h0"
    world.triplets.loc[0, [*TRIPLET]] = ["h0", "h1", "h2"]
    assert "a triplet shows one concept twice" in " ".join(needs.of_world(world, "params.yaml"))


def test_folds_whose_triplets_are_drawn_pass_and_the_same_without_drawn_ones_do_not(tmp_path):
    few = tiny(choices=30, classes=2)  # of 30 choices no fold of concepts has a triplet of its own
    assert [*needs.of_world(few, "params.yaml")] == []
    undrawn = params(tmp_path, {"teacher": {"validation_per_level": 0}})
    assert "leave a fold of concepts without triplets" in " ".join(needs.of_world(few, undrawn))
    shares = params(tmp_path, {"human_uncertainty": {"uncertainty": "empirical"}})
    assert "leave a fold of concepts without triplets" in " ".join(needs.of_world(few, shares))


def test_the_public_data_sets_that_params_may_name_are_those_that_can_be_read():
    assert set(config.PUBLIC) == {*public.KNOWN, *breeds.RULES}


def test_a_world_of_ones_own_is_read_once_and_its_remarks_are_printed(tmp_path, monkeypatch, capsys):
    world, folder, read = dataclasses.replace(tiny(odd=1), pictures=tmp_path), tmp_path / "mine", []
    folder.mkdir()
    monkeypatch.setattr(tables, "read", lambda place: read.append(place) or world)
    monkeypatch.setattr(needs, "of_world", lambda world, params_file: [])
    file = params(tmp_path, {"world": {"source": "folder", "path": str(folder)}})
    assert preflight.main(["--params-file", file]) == 0
    assert read == [folder]
    assert "remark: " in capsys.readouterr().out


def test_people_who_always_press_one_key_and_a_ceiling_at_chance_are_remarked():
    said = " ".join(remarks.of_choices(tiny(odd=1)))
    assert "participant 'p0' chose position 1 in 30 of 30 trials" in said
    alone = " ".join(remarks.of_choices(tiny(people=1, concepts=300)))
    assert "no triplet was judged by two people" in alone
    world = tiny(people=2)
    world.triplets["odd"] = [0, 1] * (len(world.triplets) // 2)
    assert "not above chance" in " ".join(remarks.of_choices(world))


def test_the_checks_of_params_need_no_torch():
    code = "import sys; from alignet.pipeline import preflight; preflight.problems(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=config.home()).returncode == 0


def test_the_command_prints_every_line_and_fails(tmp_path, capsys):
    file = params(tmp_path, {"features": {"batch_size": 0, "workers": -1}})
    assert preflight.main(["--params-file", file]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert preflight.main([]) == 0
