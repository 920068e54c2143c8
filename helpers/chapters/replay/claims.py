"""Claims of the chapter ``replay``, each with the rule that settles it."""

import numpy as np
import pandas as pd

from helpers.chapters.claims import Claim
from helpers.chapters.transfer.tables import paired, together, values

NONE, WITH = "source -> target", "source -> source + target"
# Where the paper's method stands in its table and in ours.
DQ = ("replay, DQ", "appended, DQ, printed equation")
ALL = ("replay, DQ", "appended, random", "appended, DQ, printed equation")


def _eight(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["table"] == "VIII"]


def _cell(
    table: pd.DataFrame, test: str, rate: float, methods: tuple[str, ...], metric: str = "dice"
) -> pd.Series:
    rows = _eight(table)
    for method in methods:
        found = values(rows, WITH, test, metric, method, rate)
        if len(found):
            return found
    return found


def _none(table: pd.DataFrame, test: str, metric: str = "dice") -> pd.Series:
    return values(_eight(table), NONE, test, metric, rate=0)


def _before(table: pd.DataFrame) -> pd.Series:
    return values(table[table["table"] == "V"], "source", "source", "dice")


def _recovered(rate: float):
    """Share of the lost Dice on the source that replay gives back, per seed."""

    def quantity(table: pd.DataFrame) -> list[float]:
        cells = _before(table), _none(table, "source"), _cell(table, "source", rate, DQ)
        found = paired(
            lambda before, none, kept: (
                (kept - none) / (before - none) if before - none >= 0.1 else np.nan
            ),
            *cells,
        )
        return [value for value in found if np.isfinite(value)]

    return quantity


def _target_stable(table: pd.DataFrame) -> list[float]:
    cells = _cell(table, "target", 10, DQ), _none(table, "target")
    return paired(lambda kept, none: kept - none, *cells)


def _full_harms(table: pd.DataFrame) -> list[float]:
    cells = _none(table, "target"), _cell(table, "target", 100, ALL)
    return paired(lambda none, full: none - full, *cells)


def _joint(table: pd.DataFrame) -> pd.Series:
    rows = table[table["table"].isin(["V", "rivals"])]
    return values(rows, "source + target", "target", method="joint")


def _as_joint(table: pd.DataFrame) -> list[float]:
    cells = _cell(table, "target", 100, ALL), _joint(table)
    return paired(lambda full, joint: -abs(full - joint), *cells)


def _dq_minus_random(table: pd.DataFrame) -> list[float]:
    """Dice on the source, mean over settings and rates below 100 %, per seed."""
    rows = _eight(table)
    rates = sorted(rate for rate in rows["rate"].dropna().unique() if 0 < rate < 100)
    gaps = []
    for setting in ("appended", "controlled"):
        for rate in rates:
            dq = values(rows, WITH, "source", "dice", f"{setting}, DQ, printed equation", rate)
            random = values(rows, WITH, "source", "dice", f"{setting}, random", rate)
            gaps.append(dq - random)
    frame = pd.concat(gaps, axis=1) if gaps else pd.DataFrame()
    return [float(value) for value in frame.mean(axis=1).dropna()]


def _both(rows: pd.DataFrame, train: str, method: str) -> pd.Series:
    """Mean of the Dice on source and target, by seed."""
    cells = [values(rows, train, role, "dice", method) for role in ("source", "target")]
    return together(*cells).mean(axis=1)


def _best_share(table: pd.DataFrame) -> pd.Series:
    """The best mean of both Dice that a fixed share reaches, by seed."""
    rows = table[table["table"] == "shares"]
    found = [_both(rows, WITH, method) for method in rows["method"].unique()]
    return together(*found).max(axis=1) if found else pd.Series(dtype=float)


def _adaptive(table: pd.DataFrame) -> list[float]:
    rows = table[table["table"] == "rivals"]
    cells = _both(rows, WITH, "adaptive replay"), _best_share(table)
    return paired(lambda adaptive, best: adaptive - best, *cells)


def _replay_beats(rival: str):
    def quantity(table: pd.DataFrame) -> list[float]:
        cells = _best_share(table), _both(table[table["table"] == "rivals"], NONE, rival)
        return paired(lambda best, other: best - other, *cells)

    return quantity


PLACE = "arXiv 2511.04803, section IV-G, Table VIII"
CLAIMS = [
    Claim(
        "Replaying just 5–10% of the source substantially recovers source performance.",
        PLACE,
        "With 10% replayed (DQ, added to the target), at least 80% of the lost Dice on the source "
        "comes back.",
        _recovered(10),
        0.8,
    ),
    Claim(
        "The target stays stable meanwhile.",
        PLACE,
        "Dice on the target: with 10% replayed minus without, at least −0.03.",
        _target_stable,
        -0.03,
    ),
    Claim(
        "Using 100% of the source unexpectedly degrades the target: excessive replay may harm.",
        PLACE,
        "Dice on the target: without replay minus with all of the source added, at least 0.1.",
        _full_harms,
        0.1,
    ),
    Claim(
        "Ours: all of the source added is the same data as joint training, and gives the same.",
        "Table VIII against Table V",
        "The two differ by at most 0.05 in Dice on the target.",
        _as_joint,
        -0.05,
    ),
    Claim(
        "Selection by DQ makes replay effective.",
        f"{PLACE} (implied: no other selection was tried)",
        "Dice on the source: DQ minus random at equal rates, both settings averaged, is above "
        "zero by at least 0.01.",
        _dq_minus_random,
        0.01,
    ),
    Claim(
        "Ours: an adaptive share is as good as the best fixed one.",
        "this book",
        "Mean of the Dice on source and target: adaptive minus the best fixed share, at least "
        "−0.01.",
        _adaptive,
        -0.01,
    ),
    Claim(
        "Ours: replay is better than L2-SP.",
        "this book",
        "Mean of the Dice on source and target: best fixed share minus L2-SP, at least 0.",
        _replay_beats("L2-SP"),
        0.0,
    ),
    Claim(
        "Ours: replay is better than distillation without old data.",
        "this book",
        "Mean of the Dice on source and target: best fixed share minus distillation, at least 0.",
        _replay_beats("distillation"),
        0.0,
    ),
]
