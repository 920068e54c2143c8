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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from helpers.errors import ParameterError
from helpers.metrics.semantic import class_confusion, semantic_scores
from helpers.models.device import autocast, resolve_device
from helpers.models.semantic import Segmenter, class_probabilities
from helpers.models.sliding import predict_sliding
from helpers.randomness import batch_at
from helpers.training.loop import Check, Log, Looks, Plan, Schedule, evenly, fit
from helpers.training.losses import Loss, PooledLoss, semantic_loss
from helpers.views.windows import apply_views, cut_windows, draw_turns, draw_windows

Selection = Literal["last", "best_validation", "best_validation_loss"]
Arrays = np.ndarray | Sequence[np.ndarray]
"""A stack, or a list of arrays of any height and width."""


@dataclass(frozen=True)
class SemanticPlan(Plan):
    """How one segmenter is trained.

    Attributes:
        loss: see :func:`helpers.training.losses.semantic_loss`.
        crop: of a list of images: side of the random square windows in pixels. Stacks are seen
            whole.
        translate: windows are shifted further by up to this share of their sides, 0..1. arXiv
            2307.03275 translates and does not say how far: a value is our choice.
        fill: of what a turned image of a stack lacks at its corners, one value or one per channel,
            in the units of the normalised images: -mean / std for black. Images of a list are
            continued by reflection.
        looks: how often validation is looked at: evenly, the last time after the last step.
    """

    batch_size: int = 24
    learning_rate: float = 0.05
    schedule: Schedule = "polynomial"
    loss: Loss = "dice"
    crop: int = 0
    translate: float = 0.0
    fill: tuple[float, ...] = (0.0,)
    looks: int = 10


