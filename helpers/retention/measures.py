"""Measures of forgetting and transfer, each from the scores of one sequence of trainings.

Two inputs are the same everywhere:

- ``matrix``: floats (stages, domains). Row t holds the scores on the test set of every domain after
  stage t. Scores are in 0..1 and higher is better (Dice, panoptic quality); results are in the
  same unit. NaN stands for "not measured".
- ``learned``: for each stage the columns of the domains trained in it, such as ``((0,), (1,))`` for
  Cyto, then Histo, and ``((0,), (0, 1))`` for Cyto, then Histo with replay of Cyto.

Signs: positive forgetting and a positive drop are bad, negative backward transfer is bad.

The sources train one new domain per stage and never return to one. Here a stage may train several,
and a domain may come back, so their formulas are read as follows; for one new domain per stage
they are unchanged.

- A mean runs over domains, not over stages: two domains trained in one stage count as two.
- A domain counts as learned from the first stage that trains it, however little of it is replayed.
- A domain can be *forgotten* if some stage before the last trained it and the last did not.
  One trained in the last stage (replayed, or back again) is fresh: it counts neither in forgetting
  nor in backward transfer. What replay leaves of a source is told by `drop`, which asks for two
  scores and not for what was trained.

A mean over no domain (one stage, nothing learned before, all replayed) is NaN. So is every result
that needs a score which is NaN: leaving the domain out would compare means over different domains.
Scores that a formula does not need may be missing.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from helpers.errors import ParameterError

Learned = Sequence[Sequence[int]]


def average_accuracy(matrix: ArrayLike, learned: Learned) -> float:
    """Mean final score over the domains learned in any stage.

    ACC = 1/T sum_i R[T, i] (Lopez-Paz & Ranzato 2017, arXiv 1706.08840, Eq. 2).

    Args:
        matrix: floats (stages, domains), see the module.
        learned: for each stage the columns trained in it.

    Returns:
        A score, in the unit of ``matrix``.

    Raises:
        ParameterError: ``matrix`` not two-dimensional, without stage or domain, or with infinite
            values; ``learned`` not one or more existing columns for each stage.
    """
    scores = check_scores(matrix, "matrix", 2)
    first, _ = _history(learned, scores.shape)
    return _mean(scores[-1, first < len(scores)])


def backward_transfer(matrix: ArrayLike, learned: Learned) -> float:
    """What later stages added to domains learned before; negative is bad.

    BWT = 1/(T-1) sum_{i<T} R[T, i] - R[i, i] (Lopez-Paz & Ranzato 2017, arXiv 1706.08840, Eq. 3).
    The mean runs over the domains that can be forgotten (see the module); R[i, i] is the score
    right after the first stage that trained the domain, also if it came back later.

    Args:
        matrix: floats (stages, domains), see the module.
        learned: for each stage the columns trained in it.

    Returns:
        A difference of scores; NaN if no domain can be forgotten.

    Raises:
        ParameterError: as for `average_accuracy`.
    """
    scores = check_scores(matrix, "matrix", 2)
    first, can_be_forgotten = _history(learned, scores.shape)
    domains = np.flatnonzero(can_be_forgotten)
    return _mean(scores[-1, domains] - scores[first[domains], domains])


def forward_transfer(matrix: ArrayLike, learned: Learned, untrained: ArrayLike) -> float:
    """What earlier stages gave to domains not learned yet; positive is good.

    FWT = 1/(T-1) sum_{i>1} R[i-1, i] - b[i] (Lopez-Paz & Ranzato 2017, arXiv 1706.08840, Eq. 4).
    The mean runs over the domains first learned after stage 0, those of the last stage included;
    R[i-1, i] is the score right before the first stage that trained the domain.

    Args:
        matrix: floats (stages, domains), see the module.
        learned: for each stage the columns trained in it.
        untrained: floats (domains,), b: scores of the model before any training.

    Returns:
        A difference of scores; NaN if no domain was first learned after stage 0.

    Raises:
        ParameterError: as for `average_accuracy`; ``untrained`` of another shape or with infinite
            values.
    """
    scores = check_scores(matrix, "matrix", 2)
    start = check_scores(untrained, "untrained", 1)
    if start.size != scores.shape[1]:
        raise ParameterError(
            f"untrained has {start.size} scores and matrix {scores.shape[1]} domains; expected one "
            "score for each domain"
        )
    first, _ = _history(learned, scores.shape)
    domains = np.flatnonzero((first > 0) & (first < len(scores)))
    return _mean(scores[first[domains] - 1, domains] - start[domains])


def domain_forgetting(matrix: ArrayLike, learned: Learned) -> np.ndarray:
    """Forgetting of each domain: its best earlier score minus its final one; positive is bad.

    f[j] = max_{l<T} a[l, j] - a[T, j] (Chaudhry et al. 2018, arXiv 1801.10112, Eq. 2), where l
    starts at the first stage that trained domain j. Negative where the last stage set a new best.

    Args:
        matrix: floats (stages, domains), see the module.
        learned: for each stage the columns trained in it.

    Returns:
        float64 (domains,); NaN for a domain that cannot be forgotten (see the module).

    Raises:
        ParameterError: as for `average_accuracy`.
    """
    scores = check_scores(matrix, "matrix", 2)
    first, can_be_forgotten = _history(learned, scores.shape)
    lost = np.full(scores.shape[1], np.nan)
    for domain in np.flatnonzero(can_be_forgotten):
        best = scores[first[domain] : -1, domain].max()
        lost[domain] = best - scores[-1, domain]
    return lost


def forgetting(matrix: ArrayLike, learned: Learned) -> float:
    """Mean of `domain_forgetting` over the domains that can be forgotten; positive is bad.

    F = 1/(T-1) sum_{j<T} f[j] (Chaudhry et al. 2018, arXiv 1801.10112, Eq. 3). It is never below
    minus `backward_transfer`, which starts from the score after learning and not from the best.

    Args:
        matrix: floats (stages, domains), see the module.
        learned: for each stage the columns trained in it.

    Returns:
        A difference of scores; NaN if no domain can be forgotten.

    Raises:
        ParameterError: as for `average_accuracy`.
    """
    lost = domain_forgetting(matrix, learned)
    _, can_be_forgotten = _history(learned, np.shape(matrix))
    return _mean(lost[can_be_forgotten])


def drop(before: ArrayLike, after: ArrayLike) -> np.ndarray | float:
    """Score on a source domain before fine-tuning minus the score after; positive is bad.

    What arXiv 2511.04803 reads as forgetting (Fig. 4, Tables V and VI): Cyto Dice 0.855 before and
    0.080 after fine-tuning on Histo is a drop of 0.775. It does not ask what was trained between
    the two, so it is defined with replay too.

    Args:
        before, after: scores, numbers or floats of shapes that broadcast.

    Returns:
        A difference of scores, of the shape they broadcast to; NaN where one is NaN.

    Raises:
        ParameterError: infinite values, or shapes that do not broadcast.
    """
    start, end = _check_pair(before, after)
    return start - end


def relative_drop(before: ArrayLike, after: ArrayLike) -> np.ndarray | float:
    """`drop` as a share of the score before: 1 is all forgotten, 0 nothing, negative a gain.

    It compares sources of unequal difficulty; not in arXiv 2511.04803.

    Args:
        before, after: as for `drop`.

    Returns:
        A share, of the shape they broadcast to; NaN where one is NaN or ``before`` is 0.

    Raises:
        ParameterError: as for `drop`.
    """
    start, end = _check_pair(before, after)
    return (start - end) / np.where(start == 0, np.nan, start)


def as_floats(values: ArrayLike, name: str) -> np.ndarray:
    """``values`` as float64 of any shape; NaN is allowed.

    Raises:
        ParameterError: not numbers, rows of unequal length, infinite values.
    """
    try:
        scores = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} is no array of numbers ({error}); expected scores") from error
    if n_infinite := np.count_nonzero(np.isinf(scores)):
        raise ParameterError(
            f"{name} holds {n_infinite} infinite values among {scores.size}; expected scores in "
            "0..1, or NaN where none was measured"
        )
    return scores


def check_scores(values: ArrayLike, name: str, n_dimensions: int) -> np.ndarray:
    """``values`` as float64 with ``n_dimensions`` axes, none empty; NaN is allowed.

    Raises:
        ParameterError: not numbers, another shape, infinite values; ``name`` is in the message.
    """
    axes = ("seeds", "stages", "domains")[-n_dimensions:]
    scores = as_floats(values, name)
    if scores.ndim != n_dimensions or scores.size == 0:
        raise ParameterError(
            f"{name} has shape {scores.shape}; expected ({', '.join(axes)}), each at least 1"
        )
    return scores


def check_learned(learned: Learned, n_stages: int, n_domains: int) -> tuple[frozenset[int], ...]:
    """The columns trained in each stage, as sets.

    Raises:
        ParameterError: not one entry for each stage, an entry that is no sequence of columns or
            an empty one, or a column that does not exist.
    """
    expected = f"expected one or more columns from 0 to {n_domains - 1}, such as (0,)"
    try:
        stages = [tuple(stage) for stage in learned]
    except TypeError as error:
        raise ParameterError(f"learned is {learned!r}; for each stage {expected}") from error
    if len(stages) != n_stages:
        raise ParameterError(
            f"learned has {len(stages)} stages and the scores have {n_stages}; expected as many"
        )
    for number, stage in enumerate(stages):
        good = all(
            isinstance(column, int | np.integer)
            and not isinstance(column, bool)
            and 0 <= column < n_domains
            for column in stage
        )
        if not stage or not good:
            raise ParameterError(f"learned: stage {number} trains {stage!r}; {expected}")
    return tuple(frozenset(map(int, stage)) for stage in stages)


def _history(learned: Learned, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """For each domain the stage that first trained it, and whether it can be forgotten.

    The stage is int (domains,), the number of stages for a domain never trained.
    """
    n_stages, n_domains = shape
    stages = check_learned(learned, n_stages, n_domains)
    trained = np.array([[column in stage for column in range(n_domains)] for stage in stages])
    first = np.where(trained.any(axis=0), trained.argmax(axis=0), n_stages)
    return first, trained[:-1].any(axis=0) & ~trained[-1]


def _mean(values: np.ndarray) -> float:
    """The mean; NaN, without a warning, of nothing."""
    return float(values.mean()) if values.size else float("nan")


def _check_pair(before: ArrayLike, after: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    start, end = as_floats(before, "before"), as_floats(after, "after")
    try:
        np.broadcast_shapes(start.shape, end.shape)
    except ValueError as error:
        raise ParameterError(
            f"before has shape {start.shape} and after {end.shape}; expected the same, "
            "or one number"
        ) from error
    return start, end
