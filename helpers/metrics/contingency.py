"""The one table all metrics are computed from: pixels per pair of labels, pairs that occur only."""

from dataclasses import dataclass

import numpy as np

from helpers.errors import ParameterError


@dataclass(frozen=True)
class Contingency:
    """Overlaps of true with predicted objects.

    Objects are numbered by the first pixel (in raster order) at which they appear, and pairs
    likewise, so that nothing computed from the table depends on the values of the labels.

    Attributes:
        true_labels: integers (n_true,), label of each true object.
        predicted_labels: integers (n_predicted,), label of each predicted object.
        true_area: int64 (n_true,), pixels.
        predicted_area: int64 (n_predicted,), pixels.
        rows: int64 (n_pairs,), true object of each pair that shares a pixel.
        columns: int64 (n_pairs,), predicted object of the pair.
        overlap: int64 (n_pairs,), pixels shared, at least 1.
        n_pixels: pixels of the image.
    """

    true_labels: np.ndarray
    predicted_labels: np.ndarray
    true_area: np.ndarray
    predicted_area: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    overlap: np.ndarray
    n_pixels: int

    @property
    def foreground(self) -> tuple[int, int, int, int]:
        """Pixels that are true positive, false positive, false negative and true negative."""
        both = int(self.overlap.sum())
        only_predicted = int(self.predicted_area.sum()) - both
        only_true = int(self.true_area.sum()) - both
        return both, only_predicted, only_true, self.n_pixels - both - only_predicted - only_true

    @property
    def union(self) -> np.ndarray:
        """Pixels of the union of each pair, int64 (n_pairs,)."""
        return self.true_area[self.rows] + self.predicted_area[self.columns] - self.overlap


def contingency(truth: np.ndarray, prediction: np.ndarray) -> Contingency:
    """Count the pixels of every pair of labels that occurs.

    Args:
        truth: integers (height, width) of any size; 0 is background, every other value one object.
            Values need not be contiguous.
        prediction: likewise, of the same shape.

    Raises:
        ParameterError: not a 2-D integer array (floats, booleans and masked arrays are refused),
            no pixel, a negative label, or two different shapes.
    """
    truth, prediction = np.asanyarray(truth), np.asanyarray(prediction)
    if truth.shape != prediction.shape:
        raise ParameterError(
            f"truth has shape {truth.shape} and prediction {prediction.shape}; expected the same "
            "shape: resize or crop the prediction to the annotated image"
        )
    true, predicted = _flat(truth, "truth"), _flat(prediction, "prediction")
    # Labels are constant along most of a row: what is sorted are runs of equal pairs, not pixels.
    change = (true[1:] != true[:-1]) | (predicted[1:] != predicted[:-1])
    starts = np.concatenate([[0], np.flatnonzero(change) + 1])
    lengths = np.diff(starts, append=true.size)
    true, predicted = true[starts], predicted[starts]
    true_labels, true_area, row = _count(true, lengths)
    predicted_labels, predicted_area, column = _count(predicted, lengths)
    both = ((true != 0) & (predicted != 0)).astype(np.int64)
    width = max(1, len(predicted_labels))
    # From 1, since 0 is what _count leaves out.
    pairs, overlap, _ = _count(both * (row * width + column + 1), lengths)
    rows, columns = np.divmod(pairs - 1, width)
    return Contingency(
        *(true_labels, predicted_labels, true_area, predicted_area),
        *(rows, columns, overlap, truth.size),
    )


def _count(values: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values other than 0 in the order of first appearance.

    Returns:
        the values, the sum of the lengths of each, and the place among them of every item (0 for
        items of value 0).
    """
    kept = np.flatnonzero(values)
    found, first, inverse = np.unique(values[kept], return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.zeros(len(values), np.int64)
    number[kept] = np.argsort(order)[inverse]
    sums = np.bincount(number[kept], lengths[kept], len(order)).astype(np.int64)
    return found[order], sums, number


def _flat(labels: np.ndarray, name: str) -> np.ndarray:
    """The labels in raster order, if they are a label map."""
    if labels.dtype.kind not in "iu":
        advice = (
            "number the objects first (skimage.measure.label), or pass mask.astype(int) to score "
            "the whole foreground as one object"
            if labels.dtype.kind == "b"
            else "pass integer labels, 0 for background (labels.astype(np.int32) if they are whole)"
        )
        raise ParameterError(f"{name} is {labels.dtype}; expected an integer label map: {advice}")
    if isinstance(labels, np.ma.MaskedArray):
        raise ParameterError(
            f"{name} is a masked array; expected a plain label map: the mask would be ignored, so "
            "fill or crop the masked pixels in truth and prediction first"
        )
    if labels.ndim != 2 or labels.size == 0:
        raise ParameterError(
            f"{name} has shape {labels.shape}; expected (height, width) with at least one pixel: "
            "evaluate the images of a stack one by one, and pick one channel of a colour picture"
        )
    if (lowest := labels.min()) < 0:
        raise ParameterError(
            f"{name} holds the label {lowest}; expected 0 for background and positive labels for "
            "objects: set ignored or unlabelled pixels to 0 in truth and prediction"
        )
    return labels.ravel()
