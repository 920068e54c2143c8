"""Segmentation of large images: a window slides over them, and what it finds is averaged.

arXiv 2307.03275 trains on patches of 256 x 256 pixels and says of the test only that "predictions
are averaged over a window size of 128 pixels". Our reading: windows as large as the training's
patches, shifted by 128 pixels, so that pixels more than 128 from the border are seen four times or
more. Averaged are class probabilities.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from torch import nn

from helpers.data.reflection import cut_square
from helpers.models.semantic import class_probabilities


def window_starts(side: int, window: int, step: int) -> list[int]:
    """First pixels of the windows along one side, ascending.

    Windows begin every ``step`` pixels; the last one is shifted back so that it ends with the
    image: ceil((side - window) / step) + 1 windows, and every pixel lies in one or more. A side
    shorter than the window has a single one around it, which begins outside.
    """
    if side <= window:
        return [(side - window) // 2]
    return [*range(0, side - window, step), side - window]


def predict_sliding(
    model: nn.Module,
    image: np.ndarray,
    window: int = 256,
    step: int = 128,
    batch: int = 16,
    device: str = "cpu",
    precision: str = "float32",
) -> np.ndarray:
    """Class probabilities of one image, averaged over all windows that cover a pixel.

    Peak memory beside the network's own for ``batch`` windows: 12 bytes per pixel and class of the
    image, on the processor (sums in float64, then the result).

    Args:
        model: returns (n, n_classes, window, window) for windows, scores before the softmax; it is
            left on ``device`` and in evaluation mode.
        image: float32 (channels, h, w), normalised, of any size, memory-mapped or not. Sides
            shorter than the window are continued by reflection on both ends (a single pixel is
            repeated), and the result is cut back.
        window: side of the windows in pixels.
        step: pixels from one window to the next, no more than ``window``.
        batch: windows at a time.
        device, precision: see :mod:`helpers.models.device`.

    Returns:
        float32 (n_classes, h, w), summing to 1 over the classes up to rounding.
    """
    sides = image.shape[1:]
    starts = [window_starts(side, window, step) for side in sides]
    corners = list(product(*starts))
    total: np.ndarray | None = None
    for first in range(0, len(corners), batch):
        part = corners[first : first + batch]
        squares = np.stack([cut_square(image, *corner, window) for corner in part])
        found = class_probabilities(model, squares, device, precision).numpy()
        if total is None:
            total = np.zeros((found.shape[1], *sides))
        for corner, one in zip(part, found, strict=True):
            _add(total, one, corner)
    # Windows form a grid, so that the windows of a pixel are a product of two numbers.
    rows, columns = (_cover(*one, window) for one in zip(sides, starts, strict=True))
    total /= rows[:, None] * columns
    return total.astype(np.float32)


def predict_sliding_classes(
    model: nn.Module,
    images: Sequence[np.ndarray],
    window: int = 256,
    step: int = 128,
    batch: int = 16,
    device: str = "cpu",
    precision: str = "float32",
) -> list[np.ndarray]:
    """Most likely class of every pixel by `predict_sliding`, for images of any sizes.

    Returns:
        int32 (h, w) for each image; of equal probabilities the lower class.
    """
    return [
        predict_sliding(model, image, window, step, batch, device, precision)
        .argmax(axis=0)
        .astype(np.int32)
        for image in images
    ]


def _inside(first: int, window: int, side: int) -> slice:
    return slice(max(first, 0), min(first + window, side))


def _add(total: np.ndarray, found: np.ndarray, corner: tuple[int, int]) -> None:
    """Add what a window shows of the image."""
    window = found.shape[-1]
    seen = [_inside(f, window, side) for f, side in zip(corner, total.shape[1:], strict=True)]
    own = [slice(s.start - f, s.stop - f) for s, f in zip(seen, corner, strict=True)]
    total[:, seen[0], seen[1]] += found[:, own[0], own[1]]


def _cover(side: int, starts: Sequence[int], window: int) -> np.ndarray:
    """Windows that each pixel of a side lies in, float64 (side,)."""
    cover = np.zeros(side)
    for first in starts:
        cover[_inside(first, window, side)] += 1
    return cover
