import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from inputs import generator
from PIL import Image
from scipy.io import savemat
from scipy.stats import pearsonr, spearmanr

from alignet import config
from alignet.evaluation import picture_sets as scored
from alignet.evaluation.data import picture_sets
from alignet.models.backbones import Embedder
from alignet.worlds import fetch
from alignet.worlds import mur92 as objects92
from alignet.worlds.format.tables import World, WorldError

FEATURES = config.Features(batch_size=8, workers=0, precision="float32", cache_bytes=0, devices=1)
SETTINGS = config.Similarity(seed=0, rater_groups=3, pairs=2, matrices=[], picture_sets=[], pair_class=None)
N = 7
MUR_FILES = (objects92.PEOPLE, objects92.PICTURES)
COLOURS = np.random.default_rng(0).integers(0, 256, (N, 3))


class MeanColour(torch.nn.Module):
    """Stands in for a timm model: a picture's mean colour."""

    head_hidden_size = 3

    def forward(self, shown):
        return shown.mean((2, 3))


STUDENTS = {("m", "base"): (Embedder(MeanColour(), mean=(0, 0, 0), std=(1 / 255, 1 / 255, 1 / 255)), 8)}


def draw(folder, names):
    folder.mkdir(parents=True)
    for name, colour in zip(names, COLOURS, strict=True):
        Image.new("RGB", (12, 10), tuple(int(value) for value in colour)).save(folder / name, quality=100)


def colour_cosines():
    centred = COLOURS - COLOURS.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return unit @ unit.T


def judged(people=3, noise=0.0):
    """Distances of people who see colour: (people, n, n), symmetric."""
    errors = noise * np.random.default_rng(1).normal(size=(people, N, N))
    return 1 - colour_cosines() + (errors + errors.transpose(0, 2, 1)) / 2


def cichy(root, people=3):
    draw(root / "images", [f"{n:03d}.jpg" for n in range(N)])
    (root / "sim_judgements").mkdir()
    savemat(root / "sim_judgements" / "judgments_general.mat", {"judgments": judged(people)})
    return {"name": "Cichy", "format": "cichy", "root": str(root)}


def king(root):
    draw(root / "images" / "set2", [f"{n:04d}.jpg" for n in range(N)])
    (root / "sim_judgements").mkdir()
    rows, columns = np.triu_indices(N, 1)
    flat = judged()[:, rows, columns]
    savemat(root / "sim_judgements" / "BEHAVIOR.mat", {"BEHAVIOR": {"set2": {"pairwisedistances": flat}}})
    return {"name": "King", "format": "king", "root": str(root), "set": "set2"}


def peterson(root, kind="mat"):
    draw(root / "fruits" / "images", [f"fruit_{n + 1}.png" for n in range(N)])
    folder = root / "fruits" / "sim_judgments"
    folder.mkdir()
    if kind == "mat":
        savemat(folder / "Turk_sim.mat", {"simMatrix": 1 - judged()[0]})
    else:
        ratings = {
            f"fruit_{a + 1}.png,fruit_{b + 1}.png": [9 * colour_cosines()[a, b]] * 3 for a in range(N) for b in range(a)
        }
        (folder / "fruits_mturkRESULTS_all.pickle").write_bytes(pickle.dumps(ratings))
    return {"name": "Peterson", "format": "peterson", "root": str(root), "set": "fruits"}


def matrix(root):
    names = [f"p{n}.png" for n in range(N)]
    draw(root, names)
    order = np.random.default_rng(2).permutation(N)
    square = pd.DataFrame(judged()[0], index=names, columns=names).iloc[order, order]
    square.to_csv(root / "square.csv")
    return {"name": "mine", "format": "matrix", "root": str(root), "file": str(root / "square.csv"), "kind": "distance"}


