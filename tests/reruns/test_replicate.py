import math
from pathlib import Path

import inputs
import pandas as pd
import pytest
import torch
import yaml
from scipy.stats import t

from alignet import config, results
from alignet.evaluation import seeds
from alignet.figures import ablations as ablation_figures
from alignet.figures import seeds as figures
from alignet.maths.intervals import Units, mean_influence
from alignet.models import frozen
from alignet.pipeline import cache
from alignet.reruns import ablate, beside, replicate, variants

NAN = float("nan")


UNITS = torch.arange(120).view(40, 3)  # triplets that share no concept
BENCHMARK = ("levels, new, coarse", "odd_one_out_accuracy")


def scores(alignet, control, base=0.4, **columns):
    """One benchmark of one student, a value for each seed."""
    rows = [
        {"seed": seed, "student": "s", "target": target, "value": value}
        for target, values in (("base", [base] * len(alignet)), ("unalignet", control), ("alignet", alignet))
        for seed, value in enumerate(values)
    ]
    common = {"benchmark": BENCHMARK[0], "metric": BENCHMARK[1], "study": "", "regime": "new", "level": "coarse"}
    common |= {"ci_low": 0.3, "ci_high": 0.7, "ci_unit": "triplets", "n": 40, "n_choices": 80, "n_people": 9}
    common |= {"noise_ceiling": 0.8, "chance": 1 / 3, "choices": "simulated", "judged": "", "note": ""}
    for name in ("over_base", "over_control"):
        common |= {f"{name}_low": -0.1, f"{name}_high": 0.1}
    return pd.DataFrame(rows).assign(**common | columns)


def kept(alignet, control, base=None, units=UNITS):
    """The influences of as many seeds. Args: lists of (n,) influences, a seed each."""
    none = torch.zeros(len(units), dtype=torch.float64)
    return {
        seed: {BENCHMARK: (Units(units), {("s", "alignet"): a, ("s", "unalignet"): c, ("s", "base"): base or none})}
        for seed, (a, c) in enumerate(zip(alignet, control, strict=True))
    }


def small(seed, size=0.01):
    """Influences on a mean, which sum to 0; their standard error is about size."""
    drawn = torch.randn(len(UNITS), generator=inputs.generator(seed), dtype=torch.float64)
    return size * (drawn - drawn.mean()) / (drawn - drawn.mean()).norm()


NOTHING = [torch.zeros(len(UNITS), dtype=torch.float64)] * 3


def row_of(table, target="alignet"):
    return table.set_index("target").loc[target]


def test_a_score_has_the_mean_and_spread_over_seeds_and_an_interval_about_that_mean():
    moved = [small(0), small(1), small(2)]
    row = row_of(seeds.summary(scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.6]), kept(moved, NOTHING)))
    assert row[["mean", "lowest", "highest", "n_seeds"]].tolist() == pytest.approx([0.6, 0.5, 0.7, 3])
    assert row["sd"] == pytest.approx(0.1)
    assert (row["ci_low"] + row["ci_high"]) / 2 == pytest.approx(row["mean"])
    assert row["ci_unit"] == "training seeds, and triplets"


def test_the_interval_adds_the_variances_over_seeds_and_over_concepts_by_hand():
    moved, control = [small(0), small(1), small(2)], [small(3), small(4), small(5)]
    row = row_of(seeds.summary(scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.7]), kept(moved, control)))
    mean, of_seeds = 0.2 / 3, pd.Series([0.1, 0.1, 0.0]).var() / 3
    influence = sum(a - c for a, c in zip(moved, control, strict=True)) / 3
    of_concepts = float(influence.square().sum()) * 40 / 39  # no two triplets share a concept
    freedom = (of_seeds + of_concepts) ** 2 / (of_seeds**2 / 2 + of_concepts**2 / (120 / 3 - 1))
    reach = t.ppf(0.975, freedom) * math.sqrt(of_seeds + of_concepts)
    assert row["over_control"] == pytest.approx(mean)
    assert row["over_control_low"] == pytest.approx(mean - reach)
    assert row["over_control_high"] == pytest.approx(mean + reach)
    assert row["over_base"] == pytest.approx(0.2)


