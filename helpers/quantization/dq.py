"""Dataset quantization: order all samples into bins, then sample from every bin.

Method: Zhou et al., "Dataset Quantization" (arXiv 2308.10524), as adopted in arXiv 2511.04803,
section III-B. The printed equation and the released code of the latter pick opposite points; both
are here under their own names. Neither needs a matrix of all pairwise distances: with centred
features c, r = |c|, s the sum of c over the k picks of the current bin, both gains are, up to
constants shared by all candidates,

    paper_eq       (2k - N) r^2 - 4 c.s
    official_code  -c.s                     (first pick of a bin: smallest r)

which costs O(N d) per pick.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from helpers.errors import ParameterError

Gain = Literal["paper_eq", "official_code"]
Sampling = Literal["uniform", "prefix"]
Rounding = Literal["exact", "published"]

TIE = 1e-9


@dataclass(frozen=True)
class Bins:
    """An ordered partition of N samples.

    Attributes:
        order: int64 (N,), sample indices bin after bin, within a bin in the order of picking.
        sizes: int64 (n_bins,), sizes that differ by at most one, the larger ones first.
    """

    order: np.ndarray
    sizes: np.ndarray

    def split(self) -> list[np.ndarray]:
        """The bins as a list of index arrays."""
        return np.split(self.order, np.cumsum(self.sizes)[:-1])


def quantize(features: np.ndarray, n_bins: int = 10, gain: Gain = "paper_eq") -> Bins:
    """Order all samples into bins by greedy choice (arXiv 2511.04803, Eq. 1).

    ``paper_eq`` maximises Eq. 1 as printed, D being the full set: the most central samples come
    first and outliers last. ``official_code`` follows the released script: a bin starts at the
    remaining sample with the smallest total distance to all, and continues with the largest
    difference of *mean* distances, which runs to the extremes. Gains that differ by less than a
    billionth of the largest possible gain count as ties, and ties go to the lower index: copies of
    one patch would otherwise be ordered by rounding errors.

    Args:
        features: (N, d), finite; computed on in float64.
        n_bins: number of bins, 1..N (the released script uses 10, the paper's Fig. 3 shows 5).

    Raises:
        ParameterError: wrong shape, NaN or infinity, unknown gain, more bins than samples.
    """
    points = _check(features, n_bins, gain)
    centred = points - points.mean(axis=0)
    squares = np.einsum("ij,ij->i", centred, centred)
    sizes = np.full(n_bins, len(points) // n_bins)
    sizes[: len(points) % n_bins] += 1
    free = np.ones(len(points), dtype=bool)
    bins = [_fill_bin(centred, squares, free, size, gain) for size in sizes]
    return Bins(np.concatenate(bins), sizes)


def _check(features: np.ndarray, n_bins: int, gain: str) -> np.ndarray:
    points = np.asarray(features, dtype=np.float64)
    if points.ndim != 2 or 0 in points.shape:
        raise ParameterError(f"features of shape {points.shape}: expected (samples, dimensions)")
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise ParameterError(f"features: row {row} holds NaN or infinity; expected finite numbers")
    if gain not in get_args(Gain):
        raise ParameterError(f"gain={gain!r}: expected one of {', '.join(get_args(Gain))}")
    if not 1 <= n_bins <= len(points):
        raise ParameterError(f"n_bins={n_bins}: expected 1 to {len(points)}, the number of samples")
    return points


def _fill_bin(
    centred: np.ndarray, squares: np.ndarray, free: np.ndarray, size: int, gain: Gain
) -> np.ndarray:
    """Pick ``size`` of the free samples, mark them taken, return them in order."""
    picks = np.empty(size, dtype=np.int64)
    total = np.zeros(centred.shape[1])
    for k in range(size):
        scores, scale = _scores(centred, squares, total, k, gain)
        scores[~free] = -np.inf
        pick = int(np.argmax(scores >= scores.max() - TIE * scale))
        picks[k] = pick
        free[pick] = False
        total += centred[pick]
    return picks


def _scores(
    centred: np.ndarray, squares: np.ndarray, total: np.ndarray, k: int, gain: Gain
) -> tuple[np.ndarray, float]:
    """Gain of every sample as pick number k of a bin, and the size that such gains can have."""
    n, largest = len(centred), float(squares.max())
    if gain == "paper_eq":
        return (2 * k - n) * squares - 4 * (centred @ total), n * largest
    if k == 0:
        return -squares, largest
    return -(centred @ total), k * largest


def select(
    bins: Bins,
    rate: float,
    rng: np.random.Generator,
    sampling: Sampling = "uniform",
    rounding: Rounding = "exact",
) -> np.ndarray:
    """Coreset: a share of every bin (arXiv 2511.04803, Eq. 2).

    Args:
        bins: result of :func:`quantize`.
        rate: share of all samples, above 0 and at most 1.
        rng: draws the samples under ``uniform``; unused under ``prefix``.
        sampling: ``"uniform"`` draws within each bin (the paper), ``"prefix"`` takes the first
            picks of each bin (the released script).
        rounding: ``"exact"`` gives max(1, round(rate * N)) samples in all, spread over the bins as
            evenly as their sizes allow; ``"published"`` gives max(1, floor(rate * size)) per bin,
            as the released script does, which overshoots at small rates.

    Returns:
        int64, ascending sample indices.
    """
    if not 0 < rate <= 1:
        raise ParameterError(f"rate={rate}: expected a share above 0 and at most 1")
    if sampling not in get_args(Sampling):
        raise ParameterError(f"sampling={sampling!r}: expected {' or '.join(get_args(Sampling))}")
    counts = _counts(bins.sizes, rate, rounding)
    chosen = [
        members[:count] if sampling == "prefix" else rng.choice(members, count, replace=False)
        for members, count in zip(bins.split(), counts, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _counts(sizes: np.ndarray, rate: float, rounding: Rounding) -> np.ndarray:
    if rounding == "published":
        # The small term keeps 0.29 * 100 from being cut to 28 by binary fractions.
        return np.maximum(1, np.floor(sizes * rate + 1e-9)).astype(np.int64)
    if rounding != "exact":
        raise ParameterError(f"rounding={rounding!r}: expected {' or '.join(get_args(Rounding))}")
    ends = np.cumsum(sizes)
    total = max(1, round(rate * int(ends[-1])))
    # Integer arithmetic: the last bin then ends at exactly the total.
    cumulative = (2 * ends * total + ends[-1]) // (2 * ends[-1])
    return np.diff(cumulative, prepend=0)
