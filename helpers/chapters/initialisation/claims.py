"""Claims of arXiv 2307.03275 on where to start, each with the rule that settles it.

The paper prints plots without numbers, so that there is no published value to put a rule to.
Differences are of Dice on test images of the data set trained on, equal steps for all shares.
"""

from collections.abc import Callable

import pandas as pd

from helpers.chapters.claims import ABOVE_ZERO, Claim
from helpers.chapters.starting import tables
from helpers.chapters.starting.tables import (
    DOMAIN,
    RANDOM,
    SELF_SUPERVISED,
    SUPERVISED,
    curve,
    datasets_of,
    own_scores,
    role,
    shares_of,
    starts_of,
)

Quantity = Callable[[pd.DataFrame], list[float]]
GLANDS, NUCLEI = "glands", "nuclei"
# Within one Dice point two starts are called similar.
SIMILAR = 0.01


def _by_start(table: pd.DataFrame, kind: str, share: float) -> pd.DataFrame:
    """Dice by start (rows) and seed, mean over the data sets of a kind; empty if there is none."""
    found = own_scores(table, kind)
    if found.empty:
        return found
    return found.xs(share, level="rate").groupby(level="method").mean()


def _ends(table: pd.DataFrame) -> tuple[float, float]:
    """Smallest and largest share."""
    shares = shares_of(table)
    return shares[0], shares[-1]


def _values(found: pd.Series) -> list[float]:
    return [float(value) for value in found.dropna()]


def more_data_helps(kind: str) -> Quantity:
    """Dice with all images minus Dice with the fewest: the smallest over starts."""

    def quantity(table: pd.DataFrame) -> list[float]:
        few, every = (_by_start(table, kind, share) for share in _ends(table))
        return _values((every - few).min()) if len(every) and len(few) else []

    return quantity


def more_data_steadies(kind: str) -> Quantity:
    """Spread over seeds with the fewest images minus that with all, mean over starts."""

    def quantity(table: pd.DataFrame) -> list[float]:
        found = own_scores(table, kind)
        if found.empty or found.shape[1] < 2:
            return []
        few, every = (found.xs(share, level="rate").std(axis=1).mean() for share in _ends(table))
        return [float(few - every)]

    return quantity


def pretrained_beats_random(kind: str) -> Quantity:
    """Smallest difference to random over shares and pretrained starts."""

    def quantity(table: pd.DataFrame) -> list[float]:
        parts = [_by_start(table, kind, share) for share in shares_of(table)]
        gains = [(one - one.loc[RANDOM]).drop(index=RANDOM) for one in parts if len(one)]
        return _values(pd.concat(gains).groupby(level=0).min().min()) if gains else []

    return quantity


def _gain_over_random(table: pd.DataFrame, kind: str, share: float) -> pd.Series:
    found = _by_start(table, kind, share)
    if found.empty or len(found) < 2:
        return pd.Series(dtype=float)
    return found.drop(index=RANDOM).mean() - found.loc[RANDOM]


def gain_shrinks(kind: str) -> Quantity:
    """Mean gain over random with the fewest images minus that with all."""

    def quantity(table: pd.DataFrame) -> list[float]:
        few, every = (_gain_over_random(table, kind, share) for share in _ends(table))
        return _values(few - every)

    return quantity


def _lead(table: pd.DataFrame, kind: str, share: float) -> pd.Series:
    """Of the start that knows the domain over the best other one (by its mean), by seed."""
    found, first = _by_start(table, kind, share), role(table, DOMAIN)
    if found.empty or first is None:
        return pd.Series(dtype=float)
    return found.loc[first] - _best(found.drop(index=first))


def _best(found: pd.DataFrame) -> pd.Series:
    """The start of the highest mean over seeds: not the best of every seed, which is nobody."""
    return found.loc[found.mean(axis=1).idxmax()]


def domain_leads(kind: str) -> Quantity:
    """Lead with the fewest images."""
    return lambda table: _values(_lead(table, kind, _ends(table)[0]))


