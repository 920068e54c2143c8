"""The work of the chapter ``forgetting``."""

from collections.abc import Mapping

import pandas as pd

from helpers.chapters.forgetting.parameters import Parameters
from helpers.chapters.transfer import tables
from helpers.chapters.transfer.run import (
    course,
    data_names,
    example_masks,
    open_domains,
    provenance,
    train,
)
from helpers.experiments import curricula
from helpers.experiments.curricula import SOURCE, TARGET, Arm
from helpers.experiments.domains import Domain

__all__ = [
    "course",
    "data_names",
    "example_masks",
    "inverted_arms",
    "inverted_domains",
    "open_domains",
    "provenance",
    "rate_arms",
    "results_table",
    "strategy_arms",
    "subset_arms",
    "train",
]
CHAPTER = "forgetting"


def strategy_arms(parameters: Parameters) -> list[Arm]:
    """Table V: five strategies, every seed."""
    seeds = parameters.seeds
    return [arm for seed in seeds for arm in curricula.strategies(course(parameters, seed))]


def subset_arms(parameters: Parameters) -> list[Arm]:
    """Table VI: trained on a share of the source, then on the target, every seed."""
    return [
        arm
        for seed in parameters.seeds
        for arm in curricula.from_subsets(
            course(parameters, seed), parameters.methods, parameters.rates
        )
    ]


def rate_arms(parameters: Parameters) -> list[Arm]:
    """Fine-tuning at other learning rates, every seed."""
    return [
        arm
        for seed in parameters.seeds
        for arm in curricula.other_rates(course(parameters, seed), parameters.learning_rates)
    ]


def inverted_domains(parameters: Parameters) -> dict[str, Domain]:
    """Source and target, with bright objects on dark ground in both."""
    alike = parameters.model_copy(update={"polarity": "bright_objects"})
    source = open_domains(parameters, [SOURCE])
    return source | open_domains(alike, [TARGET])


def inverted_arms(parameters: Parameters) -> list[Arm]:
    """Each domain alone, and the target after the source, every seed."""
    paths = [(SOURCE,), (TARGET,), (SOURCE, TARGET)]
    return [
        Arm("same polarity", course(parameters, seed).path(path))
        for seed in parameters.seeds
        for path in paths
    ]


def results_table(parameters: Parameters, models: Mapping[str, list[dict]]) -> pd.DataFrame:
    """All numbers of the chapter.

    Args:
        models: by table: ``"V"``, ``"VI"``, ``"learning rate"``, ``"polarity"``.
    """
    parts = [tables.results_table(parameters, CHAPTER, name, own) for name, own in models.items()]
    tuned = [m for name in ("V", "learning rate") for m in models.get(name, []) if m["checks"]]
    parts.append(tables.looks_table(parameters, CHAPTER, tuned))
    plain = [model for name in ("V", "polarity") for model in models.get(name, [])]
    on_target = [model for model in plain if model["path"][-1] == [TARGET]]
    parts.append(tables.losses_table(parameters, CHAPTER, on_target))
    parts.append(tables.baselines_table(parameters, CHAPTER, models["V"]))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)
