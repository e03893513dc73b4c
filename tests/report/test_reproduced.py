import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alignet import config, results
from alignet.report import compare, reproduced

EMOJI = config.home() / "reports" / "reference" / "emoji"
KEY = {"student": "a", "benchmark": "levels, new, coarse", "study": "", "regime": "new", "level": "coarse"}
KEY |= {"metric": "odd_one_out_accuracy", "choices": "human"}


def seeds(value=0.1, half=0.03, n_seeds=5):
    """seeds.csv of one score, whose difference to the base is `value` with an interval of +- half."""
    row = KEY | {"mean": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n_seeds": n_seeds}
    ends = {"over_base": value, "over_base_low": value - half, "over_base_high": value + half}
    control = {"over_control": np.nan, "over_control_low": np.nan, "over_control_high": np.nan}
    return pd.DataFrame([row | ends | control | {"target": "alignet"}, row | control | {"target": "base"}])


def of_runs(values, half=0.03):
    """Tidy scores: the difference to the base of each run."""
    rows = [
        KEY
        | {"seed": n, "target": "alignet", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6}
        | {"over_base": value, "over_base_low": value - half, "over_base_high": value + half}
        for n, value in enumerate(values)
    ]
    return pd.DataFrame(rows).assign(over_control=np.nan, over_control_low=np.nan, over_control_high=np.nan)


@pytest.fixture
def tables(tmp_path):
    def write(values=(0.1, 0.09, 0.11, 0.1, 0.1), **changes):
        results.save(seeds(**changes), tmp_path / "seeds.csv")
        results.save(of_runs(values), tmp_path / "replicates.csv")
        return tmp_path

    return write


def answers(found, *values, half=0.03):
    return [reproduced.compared(found, of_runs([value], half))["as_published"].item() for value in values]


def test_one_run_is_expected_in_an_interval_that_adds_the_variance_of_a_seed(tables):
    values = (0.06, 0.08, 0.1, 0.12, 0.14)
    (row,) = reproduced.published(tables(values)).to_dict("records")
    assert (row["difference"], row["mean"], row["clear"], row["n_processors"]) == ("over_base", 0.1, True, 1)
    assert row["sd_seeds"] == pytest.approx(np.std(values, ddof=1))
    variance = (0.03 / 1.959964) ** 2 + row["sd_seeds"] ** 2
    assert row["run_high"] - 0.1 > 1.96 * variance**0.5
    assert row["run_high"] - 0.1 < 2.78 * variance**0.5  # Student's t with between 4 and many degrees of freedom
    assert row["run_low"] == pytest.approx(0.2 - row["run_high"])


def test_the_spread_between_processors_widens_where_one_run_is_expected(tables, monkeypatch):
    alone = reproduced.published(tables())
    monkeypatch.setattr(reproduced, "scores", lambda folder: of_runs([float(folder.name)]))
    with_others = reproduced.published(tables(), [Path("0.16"), Path("0.04")])
    assert with_others["sd_processors"].item() == pytest.approx(0.06)
    assert with_others["n_processors"].item() == 3
    assert with_others["run_high"].item() > alone["run_high"].item() + 0.06


def test_a_clear_finding_wants_the_same_sign_and_a_place_where_a_run_is_expected(tables):
    found = reproduced.published(tables())
    assert answers(found, 0.1, 0.08, 0.13, 0.2, 0.01, -0.1) == ["yes", "yes", "yes", "no", "no", "no"]


def test_a_clear_finding_is_not_reproduced_by_the_opposite_sign_though_one_run_may_vary_that_much(tables):
    found = reproduced.published(tables((0.02, 0.18, 0.1, 0.2, 0.0)))
    assert found["run_low"].item() < -0.02
    assert answers(found, -0.02, 0.02) == ["no", "yes"]


def test_a_finding_that_is_not_told_apart_from_0_is_reproduced_by_another_that_is_not(tables):
    found = reproduced.published(tables(value=0.01, values=(0.01,) * 5))
    assert not found["clear"].item()
    assert answers(found, -0.01, 0.2, half=0.03) == ["yes", "no"]
    assert answers(found, 0.2, half=0.3) == ["yes"]


def test_two_seeds_make_no_clear_finding(tables):
    assert not reproduced.published(tables(n_seeds=2))["clear"].item()


def test_a_score_that_the_run_lacks_is_absent_and_named(tables):
    found = reproduced.published(tables())
    table = reproduced.compared(found, of_runs([0.1]).assign(benchmark="another"))
    assert table["as_published"].tolist() == ["absent"]
    assert reproduced.verdict(table) == [
        "0 of 1 findings as published; not so:",
        "  a, levels, new, coarse, odd one out accuracy, over base: this run has no such score",
    ]


def test_the_verdict_says_all_or_names_what_is_not_as_published(tables):
    found = reproduced.published(tables())
    assert reproduced.verdict(reproduced.compared(found, of_runs([0.1]))) == [
        "all findings as published: 1 clear ones and 0 not told apart from 0"
    ]
    _, line = reproduced.verdict(reproduced.compared(found, of_runs([-0.2])))
    assert line.startswith(
        "  a, levels, new, coarse, odd one out accuracy, over base: -0.200 here; published +0.100, one"
    )


def test_without_several_seeds_there_are_no_findings_and_the_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"seeds\.csv: no such file: findings need several seeds \(make replicate\)"):
        reproduced.published(tmp_path)


