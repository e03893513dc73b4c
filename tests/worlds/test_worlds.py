import struct
import zlib
from functools import partial

import inputs
import numpy as np
import pandas as pd
import pytest
import torch
from inputs import generator
from PIL import Image, ImageFile

from alignet.worlds import check
from alignet.worlds.emoji import drawing, participants
from alignet.worlds.emoji import world as emoji_world
from alignet.worlds.format import pictures, tables
from alignet.worlds.format.schema import SPLITS

SMALL = inputs.EMOJI["simulated"]
small = partial(inputs.emoji, "simulated")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return emoji_world.make(small(), tmp_path_factory.mktemp("emoji"))


@pytest.fixture(scope="module")
def concepts():
    return emoji_world.concept_table(None)


@pytest.fixture(scope="module")
def glyphs():
    return torch.stack([emoji_world.colour_glyph(glyph) for glyph in ("\U0001f431", "\U0001f697", "\U0001f34c")])


# Pictures


@pytest.fixture
def tiny(tmp_path):
    Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / "a.png")
    Image.new("RGBA", (8, 8), (200, 0, 0, 0)).save(tmp_path / "b.png")
    Image.new("L", (8, 8), 77).save(tmp_path / "c.png")
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "d.png")
    return tmp_path


def test_transparency_shows_white_and_grey_becomes_three_equal_channels(tiny):
    assert pictures.decode(tiny / "a.png", 8).unique(dim=1).flatten().unique().tolist() == [10, 20, 30]
    assert (pictures.decode(tiny / "b.png", 8) == 255).all()
    assert (pictures.decode(tiny / "c.png", 8) == 77).all()


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (10, 20, 30)), ("L", 40)])
def test_a_colour_that_a_file_declares_transparent_is_white_and_without_it_nothing_changes(tmp_path, mode, colour):
    picture = Image.new(mode, (2, 1), colour)
    picture.putpixel((1, 0), (200, 100, 50) if mode == "RGB" else 200)
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "declared.png", transparency=colour)
    with Image.open(tmp_path / "plain.png") as plain, Image.open(tmp_path / "declared.png") as declared:
        assert list(pictures.over_white(plain).get_flattened_data()) == list(
            picture.convert("RGB").get_flattened_data()
        )
        first, second = pictures.over_white(declared).get_flattened_data()
    assert first == (255, 255, 255)
    assert second == picture.convert("RGB").getpixel((1, 0))


def test_half_transparency_mixes_with_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(tmp_path / "half.png")
    colour = pictures.decode(tmp_path / "half.png", 4)[:, 0, 0]
    assert colour[0] == 255
    assert abs(int(colour[1]) - 127) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_seen_as_viewers_turn_it(orientation, tmp_path):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = (255, 0, 0)  # a corner that is unlike the others
    upright[16:, 24:] = (0, 0, 255)
    # How a camera stores the picture that a viewer is to turn: the inverse of what the orientation asks for.
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # numbers of Image.Transpose
    stored = Image.fromarray(upright)
    stored = stored.transpose(Image.Transpose(inverse[orientation])) if orientation > 1 else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    Image.fromarray(upright).save(tmp_path / "plain.jpg", quality=95)
    seen, plain = (pictures.decode(tmp_path / name, 32).float() for name in ("phone.jpg", "plain.jpg"))
    assert (seen - plain).abs().mean() < 4  # compressed after turning


def exif_block(*entries):
    """EXIF data as a camera writes them: (tag, type, number of values, four bytes), and the orientation 6."""
    entries = sorted([*entries, (0x0112, 3, 1, b"\6\0\0\0")])
    rows = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4)


