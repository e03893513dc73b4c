"""The finding in a sentence, what it is compared with and what falls short, from made-up tables."""

import pandas as pd
import pytest

from alignet.report import finding


def row(target, mean, level="coarse", regime="new", **more):
    found = {"student": "lite0", "target": target, "study": None, "regime": regime, "level": level, "choices": "human"}
    found |= {"metric": "odd_one_out_accuracy", "benchmark": f"levels, {regime}, {level}", "mean": mean, "n": 1200}
    return found | {"n_seeds": 5} | more


def gain(name, value, spread):
    return {name: value, f"{name}_low": value - spread, f"{name}_high": value + spread}


def aligned(level="coarse", regime="new", spread=0.01, **more):
    over = gain("over_base", 0.125, spread) | gain("over_control", -0.025, 0.01) | gain("over_floor", 0.2, spread)
    return row("alignet", 0.525, level, regime, **over, **gain("relative_improvement", 31.25, 100 * spread), **more)


def scores(tmp_path, rows):
    pd.DataFrame(rows).to_csv(tmp_path / "seeds.csv", index=False)
    return finding.of_run(tmp_path)


def test_the_sentence_sets_the_gain_beside_the_papers_and_then_the_control(tmp_path):
    rows = scores(tmp_path, [row("base", 0.4), aligned()])
    assert finding.sentence(rows) == (
        "On concepts that nobody judged in the fit, lite0 chooses as people do in .525 of coarse triplets after "
        "alignment and in .400 before: +31 % [+30, +32] over its base, beside up to 93.5 % in the paper (Levels)."
    )
    assert "without the map that people's choices fitted, reaches .550, +.150 against the base;" in finding.control(
        rows
    )
    assert "AligNet minus control is -.025 [-.035, -.015]." in finding.control(rows)
    assert finding.basis(rows).startswith("5 training seeds")


def test_a_gain_whose_interval_holds_0_is_said_not_to_be_told_apart(tmp_path):
    assert "[-19, +81] over its base, not told apart from 0, beside" in finding.sentence(
        scores(tmp_path, [aligned(spread=0.5)])
    )


def test_simulated_choices_are_called_so_in_the_sentence(tmp_path):
    said = finding.sentence(scores(tmp_path, [aligned(choices="simulated")]))
    assert "chooses as SIMULATED participants do" in said


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([aligned(regime="known"), aligned("all", "new")], "new triplets of concepts that were judged in the fit"),
        ([aligned("all"), aligned("coarse", n=9)], "of all triplets"),
        ([aligned(), aligned() | {"student": "lite1", "relative_improvement": 40}], "lite1, the most improved of 2"),
    ],
)
def test_the_sentence_is_about_the_coarse_level_of_new_concepts_or_what_comes_nearest(rows, said, tmp_path):
    assert said in finding.sentence(scores(tmp_path, rows))


def test_without_scores_nothing_is_said(tmp_path):
    rows = finding.of_run(tmp_path)
    assert (finding.sentence(rows), finding.control(rows), finding.compared(rows), finding.shortfalls(rows)) == (
        *("", "", [], ""),
    )


def test_one_runs_tables_stand_in_for_those_over_seeds(tmp_path):
    renamed = {"mean": "odd_one_out_accuracy", "n": "n_triplets"}
    levels = pd.DataFrame([row("base", 0.4), aligned()]).assign(representation="pooled").rename(columns=renamed)
    levels.drop(columns=["metric", "benchmark", "n_seeds"]).to_csv(tmp_path / "levels.csv", index=False)
    unsure = row("alignet", 0.25, "all", against="response_entropy", ci_low=0.1, ci_high=0.4, noise_ceiling=0.9)
    pd.DataFrame([unsure]).rename(columns={"mean": "spearman"}).to_csv(tmp_path / "uncertainty.csv", index=False)
    rows = finding.of_run(tmp_path)
    assert "+31 % [+30, +32] over its base" in finding.sentence(rows)
    assert finding.basis(rows).startswith("One run with one training seed")
    assert finding.compared(rows)[-1] == (
        "Spearman with people's response entropy, within level, new concepts",
        *("not read", ".250 [.100, .400]; ceiling .900"),
    )


def test_seeds_of_an_earlier_run_are_passed_over(tmp_path):
    levels = pd.DataFrame([row("alignet", 0.5)]).assign(representation="pooled")
    levels.rename(columns={"mean": "odd_one_out_accuracy"}).to_csv(tmp_path / "levels.csv", index=False)
    seeds = pd.DataFrame([row("alignet", 0.5), row("alignet", 0.7)]).assign(seed=[0, 1])
    pd.DataFrame([row("alignet", 0.6)]).to_csv(tmp_path / "seeds.csv", index=False)
    seeds.rename(columns={"mean": "value"}).to_csv(tmp_path / "replicates.csv", index=False)
    assert not finding.outdated(tmp_path)
    assert finding.of_run(tmp_path)["mean"].tolist() == [0.6]
    seeds.assign(mean=[0.4, 0.7]).rename(columns={"mean": "value"}).to_csv(tmp_path / "replicates.csv", index=False)
    assert finding.outdated(tmp_path)
    assert finding.of_run(tmp_path)["mean"].tolist() == [0.5]
    seeds.assign(student="another").rename(columns={"mean": "value"}).to_csv(tmp_path / "replicates.csv", index=False)
    assert finding.outdated(tmp_path)


def test_a_study_that_stands_apart_is_compared_with_its_people(tmp_path):
    of_study = {"study": "2025", "n_people": 199} | gain("above_ceiling", -0.1, 0.05)
    rows = scores(tmp_path, [aligned(), aligned(regime="all", **of_study)])
    assert finding.compared(rows)[-1] == (
        "AligNet minus people's reliability, coarse, the study of 2025, 199 people",
        *("not read", "-.100 [-.150, -.050]: below"),
    )


def test_what_falls_short_names_levels_concepts_and_few_triplets(tmp_path):
    rows = scores(tmp_path, [aligned(), aligned("fine", spread=0.5, n=12)])
    assert finding.shortfalls(rows) == (
        "AligNet is not clearly above its base and the best floor (colours, pixels, untrained network) at fine (new "
        "concepts, 12 triplets); not clearly above its control at every level (new concepts)."
    )
    clear = aligned() | gain("over_control", 0.1, 0.01)
    assert finding.shortfalls(scores(tmp_path, [clear])) == (
        "AligNet is clearly above its base, its control and the best floor at every level."
    )


def test_numbers_are_written_without_the_zero_before_the_point():
    given = (0.5, -0.0625, 1.0986, 0.0, -0.0001, float("nan"), 10.05)
    assert [finding.number(value) for value in given] == [".500", "-.062", "1.099", ".000", ".000", "", "10.050"]
