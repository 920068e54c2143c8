"""Comparing methods in a results table, seed by seed: what the rules of claims are made of."""

import pandas as pd


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
