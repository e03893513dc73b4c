"""What falls short: the table, its sentence, the teacher beside ridge regression, and the claims in words."""

import pandas as pd
import pytest
import yaml

from alignet import config, results
from alignet.report import finding, shortfalls

REFERENCE = config.home() / "reports" / "reference"


def gain(name, value, spread):
    return {name: value, f"{name}_low": value - spread, f"{name}_high": value + spread}


def aligned(level="coarse", spread=0.01, **more):
    row = {"student": "lite0", "target": "alignet", "study": None, "regime": "new", "level": level, "choices": "human"}
    row |= {"metric": "odd_one_out_accuracy", "benchmark": f"levels, new, {level}", "mean": 0.525, "n": 1200}
    row |= gain("over_base", 0.125, spread) | gain("over_control", 0.025, 0.01) | gain("over_floor", 0.25, spread)
    return row | gain("relative_improvement", 31.25, 100 * spread) | {"n_seeds": 5} | more


def scores(tmp_path, rows):
    pd.DataFrame(rows).to_csv(tmp_path / "seeds.csv", index=False)
    return finding.of_run(tmp_path)


def test_the_table_has_a_row_for_each_difference_that_is_not_clearly_above_0(tmp_path):
    rows = scores(tmp_path, [aligned(), aligned("fine", 0.5, n=12) | gain("over_control", -0.05, 0.02)])
    assert shortfalls.table(rows) == [
        ["not clearly above its base", "new concepts, fine", "+.125 [-.375, .625]", "12 triplets"],
        ["below its control", "new concepts, fine", "-.050 [-.070, -.030]", "12 triplets"],
        ["not clearly above the best floor", "new concepts, fine", "+.250 [-.250, .750]", "12 triplets"],
    ]
    assert shortfalls.sentence(rows) == (
        "AligNet is not clearly above its base in 1 of 2 scores (fine), its control in 1 of 2 scores (fine), the best "
        "floor in 1 of 2 scores (fine)."
    )


def test_nothing_is_short_where_all_intervals_are_above_0(tmp_path):
    rows = scores(tmp_path, [aligned()])
    assert (shortfalls.table(rows), shortfalls.sentence(rows)) == ([], shortfalls.NONE)
    assert shortfalls.sentence(finding.of_run(tmp_path / "none")) == ""


def test_a_noise_ceiling_counts_its_own_triplets_and_is_passed_over_where_they_are_few(tmp_path):
    below = gain("above_ceiling", -0.1, 0.05)
    rows = scores(tmp_path, [aligned(**below, n_repeated=results.FEW_TRIPLETS)])
    assert shortfalls.table(rows) == [
        ["below the noise ceiling", "new concepts, coarse", "-.100 [-.150, -.050]", "30 triplets"]
    ]
    assert shortfalls.sentence(rows) == "AligNet is below the noise ceiling in 1 of 1 scores (coarse)."
    assert shortfalls.table(scores(tmp_path, [aligned(**below, n_repeated=results.FEW_TRIPLETS - 1)])) == []


def test_a_task_is_lost_by_its_corrected_p_alone(tmp_path):
    task = {"task": "emoji, class", "primary": "yes", "benchmark": "emoji, few-shot class", "metric": "accuracy"}
    task |= {"over_base_holm": 0.001, "ci_unit": "training seeds, and episodes", "n": 50, "regime": None, "level": None}
    lost = aligned(**task, over_control_holm=0.01) | gain("over_control", -0.02, 0.01)
    rows = scores(tmp_path, [aligned(), lost])
    assert shortfalls.table(rows) == [
        ["below its control", "downstream, emoji, few-shot class", "-.020 [-.030, -.010]", "50 episodes"]
    ]
    assert shortfalls.sentence(rows) == "AligNet is below its control on 1 of 1 downstream tasks."
    assert shortfalls.table(scores(tmp_path, [aligned(), lost | {"over_control_holm": 0.06}])) == []


def teacher(tmp_path, ridge, fitted, steps=50, n=400):
    rows = [{"map": "ridge", "odd_one_out_accuracy": ridge}, {"map": "fitted", "odd_one_out_accuracy": fitted}]
    table = pd.DataFrame(rows).assign(split="cross-fitted", level="all", n_triplets=n, steps=[None, steps])
    table = table.assign(ci_low=table["odd_one_out_accuracy"] - 0.02, ci_high=table["odd_one_out_accuracy"] + 0.02)
    table.to_csv(tmp_path / "teacher.csv", index=False)
    return shortfalls.beside_ridge(tmp_path)


@pytest.mark.parametrize(
    ("ridge", "fitted", "said"), [(0.5, 0.51, "not told apart from"), (0.5, 0.56, "above"), (0.56, 0.5, "below")]
)
def test_the_teacher_is_told_beside_ridge_regression_by_their_intervals(tmp_path, ridge, fitted, said):
    found = teacher(tmp_path, ridge, fitted)
    assert found.startswith(f"The fitted teacher is {said} ridge regression alone: ")
    assert "of 400 cross-fitted triplets (one run)" in found


