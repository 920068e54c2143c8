"""What self-supervised pretrainings that count steps share: milestones, order, and the loop.

A pretraining is a :class:`StepwiseRun`: it says what a step and a look are; when to look, keep an
encoder or save a point, how a killed run goes on, and what is shown meanwhile is said here.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from helpers.errors import ParameterError
from helpers.models.device import read_every, set_rate
from helpers.models.encoders import (
    EncoderSpec,
    SavedEncoder,
    build_encoder,
    normalise,
    save_encoder,
)
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
        checkpoint_every: steps between points from which a killed run goes on; 0 for none.
        look_every: steps between looks, besides 0 and the last; 0 for none between.
    """

    steps: int
    batch_size: int
    learning_rate: float
    final_rate: float
    checkpoint_every: int
    look_every: int = 0

    def keeps(self, step: int) -> bool:
        """Whether the encoder is kept after this step."""
        return step in (0, self.steps)

    def looks(self, step: int) -> bool:
        """Whether the network is looked at after this step."""
        every = self.look_every
        return step in (0, self.steps) or bool(every and step % every == 0)

    def saves(self, step: int) -> bool:
        """Whether a killed run can go on from this step."""
        every = self.checkpoint_every
        return bool(every and step % every == 0 and 0 < step < self.steps)


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
        start: weights to begin from; ``None`` draws them.
    """

    spec: EncoderSpec
    plan: Any
    seed: int
    statistics: tuple[tuple[float, ...], tuple[float, ...]]
    device: torch.device
    start: SavedEncoder | None = None


class StepwiseRun(ABC):
    """One pretraining. What its steps share are attributes, which a subclass sets.

    Attributes:
        network, optimiser: what a point holds.
        log: a dataclass with lists ``losses`` and ``kept``, and ``seconds``.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    log: Any

    def __init__(self, setting: Setting) -> None:
        self.spec, self.plan, self.seed = setting.spec, setting.plan, setting.seed
        self.statistics, self.device = setting.statistics, setting.device
        self.start, self.read_every = setting.start, read_every(self.device)
        self.counted = 0.0

    def first_encoder(self) -> nn.Module:
        """The encoder before the first step."""
        if self.start is None:
            return build_encoder(self.spec, self.seed)
        return deepcopy(self.start.encoder).train()

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

    def look(self, step: int) -> None:  # noqa: B027 - only some have something to look at
        """Put into the log what the network is like; the network is left as it was."""

    @staticmethod
    @abstractmethod
    def as_log(values: dict) -> Any:
        """The log that JSON gives back."""

    def go(self, folder: Path, identity: dict, on_step: OnStep | None) -> Any:
        """Do all steps that are still to be done; the log."""
        self.counted = time.perf_counter()
        checkpoint = folder / "checkpoint.pt"
        log = resume_point(checkpoint, identity, self.network, self.optimiser, self.as_log)
        self.log = log or self.log
        done = len(self.log.losses)
        if not done:
            self._mark(folder, identity, 0)
        unread: list[Tensor] = []
        for step, batch in enumerate(self.batches(done), done + 1):
            set_rate(self.optimiser, learning_rate_at(step - 1, self.plan.steps, self.plan))
            unread.append(self.step(step - 1, batch))
            if len(unread) == self.read_every or self._marks(step):
                self._read(unread, on_step)
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

    def _marks(self, step: int) -> bool:
        return self.plan.looks(step) or self.plan.keeps(step) or self.plan.saves(step)

    def _mark(self, folder: Path, identity: dict, step: int) -> None:
        """Look, keep and save what the plan asks for after a step."""
        if self.plan.looks(step):
            self.look(step)
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


def once(
    folder: Path,
    identity: dict,
    as_log: AsLog[Any],
    run: Callable[[], Any],
    path: Callable[[Path, int], Path] = encoder_path,
) -> Any:
    """The log of a finished pretraining, or what ``run`` returns; other processes wait.

    Args:
        path: of the encoder kept at a place of the log.

    Raises:
        DataError: the folder holds another pretraining, or files that are not readable.
    """
    from filelock import FileLock

    if log := finished_log(folder, identity, as_log, path):
        return log
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        return finished_log(folder, identity, as_log, path) or run()
