"""What arXiv 2307.03275 reads from its Fig. 4, each with a rule that settles it.

The paper looks at maps and measures nothing, so that there is no published value to put a rule to,
and its words leave open how much is meant. One network per start and data set: a rule gives one
number, without an interval over runs.
"""

from collections.abc import Callable

import pandas as pd

from helpers.chapters.claims import ABOVE_ZERO, Claim
from helpers.chapters.representations.tables import (
    ALL_STARTS,
    before_pairs,
    overlaps,
    untrained_pair,
    values,
)
from helpers.experiments.representations import DECODER, DEEPEST, FIRST

Quantity = Callable[[pd.DataFrame], list[float]]
# Half-way between clouds that are one and clouds that lie apart.
CLOUDS_OVERLAP = 0.5
# Share of the way from shuffled samples to a rigid transformation, which is 1.
RIGID = 0.9
TOLD_APART = 0.9


def first_clouds_overlap(table: pd.DataFrame) -> list[float]:
    """Overlap of the clouds at the first level, mean over data sets."""
    found = overlaps(table)
    return [float(found[FIRST].mean())] if len(found) else []


def overlap_decreases(table: pd.DataFrame) -> list[float]:
    """Overlap at the first level minus that at the deepest, mean over data sets."""
    found = overlaps(table)
    return [float((found[FIRST] - found[DEEPEST]).mean())] if len(found) else []


def beyond_chance(place: str) -> Quantity:
    """Neighbourhood overlap minus the upper end of chance, the smallest over pairs."""

    def quantity(table: pd.DataFrame) -> list[float]:
        found, high = (
            values(table, "pairs", f"neighbours{end}", place) for end in ("", " by chance, high")
        )
        return [float((found - high).min().min())] if len(found) else []

    return quantity


def rigid(place: str) -> Quantity:
    """Way of the Procrustes disparity from chance to 0, the smallest over pairs."""

    def quantity(table: pd.DataFrame) -> list[float]:
        found = values(table, "pairs", "procrustes above chance", place)
        return [float(found.min().min())] if len(found) else []

    return quantity


def deepest_moves_most(table: pd.DataFrame) -> list[float]:
    """CKA of before and after fine-tuning, first level minus deepest, mean over networks."""
    found = values(table, "moved", "debiased_cka")
    return [float((found[FIRST] - found[DEEPEST]).mean())] if len(found) else []


def more_alike_than_untrained(table: pd.DataFrame) -> list[float]:
    """Mean CKA of pairs at the deepest level minus that of two random encoders."""
    found = values(table, "pairs", "debiased_cka", DEEPEST)
    if found.empty:
        return []
    return [float(found[DEEPEST].mean() - untrained_pair(table, "debiased_cka", DEEPEST))]


def drawn_together(table: pd.DataFrame) -> list[float]:
    """Mean CKA of pairs at the deepest level, after minus before fine-tuning."""
    found = values(table, "pairs", "debiased_cka", DEEPEST)
    if found.empty:
        return []
    before = before_pairs(table, "debiased_cka", DEEPEST)
    return [float(found[DEEPEST].mean() - before.mean())]


def reordered_lies_apart(table: pd.DataFrame) -> list[float]:
    """Accuracy with which a network and itself reordered are told apart, deepest level, mean."""
    found = values(table, "clouds", "accuracy", DEEPEST)
    found = found[found.index.get_level_values("method") != ALL_STARTS]
    return [float(found[DEEPEST].mean())] if len(found) else []


PLACE = "arXiv 2307.03275, section 3, UMAP results, and Fig. 4"
CLAIMS = [
    Claim(
        "In the first layer the features of all initialisations form clouds that overlap.",
        PLACE,
        "How well five nearest neighbours (of other patients) tell whose features they are: 1 if "
        "they guess, 0 if they are always right, mean over data sets: at least 0.5.",
        first_clouds_overlap,
        CLOUDS_OVERLAP,
    ),
    Claim(
        "With depth the representations become more distinct and the overlap decreases.",
        PLACE,
        "The same at the first level minus at the deepest: above zero (at least 0.001).",
        overlap_decreases,
        ABOVE_ZERO,
    ),
    Claim(
        "Deepest features are topologically similar across initialisations.",
        PLACE,
        "Shared nearest neighbours minus the upper end of the 95% interval of shuffled patches, "
        "the smallest over pairs of starts and data sets: above zero (at least 0.001).",
        beyond_chance(DEEPEST),
        ABOVE_ZERO,
    ),
    Claim(
        "Deepest features of different initialisations may be related via a rigid transformation.",
        PLACE,
        "Procrustes disparity, as the share of the way from shuffled patches (0) to a rigid "
        "transformation (1), the smallest over pairs of starts and data sets: at least 0.9.",
        rigid(DEEPEST),
        RIGID,
    ),
    Claim(
        "A similar conclusion is valid for the decoder: topologically similar.",
        PLACE,
        "As for the deepest features.",
        beyond_chance(DECODER),
        ABOVE_ZERO,
    ),
    Claim(
        "A similar conclusion is valid for the decoder: related via a rigid transformation.",
        PLACE,
        "As for the deepest features.",
        rigid(DECODER),
        RIGID,
    ),
    Claim(
        "Ours: clouds that lie apart on a joint map need not be different representations.",
        "this book",
        "Accuracy with which a network is told apart from itself with its channels in another "
        "order, deepest level, mean: at least 0.9.",
        reordered_lies_apart,
        TOLD_APART,
    ),
    Claim(
        "Ours: fine-tuning changes the deepest features more than the first.",
        "this book",
        "Debiased CKA of an encoder before and after, first level minus deepest, mean over starts "
        "and data sets: above zero (at least 0.001).",
        deepest_moves_most,
        ABOVE_ZERO,
    ),
    Claim(
        "Ours: fine-tuned networks are more alike than two that never learnt anything.",
        "this book",
        "Debiased CKA at the deepest level, mean over pairs of starts, minus that of two draws of "
        "random weights: above zero (at least 0.001).",
        more_alike_than_untrained,
        ABOVE_ZERO,
    ),
    Claim(
        "Ours: learning the same task draws the networks together.",
        "this book",
        "Debiased CKA at the deepest level, mean over pairs of starts, after fine-tuning minus "
        "before: above zero (at least 0.001).",
        drawn_together,
        ABOVE_ZERO,
    ),
]
