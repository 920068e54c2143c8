"""The baseline every selection has to beat: uniform random sampling."""

import numpy as np

from helpers.errors import ParameterError


def select_random(n_samples: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """max(1, round(rate * n)) of n samples without replacement, int64 and ascending."""
    if not 0 < rate <= 1:
        raise ParameterError(f"rate={rate}: expected a share above 0 and at most 1")
    count = max(1, round(rate * n_samples))
    return np.sort(rng.choice(n_samples, count, replace=False)).astype(np.int64)
