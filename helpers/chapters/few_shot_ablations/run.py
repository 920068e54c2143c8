"""The work of the chapter ``few-shot-ablations``: what is varied, and the gap between domains."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from helpers.chapters.cells.run import (
    CUPRE,
    LONGER,
    SOURCE,
    Arm,
    Data,
    Places,
    Route,
    fine_tune,
    fine_tuning,
    longer,
    route,
    start,
)
from helpers.chapters.few_shot_ablations.parameters import Parameters
from helpers.experiments.gap import Gap, gap_patches, measure_gaps, stage_features, stages
from helpers.experiments.representations import Patches
from helpers.features.projection import project, trustworthiness
from helpers.models.device import resolve_device

WEIGHT, ROUNDS, PART = "weight of L2-SP", "rounds", "share of steps on cells"
LENGTH, QUEUE = "steps of AMT2", "keys of MoCo's queue"
OWN = "CUPre, on its cells"


@dataclass(frozen=True)
class Setting:
    """One level of a study: what is varied, to what, and the start that comes of it."""

    study: str
    level: float
    route: Route


def settings(parameters: Parameters) -> list[Setting]:
    """All levels of all studies of AMT2's own parameters."""
    p = parameters
    found = [
        Setting(WEIGHT, weight, route(p, CUPRE, anchor_weight=weight))
        for weight in p.anchor_weights
    ]
    found += [Setting(ROUNDS, n, _with_rounds(p, n)) for n in p.round_counts]
    found += [Setting(PART, part, _with_part(p, part)) for part in p.contrast_shares]
    longer_ways = [_with_length(p, factor) for factor in p.lengths]
    found += [Setting(LENGTH, one.contrast_steps + one.source_steps, one) for one in longer_ways]
    return found + [Setting(QUEUE, keys, _with_queue(p, keys)) for keys in p.queues]


def _with_rounds(parameters: Parameters, rounds: int) -> Route:
    """As many steps of either side as can be cut into these rounds, the total kept."""
    return _divided(parameters, parameters.contrast_steps, rounds)


def _with_part(parameters: Parameters, part: float) -> Route:
    if part == 0:
        return longer(parameters)
    return _divided(parameters, part * parameters.total_steps, parameters.rounds)


def _with_length(parameters: Parameters, factor: float) -> Route:
    """As many times the steps of either side, whole ones in every round."""
    rounds = parameters.rounds
    steps = {
        name: max(1, round(factor * getattr(parameters, name) / rounds)) * rounds
        for name in ("contrast_steps", "source_steps")
    }
    return route(parameters, CUPRE, **steps)


def _with_queue(parameters: Parameters, keys: int) -> Route:
    """The choice by itself and the same number asked for are one pretraining."""
    return route(parameters, CUPRE, queue=0 if keys == parameters.own_queue else keys)


def _divided(parameters: Parameters, contrast: float, rounds: int) -> Route:
    """About this many steps of contrast; each side has at least one in each round."""
    most = parameters.total_steps - rounds
    steps = min(max(round(contrast / rounds), 1) * rounds, most)
    return route(
        parameters,
        CUPRE,
        rounds=rounds,
        contrast_steps=steps,
        source_steps=parameters.total_steps - steps,
    )


def compared(parameters: Parameters, encoder: str) -> dict[str, Route]:
    """The three starts that studies of backbones and of other cells compare."""
    return {
        SOURCE: route(parameters, SOURCE, encoder=encoder),
        LONGER: longer(parameters, encoder=encoder),
        CUPRE: route(parameters, CUPRE, encoder=encoder),
    }


def backbones(parameters: Parameters) -> dict[str, dict[str, Route]]:
    """Starts by encoder, the chapter's own first; empty if no other is asked for."""
    names = [parameters.encoder, *parameters.encoders] if parameters.encoders else []
    return {name: compared(parameters, name) for name in names}


def elsewhere(parameters: Parameters) -> dict[str, dict[str, Route]]:
    """Starts by data set that the pretraining did not see, and one that did see it."""
    own = compared(parameters, parameters.encoder)
    return {
        name: own | {OWN: route(parameters, CUPRE, cells=(name,))} for name in parameters.unseen
    }


def base(parameters: Parameters) -> Route:
    """CUPre as the parameters have it."""
    return route(parameters, CUPRE)


def all_routes(parameters: Parameters) -> list[Route]:
    """Every start that the chapter needs, none twice."""
    ways = [base(parameters), *(one.route for one in settings(parameters))]
    for studies in (backbones(parameters), elsewhere(parameters)):
        ways += [way for starts in studies.values() for way in starts.values()]
    return list(dict.fromkeys(ways))


def arms(parameters: Parameters) -> list[Arm]:
    """Every fine-tuning that the chapter needs, none twice."""
    own = [base(parameters), *(one.route for one in settings(parameters))]
    own += [way for starts in backbones(parameters).values() for way in starts.values()]
    pairs = [(way, parameters.cells) for way in own]
    pairs += [
        (way, name) for name, starts in elsewhere(parameters).items() for way in starts.values()
    ]
    return [
        Arm(way, dataset, parameters.share, seed)
        for way, dataset in dict.fromkeys(pairs)
        for seed in parameters.seeds
    ]


def train(parameters: Parameters, data: Data) -> dict[Arm, dict]:
    """Fine-tune all arms; those already there are read."""
    return fine_tune(parameters, data, arms(parameters))


@dataclass(frozen=True)
class Maps:
    """The gap of every stage, and the patches placed in the plane.

    Attributes:
        gaps: by stage, in order.
        points: by projection, then by stage, (patches, 2).
        trust: trustworthiness of each of those.
        patches: what is placed, cells first.
    """

    gaps: Mapping[str, Gap]
    points: Mapping[str, Mapping[str, np.ndarray]]
    trust: Mapping[str, Mapping[str, float]]
    patches: Patches


def map_gap(parameters: Parameters, data: Data, pretrained: Mapping[Route, dict]) -> Maps:
    """Features of cells and source after every stage of CUPre, measured and drawn."""
    p, places = parameters, Places(data)
    way = base(p)
    tuned = fine_tuning(p, Arm(way, p.cells, p.share, p.seeds[0]))
    encoders = stages(start(p, way), pretrained[way], tuned, places.path)
    patches = gap_patches(data.cells[p.cells], data.sources, p.map_patches, p.patch_size, p.seed)
    features = stage_features(encoders, patches, resolve_device(p.device).type)
    points = {
        kind: {name: project(rows, kind, p.seed) for name, rows in features.items()}
        for kind in p.projections
    }
    trust = {
        kind: {name: trustworthiness(features[name], placed) for name, placed in by_stage.items()}
        for kind, by_stage in points.items()
    }
    return Maps(measure_gaps(features, patches, p.seed), points, trust, patches)
