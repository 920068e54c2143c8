"""The one table all metrics are computed from: pixels per pair of labels, pairs that occur only."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from helpers.errors import ParameterError

_INT32_MAX = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Contingency:
    """Overlaps of true with predicted objects.

    Objects are numbered by the first pixel (in raster order) at which they appear, and pairs
    likewise, so that nothing computed from the table depends on the values of the labels.

    Attributes:
        true_labels: int64 (n_true,), label of each true object.
        predicted_labels: int64 (n_predicted,), label of each predicted object.
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
    def n_true(self) -> int:
        """Number of true objects: labels that occur, whatever their values."""
        return self.true_area.size

    @property
    def n_predicted(self) -> int:
        """Number of predicted objects."""
        return self.predicted_area.size

    @cached_property
    def foreground(self) -> tuple[int, int, int, int]:
        """Pixels that are true positive, false positive, false negative and true negative."""
        both = int(self.overlap.sum())
        only_predicted = int(self.predicted_area.sum()) - both
        only_true = int(self.true_area.sum()) - both
        return both, only_predicted, only_true, self.n_pixels - both - only_predicted - only_true

    def iou(self) -> np.ndarray:
        """Intersection over union of each pair, float64 (n_pairs,), in (0, 1]."""
        areas = self.true_area[self.rows] + self.predicted_area[self.columns]
        return self.overlap / (areas - self.overlap)


def contingency(truth: np.ndarray, prediction: np.ndarray) -> Contingency:
    """Count the pixels of every pair of labels that occurs.

    Args:
        truth: integers (height, width); 0 is background, every other value one object. Values need
            not be contiguous. int32 in C order is read in place, anything else is copied first;
            labels above 2**31 - 1 cost a sort.
        prediction: likewise, of the same shape.

    Raises:
        ParameterError: not a 2-D integer array (floats, booleans and masked arrays are refused),
            no pixel, a negative label, or two different shapes.
    """
    from helpers.metrics import _kernels

    truth, prediction = np.asanyarray(truth), np.asanyarray(prediction)
    if truth.shape != prediction.shape:
        raise ParameterError(
            f"truth has shape {truth.shape} and prediction {prediction.shape}; expected the same "
            "shape: resize or crop the prediction to the annotated image"
        )
    flat_truth, true_values = _flat_int32(truth, "truth")
    flat_prediction, predicted_values = _flat_int32(prediction, "prediction")
    keys, counts, sign = _kernels.count_pairs(flat_truth, flat_prediction)
    if sign < 0:
        _refuse_negative(truth, "truth")
        _refuse_negative(prediction, "prediction")
    rows, true_labels, true_area = _kernels.number_objects(keys >> 32, counts)
    columns, predicted_labels, predicted_area = _kernels.number_objects(keys & _INT32_MAX, counts)
    shared = (rows >= 0) & (columns >= 0)
    return Contingency(
        true_labels=true_labels if true_values is None else true_values[true_labels],
        predicted_labels=(
            predicted_labels if predicted_values is None else predicted_values[predicted_labels]
        ),
        true_area=true_area,
        predicted_area=predicted_area,
        rows=rows[shared],
        columns=columns[shared],
        overlap=counts[shared],
        n_pixels=truth.size,
    )


def _flat_int32(labels: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels as contiguous int32 in raster order; and their values if these were renumbered."""
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
    if labels.dtype.itemsize >= 4 and labels.dtype != np.int32:
        if labels.dtype.kind == "i":
            _refuse_negative(labels, name)
        if labels.max() > _INT32_MAX:
            return _renumbered(labels)
    return np.require(labels, np.int32, ("C", "A")).reshape(-1), None


def _renumbered(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks in place of labels that int32 cannot hold, background staying 0; and the labels."""
    values, ranks = np.unique(labels, return_inverse=True)
    if values[0] != 0:
        values = np.concatenate([np.zeros(1, values.dtype), values])
        ranks = ranks + 1
    return ranks.reshape(-1).astype(np.int32), values


def _refuse_negative(labels: np.ndarray, name: str) -> None:
    lowest = labels.min()
    if lowest < 0:
        raise ParameterError(
            f"{name} holds the label {lowest}; expected 0 for background and positive labels for "
            "objects: set ignored or unlabelled pixels to 0 in truth and prediction"
        )
