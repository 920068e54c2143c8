"""Chapter ``coreset``: claims of arXiv 2511.04803, Tables II and III, on which patches to choose.

Rules compare models of one seed that saw equally many patches for equally many steps. "DQ" is
dataset quantization, by the printed equation where nothing else is said.
"""

from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from helpers.book.claims import Claim, Gate
from helpers.book.parameters import Distinct, EncodingParameters, Seed, Share
from helpers.book.results import Cells
from helpers.chapters import redundancy
from helpers.chapters.redundancy import SubsetParameters
from helpers.experiments.encoding import NAMES as FEATURE_NAMES
from helpers.experiments.selection import ALL, NAMES, Arm
from helpers.quantization import METHODS

PUBLISHED = ("2511.04803-table-II", "2511.04803-table-III")


class Parameters(SubsetParameters, EncodingParameters):
    """Parameters of the chapter ``coreset``."""

    dataset: str = Field("synthetic-multi", description="name in the manifest, or folder:PATH")
    seeds: Distinct[Seed] = Field([0], description="one draw and one model each")
    steps: int = Field(100, ge=1, description="optimisation steps of every model")
    rates: Distinct[Share] = Field([0.05, 0.2], description="shares that models are trained on")
    methods: Distinct[Literal[*METHODS]] = Field(
        ["random", "facility_location", "dq_paper_eq", "dq_official_code"],
        description="selections that models are trained on",
    )
    coverage_rates: Distinct[Share] = Field(
        [0.02, 0.05, 0.1, 0.2, 0.5], description="shares at which coverage is measured"
    )
    n_cells: int = Field(50, ge=2, description="k-means cells of the coverage measure")
    map_points: int = Field(1500, ge=10, description="most patches shown in the maps")
    maps: Distinct[Literal["t-SNE", "UMAP"]] = Field(
        ["t-SNE", "UMAP"], description="ways to lay out the patches in the plane"
    )


def arms(p: Parameters) -> list[Arm]:
    """Seed by seed: methods x rates, then all patches."""
    kinds = [(method, rate) for method in p.methods for rate in p.rates if rate < 1]
    return [Arm(*kind, seed) for seed in p.seeds for kind in [*kinds, (ALL, 1.0)]]


def coverage_arms(p: Parameters) -> list[Arm]:
    """Choices of every method there is, at the rates of the coverage curves."""
    rates = [rate for rate in p.coverage_rates if rate < 1]
    return [Arm(method, rate, seed) for method in METHODS for rate in rates for seed in p.seeds]


# Tables ``II`` and ``baselines``, and values of single images.
numbers = partial(redundancy.numbers, name="II")


# -------------------------------------------------------------------------- claims

PRINTED, RELEASED = NAMES["dq_paper_eq"], NAMES["dq_official_code"]
# The paper prints one DQ, under its printed equation.
AS_PRINTED = [PRINTED, "DQ"]
SCORES = ["II", "III"]
NOTHING = pd.Series(dtype=float)
SIMILAR = 0.02


def shares(c: Cells, table: str | list[str], method: str | list[str]) -> list[float]:
    """Shares below all, in per cent, of both the method and random choice, ascending."""
    own, random = (c.values("rate", table=table, method=name) for name in (method, "random"))
    return [rate for rate in own if rate in random and rate < 100]


def minus_random(c: Cells, metric: str, method: str | list[str]) -> Any:
    """A method minus random choice, averaged over the shares below all."""
    at = {"table": SCORES, "rate": shares(c, SCORES, method)}
    return c(metric, **at, method=method) - c(metric, **at, method="random")


def closer_than_random(c: Cells, method: str) -> Any:
    """Mean distance to the nearest chosen patch: by how much of random's it is smaller."""
    at = [{"table": "coverage", "rate": rate} for rate in shares(c, "coverage", method)]
    near, random = (
        [c("coverage_mean", **one, method=name) for one in at] for name in (method, "random")
    )
    gains = [1 - one / other for one, other in zip(near, random, strict=True)]
    return sum(gains) / len(gains) if gains else NOTHING


def steadier(c: Cells) -> Any:
    """At the smallest share: distance of Dice to the median over seeds, random's minus DQ's."""
    rate = min(shares(c, "II", PRINTED), default=float("nan"))
    random, own = (c("dice", table="II", method=m, rate=rate) for m in ("random", PRINTED))
    return (random - random.median()).abs() - (own - own.median()).abs()


def informative(c: Cells) -> Any:
    """Accuracy of neighbours by the pretrained encoder minus that of the better plain features."""
    at = {"table": "features"}
    plain = [c("knn_accuracy", **at, method=FEATURE_NAMES[m]) for m in ("pixels", "untrained")]
    return c("knn_accuracy", **at, method=FEATURE_NAMES["mae"]) - np.maximum(*plain)


