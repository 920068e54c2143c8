"""Fields of tiles, on pictures that are cut here, so that the truth is known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from helpers.data.fields import MIN_DEVIATION, borders_of, continues, group_tiles, neighbours

SIDE = 96


def picture(rng, shape=(2 * SIDE, 2 * SIDE)):
    """Blobs of a few pixels with a little noise, uint8."""
    smooth = gaussian_filter(rng.normal(size=shape), 3)
    noisy = 120 + 40 * smooth / smooth.std() + rng.normal(scale=2, size=shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def cut(image, height=SIDE, width=SIDE):
    return [
        image[i : i + height, j : j + width]
        for i in range(0, image.shape[0], height)
        for j in range(0, image.shape[1], width)
    ]


def fields(images):
    return group_tiles([borders_of(image) for image in images])


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_tiles_of_two_pictures_are_two_fields_in_any_order(rng):
    tiles = cut(picture(rng)) + cut(picture(rng))
    truth = np.repeat([0, 1], 4)
    order = rng.permutation(8)
    found = np.array(fields([tiles[k] for k in order]))
    first = [int(np.flatnonzero(truth[order] == name)[0]) for name in truth[order]]
    assert found.tolist() == first


def test_colour_tiles_match_and_diagonal_ones_alone_do_not(rng):
    colour = np.stack([picture(rng) for _ in range(3)], axis=-1)
    tiles = cut(colour)
    assert fields(tiles) == [0, 0, 0, 0]
    assert fields([tiles[0], tiles[3]]) == [0, 1]


def test_neighbours_are_the_pairs_of_a_strip_and_nothing_when_reversed(rng):
    tiles = [borders_of(tile) for tile in cut(picture(rng, (SIDE, 5 * SIDE)))]
    right, left = [tile.right for tile in tiles], [tile.left for tile in tiles]
    assert neighbours(right, left).tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]
    assert neighbours(right, [border[:, ::-1] for border in left]).shape == (0, 2)
    assert neighbours(right, right).shape == neighbours(left, left).shape == (0, 2)


def test_unrelated_pictures_stay_apart(rng):
    assert fields([picture(rng, (SIDE, SIDE)) for _ in range(30)]) == list(range(30))


def test_flat_borders_match_nothing(rng):
    black = [np.zeros((SIDE, SIDE), np.uint8) for _ in range(4)]
    for k, image in enumerate(black):
        image[20:40, 20 + 5 * k : 60] = 200  # so that they are not identical
    assert fields(black) == [0, 1, 2, 3]
    for image in black:
        image[[0, -1], 50] = 5  # one stray pixel at the same place, deviation 0.5
    assert 5 / np.sqrt(SIDE) < MIN_DEVIATION
    assert fields(black) == [0, 1, 2, 3]


def test_equal_bumps_on_unequal_background_do_not_match():
    """The chance match that correlation alone falls for: one nucleus at the same place."""
    rng = np.random.default_rng(0)
    bump = 100 * np.exp(-(((np.arange(SIDE) - 40) / 6) ** 2))
    lines = np.stack([bump + rng.normal(size=SIDE) for _ in range(4)])
    same = continues(lines[None, :2], lines[None, 2:])
    shifted = continues(lines[None, :2], lines[None, 2:] + 8)
    assert np.corrcoef(lines[0], lines[2] + 8)[0, 1] > 0.98
    assert (same.tolist(), shifted.tolist()) == ([[True]], [[False]])


def test_continues_agrees_with_the_rule_pair_by_pair(rng):
    tiles = [borders_of(tile) for tile in cut(picture(rng, (4 * 24, 4 * 24)), 24, 24)]
    a, b = np.stack([t.bottom for t in tiles]), np.stack([t.top for t in tiles])
    found = continues(a, b)
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            inside = (np.abs(one[0] - one[1]).mean() + np.abs(other[0] - other[1]).mean()) / 2
            expected = np.corrcoef(one[0], other[0])[0, 1] > 0.9 and (
                np.abs(one[0] - other[0]).mean() <= 1.4 * inside
            )
            assert found[i, j] == expected
    assert found.sum() >= 8


def test_identical_images_are_one_field_even_without_structure(rng):
    tile, black = picture(rng, (SIDE, SIDE)), np.zeros((SIDE, SIDE), np.uint8)
    assert fields([tile, black, tile.copy(), black[:40], black.copy()]) == [0, 1, 0, 3, 1]


def test_tiles_of_several_sizes_match_along_equal_sides_only(rng):
    image = picture(rng, (SIDE, 2 * SIDE))
    parts = [image[:, :50], image[:, 50:], image[:60, :50], picture(rng, (7, 300))]
    assert fields(parts) == [0, 0, 2, 3]


def test_no_tiles_and_tiles_of_one_pixel():
    assert fields([]) == []
    thin = [np.full((1, 1), value, np.uint8) for value in (3, 200)]
    assert fields(thin) == [0, 1]
