"""What the numbers of the chapter ``initialisation`` say, put into sentences by the code."""

from collections.abc import Sequence

import pandas as pd

from helpers.chapters.initialisation.significance import Pair, excludes_zero, first_indistinct
from helpers.chapters.starting import tables


def describe_significance(pairs: Sequence[Pair]) -> str:
    """How many comparisons are distinct, and from which share on they no longer are."""
    if not pairs:
        return "No start here knows the domain: there is nothing to compare."
    distinct = [pair for pair in pairs if excludes_zero(pair)]
    ahead = sum(pair.found.difference.mean > 0 for pair in distinct)
    corrected = sum(pair.p < 0.05 for pair in pairs)
    lines = [
        f"Of {len(pairs)} comparisons of `{pairs[0].first}` with another start, {len(distinct)} "
        f"have an interval over runs and patients that leaves zero out ({ahead} in its favour); "
        f"{corrected} have a p below 0.05 over patients after Holm's correction.",
        "",
        "Smallest share of the images at which the two cannot be told apart:",
        "",
    ]
    for dataset in dict.fromkeys(pair.dataset for pair in pairs):
        parts = []
        for second in dict.fromkeys(pair.second for pair in pairs):
            share = first_indistinct(pairs, dataset, second)
            parts.append(f"`{second}` " + ("none" if share is None else f"{share:g}%"))
        lines.append(f"- {dataset}: {', '.join(parts)}")
    return "\n".join(lines)


def for_a_lab(found: dict[str, pd.DataFrame]) -> str:
    """One paragraph drawn from the recorded numbers (from this run's where none are recorded)."""
    name, table = next(iter(found.items()))
    few, every = tables.shares_of(table)[0], tables.shares_of(table)[-1]
    sentences = []
    for kind in ("glands", "nuclei"):
        scores = tables.own_scores(table, kind)
        if scores.empty:
            continue
        mean = scores.mean(axis=1).groupby(level=["method", "rate"]).mean()
        parts = []
        for share in (few, every):
            own = mean.xs(share, level="rate")
            best = own.idxmax()
            parts.append(
                f"with {share:g}% of the images `{best}` is best at {own[best]:.3f} and random "
                f"weights reach {own[tables.RANDOM]:.3f}"
            )
        sentences.append(f"{kind.capitalize()}: {'; '.join(parts)}.")
    return f"**{name}** (Dice, mean over data sets and runs). " + " ".join(sentences)