class Segmentation:
    """The objective: views of images and masks, and the loss of the scores of their pixels.

    Args:
        images: float32 (n, channels, h, w), normalised, memory-mapped or not; or a list of float32
            (channels, h, w) of any size with ``plan.crop``: a new window of every image each time
            it is seen. What a window shows beyond the border of its image is the reflection of
            image and mask, see :mod:`helpers.views.windows`; images smaller than the window lie in
            its middle.
        masks: integers (n, h, w), or a list of (h, w), 0..model.n_classes - 1. They may show
            background only, see :func:`helpers.training.losses.semantic_loss`.
    """

    def __init__(self, model: Segmenter, images: Arrays, masks: Arrays, plan: SemanticPlan) -> None:
        self.network, self.images, self.masks, self.plan = model, images, masks, plan
        self.device = next(model.parameters()).device

    def read(self, rows: np.ndarray, generator: torch.Generator) -> tuple[Any, Any, Any]:
        """Images, masks, and how they will be turned or cut."""
        if _is_stack(self.images):
            images = torch.from_numpy(np.array(self.images[rows]))
            masks = torch.from_numpy(np.array(self.masks[rows], np.int64))
            return images, masks, draw_turns(len(rows), generator)
        images, masks = ([part[row] for row in rows] for part in (self.images, self.masks))
        shapes = torch.tensor([image.shape[1:] for image in images])
        return images, masks, draw_windows(shapes, self.plan.crop, self.plan.translate, generator)

    def loss(self, batch: tuple[Any, Any, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The plan's loss."""
        plan, device, (images, masks, views) = self.plan, self.device, batch
        if _is_stack(self.images):
            images, masks, views = (part.to(device) for part in batch)
            images, masks = apply_views(images, masks, views, fill=plan.fill)
        else:
            images, masks = cut_windows(images, masks, views, plan.crop, device)
        with autocast(device, plan.precision):
            scores = self.network(images.contiguous(memory_format=torch.channels_last))
        return semantic_loss(scores.float(), masks, plan.loss), {}


def train_segmenter(
    model: Segmenter,
    images: Arrays,
    masks: Arrays,
    plan: SemanticPlan,
    seed: int,
    validation: tuple[Arrays, Arrays] | None = None,
    selection: Selection = "last",
    checkpoint: Path | None = None,
    device: str = "cpu",
    on_look: Callable[[int, Segmenter], Check] | None = None,
) -> Log:
    """Train in place.

    Args:
        model: its weights are the start; it is left on ``device`` and in evaluation mode.
        images, masks: see :class:`Segmentation`.
        validation: a stack or a list likewise, of any size. Logged are Dice pooled over all pixels,
            mean over the classes without the background, and the loss of all pixels together.
            Stacks are looked at as whole images, lists by windows of ``plan.crop`` side by side,
            the last of a row shifted inside (:func:`helpers.models.sliding.predict_sliding`).
        selection: which weights the network has in the end: those after the last step, or of the
            look with the highest validation Dice or the lowest validation loss (arXiv 2307.03275),
            the earliest of equals.
            The published practice of arXiv 2410.18677 is ``"best_validation"`` with the *test* set
            as ``validation`` (``validate_on_test: true`` in the released configurations): scores
            are then too good.
        device: see :func:`helpers.models.device.resolve_device`.
        on_look: called at every look with (steps done, the network in evaluation mode), with or
            without validation; its numbers join the look in the log.
        checkpoint: and errors raised, see :class:`helpers.training.loop.Fit`.

    Raises:
        ParameterError: no foreground in any validation mask.
    """
    if validation is not None and not any(mask.any() for mask in validation[1]):
        raise ParameterError(
            "validation masks show background only; expected images that show the classes"
        )
    model.to(resolve_device(device), memory_format=torch.channels_last)
    best = _Best(selection)

    def measure(step: int, network: Segmenter) -> Check:
        check = _validated(network, *validation, plan) if validation else {}
        return check | (on_look(step, network.eval()) if on_look else {})

    steps = [step for step in evenly(plan.steps, plan.looks) if step]
    looks = Looks(steps, measure, lambda checks: best.see(checks[-1], model))
    order = partial(batch_at, n=len(images), batch_size=plan.batch_size, seed=seed)
    options = {"looks": looks if validation or on_look else None, "checkpoint": checkpoint}
    objective = Segmentation(model, images, masks, plan)
    log = fit(objective, order, plan, seed, keeps={"best": best}, **options)
    if best.state:
        model.load_state_dict(best.state["weights"])
        log.kept = best.state["step"]
    return log


class _Best:
    """The weights of the best look so far."""

    def __init__(self, selection: Selection) -> None:
        self.selection, self.state = selection, {}

    def see(self, check: Check, model: Segmenter) -> None:
        if self.selection == "last":
            return
        score = check["dice"] if self.selection == "best_validation" else -check["loss"]
        if score > self.state.get("score", -np.inf):
            weights = {name: w.cpu().clone() for name, w in model.state_dict().items()}
            self.state = {"step": check["step"], "score": score, "weights": weights}

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


def _is_stack(images: Arrays) -> bool:
    return isinstance(images, np.ndarray)


def _validated(model: Segmenter, images: Arrays, masks: Arrays, plan: SemanticPlan) -> Check:
    loss, counts = PooledLoss(model.n_classes, plan.loss), []
    for found, truth in _predicted(model, images, masks, plan):
        loss.add(found, torch.from_numpy(np.array(truth, np.int64)))
        counts.append(class_confusion(found.argmax(dim=1).numpy(), truth, model.n_classes))
    return {"dice": semantic_scores(np.stack(counts)).mean_dice(), "loss": loss.value()}


def _predicted(
    model: Segmenter, images: Arrays, masks: Arrays, plan: SemanticPlan
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Class probabilities (k, n_classes, h, w) of all images and their masks (k, h, w)."""
    how = {"device": next(model.parameters()).device.type, "precision": plan.precision}
    if _is_stack(images):
        for first in range(0, len(images), plan.batch_size):
            part = slice(first, first + plan.batch_size)
            yield class_probabilities(model, images[part], **how), masks[part]
        return
    for image, mask in zip(images, masks, strict=True):
        found = predict_sliding(model, image, plan.crop, plan.crop, batch=plan.batch_size, **how)
        yield torch.from_numpy(found)[None], mask[None]
