import pytest
import torch

from alignet.evaluation import corruptions

PICTURES = torch.randint(256, (3, 3, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
PLAIN = torch.full((2, 3, 28, 28), 90, dtype=torch.uint8)


@pytest.mark.parametrize("name", corruptions.BY_NAME)
def test_a_corruption_changes_pictures_but_not_their_shape_and_is_the_same_for_a_seed(name):
    first, again = (corruptions.corrupted(PICTURES, name, seed=0) for _ in range(2))
    assert first.shape == PICTURES.shape
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, PICTURES)


@pytest.mark.parametrize("name", ["loud background", "noise"])
def test_another_seed_gives_another_draw(name):
    first, other = (corruptions.corrupted(PICTURES, name, seed=seed) for seed in (0, 1))
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", ["grey", "blur"])
def test_a_plain_grey_picture_stays_as_it_is(name):
    assert torch.equal(corruptions.corrupted(PLAIN, name, seed=0), PLAIN)


def test_grey_is_the_luma_in_all_three_channels():
    shown = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    shown[:, 1] = 100
    assert corruptions.corrupted(shown, "grey", seed=0).unique().tolist() == [59]  # 0.587 * 100


def test_blur_takes_from_the_contrast_and_keeps_the_mean():
    blurred = corruptions.corrupted(PICTURES, "blur", seed=0).float()
    assert blurred.std() < PICTURES.float().std() / 2
    assert blurred.mean() == pytest.approx(float(PICTURES.float().mean()), abs=3)


def test_noise_has_the_stated_standard_deviation():
    plain = torch.full((4, 3, 64, 64), 128, dtype=torch.uint8)
    assert corruptions.corrupted(plain, "noise", seed=0).float().std() == pytest.approx(40, abs=1)


def test_a_loud_background_leaves_the_picture_in_the_middle():
    loud = corruptions.corrupted(PLAIN, "loud background", seed=0)
    assert loud[:, :, 5:23, 5:23].unique().tolist() == [90]
    assert loud[:, :, 0].float().std() > 20


def test_an_unknown_corruption_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match="corruption 'fog' is none of loud background, grey, blur, noise"):
        corruptions.corrupted(PICTURES, "fog", seed=0)
