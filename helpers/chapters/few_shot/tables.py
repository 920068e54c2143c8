"""Results tables of the chapter ``few-shot``, and the numbers its rules are made of."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from helpers.chapters.cells.run import CUPRE, STARTS, Arm, Data
from helpers.chapters.cells.tables import SHOWN, data_rows, round_rows, score_rows
from helpers.chapters.comparisons import with_interval
from helpers.chapters.few_shot.parameters import Parameters
from helpers.chapters.results import tidy

CHAPTER = "few-shot"
FEW = 5.0


def results_table(
    parameters: Parameters,
    data: Data,
    pretrained: Mapping[str, dict],
    found: Mapping[Arm, dict],
) -> pd.DataFrame:
    """All numbers of the chapter.

    Tables: ``data``, ``scores`` (every training), ``rounds`` (of the pretrainings that have some).
    """
    rows = data_rows(data)
    for arm, result in found.items():
        common = {
            "dataset_train": arm.dataset,
            "dataset_test": arm.dataset,
            "method": arm.route.kind,
            "rate": 100 * arm.share,
            "seed": arm.seed,
        }
        rows += score_rows(common, result)
    for kind, result in pretrained.items():
        if "rounds" in result:
            rows += round_rows({"method": kind}, result)
    common = {"chapter": CHAPTER, "source": "this run", "profile": parameters.profile}
    return tidy([common | row for row in rows])


def scores(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric by start and share (index), a column per draw; published ones have one, -1."""
    rows = table[(table["table"] == "scores") & (table["metric"] == metric)]
    rows = rows.assign(seed=rows["seed"].fillna(-1).astype(int), rate=rows["rate"].round(6))
    found = rows.pivot(index=["method", "rate"], columns="seed", values="value").astype(float)
    return found.reindex(
        pd.MultiIndex.from_product([starts_of(table), shares_of(table)], names=["method", "rate"])
    )


def starts_of(table: pd.DataFrame) -> list[str]:
    """Starts that a table holds, in the chapter's order."""
    present = set(table.loc[table["table"] == "scores", "method"])
    return [start for start in STARTS if start in present]


def shares_of(table: pd.DataFrame) -> list[float]:
    """Shares of the training images in per cent, ascending."""
    return sorted(table.loc[table["table"] == "scores", "rate"].round(6).unique())


def few(table: pd.DataFrame) -> float | None:
    """The share that stands for "few": the one nearest to the published 5 %, on a log scale."""
    shares = [share for share in shares_of(table) if share < 100]
    return min(shares, key=lambda share: abs(np.log(share / FEW))) if shares else None


def lead_by_draw(
    table: pd.DataFrame, first: str, second: str, share: float | None, metric: str = "box_ap"
) -> pd.Series:
    """``first`` minus ``second`` at a share, by draw (index); empty if either is missing."""
    found = scores(table, metric)
    if share is None or not {(first, share), (second, share)} <= set(found.index):
        return pd.Series(dtype=float)
    return (found.loc[(first, share)] - found.loc[(second, share)]).dropna()


def lead(
    table: pd.DataFrame, first: str, second: str, share: float | None, metric: str = "box_ap"
) -> list[float]:
    """The values of :func:`lead_by_draw`."""
    return lead_by_draw(table, first, second, share, metric).tolist()


def score_table(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """All shown metrics at one share: a row per start, mean over draws with its interval."""
    rows = []
    for start in starts_of(table):
        row = {"start": start}
        for metric, name in SHOWN.items():
            found = scores(table, metric)
            values = found.loc[(start, share)].dropna() if (start, share) in found.index else []
            row[name] = with_interval([100 * v for v in values], "{:.1f}")
        rows.append(row)
    return pd.DataFrame(rows)


def lead_table(table: pd.DataFrame, metric: str = "box_ap") -> pd.DataFrame:
    """CUPre minus every other start, in points, at every share."""
    rows = []
    for other in starts_of(table):
        if other == CUPRE:
            continue
        row = {"CUPre minus": other}
        for share in shares_of(table):
            found = [100 * value for value in lead(table, CUPRE, other, share, metric)]
            row[f"{share:g}% of the images"] = with_interval(found, "{:+.1f}")
        rows.append(row)
    return pd.DataFrame(rows)


def spread_by_count(counts: Sequence[int], n: int) -> list[int]:
    """Places of ``n`` images from the one with the fewest objects to that with the most."""
    order = np.argsort(counts, kind="stable")
    return [int(order[i]) for i in np.unique(np.linspace(0, len(order) - 1, n).astype(int))]
