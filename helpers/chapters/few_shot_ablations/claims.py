"""What arXiv 2310.03981 says of its parts, and its open questions, each with a rule.

The paper prints no numbers for these that could be had; rules speak of directions. All at one
share of the annotated images, draw by draw.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from helpers.chapters.cells.run import CUPRE, LONGER, SOURCE
from helpers.chapters.cells.tables import rounds_of
from helpers.chapters.claims import ABOVE_ZERO, Claim
from helpers.chapters.few_shot_ablations.run import LENGTH, OWN, PART, QUEUE, ROUNDS, WEIGHT
from helpers.chapters.few_shot_ablations.tables import gap, lead, names_of, study
from helpers.experiments.gap import START

# Within half a point of AP a setting does not matter.
SAME = 0.005
# Names that say transformer; all other backbones are convolutional.
TRANSFORMERS = ("pyramid-", "vit", "swin", "deit", "beit", "eva", "mit_", "pvt")


def _means(found: pd.DataFrame) -> pd.Series:
    return found.mean(axis=1)


def _levels(name: str, chosen: Callable[[pd.Series], tuple[float, float] | None]):
    """One level of a study minus another, box AP, draw by draw."""

    def quantity(table: pd.DataFrame) -> list[float]:
        found = study(table, name)
        pair = chosen(_means(found)) if len(found) > 1 else None
        if pair is None:
            return []
        return [float(v) for v in (found.loc[pair[0]] - found.loc[pair[1]]).dropna()]

    return quantity


def _best_above_zero(means: pd.Series) -> tuple[float, float] | None:
    others = means[means.index > 0]
    return (float(others.idxmax()), 0.0) if 0.0 in means.index and len(others) else None


def _most_and_fewest(means: pd.Series) -> tuple[float, float]:
    return float(means.index.max()), float(means.index.min())


def range_of_settings(table: pd.DataFrame) -> list[float]:
    """Half a point minus the largest spread of means within a study of weight, rounds, queue."""
    studies = [study(table, name) for name in (WEIGHT, ROUNDS, QUEUE)]
    spreads = [np.ptp(_means(found)) for found in studies if len(found) > 1]
    return [SAME - float(max(spreads))] if spreads else []


def forgets_source(table: pd.DataFrame) -> list[float]:
    """Source AP after the last round, largest weight of L2-SP minus none."""
    levels = sorted(study(table, WEIGHT).index)
    if not levels or levels[0] != 0 or len(levels) < 2:
        return []
    ends = [rounds_of(table, f"{WEIGHT}: {level:g}", "source box_ap") for level in levels]
    if not len(ends[0]) or not len(ends[-1]):
        return []
    return [float(ends[-1].iloc[-1] - ends[0].iloc[-1])]


def backbone_held(table: pd.DataFrame) -> list[float]:
    """How far the source moves the backbone back: no L2-SP minus the largest weight, relative."""
    levels = sorted(study(table, WEIGHT).index)
    if not levels or levels[0] != 0 or len(levels) < 2:
        return []
    ways = []
    for level in (levels[0], levels[-1]):
        name = f"{WEIGHT}: {level:g}"
        ratio = rounds_of(table, name, "distance") / rounds_of(table, name, "anchor_norm")
        ways.append(float(ratio.mean()))
    return [ways[0] - ways[1]]


def gap_closed(table: pd.DataFrame) -> list[float]:
    """Classifier's accuracy on the source's detector minus that after the last round."""
    found = gap(table, "classifier")
    rounds = [name for name in found.index if name.startswith("round")]
    return [float(found[START] - found[rounds[-1]])] if rounds else []


def _leads(part: str, first: str, second: str, names: Callable[[pd.DataFrame], list[str]]):
    """The smallest lead over some backbones or data sets (by its mean), draw by draw."""

    def quantity(table: pd.DataFrame) -> list[float]:
        found = [lead(table, part, name, first, second) for name in names(table)]
        found = [values for values in found if values]
        return min(found, key=np.mean) if found else []

    return quantity


def _convolutional(table: pd.DataFrame) -> list[str]:
    return [n for n in names_of(table, "backbones") if not _is_transformer(n)]


def _transformers(table: pd.DataFrame) -> list[str]:
    return [n for n in names_of(table, "backbones") if _is_transformer(n)]


def _is_transformer(name: str) -> bool:
    return any(word in name.lower() for word in TRANSFORMERS)


def _elsewhere(table: pd.DataFrame) -> list[str]:
    return names_of(table, "elsewhere")


MECHANISM = "arXiv 2310.03981, section III-D"
QUESTION = "arXiv 2310.03981, open question"
CLAIMS = [
    Claim(
        "Alternating with cells beats as many steps on the source alone.",
        "arXiv 2310.03981, section III-B",
        "Box AP of the best share of steps on cells above 0 (by its mean) minus that of none, all "
        "steps equal: at least 0.001. The best of several is favoured.",
        _levels(PART, _best_above_zero),
        ABOVE_ZERO,
    ),
    Claim(
        "AMT2 brings cells and everyday pictures closer together.",
        "arXiv 2310.03981, introduction",
        "Balanced accuracy with which a line tells patches of cells from the source's, features of "
        "the source's detector minus those after the last round: at least 0.001.",
        gap_closed,
        ABOVE_ZERO,
    ),
    Claim(
        "L2-SP keeps what the cells taught: the source moves the backbone less.",
        MECHANISM,
        "Distance that the source moves the backbone in a round, relative to its length, without "
        "L2-SP minus with its largest weight: at least 0.001.",
        backbone_held,
        ABOVE_ZERO,
    ),
    Claim(
        "L2-SP helps the few-shot detector.",
        MECHANISM,
        "Box AP with the best weight above 0 (by its mean) minus that without: at least 0.001. The "
        "best of several is favoured.",
        _levels(WEIGHT, _best_above_zero),
        ABOVE_ZERO,
    ),
    Claim(
        "Holding the backbone does not cost the source.",
        MECHANISM,
        "Box AP on the source after the last round, largest weight of L2-SP minus none: at least "
        "-0.01.",
        forgets_source,
        -0.01,
    ),
    Claim(
        "More rounds are better than few, at equal steps.",
        "Ours: why alternate rather than do one after the other",
        "Box AP with the most rounds minus that with the fewest: at least 0.001.",
        _levels(ROUNDS, _most_and_fewest),
        ABOVE_ZERO,
    ),
    Claim(
        "Longer alternation makes a better few-shot detector.",
        "Ours: the paper does not give the number of steps",
        "Box AP after the most steps of AMT2 minus that after the fewest, sides in proportion: at "
        "least 0.001.",
        _levels(LENGTH, _most_and_fewest),
        ABOVE_ZERO,
    ),
    Claim(
        "The settings that the paper leaves open hardly matter.",
        "Ours",
        "Largest difference of mean box AP between levels of a study (weight of L2-SP, rounds, "
        "keys of the queue): no more than 0.005 (0.005 minus it at least 0).",
        range_of_settings,
        0.0,
    ),
    Claim(
        "CUPre beats the longer source on every convolutional backbone.",
        "arXiv 2310.03981, comparison of backbones",
        "Smallest lead in box AP over backbones: at least 0.001.",
        _leads("backbones", CUPRE, LONGER, _convolutional),
        ABOVE_ZERO,
    ),
    Claim(
        "It also does on a plain vision transformer.",
        f"{QUESTION} 3",
        "Lead in box AP of CUPre over the longer source on backbones that are transformers: at "
        "least 0.001.",
        _leads("backbones", CUPRE, LONGER, _transformers),
        ABOVE_ZERO,
    ),
    Claim(
        "CUPre helps on modalities that its unlabelled cells did not show.",
        f"{QUESTION} 1",
        "Smallest lead in box AP over the source's detector on data sets not pretrained on: at "
        "least 0.001.",
        _leads("elsewhere", CUPRE, SOURCE, _elsewhere),
        ABOVE_ZERO,
    ),
    Claim(
        "There, unlabelled cells of the own modality are worth more than others.",
        f"Ours, on {QUESTION.partition(', ')[2]} 1",
        "Smallest lead in box AP of CUPre on the modality's own cells over CUPre on the others': "
        "at least 0.001.",
        _leads("elsewhere", OWN, CUPRE, _elsewhere),
        ABOVE_ZERO,
    ),
]
