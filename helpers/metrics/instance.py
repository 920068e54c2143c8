"""Agreement of objects with objects."""

from typing import NamedTuple

from helpers.metrics.contingency import Contingency

AP_THRESHOLDS = tuple(k / 20 for k in range(10, 20))
"""Thresholds on IoU of the average precision: 0.50, 0.55 ... 0.95."""


class InstanceScores(NamedTuple):
    """Object scores of one image, each in 0..1; see `instance_scores`.

    ``ap`` has one value per threshold of `AP_THRESHOLDS`.
    """

    pq: float
    sq: float
    rq: float
    ap: tuple[float, ...]
    aji: float
    aji_cellpose: float


def instance_scores(table: Contingency) -> InstanceScores:
    """Panoptic quality, average precision and aggregated Jaccard index of one image.

    - Panoptic quality (Kirillov et al. 2019, Eq. 1), one class: true and predicted objects match
      if IoU > 0.5, strictly, which makes the match unique. ``sq`` is the mean IoU of the matches,
      ``rq`` = TP / (TP + FP/2 + FN/2), ``pq`` = ``sq`` x ``rq``.
    - Average precision (Stringer et al. 2021): TP / (TP + FP + FN) at IoU >= t. It is not the area
      under a precision-recall curve that COCO calls so. At t = 0.5 an object cut in exact halves
      has two partners; it counts once.
    - ``aji`` (Kumar et al. 2017, Algorithm 1): each true object takes the prediction with the
      largest IoU, sum of intersections over sum of unions, the area of predictions nobody took
      added below. As in the original a prediction may be taken by several true objects, and then
      counts once for each. A true object that meets no prediction adds its area below. Equal IoU:
      the prediction met first in raster order (the original depends on label values here).
    - ``aji_cellpose`` (`cellpose.metrics.aggregated_jaccard_index`): one-to-one matching with the
      most pairs of IoU >= 0.5 and, among those, the largest sum of IoU; intersections of the pairs
      over the union of both foregrounds. Where several matchings are equally good, which one is
      counted is settled by raster order.

    Empty maps: if only one of the two holds objects, every score is 0, ``sq`` (0/0) included, so
    that ``pq`` = ``sq`` x ``rq`` holds and failures stay in a mean. If neither does, all are NaN.
    """
    n_objects = table.n_true + table.n_predicted
    if n_objects == 0:
        nan = float("nan")
        return InstanceScores(nan, nan, nan, (nan,) * len(AP_THRESHOLDS), nan, nan)
    from helpers.metrics import _kernels

    pairs = (table.rows, table.columns, table.overlap, table.true_area, table.predicted_area)
    counted, iou_sum = _kernels.count_matches(*pairs)
    *matches, strict = counted.tolist()
    intersection, union = _kernels.aggregate_jaccard(*pairs)
    sq = iou_sum / strict if strict else 0.0
    rq = 2 * strict / n_objects
    return InstanceScores(
        pq=sq * rq,
        sq=sq,
        rq=rq,
        ap=tuple(tp / (n_objects - tp) for tp in matches),
        aji=intersection / union,
        aji_cellpose=_aji_cellpose(table),
    )


def _aji_cellpose(table: Contingency) -> float:
    from helpers.metrics import _kernels

    iou = table.iou()
    # The bonus for IoU >= 0.5 outweighs any sum of the second term: first the count, then the sum.
    n_matches_at_most = max(1, min(table.n_true, table.n_predicted))
    weight = (iou >= 0.5) + iou / (2 * n_matches_at_most)
    taken = _kernels.match_heaviest(
        table.rows, table.columns, weight, table.n_true, table.n_predicted
    )
    tp, fp, fn, _ = table.foreground
    return int(table.overlap[taken[taken >= 0]].sum()) / (tp + fp + fn)
