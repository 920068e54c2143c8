"""The work of the chapter ``few-shot``: which pretrainings and trainings it needs."""

from collections.abc import Mapping

from helpers.chapters.cells.run import LONGER, Arm, Data, Route, fine_tune, longer, pretrain, route
from helpers.chapters.few_shot.parameters import Parameters


def routes(parameters: Parameters) -> dict[str, Route]:
    """The starts by name."""
    ways = {kind: route(parameters, kind) for kind in parameters.starts}
    if LONGER in ways:
        ways[LONGER] = longer(parameters)
    return ways


def pretrain_all(parameters: Parameters, data: Data) -> dict[str, dict]:
    """Pretrainings by start; random weights have none."""
    ways = routes(parameters)
    found = pretrain(parameters, data, ways.values())
    return {kind: found[way] for kind, way in ways.items() if way in found}


def arm(parameters: Parameters, kind: str, share: float, seed: int) -> Arm:
    """One training."""
    return Arm(routes(parameters)[kind], parameters.cells, share, seed)


def train(parameters: Parameters, data: Data) -> Mapping[Arm, dict]:
    """Fine-tune from every start on every share and draw; those already there are read."""
    arms = [
        arm(parameters, kind, share, seed)
        for kind in parameters.starts
        for share in parameters.shares
        for seed in parameters.seeds
    ]
    return fine_tune(parameters, data, arms)
