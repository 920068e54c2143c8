"""The work that the chapters on starting points share: data, pretraining, training.

A training is the same trial whichever chapter asks for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from helpers import fingerprints
from helpers.chapters.segmentation import precision_name, worker_count
from helpers.chapters.starting.parameters import Budget, StartingParameters
from helpers.experiments.foreground import (
    ForegroundSettings,
    ForegroundTask,
    prepare_foreground,
    share_of,
)
from helpers.experiments.initialisation import EXAMPLES, Fitting, Window, load_fitted, run_fitting
from helpers.experiments.pretrained import GENERATED, Pretraining, Source, run_pretraining
from helpers.experiments.starts import (
    BARLOW_NATURAL,
    BARLOW_TISSUE,
    NATURAL,
    SUPERVISED_NATURAL,
    TISSUE,
    SelfSupervision,
    Start,
    run_self_supervision,
)
from helpers.experiments.trials import TrialStore, run_trials
from helpers.models.device import resolve_device
from helpers.models.encoders import SavedEncoder
from helpers.models.semantic import Segmenter
from helpers.paths import runs_dir
from helpers.pretraining.barlow_twins import BarlowTwinsPlan
from helpers.pretraining.schedules import SupervisedPlan
from helpers.training.semantic import SemanticPlan

Tasks = Mapping[str, ForegroundTask]
# Of the pretrainings made here: none shares its first weights with another, or with a run's.
PRETRAINING_SEEDS = {SUPERVISED_NATURAL: 1001, BARLOW_NATURAL: 1002, BARLOW_TISSUE: 1003}


# -------------------------------------------------------------------------------------- the data


def kinds(parameters: StartingParameters) -> dict[str, list[str]]:
    """Names of the data sets by kind; kinds without any are left out."""
    named = {"glands": parameters.glands, "nuclei": parameters.nuclei}
    return {kind: names for kind, names in named.items() if names}


def open_tasks(
    parameters: StartingParameters, more: Iterable[str] = ()
) -> dict[str, ForegroundTask]:
    """The tasks by data set, each read or generated, split by group.

    Args:
        more: further data sets of glands.
    """
    scales = dict.fromkeys([*parameters.glands, *more], parameters.gland_scale)
    scales |= dict.fromkeys(parameters.nuclei, parameters.nucleus_scale)
    return {
        name: prepare_foreground(
            ForegroundSettings(
                name,
                parameters.n_images,
                parameters.image_size,
                scale,
                parameters.test_share,
                parameters.validation_share,
                parameters.max_test_images,
                parameters.seed,
            ),
            runs_dir() / "data",
        )
        for name, scale in scales.items()
    }


# ------------------------------------------------------------------------------------ the starts


def starts(parameters: StartingParameters) -> dict[str, Start]:
    """Starting points by name, as they were asked for."""
    made = {
        SUPERVISED_NATURAL: partial(_classification, parameters),
        BARLOW_NATURAL: partial(_twins, parameters, NATURAL),
        BARLOW_TISSUE: partial(_twins, parameters, TISSUE),
    }
    return {
        name: Start(name, parameters.encoder, made[name]())
        if name in made
        else Start(name, parameters.encoder, content=_content(name))
        for name in parameters.starts
    }


@cache
def _content(name: str) -> str:
    """Once per process: a chapter's trials all mean the same file."""
    from helpers.models.initialisations import initialisation_content

    return initialisation_content(name)


def _machine(parameters: StartingParameters) -> dict:
    return {
        "device": resolve_device(parameters.device).type,
        "threads": parameters.threads,
    }


def _classification(parameters: StartingParameters) -> Pretraining:
    source = Source(GENERATED, parameters.n_source, 256, parameters.source_size)
    plan = SupervisedPlan(
        epochs=parameters.source_epochs,
        batch_size=parameters.source_batch,
        learning_rate=parameters.source_rate,
        precision=precision_name(parameters),
    )
    seed = PRETRAINING_SEEDS[SUPERVISED_NATURAL]
    return Pretraining(source, parameters.encoder, plan, seed, **_machine(parameters))


def _twins(parameters: StartingParameters, source: str) -> SelfSupervision:
    plan = BarlowTwinsPlan(
        steps=parameters.twin_steps,
        batch_size=parameters.twin_batch,
        learning_rate=parameters.twin_rate,
        projector=(parameters.twin_width,) * 3,
        setting="pathology" if source == TISSUE else "natural",
        precision=precision_name(parameters),
    )
    return SelfSupervision(
        source,
        parameters.n_source,
        parameters.source_size,
        parameters.encoder,
        plan,
        PRETRAINING_SEEDS[BARLOW_TISSUE if source == TISSUE else BARLOW_NATURAL],
        **_machine(parameters),
    )


def pretrain(parameters: StartingParameters, tasks: Tasks) -> dict[str, dict]:
    """Pretrainings of the starts that are made here, by name; those already there are read."""
    made = {n: s.made_by for n, s in starts(parameters).items() if s.made_by is not None}
    work = partial(_run_pretraining, tasks=own_tasks(parameters, tasks))
    places = Places(parameters, tasks)
    results = run_trials(list(made.values()), work, places.of, worker_count(parameters))
    return dict(zip(made, results, strict=True))


def _run_pretraining(trial: Pretraining | SelfSupervision, folder: Path, tasks: Tasks) -> dict:
    if isinstance(trial, Pretraining):
        return run_pretraining(trial, folder, runs_dir() / "data" / "classified")
    return run_self_supervision(trial, folder, tasks)


