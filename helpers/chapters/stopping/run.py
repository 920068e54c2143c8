"""The work of the chapter ``stopping``: pretrain, score, transfer, stop online."""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from helpers import fingerprints
from helpers.chapters.segmentation import precision_name, worker_count
from helpers.chapters.stopping.parameters import Parameters
from helpers.experiments.pretrained import Pretraining, Source, run_pretraining, source_content
from helpers.experiments.stopping import (
    Scoring,
    Start,
    StoppedPretraining,
    Transfer,
    pooled_features,
    pretraining_of,
    run_online,
    run_scoring,
    run_transfer,
)
from helpers.experiments.tasks import Task, TaskSettings, prepare_task
from helpers.experiments.trials import TrialStore, run_trials
from helpers.models.device import resolve_device
from helpers.paths import runs_dir
from helpers.pretraining.schedules import SupervisedPlan
from helpers.pretraining.supervised import encoder_path
from helpers.training.semantic import SemanticPlan
from helpers.transferability.judging import StoppingRule


def task_settings(parameters: Parameters, name: str) -> TaskSettings:
    """How one task is read and split."""
    return TaskSettings(
        name,
        parameters.n_images,
        parameters.image_size,
        parameters.test_share,
        parameters.validation_share,
        parameters.seed,
    )


def open_tasks(parameters: Parameters) -> dict[str, Task]:
    """The target tasks by name, each read or generated, split by patient, resized."""
    return {
        name: prepare_task(task_settings(parameters, name), runs_dir() / "data")
        for name in parameters.tasks
    }


def decoded_folder() -> Path:
    """Where decoded source images lie."""
    return runs_dir() / "data" / "classified"


# ------------------------------------------------------------------------------- what to compute


def pretraining(parameters: Parameters, seed: int) -> Pretraining:
    """The full pretraining of one seed."""
    source = Source(
        parameters.source,
        parameters.n_source,
        parameters.n_source_validation,
        parameters.source_size,
        _source_content(parameters.source),
    )
    plan = SupervisedPlan(
        epochs=parameters.epochs,
        batch_size=parameters.source_batch,
        learning_rate=parameters.source_rate,
        scheme=parameters.scheme,
        precision=precision_name(parameters),
        checkpoints=tuple(parameters.checkpoints),
    )
    device = resolve_device(parameters.device).type
    return Pretraining(source, parameters.encoder, plan, seed, device, parameters.threads)


@cache
def _source_content(name: str) -> str:
    """Once per process: a chapter's trials all mean the same files."""
    return source_content(name)


def online_rule(parameters: Parameters, watch_start: bool = False) -> StoppingRule:
    """The online rule; looks are the epochs."""
    return StoppingRule(
        parameters.patience, parameters.smoothing, parameters.least, watch_start=watch_start
    )


def stopped(parameters: Parameters, seed: int) -> StoppedPretraining:
    """The same pretraining, stopped by the published score; every epoch's encoder is kept."""
    full = pretraining(parameters, seed)
    every = tuple(range(1, parameters.epochs + 1))
    plan = SupervisedPlan(**{**vars(full.plan), "checkpoints": every})
    watched = Pretraining(**{**vars(full), "plan": plan})
    return StoppedPretraining(
        watched,
        online_rule(parameters),
        margin=float(parameters.margin),
        n_images=parameters.scored_images,
    )


def epochs_of(parameters: Parameters) -> list[int]:
    """Checkpoints in their order, the random initialisation first."""
    return [0, *parameters.checkpoints]


def transfer(parameters: Parameters, start: Start, epoch: int, frozen: bool, seed: int) -> Transfer:
    """One segmenter."""
    plan = SemanticPlan(
        steps=parameters.steps,
        batch_size=parameters.batch_size,
        learning_rate=parameters.learning_rate,
        loss=parameters.loss,
        looks=parameters.looks,
        precision=precision_name(parameters),
    )
    return Transfer(
        start,
        epoch,
        frozen,
        plan,
        seed,
        parameters.selection,
        parameters.decoder,
        parameters.decoder_width,
    )


# -------------------------------------------------------------------------------------- the work


@dataclass(frozen=True)
class Found:
    """Everything that was computed for one task.

    Attributes:
        scores: by (seed, epoch, pairing), of :func:`helpers.experiments.stopping.run_scoring`.
        transfers: by (seed, epoch, frozen), of :func:`helpers.experiments.stopping.run_transfer`.
        online: by seed, the stopped pretraining.
        online_transfers: by (seed, frozen), from the checkpoint that the online rule chose.
    """

    scores: dict[tuple, dict]
    transfers: dict[tuple, dict]
    online: dict[int, dict]
    online_transfers: dict[tuple, dict]

    @property
    def models(self) -> list[dict]:
        """All that was trained for this task, for the record."""
        parts = (self.transfers, self.online, self.online_transfers)
        return [model for part in parts for model in part.values()]