MALFORMED = {  # what Pillow reads and cannot write back
    "text for a number": (0x0100, 2, 4, b"abc\0"),
    "text for a ratio": (0x011A, 2, 4, b"abc\0"),
    "a number below 0": (0x0100, 9, 1, struct.pack("<i", -5)),
    "bytes for a number": (0x0128, 7, 4, b"abcd"),
}


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("entry", MALFORMED.values(), ids=list(MALFORMED))
def test_malformed_exif_data_change_nothing_about_a_picture_and_its_turn(entry, ending, tmp_path):
    path = tmp_path / f"phone.{ending}"
    halves = Image.new("RGB", (48, 32), "white")
    halves.paste("black", (0, 0, 24, 32))  # on its left, which orientation 6 turns to the top
    halves.save(path, exif=exif_block(entry))
    assert check.faults([path]) == [None]
    pictures.check([path], 0)
    seen = pictures.decode(path, 32).float()
    assert seen[:, :8].mean() < 30 < 220 < seen[:, -8:].mean()
    assert pictures.shown(path, 48).size == (32, 48)


def test_xmp_data_that_are_no_text_leave_a_picture_as_it_lies(tmp_path, monkeypatch):
    Image.new("RGB", (48, 32)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "getexif", lambda self: self.info["no such key"])
    assert check.faults([tmp_path / "a.png"]) == [None]
    assert pictures.shown(tmp_path / "a.png", 48).size == (48, 32)


@pytest.mark.parametrize(
    "error", [struct.error("bad"), zlib.error("bad"), EOFError(), IndexError("bad"), KeyError("bad")]
)
def test_what_pillow_raises_in_a_broken_file_is_said_by_the_check_and_by_every_reader(tmp_path, monkeypatch, error):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")

    def broken(self):
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", broken)
    assert check.faults([tmp_path / "a.png"])[0]
    for read in (pictures.decode, pictures.shown):
        with pytest.raises(tables.WorldError, match=r"a\.png: cannot be read as a picture \((?:.*bad.*|EOFError)\)"):
            read(tmp_path / "a.png", 8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32([0.0, 1.0]), [0, 255]),
        (np.float32([0.0, 255.0]), [0, 255]),
        (np.float32([0.0, 65535.0]), [0, 255]),
        (np.int32([0, 200]), [0, 200]),
        (np.int32([0, 65535]), [0, 255]),
        (np.uint16([0, 200 * 257]), [0, 200]),
        (np.uint16([0, 257]), [0, 1]),
    ],
)
def test_grey_pictures_of_other_numbers_keep_their_brightness(values, expected, tmp_path):
    picture = np.repeat(values, 32).reshape(2, 32).repeat(16, axis=0)
    Image.fromarray(picture).save(tmp_path / "camera.tif")
    seen = pictures.decode(tmp_path / "camera.tif", 32)
    assert seen[:, 2].unique().tolist() == [expected[0]]
    assert seen[:, -2].unique().tolist() == [expected[1]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.float32([-1.0, 1.0]), "values from -1 to 1 have no known range: save it with 8 or 16 bits"),
        (np.float32([0.0, 1e6]), r"values from 0 to 1e\+06 have no known range"),
        (np.int32([-5, 5]), "values from -5 to 5 have no known range"),
        (np.float32([0.0, np.nan]), "holds values that are no numbers"),
    ],
)
def test_a_picture_without_a_known_range_is_refused_by_its_file(values, message, tmp_path):
    Image.fromarray(np.repeat(values, 32).reshape(2, 32).repeat(16, axis=0)).save(tmp_path / "camera.tif")
    with pytest.raises(tables.WorldError, match=rf"camera\.tif: cannot be read as a picture \({message}"):
        pictures.decode(tmp_path / "camera.tif", 32)
    with pytest.raises(tables.WorldError, match=message):
        pictures.check([tmp_path / "camera.tif"], 0)


