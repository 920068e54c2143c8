"""Herding: the mean of the picks follows the mean of the data."""

import numba
import numpy as np

from helpers.quantization.checks import check_count, check_features
from helpers.quantization.distances import mean_of

TIE = 1e-9
# x.s - mean.s loses digits if all samples are farther from the origin than this many times their
# distance to the mean; then a centred copy is worked on.
FAR = 1e3


def herding(features: np.ndarray, count: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Herding (Welling 2009) in the form of iCaRL (Rebuffi et al., arXiv 1611.07725, Algorithm 4).

    Pick k is the sample x, not picked before, that brings the mean of the k picks nearest to the
    mean of all samples. With centred features c and s the sum of c over the picks, it minimises
    ``|c + s|^2``, that is ``|c|^2 + 2 c.s``. iCaRL scales features to unit length first; here they
    are taken as given. Values within a billionth of the largest possible count as ties, and ties go
    to the lower index. O(N d) per pick, in float64 on features of any float type; memory beyond
    the features: O(N + d), or a float64 copy if they lie far from the origin.

    Args:
        features: (N, d), finite.
        count: 1..N.
        rng: unused; the order is deterministic.

    Returns:
        int64 (count,), distinct sample indices in the order of choice.

    Raises:
        ParameterError: wrong shape, NaN or infinity, count outside 1..N.
    """
    points = np.ascontiguousarray(check_features(features))
    count = check_count(count, len(points))
    mean = mean_of(points)
    squares = _centred_squares(points, mean)
    if np.linalg.norm(mean) > FAR * np.sqrt(squares.max()):
        # Differences of neighbouring numbers are exact, their mean has digits to spare.
        points = np.asarray(points, dtype=np.float64) - points[0]
        points = points - points.mean(axis=0)
        mean = np.zeros_like(mean)
        squares = _centred_squares(points, mean)
    return _herd(points, mean, squares, count, TIE)


@numba.njit(cache=True, nogil=True)
def _centred_squares(points, mean):
    squares = np.zeros(points.shape[0])
    for i in range(points.shape[0]):
        for k in range(points.shape[1]):
            squares[i] += (np.float64(points[i, k]) - mean[k]) ** 2
    return squares


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(row, other):
    total = 0.0
    for k in range(row.shape[0]):
        total += np.float64(row[k]) * other[k]
    return total


@numba.njit(cache=True, nogil=True)
def _herd(points, mean, squares, count, tie):
    n, d = points.shape
    reach = np.sqrt(squares.max())
    total = np.zeros(d)
    free = np.ones(n, np.bool_)
    values = np.empty(n)
    picks = np.empty(count, np.int64)
    for k in range(count):
        best, offset = np.inf, _dot(mean, total)
        for i in range(n):
            if free[i]:
                values[i] = squares[i] + 2 * (_dot(points[i], total) - offset)
                best = min(best, values[i])
        near = best + tie * reach * (reach + 2 * np.sqrt(np.sum(total * total)))
        pick = 0
        while not (free[pick] and values[pick] <= near):
            pick += 1
        picks[k] = pick
        free[pick] = False
        for m in range(d):
            total[m] += np.float64(points[pick, m]) - mean[m]
    return picks
