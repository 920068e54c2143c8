"""Euclidean distances in blocks, as exact as differences, at the speed of matrix products."""

import numpy as np

# |a - b|^2 = |a|^2 + |b|^2 - 2 a.b loses digits where a and b are close; below this share of
# |a|^2 + |b|^2 the sum of squared differences is taken instead. Copies then are 0 apart, and all
# other distances keep about ten digits.
CLOSE = 1e-4
CHUNK = 4096


def mean_of(features: np.ndarray) -> np.ndarray:
    """Mean row in float64, without a float64 copy of all rows."""
    return features.mean(axis=0, dtype=np.float64)


def centred(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """``rows`` minus ``mean``, float64 and contiguous."""
    return np.subtract(rows, mean, dtype=np.float64, order="C")


def euclidean(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distances of all rows of one array to all rows of another.

    Args:
        first: float64 (n, d); about centred, else digits are lost.
        second: float64 (m, d), centred at the same point.

    Returns:
        float64 (n, m). Equal rows are exactly 0 apart.
    """
    both = squares(first)[:, None] + squares(second)
    found = both - 2 * (first @ second.T)
    rows, columns = np.nonzero(found < CLOSE * both)
    for start in range(0, len(rows), CHUNK):
        i, j = rows[start : start + CHUNK], columns[start : start + CHUNK]
        found[i, j] = squares(first[i] - second[j])
    return np.sqrt(found, out=found)


def squares(rows: np.ndarray) -> np.ndarray:
    """Squared length of every row, float64 (n,)."""
    return np.einsum("ij,ij->i", rows, rows)
