"""Intervals of a mean: how far it can be trusted.

Which when: over images there are many values, and their distribution is skewed and bounded, so
`bootstrap_interval`, which assumes no form. Over seeds or runs there are two to five values, far
too few to resample (two values have three distinct bootstrap means), so `student_interval`, which
assumes that values scatter normally and shows how little is known. From about ten values on both
are reasonable; below that a bootstrap interval is too narrow.
"""

from collections.abc import Sequence

import numpy as np

from helpers.errors import ParameterError


def bootstrap_interval(
    values: Sequence[float],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron 1979); for ten values or more.

    Args:
        values: floats (n,), no NaN.
        rng: source of the resamples; the same state gives the same interval.
        level: nominal coverage.
        n_resamples: number of resamples.

    Returns:
        Lower and upper end; NaN, NaN below two values.

    Raises:
        ParameterError: no values, NaN or infinite values.
    """
    from scipy.stats import bootstrap

    kept = _finite(values)
    if len(kept) < 2:
        return float("nan"), float("nan")
    options = {"confidence_level": level, "n_resamples": n_resamples, "batch": 100}
    found = bootstrap((kept,), np.mean, method="percentile", rng=rng, **options)
    low, high = found.confidence_interval
    return float(low), float(high)


def student_interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean from Student's t distribution; for few (2 to 5) seeds or runs.

    It is not clipped: with few values it may well leave the range of the metric, which tells how
    little they say. Two seeds at 95% give the mean +- 9 standard deviations.

    Args:
        values: floats (n,), no NaN, assumed to scatter normally.
        level: nominal coverage.

    Returns:
        Lower and upper end; NaN, NaN below two values.

    Raises:
        ParameterError: no values, NaN or infinite values.
    """
    from scipy.special import stdtrit

    kept = _finite(values)
    n = len(kept)
    if n < 2:
        return float("nan"), float("nan")
    half = stdtrit(n - 1, (1 + level) / 2) * kept.std(ddof=1) / np.sqrt(n)
    return float(kept.mean() - half), float(kept.mean() + half)


def _finite(values: Sequence[float]) -> np.ndarray:
    vector = np.asarray(values, dtype=np.float64)
    bad = np.count_nonzero(~np.isfinite(vector))
    if vector.ndim != 1 or vector.size == 0 or bad:
        raise ParameterError(
            f"values of shape {vector.shape}, {bad} of them NaN or infinite: expected a vector of "
            "at least one finite number"
        )
    return vector
