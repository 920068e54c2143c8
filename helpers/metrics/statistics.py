"""Means over images, seeds or runs, and how far they can be trusted.

Which interval when: over images there are many values, and their distribution is skewed and
bounded, so `bootstrap_interval`, which assumes no form. Over seeds or runs there are two to five
values, far too few to resample (two values have three distinct bootstrap means), so
`student_interval`, which assumes that values scatter normally and shows how little is known. From
about ten values on both are reasonable; below that a bootstrap interval is too narrow.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from helpers.errors import ParameterError
from helpers.metrics.evaluate import METRICS, ImageMetrics

Spread = Literal["images", "seeds", "runs"]

# Resamples are drawn in blocks of about this many indices (8 bytes each).
_BLOCK = 1 << 21


@dataclass(frozen=True)
class Summary:
    """A mean and its spread.

    Attributes:
        mean: mean of the values that count; NaN if there are none.
        std: sample standard deviation (division by n - 1); NaN below two values.
        n: number of values that count.
        excluded: number of values left out because they were NaN.
        low, high: interval of the mean; NaN below two values.
        spread: what the values scatter over, "images", "seeds" or "runs".
        interval: how ``low`` and ``high`` were found, "bootstrap" or "student".
        level: nominal coverage of the interval.
    """

    mean: float
    std: float
    n: int
    excluded: int
    low: float
    high: float
    spread: Spread
    interval: Literal["bootstrap", "student"]
    level: float


def aggregate(
    values: Sequence[ImageMetrics] | Mapping[str, Sequence[float]],
    rng: np.random.Generator | None = None,
    *,
    spread: Spread = "images",
    level: float = 0.95,
    n_resamples: int = 2000,
    undefined: float | None = None,
) -> dict[str, Summary]:
    """Summarise every metric over images, seeds or runs.

    Over images the interval is a bootstrap, over seeds or runs Student's: see the module.

    Args:
        values: one `ImageMetrics` per image, or for each metric one value per image, seed or run.
        rng: source of the resamples; needed for ``spread="images"`` only.
        spread: what the values scatter over.
        level: nominal coverage of the intervals, between 0 and 1.
        n_resamples: bootstrap resamples.
        undefined: what NaN counts as (an image without objects in truth and prediction). ``None``
            leaves it out and says so in `Summary.excluded`; 0.0 reproduces scikit-learn's
            ``zero_division=0`` and with it the released code of arXiv 2511.04803.

    Returns:
        One `Summary` per metric, in the order given.

    Raises:
        ParameterError: no values, unequal numbers of values, infinite values, unknown spread, a
            level outside (0, 1), fewer than 100 resamples, or no ``rng`` where one is needed.
    """
    names, columns = _as_columns(values)
    if undefined is not None:
        columns = np.where(np.isnan(columns), undefined, columns)
    _check_spread(spread)
    defined = ~np.isnan(columns)
    summaries: dict[str, Summary] = {}
    # Metrics undefined for the same images share their resamples.
    for pattern in np.unique(defined, axis=1).T:
        group = np.flatnonzero((defined == pattern[:, None]).all(axis=0))
        kept = columns[np.ix_(pattern, group)]
        lows, highs = _intervals(kept, rng, spread, level, n_resamples)
        for k, column in enumerate(group):
            summaries[names[column]] = _summary(
                kept[:, k], np.count_nonzero(~pattern), (lows[k], highs[k]), spread, level
            )
    return {name: summaries[name] for name in names}


def paired_difference(
    a: Sequence[float],
    b: Sequence[float],
    rng: np.random.Generator | None = None,
    *,
    spread: Spread = "images",
    level: float = 0.95,
    n_resamples: int = 2000,
) -> Summary:
    """Summarise ``a - b`` where both hold one metric of the same images, seeds or runs.

    Pairing removes what both share, such as hard images: the interval of the difference is much
    narrower than the two separate intervals suggest. A pair with a NaN is left out and counted in
    `Summary.excluded`.

    Args:
        a, b: floats (n,), in the same order.
        rng, spread, level, n_resamples: as for `aggregate`.

    Raises:
        ParameterError: different lengths, and as for `aggregate`.
    """
    first, second = _as_vector(a, "a"), _as_vector(b, "b")
    if first.size != second.size:
        raise ParameterError(
            f"a has {first.size} values and b {second.size}; expected one of each for every image, "
            "seed or run, in the same order"
        )
    options = {"spread": spread, "level": level, "n_resamples": n_resamples}
    return aggregate({"difference": first - second}, rng, **options)["difference"]


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
        n_resamples: number of resamples, at least 100.

    Returns:
        Lower and upper end; NaN, NaN below two values.

    Raises:
        ParameterError: no values, NaN or infinite values, level or n_resamples out of range.
    """
    kept = _without_nan(values)
    lows, highs = _intervals(kept[:, None], rng, "images", level, n_resamples)
    return float(lows[0]), float(highs[0])


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
        ParameterError: no values, NaN or infinite values, level out of range.
    """
    kept = _without_nan(values)
    lows, highs = _intervals(kept[:, None], None, "seeds", level, n_resamples=0)
    return float(lows[0]), float(highs[0])


def _intervals(
    kept: np.ndarray,
    rng: np.random.Generator | None,
    spread: Spread,
    level: float,
    n_resamples: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends, each (m,), for the columns of ``kept``, (n, m) without NaN."""
    if not 0 < level < 1:
        raise ParameterError(f"level is {level}; expected a coverage between 0 and 1, such as 0.95")
    if spread == "images":
        _check_bootstrap(rng, n_resamples)
    n, m = kept.shape
    if n < 2:
        return np.full(m, np.nan), np.full(m, np.nan)
    tail = (1 - level) / 2
    if spread == "images":
        means = np.concatenate(list(_resampled_means(kept, rng, n_resamples)))
        lows, highs = np.quantile(means, (tail, 1 - tail), axis=0)
        return lows, highs
    from scipy.special import stdtrit

    half = stdtrit(n - 1, 1 - tail) * kept.std(axis=0, ddof=1) / np.sqrt(n)
    return kept.mean(axis=0) - half, kept.mean(axis=0) + half


