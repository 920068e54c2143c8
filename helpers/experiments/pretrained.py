"""Encoders pretrained by classification, as trials: once trained, they serve every task."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from helpers.data.classified import (
    ClassifiedImages,
    generated_natural,
    listing_fingerprint,
    open_train_and_validation,
)
from helpers.models.encoders import EncoderSpec
from helpers.pretraining.schedules import SupervisedPlan
from helpers.pretraining.supervised import EpochState, SupervisedLog, pretrain_supervised

GENERATED = "synthetic-natural"


@dataclass(frozen=True)
class Source:
    """What an encoder is pretrained on.

    Attributes:
        name: ``"synthetic-natural"``, or the path of a folder that holds ``train`` and ``val``,
            each with one folder per class (ImageNet).
        n_images, n_validation: generated images; not used for a folder.
        size: side in pixels.
        content: what a folder holds (:func:`source_content`), so that other files are another
            source.
    """

    name: str
    n_images: int
    n_validation: int
    size: int
    content: str = ""


@dataclass(frozen=True)
class Pretraining:
    """One pretraining.

    Attributes:
        encoder: name (:class:`helpers.models.encoders.EncoderSpec`).
        seed: of weights, order and augmentation; the generated images are the same for all seeds.
        device, threads: of the computation.
    """

    source: Source
    encoder: str
    plan: SupervisedPlan
    seed: int
    device: str = "cpu"
    threads: int = 1

    @property
    def spec(self) -> EncoderSpec:
        """The encoder."""
        return EncoderSpec(self.encoder)


def source_content(name: str) -> str:
    """Fingerprint of a folder's listing; empty for what is generated, which code and seed fix.

    Raises:
        DataError: the folder is missing.
    """
    return "" if name == GENERATED else listing_fingerprint(Path(name).expanduser())


def open_source(source: Source, cache: Path) -> tuple[ClassifiedImages, ClassifiedImages]:
    """Training and validation images.

    Raises:
        DataError: the folder is missing or not in the layout.
    """
    if source.name == GENERATED:
        train = generated_natural(source.n_images, 0, source.size)
        return train, generated_natural(source.n_validation, 1, source.size)
    root = Path(source.name).expanduser()
    return open_train_and_validation(root / "train", root / "val", source.size, cache)


def run_pretraining(
    trial: Pretraining,
    folder: Path,
    cache: Path,
    on_epoch: Callable[[EpochState], bool | None] | None = None,
) -> dict:
    """Pretrain; the encoders stay in the trial's folder.

    Returns:
        Plain values: per epoch loss, accuracy, seconds; epochs kept; where it was stopped.
    """
    torch.set_num_threads(trial.threads)
    train, validation = open_source(trial.source, cache)
    log = pretrain_supervised(
        train, validation, trial.spec, trial.plan, trial.seed, folder, on_epoch, trial.device
    )
    return summary(log)


def summary(log: SupervisedLog) -> dict:
    """A log as plain values."""
    return {
        "epochs": [asdict(record) for record in log.epochs],
        "kept": log.kept,
        "stopped_at": log.stopped_at,
        "notes": log.notes,
        "train_seconds": round(log.seconds, 2),
    }
