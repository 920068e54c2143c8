"""What self-supervised pretrainings that count steps share: milestones, order, and the loop.

A pretraining is a :class:`StepwiseRun`: it says what a step and a look are; when to look, keep an
encoder or save a point, how a killed run goes on, and what is shown meanwhile is said here.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from helpers.errors import ParameterError
from helpers.models.encoders import EncoderSpec, normalise, save_encoder
from helpers.pretraining.progress import (
    AsLog,
    finished_log,
    resume_point,
    save_point,
    write_log,
)
from helpers.pretraining.schedules import epoch_order, learning_rate_at

Item = TypeVar("Item")
Batch = TypeVar("Batch")
OnStep = Callable[[int, float], None]


class Milestones:
    """For plans: after which steps something is done. Step 0 is before the first.

    Attributes:
        steps, batch_size: optimisation steps, and images in each.
        learning_rate, final_rate: the highest, and what the rate starts from and ends at.
        checkpoints: steps after which the encoder is kept, besides 0 and the last.
        checkpoint_every: steps between points from which a killed run goes on; 0 for none.
        look_every: steps between looks, besides 0 and the last; 0 for none between.
    """

    steps: int
    batch_size: int
    learning_rate: float
    final_rate: float
    checkpoints: tuple[int, ...]
    checkpoint_every: int
    look_every: int

    def keeps(self, step: int) -> bool:
        """Whether the plan asks for the encoder after this step."""
        return step in (0, self.steps, *self.checkpoints)

    def looks(self, step: int) -> bool:
        """Whether the embeddings are looked at after this step."""
        every = self.look_every
        return step in (0, self.steps) or bool(every and step % every == 0)

    def saves(self, step: int) -> bool:
        """Whether a killed run can go on from this step."""
        every = self.checkpoint_every
        return bool(every and step % every == 0 and 0 < step < self.steps)

    def check_milestones(self) -> None:
        """Refuse what is out of range.

        Raises:
            ParameterError: naming the attribute.
        """
        if self.steps < 1 or self.batch_size < 2:
            raise ParameterError(
                f"steps={self.steps}, batch_size={self.batch_size}: expected at least 1 and 2"
            )
        if not 0 <= self.final_rate <= self.learning_rate or self.learning_rate <= 0:
            raise ParameterError(
                f"learning_rate={self.learning_rate}, final_rate={self.final_rate}: expected a "
                "rate above 0 and a final rate from 0 up to it"
            )
        for name in ("checkpoint_every", "look_every"):
            if getattr(self, name) < 0:
                raise ParameterError(f"{name}={getattr(self, name)}: expected 0 or above")
        if odd := [step for step in self.checkpoints if not 0 <= step <= self.steps]:
            raise ParameterError(f"checkpoints={odd}: expected steps from 0 to {self.steps}")


def check_options(plan: Any, options: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse attributes whose value is not among the known ones.

    Raises:
        ParameterError: naming the attribute.
    """
    for name, known in options.items():
        if getattr(plan, name) not in known:
            raise ParameterError(
                f"{name}={getattr(plan, name)!r}: expected one of {', '.join(known)}"
            )


