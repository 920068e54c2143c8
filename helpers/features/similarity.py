"""Do two networks see the same images alike? Similarity of two sets of features, against chance.

arXiv 2307.03275 reads from maps (its Fig. 4) that the features of differently initialised networks
are "topologically similar" and may be "related via a rigid transformation". A map cannot show that;
these measures can. All compare row by row the features x, (n, d1), and y, (n, d2), of the same n
samples, and none changes if either is moved, rotated, mirrored or scaled as a whole:

============= ==================================================== ========= =======
measure       asks                                                 identical chance
============= ==================================================== ========= =======
linear CKA    are the same samples alike, weighted by variance?    1         above 0
debiased CKA  the same without the bias of few samples             1         0
Procrustes    what is left after the best rotation?                0         below 1
neighbourhood do samples have the same neighbours?                 1         above 0
============= ==================================================== ========= =======

What chance gives depends on samples and dimensions, and with more dimensions than samples it comes
close to identity: of independent features, 300 samples of 2,048 dimensions, linear CKA is 0.87 and
the Procrustes disparity below 0.1. So `compare_representations` puts beside each value what it is
after the samples of y were shuffled. A rigid transformation shows as 1, 1, 0 and 1.

Patches that overlap, or come from one image, are alike in any features: above chance, yes, but no
sign that two networks learnt the same. Take one patch per image where there are enough.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np

from helpers.errors import ParameterError

NeighbourMetric = Literal["cosine", "euclidean"]

NEIGHBOURS = 25
# Relative; what is smaller is rounding.
_NOTHING = 1e-12


@dataclass(frozen=True)
class Similarity:
    """A measure of two sets of features and what it gives by chance.

    Attributes:
        value: the measure.
        identical: what it gives for equal features, 1 or 0.
        chance: its mean after the samples of the second set were shuffled.
        low, high: interval that holds the share ``level`` of the shuffled values.
        p: share of shuffles at least as close to ``identical`` as ``value``, the unshuffled order
            counted among them (Phipson & Smyth 2010): at least 1 / (n_shuffles + 1).
        level: as above.
        n_shuffles: number of shuffles.
    """

    value: float
    identical: float
    chance: float
    low: float
    high: float
    p: float
    level: float
    n_shuffles: int

    @property
    def above_chance(self) -> float:
        """Way from chance (0) to identity (1); below 0 if worse, NaN if chance is identity."""
        whole = self.identical - self.chance
        return (self.value - self.chance) / whole if abs(whole) > _NOTHING else float("nan")


def compare_representations(
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
    *,
    k: int = NEIGHBOURS,
    n_shuffles: int = 100,
    level: float = 0.95,
) -> dict[str, Similarity]:
    """All measures of this module with their values by chance, from the same shuffles.

    Needs a few n x n matrices: meant for some hundred to a few thousand samples. The Procrustes
    disparity takes most of the time, a singular value decomposition per shuffle.

    Args:
        x, y: (n, d1) and (n, d2), finite, row i of both from sample i; n at least 4.
        rng: shuffles the rows of y.
        k: neighbours, as for `neighbourhood_overlap`.
        n_shuffles: at least 20; 100 or more if ``p`` or the interval matters.
        level: share of the shuffled values between ``low`` and ``high``.

    Returns:
        ``"cka"``, ``"debiased_cka"``, ``"procrustes"`` and ``"neighbours"``.

    Raises:
        ParameterError: as the measures; ``rng``, ``n_shuffles`` or ``level`` out of range.
    """
    _check_shuffles(rng, n_shuffles, level)
    first, second = _prepared(x, y)
    orders = [rng.permutation(len(first)) for _ in range(n_shuffles)]
    squares: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "cka": _gram,
        "debiased_cka": _u_centred_gram,
        "neighbours": partial(_neighbours, k=k, metric="cosine"),
    }
    found = {}
    for name, square in squares.items():
        one, other = square(first), square(second)
        shuffled = [np.vdot(one, other[np.ix_(order, order)]) for order in orders]
        found[name] = _against_chance(np.vdot(one, other), 1.0, shuffled, level)
    one, other = _compact(first), _compact(second)
    shuffled = [_disparity(one, other[order]) for order in orders]
    found["procrustes"] = _against_chance(_disparity(one, other), 0.0, shuffled, level)
    return {name: found[name] for name in ("cka", "debiased_cka", "procrustes", "neighbours")}


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414).

    ||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F) with centred columns if n exceeds both widths, else the same
    number from the Gram matrices, tr(K L) / (||K||_F ||L||_F), K = XX', L = YY'.

    **Biased upwards where there are few samples for the dimensions**: independent Gaussian features
    give about sqrt(d1 d2 / ((d1 + n) (d2 + n))), 0.87 for 300 samples of 2,048 dimensions, because
    in so many dimensions all samples are nearly orthogonal, in both sets. Read `debiased_cka`
    there. It weighs directions by their variance, so that a few of large variance decide it.

    Args:
        x, y: (n, d1) and (n, d2), finite, row i of both from sample i; n at least 2.

    Returns:
        0..1, 1 if the features differ by rotation, reflection, translation and isotropic scale.

    Raises:
        ParameterError: different n, wrong shapes, NaN or infinity, or rows that are all equal.
    """
    first, second = _prepared(x, y)
    if len(first) > max(first.shape[1], second.shape[1]):
        return _cka_of_features(first, second)
    return float(np.vdot(_gram(first), _gram(second)))


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear CKA from the unbiased estimator of HSIC (Song et al. 2012; Nguyen et al. 2021).

    CKA with HSIC_1 of Song et al. (JMLR 13) in place of the biased HSIC, written as the
    cosine between U-centred Gram matrices (Székely & Rizzo 2014), which is the same. Each HSIC_1 is
    unbiased, their quotient nearly: independent features give about 0 whatever n and d are.

    Args:
        x, y: as for `linear_cka`; n at least 4.

    Returns:
        -1..1; negative values mean nothing beyond chance.

    Raises:
        ParameterError: as for `linear_cka`; n below 4; samples that all are equally far apart.
    """
    first, second = _prepared(x, y)
    return float(np.vdot(_u_centred_gram(first), _u_centred_gram(second)))


def procrustes_disparity(x: np.ndarray, y: np.ndarray) -> float:
    """What is left after the best rotation, reflection and scaling of y onto x.

    Both are centred and scaled to a Frobenius norm of 1; then the disparity is 1 - ||X'Y||_*^2 with
    the nuclear norm (sum of singular values), as `scipy.spatial.procrustes` gives it for equal
    widths. A narrower set counts as padded with columns of zeros, which leaves the nuclear norm as
    it is (Williams et al. 2021, arXiv 2110.14739). The distance of Ding et al. 2021 (arXiv
    2108.01661), which fits no scale, is 2 - 2 sqrt(1 - disparity).

    With at least as many dimensions as samples nearly anything can be rotated onto anything, and
    the disparity of independent features comes close to 0: see `compare_representations`.

    Args, Raises: as for `linear_cka`.

    Returns:
        0..1, 0 if the features differ by rotation, reflection, translation and isotropic scale.
    """
    first, second = _prepared(x, y)
    return _disparity(_compact(first), _compact(second))


def neighbourhood_overlap(
    x: np.ndarray,
    y: np.ndarray,
    k: int = NEIGHBOURS,
    metric: NeighbourMetric = "cosine",
) -> float:
    """Share of a sample's k nearest neighbours in x that are so in y too, mean over samples.

    The defaults are those of the maps of arXiv 2307.03275 (25 neighbours, cosine), except that
    features are centred first: else a translation would change the angles. Of equally near samples
    at the edge of a neighbourhood any may count. A sample at the very mean is at cosine distance 1
    from all.

    Args:
        x, y: as for `linear_cka`.
        k: 1..n - 1.
        metric: ``"cosine"`` or ``"euclidean"``.

    Returns:
        0..1; by chance k / (n - 1) on average.

    Raises:
        ParameterError: as for `linear_cka`; k out of range; unknown metric.
    """
    first, second = _prepared(x, y)
    return float(np.vdot(_neighbours(first, k, metric), _neighbours(second, k, metric)))


def _cka_of_features(first: np.ndarray, second: np.ndarray) -> float:
    between = np.linalg.norm(second.T @ first) ** 2
    return float(between / (np.linalg.norm(first.T @ first) * np.linalg.norm(second.T @ second)))


def _gram(rows: np.ndarray) -> np.ndarray:
    """Gram matrix of centred rows, (n, n), Frobenius norm 1."""
    gram = rows @ rows.T
    return gram / np.linalg.norm(gram)


def _u_centred_gram(rows: np.ndarray) -> np.ndarray:
    """U-centred Gram matrix, (n, n), zero on the diagonal, Frobenius norm 1."""
    n = len(rows)
    if n < 4:
        raise ParameterError(f"x and y have {n} samples; a debiased CKA needs at least 4")
    gram = _gram(rows)
    np.fill_diagonal(gram, 0)
    sums = gram.sum(axis=0)
    centred = gram - (sums[:, None] + sums[None, :]) / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0)
    norm = np.linalg.norm(centred)
    if norm <= _NOTHING:
        raise ParameterError(
            "x or y: all samples are equally far apart, so that there is no similarity to compare; "
            "expected features in which some samples are closer than others"
        )
    return centred / norm


def _neighbours(rows: np.ndarray, k: int, metric: NeighbourMetric) -> np.ndarray:
    """Who is a neighbour of whom, (n, n), Frobenius norm 1: 1 / sqrt(n k) where so, else 0."""
    from sklearn.neighbors import NearestNeighbors

    n = len(rows)
    if not 1 <= k < n:
        raise ParameterError(f"k={k}: expected 1 to {n - 1}, the samples besides one's own")
    if metric not in get_args(NeighbourMetric):
        raise ParameterError(
            f"metric={metric!r}: expected one of {', '.join(get_args(NeighbourMetric))}"
        )
    model = NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute").fit(rows)
    nearest = model.kneighbors(return_distance=False)
    among = np.zeros((n, n))
    among[np.arange(n)[:, None], nearest] = 1 / np.sqrt(n * k)
    return among


def _disparity(first: np.ndarray, second: np.ndarray) -> float:
    """Procrustes disparity of centred sets of norm 1."""
    nuclear = np.linalg.norm(first.T @ second, ord="nuc")
    return float(np.clip(1 - nuclear**2, 0, 1))


def _compact(rows: np.ndarray) -> np.ndarray:
    """The same rows in a basis of the space they span: (n, min(n, d)), same scalar products."""
    if rows.shape[1] <= len(rows):
        return rows
    return np.linalg.qr(rows.T, mode="r").T


def _against_chance(
    value: float, identical: float, shuffled: Sequence[float], level: float
) -> Similarity:
    as_close = np.abs(np.array(shuffled) - identical) <= abs(value - identical) + _NOTHING
    low, high = np.quantile(shuffled, ((1 - level) / 2, (1 + level) / 2))
    return Similarity(
        value=float(value),
        identical=identical,
        chance=float(np.mean(shuffled)),
        low=float(low),
        high=float(high),
        p=float((1 + np.count_nonzero(as_close)) / (1 + len(shuffled))),
        level=level,
        n_shuffles=len(shuffled),
    )


def _prepared(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (n, d), columns centred, Frobenius norm 1."""
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    for name, rows in (("x", first), ("y", second)):
        if rows.ndim != 2 or len(rows) < 2 or rows.shape[1] == 0:
            raise ParameterError(
                f"{name} of shape {rows.shape}: expected (samples, dimensions), at least 2 samples"
            )
        if not np.isfinite(rows).all():
            row = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise ParameterError(
                f"{name}: row {row} holds NaN or infinity; expected finite numbers"
            )
        if (rows == rows[0]).all():
            raise ParameterError(f"{name}: all rows are equal, so that there is nothing to compare")
    if len(first) != len(second):
        raise ParameterError(
            f"x has {len(first)} samples and y {len(second)}; expected the same samples in the "
            "same order"
        )
    return _centred(first), _centred(second)


def _centred(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(axis=0)
    return centred / np.linalg.norm(centred)


def _check_shuffles(rng: np.random.Generator, n_shuffles: int, level: float) -> None:
    if not isinstance(rng, np.random.Generator):
        raise ParameterError(
            f"rng is {rng!r}; shuffling needs a random generator: np.random.default_rng(seed)"
        )
    if n_shuffles < 20:
        raise ParameterError(f"n_shuffles={n_shuffles}: expected at least 20, better 100")
    if not 0 < level < 1:
        raise ParameterError(f"level={level}: expected a share between 0 and 1, such as 0.95")
