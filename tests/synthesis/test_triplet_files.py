import hashlib
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import example as and_with
from hypothesis import given, settings
from hypothesis import strategies as st

from alignet.synthesis import triplet_files

# A file made by hand, as the release describes it: of the pairs 01, 02, 12 the similarities, largest first.
NAMES = np.array([["cat_1.JPEG", "cat_2.JPEG", "car_1.JPEG"], ["car_1.JPEG", "cat_1.JPEG", "cup_1.JPEG"]])
INDICES = np.array([[4, 7, 9], [9, 4, 2]])
SIMILARITIES = np.array([[5.0, 2.0, 1.0], [0.5, 0.25, -1.0]], np.float32)


def by_hand(path, save=np.savez, **changes):
    save(path, **({"filenames": NAMES, "similarities": SIMILARITIES, "indices": INDICES} | changes))
    return path


def example(n=200, images=40, seed=0):
    generator = np.random.default_rng(seed)
    names = np.array([f"train/n{number % 7:04d}/picture_{number}.JPEG" for number in range(images)])
    drawn = generator.random((n, images)).argsort(1)[:, :3]
    return names, drawn, generator.standard_normal((n, 3)).astype(np.float32)


def as_sets(triplets, similarities):
    """Triplets whatever their order: similarity of every pair."""
    pairs = ((1, 2), (0, 2), (0, 1))
    return [
        {frozenset((row[a], row[b])): value for (a, b), value in zip(pairs, values, strict=True)}
        for row, values in zip(triplets.tolist(), similarities.tolist(), strict=True)
    ]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_made_by_hand_comes_out_in_the_packages_order(tmp_path, save):
    found = triplet_files.read(by_hand(tmp_path / "a.npz", save))
    assert np.array_equal(found.triplets, INDICES)
    assert np.array_equal(found.filenames, NAMES)
    # cat_1 and cat_2 have 5: the pair that is left without car_1, image 2, which is the odd one out
    assert np.asarray(found.similarities).tolist() == [[1.0, 2.0, 5.0], [-1.0, 0.25, 0.5]]
    assert np.argmax(found.similarities, axis=1).tolist() == [2, 2]
    assert triplet_files.check(found) == {"triplets": 2, "pictures": 4, "duplicates": 0, "ties": 0}


def both(folder, *content):
    """The same triplets in a stored file, which is mapped, and in a deflated one, which is streamed."""
    triplet_files.write(folder / "stored.npz", *(content or example()))
    with np.load(folder / "stored.npz") as arrays:
        np.savez_compressed(folder / "deflated.npz", **arrays)
    return triplet_files.read(folder / "stored.npz"), triplet_files.read(folder / "deflated.npz")


PARTS = ("filenames", "triplets", "similarities")


def test_stored_members_are_mapped_and_deflated_ones_streamed(tmp_path):
    for found, kind in zip(both(tmp_path), (np.memmap, triplet_files.Streamed), strict=True):
        assert all(isinstance(getattr(found, name), kind) for name in PARTS)


@settings(max_examples=25, deadline=None)
@given(slices=st.lists(st.tuples(st.integers(0, 230), st.integers(0, 60)), max_size=8))
@and_with(slices=[(0, 1), (0, 0), (0, 1)])  # a slice of no rows must not move the stream
def test_any_slices_of_a_deflated_file_are_those_of_the_stored_one(tmp_path_factory, slices):
    stored, streamed = both(tmp_path_factory.mktemp("release"))
    for name in PARTS:
        mapped, other = getattr(stored, name), getattr(streamed, name)
        for start, length in slices:
            assert np.array_equal(other[start : start + length], mapped[start : start + length])
        assert np.array_equal(np.asarray(other), mapped)
        assert (other.shape, other.dtype, len(other)) == (mapped.shape, mapped.dtype, len(mapped))


