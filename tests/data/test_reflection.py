import numpy as np
import pytest

from helpers.data.reflection import cut_square, reflected


def numbered(height, width):
    """An image whose every pixel is its own number."""
    return np.arange(height * width, dtype=np.float32).reshape(1, height, width)


@pytest.mark.parametrize("side", [1, 2, 3, 7])
def test_reflection_is_that_of_numpy(side):
    padded = np.pad(np.arange(side), (9, 11), mode="reflect")
    np.testing.assert_array_equal(reflected(-9, side + 20, side), padded)


@pytest.mark.parametrize("top", [-7, 0, 2, 9])
@pytest.mark.parametrize("left", [-3, 0, 4, 12])
def test_squares_are_cut_from_the_reflected_image(top, left):
    image = numbered(8, 11)
    padded = np.pad(image, [(0, 0), (20, 20), (20, 20)], mode="reflect")
    expected = padded[:, 20 + top : 26 + top, 20 + left : 26 + left]
    np.testing.assert_array_equal(cut_square(image, top, left, 6), expected)


def test_a_square_inside_is_not_copied():
    image = numbered(8, 11)
    assert np.shares_memory(cut_square(image, 1, 2, 6), image)
