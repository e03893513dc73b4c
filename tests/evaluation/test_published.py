import pandas as pd
import pytest

from alignet.evaluation import published
from alignet.worlds.format.tables import TRIPLET, World

NAN = float("nan")


@pytest.fixture
def world():
    images = pd.DataFrame({"image": ["a", "b", "c", "d"], "concept": ["x", "y", "y", "z"]})
    triplets = pd.DataFrame(
        [["a", "b", "c", 0, "p"], ["a", "b", "c", 1, "q"]], columns=[*TRIPLET, "odd", "participant"]
    )
    return World("tiny", "simulated", None, ("concept",), images, triplets, None)


def measured():
    improvement = {"relative_improvement": [12.0, 30.0, 99.0], "relative_improvement_low": 5.0}
    levels = pd.DataFrame({"student": ["s", "t", "t"], "target": ["alignet", "alignet", "unalignet"], **improvement})
    levels = levels.assign(level="coarse", representation="pooled", relative_improvement_high=40.0)
    rows = {"target": ["alignet", "alignet", "alignet", "base"], "relative_improvement": [-4.0, 10.0, 6.0, 0.0]}
    rows |= {"student": "s", "protocol": ["few-shot class", "linear probe class", "unseen category of a domain", "all"]}
    ratings = pd.DataFrame(columns=["student", "target", "metric", "value", "ci_low", "ci_high", "n", "ci_unit"])
    return {"levels": levels, "downstream": pd.DataFrame(rows), "similarity": ratings}


def test_published_numbers_stand_beside_ours_and_keep_their_source(world):
    table = published.beside(world, measured()).set_index("quantity")
    assert table["source"].notna().all()
    assert table.loc["relative improvement at the coarse level", "published"] == 93.5
    assert table.loc["relative improvement at the coarse level", "ours"] == 30.0
    assert table.loc["relative improvement at the coarse level", "ours_of"].startswith("t,")
    downstream = table.loc["relative improvement downstream"]
    assert downstream[["published", "published_high"]].tolist() == [25, 150]
    assert downstream[["ours", "ours_low", "ours_high"]].tolist() == [6.0, -4.0, 10.0]
    assert table.loc["human choices behind the teacher", "ours"] == 2
    assert table.loc["objects behind the teacher", "ours"] == 2
    assert set(table["choices"]) == {"simulated"}


def test_the_range_downstream_is_of_the_claimed_protocols_and_of_pretrained_students(world):
    table = measured()
    more = {"target": "alignet", "student": ["s", "s", "raw"], "relative_improvement": [999.0, -999.0, 888.0]}
    more = pd.DataFrame(more).assign(protocol=["corruption blur, class", "style: other", "few-shot class"])
    table["downstream"] = pd.concat([table["downstream"], more], ignore_index=True)
    row = published.beside(world, table, scratch=["raw"]).set_index("quantity").loc["relative improvement downstream"]
    assert row[["ours", "ours_low", "ours_high"]].tolist() == [6.0, -4.0, 10.0]
    assert row["ours_of"].startswith("median and range of 3 rows")


def test_participants_are_people_who_are_named(world):
    rows = [["a", "b", "c", n % 3, name] for n, name in enumerate(["p", "q", "p", "unknown_0", "unknown_1"])]
    triplets = pd.DataFrame(rows, columns=[*TRIPLET, "odd", "participant"])
    people = world.__class__(**(vars(world) | {"triplets": triplets}))
    table = published.beside(people, measured()).set_index("quantity")
    assert table.loc["participants behind the teacher", "ours"] == 2
    assert table.loc["human choices behind the teacher", "ours"] == 5


def test_choices_that_nobody_made_have_no_participants(world):
    drawn = world.triplets.assign(participant=["drawn_0", "drawn_1"])
    nobody = world.__class__(**(vars(world) | {"triplets": drawn, "levels": drawn, "choices": "derived"}))
    table = published.beside(nobody, measured()).set_index("quantity")
    assert pd.isna(table.loc["participants behind the teacher", "ours"])
    assert pd.isna(table.loc["participants of Levels", "ours"])


def test_what_the_run_has_not_measured_stays_empty(world):
    table = published.beside(world, measured()).set_index("quantity")
    assert pd.isna(table.loc["rating of pairs that AligNet holds closer", "ours"])
    assert pd.isna(table.loc["participants of Levels", "ours"])
    nothing = {name: rows.iloc[:0] for name, rows in measured().items()}
    assert pd.isna(
        published.beside(world, nothing).set_index("quantity").loc["relative improvement downstream", "ours"]
    )


def test_rated_pairs_stand_beside_the_published_ratings(world):
    row = {"student": "s", "target": "alignet", "metric": "mean_rating_of_closer_pairs", "value": 3.5}
    row |= {"ci_low": 3.0, "ci_high": 4.0, "n": 12, "ci_unit": "pairs"}
    table = published.beside(world, measured() | {"similarity": pd.DataFrame([row])}).set_index("quantity")
    rated = table.loc["rating of pairs that AligNet holds closer"]
    assert rated[["published", "ours", "ours_low"]].tolist() == [3.93, 3.5, 3.0]
    assert rated["ours_of"] == "s, 12 pairs"
