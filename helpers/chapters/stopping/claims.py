"""Claims of arXiv 2410.18677 put to our own pretraining, each with the rule that settles it."""

from collections.abc import Callable

import pandas as pd

from helpers.chapters.claims import ABOVE_ZERO, Claim
from helpers.chapters.stopping.tables import (
    ACCURACY,
    FULL,
    NONE,
    ONLINE,
    OTHERS,
    RANDOM,
    ROBUST,
    values,
)


def _of(rule: str) -> Callable[[pd.DataFrame], list[float]]:
    return lambda table: [float(value) for value in values(table, rule)]


def _minus(rule: str, other: str) -> Callable[[pd.DataFrame], list[float]]:
    """TIS of one rule minus that of another, by seed."""

    def quantity(table: pd.DataFrame) -> list[float]:
        return [float(value) for value in (values(table, rule) - values(table, other)).dropna()]

    return quantity


def _saved(table: pd.DataFrame) -> list[float]:
    """Share of the epochs that online stopping did not need, by seed."""
    return [float(value) for value in values(table, ONLINE, "compute_saved")]


PLACE = "arXiv 2410.18677, abstract and section 6"
CLAIMS = [
    Claim(
        "Choosing a checkpoint by robustness reaches a TIS of over 98% on average.",
        PLACE,
        "TIS of the checkpoint with the lowest robustness loss (published form), mean over tasks "
        "and over frozen and fine-tuned encoders: at least 0.98.",
        _of(ROBUST),
        0.98,
    ),
    Claim(
        "It outperforms full pretraining.",
        PLACE,
        "TIS minus that of the last checkpoint: above zero (at least 0.001).",
        _minus(ROBUST, FULL),
        ABOVE_ZERO,
    ),
    Claim(
        "It outperforms no pretraining.",
        PLACE,
        "TIS minus that of the random initialisation: above zero (at least 0.001).",
        _minus(ROBUST, NONE),
        ABOVE_ZERO,
    ),
    Claim(
        "Shorter pretraining often leads to better results.",
        "arXiv 2410.18677, abstract",
        "TIS of the checkpoint with the highest Dice on the other seeds minus that of the last "
        "checkpoint: above zero (at least 0.001).",
        _minus(OTHERS, FULL),
        ABOVE_ZERO,
    ),
    Claim(
        "Used online, to stop the pretraining, it reaches a TIS of over 98%, too.",
        PLACE,
        "TIS after a pretraining that was really stopped: at least 0.98.",
        _of(ONLINE),
        0.98,
    ),
    Claim(
        "Stopping online saves most of the pretraining.",
        PLACE,
        "Share of the epochs that were not needed: at least 0.5.",
        _saved,
        0.5,
    ),
    Claim(
        "Stopping online still beats training without any pretraining.",
        PLACE,
        "TIS after a pretraining that was really stopped minus that of the random initialisation: "
        "above zero (at least 0.001).",
        _minus(ONLINE, NONE),
        ABOVE_ZERO,
    ),
    Claim(
        "Ours: it beats a checkpoint drawn at random.",
        "this book",
        "TIS minus the expectation over the pretrained checkpoints: above zero (at least 0.001).",
        _minus(ROBUST, RANDOM),
        ABOVE_ZERO,
    ),
    Claim(
        "Ours: it is a better indicator than accuracy on the source.",
        "this book",
        "TIS minus that of the checkpoint with the highest accuracy: above zero (at least 0.001).",
        _minus(ROBUST, ACCURACY),
        ABOVE_ZERO,
    ),
    Claim(
        "Ours: the repairs (jitter per image, jitter that knows grey images, all negatives, none "
        "of the same patient) make it better.",
        "this book",
        "TIS of the repaired form minus that of the published form: above zero (at least 0.001).",
        _minus(f"{ROBUST}, all repairs", ROBUST),
        ABOVE_ZERO,
    ),
]
