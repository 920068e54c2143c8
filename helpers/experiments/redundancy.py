"""How much training data is enough? (arXiv 2511.04803, Table I, Fig. 1)

One trial: choose a share of the training patches, train a CPnet from random weights on it, measure
it on whole held-out images. The training and test images are the same in all trials; a trial's seed
sets the choice of patches, the starting weights, the order of patches and the augmentation.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from helpers.experiments.prepared import Prepared
from helpers.features.descriptor import describe_all
from helpers.files import replacing
from helpers.metrics import evaluate
from helpers.models.cpnet import build_cpnet, save_weights
from helpers.models.device import resolve_device
from helpers.models.predict import predict_masks
from helpers.quantization import quantize, select, select_random
from helpers.training.loop import TrainingPlan, steps_for_epochs, train

Selection = Literal["random", "dq_paper_eq", "dq_official_code", "all"]
Budget = Literal["steps", "epochs"]

DQ_VARIANTS = {
    "dq_paper_eq": ("paper_eq", "uniform"),
    "dq_official_code": ("official_code", "prefix"),
}
EXAMPLES = 4


@dataclass(frozen=True)
class RedundancyTrial:
    """One model.

    Attributes:
        selection: how the patches are chosen; ``"all"`` at rate 1.
        rate: share of the training patches.
        budget: ``"steps"`` trains for ``plan.steps`` whatever the rate; ``"epochs"`` for as many
            passes over the chosen patches as ``plan.steps`` makes over all of them, so that 1 % of
            the data gets 1 % of the updates, as in the paper.
        seed: of choice, weights, order and augmentation.
        width: of the CPnet.
        n_bins: of dataset quantization.
        device: by name.
        threads: of the computation; part of the identity, since sums depend on it.
    """

    selection: Selection
    rate: float
    budget: Budget
    seed: int
    width: int
    plan: TrainingPlan
    n_bins: int = 10
    device: str = "cpu"
    threads: int = 1


def list_trials(
    rates: list[float],
    seeds: list[int],
    selections: list[Selection],
    equal_epochs: bool,
    template: RedundancyTrial,
) -> list[RedundancyTrial]:
    """All trials of the chapter: selections x rates x seeds at equal steps, then equal epochs.

    At rate 1 there is nothing to choose and the two budgets are the same: one trial per seed.
    """
    small = [rate for rate in rates if rate < 1]
    arms = [(selection, "steps") for selection in selections]
    arms += [("random", "epochs")] if equal_epochs else []
    trials = [
        replace(template, selection=selection, rate=rate, budget=budget, seed=seed)
        for selection, budget in arms
        for rate in small
        for seed in seeds
    ]
    full = replace(template, selection="all", rate=1.0, budget="steps")
    return trials + [replace(full, seed=seed) for seed in seeds if 1.0 in rates]


def choose_patches(trial: RedundancyTrial, prepared: Prepared) -> np.ndarray:
    """Indices of the training patches that a trial may see, int64 and ascending."""
    store = prepared.patches()
    rng = np.random.default_rng([trial.seed, 3])
    if trial.selection == "all":
        return np.arange(len(store))
    if trial.selection == "random":
        return select_random(len(store), trial.rate, rng)
    gain, sampling = DQ_VARIANTS[trial.selection]
    bins = quantize(patch_descriptors(prepared), min(trial.n_bins, len(store)), gain)
    return select(bins, trial.rate, rng, sampling)


def patch_descriptors(prepared: Prepared) -> np.ndarray:
    """Descriptors of all training patches, float32 (n, d), computed once per prepared data set."""
    path = prepared.folder / "descriptors.npy"
    if not path.is_file():
        features = describe_all(prepared.patches().images)
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, features)
    return np.load(path)


def steps_of(trial: RedundancyTrial, n_chosen: int, n_all: int) -> int:
    """Optimisation steps of a trial under its budget."""
    if trial.budget == "steps":
        return trial.plan.steps
    epochs = trial.plan.steps * trial.plan.batch_size / n_all
    return steps_for_epochs(epochs, n_chosen, trial.plan.batch_size)


def run_trial(trial: RedundancyTrial, folder: Path, prepared: Prepared) -> dict:
    """Choose, train, predict, measure.

    Args:
        folder: the trial's own; keeps ``weights.pt`` and ``examples.npz`` (predicted instances of
            the first four test images), and a checkpoint while training.

    Returns:
        Plain values: numbers of patches and steps, seconds, losses, metrics of every test image.
    """
    torch.set_num_threads(trial.threads)
    store = prepared.patches()
    chosen = choose_patches(trial, prepared)
    plan = replace(trial.plan, steps=steps_of(trial, len(chosen), len(store)))
    network = build_cpnet(trial.width, trial.seed).to(resolve_device(trial.device))
    checkpoint = folder / "checkpoint.pt"
    with _progress(trial, plan.steps) as show:
        log = train(network, store, chosen, plan, trial.seed, checkpoint, show)
    images = measure(network, prepared, getattr(torch, plan.precision), folder / "examples.npz")
    save_weights(network, folder / "weights.pt")
    checkpoint.unlink(missing_ok=True)
    return {
        "n_patches": len(chosen),
        "n_source_images": len({store.groups[i] for i in chosen}),
        "n_instances": int(store.instances[chosen].sum()),
        "steps": plan.steps,
        "train_seconds": log.seconds,
        "losses": [round(loss, 5) for loss in log.losses],
        "images": images,
    }


@contextmanager
def _progress(trial: RedundancyTrial, steps: int) -> Iterator[Callable[[int, float], None]]:
    """A bar with loss and time left, for trainings that take longer than a few seconds."""
    from tqdm import tqdm

    name = f"{trial.selection} {trial.rate:.0%} seed {trial.seed} ({trial.budget})"
    with tqdm(total=steps, desc=name, delay=20, mininterval=20, leave=False) as bar:

        def show(done: int, loss: float) -> None:
            bar.update(done - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

        yield show


def measure(
    network: torch.nn.Module, prepared: Prepared, precision: torch.dtype, examples: Path
) -> list[dict]:
    """Metrics of every held-out image; the first few predictions are kept in ``examples``."""
    rows, kept = [], {}
    for index, sample in enumerate(prepared.test_samples()):
        masks = predict_masks(network, sample.image[..., 0], precision)
        rows.append({"id": sample.id, **evaluate(sample.labels, masks).as_dict()})
        if index < EXAMPLES:
            kept[f"masks{index}"] = masks
    with examples.open("wb") as stream:
        np.savez_compressed(stream, **kept)
    return rows
