"""The finding in a sentence and what it is compared with, from made-up tables."""

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
        "alignment and in .400 before (means of 5 training seeds): +31 % [+30, +32] over its base, beside up to 93.5 % "
        "in the paper (Levels)."
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
    assert (finding.sentence(rows), finding.control(rows), finding.compared(rows), finding.no_ceiling(rows)) == (
        *("", "", [], ""),
    )


def test_one_runs_tables_stand_in_for_those_over_seeds(tmp_path):
    renamed = {"mean": "odd_one_out_accuracy", "n": "n_triplets"}
    levels = pd.DataFrame([row("base", 0.4), aligned()]).assign(representation="pooled").rename(columns=renamed)
    levels.drop(columns=["metric", "benchmark", "n_seeds"]).to_csv(tmp_path / "levels.csv", index=False)
    unsure = row("alignet", 0.25, "all", against="response_entropy", ci_low=0.1, ci_high=0.4)
    unsure |= {"noise_ceiling": 0.9, "noise_ceiling_low": 0.8, "noise_ceiling_high": 1.0}
    pd.DataFrame([unsure]).rename(columns={"mean": "spearman"}).to_csv(tmp_path / "uncertainty.csv", index=False)
    rows = finding.of_run(tmp_path)
    assert "before (one training seed): +31 % [+30, +32] over its base" in finding.sentence(rows)
    assert finding.basis(rows).startswith("One run with one training seed")
    assert finding.compared(rows)[-1] == (
        "Spearman with response entropy, new concepts",
        *(".250 [.100, .400]; noise ceiling .900 [.800, 1.000]; 1,200 triplets", "not read"),
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
    of_study = {"study": "2025", "n_people": 199, "n_repeated": 320} | gain("above_ceiling", -0.1, 0.05)
    rows = scores(tmp_path, [aligned(), aligned(regime="all", **of_study)])
    assert finding.compared(rows)[-1] == (
        "AligNet minus noise ceiling, coarse, the study of 2025, 199 people",
        *("-.100 [-.150, -.050], below; 320 triplets", "not read"),
    )


def test_a_ceiling_of_few_triplets_is_left_out_with_the_difference_to_it_and_said(tmp_path):
    ceiling = {"noise_ceiling": 0.6, "noise_ceiling_low": 0.3, "noise_ceiling_high": 0.9}
    ceiling |= gain("above_ceiling", -0.1, 0.05)
    pair = [aligned(**ceiling, n_repeated=12), aligned("all", **ceiling, n_repeated=12)]
    rows = scores(tmp_path, pair)
    assert rows[["noise_ceiling", "noise_ceiling_high", "above_ceiling", "above_ceiling_low"]].isna().all(axis=None)
    assert [what for what, *_ in finding.compared(rows) if "ceiling" in what] == []
    assert finding.no_ceiling(rows) == (
        "No noise ceiling is told where fewer than 30 triplets were judged by several people: new concepts (12)."
    )
    enough = scores(tmp_path, [row | {"n_repeated": 30} for row in pair])
    assert enough["noise_ceiling"].tolist() == [0.6, 0.6]
    assert finding.no_ceiling(enough) == ""


def test_the_triplets_and_the_interval_of_a_ceiling_come_from_the_own_run(tmp_path):
    known = {"noise_ceiling": 0.6, "noise_ceiling_low": 0.5, "noise_ceiling_high": 0.7}
    levels = pd.DataFrame([aligned(**known, n_repeated=40)]).assign(representation="pooled")
    levels.rename(columns={"mean": "odd_one_out_accuracy", "n": "n_triplets"}).to_csv(tmp_path / "levels.csv")
    (row,) = scores(tmp_path, [aligned(noise_ceiling=0.6)]).to_dict("records")
    assert [row[name] for name in ("n_repeated", "noise_ceiling_low", "noise_ceiling_high")] == [40, 0.5, 0.7]


def test_intervals_end_where_accuracies_and_correlations_do(tmp_path):
    unsure = {"metric": "spearman", "benchmark": "uncertainty, new, all, response_entropy"}
    rows = [aligned(ci_low=-0.1, ci_high=1.06), aligned(ci_low=-1.2, ci_high=1.04) | unsure]
    found = scores(tmp_path, [*rows, aligned(ci_low=-3.0, ci_high=7.0) | {"metric": "nll"}])
    assert found["ci_low"].tolist() == [0.0, -1.0, -3.0]
    assert found["ci_high"].tolist() == [1.0, 1.0, 7.0]


def test_correlations_and_percentages_of_few_triplets_are_not_compared(tmp_path):
    unsure = {"metric": "spearman", "benchmark": "uncertainty, new, all, response_entropy", "level": "all", "n": 29}
    rows = scores(tmp_path, [aligned(), aligned(regime="known", n=29), aligned() | unsure])
    assert [what for what, *_ in finding.compared(rows)] == [
        "gain over the base, coarse, new concepts",
        "AligNet minus control, coarse, new concepts",
    ]


def test_numbers_are_written_without_the_zero_before_the_point():
    given = (0.5, -0.0625, 1.0986, 0.0, -0.0001, float("nan"), 10.05)
    assert [finding.number(value) for value in given] == [".500", "-.062", "1.099", ".000", ".000", "", "10.050"]
