"""Starting points of an encoder (arXiv 2307.03275, section 2): random, published, made here.

The offline profiles have no published weights. Their encoders are pretrained here and named as what
they are: by classification or Barlow Twins on generated everyday pictures, or by Barlow Twins on
patches of the tissue images that are trained on, without their annotation. A pretraining is done
once and serves every run, as published weights do: intervals over runs do not hold its chance.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from helpers.data.classified import generated_natural
from helpers.data.patches import random_patches
from helpers.errors import DataError, ParameterError
from helpers.experiments.foreground import ForegroundTask, Pictures
from helpers.experiments.pretrained import Pretraining
from helpers.models.encoders import EncoderSpec, SavedEncoder, load_encoder
from helpers.models.initialisations import load_initialisation
from helpers.pretraining.barlow_twins import (
    BarlowTwinsPlan,
    encoder_path,
    pretrain_barlow_twins,
)
from helpers.pretraining.supervised import encoder_path as supervised_path

NATURAL, TISSUE = "natural", "tissue"
SUPERVISED_NATURAL = "supervised-natural"
BARLOW_NATURAL = "barlow-natural"
BARLOW_TISSUE = "barlow-tissue"
MADE_HERE = (SUPERVISED_NATURAL, BARLOW_NATURAL, BARLOW_TISSUE)


@dataclass(frozen=True)
class SelfSupervision:
    """One Barlow Twins pretraining.

    Attributes:
        source: ``"natural"``: generated pictures; ``"tissue"``: patches of the tasks' training and
            validation images, equally many of each task.
        n_images, size: how many, and side in pixels.
        encoder: name (:class:`helpers.models.encoders.EncoderSpec`).
        seed: of weights, patches and views.
        device, threads: of the computation.
    """

    source: str
    n_images: int
    size: int
    encoder: str
    plan: BarlowTwinsPlan
    seed: int
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class Start:
    """One starting point.

    Attributes:
        name: one of :data:`MADE_HERE`, or as
            :func:`helpers.models.initialisations.load_initialisation` takes it.
        encoder: name of the encoder.
        made_by: the pretraining behind it; ``None`` for random and published weights.
        content: fingerprint of the weights that a name stands for.
    """

    name: str
    encoder: str
    made_by: Pretraining | SelfSupervision | None = None
    content: str = ""

    def __post_init__(self) -> None:
        if (self.name in MADE_HERE) != (self.made_by is not None):
            raise ParameterError(
                f"start {self.name!r}: a pretraining belongs to {', '.join(MADE_HERE)} alone"
            )


def run_self_supervision(
    trial: SelfSupervision, folder: Path, tasks: Mapping[str, ForegroundTask]
) -> dict:
    """Pretrain; the encoder stays in the trial's folder.

    Returns:
        Plain values: loss of every step, what the looks saw, seconds.
    """
    torch.set_num_threads(trial.threads)
    log = pretrain_barlow_twins(
        unlabelled(trial, tasks),
        EncoderSpec(trial.encoder),
        trial.plan,
        trial.seed,
        folder,
        device=trial.device,
        progress=False,
    )
    return {
        "losses": [round(loss, 5) for loss in log.losses],
        "looks": [asdict(look) for look in log.looks],
        "train_seconds": round(log.seconds, 2),
    }


def unlabelled(trial: SelfSupervision, tasks: Mapping[str, ForegroundTask]) -> np.ndarray:
    """The pictures of a pretraining, uint8 (n, size, size, 3).

    Raises:
        DataError: tissue is asked for and there are no tasks.
    """
    if trial.source == NATURAL:
        return generated_natural(trial.n_images, 0, trial.size).images
    if not tasks:
        raise DataError(
            "no tissue images to pretrain on: expected at least one data set of glands or nuclei"
        )
    shares = np.array_split(np.arange(trial.n_images), len(tasks))
    parts = []
    for place, (task, rows) in enumerate(zip(tasks.values(), shares, strict=True)):
        rng = np.random.default_rng([trial.seed, place])
        pictures = [image for name in ("train", "validation") for image in task.part(name).images]
        parts.append(random_patches(pictures, len(rows), trial.size, rng))
    return np.concatenate(parts)


def open_start(start: Start, seed: int, folder_of: Callable[[object], Path]) -> SavedEncoder:
    """The encoder of a start, and mean and std of its inputs.

    Args:
        seed: of random weights.
        folder_of: where a pretraining lies.

    Raises:
        DataError: weights are missing or damaged (see
            :func:`helpers.models.initialisations.load_initialisation`).
    """
    made_by = start.made_by
    if made_by is None:
        return load_initialisation(start.name, seed, EncoderSpec(start.encoder), progress=False)
    folder = folder_of(made_by)
    if isinstance(made_by, Pretraining):
        return load_encoder(supervised_path(folder, made_by.plan.epochs))
    return load_encoder(encoder_path(folder, made_by.plan.steps))


def normalised(pictures: Pictures, saved: SavedEncoder) -> list[np.ndarray]:
    """Images as an encoder expects them, each float32 (3, h, w)."""
    mean, std = (np.array(part, np.float32)[:, None, None] for part in (saved.mean, saved.std))
    return [
        (np.moveaxis(image, 2, 0).astype(np.float32) / 255 - mean) / std
        for image in pictures.images
    ]
