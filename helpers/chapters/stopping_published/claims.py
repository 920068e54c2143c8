"""Claims of arXiv 2410.18677 that its released numbers can settle, each with its rule.

A claim that something is better asks for :data:`helpers.chapters.claims.ABOVE_ZERO`, not for zero:
a tie is no gain.
"""

import pandas as pd

from helpers.chapters.claims import ABOVE_ZERO, Claim
from helpers.chapters.stopping_published.tables import (
    ACCURACY,
    FULL,
    NONE,
    PUBLISHED_RULE,
    RANDOM,
    values,
)
from helpers.experiments.released import OnlineRule


def _minus(other: str):
    """TIS of the published rule minus that of another, by seed."""

    def quantity(table: pd.DataFrame) -> list[float]:
        difference = values(table, PUBLISHED_RULE) - values(table, other)
        return [float(value) for value in difference.dropna()]

    return quantity


def _tis(table: pd.DataFrame) -> list[float]:
    return [float(value) for value in values(table, PUBLISHED_RULE)]


def _online(table: pd.DataFrame) -> list[float]:
    return [float(value) for value in values(table, OnlineRule().name)]


def _shorter(table: pd.DataFrame) -> list[float]:
    return [float(value) for value in table.loc[table["table"] == "shorter", "value"]]


def _best_setting(table: pd.DataFrame) -> list[float]:
    """The best of all forms of the score minus the full pretraining, TIS."""
    rows = table[table["table"] == "settings"]
    if rows.empty:
        return []
    best = rows.groupby("method")["value"].mean().idxmax()
    of_best = rows[rows["method"] == best].set_index("seed")["value"].astype(float)
    return [float(value) for value in (of_best - values(table, FULL)).dropna()]


PLACE = "arXiv 2410.18677, abstract and section 6"
CLAIMS = [
    Claim(
        "The robustness score reaches a TIS of over 98% on average.",
        PLACE,
        "TIS of the checkpoint with the lowest loss (the form of the score chosen in the "
        "parameters), averaged over set-ups: at least 0.98.",
        _tis,
        0.98,
    ),
    Claim(
        "Choosing by robustness outperforms no pretraining.",
        PLACE,
        "TIS minus that of the random initialisation, averaged over set-ups: above zero, that is "
        "at least 0.001.",
        _minus(NONE),
        ABOVE_ZERO,
    ),
    Claim(
        "Choosing by robustness outperforms full pretraining.",
        PLACE,
        "TIS minus that of the longest pretraining, averaged over set-ups: above zero, that is at "
        "least 0.001.",
        _minus(FULL),
        ABOVE_ZERO,
    ),
    Claim(
        "The accuracy on ImageNet is a poor indicator of the result after transfer.",
        "arXiv 2410.18677, abstract; the rule is ours, because the paper names none",
        "Poor is read as: worse than the score of the paper. TIS of the lowest loss minus that of "
        "the checkpoint with the highest accuracy, averaged over set-ups: above zero, that is at "
        "least 0.001.",
        _minus(ACCURACY),
        ABOVE_ZERO,
    ),
    Claim(
        "Shorter pretraining often leads to better results.",
        "arXiv 2410.18677, abstract; the rule is ours, because the paper names none",
        "For every seed, the pretraining shorter than the longest (length 0 is none) with the "
        "highest mean Dice of the other seeds; its Dice minus that of the longest, averaged over "
        "set-ups: above zero, that is at least 0.001.",
        _shorter,
        ABOVE_ZERO,
    ),
    Claim(
        "Used online, as early stopping, the score keeps a TIS of over 98%.",
        PLACE,
        "Stopped at the first checkpoint whose loss is no new minimum (the paper states no "
        "patience, smoothing or smallest length; other values stand in the section on stopping "
        "early), averaged over set-ups: at least 0.98.",
        _online,
        0.98,
    ),
    Claim(
        "Ours: choosing by robustness beats a checkpoint drawn at random.",
        "this book",
        "TIS minus the expectation for a pretrained checkpoint drawn at random, averaged over "
        "set-ups: above zero, that is at least 0.001.",
        _minus(RANDOM),
        ABOVE_ZERO,
    ),
    Claim(
        "Ours: at least one form of the score beats full pretraining.",
        "this book",
        "The form with the highest mean TIS, found by looking at all of them, minus full "
        "pretraining: above zero, that is at least 0.001.",
        _best_setting,
        ABOVE_ZERO,
    ),
]
