"""The one training loop: every network, every objective.

An :class:`Objective` says what a step sees and what its loss is. All else is said here: optimiser,
learning rate, batches read ahead, looks, log, checkpoint. What is random in a step depends on the
seed and the number of the step alone. So on the CPU two runs with equal arguments and an equal
number of threads give identical numbers, interrupted or not.
"""

import math
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from helpers.errors import ParameterError
from helpers.files import read_torch, write_torch
from helpers.fingerprints import of_json
from helpers.models.device import read_every, set_rate
from helpers.models.l2sp import Anchor, decay_groups
from helpers.models.weights import resuming, weights_digest
from helpers.randomness import global_seed, step_generator, step_seed

Optimiser = Literal["sgd", "adam", "adamw"]
Schedule = Literal["cellpose", "cosine", "polynomial"]
PHASES = ("data", "forward", "backward", "evaluation")
# Streams of random numbers of a seed; 1 is the order of images (helpers.randomness.batch_at).
_VIEWS, _NETWORK = 2, 3
# Names of matrices that are no weights of a layer: positions and single tokens.
_TABLES = ("relative_position_bias_table", "pos_embed", "_token")


@dataclass(frozen=True)
class Plan:
    """How a network is trained. Each objective has a plan of its own, whose defaults are a paper's.

    Attributes:
        steps: optimisation steps.
        batch_size: images per step.
        optimiser: ``"sgd"`` with ``momentum``, ``"adam"`` or ``"adamw"`` (Loshchilov & Hutter 2019)
            with ``betas``.
        learning_rate: the highest.
        weight_decay: of all trained parameters that are not anchored.
        spared: whether biases, normalisation layers and tables of positions do not decay.
        clip_norm: bound of the gradient's norm over all parameters; 0 for none.
        warmup_share: first share of the steps, in which the rate grows linearly.
        schedule: what follows. ``"cellpose"`` holds the rate and halves it ten times in the last
            ``decay_share`` of the steps, as ``train_seg`` does in the last 100 of 500 epochs;
            ``"cosine"`` takes it to ``final_rate`` along half a cosine, ``"polynomial"`` along
            (1 - share done) to the power of ``decay_power``, of which 0 is a constant rate.
        precision: of the network's arithmetic; losses are float32.
        checkpoint_every: steps between checkpoints, besides the last; 0 for none.
    """

    steps: int
    batch_size: int = 8
    optimiser: Optimiser = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    spared: bool = False
    clip_norm: float = 0.0
    warmup_share: float = 0.0
    schedule: Schedule = "cosine"
    decay_share: float = 0.2
    decay_power: float = 0.9
    final_rate: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpoint_every: int = 200


class Objective(Protocol):
    """What is trained, on what, towards what.

    Attributes:
        network: on its device. ``state_dict`` holds all that goes on (a momentum encoder, a queue);
            what requires a gradient is trained.
    """

    network: nn.Module

    def read(self, rows: np.ndarray, generator: torch.Generator) -> Any:
        """What a step sees of the images in ``rows``; called in a thread, a step ahead.

        All that is random in images comes from the generator, which may be part of the answer.
        """

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """What is minimised, and numbers to be logged, all scalars on the device.

        Called with torch's global generators seeded for the step. ``"loss"`` among the numbers is
        logged in place of what is minimised.
        """


