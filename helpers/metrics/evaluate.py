"""All metrics of one image in one call.

**Foreground** (label > 0), as in arXiv 2511.04803, computed there with scikit-learn; TP, FP, FN, TN
in pixels:

    iou        TP / (TP + FP + FN)
    dice       2 TP / (2 TP + FP + FN), the F1 score
    precision  TP / (TP + FP)
    recall     TP / (TP + FN)
    accuracy   (TP + TN) / all
    pq_paper   iou x dice = 2 iou^2 / (1 + iou): what the tables of that paper call panoptic
               quality. No object is matched in it; ``pq`` is the real one.

**Objects:**

- ``pq``, ``sq``, ``rq`` (panoptic quality, Kirillov et al. 2019, Eq. 1), one class: true and
  predicted objects match if IoU > 0.5, strictly, which makes the match unique. ``sq`` is the mean
  IoU of the matches, ``rq`` = TP / (TP + FP/2 + FN/2), ``pq`` = ``sq`` x ``rq``.
- ``ap_50`` ... ``ap_95`` (average precision, Stringer et al. 2021): TP / (TP + FP + FN) at IoU >=
  t. It is not the area under a precision-recall curve that COCO calls so. At t = 0.5 an object cut
  in exact halves has two partners; it counts once.
- ``aji`` (Kumar et al. 2017, Algorithm 1): each true object takes the prediction with the largest
  IoU, sum of intersections over sum of unions, the area of predictions nobody took added below. As
  in the original a prediction may be taken by several true objects, and then counts once for each.
  A true object that meets no prediction adds its area below. Equal IoU: the prediction met first in
  raster order (the original depends on label values here).
- ``aji_cellpose`` (`cellpose.metrics.aggregated_jaccard_index`): one-to-one matching with the most
  pairs of IoU >= 0.5 and, among those, the largest sum of IoU; intersections of the pairs over the
  union of both foregrounds. Which of several equally good matchings is counted depends on where the
  objects lie, not on the values of their labels.

**Empty maps.** If only one of the two holds objects, every score but accuracy is 0, a ratio 0/0
(the precision of nothing) included, as with ``zero_division=0`` of scikit-learn: a total failure
must not drop out of a mean. If neither does, there was nothing to find: all but accuracy are NaN,
where scikit-learn returns 0 and would punish a correct answer.
"""

from dataclasses import dataclass, fields

import numpy as np

from helpers.metrics.contingency import Contingency, contingency


@dataclass(frozen=True)
class ImageMetrics:
    """Agreement of one predicted label map with the true one.

    All scores lie in 0..1, larger is better; NaN where both maps are empty, but for ``accuracy``.

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


AP_THRESHOLDS = tuple(k / 20 for k in range(10, 20))
"""Thresholds on IoU of the average precision: 0.50, 0.55 ... 0.95."""

METRICS = tuple(field.name for field in fields(ImageMetrics))
"""Names of all metrics and counts, in the order of `ImageMetrics`."""


def evaluate(truth: np.ndarray, prediction: np.ndarray) -> ImageMetrics:
    """Compare a predicted with a true label map.

    Definitions, sources and conventions: the module.

    Args:
        truth: integers (height, width); 0 is background, every other value one object, contiguous
            or not. Touching objects need no gap and an object may have several parts.
        prediction: likewise, of the same shape.

    Raises:
        ParameterError: float, boolean or masked arrays, more or fewer than two dimensions, no
            pixel, negative labels, or two different shapes.
    """
    table = contingency(truth, prediction)
    counts = table.true_area.size, table.predicted_area.size
    tp, fp, fn, tn = table.foreground
    accuracy = (tp + tn) / table.n_pixels
    if not tp:
        # Nothing is shared: 0, or undefined where there is nothing to share.
        none = 0.0 if fp or fn else float("nan")
        rest = len(METRICS) - 7
        return ImageMetrics(none, none, none, none, accuracy, *[none] * rest, *counts)
    iou, dice = tp / (tp + fp + fn), 2 * tp / (2 * tp + fp + fn)
    sq, rq, ap = _matched(table)
    return ImageMetrics(
        *(iou, dice, tp / (tp + fp), tp / (tp + fn), accuracy, iou * dice),
        *(sq * rq, sq, rq),
        *(*ap, sum(ap) / len(ap)),
        *(_aji(table), _aji_cellpose(table)),
        *counts,
    )


def _matched(table: Contingency) -> tuple[float, float, list[float]]:
    """Segmentation quality, recognition quality and the average precision at each threshold."""
    n_objects = table.true_area.size + table.predicted_area.size
    union = table.union
    # In integers, so that an IoU of k/20 counts at k/20.
    reached = 20 * table.overlap[:, None] >= np.arange(10, 20) * union[:, None]
    matches = reached.sum(axis=0)
    # Pairs above 1/2 share no object. At 1/2 an object may have two partners, its two halves,
    # which then overlap nothing else: a tree, of which one pair counts.
    halves = reached[:, 0]
    touched = np.unique(table.rows[halves]).size + np.unique(table.columns[halves]).size
    matches[0] = touched - matches[0]
    strict = 2 * table.overlap > union
    n_strict = int(strict.sum())
    iou_sum = float((table.overlap[strict] / union[strict]).sum())
    sq = iou_sum / n_strict if n_strict else 0.0
    return sq, 2 * n_strict / n_objects, [tp / (n_objects - tp) for tp in matches.tolist()]


def _aji(table: Contingency) -> float:
    """The aggregated Jaccard index of Kumar et al. (2017)."""
    # Stable: of equal ones the pair met first stays first.
    order = np.lexsort((-table.overlap / table.union, table.rows))
    taken = order[np.unique(table.rows[order], return_index=True)[1]]
    partners = table.columns[taken]
    intersections = table.overlap[taken].sum()
    unions = table.true_area.sum() + table.predicted_area[partners].sum() - intersections
    left = np.delete(table.predicted_area, np.unique(partners)).sum()
    return float(intersections / (unions + left))


def _aji_cellpose(table: Contingency) -> float:
    """The variant of Cellpose: a one-to-one matching of largest weight."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    n_true, n_predicted = table.true_area.size, table.predicted_area.size
    iou = table.overlap / table.union
    # The bonus for IoU >= 0.5 outweighs any sum of the second term: first the count, then the sum.
    weight = (iou >= 0.5) + iou / (2 * min(n_true, n_predicted))
    # Every true object has a column of its own as well, to stay alone at the price of no weight.
    alone = np.arange(n_true)
    prices = csr_array(
        (
            np.concatenate([2 - weight, np.full(n_true, 2.0)]),
            (
                np.concatenate([table.rows, alone]),
                np.concatenate([table.columns, n_predicted + alone]),
            ),
        ),
        shape=(n_true, n_predicted + n_true),
    )
    partner = min_weight_full_bipartite_matching(prices)[1]
    matched = table.overlap[partner[table.rows] == table.columns].sum()
    return float(matched / sum(table.foreground[:3]))