def test_what_a_student_keeps_is_the_mean_share_of_the_teachers_gain():
    own = scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.6], kept_low=0.1, kept_high=0.9)
    teachers = own[own["target"].isin(["base", "alignet"])].assign(student=results.TEACHER)
    names = {"base": results.TEACHER_BEFORE, "alignet": results.TEACHER}
    teachers = teachers.assign(target=teachers["target"].map(names), value=[0.4] * 3 + [0.6] * 3)
    moved = kept([small(0), small(1), small(2)], NOTHING)
    for seed, found in moved.items():
        found[BENCHMARK][1][results.TEACHER, results.TEACHER] = small(9 + seed, 0.002)
        found[BENCHMARK][1][results.TEACHER, results.TEACHER_BEFORE] = NOTHING[0]
    row = seeds.summary(pd.concat([own, teachers]), moved).set_index(["student", "target"]).loc["s", "alignet"]
    assert row["kept"] == pytest.approx(0.5)  # .1 of .2 in every seed
    influence = sum(small(seed) / 0.2 - 0.1 / 0.04 * small(9 + seed, 0.002) for seed in range(3)) / 3
    reach = t.ppf(0.975, 120 / 3 - 1) * math.sqrt(float(influence.square().sum()) * 40 / 39)
    assert row["kept_high"] - row["kept"] == pytest.approx(reach)


def test_without_a_spread_over_concepts_the_interval_is_students_over_seeds():
    row = row_of(seeds.summary(scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.7]), kept(NOTHING, NOTHING)))
    reach = 4.302653 * pd.Series([0.1, 0.1, 0.0]).std() / math.sqrt(3)  # t with two degrees of freedom
    assert row["over_control_low"] == pytest.approx(0.2 / 3 - reach, rel=1e-6)


def test_without_a_spread_over_seeds_the_interval_is_that_of_one_run():
    same = [small(0, 0.05)] * 3
    row = row_of(seeds.summary(scores([0.5] * 3, [0.4] * 3), kept(same, NOTHING)))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(Units(UNITS).interval(0.5, same[0]))
    assert row["over_control"] == pytest.approx(0.1)


def test_triplets_that_share_concepts_widen_the_interval():
    moved = [small(0).abs() - small(0).abs().mean()] * 3
    apart, shared = (
        row_of(seeds.summary(scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.6]), kept(moved, NOTHING, units=units)))
        for units in (UNITS, UNITS.sort(0).values // 30 * 3 + torch.arange(3))
    )
    assert shared["ci_high"] != apart["ci_high"]


def test_where_no_influences_were_kept_the_seeds_own_intervals_are_taken_about_their_mean():
    row = row_of(seeds.summary(scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.7]), {0: {}, 1: {}, 2: {}}))
    of_seeds, of_episodes = pd.Series([0.1, 0.1, 0.0]).var() / 3, (0.1 / 1.959964) ** 2
    freedom = (of_seeds + of_episodes) ** 2 / (of_seeds**2 / 2)
    reach = t.ppf(0.975, freedom) * math.sqrt(of_seeds + of_episodes)
    assert row["over_control_high"] == pytest.approx(0.2 / 3 + reach, rel=1e-5)
    none = scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.7], ci_low=NAN, ci_high=NAN, over_control_low=NAN)
    row = row_of(seeds.summary(none, {0: {}, 1: {}, 2: {}}))
    assert row[["ci_low", "over_control_low", "verdict"]].isna().all()
    assert row["mean"] == pytest.approx(0.6)


def test_the_mean_never_lies_outside_its_interval():
    drawn = [small(seed) for seed in range(3)]
    table = seeds.summary(scores([0.2, 0.6, 0.9], [0.4, 0.5, 0.6]), kept(drawn, drawn))
    assert ((table["ci_low"] <= table["mean"]) & (table["mean"] <= table["ci_high"])).all()


def test_seeds_that_were_scored_on_other_choices_are_refused():
    found = kept(NOTHING, NOTHING)
    found[2] = kept(NOTHING, NOTHING, units=UNITS + 1)[2]
    with pytest.raises(ValueError, match="levels, new, coarse: the seeds were scored on different choices"):
        seeds.summary(scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.6]), found)


