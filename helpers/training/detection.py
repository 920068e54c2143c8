"""Training of a detector, in a fixed number of optimisation steps.

Recipe of LIVECell's anchor-based configuration, on which arXiv 2310.03981 builds: SGD with momentum
0.9, batches of 16, learning rate 0.02 that falls to a tenth after 17,500 and again after 20,000 of
30,000 steps. Weight decay 1e-4 and the linear warm-up are detectron2's defaults. Named deviations:
images are cropped and flipped, not resized; the norm of the gradient is bounded, which the
configuration does not state; crowds are left out of training.

A training can stop after some steps and go on later (:class:`DetectorTraining`), so that another
task may train the backbone in between (alternate multi-task pretraining, arXiv 2310.03981).
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from helpers.errors import DataError, ParameterError
from helpers.files import read_torch, write_torch
from helpers.fingerprints import of_json
from helpers.metrics.detection import Instances
from helpers.models.cascade import Detector, image_tensor
from helpers.models.device import resolve_device
from helpers.models.l2sp import Anchor, decay_groups
from helpers.randomness import global_seed, step_generator, step_seed
from helpers.training.semantic import batch_at
from helpers.training.watch import Check, evenly
from helpers.views.boxes import Flip, draw_box_view, view_image, view_objects

Decay = Literal["step", "cosine", "constant"]
Annotated = tuple[np.ndarray, Instances]
"""An image uint8 (h, w, 3) and its objects."""

# Streams of random numbers that one seed is split into; 1 is the order of images.
_VIEWS, _NETWORK = 2, 3
# Images that a checkpoint's identity looks at; more would mean to read a whole data set.
_LOOKED_AT = 16


@dataclass(frozen=True)
class DetectionPlan:
    """How one detector is trained.

    Attributes:
        steps: optimisation steps.
        batch_size: images per step.
        learning_rate: after the warm-up; 0.02 is for batches of 16.
        momentum: of SGD.
        weight_decay: of all trained parameters that are not anchored.
        warmup: first steps, in which the learning rate grows linearly.
        decay: ``"step"``: a tenth from each of ``decay_at`` on; ``"cosine"``: to zero along half a
            cosine after the warm-up; or ``"constant"``.
        decay_at: shares of the steps, ascending; the defaults are LIVECell's.
        clip_norm: bound of the gradient's norm over all parameters; 0 for none.
        crop: side of random square windows in pixels; 0 for whole images.
        flip: see :func:`helpers.views.boxes.draw_box_view`.
        looks: how often ``on_look`` is called: evenly, the last time after the last step.
        look_at: numbers of steps done at which it is called instead, ascending.
        precision: ``"bfloat16"`` or ``"float32"`` for the layers' arithmetic; boxes and losses are
            float32.
        checkpoint_every: steps between checkpoints; 0 writes none.
    """

    steps: int
    batch_size: int = 16
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: int = 1000
    decay: Decay = "step"
    decay_at: tuple[float, ...] = (17.5 / 30, 20 / 30)
    clip_norm: float = 10.0
    crop: int = 0
    flip: Flip = "horizontal"
    looks: int = 10
    look_at: tuple[int, ...] = ()
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "looks"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name}={getattr(self, name)}: expected at least 1")
        for name in ("weight_decay", "warmup", "clip_norm", "crop", "checkpoint_every"):
            if not getattr(self, name) >= 0:
                raise ParameterError(f"{name}={getattr(self, name)}: expected 0 or above")
        if not self.learning_rate > 0:
            raise ParameterError(f"learning_rate={self.learning_rate}: expected above 0")
        if list(self.decay_at) != sorted(self.decay_at) or not all(
            0 < s < 1 for s in self.decay_at
        ):
            raise ParameterError(f"decay_at={self.decay_at}: expected ascending shares, 0 to 1")
        if list(self.look_at) != sorted({s for s in self.look_at if 1 <= s <= self.steps}):
            raise ParameterError(
                f"look_at={self.look_at}: expected ascending numbers from 1 to steps={self.steps}"
            )
        for name, choices in (
            ("decay", get_args(Decay)),
            ("flip", get_args(Flip)),
            ("precision", ("float32", "bfloat16")),
        ):
            if getattr(self, name) not in choices:
                raise ParameterError(
                    f"{name}={getattr(self, name)!r}: expected one of {', '.join(choices)}"
                )

    @property
    def look_steps(self) -> tuple[int, ...]:
        """Numbers of steps done at which ``on_look`` is called."""
        return self.look_at or tuple(step for step in evenly(self.steps, self.looks) if step)


@dataclass
class DetectionLog:
    """What a training leaves besides the weights.

    Attributes:
        losses: of every step, the detector's alone.
        parts: of every step by name; those of the detector add up to its loss, ``"anchor"`` is the
            penalty of an anchor and comes on top.
        checks: of every look, ``"step"`` and what ``on_look`` returned.
        seconds: spent on steps, looks left out.
    """

    losses: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0


def learning_rate_at(step: int, plan: DetectionPlan) -> float:
    """Learning rate of step 0, 1, ..., ``plan.steps - 1``; never 0."""
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    if plan.decay == "cosine":
        share = (step - plan.warmup) / (plan.steps - plan.warmup)
        return plan.learning_rate * (1 + math.cos(math.pi * share)) / 2
    falls = sum(step >= share * plan.steps for share in plan.decay_at)
    return plan.learning_rate * 0.1 ** (falls if plan.decay == "step" else 0)


def train_detector(
    model: Detector,
    data: Sequence[Annotated],
    plan: DetectionPlan,
    seed: int,
    checkpoint: Path | None = None,
    on_step: Callable[[int, float], None] | None = None,
    on_look: Callable[[int, Detector], Check | None] | None = None,
    device: str = "cpu",
    anchor: Anchor | None = None,
) -> DetectionLog:
    """Train in place.

    On the CPU two runs with equal arguments on one thread give identical numbers, with or without
    an interruption in between. Batches, views and sampled proposals depend on ``seed`` and the
    number of the step alone.

    Args:
        model: its weights are the start; it is left on ``device`` and in evaluation mode.
        data: images with their objects, read when they are asked for; images without objects are
            trained on as background.
        checkpoint: file to resume from, written every ``plan.checkpoint_every`` steps and at the
            end; removed by the caller when it has kept the result.
        on_step: called with (steps done, loss) after every step (on a GPU every few).
        on_look: called at every look with (steps done, the detector in evaluation mode); numbers
            that it returns by name join the look in the log.
        device: see :func:`helpers.models.device.resolve_device`.
        anchor: of this detector (:func:`helpers.models.cascade.anchor_backbone`): its penalty is
            added to the loss, and what it anchors has no ordinary weight decay.

    Raises:
        ParameterError: no data, an image or labels that do not fit, or a loss that is no longer
            finite.
        DataError: the checkpoint is not one of this training.
    """
    training = DetectorTraining(model, data, plan, seed, device, anchor)
    if checkpoint is not None and checkpoint.is_file():
        training.restore(read_torch(checkpoint), checkpoint)
    looks = plan.look_steps if on_look else ()
    every = plan.checkpoint_every if checkpoint else 0
    while training.done < plan.steps:
        stops = [plan.steps, *(look for look in looks if look > training.done)]
        if every:
            stops.append((training.done // every + 1) * every)
        training.run(min(stops) - training.done, on_step)
        if training.done in looks:
            training.look(on_look)
        if every and (training.done % every == 0 or training.done == plan.steps):
            write_torch(checkpoint, training.state())
    model.eval()
    return training.log


class DetectorTraining:
    """A training that can stop after any step and go on later.

    What another task does to the backbone in between is its own affair: the anchor's reference is
    not refreshed here (``anchor.refresh()``), and the momentum of the steps before is kept unless
    it is dropped (`forget_momentum`).

    Args:
        model, data, plan, seed, device, anchor: see `train_detector`. The learning rate is that of
            the step within ``plan.steps``, counted over all runs.

    Attributes:
        log: of all runs together.
    """

    def __init__(
        self,
        model: Detector,
        data: Sequence[Annotated],
        plan: DetectionPlan,
        seed: int,
        device: str = "cpu",
        anchor: Anchor | None = None,
    ) -> None:
        if not len(data):
            raise ParameterError("data holds no image; expected at least one")
        self.model, self.data, self.plan, self.seed = model, data, plan, seed
        self.anchor = anchor
        self.device = resolve_device(device)
        self.identity = _identity(model, data, plan, seed, anchor)
        model.to(self.device)
        if anchor is not None:
            # Its reference lies where the weights lay.
            anchor.restore(anchor.state())
        self.optimiser = self._new_optimiser()
        self.log = DetectionLog()
        # Reading a loss makes the processor wait for the GPU.
        self._read_every = 1 if self.device.type == "cpu" else 10
        self._unread: list[torch.Tensor] = []
        self._names: tuple[str, ...] = ()

    @property
    def done(self) -> int:
        """Steps done so far."""
        return len(self.log.losses)

    def run(
        self, steps: int | None = None, on_step: Callable[[int, float], None] | None = None
    ) -> DetectionLog:
        """The next ``steps`` steps, no more than the plan has left; all that are left for None."""
        first = self.done
        last = self.plan.steps if steps is None else min(first + steps, self.plan.steps)
        for step in range(first, last):
            begin = time.perf_counter()
            self._unread.append(self._step(step))
            if (step + 1) % self._read_every == 0 or step + 1 == last:
                self._read_losses()
            self.log.seconds += time.perf_counter() - begin
            if on_step and not self._unread:
                on_step(step + 1, self.log.losses[-1])
        return self.log

    def look(self, on_look: Callable[[int, Detector], Check | None]) -> None:
        """Put what ``on_look`` finds into the log."""
        self.model.eval()
        found = {
            name: float(value) for name, value in (on_look(self.done, self.model) or {}).items()
        }
        if "step" in found:
            raise ParameterError(
                "on_look returned 'step': expected other names than the look's own"
            )
        self.model.to(self.device)
        self.log.checks.append({"step": self.done, **found})

    def forget_momentum(self) -> None:
        """Go on with a fresh optimiser."""
        self.optimiser = self._new_optimiser()

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, in tensors and plain values."""
        return {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "anchor": self.anchor.state() if self.anchor else {},
            "log": asdict(self.log),
        }

    def restore(self, state: dict[str, Any], path: Path | None = None) -> None:
        """Go on from what `state` gave for an equal training.

        Args:
            path: of the file it comes from, for the message.

        Raises:
            DataError: it is of another training.
        """
        try:
            if state["identity"] != self.identity:
                raise ValueError("other plan, seed, data, anchor or starting weights")
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            if self.anchor is not None:
                self.anchor.restore(state["anchor"])
            self.log = DetectionLog(**state["log"])
        except (RuntimeError, TypeError, KeyError, ValueError) as error:
            raise DataError(
                f"{path or 'state'}: not a checkpoint of this training ({error}). "
                "Delete it to start afresh."
            ) from error
        self._names = tuple(self.log.parts)

    def _new_optimiser(self) -> torch.optim.Optimizer:
        plan = self.plan
        groups = decay_groups(self.model, plan.weight_decay, self.anchor)
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum)

    def _step(self, step: int) -> torch.Tensor:
        """One optimisation step; the parts of its loss in the order of their names."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(step, self.plan)
        images, targets = self._batch(step)
        self.model.train()
        precision = getattr(torch, self.plan.precision)
        autocast = torch.autocast(
            self.device.type, dtype=precision, enabled=precision != torch.float32
        )
        # torchvision draws the sampled proposals from the global generator.
        with global_seed(step_seed(self.seed, _NETWORK, step), self.device), autocast:
            parts = self.model(images, targets)
        if self.anchor is not None:
            parts["anchor"] = self.anchor.penalty()
        self._names = tuple(parts)
        self.optimiser.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        if self.plan.clip_norm:
            trained = [p for group in self.optimiser.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(trained, self.plan.clip_norm)
        self.optimiser.step()
        return torch.stack([part.detach() for part in parts.values()])

    def _batch(self, step: int) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
        """Images and targets of one step, as torchvision takes them."""
        plan = self.plan
        generator = step_generator(self.seed, _VIEWS, step)
        images, targets = [], []
        for place in batch_at(step, len(self.data), plan.batch_size, self.seed).tolist():
            image, objects = self.data[place]
            _check_pair(place, image, objects, self.model.spec.n_classes)
            view = draw_box_view(objects.size, plan.crop, plan.flip, generator)
            images.append(image_tensor(view_image(image, view)).to(self.device))
            seen = view_objects(objects, view)
            targets.append(
                {
                    name: torch.from_numpy(getattr(seen, name)).to(self.device)
                    for name in ("boxes", "labels", "masks")
                }
            )
        return images, targets

    def _read_losses(self) -> None:
        for values in torch.stack(self._unread).tolist():
            parts = dict(zip(self._names, values, strict=True))
            if not np.isfinite(values).all():
                wrong = {name: value for name, value in parts.items() if not np.isfinite(value)}
                raise ParameterError(
                    f"training diverged at step {self.done}: {wrong}. Lower learning_rate (now "
                    f"{self.plan.learning_rate}), raise warmup (now {self.plan.warmup}), or bound "
                    f"the gradient more tightly (clip_norm, now {self.plan.clip_norm})."
                )
            for name, value in parts.items():
                self.log.parts.setdefault(name, []).append(value)
            self.log.losses.append(sum(v for name, v in parts.items() if name != "anchor"))
        self._unread.clear()


def _check_pair(place: int, image: np.ndarray, objects: Instances, n_classes: int) -> None:
    if tuple(image.shape[:2]) != tuple(objects.size):
        raise ParameterError(
            f"image {place} is of {image.shape[:2]} pixels and its objects of {objects.size}; "
            "expected one size (height, width)"
        )
    if len(objects) and objects.labels.max() > n_classes:
        raise ParameterError(
            f"image {place} has label {objects.labels.max()}; expected 1 to {n_classes}, the "
            "detector's classes"
        )


def _identity(
    model: Detector,
    data: Sequence[Annotated],
    plan: DetectionPlan,
    seed: int,
    anchor: Anchor | None,
) -> str:
    """Equal for equal trainings: what a checkpoint must have in common with the run it serves."""
    weights = hashlib.sha256()
    for name, value in model.state_dict().items():
        weights.update(name.encode())
        weights.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    some = sorted({round(k * (len(data) - 1) / _LOOKED_AT) for k in range(_LOOKED_AT + 1)})
    looked = [data[place] for place in some]
    return of_json(
        {
            "spec": asdict(model.spec),
            "plan": asdict(plan),
            "seed": seed,
            "images": len(data),
            "looked at": [
                [list(image.shape), float(image.sum(dtype=np.float64)), float(objects.boxes.sum())]
                for image, objects in looked
            ],
            "anchor": [anchor.weight, *anchor.names] if anchor else [],
            "weights": weights.hexdigest(),
            "trained": [name for name, p in model.named_parameters() if p.requires_grad],
        }
    )