def pretrain(parameters: Parameters) -> dict[int, dict]:
    """Full pretrainings by seed."""
    trials = [pretraining(parameters, seed) for seed in parameters.seeds]
    work = partial(_run_pretraining, cache=decoded_folder())
    found = run_trials(trials, work, _pretraining_store(), worker_count(parameters))
    return dict(zip(parameters.seeds, found, strict=True))


def compute(parameters: Parameters, task: Task) -> Found:
    """Score and transfer every checkpoint, and stop a pretraining of each seed online.

    Needs the pretrainings (:func:`pretrain`).
    """
    workers = worker_count(parameters)
    run = _Runner(task, workers)
    scored = {
        (seed, epoch, pairing): Scoring(
            pretraining(parameters, seed), epoch, pairing, parameters.scored_images, seed=seed
        )
        for seed in parameters.seeds
        for epoch in epochs_of(parameters)
        for pairing in parameters.pairings
    }
    transferred = {
        (seed, epoch, frozen): transfer(
            parameters, pretraining(parameters, seed), epoch, frozen, seed
        )
        for seed in parameters.seeds
        for epoch in epochs_of(parameters)
        for frozen in parameters.frozen
    }
    stops = {seed: stopped(parameters, seed) for seed in parameters.seeds}
    online = run(_run_online, stops)
    chosen = {
        (seed, frozen): transfer(
            parameters,
            _start_of_chosen(parameters, stops[seed], online[seed]["chosen"]),
            online[seed]["chosen"],
            frozen,
            seed,
        )
        for seed in parameters.seeds
        for frozen in parameters.frozen
    }
    return Found(
        run(_run_scoring, scored),
        run(_run_transfer, transferred),
        online,
        run(_run_transfer, chosen),
    )


def _start_of_chosen(parameters: Parameters, stop: StoppedPretraining, epoch: int) -> Start:
    """Where the encoder comes from that the online rule chose.

    A stopped pretraining is the beginning of the full one, so that an epoch whose checkpoint is
    transferred anyway needs no second transfer.
    """
    if epoch in parameters.checkpoints:
        return pretraining(parameters, stop.pretraining.seed)
    return stop


class _Runner:
    """Runs the trials of one task, by key."""

    def __init__(self, task: Task, workers: int) -> None:
        self.task, self.workers = task, workers
        code = fingerprints.of_code(["helpers.experiments.stopping"])
        self.store = TrialStore(runs_dir() / "trials" / "stopping", code, task.content)

    def __call__(self, work, trials: dict) -> dict:
        one = partial(work, task=self.task, store=self.store)
        found = run_trials(list(trials.values()), one, self.store, self.workers)
        return dict(zip(trials, found, strict=True))


def _pretraining_store() -> TrialStore:
    code = fingerprints.of_code(["helpers.experiments.pretrained"])
    return TrialStore(runs_dir() / "trials" / "pretrained", code, "")


def folder_of(start: Start, store: TrialStore) -> Path:
    """Where the encoders of a start lie."""
    if isinstance(start, StoppedPretraining):
        return store.path(start)
    return _pretraining_store().path(pretraining_of(start))


def example_masks(task: Task, trial: Transfer) -> np.ndarray:
    """Predicted classes of the first examples of a finished transfer, (k, h, w)."""
    with np.load(_Runner(task, 1).store.path(trial) / "examples.npz") as kept:
        return kept["masks"]


def feature_maps(parameters: Parameters, task: Task) -> dict[int, np.ndarray]:
    """Maps of a task's training images at the first, the middle and the last checkpoint.

    Of the first seed; coordinates (n, 2) by epoch.
    """
    from helpers.features.projection import project

    epochs = epochs_of(parameters)
    shown = dict.fromkeys([epochs[0], epochs[len(epochs) // 2], epochs[-1]])
    seed = parameters.seeds[0]
    folder = _pretraining_store().path(pretraining(parameters, seed))
    part = task.part("train")
    return {
        epoch: project(
            pooled_features(encoder_path(folder, epoch), part), parameters.projection, seed
        )
        for epoch in shown
    }


def _run_pretraining(trial: Pretraining, folder: Path, cache: Path) -> dict:
    return run_pretraining(trial, folder, cache)


def _run_online(trial: StoppedPretraining, folder: Path, task: Task, store: TrialStore) -> dict:
    return run_online(trial, folder, task, decoded_folder())


def _run_scoring(trial: Scoring, folder: Path, task: Task, store: TrialStore) -> dict:
    return run_scoring(trial, folder, task, partial(folder_of, store=store))


def _run_transfer(trial: Transfer, folder: Path, task: Task, store: TrialStore) -> dict:
    return run_transfer(trial, folder, task, partial(folder_of, store=store))
