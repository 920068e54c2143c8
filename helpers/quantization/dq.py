"""Dataset quantization: order all samples into bins, then sample from every bin.

Method: Zhou et al., "Dataset Quantization" (arXiv 2308.10524), as adopted in arXiv 2511.04803,
section III-B. Bins are filled one after the other; every pick maximises a gain over the samples
that are in no bin yet. With N samples, D all of them, S the picks of the current bin and P the
samples that were left when the bin started:

    paper_eq       sum over S of |x - p|^2  -  sum over D without S of |x - p|^2
    official_code  mean over S of |x - p|^2  -  mean over D of |x - p|^2
                   (first pick of a bin: the smallest sum over D of |x - p|^2)
    graphcut       sum over P of sim(x, p)  -  2 sum over S of sim(x, p),  sim = (1 + cos) / 2

``paper_eq`` is Eq. 1 of arXiv 2511.04803 as printed: central samples come first, outliers last.
``official_code`` is its released script, which runs to the extremes. ``graphcut`` is the gain of
arXiv 2308.10524 with the weight 1 that its released code uses. The printed equation and the script
pick opposite points, so both are here under their own names.

None of them needs a matrix of all pairwise values (:mod:`helpers.quantization._gains`), nor even a
look at all samples for every pick (:mod:`helpers.quantization._order`).
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from helpers.errors import ParameterError
from helpers.quantization.checks import check_features, check_name, check_rate, check_scores

Gain = Literal["paper_eq", "official_code", "graphcut"]
Sampling = Literal["uniform", "prefix"]
Rounding = Literal["exact", "published"]

# Share of a draw that follows scores from outside.
TRUST = 0.5


@dataclass(frozen=True)
class Bins:
    """An ordered partition of N samples.

    Attributes:
        order: int64 (N,), sample indices bin after bin, within a bin in the order of picking.
        sizes: int64 (n_bins,), sizes that differ by at most one, the larger ones first.
    """

    order: np.ndarray
    sizes: np.ndarray

    def split(self) -> list[np.ndarray]:
        """The bins as a list of index arrays."""
        return np.split(self.order, np.cumsum(self.sizes)[:-1])


def quantize(
    features: np.ndarray, n_bins: int = 10, gain: Gain = "paper_eq", device: str = "cpu"
) -> Bins:
    """Order all samples into bins by greedy choice (arXiv 2511.04803, Eq. 1; arXiv 2308.10524).

    The order is that of the definition (see the module) in float64. Gains closer than 1e-12 of the
    terms that the two are made of are ties; ties go to the lowest index. Memory beyond the
    features: a float64 copy of them and 64 numbers for each sample.

    In ``paper_eq`` and ``official_code`` D is always the full set, with the bins filled before. In
    ``graphcut`` the sum over P includes the sample itself and stays as it is while a bin is filled.
    A zero vector has cosine 0 with everything, itself included.

    Args:
        features: (N, d), finite, of any integer or floating type, memory-mapped or not.
        n_bins: number of bins, 1..N (the released script uses 10, the paper's Fig. 3 shows 5).
        gain: see the module.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"`` and so on; the order does not depend on it.

    Raises:
        ParameterError: wrong shape, NaN or infinity, unknown gain, more bins than samples, a
            device that is not there.
    """
    # Here, because importing torch takes longer than most selections.
    from helpers.quantization._order import order_of

    points = check_features(features)
    check_name("gain", gain, get_args(Gain))
    if int(n_bins) != n_bins or not 1 <= n_bins <= len(points):
        raise ParameterError(f"n_bins={n_bins}: expected 1 to {len(points)}, the number of samples")
    sizes = bin_sizes(len(points), int(n_bins))
    return Bins(order_of(points, sizes, gain, device), sizes)


def bin_sizes(count: int, n_bins: int) -> np.ndarray:
    """Sizes of bins, int64, that differ by at most one, the larger ones first."""
    return (count + np.arange(n_bins)[::-1]) // n_bins


def sample_bins(
    bins: Bins,
    rate: float,
    rng: np.random.Generator,
    sampling: Sampling = "uniform",
    rounding: Rounding = "exact",
    scores: np.ndarray | None = None,
    trust: float = TRUST,
) -> np.ndarray:
    """Coreset: a share of every bin (arXiv 2511.04803, Eq. 2), as ascending indices, int64.

    Args:
        bins: result of :func:`quantize`.
        rate: share of all samples, above 0 and at most 1.
        rng: draws the samples under ``uniform``; unused under ``prefix``.
        sampling: ``"uniform"`` draws within each bin (the paper), ``"prefix"`` takes the first
            picks of each bin (the released script).
        rounding: ``"exact"`` gives max(1, round(rate * N)) samples in all, spread over the bins as
            evenly as their sizes allow; ``"published"`` gives max(1, floor(rate * size)) per bin,
            as the released script does, which overshoots at small rates.
        scores: (N,), 0 or above, from outside, for instance the uncertainty of a model. Each draw
            from a bin of n samples then takes sample i with a probability proportional to
            (1 - trust) / n + trust * (share of i in the scores of the bin). Our extension: the
            papers ask for it and do not define it. Only for ``uniform``.
        trust: 0..1, how far the scores are followed; used only with ``scores``.

    Raises:
        ParameterError: a parameter out of range, scores of a wrong shape, negative or not finite,
            scores under ``prefix``.
    """
    check_rate(rate)
    check_name("sampling", sampling, get_args(Sampling))
    weights = None
    if scores is not None:
        if sampling != "uniform":
            raise ParameterError(f"scores with sampling={sampling!r}: expected sampling='uniform'")
        if not 0 <= trust <= 1:
            raise ParameterError(f"trust={trust}: expected a share from 0 to 1")
        weights = check_scores(scores, len(bins.order))
    counts = counts_of(bins.sizes, rate, rounding)
    chosen = []
    for members, count in zip(bins.split(), counts, strict=True):
        if sampling == "prefix":
            chosen.append(members[:count])
        elif weights is None:
            chosen.append(rng.choice(members, count, replace=False))
        else:
            chosen.append(draw(members, count, weights[members], trust, rng))
    return np.sort(np.concatenate(chosen))


def draw(
    members: np.ndarray, count: int, scores: np.ndarray, trust: float, rng: np.random.Generator
) -> np.ndarray:
    """``count`` members in the order of drawing, one by one, without replacement.

    Every draw takes a member with a probability proportional to
    (1 - trust) / n + trust * (its share of the scores); without any score above 0 all are alike.
    The algorithm is that of Efraimidis & Spirakis (2006).
    """
    even = 1 / len(members)
    largest = scores.max()
    share = scores / largest if largest > 0 else np.ones(len(members))
    chance = (1 - trust) * even + trust * share / share.sum()
    # Exponential clocks ring in the order of such draws; those that never ring come last.
    with np.errstate(divide="ignore"):
        rings = rng.exponential(size=len(members)) / chance
    return members[np.argsort(rings, kind="stable")[:count]]


def counts_of(sizes: np.ndarray, rate: float, rounding: Rounding) -> np.ndarray:
    """How many samples :func:`sample_bins` takes from bins of these sizes, int64."""
    if rounding == "published":
        # The small term keeps 0.29 * 100 from being cut to 28 by binary fractions.
        return np.maximum(1, np.floor(sizes * rate + 1e-9)).astype(np.int64)
    if rounding != "exact":
        raise ParameterError(f"rounding={rounding!r}: expected {' or '.join(get_args(Rounding))}")
    ends = np.cumsum(sizes)
    total = max(1, round(rate * int(ends[-1])))
    # Integer arithmetic: the last bin then ends at exactly the total.
    cumulative = (2 * ends * total + ends[-1]) // (2 * ends[-1])
    return np.diff(cumulative, prepend=0)
