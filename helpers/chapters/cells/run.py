"""The work that the chapters on few-shot cells share: data, pretraining, fine-tuning.

A pretraining or a training is the same trial whichever chapter asks for it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from helpers import fingerprints
from helpers.chapters.cells.parameters import GROUPS, CellParameters
from helpers.chapters.segmentation import precision_name, worker_count
from helpers.experiments.few_shot import (
    FOUND,
    Alternation,
    Architecture,
    Cells,
    Contrasting,
    FewShot,
    Machine,
    Start,
    Warming,
    run_alternation,
    run_contrasting,
    run_few_shot,
    run_warming,
)
from helpers.experiments.objects import ObjectSettings, ObjectTask, prepare_objects, unpack
from helpers.experiments.trials import TrialStore, run_trials
from helpers.metrics.detection import Instances
from helpers.models.device import resolve_device
from helpers.paths import runs_dir
from helpers.pretraining.moco import MocoPlan
from helpers.training.detection import DetectionPlan

SCRATCH, SOURCE, LONGER, MOCO, CUPRE = "scratch", "source", "source, longer", "MoCo", "CUPre"
STARTS = (SCRATCH, SOURCE, LONGER, MOCO, CUPRE)
# Of the pretrainings: none shares its first weights with another, or with a fine-tuning.
_WARM_SEED, _MOCO_SEED, _ROUND_SEED = 2001, 2002, 2003
# Of generated pictures, so that they are not those of another data set with the same seed.
_SOURCE_SEED = 7


@dataclass(frozen=True)
class Data:
    """Cells by name of the data set, and the labelled source."""

    cells: Mapping[str, ObjectTask]
    sources: Sequence[ObjectTask]

    @property
    def provenance(self) -> list[dict]:
        """As a record keeps it."""
        return [task.provenance for task in (*self.cells.values(), *self.sources)]


@dataclass(frozen=True)
class Route:
    """A start in the words of a chapter, and how it is come by.

    Attributes:
        kind: one of :data:`STARTS`.
        encoder: backbone.
        rounds, anchor_weight, contrast_steps, source_steps: of AMT2; see
            :class:`helpers.chapters.cells.parameters.CellParameters`.
        cells: data sets whose unlabelled patches are seen.
        queue: MoCo's keys; 0 for :func:`helpers.pretraining.moco.queue_length`'s choice.

    The control, ``"source, longer"``, is AMT2 without steps of contrast, and so without cells.
    """

    kind: str
    encoder: str
    rounds: int
    anchor_weight: float
    contrast_steps: int
    source_steps: int
    cells: tuple[str, ...]
    queue: int = 0


def route(parameters: CellParameters, kind: str, **changes: object) -> Route:
    """A way to a start with the parameters' settings but for ``changes``."""
    plain = Route(
        kind,
        parameters.encoder,
        parameters.rounds,
        parameters.anchor_weight,
        parameters.contrast_steps,
        parameters.source_steps,
        (parameters.cells,),
    )
    return replace(plain, **changes)


def longer(parameters: CellParameters, **changes: object) -> Route:
    """The control: all steps of both sides on the source, without L2-SP."""
    steps = parameters.source_steps + parameters.contrast_steps
    plain = {"source_steps": steps, "contrast_steps": 0, "anchor_weight": 0.0, "cells": ()}
    return route(parameters, LONGER, **{**plain, **changes})


# -------------------------------------------------------------------------------------- the data


def open_data(parameters: CellParameters, more: Iterable[str] = ()) -> Data:
    """Cells and source, each read or generated, split by group.

    Args:
        more: further data sets of cells.
    """
    cells = {
        name: _prepared(
            ObjectSettings(
                name,
                parameters.n_images,
                parameters.image_size,
                parameters.cell_scale,
                parameters.stretch,
                parameters.test_share,
                parameters.max_test_images,
                parameters.seed,
            )
        )
        for name in (parameters.cells, *more)
    }
    sources = [
        _prepared(
            ObjectSettings(
                name,
                parameters.n_source,
                parameters.source_size,
                # Generated pictures have their side already.
                1.0 if name.startswith("synthetic-") else parameters.source_scale,
                False,
                0.2,
                parameters.max_source_test,
                parameters.seed + _SOURCE_SEED,
            )
        )
        for name in parameters.sources
    ]
    return Data(cells, sources)