def own_tasks(parameters: StartingParameters, tasks: Tasks) -> dict[str, ForegroundTask]:
    """The tasks that the parameters name, without those that a chapter opens besides."""
    return {name: tasks[name] for names in kinds(parameters).values() for name in names}


@cache
def _code(module: str) -> str:
    """Once per process: every trial asks, and reading all that a module imports takes seconds."""
    return fingerprints.of_code([module])


@dataclass(frozen=True)
class Places:
    """Where trials lie; a pretraining on tissue depends on the tissue, one on pictures does not."""

    parameters: StartingParameters
    tasks: Tasks

    def of(self, trial: Pretraining | SelfSupervision | Fitting) -> TrialStore:
        """The store of a trial."""
        folder = runs_dir() / "trials"
        if isinstance(trial, Pretraining):
            return TrialStore(folder / "pretrained", _code("helpers.experiments.pretrained"), "")
        if isinstance(trial, SelfSupervision):
            tissue = self._tissue() if trial.source == TISSUE else ""
            return TrialStore(folder / "twins", _code("helpers.experiments.starts"), tissue)
        code = _code("helpers.experiments.initialisation")
        used = {name: self.tasks[name].content for name in (trial.dataset, *trial.tested)}
        content = fingerprints.of_json(used | {"tissue": self._tissue()})
        return TrialStore(folder / "fitted", code, content)

    def path(self, trial: Pretraining | SelfSupervision | Fitting) -> Path:
        """The folder of a trial."""
        return self.of(trial).path(trial)

    def _tissue(self) -> str:
        own = own_tasks(self.parameters, self.tasks)
        return fingerprints.of_json({name: task.content for name, task in own.items()})


# --------------------------------------------------------------------------------- the trainings


@dataclass(frozen=True)
class Arm:
    """One training in the words of a chapter."""

    start: str
    dataset: str
    share: float
    seed: int
    budget: Budget = "steps"


def arms(
    parameters: StartingParameters, datasets: Sequence[str], shares: Sequence[float] | None = None
) -> list[Arm]:
    """All trainings on these data sets; with all images both budgets are the same training."""
    return [
        Arm(start, dataset, share, seed, budget)
        for dataset in datasets
        for budget in parameters.budgets
        for share in (shares or parameters.shares)
        if budget == parameters.budgets[0] or share < 1
        for start in parameters.starts
        for seed in parameters.seeds
    ]


def fitting(
    parameters: StartingParameters, tasks: Tasks, arm: Arm, tested: Sequence[str]
) -> Fitting:
    """The trial behind an arm.

    Args:
        tested: data sets whose test images are predicted.
    """
    n_all = tasks[arm.dataset].counts["train"][0]
    part = len(share_of(n_all, arm.share, arm.seed)) / n_all
    steps = _full_steps(parameters, arm.dataset)
    if arm.budget == "epochs":
        steps = max(1, round(steps * part))
    plan = SemanticPlan(
        steps=steps,
        batch_size=parameters.batch_size,
        optimiser=parameters.optimiser,
        learning_rate=parameters.learning_rate,
        decay_power=0,
        loss=parameters.loss,
        crop=parameters.crop,
        translate=parameters.translate,
        looks=min(parameters.looks, steps),
        precision=precision_name(parameters),
    )
    return Fitting(
        starts(parameters)[arm.start],
        arm.dataset,
        arm.share,
        plan,
        arm.seed,
        tuple(tested),
        Window(parameters.crop, max(1, parameters.crop // 2)),
        parameters.decoder_width,
        curve=arm.budget == parameters.budgets[0] and parameters.looks > 1,
        keep=arm.share == 1 and arm.seed == parameters.seeds[0],
        **_machine(parameters),
    )


def _full_steps(parameters: StartingParameters, dataset: str) -> int:
    if dataset in parameters.nuclei:
        return parameters.nucleus_steps
    return parameters.gland_steps


def train(
    parameters: StartingParameters, tasks: Tasks, wanted: Mapping[Arm, Sequence[str]]
) -> dict[Arm, dict]:
    """Train and measure all arms; those already there are read. Needs :func:`pretrain`.

    Args:
        wanted: by arm the data sets whose test images are predicted.
    """
    places = Places(parameters, tasks)
    trials = {arm: fitting(parameters, tasks, arm, tested) for arm, tested in wanted.items()}
    work = partial(_run_fitting, tasks=tasks, places=places)
    results = run_trials(list(trials.values()), work, places.of, worker_count(parameters))
    return dict(zip(trials, results, strict=True))


def _run_fitting(trial: Fitting, folder: Path, tasks: Tasks, places: Places) -> dict:
    return run_fitting(trial, folder, tasks, places.path)


def tested_with(parameters: StartingParameters) -> dict[str, list[str]]:
    """By data set all data sets of its kind: what its models are tested on."""
    return {name: names for names in kinds(parameters).values() for name in names}


def load_model(
    parameters: StartingParameters, tasks: Tasks, arm: Arm, tested: Sequence[str]
) -> tuple[Segmenter, SavedEncoder]:
    """The network of a finished arm with all images and the first seed."""
    trial = fitting(parameters, tasks, arm, tested)
    places = Places(parameters, tasks)
    return load_fitted(trial, places.path(trial), places.path)


def example_masks(
    parameters: StartingParameters, tasks: Tasks, arm: Arm, tested: Sequence[str]
) -> list[np.ndarray]:
    """What a finished arm predicts on the test images of the data set it was trained on."""
    trial = fitting(parameters, tasks, arm, tested)
    with np.load(Places(parameters, tasks).path(trial) / EXAMPLES) as kept:
        return [kept[f"mask-{i}"] for i in range(len(kept.files))]
