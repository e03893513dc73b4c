"""docs/results_page.md and README's block of results are what the published tables say."""

import pandas as pd
import pytest

from alignet import config
from alignet.report import results_page

REFERENCE = config.home() / "reports" / "reference"


def row(target, mean, level="coarse", regime="new", **more):
    found = {"student": "lite0", "benchmark": f"levels, {regime}, {level}", "regime": regime, "level": level}
    found |= {"metric": "odd_one_out_accuracy", "target": target, "mean": mean, "n": 1200, "n_seeds": 5}
    return found | {"noise_ceiling": float("nan"), "choices": "human", "n_choices": 1300, "n_people": 40} | more


@pytest.fixture
def seeds():
    over = {"over_base": 0.125, "over_base_low": 0.1, "over_base_high": 0.15}
    over |= {"over_control": -0.025, "over_control_low": -0.05, "over_control_high": 0.0}
    rows = [row("base", 0.4), row("unalignet", 0.55), row("alignet", 0.525, **over)]
    return pd.DataFrame(rows).assign(study=None, judged=None)


def test_a_row_of_the_table_has_the_three_models_and_both_differences_with_their_intervals(seeds):
    (found,) = results_page._rows(seeds, ["new", "known"], ["coarse", "fine"])
    assert found == "| new, coarse | .400 | .550 | .525 | +.125 [.100, .150] | -.025 [-.050, .000] |  | 1,200 |"


def test_numbers_are_written_without_the_zero_before_the_point():
    assert [results_page._number(value) for value in (0.5, -0.0625, 1.0986, 0.0, float("nan"), 10.05)] == [
        *(".500", "-.062", "1.099", ".000", "", "10.050"),
    ]


def test_the_sentence_sets_the_gain_beside_the_papers(seeds, tmp_path):
    (tmp_path / "tables").mkdir()
    seeds.to_csv(tmp_path / "tables" / "seeds.csv", index=False)
    said = results_page._sentence(results_page.Run("things", tmp_path / "tables"))
    assert "**.525** of coarse" in said
    assert "+31 % over its base" in said
    assert "on Levels: up to 93.5 %" in said


def test_the_page_of_results_is_what_the_published_tables_say():
    assert (config.home() / "docs" / "results.md").read_text(encoding="utf-8") == results_page.page(REFERENCE)


def test_the_readmes_results_are_what_the_published_tables_say():
    readme = (config.home() / "README.md").read_text(encoding="utf-8")
    assert results_page.MARK.search(readme) is not None
    assert readme == results_page.with_headline(readme, REFERENCE)
