"""From an image as read to the one grey channel that the networks see."""

from dataclasses import replace

import numpy as np

from helpers.data.sample import Sample
from helpers.errors import DataError


def to_grey(image: np.ndarray) -> np.ndarray:
    """Mean over the channels, as Cellpose does for ``chan=0``.

    Args:
        image: height x width x channels.

    Returns:
        float32, height x width.
    """
    if image.ndim != 3:
        raise DataError(f"image of shape {image.shape}: expected (height, width, channels)")
    return image.mean(axis=2, dtype=np.float32)


def scale_percentiles(grey: np.ndarray, low: float = 1.0, high: float = 99.0) -> np.ndarray:
    """Map the ``low`` percentile to 0 and the ``high`` percentile to 1, without clipping.

    Cellpose's own training does this per patch; here it is done once per source image, because a
    patch of pure background would otherwise have its noise stretched to full contrast, and because
    whole images are what the model is tested on. A constant image becomes all zero.

    Args:
        grey: height x width, any real dtype.

    Returns:
        float32, height x width.
    """
    floor, ceiling = np.percentile(grey, [low, high])
    if ceiling - floor < 1e-3 * max(1.0, abs(float(ceiling))):
        floor, ceiling = float(grey.min()), float(grey.max())
    if ceiling <= floor:
        return np.zeros(grey.shape, np.float32)
    return ((grey - floor) / (ceiling - floor)).astype(np.float32)


def prepare(sample: Sample) -> Sample:
    """The sample with one grey, percentile-scaled channel (height x width x 1)."""
    return replace(sample, image=scale_percentiles(to_grey(sample.image))[..., None])
