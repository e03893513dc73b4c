import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from inputs import settings as section

from alignet import config
from alignet.models.features import save_features
from alignet.synthesis import pair_kernel, released, triplet_files
from alignet.synthesis.triplet_files import ReleaseError
from alignet.worlds.format import tables
from alignet.worlds.format.tables import World

N, CLUSTERS = 60, 5
NAMES = [f"n{number % 6:08d}_{number}.JPEG" for number in range(N)]


def representation(seed=0):
    return np.random.default_rng(seed).normal(size=(N, 4)).astype(np.float32)


def world():
    """Pictures of the synthesis split in folders of their classes, and one of the test split; no choices."""
    names = [*NAMES, "n00000000_test.JPEG"]
    images = pd.DataFrame({"image": names, "path": [f"train/{name.split('_')[0]}/{name}" for name in names]})
    images = images.assign(concept=[name.split("_")[0] for name in names], split=["synthesis"] * N + ["test"])
    nothing = pd.DataFrame(columns=[*tables.TRIPLET, "odd", "participant"])
    return World("tiny", "none", None, ("concept",), images, nothing, None, shared_concepts=True)


@pytest.fixture
def files(tmp_path):
    """The release's arrays in another order, with pictures that the world lacks, stored, deflated or alone."""
    order = np.random.default_rng(1).permutation(N + 3)
    names = np.array([*NAMES, "x_1.JPEG", "x_2.JPEG", "x_3.JPEG"])[order]
    rows = np.concatenate([representation(), np.ones((3, 4), np.float32)])[order]
    clusters = (np.arange(N + 3) % CLUSTERS)[order]
    np.savez(tmp_path / "stored.npz", representations=rows, filenames=names, clusters=clusters)
    np.savez_compressed(tmp_path / "deflated.npz", representations=rows, filenames=names.astype("S"), clusters=clusters)
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "clusters.npy", clusters)
    (tmp_path / "names.txt").write_text("".join(f"train/{name}\n" for name in names))
    save_triplets(tmp_path / "triplets.npz", representation())
    return tmp_path


def save_triplets(path, rows):
    """A triplet file of the release whose similarities are the dot products of these rows."""
    generator = np.random.default_rng(2)
    triplets = np.stack([generator.permutation(N)[:3] for _ in range(40)])
    similarities = pair_kernel.pair_similarities(rows, triplets)
    triplet_files.write(path, np.array(NAMES), triplets, similarities)


def places(folder, kind="stored", **changes):
    npz = {name: f"{folder}/{kind}.npz:{name}s" for name in ("representation", "filename", "cluster")}
    found = {"representation": npz["representation"], "filenames": npz["filename"], "clusters": npz["cluster"]}
    if kind == "alone":
        found = {"representation": "rows.npy", "filenames": "names.txt", "clusters": "clusters.npy"}
        found = {name: f"{folder}/{file}" for name, file in found.items()}
    return {"alignet": found | {"triplets": f"{folder}/triplets.npz"} | changes}


def settings(places, **changes):
    small = {"clusters": CLUSTERS, "train_triplets": 50, "valid_triplets": 30, "released": places}
    return section("synthesis", **(small | changes))


@pytest.mark.parametrize("kind", ["stored", "deflated", "alone"])
@pytest.mark.parametrize("block", [7, 1 << 18])
def test_rows_and_clusters_stand_in_the_worlds_order_whatever_the_file(files, tmp_path, monkeypatch, kind, block):
    monkeypatch.setattr(released, "ROWS", block)
    folder = tmp_path / "out"
    drawn = released.write("alignet", world(), folder, settings(places(files, kind)))
    assert np.array_equal(np.load(folder / "representation.npy"), representation())
    assert np.load(folder / "clusters.npy").tolist() == [number % CLUSTERS for number in range(N)]
    assert len(drawn["train"]) == 50
    written = triplet_files.read(folder / "train_cluster_border.npz")
    triplet_files.check(written)
    rows = torch.from_numpy(triplet_files.locate(written, world().images["path"].to_numpy()[:N].astype(str)))
    expected = representation()[rows[:, 1]] * representation()[rows[:, 2]]
    np.testing.assert_allclose(written.similarities[:, 0], expected.sum(1), rtol=1e-5, atol=1e-5)


def damaged(folder, **arrays):
    whole = dict(np.load(folder / "stored.npz"))
    np.savez(folder / "stored.npz", **(whole | {name: change(whole[name]) for name, change in arrays.items()}))


