"""Training of CPnet on stored patches, in a fixed number of optimisation steps.

Recipe of arXiv 2511.04803 (learning rate 0.1, weight decay 1e-4), read as Cellpose's retraining
defaults with SGD, momentum 0.9: batch 8, loss = MSE of 5 x flow / 2 + binary cross-entropy. Named
deviations from ``cellpose.train.train_seg`` 3.1: steps instead of epochs; warm-up starts at its
first fraction, not at a learning rate of zero; no patch is dropped for having few instances; the
order of patches is that of a :class:`~helpers.training.feed.Feed`, every patch of a pool equally
often; images are scaled once per source image. AdamW with half a cosine stands beside it for short
budgets.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from helpers.errors import ParameterError
from helpers.files import read_torch, write_torch
from helpers.models.cpnet import memory_format
from helpers.models.device import autocast, read_every, set_rate
from helpers.models.l2sp import decay_groups
from helpers.models.weights import resuming
from helpers.randomness import step_generator
from helpers.training.feed import Feed
from helpers.training.guidance import UNGUIDED, Guidance
from helpers.training.watch import Check, Watch
from helpers.views.affine import apply_affine, draw_affine

FLOW_FACTOR = 5.0
Optimiser = Literal["sgd", "adamw"]
Schedule = Literal["cellpose", "cosine"]
# Stream of random numbers for the views of a step.
_VIEWS = 2


@dataclass(frozen=True)
class TrainingPlan:
    """How one model is trained.

    Attributes:
        steps: optimisation steps.
        batch_size: patches per step.
        crop: side of the training crops in pixels, a multiple of 8.
        optimiser: ``"sgd"`` or ``"adamw"`` (Loshchilov & Hutter 2019, PyTorch's betas).
        schedule: what follows the warm-up: ``"cellpose"`` holds the learning rate and then lets it
            decay, ``"cosine"`` takes it to zero along half a cosine.
        learning_rate, weight_decay: of either optimiser; momentum: of SGD.
        warmup_share: first share of the steps, in which the learning rate grows linearly.
        decay_share: of ``"cellpose"``: last share of the steps, in which it is halved ten times (as
            ``train_seg`` does in the last 100 of 500 epochs).
        scale_range: width of the random scale interval around 1.
        precision: ``"bfloat16"`` or ``"float32"`` for the network's arithmetic.
        checkpoint_every: steps between checkpoints; 0 writes none.
    """

    steps: int
    batch_size: int = 8
    crop: int = 224
    optimiser: Optimiser = "sgd"
    schedule: Schedule = "cellpose"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup_share: float = 0.05
    decay_share: float = 0.2
    scale_range: float = 1.0
    precision: str = "float32"
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ParameterError(
                f"steps={self.steps}, batch_size={self.batch_size}: both must be at least 1"
            )
        if self.crop < 8 or self.crop % 8:
            raise ParameterError(f"crop={self.crop}: expected a multiple of 8")


PHASES = ("data", "forward", "backward", "evaluation")


@dataclass
class TrainingLog:
    """What a training leaves besides the weights.

    Attributes:
        losses: of every step, without the terms of a guidance.
        checks: what a watch saw: ``"step"`` and its scores.
        phases: seconds spent on batches and augmentation, forward, backward and update, and looks.
            On a GPU the processor only hands out work in the first three, so that only their sum
            means something.
    """

    losses: list[float] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    @property
    def seconds(self) -> float:
        """Spent on training, looks left out."""
        return sum(self.phases.values()) - self.phases["evaluation"]


def learning_rate_at(step: int, plan: TrainingPlan) -> float:
    """Learning rate of step 0, 1, ..., ``plan.steps - 1``."""
    warmup = max(1, round(plan.warmup_share * plan.steps))
    if step < warmup:
        return plan.learning_rate * (step + 1) / warmup
    if plan.schedule == "cosine":
        done = (step - warmup) / (plan.steps - warmup)
        return plan.learning_rate * (1 + math.cos(math.pi * done)) / 2
    decay = round(plan.decay_share * plan.steps)
    into_decay = step - (plan.steps - decay)
    if into_decay < 0:
        return plan.learning_rate
    return plan.learning_rate * 0.5 ** (1 + into_decay * 10 // decay)


def steps_for_epochs(epochs: float, n_patches: int, batch_size: int) -> int:
    """Steps of ``epochs`` passes over ``n_patches`` (at least one step)."""
    return max(1, round(epochs * n_patches / batch_size))


def segmentation_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cellpose's loss: MSE(flow, 5 target flow) / 2 + BCE(logit, foreground).

    Args:
        output: (n, 3, h, w): flow y, flow x, foreground logit.
        target: (n, 3, h, w): foreground (0..1, thresholded at 0.5), flow y, flow x.
    """
    flow = F.mse_loss(output[:, :2], FLOW_FACTOR * target[:, 1:]) / 2
    foreground = (target[:, 0] > 0.5).to(output.dtype)
    return flow + F.binary_cross_entropy_with_logits(output[:, 2], foreground)


def train(
    network: torch.nn.Module,
    feed: Feed,
    plan: TrainingPlan,
    seed: int,
    guidance: Guidance = UNGUIDED,
    watch: Watch | None = None,
    checkpoint: Path | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> TrainingLog:
    """Train in place on what the feed gives.

    On the CPU two runs with equal arguments and an equal number of threads give identical numbers,
    with or without an interruption in between. A warm start is a network with weights in it; the
    learning rate warms up anew.

    Args:
        network: CPnet on its device; its weights are the start (random, or a checkpoint's).
        feed: batches, whose order is continued where a checkpoint left it.
        seed: of the augmentation.
        guidance: terms that hold the network near its start.
        watch: looks at the network during training.
        checkpoint: file to resume from and to write every ``plan.checkpoint_every`` steps; removed
            by the caller when it has kept the result.
        on_step: called with (steps done, loss) after every step (on a GPU every few).

    Raises:
        ParameterError: the loss is no longer finite.
        DataError: the checkpoint is not one of this training.
    """
    return _Training(network, feed, plan, seed, guidance, watch, checkpoint, on_step).run()


class _Training:
    """One run of :func:`train`: what its steps share."""

    def __init__(
        self,
        network: torch.nn.Module,
        feed: Feed,
        plan: TrainingPlan,
        seed: int,
        guidance: Guidance,
        watch: Watch | None,
        checkpoint: Path | None,
        on_step: Callable[[int, float], None] | None,
    ) -> None:
        self.network, self.feed, self.plan, self.seed = network, feed, plan, seed
        self.guidance, self.watch = guidance, watch
        self.checkpoint, self.on_step = checkpoint, on_step
        self.device = next(network.parameters()).device
        self.format = memory_format(network, getattr(torch, plan.precision))
        network.to(memory_format=self.format)
        groups = decay_groups(network, plan.weight_decay, guidance.anchor)
        if plan.optimiser == "adamw":
            self.optimiser = torch.optim.AdamW(groups, lr=plan.learning_rate)
        else:
            self.optimiser = torch.optim.SGD(groups, plan.learning_rate, plan.momentum)
        self.log = TrainingLog()
        self.read_every = read_every(self.device)
        self.unread: list[torch.Tensor] = []

    def run(self) -> TrainingLog:
        """All steps that are still to be done."""
        self._resume()
        self._look(len(self.log.losses))
        for step in range(len(self.log.losses), self.plan.steps):
            self.unread.append(self._step(step))
            done = step + 1
            saving = self.checkpoint and self.plan.checkpoint_every
            saving = saving and done % self.plan.checkpoint_every == 0
            looking = self.watch is not None and done in self.watch.steps
            if done % self.read_every == 0 or saving or looking or done == self.plan.steps:
                self._read_losses(done)
            self._look(done)
            if saving:
                self._save()
        return self.log

    def _step(self, step: int) -> torch.Tensor:
        """One optimisation step; its augmentation depends on (seed, step) alone."""
        set_rate(self.optimiser, learning_rate_at(step, self.plan))
        with self._clock("data"):
            stack, sources = self.feed.next()
            batch = self._augmented(stack, step)
            images = batch[:, :1].contiguous(memory_format=self.format)
        self.network.train()
        with self._clock("forward"):
            with autocast(self.device, self.plan.precision):
                output = self.network(images)[0]
            output = output.float()
            loss = segmentation_loss(output, batch[:, 1:])
            with autocast(self.device, self.plan.precision):
                total = loss + self.guidance.term(images, output, torch.from_numpy(sources))
        with self._clock("backward"):
            self.optimiser.zero_grad()
            total.backward()
            self.optimiser.step()
        return loss.detach()

    def _augmented(self, stack: np.ndarray, step: int) -> torch.Tensor:
        plan = self.plan
        generator = step_generator(self.seed, _VIEWS, step)
        affine = draw_affine(len(stack), stack.shape[-1], plan.crop, plan.scale_range, generator)
        # Half the bytes on the way to a GPU, full precision once there.
        patches = torch.from_numpy(stack).to(self.device).float()
        return apply_affine(patches, affine.to(self.device), plan.crop)

    def _read_losses(self, done: int) -> None:
        for loss in torch.stack(self.unread).tolist() if self.unread else []:
            if not np.isfinite(loss):
                raise ParameterError(
                    f"training diverged at step {len(self.log.losses)}: loss is {loss}. "
                    f"Lower learning_rate (now {self.plan.learning_rate}) or raise warmup_share."
                )
            self.log.losses.append(loss)
        self.unread.clear()
        if self.on_step and self.log.losses:
            self.on_step(done, self.log.losses[-1])

    def _look(self, done: int) -> None:
        looked = {check["step"] for check in self.log.checks}
        if self.watch is None or done not in self.watch.steps or done in looked:
            return
        with self._clock("evaluation"):
            self.log.checks.append({"step": done, **self.watch.measure(self.network)})
        if self.watch.react:
            self.watch.react(self.log.checks)

    @contextmanager
    def _clock(self, phase: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.log.phases[phase] += time.perf_counter() - begin

    def _save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "order": self.feed.order.state(),
            "log": asdict(self.log),
        }
        write_torch(self.checkpoint, state)

    def _resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        state = read_torch(self.checkpoint)
        with resuming(self.checkpoint):
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.feed.order.restore(state["order"])
            self.log = TrainingLog(**state["log"])
