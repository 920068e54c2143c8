"""The chapter ``out-of-domain``: models on data sets that they never saw (arXiv 2307.03275).

Out of domain is a data set of the same kind that a model was not trained on. Images there may be
easier or harder for everybody, so that one ordered pair of data sets says little. The relative drop
of a start is therefore mean Dice at home minus mean Dice elsewhere, as a share of that at home,
with means over all ordered pairs: every data set counts as home as often as elsewhere, and what
makes its images harder for all models alike cancels. (A mean of ratios would not do: models of
equal worth with Dice 0.4 on one data set and 0.2 on the other drop by 50 % and by -100 %.) The
paper prints heat maps and no formula. The best or largest of several is chosen on other seeds.

Self-supervised starts see tissue of the other kind alone, so that what is called unseen here is
unseen. The one that begins from random weights is shown, and no rule counts it.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from pydantic import Field, model_validator

from helpers.book import results
from helpers.book.claims import Gate
from helpers.book.parameters import StartingParameters
from helpers.book.results import Cells, best_on_other_seeds, mean_of, smallest_on_other_seeds
from helpers.chapters import initialisation
from helpers.chapters.initialisation import (
    DOMAIN,
    GLANDS,
    KUMAR,
    NUCLEI,
    RANDOM,
    SCRATCH,
    claim,
    rates,
)
from helpers.experiments.starting import METRICS, Arm, Tasks, further_rows, scored

PUBLISHED: tuple[str, ...] = ()
CPM17, TNBC = "cpm17", "tnbc"
# Within one Dice point two starts perform the same, within two hundredths of the own Dice they
# degrade the same; a model that loses no more than a tenth transfers.
SAME_DICE, SAME_DROP, TRANSFERS = 0.01, 0.02, 0.1


class Parameters(StartingParameters):
    """Those of all chapters on starting points, and a shift inside one data set."""

    within: list[str] = Field(
        [],
        description="parts of one data set of glands (glas:benign, glas:malignant): models are "
        "trained on each with all images and tested on all of them",
    )

    @model_validator(mode="after")
    def _parts(self) -> "Parameters":
        if len(self.within) == 1 or len(set(self.within)) != len(self.within):
            raise ValueError("within must name no data set, or at least two and none twice")
        if twice := {*self.within} & {*self.glands, *self.nuclei}:
            raise ValueError(
                f"within names {', '.join(sorted(twice))}, which glands or nuclei name too"
            )
        return self


def arms(p: Parameters) -> list[Arm]:
    """Of :mod:`helpers.chapters.initialisation` those with the smallest and the largest share and
    the first budget, and those on parts of one data set, seed by seed."""
    ends, within = (p.shares[0], 1.0), tuple(p.within)
    found = [
        arm for arm in initialisation.arms(p) if arm.share in ends and arm.budget == p.budgets[0]
    ]
    parts = [
        Arm(start, name, 1.0, seed, within, p.budgets[0])
        for seed in p.seeds
        for name in within
        for start in p.starts
    ]
    return sorted([*found, *parts], key=lambda arm: p.seeds.index(arm.seed))


def numbers(
    p: Parameters, tasks: Tasks, models: Mapping[Arm, dict]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results table (scores at home and elsewhere, baselines, data) and values of single images."""
    images = results.images_of(scored(p, tasks, models), METRICS)
    rest = [row for row in further_rows(p, tasks, models) if row["table"] == "data"]
    return results.joined([pd.DataFrame(rest), results.table_of(images, METRICS)]), images


# ----------------------------------------------------------------------------------- the rules


def dice(c: Cells, place: str, start: Any, kind: Any = ..., rate: Any = ..., **at: Any) -> Any:
    """Mean over data sets at home, or over ordered pairs elsewhere, of all that is not named."""
    at = {"table": "scores", "train": ..., "test": ..., **at}
    return c("dice", place=place, start=start, kind=kind, rate=rate, **at)


def lead(c: Cells, quantity: Any, *first: str) -> Any:
    """A number of one start (by any of its names) minus the others', the smallest difference."""
    own = quantity(list(first))
    return smallest_on_other_seeds([own - quantity(s) for s in starts(c, *first)])


def starts(c: Cells, *but: str) -> list[str]:
    """The starts that rules count, but some."""
    return [name for name in c.values("start", table="scores") if name not in (SCRATCH, *but)]


def drop(c: Cells, start: Any, *where: Any, **at: Any) -> Any:
    """Share of the Dice at home that is lost elsewhere."""
    home = dice(c, "home", start, *where, **{n: v for n, v in at.items() if n != "test"})
    return 1 - dice(c, "elsewhere", start, *where, **at) / home


def drops(c: Cells, start: Any, kind: str) -> Any:
    """Relative drop, mean over shares."""
    return mean_of([drop(c, start, kind, rate) for rate in rates(c)])


def pretrained_ahead(c: Cells, *trained: str) -> Any:
    """Nuclei: Dice elsewhere of the pretrained starts minus random, of models of some data sets."""
    pretrained, random = (
        dice(c, "elsewhere", names, NUCLEI, train=list(trained))
        for names in (starts(c, RANDOM), RANDOM)
    )
    return pretrained - random


def one_way(c: Cells) -> Any:
    """All images: how far the drops of both directions are on the claimed side; the nearer one."""
    there, back = (
        drop(c, starts(c), GLANDS, 100, train=a, test=b)
        for a, b in (("crag", "glas"), ("glas", "crag"))
    )
    return smallest_on_other_seeds([TRANSFERS - there, back - TRANSFERS])


