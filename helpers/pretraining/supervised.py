"""Pretraining of an encoder by classification, which can be watched and stopped.

Recipe of arXiv 2410.18677 (ImageNet-1k, 224 px, 300 epochs, batch 4,096): AdamW, linear warm-up,
then half a cosine, label smoothing, random crops and mirroring; the "advanced" scheme adds
RandAugment, Mixup and CutMix, random erasing and stochastic depth. Decided here, and perhaps not as
the authors did: no weight decay on normalisation layers, biases and Swin's tables of relative
positions; the learning rate changes with every step; the last batch of an epoch is left out if it
is not full; strength and order of the changes of images (:mod:`helpers.pretraining.augment`);
initial weights are those of the network's library. Crops are taken from the central square that the
data hold, not from the whole photograph.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from helpers.data.classified import ClassifiedImages
from helpers.errors import ParameterError
from helpers.models.device import autocast, read_every, resolve_device, set_rate
from helpers.models.encoders import (
    Classifier,
    EncoderSpec,
    build_encoder,
    normalise,
    save_encoder,
)
from helpers.pretraining.augment import cut_crops, draw_crops, erase, mix, strengthen
from helpers.pretraining.progress import STEPS, resume_point, save_point, write_log
from helpers.pretraining.schedules import (
    SupervisedPlan,
    epoch_order,
    learning_rate_at,
    parameter_groups,
)
from helpers.pretraining.stepwise import once, read_ahead
from helpers.randomness import global_seed, step_generator

BETAS = (0.9, 0.999)
SMALLEST_CROP = 0.8
DROP_PATH = 0.1


@dataclass(frozen=True)
class EpochRecord:
    """What is known after an epoch.

    Attributes:
        epoch: 0 before the training, then 1, 2, ...
        loss: mean training loss of the epoch, on changed images and smoothed labels; ``None`` at 0.
        accuracy: share of the validation images whose highest output is their class (top-1);
            ``None`` without validation images.
        learning_rate: of the epoch's last step; ``None`` at 0.
        seconds: spent on training in this epoch, without validation and callback.
    """

    epoch: int
    loss: float | None
    accuracy: float | None
    learning_rate: float | None
    seconds: float


@dataclass
class SupervisedLog:
    """What a pretraining leaves besides the weights.

    Attributes:
        epochs: one record per epoch, from epoch 0 on.
        kept: epochs whose encoder was written (:func:`encoder_path`).
        stopped_at: the epoch after which the callback stopped the run; ``None`` if it did not.
        notes: plain values (as JSON knows them) that a callback adds; they are kept with the
            checkpoint, so that a callback with a memory goes on where a killed run was.
    """

    epochs: list[EpochRecord] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    stopped_at: int | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Spent on training."""
        return sum(record.seconds for record in self.epochs)


@dataclass(frozen=True, eq=False)
class EpochState:
    """What a callback sees after an epoch.

    Attributes:
        epoch: epochs done, 0 before the first.
        encoder: in evaluation mode, on the device of the training; not to be changed.
        mean, std: per channel, what its input is normalised by
            (:func:`helpers.models.encoders.normalise`).
        log: up to this epoch; ``log.notes`` may be added to.
    """

    epoch: int
    encoder: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    log: SupervisedLog


OnEpoch = Callable[[EpochState], bool | None]


def channel_statistics(
    images: np.ndarray, channels: int = 3, most: int = 512
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, in 0..1, of at most ``most`` evenly spaced images.

    Args:
        images: uint8 (n, h, w, 3).
        channels: 3, or 1 for the mean of the three.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).astype(int))
    sums = np.zeros((2, channels))
    for index in chosen:
        pixels = images[index].reshape(-1, 3) / 255
        pixels = pixels if channels == 3 else pixels.mean(axis=1, keepdims=True)
        sums += pixels.mean(axis=0), (pixels**2).mean(axis=0)
    mean, square = sums / len(chosen)
    spread = np.sqrt(np.maximum(square - mean**2, 1e-6))
    return tuple(mean.tolist()), tuple(spread.tolist())


def encoder_path(folder: Path, epoch: int) -> Path:
    """File of the encoder after an epoch (:func:`helpers.models.encoders.load_encoder` reads it).

    Its ``extra`` holds ``epoch``, ``accuracy``, ``classes`` and ``head``, the state of the
    classifier's linear layer.
    """
    return folder / f"encoder-{epoch:04d}.pt"


