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

*Linear CKA*, linear centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414): tr(K L) /
(||K||_F ||L||_F) with the Gram matrices K and L of centred rows, 0..1. **Biased upwards where there
are few samples for the dimensions**: independent Gaussian features give about
sqrt(d1 d2 / ((d1 + n) (d2 + n))), because in so many dimensions all samples are nearly orthogonal,
in both sets. It weighs directions by their variance, so that a few of large variance decide it.

*Debiased CKA* has HSIC_1 of Song et al. (JMLR 13, 2012; Nguyen et al. 2021) in place of the biased
HSIC, written as the cosine between U-centred Gram matrices (Székely & Rizzo 2014), which is the
same. Each HSIC_1 is unbiased, their quotient nearly: independent features give about 0 whatever n
and d are. -1..1; negative values mean nothing beyond chance.

*Procrustes disparity*: both sets are centred and scaled to a Frobenius norm of 1; then it is
1 - ||X'Y||_*^2 with the nuclear norm (sum of singular values), 0..1, as `scipy.spatial.procrustes`
gives it for equal widths. A narrower set counts as padded with columns of zeros, which leaves the
nuclear norm as it is (Williams et al. 2021, arXiv 2110.14739). The distance of Ding et al. 2021
(arXiv 2108.01661), which fits no scale, is 2 - 2 sqrt(1 - disparity).

*Neighbourhood*: share of a sample's k nearest neighbours in x, by cosine distance as in the maps of
arXiv 2307.03275, that are so in y too, mean over samples; by chance k / (n - 1). Features are
centred first: else a translation would change the angles. Of equally near samples at the edge of a
neighbourhood any may count. A sample at the very mean is at cosine distance 1 from all.

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
from typing import Literal

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
        low, high: interval that holds 95 % of the shuffled values.
        p: share of shuffles at least as close to ``identical`` as ``value``, the unshuffled order
            counted among them (Phipson & Smyth 2010): at least 1 / (n_shuffles + 1).
        n_shuffles: number of shuffles.
    """

    value: float
    identical: float
    chance: float
    low: float
    high: float
    p: float
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
) -> dict[str, Similarity]:
    """All measures of this module with their values by chance, from the same shuffles.

    Needs a few n x n matrices: meant for some hundred to a few thousand samples. The Procrustes
    disparity takes most of the time, a singular value decomposition per shuffle.

    Args:
        x, y: (n, d1) and (n, d2), finite, row i of both from sample i; n at least 4.
        rng: shuffles the rows of y.
        k: neighbours, 1..n - 1.
        n_shuffles: 100 or more if ``p`` or the interval matters.

    Returns:
        ``"cka"``, ``"debiased_cka"``, ``"procrustes"`` and ``"neighbours"``.

    Raises:
        ParameterError: ``k`` out of range; rows that are all equal, or all equally far apart.
    """
    first, second = _centred("x", x), _centred("y", y)
    orders = [rng.permutation(len(first)) for _ in range(n_shuffles)]
    squares: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "cka": _gram,
        "debiased_cka": _u_centred_gram,
        "neighbours": partial(_neighbours, k=k),
    }
    found = {}
    for name, square in squares.items():
        one, other = square(first), square(second)
        shuffled = [np.vdot(one, other[np.ix_(order, order)]) for order in orders]
        found[name] = _against_chance(np.vdot(one, other), 1.0, shuffled)
    one, other = _compact(first), _compact(second)
    shuffled = [_disparity(one, other[order]) for order in orders]
    found["procrustes"] = _against_chance(_disparity(one, other), 0.0, shuffled)
    return {name: found[name] for name in ("cka", "debiased_cka", "procrustes", "neighbours")}


def _gram(rows: np.ndarray) -> np.ndarray:
    """Gram matrix of centred rows, (n, n), Frobenius norm 1."""
    gram = rows @ rows.T
    return gram / np.linalg.norm(gram)


def _u_centred_gram(rows: np.ndarray) -> np.ndarray:
    """U-centred Gram matrix, (n, n), zero on the diagonal, Frobenius norm 1."""
    n = len(rows)
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


def _neighbours(rows: np.ndarray, k: int) -> np.ndarray:
    """Who is a neighbour of whom, (n, n), Frobenius norm 1: 1 / sqrt(n k) where so, else 0."""
    from sklearn.neighbors import NearestNeighbors

    n = len(rows)
    if not 1 <= k < n:
        raise ParameterError(f"k={k}: expected 1 to {n - 1}, the samples besides one's own")
    model = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(rows)
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


def _against_chance(value: float, identical: float, shuffled: Sequence[float]) -> Similarity:
    as_close = np.abs(np.array(shuffled) - identical) <= abs(value - identical) + _NOTHING
    low, high = np.quantile(shuffled, (0.025, 0.975))
    return Similarity(
        value=float(value),
        identical=identical,
        chance=float(np.mean(shuffled)),
        low=float(low),
        high=float(high),
        p=float((1 + np.count_nonzero(as_close)) / (1 + len(shuffled))),
        n_shuffles=len(shuffled),
    )


def _centred(name: str, features: np.ndarray) -> np.ndarray:
    """As float64 (n, d), columns centred, Frobenius norm 1."""
    rows = np.asarray(features, dtype=np.float64)
    if (rows == rows[0]).all():
        raise ParameterError(f"{name}: all rows are equal, so that there is nothing to compare")
    centred = rows - rows.mean(axis=0)
    return centred / np.linalg.norm(centred)
