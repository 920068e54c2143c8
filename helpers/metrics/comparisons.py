"""Is one arm of an experiment better than another, by how much, and could we have seen it?

An *arm* is one way of training, measured on the same images after each of several runs: an array
(runs, images) of one metric. Run i of one arm is paired with run i of the other (same seed, same
training images), image j with image j. arXiv 2307.03275 speaks of significant gains over five runs
and names no test; the tests here are our choice.

Two questions hide in "is it better", and each has its test:

- on other images, with these very networks: `wilcoxon_over_images`. It knows nothing of the chance
  in a training, so that a lucky run convinces it if there are enough images;
- after other trainings, on these very images: `sign_flip_over_runs`. With few runs it cannot say
  much, and `smallest_p` tells how little.

`hierarchical_interval` lets runs and images vary together. `effect_sizes` say how large a
difference is, `holm` corrects for many comparisons, and `power_over_runs` and
`smallest_detectable` say what the number of runs could show at all.

Differences are always a - b. Means of differences are rounded to 1e-12 of the largest value before
they are ranked or compared, so that values that are equal but for rounding count as equal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from helpers.errors import ParameterError

Unit = Literal["runs", "images", "groups"]

# All sign patterns are enumerated: 2^19 sums, the first sign being fixed by symmetry.
MOST_RUNS = 20
# Resamples are drawn in blocks of about this many weights (8 bytes each).
_BLOCK = 1 << 21
_ROUNDING = 1e-12


@dataclass(frozen=True)
class WilcoxonTest:
    """A paired Wilcoxon signed-rank test.

    Attributes:
        statistic: the smaller of the rank sums of positive and negative differences.
        p: two-sided.
        n: images (or groups) compared.
        zeros: how many of them differ by nothing.
    """

    statistic: float
    p: float
    n: int
    zeros: int


@dataclass(frozen=True)
class SignFlipTest:
    """An exact permutation test over runs.

    Attributes:
        difference: mean of a - b over runs and images.
        p: two-sided.
        smallest_p: the smallest p that so many runs can give; where it is above the level of the
            test, no difference, however large, can be significant.
        runs: number of runs.
    """

    difference: float
    p: float
    smallest_p: float
    runs: int


@dataclass(frozen=True)
class HierarchicalInterval:
    """Mean difference with a bootstrap interval over runs and images.

    Attributes:
        mean: of a - b over runs and images.
        low, high: percentile interval; NaN if there is one run and one image (or group).
        level: nominal coverage.
        resampled: what was resampled, of ``"runs"`` and ``"images"`` or ``"groups"``; what there is
            but one of is missing, and then the interval says nothing about it.
    """

    mean: float
    low: float
    high: float
    level: float
    resampled: tuple[Unit, ...]


@dataclass(frozen=True)
class EffectSizes:
    """How large a paired difference is, measured by its own spread or by ranks.

    Attributes:
        d_z: Cohen's d of paired values, mean over sample standard deviation; infinite if all
            differences are equal and not zero, 0 if all are zero, NaN for one pair.
        g_z: d_z without its small-sample bias (Hedges 1981); NaN below three pairs.
        rank_biserial: matched-pairs rank-biserial correlation, -1..1: (W+ - W-) / (W+ + W-), W+ and
            W- the sums of the ranks of positive and negative differences; 0 if all are zero.
        superiority: probability of superiority, 0..1: share of pairs in which a is larger, pairs
            without a difference counted half.
        n: number of pairs.
    """

    d_z: float
    g_z: float
    rank_biserial: float
    superiority: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """Everything about two arms; see the classes of the parts.

    Attributes:
        difference: mean of a - b with its interval over runs and images.
        images: test over images (or groups), for these networks.
        runs: test over runs, for these images.
        effect_images, effect_runs: effect sizes of the two.
    """

    difference: HierarchicalInterval
    images: WilcoxonTest
    runs: SignFlipTest
    effect_images: EffectSizes
    effect_runs: EffectSizes


def compare(
    a: np.ndarray,
    b: np.ndarray,
    rng: np.random.Generator,
    groups: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
) -> Comparison:
    """Compare two arms that were measured on the same runs and images.

    With groups of different sizes the mean difference is over images, while the test and the
    effect size over groups count every group once.

    Args:
        a, b: floats (runs, images), finite.
        rng: source of the resamples.
        groups: group (patient, source image) of every image, kept whole everywhere.
        level, n_resamples: as for `hierarchical_interval`.

    Raises:
        ParameterError: as the functions that it calls.
    """
    over_images = image_differences(a, b, groups)
    return Comparison(
        difference=hierarchical_interval(a, b, rng, groups, level=level, n_resamples=n_resamples),
        images=wilcoxon_over_images(a, b, groups),
        runs=sign_flip_over_runs(a, b),
        effect_images=effect_sizes(over_images),
        effect_runs=effect_sizes(run_differences(a, b)),
    )


def image_differences(
    a: np.ndarray, b: np.ndarray, groups: Sequence[str] | None = None
) -> np.ndarray:
    """Mean of a - b over runs for every image, or over runs and images for every group.

    Args:
        a, b: floats (runs, images), finite.
        groups: group of every image; groups come out in sorted order.

    Returns:
        float64 (images,) or (groups,), rounded as the module says.

    Raises:
        ParameterError: shapes that differ or are not (runs, images), NaN or infinity, a number of
            groups that is not that of the images.
    """
    first, second = _arms(a, b)
    means = (first - second).mean(axis=0)
    member, sizes = _members(groups, means.size)
    return _rounded(np.bincount(member, weights=means) / sizes, first, second)


def run_differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean of a - b over images for every run, float64 (runs,), rounded as the module says.

    Args, Raises: as for `image_differences`.
    """
    first, second = _arms(a, b)
    return _rounded((first - second).mean(axis=1), first, second)