def pretrain_supervised(
    train: ClassifiedImages,
    validation: ClassifiedImages | None,
    spec: EncoderSpec,
    plan: SupervisedPlan,
    seed: int,
    folder: Path,
    on_epoch: OnEpoch | None = None,
    device: str = "cpu",
) -> SupervisedLog:
    """Pretrain an encoder; resume, or return at once if it is done.

    The folder gets ``encoder-EEEE.pt`` for the kept epochs, ``log.json``, and until the end
    ``checkpoint.pt``. On the CPU two runs with equal arguments and an equal number of threads give
    identical weights, with or without an interruption in between: what is random depends on (seed,
    epoch or step) alone. A second process waits for the first.

    Args:
        train: square images of at least 32 pixels a side; what the network sees has their size.
        validation: of the same classes, or ``None``.
        spec: 3 channels, or 1: then the mean of the three is used.
        seed: of weights, order and all changes of images.
        folder: of this pretraining alone.
        on_epoch: called before the training (epoch 0) and after each epoch. If it returns True the
            run stops: the log says so in ``stopped_at``, the encoder of that epoch is kept, and
            the run counts as finished. The schedule is not shortened: a stopped encoder is that of
            the longer plan after so many epochs, its learning rate has not come down. Epochs that
            are done again after an interruption are called again. What it does is no part of the
            run's identity: another rule for stopping needs another folder.
        device: ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"``.

    Raises:
        ParameterError: fewer images than a batch, other classes to validate on, a device that is
            not there, or the training diverged.
        DataError: the folder holds another pretraining, or files that are not readable.
    """
    if plan.batch_size > len(train):
        raise ParameterError(
            f"batch_size={plan.batch_size}: more than the {len(train)} training images. Lower it."
        )
    if validation and validation.names != train.names:
        raise ParameterError("validation: classes other than those of the training images")
    known = {
        "encoder": asdict(spec),
        "plan": asdict(plan),
        "seed": seed,
        "train": train.fingerprint,
        "validation": validation.fingerprint if validation else None,
    }
    # As JSON gives it back: lists for tuples.
    identity = json.loads(json.dumps(known))

    def run() -> SupervisedLog:
        run = _Run(train, validation, spec, plan, seed, resolve_device(device))
        return run.go(folder, identity, on_epoch)

    return once(folder, identity, _as_log, run, encoder_path)