def _prepared(settings: ObjectSettings) -> ObjectTask:
    return prepare_objects(settings, runs_dir() / "data")


# ------------------------------------------------------------------------------------ the trials


def architecture(parameters: CellParameters, encoder: str) -> Architecture:
    """The detector on a backbone."""
    if parameters.heads == "livecell":
        return Architecture(encoder, parameters.width)
    return Architecture(
        encoder,
        parameters.width,
        box_convs=1,
        box_features=4 * parameters.width,
        mask_convs=2,
        regions=32,
        proposals_before=500,
        proposals_after=300,
        detections=300,
    )


def start(parameters: CellParameters, way: Route) -> Start:
    """The pretraining behind a start; ``None`` for random weights."""
    if way.kind == SCRATCH:
        return None
    if way.kind == MOCO:
        return Contrasting(
            architecture(parameters, way.encoder),
            _cells(parameters, way),
            _contrast(parameters, way.contrast_steps, way.queue),
            _MOCO_SEED,
            _machine(parameters),
        )
    warming = _warming(parameters, way.encoder)
    if way.kind == SOURCE:
        return warming
    contrasted = way.contrast_steps > 0
    return Alternation(
        warming,
        _source_plan(parameters, way.source_steps),
        way.rounds,
        _cells(parameters, way) if contrasted else None,
        _contrast(parameters, way.contrast_steps, way.queue) if contrasted else None,
        way.anchor_weight,
        _ROUND_SEED,
        machine=_machine(parameters),
    )


def _machine(parameters: CellParameters) -> Machine:
    return Machine(resolve_device(parameters.device).type, parameters.threads)


def _cells(parameters: CellParameters, way: Route) -> Cells:
    return Cells(way.cells, parameters.n_patches, parameters.patch_size, parameters.seed)


def _warming(parameters: CellParameters, encoder: str) -> Warming:
    return Warming(
        architecture(parameters, encoder),
        tuple(parameters.sources),
        _source_plan(parameters, parameters.warm_steps),
        _WARM_SEED,
        parameters.source_classes == "one",
        machine=_machine(parameters),
    )


def _source_plan(parameters: CellParameters, steps: int) -> DetectionPlan:
    return _plan(
        parameters,
        steps,
        parameters.source_batch,
        parameters.source_rate,
        parameters.source_crop,
        "horizontal",
    )


