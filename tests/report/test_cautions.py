import dataclasses

import pandas as pd
import pytest

from alignet import config
from alignet.report import __main__ as command
from alignet.report import cautions

WORLD = "name: w\nformat: 1\nchoices: human\nhierarchy: [concept]\n"


@pytest.fixture
def run(tmp_path):
    """data/ and reports/ of a finished run about which there is nothing to warn of."""
    data, tables = tmp_path / "data", tmp_path / "reports" / "tables"
    (data / "world").mkdir(parents=True)
    tables.mkdir(parents=True)
    (tmp_path / "reports" / "notebooks").mkdir()
    (data / "world" / "world.yaml").write_text(WORLD)
    concepts = [f"NA{n}" for n in range(40)]
    pd.DataFrame({"image": concepts, "concept": concepts, "split": "test"}).to_csv(data / "world" / "images.csv")
    write(tables, "calibration", distribution=["vice", "uniform"], triplets="all", nll=[0.9, 1.1])
    maps = {"map": ["none", "fitted", "fitted"], "chosen": [False, True, False]}
    write(tables, "teacher", split="validation", loss=[0.5, 0.4, 0.9], **maps)
    for target in ("alignet", "unalignet"):
        agreement = {"scheme": ["random", "within_class"], "witness": "lite0", "agreement": [0.5, 0.6], "n": 200}
        write(tables, f"signal_{target}", threshold=0.43, warning="", **agreement)
    row = {"student": "lite0", "target": "alignet", "representation": "pooled", "study": "", "choices": "human"}
    row |= {"regime": ["known", "new"], "level": ["fine", "all"], "odd_one_out_accuracy": 0.5}
    write(
        tables,
        "levels",
        n_triplets=[50, 30],
        noise_ceiling=[0.7, None],
        n_repeated=[30, 0],
        note="nobody judged",
        **row,
    )
    benchmarks = {"benchmark": ["held-out triplets", "Cichy"], "metric": ["rsa_spearman", None]}
    write(tables, "similarity", value=[0.5, None], n=[60, 0], **benchmarks)
    return data, tables.parent


def write(tables, name, **columns):
    pd.DataFrame(columns).to_csv(tables / f"{name}.csv", index=False)


def change(reports, name, column, values):
    file = reports / "tables" / f"{name}.csv"
    pd.read_csv(file).assign(**{column: values}).to_csv(file, index=False)


def test_a_run_without_anything_to_warn_of_has_no_cautions(run):
    assert cautions.of_run(*run) == []


@pytest.mark.parametrize(
    ("table", "column", "values", "section", "text"),
    [
        (
            "calibration",
            "nll",
            [1.2, 1.1],
            "human-uncertainty",
            "an NLL of 1.200 nats, and knowing nothing gives 1.100",
        ),
        ("teacher", "loss", [0.4, 0.5, 0.1], "teacher", "a loss of 0.500 on held-out concepts, and 0.400 without it"),
        ("levels", "n_triplets", [29, 30], "levels", "Too few to conclude from: known concepts, fine (n = 29)."),
        ("levels", "n_triplets", 0, "levels", "No level of abstraction is scored: nobody judged."),
        ("levels", "n_repeated", [29, 0], "levels", "No noise ceiling is told: at most 29 triplets of a level"),
        ("similarity", "n", [12, 0], "similarity", "Too few to conclude from: held-out triplets (12)."),
    ],
)
def test_each_kind_of_caution_names_its_section_and_its_numbers(run, table, column, values, section, text):
    change(run[1], table, column, values)
    (caution,) = cautions.of_run(*run)
    assert caution.section == section
    assert text in caution.text
    assert caution.advice


def test_labels_without_a_signal_are_named_by_scheme(run):
    change(run[1], "signal_alignet", "warning", ["", "NO SIGNAL: not above chance"])
    (caution,) = cautions.of_run(*run)
    assert caution.text == (
        "NO SIGNAL in labels of alignet: within_class (agreement with lite0 0.600 of 200 triplets, threshold 0.430)."
    )


def test_labels_that_nothing_has_checked_are_said(run):
    file = run[1] / "tables" / "signal_unalignet.csv"
    pd.read_csv(file).head(0).to_csv(file, index=False)
    (caution,) = cautions.of_run(*run)
    assert "Labels of unalignet were not checked" in caution.text


@pytest.mark.parametrize("parquet", [False, True])
def test_few_test_concepts_are_said_in_both_sections_that_read_them(run, parquet):
    file = run[0] / "world" / "images.csv"
    images = pd.read_csv(file, keep_default_na=False).head(29)
    images.loc[0, "concept"] = "NA"  # a label, and not a missing one
    if parquet:  # as large tables are written
        file.unlink()
        images.to_parquet(file.with_suffix(".parquet"))
    else:
        images.to_csv(file)
    found = cautions.of_run(*run)
    assert [caution.section for caution in found] == ["reorganisation", "downstream"]
    assert "the test split shows 29 values of concept" in found[0].text


def test_where_no_level_is_scored_the_teachers_cross_validated_score_is_told(run):
    _, reports = run
    change(reports, "levels", "n_triplets", 0)
    file = reports / "tables" / "teacher.csv"
    crossed = {"split": "cross-fitted", "level": "all", "map": ["none", "fitted"], "n_triplets": 234}
    crossed |= {"odd_one_out_accuracy": [0.45, 0.58], "ci_low": [0.4, 0.52], "ci_high": [0.5, 0.64], "chosen": False}
    pd.concat([pd.read_csv(file), pd.DataFrame(crossed)]).to_csv(file, index=False)
    (caution,) = cautions.of_run(*run)
    assert "on 234 triplets of concepts that a fold has not seen" in caution.text
    assert "chooses as people do on 0.580 [0.520, 0.640], and its features as they are on 0.450" in caution.text


def test_remarks_about_a_world_of_ones_own_are_cautions(run, monkeypatch):
    data, _ = run
    own = dataclasses.replace(config.load("world", config.WorldSource), source="folder", path="w")
    monkeypatch.setattr(config, "load", lambda *_: own)
    concepts = [f"c{n}" for n in range(40)]
    images = pd.DataFrame({"image": concepts, "path": concepts, "concept": concepts, "split": "test"})
    images.assign(split=["human"] * 5 + ["synthesis"] + ["test"] * 34).to_csv(
        data / "world" / "images.csv", index=False
    )
    rows = [["c0", "c1", "c2", 1, "ann"], ["c1", "c2", "c3", 1, "ann"]] * 20
    columns = ["image_0", "image_1", "image_2", "odd", "participant"]
    pd.DataFrame(rows, columns=columns).to_csv(data / "world" / "triplets.csv", index=False)
    found = " ".join(caution.text for caution in cautions.of_run(*run))
    assert "participant 'ann' chose position 1 in 40 of 40 trials" in found
    assert "no triplet was judged by two people" in found


def test_cautions_stand_on_top_and_beside_what_the_section_found(run):
    change(run[1], "levels", "n_triplets", [29, 30])
    page = command.render(run[1], run[0])
    told = "Too few to conclude from: known concepts, fine (n = 29)."
    top, section = page.split('<section id="levels">')
    assert told in top.split("<nav")[0]
    assert '<a href="#levels">' in top
    assert told in section.split("</section>")[0]
    assert page.count(told) == 2
