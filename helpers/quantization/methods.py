"""Every way to choose samples, by name and with one signature.

``rank`` gives an order of choice (annotate the first one first), ``select`` a coreset of a given
share. Dataset quantization stands beside the baselines it has to beat.
"""

from collections.abc import Callable

import numpy as np

from helpers.errors import ParameterError
from helpers.quantization.baselines import (
    facility_location,
    herding,
    k_center,
    random_order,
    stratified,
)
from helpers.quantization.checks import (
    check_count,
    check_features,
    check_name,
    check_rate,
    check_scores,
)
from helpers.quantization.dq import (
    TRUST,
    Gain,
    Rounding,
    Sampling,
    bin_sizes,
    counts_of,
    draw,
    quantize,
    sample_bins,
)

Order = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]

BASELINES: dict[str, Order] = {
    "random": random_order,
    "stratified": stratified,
    "k_center": k_center,
    "herding": herding,
    "facility_location": facility_location,
}
# The printed method, the released script, and the method both come from.
DQ_VARIANTS: dict[str, tuple[Gain, Sampling]] = {
    "dq_paper_eq": ("paper_eq", "uniform"),
    "dq_official_code": ("official_code", "prefix"),
    "dq_graphcut": ("graphcut", "uniform"),
}
METHODS = (*BASELINES, *DQ_VARIANTS)
DETERMINISTIC = ("k_center", "herding", "facility_location", "dq_official_code")
WITH_SCORES = tuple(name for name, (_, how) in DQ_VARIANTS.items() if how == "uniform")


def rank(
    features: np.ndarray,
    count: int,
    rng: np.random.Generator,
    method: str,
    n_bins: int = 10,
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """``count`` samples in the order of choice, int64: the first is the first to annotate.

    Dataset quantization goes round robin over its bins, so that every beginning of the order takes
    from the bins alike. Within a bin the order is random (sampling ``uniform``, weighted by
    ``scores`` where given) or that of picking (``prefix``).

    Args:
        features: (N, d), finite.
        count: 1..N.
        rng: unused by the methods in ``DETERMINISTIC``.
        method: one of ``METHODS``.
        n_bins: of dataset quantization; N bins if there are fewer samples than that.
        scores: (N,), not negative, for instance a model's uncertainty; half of the draw within
            a bin then follows them (:func:`helpers.quantization.dq.sample_bins`). Only for the
            methods in ``WITH_SCORES``.

    Raises:
        ParameterError: unknown method, wrong shapes, NaN or infinity, count outside 1..N, scores
            for a method that has no use for them.
    """
    _check(method, scores)
    points = check_features(features)
    count = check_count(count, len(points))
    if method in BASELINES:
        return BASELINES[method](points, count, rng)
    gain, sampling = DQ_VARIANTS[method]
    bins = quantize(points, min(n_bins, len(points)), gain)
    parts = bins.split()
    if sampling == "uniform":
        weights = np.zeros(len(points)) if scores is None else check_scores(scores, len(points))
        parts = [draw(part, len(part), weights[part], TRUST, rng) for part in parts]
    return _round_robin(parts)[:count]


def select(
    features: np.ndarray,
    rate: float,
    rng: np.random.Generator,
    method: str = "dq_paper_eq",
    n_bins: int = 10,
    rounding: Rounding = "exact",
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """Coreset: a share of all samples, as ascending indices, int64.

    Args:
        features, rng, method, n_bins, scores: as in :func:`rank`.
        rate: share of all samples, above 0 and at most 1.
        rounding: ``"exact"`` gives max(1, round(rate * N)) samples; ``"published"`` as many as the
            released script, max(1, floor(rate * size)) per bin. The baselines then choose as many
            as dataset quantization does, so that a comparison stays one at equal numbers.

    Raises:
        ParameterError: as :func:`rank`; rate outside (0, 1]; unknown rounding.
    """
    _check(method, scores)
    check_rate(rate)
    points = check_features(features)
    n_bins = min(n_bins, len(points))
    if method in BASELINES:
        count = int(counts_of(bin_sizes(len(points), n_bins), rate, rounding).sum())
        return np.sort(BASELINES[method](points, count, rng))
    gain, sampling = DQ_VARIANTS[method]
    bins = quantize(points, n_bins, gain)
    return sample_bins(bins, rate, rng, sampling, rounding, scores)


def _check(method: str, scores: np.ndarray | None) -> None:
    check_name("method", method, METHODS)
    if scores is not None and method not in WITH_SCORES:
        raise ParameterError(
            f"scores with method={method!r}: expected none; only {' and '.join(WITH_SCORES)} "
            "draw by scores"
        )


def _round_robin(parts: list[np.ndarray]) -> np.ndarray:
    """First members of all parts, then the second ones, until all are used up."""
    turns = np.concatenate([np.arange(len(part)) for part in parts])
    return np.concatenate(parts)[np.argsort(turns, kind="stable")].astype(np.int64)