def with_value(place, value):
    def change(array):
        array = array.copy()
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"filenames": with_value(0, "x_1.JPEG")}, "'x_1.JPEG' stands twice"),
        (
            {"filenames": lambda names: np.char.replace(names, "_7.", "_700.")},
            r"has no row for 1 of the world's 60 .*_7\.JPEG",
        ),
        ({"representations": lambda rows: rows[:-1]}, "62 rows, with 63 file names and 63 cluster numbers"),
        ({"representations": lambda rows: rows[:, 0]}, "not rows of numbers"),
        ({"clusters": lambda numbers: numbers + 1}, r"cluster 0 has no picture \(and 0 more\)"),
        ({"clusters": lambda numbers: numbers - 1}, "not cluster numbers from 0"),
        ({"clusters": lambda numbers: numbers.astype(float)}, "not cluster numbers from 0"),
        ({"filenames": lambda names: np.arange(len(names))}, "not a list of file names"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(files, tmp_path, arrays, message):
    damaged(files, **arrays)
    with pytest.raises(ReleaseError, match=message):
        released.write("alignet", world(), tmp_path / "out", settings(places(files)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused_by_its_row(files, tmp_path, value):
    row = int(np.flatnonzero(np.load(files / "stored.npz")["filenames"] == NAMES[9])[0])
    damaged(files, representations=with_value(row, value))
    with pytest.raises(ReleaseError, match=f"row {row}: is not finite in float32"):
        released.write("alignet", world(), tmp_path / "out", settings(places(files)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"representation": "no/such.npy"}, r"no/such\.npy: no such file"),
        ({"filenames": "no/such.txt"}, r"no/such\.txt: no such file"),
        ({"clusters": "stored.npz:other"}, "no array other; has "),
    ],
)
def test_a_file_or_array_that_is_not_there_is_named(files, tmp_path, changes, message):
    changes = {name: f"{files}/{place}" if ":" in place else place for name, place in changes.items()}
    with pytest.raises(ReleaseError, match=message):
        released.write("alignet", world(), tmp_path / "out", settings(places(files, **changes)))


def test_a_target_without_files_is_refused(files, tmp_path):
    with pytest.raises(
        ReleaseError, match=r"synthesis\.released\.unalignet: lacks clusters, filenames, representation, triplets"
    ):
        released.write("unalignet", world(), tmp_path / "out", settings(places(files)))


def teacher_map(folder, width=4):
    """An affine map of three dimensions, as gLocal publishes its own, and what it makes of the features."""
    generator = np.random.default_rng(4)
    weights, bias = generator.normal(size=(width, 3)), generator.normal(size=3)
    np.savez(folder / "transform.npz", weights=weights, bias=bias, mean=np.array(0.1), std=np.array(2.0))
    if width == representation().shape[1]:
        return (((representation() - 0.1) / 2) @ weights + bias).astype(np.float32)
    return None


@pytest.mark.parametrize("kind", ["stored", "deflated"])
def test_features_before_the_map_do_not_label_under_alignets_name(files, tmp_path, kind):
    save_triplets(files / "triplets.npz", teacher_map(files))
    with pytest.raises(ReleaseError, match=r"npz:representations: dot products are not the similarities in ") as error:
        released.write("alignet", world(), tmp_path / "out", settings(places(files, kind)))
    assert "cannot label 'alignet'" in str(error.value)
    assert "synthesis.released.alignet.transform" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_with_the_map_they_give_the_released_similarities_and_are_written_mapped(files, tmp_path):
    mapped = teacher_map(files)
    save_triplets(files / "triplets.npz", mapped)
    given = settings(places(files, "deflated", transform=f"{files}/transform.npz"))
    released.write("alignet", world(), tmp_path / "out", given)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "representation.npy"), mapped, atol=1e-5)


def test_half_precision_passes_and_another_scale_does_not(files, tmp_path):
    damaged(files, representations=lambda rows: rows.astype(np.float16))
    released.write("alignet", world(), tmp_path / "out", settings(places(files)))
    damaged(files, representations=lambda rows: rows * 1.1)
    with pytest.raises(ReleaseError, match=r"the same odd one out in 100\.0% of 40 triplets"):
        released.write("alignet", world(), tmp_path / "out", settings(places(files)))


def test_a_map_of_other_features_is_refused(files, tmp_path):
    teacher_map(files, width=5)
    with pytest.raises(ReleaseError, match="4 features, and the transform is of 5"):
        released.write(
            "alignet", world(), tmp_path / "out", settings(places(files, transform=f"{files}/transform.npz"))
        )


def run(files, tmp_path, independent):
    """The command on a world on disk, with features of an independent backbone."""
    data = tmp_path / "data"
    (tmp_path / "pictures").mkdir(exist_ok=True)
    made = world()
    tables.write(made.__class__(**(vars(made) | {"pictures": tmp_path / "pictures"})), data / "world")
    save_features(data / "features" / "lite0", torch.from_numpy(independent), made.images["image"][:N])
    params = {"base": "params.yaml", "synthesis": {"released": places(files), "clusters": CLUSTERS}}
    params["synthesis"] |= {"train_triplets": 50, "valid_triplets": 500, "signal_backbone": "lite0"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(params))
    arguments = ["--target", "alignet", "--params-file", str(tmp_path / "mine.yaml"), "--out-dir", str(tmp_path)]
    return released.main(arguments), data / "synthesis" / "alignet"


def test_the_command_writes_what_students_need_and_checks_the_signal(files, tmp_path, capsys):
    code, folder = run(files, tmp_path, representation())
    assert code == 0, capsys.readouterr().err
    assert "Signal check passed" in capsys.readouterr().out
    names = {"representation.npy", "clusters.npy", "train_cluster_border.npz", "valid_cluster_border.npz"}
    assert {path.name for path in folder.iterdir()} == names
    assert (tmp_path / "reports" / "tables" / "signal_alignet.csv").is_file()


def test_rows_of_other_pictures_have_no_signal_and_nothing_is_written(files, tmp_path, capsys):
    code, folder = run(files, tmp_path, representation(seed=5))
    assert code == 1
    assert "WARNING: labels without a signal" in capsys.readouterr().err
    assert not folder.exists()
    assert not folder.with_name("alignet.part").exists()


def test_the_profile_names_files_for_both_targets():
    chosen = config.load("synthesis", config.Synthesis, "params/release.yaml")
    assert set(chosen.released) == {"alignet", "unalignet"}
    assert config.load("imagenet", config.ImageNet, "params/release.yaml").things is None
