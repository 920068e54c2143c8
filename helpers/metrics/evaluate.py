"""All metrics of one image in one call."""

from dataclasses import dataclass, fields

import numpy as np

from helpers.metrics.contingency import contingency
from helpers.metrics.instance import instance_scores
from helpers.metrics.pixel import pixel_scores


@dataclass(frozen=True)
class ImageMetrics:
    """Agreement of one predicted label map with the true one.

    All scores lie in 0..1, larger is better. If exactly one map is empty every score but
    ``accuracy`` is 0; if both are, every score but ``accuracy`` is NaN (see `aggregate` for what
    becomes of these).

    Attributes:
        iou, dice, precision, recall, accuracy: foreground against foreground, in pixels.
        pq_paper: ``iou`` x ``dice``, which arXiv 2511.04803 tabulates as panoptic quality.
        pq, sq, rq: panoptic, segmentation and recognition quality, objects matched at IoU > 0.5.
        ap_50 ... ap_95: TP / (TP + FP + FN) of objects matched at IoU >= 0.50 ... 0.95.
        ap: mean of those ten.
        aji: aggregated Jaccard index of Kumar et al. (2017).
        aji_cellpose: the variant that Cellpose computes under that name.
        n_true, n_predicted: number of objects.
    """

    iou: float
    dice: float
    precision: float
    recall: float
    accuracy: float
    pq_paper: float
    pq: float
    sq: float
    rq: float
    ap_50: float
    ap_55: float
    ap_60: float
    ap_65: float
    ap_70: float
    ap_75: float
    ap_80: float
    ap_85: float
    ap_90: float
    ap_95: float
    ap: float
    aji: float
    aji_cellpose: float
    n_true: int
    n_predicted: int

    def as_dict(self) -> dict[str, float]:
        """Name and value of every metric and count, in the order above."""
        return dict(vars(self))


METRICS = tuple(field.name for field in fields(ImageMetrics))
"""Names of all metrics and counts, in the order of `ImageMetrics`."""


def evaluate(truth: np.ndarray, prediction: np.ndarray) -> ImageMetrics:
    """Compare a predicted with a true label map.

    Definitions, sources and conventions: `pixel_scores` and `instance_scores`.

    Args:
        truth: integers (height, width); 0 is background, every other value one object, contiguous
            or not. Touching objects need no gap and an object may have several parts.
        prediction: likewise, of the same shape.

    Raises:
        ParameterError: float, boolean or masked arrays, more or fewer than two dimensions, no
            pixel, negative labels, or two different shapes.
    """
    table = contingency(truth, prediction)
    pixel = pixel_scores(table)
    pq, sq, rq, ap, aji, aji_cellpose = instance_scores(table)
    return ImageMetrics(
        *pixel,
        *(pq, sq, rq),
        *ap,
        *(sum(ap) / len(ap), aji, aji_cellpose),
        *(table.n_true, table.n_predicted),
    )