@pytest.mark.parametrize(
    ("mode", "ending"), [("CMYK", "jpg"), ("P", "png"), ("LA", "png"), ("1", "png"), ("RGB", "webp")]
)
def test_pictures_of_any_mode_decode_to_their_colours(mode, ending, tmp_path):
    Image.new("RGB", (16, 16), (255, 255, 255)).convert(mode).save(tmp_path / f"white.{ending}")
    picture = pictures.decode(tmp_path / f"white.{ending}", 8)
    assert picture.shape == (3, 8, 8)
    assert picture.min() > 250


def test_sixteen_bit_greys_are_scaled_and_not_clipped(tmp_path):
    Image.fromarray(np.full((8, 8), 0x4D4D, np.uint16)).save(tmp_path / "deep.png")
    assert (pictures.decode(tmp_path / "deep.png", 8) == 0x4D).all()


def test_the_whole_picture_is_resized_and_not_cropped(tmp_path):
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 30:] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    picture = pictures.decode(tmp_path / "wide.png", 16)
    assert picture.shape == (3, 16, 16)
    assert picture.dtype == torch.uint8
    assert (picture[:, :, :10] < 30).all()
    assert (picture[:, :, 14:] > 225).all()


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.raises(tables.WorldError, match=r"broken\.png"):
        pictures.decode(tmp_path / "broken.png", 8)


def test_a_picture_that_is_cut_short_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(tables.WorldError, match=r"cut\.png"):
        pictures.decode(tmp_path / "cut.png", 8)


def test_batches_keep_the_order_of_the_paths(tiny):
    paths = [tiny / name for name in ("c.png", "a.png", "d.png", "b.png")]
    shapes = [tuple(batch.shape) for batch in pictures.batches(paths, 8, 3, 0)]
    assert shapes == [(3, 3, 8, 8), (1, 3, 8, 8)]
    assert torch.equal(pictures.stack(paths, 8, 0), torch.stack([pictures.decode(path, 8) for path in paths]))


# The embedded world, with simulated people (with real ones: test_emoji_people.py)


def test_the_emoji_world_reads_back_and_says_that_its_choices_are_simulated(world):
    again = tables.read(world.pictures)
    pd.testing.assert_frame_equal(again.images, world.images)
    assert again.choices == "simulated"
    assert all(path.is_file() for path in again.paths())
    assert "SIMULATED" in (world.pictures / "world.yaml").read_text()
    assert again.triplets["participant"].str.startswith("simulated").all()
    assert pictures.decode(again.paths()[0], 32).shape == (3, 32, 32)


def test_a_concept_stands_in_one_split_only(world):
    assert world.images.groupby("concept")["split"].nunique().eq(1).all()
    assert set(world.images["split"]) == set(SPLITS)
    assert world.images.groupby("concept").size().eq(3).all()


def test_every_class_has_its_share_of_every_split(world):
    shares = world.images.groupby("class")["split"].value_counts(normalize=True).unstack(fill_value=0)
    sizes = world.images.groupby("class")["concept"].nunique()
    assert len(sizes) == SMALL["classes"]
    assert ((shares["human"] - 0.4).abs() < 2 / sizes).all()


def test_the_levels_have_the_classes_that_they_are_named_for(world):
    label = world.images.set_index("image")["class"]
    distinct = world.levels[tables.TRIPLET].map(label.get).nunique(axis=1)
    for level, classes in (("coarse", 3), ("boundary", 2), ("fine", 1)):
        assert set(distinct[world.levels["level"] == level]) == {classes}


def test_a_triplet_shows_three_concepts_in_colour(world):
    images = world.images.set_index("image")
    for table in (world.triplets, world.levels):
        assert table[tables.TRIPLET].map(images["concept"].get).nunique(axis=1).eq(3).all()
        assert table[tables.TRIPLET].map(images["style"].get).eq("colour").all(axis=None)


def test_test_triplets_show_concepts_that_no_training_triplet_shows(world):
    concept = world.images.set_index("image")["concept"]
    shown = {
        split: set(rows[tables.TRIPLET].map(concept.get).to_numpy().ravel())
        for split, rows in world.triplets.groupby("split")
    }
    assert not shown["train"] & shown["test"]
    human = set(world.images.loc[world.images["split"] == "human", "concept"])
    assert shown["train"] | shown["test"] <= human


