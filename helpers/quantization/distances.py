"""Euclidean distances in blocks, as exact as differences, at the speed of matrix products."""

import numba
import numpy as np

# |a - b|^2 = |a|^2 + |b|^2 - 2 a.b loses digits where a and b are close; below this share of
# |a|^2 + |b|^2 the sum of squared differences is taken instead. Copies then are 0 apart, and all
# other distances keep about ten digits.
CLOSE = 1e-4


def mean_of(features: np.ndarray, chunk: int = 4096) -> np.ndarray:
    """Mean row in float64, without a float64 copy of all rows."""
    total = np.zeros(features.shape[1])
    for start in range(0, len(features), chunk):
        total += features[start : start + chunk].sum(axis=0, dtype=np.float64)
    return total / len(features)


def centred(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """``rows`` minus ``mean``, float64 and contiguous."""
    return np.ascontiguousarray(np.asarray(rows, dtype=np.float64) - mean)


def euclidean(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distances of all rows of one array to all rows of another.

    Args:
        first: float64 (n, d), contiguous; about centred, else digits are lost.
        second: float64 (m, d), contiguous, centred at the same point.

    Returns:
        float64 (n, m). Equal rows are exactly 0 apart.
    """
    products = first @ second.T
    _finish(products, first, second, squares(first), squares(second))
    return products


def squares(rows: np.ndarray) -> np.ndarray:
    """Squared length of every row, float64 (n,)."""
    return np.einsum("ij,ij->i", rows, rows)


@numba.njit(cache=True, nogil=True)
def _finish(products, first, second, first_squares, second_squares):
    """Turn scalar products into distances, in place."""
    for i in range(products.shape[0]):
        for j in range(products.shape[1]):
            both = first_squares[i] + second_squares[j]
            square = both - 2 * products[i, j]
            if square < CLOSE * both:
                square = 0.0
                for k in range(first.shape[1]):
                    square += (first[i, k] - second[j, k]) ** 2
            products[i, j] = np.sqrt(square)
