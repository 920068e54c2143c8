"""CC-FV: classes alike in all images, images unlike each other.

Yang, Wei, He, Yang, Ye and Gu, "Pick the Best Pre-trained Model: Towards Transferability
Estimation for Medical Image Segmentation", MICCAI 2023, arXiv 2307.11958. What is followed is the
paper, not the released code, which adds the mean distance to the sum where it should replace it,
has the ratio of energy and distance where the paper has the inverse of both, and does not bring the
global features to the unit sphere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.errors import ParameterError
from helpers.quantization.checks import check_features
from helpers.transferability.estimators.pixels import PixelSample

BACKGROUND = 0
# Keeps the energy of two equal directions finite; as in the released code.
SOFTENING = 1e-3
# Distances below this share of the size of the features are rounding.
NO_DISTANCE = 1e-6


@dataclass(frozen=True, eq=False)
class LevelFeatures:
    """Features of n images at one level of a network.

    Attributes:
        pixels: for each image (m_i, d), features of some of its pixels; m_i may be 0.
        labels: for each image (m_i,), integers: 0 background, 1..K the classes.
        pooled: (n, d'), one global feature vector per image, such as the mean of the map.
    """

    pixels: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...]
    pooled: np.ndarray

    @classmethod
    def from_sample(cls, sample: PixelSample, pooled: np.ndarray) -> "LevelFeatures":
        """The pixels of `sample_pixels`, taken apart by image, with the pooled features (n, d')."""
        rows = [sample.image == index for index in range(len(pooled))]
        return cls(
            tuple(sample.features[row] for row in rows),
            tuple(sample.labels[row] for row in rows),
            pooled,
        )


def cc_fv(levels: Sequence[LevelFeatures]) -> float:
    """Sum over levels of log(F_v / C_cons): feature variety over class inconsistency.

    The paper takes the mean over the levels of a decoder; the sum is as many times larger, so that
    networks compare only if they have the same number of levels. The distance, unlike the
    variety, grows with the scale of the features, and so the score falls with it.

    Args:
        levels: one or more, such as the levels of an encoder, all of the same images.

    Returns:
        Any sign; higher = more transferable.

    Raises:
        ParameterError: whatever `class_consistency` and `feature_variety` raise; a level where
            every class has the same features in all images (constant features), for which the ratio
            would be infinite.
    """
    return float(sum(_score(level, index) for index, level in enumerate(levels)))


def class_consistency(pixels: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> float:
    """C_cons: 2-Wasserstein distance between the same class in two images, the lower the better.

    In every image the pixels of a class are taken for a Gaussian (covariance divided by their
    number, so that a single pixel is a point). The distances are averaged over the pairs of images
    that both hold the class, then over the classes, each with the same weight, the background left
    out; a class in fewer than two images has no part. The paper has the sum over classes, which
    differs by their number. One singular value decomposition per pair and class, of as many rows as
    pixels or dimensions, whichever are fewer.

    Args:
        pixels: for each image (m_i, d), finite; m_i may be 0.
        labels: for each image (m_i,), integers from 0, the background.

    Returns:
        At least 0, in units of the features.

    Raises:
        ParameterError: NaN or infinity, no class but the background in two images.
    """
    by_class: dict[int, list[_Gaussian]] = {}
    for points, classes in zip(pixels, labels, strict=True):
        if not len(points):
            continue
        points = np.asarray(check_features(points), np.float64)
        for name in np.unique(classes[classes != BACKGROUND]):
            by_class.setdefault(int(name), []).append(_fit(points[classes == name]))
    means = [
        np.mean([_distance(a, b) for i, a in enumerate(found) for b in found[i + 1 :]])
        for found in by_class.values()
        if len(found) > 1
    ]
    if not means:
        raise ParameterError(
            f"labels: no class but the background {BACKGROUND} occurs in two of {len(labels)} "
            "images; expected one to compare: add images or draw more pixels"
        )
    return float(np.mean(means))


def feature_variety(pooled: np.ndarray) -> float:
    """F_v: the inverse of the mean hyperspherical energy of the images' global features.

    With u_i = x_i / |x_i|, the mean over pairs i < j of 1 / sqrt(|u_i - u_j|^2 + 0.001), inverted.
    The mean in place of the paper's sum, so that it does not depend on the number of images.

    Args:
        pooled: (n, d), finite, n at least 2.

    Returns:
        From 0.032, all directions equal, to 2.0, two opposite ones; higher = more varied.

    Raises:
        ParameterError: NaN or infinity, a vector of zeros.
    """
    from scipy.spatial.distance import pdist

    points = np.asarray(check_features(pooled), np.float64)
    largest = np.abs(points).max(axis=1, keepdims=True)
    if not largest.all():
        raise ParameterError(
            f"pooled: row {int(np.argmin(largest))} is zero and has no direction; expected "
            "features that do not vanish: leave this level or image out"
        )
    points = points / largest
    directions = points / np.linalg.norm(points, axis=1, keepdims=True)
    return float(1 / np.mean(1 / np.sqrt(pdist(directions, "sqeuclidean") + SOFTENING)))


@dataclass(frozen=True, eq=False)
class _Gaussian:
    """Mean (d,) and a root (r, d) of the covariance: ``root.T @ root``."""

    mean: np.ndarray
    root: np.ndarray


def _fit(points: np.ndarray) -> _Gaussian:
    mean = points.mean(axis=0)
    root = (points - mean) / np.sqrt(len(points))
    if len(root) > root.shape[1]:
        root = np.linalg.qr(root, mode="r")
    return _Gaussian(mean, root)


def _distance(a: _Gaussian, b: _Gaussian) -> float:
    """2-Wasserstein distance, at least 0, in units of the features.

    W^2 = |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1^1/2 S_2 S_1^1/2)^1/2). With S = A^T A the last trace
    is the sum of the singular values of A_1 A_2^T: no root of a matrix is taken.
    """
    from scipy.linalg import svdvals

    common = svdvals(a.root @ b.root.T, check_finite=False).sum()
    square = ((a.mean - b.mean) ** 2).sum() + (a.root**2).sum() + (b.root**2).sum() - 2 * common
    return float(np.sqrt(max(square, 0.0)))


def _score(level: LevelFeatures, index: int) -> float:
    distance = class_consistency(level.pixels, level.labels)
    variety = feature_variety(level.pooled)
    size = max(np.abs(points).max() for points in level.pixels if len(points))
    if distance <= NO_DISTANCE * size:
        raise ParameterError(
            f"levels: in number {index} every class has the same features in all images; expected "
            "features that depend on the image: leave this level out"
        )
    return float(np.log(variety / distance))