@pytest.mark.parametrize(
    ("alignet", "control", "size", "verdict"),
    [
        ([0.50, 0.51, 0.52], [0.40, 0.42, 0.41], 0.01, "AligNet"),
        ([0.40, 0.42, 0.41], [0.50, 0.51, 0.52], 0.01, "control"),
        ([0.40, 0.50, 0.60], [0.50, 0.40, 0.60], 0.01, "tie"),
        ([0.50, 0.51, 0.52], [0.40, 0.42, 0.41], 0.09, "tie"),  # clear over seeds, not over concepts
    ],
)
def test_a_verdict_is_that_of_the_interval_over_seeds_and_concepts(alignet, control, size, verdict):
    moved = [small(0, size)] * 3
    assert row_of(seeds.summary(scores(alignet, control), kept(moved, NOTHING)))["verdict"] == verdict


def test_there_is_no_verdict_from_fewer_than_three_seeds():
    for few in (1, 2):
        table = seeds.summary(scores([0.9] * few, [0.1] * few), kept(NOTHING[:few], NOTHING[:few]))
        assert table["verdict"].isna().all()
    alone = seeds.summary(scores([0.9], [0.1]), kept(NOTHING[:1], NOTHING[:1]))
    assert row_of(alone)[["over_control_low", "ci_low"]].isna().all()


def drawn_run(draw, concepts, spread):
    """Scores and influences of five seeds of AligNet minus control, whose true difference is 0.

    Triplets of concepts, each of which has an effect; seeds have one, and one for each concept, and triplets a noise
    that all seeds share and one of their own. Args: spread: standard deviations of these five.
    """
    objects = torch.rand(400, concepts, generator=draw).topk(3, dim=1).indices

    def effect(size, *shape):
        return size * torch.randn(*shape, generator=draw, dtype=torch.float64)

    of_concept, of_seed, of_both, noise, own = spread
    shared = effect(of_concept, concepts)[objects].sum(1) + effect(noise, 400)
    values = [
        shared + effect(of_seed, 1) + effect(of_both, concepts)[objects].sum(1) + effect(own, 400) for _ in range(5)
    ]
    means = [mean_influence(each, torch.ones(400)) for each in values]
    return objects, [value for value, _ in means], [influence for _, influence in means]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spread", "runs"),
    [
        ((0.1, 0.1, 0.03, 0.5, 0.2), 500),  # both alike
        ((0.2, 0.02, 0.03, 0.5, 0.2), 500),  # concepts above all
        ((0.03, 0.2, 0.03, 0.5, 0.2), 500),  # seeds above all
    ],
)
def test_combined_intervals_hold_the_truth_where_seeds_and_concepts_vary(spread, runs):
    draw, covered, over_seeds = inputs.generator(), 0, 0
    for _ in range(runs):
        objects, values, influences = drawn_run(draw, 60, spread)
        table = scores(values, [0.0] * 5)
        none = [torch.zeros(400, dtype=torch.float64)] * 5
        found = {
            seed: {BENCHMARK: (Units(objects), {("s", "alignet"): a, ("s", "unalignet"): c})}
            for seed, (a, c) in enumerate(zip(influences, none, strict=True))
        }
        row = row_of(seeds.summary(table, found))
        covered += row["over_control_low"] <= 0 <= row["over_control_high"]
        reach = t.ppf(0.975, 4) * row["sd"] / 5**0.5
        over_seeds += abs(row["mean"]) <= reach
    print(f"{spread}: combined {covered / runs:.3f}, over seeds alone {over_seeds / runs:.3f}")
    assert covered / runs == pytest.approx(0.95, abs=0.025)


def test_a_target_without_a_control_has_no_difference_to_it():
    table = scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.6])
    summary = seeds.summary(table[table["target"] != "unalignet"], kept(NOTHING, NOTHING))
    assert summary["over_control"].isna().all()
    assert row_of(summary)["over_base"] == pytest.approx(0.2)


def test_the_figures_show_all_seeds_and_say_whose_choices_they_are():
    table = scores([0.5, 0.6, 0.7], [0.4, 0.5, 0.6])
    summary = seeds.summary(table, kept(NOTHING, NOTHING))
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
    run = {name: before["students"][name] | {"seed": 7} for name in before["run"]["students"]}
    assert changed["students"] == before["students"] | run
    others = set(before) - {"teacher", "synthesis", "students"}
    assert {name: changed[name] for name in others} == {name: before[name] for name in others}


def names_of(changes):
    one = variants.Variant(config.home(), changes, ("07_levels",))
    return one.made_anew(), [notebook for notebook, _ in variants.stages(one, "params.yaml")]


