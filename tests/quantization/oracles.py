"""The order of dataset quantization as its definitions say, with all pairs in memory.

``exact_order`` is rational arithmetic on the features as they are: no rounding, so no tolerance.
``float_order`` is for gains that need a square root, in extended precision. ``product_order`` is
for larger sets: closed forms, one product with all samples per pick.
"""

from fractions import Fraction

import numpy as np


def bin_sizes(count: int, n_bins: int) -> list[int]:
    """Sizes that differ by at most one, the larger first."""
    return [count // n_bins + (b < count % n_bins) for b in range(n_bins)]


def order(features: np.ndarray, n_bins: int, gain: str) -> list[int]:
    """Greedy order of the definition, ties to the lowest index."""
    return (float_order if gain == "graphcut" else exact_order)(features, n_bins, gain)


def exact_order(features: np.ndarray, n_bins: int, gain: str) -> list[int]:
    """``paper_eq`` or ``official_code`` in integers: floats are multiples of a power of two."""
    rows = [[Fraction(float(value)) for value in row] for row in np.asarray(features)]
    common = max(value.denominator for row in rows for value in row)
    whole = np.array([[int(value * common) for value in row] for row in rows], dtype=object)
    distances = ((whole[:, None] - whole[None]) ** 2).sum(axis=2)
    totals, count = distances.sum(axis=1), len(whole)
    left, result = set(range(count)), []
    for size in bin_sizes(count, n_bins):
        inside = np.zeros(count, dtype=object)
        for k in range(size):
            if gain == "paper_eq":
                # Over S less over D without S.
                gains = inside - (totals - inside)
            else:
                # Difference of means times k N; the first pick has the smallest total.
                gains = count * inside - k * totals if k else -totals
            pick = max(left, key=lambda i: (gains[i], -i))
            left.remove(pick)
            result.append(pick)
            inside = inside + distances[pick]
    return result


def float_order(features: np.ndarray, n_bins: int, gain: str, tie: float = 1e-15) -> list[int]:
    """Any gain in extended precision; gains within ``tie`` of the sum of all terms are ties."""
    points = np.asarray(features).astype(np.longdouble)
    count = len(points)
    if gain == "graphcut":
        norms = np.sqrt((points**2).sum(axis=1, keepdims=True))
        units = np.divide(points, norms, out=np.zeros_like(points), where=norms > 0)
        pairs = (1 + units @ units.T) / 2
    else:
        pairs = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    tolerance = tie * float(pairs.sum(axis=1).max())
    free, result = np.ones(count, dtype=bool), []
    for size in bin_sizes(count, n_bins):
        pool, inside = pairs[:, free].sum(axis=1), np.zeros(count, dtype=np.longdouble)
        for k in range(size):
            if gain == "graphcut":
                gains = pool - 2 * inside
            elif gain == "paper_eq":
                gains = 2 * inside - pairs.sum(axis=1)
            else:
                gains = inside / max(k, 1) - pairs.mean(axis=1)
            best = gains[free].max()
            pick = int(np.flatnonzero(free & (gains >= best - tolerance))[0])
            free[pick] = False
            result.append(pick)
            inside = inside + pairs[pick]
    return result


def product_order(features: np.ndarray, n_bins: int, gain: str, tie: float = 1e-12) -> list[int]:
    """Gains of all samples anew at every pick, in float64, from the sum of the picks."""
    points = np.asarray(features, np.float64)
    if gain == "graphcut":
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    else:
        points = points - points.mean(axis=0)
    squares, count = (points**2).sum(axis=1), len(points)
    free, result = np.ones(count, dtype=bool), []
    for size in bin_sizes(count, n_bins):
        pool, inside = points[free].sum(axis=0), np.zeros(points.shape[1])
        for k in range(size):
            if gain == "graphcut":
                gains = points @ (pool - 2 * inside)
                width = tie * (np.linalg.norm(pool) + k)
            elif gain == "paper_eq" or k == 0:
                gains = (2 * k - count) * squares - 4 * points @ inside
                width = tie * count * squares
            else:
                gains = -points @ inside
                width = tie * k * squares.mean()
            ends = np.where(free, gains + width, -np.inf)
            highest = np.where(free, gains - width, -np.inf).max()
            result.append(int(np.argmax(ends >= highest)))
            free[result[-1]] = False
            inside += points[result[-1]]
    return result
