"""How much training data is enough? (arXiv 2511.04803, Table I, Fig. 1)

One trial: choose a share of the training patches, train a CPnet from random weights on it, measure
it on whole held-out images. The training and test images are the same in all trials; a trial's seed
sets the choice of patches, the starting weights, the order of patches and the augmentation.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from helpers.experiments.prepared import Prepared
from helpers.experiments.subset import Recipe, train_on_subset
from helpers.quantization import select
from helpers.training.loop import steps_for_epochs

Selection = Literal["random", "dq_paper_eq", "dq_official_code", "all"]
Budget = Literal["steps", "epochs"]


@dataclass(frozen=True)
class RedundancyTrial:
    """One model.

    Attributes:
        selection: how the patches are chosen; ``"all"`` at rate 1.
        rate: share of the training patches.
        budget: ``"steps"`` trains for ``plan.steps`` whatever the rate; ``"epochs"`` for as many
            passes over the chosen patches as ``plan.steps`` makes over all of them, so that 1 % of
            the data gets 1 % of the updates, as in the paper.
        recipe: how the model is trained; its seed is also that of the choice.
        n_bins: of dataset quantization.
    """

    selection: Selection
    rate: float
    budget: Budget
    recipe: Recipe
    n_bins: int = 10

    @property
    def seed(self) -> int:
        """Of choice, weights, order and augmentation."""
        return self.recipe.seed


def list_trials(
    rates: list[float],
    selections: list[Selection],
    equal_epochs: bool,
    recipes: list[Recipe],
    n_bins: int,
) -> list[RedundancyTrial]:
    """All trials, seed by seed: selections x rates at equal steps, then equal epochs.

    At rate 1 there is nothing to choose and the two budgets are the same: one trial per seed.

    Args:
        recipes: one per seed.
    """
    small = [rate for rate in rates if rate < 1]
    arms = [(selection, "steps") for selection in selections]
    arms += [("random", "epochs")] if equal_epochs else []
    kinds = [(selection, rate, budget) for selection, budget in arms for rate in small]
    kinds += [("all", 1.0, "steps")] if 1.0 in rates else []
    return [RedundancyTrial(*kind, recipe, n_bins) for recipe in recipes for kind in kinds]


def choose_patches(trial: RedundancyTrial, prepared: Prepared) -> np.ndarray:
    """Indices of the training patches that a trial may see, int64 and ascending."""
    store = prepared.patches()
    rng = np.random.default_rng([trial.seed, 3])
    if trial.selection == "all":
        return np.arange(len(store))
    features = prepared.descriptors()
    return select(features, trial.rate, rng, trial.selection, min(trial.n_bins, len(store)))


def steps_of(trial: RedundancyTrial, n_chosen: int, n_all: int) -> int:
    """Optimisation steps of a trial under its budget."""
    plan = trial.recipe.plan
    if trial.budget == "steps":
        return plan.steps
    epochs = plan.steps * plan.batch_size / n_all
    return steps_for_epochs(epochs, n_chosen, plan.batch_size)


def run_trial(trial: RedundancyTrial, folder: Path, prepared: Prepared) -> dict:
    """Choose, train, predict, measure: see :func:`helpers.experiments.subset.train_on_subset`."""
    chosen = choose_patches(trial, prepared)
    steps = steps_of(trial, len(chosen), len(prepared.patches()))
    recipe = replace(trial.recipe, plan=replace(trial.recipe.plan, steps=steps))
    name = f"{trial.selection} {trial.rate:.0%} seed {trial.seed} ({trial.budget})"
    return train_on_subset(chosen, recipe, folder, prepared, name)
