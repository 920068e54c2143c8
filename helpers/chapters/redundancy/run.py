"""The work of the chapter ``redundancy``: train and measure all models."""

from functools import partial

import numpy as np

from helpers import fingerprints
from helpers.chapters.redundancy.parameters import Parameters
from helpers.chapters.redundancy.tables import method_of
from helpers.chapters.segmentation import prepare, recipe, worker_count
from helpers.experiments.prepared import Prepared
from helpers.experiments.redundancy import (
    RedundancyTrial,
    choose_patches,
    list_trials,
    run_trial,
)
from helpers.experiments.trials import TrialStore, run_trials
from helpers.paths import runs_dir

__all__ = ["example_predictions", "first_choices", "plan_trials", "prepare", "run", "trial_store"]

EXPERIMENT = "helpers.experiments.redundancy"


def plan_trials(parameters: Parameters) -> list[RedundancyTrial]:
    """All models of the chapter, as data."""
    return list_trials(
        parameters.rates,
        parameters.selections,
        parameters.equal_epochs,
        [recipe(parameters, seed) for seed in parameters.seeds],
        parameters.n_bins,
    )


def trial_store(prepared: Prepared) -> TrialStore:
    """Where the chapter's trials on these data are kept."""
    code = fingerprints.of_code([EXPERIMENT])
    return TrialStore(runs_dir() / "trials" / "redundancy", code, prepared.content)


def run(parameters: Parameters, prepared: Prepared) -> list[dict]:
    """Train and measure all models; those already there are read.

    Returns:
        What each trial left, and beside it what identifies and accompanies its images (see
        :func:`helpers.chapters.results.per_image`).
    """
    trials = plan_trials(parameters)
    found = run_trials(
        trials,
        partial(run_trial, prepared=prepared),
        trial_store(prepared),
        worker_count(parameters),
    )
    data = parameters.dataset
    baselines = {name: {data: rows} for name, rows in prepared.baselines().items()}
    return [
        {
            **result,
            "seed": trial.seed,
            "condition": {
                "train": data,
                "method": method_of(trial.selection, trial.budget),
                "rate": 100 * trial.rate,
                "seed": trial.seed,
            },
            "tested": {data: result["images"]},
            "baselines": baselines,
        }
        for trial, result in zip(trials, found, strict=True)
    ]


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
