"""Pixels drawn for an estimator: the right ones, with the features of where they lie."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.transferability.estimators import ESTIMATORS, sample_pixels


def rng(seed=0):
    return np.random.default_rng(seed)


def numbered(n, height, width):
    """Labels that tell which pixel they belong to."""
    return np.tile(np.arange(height * width).reshape(height, width), (n, 1, 1))


def coordinates(n, size, shape):
    """Maps (n, 2, h, w) of where the centre of each cell lies, in label pixels."""
    rows = (np.arange(size[0]) + 0.5) * shape[0] / size[0] - 0.5
    columns = (np.arange(size[1]) + 0.5) * shape[1] / size[1] - 0.5
    return np.tile(np.stack(np.meshgrid(rows, columns, indexing="ij")), (n, 1, 1, 1))


@pytest.mark.parametrize("size", [(4, 8), (16, 24), (5, 7), (32, 48)])
def test_a_map_of_coordinates_returns_the_positions(size):
    shape = (16, 24)
    maps = coordinates(2, size, shape)
    sample = sample_pixels(maps, numbered(2, *shape), 200, rng())
    positions = np.stack(np.unravel_index(sample.labels, shape), axis=1)
    # Beyond the centres of the outermost cells a map holds nothing but their value.
    low, high = maps[0].min(axis=(1, 2)), maps[0].max(axis=(1, 2))
    np.testing.assert_allclose(sample.features, np.clip(positions, low, high), atol=1e-5)


@pytest.mark.parametrize("size", [(3, 5), (6, 6), (12, 18)])
def test_features_are_those_of_the_map_enlarged_by_torch(size):
    maps = rng(1).normal(size=(3, 4, *size)).astype(np.float32)
    large = F.interpolate(torch.from_numpy(maps), (12, 18), mode="bilinear", align_corners=False)
    sample = sample_pixels(maps, numbered(3, 12, 18), 100, rng(2))
    rows, columns = np.unravel_index(sample.labels, (12, 18))
    wanted = large.numpy()[sample.image, :, rows, columns]
    np.testing.assert_allclose(sample.features, wanted, atol=1e-5)


def test_what_comes_back():
    labels = rng(3).integers(0, 3, (4, 10, 10))
    sample = sample_pixels(rng(4).normal(size=(4, 6, 5, 5)), labels, 30, rng(5))
    assert sample.features.shape == (120, 6)
    assert sample.features.dtype == np.float32
    assert sample.labels.dtype == np.int64
    np.testing.assert_array_equal(sample.image, np.repeat(np.arange(4), 30))


@pytest.mark.parametrize(
    ("sizes", "per_image", "shares"),
    [
        ((80, 15, 5), 15, (5, 5, 5)),
        ((80, 15, 5), 30, (13, 12, 5)),
        ((96, 3, 1), 30, (26, 3, 1)),
        ((100,), 30, (30,)),
        ((80, 15, 5), 100, (80, 15, 5)),
        ((80, 15, 5), 5000, (80, 15, 5)),
    ],
)
def test_balanced_shares(sizes, per_image, shares):
    labels = rng(6).permutation(np.repeat(np.arange(len(sizes)), sizes)).reshape(1, 10, 10)
    sample = sample_pixels(np.zeros((1, 1, 2, 2)), labels, per_image, rng(7))
    found = np.bincount(sample.labels)
    # Which class gets what does not divide is drawn.
    assert sorted(found) == sorted(shares)
    assert np.abs(found - shares).max() <= 1


def test_what_does_not_divide_falls_to_every_class():
    labels = np.repeat(np.arange(3), 12).reshape(1, 6, 6)
    maps = np.zeros((1, 1, 2, 2))
    drawn = [sample_pixels(maps, labels, 1, rng(seed)).labels[0] for seed in range(60)]
    assert np.bincount(drawn, minlength=3).min() >= 8


def test_no_pixel_comes_twice():
    sample = sample_pixels(np.zeros((2, 1, 3, 3)), numbered(2, 9, 9), 81, rng(9))
    for image in range(2):
        np.testing.assert_array_equal(sample.labels[sample.image == image], np.arange(81))


def test_the_same_seed_draws_the_same_pixels_from_the_maps_of_any_level():
    labels = rng(10).integers(0, 3, (3, 16, 16))
    fine, coarse = coordinates(3, (16, 16), (16, 16)), coordinates(3, (8, 8), (16, 16))
    first = sample_pixels(fine, labels, 40, rng(11))
    second = sample_pixels(coarse, labels, 40, rng(11))
    other = sample_pixels(fine, labels, 40, rng(12))
    inside = np.all((first.features >= 0.5) & (first.features <= 14.5), axis=1)
    np.testing.assert_allclose(first.features[inside], second.features[inside], atol=1e-5)
    assert not np.array_equal(first.features, other.features)


def test_half_precision_and_memory_maps(tmp_path):
    labels = rng(13).integers(0, 2, (2, 8, 8))
    maps = rng(14).normal(size=(2, 3, 4, 4))
    np.save(tmp_path / "maps.npy", maps.astype(np.float16))
    mapped = np.load(tmp_path / "maps.npy", mmap_mode="r")
    found = sample_pixels(mapped, labels, 10, rng(15)).features
    wanted = sample_pixels(maps, labels, 10, rng(15)).features
    np.testing.assert_allclose(found, wanted, atol=5e-3)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_tell_a_map_that_shows_the_objects(name):
    labels = np.zeros((4, 32, 32), dtype=int)
    labels[:, 8:24, 12:28] = 1
    noise = rng(16).normal(size=(4, 5, 8, 8))
    shown = noise + 2 * labels[:, None, 2::4, 2::4]
    scores = [
        ESTIMATORS[name](sample.features, sample.labels)
        for sample in (sample_pixels(maps, labels, 60, rng(17)) for maps in (noise, shown))
    ]
    assert scores[0] < scores[1]
