"""The work of the chapter ``out-of-domain``; its trainings are those of ``initialisation``."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from helpers.chapters.out_of_domain.parameters import Parameters
from helpers.chapters.starting import run as shared
from helpers.chapters.starting.run import Arm, Tasks
from helpers.experiments.foreground import ForegroundTask, Pictures
from helpers.experiments.initialisation import Fitting, predicted, scores
from helpers.models.encoders import SavedEncoder
from helpers.models.semantic import Segmenter


@dataclass(frozen=True)
class Finding:
    """What one model finds in one image.

    Attributes:
        mask: int32 (h, w), 1 where it finds an object.
        dice: against the annotation; ``None`` where neither shows an object.
    """

    mask: np.ndarray
    dice: float | None


def open_tasks(parameters: Parameters) -> dict[str, ForegroundTask]:
    """All data sets of the chapter by name."""
    return shared.open_tasks(parameters, more=parameters.within)


def wanted(parameters: Parameters) -> dict[Arm, list[str]]:
    """All trainings of the chapter, each with the data sets it is tested on.

    Smallest and largest share of the data sets by kind, all images of those in ``within``. Of
    several budgets only equal steps is used.
    """
    tested = shared.tested_with(parameters)
    ends = list(dict.fromkeys((parameters.shares[0], parameters.shares[-1])))
    found = {arm: tested[arm.dataset] for arm in _arms(parameters, tested, ends)}
    parts = _arms(parameters, parameters.within, [parameters.shares[-1]])
    return found | {arm: list(parameters.within) for arm in parts}


def _arms(parameters: Parameters, datasets: Iterable[str], ends: list[float]) -> list[Arm]:
    chosen = "steps" if "steps" in parameters.budgets else parameters.budgets[0]
    arms = shared.arms(parameters, list(datasets), ends)
    # With all images a training goes by the name of the first budget, whichever that is.
    return [arm for arm in arms if arm.budget == chosen or arm.share == 1]


def train(parameters: Parameters, tasks: Tasks) -> dict[Arm, dict]:
    """Train and test all models; those already there are read.

    Needs :func:`helpers.chapters.starting.run.pretrain`.
    """
    return shared.train(parameters, tasks, wanted(parameters))


def unseen_pair(parameters: Parameters) -> tuple[str, str] | None:
    """A data set and another of its kind, for pictures; ``None`` if each kind has but one."""
    groups = [*shared.kinds(parameters).values(), parameters.within]
    return next(((names[0], names[1]) for names in groups if len(names) > 1), None)


def first_annotated(task: ForegroundTask) -> Pictures:
    """The first test image that shows an object, or the first of all."""
    part = task.part("test")
    shown = [place for place, mask in enumerate(part.masks) if mask.any()]
    return part.some(np.array((shown or [0])[:1]))


def findings(
    parameters: Parameters, tasks: Tasks, trained: str, shown: Iterable[str]
) -> dict[str, dict[str, Finding]]:
    """What the models of a data set (all images, first seed) find in one image each of others.

    Args:
        trained: the data set trained on.
        shown: data sets whose :func:`first_annotated` image is predicted.

    Returns:
        By data set, then by start.
    """
    found: dict[str, dict[str, Finding]] = {name: {} for name in shown}
    for arm, tested in wanted(parameters).items():
        if (arm.dataset, arm.share, arm.seed) != (trained, 1, parameters.seeds[0]):
            continue
        network, saved = shared.load_model(parameters, tasks, arm, tested)
        trial = shared.fitting(parameters, tasks, arm, tested)
        for name, models in found.items():
            models[arm.start] = _find(network, saved, trial, first_annotated(tasks[name]))
    return found


def _find(network: Segmenter, saved: SavedEncoder, trial: Fitting, picture: Pictures) -> Finding:
    masks = predicted(network, picture, saved, trial)
    return Finding(masks[0], scores(masks, picture)["dice"][0])
