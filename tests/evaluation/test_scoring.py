"""`alignet.evaluation.score` of models and features that others bring."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from alignet.evaluation import __main__ as evaluate
from alignet.evaluation import score, scoring
from alignet.models.given import Given
from alignet.worlds.format import pictures, tables
from alignet.worlds.format.tables import TRIPLET

SIZE = 16
LEVEL = {3: "coarse", 2: "boundary", 1: "fine"}  # by the number of classes


@pytest.fixture
def run(tmp_path):
    """data/world of a run: 36 pictures of 6 classes, 24 of them for tests, with choices of every level."""
    folder, generator = tmp_path / "data" / "world", np.random.default_rng(0)
    folder.mkdir(parents=True)
    names = [f"{label}{number}" for label in "abcdef" for number in range(6)]
    for name in names:
        colour = generator.integers(0, 255, 3)
        Image.fromarray(np.full((20, 30, 3), colour, np.uint8)).save(folder / f"{name}.png")
    images = pd.DataFrame({"image": names, "path": [f"{name}.png" for name in names], "class": [n[0] for n in names]})
    images = images.assign(picture=names, split=["human", "synthesis", "test", "test", "test", "test"] * 6)
    shown = [("a2", "b2", "c2"), ("a2", "a3", "b3"), ("d2", "d3", "d4"), ("e2", "f2", "a4"), ("b4", "b5", "f5")]
    levels = pd.DataFrame([triplet for triplet in shown for _ in range(3)], columns=TRIPLET)
    levels = levels.assign(odd=[0, 0, 1] * 5, participant=["p", "q", "r"] * 5)
    classes = [len({image[0] for image in row}) for row in levels[TRIPLET].to_numpy()]
    levels["level"] = [LEVEL[number] for number in classes]
    triplets = pd.DataFrame([["a0", "b0", "c0", 0, "p"]], columns=[*TRIPLET, "odd", "participant"])
    world = tables.World("toy", "human", folder, ("picture", "class"), images, triplets, levels)
    tables.write(world, folder)
    return tmp_path


def mean_colour(shown):
    """(batch, 3, size, size) in [0, 1] -> (batch, 3)."""
    assert shown.dtype == torch.float32
    assert shown.shape[1:] == (3, SIZE, SIZE)
    assert 0 <= shown.min() <= shown.max() <= 1
    return shown.mean((2, 3))


class MeanColour(torch.nn.Module):
    """The same, as a network that would give nothing while it trains."""

    def forward(self, shown):
        assert not self.training
        return mean_colour(shown)


def features(run):
    """Names of all pictures, and their mean colours."""
    world = tables.read(run / "data" / "world")
    stack = pictures.stack(world.paths(), SIZE, 0)
    return world.images["image"].tolist(), stack.float().div(255).mean((2, 3))


def scored(run, model, benchmark="levels", **more):
    return score(model, benchmark, "m", out_dir=str(run), **more)


def numbers(table):
    return table.select_dtypes("number").to_numpy()


def forms(run):
    """One model in every form in which it can be given, with its arguments."""
    names, rows = features(run)
    called = {"picture_size": SIZE}
    own = called | {"prepare": lambda picture: torch.tensor(np.array(picture)).float().mean((0, 1)) / 255}
    shuffled = torch.randperm(len(names), generator=torch.Generator().manual_seed(1))
    files = [f"somewhere/{names[number]}.jpg" for number in shuffled]
    return {
        "array of a callable": (lambda shown: mean_colour(shown).numpy(), called),
        "module": (MeanColour().train(), called),
        "prepared": (lambda shown: shown, own),
        "tensor": (rows, {"names": names}),
        "array, by file names in another order": (rows[shuffled].numpy(), {"names": files}),
        "data frame": (pd.DataFrame(rows.numpy(), index=names), {}),
    }


def test_one_model_has_one_score_in_whatever_form_it_is_given(run):
    expected = scored(run, mean_colour, picture_size=SIZE)
    assert set(expected["level"]) == {"coarse", "boundary", "fine", "all"}
    assert expected["n_triplets"].max() == 5
    for form, (model, more) in forms(run).items():
        found = scored(run, model, **more)
        np.testing.assert_allclose(numbers(found), numbers(expected), atol=1e-5, err_msg=form)


@pytest.mark.parametrize("benchmark", ["uncertainty", "similarity", "downstream"])
def test_features_are_scored_on_every_benchmark_as_the_model_that_gave_them(run, benchmark):
    names, rows = features(run)
    of_matrix = scored(run, rows, benchmark, names=names)
    of_model = scored(run, mean_colour, benchmark, picture_size=SIZE)
    if benchmark == "downstream":
        assert not of_matrix["protocol"].str.startswith("corruption").any()
        own = of_model[~of_model["protocol"].str.startswith("corruption") & (of_model["dataset"] == "toy")]
        of_model = own.reset_index(drop=True)
        assert len(of_model)
    columns = [name for name in ("accuracy", "value", "spearman") if name in of_matrix]
    np.testing.assert_allclose(of_matrix[columns].to_numpy(float), of_model[columns].to_numpy(float), atol=1e-5)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda shown: (shown.mean((2, 3)),), "model: gives a tuple for a batch of pictures, not a tensor or an array"),
        (lambda shown: shown, rf"gives float32 of shape \(24, 3, {SIZE}, {SIZE}\) for 24 pictures, not \(24, dim\)"),
        (lambda shown: shown.mean((1, 2, 3)), r"gives float32 of shape \(24,\) for 24 pictures"),
        (lambda shown: shown.mean((2, 3))[1:], "gives 23 rows for 24 pictures: there must be one for each"),
        (lambda shown: np.full((len(shown), 2), None), "model: gives an array of object for a batch of pictures"),
        (lambda shown: shown.mean((2, 3)) / 0 * 0, "gives numbers that are not finite for 24 of 24 pictures"),
        (lambda shown: shown.mean((2, 3)) > 0, "gives bool of shape"),
    ],
)
def test_a_callable_that_gives_no_row_of_numbers_for_each_picture_is_one_line(run, output, message):
    with pytest.raises(ValueError, match=message) as raised:
        scored(run, output, picture_size=SIZE)
    assert len(str(raised.value).splitlines()) == 1


def lacking(names, rows):
    return rows[:-1], names[:-1]


def not_a_number(names, rows):
    return torch.where(torch.arange(len(rows))[:, None] == 7, torch.nan, rows), names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda names, rows: (rows, None), "features: names: missing; they say which picture each row is of"),
        (lambda names, rows: (rows, names[1:]), "features: 36 rows, and 35 names: their counts must be equal"),
        (
            lambda names, rows: (rows.flatten(), names),
            r"features: is float32 of shape \(108,\), not pictures x numbers",
        ),
        (lambda names, rows: (rows[:, :0], names), r"features: is float32 of shape \(36, 0\), not pictures x numbers"),
        (lambda names, rows: (np.array([["x"]] * 36), names), "features: is <U1 of shape"),
        (not_a_number, "features: the features of 'b1' are not finite"),
        (lacking, "features: has no features of 1 of 24 pictures, the first are f5"),
        (
            lambda names, rows: (rows, ["a2" if name == "a3" else name for name in names]),
            "'a2' is the name of two rows",
        ),
    ],
)
def test_a_matrix_that_is_not_of_the_worlds_pictures_is_one_line(run, change, message):
    rows, names = change(*features(run))
    with pytest.raises(ValueError, match=message) as raised:
        scored(run, rows, names=names)
    assert len(str(raised.value).splitlines()) == 1


def test_what_is_no_model_is_one_line(run):
    with pytest.raises(
        ValueError, match=r"model: is a str, and not a model of alignet\.models\.load, a config\.Backbone"
    ):
        scored(run, "resnet50")


def test_prepared_pictures_of_different_shapes_are_refused():
    shapes = iter([4, 5])
    model = Given(lambda shown: shown, prepare=lambda picture: torch.zeros(next(shapes)))
    with pytest.raises(ValueError, match="prepare: must give tensors of one shape"):
        model(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


def test_a_model_of_our_own_kind_is_not_normalised_twice():
    model = Given(mean_colour)
    assert scoring.network(model, 64, None) == (model, 64)


def test_a_file_of_features_is_scored_by_the_command_line_beside_other_models(run, capsys):
    names, rows = features(run)
    np.save(run / "brain.npy", rows.numpy())
    (run / "names.txt").write_text("\n".join(names))
    words = ["--features", str(run / "brain.npy"), "--names", str(run / "names.txt"), "--out-dir", str(run)]
    assert evaluate.main(words) == 0
    table = pd.read_csv(run / "reports" / "comparison" / "comparison.csv")
    assert set(table["model"]) == {"brain"}
    assert {name.partition(",")[0] for name in table["benchmark"]} >= {"levels", "toy"}
    capsys.readouterr()
    (run / "names.txt").write_text("\n".join(names[1:]))
    assert evaluate.main(words) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{run / 'brain.npy'}: 36 rows, and 35 names: their counts must be equal"
    ]
    np.save(run / "brain.npy", rows[:1].numpy())
    (run / "names.txt").write_text(names[0])
    assert evaluate.main(words) == 1
    assert capsys.readouterr().err.startswith(f"{run / 'brain.npy'}: has no features of ")


def test_options_of_timms_model_are_taken_from_the_command_line(run, capsys):
    words = ["--backbone", "vit_tiny_patch16_224", "--weights", "random", "--picture-size", "32", "--out-dir", str(run)]
    assert evaluate.main([*words, "--options", "img_size=32", "depth=1"]) == 0
    assert set(pd.read_csv(run / "reports" / "comparison" / "comparison.csv")["picture_size"]) == {32}
    with pytest.raises(SystemExit):
        evaluate.main([*words, "--options", "img_size"])
    assert "'img_size' is not NAME=VALUE" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate.main([*words, "--options", "img_size=[32"])
    assert "'img_size=[32': '[32' cannot be read as a value" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--backbone", "resnet18"], ["--backbone", "a", "--features", "b"]])
def test_either_a_backbone_with_weights_or_a_file_of_features_is_asked_for(words, capsys):
    with pytest.raises(SystemExit) as ended:
        evaluate.main(words)
    assert ended.value.code == 2
    assert "--weights" in capsys.readouterr().err or words != ["--backbone", "resnet18"]
