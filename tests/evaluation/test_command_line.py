import matplotlib

matplotlib.use("Agg")

import pandas as pd
import pytest
import torch

from alignet import config, results
from alignet.evaluation import __main__ as evaluate
from alignet.evaluation import benchmarks as scored
from alignet.evaluation import score, scoring
from alignet.figures import benchmarks
from alignet.models import backbones

NAN = float("nan")
SETTINGS = config.Backbone(
    model="tf_efficientnet_lite0", options={}, weights="random", layer="blocks.2", picture_size=32, seed=0
)
KEY = {"model": "a", "weights": "package", "layer": "pooled", "picture_size": 224, "world": "emoji"}


def stages(student="m", target="base"):
    """Tables with the columns of the evaluation stages that are read here."""
    names = {"student": student, "target": target, "ci_low": 0.0, "ci_high": 1.0, "choices": "simulated", "note": ""}
    levels = [{"level": level, "representation": kind} for level in ("coarse", "all") for kind in ("pooled", "head")]
    levels = pd.DataFrame(levels).assign(odd_one_out_accuracy=0.5, noise_ceiling=0.8, n_triplets=40, **names)
    unsure = pd.DataFrame({"level": ["coarse"], "against": ["response_time"], "spearman": [0.2], "n": [40]})
    alike = pd.DataFrame({"benchmark": ["held-out triplets", "b", "ratings.csv"], "value": [0.5, 0.1, NAN], "n": 40})
    alike["metric"] = ["odd_one_out_accuracy", "rsa_spearman", "rsa_spearman"]
    tasks = pd.DataFrame({"dataset": "emoji", "protocol": ["few-shot class", "linear probe class"]})
    tasks = tasks.assign(shots=[5, NAN], classifier=["centroid", "logistic"], accuracy=0.3, chance=0.1, draws=50)
    return {
        "levels": levels,
        "uncertainty": unsure.assign(**names),
        "similarity": alike.assign(**names),
        "downstream": tasks.assign(**names),
    }


def test_all_stages_become_one_table_of_scores_that_have_a_value():
    table = scored.tidy(stages()).set_index(["benchmark", "metric"])
    assert len(table) == 2 + 1 + 2 + 2
    assert table.loc[("levels, coarse", "odd_one_out_accuracy"), "n"] == 40
    assert table.loc[("levels, coarse", "odd_one_out_accuracy"), "chance"] == pytest.approx(1 / 3)
    assert table.loc[("uncertainty, coarse, response_time", "spearman"), "value"] == 0.2
    assert table.loc[("b", "rsa_spearman"), "chance"] == 0
    assert table.loc[("emoji, few-shot class", "accuracy, centroid, 5 shots"), "n"] == 50
    assert table.loc[("emoji, linear probe class", "accuracy, logistic"), "chance"] == 0.1


def test_a_noise_ceiling_of_too_few_triplets_for_an_interval_is_none_beside_the_scores():
    tables = stages()
    tables["levels"] = tables["levels"].assign(noise_ceiling_low=[0.7, 0.7, NAN, NAN])  # of coarse and of all
    found = scored.tidy(tables).set_index("benchmark")["noise_ceiling"]
    assert found["levels, coarse"] == 0.8
    assert pd.isna(found["levels, all"])


def test_a_model_scored_again_replaces_its_rows_and_leaves_the_others(tmp_path):
    file, scores = tmp_path / "new" / "comparison.csv", scored.tidy(stages())
    scored.with_model(file, KEY, scores)
    scored.with_model(file, KEY | {"layer": "blocks.5"}, scores)
    again = scored.with_model(file, KEY, scores.assign(value=0.9))
    assert len(again) == 2 * len(scores)
    stored = pd.read_csv(file).groupby("layer")["value"].max()
    assert stored.to_dict() == {"blocks.5": 0.5, "pooled": 0.9}
    assert [path.name for path in file.parent.iterdir()] == ["comparison.csv"]


def test_the_output_is_the_layers():
    embedder = backbones.create(SETTINGS)
    shown = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(scoring.AtLayer(embedder, "blocks.2")(shown), embedder.at_layer(shown, "blocks.2"))


def test_the_run_without_its_tables_adds_no_students(tmp_path):
    class World:
        name = "emoji"

    assert scored.of_the_run(tmp_path, World).empty
    (tmp_path / "tables").mkdir()
    for stage, table in stages("lite0", "alignet").items():
        table.to_csv(tmp_path / "tables" / f"{stage}.csv", index=False)
    assert set(scored.of_the_run(tmp_path, World)["model"]) == {"lite0, AligNet"}


def two_models():
    scores = scored.tidy(stages())
    names = ("a", f"b, {results.NAMES['alignet']}")
    return pd.concat([scores.assign(**KEY | {"model": name}) for name in names], ignore_index=True)


def test_the_figure_has_a_row_a_benchmark_a_column_a_model_and_says_whose_choices_they_are():
    figure = benchmarks.by_model(two_models())
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b, AligNet"]
    rows = [text.get_text() for text in ax.get_yticklabels()]
    assert rows == [
        "levels, coarse: accuracy",
        "held-out triplets: accuracy",
        "b: RSA",
        "few-shot class: accuracy",
        "linear probe class: accuracy",
    ]
    legend = figure.legends[0]
    assert "SIMULATED" in legend.get_title().get_text()


def test_colours_are_shares_of_the_way_from_chance_to_the_ceiling():
    drawn = benchmarks.drawn(two_models()).drop_duplicates("name").set_index("name")["share"]
    assert drawn["levels, coarse: accuracy"] == pytest.approx((0.5 - 1 / 3) / (0.8 - 1 / 3))
    assert drawn["few-shot class: accuracy"] == pytest.approx((0.3 - 0.1) / 0.9)


def test_the_summary_sets_the_model_beside_base_control_and_aligned():
    new = scored.tidy(stages()).assign(model="new", layer="pooled")
    run = scored.tidy(stages("lite0", "alignet")).assign(model=f"lite0, {results.NAMES['alignet']}", layer="pooled")
    head, first, *rest = evaluate.summary(new, run.assign(value=0.7))
    assert head.split() == ["model", "lite0", "base", "lite0", "unalignet", "lite0", "alignet", "ceiling"]
    assert first.split() == ["levels,", "coarse:", "accuracy", "0.500", "-", "-", "0.700", "0.800"]
    assert len(rest) == 4
    assert "0.500" in evaluate.summary(new, run[:0])[1]


def test_an_unknown_benchmark_is_refused_by_name():
    with pytest.raises(ValueError, match="benchmark 'imagenet': choose one of levels, uncertainty"):
        score(SETTINGS, "imagenet")


@pytest.mark.parametrize(
    ("backbone", "message"),
    [("no_such_model", "no_such_model"), ("local-dir:no/such/folder", "config.json: no such file")],
)
def test_an_unknown_model_is_one_line_and_exit_code_1(backbone, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluate.tables, "read", lambda folder: None)
    assert evaluate.main(["--backbone", backbone, "--weights", "timm", "--out-dir", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "reports").exists()


def test_a_benchmark_of_a_few_triplets_is_in_the_table_and_not_in_the_figure():
    models = two_models()
    few = models.assign(n=models["n"].where(models["benchmark"] != "levels, coarse", 3))
    assert "levels, coarse: accuracy" in set(benchmarks.drawn(models)["name"])
    assert "levels, coarse: accuracy" not in set(benchmarks.drawn(few)["name"])