def wilcoxon_over_images(
    a: np.ndarray, b: np.ndarray, groups: Sequence[str] | None = None
) -> WilcoxonTest:
    """Paired Wilcoxon signed-rank test over images, each the mean of its runs.

    Images without a difference are ranked with the others and their ranks left out of both sums
    (Pratt 1959), so that it does not move the ranks of the others whether a tiny difference is zero
    or not. They are no evidence either way: if `WilcoxonTest.zeros` is large, p speaks of the few
    images that differ. p is exact up to 50 images without ties or zeros and up to 13 with them,
    else from the normal approximation without a correction for continuity.

    Args:
        a, b: floats (runs, images), finite.
        groups: group of every image; images of one patient are not independent, and with groups
            the test is over groups, each the mean of its images.

    Returns:
        p is 1 if there is no difference at all, and for one image.

    Raises:
        ParameterError: as for `image_differences`.
    """
    from scipy.stats import PermutationMethod, wilcoxon

    differences = image_differences(a, b, groups)
    zeros = int(np.count_nonzero(differences == 0))
    if zeros == differences.size:
        return WilcoxonTest(0.0, 1.0, differences.size, zeros)
    tied = zeros or np.unique(np.abs(differences)).size < differences.size
    # Up to 13 images all sign patterns are gone through, and nothing is drawn.
    method = PermutationMethod() if tied and differences.size <= 13 else "auto"
    found = wilcoxon(differences, zero_method="pratt", correction=False, method=method)
    return WilcoxonTest(float(found.statistic), float(found.pvalue), differences.size, zeros)


