"""What a model forgets when it is trained on one domain after another, over seeds.

Two inputs are the same everywhere:

- ``matrix``: floats (stages, domains). Row t holds the scores on the test set of every domain after
  stage t. Scores are in 0..1 and higher is better (Dice, panoptic quality); results are in the
  same unit. NaN stands for "not measured".
- ``learned``: for each stage the columns of the domains trained in it, such as ``((0,), (1,))`` for
  Cyto, then Histo, and ``((0,), (0, 1))`` for Cyto, then Histo with replay of Cyto.

Signs: positive forgetting is bad, negative backward transfer is bad.

The sources train one new domain per stage and never return to one. Here a stage may train several,
and a domain may come back, so their formulas are read as follows; for one new domain per stage
they are unchanged.

- A mean runs over domains, not over stages: two domains trained in one stage count as two.
- A domain counts as learned from the first stage that trains it, however little of it is replayed.
- A domain can be *forgotten* if some stage before the last trained it and the last did not.
  One trained in the last stage (replayed, or back again) is fresh: it counts neither in forgetting
  nor in backward transfer.

A mean over no domain (one stage, nothing learned before, all replayed) is NaN. So is every result
that needs a score which is NaN: leaving the domain out would compare means over different domains.
Scores that a formula does not need may be missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.metrics import student_interval

Learned = Sequence[Sequence[int]]


def average_accuracy(matrix: np.ndarray, learned: Learned) -> float:
    """Mean final score over the domains learned in any stage.

    ACC = 1/T sum_i R[T, i] (Lopez-Paz & Ranzato 2017, arXiv 1706.08840, Eq. 2).
    """
    first, _ = _history(learned, matrix.shape[1])
    return _mean(matrix[-1, first < len(matrix)])


def backward_transfer(matrix: np.ndarray, learned: Learned) -> float:
    """What later stages added to domains learned before; negative is bad.

    BWT = 1/(T-1) sum_{i<T} R[T, i] - R[i, i] (Lopez-Paz & Ranzato 2017, arXiv 1706.08840, Eq. 3).
    The mean runs over the domains that can be forgotten (see the module); R[i, i] is the score
    right after the first stage that trained the domain, also if it came back later.
    """
    first, can_be_forgotten = _history(learned, matrix.shape[1])
    domains = np.flatnonzero(can_be_forgotten)
    return _mean(matrix[-1, domains] - matrix[first[domains], domains])


def forgetting(matrix: np.ndarray, learned: Learned) -> float:
    """Best earlier score minus the final one, mean over the domains that can be forgotten.

    F = 1/(T-1) sum_{j<T} max_{l<T} a[l, j] - a[T, j] (Chaudhry et al. 2018, arXiv 1801.10112,
    Eqs. 2 and 3), where l starts at the first stage that trained domain j. It is never below minus
    `backward_transfer`, which starts from the score after learning and not from the best.
    """
    first, can_be_forgotten = _history(learned, matrix.shape[1])
    lost = [
        matrix[first[domain] : -1, domain].max() - matrix[-1, domain]
        for domain in np.flatnonzero(can_be_forgotten)
    ]
    return _mean(np.array(lost))


@dataclass(frozen=True)
class SeedSummary:
    """One measure over seeds.

    Attributes:
        mean: mean of the seeds that are not NaN; NaN if there are none.
        low, high: Student interval of the mean (`helpers.metrics.student_interval`); NaN below two
            seeds. It is not clipped to the range of the measure.
        n: number of seeds that are not NaN.
        values: one value for each seed, in the order given, NaN where undefined.
    """

    mean: float
    low: float
    high: float
    n: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class RetentionSummary:
    """Every measure over seeds, see the functions of the same name."""

    average_accuracy: SeedSummary
    backward_transfer: SeedSummary
    forgetting: SeedSummary


def summarise(matrices: np.ndarray, learned: Learned) -> RetentionSummary:
    """Summarise the measures of one sequence of trainings repeated with several seeds.

    A measure is computed for each seed, then averaged, so that the interval shows how much the
    measure itself varies.

    Args:
        matrices: floats (seeds, stages, domains).
        learned: the same for every seed.
    """
    return RetentionSummary(
        *(
            _over_seeds(np.array([measure(matrix, learned) for matrix in matrices]))
            for measure in (average_accuracy, backward_transfer, forgetting)
        )
    )


def _over_seeds(values: np.ndarray) -> SeedSummary:
    kept = values[~np.isnan(values)]
    low, high = student_interval(kept) if len(kept) else (np.nan, np.nan)
    return SeedSummary(_mean(kept), low, high, len(kept), tuple(map(float, values)))


def _history(learned: Learned, n_domains: int) -> tuple[np.ndarray, np.ndarray]:
    """For each domain the stage that first trained it, and whether it can be forgotten.

    The stage is int (domains,), the number of stages for a domain never trained.
    """
    trained = np.array([[column in stage for column in range(n_domains)] for stage in learned])
    first = np.where(trained.any(axis=0), trained.argmax(axis=0), len(trained))
    return first, trained[:-1].any(axis=0) & ~trained[-1]


def _mean(values: np.ndarray) -> float:
    """The mean; NaN, without a warning, of nothing."""
    return float(values.mean()) if values.size else float("nan")