class PooledNetwork(nn.Module):
    """An encoder, the mean over its deepest map, and a projector.

    Args:
        encoder: images in, a list of maps out, the deepest (n, channels, h, w) last.
        projector: from (n, channels) to (n, d).
    """

    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector

    def represent(self, images: Tensor) -> Tensor:
        """Pooled output of the encoder, (n, channels)."""
        return self.encoder(images)[-1].mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (n, d)."""
        return self.projector(self.represent(images))


def encoder_path(folder: Path, step: int) -> Path:
    """File of the encoder after a step (:func:`helpers.models.encoders.load_encoder` reads it).

    Its ``extra`` holds ``step``.
    """
    return folder / f"encoder-{step:06d}.pt"


def rows_of_steps(n: int, plan: Milestones, seed: int, first: int) -> Iterator[np.ndarray]:
    """Which of n images each step from ``first`` on sees, int64 (batch_size,).

    Parts of whole permutations (:func:`helpers.pretraining.schedules.epoch_order`).
    """
    order = None
    for step in range(first, plan.steps):
        epoch, place = divmod(step, n // plan.batch_size)
        if order is None or place == 0:
            order = epoch_order(n, plan.batch_size, seed, epoch + 1)
        yield order[place]


def read_ahead(read: Callable[[Item], Batch], items: Iterable[Item]) -> Iterator[Batch]:
    """What ``read`` makes of each item; the next is read in a thread while one is used."""
    with ThreadPoolExecutor(1) as reader:
        waiting = None
        for item in items:
            following = reader.submit(read, item)
            if waiting:
                yield waiting.result()
            waiting = following
        if waiting:
            yield waiting.result()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """``"bfloat16"`` or ``"float32"`` arithmetic of networks on a device."""
    chosen = getattr(torch, precision)
    return torch.autocast(device.type, dtype=chosen, enabled=chosen != torch.float32)


@dataclass(frozen=True, eq=False)
class Setting:
    """What a run is given.

    Attributes:
        spec: of the encoder.
        plan: with the attributes of :class:`Milestones`, of
            :func:`helpers.pretraining.schedules.learning_rate_at`, and ``precision``.
        seed: of all that is random.
        statistics: mean and std per channel by which inputs are normalised.
        device: of the computation.
    """

    spec: EncoderSpec
    plan: Any
    seed: int
    statistics: tuple[tuple[float, ...], tuple[float, ...]]
    device: torch.device


class StepwiseRun(ABC):
    """One pretraining. What its steps share are attributes, which a subclass sets.

    Attributes:
        title: of the bar.
        network, optimiser: what a point holds; parameter groups hold ``lr_scale``, which times the
            plan's rate is theirs.
        log: a dataclass with lists ``losses``, ``looks`` and ``kept``, and ``seconds``.
    """

    title: str
    network: nn.Module
    optimiser: torch.optim.Optimizer
    log: Any

    def __init__(self, setting: Setting) -> None:
        self.spec, self.plan, self.seed = setting.spec, setting.plan, setting.seed
        self.statistics, self.device = setting.statistics, setting.device
        # Reading a loss makes the processor wait for the GPU.
        self.read_every = 1 if self.device.type == "cpu" else 10
        self.counted = 0.0

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """What is kept."""

    @abstractmethod
    def batches(self, first: int) -> Iterator[Any]:
        """What the steps from ``first`` (0 is the first of all) on see."""

    @abstractmethod
    def step(self, number: int, batch: Any) -> Tensor:
        """One optimisation step, all random in it from (seed, number): loss, further values."""

    @abstractmethod
    def note(self, values: list[float]) -> None:
        """Put what a step gave into the log."""

    @abstractmethod
    def look(self, step: int) -> Any:
        """What the log's ``looks`` get; the network is left as it was."""

    @abstractmethod
    def shown(self) -> dict[str, str]:
        """What the bar says beside the progress."""

    @staticmethod
    @abstractmethod
    def as_log(values: dict) -> Any:
        """The log that JSON gives back."""

    def go(self, folder: Path, identity: dict, on_step: OnStep | None, progress: bool) -> Any:
        """Do all steps that are still to be done; the log."""
        from tqdm import tqdm

        self.counted = time.perf_counter()
        checkpoint = folder / "checkpoint.pt"
        log = resume_point(checkpoint, identity, self.network, self.optimiser, self.as_log)
        self.log = log or self.log
        done = len(self.log.losses)
        with tqdm(
            total=self.plan.steps,
            initial=done,
            desc=f"{self.title} {self.spec.name}",
            unit="step",
            mininterval=2,
            disable=not progress,
        ) as bar:
            if not done:
                self._mark(folder, identity, 0)
            unread: list[Tensor] = []
            for step, batch in enumerate(self.batches(done), done + 1):
                self._set_rate(step - 1)
                unread.append(self.step(step - 1, batch))
                if len(unread) < self.read_every and not self._marks(step):
                    continue
                self._read(unread, on_step)
                bar.set_postfix(self.shown(), refresh=False)
                bar.update(len(unread))
                unread.clear()
                if self._marks(step):
                    self._mark(folder, identity, step)
        checkpoint.unlink(missing_ok=True)
        return self.log

    def normalised(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) in 0..1 to the network's input, (n, channels, h, w)."""
        if self.spec.channels == 1:
            images = images.mean(dim=1, keepdim=True)
        images = normalise(images, *self.statistics)
        return images.contiguous(memory_format=torch.channels_last)

    def _set_rate(self, step: int) -> None:
        rate = learning_rate_at(step, self.plan.steps, self.plan)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["lr_scale"]

    def _marks(self, step: int) -> bool:
        return self.plan.looks(step) or self.plan.keeps(step) or self.plan.saves(step)

    def _mark(self, folder: Path, identity: dict, step: int) -> None:
        """Look, keep and save what the plan asks for after a step."""
        if self.plan.looks(step):
            self.log.looks.append(self.look(step))
        if self.plan.keeps(step):
            path = encoder_path(folder, step)
            save_encoder(path, self.encoder, self.spec, self.statistics, {"step": step})
            self.log.kept.append(step)
        now = time.perf_counter()
        self.log.seconds += now - self.counted
        self.counted = now
        if self.plan.saves(step):
            save_point(folder / "checkpoint.pt", identity, self.network, self.optimiser, self.log)
        write_log(folder, identity, self.log, finished=step == self.plan.steps)

    def _read(self, unread: list[Tensor], on_step: OnStep | None) -> None:
        """Put the values of some steps into the log."""
        for values in torch.stack(unread).tolist():
            if not math.isfinite(values[0]):
                raise ParameterError(
                    f"pretraining diverged in step {len(self.log.losses) + 1}: loss is "
                    f"{values[0]}. Lower learning_rate (now {self.plan.learning_rate}) or raise "
                    "warmup_share."
                )
            self.note(values)
            if on_step:
                on_step(len(self.log.losses), values[0])


def once(folder: Path, identity: dict, as_log: AsLog[Any], run: Callable[[], Any]) -> Any:
    """The log of a finished pretraining, or what ``run`` returns; other processes wait.

    Raises:
        DataError: the folder holds another pretraining, or files that are not readable.
    """
    from filelock import FileLock

    if log := finished_log(folder, identity, as_log, encoder_path):
        return log
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if log := finished_log(folder, identity, as_log, encoder_path):
            return log
        return run()