class Stateful(Protocol):
    """What goes on besides the network."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> None: ...


Check = dict[str, float]


@dataclass(frozen=True)
class Looks:
    """Looking at a network while it is trained.

    Attributes:
        steps: numbers of steps done at which to look; 0 is before the first.
        measure: numbers by name, from steps done and the network in evaluation mode. A look that
            came after the last checkpoint of a killed run is repeated, with the same network.
        react: called after each look with all so far, the newest last (``"step"`` and its numbers);
            true ends the training.
    """

    steps: Collection[int]
    measure: Callable[[int, nn.Module], Check]
    react: Callable[[list[Check]], bool | None] | None = None


def evenly(total: int, looks: int) -> tuple[int, ...]:
    """Steps of ``looks`` + 1 looks: before the first step, after the last, and evenly between."""
    return tuple(sorted({round(total * k / looks) for k in range(looks + 1)}))


@dataclass
class Log:
    """What a training leaves besides the weights.

    Attributes:
        numbers: of every step by name: ``"loss"``, what the objective tells, ``"anchor"`` for the
            penalty of an anchor.
        checks: ``"step"`` and numbers of every look.
        kept: after which step the network had the weights that it has now.
        stopped: whether a look ended the training.
        phases: seconds spent on batches, forward, backward and update, and looks. On a GPU the
            processor only hands out work in the first three, so that only their sum means
            something.
    """

    numbers: dict[str, list[float]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    kept: int = 0
    stopped: bool = False
    phases: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    @property
    def losses(self) -> list[float]:
        """Of every step, without the penalty of an anchor."""
        return self.numbers.get("loss", [])

    @property
    def seconds(self) -> float:
        """Spent on training, looks left out."""
        return sum(self.phases.values()) - self.phases["evaluation"]


def learning_rate_at(step: int, plan: Plan) -> float:
    """Learning rate of step 0, 1, ..., ``plan.steps - 1``; above 0 if the highest is."""
    warmup = max(1, round(plan.warmup_share * plan.steps)) if plan.warmup_share else 0
    done = (step - warmup) / max(1, plan.steps - warmup)
    decay = round(plan.decay_share * plan.steps)
    into_decay = step - (plan.steps - decay)
    if step < warmup:
        share = (step + 1) / warmup
    elif plan.schedule == "cosine":
        share = (1 + math.cos(math.pi * done)) / 2
    elif plan.schedule == "polynomial":
        share = (1 - done) ** plan.decay_power
    else:
        share = 0.5 ** (1 + into_decay * 10 // decay) if decay and into_decay >= 0 else 1.0
    return plan.final_rate + (plan.learning_rate - plan.final_rate) * share


def build_optimiser(
    network: nn.Module, plan: Plan, anchor: Anchor | None = None
) -> torch.optim.Optimizer:
    """The plan's optimiser of all parameters that require a gradient."""
    if plan.spared:
        from timm.optim import param_groups_weight_decay

        tables = [name for name, _ in network.named_parameters() if name.endswith(_TABLES)]
        groups = param_groups_weight_decay(network, plan.weight_decay, no_weight_decay_list=tables)
    else:
        groups = decay_groups(network, plan.weight_decay, anchor)
    if plan.optimiser == "sgd":
        return torch.optim.SGD(groups, plan.learning_rate, plan.momentum, fused=True)
    kind = torch.optim.Adam if plan.optimiser == "adam" else torch.optim.AdamW
    return kind(groups, plan.learning_rate, plan.betas, fused=True)


def fit(*arguments: Any, **options: Any) -> Log:
    """Train in place, from the checkpoint on where there is one; see :class:`Fit`."""
    return Fit(*arguments, **options).run()


