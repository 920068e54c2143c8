"""The chapter ``initialisation``: which weights to start from, and for how much data it matters.

Claims of arXiv 2307.03275, which prints plots without numbers: there is nothing to put a rule to
but our own runs. Differences are of Dice on test images of the data set trained on, with equal
steps for all shares. The best or smallest of several is chosen on the *other* seeds.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from helpers.book import results
from helpers.book.claims import Claim, Gate
from helpers.book.parameters import StartingParameters
from helpers.book.results import Cells, best_on_other_seeds, mean_of, smallest_on_other_seeds
from helpers.experiments.starting import METRICS, Arm, Tasks, further_rows, scored

Parameters = StartingParameters
PUBLISHED: tuple[str, ...] = ()
GLANDS, NUCLEI, RANDOM = "glands", "nuclei", "random"
# Starts by what the paper calls them: the published weights, then what stands for them here.
# Where self-supervision on tissue begins from random weights, it is shown and leads in no rule.
DOMAIN, SCRATCH = ["barlow-pathology", "imagenet-barlow-tissue"], "barlow-tissue"
SUPERVISED = ["imagenet-v1", "imagenet-lite0"]
SELF_SUPERVISED = ["barlow-imagenet"]
KUMAR = ["monuseg", "monuseg:kumar"]
# Within one Dice point two starts are called similar.
SIMILAR = 0.01


def arms(p: Parameters) -> list[Arm]:
    """All trainings, seed by seed; with all images both budgets are the same training."""
    return [
        Arm(start, dataset, share, seed, tuple(tested), budget)
        for seed in p.seeds
        for tested in p.kinds.values()
        for dataset in tested
        for budget in p.budgets
        for share in p.shares
        if budget == p.budgets[0] or share < 1
        for start in p.starts
    ]


def numbers(
    p: Parameters, tasks: Tasks, models: Mapping[Arm, dict]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results table (scores at home, baselines, curves, data) and values of single images."""
    images = results.images_of(scored(p, tasks, models), METRICS)
    images = images[images["place"] != "elsewhere"].drop(columns="place")
    rest = pd.DataFrame(further_rows(p, tasks, models))
    return results.joined([rest, results.table_of(images, METRICS)]), images


# ----------------------------------------------------------------------------------- the rules


def dice(c: Cells, start: Any = ..., kind: Any = ..., rate: Any = ..., **at: Any) -> Any:
    """Dice of some starts, mean over all that is not named."""
    at = {"table": "scores", "train": ..., "test": ..., **at}
    return c("dice", start=start, kind=kind, rate=rate, **at)


def others(c: Cells, *but: str) -> list[str]:
    """The starts of a source but some."""
    return [name for name in c.values("start", table="scores") if name not in but]


def rates(c: Cells) -> list[float]:
    """Shares of the images in per cent, ascending."""
    return c.values("rate", table="scores") or [100]


def gain(c: Cells, rate: Any, start: Any) -> Any:
    """On glands: Dice of some starts minus that of random weights."""
    return dice(c, start, GLANDS, rate) - dice(c, RANDOM, GLANDS, rate)


def lead(c: Cells, *at: dict, **also: Any) -> Any:
    """Dice of the start that knows the domain over the best of the others, the least of places."""
    pairs = [(a | also, start) for a in at or ({},) for start in others(c, *DOMAIN, SCRATCH)]
    return smallest_on_other_seeds([dice(c, DOMAIN, **a) - dice(c, s, **a) for a, s in pairs])


def looks(c: Cells, rate: float) -> list[dict]:
    """Where the trainings on glands were looked at, in their order."""
    at = {"table": "curve", "kind": GLANDS, "rate": rate}
    return [{**at, "step": step} for step in c.values("step", **at)]


def steadier(c: Cells) -> Any:
    """A seed's distance from the mean over seeds: with the fewest images minus with all."""
    cells = [[dice(c, s, GLANDS, r) for r in (rates(c)[0], 100)] for s in others(c)]
    return mean_of([(a - a.mean()).abs() - (b - b.mean()).abs() for a, b in cells])


def data_over_start(c: Cells) -> Any:
    """What all images gain over the fewest minus what the best start gains over random weights."""
    some = {"rate": rates(c)[0]}
    best = best_on_other_seeds([dice(c, s, **some) for s in others(c, RANDOM)])
    return dice(c, rate=100) - dice(c, **some) - best + dice(c, RANDOM, **some)


def _gate(name: str, **at: Any) -> Gate:
    model = {"table": "scores", "rate": 100, "train": ..., "test": ..., "start": ..., **at}
    plain = {"table": "baseline", "test": at.get("train", ...), "kind": at.get("kind", ...)}
    return Gate(name, "dice", model, plain, 0.02, each="test")


GATES = [
    _gate(GLANDS, kind=GLANDS),
    _gate(NUCLEI, kind=NUCLEI),
    _gate("nuclei of KUMAR", train=KUMAR),
]
FIXED, CHANGED = "2026-11-22", "2026-11-30"
TIE = "the threshold was 0.001"
LUCKIEST = "the extreme of several was taken on the seeds it was judged by"