# On the published run itself


@pytest.fixture
def seed_0(monkeypatch):
    """Let every folder of tables have the scores of the published run's own seed."""
    scores = results.load(EMOJI / "tables" / "replicates.csv")
    scores = scores[scores["seed"] == 0]
    monkeypatch.setattr(reproduced, "scores", lambda folder: scores)
    return scores


@pytest.mark.parametrize("world", ["things", "emoji"])
def test_each_of_the_published_seeds_agrees_with_its_own_findings(world):
    tables = EMOJI.with_name(world) / "tables"
    found = reproduced.published(tables)
    for _, run in results.load(tables / "replicates.csv").groupby("seed"):
        assert (reproduced.compared(found, run)["as_published"] == "yes").mean() > 0.95


def test_a_run_without_effect_is_not_as_published():
    tables = EMOJI.with_name("things") / "tables"
    below = results.load(tables / "replicates.csv").query("seed == 0").copy()
    for name in reproduced.DIFFERENCES:
        below[[name, f"{name}_low", f"{name}_high"]] = -0.01, -0.02, 0.0
    table = reproduced.compared(reproduced.published(tables), below)
    above = table["clear"] & (table["mean"] > 0)
    assert above.sum() > 50
    assert (table.loc[above, "as_published"] == "no").all()


def finished(folder):
    shutil.copytree(EMOJI / "tables", folder / "reports" / "tables")
    return folder


def test_a_finished_run_is_told_its_findings_last_and_its_digits_before(tmp_path, capsys, seed_0):
    assert compare.main(["--against", str(EMOJI), "--out-dir", str(finished(tmp_path))]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("compared with reports/reference/emoji (")
    assert said[-2].startswith("digits: ")
    assert said[-1].startswith("all findings as published: ")
    saved = results.load(tmp_path / "reports" / "findings.csv")
    assert list(saved) == reproduced.COLUMNS
    assert set(saved["as_published"]) == {"yes"}


def test_published_findings_are_written_beside_the_run_and_read_from_there(tmp_path, monkeypatch, seed_0):
    finished(tmp_path)
    shutil.copyfile(EMOJI / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.setenv("ALIGNET_HOME", str(tmp_path))
    there = Path(compare.publish("mine", str(tmp_path))[0])
    found = results.load(there / "findings.csv")
    assert list(found) == reproduced.PUBLISHED
    (there / "tables" / "seeds.csv").unlink()
    assert compare.told(there, str(tmp_path))[-1].startswith("all findings as published")


def test_a_published_run_of_one_seed_has_no_findings_and_says_so(tmp_path):
    there = finished(tmp_path / "theirs") / "reports"
    (there / "tables" / "seeds.csv").unlink()
    said = compare.told(there, str(finished(tmp_path / "ours")))
    assert said[-1] == f"no findings to compare: {there / 'tables'} is of one training seed (make replicate)"


def test_a_run_without_a_table_is_told_which_one(tmp_path):
    (tmp_path / "levels.csv").write_text("student\n")
    with pytest.raises(ValueError, match=r"uncertainty\.csv: no such file: run make repro first"):
        reproduced.scores(tmp_path)
