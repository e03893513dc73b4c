import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_model

from alignet import config
from alignet.collect import plan
from alignet.explore import widgets
from alignet.explore.scene import Scene
from alignet.maths.choices import pair_similarities
from alignet.models import backbones, features
from alignet.student.network import StudentNetwork
from alignet.worlds.format import pictures, tables
from alignet.worlds.format.tables import TRIPLET, WorldError

BACKBONE = {"model": "vit_tiny_patch16_224", "options": {"img_size": 32, "depth": 1}, "weights": "random"}
BACKBONE |= {"layer": "pooled", "picture_size": 32, "seed": 0}


@pytest.fixture
def run(tmp_path):
    """A finished run in miniature: a world, stored features and students; choices about its test pictures."""
    names = [f"{label}{number}" for label in "ab" for number in range(6)]
    images = pd.DataFrame({"image": names, "path": [f"{name}.png" for name in names], "class": [n[0] for n in names]})
    images = images.assign(picture=names, split=["human", "synthesis", "test", "test", "test", "test"] * 2)
    folder = tmp_path / "data" / "world"
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        Image.new("RGB", (40, 30), (20 * number, 0, 255 - 20 * number)).save(folder / f"{name}.png")
    judged = pd.DataFrame([["a2", "a3", "b2"], ["a2", "b2", "b3"]], columns=TRIPLET)
    levels = pd.concat([judged.assign(odd=[2, 0], participant=person, level="boundary") for person in "pq"])
    levels = pd.concat([levels, judged.assign(odd=[1, 1], participant="r", level="boundary")])
    triplets = pd.DataFrame(columns=[*TRIPLET, "odd", "participant"])
    world = tables.World("toy", "none", folder, ("picture", "class"), images, triplets, levels.reset_index(drop=True))
    tables.write(world, folder)
    params = {"backbones": {"vit": BACKBONE}, "students": {"vit": {}}}
    params["human_uncertainty"] = config.value("human_uncertainty")
    params["run"] = {"backbones": ["vit"], "students": ["vit"], "targets": ["alignet", "unalignet"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    generator = torch.Generator().manual_seed(0)
    settings = config.Backbone(**BACKBONE)
    embedder = backbones.create(settings)
    with torch.inference_mode():
        shown = torch.stack([pictures.decode(folder / f"{name}.png", 32) for name in names])
        pooled = embedder(shown).float()
    features.save_features(tmp_path / "data" / "features" / "vit", pooled, names)
    for target in ("alignet", "unalignet"):
        student = StudentNetwork(backbones.create(settings), 8, generator)
        place = tmp_path / "data" / "students" / "vit" / target
        place.mkdir(parents=True)
        save_model(student, str(place / "student.safetensors"))
        test = (images["split"] == "test").to_numpy()
        for kind in ("pooled", "head"):
            np.save(place / f"{kind}.npy", pooled[test].numpy() + np.float32(0.1 * (target == "alignet")))
    return tmp_path


@pytest.fixture
def scene(run):
    return Scene("vit", str(run / "params.yaml"), str(run))


def test_the_triplets_on_which_base_and_aligned_disagree_most_are_found(run, scene):
    place = run / "data" / "students" / "vit" / "alignet" / "pooled.npy"
    np.save(place, np.random.default_rng(3).normal(size=np.load(place).shape).astype(np.float32))
    planned = plan.disagreements(scene.world, run / "data", "vit", 5, "boundary", practice=0, checks=0)
    moved = Scene("vit", str(run / "params.yaml"), str(run))
    names = moved.images["image"].tolist()

    def apart(row):
        unit = [moved.unit[target][[names.index(name) for name in row]] for target in ("base", "alignet")]
        base, aligned = ((plan.SHARPNESS * pair_similarities(one[None])).softmax(1) for one in unit)
        return float((base - aligned).abs().sum() / 2)

    found = [apart(row) for row in planned[TRIPLET].itertuples(index=False)]
    every = [[a, b, c] for a, b in itertools.combinations(names, 2) for c in names if a[0] == b[0] != c[0]]
    assert sorted(found, reverse=True) == pytest.approx(sorted(map(apart, every), reverse=True)[:5], abs=1e-5)
    assert set(planned["level"]) == {"boundary"}
    practised = plan.disagreements(scene.world, run / "data", "vit", 5, "boundary", practice=2, checks=0)
    assert practised[TRIPLET].iloc[2:].values.tolist() == planned[TRIPLET].values.tolist()
    with pytest.raises(WorldError, match="100 triplets are asked for, and the world gives 48"):
        plan.disagreements(scene.world, run / "data", "vit", 100, "boundary", practice=0)


def test_choices_are_probabilities_beside_the_shares_of_people(scene):
    names = scene.images["image"].tolist()
    three = (names.index("b2"), names.index("a2"), names.index("a3"))  # in another order than in the table
    table = scene.choices(three)
    assert table.index.tolist() == ["base", "unalignet", "alignet", "people"]
    assert table[[0, 1, 2]].sum(axis=1).tolist() == pytest.approx([1] * 4)
    assert table.loc["people", [0, 1, 2]].tolist() == pytest.approx([2 / 3, 0, 1 / 3])
    assert table.loc["people", "n"] == 3
    assert "people" not in scene.choices((0, 1, 7)).index


def test_own_files_are_chosen_as_the_stored_pictures_are(scene):
    three = (0, 1, 4)
    own = scene.choices_of([scene.paths[picture] for picture in three])
    stored = scene.choices(three).loc["base", [0, 1, 2]].tolist()
    assert own.loc["base", [0, 1, 2]].tolist() == pytest.approx(stored, abs=1e-3)


def test_neighbours_are_the_nearest_others(scene):
    found = scene.neighbours(2, n=3)
    similarity = scene.unit["base"] @ scene.unit["base"][2]
    others = [picture for picture in similarity.argsort(descending=True).tolist() if picture != 2]
    assert found["base"] == others[:3]
    assert scene.common(0, 1) == "class: a"
    assert scene.common(0, 7) == "nothing"


def test_the_tree_goes_down_a_label_at_a_time(scene):
    label, values, pictures = scene.below({})
    assert (label, values, len(pictures)) == ("class", ["a", "b"], 8)
    label, values, pictures = scene.below({"class": "b"})
    assert (label, len(values), len(pictures)) == ("picture", 4, 4)
    assert scene.below({"class": "b", "picture": "b2"})[0] is None
    close = scene.closeness(pictures)["base"]
    unit = scene.unit["base"][pictures]
    expected = [float(unit[i] @ unit[j]) for i in range(4) for j in range(4) if i != j]
    assert close == pytest.approx(np.mean(expected), abs=1e-5)


def test_the_explorer_draws_judged_triplets_and_answers_a_click(run):
    explorer = widgets.Explorer(str(run / "params.yaml"), str(run))
    choices = explorer.choices
    assert choices.kind.options == ("any pictures", "boundary")
    choices.kind.value = "boundary"
    choices.draw.click()
    assert "People, n = 3" in choices.shown.value
    assert choices.shown.value.count("<img") == 3
    choices.slots[0].value = choices.slots[1].value
    assert "three different" in choices.shown.value
    explorer.tree.enter("class", "a")
    assert "4 pictures" in explorer.tree.where.value
    explorer.tree.up.click()
    assert "8 pictures" in explorer.tree.where.value
    explorer.neighbours.picture.value = 3
    assert explorer.neighbours.shown.value.count("<img") == 1 + 3 * 7


def test_the_explorer_opens_where_base_and_aligned_disagree_and_several_people_judged(run):
    place = run / "data" / "students" / "vit" / "alignet" / "pooled.npy"
    before = Scene("vit", str(run / "params.yaml"), str(run))
    names = before.images["image"].tolist()
    judged = [tuple(sorted(names.index(name) for name in row)) for row in (["a2", "a3", "b2"], ["a2", "b2", "b3"])]
    for number, three in enumerate(judged):
        moved = np.load(place)
        base = before.features["base"].numpy()
        odd = int(pair_similarities(before.unit["base"][list(three)][None])[0].argmax())
        moved[:] = base
        moved[three[odd]] = base[three[(odd + 1) % 3]]  # now alike to another of the three
        np.save(place, moved)
        found = Scene("vit", str(run / "params.yaml"), str(run))
        by_model = {three: found.choices(three) for three in judged}
        differ = {
            three: table.loc["base", [0, 1, 2]].astype(float).argmax()
            != table.loc["alignet", [0, 1, 2]].astype(float).argmax()
            for three, table in by_model.items()
        }
        assert differ[judged[number]]
        apart = {
            three: differ[three]
            + float((table.loc["base", [0, 1, 2]] - table.loc["alignet", [0, 1, 2]]).abs().sum()) / 2
            for three, table in by_model.items()
        }
        assert found.opening() == max(apart, key=apart.get)
        choices = widgets.Choices(found)
        assert tuple(slot.value for slot in choices.slots) == found.opening()
        assert choices.kind.value == "boundary"
        assert "People, n = 3" in choices.shown.value
    del found.unit["alignet"]
    assert len(set(found.opening())) == 3  # the control takes its place


def test_choosing_a_level_draws_at_once(scene):
    choices = widgets.Choices(scene)
    drawn = set()
    for _ in range(10):
        choices.kind.value = widgets.ANY
        drawn.add(tuple(slot.value for slot in choices.slots))
        choices.kind.value = "boundary"
        assert tuple(slot.value for slot in choices.slots) in scene.judged
        assert "People, n = 3" in choices.shown.value
    assert len(drawn) > 3


def test_whose_choices_they_are_and_what_people_saw_is_said(scene):
    for choices, judged, text in (
        ("simulated", "", "SIMULATED people, n = 3"),
        ("derived", "", "People (DERIVED choices), n = 3"),
        ("human", "photographs of <them>", "they were shown photographs of &lt;them&gt;"),
    ):
        scene.world = dataclasses.replace(scene.world, choices=choices, judged=judged)
        assert text in widgets.Choices(scene).shown.value


def test_a_world_that_nobody_judged_opens_where_the_models_disagree(scene):
    scene.__dict__["judged"] = {}
    scene.__dict__["_judged"] = []
    found = widgets.Choices(scene)
    assert found.kind.value == widgets.ANY
    assert len({slot.value for slot in found.slots}) == 3
    assert "People" not in found.shown.value


def test_own_files_that_do_not_open_are_one_line(run):
    choices = widgets.Explorer(str(run / "params.yaml"), str(run)).choices
    given = [{"name": f"<{number}>.png", "content": b"no picture"} for number in range(3)]

    class Files:
        value = given

    choices.files = Files
    choices._own()
    assert "cannot be read as a picture" in choices.shown.value
    Files.value = given[:2]
    choices._own()
    assert "Three pictures are needed, and 2 were given" in choices.shown.value


def everything(widget):
    """A widget and all below it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from everything(child)


def test_a_class_of_very_many_pictures_has_a_bounded_number_of_widgets_options_and_pictures(scene):
    many = 1500
    images = pd.DataFrame({"image": [f"m{n}" for n in range(many)], "class": "b"}).assign(picture=lambda t: t["image"])
    scene.images = pd.concat([images, scene.images], ignore_index=True)
    scene.paths = [scene.paths[0]] * many + scene.paths
    for target, rows in scene.unit.items():
        scene.unit[target] = torch.cat([rows[:1].expand(many, -1), rows])
    scene.__dict__["judged"] = {}
    tree = widgets.Tree(scene)
    tree.enter("class", "b")
    tabs = [tree, widgets.Choices(scene), widgets.Neighbours(scene)]
    made = [each for tab in tabs for each in everything(tab)]
    assert len(made) < 80
    assert len(tree.buttons.children) == widgets.BUTTONS
    assert max(len(getattr(each, "options", ())) for each in made) <= widgets.OPTIONS
    assert tree.shown.value.count("<img") <= widgets.SHOWN
    assert tree.find.description == f"{widgets.BUTTONS} of 1,504"
    tree.find.value = "M1499"
    (button,) = tree.buttons.children
    button.click()
    assert "b / m1499</b>, 1 pictures" in tree.where.value
    assert len(tree.buttons.children) == 0
    tree.up.click()
    assert len(tree.buttons.children) == widgets.BUTTONS


def test_a_picture_is_found_by_a_part_of_its_name_or_set_by_its_number(scene):
    neighbours = widgets.Neighbours(scene)
    before = neighbours.shown.value
    neighbours.picture.find.value = "b4"
    assert scene.images["image"][neighbours.picture.value] == "b4"
    assert neighbours.picture.list.options == ((f"{neighbours.picture.value}: b4", neighbours.picture.value),)
    assert neighbours.shown.value != before
    neighbours.picture.find.value = "nothing"
    assert scene.images["image"][neighbours.picture.value] == "b4"
    neighbours.picture.value = 0
    assert neighbours.picture.list.value == 0
    neighbours.picture.find.value = ""
    neighbours.picture.list.value = 2
    assert neighbours.picture.value == 2
