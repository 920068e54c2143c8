"""H-score: how much of the spread of the features lies between the classes."""

import numpy as np

from helpers.transferability.estimators.checks import check_labelled
from helpers.transferability.estimators.svd import centred, thin_svd


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """tr(cov(f)^+ cov(E[f | y])), with the pseudo-inverse.

    Bao, Li, Huang, Zhang, Zheng, Zamir and Guibas, "An Information-Theoretic Approach to
    Transferability in Task Transfer Learning", ICIP 2019, arXiv 2212.10082, definition of the
    H-score. It is computed without forming a covariance: with the centred features U S V^T it is
    the sum over all columns u of U of the squared norm of the class means of u, repeated for every
    sample. Hence no invertible linear map of the features changes it, and it lies between 0 and
    K - 1 for K classes.

    Its weakness, and the reason for `regularised_h_score`: if the features have rank n - 1 (as a
    rule when d >= n - 1), it is K - 1 whatever they are.

    Args:
        features: (n, d), finite, float32 or float64.
        labels: (n,), integers, two classes or more.

    Returns:
        0..K-1; higher = more transferable. Constant features give 0; a class of one sample counts
        like any other, and n classes of one sample each give the rank of the centred features.

    Raises:
        ParameterError: NaN or infinity, one class.
    """
    points, classes = check_labelled(features, labels)
    basis, _ = thin_svd(centred(points))
    return float(_between(basis, classes).sum())


def regularised_h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """tr(cov_a(f)^-1 (1 - a) cov(E[f | y])), with the shrinkage a of Ledoit and Wolf.

    Ibrahim, Ponomareva and Mazumder, "Newer is not always better: Rethinking transferability
    metrics, their peculiarities, stability and performance", arXiv 2110.06893 (shrinkage-based
    H-score). cov_a(f) = (1 - a) cov(f) + a (tr cov(f) / d) I with ``a`` from scikit-learn
    (Ledoit & Wolf 2004); the factor 1 - a on the covariance of the class means is the paper's: it
    shrinks both covariances alike. Both divide by n; common public code divides the second by
    n - 1, which makes its values larger by n / (n - 1).

    Args:
        features: (n, d), finite, float32 or float64.
        labels: (n,), integers, two classes or more.

    Returns:
        0..K-1 for K classes, never above `h_score`; higher = more transferable. Constant features
        give 0, as does full shrinkage (a = 1). Rotation and scale of the features do not matter.

    Raises:
        ParameterError: NaN or infinity, one class.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    points, classes = check_labelled(features, labels)
    points = centred(points)
    basis, singular = thin_svd(points)
    if not singular.size:
        return 0.0
    shrinkage = float(ledoit_wolf_shrinkage(points))
    variances = singular**2 / len(points)
    kept = (1 - shrinkage) * variances
    weights = kept / (kept + shrinkage * variances.sum() / points.shape[1])
    return float(weights @ _between(basis, classes))


def _between(basis: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """For every column of ``basis``, (n, r), its squared norm after averaging within classes."""
    total = np.zeros(basis.shape[1])
    for k in range(classes.max() + 1):
        rows = basis[classes == k]
        total += rows.sum(axis=0) ** 2 / len(rows)
    return total