def alike(c: Cells) -> Any:
    """Minus the distance between the domain's relative drop and the others', mean over kinds."""
    pairs = [(drops(c, DOMAIN, kind), drops(c, starts(c, *DOMAIN), kind)) for kind in kinds(c)]
    apart = mean_of([own - others for own, others in pairs])
    return smallest_on_other_seeds([apart, -apart])


def loss_over_gain(c: Cells, rate: float) -> Any:
    """Dice lost elsewhere (mean of starts) minus what the best start gains at home."""
    found = []
    for kind in kinds(c):
        home = [dice(c, "home", s, kind, rate) for s in starts(c, RANDOM)]
        gain = best_on_other_seeds(home) - dice(c, "home", RANDOM, kind, rate)
        lost = dice(c, "home", starts(c), kind, rate) - dice(c, "elsewhere", starts(c), kind, rate)
        found.append(lost - gain)
    return mean_of(found)


def kinds(c: Cells) -> list[str]:
    """Kinds of which there are several data sets, so that something is out of domain."""
    return [kind for kind in c.values("kind", place="elsewhere") if kind != "parts"]


def _gate(name: str, **at: Any) -> Gate:
    home = {
        "table": "scores",
        "place": "home",
        "rate": 100,
        "train": ...,
        "test": ...,
        "start": ...,
    }
    plain = {"table": "baseline", "test": at.get("train", ...), "kind": at.get("kind", ...)}
    return Gate(name, "dice", {**home, **at}, plain, 0.02, each="test")


GATES = [
    _gate(GLANDS, kind=GLANDS),
    _gate(NUCLEI, kind=NUCLEI),
    _gate("models of KUMAR and CPM17", train=[*KUMAR, CPM17]),
    _gate("models of TNBC", train=[TNBC]),
]
CHANGED = "the start that knew tissue had seen unlabelled images of these data sets"
CHOSEN = f"{CHANGED}; extremes are chosen on other seeds than those they are judged by"
CLAIMS = [
    claim(
        "Glands: with little data domain-specific models perform best out of domain.",
        "section 3.1, Fig. 5",
        "Fewest images, Dice elsewhere: the domain's start minus the best of the others, above 0.",
        lambda c: lead(c, lambda s: dice(c, "elsewhere", s, GLANDS, rates(c)[0]), *DOMAIN),
        CHOSEN,
    ),
    claim(
        "Glands: with little data random initialisation has the greatest relative drop.",
        "section 3.1",
        "Fewest images, relative drop: random minus the largest of the others, above 0.",
        lambda c: lead(c, lambda s: drop(c, s, GLANDS, rates(c)[0]), RANDOM),
        CHOSEN,
    ),
    claim(
        "Glands: a model trained on CRAG transfers to GlaS, but not vice versa.",
        "Fig. 5",
        "All images, mean of starts: the relative drop from CRAG to GlaS is below 0.1, that from "
        "GlaS to CRAG above; the number is the distance of the nearer one, above 0.",
        one_way,
        CHOSEN,
    ),
    claim(
        "Nuclei: trained on KUMAR or CPM17, pretrained models are better on unseen data sets.",
        "section 3.1, cells (a), Fig. 7",
        "Dice elsewhere, mean of shares: pretrained starts minus random ones, above 0.",
        lambda c: pretrained_ahead(c, *KUMAR, CPM17),
        CHANGED,
        gates=("models of KUMAR and CPM17",),
    ),
    claim(
        "Nuclei: trained on TNBC, random starts outperform pretrained ones or perform the same.",
        "section 3.1, cells (a), Fig. 7",
        "Dice elsewhere, mean of shares: random minus pretrained starts, above -0.01.",
        lambda c: -pretrained_ahead(c, TNBC),
        CHANGED,
        threshold=-SAME_DICE,
        gates=("models of TNBC",),
    ),
    claim(
        "Domain-specific pretraining has a lesser drop than other pretraining.",
        "section 3.1, cells (c)",
        "Nuclei, relative drop, mean of shares: the other pretrained minus the domain's, above 0.",
        lambda c: drops(c, starts(c, RANDOM, *DOMAIN), NUCLEI) - drops(c, DOMAIN, NUCLEI),
        CHANGED,
    ),
    claim(
        "Domain-specific pretraining suffers the same degradation as other initialisations. (The "
        "paper's conclusion, against its own section 3.1.)",
        "section 4",
        "Relative drops of the domain's start and of the others, mean of kinds and shares: minus "
        "their distance, above -0.02.",
        alike,
        CHOSEN,
        threshold=-SAME_DROP,
        gates=(GLANDS, NUCLEI),
    ),
    claim(
        "Ours: leaving the domain costs more than any start gains at home.",
        "this book",
        "Dice at home minus elsewhere (mean of starts), minus what the best start gains over "
        "random weights at home; mean of kinds, at the share where it is less: above 0.",
        lambda c: smallest_on_other_seeds([loss_over_gain(c, r) for r in {*rates(c)[:1], 100}]),
        CHOSEN,
    ),
]
SENTENCES = {
    4: {
        "holds": "Elsewhere, models of MoNuSeg were {value} Dice better from pretrained weights.",
        "does not hold": "Elsewhere, models of MoNuSeg were better from random weights ({value} "
        "Dice between pretrained and random ones).",
    },
    6: {"holds": "Weights that know tissue lost {value} less of their Dice elsewhere."},
    8: {"holds": "Leaving the domain cost {value} Dice more than the best start gained at home."},
}
