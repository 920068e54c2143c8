"""Chapter ``few-shot``: claims of arXiv 2310.03981 on starts of detectors, and their rules.

Rules speak of box AP, draw by draw of the annotated images, at the share nearest to the published
5 %. A pretraining is done ``pretrainings`` times; with the default of one its chance is in no
interval. AP pools the detections of all test images, so that intervals are over draws alone.
"""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from helpers.book import results
from helpers.book.claims import Claim, Gate
from helpers.book.parameters import DetectorParameters, Distinct, Share
from helpers.book.results import Cells
from helpers.experiments import few_shot
from helpers.experiments.few_shot import CUPRE, LONGER, MOCO, SCRATCH, SOURCE, STARTS, Arm, Models

PUBLISHED = ("2310.03981-text",)
FEW = 5.0
# Half a point of AP: within it two leads are the same.
SAME = 0.005
IMAGE_METRICS = ("image_box_ap", "image_mask_ap")
OF_ROUND = ("contrast_losses", "matches", "source_losses", "moved", "distance", "anchor_norm")


class Parameters(DetectorParameters):
    """Those of the chapters on few-shot cells, starts and shares."""

    starts: Distinct[
        Literal["scratch", "ImageNet", "source", "source, longer", "MoCo", "CUPre"]
    ] = Field(
        ["scratch", "ImageNet", "source", "MoCo", "CUPre"],
        description="of the detector; longer: the source for all CUPre's steps",
    )
    shares: Distinct[Share] = Field(
        [0.1, 1.0], description="of the training images (published: 0.05)"
    )


def arms(p: Parameters) -> list[Arm]:
    """Every start with every share and draw."""
    return [
        Arm(start, p.cells, share, seed)
        for seed in p.seeds
        for start in p.starts
        for share in p.shares
    ]


# -------------------------------------------------------------------------- numbers


def numbers(p: Parameters, models: Models) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results table (``scores``, ``rounds`` of AMT2) and values of single test images."""
    plain = few_shot.baselines(models.data.cells[p.cells].part("test"), p.areas)
    tested = [({"test": p.cells, "method": name}, found) for name, found in plain.items()]
    tested += [
        ({"test": a.cells, "method": a.start, "rate": 100 * a.share, "seed": a.seed}, found)
        for a, found in models.tuned.items()
    ]
    table, images = scores(tested)
    rounds = [
        round_rows({"method": a.start, "seed": p.seeds.index(a.seed)}, models.results[stage.before])
        for a, stage in models.stages.items()
        if stage.keep and a.share == p.shares[0] and a.start in (LONGER, CUPRE)
    ]
    return results.joined([table, *rounds]), images


def scores(tested: Iterable[tuple[dict, dict]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table ``scores`` and values of single images.

    Args:
        tested: what a model is about, and what :func:`helpers.experiments.few_shot.measure` gave.
    """
    rows, parts = [], []
    for about, found in tested:
        about = {"table": "scores", "seed": None, **about}
        counts = {"n": len(found["images"]), "n_train": found.get("n_images")}
        named = found["scores"].items()
        rows += [about | counts | {"metric": name, "value": value} for name, value in named]
        parts.append((about, found["images"]))
    return pd.DataFrame(rows).astype({"seed": "Int64"}), results.images_of(parts, IMAGE_METRICS)


def round_rows(about: dict[str, Any], found: dict[str, Any]) -> pd.DataFrame:
    """Table ``rounds``: what every round of a pretraining did; what was before it is of round 0."""
    rows = []
    for number, one in enumerate([{"source_scores": found["start_scores"]}, *found["rounds"]]):
        known = {name: float(np.mean(one[name])) for name in OF_ROUND if one.get(name)}
        known |= {f"source {name}": value for name, value in one["source_scores"].items()}
        about = {"table": "rounds", **about, "round": number}
        rows += [about | {"metric": name, "value": value} for name, value in known.items()]
    return pd.DataFrame(rows)


# -------------------------------------------------------------------------- claims


def few(c: Cells) -> float:
    """The share in per cent that stands for "few": nearest to 5 on a log scale, below 100."""
    shares = [share for share in c.values("rate", table="scores") if share < 100]
    return min(shares, key=lambda share: abs(np.log(share / FEW)), default=float("nan"))


def lead(c: Cells, starts: tuple[str, str], metric: str = "box_ap", rate: float = 0) -> Any:
    """AP of one start minus that of another at a share in per cent (0: with few images)."""
    rate = rate or few(c)
    one, other = (c(metric, table="scores", method=name, rate=rate) for name in starts)
    return one - other


