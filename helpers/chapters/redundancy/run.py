"""The work of the chapter ``redundancy``: prepare the data, train and measure all models."""

import os
from functools import partial

import numpy as np

from helpers import fingerprints
from helpers.chapters.redundancy.parameters import Parameters
from helpers.chapters.redundancy.tables import method_of
from helpers.chapters.trials import TrialStore, run_trials
from helpers.data.patches import PatchGrid
from helpers.experiments.preparation import DataSettings, prepare_data
from helpers.experiments.prepared import Prepared
from helpers.experiments.redundancy import (
    RedundancyTrial,
    choose_patches,
    list_trials,
    run_trial,
)
from helpers.models.device import resolve_device, resolve_precision
from helpers.paths import runs_dir
from helpers.training.loop import TrainingPlan

EXPERIMENT = "helpers.experiments.redundancy"


def worker_count(parameters: Parameters) -> int:
    """Trials at a time: as asked, or one per core (one on a GPU)."""
    if parameters.workers:
        return parameters.workers
    if resolve_device(parameters.device).type != "cpu":
        return 1
    return max(1, (os.cpu_count() or 1) // parameters.threads)


def prepare(parameters: Parameters) -> Prepared:
    """Data of the chapter: read or generated, split by group, cut, with flow targets."""
    settings = DataSettings(
        dataset=parameters.dataset,
        n_images=parameters.n_images,
        image_size=parameters.image_size,
        test_share=parameters.test_share,
        max_test_images=parameters.max_test_images,
        seed=parameters.seed,
        polarity=parameters.polarity,
        grid=PatchGrid(
            parameters.patch_size,
            parameters.patch_stride,
            parameters.edge,
            parameters.min_instances,
        ),
    )
    return prepare_data(settings, runs_dir() / "data", worker_count(parameters))


def plan_trials(parameters: Parameters) -> list[RedundancyTrial]:
    """All models of the chapter, as data."""
    device = resolve_device(parameters.device)
    precision = str(resolve_precision(parameters.precision, device)).removeprefix("torch.")
    plan = TrainingPlan(
        steps=parameters.steps,
        batch_size=parameters.batch_size,
        crop=parameters.crop,
        learning_rate=parameters.learning_rate,
        scale_range=parameters.scale_range,
        precision=precision,
    )
    template = RedundancyTrial(
        selection="random",
        rate=1.0,
        budget="steps",
        seed=0,
        width=parameters.width,
        plan=plan,
        n_bins=parameters.n_bins,
        device=device.type,
        threads=parameters.threads,
    )
    return list_trials(
        parameters.rates,
        parameters.seeds,
        parameters.selections,
        parameters.equal_epochs,
        template,
    )


def trial_store(prepared: Prepared) -> TrialStore:
    """Where the chapter's trials on these data are kept."""
    code = fingerprints.of_code([EXPERIMENT])
    return TrialStore(runs_dir() / "trials" / "redundancy", code, prepared.content)


def run(parameters: Parameters, prepared: Prepared) -> list[dict]:
    """Train and measure all models; those already there are read."""
    return run_trials(
        plan_trials(parameters),
        partial(run_trial, prepared=prepared),
        trial_store(prepared),
        worker_count(parameters),
    )


def first_choices(trials: list[RedundancyTrial], prepared: Prepared) -> dict[str, np.ndarray]:
    """Indices of the patches chosen at the smallest rate with the first seed, by method."""
    smallest = min(trial.rate for trial in trials)
    first = [t for t in trials if t.rate == smallest and t.seed == trials[0].seed]
    chosen = {method_of(t.selection, t.budget): choose_patches(t, prepared) for t in first}
    # Equal epochs are trained on the very patches of the random arm.
    return {name: indices for name, indices in chosen.items() if name != "random, equal epochs"}


def example_predictions(
    trials: list[RedundancyTrial], prepared: Prepared
) -> dict[str, list[np.ndarray]]:
    """Instances predicted on the first test images, by rate: random subsets, first seed."""
    store = trial_store(prepared)
    chosen = {
        trial.rate: trial
        for trial in trials
        if trial.selection in ("random", "all")
        and trial.budget == "steps"
        and trial.seed == trials[0].seed
    }
    found = {}
    for rate in sorted(chosen):
        with np.load(store.path(chosen[rate]) / "examples.npz") as arrays:
            found[f"{100 * rate:g}%"] = [arrays[name] for name in sorted(arrays.files)]
    return found
