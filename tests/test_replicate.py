import math

import pandas as pd
import pytest
import yaml

from alignet import ablate, beside, config, replicate, variants
from alignet.evaluation import seeds
from alignet.figures import ablations as ablation_figures
from alignet.figures import seeds as figures

NAN = float("nan")


def scores(alignet, control, base=0.4):
    """One benchmark of one student, a value for each seed."""
    rows = [
        {"seed": seed, "student": "s", "target": target, "benchmark": "levels, coarse", "value": value}
        for target, values in (("base", [base] * len(alignet)), ("unalignet", control), ("alignet", alignet))
        for seed, value in enumerate(values)
    ]
    common = {"metric": "odd_one_out_accuracy", "ci_low": 0.3, "ci_high": 0.7, "ci_unit": "triplets", "n": 9}
    common |= {"noise_ceiling": 0.8, "chance": 1 / 3, "choices": "simulated", "note": ""}
    return pd.DataFrame(rows).assign(**common)


def row_of(table, target="alignet"):
    return table.set_index("target").loc[target]


def test_a_score_has_the_mean_and_spread_over_seeds_and_the_interval_of_one():
    row = row_of(seeds.summary(scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.6]), own=0))
    assert row[["mean", "lowest", "highest", "n_seeds"]].tolist() == pytest.approx([0.6, 0.5, 0.7, 3])
    assert row["sd"] == pytest.approx(0.1)
    assert (row["ci_low"], row["ci_high"], row["ci_unit"]) == (0.3, 0.7, "triplets")


def test_differences_are_those_of_equal_seeds_with_students_interval():
    row = row_of(seeds.summary(scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.7]), own=0))
    mean, sd = 0.2 / 3, pd.Series([0.1, 0.1, 0.0]).std()
    reach = 4.302653 * sd / math.sqrt(3)  # t with two degrees of freedom
    assert row["over_control"] == pytest.approx(mean)
    assert row["over_control_low"] == pytest.approx(mean - reach, rel=1e-6)
    assert row["over_base"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("alignet", "control", "verdict"),
    [
        ([0.50, 0.51, 0.52], [0.40, 0.42, 0.41], "AligNet"),
        ([0.40, 0.42, 0.41], [0.50, 0.51, 0.52], "control"),
        ([0.40, 0.50, 0.60], [0.50, 0.40, 0.60], "tie"),
    ],
)
def test_a_verdict_is_that_of_the_interval_over_seeds(alignet, control, verdict):
    assert row_of(seeds.summary(scores(alignet, control), own=0))["verdict"] == verdict


def test_there_is_no_verdict_from_fewer_than_three_seeds():
    for few in (1, 2):
        table = seeds.summary(scores([0.9] * few, [0.1] * few), own=0)
        assert table["verdict"].isna().all()
    assert pd.isna(row_of(seeds.summary(scores([0.9], [0.1]), own=0))["over_control_low"])


def test_a_target_without_a_control_has_no_difference_to_it():
    table = scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.6])
    summary = seeds.summary(table[table["target"] != "unalignet"], own=0)
    assert summary["over_control"].isna().all()
    assert row_of(summary)["over_base"] == pytest.approx(0.2)


def test_the_figures_show_all_seeds_and_say_whose_choices_they_are():
    table = scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.6])
    summary = seeds.summary(table, own=0)
    figure = figures.by_level(summary, table)
    assert sum(len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == ".") == 9
    assert "SIMULATED" in figure.legends[0].get_title().get_text()
    assert "SIMULATED" in figures.over_control(summary).legends[0].get_title().get_text()


def test_a_seed_changes_teacher_synthesis_and_students_and_nothing_else(tmp_path):
    profile = tmp_path / "params.yaml"
    one = replicate.variant(7, "params.yaml", tmp_path)
    profile.write_text(str({"base": "params.yaml"} | one.changes))
    changed, before = config.values(str(profile)), config.values("params.yaml")
    for section in ("teacher", "synthesis"):
        assert changed[section] == before[section] | {"seed": 7}
    assert changed["students"] == {name: student | {"seed": 7} for name, student in before["students"].items()}
    others = set(before) - {"teacher", "synthesis", "students"}
    assert {name: changed[name] for name in others} == {name: before[name] for name in others}


def names_of(changes):
    one = variants.Variant(config.ROOT, changes, ("07_levels",))
    return one.made_anew(), [notebook for notebook, _ in variants.stages(one, "params.yaml")]


def test_a_variant_makes_anew_what_it_changes_and_what_follows():
    assert names_of({"students": {}}) == (["students"], ["06_student"] * 4 + ["07_levels"])
    assert names_of({"synthesis": {}, "students": {}})[0] == ["synthesis", "students"]
    anew, notebooks = names_of({"teacher": {}})
    assert anew == ["teacher", "synthesis", "students"]
    assert notebooks == sorted(notebooks)
    assert notebooks.count("05_synthesis") == 2


