import re

import pandas as pd
import pytest
import torch

from alignet import config
from alignet.figures import findings, way

TABLES = config.home() / "reports" / "reference" / "emoji" / "tables"


def table(name):
    return pd.read_csv(TABLES / f"{name}.csv")


def said(markdown):
    return markdown.data


FOUND = {
    "human_uncertainty": lambda table: findings.human_uncertainty(table("calibration")),
    "teacher": lambda table: findings.teacher(table("teacher")),
    "levels": lambda table: findings.levels(table("levels"), table("uncertainty")),
    "similarity": lambda table: findings.similarity(table("similarity")),
    "reorganisation": lambda table: findings.reorganisation(table("reorganisation")),
    "downstream": lambda table: findings.downstream(table("downstream")),
    "cost": lambda table: findings.cost(table("cost")),
}


@pytest.mark.parametrize("name", FOUND)
def test_findings_are_a_list_that_says_whose_choices_they_are_of(name):
    text = said(FOUND[name](table))
    assert text.startswith("**What this run found**")
    assert "\n- " in text
    assert "SIMULATED" not in text  # the published runs are of people
    assert not re.search(r"\bnan\b|None", text)
    simulated = said(FOUND[name](lambda of: table(of).assign(choices="simulated")))
    assert name == "cost" or "SIMULATED" in simulated


def levels_row(over_control, low, high):
    row = {"student": "a", "target": "alignet", "representation": "pooled", "level": "fine", "n_triplets": 9}
    row |= {"odd_one_out_accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6, "noise_ceiling": 0.7, "passes_ceiling": False}
    row |= {"over_base": 0.1, "over_base_low": 0.05, "over_base_high": 0.15, "choices": "human"}
    row |= {"noise_ceiling_low": 0.6, "noise_ceiling_high": 0.8, "n_repeated": 9}
    return pd.DataFrame([row | {"over_control": over_control, "over_control_low": low, "over_control_high": high}])


UNSURE = pd.DataFrame(columns=["student", "target", "level", "against", "n", "spearman", "ci_low", "ci_high"])


WORDS = [
    ((0.02, 0.01, 0.03), "above the control (+0.020"),
    ((-0.02, -0.03, -0.01), "below the control (-0.020"),
    ((0.02, -0.01, 0.05), "not told apart from the control (+0.020"),
]


@pytest.mark.parametrize(("numbers", "words"), WORDS)
def test_words_follow_the_interval(numbers, words):
    text = said(findings.levels(levels_row(*numbers), UNSURE))
    assert words in text
    assert "above the base (+0.100 [.050, .150])" in text
    assert "SIMULATED" not in text


def test_a_noise_ceiling_is_told_with_its_interval_and_triplets_or_not_at_all():
    left_out = "No noise ceiling is told where fewer than 30 triplets were judged by several people."
    few = said(findings.levels(levels_row(0.02, 0.01, 0.03), UNSURE))
    enough = said(findings.levels(levels_row(0.02, 0.01, 0.03).assign(n_repeated=30), UNSURE))
    assert (left_out in few, "; noise ceiling" in few) == (True, False)
    assert (left_out in enough, "; noise ceiling .700 [.600, .800] of 30 triplets." in enough) == (False, True)


def test_a_correlation_is_told_of_enough_triplets_and_its_interval_ends_at_1():
    row = {"student": "a", "target": "alignet", "level": "all", "against": "response_entropy", "spearman": 0.5}
    row |= {"ci_low": -0.1, "ci_high": 1.1, "noise_ceiling": 0.9, "noise_ceiling_low": 0.8, "noise_ceiling_high": 1.0}
    enough, few = (
        said(findings.levels(levels_row(0.02, 0.01, 0.03), pd.DataFrame([row | {"n": n}]))) for n in (30, 29)
    )
    assert "Spearman .500 [-.100, 1.000], noise ceiling .900 [.800, 1.000]; 30 triplets." in enough
    assert "Spearman" not in few


def test_a_world_without_levels_says_so():
    text = said(findings.levels(levels_row(0, 0, 0).assign(n_triplets=0), UNSURE))
    assert "no choices to score students on" in text


def test_features_are_summed_up_by_label():
    matrix = torch.tensor([[1.0, 0.5, -0.2], [0.5, 1.0, -0.4], [-0.2, -0.4, 1.0]])
    labels = pd.DataFrame({"domain": ["a", "a", "b"], "class": ["x", "y", "z"]})
    text = said(findings.features(matrix, labels))
    assert "within one domain .500, between two -.300" in text


def test_a_student_is_summed_up_by_its_held_out_triplets():
    curve = pd.DataFrame({"step": [0, 20], "held_out_accuracy": [0.4, 0.9], "held_out_loss": [1.0, 0.1]})
    text = said(findings.student(curve.assign(student="a", target="alignet")))
    assert "a, AligNet: agreement with the labels on held-out triplets .400 -> .900 in 20 steps" in text


@pytest.mark.parametrize("stage", ["01", "02", "03", "04", "05", "06", "07", "11"])
def test_the_way_marks_one_stage(stage):
    assert way.drawn(stage).count(f'fill="{way.FILL}"') == way.drawn().count(f'fill="{way.FILL}"') + 1


def test_the_way_has_a_title_for_those_who_do_not_see_it_and_no_unknown_stage():
    assert "<title" in way.drawn() or "aria-label" in way.drawn()
    with pytest.raises(ValueError, match="no box for notebook '00'"):
        way.drawn("00")


def test_every_stage_notebook_shows_the_way_and_ends_with_what_it_found():
    for path in sorted((config.home() / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        text = path.read_text(encoding="utf-8")
        if path.stem not in ("00_by_hand", "12_figures"):
            assert f'way.mark(\\"{path.stem[:2]}\\")' in text, path.name
            assert "findings." in text or "verdict(" in text, path.name


def test_a_mean_of_a_few_triplets_is_not_told():
    cell = {"chosen": True, "lambda": 1.0, "local_weight": 0.0, "steps": 100, "choices": "human", "kl": 0.1, "ece": 0.0}
    rows = [
        cell | {"split": "validation", "level": level, "map": kind, "odd_one_out_accuracy": accuracy, "n_triplets": n}
        for level, n in (("coarse", 40), ("judged", 3))
        for kind, accuracy in (("none", 0.4), ("fitted", 0.5))
    ]
    text = said(findings.teacher(pd.DataFrame(rows).assign(participation_ratio=3.0)))
    assert "sampled triplets, coarse: .400 -> .500" in text
    assert "triplets that people judged: 3, too few to say anything" in text


def test_an_agreement_between_people_on_a_few_triplets_is_not_told():
    images = pd.DataFrame({"concept": ["a", "b"]})
    ceilings = pd.DataFrame({"table": ["many", "few"], "triplets": 90, "choices": 100, "noise_ceiling": [0.6, 0.25]})
    text = said(findings.world(images, ceilings.assign(repeated=[40, 7]), ("concept",), "human"))
    assert "many: 100 choices about 90 triplets; of 40 that several people judged" in text
    assert "few: 100 choices about 90 triplets.\n" in f"{text}\n"
