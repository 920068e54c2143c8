"""Colour spaces against scikit-image, stains against what they promise."""

import numpy as np
import pytest
import torch
from skimage import color

from helpers.views.stain import (
    SPACES,
    StainModel,
    Stains,
    draw_stains,
    fit_stains,
    hed_to_rgb,
    hsv_to_rgb,
    lab_to_rgb,
    rgb_to_hed,
    rgb_to_hsv,
    rgb_to_lab,
    stain_images,
)

INTO = {"lab": rgb_to_lab, "hsv": rgb_to_hsv, "hed": rgb_to_hed}
BACK = {"lab": lab_to_rgb, "hsv": hsv_to_rgb, "hed": hed_to_rgb}


def colours():
    """All colours with channels in steps of 1/12, greys, black and white among them: 1, 3, h, w."""
    axis = torch.linspace(0, 1, 13, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    return grid.reshape(1, 3, 13, 169)


def tissue(n, seed=0, size=24):
    """H&E-like images: amounts of two stains that vary from image to image, uint8 (n, h, w, 3)."""
    generator = torch.Generator().manual_seed(seed)
    amounts = torch.zeros((n, 3, size, size))
    scale = 0.03 + 0.05 * torch.rand((n, 2, 1, 1), generator=generator)
    amounts[:, :2] = scale * (0.5 + torch.rand((n, 2, size, size), generator=generator))
    images = hed_to_rgb(amounts) * 255
    return images.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def as_tensor(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255


def numbers(images, space):
    """Means and standard deviations of the channels, (n, 6)."""
    values = INTO[space](images).flatten(2)
    return torch.cat([values.mean(dim=2), values.std(dim=2, correction=0)], dim=1)


def own_stains(images, space):
    measured = numbers(images, space).float()
    place = torch.full((len(images),), SPACES.index(space))
    return Stains(place, measured[:, :3], measured[:, 3:], torch.zeros(len(images), 3))


@pytest.mark.parametrize("space", SPACES)
def test_spaces_are_those_of_scikit_image(space):
    images = colours()
    rgb = images[0].permute(1, 2, 0).numpy()
    peer = getattr(color, f"rgb2{space}")(rgb)
    found = INTO[space](images)[0].permute(1, 2, 0).numpy()
    if space == "hed":
        found = np.maximum(found, 0)  # scikit-image has no negative stains
    np.testing.assert_allclose(found, peer, atol=1e-6)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 2e-4), (torch.float32, 2e-4)])
def test_there_and_back_is_the_same_colour(space, dtype, atol):
    images = colours().to(dtype)
    torch.testing.assert_close(BACK[space](INTO[space](images)), images, atol=atol, rtol=0)


@pytest.mark.parametrize("turns", [-2, -1, 1])
def test_whole_circles_of_hue_do_not_matter(turns):
    hsv = rgb_to_hsv(colours())
    turned = hsv + torch.tensor([turns, 0, 0])[None, :, None, None]
    torch.testing.assert_close(hsv_to_rgb(turned), colours(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("space", SPACES)
def test_an_image_with_its_own_numbers_is_unchanged(space):
    images = as_tensor(tissue(4)).float()
    torch.testing.assert_close(
        stain_images(images, own_stains(images, space)), images, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("space", SPACES)
def test_the_drawn_numbers_are_reached(space):
    """Those of another image, near enough that nothing is clamped."""
    images = as_tensor(tissue(8))
    wanted = own_stains(images.flip(0), space)
    stained = stain_images(images, wanted)
    assert stained.min() > 0
    assert stained.max() < 1
    measured = numbers(stained, space)
    expected = torch.cat([wanted.mean, wanted.std], dim=1).double()
    torch.testing.assert_close(measured, expected, atol=1e-3, rtol=1e-3)


def test_each_image_of_a_batch_is_stained_as_if_alone():
    images = as_tensor(tissue(9)).float()
    model = fit_stains(tissue(30, seed=1))
    stains = draw_stains(model, 9, torch.Generator().manual_seed(0))
    assert set(stains.space.tolist()) == {0, 1, 2}
    together = stain_images(images, stains)
    for i in range(9):
        parts = (stains.space, stains.mean, stains.std, stains.floor)
        alone = stain_images(images[i : i + 1], Stains(*(part[i : i + 1] for part in parts)))
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-6, rtol=0)


def test_draws_have_the_mean_and_spread_of_the_collection():
    images = tissue(60, seed=2)
    model = fit_stains(images)
    stains = draw_stains(model, 6000, torch.Generator().manual_seed(1))
    for place, space in enumerate(SPACES):
        rows = stains.space == place
        assert 1850 < rows.sum() < 2150
        drawn = torch.cat([stains.mean, stains.std], dim=1)[rows].double()
        truth = numbers(as_tensor(images), space)
        spread = truth.std(dim=0, correction=0)
        assert ((drawn.mean(dim=0) - truth.mean(dim=0)).abs() < 0.15 * spread + 1e-6).all()
        ratio = drawn.std(dim=0) / spread.clamp(min=1e-6)
        assert ((ratio > 0.85) & (ratio < 1.15))[spread > 1e-4].all()


@pytest.mark.parametrize("space", ["lab", "hed"])
def test_empty_glass_does_not_become_noise(space):
    """Its grain would be blown up to the contrast of tissue (the hue of grey is grain anyway)."""
    model = fit_stains(tissue(30))
    noise = torch.randn((8, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    glass = 0.95 + 0.002 * noise
    place = SPACES.index(space)
    spaces = torch.full((8,), place)
    wanted = model.means[place].expand(8, 6)
    floors = model.floors[place].expand(8, 3)
    spreads = [
        stain_images(glass, Stains(spaces, wanted[:, :3], wanted[:, 3:], floor)).std(dim=(2, 3))
        for floor in (floors, torch.zeros(8, 3))
    ]
    assert (spreads[0].amax(dim=1) < 0.4 * spreads[1].amax(dim=1)).all()
    drawn = draw_stains(model, 8, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.floor, model.floors[drawn.space])


def test_a_draw_depends_on_the_generator_alone():
    model = fit_stains(tissue(20))
    first, again, other = (
        draw_stains(model, 5, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    torch.testing.assert_close(first.mean, again.mean, atol=0, rtol=0)
    assert not torch.equal(first.mean, other.mean)
    assert (first.std >= 0).all()


def test_a_single_image_is_a_collection_without_spread():
    image = tissue(1)
    model = fit_stains(image)
    assert isinstance(model, StainModel)
    assert not model.stds.any()
    stains = draw_stains(model, 3, torch.Generator().manual_seed(0))
    images = as_tensor(np.repeat(image, 3, axis=0)).float()
    torch.testing.assert_close(stain_images(images, stains), images, atol=1e-3, rtol=0)
