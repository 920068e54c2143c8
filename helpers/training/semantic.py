"""Training of a semantic segmenter, in a fixed number of optimisation steps.

Recipe of arXiv 2410.18677 (released configurations): batches of 24, SGD with momentum 0.9 and
weight decay 1e-4 on everything, learning rate 0.05 with polynomial decay, soft Dice of the whole
batch with the background, rotation by any angle and flips. Named deviations: steps instead of 150
epochs, so that arms with other data see equally many; a softmax over all classes; views are
resampled once.

arXiv 2307.03275 states a constant learning rate of 1e-4, random patches of 256 x 256 pixels, flips,
rotation and translation, 2000 or 4000 epochs, and the weights of the lowest loss on the fifth of
the images that is held back. It states neither optimiser nor loss nor batch size nor how far
patches are shifted. One reading of it: ``optimiser="adam"``, ``learning_rate=1e-4``,
``decay_power=0``, ``loss="sum"``, ``crop=256``, ``translate=0.1``, a list of images of any size,
one patch of each image per epoch, and ``selection="best_validation_loss"``.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from helpers.errors import ParameterError
from helpers.files import read_torch, write_torch
from helpers.fingerprints import of_json
from helpers.metrics.semantic import class_confusion, image_confusions, semantic_scores
from helpers.models.device import autocast, read_every, resolve_device, set_rate
from helpers.models.l2sp import decay_groups
from helpers.models.semantic import Segmenter, class_probabilities, predict_classes
from helpers.models.sliding import predict_sliding
from helpers.models.weights import resuming, weights_digest
from helpers.randomness import global_seed, step_generator, step_seed
from helpers.training.losses import Loss, PooledLoss, semantic_loss
from helpers.training.watch import Check, evenly
from helpers.views.windows import apply_views, cut_windows, draw_turns, draw_windows

Selection = Literal["last", "best_validation", "best_validation_loss"]
Optimiser = Literal["sgd", "adam"]
Arrays = np.ndarray | Sequence[np.ndarray]
"""A stack, or a list of arrays of any height and width."""

# Streams of random numbers that one seed is split into.
_ORDER, _VIEWS, _NETWORK = 1, 2, 3


@dataclass(frozen=True)
class SemanticPlan:
    """How one segmenter is trained.

    Attributes:
        steps: optimisation steps; see :func:`helpers.training.loop.steps_for_epochs`.
        batch_size: images per step.
        optimiser: ``"sgd"`` (published) or ``"adam"``.
        learning_rate: of the first step.
        momentum: of SGD.
        weight_decay: of all trained parameters.
        decay_power: the rate falls as (1 - step / steps) to this power; 0 keeps it constant.
        loss: see :func:`helpers.training.losses.semantic_loss`.
        crop: of a list of images: side of the random square windows in pixels. Stacks are seen
            whole.
        translate: windows are shifted further by up to this share of their sides, 0..1. arXiv
            2307.03275 translates and does not say how far: a value is our choice.
        fill: of what a turned image of a stack lacks at its corners, one value or one per channel,
            in the units of the normalised images: -mean / std for black. Images of a list are
            continued by reflection.
        looks: how often validation is looked at: evenly, the last time after the last step.
        precision: ``"bfloat16"`` or ``"float32"`` for the network's arithmetic.
        checkpoint_every: steps between checkpoints; 0 writes none.
    """

    steps: int
    batch_size: int = 24
    optimiser: Optimiser = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_power: float = 0.9
    loss: Loss = "dice"
    crop: int = 0
    translate: float = 0.0
    fill: tuple[float, ...] = (0.0,)
    looks: int = 10
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpoint_every: int = 200

    @property
    def look_steps(self) -> tuple[int, ...]:
        """Numbers of steps done at which validation is looked at."""
        return tuple(step for step in evenly(self.steps, self.looks) if step)


@dataclass
class SemanticLog:
    """What a training leaves besides the weights.

    Attributes:
        losses: of every step.
        checks: of every look, ``"step"``, with validation ``"dice"`` and perhaps ``"loss"`` (see
            `train_segmenter`), and what ``on_look`` returned.
        kept: after which step the network had the weights that it has now.
        seconds: spent on steps, looks left out.
    """

    losses: list[float] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    kept: int = 0
    seconds: float = 0.0


def learning_rate_at(step: int, plan: SemanticPlan) -> float:
    """Learning rate of step 0, 1, ..., ``plan.steps - 1``: polynomial decay, never quite 0."""
    return plan.learning_rate * (1 - step / plan.steps) ** plan.decay_power


def batch_at(step: int, n: int, batch_size: int, seed: int) -> np.ndarray:
    """Which of ``n`` images a step sees, int64 (batch_size,): whole permutations in a row.

    A function of its arguments alone: arms with equal data and seed see equal batches, however
    many steps they take.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    batch = np.empty(batch_size, np.int64)
    for number in np.unique(places // n):
        here = places // n == number
        order = np.random.default_rng([seed, _ORDER, int(number)]).permutation(n)
        batch[here] = order[places[here] % n]
    return batch


def train_segmenter(
    model: Segmenter,
    images: Arrays,
    masks: Arrays,
    plan: SemanticPlan,
    seed: int,
    validation: tuple[Arrays, Arrays] | None = None,
    selection: Selection = "last",
    checkpoint: Path | None = None,
    on_step: Callable[[int, float], None] | None = None,
    device: str = "cpu",
    on_look: Callable[[int, Segmenter], Check | None] | None = None,
) -> SemanticLog:
    """Train in place.

    On the CPU two runs with equal arguments and an equal number of threads give identical numbers,
    with or without an interruption in between. Batches, views and the network's own randomness
    (dropout, stochastic depth) depend on ``seed`` and the number of the step alone.

    Args:
        model: its weights are the start; it is left on ``device`` and in evaluation mode.
        images: float32 (n, channels, h, w), normalised, memory-mapped or not; or a list of float32
            (channels, h, w) of any size with ``plan.crop``: a new window of every image each time
            it is seen. What a window shows beyond the border of its image is the reflection of
            image and mask, see :mod:`helpers.views.windows`; images smaller than the window lie in
            its middle.
        masks: integers (n, h, w), or a list of (h, w), 0..model.n_classes - 1. They may show
            background only, see :func:`helpers.training.losses.semantic_loss`.
        validation: a stack or a list likewise, of any size. What is logged is Dice pooled over all
            pixels, mean over the classes without the background; for a list, or to select by it,
            the loss of all pixels together as well. Stacks are looked at as whole images, lists by
            windows of ``plan.crop`` side by side, the last of a row shifted inside
            (:func:`helpers.models.sliding.predict_sliding`).
        selection: which weights the network has in the end: those after the last step, or of the
            look with the highest validation Dice or the lowest validation loss (arXiv 2307.03275),
            the earliest of equals.
            The published practice of arXiv 2410.18677 is ``"best_validation"`` with the *test* set
            as ``validation`` (``validate_on_test: true`` in the released configurations): scores
            are then too good.
        checkpoint: file to resume from, written every ``plan.checkpoint_every`` steps and at the
            end; removed by the caller when it has kept the result.
        on_step: called with (steps done, loss) after every step (on a GPU every few).
        device: see :func:`helpers.models.device.resolve_device`.
        on_look: called at every look with (steps done, the network in evaluation mode), with
            or without validation: to measure it on other images, or to write its weights to a file
            of that step's name. Numbers that it returns by name join the look in the log, and so
            survive an interruption; a look after the last checkpoint is repeated, with the same
            network.

    Raises:
        ParameterError: no foreground in any validation mask, or a loss that is no longer finite.
        DataError: the checkpoint is not one of this training.
    """
    data = _Data(images, masks, validation, selection)
    if validation is not None and not any(mask.any() for mask in validation[1]):
        raise ParameterError(
            "validation masks show background only; expected images that show the classes"
        )
    return _Training(model, data, plan, seed, checkpoint, on_step, device, on_look).run()


@dataclass(frozen=True)
class _Data:
    images: Arrays
    masks: Arrays
    validation: tuple[Arrays, Arrays] | None
    selection: Selection

    @property
    def measures_loss(self) -> bool:
        """Whether looks see the loss of the validation images."""
        return self.selection == "best_validation_loss" or not _is_stack(self.validation[0])


def _is_stack(images: Arrays) -> bool:
    return isinstance(images, np.ndarray)


class _Training:
    """One run of :func:`train_segmenter`: what its steps share."""

    def __init__(
        self,
        model: Segmenter,
        data: _Data,
        plan: SemanticPlan,
        seed: int,
        checkpoint: Path | None,
        on_step: Callable[[int, float], None] | None,
        device: str,
        on_look: Callable[[int, Segmenter], Check | None] | None,
    ) -> None:
        self.model, self.data, self.plan, self.seed = model, data, plan, seed
        self.checkpoint, self.on_step, self.on_look = checkpoint, on_step, on_look
        self.identity = _identity(model, data, plan, seed, bool(on_look)) if checkpoint else ""
        self.device = resolve_device(device)
        model.to(self.device, memory_format=torch.channels_last)
        self.optimiser = _optimiser(model, plan)
        self.log = SemanticLog()
        self.best: dict = {}
        self.read_every = read_every(self.device)
        self.unread: list[torch.Tensor] = []

    def run(self) -> SemanticLog:
        """All steps that are still to be done."""
        self._resume()
        plan = self.plan
        looks = plan.look_steps if self.data.validation or self.on_look else ()
        for step in range(len(self.log.losses), plan.steps):
            done = step + 1
            saving = bool(self.checkpoint and plan.checkpoint_every) and (
                done % plan.checkpoint_every == 0 or done == plan.steps
            )
            begin = time.perf_counter()
            self.unread.append(self._step(step))
            if done % self.read_every == 0 or saving or done in looks or done == plan.steps:
                self._read_losses()
            self.log.seconds += time.perf_counter() - begin
            if done in looks:
                self._look(done)
            if saving:
                self._save()
            if self.on_step and not self.unread:
                self.on_step(done, self.log.losses[-1])
        if self.best:
            self.model.load_state_dict(self.best["weights"])
        self.log.kept = self.best.get("step", plan.steps)
        self.model.eval()
        return self.log

    def _step(self, step: int) -> torch.Tensor:
        set_rate(self.optimiser, learning_rate_at(step, self.plan))
        images, masks = self._batch(step)
        self.model.train()
        # Dropout draws from the global generator.
        own = global_seed(step_seed(self.seed, _NETWORK, step), self.device)
        with own, autocast(self.device, self.plan.precision):
            scores = self.model(images)
        loss = semantic_loss(scores.float(), masks, self.plan.loss)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.detach()

    def _batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Views of the images of one step."""
        data = self.data
        rows = batch_at(step, len(data.images), self.plan.batch_size, self.seed)
        generator = step_generator(self.seed, _VIEWS, step)
        see = self._seen_of_stack if _is_stack(data.images) else self._seen_of_list
        images, masks = see(rows, generator)
        return images.contiguous(memory_format=torch.channels_last), masks

    def _seen_of_stack(
        self, rows: np.ndarray, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.from_numpy(np.array(self.data.images[rows])).to(self.device)
        masks = torch.from_numpy(np.array(self.data.masks[rows], np.int64)).to(self.device)
        turns = draw_turns(len(rows), generator).to(self.device)
        return apply_views(images, masks, turns, fill=self.plan.fill)

    def _seen_of_list(
        self, rows: np.ndarray, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        plan = self.plan
        images, masks = ([part[r] for r in rows] for part in (self.data.images, self.data.masks))
        shapes = torch.tensor([image.shape[1:] for image in images])
        windows = draw_windows(shapes, plan.crop, plan.translate, generator)
        return cut_windows(images, masks, windows, plan.crop, self.device)

    def _read_losses(self) -> None:
        for loss in torch.stack(self.unread).tolist():
            if not np.isfinite(loss):
                raise ParameterError(
                    f"training diverged at step {len(self.log.losses)}: loss is {loss}. "
                    f"Lower learning_rate (now {self.plan.learning_rate})."
                )
            self.log.losses.append(loss)
        self.unread.clear()

    def _look(self, done: int) -> None:
        check: Check = {"step": done}
        if self.data.validation:
            check |= self._validated()
        if self.on_look:
            self.model.eval()
            found = self.on_look(done, self.model) or {}
            check |= {name: float(value) for name, value in found.items()}
            self.model.to(self.device)
        self.log.checks.append(check)
        if self.data.selection != "last":
            self._keep_if_best(check)

    def _keep_if_best(self, check: Check) -> None:
        by_loss = self.data.selection == "best_validation_loss"
        score = -check["loss"] if by_loss else check["dice"]
        if score > self.best.get("score", -np.inf):
            weights = {name: w.cpu().clone() for name, w in self.model.state_dict().items()}
            self.best = {"step": check["step"], "score": score, "weights": weights}

    def _validated(self) -> Check:
        """Scores of the validation images."""
        images, masks = self.data.validation
        plan, n_classes = self.plan, self.model.n_classes
        if not self.data.measures_loss:
            found = predict_classes(
                self.model, images, plan.batch_size, self.device.type, plan.precision
            )
            counts = image_confusions(found, masks, n_classes)
            return {"dice": semantic_scores(counts).mean_dice()}
        loss, counts = PooledLoss(n_classes, plan.loss), []
        for found, truth in self._predicted(images, masks):
            loss.add(found, torch.from_numpy(np.array(truth, np.int64)))
            counts.append(class_confusion(found.argmax(dim=1).numpy(), truth, n_classes))
        dice = semantic_scores(np.stack(counts)).mean_dice()
        return {"dice": dice, "loss": loss.value()}

    def _predicted(
        self, images: Arrays, masks: Arrays
    ) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
        """Class probabilities (k, n_classes, h, w) of all images and their masks (k, h, w)."""
        plan, device = self.plan, self.device.type
        if _is_stack(images):
            for first in range(0, len(images), plan.batch_size):
                part = slice(first, first + plan.batch_size)
                found = class_probabilities(self.model, images[part], device, plan.precision)
                yield found, masks[part]
            return
        how = {"batch": plan.batch_size, "device": device, "precision": plan.precision}
        for image, mask in zip(images, masks, strict=True):
            found = predict_sliding(self.model, image, plan.crop, plan.crop, **how)
            yield torch.from_numpy(found)[None], mask[None]

    def _save(self) -> None:
        state = {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "log": asdict(self.log),
        }
        write_torch(self.checkpoint, state)

    def _resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        state = read_torch(self.checkpoint)
        with resuming(self.checkpoint):
            if state["identity"] != self.identity:
                raise ValueError("other plan, seed, data, selection or starting weights")
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.best, self.log = state["best"], SemanticLog(**state["log"])


def _optimiser(model: Segmenter, plan: SemanticPlan) -> torch.optim.Optimizer:
    groups = decay_groups(model, plan.weight_decay)
    if plan.optimiser == "adam":
        return torch.optim.Adam(groups, lr=plan.learning_rate)
    return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum)


def _identity(model: Segmenter, data: _Data, plan: SemanticPlan, seed: int, watched: bool) -> str:
    """Equal for equal trainings: what a checkpoint must have in common with the run it serves."""
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    parts = (data.images, data.masks, *(data.validation or ()))
    stacks = [[part] if _is_stack(part) else part for part in parts]
    return of_json(
        {
            "plan": asdict(plan),
            "seed": seed,
            "selection": data.selection,
            "data": [
                [[list(one.shape), one.sum(dtype=np.float64)] for one in stack] for stack in stacks
            ],
            "watched": watched,
            "weights": weights_digest(model),
            "trained": trained,
        }
    )