def test_levels_show_pictures_of_the_test_split_only(world):
    split = world.images.set_index("image")["split"]
    assert world.levels[tables.TRIPLET].map(split.get).eq("test").all(axis=None)


def test_a_triplet_is_judged_by_as_many_different_people_as_asked(world):
    people = world.levels.groupby([*tables.TRIPLET, "level"])["participant"]
    assert (people.size() % SMALL["raters_test"] == 0).all()
    assert (people.nunique() >= SMALL["raters_test"]).all()
    assert len(world.levels) == 3 * SMALL["triplets_per_level"] * SMALL["raters_test"]


def test_people_leave_out_the_concept_that_is_alone_in_its_class_most_of_the_time(world):
    label = world.images.set_index("image")["class"]
    border = world.levels[world.levels["level"] == "boundary"]
    shown = border[tables.TRIPLET].map(label.get).to_numpy()
    alone = [(row[:, None] == row).sum(1).argmin() for row in shown]
    assert 0.6 < (border["odd"].to_numpy() == alone).mean() < 1


@pytest.mark.slow
def test_one_seed_gives_the_same_bytes_and_another_gives_others(world, tmp_path):
    again, other = emoji_world.make(small(), tmp_path / "again"), emoji_world.make(small(seed=1), tmp_path / "other")
    names = [path.relative_to(world.pictures) for path in world.pictures.rglob("*") if path.is_file()]
    assert len(names) == len(world.images) + 4
    assert all((world.pictures / name).read_bytes() == (again.pictures / name).read_bytes() for name in names)
    assert not world.triplets.equals(other.triplets)
    assert not world.images["split"].equals(other.images["split"])
    assert world.paths()[0].read_bytes() != other.paths()[0].read_bytes()


def test_every_class_has_one_category_and_every_category_one_domain(concepts):
    assert concepts["concept"].is_unique
    assert concepts.groupby("class")["category"].nunique().eq(1).all()
    assert concepts.groupby("category")["domain"].nunique().eq(1).all()
    assert concepts["domain"].nunique() < concepts["category"].nunique() < concepts["class"].nunique()


def test_every_class_has_nine_concepts_or_more(concepts):
    assert concepts["class"].value_counts().min() >= 9


def test_fewer_classes_are_whole_classes(concepts):
    few = emoji_world.concept_table(5)
    assert few["class"].nunique() == 5
    sizes = concepts["class"].value_counts()
    assert few["class"].value_counts().to_dict() == sizes[few["class"].unique()].to_dict()


# Drawing and participants


def test_similarities_of_colour_and_shape_are_one_with_oneself_and_in_bounds(glyphs):
    for similarity in (drawing.colour_similarity(glyphs), drawing.shape_similarity(glyphs)):
        torch.testing.assert_close(similarity.diagonal(), torch.ones(3), atol=1e-3, rtol=0)
        torch.testing.assert_close(similarity, similarity.T)
        assert similarity.min() >= 0
        assert similarity.max() <= 1.001
        assert similarity[0, 1] < 1


def test_colour_similarity_is_one_minus_the_scaled_distance_of_the_mean_colours():
    plain = torch.ones(3, 4, 8, 8)
    plain[:, :3] = torch.tensor([0.0, 0.25, 1.0])[:, None, None, None]  # black, dark grey, white
    similarity = drawing.colour_similarity(plain)
    torch.testing.assert_close(similarity[0], torch.tensor([1.0, 0.75, 0.0]), atol=1e-5, rtol=0)


