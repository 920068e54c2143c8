"""The measures of forgetting and transfer over seeds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from helpers.errors import ParameterError
from helpers.metrics import student_interval
from helpers.retention.measures import (
    Learned,
    as_floats,
    average_accuracy,
    backward_transfer,
    check_learned,
    check_scores,
    domain_forgetting,
    drop,
    forgetting,
    forward_transfer,
    relative_drop,
)


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
    """Every measure over seeds, see the functions of the same name.

    Attributes:
        average_accuracy, backward_transfer, forgetting: as the functions.
        forward_transfer: the same; NaN without untrained scores.
        drop, relative_drop: mean over the source domains, those of stage 0, between the scores
            after stage 0 and after the last stage, replayed or not; NaN with one stage. The share
            is taken for each domain before the mean.
        domain_forgetting: one summary for each domain, in the order of the columns.
    """

    average_accuracy: SeedSummary
    backward_transfer: SeedSummary
    forward_transfer: SeedSummary
    forgetting: SeedSummary
    drop: SeedSummary
    relative_drop: SeedSummary
    domain_forgetting: tuple[SeedSummary, ...]


def summarise(
    matrices: ArrayLike,
    learned: Learned,
    untrained: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> RetentionSummary:
    """Summarise the measures of one sequence of trainings repeated with several seeds.

    A measure is computed for each seed, then averaged, so that the interval shows how much the
    measure itself varies.

    Args:
        matrices: floats (seeds, stages, domains), scores in 0..1; see `measures`.
        learned: for each stage the columns trained in it, the same for every seed.
        untrained: scores before any training, floats (domains,), or (seeds, domains) where each
            seed starts from its own weights. Without them forward transfer is NaN.
        level: nominal coverage of the intervals, between 0 and 1.

    Raises:
        ParameterError: wrong shapes, no seed, infinite values, ``learned`` not one or more existing
            columns for each stage, or a level outside (0, 1).
    """
    scores = check_scores(matrices, "matrices", 3)
    sources = sorted(check_learned(learned, *scores.shape[1:])[0])
    starts = _untrained_of_seeds(untrained, scores)
    lost = np.array([domain_forgetting(matrix, learned) for matrix in scores])
    measures = {
        "average_accuracy": [average_accuracy(matrix, learned) for matrix in scores],
        "backward_transfer": [backward_transfer(matrix, learned) for matrix in scores],
        "forward_transfer": [
            forward_transfer(matrix, learned, start)
            for matrix, start in zip(scores, starts, strict=True)
        ],
        "forgetting": [forgetting(matrix, learned) for matrix in scores],
        "drop": _source_mean(drop, scores, sources),
        "relative_drop": _source_mean(relative_drop, scores, sources),
    }
    return RetentionSummary(
        **_over_seeds(measures, level),
        domain_forgetting=tuple(
            _over_seeds({str(k): column for k, column in enumerate(lost.T)}, level).values()
        ),
    )


def _source_mean(measure: Callable, scores: np.ndarray, sources: list[int]) -> np.ndarray:
    """(seeds,): `drop` or `relative_drop` of the first to the last stage, mean over ``sources``."""
    if scores.shape[1] == 1:
        return np.full(len(scores), np.nan)
    return measure(scores[:, 0, sources], scores[:, -1, sources]).mean(axis=1)


def _untrained_of_seeds(untrained: ArrayLike | None, scores: np.ndarray) -> np.ndarray:
    """(seeds, domains), NaN if there are none."""
    n_seeds, _, n_domains = scores.shape
    if untrained is None:
        return np.full((n_seeds, n_domains), np.nan)
    starts = as_floats(untrained, "untrained")
    if starts.shape not in ((n_domains,), (n_seeds, n_domains)):
        raise ParameterError(
            f"untrained has shape {starts.shape}; expected ({n_domains},), one score for each "
            f"domain, or ({n_seeds}, {n_domains}), the same for each seed"
        )
    return np.broadcast_to(starts, (n_seeds, n_domains))


def _over_seeds(measures: dict[str, ArrayLike], level: float) -> dict[str, SeedSummary]:
    return {name: _seed_summary(np.asarray(values), level) for name, values in measures.items()}


def _seed_summary(values: np.ndarray, level: float) -> SeedSummary:
    kept = values[~np.isnan(values)]
    low, high = student_interval(kept, level=level) if len(kept) else (np.nan, np.nan)
    mean = float(kept.mean()) if len(kept) else float("nan")
    return SeedSummary(mean, low, high, len(kept), tuple(map(float, values)))
