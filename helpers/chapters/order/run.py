"""The work of the chapter ``order``."""

from itertools import permutations

import numpy as np
import pandas as pd

from helpers.chapters.order.parameters import Parameters
from helpers.chapters.transfer import tables
from helpers.chapters.transfer.run import course, data_names, open_domains, provenance, train
from helpers.experiments import curricula
from helpers.experiments.curricula import ROLES, Arm
from helpers.retention import RetentionSummary, summarise

__all__ = [
    "arms",
    "course",
    "data_names",
    "open_domains",
    "provenance",
    "results_table",
    "retention",
    "train",
]
ALL_PATHS = [" -> ".join(path) for n in (1, 2, 3) for path in permutations(ROLES, n)]
LONG_PATHS = [path for path in ALL_PATHS if path.count("->") == 2]
# The three paths of the paper.
NAMED = {
    "A": "source -> target -> third",
    "B": "source -> third -> target",
    "C": "third -> source -> target",
}


def arms(parameters: Parameters) -> list[Arm]:
    """All orders of one, two and three domains, every seed."""
    return [arm for seed in parameters.seeds for arm in curricula.orders(course(parameters, seed))]


def results_table(parameters: Parameters, models: list[dict]) -> pd.DataFrame:
    """All numbers of the chapter."""
    own = tables.results_table(parameters, "order", "VII", models)
    return pd.concat([own, tables.baselines_table(parameters, "order", models)], ignore_index=True)


def retention(models: list[dict], path: str, metric: str = "dice") -> RetentionSummary:
    """Forgetting and transfer along one path of three domains, over seeds.

    Args:
        models: of the chapter; each carries the measurements of all stages of its path.
    """
    own = [model for model in models if model["method"] == path]
    matrices = np.array(
        [
            [
                [pd.DataFrame(stage["domains"][role])[metric].mean() for role in ROLES]
                for stage in model["history"]
            ]
            for model in own
        ]
    )
    learned = [tuple(ROLES.index(role) for role in stage) for stage in own[0]["path"]]
    return summarise(matrices, learned)
