"""What the numbers of the chapter ``few-shot-ablations`` say, put into sentences by the code."""

import numpy as np
import pandas as pd

from helpers.chapters.cells.run import CUPRE, SOURCE
from helpers.chapters.comparisons import with_interval
from helpers.chapters.few_shot_ablations.run import OWN, PART
from helpers.chapters.few_shot_ablations.tables import (
    gap,
    lead,
    names_of,
    studies_of,
    study,
)


def describe_studies(table: pd.DataFrame) -> str:
    """The best level of every study, and how much choosing it is worth."""
    lines = []
    for name in studies_of(table):
        means = 100 * study(table, name).mean(axis=1).dropna()
        if means.empty:
            continue
        spread = 100 * study(table, name).std(axis=1, ddof=1).mean()
        noise = "" if np.isnan(spread) else f"; draws of one level differ by {spread:.1f} (std)"
        lines.append(
            f"- **{name}**: best at {means.idxmax():g} (box AP {means.max():.1f}), worst at "
            f"{means.idxmin():g} ({means.min():.1f}){noise}"
        )
    return "\n".join(lines) or "Nothing was varied."


def describe_gap(table: pd.DataFrame) -> str:
    """What becomes of the gap along the training."""
    found, moved = gap(table, "classifier"), gap(table, "mmd")
    if found.empty or moved.empty:
        return "The gap was not measured."
    widest, narrowest = moved.idxmax(), moved.idxmin()
    return (
        f"A line tells the patches of cells from those of the source with an accuracy of "
        f"{found.iloc[0]:.2f} in the features of random weights, {found.min():.2f} at the least "
        f"(*{found.idxmin()}*) and {found.iloc[-1]:.2f} after fine-tuning. By MMD² the two lie "
        f"farthest apart at *{widest}* ({moved.max():.2f}) and closest at *{narrowest}* "
        f"({moved.min():.2f})."
    )


def for_a_lab(found: dict[str, pd.DataFrame]) -> str:
    """One paragraph drawn from the recorded numbers (from this run's where none are recorded)."""
    name, table = next(iter(found.items()))
    sentences = [_of_parts(table), *(_of_cells(table, n) for n in names_of(table, "elsewhere"))]
    said = " ".join(one for one in sentences if one)
    if not said:
        return f"**{name}**: neither the share of steps on cells nor the cells were varied."
    return f"**{name}** (means over draws, brackets: 95% intervals over draws). {said}"


def _of_parts(table: pd.DataFrame) -> str:
    found = study(table, PART)
    means = found.mean(axis=1).dropna()
    if len(means) < 2:
        return ""
    above = means[means.index > 0]
    if above.empty or 0 not in means.index:
        return f"Best was {means.idxmax():.0%} of the steps on cells."
    best = above.idxmax()
    gained = 100 * (found.loc[best] - found.loc[0]).dropna()
    return (
        f"The best share of steps on cells, {best:.0%}, is {with_interval(gained, '{:+.1f}')} "
        "points over as many steps on the source alone."
    )


def _of_cells(table: pd.DataFrame, name: str) -> str:
    over = [100 * value for value in lead(table, "elsewhere", name, CUPRE, SOURCE)]
    own = [100 * value for value in lead(table, "elsewhere", name, OWN, CUPRE)]
    if not over:
        return ""
    lead_over_source = with_interval(over, "{:+.1f}")
    text = f"On {name}, CUPre on other cells is {lead_over_source} points over the source"
    if own:
        text += f"; these cells' own patches add {with_interval(own, '{:+.1f}')}"
    return f"{text}."