def mur92(root):
    """Two files as rsatoolbox keeps them: people with their RDM, and objects with their picture and category."""
    root.mkdir(parents=True)
    rdm = np.zeros((1, 3), [("RDM", "O"), ("name", "O")])
    for number, square in enumerate(judged()):
        rdm[0, number] = (square, f"simJudge | subject{number + 1}")
    savemat(root / "92_behavRDMs.mat", {"rdms_behav_92": rdm})
    objects = np.zeros((1, N), [("category", "O"), ("image", "O")])
    for number, colour in enumerate(COLOURS):
        objects[0, number] = ("human face", np.broadcast_to(colour, (10, 12, 3)).astype(np.uint8))
    savemat(root / "Kriegeskorte_Neuron2008_supplementalData.mat", {"stimuli_92objs": objects})
    objects92.extract(root)
    return {"name": "Mur", "format": "mur92", "root": str(root)}


def things(root):
    """A MATLAB square without names, those of the photographs in a table beside it, and the photographs in folders."""
    names = [f"concept_{n}_01b.jpg" for n in range(N)]
    draw(root / "pictures" / "neutral", names)
    order = np.random.default_rng(2).permutation(N)
    savemat(root / "RDM.mat", {"RDM48_triplet": judged()[0][order][:, order]})
    pd.DataFrame({"image_name": np.array(names)[order], "0": 1.5}).to_csv(root / "names.csv")
    files = {"file": str(root / "RDM.mat"), "labels": str(root / "names.csv")}
    return {"name": "48", "format": "things", "root": str(root), "kind": "distance"} | files


MAKERS = {"cichy": cichy, "king": king, "peterson": peterson, "matrix": matrix, "mur92": mur92, "things": things}


def rows(*entries):
    return scored.scores(STUDENTS, FEATURES, dataclasses.replace(SETTINGS, picture_sets=list(entries)))


@pytest.mark.parametrize("name", MAKERS)
def test_a_model_that_sees_as_people_do_reaches_one_on_every_format(tmp_path, name):
    (row,) = rows(MAKERS[name](tmp_path / "set")).to_dict("records")
    assert row["centred_value"] == pytest.approx(1, abs=0.02)  # jpg and resizing move colours a little
    # The people here see centred colours; the headline is the plain cosine.
    unit = COLOURS / np.linalg.norm(COLOURS, axis=1, keepdims=True)
    upper = np.triu_indices(N, 1)
    expected = spearmanr((unit @ unit.T)[upper], colour_cosines()[upper]).statistic
    assert row["value"] == pytest.approx(expected, abs=0.03)
    assert expected < 0.9
    assert row["n"] == N * (N - 1) // 2
    assert row["choices"] == "human"
    assert row["ci_unit"] == "pairs that share pictures"
    assert np.isnan(row["noise_ceiling"]) == (name in ("peterson", "matrix", "things"))  # one matrix has no ceiling


def test_pictures_stand_in_the_order_of_their_names_and_distances_become_similarities(tmp_path):
    found = picture_sets.read(tmp_path, cichy(tmp_path / "set") | {"root": "set"})
    assert [path.name for path in found.paths] == [f"{n:03d}.jpg" for n in range(N)]
    torch.testing.assert_close(found.people, -torch.from_numpy(judged()))
    upper = picture_sets.read(tmp_path, king(tmp_path / "other") | {"root": "other"}).people
    first, second = torch.triu_indices(N, N, 1)
    torch.testing.assert_close(upper[:, first, second], -torch.from_numpy(judged())[:, first, second])


def test_ratings_of_pairs_in_a_pickle_are_averaged_and_numbered_from_one(tmp_path):
    found = picture_sets.read(tmp_path, peterson(tmp_path / "set", "pickle") | {"root": "set"})
    first, second = torch.triu_indices(N, N, 1)
    expected = torch.from_numpy(9 * colour_cosines())[first, second]
    torch.testing.assert_close(found.people[0, first, second], expected)


