"""What every estimator asks of its input, with the same words in every error."""

import numpy as np

from helpers.errors import ParameterError
from helpers.quantization.checks import check_features


def check_labelled(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features as float64 (n, d), and the class of every sample as int64 (n,), numbered 0..K-1.

    K is the number of different labels that occur: gaps between labels make no empty classes.

    Raises:
        ParameterError: features of wrong shape, NaN or infinite; labels that are all the same.
    """
    return np.asarray(check_features(features), dtype=np.float64), check_classes(labels)


def check_classes(labels: np.ndarray) -> np.ndarray:
    """The class of every sample as int64 (n,), numbered 0..K-1 in the order of the labels.

    Raises:
        ParameterError: fewer than two classes.
    """
    names, classes = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ParameterError(
            f"labels hold {names.tolist() or 'nothing'}: there is nothing to tell apart; expected "
            "two classes or more, so draw more samples or leave this set out"
        )
    return classes