def test_a_fit_without_a_step_is_ridge_regression_and_few_triplets_say_nothing(tmp_path):
    assert teacher(tmp_path, 0.5, 0.5, steps=0).startswith("The fitted teacher is ridge regression itself")
    assert teacher(tmp_path, 0.5, 0.56, n=results.FEW_TRIPLETS - 1) == ""
    assert shortfalls.beside_ridge(tmp_path / "none") == ""


# The claims of shortfalls.yaml in words, against the published tables: where one fails, correct the claim.


@pytest.fixture(scope="module")
def published():
    """The rows of AligNet in the published runs: world -> table indexed by benchmark."""
    tables = {world: finding.of_run(REFERENCE / world / "tables") for world in ("things", "emoji")}
    return {world: rows[rows["target"] == "alignet"].set_index("benchmark") for world, rows in tables.items()}


def table(world, name):
    return results.load(REFERENCE / world / "tables" / f"{name}.csv")


def test_every_number_of_the_claims_is_of_one_row_of_a_published_table():
    claims = yaml.safe_load(shortfalls.CLAIMS.read_text(encoding="utf-8"))
    found = shortfalls.claims(REFERENCE)
    assert len(found) == len(claims)
    assert [text for text in found if "nan" in text or "{" in text] == []


def test_fine_triplets_are_few_and_their_intervals_hold_0(published):
    for regime in ("new", "known"):
        fine = published["things"].loc[f"levels, {regime}, fine"]
        assert fine["n"] < 0.01 * published["things"].loc[f"levels, {regime}, all"]["n"]
        assert fine["over_base_low"] < 0 < fine["over_base_high"]


def test_the_gain_is_smaller_in_the_study_of_2025(published):
    study, new = (published["things"].loc[f"levels, {name}, coarse"] for name in ("2025, all", "new"))
    assert study["over_base_high"] < new["over_base_low"]
    assert study["over_control_high"] < new["over_control_low"]


def test_fits_of_the_teacher_end_close_to_ridge_regression():
    rows = table("things", "teacher")
    rows = rows[(rows["split"] == "validation") & (rows["level"] == "judged")]
    fits = (
        rows[rows["map"] == "fitted"].groupby(["lambda", "local_weight", "lr", "steps"])["odd_one_out_accuracy"].mean()
    )
    before, ridge = (rows.loc[rows["map"] == kind, "odd_one_out_accuracy"].mean() for kind in ("none", "ridge"))
    assert (fits - ridge).abs().max() < 0.25 * (ridge - before)


def test_the_control_gains_over_the_base_and_alignet_more(published):
    row = published["things"].loc["levels, new, coarse"]
    control = row["over_base"] - row["over_control"]
    assert 0 < control < row["over_base"]
    assert row["over_control_low"] > 0


def test_mixed_concepts_say_more_of_emoji_than_new_ones(published):
    new, mixed = (published["emoji"].loc[f"levels, {name}, all"] for name in ("new", "mixed"))
    assert mixed["n"] > 3 * new["n"]
    spread = [row["over_control_high"] - row["over_control_low"] for row in (new, mixed)]
    assert spread[1] < spread[0]


def test_few_triplets_of_2020_have_a_noise_ceiling_and_all_of_2025(published):
    for regime in ("new", "known"):
        row = published["things"].loc[f"levels, {regime}, all"]
        assert row["n_repeated"] < results.FEW_TRIPLETS
        assert pd.isna(row["noise_ceiling"])
    study = published["things"].loc["levels, 2025, all, all"]
    assert study["n_repeated"] == study["n"]
    assert study["noise_ceiling_low"] < study["noise_ceiling"] < study["noise_ceiling_high"]


def test_vice_here_keeps_fewer_dimensions_and_predicts_less_well_than_its_authors():
    rows = table("things", "embeddings")
    rows = rows[rows["metric"] == "accuracy"].set_index("embedding")
    ours, theirs = rows.loc["VICE, fitted here"], rows.loc["VICE of its authors"]
    assert ours["dimensions"] < theirs["dimensions"]
    assert ours["ci_high"] < theirs["ci_low"]
    assert (ours["held_out"], theirs["held_out"]) == ("yes", "no")


def test_the_rule_chooses_slower_settings_by_less_than_seeds_differ(published):
    rows = table("emoji", "development")
    rows = rows[(rows["target"] == "alignet") & (rows["level"] == "mean")]
    (chosen,) = rows[rows["chosen"]].to_dict("records")
    (default,) = rows[rows["variant"] == "default"].to_dict("records")
    assert chosen["minutes"] > default["minutes"]
    assert 0 < chosen["accuracy"] - default["accuracy"] < published["emoji"].loc["levels, new, all"]["sd"]
    tried = table("emoji", "development").query("target != 'base'").groupby("target")["variant"].unique()
    assert set(tried["alignet"]) == set(tried["unalignet"])
    cost = table("things", "ablations").query("variant == 'blocks.4 on' and regime == 'new' and level == 'all'")
    assert cost.set_index("target").loc["alignet", "over_default_high"] < 0


def test_ridge_regression_is_calibrated_about_as_well_as_the_fitted_teacher():
    rows = table("things", "teacher")
    rows = rows[(rows["level"] == "all") & rows["split"].isin(["cross-fitted", "new"])]
    error = rows.pivot_table(index="split", columns="map", values="ece")
    assert (error["ridge"] - error["fitted"]).abs().max() < 0.01
