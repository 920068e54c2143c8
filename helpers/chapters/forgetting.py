"""Chapter ``forgetting``: what fine-tuning costs (arXiv 2511.04803, Tables V and VI, Fig. 4)."""

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from helpers.book import results
from helpers.book.claims import Claim, Gate
from helpers.book.parameters import Distinct, Positives, Selections, Share, TransferParameters
from helpers.book.results import Cells
from helpers.experiments import transfer
from helpers.experiments.transfer import SELECTIONS, SOURCE, TARGET, Arm, Portion
from helpers.training.flows import TrainingPlan

PUBLISHED = ("2511.04803-table-V", "2511.04803-table-VI")
THERE, BACK, JOINT = "source -> target", "target -> source", "source + target"
DQ = ["finetune, DQ", SELECTIONS["dq_paper_eq"]]


class Parameters(TransferParameters):
    """Parameters of the chapter ``forgetting``."""

    methods: Selections = Field(
        ["dq_paper_eq"], description="how a share of the source is chosen before the transfer"
    )
    rates: Distinct[Share] = Field([0.1], description="shares of the source")
    learning_rates: Positives = Field(
        [0.0004], description="further, lower learning rates of fine-tuning on the target"
    )
    invert_target: bool = Field(
        True, description="also with the target's polarity made that of the source"
    )


def arms(p: Parameters) -> list[Arm]:
    """Table V, Table VI and further learning rates, seed by seed."""
    found = []
    for seed in p.seeds:
        paths = [SOURCE], [TARGET], [SOURCE, TARGET], [TARGET, SOURCE]
        stages = [transfer.path(p, seed, *roles) for roles in paths]
        stages.append(transfer.joint(p, seed, TARGET, SOURCE))
        found += [Arm(stage, {"table": "V"}) for stage in stages]
        for method, rate in product(p.methods, p.rates):
            first = transfer.begin(p, seed, Portion(SOURCE, rate, method))
            both = first, transfer.go_on(p, first, Portion(TARGET))
            about = {"table": "VI", "method": SELECTIONS[method], "rate": 100 * rate}
            found += [Arm(stage, about) for stage in both]
        for value in p.learning_rates:
            slower = p.model_copy(update={"fine_learning_rate": value})
            about = {"table": "learning rate", "learning_rate": value}
            found.append(Arm(transfer.path(slower, seed, SOURCE, TARGET), about))
    return found


def inverted_arms(p: Parameters) -> list[Arm]:
    """For domains whose objects are bright: each alone, and the target after the source."""
    paths = [SOURCE], [TARGET], [SOURCE, TARGET]
    about = {"table": "polarity"}
    return [Arm(transfer.path(p, seed, *roles), about) for seed in p.seeds for roles in paths]


