"""Claims: a sentence of a paper, the rule that settles it, and what the numbers say.

A rule is fixed before a run. It is a number computed from a results table, to be compared with a
threshold; the same rule is applied to the published numbers, to the recorded run and to this run.
"""

import html
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd

from helpers.chapters.figures import csv_link
from helpers.metrics import student_interval

# Threshold for "better": a tie is no gain.
ABOVE_ZERO = 0.001

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
        value: mean over seeds; low, high: its 95% Student interval over seeds (nan below two).
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
    """One row per claim and source: outcome, the rule's number, its interval over seeds."""
    rows = []
    for claim in claims:
        for name, table in sources.items():
            verdict = judge(claim, table)
            row = {"claim": claim.text, "where": claim.source, "rule": claim.rule, "source": name}
            rows.append({**row, "threshold": claim.threshold, **asdict(verdict)})
    return pd.DataFrame(rows)


def describe(verdict: Verdict) -> str:
    """The number behind a verdict, its interval over seeds and how sure that makes it."""
    if verdict.outcome == "not tested here":
        return "no runs to which the rule applies"
    if verdict.n_seeds < 2:
        return f"{verdict.value:.3f}"
    interval = f"{verdict.value:.3f}, 95% interval {verdict.low:.3f} to {verdict.high:.3f}"
    doubt = "" if verdict.decided else "; it includes the threshold"
    return f"{interval} over {verdict.n_seeds} seeds{doubt}"


class ShownVerdicts:
    """Claims with their rules and verdicts as plain HTML, one card per claim."""

    def __init__(self, claims: list[Claim], sources: dict[str, pd.DataFrame]) -> None:
        self._claims, self._sources = claims, sources

    def _repr_html_(self) -> str:
        cards = "".join(self._card(claim) for claim in self._claims)
        link = csv_link(judge_all(self._claims, self._sources), "verdicts.csv")
        return f'<div class="book-claims">{cards}</div><p class="book-caption">{link}</p>'

    def _card(self, claim: Claim) -> str:
        verdicts = "".join(
            _verdict_line(name, judge(claim, table)) for name, table in self._sources.items()
        )
        return (
            f'<div class="book-claim"><p class="book-claim-text">{html.escape(claim.text)}</p>'
            f'<p class="book-claim-rule">{html.escape(claim.source)}. '
            f"<em>Rule:</em> {html.escape(claim.rule)}</p><ul>{verdicts}</ul></div>"
        )


def _verdict_line(source: str, verdict: Verdict) -> str:
    kind = verdict.outcome.replace(" ", "-")
    return (
        f'<li><span class="book-source">{html.escape(source)}</span> '
        f'<span class="book-verdict book-{kind}">{verdict.outcome}</span> '
        f"<span>{html.escape(describe(verdict))}</span></li>"
    )


def show_verdicts(claims: list[Claim], sources: dict[str, pd.DataFrame]) -> ShownVerdicts:
    """Judge all claims by all sources and turn that into the notebook's output."""
    return ShownVerdicts(claims, sources)
