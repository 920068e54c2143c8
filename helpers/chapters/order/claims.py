"""Claims of the chapter ``order``, each with the rule that settles it."""

import pandas as pd

from helpers.chapters.claims import Claim
from helpers.chapters.order.run import LONG_PATHS, NAMED
from helpers.chapters.transfer.tables import paired, together, values
from helpers.experiments.curricula import ROLES

A, B, C = NAMED["A"], NAMED["B"], NAMED["C"]


def _dice(table: pd.DataFrame, path: str, test: str) -> pd.Series:
    return values(table, path, test)


def _balance(table: pd.DataFrame, path: str) -> pd.Series:
    """Mean Dice over the three domains, by seed."""
    return together(*(_dice(table, path, role) for role in ROLES)).mean(axis=1)


def _matters(table: pd.DataFrame) -> list[float]:
    """Best minus worst of the paths A, B, C on each domain, averaged over domains."""
    spans = []
    for role in ROLES:
        cells = together(*(_dice(table, path, role) for path in (A, B, C)))
        spans.append(cells.max(axis=1) - cells.min(axis=1))
    return [float(value) for value in together(*spans).mean(axis=1)]


def _a_best_on_third(table: pd.DataFrame) -> list[float]:
    return paired(lambda a, b, c: a - max(b, c), *(_dice(table, p, "third") for p in (A, B, C)))


def _c_balanced(table: pd.DataFrame) -> list[float]:
    return paired(lambda a, b, c: c - max(a, b), *(_balance(table, p) for p in (A, B, C)))


def _c_keeps_source(table: pd.DataFrame) -> list[float]:
    return paired(lambda a, b, c: c - max(a, b), *(_dice(table, p, "source") for p in (A, B, C)))


def _first_forgotten(table: pd.DataFrame) -> list[float]:
    """Drop on the source where it came first (A, B) minus where it came second (C)."""
    cells = [
        _dice(table, "source", "source"),
        _dice(table, A, "source"),
        _dice(table, B, "source"),
        _dice(table, "third -> source", "source"),
        _dice(table, C, "source"),
    ]
    return paired(lambda s, a, b, ts, c: (s - a + s - b) / 2 - (ts - c), *cells)


def _diverse_start(table: pd.DataFrame) -> list[float]:
    """Mean over domains of the paths that begin with the third domain minus all others."""
    known = [path for path in LONG_PATHS if len(_balance(table, path))]
    begun = [path for path in known if path.startswith("third")]
    others = [path for path in known if path not in begun]
    if not begun or not others:
        return []
    means = [
        together(*(_balance(table, path) for path in paths)).mean(axis=1)
        for paths in (begun, others)
    ]
    return paired(lambda first, rest: first - rest, *means)


def _recency(table: pd.DataFrame) -> list[float]:
    """Dice on the domain learned last minus the best of the two learned before, over paths."""
    known = [path for path in LONG_PATHS if len(_balance(table, path))]
    gaps = []
    for path in known:
        *before, last = path.split(" -> ")
        frame = together(
            *(_dice(table, path, role) - _dice(table, role, role) for role in (last, *before))
        )
        gaps.append(frame.iloc[:, 0] - frame.iloc[:, 1:].max(axis=1))
    if not gaps:
        return []
    return [float(value) for value in together(*gaps).min(axis=1)]


PLACE = "arXiv 2511.04803, section IV-F, Table VII"
CLAIMS = [
    Claim(
        "Training order significantly impacts both forgetting and generalization.",
        PLACE,
        "Between the best and the worst of the paths A, B and C lie at least 0.1 Dice, averaged "
        "over the three domains.",
        _matters,
        0.1,
    ),
    Claim(
        "Path A achieves the best performance on the third domain.",
        PLACE,
        "Dice on the third domain: A minus the better of B and C, not below zero.",
        _a_best_on_third,
        0.0,
    ),
    Claim(
        "Path C achieves more balanced performance across all domains.",
        PLACE,
        "Mean Dice over the three domains: C minus the better of A and B, not below zero.",
        _c_balanced,
        0.0,
    ),
    Claim(
        "Path C recovers strong performance on the source via intermediate fine-tuning.",
        PLACE,
        "Dice on the source: C minus the better of A and B, not below zero.",
        _c_keeps_source,
        0.0,
    ),
    Claim(
        "Simple domains like the source are more prone to being forgotten when exposed early.",
        PLACE,
        "The drop on the source after it was learned is larger where it came first (A and B, "
        "mean) than where it came second (C).",
        _first_forgotten,
        0.0,
    ),
    Claim(
        "Starting with a diverse domain gives a better base.",
        PLACE,
        "Mean Dice over the three domains at the end: paths that begin with the third domain "
        "minus all other known paths, not below zero.",
        _diverse_start,
        0.0,
    ),
    Claim(
        "Ours: what decides is which domain came last.",
        "this book",
        "In every known path of three, the domain learned last stands nearer to what training on "
        "it alone gives than any domain learned before (the smallest such gap in Dice is not below "
        "zero).",
        _recency,
        0.0,
    ),
]
