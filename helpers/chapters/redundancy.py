"""Chapter ``redundancy``: claims of arXiv 2511.04803, Table I, on how much data is enough.

Rules speak of Dice, as the paper's table does, of models trained for equal steps: ours on random
subsets, the paper's on subsets chosen by dataset quantization. Whether the choice matters is told
in the chapter ``coreset``.
"""

from typing import Any, Literal

import pandas as pd
from pydantic import Field

from helpers.book import results
from helpers.book.claims import Claim, Gate
from helpers.book.parameters import Distinct, SegmentationParameters, Share
from helpers.book.results import Cells
from helpers.experiments import selection
from helpers.experiments.selection import ALL, EPOCHS, Arm, Models

PUBLISHED = ("2511.04803-table-I",)
# Patches of the paper's "Cyto", of which its shares are.
PUBLISHED_PATCHES = 10_063
METRIC_NAMES = {
    "iou": "IoU",
    "dice": "Dice",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "pq_paper": "IoU × Dice (“PQ”)",
    "pq": "panoptic quality",
    "ap_50": "AP at IoU 0.5",
    "aji": "AJI",
    "foreground_dice": "Dice before instances",
}


class SubsetParameters(SegmentationParameters):
    """What the chapters on chosen patches share."""

    rotate: bool = Field(
        False, description="split anew for each seed, so that in turn all images are tested"
    )
    rates: Distinct[Share] = Field([0.05, 0.3, 1.0], description="shares of training patches")
    n_bins: int = Field(10, ge=1, description="bins of dataset quantization")


class Parameters(SubsetParameters):
    """Parameters of the chapter ``redundancy``."""

    selections: Distinct[Literal["random", "dq_paper_eq", "dq_official_code"]] = Field(
        ["random", "dq_paper_eq", "dq_official_code"], description="how patches are chosen"
    )
    equal_epochs: bool = Field(True, description="also train random subsets for equal epochs")


def arms(p: Parameters) -> list[Arm]:
    """Seed by seed: selections x shares at equal steps, then equal epochs, then all patches."""
    small = [rate for rate in p.rates if rate < 1]
    kinds = [(method, rate, "steps") for method in p.selections for rate in small]
    kinds += [("random", rate, "epochs") for rate in small if p.equal_epochs]
    kinds += [(ALL, 1.0, "steps")] if 1.0 in p.rates else []
    return [Arm(method, rate, seed, budget) for seed in p.seeds for method, rate, budget in kinds]