def sign_flip_over_runs(a: np.ndarray, b: np.ndarray) -> SignFlipTest:
    """Exact sign-flip permutation test over runs, each the mean of its images (Fisher 1935).

    If the arms do not differ, a run's difference is as likely to be positive as negative. p is the
    share of all 2^runs ways to choose the signs that give a mean difference at least as large, in
    absolute value, as the one found. **Five runs cannot reach 0.05**: their smallest two-sided p is
    2/32 = 0.0625 (`smallest_p`); six can.

    Args:
        a, b: floats (runs, images), finite; at most 20 runs.

    Returns:
        p is 1 if there is no difference at all, and for one run.

    Raises:
        ParameterError: more than 20 runs, and as for `image_differences`.
    """
    differences = run_differences(a, b)
    if differences.size > MOST_RUNS:
        raise ParameterError(
            f"a and b have {differences.size} runs; expected at most {MOST_RUNS}, whose signs can "
            "be enumerated. For more, use student_interval over runs."
        )
    sums = differences[:1]
    for difference in differences[1:]:
        sums = np.concatenate([sums + difference, sums - difference])
    # Sums that are equal but for the order of their terms.
    slack = 1e-10 * np.abs(differences).sum()
    as_large = np.abs(sums) >= abs(differences.sum()) - slack
    return SignFlipTest(
        difference=float(differences.mean()),
        p=float(as_large.mean()),
        smallest_p=smallest_p(differences.size),
        runs=differences.size,
    )


def smallest_p(runs: int) -> float:
    """Smallest two-sided p of a sign-flip test over ``runs`` runs: 2 / 2^runs, 0.0625 for five.

    Raises:
        ParameterError: fewer than one run.
    """
    if runs < 1:
        raise ParameterError(f"runs={runs}: expected at least 1")
    return 2.0 / 2.0**runs


def hierarchical_interval(
    a: np.ndarray,
    b: np.ndarray,
    rng: np.random.Generator,
    groups: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
) -> HierarchicalInterval:
    """Percentile bootstrap interval of the mean difference over runs and images.

    Each resample draws runs, then images, with replacement and both arms together. All runs of a
    resample share its images, as all runs share the test set (Owen 2007, the pigeonhole bootstrap);
    to draw images afresh for every run would treat R runs as R test sets, and the interval would be
    too narrow. A group is drawn whole, with all its images.

    With many runs and images it is a little too wide, because scatter that belongs to neither runs
    nor images counts about three times (Owen 2007). With few runs it is too narrow, because
    resampling R runs understates their variance by (R - 1) / R and there are no tails to draw from:
    with five runs read it beside `helpers.metrics.student_interval` over runs.

    Args:
        a, b: floats (runs, images), finite.
        rng: source of the resamples; the same state gives the same interval.
        groups: group (patient, source image) of every image.
        level: nominal coverage, between 0 and 1.
        n_resamples: at least 100.

    Raises:
        ParameterError: ``level``, ``rng`` or ``n_resamples`` out of range, and as for
            `image_differences`.
    """
    _check_bootstrap(rng, level, n_resamples)
    first, second = _arms(a, b)
    differences = first - second
    mean = float(differences.mean())
    member, sizes = _members(groups, differences.shape[1])
    # Centred, so that a constant difference gives its mean exactly.
    sums = np.zeros((len(differences), sizes.size))
    np.add.at(sums.T, member, (differences - mean).T)
    resampled = _varying(len(differences), sizes.size, "images" if groups is None else "groups")
    if not resampled:
        return HierarchicalInterval(mean, float("nan"), float("nan"), level, resampled)
    means = mean + np.concatenate(list(_resampled_means(sums, sizes, rng, n_resamples)))
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return HierarchicalInterval(mean, float(low), float(high), level, resampled)


