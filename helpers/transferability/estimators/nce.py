"""NCE: how well the labels of the source task tell those of the target task."""

import numpy as np

from helpers.transferability.estimators.checks import check_classes


def nce(source_labels: np.ndarray, labels: np.ndarray) -> float:
    """Negative conditional entropy -H(Y | Z) of target labels Y given source labels Z.

    Tran, Nguyen and Hassner, "Transferability and Hardness of Supervised Classification Tasks",
    ICCV 2019, arXiv 1908.08142: the mean over samples of log P(y_i | z_i), with P the relative
    frequencies of the pairs.

    Args:
        source_labels: (n,), integers: the source model's class of every sample (for segmentation,
            of every pixel drawn).
        labels: (n,), integers, two classes or more.

    Returns:
        Nats, -log K..0 for K target classes; higher = more transferable. A single source label
        gives -H(Y), the least that these target labels allow; n source labels, each used once,
        give 0, which says nothing about the task: there must be many more samples than labels.

    Raises:
        ParameterError: target labels of one class.
    """
    classes = check_classes(labels)
    names, sources = np.unique(source_labels, return_inverse=True)
    counts = np.zeros((classes.max() + 1, len(names)))
    np.add.at(counts, (classes, sources), 1)
    given = counts / counts.sum(axis=0)
    seen = counts > 0
    # "+ 0.0" so that a perfect score is not printed as -0.0.
    return float((counts[seen] @ np.log(given[seen])) / len(classes) + 0.0)
