"""Which patches to annotate? (arXiv 2511.04803, section III-B, Tables II and III, Fig. 2 and 3)

Choices are made from features alone; each is judged by how it covers the data and by the model
that is trained on it. A model is known by the patches it saw, not by the method that chose them:
two methods with the same choice share a training, and a faster method throws none away.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np

from helpers import fingerprints
from helpers.experiments.prepared import Prepared
from helpers.experiments.subset import Recipe, SubsetTrial
from helpers.quantization import (
    DETERMINISTIC,
    coverage,
    k_means_cells,
    label_coverage,
    quantize,
    select,
)

ALL = "all"


@dataclass(frozen=True, eq=False)
class Choice:
    """One coreset.

    Attributes:
        method: one of ``helpers.quantization.METHODS``, or ``"all"``.
        rate: share of the training patches.
        seed: of the draw (unused by some methods) and of the training.
        indices: int64, ascending.
    """

    method: str
    rate: float
    seed: int
    indices: np.ndarray

    @property
    def subset(self) -> str:
        """Short name of the set of patches."""
        return fingerprints.of_json(self.indices.tolist())[:16]


def choose(
    features: np.ndarray, methods: list[str], rates: list[float], seeds: list[int], n_bins: int
) -> list[Choice]:
    """Every method at every rate below 1 with every seed; at rate 1 all patches, once per seed."""
    from tqdm import tqdm

    choices = []
    for method in tqdm(methods, "selections", mininterval=2, delay=5):
        for rate in (rate for rate in rates if rate < 1):
            choices += _choose_one(features, method, rate, seeds, n_bins)
    everything = np.arange(len(features))
    return choices + [Choice(ALL, 1.0, seed, everything) for seed in seeds if 1.0 in rates]


def _choose_one(
    features: np.ndarray, method: str, rate: float, seeds: list[int], n_bins: int
) -> list[Choice]:
    first = Choice(method, rate, seeds[0], _select(features, method, rate, seeds[0], n_bins))
    if method in DETERMINISTIC:
        return [replace(first, seed=seed) for seed in seeds]
    others = [
        Choice(method, rate, seed, _select(features, method, rate, seed, n_bins))
        for seed in seeds[1:]
    ]
    return [first, *others]


def _select(features: np.ndarray, method: str, rate: float, seed: int, n_bins: int) -> np.ndarray:
    return select(features, rate, np.random.default_rng([seed, 3]), method, n_bins)


def list_trials(choices: list[Choice], recipes: dict[int, Recipe]) -> list[SubsetTrial]:
    """One trial per choice, in their order; ``recipes`` by seed."""
    return [SubsetTrial(choice.subset, recipes[choice.seed]) for choice in choices]


def cover(
    choices: list[Choice], features: np.ndarray, prepared: Prepared, n_cells: int, seed: int
) -> list[dict[str, float]]:
    """How choices cover the data: distances in ``features``, cells hit, labels hit.

    Distances are given as shares of the root mean square distance of the patches to their mean, so
    that they can be compared between features. The cells are the same for all choices.
    """
    store = prepared.patches()
    cells = k_means_cells(features, min(n_cells, len(features)), np.random.default_rng([seed, 5]))
    scale = float(np.sqrt(features.var(axis=0, dtype=np.float64).sum())) or 1.0
    areas = store.areas_by_patch()
    rows = []
    for choice in choices:
        found = coverage(features, choice.indices, cells)
        labels = label_coverage(choice.indices, store.instances, areas, store.kinds)
        rows.append(
            {
                "coverage_mean": found.mean_distance / scale,
                "coverage_p95": found.p95_distance / scale,
                "cells_hit": found.cells_hit,
                **asdict(labels),
            }
        )
    return rows


def orders(features: np.ndarray, n_bins: int) -> dict[str, np.ndarray]:
    """All patches in the order of each gain, bin after bin, int64 (n,)."""
    gains = ("paper_eq", "official_code", "graphcut")
    return {gain: quantize(features, min(n_bins, len(features)), gain).order for gain in gains}


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Share of what either choice holds that both hold (Jaccard index), 0..1."""
    return len(np.intersect1d(first, second)) / len(np.union1d(first, second))
