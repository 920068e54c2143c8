"""Chapter ``few-shot-ablations``: what arXiv 2310.03981 says of its parts, and open questions.

The paper prints no numbers for these that could be had; rules speak of directions, in box AP, at
one share of the annotated images, draw by draw. The gap between domains has one value for each of
``pretrainings``: with one of them nothing is decided. Whether cells or only more steps do the work
is told in the chapter ``few-shot``.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pydantic
from pydantic import Field

from helpers.book.claims import Claim, Gate
from helpers.book.parameters import DetectorParameters, Share
from helpers.book.results import Cells, best_on_other_seeds, joined
from helpers.chapters.few_shot import FIXED, OURS, TIES, few, scores
from helpers.experiments.ablations import LENGTH, OWN, ROUNDS, WEIGHT, cases
from helpers.experiments.few_shot import CUPRE, LONGER, SOURCE, Arm, Models, baselines

PUBLISHED = ()
Count, Factor = Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0)]
Weight, Part = Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0, lt=1)]


class Parameters(DetectorParameters):
    """Those of the chapters on few-shot cells, and what is varied one at a time."""

    share: Share = Field(0.1, description="of the training images, in every study")
    anchor_weights: list[Weight] = Field([0.0, 0.1, 1.0], description="of L2-SP (0: none)")
    round_counts: list[Count] = Field([1, 2], description="at equal total steps")
    contrast_shares: list[Part] = Field(
        [0.0, 0.5], description="of MoCo's steps in all steps of AMT2 (0: the source alone)"
    )
    lengths: list[Factor] = Field([0.5, 1.0], description="of AMT2, in its own steps")
    queues: list[Count] = Field([], description="of MoCo, keys")
    encoders: list[str] = Field([], description="further backbones")
    unseen: list[str] = Field([], description="data sets that the pretraining did not see")
    map_patches: int = Field(40, ge=10, description="of cells and of the source, on the maps")
    projections: list[Literal["tsne", "umap", "pca"]] = Field(["tsne"], description="of the maps")

    @pydantic.model_validator(mode="after")
    def _can_be_varied(self) -> "Parameters":
        if wrong := [n for n in self.queues if not self.contrast_batch <= n <= self.n_patches]:
            raise ValueError(f"queues: {wrong} must be from contrast_batch to n_patches")
        total = self.source_steps + self.contrast_steps
        if wrong := [n for n in self.round_counts if total % n or total < 2 * n]:
            raise ValueError(f"round_counts: {total} steps cannot be cut into {wrong} rounds")
        if 1 in (self.max_test_images, self.max_source_test):
            raise ValueError("max_test_images and max_source_test must be 2 or more for the gap")
        return self


def arms(p: Parameters) -> list[Arm]:
    """Every fine-tuning that the chapter needs, none twice."""
    return list(dict.fromkeys(arm for _, arm in cases(p)))


def numbers(
    p: Parameters, models: Models, gaps: list[pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results table (``scores``, ``gap``) and values of single images.

    Args:
        gaps: of every pretraining, see :func:`helpers.experiments.gap.measure_gap`.
    """
    tested = []
    for name, task in models.data.cells.items():
        about = {"study": "base" if name == p.cells else "elsewhere", "test": name}
        plain = baselines(task.part("test"), p.areas)
        tested += [(about | {"method": method}, found) for method, found in plain.items()]
    table, images = scores([*tested, *((about, models.tuned[arm]) for about, arm in cases(p))])
    numbered = pd.concat(gaps, keys=range(len(gaps)), names=["seed", "place"]).reset_index()
    of_gap = numbered.melt(["seed", "place", "stage"], var_name="metric").assign(table="gap")
    return joined([table, of_gap]), images


# -------------------------------------------------------------------------- claims


def at(c: Cells, study: str, **conditions: Any) -> Any:
    """Box AP in a study at the share that stands for few."""
    return c("box_ap", table="scores", study=study, rate=few(c), **conditions)


def levels(c: Cells, study: str) -> list[Any]:
    """Box AP at every level of a study, ascending."""
    return [at(c, study, level=n) for n in c.values("level", table="scores", study=study)]


def closer(c: Cells) -> Any:
    """How far the gap falls from the source's detector to the last round, by the worse measure."""
    # Random weights, the source's detector, two for each round, the fine-tuned detector.
    places = c.values("place", table="gap")
    if len(places) < 5:
        return pd.Series(dtype=float)
    falls = []
    for metric, nothing in (("classifier", 0.5), ("mmd", 0.0)):
        first, last = (c(metric, table="gap", place=places[k]) - nothing for k in (1, -2))
        falls.append(1 - last / first)
    return np.minimum(*falls)