def numbers(p: Parameters, models: Sequence[dict]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results table and values of single images of all models."""
    images = results.images_of([*transfer.tested(models), *transfer.untrained(p)])
    learning = transfer.looks(models), transfer.losses(models, max(1, p.fine_steps // 20))
    return results.joined([results.table_of(images), *map(pd.DataFrame, learning)]), images


def own_domain(name: str, test: str, **model: Any) -> Gate:
    """Models must find the objects of a domain they were trained on better than Otsu's threshold
    does, by .02 of panoptic quality: twice what seeds of one training differ by."""
    return Gate(name, "pq", {**model, "test": test}, {"table": "baselines", "test": test}, 0.02)


GATES = [
    own_domain("source alone", SOURCE, table="V", train=SOURCE),
    own_domain("target alone", TARGET, table="V", train=TARGET),
    own_domain("source → target", TARGET, table="V", train=THERE),
    own_domain("shares of the source", SOURCE, table="VI", train=SOURCE, method=DQ, rate=...),
    own_domain("lower learning rate", TARGET, table="learning rate", learning_rate=...),
    own_domain("same polarity", TARGET, table="polarity", train=THERE),
]


def cell(c: Cells, train: str, test: str, metric: str = "dice", table: str = "V", **more: Any):
    """Scores of a path on a domain, by seed."""
    return c(metric, table=table, train=train, test=test, **more)


def as_long(c: Cells, table: str, *trains: str) -> bool:
    """Whether the last stages of paths took equally many steps (a paper: equally many epochs)."""
    return len({tuple(c.values("steps", table=table, train=train)) for train in trains}) == 1


def drop(c: Cells, **more: str) -> Any:
    """Score on the source before minus after fine-tuning on the target."""
    return cell(c, SOURCE, SOURCE, **more) - cell(c, THERE, SOURCE, **more)


def kept(c: Cells, path: str) -> Any:
    """Dice at the end of a path on its first domain, as a share of what it was."""
    first = path.split(" -> ")[0]
    return cell(c, path, first) / cell(c, first, first)


def _reaches_target(c: Cells) -> Any:
    gain = cell(c, THERE, TARGET) - cell(c, TARGET, TARGET)
    return gain if as_long(c, "V", TARGET, THERE) else gain[:0]


def _head_start(c: Cells) -> Any:
    rows = {"table": "losses", "of": "V"}
    steps = [c.values("step", train=train, **rows) for train in (TARGET, THERE)]
    end = (1 - TrainingPlan.decay_share) * min(max(own, default=0) for own in steps)
    early = [step for step in steps[0] if step < end]
    fresh, warm = (c("training_loss", train=t, step=early, **rows) for t in (TARGET, THERE))
    return fresh - warm


def _after(c: Cells, rates: Any) -> Any:
    return cell(c, THERE, SOURCE, table="VI", method=DQ, rate=rates)


def _no_resilience(c: Cells) -> Any:
    smallest, *others = c.values("rate", table="VI") or [0]
    return _after(c, smallest) - _after(c, others[-1:])


def _gentle(c: Cells) -> Any:
    lowest = min(c.values("learning_rate"), default=0)
    slow = cell(c, THERE, SOURCE, table="learning rate", learning_rate=lowest)
    return slow - cell(c, THERE, SOURCE)


FIVE, SIX = "arXiv 2511.04803, section IV-D, Table V", "arXiv 2511.04803, section IV-E, Table VI"
FIRST, CHANGED = "2026-11-21", "2026-12-01"
BOTH, TUNED = ("source alone", "target alone"), ("source alone", "source → target")
CLAIMS = [
    Claim(
        "Fine-tuning a model of the source on the target leads to severe forgetting.",
        FIVE,
        "Dice on the source before minus after fine-tuning is above 0.3.",
        *(drop, 0.3, TUNED, FIRST),
    ),
    *(
        Claim(
            f"The same judged by {what}.",
            "this book",
            f"{score} on the source before minus after fine-tuning is above 0.3.",
            partial(drop, metric=metric),
            *(0.3, TUNED, fixed),
        )
        for metric, what, score, fixed in (
            ("pq", "instances", "Panoptic quality", FIRST),
            ("foreground_dice", "the foreground before it is parted", "Its Dice", CHANGED),
        )
    ),
    Claim(
        "Reverse transfer results in milder forgetting.",
        FIVE,
        "Dice on the domain left behind as a share of what it was: target → source minus "
        "source → target is above 0.",
        lambda c: kept(c, BACK) - kept(c, THERE),
        *(0.0, BOTH, CHANGED),
        changed="absolute drops, which the level they start from limits, became relative ones.",
    ),
    Claim(
        "Joint training mitigates forgetting, with balanced performance on both.",
        FIVE,
        "Dice of joint training (steps: both stages of a path) minus that of training on the "
        "domain alone, the smaller of both domains, is above −0.05.",
        lambda c: np.minimum(
            *(cell(c, JOINT, one) - cell(c, one, one) for one in (SOURCE, TARGET))
        ),
        *(-0.05, BOTH, FIRST),
    ),
    Claim(
        "The fine-tuned model is as good on the target as one trained on it alone.",
        f"{FIVE} (implied)",
        "Dice on the target, after equally many steps on it: fine-tuned minus target alone is "
        "above −0.05.",
        *(_reaches_target, -0.05, BOTH, CHANGED),
        changed="1,000 steps were compared with 400; unequal lengths are not tested any more.",
    ),
    Claim(
        "What was learned on the source helps to learn the target.",
        "this book",
        "Mean training loss on the target over the first four fifths of the shorter training: from "
        "random weights minus from the model of the source is above 0.",
        *(_head_start, 0.0, BOTH, FIRST),
        changed="the rule was written after first trials.",
    ),
    Claim(
        "Dataset compression alone does not mitigate forgetting.",
        SIX,
        "Dice on the source after the transfer, first trained on all of it minus on shares chosen "
        "by DQ (their mean), is above −0.05.",
        lambda c: cell(c, THERE, SOURCE) - _after(c, ...),
        *(-0.05, (*TUNED, "shares of the source"), FIRST),
    ),
    Claim(
        "Larger DQ subsets do not confer clear resilience compared to smaller ones.",
        SIX,
        "Dice on the source after the transfer: smallest minus largest share is above −0.05.",
        *(_no_resilience, -0.05, (*TUNED, "shares of the source"), FIRST),
    ),
    Claim(
        "Part of the forgetting is one of polarity.",
        "this book",
        "The drop in Dice on the source is larger by over 0.1 when the target's objects are dark "
        "on bright than when both domains have bright objects.",
        lambda c: drop(c) - drop(c, table="polarity"),
        *(0.1, (*TUNED, "same polarity"), FIRST),
    ),
    Claim(
        "A lower learning rate forgets less.",
        "this book",
        "Dice on the source after fine-tuning: lowest minus usual learning rate is above 0.05.",
        *(_gentle, 0.05, (*TUNED, "lower learning rate"), FIRST),
    ),
]
SENTENCES = {
    1: {
        "holds": "A model fine-tuned on new images alone lost {value} of Dice on the old ones "
        "({low} to {high}). Keep the old model, and test the new one on both kinds: "
        "`python -m helpers retention` does that for a Cellpose model.",
    },
    5: {
        "holds": "Where the old images are still there, training on both kinds together gave what "
        "either alone gives.",
        "does not hold": "Training on both kinds together cost Dice on one of them ({value}).",
    },
    11: {
        "holds": "A lower learning rate kept {value} more of Dice on the old images.",
        "does not hold": "A lower learning rate alone did not keep the old images.",
    },
}
