"""Greedy k-center: every pick is the sample farthest from all picks before it."""

import numba
import numpy as np

from helpers.quantization.checks import check_count, check_features
from helpers.quantization.distances import mean_of

TIE = 1e-9


def k_center(
    features: np.ndarray, count: int, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Farthest-first order (Gonzalez 1985; Sener & Savarese, arXiv 1708.00489, Algorithm 1).

    The largest distance of a sample to its nearest pick is at most twice the smallest that any
    choice of as many samples reaches. The start, which the algorithm leaves open, is the sample
    nearest to the mean. Squared distances within a billionth of the largest count as ties, and
    ties go to the lower index. O(N d) per pick at most: a sample is looked at only if the new pick
    may be nearer than its present one (triangle inequality), and only for as many dimensions as it
    takes to see that it is not. Memory beyond the features: O(N + count d).

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
    start = nearest_to_mean(points)
    return _farthest_first(points, start, count, TIE)


def nearest_to_mean(points: np.ndarray) -> int:
    """Index of the row nearest to the mean row; the lowest of those that are equally near."""
    mean = mean_of(points)
    squares = np.concatenate(
        [
            np.einsum("ij,ij->i", rows, rows)
            for rows in (points[k : k + 4096] - mean for k in range(0, len(points), 4096))
        ]
    )
    return int(np.argmax(squares <= squares.min() + TIE * squares.max()))


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _square(row, other):
    total = 0.0
    for k in range(row.shape[0]):
        difference = np.float64(row[k]) - np.float64(other[k])
        total += difference * difference
    return total


@numba.njit(cache=True, nogil=True)
def _square_below(row, other, limit):
    """Squared distance, or some value not below ``limit`` if it is not below."""
    step, total = 128, 0.0
    for start in range(0, row.shape[0], step):
        total += _square(row[start : start + step], other[start : start + step])
        if total >= limit:
            break
    return total


@numba.njit(cache=True, nogil=True)
def _farthest_first(points, start, count, tie):
    n = points.shape[0]
    picks = np.empty(count, np.int64)
    nearest = np.full(n, np.inf)
    owner = np.zeros(n, np.int64)
    to_picks = np.zeros(count)
    pick = start
    for k in range(count):
        picks[k] = pick
        for j in range(k):
            # Half the distance of the new pick to pick j: a sample nearer to j than that stays.
            to_picks[j] = 0.25 * (1 - tie) * _square(points[picks[j]], points[pick])
        largest = 0.0
        for i in range(n):
            if nearest[i] > to_picks[owner[i]]:
                square = _square_below(points[i], points[pick], nearest[i])
                if square < nearest[i]:
                    nearest[i] = square
                    owner[i] = k
            largest = max(largest, nearest[i])
        nearest[pick] = -1.0
        for i in range(n):
            if nearest[i] >= (1 - tie) * largest:
                pick = i
                break
    return picks