def shrinking(c: Cells, starts: tuple[str, str]) -> Any:
    """Lead with the smallest share minus that with the largest."""
    shares = c.values("rate", table="scores")
    if len(shares) < 2:
        return pd.Series(dtype=float)
    return lead(c, starts, rate=shares[0]) - lead(c, starts, rate=shares[-1])


def over_the_best(c: Cells) -> Any:
    """BBBC038: CUPre over the best of the other published starts, relative."""
    if any(not name.startswith("bbbc038") for name in c.values("test", table="scores")):
        return pd.Series(dtype=float)
    at = {"table": "scores", "rate": few(c)}
    others = [c("box_ap", method=name, **at) for name in (SCRATCH, SOURCE, MOCO)]
    return c("box_ap", method=CUPRE, **at) / results.best_on_other_seeds(others) - 1


def _gate(start: str) -> Gate:
    own = {"table": "scores", "method": start, "rate": 100}
    return Gate(start, "box_ap", own, {"table": "scores", "rate": None}, margin=0.02)


def _better(text: str, where: str, *starts: str) -> Claim:
    rule = "Box AP of “{}” minus that of “{}”, at the share nearest to 5%: above 0.".format(*starts)
    return Claim(text, where, rule, lambda c: lead(c, starts), 0, starts, FIXED, TIES)


def _shrinks(text: str, *starts: str) -> Claim:
    rule = "Lead of “{}” over “{}” (box AP), smallest share minus largest: above 0.".format(*starts)
    return Claim(text, OURS, rule, lambda c: shrinking(c, starts), 0, starts, FIXED, TIES)


ABSTRACT, OURS, FIXED = "arXiv 2310.03981, abstract", "this book", "2026-11-30"
TIES = "the rule is of 2026-11-22; until 2026-11-30 less than .001 counted as nothing."
GATES = [_gate(start) for start in STARTS]
CLAIMS = [
    _better(
        "With few annotated images CUPre beats a detector that knows the source alone.",
        f"{ABSTRACT} (LIVECell, 5%: 41.5 against 40.0 box AP)",
        *(CUPRE, SOURCE),
    ),
    _better(
        "With few annotated images CUPre beats MoCo on cells alone.",
        f"{ABSTRACT} (LIVECell, 5%: 41.5 against 8.3 box AP)",
        *(CUPRE, MOCO),
    ),
    _better(
        "Knowing how to find objects is worth more than knowing what cells look like.",
        f"{ABSTRACT} (LIVECell, 5%: 40.0 against 8.3 box AP)",
        *(SOURCE, MOCO),
    ),
    Claim(
        "On BBBC038 with 5% of the images CUPre has an AP 10% above the baselines.",
        f"{ABSTRACT}; per cent of what, it does not say",
        "Box AP of CUPre over that of the best of the other published starts, which is chosen on "
        "the other draws: more than 10% above it. On BBBC038 alone.",
        over_the_best,
        *(0.1, (SCRATCH, SOURCE, MOCO, CUPRE), FIXED),
        "the best was chosen by its mean over the draws that it is compared on.",
    ),
    _better("It is the cells, not the longer training, that CUPre gains by.", OURS, CUPRE, LONGER),
    _better("The source pays at all: it beats random weights.", OURS, SOURCE, SCRATCH),
    _better("MoCo on cells alone beats random weights.", OURS, MOCO, SCRATCH),
    _shrinks("What CUPre adds to the source shrinks as annotations grow.", CUPRE, SOURCE),
    _shrinks("What the source adds to random weights shrinks with them.", SOURCE, SCRATCH),
    Claim(
        "By masks CUPre leads the source by as much as by boxes.",
        OURS,
        "Its lead by mask AP minus that by box AP, at the share nearest to 5%: above -0.005.",
        lambda c: lead(c, (CUPRE, SOURCE), "mask_ap") - lead(c, (CUPRE, SOURCE)),
        *(-SAME, (SOURCE, CUPRE), FIXED),
        "the absolute distance of every draw had to be within 0.005, which chance alone exceeds.",
    ),
]
SENTENCES = {
    1: {
        "holds": "Unlabelled cells in turn with everyday pictures are worth {value} of box AP over "
        "the pictures alone ({low} to {high}).",
        "does not hold": "A detector of everyday pictures is as good a start as CUPre ({value}).",
    },
    5: {"does not hold": "As long a training on everyday pictures does as well ({value})."},
    6: {"holds": "Start from a detector of everyday objects: {value} of box AP ({low} to {high})."},
}
