"""Claims of the chapter ``redundancy``, each with the rule that settles it."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from helpers.chapters.claims import Claim
from helpers.chapters.comparisons import mean_difference, values_by_seed
from helpers.chapters.redundancy.tables import METHOD_NAMES

# Below this rise in Dice from 1 % to 100 % there is nothing of which 10 % could reach a share.
RISE = 0.02


def _paired(
    table: pd.DataFrame, combine: Callable[..., float], *cells: tuple[str, float]
) -> list[float]:
    """``combine`` applied to several (method, rate) cells, seed by seed."""
    columns = [values_by_seed(table, method, rate, "dice") for method, rate in cells]
    frame = pd.concat(columns, axis=1, join="inner")
    # A model that found nothing has Dice 0: a quotient by it is no number and is left out later.
    with np.errstate(divide="ignore", invalid="ignore"):
        return [float(combine(*map(np.float64, row))) for row in frame.itertuples(index=False)]


def _subset_method(table: pd.DataFrame) -> str:
    """The selection a source's claim is about: DQ in the paper's table, random in our runs."""
    return "DQ" if (table["method"] == "DQ").any() else "random"


def _full(table: pd.DataFrame) -> str:
    return "all" if (table["method"] == "all").any() else "DQ"


def _share_at_ten(table: pd.DataFrame) -> list[float]:
    return _paired(
        table, lambda ten, full: ten / full, (_subset_method(table), 10), (_full(table), 100)
    )


def _gain_by_ten(table: pd.DataFrame) -> list[float]:
    return _paired(
        table,
        lambda one, ten, full: (ten - one) / (full - one) if full - one >= RISE else np.nan,
        (_subset_method(table), 1),
        (_subset_method(table), 10),
        (_full(table), 100),
    )


def _beyond_forty(table: pd.DataFrame) -> list[float]:
    return _paired(
        table, lambda forty, full: forty - full, (_subset_method(table), 40), (_full(table), 100)
    )


def _dq_minus_random(table: pd.DataFrame) -> list[float]:
    dq = "DQ" if (table["method"] == "DQ").any() else METHOD_NAMES["dq_paper_eq", "steps"]
    return mean_difference(table, dq, "random", "dice")


def _steps_minus_epochs(table: pd.DataFrame) -> list[float]:
    smallest = table.loc[table["method"] == "random, equal epochs", "rate"].min()
    return _paired(
        table,
        lambda steps, epochs: steps - epochs,
        ("random", smallest),
        ("random, equal epochs", smallest),
    )


CLAIMS = [
    Claim(
        "About 10% of the training data yields near-saturated performance.",
        "arXiv 2511.04803, contributions; Table I",
        "Dice at 10% is at least 95% of Dice on all data.",
        _share_at_ten,
        0.95,
    ),
    Claim(
        "The first 10% already captures most of the essential information.",
        "arXiv 2511.04803, section IV-A",
        f"Of the rise in Dice from 1% to 100%, at least half is reached at 10% (not tested where "
        f"the rise is below {RISE}: a share of nothing is noise).",
        _gain_by_ten,
        0.5,
    ),
    Claim(
        "Beyond 40% additional data are of little value.",
        "arXiv 2511.04803, section IV-A",
        "Dice at 40% is at most 0.01 below Dice on all data.",
        _beyond_forty,
        -0.01,
    ),
    Claim(
        "Dataset quantization is an effective way to choose the subset.",
        "arXiv 2511.04803, section V; Table II",
        "Dice of DQ minus Dice of random subsets, averaged over the rates below 100%, is not "
        "below zero.",
        _dq_minus_random,
        0.0,
    ),
    Claim(
        "Ours: equal epochs make small subsets look worse than they are.",
        "this book",
        "At the smallest rate, Dice at equal steps exceeds Dice at equal epochs by at least 0.02.",
        _steps_minus_epochs,
        0.02,
    ),
]
