"""From an image as read to the one grey channel that the networks see."""

from dataclasses import replace
from typing import Literal

import numpy as np

from helpers.data.sample import Sample
from helpers.errors import DataError

Polarity = Literal["as_is", "bright_objects"]

# Mean and spread of R, G and B in 0..1 of the tissue that the weights of Kang et al. (CVPR 2023,
# arXiv 2212.04690) were pretrained on; see the manifest's doubts about them.
HISTOLOGY_MEAN = (0.70322989, 0.53606487, 0.66096631)
HISTOLOGY_STD = (0.21716536, 0.26081574, 0.20723464)


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
    whole images are what the model is tested on. Units do not matter. Where the percentiles are one
    value, smallest and largest take their place; a constant image becomes all zero.

    Args:
        grey: height x width, any real dtype.

    Returns:
        float32, height x width.
    """
    floor, ceiling = np.percentile(grey, [low, high])
    # One value but for the rounding of 32 bits.
    if ceiling - floor <= 1e-6 * max(abs(floor), abs(ceiling)):
        floor, ceiling = float(grey.min()), float(grey.max())
    if ceiling <= floor:
        return np.zeros(grey.shape, np.float32)
    return ((grey - floor) / (ceiling - floor)).astype(np.float32)


def unify_polarity(scaled: np.ndarray) -> np.ndarray:
    """Invert a percentile-scaled image (x becomes 1 - x) if its background is bright.

    Background is what most of a picture shows: an image whose median lies above 0.5 is inverted, so
    that stained nuclei on bright tissue come out bright on dark, as in fluorescence.
    """
    return 1 - scaled if np.median(scaled) > 0.5 else scaled


def prepare(sample: Sample, polarity: Polarity = "as_is") -> Sample:
    """The sample with one grey, percentile-scaled channel (height x width x 1).

    Args:
        polarity: ``"as_is"`` (the paper) or ``"bright_objects"`` (see :func:`unify_polarity`).
    """
    scaled = scale_percentiles(to_grey(sample.image))
    if polarity == "bright_objects":
        scaled = unify_polarity(scaled)
    return replace(sample, image=scaled[..., None])
