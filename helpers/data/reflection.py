"""Squares of images that may reach beyond the border: there the image is reflected."""

import numpy as np


def cut_square(image: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    """A square of (..., h, w), (..., side, side): a view of the image where it lies within.

    ``top`` and ``left`` may be negative or large: outside, the image is continued by `reflected`.
    """
    height, width = image.shape[-2:]
    if min(top, left) >= 0 and top + side <= height and left + side <= width:
        return image[..., top : top + side, left : left + side]
    return image[..., reflected(top, side, height)[:, None], reflected(left, side, width)]


def reflected(first: int, count: int, side: int) -> np.ndarray:
    """Pixels of a side that ``count`` pixels from ``first`` on show, int64 (count,).

    Outside 0..side - 1 the side is reflected about the centres of its outermost pixels
    (c b | a b c | b a), as often as need be, like ``numpy.pad`` with ``mode="reflect"``. One pixel
    alone has no reflection and is repeated.
    """
    period = max(2 * side - 2, 1)
    places = np.arange(first, first + count) % period
    return np.minimum(places, period - places)