def _resampled_means(
    kept: np.ndarray, rng: np.random.Generator, n_resamples: int
) -> Iterator[np.ndarray]:
    """Means of resamples of the rows of ``kept``, (n, m): blocks of (resamples, m)."""
    n = len(kept)
    centre = kept.mean(axis=0)
    per_block = max(1, _BLOCK // n)
    for start in range(0, n_resamples, per_block):
        block = min(per_block, n_resamples - start)
        drawn = rng.integers(n, size=(block, n)) + n * np.arange(block)[:, None]
        times = np.bincount(drawn.reshape(-1), minlength=block * n).reshape(block, n)
        # Centred, so that constant values give their mean exactly.
        yield centre + times @ (kept - centre) / n


def _summary(
    kept: np.ndarray, excluded: int, ends: tuple[float, float], spread: Spread, level: float
) -> Summary:
    return Summary(
        mean=float(kept.mean()) if kept.size else float("nan"),
        std=float(kept.std(ddof=1)) if kept.size > 1 else float("nan"),
        n=kept.size,
        excluded=int(excluded),
        low=float(ends[0]),
        high=float(ends[1]),
        spread=spread,
        interval="bootstrap" if spread == "images" else "student",
        level=level,
    )


def _as_columns(
    values: Sequence[ImageMetrics] | Mapping[str, Sequence[float]],
) -> tuple[tuple[str, ...], np.ndarray]:
    """Metric names, and float64 (n, metrics), at least one row."""
    if not isinstance(values, Mapping):
        if not values or not all(isinstance(image, ImageMetrics) for image in values):
            raise ParameterError(
                f"values is a {type(values).__name__} of {len(values)} items; expected one or more "
                "ImageMetrics, one per image, or a mapping from metric to values"
            )
        return METRICS, np.array([tuple(vars(image).values()) for image in values], np.float64)
    columns = {name: _as_vector(column, name) for name, column in values.items()}
    sizes = {name: column.size for name, column in columns.items()}
    if not sizes or min(sizes.values()) != max(sizes.values()):
        raise ParameterError(
            f"values holds {sizes or 'no metric'}; expected the same number of values for each"
        )
    return tuple(columns), np.stack(list(columns.values()), axis=1)


def _as_vector(values: Sequence[float], name: str) -> np.ndarray:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0 or np.isinf(vector).any():
        raise ParameterError(
            f"{name} has shape {vector.shape} and {np.count_nonzero(np.isinf(vector))} infinite "
            "values; expected a vector of at least one value, each finite or NaN"
        )
    return vector


def _without_nan(values: Sequence[float]) -> np.ndarray:
    vector = _as_vector(values, "values")
    if n_nan := np.count_nonzero(np.isnan(vector)):
        raise ParameterError(
            f"values holds {n_nan} NaN among {vector.size}; expected numbers: leave them out, or "
            "use aggregate, which does so and counts them"
        )
    return vector


def _check_spread(spread: str) -> None:
    if spread not in get_args(Spread):
        raise ParameterError(f"spread is {spread!r}; expected one of {', '.join(get_args(Spread))}")


def _check_bootstrap(rng: np.random.Generator | None, n_resamples: int) -> None:
    if not isinstance(rng, np.random.Generator):
        raise ParameterError(
            f"rng is {rng!r}; a bootstrap needs a random generator: np.random.default_rng(seed)"
        )
    if n_resamples < 100:
        raise ParameterError(f"n_resamples is {n_resamples}; expected at least 100, better 2000")
