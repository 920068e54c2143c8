"""From a chapter's parameters to what experiments take: data, recipe, workers.

A parameter keeps its name: settings are filled by the names of their fields.
"""

import os
from dataclasses import fields
from typing import Any

from helpers.data.patches import PatchGrid
from helpers.experiments.preparation import DataSettings, prepare_data
from helpers.experiments.prepared import Prepared
from helpers.experiments.subset import Recipe
from helpers.models.device import resolve_device, resolve_precision
from helpers.paths import CHAPTERS_AT_ONCE
from helpers.training.flows import TrainingPlan


def filled(kind: type, p: Any, /, **others: Any) -> Any:
    """A dataclass whose fields are those of the parameters ``p`` of the same names.

    Args:
        others: fields that parameters do not tell, or tell otherwise.
    """
    named = {f.name: getattr(p, f.name) for f in fields(kind) if hasattr(p, f.name)}
    return kind(**{**named, **others})


def worker_count(p: Any) -> int:
    """Trials at a time: as asked, or one per core left by other chapters (one on a GPU)."""
    if p.workers:
        return p.workers
    if resolve_device(p.device).type != "cpu":
        return 1
    others = int(os.environ.get(CHAPTERS_AT_ONCE, "1"))
    return max(1, (os.cpu_count() or 1) // (p.threads * others))


def precision_name(p: Any) -> str:
    """``"bfloat16"`` or ``"float32"``: what is asked for, or what the device does best."""
    device = resolve_device(p.device)
    return str(resolve_precision(p.precision, device)).removeprefix("torch.")


def recipe(p: Any, seed: int) -> Recipe:
    """How the models of a chapter are trained, for one seed."""
    plan = filled(TrainingPlan, p, precision=precision_name(p))
    device = resolve_device(p.device).type
    return Recipe(p.width, plan, seed, device, p.threads, p.flow_threshold)


def prepare(p: Any, turn: int | None = None) -> Prepared:
    """Data of a chapter: read or generated, split by group, cut, with flow targets.

    Args:
        turn: of a split that rotates with the seed of the models; ``None`` for the fixed one.
    """
    grid = PatchGrid(p.patch_size, p.patch_stride, p.edge, p.min_instances)
    settings = filled(DataSettings, p, grid=grid, turn=turn)
    return prepare_data(settings, workers=worker_count(p))