def _plan(
    parameters: CellParameters, steps: int, batch: int, rate: float, crop: int, flip: str
) -> DetectionPlan:
    return DetectionPlan(
        steps,
        batch,
        rate,
        warmup=max(1, steps // 10),
        decay="cosine",
        crop=crop,
        flip=flip,
        precision=precision_name(parameters),
        checkpoint_every=50,
    )


def _contrast(parameters: CellParameters, steps: int, queue: int = 0) -> MocoPlan:
    return MocoPlan(
        steps,
        parameters.contrast_batch,
        parameters.contrast_rate,
        warmup_share=0.1,
        queue=queue,
        key_momentum=parameters.key_momentum,
        groups=GROUPS,
        precision=precision_name(parameters),
        checkpoint_every=50,
        look_every=0,
    )


@dataclass(frozen=True)
class Arm:
    """One fine-tuning in the words of a chapter."""

    route: Route
    dataset: str
    share: float
    seed: int


def fine_tuning(parameters: CellParameters, arm: Arm) -> FewShot:
    """The trial behind an arm."""
    plan = _plan(
        parameters,
        parameters.steps,
        parameters.batch_size,
        parameters.learning_rate,
        parameters.crop,
        "both",
    )
    return FewShot(
        architecture(parameters, arm.route.encoder),
        start(parameters, arm.route),
        arm.dataset,
        arm.share,
        plan,
        arm.seed,
        parameters.areas,
        keep=arm.seed == parameters.seeds[0],
        machine=_machine(parameters),
    )


@cache
def _code() -> str:
    """Once per process: every trial asks, and reading all that a module imports takes seconds."""
    return fingerprints.of_code(["helpers.experiments.few_shot"])


@dataclass(frozen=True)
class Places:
    """Where trials lie; each depends on the data that it and its pretraining have seen."""

    data: Data

    def of(self, trial: Start | FewShot) -> TrialStore:
        """The store of a trial."""
        folder = runs_dir() / "trials" / "few-shot"
        return TrialStore(folder, _code(), fingerprints.of_json(self._seen(trial)))

    def path(self, trial: Start | FewShot) -> Path:
        """The folder of a trial."""
        return self.of(trial).path(trial)

    def _seen(self, trial: Start | FewShot) -> list[str]:
        if trial is None:
            return []
        if isinstance(trial, Warming):
            return [task.content for task in self.data.sources]
        if isinstance(trial, FewShot):
            return [self.data.cells[trial.dataset].content, *self._seen(trial.start)]
        own = [
            self.data.cells[name].content for name in (trial.cells.datasets if trial.cells else ())
        ]
        return own + (self._seen(trial.warming) if isinstance(trial, Alternation) else [])


def pretrain(parameters: CellParameters, data: Data, ways: Iterable[Route]) -> dict[Route, dict]:
    """Pretrainings behind starts; those already there are read. Random weights have none."""
    trials = {way: start(parameters, way) for way in ways if way.kind != SCRATCH}
    warmings = [t.warming for t in trials.values() if isinstance(t, Alternation)]
    every = list(dict.fromkeys([*warmings, *trials.values()]))
    work = partial(_run_pretraining, data=data)
    found: dict[Start, dict] = {}
    # An alternation starts from what a warming left.
    for later in (False, True):
        own = [trial for trial in every if isinstance(trial, Alternation) == later]
        results = run_trials(own, work, Places(data).of, worker_count(parameters))
        found |= dict(zip(own, results, strict=True))
    return {way: found[trial] for way, trial in trials.items()}


def _run_pretraining(trial: Start, folder: Path, data: Data) -> dict:
    if isinstance(trial, Warming):
        return run_warming(trial, folder, data.sources)
    if isinstance(trial, Contrasting):
        return run_contrasting(trial, folder, data.cells)
    return run_alternation(trial, folder, data.cells, data.sources, Places(data).path)


def fine_tune(parameters: CellParameters, data: Data, arms: Sequence[Arm]) -> dict[Arm, dict]:
    """Fine-tune and measure all arms; those already there are read. Needs :func:`pretrain`."""
    trials = {arm: fine_tuning(parameters, arm) for arm in arms}
    work = partial(_run_few_shot, data=data)
    every = list(dict.fromkeys(trials.values()))
    results = run_trials(every, work, Places(data).of, worker_count(parameters))
    found = dict(zip(every, results, strict=True))
    return {arm: found[trial] for arm, trial in trials.items()}


def _run_few_shot(trial: FewShot, folder: Path, data: Data) -> dict:
    return run_few_shot(trial, folder, data.cells[trial.dataset], Places(data).path)


def found_in(parameters: CellParameters, data: Data, arm: Arm) -> list[Instances]:
    """What a finished arm of the first seed found in the test images."""
    trial = fine_tuning(parameters, arm)
    kept = json.loads((Places(data).path(trial) / FOUND).read_text(encoding="utf-8"))
    return [unpack(one, one["size"]) for one in kept]