def numbers(
    p: SubsetParameters, models: Models, name: str = "I"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables ``name`` and ``baselines``, and values of single images."""
    images = results.images_of(selection.scored(p, models, name)).astype({"seed": "Int64"})
    return results.table_of(images), images


def curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a figure over patches: all of them end the curve of every method.

    Args:
        rows: with the column ``source``; the paper's shares become numbers of its patches.
    """
    patches = rows["patches"].fillna(rows["rate"] * PUBLISHED_PATCHES / 100)
    rows = rows.assign(patches=patches.astype(float))
    chosen, whole = rows[rows["method"] != ALL], rows[rows["method"] == ALL]
    each = chosen[["source", "method"]].drop_duplicates()
    return results.joined([chosen, each.merge(whole.drop(columns="method"), on="source")])


# -------------------------------------------------------------------------- claims


def dice(c: Cells, rate: float) -> Any:
    """At a share in per cent: of random subsets, or of DQ in the paper's table; 100: of all."""
    return c("dice", table="I", method=["random", "DQ", ALL], rate=rate)


def shares(c: Cells, low: float = 0, high: float = 99) -> list[float]:
    """Shares below all that were measured from ``low`` to ``high`` per cent, ascending."""
    found = c.values("rate", table="I", method=["random", "DQ"])
    return [rate for rate in found if low <= rate <= high]


def share_at_ten(c: Cells) -> Any:
    """Dice at 10 % over Dice on all."""
    return dice(c, 10) / dice(c, 100)


def first_ten(c: Cells) -> Any:
    """The rise up to 10 % minus half of the whole rise."""
    least = next(iter(shares(c, high=9)), float("nan"))
    return (dice(c, 10) - dice(c, least)) - 0.5 * (dice(c, 100) - dice(c, least))


def beyond_forty(c: Cells) -> Any:
    """Dice at the largest share from 20 to 40 % minus Dice on all."""
    return dice(c, max(shares(c, 20, 40), default=float("nan"))) - dice(c, 100)


def steps_minus_epochs(c: Cells) -> Any:
    """At the smallest share: Dice at equal steps minus Dice at equal epochs."""
    at = {"table": "I", "rate": next(iter(shares(c)), float("nan"))}
    return c("dice", **at, method="random") - c("dice", **at, method="random" + EPOCHS)


def rise(c: Cells) -> Any:
    """Dice on all minus Dice at the smallest share."""
    return dice(c, 100) - dice(c, next(iter(shares(c)), float("nan")))


WRITTEN, REWRITTEN = "2026-11-21", "2026-11-30"
GATES = [
    Gate("all patches", "pq", {"table": "I", "method": ALL}, {"table": "baselines"}, margin=0.02)
]
_JUDGED = ("all patches",)
CLAIMS = [
    Claim(
        "About 10% of the training data yields near-saturated performance.",
        "arXiv 2511.04803, contributions; Table I",
        "Dice at 10% is more than 95% of Dice on all data.",
        share_at_ten,
        *(0.95, _JUDGED, WRITTEN),
    ),
    Claim(
        "The first 10% already captures most of the essential information.",
        "arXiv 2511.04803, section IV-A",
        "The rise in Dice from the smallest share below 10% to 10%, minus half of the rise to all "
        "data: above 0.",
        first_ten,
        *(0, _JUDGED, REWRITTEN),
        "the rule was a quotient by the whole rise: noise where that is near zero, and seeds with "
        "a small rise were left out.",
    ),
    Claim(
        "Beyond 40% additional data are of little value.",
        "arXiv 2511.04803, section IV-A",
        "Dice at 40%, or else at the largest share measured from 20% to 40%, is less than 0.01 "
        "below Dice on all data.",
        beyond_forty,
        *(-0.01, _JUDGED, REWRITTEN),
        "until then only 40% itself counted; margin and meaning are those of 2026-11-21.",
    ),
    Claim(
        "Ours: equal epochs make small subsets look worse than they are.",
        "this book",
        "At the smallest share, Dice at equal steps is more than 0.02 above that at equal epochs.",
        steps_minus_epochs,
        *(0.02, _JUDGED, WRITTEN),
    ),
    Claim(
        "Ours: more data help at all.",
        "this book",
        "Dice on all data exceeds Dice at the smallest share by more than 0.02: where it does not, "
        "there is nothing to saturate.",
        rise,
        *(0.02, _JUDGED, REWRITTEN),
        "it is new: the first recorded run hardly rose, and nothing said so.",
    ),
]
SENTENCES = {
    1: {
        "holds": "A tenth of the patches gave {value} of the Dice of all ({low} to {high}): "
        "annotate a tenth, look, and go on only where the masks are not good enough.",
        "does not hold": "A tenth of the patches was not enough: {value} of the Dice of all "
        "({low} to {high}).",
    },
    3: {
        "holds": "From two fifths of the patches on, more of them changed Dice by less than 0.01.",
        "does not hold": "Beyond two fifths of the patches more of them still paid: without them "
        "Dice changes by {value} ({low} to {high}).",
    },
    4: {
        "holds": "A small set needs as many steps as a large one: at equal epochs it lost {value} "
        "of Dice ({low} to {high}) to short training alone.",
    },
    5: {
        "holds": "More data helped: {value} of Dice from the smallest share to all.",
        "does not hold": "More data hardly helped ({value} of Dice, {low} to {high}): this task is "
        "learned from a handful of patches, and says little of harder ones.",
    },
}
