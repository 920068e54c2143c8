"""Claims: a sentence of a paper, the rule that settles it, and what the numbers say.

A rule is fixed before a run. It is a number computed from a results table, to be compared with a
threshold; the same rule is applied to the published numbers, to the recorded run and to this run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from helpers.metrics import student_interval

Outcome = Literal["holds", "does not hold", "not tested here"]


@dataclass(frozen=True)
class Claim:
    """One claim with its rule.

    Attributes:
        text: what is claimed.
        source: where (section, table).
        rule: the rule in words.
        quantity: from a results table of one source to one value per seed (or a single value where
            there are no seeds); empty if the table lacks the rows it needs.
        threshold: the claim holds if the mean of the values is at least this.
    """

    text: str
    source: str
    rule: str
    quantity: Callable[[pd.DataFrame], list[float]]
    threshold: float


@dataclass(frozen=True)
class Verdict:
    """What a rule says of one source of numbers.

    Attributes:
        value: mean over seeds; low, high: its 95 % Student interval over seeds (nan below two).
        decided: whether the whole interval lies on one side of the threshold.
    """

    outcome: Outcome
    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    n_seeds: int = 0
    decided: bool = False


def judge(claim: Claim, table: pd.DataFrame) -> Verdict:
    """Apply a claim's rule to the rows of one source."""
    values = [value for value in claim.quantity(table) if np.isfinite(value)]
    if not values:
        return Verdict("not tested here")
    mean = float(np.mean(values))
    outcome = "holds" if mean >= claim.threshold else "does not hold"
    if len(values) < 2:
        return Verdict(outcome, mean, n_seeds=len(values))
    low, high = student_interval(values)
    decided = low >= claim.threshold or high < claim.threshold
    return Verdict(outcome, mean, float(low), float(high), len(values), decided)


def judge_all(claims: list[Claim], sources: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per claim, one column per source of numbers, verdicts in words with their value."""
    rows = []
    for claim in claims:
        row = {"claim": claim.text, "where": claim.source, "rule": claim.rule}
        row |= {name: describe(judge(claim, table)) for name, table in sources.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def describe(verdict: Verdict) -> str:
    """A verdict as it stands in a table: outcome, value, interval over seeds, how sure."""
    if verdict.outcome == "not tested here":
        return verdict.outcome
    if verdict.n_seeds < 2:
        return f"{verdict.outcome} ({verdict.value:.3f})"
    interval = f"{verdict.value:.3f}, {verdict.low:.3f} to {verdict.high:.3f}"
    doubt = "" if verdict.decided else "; interval crosses the threshold"
    return f"{verdict.outcome} ({interval} over {verdict.n_seeds} seeds{doubt})"
