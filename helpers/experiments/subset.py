"""One model trained on chosen patches and measured on whole held-out images.

What a chapter compares is how patches are chosen; what follows the choice is the same everywhere
and lives here.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from helpers.experiments.prepared import Prepared, Row, image_row
from helpers.models.cpnet import build_cpnet, save_weights
from helpers.models.device import resolve_device
from helpers.models.predict import MaskOptions, flows_to_masks, predict_flows
from helpers.replay import Mixer, appended
from helpers.training.flows import TrainingPlan, train

EXAMPLES, EXAMPLES_FILE = 4, "examples.npz"


@dataclass(frozen=True)
class Recipe:
    """How a model is trained, whatever it is trained on, and how its flows become masks.

    Attributes:
        width: of the CPnet.
        plan: steps, batches, learning rate.
        seed: of starting weights, order of patches and augmentation.
        device: by name.
        threads: of the computation; part of the identity, since sums depend on it.
        flow_threshold: masks whose flows differ more from their own shape's are dropped; 0: none.
    """

    width: int
    plan: TrainingPlan
    seed: int
    device: str = "cpu"
    threads: int = 1
    flow_threshold: float = 0.4


@dataclass(frozen=True)
class SubsetTrial:
    """One model, known by what it saw: which patches (a short name) and how it was trained."""

    subset: str
    recipe: Recipe


def run_subset_trial(
    trial: SubsetTrial, folder: Path, prepared: Prepared, subsets: dict[str, np.ndarray]
) -> dict:
    """Train and measure one trial; ``subsets`` gives the patches behind each name."""
    chosen = subsets[trial.subset]
    name = f"{len(chosen)} patches, seed {trial.recipe.seed}"
    return train_on_subset(chosen, trial.recipe, folder, prepared, name)


def train_on_subset(
    chosen: np.ndarray, recipe: Recipe, folder: Path, prepared: Prepared, name: str
) -> dict:
    """Train from random weights on the patches ``chosen``, predict, measure.

    Args:
        chosen: int64, indices of training patches.
        folder: the trial's own; keeps ``weights.pt`` and ``examples.npz`` (predicted instances of
            the first four test images), and a checkpoint while training.
        name: shown beside the progress.

    Returns:
        Plain values: numbers of patches and steps, seconds, losses, metrics of every test image.
    """
    torch.set_num_threads(recipe.threads)
    store, plan = prepared.patches(), recipe.plan
    network = build_cpnet(recipe.width, recipe.seed).to(resolve_device(recipe.device))
    checkpoint = folder / "checkpoint.pt"
    mixer = Mixer(appended([chosen]), plan.batch_size, recipe.seed)
    how = {"checkpoint": checkpoint, "name": name}
    log = train(network, [store], mixer, plan, recipe.seed, **how)
    images = measure(network, prepared, recipe, folder / EXAMPLES_FILE)
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


def measure(
    network: torch.nn.Module, prepared: Prepared, recipe: Recipe, examples: Path
) -> list[Row]:
    """Metrics of every held-out image; the first few predictions are kept in ``examples``."""
    options = MaskOptions(flow_threshold=recipe.flow_threshold)
    precision = getattr(torch, recipe.plan.precision)
    rows, kept = [], {}
    for index, sample in enumerate(prepared.test_samples()):
        flows = predict_flows(network, sample.image[..., 0], precision, options)
        masks = flows_to_masks(flows, options)
        rows.append(image_row(sample, masks, flows[2] > options.cellprob_threshold))
        if index < EXAMPLES:
            kept[f"masks{index}"] = masks
    with examples.open("wb") as stream:
        np.savez_compressed(stream, **kept)
    return rows
