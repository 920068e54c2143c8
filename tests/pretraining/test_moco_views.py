"""Crops against Pillow and torchvision, views against their parts, and who depends on what."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as tv

from helpers.errors import ParameterError
from helpers.pretraining.augment import cut_crops, draw_crops
from helpers.pretraining.identity import STEPS
from helpers.pretraining.moco_views import (
    RECIPE,
    SMALLEST_CROP,
    PairSource,
    central_views,
    check_images,
    cut_window,
    draw_window,
    identify,
)
from helpers.pretraining.twin import change_view
from helpers.randomness import step_generator
from helpers.views.jitter import JitterStrength

CPU = torch.device("cpu")
SHAPES = [(40, 40), (30, 41), (64, 35), (20, 90), (90, 20)]


def pictures(n=6, shape=(40, 40), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape, 3), dtype=np.uint8)


def source(images, size=32, seed=0, **changes):
    return PairSource(images, size, np.arange(len(images)), seed, CPU, **changes)


ROWS = [np.array([0, 3, 4]), np.array([5, 1, 2]), np.array([2, 4, 0])]


def test_the_published_numbers():
    shares = (RECIPE.jitter_share, RECIPE.grey_share, RECIPE.blur_share)
    assert shares == (0.8, 0.2, 0.5)
    assert RECIPE.jitter == JitterStrength(0.4, 0.4, 0.4, 0.1)
    assert (RECIPE.solarise_share, RECIPE.stain_share, RECIPE.upside_down_share) == (0, 0, 0)
    assert SMALLEST_CROP == 0.2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [16, 48])
def test_a_crop_is_torchvisions(shape, size):
    image = pictures(1, shape)[0]
    for seed in range(8):
        drawn = np.random.default_rng(seed).random(5).tolist()
        window = draw_window(shape, drawn[:4], 0.2)
        expected = tv.resized_crop(Image.fromarray(image), *window, (size, size))
        expected = tv.hflip(expected) if drawn[4] < 0.5 else expected
        found = cut_window(image, drawn, size, 0.2)
        # Mirroring before and after resampling rounds differently.
        difference = np.abs(found.astype(int) - np.asarray(expected).astype(int))
        assert difference.max() <= 1


@pytest.mark.parametrize("shape", [(300, 300), (260, 352), (500, 200), (100, 900)])
@pytest.mark.parametrize("smallest", [0.2, 0.8, 1.0])
def test_windows_fit_and_have_the_asked_areas_and_ratios(shape, smallest):
    height, width = shape
    drawn = np.random.default_rng(0).random((2000, 4))
    found = np.array([draw_window(shape, one, smallest) for one in drawn.tolist()])
    top, left, rows, columns = found.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + rows <= height).all()
    assert (left + columns <= width).all()
    ratios, shares = columns / rows, rows * columns / (height * width)
    assert ratios.min() >= 0.75 - 0.02
    assert ratios.max() <= 4 / 3 + 0.02
    most = min(height, width * 4 / 3) * min(width, height * 4 / 3) / (height * width)
    least = min(smallest, most)
    assert shares.min() >= least - 0.02
    assert shares.max() <= most + 0.02
    # Uniform: mean and spread of the area.
    assert shares.mean() == pytest.approx((least + most) / 2, abs=0.02)
    assert shares.std() == pytest.approx((most - least) / math.sqrt(12), abs=0.02)
    for start, length, whole in ((top, rows, height), (left, columns, width)):
        room = whole - length
        if (room > 20).sum() > 200:
            places = start[room > 20] / room[room > 20]
            assert places.mean() == pytest.approx(0.5, abs=0.06)


def test_the_ends_of_the_draws_fit():
    for shape in [*SHAPES, (1, 1), (1, 50), (3, 2)]:
        for corner in np.ndindex(2, 2, 2, 2):
            drawn = [0.999999999 * one for one in corner]
            top, left, rows, columns = draw_window(shape, drawn, 0.2)
            assert 0 <= top <= top + rows <= shape[0]
            assert 0 <= left <= left + columns <= shape[1]
            assert rows >= 1
            assert columns >= 1


def test_square_images_are_cropped_in_a_batch_on_the_device():
    images = pictures()
    views = source(images)
    assert views.batched
    for step, pair in enumerate(views.pairs(ROWS)):
        drawn = step_generator(0, STEPS, step)
        pixels = torch.from_numpy(images[ROWS[step]]).permute(0, 3, 1, 2).float() / 255
        crops = [draw_crops(3, 0.2, drawn) for _ in range(2)]
        expected = [change_view(cut_crops(pixels, one, 32), RECIPE, drawn) for one in crops]
        assert torch.equal(pair.first, expected[0])
        assert torch.equal(pair.second, expected[1])
        assert pair.ids.tolist() == ROWS[step].tolist()
        # What is drawn afterwards is not what was drawn for the views.
        assert torch.equal(pair.generator.get_state(), drawn.get_state())


def test_other_images_are_cropped_one_by_one():
    images = [pictures(1, shape, seed)[0] for seed, shape in enumerate([*SHAPES, (33, 34)])]
    views = source(images)
    assert not views.batched
    for step, pair in enumerate(views.pairs(ROWS)):
        drawn = step_generator(0, STEPS, step)
        numbers = torch.rand((2, 3, 5), generator=drawn).tolist()
        for view, part in zip((pair.first, pair.second), numbers, strict=True):
            cut = [
                cut_window(images[i], one, 32, 0.2) for i, one in zip(ROWS[step], part, strict=True)
            ]
            cut = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float() / 255
            assert torch.equal(view, change_view(cut, RECIPE, drawn))


@pytest.mark.parametrize(
    ("images", "size", "batched"),
    [
        (pictures(shape=(64, 64)), 32, True),
        (pictures(shape=(65, 65)), 32, False),
        (pictures(shape=(40, 41)), 32, False),
        (list(pictures()), 32, False),
    ],
)
def test_views_have_the_asked_size_and_range_whatever_the_images(images, size, batched):
    views = source(images, size)
    assert views.batched == batched
    for pair in views.pairs(ROWS):
        for view in (pair.first, pair.second):
            assert view.shape == (3, 3, size, size)
            assert view.dtype == torch.float32
            assert 0 <= view.min() < view.max() <= 1
        assert not torch.equal(pair.first, pair.second)


@pytest.mark.parametrize("form", [np.asarray, list])
def test_a_step_depends_on_seed_and_number_alone(form):
    images = form(pictures())
    whole = list(source(images).pairs(ROWS))
    torch.manual_seed(9)
    late = list(source(images).pairs(ROWS[1:], first=1))
    other = list(source(images, seed=1).pairs(ROWS))
    for one, again, another in zip(whole[1:], late, other[1:], strict=True):
        assert torch.equal(one.first, again.first)
        assert torch.equal(one.second, again.second)
        assert not torch.equal(one.first, another.first)


def test_half_of_the_views_are_mirrored_and_the_whole_can_be_had(monkeypatch):
    images = list(pictures(1, (32, 32)).repeat(200, axis=0))
    monkeypatch.setattr("helpers.pretraining.moco_views.change_view", lambda view, *_: view)
    views = source(images, smallest_crop=1.0)
    pair = next(views.pairs([np.arange(200)]))
    expected = torch.from_numpy(images[0]).permute(2, 0, 1).float() / 255
    for view in (pair.first, pair.second):
        straight = (view == expected).all(dim=(1, 2, 3))
        mirrored = (view.flip(3) == expected).all(dim=(1, 2, 3))
        assert (straight ^ mirrored).all()
        assert 65 < mirrored.sum() < 135


def test_central_views_are_squares_from_the_middle():
    shapes = [(40, 40), (30, 42), (64, 36), (20, 90), (90, 20)]
    images = [pictures(1, shape)[0] for shape in shapes]
    found = central_views(images, [1, 3, 0, 4], 16)
    assert found.shape == (4, 16, 16, 3)
    for view, row in zip(found, [1, 3, 0, 4], strict=True):
        square = tv.center_crop(Image.fromarray(images[row]), min(shapes[row]))
        assert np.array_equal(view.numpy(), np.asarray(tv.resize(square, (16, 16))))


def test_images_with_the_same_pixels_are_the_same():
    images = pictures(6)
    images[4] = images[1]
    images[5] = images[1]
    ids, fingerprint = identify(images)
    assert ids.tolist() == [0, 1, 2, 3, 1, 1]
    assert identify(list(images))[1] == fingerprint
    for change in (images[::-1], images[:5], pictures(6, seed=1)):
        assert identify(change)[1] != fingerprint
    flat = np.zeros((2, 4, 9, 3), np.uint8)
    assert identify([flat[0], flat[1].reshape(9, 4, 3)])[0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (pictures().astype(float), r"images\[0\]: float64"),
        (pictures()[..., 0], "of shape"),
        (pictures()[..., :1], r"images\[0\]"),
        ([pictures()[0], pictures()[0, ..., 0]], r"images\[1\]: uint8 of shape \(40, 40\)"),
        ([pictures()[0], pictures()[0, :0]], r"images\[1\]"),
    ],
)
def test_images_that_do_not_fit_are_refused(images, words):
    with pytest.raises(ParameterError, match=words):
        check_images(images)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 0}, "size=0"),
        ({"smallest_crop": 0.0}, "smallest_crop=0"),
        ({"smallest_crop": 1.5}, "smallest_crop=1.5"),
        ({"ids": np.arange(3)}, "3 ids of 6 images"),
    ],
)
def test_sources_out_of_range_are_refused(change, words):
    with pytest.raises(ParameterError, match=words):
        dataclasses.replace(source(pictures()), **change)
