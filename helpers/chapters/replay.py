"""Chapter ``replay``: how much of the old data to keep (arXiv 2511.04803, Table VIII)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, ValidationInfo, field_validator

from helpers.book import results
from helpers.book.claims import Claim
from helpers.book.parameters import (
    Distinct,
    Positives,
    Seed,
    Selections,
    Share,
    TransferParameters,
)
from helpers.book.results import Cells
from helpers.chapters.forgetting import cell, own_domain
from helpers.experiments import transfer
from helpers.experiments.transfer import SELECTIONS, SOURCE, TARGET, Arm, Portion

PUBLISHED = ("2511.04803-table-VIII", "2511.04803-table-V")
NONE, WITH, JOINT = "source -> target", "source -> source + target", "source + target"
Part = Annotated[float, Field(gt=0, lt=1)]


class Parameters(TransferParameters):
    """Parameters of the chapter ``replay``."""

    methods: Selections = Field(
        ["random", "dq_paper_eq"], description="how the replayed patches are chosen"
    )
    rates: Distinct[Share] = Field([0.1, 1.0], description="shares of the source that are replayed")
    shares: Distinct[Share] = Field(
        [0.1, 0.5], description="of every batch, for the trade-off between the domains"
    )
    controlled: Part = Field(0.5, description="of every batch, in the controlled setting")
    kept: Share = Field(0.1, description="share of the source kept for the trade-off")
    anchor: Positives = Field([0.01], description="weights of L2-SP to choose from")
    teacher: Positives = Field([1.0], description="weights of distillation to choose from")
    adaptive_low: float = Field(0.02, ge=0, lt=1, description="lowest adaptive share of a batch")
    adaptive_high: Distinct[Part] = Field(
        [0.5], description="highest adaptive shares of a batch to choose from"
    )
    adaptive_tolerance: float = Field(
        0.1, gt=0, description="drop in watched Dice at which the adaptive share is highest"
    )
    tuning_seed: Seed = Field(
        99, description="on which the best of several weights is chosen; not one of the seeds"
    )

    @field_validator("tuning_seed")
    @classmethod
    def _tuned_elsewhere(cls, value: int, info: ValidationInfo) -> int:
        if value in info.data.get("seeds", []):
            raise ValueError("must not be one of the seeds that are counted")
        return value


def arms(p: Parameters, weights: Mapping[str, float]) -> list[Arm]:
    """The start, Table VIII in both settings, shares of the batch and rivals, seed by seed.

    Appended (as published): the kept patches are added to the target's and the epochs stay the
    same, so that the steps grow. Controlled: they fill a fixed part of every batch, at equal steps.

    Args:
        weights: of the rivals, by name (see :func:`chosen`).
    """
    domains, found = transfer.open_domains(p), []
    for seed in p.seeds:
        start = transfer.path(p, seed, SOURCE)
        none = transfer.go_on(p, start, Portion(TARGET))
        found += [Arm(start, {"table": "V"})]
        found += [Arm(none, {"table": "VIII", "method": "none", "rate": 0.0})]
        for rate, method in product(p.rates, p.methods):
            # All of the source is the same whatever chooses it.
            if rate < 1 or method == p.methods[0]:
                about = {"table": "VIII", "method": SELECTIONS[method], "rate": 100 * rate}
                grown = transfer.appended(p, start, domains, rate, method)
                mixed = transfer.go_on(p, start, *transfer.mixed(p.controlled, method, rate))
                found += [Arm(grown, about | {"setting": "appended"})]
                found += [Arm(mixed, about | {"setting": "controlled"})]
        joint = Arm(transfer.joint(p, seed, TARGET, SOURCE), {"table": "rivals", "method": "joint"})
        tried = transfer.rivals(p, start)
        found += [joint, *(arm for arm in tried if _is_chosen(arm.about, weights))]
    return found


def _is_chosen(about: Mapping[str, Any], weights: Mapping[str, float]) -> bool:
    return about.get("weight") == weights.get(about["method"].removeprefix("replay + "))


def tuning_arms(p: Parameters) -> list[Arm]:
    """Fixed shares and rivals on a seed that is not counted; none where nothing is to be chosen."""
    if max(map(len, (p.anchor, p.teacher, p.adaptive_high))) == 1:
        return []
    tried = transfer.rivals(p, transfer.path(p, p.tuning_seed, SOURCE))
    return [replace(arm, about=arm.about | {"table": "tuning"}) for arm in tried]


def chosen(p: Parameters, tuned: Sequence[dict]) -> dict[str, float]:
    """The weight of each rival that gives the best mean Dice on source and target.

    Args:
        tuned: models of :func:`tuning_arms`; without any the first weight of each is taken.
    """
    weights = {"L2-SP": p.anchor[0], "distillation": p.teacher[0]}
    weights |= {"adaptive replay": p.adaptive_high[0]}
    if tuned:
        scores = results.table_of(results.images_of(transfer.tested(tuned)), ["dice"])
        scores = scores[scores["test"].isin([SOURCE, TARGET])]
        means = scores.groupby(["method", "weight"])["value"].mean()
        weights = {name: float(means[name].idxmax()) for name in weights}
    return weights


def numbers(p: Parameters, models: Sequence[dict]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results table and values of single images of all models, those that tuned included."""
    images = results.images_of([*transfer.tested(models), *transfer.untrained(p)])
    looks = pd.DataFrame(transfer.looks(models))
    return results.joined([results.table_of(images), looks]), images


NO_REPLAY = {"table": "VIII", "train": NONE, "rate": 0}
GATES = [
    own_domain("source alone", SOURCE, table="V", train=SOURCE),
    own_domain("no replay", TARGET, **NO_REPLAY),
]
# Where the paper's method stands in its table and in ours.
DQ = ("replay, DQ", SELECTIONS["dq_paper_eq"])