class Fit:
    """One training; ``run`` does it, or a part of it.

    Args:
        objective: its network's weights are the start.
        order: which images a step sees, by its number.
        plan: the length, the learning rate and more.
        seed: of views and of all that networks draw.
        steps: of the plan, to be done here; all for ``None``. The optimiser is a fresh one.
        anchor: holds the network near the weights that it has now (L2-SP).
        looks: at the network.
        checkpoint: file to resume from, written every ``plan.checkpoint_every`` steps and at the
            end; removed by the caller when it has kept the result.
        keeps: what else goes on, by name, such as a :class:`helpers.replay.Mixer`.
        name: of a bar with loss and time left; without a terminal it comes after 20 s.

    Raises:
        ParameterError: a number of a step is not finite.
        DataError: the checkpoint is not one of this training.
    """

    def __init__(
        self,
        objective: Objective,
        order: Callable[[int], np.ndarray],
        plan: Plan,
        seed: int,
        *,
        steps: range | None = None,
        anchor: Anchor | None = None,
        looks: Looks | None = None,
        checkpoint: Path | None = None,
        keeps: Mapping[str, Stateful] | None = None,
        name: str = "",
    ) -> None:
        self.objective, self.order, self.plan, self.seed = objective, order, plan, seed
        self.steps, self.anchor = range(plan.steps) if steps is None else steps, anchor
        self.looks, self.checkpoint, self.keeps = looks, checkpoint, keeps or {}
        self.name, self.log = name, Log()
        self.network, self.unread = objective.network, []
        self.device = next(self.network.parameters()).device
        self.optimiser = build_optimiser(self.network, plan, anchor)
        if checkpoint:
            self.identity = self._identity()
            self._resume()

    @property
    def done(self) -> int:
        """Steps of the plan that are done."""
        return self.steps.start + len(self.log.losses)

    def run(self, until: int | None = None) -> Log:
        """Do the steps that are still to be done, up to the plan's step ``until``."""
        end = self.steps.stop if until is None else until
        with ThreadPoolExecutor(1) as reader, self._bar() as show:
            self.network.train()
            if not self.log.losses:
                self._mark(self.done)
            waiting = None
            for step in range(self.done, end):
                if self.log.stopped:
                    break
                with self._clock("data"):
                    batch = waiting.result() if waiting else self._read(step)
                # What a look may change, and a checkpoint holds, is not drawn from before.
                ahead = step + 1 < end and not self._marks(step + 1)
                waiting = reader.submit(self._read, step + 1) if ahead else None
                self._step(step, batch)
                if len(self.unread) == read_every(self.device) or not ahead:
                    self._log_numbers()
                    show(len(self.log.losses), self.log.losses[-1])
                self._mark(step + 1)
        self.log.kept = self.done
        self.network.eval()
        return self.log

    def _read(self, step: int) -> Any:
        return self.objective.read(self.order(step), step_generator(self.seed, _VIEWS, step))

    def _step(self, step: int, batch: Any) -> None:
        set_rate(self.optimiser, learning_rate_at(step, self.plan))
        drawing = global_seed(step_seed(self.seed, _NETWORK, step), self.device)
        with self._clock("forward"), drawing:
            total, numbers = self.objective.loss(batch)
            numbers = {"loss": total, **numbers}
            if self.anchor is not None:
                numbers["anchor"] = self.anchor.penalty()
                total = total + numbers["anchor"]
        with self._clock("backward"):
            self.optimiser.zero_grad()
            total.backward()
            if self.plan.clip_norm:
                trained = [p for group in self.optimiser.param_groups for p in group["params"]]
                nn.utils.clip_grad_norm_(trained, self.plan.clip_norm)
            self.optimiser.step()
        # Read later: reading makes the processor wait for a GPU.
        self.unread.append({name: value.detach() for name, value in numbers.items()})

    def _log_numbers(self) -> None:
        names = list(self.unread[0])
        rows = torch.stack([torch.stack([one[n].float() for n in names]) for one in self.unread])
        self.unread.clear()
        for values in rows.tolist():
            found = dict(zip(names, values, strict=True))
            wrong = {name: value for name, value in found.items() if not math.isfinite(value)}
            if wrong:
                raise ParameterError(
                    f"training diverged at step {self.done}: {wrong}. Lower learning_rate (now "
                    f"{self.plan.learning_rate:g}) or raise warmup_share (now "
                    f"{self.plan.warmup_share:g})."
                )
            for name, value in found.items():
                self.log.numbers.setdefault(name, []).append(value)

    def _saves(self, step: int) -> bool:
        every = self.plan.checkpoint_every
        due = step == self.steps.stop or bool(every and step % every == 0)
        return bool(self.checkpoint) and due and step > self.steps.start

    def _marks(self, step: int) -> bool:
        return self._saves(step) or (self.looks is not None and step in self.looks.steps)

    def _mark(self, step: int) -> None:
        """Look and save, where it is time."""
        if self.looks and step in self.looks.steps and not self._looked(step):
            self.network.eval()
            with self._clock("evaluation"), torch.no_grad():
                found = self.looks.measure(step, self.network)
            check = {name: float(value) for name, value in found.items()}
            self.log.checks.append({"step": step, **check})
            if self.looks.react:
                self.log.stopped = bool(self.looks.react(self.log.checks))
        self.network.train()
        if self._saves(step) or (self.checkpoint and self.log.stopped):
            self._save()

    def _looked(self, step: int) -> bool:
        return any(check["step"] == step for check in self.log.checks)

    @contextmanager
    def _clock(self, phase: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.log.phases[phase] += time.perf_counter() - begin

    @contextmanager
    def _bar(self) -> Iterator[Callable[[int, float], None]]:
        """A bar with loss and time left; now and then a line where nobody watches."""
        from tqdm import tqdm

        pause = 0.5 if sys.stderr.isatty() else 20
        with tqdm(
            desc=self.name, total=len(self.steps), initial=len(self.log.losses), unit="step",
            delay=pause, mininterval=pause, leave=False, disable=not self.name,
        ) as bar:  # fmt: skip

            def show(done: int, loss: float) -> None:
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update(done - bar.n)

            yield show

    def _identity(self) -> str:
        """Equal for equal trainings: what a checkpoint must have in common with its run."""
        trained = [name for name, p in self.network.named_parameters() if p.requires_grad]
        known = [type(self.objective).__name__, asdict(self.plan), self.seed, trained]
        parts = [self.steps.start, self.steps.stop, self.anchor and self.anchor.weight]
        return of_json([*known, *parts, weights_digest(self.network), sorted(self.keeps)])

    def _save(self) -> None:
        state = {
            "identity": self.identity,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "keeps": {name: one.state_dict() for name, one in self.keeps.items()},
            "log": asdict(self.log),
        }
        write_torch(self.checkpoint, state)

    def _resume(self) -> None:
        if not self.checkpoint.is_file():
            return
        state = read_torch(self.checkpoint)
        with resuming(self.checkpoint):
            if state["identity"] != self.identity:
                raise ValueError("other plan, seed, steps, anchor or starting weights")
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            for name, one in self.keeps.items():
                one.load_state_dict(state["keeps"][name])
            self.log = Log(**state["log"])
