"""What the numbers of the chapter ``few-shot`` say, put into sentences by the code."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from helpers.chapters.cells.run import CUPRE, LONGER, MOCO, SCRATCH, SOURCE
from helpers.chapters.comparisons import with_interval
from helpers.chapters.few_shot.tables import few, lead, scores, shares_of, starts_of

MEANINGS = {
    SCRATCH: "random weights, others for every draw",
    SOURCE: "the whole detector, trained on the labelled source",
    LONGER: "the same, with as many further steps as CUPre takes, all of them on the source",
    MOCO: "the backbone alone, from random weights by MoCo v2 on unlabelled cells",
    CUPRE: "the source's detector, then rounds of MoCo on cells and of the source (AMT2)",
}


def describe_starts(kinds: list[str], pretrained: Mapping[str, dict]) -> str:
    """What each start is, what its pretraining took, how well it finds the source's objects."""
    lines = []
    for kind in kinds:
        line = f"- **{kind}**: {MEANINGS[kind]}"
        if kind in pretrained:
            result = pretrained[kind]
            line += f" ({result['train_seconds']:.0f} s"
            last = result.get("source_scores") or (result.get("rounds") or [{}])[-1].get(
                "source_scores", {}
            )
            if last.get("box_ap") is not None:
                line += f"; box AP {100 * last['box_ap']:.1f} on the source's test pictures"
            line += ")"
        lines.append(line)
    return "\n".join(lines)


def for_a_lab(found: dict[str, pd.DataFrame]) -> str:
    """One paragraph drawn from the recorded numbers (from this run's where none are recorded)."""
    own = {name: table for name, table in found.items() if name != "published"}
    name, table = next(iter(own.items()))
    share = few(table)
    if share is None:
        return f"**{name}**: no share below 100% was trained on."
    means = scores(table, "box_ap").xs(share, level="rate").mean(axis=1).dropna()
    if means.empty:
        return f"**{name}**: no box AP was measured with {share:g}% of the images."
    best = means.idxmax()
    ranked = ", ".join(f"{s} {100 * means[s]:.1f}" for s in means.sort_values()[::-1].index)
    sentences = [
        f"With {share:g}% of the images, box AP: {ranked}.",
        _of_cupre(table, share),
        _of_more_images(table, share, best),
    ]
    return (
        f"**{name}** (means over draws of the annotated images, brackets: 95% intervals over "
        f"draws). {' '.join(one for one in sentences if one)}"
    )


def _of_cupre(table: pd.DataFrame, share: float) -> str:
    parts = []
    for other, what in ((SOURCE, "the source's detector"), (LONGER, "more of the source")):
        values = [100 * value for value in lead(table, CUPRE, other, share)]
        if values:
            parts.append(f"{with_interval(values, '{:+.1f}')} points over {what}")
    return f"CUPre is {' and '.join(parts)}." if parts else ""


def _of_more_images(table: pd.DataFrame, share: float, best: str) -> str:
    """What annotating more is worth, beside what a start is worth."""
    shares = shares_of(table)
    later = [one for one in shares if one > share]
    found = scores(table, "box_ap")
    if not later or SCRATCH not in starts_of(table):
        return ""
    start = 100 * (found.loc[(best, share)] - found.loc[(SCRATCH, share)]).mean()
    more = 100 * (found.loc[(SCRATCH, later[0])] - found.loc[(SCRATCH, share)]).mean()
    if not np.isfinite([start, more]).all():
        return ""
    weighs = "more" if start > more else "no more"
    return (
        f"From random weights, {later[0]:g}% of the images instead of {share:g}% are worth "
        f"{more:+.1f} points; the best start at {share:g}% is worth {start:+.1f}: here a start "
        f"weighs {weighs} than annotating {later[0] / share:g} times as much."
    )
