"""The work of the chapter ``replay``."""

from collections.abc import Mapping

import pandas as pd

from helpers.chapters.replay.parameters import Parameters
from helpers.chapters.transfer import tables
from helpers.chapters.transfer.run import course, data_names, open_domains, provenance, train
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
]
CHAPTER = "replay"


def start_arms(parameters: Parameters) -> list[Arm]:
    """The models that all others start from: the source alone, every seed."""
    return [Arm("single", course(parameters, seed).path([SOURCE])) for seed in parameters.seeds]


def rate_arms(parameters: Parameters, domains: Mapping[str, Domain]) -> list[Arm]:
    """Table VIII: the target with shares of the source, both settings, every seed."""
    sizes = len(domains[TARGET].trainable), len(domains[SOURCE].trainable)
    return [
        arm
        for seed in parameters.seeds
        for arm in curricula.replays(
            course(parameters, seed), parameters.methods, parameters.rates, sizes
        )
    ]


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
    """Joint training, L2-SP, distillation, both kinds of replay with more to them, every seed."""
    return [
        arm
        for seed in parameters.seeds
        for arm in curricula.rivals(
            course(parameters, seed),
            parameters.methods[0],
            parameters.kept,
            parameters.anchor,
            parameters.teacher,
            rule(parameters),
            min(parameters.shares),
        )
    ]


def rule(parameters: Parameters) -> AdaptiveShare:
    """The rule of the adaptive share."""
    return AdaptiveShare(
        parameters.adaptive_low, parameters.adaptive_high, parameters.adaptive_tolerance
    )


def results_table(parameters: Parameters, models: Mapping[str, list[dict]]) -> pd.DataFrame:
    """All numbers of the chapter.

    Args:
        models: by table: ``"V"`` (the start), ``"VIII"``, ``"shares"``, ``"rivals"``.
    """
    parts = [tables.results_table(parameters, CHAPTER, name, own) for name, own in models.items()]
    watched = [m for name in ("shares", "rivals") for m in models.get(name, []) if m["checks"]]
    none = [m for m in models.get("VIII", []) if m["method"] == "none"]
    parts.append(tables.looks_table(parameters, CHAPTER, [*none, *watched]))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)
