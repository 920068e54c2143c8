"""The work of the chapter ``replay``."""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from helpers.chapters.replay.parameters import Parameters
from helpers.chapters.transfer import tables
from helpers.chapters.transfer.run import (
    course,
    data_names,
    open_domains,
    provenance,
    train,
    turned,
)
from helpers.experiments import curricula
from helpers.experiments.curricula import SOURCE, TARGET, Arm
from helpers.experiments.domains import Domain
from helpers.replay import AdaptiveShare

__all__ = [
    "course",
    "data_names",
    "open_domains",
    "provenance",
    "rate_arms",
    "results_table",
    "rival_arms",
    "rule",
    "share_arms",
    "start_arms",
    "train",
    "tune",
]
CHAPTER = "replay"


def start_arms(parameters: Parameters) -> list[Arm]:
    """The models that all others start from: the source alone, every seed."""
    return [Arm("single", course(parameters, seed).path([SOURCE])) for seed in parameters.seeds]


def rate_arms(parameters: Parameters, domains: Mapping[str, Domain]) -> list[Arm]:
    """Table VIII: the target with shares of the source, both settings, every seed."""
    return [
        arm
        for seed in parameters.seeds
        for arm in curricula.replays(
            course(parameters, seed),
            parameters.methods,
            parameters.rates,
            _sizes(domains, seed),
            parameters.controlled,
        )
    ]


def _sizes(domains: Mapping[str, Domain], seed: int) -> tuple[int, int]:
    own = turned(domains, seed)
    return len(own[TARGET].trainable), len(own[SOURCE].trainable)


def share_arms(parameters: Parameters) -> list[Arm]:
    """The same replayed subset at several shares of the batch, every seed."""
    return [
        arm
        for seed in parameters.seeds
        for arm in curricula.shares(
            course(parameters, seed), parameters.methods[0], parameters.kept, parameters.shares
        )
    ]


def rival_arms(parameters: Parameters) -> list[Arm]:
    """Joint training, L2-SP, distillation, both kinds of replay with more to them, every seed.

    Where there are several weights to choose from, the models that decide are trained here (see
    :func:`tune`).
    """
    weights, _ = tune(parameters)
    found = [
        arm
        for seed in parameters.seeds
        for arm in curricula.rivals(
            course(parameters, seed),
            parameters.methods[0],
            parameters.kept,
            weights["L2-SP"],
            weights["distillation"],
            rule(parameters, weights["adaptive replay"]),
            min(parameters.shares),
        )
    ]
    notes = {name: f"weight {weight:g}" for name, weight in weights.items()}
    notes["replay + distillation"] = notes["distillation"]
    return [replace(arm, note=notes.get(arm.method, "")) for arm in found]


def tune(parameters: Parameters) -> tuple[dict[str, float], list[dict]]:
    """The weight of each rival that is best on a seed that is not counted.

    Best by the mean of the Dice on source and target. The fixed shares of the trade-off are tried
    on that seed, too, so that they can be chosen in the same way.

    Returns:
        The weight by rival, and the models that decided (none where there was nothing to decide),
        whose methods are named after rival and weight.
    """
    own = course(parameters, parameters.tuning_seed)
    method, rate = parameters.methods[0], parameters.kept
    candidates = {
        "L2-SP": {w: curricula.anchored(own, w) for w in parameters.anchor},
        "distillation": {w: curricula.distilled(own, w) for w in parameters.teacher},
        "adaptive replay": {
            high: curricula.adaptive(own, method, rate, rule(parameters, high))
            for high in parameters.adaptive_high
        },
    }
    open_to_choice = {name: arms for name, arms in candidates.items() if len(arms) > 1}
    weights = {name: next(iter(arms)) for name, arms in candidates.items()}
    if not open_to_choice:
        return weights, []
    arms = curricula.shares(own, method, rate, parameters.shares)
    for name, tried in open_to_choice.items():
        arms += [replace(arm, method=f"{name} {weight:g}") for weight, arm in tried.items()]
    there = parameters.model_copy(update={"seeds": [parameters.tuning_seed]})
    models = train(there, open_domains(there), arms)
    balance = {model["method"]: _balance(model) for model in models}
    for name, tried in open_to_choice.items():
        weights[name] = max(tried, key=lambda weight, name=name: balance[f"{name} {weight:g}"])
    return weights, models


def _balance(model: dict) -> float:
    """Mean of the Dice on source and target."""
    dice = [pd.DataFrame(model["domains"][role])["dice"].mean() for role in (SOURCE, TARGET)]
    return float(sum(dice) / 2)


def rule(parameters: Parameters, high: float) -> AdaptiveShare:
    """The rule of the adaptive share, for its highest value."""
    return AdaptiveShare(parameters.adaptive_low, high, parameters.adaptive_tolerance)


def results_table(parameters: Parameters, models: Mapping[str, list[dict]]) -> pd.DataFrame:
    """All numbers of the chapter.

    Args:
        models: by table: ``"V"`` (the start), ``"VIII"``, ``"shares"``, ``"rivals"``. Those that
            decided on the weights of rivals are added as ``"tuning"``, under their own seed.
    """
    parts = [tables.results_table(parameters, CHAPTER, name, own) for name, own in models.items()]
    watched = [m for name in ("shares", "rivals") for m in models.get(name, []) if m["checks"]]
    none = [m for m in models.get("VIII", []) if m["method"] == "none"]
    parts.append(tables.looks_table(parameters, CHAPTER, [*none, *watched]))
    parts.append(tables.results_table(parameters, CHAPTER, "tuning", tune(parameters)[1]))
    parts.append(tables.baselines_table(parameters, CHAPTER, models["V"]))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)