def test_a_set_that_is_not_on_disk_is_one_row_and_a_broken_one_is_refused_by_its_file(tmp_path):
    (row,) = rows({"name": "Cichy", "format": "cichy", "root": str(tmp_path / "no")}).to_dict("records")
    assert row["note"] == f"skipped: no folder {tmp_path / 'no'}"
    entry = cichy(tmp_path / "set")
    (tmp_path / "set" / "images" / "000.jpg").unlink()
    with pytest.raises(WorldError, match="6 pictures, and judgements about 7 of them"):
        rows(entry)
    (tmp_path / "set" / "sim_judgements" / "judgments_general.mat").write_bytes(b"nothing")
    with pytest.raises(WorldError, match=r"judgments_general\.mat: cannot be read as a MATLAB file"):
        rows(entry)
    with pytest.raises(WorldError, match="format 'xyz' is none of cichy, king, peterson, mur92, matrix, things"):
        picture_sets.read(tmp_path, {"name": "x", "format": "xyz", "root": "."})


def test_a_pickle_that_holds_code_is_refused(tmp_path):
    entry = peterson(tmp_path / "set", "pickle")
    file = tmp_path / "set" / "fruits" / "sim_judgments" / "fruits_mturkRESULTS_all.pickle"
    file.write_bytes(pickle.dumps({"a": print}))
    with pytest.raises(WorldError, match="which is no plain data: refused"):
        rows(entry)


def validation(root, people=6, pilots=2):
    """The experiment's two files: pairs of neighbours; ratings follow colour, and pilots rated up to 10."""
    names = [f"n{n:02d}.JPEG" for n in range(N)]
    draw(root / "images" / "deep", names)
    pairs = [(a, b) for a in range(N) for b in range(a + 1, N)]
    signs = [(-1) ** number * 0.5 for number in range(len(pairs))]
    table = pd.DataFrame({"Image1": [names[a] for a, _ in pairs], "Image2": [names[b] for _, b in pairs]})
    table.assign(align_unalign_z_diff_signed=signs).to_csv(root / picture_sets.TARGETS_FILE, sep=";", index=False)
    draw_noise = np.random.default_rng(3)
    trials = []
    for person in range(people + pilots):
        for (a, b), sign in zip(pairs, signs, strict=True):
            rating = 2 + colour_cosines()[a, b] + 1.5 * (sign < 0) + 0.1 * draw_noise.normal()
            rating = rating if person < people else 2 * rating
            trials.append((f"subject_{person}", "exp_trial", rating, f"stimuli/{names[a]}", f"stimuli/{names[b]}"))
        trials.append((f"subject_{person}", "training_trial", 1, "stimuli/x.JPEG", "stimuli/y.JPEG"))
    columns = ["prolific_id", "exp_trial_type", "response", "image1Path", "image2Path"]
    pd.DataFrame(trials, columns=columns).to_csv(root / picture_sets.RATINGS_FILE, index=False)
    return {"name": "AligNet validation", "format": "validation", "root": str(root)}


def test_the_validation_experiment_leaves_training_trials_and_pilots_out(tmp_path):
    validation(tmp_path / "set")
    found = picture_sets.read_validation(tmp_path / "set")
    assert found.ratings["participant"].nunique() == 6
    assert len(found.ratings) == 6 * N * (N - 1) // 2
    assert set(found.ratings["closer_in"]) == {"alignet", "unalignet"}
    assert len(found.paths) == N


def test_rated_pairs_are_scored_as_the_authors_did(tmp_path):
    table = rows(validation(tmp_path / "set")).set_index(["metric", "target"])
    judged_pairs = picture_sets.read_validation(tmp_path / "set")
    pairs = judged_pairs.ratings.groupby(["first", "second"])["rating"].mean()
    names = [int(path.stem[1:]) for path in judged_pairs.paths]
    distance = [1 - colour_cosines()[names[a], names[b]] for a, b in pairs.index]
    for metric, function in (("spearman", spearmanr), ("pearson", pearsonr)):
        row = table.loc[(f"{metric}_distance_rating", "base")]
        assert row["value"] == pytest.approx(function(distance, pairs).statistic, abs=0.05)  # jpg moves colours
        assert row["ci_low"] < row["value"] < row["ci_high"]
    means = table.loc["mean_rating_of_closer_pairs", "value"]
    assert means["alignet"] > means["unalignet"]
    t = table.loc[("paired_t", "alignet")]
    assert t["value"] > 5
    assert (t["n"], t["ci_unit"]) == (6, "participants")


