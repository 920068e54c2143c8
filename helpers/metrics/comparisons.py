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

`holm` corrects for many comparisons. The interval in which runs and images vary together is
:func:`helpers.book.claims.interval`.

Differences are always a - b. Means of differences are rounded to 1e-12 of the largest value before
they are ranked or compared, so that values that are equal but for rounding count as equal.
"""

from collections.abc import Sequence

import numpy as np

from helpers.errors import ParameterError

# All sign patterns are enumerated: 2^19 sums, the first sign being fixed by symmetry.
MOST_RUNS = 20
_ROUNDING = 1e-12


def wilcoxon_over_images(
    a: np.ndarray, b: np.ndarray, groups: Sequence[str] | None = None
) -> float:
    """Two-sided p of a paired Wilcoxon signed-rank test over images, each the mean of its runs.

    Images without a difference are ranked with the others and their ranks left out of both sums
    (Pratt 1959), so that it does not move the ranks of the others whether a tiny difference is zero
    or not. They are no evidence either way. p is exact up to 50 images without ties or zeros and up
    to 13 with them, else from the normal approximation without a correction for continuity.

    Args:
        a, b: floats (runs, images), finite.
        groups: group of every image; images of one patient are not independent, and with groups
            the test is over groups, each the mean of its images.

    Returns:
        1 if there is no difference at all, and for one image.

    Raises:
        ParameterError: shapes that differ or are not (runs, images), NaN or infinity, a number of
            groups that is not that of the images.
    """
    from scipy.stats import PermutationMethod, wilcoxon

    differences = _differences(a, b).mean(axis=0)
    if groups is not None:
        if len(groups) != differences.size:
            raise ParameterError(
                f"groups names {len(groups)} images, a and b have {differences.size}; expected one "
                "for each"
            )
        member = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
        differences = np.bincount(member, differences) / np.bincount(member)
    differences = _rounded(differences, a, b)
    if not differences.any():
        return 1.0
    tied = np.unique(np.abs(differences)).size < differences.size or not differences.all()
    # Up to 13 images all sign patterns are gone through, and nothing is drawn.
    method = PermutationMethod() if tied and differences.size <= 13 else "auto"
    return float(wilcoxon(differences, zero_method="pratt", correction=False, method=method).pvalue)


def sign_flip_over_runs(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p of an exact sign-flip test over runs, each the mean of its images (Fisher 1935).

    If the arms do not differ, a run's difference is as likely to be positive as negative. p is the
    share of all 2^runs ways to choose the signs that give a mean difference at least as large, in
    absolute value, as the one found. **Five runs cannot reach 0.05**: their smallest two-sided p is
    2/32 = 0.0625 (`smallest_p`); six can.

    Args:
        a, b: floats (runs, images), finite; at most 20 runs.

    Returns:
        1 if there is no difference at all, and for one run.

    Raises:
        ParameterError: more than 20 runs, shapes that differ or are not (runs, images), NaN or
            infinity.
    """
    differences = _rounded(_differences(a, b).mean(axis=1), a, b)
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
    return float((np.abs(sums) >= abs(differences.sum()) - slack).mean())


def smallest_p(runs: int) -> float:
    """Smallest two-sided p of a sign-flip test over ``runs`` runs: 2 / 2^runs, 0.0625 for five.

    Raises:
        ParameterError: fewer than one run.
    """
    if runs < 1:
        raise ParameterError(f"runs={runs}: expected at least 1")
    return 2.0 / 2.0**runs


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


def _differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b, float64 (runs, images)."""
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
    return first - second


def _rounded(means: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    step = _ROUNDING * max(np.abs(a).max(), np.abs(b).max())
    return np.round(means / step) * step if step else means