def test_a_variant_makes_anew_what_it_changes_and_what_follows():
    students = 2 * len(config.names("students"))  # of both targets
    assert names_of({"students": {}}) == (["students"], ["06_student"] * students + ["07_levels"])
    assert names_of({"synthesis": {}, "students": {}})[0] == ["synthesis", "students"]
    anew, notebooks = names_of({"teacher": {}})
    assert anew == ["teacher", "synthesis", "students"]
    assert notebooks == sorted(notebooks)
    assert notebooks.count("05_synthesis") == 2


@pytest.fixture
def run_and_place(tmp_path):
    """A finished run's data/, and the place of a variant."""
    for name in (*variants.MADE_BY, frozen.FOLDER):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "a.safetensors").write_text(f"the run's {name}")
    place = tmp_path / "data" / "ablations" / "00_loss"
    (place / "data").mkdir(parents=True)
    return tmp_path / "data", place


def links_of(place):
    return {path.name for path in (place / "data").iterdir() if path.is_symlink()}


def test_a_part_that_a_variant_comes_to_make_anew_is_no_link_any_more(run_and_place):
    """As when the entry of a file of variants changes: its stages would write through the link into the run."""
    data, place = run_and_place
    variants._link(variants.Variant(place, {"students": {}}, ()), data)
    assert links_of(place) == {"world", "features", "human_uncertainty", "teacher", "synthesis"}
    variants._link(variants.Variant(place, {"teacher": {}}, ()), data)
    assert links_of(place) == {"world", "features", "human_uncertainty"}
    assert not (place / "data" / "teacher").exists()
    (place / "data" / "teacher").mkdir()
    (place / "data" / "teacher" / "mine").write_text("of the variant")
    variants._link(variants.Variant(place, {"students": {}}, ()), data)
    assert (place / "data" / "teacher" / "a.safetensors").read_text() == "the run's teacher"
    assert [path.name for path in (data / "teacher").iterdir()] == ["a.safetensors"]


def test_what_a_variant_stores_or_deletes_of_frozen_parts_leaves_the_runs_store_as_it_was(run_and_place):
    data, place = run_and_place
    (place / "data" / frozen.FOLDER).symlink_to(data / frozen.FOLDER)  # as variants were linked before
    variants._link(variants.Variant(place, {"students": {}}, ()), data)
    store = place / "data" / frozen.FOLDER
    assert (store / "a.safetensors").read_text() == "the run's frozen"
    frozen.store({"outputs": torch.zeros(4)}, store / "b.safetensors", most=1)
    assert [path.name for path in store.iterdir()] == ["b.safetensors"]
    assert [path.name for path in (data / frozen.FOLDER).iterdir()] == ["a.safetensors"]
    assert cache.main(["--empty", "--out-dir", str(place)]) == 0
    assert [path.name for path in (data / frozen.FOLDER).iterdir()] == ["a.safetensors"]


def test_a_seed_runs_the_pipeline_in_order():
    one = replicate.variant(7, "params.yaml", config.home())
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
    return pd.DataFrame(rows).assign(regime="new", ci_unit="triplets", choices="simulated")


def influences_of(ablation: pd.DataFrame) -> dict:
    """Of forty triplets without a common concept: one share of people's choices more at every second of them."""
    units, value = Units(torch.arange(120).view(40, 3)), torch.tensor([0.0, 1.0]).repeat(20).double()
    names = {("s", target): (value - 0.5) / 40 for target in ("base", "unalignet", "alignet")}
    stored = {(f"levels, new, {level}", "odd_one_out_accuracy"): (units, names) for level in ("coarse", "fine")}
    moved = dict.fromkeys(zip(ablation["factor"], ablation["variant"], strict=True), stored)
    twice = {key: (units, {name: 3 * values for name, values in of.items()}) for key, (units, of) in stored.items()}
    return moved | {("loss", "hard"): twice}


def test_a_variant_stands_beside_the_default_and_the_spread_over_seeds(tmp_path):
    spread = {"student": "s", "target": "alignet", "level": ["coarse", "fine", "fine"], "sd": [0.01, 0.02, 0.03]}
    spread |= {"regime": ["new", "new", "known"], "study": ""}
    spread = pd.DataFrame(spread).assign(benchmark=[f"levels, {n}" for n in range(3)])
    spread.assign(n_seeds=5).to_csv(tmp_path / "seeds.csv", index=False)
    moved = influences_of(ablated())
    table = ablate.beside_default(ablated(), moved, tmp_path / "seeds.csv").set_index(["variant", "target", "level"])
    assert table.loc[("hard", "alignet", "coarse"), "over_default"] == pytest.approx(-0.05)
    assert table.loc[("default", "alignet", "fine"), "over_default"] == 0
    assert table.loc[("hard", "alignet", "fine"), "seeds_sd"] == 0.02
    assert ablate.beside_default(ablated(), moved, tmp_path / "no.csv")["seeds_sd"].isna().all()


