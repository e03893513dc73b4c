import inputs
import pytest

from alignet import config
from alignet.evaluation import human_choices
from alignet.people import held_out
from alignet.worlds import __main__ as worlds
from alignet.worlds import check
from alignet.worlds.folder import answers, trials
from alignet.worlds.format import tables
from alignet.worlds.format.tables import TRIPLET, WorldError


@pytest.fixture
def folder(tmp_path):
    """A world of 80 pictures in 4 classes, with 200 triplets of which each was judged by two people; no levels.csv."""
    world = inputs.asked_world(tmp_path)
    drawn = trials.in_lists(trials.draw(tables.read(world, unfilled=True), 200), 2, 2, seed=0)
    drawn.assign(odd=0, participant=drawn["list"]).to_csv(tmp_path / "answers.csv", index=False)
    answers.add(world, tmp_path / "answers.csv")
    return world


def test_a_share_of_the_triplets_is_left_out_of_the_fits_and_scored_at_the_levels_of_their_labels(folder, capsys):
    people = config.load("human_uncertainty", config.HumanUncertainty)
    before = tables.read(folder)
    assert list(human_choices.choices_by_level(before, people)) == []
    assert "the teacher alone is scored, by cross-validation" in check.summary(before)
    assert worlds.main(["hold-out", str(folder), "--share", "0.3"]) == 0
    world = tables.read(folder)
    tested = world.triplets["split"] == "test"
    assert 0.2 < tested.mean() < 0.4
    assert f"{tested.sum()} of 400 choices are of split test" in capsys.readouterr().out
    parts = held_out.choice_parts(world, people)
    assert parts.fitted.tolist() == (~tested).tolist()
    scored = {judged.level: judged for judged in human_choices.choices_by_level(world, people)}
    assert set(scored) >= {"coarse", "boundary", "all"}  # few triplets drawn at random are fine
    assert len(scored["all"].item) == tested.sum()
    assert {judged.regime for judged in scored.values()} == {"known"}
    assert "scored on the rows of split test of triplets.csv" in check.summary(world)


def test_all_choices_about_a_triplet_stand_on_one_side_whoever_made_them_and_whenever_they_came(folder, tmp_path):
    worlds.main(["hold-out", str(folder)])
    first = tables.read(folder).triplets
    side = first.groupby(first[TRIPLET].apply(lambda row: "|".join(sorted(row)), axis=1))["split"]
    assert set(side.nunique()) == {1}
    again = first[TRIPLET].assign(odd=1, participant="a third person").drop_duplicates(TRIPLET)
    again.to_csv(tmp_path / "more.csv", index=False)
    answers.add(folder, tmp_path / "more.csv")
    imported = tables.read(folder).triplets
    side = imported.groupby(imported[TRIPLET].apply(lambda row: "|".join(sorted(row)), axis=1))["split"]
    assert set(side.nunique(dropna=False)) == {1}  # before the command is given again, too
    worlds.main(["hold-out", str(folder)])
    every = tables.read(folder).triplets
    assert every["split"].iloc[: len(first)].tolist() == first["split"].tolist()
    side = every.groupby(every[TRIPLET].apply(lambda row: "|".join(sorted(row)), axis=1))["split"]
    assert set(side.nunique()) == {1}


@pytest.mark.parametrize(
    ("share", "message"),
    [("1", "--share 1: above 0 and below 1"), ("0.9999999", "leaves no choi"), ("1e-9", "holds out none")],
)
def test_a_share_that_leaves_nothing_is_one_line_and_changes_nothing(folder, capsys, share, message):
    before = (folder / "triplets.csv").read_bytes()
    assert worlds.main(["hold-out", str(folder), "--share", share]) == 1
    assert message in capsys.readouterr().err
    assert (folder / "triplets.csv").read_bytes() == before


def test_a_world_without_choices_has_none_to_hold_out(folder):
    (folder / "triplets.csv").write_text("image_0,image_1,image_2,odd,participant\n")
    with pytest.raises(WorldError, match=r"triplets\.csv has no choices yet: import answers first"):
        worlds.hold_out.mark(folder)