def test_a_seed_runs_the_pipeline_in_order():
    one = replicate.variant(7, "params.yaml", config.ROOT)
    names = [notebook for notebook, _ in variants.stages(one, "params.yaml")]
    assert names == sorted(names)
    assert names[0] == "04_teacher"
    assert names[-3:] == ["07_levels", "08_similarity", "10_downstream"]


def ablated():
    rows = [
        {"factor": factor, "variant": variant, "student": "s", "target": target, "level": level}
        | {"odd_one_out_accuracy": value + 0.1 * (target == "alignet"), "ci_low": 0.3, "ci_high": 0.7}
        for factor, variant, value in (("default", "default", 0.4), ("loss", "hard", 0.35))
        for target in ("base", "unalignet", "alignet")
        for level in ("coarse", "fine")
    ]
    return pd.DataFrame(rows).assign(ci_unit="triplets", choices="simulated")


def test_a_variant_stands_beside_the_default_and_the_spread_over_seeds(tmp_path):
    spread = {"student": "s", "target": "alignet", "benchmark": ["levels, coarse", "levels, fine"], "sd": [0.01, 0.02]}
    pd.DataFrame(spread).assign(n_seeds=5).to_csv(tmp_path / "seeds.csv", index=False)
    table = ablate.beside_default(ablated(), tmp_path / "seeds.csv").set_index(["variant", "target", "level"])
    assert table.loc[("hard", "alignet", "coarse"), "over_default"] == pytest.approx(-0.05)
    assert table.loc[("default", "alignet", "fine"), "over_default"] == 0
    assert table.loc[("hard", "alignet", "fine"), "seeds_sd"] == 0.02
    assert ablate.beside_default(ablated(), tmp_path / "no.csv")["seeds_sd"].isna().all()


def test_the_figure_of_ablations_draws_each_variant_and_says_whose_choices_they_are():
    figure = ablation_figures.by_factor(ablate.beside_default(ablated(), config.ROOT / "no.csv"))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["loss: hard"]
    assert "SIMULATED" in figure.legends[0].get_title().get_text()


def test_the_listed_ablations_change_what_the_params_have():
    student, listed = ablate.read("params/variants/ablations.yaml")
    assert student in config.names("students")
    factors = {"loss", "teacher's targets", "sampling scheme", "layers", "temperature", "clusters", "triplets", "decay"}
    assert {entry["factor"] for entry in listed} == factors
    for entry in listed:
        values = config._merged(config.values(), entry["changes"])
        config.Teacher(**values["teacher"])
        config.Synthesis(**values["synthesis"])
        config.Student(**values["students"][student])


@pytest.mark.parametrize(
    ("text", "message"),
    [("student: lite0", "needs student and variants"), ("variants: [{name: x}]\nstudent: a", "lacks")],
)
def test_a_wrong_file_of_variants_is_refused(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        ablate.read(str(tmp_path / "mine.yaml"))
    with pytest.raises(ValueError, match="no such file"):
        ablate.read(str(tmp_path / "other.yaml"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--seeds", "1"], "finish the run first"), (["--params-file", "no.yaml"], "no such file")],
)
def test_what_cannot_be_replicated_is_one_line(tmp_path, capsys, arguments, message):
    assert replicate.main([*arguments, "--out-dir", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_several_runs_stand_in_one_figure_a_row_each_with_whose_choices_they_are(tmp_path, capsys):
    for name, choices in (("emoji", "simulated"), ("photos", "derived")):
        (tmp_path / name / "tables").mkdir(parents=True)
        found = scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.6]).assign(choices=choices)
        found.to_csv(tmp_path / name / "tables" / "replicates.csv", index=False)
        seeds.summary(found, own=0).to_csv(tmp_path / name / "tables" / "seeds.csv", index=False)
    runs = [f"{name}={tmp_path / name}" for name in ("emoji", "photos")]
    assert beside.main([*runs, "--out", str(tmp_path / "both")]) == 0
    drawn = (tmp_path / "both.svg").read_text()
    assert "SIMULATED" in drawn
    assert "DERIVED" in drawn
    assert beside.main([*runs, f"none={tmp_path}", "--out", str(tmp_path / "no")]) == 1
    assert "seeds.csv: no such file: run python -m alignet.replicate there first" in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists()


def test_a_run_of_a_profile_can_be_repeated_with_other_values(tmp_path):
    written = tmp_path / "params.yaml"
    written.write_text(yaml.safe_dump(config.values("params/things.yaml") | {config.PROFILE: "params/things.yaml"}))
    variant, again = tmp_path / "variant.yaml", tmp_path / "again.yaml"
    variant.write_text(yaml.safe_dump(variants.based_on(str(written)) | {"teacher": {"seed": 3}}))
    assert config.value("teacher.seed", str(variant)) == 3
    assert config.value("world.source", str(variant)) == "folder"
    again.write_text(yaml.safe_dump(variants.based_on(str(variant)) | {"synthesis": {"seed": 4}}))
    assert config.value("teacher.seed", str(again)) == 3
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({config.BASE: str(written)}))
    with pytest.raises(config.ConfigError, match=r"was written from params/things\.yaml; restore it first"):
        config.values(str(other))
