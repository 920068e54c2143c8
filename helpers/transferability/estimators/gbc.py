"""GBC: how little the classes overlap in the space of the features."""

import numpy as np

from helpers.transferability.estimators.checks import check_labelled

VARIANCE_FLOOR = 1e-4


def gbc(features: np.ndarray, labels: np.ndarray) -> float:
    """Minus the sum over ordered pairs of classes i != j of exp(-D_B(i, j)).

    Pandy, Agostinelli, Uijlings, Ferrari and Mensink, "Transferability Estimation using
    Bhattacharyya Class Separability", CVPR 2022, arXiv 2111.12780. Every class is a Gaussian with
    its mean and variance (division by the number of samples), and the Bhattacharyya distance is
    D_B = (m_i - m_j)^T S^-1 (m_i - m_j) / 8 + log(det S / sqrt(det S_i det S_j)) / 2 with
    S = (S_i + S_j) / 2, covariances being diagonal. Variances below 1e-4 count as 1e-4, as in code
    that the authors released (google-research, stable_transfer). It is absolute, so that the score
    depends on the scale of features that vary by less than about its root.

    Deviation: nothing reduces the dimensions beforehand; apply a PCA first if that is wanted.

    Args:
        features: (n, d), finite, float32 or float64.
        labels: (n,), integers, two classes or more.

    Returns:
        -K(K-1)..0 for K classes; higher = more transferable. Constant features give -K(K-1), the
        least. A class of one sample is a Gaussian of variance 1e-4 around it.

    Raises:
        ParameterError: NaN or infinity, one class.
    """
    points, classes = check_labelled(features, labels)
    members = [points[classes == k] for k in range(classes.max() + 1)]
    means = np.stack([rows.mean(axis=0) for rows in members])
    variances = np.maximum(np.stack([rows.var(axis=0) for rows in members]), VARIANCE_FLOOR)
    overlap = sum(
        np.exp(-_distances(means[k], variances[k], means[k + 1 :], variances[k + 1 :])).sum()
        for k in range(len(members) - 1)
    )
    return float(-2 * overlap)


def _distances(
    mean: np.ndarray, variance: np.ndarray, means: np.ndarray, variances: np.ndarray
) -> np.ndarray:
    """Bhattacharyya distances (m,) of one Gaussian, (d,), to others, (m, d), axes aligned."""
    pooled = (variance + variances) / 2
    apart = ((mean - means) ** 2 / pooled).sum(axis=1) / 8
    spread = np.log(pooled) - (np.log(variance) + np.log(variances)) / 2
    return apart + spread.sum(axis=1) / 2
