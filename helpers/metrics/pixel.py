"""Agreement of foreground with foreground, objects disregarded."""

from typing import NamedTuple

from helpers.metrics.contingency import Contingency


class PixelScores(NamedTuple):
    """Scores of the foreground (label > 0) of one image, each in 0..1; see `pixel_scores`."""

    iou: float
    dice: float
    precision: float
    recall: float
    accuracy: float
    pq_paper: float


def pixel_scores(table: Contingency) -> PixelScores:
    """Binary scores of the foreground as in arXiv 2511.04803, computed there with scikit-learn.

    With TP, FP, FN, TN counted in pixels:

        iou        TP / (TP + FP + FN)
        dice       2 TP / (2 TP + FP + FN), the F1 score
        precision  TP / (TP + FP)
        recall     TP / (TP + FN)
        accuracy   (TP + TN) / all
        pq_paper   iou x dice = 2 iou^2 / (1 + iou): what the tables of that paper call panoptic
                   quality. No object is matched in it; `instance_scores` has the real one.

    Empty maps: if only one of the two has foreground, all but accuracy are 0, a ratio 0/0 (the
    precision of nothing) included, as with ``zero_division=0`` of scikit-learn: a total failure
    must not drop out of a mean. If neither has, there was nothing to find: all but accuracy are
    NaN, where scikit-learn returns 0 and would punish a correct answer.
    """
    tp, fp, fn, tn = table.foreground
    accuracy = (tp + tn) / table.n_pixels
    if tp + fp + fn == 0:
        nan = float("nan")
        return PixelScores(nan, nan, nan, nan, accuracy, nan)
    iou = tp / (tp + fp + fn)
    dice = 2 * tp / (2 * tp + fp + fn)
    return PixelScores(
        iou=iou,
        dice=dice,
        precision=tp / (tp + fp) if tp else 0.0,
        recall=tp / (tp + fn) if tp else 0.0,
        accuracy=accuracy,
        pq_paper=iou * dice,
    )
