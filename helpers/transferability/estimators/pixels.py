"""Pixels as samples: what turns an estimator for classification into one for segmentation.

Drawing pixels, because the estimators cannot take them all, is what Tan, Li and Huang do for OTCE
(arXiv 2109.15242).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class PixelSample:
    """Pixels drawn from a set of images, ordered by image, then row, then column.

    Attributes:
        features: float32 (m, d).
        labels: int64 (m,), the class of each pixel.
        image: int64 (m,), the index of the image that each pixel comes from.
    """

    features: np.ndarray
    labels: np.ndarray
    image: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["PixelSample"]) -> "PixelSample":
        """Samples of further images in a row, as if drawn in one call."""
        before = np.cumsum([0] + [part.image.max() + 1 for part in parts[:-1]])
        return cls(
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.image + n for part, n in zip(parts, before, strict=True)]),
        )


def sample_pixels(
    maps: np.ndarray,
    labels: np.ndarray,
    per_image: int,
    rng: np.random.Generator,
) -> PixelSample:
    """Draw label pixels from every image and look up their features in a coarser map.

    The pixels are drawn without replacement, ``per_image`` from each image, or all if it has fewer.
    Every class of the image, background included, gives the same number, as far as it has so many;
    the others fill up. What is drawn depends on ``labels`` and ``rng`` alone: with
    the same seed the maps of other levels or checkpoints are looked up at the same pixels.

    Features are interpolated bilinearly between pixel centres, as torch does with
    ``align_corners=False``: label row r lies at map row (r + 1/2) h / H - 1/2, kept within 0..h-1.
    Map and image must show the same field of view.

    Args:
        maps: (n, d, h, w), features of every image, any float dtype, memory-mapped or not.
        labels: (n, H, W), integers: the class of every pixel (not the number of its object).
        per_image: pixels per image, at least 1.
        rng: source of the draw.

    Returns:
        The pixels; n x min(per_image, H W) of them.
    """
    features, drawn = [], []
    for index, classes in enumerate(labels):
        pixels = np.sort(_draw(classes.reshape(-1), per_image, rng))
        features.append(_look_up(maps[index], pixels, classes.shape))
        drawn.append(classes.reshape(-1)[pixels])
    counts = [len(found) for found in drawn]
    image = np.repeat(np.arange(len(maps)), counts)
    return PixelSample(np.concatenate(features), np.concatenate(drawn), image)


def _draw(classes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of the pixels drawn from one image, whose ``classes`` are (pixels,)."""
    names, sizes = np.unique(classes, return_counts=True)
    shares = _shares(sizes, count, rng)
    return np.concatenate(
        [
            rng.choice(np.flatnonzero(classes == name), share, replace=False)
            for name, share in zip(names, shares, strict=True)
        ]
    )


def _shares(sizes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` dealt out evenly, to nobody more than its size; what does not divide, by lot."""
    shares = np.zeros_like(sizes)
    left = min(count, int(sizes.sum()))
    while left:
        free = np.flatnonzero(shares < sizes)
        if left < len(free):
            shares[rng.permutation(free)[:left]] += 1
            break
        step = min(left // len(free), int((sizes - shares)[free].min()))
        shares[free] += step
        left -= step * len(free)
    return shares


def _look_up(features: np.ndarray, pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Features, float32 (m, d), of one map, (d, h, w), at flat indices into an image of ``shape``.

    Interpolated along rows, then along columns, in float64.
    """
    rows, columns = np.unravel_index(pixels, shape)
    top, bottom, down = _neighbours(rows, shape[0], features.shape[1])
    left, right, across = _neighbours(columns, shape[1], features.shape[2])
    upper = features[:, top, left] * (1 - across) + features[:, top, right] * across
    lower = features[:, bottom, left] * (1 - across) + features[:, bottom, right] * across
    return (upper * (1 - down) + lower * down).T.astype(np.float32)


def _neighbours(
    positions: np.ndarray, size: int, cells: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells before and after each position along one axis, and how far it is towards the latter."""
    at = np.clip((positions + 0.5) * cells / size - 0.5, 0, cells - 1)
    before = np.floor(at).astype(np.int64)
    return before, np.minimum(before + 1, cells - 1), at - before
