"""Claims of arXiv 2310.03981 on few-shot cells, each with the rule that settles it.

Rules speak of box AP, draw by draw of the annotated images, at the share nearest to the published
5 %. The paper prints one number for each start: the published verdicts have no interval.
"""

import pandas as pd

from helpers.chapters.cells.run import CUPRE, LONGER, MOCO, SCRATCH, SOURCE
from helpers.chapters.claims import ABOVE_ZERO, Claim
from helpers.chapters.few_shot.tables import few, lead, lead_by_draw, scores, shares_of, starts_of

# "10 % higher AP" (abstract): of the others' AP, the weaker of its two readings.
TENTH = 0.1
OF_BBBC038 = "bbbc038"
# Within half a point two starts are worth the same.
SAME = 0.005


def _few(first: str, second: str, metric: str = "box_ap"):
    return lambda table: lead(table, first, second, few(table), metric)


def gain_on_bbbc038(table: pd.DataFrame) -> list[float]:
    """BBBC038, few images: CUPre over the best of the other published starts, relative."""
    rows = table[table["table"] == "scores"]
    if not rows["dataset_test"].astype(str).str.startswith(OF_BBBC038).all() or rows.empty:
        return []
    found, share = scores(table, "box_ap"), few(table)
    if share is None or CUPRE not in starts_of(table):
        return []
    means = found.xs(share, level="rate").mean(axis=1).reindex([SCRATCH, SOURCE, MOCO]).dropna()
    if means.empty or not means.max() > 0:
        return []
    best, against = means.idxmax(), means.max()
    return [float(v) / against for v in found.loc[(CUPRE, share)] - found.loc[(best, share)]]


def masks_as_boxes(table: pd.DataFrame) -> list[float]:
    """Few images: the margin minus the distance of the leads over the source by masks and boxes."""
    boxes = lead_by_draw(table, CUPRE, SOURCE, few(table))
    masks = lead_by_draw(table, CUPRE, SOURCE, few(table), "mask_ap")
    return (SAME - (masks - boxes).abs()).dropna().tolist()


def lead_shrinks(table: pd.DataFrame) -> list[float]:
    """CUPre's lead over the source with the fewest images minus that with the most."""
    return _shrinking(table, CUPRE, SOURCE)


def source_lead_shrinks(table: pd.DataFrame) -> list[float]:
    """The source's lead over random weights with the fewest images minus that with the most."""
    return _shrinking(table, SOURCE, SCRATCH)


def _shrinking(table: pd.DataFrame, first: str, second: str) -> list[float]:
    shares = shares_of(table)
    if len(shares) < 2:
        return []
    fewest, most = (lead_by_draw(table, first, second, s) for s in (shares[0], shares[-1]))
    return (fewest - most).dropna().tolist()


PLACE = "arXiv 2310.03981, abstract"
OURS = "Ours, not the paper's"
CLAIMS = [
    Claim(
        "With few annotated images CUPre beats a detector that knows the source alone.",
        f"{PLACE} (LIVECell, 5%: 41.5 against 40.0 box AP)",
        "Box AP of CUPre minus that of the source's detector, at the share nearest to 5%: at least "
        "0.001.",
        _few(CUPRE, SOURCE),
        ABOVE_ZERO,
    ),
    Claim(
        "With few annotated images CUPre beats MoCo on cells alone.",
        f"{PLACE} (LIVECell, 5%: 41.5 against 8.3 box AP)",
        "Box AP of CUPre minus that of MoCo, at the share nearest to 5%: at least 0.001.",
        _few(CUPRE, MOCO),
        ABOVE_ZERO,
    ),
    Claim(
        "Knowing how to find objects is worth more than knowing what cells look like.",
        f"{PLACE} (LIVECell, 5%: 40.0 against 8.3 box AP)",
        "Box AP of the source's detector minus that of MoCo, at the share nearest to 5%: at least "
        "0.001.",
        _few(SOURCE, MOCO),
        ABOVE_ZERO,
    ),
    Claim(
        "On BBBC038 with 5% of the images CUPre has an AP 10% above the baselines.",
        f"{PLACE}; per cent of what, it does not say",
        "Box AP of CUPre minus that of the best of the other published starts (by its mean), as a "
        "share of the latter: at least 0.1. Tested on BBBC038 alone.",
        gain_on_bbbc038,
        TENTH,
    ),
    Claim(
        "It is the cells, not the longer training, that CUPre gains by.",
        OURS,
        "Box AP of CUPre minus that of the source's detector with all steps of CUPre's two sides "
        "spent on the source, at the share nearest to 5%: at least 0.001.",
        _few(CUPRE, LONGER),
        ABOVE_ZERO,
    ),
    Claim(
        "The source pays at all: it beats random weights.",
        OURS,
        "Box AP of the source's detector minus that of random weights, at the share nearest to "
        "5%: at least 0.001.",
        _few(SOURCE, SCRATCH),
        ABOVE_ZERO,
    ),
    Claim(
        "MoCo on cells alone beats random weights.",
        OURS,
        "Box AP of MoCo minus that of random weights, at the share nearest to 5%: at least 0.001.",
        _few(MOCO, SCRATCH),
        ABOVE_ZERO,
    ),
    Claim(
        "What CUPre adds to the source shrinks as annotations grow.",
        OURS,
        "Lead of CUPre over the source's detector (box AP) with the smallest share minus that with "
        "the largest: at least 0.001.",
        lead_shrinks,
        ABOVE_ZERO,
    ),
    Claim(
        "What the source adds to random weights shrinks as annotations grow.",
        OURS,
        "Lead of the source's detector over random weights (box AP) with the smallest share minus "
        "that with the largest: at least 0.001.",
        source_lead_shrinks,
        ABOVE_ZERO,
    ),
    Claim(
        "Masks tell the same story as boxes.",
        OURS,
        "Lead of CUPre over the source at the share nearest to 5%, by masks and by boxes: no more "
        "than 0.005 of AP apart (0.005 minus their distance at least 0).",
        masks_as_boxes,
        0.0,
    ),
]