def test_a_difference_to_the_default_has_a_paired_interval_and_the_default_has_none(tmp_path):
    scores = ablated()
    moved = influences_of(scores)
    table = ablate.beside_default(scores, moved, tmp_path / "no.csv").set_index(["variant", "target", "level"])
    low, high = table.loc[("hard", "alignet", "coarse"), ["over_default_low", "over_default_high"]]
    expected = moved["loss", "hard"]["levels, new, coarse", "odd_one_out_accuracy"][0].interval(
        -0.05, torch.tensor([-1.0, 1.0]).repeat(20).double() / 40
    )
    assert (low, high) == pytest.approx(expected)
    assert low < -0.05 < high
    assert table.loc["default", ["over_default_low", "over_default_high"]].isna().all(axis=None)
    del moved["loss", "hard"]["levels, new, coarse", "odd_one_out_accuracy"]
    without = ablate.beside_default(scores, moved, tmp_path / "no.csv").set_index(["variant", "target", "level"])
    assert without.loc[("hard", "alignet", "coarse"), ["over_default_low", "over_default_high"]].isna().all()


def test_the_figure_of_ablations_draws_each_variant_and_says_whose_choices_they_are():
    figure = ablation_figures.by_factor(ablate.beside_default(ablated(), influences_of(ablated()), Path("no.csv")))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["loss: hard"]
    assert "SIMULATED" in figure.legends[0].get_title().get_text()


def test_the_listed_ablations_change_what_the_params_have():
    student, listed = ablate.read("params/variants/ablations.yaml")
    assert student in config.names("students")
    factors = {"loss", "teacher's targets", "sampling scheme", "layers", "temperature", "head", "clusters", "triplets"}
    assert {entry["factor"] for entry in listed} == factors | {"decay"}
    names = [(entry["factor"], entry["name"]) for entry in listed]
    assert len(set(names)) == len(names)
    for entry in listed:
        values = config._merged(config.values(), entry["changes"])
        config.Teacher(**values["teacher"])
        config.Synthesis(**values["synthesis"])
        config.Student(**values["students"][student])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("student: lite0", "needs student and variants"),
        ("variants: [{name: x}]\nstudent: a", "lacks"),
        ("student: a\nvariants: [{factor: f, name: x, changes: }]", "variant 1: changes: no sections"),
        (
            "student: a\nvariants: [{factor: f, name: x, changes: {backbones: {a: {layer: x}}}}]",
            "variant 1: backbones would have no effect: a variant of a changes teacher, synthesis",
        ),
        (
            "student: a\nvariants: [{factor: f, name: x, changes: {students: {b: {lr: 1.0}}}}]",
            "variant 1: students.b would have no effect",
        ),
    ],
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
        seeds.summary(found, kept(NOTHING, NOTHING)).to_csv(tmp_path / name / "tables" / "seeds.csv", index=False)
    runs = [f"{name}={tmp_path / name}" for name in ("emoji", "photos")]
    assert beside.main([*runs, "--out", str(tmp_path / "both")]) == 0
    drawn = (tmp_path / "both.svg").read_text()
    assert "SIMULATED" in drawn
    assert "DERIVED" in drawn
    assert beside.main([*runs, f"none={tmp_path}", "--out", str(tmp_path / "no")]) == 1
    assert "seeds.csv: no such file: run python -m alignet.reruns.replicate there first" in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists()
    with pytest.raises(SystemExit):
        beside.main([*runs, f"emoji={tmp_path / 'photos'}", "--out", str(tmp_path / "no")])
    assert "'emoji' names two runs" in capsys.readouterr().err


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


def test_a_variant_of_levels_keeps_its_own_changes():
    entry = {"changes": {"levels": {"centred": False}}}
    assert ablate.changes_of(entry, "lite0")["levels"] == {"centred": False, "floor_untrained": False}
