"""The work of the chapter ``representations``; its trainings are those of ``initialisation``.

Weights are kept for all images and the first seed alone, so that there is one network per start and
data set: what varies is the patches and the data sets, not the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from helpers.chapters.representations.parameters import Parameters
from helpers.chapters.starting import run as shared
from helpers.chapters.starting.run import Arm, Places, Tasks
from helpers.experiments.representations import (
    PLACES,
    Patches,
    aligned,
    compare_pairs,
    encoder_features,
    network_features,
    reordered,
    sample_patches,
    tell_apart,
    unit_rows,
)
from helpers.experiments.starts import open_start
from helpers.features.projection import project, trustworthiness
from helpers.features.similarity import Similarity, compare_representations
from helpers.models.device import resolve_device

RANDOM, ANOTHER = "random", "random, another draw"

ByPlace = dict[str, dict[str, np.ndarray]]
Where = tuple[str, str]


@dataclass(frozen=True)
class Seen:
    """Features of the same patches.

    Attributes:
        fitted: of the fine-tuned networks: by data set trained on, place and start, (n, d) each.
        untrained: of the encoders before that: by place and start, and of other random weights
            under :data:`ANOTHER`.
    """

    fitted: dict[str, ByPlace]
    untrained: ByPlace


@dataclass(frozen=True)
class Compared:
    """How alike the features are.

    Attributes:
        pairs: fine-tuned networks, by (data set, place) and pair of starts.
        moved: a network before and after fine-tuning, by (data set, place) and start.
        before: encoders before fine-tuning, by place and pair; :data:`ANOTHER` is among them.
        apart: accuracy with which the starts are told apart, by (data set, place).
        reordered: the same for a network and itself with its channels in another order, by (data
            set, place) and start.
    """

    pairs: dict[Where, dict[tuple[str, str], dict[str, Similarity]]]
    moved: dict[Where, dict[str, dict[str, Similarity]]]
    before: dict[str, dict[tuple[str, str], dict[str, Similarity]]]
    apart: dict[Where, float]
    reordered: dict[Where, dict[str, float]]


# ---------------------------------------------------------------------------------- the networks


def wanted(parameters: Parameters) -> dict[Arm, list[str]]:
    """All images, first seed, data sets of glands: each with the data sets it is tested on."""
    tested = shared.tested_with(parameters)
    return {
        arm: tested[arm.dataset]
        for arm in shared.arms(parameters, parameters.glands, [1.0])
        if arm.seed == parameters.seeds[0]
    }


def train(parameters: Parameters, tasks: Tasks) -> dict[Arm, dict]:
    """Train all networks; those already there are read.

    Needs :func:`helpers.chapters.starting.run.pretrain`.
    """
    return shared.train(parameters, tasks, wanted(parameters))


def patches(parameters: Parameters, tasks: Tasks) -> Patches:
    """The patches that all networks see, as large as the crops they were trained on."""
    glands = {name: tasks[name] for name in parameters.glands}
    rng = np.random.default_rng(parameters.seed)
    return sample_patches(glands, parameters.n_patches, parameters.crop, rng)


def see(parameters: Parameters, tasks: Tasks, shown: Patches) -> Seen:
    """What every network of :func:`train` says of the patches, and its encoder before that."""
    torch.set_num_threads(parameters.threads)
    device = resolve_device(parameters.device).type
    fitted: dict[str, ByPlace] = {
        name: {place: {} for place in PLACES} for name in parameters.glands
    }
    for arm, tested in wanted(parameters).items():
        model, saved = shared.load_model(parameters, tasks, arm, tested)
        for place, rows in network_features(model, saved, shown.images, device).items():
            fitted[arm.dataset][place][arm.start] = rows
    return Seen(fitted, _untrained(parameters, tasks, shown, device))


def _untrained(parameters: Parameters, tasks: Tasks, shown: Patches, device: str) -> ByPlace:
    seed, places = parameters.seeds[0], Places(parameters, tasks)
    starts = shared.starts(parameters)
    drawn = {name: (start, seed) for name, start in starts.items()}
    drawn[ANOTHER] = (starts[RANDOM], seed + 1)
    found: ByPlace = {}
    for name, (start, own_seed) in drawn.items():
        saved = open_start(start, own_seed, places.path)
        rows = encoder_features(saved.encoder, saved, shown.images, device)
        for place, values in rows.items():
            found.setdefault(place, {})[name] = values
    return found


# -------------------------------------------------------------------------------- the comparisons


def compare(parameters: Parameters, seen: Seen, shown: Patches) -> Compared:
    """All measures between all networks."""
    options = {"k": parameters.neighbours, "n_shuffles": parameters.shuffles}
    cells = {
        (dataset, place): features
        for dataset, by_place in seen.fitted.items()
        for place, features in by_place.items()
    }
    before = seen.untrained
    return Compared(
        {where: compare_pairs(f, **options, seed=parameters.seed) for where, f in cells.items()},
        {
            (dataset, place): {
                start: _compared(parameters, before[place][start], rows)
                for start, rows in features.items()
            }
            for (dataset, place), features in cells.items()
            if place in before
        },
        {place: compare_pairs(f, **options, seed=parameters.seed) for place, f in before.items()},
        {where: tell_apart(f, shown.groups, parameters.metric) for where, f in cells.items()},
        {where: _reordered(parameters, f, shown) for where, f in cells.items()},
    )


def _compared(parameters: Parameters, x: np.ndarray, y: np.ndarray) -> dict[str, Similarity]:
    rng = np.random.default_rng(parameters.seed)
    return compare_representations(
        x, y, rng, k=parameters.neighbours, n_shuffles=parameters.shuffles
    )


def _reordered(
    parameters: Parameters, features: Mapping[str, np.ndarray], shown: Patches
) -> dict[str, float]:
    rng = np.random.default_rng(parameters.seed)
    return {
        start: tell_apart(
            {"itself": rows, "reordered": reordered(rows, rng)}, shown.groups, parameters.metric
        )
        for start, rows in features.items()
    }


# --------------------------------------------------------------------------------------- the maps


@dataclass(frozen=True)
class JointMap:
    """All starts' features at one place in one map.

    Attributes:
        points: float32 (n, 2) by start.
        trust: trustworthiness, see :func:`helpers.features.projection.trustworthiness`.
    """

    points: dict[str, np.ndarray]
    trust: float


def joint_maps(
    parameters: Parameters, by_place: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, dict[str, JointMap]]:
    """By projection and place, as in Fig. 4 of the paper."""
    return {
        name: {place: _joint_map(parameters, name, f) for place, f in by_place.items()}
        for name in parameters.projections
    }


def _joint_map(parameters: Parameters, name: str, features: Mapping[str, np.ndarray]) -> JointMap:
    rows = np.concatenate(list(features.values()))
    placed = _placed(parameters, name, rows)
    parts = dict(zip(features, np.split(placed, len(features)), strict=True))
    judged = unit_rows(rows) if parameters.metric == "cosine" else rows
    return JointMap(parts, trustworthiness(judged, placed))


def lone_maps(
    parameters: Parameters, by_place: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, dict[str, np.ndarray]]:
    """By place and start: each start in a map of its own, turned onto that of the first start."""
    first = parameters.projections[0]
    return {
        place: aligned({start: _placed(parameters, first, rows) for start, rows in f.items()})
        for place, f in by_place.items()
    }


def _placed(parameters: Parameters, name: str, rows: np.ndarray) -> np.ndarray:
    return project(
        rows,
        name,
        parameters.seed,
        neighbours=parameters.neighbours,
        min_dist=parameters.min_dist,
        metric=parameters.metric,
    )
