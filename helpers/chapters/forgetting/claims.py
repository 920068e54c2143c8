"""Claims of the chapter ``forgetting``, each with the rule that settles it."""

import numpy as np
import pandas as pd

from helpers.chapters.claims import Claim
from helpers.chapters.transfer.tables import paired, values
from helpers.training.loop import TrainingPlan

THERE, BACK = "source -> target", "target -> source"
# The same 30 % of the source Dice that the paper calls substantial many times over.
SEVERE = 0.3
CLOSE = 0.05


def _five(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["table"] == "V"]


def _cell(table: pd.DataFrame, train: str, test: str, metric: str = "dice") -> pd.Series:
    return values(_five(table), train, test, metric)


def _drop(path: str, metric: str = "dice"):
    """Score on the first domain of a path before minus after the second, per seed."""
    first = path.split(" -> ")[0]

    def quantity(table: pd.DataFrame) -> list[float]:
        cells = _cell(table, first, first, metric), _cell(table, path, first, metric)
        return paired(lambda before, after: before - after, *cells)

    return quantity


def _asymmetry(table: pd.DataFrame) -> list[float]:
    cells = [
        _cell(table, "source", "source"),
        _cell(table, THERE, "source"),
        _cell(table, "target", "target"),
        _cell(table, BACK, "target"),
    ]
    return paired(lambda a, b, c, d: (a - b) - (c - d), *cells)


def _joint(table: pd.DataFrame) -> list[float]:
    cells = [
        _cell(table, "source + target", "source"),
        _cell(table, "source", "source"),
        _cell(table, "source + target", "target"),
        _cell(table, "target", "target"),
    ]
    return paired(lambda js, s, jt, t: min(js - s, jt - t), *cells)


def _reaches_target(table: pd.DataFrame) -> list[float]:
    cells = _cell(table, THERE, "target"), _cell(table, "target", "target")
    return paired(lambda tuned, alone: tuned - alone, *cells)


def _after_subsets(table: pd.DataFrame) -> pd.DataFrame:
    """Source Dice after the transfer: one row per seed, one column per rate."""
    rows = table[(table["table"] == "VI") & (table["dataset_test"] == "source")]
    rows = rows[rows["method"].isin(["finetune, DQ", "DQ, printed equation"])]
    rates = sorted(rows["rate"].dropna().unique())
    columns = {rate: values(rows, THERE, "source", "dice", rate=rate) for rate in rates}
    return pd.DataFrame(columns)


def _no_help(table: pd.DataFrame) -> list[float]:
    after = _after_subsets(table)
    if after.empty:
        return []
    cells = after.mean(axis=1), _cell(table, THERE, "source")
    return paired(lambda subset, full: full - subset, *cells)


def _no_resilience(table: pd.DataFrame) -> list[float]:
    after = _after_subsets(table)
    if after.shape[1] < 2:
        return []
    return [float(v) for v in (after.iloc[:, 0] - after.iloc[:, -1]).dropna()]


def _polarity(table: pd.DataFrame) -> list[float]:
    rows = table[table["table"] == "polarity"]
    alike = paired(
        lambda before, after: before - after,
        values(rows, "source", "source"),
        values(rows, THERE, "source"),
    )
    plain = _drop(THERE)(table)
    if not alike or len(alike) != len(plain):
        return []
    return list(np.subtract(plain, alike))


def _gentle(table: pd.DataFrame) -> list[float]:
    """Source Dice kept by the lowest further learning rate, minus that of the usual one."""
    rows = table[(table["table"] == "learning rate") & (table["dataset_test"] == "source")]
    if rows.empty:
        return []
    method = min(rows["method"].unique(), key=lambda name: float(name.rsplit(" ", 1)[1]))
    cells = values(rows, THERE, "source", "dice", method), _cell(table, THERE, "source")
    return paired(lambda slow, usual: slow - usual, *cells)


def _head_start(table: pd.DataFrame) -> list[float]:
    """Mean training loss on the target, of a fresh model minus one of the source, per seed.

    Over the steps before either learning rate decays.
    """
    rows = table[(table["table"] == "losses") & table["method"].isin(["single", "finetune"])]
    if rows.empty:
        return []
    ends = rows.groupby("dataset_train")["rate"].max()
    rows = rows[rows["rate"].astype(float) < (1 - TrainingPlan.decay_share) * ends.min()]
    means = rows.groupby(["dataset_train", "seed"])["value"].mean()
    found = set(means.index.get_level_values(0))
    if not {"target", THERE} <= found:
        return []
    return paired(lambda fresh, warm: fresh - warm, means["target"], means[THERE])


FIVE, SIX = "arXiv 2511.04803, section IV-D, Table V", "arXiv 2511.04803, section IV-E, Table VI"
CLAIMS = [
    Claim(
        "Fine-tuning a model of the source on the target leads to severe forgetting.",
        FIVE,
        f"Dice on the source before minus after fine-tuning is at least {SEVERE}.",
        _drop(THERE),
        SEVERE,
    ),
    Claim(
        "The same judged by instances.",
        "this book",
        f"Panoptic quality on the source before minus after is at least {SEVERE}.",
        _drop(THERE, "pq"),
        SEVERE,
    ),
    Claim(
        "Reverse transfer results in milder forgetting.",
        FIVE,
        "The drop in Dice on the source (source → target) exceeds the drop on the target "
        "(target → source).",
        _asymmetry,
        0.0,
    ),
    Claim(
        "Joint training mitigates forgetting, with balanced performance on both.",
        FIVE,
        f"Joint training loses at most {CLOSE} of Dice on either domain against training on that "
        "domain alone.",
        _joint,
        -CLOSE,
    ),
    Claim(
        "The fine-tuned model is as good on the target as one trained on it alone.",
        f"{FIVE} (implied)",
        f"Dice on the target: fine-tuned minus target alone, at least −{CLOSE}.",
        _reaches_target,
        -CLOSE,
    ),
    Claim(
        "What was learned on the source helps to learn the target.",
        "this book, after first trials",
        "Mean training loss on the target before the learning rate decays: from random weights "
        "minus from the model of the source, above 0.",
        _head_start,
        0.0,
    ),
    Claim(
        "Dataset compression alone does not mitigate forgetting.",
        SIX,
        "Dice on the source after the transfer, of models first trained on all of it minus the "
        f"mean of those trained on subsets by DQ, is at least −{CLOSE}.",
        _no_help,
        -CLOSE,
    ),
    Claim(
        "Larger DQ subsets do not confer clear resilience compared to smaller ones.",
        SIX,
        f"Dice on the source after the transfer: smallest minus largest subset, at least −{CLOSE}.",
        _no_resilience,
        -CLOSE,
    ),
    Claim(
        "Ours: part of the forgetting is one of polarity.",
        "this book",
        "The drop on the source is larger by at least 0.1 Dice when the target's objects are dark "
        "on bright than when both domains have bright objects.",
        _polarity,
        0.1,
    ),
    Claim(
        "Ours: a lower learning rate forgets less.",
        "this book",
        "Dice on the source after fine-tuning: lowest learning rate minus the usual one, at least "
        f"{CLOSE}.",
        _gentle,
        CLOSE,
    ),
]
