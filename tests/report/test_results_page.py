"""docs/results.md and README's generated blocks are what the published tables say; README stays short."""

import re

import pandas as pd
import pytest
import yaml

import alignet
from alignet import config
from alignet.report import results_page

ROOT = config.home()
REFERENCE = ROOT / "reports" / "reference"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def row(target, mean, level="coarse", regime="new", **more):
    found = {"student": "lite0", "benchmark": f"levels, {regime}, {level}", "regime": regime, "level": level}
    found |= {"metric": "odd_one_out_accuracy", "target": target, "mean": mean, "n": 1200, "n_seeds": 5}
    found |= dict.fromkeys(["noise_ceiling", "noise_ceiling_low", "noise_ceiling_high", "n_repeated"], float("nan"))
    return found | {"choices": "human", "n_choices": 1300, "n_people": 40} | more


@pytest.fixture
def seeds():
    over = {"over_base": 0.125, "over_base_low": 0.1, "over_base_high": 0.15}
    over |= {"over_control": -0.025, "over_control_low": -0.05, "over_control_high": 0.0}
    rows = [row("base", 0.4), row("unalignet", 0.55), row("alignet", 0.525, **over)]
    return pd.DataFrame(rows).assign(study="", judged=None)


def test_a_row_of_the_table_has_the_three_models_and_both_differences_with_their_intervals(seeds):
    (found,) = results_page._rows(seeds, ["new", "known"], ["coarse", "fine"])
    assert found == "| new, coarse | .400 | .550 | .525 | +.125 [.100, .150] | -.025 [-.050, .000] |  | 1,200 |"


def test_a_noise_ceiling_has_its_interval_and_the_number_of_its_triplets(seeds):
    ceiling = {"noise_ceiling": 0.6, "noise_ceiling_low": 0.5, "noise_ceiling_high": 0.7, "n_repeated": 40}
    (found,) = results_page._rows(seeds.assign(**ceiling), ["new"], ["coarse"])
    assert found.endswith("| .600 [.500, .700], 40 triplets | 1,200 |")
    (found,) = results_page._rows(seeds.assign(**ceiling | {"n_repeated": 1200}), ["new"], ["coarse"])
    assert found.endswith("| .600 [.500, .700] | 1,200 |")


def test_choices_without_a_level_are_counted_where_counts_stand(tmp_path):
    rows = [row("base", 0.4, n_unnamed=0), row("base", 0.4, "all", n_choices=1500, n_unnamed=0)]
    (tmp_path / "tables").mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / "tables" / "seeds.csv", index=False)
    run = results_page.Run("emoji", tmp_path / "tables")
    assert "1,500 about new concepts (200 without a level)" in results_page._who(run).replace("\n ", "")
    assert [*results_page._asked(run)][-1].endswith("; 200 of these choices have no level.")


def test_floors_stand_beside_what_alignet_gains_over_the_best(seeds):
    over = {"over_floor": 0.2, "over_floor_low": -0.1, "over_floor_high": 0.5}
    floor = row("floor", 0.325) | {"student": "64 colours"}
    table = pd.concat([seeds.assign(**over), pd.DataFrame([floor])])
    assert [*results_page._floors(table)][-1] == "| new, coarse | .325 | +.200 [-.100, .500] | no |"
    assert [*results_page._floors(seeds.assign(**over))] == []


def test_times_are_told_in_minutes_and_as_a_range_where_they_are_one(tmp_path):
    (tmp_path / "bench").mkdir()
    rows = [("set-up", 140, 140), ("all", 610, 840)]
    table = pd.DataFrame(rows, columns=["what", "seconds", "seconds_high"]).assign(where="two cores")
    table.to_csv(tmp_path / results_page.TIMES, index=False)
    assert results_page.times(tmp_path) == "Measured on two cores: set-up 2 min, all 10 to 14 min.\n"


def test_the_page_of_results_is_what_the_published_tables_say():
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == results_page.page(REFERENCE)


def test_the_readmes_results_and_times_are_what_the_tables_say():
    assert [match[2] for match in results_page.MARK.finditer(README)] == ["results", "times"]
    assert results_page.with_blocks(README, ROOT) == README


def test_the_readme_has_at_most_900_words_and_no_line_over_150_characters():
    assert len(README.split()) <= 900
    assert [line for line in README.splitlines() if len(line) > 150] == []


def test_every_quantity_that_is_typed_into_the_readme_is_said_where_it_comes_from():
    typed = results_page.MARK.sub("", README)
    sources = {
        "95 %": results_page.INTRODUCTION,
        "6 GB": (ROOT / "Makefile").read_text(encoding="utf-8"),
        "170 MB": (ROOT / "alignet" / "worlds" / "fetch.py").read_text(encoding="utf-8"),
    }
    found = set(
        re.findall(r"\d[\d,.]*\s(?:%|[kMG]B|min|s|h|px|choices|people|triplets|pictures|concepts)(?!\w)", typed)
    )
    assert found == set(sources)
    assert [quantity for quantity, text in sources.items() if quantity not in text] == []
    assert re.findall(r"(?<![\w.])\.\d+", typed) == []
    python = re.search(r"Python (\d\.\d+) or newer", typed)
    assert f'requires-python = ">={python[1]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_citation_is_of_this_version_and_of_the_paper_that_the_readme_names():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == alignet.__version__
    paper = citation["preferred-citation"]
    assert f"https://doi.org/{paper['doi']}" in README
    assert f"Nature {paper['volume']}, {paper['start']}-{paper['end']}, {paper['year']}" in README
    assert paper["title"] in README.replace("\n", " ")


def test_settings_that_were_tried_stand_with_what_the_rule_chose_for_each(tmp_path):
    rows = [
        {
            "factor": factor,
            "variant": variant,
            "target": target,
            "level": "mean",
            "accuracy": accuracy,
            "chosen": chosen,
        }
        for factor, variant, target, accuracy, chosen in (
            ("base", "base", "base", 0.4, False),
            ("default", "default", "alignet", 0.5, False),
            ("default", "default", "unalignet", 0.45, False),
            ("steps", "400", "alignet", 0.52, True),
            ("steps", "400", "unalignet", 0.46, True),
        )
    ]
    pd.DataFrame(rows).assign(level="mean", minutes=2.0, n_folds=1, n_seeds=2).to_csv(
        tmp_path / "development.csv", index=False
    )
    lines = list(results_page._developed(results_page.Run("a", tmp_path)))
    assert "### Settings tried on development concepts (1 fold, 2 seeds)" in lines
    assert "| default | .500 | .450 | 2.0 |" in lines
    assert "| steps: 400 | .520 * | .460 * | 2.0 |" in lines
    said = lines[-1].replace("\n", " ")
    assert "the base has .400" in said
    assert ".050 where both have the default, and .060 where each has" in said
    assert not list(results_page._developed(results_page.Run("a", tmp_path / "none")))


def test_runs_beside_a_published_one_have_their_headings(tmp_path):
    tables = config.home() / "reports" / "reference" / "things" / "tables"
    lines = list(results_page._others(results_page.Run("things", tables)))
    assert "### Another split into judged and new concepts (one run)" in lines
    assert not list(results_page._others(results_page.Run("emoji", tables)))