def lead_shrinks(kind: str) -> Quantity:
    """Lead with the fewest images minus lead with all."""

    def quantity(table: pd.DataFrame) -> list[float]:
        few, every = (_lead(table, kind, share) for share in _ends(table))
        return _values(few - every)

    return quantity


def _curves(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """Dice by step and start, mean over the data sets of glands."""
    parts = [curve(table, name, share) for name in datasets_of(table, GLANDS)]
    parts = [part for part in parts if len(part)]
    return pd.concat(parts).groupby(level=0).mean() if parts else pd.DataFrame()


def leads_always(table: pd.DataFrame) -> list[float]:
    """Smallest lead of the domain's start over looks, fewest images."""
    found, first = _curves(table, _ends(table)[0]), role(table, DOMAIN)
    if found.empty or first is None:
        return []
    return [float((found[first] - found.drop(columns=first).max(axis=1)).min())]


def supervised_leads_early(table: pd.DataFrame) -> list[float]:
    """At the first look with all images: supervised minus the domain's start."""
    found, names = _curves(table, 100), (role(table, SUPERVISED), role(table, DOMAIN))
    if found.empty or None in names:
        return []
    first = found.iloc[0]
    return [float(first[names[0]] - first[names[1]])]


def random_keeps_up(table: pd.DataFrame) -> list[float]:
    """On KUMAR's images: random minus the mean of the pretrained starts, mean over shares."""
    names = [n for n in datasets_of(table, NUCLEI) if n.startswith("monuseg")]
    if not names:
        return []
    found = tables.scores(table, names[0])
    mean = found.groupby(level="method").mean()
    return _values(mean.loc[RANDOM] - mean.drop(index=RANDOM).mean())


def similar_or_worse(table: pd.DataFrame) -> list[float]:
    """Share of cases in which the domain's start leads supervised by no more than a point."""
    found, names = own_scores(table, NUCLEI), (role(table, DOMAIN), role(table, SUPERVISED))
    if found.empty or None in names:
        return []
    first, second = (found.xs(name, level="method") for name in names)
    return _values(((first - second) <= SIMILAR).mean())


def no_gain_for_nuclei(table: pd.DataFrame) -> list[float]:
    """Best other start minus the domain's, mean over data sets and shares."""
    leads = [_lead(table, NUCLEI, share) for share in shares_of(table)]
    return _values(-pd.concat(leads, axis=1).mean(axis=1)) if leads else []


def self_supervised_leads(table: pd.DataFrame) -> list[float]:
    """On natural images: self-supervised minus supervised, mean over everything."""
    names = (role(table, SELF_SUPERVISED), role(table, SUPERVISED))
    parts = [found for kind in (GLANDS, NUCLEI) if len(found := own_scores(table, kind))]
    if None in names or not parts:
        return []
    mean = pd.concat(parts).groupby(level="method").mean()
    return _values(mean.loc[names[0]] - mean.loc[names[1]])


def starts_matter_less_than_data(table: pd.DataFrame) -> list[float]:
    """Gain by all images over the fewest minus the gain by the best start over random."""
    values = []
    for kind in (GLANDS, NUCLEI):
        few, every = (_by_start(table, kind, share) for share in _ends(table))
        if few.empty or every.empty or len(starts_of(table)) < 2:
            continue
        by_data = (every - few).mean()
        by_start = _best(few) - few.loc[RANDOM]
        values.append(by_data - by_start)
    return _values(pd.concat(values, axis=1).mean(axis=1)) if values else []


PAPER = "arXiv 2307.03275"
CLAIMS = [
    Claim(
        "Glands: more data improves the performance for all initialisations.",
        f"{PAPER}, section 3, (a), Fig. 2 and 6",
        "Dice with all images minus Dice with the fewest, the smallest such gain of any start: "
        "above zero (at least 0.001).",
        more_data_helps(GLANDS),
        ABOVE_ZERO,
    ),
    Claim(
        "Glands: more data decreases the variation.",
        f"{PAPER}, section 3, (a)",
        "Standard deviation over seeds with the fewest images minus that with all, mean over "
        "starts: above zero (at least 0.001).",
        more_data_steadies(GLANDS),
        ABOVE_ZERO,
    ),
    Claim(
        "Glands: at all amounts of data pretrained weights outperform random ones.",
        f"{PAPER}, section 3, (b)",
        "Dice minus that from random weights, the smallest over shares and pretrained starts: "
        "above zero (at least 0.001).",
        pretrained_beats_random(GLANDS),
        ABOVE_ZERO,
    ),
    Claim(
        "Glands: the gap between random and pretrained weights closes with more data.",
        f"{PAPER}, section 3, (b)",
        "Mean gain over random with the fewest images minus that with all: above zero (at least "
        "0.001).",
        gain_shrinks(GLANDS),
        ABOVE_ZERO,
    ),
    Claim(
        "Glands: for small data sets domain-specific pretraining has a significant advantage.",
        f"{PAPER}, section 3, (c)",
        "Dice from the start that knows the domain minus the best of the others, fewest images: "
        "above zero (at least 0.001). Significance is in the table of comparisons.",
        domain_leads(GLANDS),
        ABOVE_ZERO,
    ),
    Claim(
        "Glands: that advantage diminishes as the data set grows.",
        f"{PAPER}, section 3, (c)",
        "The lead with the fewest images minus the lead with all: above zero (at least 0.001).",
        lead_shrinks(GLANDS),
        ABOVE_ZERO,
    ),
    Claim(
        "Glands: with little data domain-specific pretraining is ahead at all epochs.",
        f"{PAPER}, section 3, Fig. 2B and 6B",
        "Smallest lead over the other starts at any look, fewest images, mean over seeds: above "
        "zero (at least 0.001).",
        leads_always,
        ABOVE_ZERO,
    ),
    Claim(
        "Glands: with all data supervised ImageNet weights are ahead at low epochs.",
        f"{PAPER}, section 3, Fig. 2B",
        "Dice at the first look with all images: supervised minus domain-specific, above zero (at "
        "least 0.001).",
        supervised_leads_early,
        ABOVE_ZERO,
    ),
    Claim(
        "Nuclei: on KUMAR random initialisation outperforms or competes with the others.",
        f"{PAPER}, section 3, cells (a), Fig. 3",
        "On MoNuSeg's images: random minus the mean of the pretrained starts, over all shares: at "
        "least -0.01.",
        random_keeps_up,
        -SIMILAR,
    ),
    Claim(
        "Nuclei: domain-specific pretraining is similar to or worse than ImageNet in most cases.",
        f"{PAPER}, section 3, cells (b)",
        "Share of data sets and shares at which it leads the supervised start by no more than one "
        "Dice point: at least a half.",
        similar_or_worse,
        0.5,
    ),
    Claim(
        "Nuclei: domain-specific pretraining does not improve the segmentation of cells.",
        f"{PAPER}, section 3, cells, and section 4",
        "Best of the other starts minus the domain's, mean over data sets and shares: at least "
        "-0.001.",
        no_gain_for_nuclei,
        -ABOVE_ZERO,
    ),
    Claim(
        "Do self-supervised weights outperform supervised ones? (A question of the paper.)",
        f"{PAPER}, section 2",
        "Both learned from natural images: self-supervised minus supervised, mean over data sets "
        "and shares: above zero (at least 0.001).",
        self_supervised_leads,
        ABOVE_ZERO,
    ),
    Claim(
        "Ours: annotating more matters more than the start.",
        "this book",
        "What all images gain over the fewest (mean over starts) minus what the best start gains "
        "over random weights with the fewest: above zero (at least 0.001).",
        starts_matter_less_than_data,
        ABOVE_ZERO,
    ),
]