class _Run:
    """One call of :func:`pretrain_supervised`: what its epochs share."""

    def __init__(
        self,
        train: ClassifiedImages,
        validation: ClassifiedImages | None,
        spec: EncoderSpec,
        plan: SupervisedPlan,
        seed: int,
        device: torch.device,
    ) -> None:
        self.train, self.validation = train, validation
        self.spec, self.plan, self.seed, self.device = spec, plan, seed, device
        self.mean, self.std = channel_statistics(train.images, spec.channels)
        encoder = build_encoder(spec, seed, DROP_PATH if plan.advanced else 0.0)
        network = Classifier(encoder, len(train.names), seed)
        self.network = network.to(device, memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.network, plan.weight_decay), lr=plan.learning_rate, betas=BETAS
        )
        self.steps = len(train) // plan.batch_size
        self.log = SupervisedLog()
        self.read_every = read_every(device)

    def go(self, folder: Path, identity: dict, on_epoch: OnEpoch | None) -> SupervisedLog:
        """All epochs that are still to be done."""
        checkpoint = folder / "checkpoint.pt"
        log = resume_point(checkpoint, identity, self.network, self.optimiser, _as_log)
        self.log = log or self.log
        for epoch in range(len(self.log.epochs), self.plan.epochs + 1):
            self.log.epochs.append(self._epoch(epoch))
            stop = self._ask(epoch, on_epoch)
            last = stop or epoch == self.plan.epochs
            if last or self.plan.keeps(epoch):
                self._keep(folder, epoch)
            every = self.plan.checkpoint_every
            if not last and every and epoch % every == 0:
                save_point(checkpoint, identity, self.network, self.optimiser, self.log)
            write_log(folder, identity, self.log, finished=last)
            if last:
                break
        checkpoint.unlink(missing_ok=True)
        return self.log

    def _epoch(self, epoch: int) -> EpochRecord:
        """Train for one epoch (none for epoch 0) and measure."""
        begin = time.perf_counter()
        loss = rate = None
        if epoch:
            loss, rate = self._train(epoch), self._rate(epoch * self.steps - 1)
        seconds = time.perf_counter() - begin
        return EpochRecord(epoch, loss, self._accuracy(), rate, seconds if epoch else 0.0)

    def _train(self, epoch: int) -> float:
        """Mean loss of the epoch's steps."""
        self.network.train()
        losses: list[float] = []
        unread: list[torch.Tensor] = []
        order = epoch_order(len(self.train), self.plan.batch_size, self.seed, epoch)

        def gather(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
            return tuple(map(torch.from_numpy, (self.train.images[rows], self.train.labels[rows])))

        for k, (pixels, labels) in enumerate(read_ahead(gather, order)):
            unread.append(self._step((epoch - 1) * self.steps + k, pixels, labels))
            if len(unread) == self.read_every or k == self.steps - 1:
                losses += self._read(unread, epoch)
                unread.clear()
        return float(np.mean(losses))

    def _step(self, step: int, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """One optimisation step; all that is random in it depends on (seed, step) alone."""
        set_rate(self.optimiser, self._rate(step))
        generator = step_generator(self.seed, STEPS, step)
        crops = draw_crops(len(pixels), SMALLEST_CROP, generator)
        # torchvision and stochastic depth draw from the global generators.
        with global_seed(int(torch.randint(2**62, (), generator=generator)), self.device):
            images = cut_crops(self._moved(pixels).float(), crops, pixels.shape[1])
            images, targets = self._changed(images, labels.to(self.device))
            with autocast(self.device, self.plan.precision):
                logits = self.network(images.contiguous(memory_format=torch.channels_last))
            smoothing = self.plan.label_smoothing
            loss = F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        return loss.detach()

    def _changed(
        self, images: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Crops in 0..255 as the network takes them, and their targets."""
        if not self.plan.advanced:
            return self._normalised(images), labels
        images = strengthen(images.round().to(torch.uint8)).float()
        images = erase(self._normalised(images))
        return mix(images, labels, len(self.train.names))

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) in 0..255 to (n, channels, h, w), normalised."""
        if self.spec.channels == 1:
            images = images.mean(dim=1, keepdim=True)
        return normalise(images / 255, self.mean, self.std)

    def _moved(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (n, h, w, 3) to (n, 3, h, w) on the device: a quarter of the bytes of floats."""
        return pixels.to(self.device).permute(0, 3, 1, 2)

    @torch.inference_mode()
    def _accuracy(self) -> float | None:
        if self.validation is None:
            return None
        self.network.eval()
        right = 0
        for start in range(0, len(self.validation), self.plan.batch_size):
            rows = slice(start, start + self.plan.batch_size)
            pixels = torch.from_numpy(np.ascontiguousarray(self.validation.images[rows]))
            labels = torch.from_numpy(self.validation.labels[rows]).to(self.device)
            with autocast(self.device, self.plan.precision):
                logits = self.network(self._normalised(self._moved(pixels).float()))
            right += int((logits.argmax(dim=1) == labels).sum())
        return right / len(self.validation)

    def _ask(self, epoch: int, on_epoch: OnEpoch | None) -> bool:
        """Whether the callback stops the run."""
        self.network.eval()
        encoder = self.network.encoder
        state = EpochState(epoch, encoder, self.mean, self.std, self.log)
        stop = bool(on_epoch and on_epoch(state))
        if stop:
            self.log.stopped_at = epoch
        return stop

    def _keep(self, folder: Path, epoch: int) -> None:
        extra = {
            "epoch": epoch,
            "accuracy": self.log.epochs[-1].accuracy,
            "classes": list(self.train.names),
            "head": {name: value.cpu() for name, value in self.network.head.state_dict().items()},
        }
        statistics = (self.mean, self.std)
        save_encoder(
            encoder_path(folder, epoch), self.network.encoder, self.spec, statistics, extra
        )
        self.log.kept.append(epoch)

    def _rate(self, step: int) -> float:
        return learning_rate_at(step, self.plan.epochs * self.steps, self.plan)

    def _read(self, unread: list[torch.Tensor], epoch: int) -> list[float]:
        losses = torch.stack(unread).tolist()
        if not np.isfinite(losses).all():
            raise ParameterError(
                f"pretraining diverged in epoch {epoch}: loss is {losses[-1]}. Lower learning_rate "
                f"(now {self.plan.learning_rate}) or raise warmup_share."
            )
        return losses


def _as_log(values: dict) -> SupervisedLog:
    return SupervisedLog(**{**values, "epochs": [EpochRecord(**one) for one in values["epochs"]]})
