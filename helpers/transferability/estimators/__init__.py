"""Estimators of transferability: a number per model and target data, without any training.

For all of them higher = more transferable. Array in, float out: no files, no hidden seeds.
`sample_pixels` makes samples of the pixels of a segmentation.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from helpers.transferability.estimators.cc_fv import (
    LevelFeatures,
    cc_fv,
    class_consistency,
    feature_variety,
)
from helpers.transferability.estimators.gbc import gbc
from helpers.transferability.estimators.h_score import h_score, regularised_h_score
from helpers.transferability.estimators.leep import leep
from helpers.transferability.estimators.logme import logme
from helpers.transferability.estimators.nce import nce
from helpers.transferability.estimators.pixels import PixelSample, sample_pixels

Estimator = Callable[[np.ndarray, np.ndarray], float]

# Those that need nothing but features (n, d) and labels (n,).
ESTIMATORS: Mapping[str, Estimator] = MappingProxyType(
    {
        "logme": logme,
        "h_score": h_score,
        "regularised_h_score": regularised_h_score,
        "gbc": gbc,
    }
)

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "LevelFeatures",
    "PixelSample",
    "cc_fv",
    "class_consistency",
    "feature_variety",
    "gbc",
    "h_score",
    "leep",
    "logme",
    "nce",
    "regularised_h_score",
    "sample_pixels",
]
