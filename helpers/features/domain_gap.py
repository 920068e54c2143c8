"""How far apart are two sets of features? Two numbers for the gap between two domains.

A linear classifier asks how well the sets can be told apart along one direction; it saturates at 1.
The maximum mean discrepancy compares the whole distributions, grows where the classifier has
nothing left to gain, and depends on a bandwidth. Neither knows of labels, so that a gap they see
may or may not matter to a task. Both need rows: a gap in a single one of many features drowns where
there are fewer rows than features, however large it is.

Patches of one image are alike. Give the classifier the source images as groups, else it recognises
images and not domains.
"""

from collections.abc import Sequence

import numpy as np

from helpers.errors import ParameterError

# C of the logistic regression, for standardised features divided by the root of their number: all
# rows then have a length of about 1, and the penalty means the same for any width. From 100 on, a
# gap in a direction of small variance is found among correlated features (at 1 it often is not);
# where features are independent, less would do a little better.
_STRENGTH = 100.0
# Of the mean squared distance; squared distances below are rounding.
_NOTHING = 1e-12


def domain_classifier(
    first: np.ndarray,
    second: np.ndarray,
    groups_first: Sequence | None = None,
    groups_second: Sequence | None = None,
    *,
    folds: int = 5,
    seed: int,
) -> float:
    """Balanced accuracy of a linear classifier that tells which set a row is from.

    Logistic regression with an L2 penalty on standardised features, the sets weighted alike. Every
    row is predicted once, by a classifier (and a standardisation) of the other folds; the accuracy
    is the mean of the shares predicted rightly of either set, over all rows together. The penalty
    makes the solution unique with more features than rows, too. Features that do not vary are not
    used.

    Args:
        first, second: (n, d) and (m, d), finite.
        groups_first, groups_second: n and m names (source image, patient). Rows of one name stay in
            one fold, also if it occurs in both sets; ``None``: each row is a group of its own.
        folds: of the cross-validation, at least 2; each set needs as many groups.
        seed: of the distribution of groups over folds. The order of the rows does not matter.

    Returns:
        0..1: 0.5 if the sets cannot be told apart (below only by chance), 1 if they can.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    one, names_one = _in_order("first", np.asarray(first, np.float64), groups_first)
    two, names_two = _in_order("second", np.asarray(second, np.float64), groups_second)
    rows = np.concatenate([one, two])
    rows = rows[:, (rows != rows[0]).any(axis=0)]
    which = np.repeat([0, 1], [len(one), len(two)])
    model = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=_STRENGTH / rows.shape[1], class_weight="balanced", max_iter=1000),
    )
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    groups = _numbered([*names_one, *names_two])
    right = cross_val_predict(model, rows, which, groups=groups, cv=splits) == which
    return float((right[which == 0].mean() + right[which == 1].mean()) / 2)


def mmd(first: np.ndarray, second: np.ndarray, *, bandwidth: float | None = None) -> float:
    """Unbiased squared maximum mean discrepancy (Gretton et al., JMLR 13, 2012, eq. 3).

    The kernel is k(x, y) = exp(-||x - y||^2 / (2 bandwidth^2)). Needs a few matrices of
    (n + m)^2 float64.

    Args:
        first, second: (n, d) and (m, d), finite, at least 2 rows each.
        bandwidth: above 0; ``None`` for :func:`median_bandwidth` of both sets, with which the value
            does not change if both are moved, rotated or scaled together. Values are on one scale
            only if their bandwidth is the same: to follow a pair of sets through the stages of a
            training, fix it, and give features a common length first.

    Returns:
        At most 2; 0 on average if both are draws of one distribution, and so often negative.

    Raises:
        ParameterError: see :func:`median_bandwidth`.
    """
    kernel = _kernel(np.concatenate([first, second]).astype(np.float64), bandwidth)
    return _discrepancy(kernel, np.arange(len(kernel)) < len(first))


def median_bandwidth(*samples: np.ndarray) -> float:
    """Median heuristic: the median Euclidean distance between rows of the pooled sample.

    Over all N (N - 1) / 2 pairs of its N rows, within sets and between them; of an even number of
    distances the mean of the two in the middle.

    Args:
        samples: one or more, (n_i, d), finite, at least 2 rows together.

    Raises:
        ParameterError: at least half of the pairs are of equal rows.
    """
    return _median_distance(_squared_distances(np.concatenate(samples).astype(np.float64)))


def _kernel(rows: np.ndarray, bandwidth: float | None) -> np.ndarray:
    """Gaussian kernel between all rows, (N, N), 0 on the diagonal."""
    squared = _squared_distances(rows)
    width = _median_distance(squared) if bandwidth is None else bandwidth
    kernel = np.exp(-squared / (2 * width**2))
    np.fill_diagonal(kernel, 0)
    return kernel


def _discrepancy(kernel: np.ndarray, inside: np.ndarray) -> float:
    """Eq. 3 from a kernel without diagonal; ``inside`` tells the rows of the first set."""
    m, n = np.count_nonzero(inside), np.count_nonzero(~inside)
    to_first = kernel @ inside
    to_second = kernel @ ~inside
    within = to_first[inside].sum() / (m * (m - 1)) + to_second[~inside].sum() / (n * (n - 1))
    return float(within - 2 * to_first[~inside].sum() / (m * n))


def _squared_distances(rows: np.ndarray) -> np.ndarray:
    from sklearn.metrics import pairwise_distances

    # Distances come from scalar products, which lose digits far from the origin.
    return pairwise_distances(rows - rows.mean(axis=0), metric="sqeuclidean")


def _median_distance(squared: np.ndarray) -> float:
    pairs = squared[np.triu_indices(len(squared), 1)]
    median = float(np.median(np.sqrt(pairs)))
    if median**2 <= _NOTHING * pairs.mean():
        raise ParameterError(
            "bandwidth=None: at least half of the pairs are of equal rows, so that the median "
            "distance is 0. Leave doubles out, or give a bandwidth."
        )
    return median


def _in_order(
    name: str, rows: np.ndarray, groups: Sequence | None
) -> tuple[np.ndarray, list[tuple]]:
    """Rows in an order that depends on what they are alone, and the group of each."""
    names = [""] * len(rows) if groups is None else [str(group) for group in groups]
    order = sorted(range(len(rows)), key=lambda i: (names[i], rows[i].tobytes()))
    keys: list[tuple] = [("named", names[i]) for i in order]
    if groups is None:
        keys = [("alone", name, place) for place in range(len(rows))]
    return rows[order], keys


def _numbered(keys: list[tuple]) -> np.ndarray:
    """int64 (rows,), numbers of groups from 0 on."""
    number = {key: place for place, key in enumerate(sorted(set(keys)))}
    return np.array([number[key] for key in keys])
