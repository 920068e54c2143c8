"""To pretrain or not (arXiv 2307.03275): segmenters from several starts, on shares of the data.

One trial is one U-Net, trained on a share of one data set and measured on the test images of every
data set of its kind, so that the out-of-domain matrix costs no further training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from helpers.errors import DataError
from helpers.experiments.foreground import ForegroundTask, Pictures, share_of
from helpers.experiments.starts import Start, normalised, open_start
from helpers.files import read_torch, write_torch
from helpers.metrics.semantic import image_confusions
from helpers.models.encoders import SavedEncoder
from helpers.models.semantic import Segmenter, build_segmenter
from helpers.models.sliding import predict_sliding_classes
from helpers.training.semantic import SemanticPlan, train_segmenter
from helpers.training.watch import Check

WEIGHTS = "weights.pt"
EXAMPLES = "examples.npz"
N_CLASSES = 2


@dataclass(frozen=True)
class Window:
    """How whole images are predicted: side of the windows and step between them, in pixels."""

    side: int = 256
    step: int = 128


@dataclass(frozen=True)
class Fitting:
    """One segmenter.

    Attributes:
        start: of its encoder.
        dataset: trained on.
        share: of its training images, and of its validation images.
        plan: of the training.
        seed: of the run: which images a share is, batches, views, decoder, random weights.
        tested: data sets whose test images are predicted afterwards.
        window: of the predictions.
        decoder_width: channels of the decoder's finest block, doubling to the coarser ones.
        curve: whether test images are predicted at every look too.
        keep: whether the weights stay.
        device, threads: of the computation.
    """

    start: Start
    dataset: str
    share: float
    plan: SemanticPlan
    seed: int
    tested: tuple[str, ...]
    window: Window
    decoder_width: int = 16
    curve: bool = False
    keep: bool = False
    device: str = "cpu"
    threads: int = 1


def run_fitting(
    trial: Fitting,
    folder: Path,
    tasks: Mapping[str, ForegroundTask],
    folder_of: Callable[[object], Path],
) -> dict:
    """Train one segmenter and measure it.

    Args:
        folder: its own; keeps examples, weights if asked for, and while training a checkpoint.
        tasks: by data set, all of ``trial.tested`` among them.
        folder_of: where a pretraining lies.

    Returns:
        Plain values: images trained on, losses, looks (``test_dice`` with ``trial.curve``), which
        step was kept; Dice and Jaccard of
        every test image by data set (``None`` where neither truth nor prediction shows anything).
    """
    torch.set_num_threads(trial.threads)
    saved, model = _begin(trial, folder_of)
    task = tasks[trial.dataset]
    train, validation = (
        part.some(share_of(len(part), trial.share, trial.seed))
        for part in (task.part("train"), task.part("validation"))
    )
    tests = {name: tasks[name].part("test") for name in trial.tested}

    def look(step: int, network: nn.Module) -> Check:
        found = predicted(network, tests[trial.dataset], saved, trial)
        return {"test_dice": _mean(scores(found, tests[trial.dataset])["dice"])}

    checkpoint = folder / "checkpoint.pt"
    log = train_segmenter(
        model,
        normalised(train, saved),
        [np.int64(mask) for mask in train.masks],
        trial.plan,
        trial.seed,
        (normalised(validation, saved), [np.int64(mask) for mask in validation.masks]),
        "best_validation_loss",
        checkpoint,
        device=trial.device,
        on_look=look if trial.curve else None,
    )
    images, examples = _tested(model, tests, saved, trial)
    with (folder / EXAMPLES).open("wb") as stream:
        np.savez_compressed(stream, **examples)
    if trial.keep:
        write_torch(folder / WEIGHTS, {k: v.cpu() for k, v in model.state_dict().items()})
    checkpoint.unlink(missing_ok=True)
    return {
        "n_train": len(train),
        "n_validation": len(validation),
        "losses": [round(loss, 5) for loss in log.losses],
        "checks": log.checks,
        "kept": log.kept,
        "train_seconds": log.seconds,
        "images": images,
    }


def load_fitted(
    trial: Fitting, folder: Path, folder_of: Callable[[object], Path]
) -> tuple[Segmenter, SavedEncoder]:
    """A finished trial's network, and the start that says how its inputs are normalised.

    Raises:
        DataError: the trial was told not to keep its weights.
    """
    if not trial.keep:
        raise DataError(f"{folder}: this trial kept no weights; run one with keep=True")
    saved, model = _begin(trial, folder_of)
    model.load_state_dict(read_torch(folder / WEIGHTS))
    return model.eval(), saved


def scores(found: Sequence[np.ndarray], truth: Pictures) -> dict[str, list[float | None]]:
    """Dice and Jaccard of the objects against everything else, image by image.

    Where neither shows an object both are undefined (``None``); where only one does, both are 0.
    """
    counts = image_confusions(found, truth.masks, N_CLASSES)
    hit, extra, missed = counts[:, 1, 1], counts[:, 0, 1], counts[:, 1, 0]
    union = hit + extra + missed
    known = union > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {"dice": 2 * hit / (hit + union), "jaccard": hit / union}
    return {
        name: [float(v) if k else None for v, k in zip(values, known, strict=True)]
        for name, values in found.items()
    }


def _begin(trial: Fitting, folder_of: Callable[[object], Path]) -> tuple[SavedEncoder, Segmenter]:
    saved = open_start(trial.start, trial.seed, folder_of)
    # One block per map but the images.
    n_blocks = len(saved.encoder.out_channels) - 1
    widths = tuple(trial.decoder_width * 2**k for k in reversed(range(n_blocks)))
    return saved, build_segmenter(saved.encoder, N_CLASSES, trial.seed, "unet", widths)


def _tested(
    model: nn.Module, tests: Mapping[str, Pictures], saved: SavedEncoder, trial: Fitting
) -> tuple[dict, dict[str, np.ndarray]]:
    """Scores of all test images, and the predictions of those trained for."""
    images, examples = {}, {}
    for name, pictures in tests.items():
        found = predicted(model, pictures, saved, trial)
        images[name] = {
            "ids": pictures.ids,
            "groups": pictures.groups,
            **scores(found, pictures),
        }
        if name == trial.dataset:
            examples = {f"mask-{i}": mask.astype(bool) for i, mask in enumerate(found)}
    return images, examples


def predicted(
    model: nn.Module, pictures: Pictures, saved: SavedEncoder, trial: Fitting
) -> list[np.ndarray]:
    """What a trial's network finds in pictures, int32 (h, w) each, 1 where an object is."""
    return predict_sliding_classes(
        model,
        normalised(pictures, saved),
        window=trial.window.side,
        step=trial.window.step,
        device=trial.device,
        precision=trial.plan.precision,
    )


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")
