"""What the numbers of the chapter ``out-of-domain`` say, put into sentences by the code."""

import pandas as pd

from helpers.chapters.comparisons import with_interval
from helpers.chapters.out_of_domain.tables import SHIFTS, by_start, ends, kinds_of, relative_drop

NOTHING_UNSEEN = "Every kind has a single data set here: nothing is out of domain."


def for_a_lab(found: dict[str, pd.DataFrame]) -> str:
    """One paragraph drawn from the recorded numbers (from this run's where none are recorded)."""
    name, table = next(iter(found.items()))
    kinds = kinds_of(table, SHIFTS)
    if not kinds:
        return f"**{name}**: {NOTHING_UNSEEN}"
    sentences = [_of_kind(table, kind) for kind in kinds]
    what = "all images, means over ordered pairs of data sets, in brackets 95% intervals over runs"
    return f"**{name}** ({what}). " + " ".join(sentences)


def _of_kind(table: pd.DataFrame, kind: str) -> str:
    share = ends(table)[1]
    home, away, drop = (by_start(table, kind, share, c) for c in ("own", "dice", "drop"))
    relative = relative_drop(table, kind, share).mean().dropna()
    elsewhere = away.mean(axis=1)
    lost, between = drop.mean().mean(), elsewhere.max() - elsewhere.min()
    return (
        f"{kind.capitalize()}: Dice {home.mean().mean():.3f} at home and {elsewhere.mean():.3f} "
        f"elsewhere, a relative drop of {with_interval(relative, '{:.1%}')}, over all starts. "
        f"Elsewhere `{elsewhere.idxmax()}` is best and `{elsewhere.idxmin()}` worst, "
        f"{between:.3f} apart. {_advice(lost, between)}"
    )


def _advice(lost: float, between: float) -> str:
    """What weighs more: the domain, or the start."""
    if lost <= 0:
        return "Models lose nothing away from home here."
    first = f"Leaving the domain costs {lost:.3f}: which images are annotated weighs"
    if lost > between:
        return f"{first} more than which weights are loaded."
    return f"{first} no more than which weights are loaded."