@pytest.mark.slow
def test_a_deflated_file_is_checked_in_memory_that_its_names_do_not_set(tmp_path, monkeypatch):
    names = np.array([f"train/n{number:08d}/n{number:08d}_{number}.JPEG" for number in range(50)])
    drawn = np.tile(example(1000, 50)[1], (150, 1))
    _, found = both(tmp_path, names, drawn, np.random.default_rng(0).random((len(drawn), 3)))
    whole = len(found) * 3 * names.itemsize
    monkeypatch.setattr(triplet_files, "ROWS", 1 << 12)
    tracemalloc.start()
    counts, located = triplet_files.check(found), triplet_files.locate(found, names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counts["triplets"] == len(drawn)
    assert np.array_equal(located, found.triplets)
    assert peak < whole / 4  # 58 MB of names


def test_rows_of_a_deflated_file_that_are_not_a_slice_are_refused(tmp_path):
    _, found = both(tmp_path)
    for wrong in (3, [1, 2], slice(0, 9, 2)):
        with pytest.raises(TypeError, match=r"deflated\.npz: indices is deflated"):
            found.triplets[wrong]


def test_a_deflated_file_with_a_broken_byte_is_refused_by_array(tmp_path):
    both(tmp_path)
    whole = bytearray((tmp_path / "deflated.npz").read_bytes())
    whole[len(whole) // 6] ^= 255  # in the middle of the first array, the names
    (tmp_path / "deflated.npz").write_bytes(whole)
    with pytest.raises(triplet_files.ReleaseError, match=r"deflated\.npz: filenames"):
        triplet_files.check(triplet_files.read(tmp_path / "deflated.npz"))


def test_a_deflated_array_that_lies_column_by_column_is_read_too(tmp_path):
    path = by_hand(tmp_path / "a.npz", np.savez_compressed, similarities=np.asfortranarray(SIMILARITIES))
    assert triplet_files.read(path).similarities.tolist() == SIMILARITIES[:, ::-1].tolist()


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 60), images=st.integers(3, 30), seed=st.integers(0, 1000))
def test_what_is_written_is_read_back(tmp_path_factory, n, images, seed):
    names, drawn, similarities = example(n, images, seed)
    path = tmp_path_factory.mktemp("release") / "a.npz"
    triplet_files.write(path, names, drawn, similarities)
    found = triplet_files.read(path)
    assert as_sets(found.triplets, found.similarities) == as_sets(drawn, similarities)
    assert (found.filenames == names[found.triplets]).all()
    assert triplet_files.check(found, names)["triplets"] == n
    assert np.array_equal(triplet_files.locate(found, names), found.triplets)


def test_numpy_alone_reads_the_same_triplets_by_the_releases_description(tmp_path):
    names, drawn, similarities = example()
    triplet_files.write(tmp_path / "a.npz", names, drawn, similarities)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        filenames, released, indices = file["filenames"], file["similarities"], file["indices"]
    s01, s02, s12 = released.T
    assert (s12 <= s01).all()
    assert (s12 <= s02).all()
    last_is_odd = filenames[:, 2]
    assert (names[indices] == filenames).all()
    odd = names[drawn[np.arange(len(drawn)), similarities.argmax(1)]]  # of the pairs left, the most similar
    assert (last_is_odd == odd).all()
    number = {name: place for place, name in enumerate(names)}
    for n, ((a, b, c), ab, ac, bc) in enumerate(zip(filenames, s01, s02, s12, strict=True)):
        place = {image: t for t, image in enumerate(drawn[n].tolist())}
        for left, value in ((c, ab), (b, ac), (a, bc)):
            assert similarities[n, place[number[left]]] == value


def test_equal_content_gives_equal_bytes_whatever_the_chunk_and_other_content_others(tmp_path, monkeypatch):
    names, drawn, similarities = example()
    triplet_files.write(tmp_path / "a", names, drawn, similarities)
    monkeypatch.setattr(triplet_files, "ROWS", 7)
    triplet_files.write(tmp_path / "b", names.astype(object), drawn.astype(np.int32), similarities)
    triplet_files.write(tmp_path / "c", names, drawn, similarities + 1)
    first, again, other = (hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in "abc")
    assert first == again != other
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_the_file_is_a_sound_archive(tmp_path):
    triplet_files.write(tmp_path / "a.npz", *example())
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["filenames.npy", "similarities.npy", "indices.npy"]


def test_values_that_are_not_finite_are_not_written(tmp_path):
    names, drawn, similarities = example()
    similarities[12, 1] = np.inf
    with pytest.raises(triplet_files.ReleaseError, match="row 12 is not finite"):
        triplet_files.write(tmp_path / "a.npz", names, drawn, similarities)
    assert list(tmp_path.iterdir()) == []


def changed(array, row, value):
    copy = array.copy()
    copy[row] = value
    return copy


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"similarities": changed(SIMILARITIES, 1, [0.25, 0.5, -1])}, "similarities, row 1 is not sorted"),
        ({"similarities": changed(SIMILARITIES, 0, [1, 2, 5])}, "similarities, row 0 is not sorted"),
        ({"similarities": changed(SIMILARITIES, 1, [np.nan, 0, 0])}, "similarities, row 1 is not finite"),
        ({"indices": changed(INDICES, 1, [9, -4, 2])}, "indices, row 1 is negative"),
        ({"indices": changed(INDICES, 1, [9, 9, 2])}, "indices, row 1 has a picture twice"),
        ({"indices": changed(INDICES, 1, [7, 4, 2])}, "filenames, row 1 is not the name"),
        ({"indices": changed(INDICES, 1, [3, 4, 2])}, "one file name has two indices"),
        ({"indices": changed(INDICES, 1, [9, 4, 300_000_000])}, "indices goes up to 300000000"),
    ],
)
def test_a_wrong_row_is_refused_with_its_array_and_number(tmp_path, changes, why):
    with pytest.raises(triplet_files.ReleaseError, match=f"a.npz: {why}"):
        triplet_files.check(triplet_files.read(by_hand(tmp_path / "a.npz", **changes)))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"similarities": SIMILARITIES[:1]}, r"similarities has the shape \(1, 3\)"),
        ({"indices": INDICES[:, :2]}, r"has the shape"),
        ({"indices": INDICES.astype(float)}, "indices is of type float64"),
        ({"filenames": INDICES}, "filenames is of type int64"),
        ({"filenames": NAMES.astype(object)}, "pickled Python objects"),
    ],
)
def test_a_wrong_array_is_refused_by_name(tmp_path, changes, why):
    with pytest.raises(triplet_files.ReleaseError, match=why):
        triplet_files.read(by_hand(tmp_path / "a.npz", **changes))