def test_shape_similarity_is_the_overlap_of_the_silhouettes():
    plain = torch.zeros(3, 4, 18, 18)
    plain[0, 3, :, :9] = plain[1, 3, :, 9:] = plain[2, 3] = 1  # left half, right half, both
    assert drawing.shape_similarity(plain).tolist() == [[1, 0, 0.5], [0, 1, 0.5], [0.5, 0.5, 1]]


def test_rendering_gives_one_picture_of_each_glyph_and_depends_on_the_seed(glyphs):
    first, again, other = (drawing.render(glyphs, small(), generator(seed), recolour=True) for seed in (0, 0, 1))
    assert first.shape == (3, 3, 32, 32)
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_glyph_stays_inside_the_picture():
    solid = torch.ones(40, 4, 24, 24)
    solid[:, :3] = 0
    settings = small(tilt=0.0, hue_shift=0.0, background_contrast=0.0, glyph_scale=[0.5, 0.5])
    dark = (drawing.render(solid, settings, generator(), recolour=False)[:, 0] < 128).sum((1, 2))
    assert (dark - 16 * 16).abs().max() <= 40  # half of 32 pixels each way, but for its soft edge


def test_a_hue_shift_of_nothing_or_of_a_full_turn_changes_no_colour_and_keeps_grey():
    rotation = drawing._hue_rotations(torch.tensor([0.0, 360.0, 77.0]))
    torch.testing.assert_close(rotation[:2], torch.eye(3).expand(2, 3, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(rotation[2] @ torch.ones(3), torch.ones(3), atol=5e-3, rtol=0)
    assert (rotation[2] - torch.eye(3)).abs().max() > 0.3


def test_a_line_drawing_is_black_and_heavier_with_its_weight():
    light, heavy = (emoji_world.line_glyph("\U0001f431", weight) for weight in (300, 700))
    assert light.shape == (4, 72, 72)
    assert light[:3].max() == 0
    assert 0 < light[3].sum() < heavy[3].sum()


def test_overlap_is_shared_words_over_all_words():
    overlap = participants.overlap(pd.Series([{"red", "car"}, {"red", "fruit", "round"}, set(), {"car", "red"}]))
    expected = [[1, 0.25, 0, 1], [0.25, 1, 0, 0.25], [0, 0, 0, 0], [1, 0.25, 0, 1]]
    torch.testing.assert_close(overlap, torch.tensor(expected))


def test_same_is_one_where_labels_are_equal():
    assert participants.same(pd.Series(["x", "y", "x"])).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


def test_a_person_chooses_by_their_own_weights_and_temperature():
    settings = inputs.settings("emoji", lapse_rate=0.1, participants=2)
    relations = torch.zeros(2, 3, 3)
    relations[0, 0, 1] = relations[0, 1, 0] = 1.0  # alike of the first kind: items 0 and 1, so that 2 is left
    relations[1, 0, 2] = relations[1, 2, 0] = 1.0
    people = participants.People(torch.tensor([0.5, 2.0]), torch.tensor([[3.0, 0.0], [0.0, 2.0]]))
    asked = participants.Experiment(None, None, relations, people, settings, torch.Generator())
    chances = participants._chances(asked, torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1]]))[0]
    for row, logits in zip(chances, ([0.0, 0.0, 6.0], [0.0, 1.0, 0.0]), strict=True):
        torch.testing.assert_close(row, 0.9 * torch.tensor(logits).softmax(0) + 0.1 / 3)


def test_peoples_weights_are_lognormal_around_the_settings_own():
    settings = inputs.settings("emoji", participants=4000, weight_spread=0.3)
    people = participants.draw_people(settings, torch.Generator().manual_seed(0))
    weights = torch.tensor(list(settings.similarity_weights.values()))
    assert people.weights.shape == (4000, len(weights))
    torch.testing.assert_close(people.weights.median(0).values, weights, rtol=0.03, atol=0)
    torch.testing.assert_close(people.weights.log().std(0), torch.full((len(weights),), 0.3), rtol=0.05, atol=0)