def test_pearsons_correlation_and_its_influence_are_those_of_leaving_a_unit_out():
    x = torch.randn(200, generator=generator(), dtype=torch.float64)
    y = x + torch.randn(200, generator=generator(1), dtype=torch.float64)
    value, influence = scored.pearson_influence(x, y)
    assert value == pytest.approx(pearsonr(x, y).statistic)
    for unit in (3, 77):
        rest = torch.arange(200) != unit
        moved = (value - scored.pearson_influence(x[rest], y[rest])[0]) * 199 / 200
        assert influence[unit].item() == pytest.approx(moved, abs=2e-4)


def test_a_validation_file_without_a_column_or_a_pair_is_refused(tmp_path):
    entry = validation(tmp_path / "set")
    file = tmp_path / "set" / picture_sets.RATINGS_FILE
    table = pd.read_csv(file)
    table.drop(columns="response").to_csv(file, index=False)
    with pytest.raises(WorldError, match=r"results\.csv: missing column response"):
        rows(entry)
    table.assign(image1Path="other.JPEG").to_csv(file, index=False)
    with pytest.raises(WorldError, match="none of its pairs stands in"):
        rows(entry)


def test_ratings_go_to_the_pictures_that_they_name_and_places_are_counted_naturally(tmp_path):
    count = 12
    folder = tmp_path / "fruits"
    (folder / "images").mkdir(parents=True)
    (folder / "sim_judgments").mkdir()
    for number in range(1, count + 1):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / "images" / f"fruit_{number}.png")
    far = {(a, b): 10.0 * a + b for a in range(1, count + 1) for b in range(1, a)}
    file, entry = folder / "sim_judgments" / "r.pickle", {"format": "peterson", "root": ".", "set": "fruits"}
    for form in ("fruit_{}.png", "fruit_{}", "stimulus {}"):
        file.write_bytes(pickle.dumps({f"{form.format(a)},{form.format(b)}": [v] for (a, b), v in far.items()}))
        found = picture_sets.read(tmp_path, entry)
        assert [path.stem for path in found.paths] == [f"fruit_{number}" for number in range(1, count + 1)]
        assert all(
            found.people[0, a - 1, b - 1] == value == found.people[0, b - 1, a - 1] for (a, b), value in far.items()
        )
    file.write_bytes(pickle.dumps({"fruit_1.png,fruit_13.png": [1.0]}))
    with pytest.raises(WorldError, match="names no two of the 12 pictures"):
        picture_sets.read(tmp_path, entry)


def test_the_92_pictures_are_written_as_they_are_in_their_order(tmp_path):
    found = picture_sets.read(tmp_path, mur92(tmp_path / "set") | {"root": "set"})
    assert [path.name for path in found.paths] == [f"{n + 1:02d}-human-face.png" for n in range(N)]
    for path, colour in zip(found.paths, COLOURS, strict=True):
        assert (np.asarray(Image.open(path)) == colour).all()
    torch.testing.assert_close(found.people, -torch.from_numpy(judged()))
    (tmp_path / "set" / "pictures").rename(tmp_path / "elsewhere")
    with pytest.raises(WorldError, match=r"pictures: no such folder \(python -m alignet\.worlds\.fetch mur92"):
        rows({"name": "Mur", "format": "mur92", "root": str(tmp_path / "set")})