WRITTEN, REWRITTEN = "2026-11-21", "2026-11-30"
GATES = [
    Gate("all patches", "pq", {"table": "II", "method": ALL}, {"table": "baselines"}, margin=0.02)
]
_TIES = (
    "until 2026-11-30 a difference of 0 held, and rates at which neither model found anything were "
    "left out."
)


def _better(text: str, where: str, metric: str, method: str | list[str], rule: str) -> Claim:
    """A claim that a choice gives better models than chance does."""
    quantity = partial(minus_random, metric=metric, method=method)
    return Claim(text, where, rule, quantity, 0, ("all patches",), WRITTEN, _TIES)


def _closer(text: str, where: str, method: str, rule: str) -> Claim:
    """A claim that a choice covers the features better than chance does."""
    return Claim(
        *(text, where, rule, partial(closer_than_random, method=method)),
        *(0, (), WRITTEN, "until 2026-11-30 a difference of 0 held."),
    )


CLAIMS = [
    _better(
        "DQ is better than random sampling (implied by the choice of the method).",
        "arXiv 2511.04803, Tables II and III; the printed equation in our runs",
        *("dice", AS_PRINTED),
        "Dice of DQ minus Dice of random subsets, averaged over the rates below 100%: above 0.",
    ),
    _better(
        "The same for what the released code selects.",
        "the authors' repository",
        *("dice", RELEASED),
        "As above, for the gain and the prefix sampling of the released script.",
    ),
    _better(
        "The same judged by instances.",
        "this book",
        *("pq", AS_PRINTED),
        "Panoptic quality of DQ (printed equation) minus that of random subsets, averaged over the "
        "rates below 100%: above 0.",
    ),
    Claim(
        "DQ and random sampling achieve similar performance.",
        "arXiv 2511.04803, section IV-B, summary",
        f"Dice of DQ is less than {SIMILAR} below that of random subsets, averaged over the rates "
        "below 100%.",
        partial(minus_random, metric="dice", method=AS_PRINTED),
        *(-SIMILAR, ("all patches",), REWRITTEN),
        "on 2026-11-21, in the commit that recorded its first run, the size of each seed's "
        "difference became the size of their mean, which turned “does not hold” into “holds”; on "
        "2026-11-30 size became sign: a difference has an interval, a size has none.",
    ),
    Claim(
        "DQ shows slightly more stable performance, especially with little data.",
        "arXiv 2511.04803, section IV-B",
        "At the smallest rate, mean distance of Dice to its median over seeds: random minus DQ "
        "above 0 (the published spread of DQ is one over images).",
        steadier,
        *(0, ("all patches",), REWRITTEN),
        "it compared two standard deviations, of which no interval was given.",
    ),
    _closer(
        "DQ covers the feature space better than random sampling.",
        "arXiv 2511.04803, abstract, section IV-B, Fig. 3; the printed equation",
        PRINTED,
        "The mean distance of all patches to the nearest chosen one is smaller for DQ than for "
        "random choice, averaged over all rates (as a share of the latter): above 0.",
    ),
    _closer(
        "The same for what the released code selects.",
        "the authors' repository",
        RELEASED,
        "As above, for the released script.",
    ),
    Claim(
        "DQ is deterministic and reproducible.",
        "arXiv 2511.04803, section IV-B, summary",
        "With features computed as in the released script, two runs choose the same patches at the "
        "smallest rate: agreement above 99%.",
        lambda c: c("agreement_two_draws", table="masking", method=RELEASED),
        *(0.99, (), WRITTEN),
    ),
    Claim(
        "Ours: features of a small masked autoencoder, pretrained on the patches, carry more "
        "information than raw pixels.",
        "this book",
        "Its nearest-neighbour accuracy exceeds the better one of raw pixels and the untrained "
        "encoder by more than 0.02. A single pretraining leaves it undecided.",
        informative,
        *(0.02, (), WRITTEN),
    ),
]
SENTENCES = {
    1: {
        "holds": "DQ as printed chose better than chance: {value} of Dice ({low} to {high}).",
        "does not hold": "Draw at random: DQ as printed was worse ({value}, {low} to {high}).",
    },
    2: {
        "holds": "What the released code selects was better than chance: {value} of Dice.",
        "does not hold": "Random draws beat what the released code selects ({value} of Dice).",
    },
    4: {
        "holds": "DQ as printed costs nothing that matters beside a random draw.",
        "does not hold": "DQ as printed costs {value} of Dice beside a random draw.",
    },
    8: {
        "does not hold": "Never hide parts of images when computing features: two selections by "
        "the released procedure shared {value} of their patches.",
    },
}
