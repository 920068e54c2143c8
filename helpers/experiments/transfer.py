"""Paths of stages: what the chapters on transfer train (arXiv 2511.04803, sections III-D to III-G).

The source is the paper's Cyto, the target its Histo, the third domain its MultiInst. Every path is
measured on all three (see :mod:`helpers.experiments.stages`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from helpers import fingerprints
from helpers.experiments.domains import Domain
from helpers.experiments.prepared import Row
from helpers.experiments.settings import prepare, recipe, worker_count
from helpers.experiments.stages import Keep, Portion, Stage, in_layers, run_stage
from helpers.experiments.trials import TrialStore, run_trials, store_for
from helpers.replay import AdaptiveShare
from helpers.training.flows import steps_for_epochs

SOURCE, TARGET, THIRD = ROLES = ("source", "target", "third")
# Ways to choose a share of a domain, as pages call them.
SELECTIONS = {
    "random": "random",
    "facility_location": "facility location",
    "dq_paper_eq": "DQ, printed equation",
    "dq_official_code": "DQ, released code",
}


@dataclass(frozen=True)
class Arm:
    """One model of a chapter.

    Attributes:
        stage: its last stage.
        about: what the chapter compares, as columns of its results table: ``table``, ``method``,
            ``rate`` (a share of a domain in per cent), ...
    """

    stage: Stage
    about: Mapping[str, Any]


# -------------------------------------------------------------------------- stages of a chapter


def begin(p: Any, seed: int, *portions: Portion) -> Stage:
    """A stage from random weights."""
    return Stage(portions, recipe(p, seed))


def go_on(p: Any, start: Stage, *portions: Portion, keep: Keep | None = None) -> Stage:
    """A stage from the weights of another, for ``fine_steps`` at ``fine_learning_rate``."""
    first = start.recipe.plan
    plan = replace(first, steps=p.fine_steps, learning_rate=p.fine_learning_rate)
    return Stage(portions, replace(start.recipe, plan=plan), start, keep or Keep(), p.looks)


def path(p: Any, seed: int, *roles: str) -> Stage:
    """One whole domain after the other."""
    stage = begin(p, seed, Portion(roles[0]))
    for role in roles[1:]:
        stage = go_on(p, stage, Portion(role))
    return stage


def joint(p: Any, seed: int, *roles: str) -> Stage:
    """Several domains together, for as many steps as the path has in all.

    Each has an equal part of every batch, however many patches it has.
    """
    own = recipe(p, seed)
    plan = replace(own.plan, steps=own.plan.steps + (len(roles) - 1) * p.fine_steps)
    portions = tuple(Portion(role, share=1 / len(roles)) for role in roles)
    return Stage(portions, replace(own, plan=plan))


def mixed(share: float, method: str, rate: float) -> tuple[Portion, Portion]:
    """The target, and a share of the source that fills a part of every batch."""
    return Portion(TARGET, share=1 - share), Portion(SOURCE, rate, method, share=share)


def appended(
    p: Any, start: Stage, domains: Mapping[str, Domain], rate: float, method: str
) -> Stage:
    """The target with a share of the source added, for as many epochs as without it."""
    own = turned(domains, start.recipe.seed)
    target, source = (len(own[role].trainable) for role in (TARGET, SOURCE))
    epochs = p.fine_steps * p.batch_size / target
    steps = steps_for_epochs(epochs, target + round(rate * source), p.batch_size)
    longer = p.model_copy(update={"fine_steps": steps})
    return go_on(longer, start, Portion(TARGET), Portion(SOURCE, rate, method))


def rivals(p: Any, start: Stage) -> list[Arm]:
    """What else is done against forgetting, at equal steps: fixed shares of the batch, L2-SP,
    distillation, both with replay, and an adaptive share, each with all its weights."""

    def add(method: str, portions: Sequence[Portion], keep: Keep, **about: float) -> None:
        table = "shares" if method == "fixed share" else "rivals"
        told = {"table": table, "method": method, **about}
        found.append(Arm(go_on(p, start, *portions, keep=keep), told))

    found: list[Arm] = []
    new, old, rate = [Portion(TARGET)], (p.methods[0], p.kept), 100 * p.kept
    for share in p.shares:
        add("fixed share", mixed(share, *old), Keep(), rate=rate, share=100 * share)
    for weight in p.anchor:
        add("L2-SP", new, Keep(anchor=weight), weight=weight)
    for weight in p.teacher:
        both = mixed(min(p.shares), *old), Keep(teacher=weight)
        add("distillation", new, Keep(teacher=weight), weight=weight)
        add("replay + distillation", *both, rate=rate, weight=weight)
    for high in p.adaptive_high:
        rule = AdaptiveShare(p.adaptive_low, high, p.adaptive_tolerance)
        add("adaptive replay", mixed(high, *old), Keep(adaptive=rule), rate=rate, weight=high)
    return found


def name_of(stage: Stage) -> str:
    """Domains learned in each stage of the path, as one line: ``source -> source + target``."""
    learned = (sorted(one.learned, key=ROLES.index) for one in stage.path)
    return " -> ".join(" + ".join(domains) for domains in learned)


# -------------------------------------------------------------------------- data, trials, results


def open_domains(p: Any, polarity: Mapping[str, str] | None = None) -> dict[str, Domain]:
    """The domains by role, each read or generated, split, cut, with flow targets.

    Where the target's split rotates, what its domain shows is that of the first seed.

    Args:
        polarity: by role, where it is not that of the parameters.
    """
    names = {SOURCE: p.dataset, TARGET: p.target, THIRD: p.third}
    domains = {}
    for role, name in names.items():
        pole = (polarity or {}).get(role, p.polarity)
        own = p.model_copy(update={"dataset": name, "polarity": pole})
        rotating = role == TARGET and p.rotate_target
        turns = {seed: prepare(own, seed) for seed in p.seeds} if rotating else {}
        domains[role] = Domain(role, next(iter(turns.values()), None) or prepare(own), turns)
    return domains


def run(p: Any, arms: Sequence[Arm], domains: Mapping[str, Domain] | None = None) -> list[dict]:
    """Train and measure all stages of all arms, seed by seed; those already there are read.

    Stages are shared between arms and between chapters: what has the same past is the same model.

    Args:
        domains: of :func:`open_domains`; default: as the parameters say.

    Returns:
        In the order of the arms what :func:`run_stage` says of the last stage, and under
        ``"about"`` the columns that tell the model: those of the arm, train, steps (of the last
        stage) and seed.
    """
    domains = domains or open_domains(p)
    results: dict[Stage, dict] = {}
    for seed in dict.fromkeys(arm.stage.recipe.seed for arm in arms):
        own = turned(domains, seed)
        store = trial_store(own)
        work = partial(_run_stage, data={n: d.prepared for n, d in own.items()}, store=store)
        for layer in in_layers([arm.stage for arm in arms if arm.stage.recipe.seed == seed]):
            found = run_trials(layer, work, store, worker_count(p))
            results |= dict(zip(layer, found, strict=True))
    return [{**results[arm.stage], "about": _about(arm)} for arm in arms]


def _about(arm: Arm) -> dict[str, Any]:
    own = arm.stage.recipe
    told = {"train": name_of(arm.stage), "steps": own.plan.steps, "seed": own.seed}
    return {**arm.about, **told}


def turned(domains: Mapping[str, Domain], seed: int) -> dict[str, Domain]:
    """The domains as models of this seed see them."""
    return {name: domain.turned(seed) for name, domain in domains.items()}


def trial_store(domains: Mapping[str, Domain]) -> TrialStore:
    """Where the stages of these domains are kept, whichever chapter asks for them."""
    content = fingerprints.of_json({n: d.prepared.content for n, d in domains.items()})
    return store_for("stages", run_stage.__module__, content)


def _run_stage(stage: Stage, folder: Path, data: dict, store: TrialStore) -> dict:
    # Opened in the process that trains: an opened store would be copied into it.
    domains = {name: Domain(name, prepared) for name, prepared in data.items()}
    return run_stage(stage, folder, domains, store.path)


def example_masks(domains: Mapping[str, Domain], stage: Stage, role: str) -> list[np.ndarray]:
    """Predicted instances of a finished stage on the first held-out images of a domain."""
    folder = trial_store(turned(domains, stage.recipe.seed)).path(stage)
    with np.load(folder / f"examples-{list(domains).index(role)}.npz") as kept:
        return [kept[f"masks{index}"] for index in range(len(kept))]


def tested(models: Sequence[dict]) -> list[tuple[dict[str, Any], list[Row]]]:
    """For each model and domain the columns that tell them apart, and one row per test image."""
    return [
        ({**model["about"], "test": role}, rows)
        for model in models
        for role, rows in model["domains"].items()
    ]


def untrained(p: Any) -> list[tuple[dict[str, Any], list[Row]]]:
    """The same of what needs no training, on the test images of every seed."""
    domains = open_domains(p)
    return [
        ({"table": "baselines", "method": name, "test": role, "seed": seed}, rows)
        for seed in p.seeds
        for role, domain in turned(domains, seed).items()
        for name, rows in domain.prepared.baselines().items()
    ]


def looks(models: Sequence[dict]) -> list[dict[str, Any]]:
    """Rows of what was seen while training: by ``step`` the foreground Dice on watched patches of
    each domain, and the share of the batches that was replayed."""
    rows = []
    for model in models:
        for check in model["checks"]:
            at = {**_of(model, "looks"), "step": check["step"]}
            rows += [
                at | {"test": role, "metric": "watched_dice", "value": check[role]}
                for role in model["domains"]
            ]
            rows.append(at | {"metric": "replayed_share", "value": check["replayed"]})
    return rows


def losses(models: Sequence[dict], width: int) -> list[dict[str, Any]]:
    """Rows of the training loss: means over ``width`` steps, whose middle is ``step``."""
    rows = []
    for model in models:
        own = np.asarray(model["losses"][: len(model["losses"]) // width * width])
        at = {**_of(model, "losses"), "metric": "training_loss"}
        rows += [
            at | {"step": (place + 0.5) * width, "value": loss}
            for place, loss in enumerate(own.reshape(-1, width).mean(axis=1))
        ]
    return rows


def _of(model: dict, table: str) -> dict[str, Any]:
    """Columns of a model in a further table; ``of`` names the one it stands in by its scores."""
    return {**model["about"], "table": table, "of": model["about"]["table"]}
