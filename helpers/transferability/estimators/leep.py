"""LEEP: how well the source model's class probabilities tell the target labels."""

import numpy as np

from helpers.transferability.estimators.checks import check_labelled


def leep(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Log expected empirical prediction: mean over i of log sum_z P(y_i | z) theta(x_i)_z.

    Nguyen, Hassner, Seeger and Archambeau, "LEEP: A New Measure to Evaluate Transferability of
    Learned Representations", ICML 2020, arXiv 2002.12462: P(y, z) is the sum of theta(x_i)_z
    over the samples with y_i = y, divided by n, and P(y | z) = P(y, z) / P(z).
    A source class without any probability has no part in the sum. With probabilities 0 and 1 it
    equals `nce`.

    Args:
        probabilities: (n, z), what the source model's head gives for every sample (for
            segmentation, every pixel drawn): softmax, not logits. Rows that miss a sum of one by
            rounding are scaled to it.
        labels: (n,), integers, two classes or more.

    Returns:
        Nats, at most 0; higher = more transferable.

    Raises:
        ParameterError: NaN or infinity, one class.
    """
    theta, classes = check_labelled(probabilities, labels)
    theta = theta / theta.sum(axis=1, keepdims=True)
    joint = np.stack([theta[classes == k].sum(axis=0) for k in range(classes.max() + 1)])
    marginal = joint.sum(axis=0)
    used = marginal > 0
    conditional = joint[:, used] / marginal[used]
    expected = np.einsum("iz,iz->i", conditional[classes], theta[:, used])
    # Rounding may leave a perfect prediction a hair above one.
    return float(min(np.log(expected).mean(), 0.0))
