"""How good was the choice of a checkpoint? And rules that choose one.

Checkpoints of one pretraining lie in a row, from the random initialisation (length 0) or the first
kept one to the last. For each there is an indicator (for instance the robustness loss) and, for
several seeds, what the segmentation reached that started from it. A rule sees the indicator alone.

TIS, the *transferability indicator score* of arXiv 2410.18677 (section 3.2), is the score of the
chosen checkpoint over that of the best one, both means over seeds. It flatters: where all
checkpoints are alike every rule is near 1. Therefore it stands beside the regret (the difference
itself), the compute saved, the rank correlation and what trivial rules reach.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.errors import ParameterError


@dataclass(frozen=True)
class OnlineStop:
    """Where an online rule stopped, as positions in the row of checkpoints.

    Attributes:
        chosen: the checkpoint that is used.
        seen: the last one that was pretrained and looked at; the last of all if it never stopped.
        enough: whether the rule would look no further, whatever came next.
        triggered: whether it stopped before the end of the row.
    """

    chosen: int
    seen: int
    enough: bool
    triggered: bool


@dataclass(frozen=True)
class StoppingRule:
    """Early stopping on an indicator that is lower for better checkpoints.

    The paper states no patience, smoothing or least length; they are parameters here.

    Attributes:
        patience: looks without a new minimum after which the pretraining stops, at least 1.
        smoothing: looks over which the indicator is averaged before it is compared (1: none).
        least: position from which on the rule may choose; earlier looks are not compared.
        watch_start: also compare with the random initialisation (position 0), which the published
            rule ignores: if no later checkpoint up to the stop is lower than position 0, that is
            chosen ("no pretraining").
    """

    patience: int = 1
    smoothing: int = 1
    least: int = 1
    watch_start: bool = False


def stop_online(indicator: Sequence[float], rule: StoppingRule) -> OnlineStop:
    """Follow a row of checkpoints and stop where the rule says so.

    Args:
        indicator: lower is better; position 0 is the random initialisation. NaN where a checkpoint
            was not looked at: it is passed over.

    Raises:
        ParameterError: no checkpoint that the rule may choose.
    """
    values = np.asarray(indicator, dtype=float)
    looks = [i for i in range(rule.least, len(values)) if np.isfinite(values[i])]
    if not looks:
        raise ParameterError(
            f"least={rule.least}: no finite value of the indicator from there on "
            f"({len(values)} checkpoints)"
        )
    best, lowest, waited, seen = looks[0], np.inf, 0, looks[0]
    for place, at in enumerate(looks):
        seen = at
        level = values[looks[max(0, place - rule.smoothing + 1) : place + 1]].mean()
        if level < lowest:
            best, lowest, waited = at, level, 0
        else:
            waited += 1
        if waited >= rule.patience:
            break
    if rule.watch_start:
        best = 0 if lowest >= values[0] else best
    enough = waited >= rule.patience
    return OnlineStop(best, seen, enough, triggered=enough and seen != looks[-1])


def choose_lowest(indicator: Sequence[float]) -> int:
    """Position of the smallest value, the first of equal ones: the offline choice by a loss.

    Raises:
        ParameterError: no finite value.
    """
    values = np.asarray(indicator, dtype=float)
    if not np.isfinite(values).any():
        raise ParameterError("indicator: no finite value to choose by")
    return int(np.nanargmin(values))


def choose_highest(indicator: Sequence[float]) -> int:
    """Position of the largest value: the offline choice by an indicator that is higher for better.

    Raises:
        ParameterError: no finite value.
    """
    return choose_lowest(-np.asarray(indicator, dtype=float))


def scores_by_seed(
    scores: np.ndarray, chosen: int | Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """TIS and regret of a choice for every seed, float64 (seeds,) each, NaN for a seed never there.

    Paired: ``regret_s`` is the score of seed ``s`` at the best length minus what the same seed
    reached at the chosen one, ``TIS_s = 1 - regret_s / best mean``. So an easy or hard seed does
    not widen the interval, the best checkpoint has exactly 1 for every seed, and a seed may exceed
    1 elsewhere. The best length is that of the highest mean over seeds, so that the mean over seeds
    of the TIS is the published one. (The best of several noisy means is biased upwards: no rule can
    reach 1 on new seeds, the oracle included.)

    Args:
        scores: (lengths, seeds), NaN where a model is missing. A seed that lacks some lengths
            stands there at the mean of the others, which leaves every mean as it is.
        chosen: position, or several of which one is drawn at random: then the expectation counts.
    """
    table = np.asarray(scores, dtype=float)
    means = _means(table)
    top = int(np.nanargmax(means))
    filled = np.where(np.isnan(table), means[:, None], table)
    regret = filled[top] - filled[np.atleast_1d(chosen)].mean(axis=0)
    regret[np.isnan(table).all(axis=0)] = np.nan
    return 1 - regret / means[top], regret


def rank_correlation(indicator: Sequence[float], scores: np.ndarray) -> float:
    """Spearman's correlation of an indicator with mean scores over the checkpoints that have both.

    For a loss a good indicator has a negative one. NaN below three checkpoints, or where either is
    constant.
    """
    from scipy.stats import spearmanr

    values, means = np.asarray(indicator, dtype=float), _means(scores)
    both = np.isfinite(values) & np.isfinite(means)
    if both.sum() < 3 or np.ptp(values[both]) == 0 or np.ptp(means[both]) == 0:
        return float("nan")
    return float(spearmanr(values[both], means[both]).statistic)


def compute_saved(lengths: Sequence[float], seen: int) -> float:
    """Share of the full pretraining that a rule did not need, 0..1.

    Args:
        lengths: of the checkpoints (epochs, steps or seconds), ascending.
        seen: position up to which was pretrained. An offline choice has seen everything and saves
            nothing, whichever checkpoint it takes.
    """
    ascending = np.asarray(lengths, dtype=float)
    return float(1 - ascending[seen] / ascending[-1])


def _means(scores: np.ndarray) -> np.ndarray:
    """Mean over seeds, (lengths,), NaN where no seed is there."""
    table = np.asarray(scores, dtype=float)
    if table.ndim == 1:
        return table
    counts = np.isfinite(table).sum(axis=1)
    return np.where(counts > 0, np.nansum(table, axis=1) / np.maximum(counts, 1), np.nan)