def test_a_file_that_is_no_archive_and_one_without_an_array_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"hello")
    with pytest.raises(triplet_files.ReleaseError, match=r"a\.npz: cannot be read"):
        triplet_files.read(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", filenames=NAMES, indices=INDICES)
    with pytest.raises(triplet_files.ReleaseError, match="no array similarities"):
        triplet_files.read(tmp_path / "b.npz")


def test_numbers_must_be_those_of_the_given_names(tmp_path):
    names, drawn, similarities = example()
    triplet_files.write(tmp_path / "a.npz", names, drawn, similarities)
    found = triplet_files.read(tmp_path / "a.npz")
    with pytest.raises(triplet_files.ReleaseError, match="is not the name"):
        triplet_files.check(found, names[::-1])
    with pytest.raises(triplet_files.ReleaseError, match="is too large"):
        triplet_files.check(found, names[:20])


def test_duplicates_and_ties_are_counted(tmp_path):
    names, drawn, similarities = example(5)
    similarities[2] = [0.5, 3.0, 3.0]
    drawn, similarities = np.vstack([drawn, drawn[[0, 0], ::-1]]), np.vstack([similarities, similarities[:2]])
    triplet_files.write(tmp_path / "a.npz", names, drawn, similarities)
    counts = triplet_files.check(triplet_files.read(tmp_path / "a.npz"))
    assert counts["duplicates"] == 2
    assert counts["ties"] == 1


def test_pictures_are_found_by_their_names_not_by_the_files_numbers(tmp_path):
    found = triplet_files.read(by_hand(tmp_path / "a.npz"))
    paths = np.array(["val/cup_1.JPEG", "a/b/cat_2.JPEG", "x/car_1.JPEG", "cat_1.JPEG", "more.JPEG"])
    assert triplet_files.locate(found, paths).tolist() == [[3, 1, 2], [2, 3, 0]]
    with pytest.raises(triplet_files.ReleaseError, match=r"row 1: no picture 'cup_1\.JPEG'"):
        triplet_files.locate(found, paths[1:])
    with pytest.raises(triplet_files.ReleaseError, match="the name of two pictures"):
        triplet_files.locate(found, np.append(paths, "again/cup_1.JPEG"))


def test_names_stored_as_bytes_are_read_too(tmp_path):
    found = triplet_files.read(by_hand(tmp_path / "a.npz", filenames=NAMES.astype("S")))
    assert triplet_files.check(found)["pictures"] == 4
    paths = np.array(["cup_1.JPEG", "cat_2.JPEG", "car_1.JPEG", "cat_1.JPEG"])
    assert triplet_files.locate(found, paths).tolist() == [[3, 1, 2], [2, 3, 0]]


@pytest.mark.parametrize(
    ("target", "folder"), [("alignet", "uncertainty_distillation"), ("unalignet", "untransformed")]
)
@pytest.mark.parametrize("scheme", ["random", "between_class", "class_border", "within_class", "cluster_border"])
def test_both_targets_and_all_schemes_are_found_in_the_releases_tree(tmp_path, target, folder, scheme):
    name = "cluster_border_500" if scheme == "cluster_border" else scheme
    (tmp_path / folder).mkdir()
    expected = by_hand(tmp_path / folder / f"train_{name}.npz")
    assert triplet_files.released_path(tmp_path, target, "train", scheme) == expected
    with pytest.raises(triplet_files.ReleaseError, match="no such file"):
        triplet_files.released_path(tmp_path, target, "valid", scheme)
    for spelt in ("val", "valid"):  # the release's files say val
        expected = by_hand(tmp_path / folder / f"{spelt}_{name}.npz")
        assert triplet_files.released_path(tmp_path, target, "valid", scheme) == expected


def test_a_target_must_be_named(tmp_path):
    with pytest.raises(triplet_files.ReleaseError, match="'untransformed' is neither"):
        triplet_files.released_path(tmp_path, "untransformed", "train", "random")
    with pytest.raises(triplet_files.ReleaseError, match="'test' is neither train nor valid"):
        triplet_files.released_path(tmp_path, "alignet", "test", "random")