def kept(c: Cells, test: str, rate: float, methods: Sequence[str] = DQ) -> Any:
    """Dice with a share of the source added to the target (per cent), by seed."""
    setting = [None, "appended"]
    added = {"table": "VIII", "train": WITH, "setting": setting, "method": list(methods)}
    return c("dice", test=test, rate=rate, **added)


def _recovered(c: Cells, rate: float) -> Any:
    """Share of the lost Dice on the source that replay gives back."""
    none = c("dice", test=SOURCE, **NO_REPLAY)
    return (kept(c, SOURCE, rate) - none) / (cell(c, SOURCE, SOURCE) - none)


def _target(c: Cells, rate: float, methods: Sequence[str] = DQ) -> Any:
    return kept(c, TARGET, rate, methods) - c("dice", test=TARGET, **NO_REPLAY)


def _as_joint(c: Cells) -> Any:
    joint = c("dice", table=["V", "rivals"], train=JOINT, test=TARGET)
    return kept(c, TARGET, 100, (*DQ, "random")) - joint


def _chosen_well(c: Cells) -> Any:
    rates = [rate for rate in c.values("rate", table="VIII") if 0 < rate < 100]
    common = {"table": "VIII", "test": SOURCE, "setting": ["appended", "controlled"], "rate": rates}
    return c("dice", method=DQ[1], **common) - c("dice", method="random", **common)


def _balance(c: Cells, method: str) -> Any:
    """Mean Dice over source and target; of the fixed share that was best on the tuning seed."""
    both = {"metric": "dice", "test": [SOURCE, TARGET]}
    tuning = c.where(table="tuning", method="fixed share", **both)
    if tuning.empty:
        return results.mean_of([])
    best = tuning.groupby("share")["value"].mean().idxmax()
    told = {"table": "shares", "share": best} if method == "fixed share" else {"table": "rivals"}
    return c(**both, method=method, **told)


PLACE = "arXiv 2511.04803, section IV-G, Table VIII"
FIRST, CHANGED = "2026-11-21", "2026-12-01"
BOTH = ("source alone", "no replay")
TUNED = (
    "a share that was best on the very seeds it was judged by stood against rivals of one weight; "
    "now both are chosen on a seed that is not counted."
)
CLAIMS = [
    Claim(
        "Replaying just 5–10% of the source substantially recovers source performance.",
        PLACE,
        "Of the Dice lost on the source, the smaller of what comes back with 5% and with 10% "
        "replayed (DQ, added to the target) is above 80%.",
        lambda c: np.minimum(_recovered(c, 5), _recovered(c, 10)),
        *(0.8, BOTH, CHANGED),
        changed="only 10% was tested.",
    ),
    Claim(
        "The target stays stable meanwhile.",
        PLACE,
        "Dice on the target, the smaller of 5% and 10% replayed, minus without is above −0.03.",
        lambda c: np.minimum(_target(c, 5), _target(c, 10)),
        *(-0.03, BOTH, CHANGED),
        changed="only 10% was tested.",
    ),
    Claim(
        "Using 100% of the source unexpectedly degrades the target: excessive replay may harm.",
        PLACE,
        "Dice on the target: without replay minus with all of the source added is above 0.1.",
        lambda c: -_target(c, 100, (*DQ, "random")),
        *(0.1, BOTH, FIRST),
    ),
    Claim(
        "All of the source added is the same data as joint training, and gives as much.",
        "Table VIII against Table V",
        "Dice on the target: all of the source added (a longer training, as the epochs stay) minus "
        "joint (as many steps as both stages) is above −0.05.",
        *(_as_joint, -0.05, BOTH, CHANGED),
        changed="the size of a difference was taken, whose mean is never 0.",
    ),
    Claim(
        "Selection by DQ makes replay effective.",
        f"{PLACE} (implied: no other selection was tried)",
        "Dice on the source: DQ minus random at equal rates, both settings averaged, is above 0.",
        *(_chosen_well, 0.0, BOTH, FIRST),
        changed="the threshold was 0.01: better now means above 0 everywhere.",
    ),
    Claim(
        "An adaptive share is as good as the best fixed one.",
        "this book",
        "Mean Dice on source and target: adaptive minus fixed share, both as best on the tuning "
        "seed, is above −0.01.",
        lambda c: _balance(c, "adaptive replay") - _balance(c, "fixed share"),
        *(-0.01, BOTH, CHANGED, TUNED),
    ),
    *(
        Claim(
            f"Replay is better than {name}.",
            "this book",
            f"Mean Dice on source and target: fixed share minus {rival}, both as best on the "
            "tuning seed, is above 0.",
            lambda c, rival=rival: _balance(c, "fixed share") - _balance(c, rival),
            *(0.0, BOTH, CHANGED, TUNED),
        )
        for rival, name in (
            ("L2-SP", "L2-SP"),
            ("distillation", "distillation without old data"),
        )
    ),
]
SENTENCES = {
    1: {
        "holds": "5 to 10% of the old annotated images, added to the new ones, brought back "
        "{value} of what was lost on the old kind.",
        "does not hold": "5 to 10% of the old annotated images, added to the new ones, brought "
        "back only {value} of what was lost on the old kind.",
    },
    2: {
        "holds": "On the new kind that cost no more than 0.03 of Dice.",
        "does not hold": "On the new kind that cost Dice ({value}).",
    },
    5: {"does not hold": "Which of the old images were kept made no difference for the better."},
    7: {"holds": "Old images were worth more than a pull towards the old weights (L2-SP)."},
    8: {"holds": "Old images were worth more than the old model's answers (distillation)."},
}
