"""What every selection asks of its input; all else is a ParameterError, in the same words."""

from difflib import get_close_matches

import numpy as np

from helpers.errors import ParameterError


def check_features(features: np.ndarray) -> np.ndarray:
    """``features`` as an array (N, d) of finite numbers, not copied if it is one already.

    float32 and float64 (memory-mapped or not) stay as they are; everything else becomes float64.
    """
    points = np.asarray(features)
    if points.ndim != 2 or 0 in points.shape:
        raise ParameterError(f"features of shape {points.shape}: expected (samples, dimensions)")
    if points.dtype not in (np.float32, np.float64):
        try:
            points = points.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"features of type {points.dtype}: expected numbers") from error
    for start in range(0, len(points), 4096):
        good = np.isfinite(points[start : start + 4096]).all(axis=1)
        if not good.all():
            row = start + int(np.argmin(good))
            raise ParameterError(
                f"features: row {row} holds NaN or infinity; expected finite numbers"
            )
    return points


def check_count(count: int, n_samples: int) -> int:
    """``count`` as an int: a whole number from 1 to ``n_samples``."""
    if int(count) != count or not 1 <= count <= n_samples:
        raise ParameterError(
            f"count={count}: expected a whole number from 1 to {n_samples}, the number of samples"
        )
    return int(count)


def check_rate(rate: float) -> float:
    """``rate`` itself: above 0 and at most 1."""
    if not 0 < rate <= 1:
        raise ParameterError(f"rate={rate}: expected a share above 0 and at most 1")
    return rate


def check_scores(scores: np.ndarray, count: int) -> np.ndarray:
    """``scores`` as float64 (count,), finite and not negative."""
    weights = np.asarray(scores, dtype=np.float64)
    if weights.shape != (count,):
        raise ParameterError(f"scores of shape {weights.shape}: expected ({count},)")
    good = np.isfinite(weights) & (weights >= 0)
    if not good.all():
        row = int(np.argmin(good))
        raise ParameterError(
            f"scores: number {row} is {weights[row]}; expected finite numbers, 0 or above"
        )
    return weights


def check_name(parameter: str, name: str, known: tuple[str, ...]) -> str:
    """``name`` itself: one of ``known``; near names are suggested."""
    if name in known:
        return name
    asked = str(name).lower().replace("-", "_").replace(" ", "_")
    near = get_close_matches(asked, known, n=2, cutoff=0.5)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    raise ParameterError(f"{parameter}={name!r}: {meant}expected one of {', '.join(known)}")
