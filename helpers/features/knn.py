"""Do features carry information? Nearest neighbours tell without training anything."""

from collections.abc import Sequence

import numpy as np

from helpers.errors import ParameterError

CHUNK = 2048


def knn_accuracy(features: np.ndarray, labels: Sequence, groups: Sequence, k: int = 5) -> float:
    """Balanced accuracy of k-nearest-neighbour prediction, no neighbour from one's own group.

    Patches of one image overlap, so a neighbour from the same image would be the patch itself,
    moved. Every sample is predicted from the k nearest (Euclidean) samples of all other groups, by
    majority; of equally frequent labels, the one whose nearest sample is nearest. The accuracy is
    the mean over the classes of the share predicted rightly, so that guessing gives
    :func:`chance_level` however unequal the classes are.

    Args:
        features: (n, d), finite.
        labels: n class names or numbers, at least two different ones.
        groups: n group names (source image, patient); every class must occur in two groups.
        k: neighbours, at least 1.

    Raises:
        ParameterError: a class in one group only, k too large.
    """
    features = np.ascontiguousarray(features, dtype=np.float64)
    names, classes = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    _, group = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    alone = [str(names[c]) for c in range(len(names)) if len(set(group[classes == c])) < 2]
    if alone:
        raise ParameterError(
            f"labels {', '.join(alone)}: in one group only, so no neighbour of another group can "
            "be right. Leave such classes out."
        )
    fewest = len(group) - np.bincount(group).max()
    if not 1 <= k <= fewest:
        raise ParameterError(f"k={k}: expected 1 to {fewest}, the samples outside one's own group")
    centred = features - features.mean(axis=0)
    right = np.empty(len(features), bool)
    for start in range(0, len(features), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(features)))
        nearest = _nearest_elsewhere(centred, rows, group, k)
        right[rows] = _majority(classes[nearest], len(names)) == classes[rows]
    return float(np.mean([right[classes == c].mean() for c in range(len(names))]))


def chance_level(labels: Sequence) -> float:
    """Balanced accuracy of guessing: one over the number of classes."""
    return 1 / len(set(labels))


def _nearest_elsewhere(
    centred: np.ndarray, rows: np.ndarray, group: np.ndarray, k: int
) -> np.ndarray:
    """int64 (rows, k): nearest samples of other groups, nearest first, ties by index."""
    from sklearn.metrics import pairwise_distances

    distance = pairwise_distances(centred[rows], centred, metric="sqeuclidean")
    distance[group[rows][:, None] == group[None, :]] = np.inf
    return np.argsort(distance, axis=1, kind="stable")[:, :k]


def _majority(votes: np.ndarray, n_classes: int) -> np.ndarray:
    """Most frequent class of each row; ties go to the class that comes first in the row."""
    counts = (votes[:, :, None] == np.arange(n_classes)).sum(axis=1)
    best = counts.max(axis=1, keepdims=True)
    among_best = np.take_along_axis(counts, votes, axis=1) == best
    first = among_best.argmax(axis=1)
    return votes[np.arange(len(votes)), first]
