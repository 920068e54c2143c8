"""The baseline every selection has to beat: uniform random sampling."""

import numpy as np

from helpers.quantization.checks import check_count, check_features


def random_order(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` samples without replacement, each ordered choice equally likely.

    Args:
        features: (N, d), finite; only N is used.
        count: 1..N.
        rng: draws.

    Returns:
        int64 (count,), distinct sample indices in the order of choice.

    Raises:
        ParameterError: wrong shape, NaN or infinity, count outside 1..N.
    """
    n_samples = len(check_features(features))
    return rng.permutation(n_samples)[: check_count(count, n_samples)].astype(np.int64)
