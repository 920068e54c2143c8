"""Segmentation of large images: a window slides over them, and what it finds is averaged.

arXiv 2307.03275 trains on patches of 256 x 256 pixels and says of the test only that "predictions
are averaged over a window size of 128 pixels". Our reading: windows as large as the training's
patches, shifted by 128 pixels, so that pixels more than 128 from the border are seen four times or
more. Averaged are class probabilities.
"""

from collections.abc import Sequence
from itertools import product
from typing import Literal, get_args

import numpy as np
from torch import nn

from helpers.data.reflection import cut_square
from helpers.errors import ParameterError
from helpers.models.semantic import class_probabilities

Blend = Literal["mean", "gaussian"]

# Of nnU-Net (Isensee et al. 2021): standard deviation of the weights per side of the window.
_SPREAD = 1 / 8


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
    blend: Blend = "mean",
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
        blend: ``"mean"`` weighs all pixels of a window alike (published); ``"gaussian"`` those in
            its middle more, as nnU-Net does, with a standard deviation of an eighth of the window.
        batch: windows at a time.
        device, precision: see :mod:`helpers.models.device`.

    Returns:
        float32 (n_classes, h, w), summing to 1 over the classes up to rounding.

    Raises:
        ParameterError: an image of the wrong kind, or windows that would leave pixels out.
    """
    _check(image, window, step, blend, batch)
    sides = image.shape[1:]
    starts = [window_starts(side, window, step) for side in sides]
    weights = _weights(window, blend)
    corners = list(product(*starts))
    total: np.ndarray | None = None
    for first in range(0, len(corners), batch):
        part = corners[first : first + batch]
        squares = np.stack([cut_square(image, *corner, window) for corner in part])
        found = class_probabilities(model, squares, device, precision).numpy()
        if total is None:
            total = np.zeros((found.shape[1], *sides))
        for corner, one in zip(part, found, strict=True):
            _add(total, one * weights[:, None] * weights, corner)
    # Windows form a grid, so that the weights of a pixel are a product of two.
    rows, columns = (
        _cover(side, places, weights) for side, places in zip(sides, starts, strict=True)
    )
    total /= rows[:, None] * columns
    return total.astype(np.float32)


def predict_sliding_classes(
    model: nn.Module,
    images: Sequence[np.ndarray],
    window: int = 256,
    step: int = 128,
    blend: Blend = "mean",
    batch: int = 16,
    device: str = "cpu",
    precision: str = "float32",
) -> list[np.ndarray]:
    """Most likely class of every pixel by `predict_sliding`, for images of any sizes.

    Returns:
        int32 (h, w) for each image; of equal probabilities the lower class.
    """
    return [
        predict_sliding(model, image, window, step, blend, batch, device, precision)
        .argmax(axis=0)
        .astype(np.int32)
        for image in images
    ]


def _weights(window: int, blend: Blend) -> np.ndarray:
    """Of the pixels along one side of a window, float64 (window,)."""
    if blend == "mean":
        return np.ones(window)
    from_middle = np.arange(window) - (window - 1) / 2
    return np.exp(-((from_middle / (_SPREAD * window)) ** 2) / 2)


def _inside(first: int, window: int, side: int) -> slice:
    return slice(max(first, 0), min(first + window, side))


def _add(total: np.ndarray, found: np.ndarray, corner: tuple[int, int]) -> None:
    """Add what a window shows of the image."""
    window = found.shape[-1]
    seen = [_inside(f, window, side) for f, side in zip(corner, total.shape[1:], strict=True)]
    own = [slice(s.start - f, s.stop - f) for s, f in zip(seen, corner, strict=True)]
    total[:, seen[0], seen[1]] += found[:, own[0], own[1]]


def _cover(side: int, starts: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """Sum of the weights that each pixel of a side gets, float64 (side,)."""
    cover = np.zeros(side)
    for first in starts:
        seen = _inside(first, len(weights), side)
        cover[seen] += weights[seen.start - first : seen.stop - first]
    return cover


def _check(image: np.ndarray, window: int, step: int, blend: str, batch: int) -> None:
    if image.ndim != 3 or image.dtype != np.float32 or 0 in image.shape:
        raise ParameterError(
            f"image is {image.dtype} of shape {image.shape}; expected float32 (channels, height, "
            "width)"
        )
    # The sum of an image that holds NaN or infinity is NaN or infinite.
    if not np.isfinite(image.sum(dtype=np.float64)):
        raise ParameterError("image holds NaN or infinity; expected finite numbers")
    for name, value in (("window", window), ("step", step), ("batch", batch)):
        if value < 1:
            raise ParameterError(f"{name}={value}: expected at least 1")
    if step > window:
        raise ParameterError(
            f"step={step} with window={window}: pixels between the windows would be left out; "
            "expected a step of no more than the window"
        )
    if blend not in get_args(Blend):
        raise ParameterError(f"blend={blend!r}: expected one of {', '.join(get_args(Blend))}")
