"""LogME: how well a Bayesian linear model on the features explains the labels.

You, Liu, Wang and Long, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning",
ICML 2021, arXiv 2102.11005.
"""

from dataclasses import dataclass

import numpy as np

from helpers.transferability.estimators.checks import check_labelled
from helpers.transferability.estimators.svd import thin_svd

# Squared part of the labels that the features leave over: less than this share counts as this.
SMALLEST_RESIDUAL = 1e-12
# Where the fixed point may start: alpha / beta in units of the mean squared singular value.
STARTS = np.logspace(-16, 8, 97)
TOLERANCE = 1e-12
MAX_ITERATIONS = 1000


def logme(features: np.ndarray, labels: np.ndarray) -> float:
    """Maximum log evidence per sample of one class against the rest, mean over classes.

    With weights w ~ N(0, alpha^-1 I) and labels y = F w + e, e ~ N(0, beta^-1 I), y in {0, 1}, the
    evidence is p(y | F, alpha, beta) = N(y; 0, beta^-1 I + alpha^-1 F F^T) (section 4 of the
    paper); alpha and beta are those that maximise it. From one singular value decomposition of F,
    every class repeats gamma = sum_k s_k^2 / (s_k^2 + alpha / beta), alpha = gamma / |m|^2,
    beta = (n - gamma) / |F m - y|^2 with the posterior mean m. As in the paper there is no
    intercept and no centring.

    Deviations: the iteration starts at the best of 97 ratios alpha / beta instead of at 1, so that
    the scale of the features does not matter and a lesser maximum is hardly mistaken for the best;
    it ends when the evidence per sample changes by less than 1e-12, or after 1,000 steps, and the
    best evidence met counts. Only classes that occur are averaged.

    Args:
        features: (n, d), finite, float32 or float64; n may be below or above d.
        labels: (n,), integers, two classes or more.

    Returns:
        Natural logarithm per sample; higher = more transferable. It is a density: any sign. Where
        the features give the labels exactly and the evidence has no bound, the residual counts as
        a millionth of the labels' norm, so that the result stays finite. Features that are all
        zero, and classes of one sample, have a defined evidence like any others.

    Raises:
        ParameterError: NaN or infinity, one class.
    """
    points, classes = check_labelled(features, labels)
    basis, singular = thin_svd(points)
    return float(
        np.mean(
            [
                _max_evidence(_project(basis, singular, (classes == k).astype(np.float64)))
                for k in range(classes.max() + 1)
            ]
        )
    )


@dataclass(frozen=True, eq=False)
class _Problem:
    """One class against the rest, in the basis of the left singular vectors.

    Attributes:
        squares: squared singular values s_k^2 (r,).
        energy: squared coordinates of the labels, (u_k^T y)^2 (r,).
        residual: squared norm of what the basis leaves of the labels.
        n: number of samples.
    """

    squares: np.ndarray
    energy: np.ndarray
    residual: float
    n: int


def _project(basis: np.ndarray, singular: np.ndarray, target: np.ndarray) -> _Problem:
    coordinates = basis.T @ target
    n, rank = basis.shape
    residual = 0.0
    if rank < n:
        rest = target - basis @ coordinates
        residual = max(float(rest @ rest), SMALLEST_RESIDUAL * float(target @ target))
    return _Problem(singular**2, coordinates**2, residual, n)


def _max_evidence(problem: _Problem) -> float:
    # The limit alpha -> infinity: features that are of no use at all.
    noise = (problem.energy.sum() + problem.residual) / problem.n
    best = -0.5 * (np.log(2 * np.pi * noise) + 1)
    if not problem.squares.size:
        return best
    starts = STARTS * problem.squares.mean()
    evidences = _evidence(starts, problem)
    ratio, last = starts[evidences.argmax()], evidences.max()
    best = max(best, last)
    for _ in range(MAX_ITERATIONS):
        ratio = _step(ratio, problem)
        if not 0 < ratio < np.inf:
            break
        evidence = _evidence(np.array([ratio]), problem)[0]
        best = max(best, evidence)
        if abs(evidence - last) < TOLERANCE:
            break
        last = evidence
    return float(best)


def _evidence(ratios: np.ndarray, problem: _Problem) -> np.ndarray:
    """Log evidence per sample for each alpha / beta, with the best beta for it."""
    kept = ratios[:, None] / (problem.squares + ratios[:, None])
    noise = (kept @ problem.energy + problem.residual) / problem.n
    return -0.5 * (np.log(2 * np.pi * noise) + 1 - np.log(kept).sum(axis=1) / problem.n)


def _step(ratio: float, problem: _Problem) -> float:
    """alpha / beta after one update of both; infinity if the labels have no part in the basis."""
    squares, energy = problem.squares, problem.energy
    kept = ratio / (squares + ratio)
    gamma = (1 - kept).sum()
    mean_square = (energy * squares / (squares + ratio) ** 2).sum()
    if not mean_square > 0:
        return np.inf
    error_square = (energy * kept**2).sum() + problem.residual
    # n - gamma without the cancellation.
    free = problem.n - squares.size + kept.sum()
    return float(gamma / mean_square * error_square / free)
