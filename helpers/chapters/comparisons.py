"""Comparing methods in a results table, seed by seed: what the rules of claims are made of."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from helpers.metrics import student_interval


def values_by_seed(table: pd.DataFrame, method: str, rate: float, metric: str) -> pd.Series:
    """Values of a metric by seed (seed -1 where the source has none).

    Args:
        rate: in per cent.
    """
    rows = table[
        (table["method"] == method) & (table["rate"].round(6) == rate) & (table["metric"] == metric)
    ]
    return rows.assign(seed=rows["seed"].fillna(-1)).set_index("seed")["value"].astype(float)


def mean_difference(
    table: pd.DataFrame, first: str, second: str, metric: str, relative: bool = False
) -> list[float]:
    """``first`` minus ``second``, averaged over the rates below 100 % that both have, per seed.

    Where both are zero nothing was measured (no model found anything): such rates do not count.

    Args:
        relative: as a share of ``first`` at each rate.
    """
    rates = sorted(rate for rate in table["rate"].dropna().round(6).unique() if rate < 100)
    columns = {}
    for rate in rates:
        one, two = (values_by_seed(table, name, rate, metric) for name in (first, second))
        difference = (one - two).where((one != 0) | (two != 0))
        columns[rate] = difference / one if relative else difference
    frame = pd.DataFrame(columns)
    return [float(value) for value in frame.dropna(axis=1, how="all").mean(axis=1).dropna()]


def by_rate(table: pd.DataFrame, method: str, metric: str) -> pd.DataFrame:
    """Mean, lowest and highest value over seeds at each rate; ``all`` closes every curve at 100%.

    Args:
        table: results of one source.

    Returns:
        Columns rate, mean, low, high, n_seeds; ascending in rate.
    """
    chosen = table[table["method"].isin([method, "all"]) & (table["metric"] == metric)]
    grouped = chosen.groupby("rate")["value"]
    return grouped.agg(mean="mean", low="min", high="max", n_seeds="count").reset_index()


def with_interval(numbers: Iterable[float], form: str = "{:.3f}") -> str:
    """Mean over seeds and its 95 % Student interval, for tables whose caption says so.

    The interval is left out where there is one seed or all agree; a dash where there is none.
    """
    kept = [float(number) for number in numbers]
    if not kept:
        return "–"
    mean = _shown(np.mean(kept), form)
    if len(kept) < 2 or np.std(kept) < 1e-9:
        return mean
    low, high = (_shown(end, form) for end in student_interval(kept))
    return f"{mean} ({low} to {high})"


def _shown(number: float, form: str) -> str:
    """A number that rounds to zero has no sign."""
    text = form.format(number)
    return text.lstrip("+-") if set(text) <= set("+-0.%") else text


def interval_in_words(numbers: Iterable[float]) -> str:
    """The same for sentences: it says what is in the brackets."""
    kept = [float(number) for number in numbers]
    mean = float(np.mean(kept))
    if len(kept) < 2:
        return f"{mean:.3f} (one seed)"
    low, high = student_interval(kept)
    return f"{mean:.3f} (95% interval {low:.3f} to {high:.3f}, {len(kept)} seeds)"