def ends(c: Cells, study: str) -> Any:
    """Highest level of a study minus the lowest."""
    found = levels(c, study)
    return found[-1] - found[0] if len(found) > 1 else pd.Series(dtype=float)


def leads(study: str, other: str, **among: Any) -> Callable[[Cells], Any]:
    """CUPre minus another start, mean over backbones or data sets."""
    return lambda c: at(c, study, method=CUPRE, **among) - at(c, study, method=other, **among)


def _gate(name: str, study: str, plain: str, **among: Any) -> Gate:
    model = {"table": "scores", "study": study, "method": CUPRE, "rate": 100, **among}
    tests = {"table": "scores", "study": plain, "test": ..., "rate": None}
    return Gate(name, "box_ap", model, tests, margin=0.02)


def _claim(text: str, where: str, rule: str, found: Any, gate: str, changed: str = TIES) -> Claim:
    return Claim(text, where, rule, found, 0, (gate,), FIXED, changed)


NETWORKS, VITS = ({"family": f, "encoder": ...} for f in ("convolutional", "transformer"))
GATES = [
    _gate("CUPre", "base", "base"),
    _gate("CUPre, convolutional", "backbones", "base", **NETWORKS),
    _gate("CUPre, transformer", "backbones", "base", **VITS),
    _gate("CUPre elsewhere", "elsewhere", "elsewhere", test=...),
]
BASE, CONVOLUTIONAL, TRANSFORMER, ELSEWHERE = (gate.name for gate in GATES)
PAPER, SINCE = "arXiv 2310.03981", TIES.replace("2026-11-22", "2026-11-30")
CLAIMS = [
    _claim(
        "AMT2 brings cells and everyday pictures closer together.",
        f"{PAPER}, introduction",
        "Relative fall of the gap from the source's detector to the last round, the smaller one of "
        "a classifier's accuracy above chance and of MMD²: above 0. One value a pretraining.",
        *(closer, BASE, "accuracy alone was asked: it fell by one of 120 patches, MMD² rose."),
    ),
    _claim(
        "L2-SP helps the few-shot detector.",
        f"{PAPER}, section III-D",
        "Box AP with the weight that is best on the other draws, minus that with none: above 0.",
        *(
            lambda c: best_on_other_seeds(levels(c, WEIGHT)[1:]) - at(c, WEIGHT, level=0),
            BASE,
            "the best weight was chosen on the draws that it is compared on.",
        ),
    ),
    _claim(
        "More rounds are better than few, at equal steps.",
        OURS,
        "Box AP with the most rounds minus that with the fewest: above 0.",
        *(lambda c: ends(c, ROUNDS), BASE),
    ),
    _claim(
        "Longer alternation makes a better few-shot detector.",
        OURS,
        "Box AP after the most steps of AMT2 minus that after the fewest, in proportion: above 0.",
        *(lambda c: ends(c, LENGTH), BASE, SINCE),
    ),
    _claim(
        "CUPre beats the longer source on convolutional backbones.",
        f"{PAPER}, comparison of backbones",
        "Lead in box AP, mean over these backbones: above 0.",
        *(leads("backbones", LONGER, **NETWORKS), CONVOLUTIONAL),
        "the smallest of all leads was taken; chance makes it small.",
    ),
    _claim(
        "It also does on a plain vision transformer.",
        f"{PAPER}, open question 3",
        "Lead in box AP of CUPre over the longer source, mean over transformers: above 0.",
        *(leads("backbones", LONGER, **VITS), TRANSFORMER),
    ),
    _claim(
        "CUPre helps on modalities that its unlabelled cells did not show.",
        f"{PAPER}, open question 1",
        "Lead in box AP over the source's detector, mean over such data sets: above 0.",
        *(leads("elsewhere", SOURCE, test=...), ELSEWHERE),
    ),
    _claim(
        "There, unlabelled cells of the own modality are worth more than others.",
        OURS,
        "Box AP of CUPre on the modality's own cells minus that of CUPre on the others': above 0.",
        *(lambda c: -leads("elsewhere", OWN, test=...)(c), ELSEWHERE),
    ),
]
SENTENCES = {
    2: {"holds": "An anchor (L2-SP) is worth its weight: {value} of box AP ({low} to {high})."},
    7: {"holds": "Unlabelled cells of other kinds are worth {value} of box AP ({low} to {high})."},
    8: {"holds": "Unlabelled cells of one's own kind add {value} of box AP ({low} to {high})."},
}
