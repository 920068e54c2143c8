"""Training of CPnet on stored patches, in a fixed number of optimisation steps.

Recipe of arXiv 2511.04803 (learning rate 0.1, weight decay 1e-4), read as Cellpose's retraining
defaults with SGD, momentum 0.9: batch 8, loss = MSE of 5 x flow / 2 + binary cross-entropy. Named
deviations from ``cellpose.train.train_seg`` 3.1: steps instead of epochs; warm-up starts at its
first fraction, not at a learning rate of zero; no patch is dropped for having few instances; every
sample is drawn equally often; images are scaled once per source image.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from helpers.errors import DataError, ParameterError
from helpers.files import read_torch, write_torch
from helpers.training.augment import apply_affine, draw_affine
from helpers.training.targets import PatchStore

FLOW_FACTOR = 5.0


@dataclass(frozen=True)
class TrainingPlan:
    """How one model is trained.

    Attributes:
        steps: optimisation steps.
        batch_size: patches per step.
        crop: side of the training crops in pixels, a multiple of 8.
        learning_rate, momentum, weight_decay: of SGD.
        warmup_share: first share of the steps, in which the learning rate grows linearly.
        decay_share: last share of the steps, in which it is halved ten times (as ``train_seg``
            does in the last 100 of 500 epochs).
        scale_range: width of the random scale interval around 1.
        precision: ``"bfloat16"`` or ``"float32"`` for the network's arithmetic.
        checkpoint_every: steps between checkpoints; 0 writes none.
    """

    steps: int
    batch_size: int = 8
    crop: int = 224
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


@dataclass
class TrainingLog:
    """What a training leaves besides the weights: loss per step and seconds spent."""

    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0


def learning_rate_at(step: int, plan: TrainingPlan) -> float:
    """Learning rate of step 0, 1, ..., ``plan.steps - 1``."""
    warmup = max(1, round(plan.warmup_share * plan.steps))
    decay = round(plan.decay_share * plan.steps)
    if step < warmup:
        return plan.learning_rate * (step + 1) / warmup
    into_decay = step - (plan.steps - decay)
    if into_decay < 0:
        return plan.learning_rate
    return plan.learning_rate * 0.5 ** (1 + into_decay * 10 // decay)


def steps_for_epochs(epochs: float, n_patches: int, batch_size: int) -> int:
    """Steps of ``epochs`` passes over ``n_patches`` (at least one step)."""
    return max(1, round(epochs * n_patches / batch_size))


def batch_order(n: int, plan: TrainingPlan, seed: int) -> np.ndarray:
    """Which of n patches each step sees: int64 (steps, batch_size).

    Whole permutations one after the other, so that every patch is seen equally often; fixed in
    advance, so that a resumed training sees what an uninterrupted one would.
    """
    rng = np.random.default_rng([seed, 1])
    needed = plan.steps * plan.batch_size
    passes = [rng.permutation(n) for _ in range(-(-needed // n))]
    return np.concatenate(passes)[:needed].reshape(plan.steps, plan.batch_size)


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
    store: PatchStore,
    indices: np.ndarray,
    plan: TrainingPlan,
    seed: int,
    checkpoint: Path | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> TrainingLog:
    """Train in place on the patches ``indices`` of the store.

    On the CPU two runs with equal arguments and an equal number of threads give identical numbers,
    with or without an interruption in between.

    Args:
        network: CPnet on its device; its weights are the start (random, or a checkpoint's).
        indices: patches to train on; repeated as often as the steps need.
        seed: of patch order and augmentation.
        checkpoint: file to resume from and to write every ``plan.checkpoint_every`` steps; removed
            by the caller when it has kept the result.
        on_step: called with (steps done, loss) after every step.
    """
    if len(indices) == 0:
        raise ParameterError("indices: no patch to train on")
    device = next(network.parameters()).device
    network.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.SGD(
        [p for p in network.parameters() if p.requires_grad],
        lr=plan.learning_rate,
        momentum=plan.momentum,
        weight_decay=plan.weight_decay,
    )
    log = TrainingLog()
    _resume(network, optimiser, log, checkpoint)
    order = batch_order(len(indices), plan, seed)
    for step in range(len(log.losses), plan.steps):
        begin = time.perf_counter()
        for group in optimiser.param_groups:
            group["lr"] = learning_rate_at(step, plan)
        stack = torch.from_numpy(np.asarray(store.arrays[indices[order[step]]], np.float32))
        loss = _step(network, optimiser, stack.to(device), plan, seed, step)
        log.losses.append(loss)
        log.seconds += time.perf_counter() - begin
        if on_step:
            on_step(step + 1, loss)
        if checkpoint and plan.checkpoint_every and (step + 1) % plan.checkpoint_every == 0:
            _save(network, optimiser, log, checkpoint)
    return log


def _step(
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    stack: torch.Tensor,
    plan: TrainingPlan,
    seed: int,
    step: int,
) -> float:
    """One optimisation step; its augmentation depends on (seed, step) alone. Returns the loss."""
    drawn = np.random.SeedSequence([seed, 2, step]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(drawn >> 1))
    affine = draw_affine(len(stack), stack.shape[-1], plan.crop, plan.scale_range, generator)
    batch = apply_affine(stack, affine.to(stack.device), plan.crop)
    images = batch[:, :1].contiguous(memory_format=torch.channels_last)
    precision = getattr(torch, plan.precision)
    with torch.autocast(stack.device.type, dtype=precision, enabled=precision != torch.float32):
        output = network(images)[0]
    loss = segmentation_loss(output.float(), batch[:, 1:])
    if not torch.isfinite(loss):
        raise ParameterError(
            f"training diverged at step {step}: loss is {loss.item()}. "
            f"Lower learning_rate (now {plan.learning_rate}) or raise warmup_share."
        )
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def _save(
    network: torch.nn.Module, optimiser: torch.optim.Optimizer, log: TrainingLog, path: Path
) -> None:
    state = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "losses": log.losses,
        "seconds": log.seconds,
    }
    write_torch(path, state)


def _resume(
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    log: TrainingLog,
    path: Path | None,
) -> None:
    if path is None or not path.is_file():
        return
    state = read_torch(path)
    try:
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        log.losses, log.seconds = list(state["losses"]), float(state["seconds"])
    except (RuntimeError, TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: not a checkpoint of this training ({error}). Delete it to start afresh."
        ) from error