def effect_sizes(differences: Sequence[float]) -> EffectSizes:
    """Effect sizes of paired differences, as `image_differences` or `run_differences` give them.

    Rank-biserial correlation after Kerby (2014), with the ranks of `wilcoxon_over_images`; the
    correction of d_z is Hedges's exact one, Gamma(m/2) / (sqrt(m/2) Gamma((m-1)/2)), m = n - 1.
    Over images d_z is measured by the spread of images, over runs by that of runs: one difference
    has two sizes, which are not to be compared with each other.

    Args:
        differences: floats (n,), finite, n at least 1.

    Raises:
        ParameterError: another shape, NaN or infinity.
    """
    from scipy.stats import rankdata

    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ParameterError(
            f"differences of shape {values.shape}, {np.count_nonzero(~np.isfinite(values))} of "
            "them NaN or infinite: expected a vector of at least one finite number"
        )
    d_z = _standardised(values)
    above, below = values > 0, values < 0
    ranks = rankdata(np.abs(values))
    total = ranks[above].sum() + ranks[below].sum()
    balance = (ranks[above].sum() - ranks[below].sum()) / total if total else 0.0
    return EffectSizes(
        d_z=d_z,
        g_z=d_z * _hedges_factor(values.size - 1),
        rank_biserial=float(balance),
        superiority=float((1 + above.mean() - below.mean()) / 2),
        n=values.size,
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjust p values for the number of comparisons (Holm 1979).

    To reject what is at or below the level keeps the chance of even one false rejection at that
    level, whatever the dependence between the comparisons. All comparisons that were looked at
    belong in one call.

    Args:
        p_values: floats (m,) in 0..1, m at least 1.

    Returns:
        float64 (m,) in the same order, at most 1.

    Raises:
        ParameterError: another shape, NaN or values outside 0..1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or p.size == 0 or not ((p >= 0) & (p <= 1)).all():
        raise ParameterError(
            f"p_values={p_values}: expected a vector of at least one number, each in 0..1"
        )
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def power_over_runs(difference: float, std: float, runs: int, *, alpha: float = 0.05) -> float:
    """Probability that a paired t test over runs finds a true difference.

    From the noncentral t distribution with ``runs - 1`` degrees of freedom and noncentrality
    sqrt(runs) difference / std, two-sided (computed for t squared, which is noncentral F). The test
    is that of `helpers.metrics.statistics.student_interval`: does the interval at level 1 - alpha
    leave out zero? It is not `sign_flip_over_runs`, whose power is zero where `smallest_p` is above
    ``alpha``. Assumes that differences of runs scatter normally.

    Args:
        difference: true mean of a - b.
        std: standard deviation over runs of a run's difference, above 0.
        runs: at least 2.
        alpha: level of the test; divide it by the number of comparisons to plan for `holm` (then
            the power is a lower bound).

    Returns:
        ``alpha``..1; ``alpha`` if there is no difference.

    Raises:
        ParameterError: an argument out of range.
    """
    _check_design(std, runs, alpha)
    if not np.isfinite(difference):
        raise ParameterError(f"difference={difference}: expected a finite number")
    return _power(np.sqrt(runs) * abs(difference) / std, runs, alpha)


def smallest_detectable(std: float, runs: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true difference that `power_over_runs` finds with the given probability.

    Args:
        std, runs, alpha: as for `power_over_runs`.
        power: above ``alpha``, below 1.

    Returns:
        In the unit of ``std``; with five runs, 5 % and 80 % it is 1.68 standard deviations.

    Raises:
        ParameterError: an argument out of range.
    """
    from scipy.optimize import brentq

    _check_design(std, runs, alpha)
    if not alpha < power < 1:
        raise ParameterError(f"power={power}: expected above alpha={alpha} and below 1")
    highest = 4.0
    while _power(highest, runs, alpha) < power:
        highest *= 2
    shift = brentq(lambda nc: _power(nc, runs, alpha) - power, 0, highest, xtol=1e-10)
    return float(shift * std / np.sqrt(runs))


def _power(shift: float, runs: int, alpha: float) -> float:
    """Power of the two-sided t test at a noncentrality of ``shift``, at least 0."""
    from scipy.stats import f, ncf

    if shift == 0:
        return alpha
    # Not scipy's noncentral t: it is NaN in the far tail, where its share is nothing.
    return float(ncf.sf(f.isf(alpha, 1, runs - 1), 1, runs - 1, shift**2))


def _standardised(values: np.ndarray) -> float:
    if values.size < 2:
        return float("nan")
    if np.ptp(values) == 0:
        return float(np.copysign(np.inf, values[0])) if values[0] else 0.0
    return float(values.mean() / values.std(ddof=1))


def _hedges_factor(freedom: int) -> float:
    if freedom < 2:
        return float("nan")
    from scipy.special import gammaln

    logarithm = gammaln(freedom / 2) - gammaln((freedom - 1) / 2)
    return float(np.exp(logarithm) / np.sqrt(freedom / 2))


def _resampled_means(
    sums: np.ndarray, sizes: np.ndarray, rng: np.random.Generator, n_resamples: int
) -> Iterator[np.ndarray]:
    """Means of resamples of both axes, in blocks.

    Args:
        sums: (runs, units), sum over a unit's images.
        sizes: (units,), its images.
    """
    runs, units = sums.shape
    per_block = max(1, _BLOCK // (runs + units))
    for start in range(0, n_resamples, per_block):
        block = min(per_block, n_resamples - start)
        run_times = rng.multinomial(runs, np.full(runs, 1 / runs), size=block)
        unit_times = rng.multinomial(units, np.full(units, 1 / units), size=block)
        totals = ((run_times @ sums) * unit_times).sum(axis=1)
        yield totals / (runs * (unit_times @ sizes))


def _varying(runs: int, units: int, name: Unit) -> tuple[Unit, ...]:
    """Those axes along which there is something to resample."""
    both: tuple[tuple[Unit, int], ...] = (("runs", runs), (name, units))
    return tuple(axis for axis, count in both if count > 1)


def _arms(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (runs, images), finite."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 2 or first.size == 0 or first.shape != second.shape:
        raise ParameterError(
            f"a of shape {first.shape} and b of shape {second.shape}: expected the same shape "
            "(runs, images), both in the same order"
        )
    for name, arm in (("a", first), ("b", second)):
        if bad := np.count_nonzero(~np.isfinite(arm)):
            raise ParameterError(
                f"{name} holds {bad} NaN or infinite values among {arm.size}; expected numbers: "
                "leave those images out of both arms and all runs, or give the metric a value there"
            )
    return first, second


def _members(groups: Sequence[str] | None, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Group number of every image (images,) and images of every group (groups,)."""
    if groups is None:
        return np.arange(images), np.ones(images)
    if len(groups) != images:
        raise ParameterError(
            f"groups names {len(groups)} images, a and b have {images}; expected one for each"
        )
    _, member, sizes = np.unique(
        np.asarray(groups).astype(str), return_inverse=True, return_counts=True
    )
    return member, sizes


def _rounded(means: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    largest = max(np.abs(first).max(), np.abs(second).max())
    if largest == 0:
        return np.zeros_like(means)
    step = largest * _ROUNDING
    return np.round(means / step) * step


def _check_bootstrap(rng: np.random.Generator, level: float, n_resamples: int) -> None:
    if not isinstance(rng, np.random.Generator):
        raise ParameterError(
            f"rng is {rng!r}; a bootstrap needs a random generator: np.random.default_rng(seed)"
        )
    if not 0 < level < 1:
        raise ParameterError(f"level is {level}; expected a coverage between 0 and 1, such as 0.95")
    if n_resamples < 100:
        raise ParameterError(f"n_resamples is {n_resamples}; expected at least 100, better 2000")


def _check_design(std: float, runs: int, alpha: float) -> None:
    if not (np.isfinite(std) and std > 0):
        raise ParameterError(f"std={std}: expected a finite number above 0, the spread over runs")
    if runs < 2:
        raise ParameterError(f"runs={runs}: expected at least 2; one run shows no spread")
    if not 0 < alpha < 1:
        raise ParameterError(f"alpha={alpha}: expected a level between 0 and 1, such as 0.05")
