"""Training of a detector, in a fixed number of optimisation steps.

Recipe of LIVECell's anchor-based configuration, on which arXiv 2310.03981 builds: SGD with momentum
0.9, batches of 16, learning rate 0.02. Weight decay 1e-4 and the linear warm-up are detectron2's
defaults. Named deviations: the rate falls along half a cosine, and not to a tenth after 17,500 and
20,000 of 30,000 steps; images are cropped and flipped, not resized; the norm of the gradient is
bounded, which the configuration does not state; crowds are left out of training.

A training can stop after some steps and go on later (:class:`DetectorTraining`), so that another
task may train the backbone in between (alternate multi-task pretraining, arXiv 2310.03981).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from helpers.errors import ParameterError
from helpers.files import read_torch, write_torch
from helpers.fingerprints import of_json
from helpers.metrics.detection import Instances
from helpers.models.cascade import Detector, image_tensor
from helpers.models.device import autocast, read_every, resolve_device, set_rate
from helpers.models.l2sp import Anchor, decay_groups
from helpers.models.weights import resuming, weights_digest
from helpers.randomness import batch_at, global_seed, step_generator, step_seed
from helpers.views.boxes import Flip, draw_box_view, view_image, view_objects

Annotated = tuple[np.ndarray, Instances]
"""An image uint8 (h, w, 3) and its objects."""

# Streams of random numbers that one seed is split into; 1 is the order of images.
_VIEWS, _NETWORK = 2, 3
MOMENTUM = 0.9
# Bound of the gradient's norm over all parameters.
CLIP_NORM = 10.0
# Images that a checkpoint's identity looks at; more would mean to read a whole data set.
_LOOKED_AT = 16


@dataclass(frozen=True)
class DetectionPlan:
    """How one detector is trained.

    Attributes:
        steps: optimisation steps.
        batch_size: images per step.
        learning_rate: after the warm-up; 0.02 is for SGD and batches of 16.
        weight_decay: of all trained parameters that are not anchored.
        warmup: first steps, in which the learning rate grows linearly.
        crop: side of random square windows in pixels; 0 for whole images.
        flip: see :func:`helpers.views.boxes.draw_box_view`.
        precision: ``"bfloat16"`` or ``"float32"`` for the layers' arithmetic; boxes and losses are
            float32.
        checkpoint_every: steps between checkpoints; 0 writes none.
        optimiser: ``"sgd"`` with momentum (published) or ``"adamw"``, for short trainings.
    """

    steps: int
    batch_size: int = 16
    learning_rate: float = 0.02
    weight_decay: float = 1e-4
    warmup: int = 1000
    crop: int = 0
    flip: Flip = "horizontal"
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpoint_every: int = 500
    optimiser: Literal["sgd", "adamw"] = "sgd"


@dataclass
class DetectionLog:
    """What a training leaves besides the weights.

    Attributes:
        losses: of every step, the detector's alone.
        parts: of every step by name; those of the detector add up to its loss, ``"anchor"`` is the
            penalty of an anchor and comes on top.
        seconds: spent on steps.
    """

    losses: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0


def learning_rate_at(step: int, plan: DetectionPlan) -> float:
    """Learning rate of step 0, 1, ..., ``plan.steps - 1``; never 0.

    After the warm-up it falls to zero along half a cosine.
    """
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    share = (step - plan.warmup) / (plan.steps - plan.warmup)
    return plan.learning_rate * (1 + math.cos(math.pi * share)) / 2


def train_detector(
    model: Detector,
    data: Sequence[Annotated],
    plan: DetectionPlan,
    seed: int,
    checkpoint: Path | None = None,
    on_step: Callable[[int, float], None] | None = None,
    device: str = "cpu",
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
        device: see :func:`helpers.models.device.resolve_device`.

    Raises:
        ParameterError: a loss that is no longer finite.
        DataError: the checkpoint is not one of this training.
    """
    training = DetectorTraining(model, data, plan, seed, device)
    if checkpoint is not None and checkpoint.is_file():
        training.restore(read_torch(checkpoint), checkpoint)
    every = plan.checkpoint_every if checkpoint else 0
    while training.done < plan.steps:
        training.run(every - training.done % every if every else None, on_step)
        if every:
            write_torch(checkpoint, training.state())
    model.eval()
    return training.log


class DetectorTraining:
    """A training that can stop after any step and go on later.

    What another task does to the backbone in between is its own affair: the anchor's reference is
    not refreshed here (``anchor.refresh()``), and the momentum of the steps before is kept unless
    it is dropped (`forget_momentum`).

    Args:
        model, data, plan, seed, device: see `train_detector`. The learning rate is that of the step
            within ``plan.steps``, counted over all runs.
        anchor: of this detector (:func:`helpers.models.cascade.anchor_backbone`): its penalty is
            added to the loss, and what it anchors has no ordinary weight decay.

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
        self._read_every = read_every(self.device)
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
        with resuming(path):
            if state["identity"] != self.identity:
                raise ValueError("other plan, seed, data, anchor or starting weights")
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            if self.anchor is not None:
                self.anchor.restore(state["anchor"])
            self.log = DetectionLog(**state["log"])
        self._names = tuple(self.log.parts)

    def _new_optimiser(self) -> torch.optim.Optimizer:
        plan = self.plan
        groups = decay_groups(self.model, plan.weight_decay, self.anchor)
        if plan.optimiser == "adamw":
            return torch.optim.AdamW(groups, lr=plan.learning_rate)
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=MOMENTUM)

    def _step(self, step: int) -> torch.Tensor:
        """One optimisation step; the parts of its loss in the order of their names."""
        set_rate(self.optimiser, learning_rate_at(step, self.plan))
        images, targets = self._batch(step)
        self.model.train()
        # torchvision draws the sampled proposals from the global generator.
        own = global_seed(step_seed(self.seed, _NETWORK, step), self.device)
        with own, autocast(self.device, self.plan.precision):
            parts = self.model(images, targets)
        if self.anchor is not None:
            parts["anchor"] = self.anchor.penalty()
        self._names = tuple(parts)
        self.optimiser.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        trained = [p for group in self.optimiser.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(trained, CLIP_NORM)
        self.optimiser.step()
        return torch.stack([part.detach() for part in parts.values()])

    def _batch(self, step: int) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
        """Images and targets of one step, as torchvision takes them."""
        plan = self.plan
        generator = step_generator(self.seed, _VIEWS, step)
        images, targets = [], []
        for place in batch_at(step, len(self.data), plan.batch_size, self.seed).tolist():
            image, objects = self.data[place]
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
                    f"{self.plan.learning_rate}) or raise warmup (now {self.plan.warmup})."
                )
            for name, value in parts.items():
                self.log.parts.setdefault(name, []).append(value)
            self.log.losses.append(sum(v for name, v in parts.items() if name != "anchor"))
        self._unread.clear()


def _identity(
    model: Detector,
    data: Sequence[Annotated],
    plan: DetectionPlan,
    seed: int,
    anchor: Anchor | None,
) -> str:
    """Equal for equal trainings: what a checkpoint must have in common with the run it serves."""
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
            "weights": weights_digest(model),
            "trained": [name for name, p in model.named_parameters() if p.requires_grad],
        }
    )