def claim(text: str, where: str, rule: str, quantity: Any, changed: str = "", **more: Any) -> Claim:
    """A claim about the models of the kind that its text begins with, or of ``gates``."""
    more = {"gates": (GLANDS if text.startswith("Glands") else NUCLEI,), **more}
    where = f"arXiv 2307.03275, {where}" if where != "this book" else where
    return Claim(
        text, where, rule, quantity, fixed=CHANGED if changed else FIXED, changed=changed, **more
    )


CLAIMS = [
    claim(
        "Glands: more data improves the performance for all initialisations.",
        "section 3 (a), Fig. 2 and 6",
        "Dice with all images minus with the fewest, of the start that gains least: above 0.",
        lambda c: smallest_on_other_seeds(
            [dice(c, s, GLANDS, 100) - dice(c, s, GLANDS, rates(c)[0]) for s in others(c)]
        ),
        LUCKIEST,
    ),
    claim(
        "Glands: more data decreases the variation.",
        "section 3 (a)",
        "Distance of a seed's Dice from the mean over seeds, fewest images minus all: above 0.",
        steadier,
        "a standard deviation over seeds is one number, without an interval",
    ),
    claim(
        "Glands: at all amounts of data pretrained weights outperform random ones.",
        "section 3 (b)",
        "Dice minus that from random weights, least of all shares and pretrained starts: above 0.",
        lambda c: smallest_on_other_seeds(
            [gain(c, rate, start) for rate in rates(c) for start in others(c, RANDOM)]
        ),
        f"{LUCKIEST}: it failed where nothing differs",
    ),
    claim(
        "Glands: the gap between random and pretrained weights closes with more data.",
        "section 3 (b)",
        "Mean gain over random weights, with the fewest images minus with all: above 0.",
        lambda c: gain(c, rates(c)[0], others(c, RANDOM)) - gain(c, 100, others(c, RANDOM)),
        TIE,
    ),
    claim(
        "Glands: for small data sets domain-specific pretraining has a significant advantage.",
        "section 3 (c)",
        "Fewest images: Dice from the start that knows the domain minus the best other one. "
        "Significant: the whole 95% interval over seeds and patients is above 0.",
        lambda c: lead(c, kind=GLANDS, rate=rates(c)[0]),
        f"{LUCKIEST}, and no significance was asked for",
    ),
    claim(
        "Glands: that advantage diminishes as the data set grows.",
        "section 3 (c)",
        "The lead with the fewest images minus the lead with all: above 0.",
        lambda c: lead(c, kind=GLANDS, rate=rates(c)[0]) - lead(c, kind=GLANDS, rate=100),
        LUCKIEST,
    ),
    claim(
        "Glands: with little data domain-specific pretraining is ahead at all epochs.",
        "section 3, Fig. 2B and 6B",
        "Fewest images: the smallest lead over any other start at any look, above 0.",
        lambda c: lead(c, *looks(c, rates(c)[0])),
        f"{LUCKIEST}, and of means over seeds, without an interval",
    ),
    claim(
        "Glands: with all data supervised ImageNet weights are ahead at low epochs.",
        "section 3, Fig. 2B",
        "All images, first look: supervised minus domain-specific, above 0.",
        lambda c: mean_of(
            [dice(c, SUPERVISED, **a) - dice(c, DOMAIN, **a) for a in looks(c, 100)[:1]]
        ),
        "the mean over seeds was judged without an interval",
    ),
    claim(
        "Nuclei: on KUMAR random initialisation outperforms or competes with the others.",
        "section 3, cells (a), Fig. 3",
        "MoNuSeg, all shares: random minus the mean of the pretrained starts, above -0.01.",
        lambda c: dice(c, RANDOM, train=KUMAR) - dice(c, others(c, RANDOM), train=KUMAR),
        threshold=-SIMILAR,
        gates=("nuclei of KUMAR",),
    ),
    claim(
        "Nuclei: domain-specific pretraining is similar or worse; it does not improve cells.",
        "section 3, cells (b), and 4",
        "The best other start minus the domain's, over data sets and shares: above -0.01.",
        lambda c: -lead(c, kind=NUCLEI),
        f"{LUCKIEST}, with a margin of 0.001",
        threshold=-SIMILAR,
    ),
    claim(
        "Do self-supervised weights outperform supervised ones? (A question of the paper.)",
        "section 2",
        "Both learned from natural images: self-supervised minus supervised, mean of all: above 0.",
        lambda c: dice(c, SELF_SUPERVISED) - dice(c, SUPERVISED),
        TIE,
        gates=(GLANDS, NUCLEI),
    ),
    claim(
        "Ours: annotating more matters more than the start.",
        "this book",
        "Gain by all images over the fewest (mean of starts) minus gain by the best start over "
        "random weights with the fewest: above 0.",
        data_over_start,
        LUCKIEST,
        gates=(GLANDS, NUCLEI),
    ),
]
SENTENCES = {
    3: {"holds": "On glands every pretrained start was worth {value} Dice or more at every share."},
    5: {"holds": "With few annotated glands, weights that know tissue were {value} Dice ahead."},
    9: {"does not hold": "On MoNuSeg pretrained weights were ahead of random ones."},
    10: {"does not hold": "On nuclei weights that know tissue were ahead by more than a point."},
    11: {"holds": "Self-supervised weights were {value} Dice ahead of supervised ones."},
    12: {
        "holds": "More annotated images gained {value} Dice more than the best start.",
        "does not hold": "The best start gained more than all annotated images.",
    },
}
