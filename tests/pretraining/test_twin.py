"""Pairs of views: each change against torchvision or scipy, and how often it happens."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchvision.transforms.v2 import functional as tv

from helpers.pretraining import twin
from helpers.pretraining.augment import cut_crops, draw_crops
from helpers.pretraining.twin import RECIPES, TwinViews, ViewRecipe, blur, solarise
from helpers.views.jitter import JitterStrength
from helpers.views.stain import fit_stains


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n=4, size=16, seed=0):
    return torch.rand((n, 3, size, size), generator=generator(seed))


def stains():
    return fit_stains((pictures(8, seed=5) * 255).byte().permute(0, 2, 3, 1).numpy())


NOTHING = ViewRecipe(0.0, 0.0, JitterStrength(0, 0, 0, 0), jitter_share=0.0, grey_share=0.0)


@pytest.fixture
def recipe(monkeypatch):
    """Views of which only some changes happen."""

    def use(**changes):
        made = dataclasses.replace(NOTHING, **changes)
        monkeypatch.setitem(RECIPES, "natural", (made, made))
        monkeypatch.setattr(twin, "SMALLEST_CROP", 1.0)
        return TwinViews(16)

    return use


def mirrored_or_not(view, images):
    """Which of the views is the image mirrored, and which are neither that nor the image."""
    straight = (view - images).abs().amax(dim=(1, 2, 3)) < 1e-5
    turned = (view - images.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-5
    return turned, ~(straight | turned)


@pytest.mark.parametrize("shape", [(21, 21), (17, 24)])
def test_blur_is_a_gaussian(shape):
    images = torch.rand((3, 2, *shape), generator=generator(), dtype=torch.float64)
    sigma = torch.tensor([0.3, 0.9, 2.0])
    blurred = blur(images, sigma)
    for image, width, found in zip(images, sigma, blurred, strict=True):
        width = float(width)
        parts = [
            gaussian_filter(np.asarray(data), width, mode="constant", truncate=50)
            for data in (*image, torch.ones(shape, dtype=torch.float64))
        ]
        expected = np.stack(parts[:2]) / parts[2]
        # scipy samples the Gaussian at the same places and cuts it off.
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_narrow_blur_does_nothing_and_constants_stay():
    images = pictures()
    torch.testing.assert_close(blur(images, torch.full((4,), 0.01)), images, atol=0, rtol=0)
    flat = torch.full((4, 3, 9, 9), 0.4)
    torch.testing.assert_close(blur(flat, torch.full((4,), 2.0)), flat)


def test_solarisation_is_that_of_torchvision():
    levels = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    expected = tv.solarize(levels, 128).float() / 255
    torch.testing.assert_close(solarise(levels.float() / 255), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("setting", list(RECIPES))
@pytest.mark.parametrize("size", [8, 16, 40])
def test_views_have_the_asked_size_and_stay_in_range(setting, size):
    views = TwinViews(size, setting, stains=stains() if setting == "pathology" else None)
    first, second = views.apply(pictures(6), generator())
    for view in (first, second):
        assert view.shape == (6, 3, size, size)
        assert view.dtype == torch.float32
        assert view.min() >= 0
        assert view.max() <= 1
    assert not torch.equal(first, second)


def test_views_depend_on_the_generator_alone_and_leave_the_images():
    images = pictures()
    kept = images.clone()
    model = TwinViews(12, "pathology", stains=stains())
    views = [model.apply(images, generator(seed)) for seed in (1, 1, 2)]
    torch.manual_seed(7)
    for one, again, other in zip(*views, strict=True):
        assert torch.equal(one, again)
        assert not torch.equal(one, other)
    assert torch.equal(images, kept)


def test_without_changes_a_view_is_the_crop(recipe, monkeypatch):
    images = pictures(50)
    views = recipe()
    for view in views.apply(images, generator(3)):
        turned, other = mirrored_or_not(view, images)
        assert not other.any()
        assert 10 < turned.sum() < 40
    monkeypatch.setattr(twin, "SMALLEST_CROP", 0.2)
    drawn = generator(3)
    torch.rand(50, generator=drawn)  # who is stained
    expected = cut_crops(images, draw_crops(50, 0.2, drawn), 16)
    assert torch.equal(views.apply(images, generator(3))[0], expected)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    "change", ["upside_down_share", "grey_share", "blur_share", "solarise_share", "jitter_share"]
)
def test_a_change_happens_as_often_as_its_share(recipe, monkeypatch, change, share):
    monkeypatch.setattr(twin, "BLUR_SIDE", 16)
    images = pictures(400)
    strong = JitterStrength(0.9, 0.9, 0.9, 0.4)
    views = recipe(jitter=strong, **{change: share})
    for view in views.apply(images, generator(4)):
        other = mirrored_or_not(view, images)[1].float().mean()
        # Five standard deviations; a blur may be too narrow to be seen.
        room = 5 * (share * (1 - share) / 400) ** 0.5
        if change == "blur_share":
            assert 0.5 * share <= other <= share + room
        else:
            assert abs(other - share) <= room + 1e-6


def test_the_changes_are_what_they_are_called(recipe, monkeypatch):
    monkeypatch.setattr(twin, "BLUR_SIDE", 16)
    images = pictures(30)

    def view(**changes):
        return recipe(**changes).apply(images, generator(6))[0]

    def near(found, expected):
        assert not mirrored_or_not(found, expected)[1].any()

    near(view(upside_down_share=1.0), images.flip(2))
    near(view(grey_share=1.0), tv.rgb_to_grayscale(images, num_output_channels=3))
    near(view(solarise_share=1.0), tv.solarize(images, 0.5))
    rough = view().diff(dim=3).abs().mean()
    assert view(blur_share=1.0).diff(dim=3).abs().mean() < 0.7 * rough


def test_the_published_numbers():
    first, second = RECIPES["natural"]
    common = (JitterStrength(0.4, 0.4, 0.2, 0.1), 0.8, 0.2, 0.0, 0.0)
    for found in (first, second):
        shares = (found.jitter_share, found.grey_share, found.stain_share, found.upside_down_share)
        assert (found.jitter, *shares) == common
    assert (first.blur_share, first.solarise_share) == (1.0, 0.0)
    assert (second.blur_share, second.solarise_share) == (0.1, 0.2)
    assert (twin.BLUR_RANGE, twin.BLUR_SIDE, twin.SMALLEST_CROP) == ((0.1, 2.0), 224, 0.08)


def test_blur_is_as_wide_as_published_in_proportion_to_the_view(recipe, monkeypatch):
    seen = []
    monkeypatch.setattr(twin, "blur", lambda part, sigma: seen.append(sigma) or part)
    views = dataclasses.replace(recipe(blur_share=1.0), size=56)
    views.apply(pictures(300), generator())
    sigma = torch.cat(seen)
    assert 0.1 / 4 <= sigma.min() < 0.15 / 4
    assert 1.9 / 4 < sigma.max() <= 2.0 / 4


def test_pathology_views_are_stained_before_they_are_cropped(monkeypatch):
    seen = []
    monkeypatch.setattr(twin, "stain_images", lambda part, drawn: seen.append(part) or part)
    TwinViews(8, "pathology", stains=stains()).apply(pictures(200), generator())
    assert [part.shape[1:] for part in seen] == [(3, 16, 16)] * 2
    assert all(130 < len(part) < 185 for part in seen)


def test_a_batch_of_one_and_other_than_square_images_work():
    views = TwinViews(10, "pathology", stains=stains())
    for seed in range(5):
        first, _ = views.apply(torch.rand((1, 3, 12, 20), generator=generator()), generator(seed))
        assert first.shape == (1, 3, 10, 10)