def test_pairs_of_known_and_of_new_concepts_are_scored_apart(tmp_path):
    splits = ["human", "human", "human", "test", "test", "test", "synthesis"]
    images = pd.DataFrame({"concept": [f"concept_{n}" for n in range(N)], "split": splits})
    images = pd.concat([images, pd.DataFrame({"concept": ["concept_0"], "split": ["synthesis"]})])  # another picture
    world = World("w", "human", tmp_path, ("concept",), images, pd.DataFrame(), None)
    settings = dataclasses.replace(SETTINGS, picture_sets=[things(tmp_path / "set")])
    table = scored.scores(STUDENTS, FEATURES, settings, world).set_index("benchmark")
    assert table["n"].to_dict() == {"48": 21, "48, known concepts": 3, "48, new concepts": 3}
    assert table["regime"].fillna("").tolist() == ["", "known", "new"]
    assert (table["centred_value"] > 0.98).all()


def test_things_objects_without_their_photographs_are_skipped_with_a_line(tmp_path):
    entry = things(tmp_path / "set")
    next((tmp_path / "set").rglob("*.jpg")).unlink()
    (row,) = rows(entry).to_dict("records")
    assert row["note"].startswith("skipped: no concept_")
    (row,) = rows(entry | {"file": str(tmp_path / "no.mat")}).to_dict("records")
    assert row["note"] == f"skipped: no file {tmp_path / 'no.mat'}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": "none.txt"}, "none.txt: no such file"),
        ({"labels": "wrong.csv"}, "wrong.csv: has no column named name, image_name"),
        ({"file": "two.mat"}, "two.mat: holds 2 square variables and not one"),
        ({"file": "broken.mat"}, "broken.mat: cannot be read as a MATLAB file"),
    ],
)
def test_a_matlab_square_without_names_or_square_is_refused_by_its_file(tmp_path, change, message):
    entry = things(tmp_path / "set") | {"root": "set", "file": "set/RDM.mat", "labels": "set/names.csv"}
    (tmp_path / "wrong.csv").write_text("x,y\n1,2\n")
    (tmp_path / "broken.mat").write_bytes(b"none")
    savemat(tmp_path / "two.mat", {"a": np.eye(2), "b": np.eye(3)})
    with pytest.raises(WorldError, match=message):
        picture_sets.read(tmp_path, entry | change)


@pytest.mark.parametrize("name", ["mur92", "things48"])
def test_fetched_files_are_pinned_and_taken_from_a_folder_off_line(tmp_path, monkeypatch, capsys, name):
    files = fetch.FILES[name]
    assert all(len(file.sha256) == 64 and "/master/" not in file.url for file in files)
    mur92(tmp_path / "given")
    for file in files[: 2 if name == "things48" else 0]:
        (tmp_path / "given" / file.path.rpartition("/")[2]).write_bytes(b"something")
    command = [name, "--from", str(tmp_path / "given"), "--to", str(tmp_path / "to")]
    assert fetch.main(command) == 1  # these files are invented
    assert "is another file than at https://raw.githubusercontent.com/" in capsys.readouterr().err
    monkeypatch.setitem(fetch.FILES, name, [dataclasses.replace(file, sha256=None) for file in files])
    assert fetch.main(command) == 0
    assert all((tmp_path / "to" / file.path).is_file() for file in files)
    if name == "mur92":
        assert f"{N} pictures in" in capsys.readouterr().out
        found = picture_sets.read(tmp_path, {"name": "Mur", "format": "mur92", "root": "to/mur92"})
        assert len(found.paths) == N


def test_the_settings_name_the_files_that_are_fetched():
    entries = {entry["format"]: entry for entry in config.load("similarity", config.Similarity).picture_sets}
    fetched = {f"data/external/{file.path}" for name in ("mur92", "things48") for file in fetch.FILES[name]}
    assert {entries["things"]["file"], entries["things"]["labels"]} <= fetched
    assert all(f"{entries['mur92']['root']}/{name}" in fetched for name in MUR_FILES)
