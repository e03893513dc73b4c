import inputs
import pandas as pd
import pytest
import torch

from alignet.people.by_level import ByLevel
from alignet.people.embeddings import fitted_here
from alignet.people.vice import Posterior
from alignet.worlds.format.tables import World

OBJECTS, PICTURES = 24, 48  # two pictures of each object, eight objects in each of three classes


@pytest.fixture(scope="module")
def by_level():
    objects = torch.arange(PICTURES) // 2
    classes = objects // 8
    mu = 2 * torch.nn.functional.one_hot(classes[::2], 3).float() + torch.rand(OBJECTS, 3, generator=inputs.generator())
    return ByLevel(
        Posterior(mu, torch.full_like(mu, 0.01)), objects, classes, torch.arange(PICTURES), samples=5, seed=0
    )


def test_each_level_shows_the_classes_that_it_says_and_no_object_twice(by_level):
    drawn = by_level.draw(torch.arange(PICTURES), 200, 0)
    assert list(drawn) == ["coarse", "boundary", "fine"]
    for (level, judged), kinds in zip(drawn.items(), (3, 2, 1), strict=True):
        assert len(judged.triplets) == 200, level
        assert {len(by_level.classes[row].unique()) for row in judged.triplets} == {kinds}
        assert {len(by_level.objects[row].unique()) for row in judged.triplets} == {3}


def test_the_targets_are_vices_distributions(by_level):
    judged = by_level.draw(torch.arange(PICTURES), 50, 0)["boundary"]
    expected = by_level.posterior.choice_distribution(by_level.objects[judged.triplets], 5, 0)
    assert torch.equal(judged.targets, expected)
    assert torch.equal(judged.counts, expected)
    alone = torch.tensor([int(by_level.classes[row].mode().values) for row in judged.triplets])
    odd = judged.triplets[torch.arange(50), judged.targets.argmax(1)]
    assert (by_level.classes[odd] != alone).double().mean() > 0.9


def test_only_the_given_pictures_are_shown_and_levels_that_they_do_not_allow_are_left_out(by_level):
    some = torch.cat([torch.arange(0, 4), torch.arange(16, 32)])  # two objects of one class, all of another
    drawn = by_level.draw(some, 30, 0)
    assert "coarse" not in drawn
    assert all(torch.isin(judged.triplets, some).all() for judged in drawn.values())
    assert set(by_level.classes[drawn["fine"].triplets].unique().tolist()) == {1}


def test_the_rows_of_the_stored_embedding_are_found_by_name_also_where_some_have_no_picture(tmp_path):
    images = pd.DataFrame(
        {"image": list("pqrst"), "concept": ["yak", "ant", "elk", "fox", "yak"], "class": list("mnmmm")}
    )
    images["split"] = ["human"] * 4 + ["synthesis"]
    table = pd.DataFrame(columns=["image_0", "image_1", "image_2", "odd"])
    world = World("small", "human", tmp_path, ("concept", "class"), images, table, None)
    mu = torch.rand(4, 2, generator=inputs.generator())
    names = ["ant", "unicorn", "yak", "elk"]
    fitted_here(Posterior(mu, torch.full_like(mu, 0.1)), names).save(tmp_path)
    found = ByLevel.of(world, tmp_path, inputs.settings("human_uncertainty"))
    assert found.objects.tolist() == [2, 0, 3, -1, 2]
    assert found.pictures.tolist() == [0, 1, 2]  # the last one's concept was judged, and people's pictures are others
    assert torch.equal(found.posterior.mu, mu)


def test_there_are_none_without_vice_or_with_one_label_only(tmp_path):
    images = pd.DataFrame({"image": ["a", "b", "c"], "concept": ["x", "y", "z"]})
    table = pd.DataFrame(columns=["image_0", "image_1", "image_2", "odd"])
    flat = World("flat", "human", tmp_path, ("concept",), images, table, None)
    assert ByLevel.of(flat, tmp_path, inputs.settings("human_uncertainty")) is None
    assert ByLevel.of(flat, tmp_path, inputs.settings("human_uncertainty", uncertainty="empirical")) is None
