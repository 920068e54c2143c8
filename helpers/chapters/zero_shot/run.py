"""The work of the chapter ``zero-shot``."""

import pandas as pd

from helpers.chapters.transfer import tables
from helpers.chapters.transfer.run import course, data_names, open_domains, provenance, train
from helpers.chapters.zero_shot.parameters import Parameters
from helpers.data.sample import Sample
from helpers.experiments import curricula
from helpers.experiments.curricula import Arm
from helpers.metrics import evaluate

__all__ = [
    "all_foreground",
    "arms",
    "course",
    "data_names",
    "open_domains",
    "provenance",
    "results_table",
    "train",
]


def arms(parameters: Parameters) -> list[Arm]:
    """All models of the chapter, every seed."""
    return [
        arm
        for seed in parameters.seeds
        for arm in curricula.zero_shot(
            course(parameters, seed), parameters.methods, parameters.rates
        )
    ]


def results_table(parameters: Parameters, models: list[dict]) -> pd.DataFrame:
    """All numbers of the chapter."""
    own = tables.results_table(parameters, "zero-shot", "IV", models)
    return pd.concat(
        [own, tables.baselines_table(parameters, "zero-shot", models)], ignore_index=True
    )


def all_foreground(samples: dict[str, list[Sample]]) -> dict[str, float]:
    """Mean Dice by domain of calling every pixel foreground: what no training at all can give."""
    scores = {}
    for role, images in samples.items():
        dice = [evaluate(s.labels, (s.labels >= 0).astype("int32")).dice for s in images]
        scores[role] = sum(dice) / len(dice)
    return scores
