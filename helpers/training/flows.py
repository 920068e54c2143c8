"""Training of CPnet on stored patches: Cellpose's loss, what holds a network back, a cheap look.

Recipe of arXiv 2511.04803 (learning rate 0.1, weight decay 1e-4), read as Cellpose's retraining
defaults with SGD, momentum 0.9: batch 8, loss = MSE of 5 x flow / 2 + binary cross-entropy. Named
deviations from ``cellpose.train.train_seg`` 3.1: steps instead of epochs; warm-up starts at its
first fraction, not at a learning rate of zero; no patch is dropped for having few instances; the
order of patches is that of a :class:`~helpers.replay.Mixer`, every patch of a pool equally often;
images are scaled once per source image. AdamW with half a cosine stands beside it for short
budgets.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.errors import ParameterError
from helpers.models.cpnet import memory_format
from helpers.models.device import autocast
from helpers.models.l2sp import Anchor
from helpers.replay import Mixer
from helpers.training.loop import Log, Looks, Plan, Schedule, fit
from helpers.training.targets import PatchStore
from helpers.views.affine import apply_affine, draw_affine

FLOW_FACTOR = 5.0


@dataclass(frozen=True)
class TrainingPlan(Plan):
    """How one CPnet is trained.

    Attributes:
        crop: side of the training crops in pixels, a multiple of 8.
        scale_range: width of the random scale interval around 1.
    """

    schedule: Schedule = "cellpose"
    warmup_share: float = 0.05
    checkpoint_every: int = 100
    crop: int = 224
    scale_range: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or self.crop < 8 or self.crop % 8:
            raise ParameterError(
                f"steps={self.steps}, batch_size={self.batch_size}, crop={self.crop}: expected at "
                "least 1 of the first two and a multiple of 8"
            )


def steps_for_epochs(epochs: float, n_patches: int, batch_size: int) -> int:
    """Steps of ``epochs`` passes over ``n_patches`` (at least one step)."""
    return max(1, round(epochs * n_patches / batch_size))


def segmentation_loss(output: Tensor, target: Tensor) -> Tensor:
    """Cellpose's loss: MSE(flow, 5 target flow) / 2 + BCE(logit, foreground).

    Args:
        output: (n, 3, h, w): flow y, flow x, foreground logit.
        target: (n, 3, h, w): foreground (0..1, thresholded at 0.5), flow y, flow x.
    """
    flow = F.mse_loss(output[:, :2], FLOW_FACTOR * target[:, 1:]) / 2
    foreground = (target[:, 0] > 0.5).to(output.dtype)
    return flow + F.binary_cross_entropy_with_logits(output[:, 2], foreground)


class Teacher:
    """Knowledge distillation from the starting network, on images of the new domain.

    After Li & Hoiem, Learning without Forgetting (arXiv 1606.09282): the network before fine-tuning
    answers for the very crops that are trained on, and the new one is asked to agree. There the
    old and the new task have heads of their own; here both domains share one head, so that the
    answers compete with the annotation of the same pixels. In place of softened class scores:
    mean squared difference of the flows / 2 plus cross-entropy to the old foreground probability,
    the same two terms as in the loss itself.

    Args:
        network: whose present weights answer; it is copied.
        weight: of the term in the loss, 0 or above.
    """

    def __init__(self, network: nn.Module, weight: float) -> None:
        self.weight = weight
        self._network = copy.deepcopy(network).eval().requires_grad_(False)

    def term(self, images: Tensor, output: Tensor, sources: Tensor) -> Tensor:
        """Weighted disagreement on the images of store 0, a scalar.

        Replayed images, of other stores, have their true annotation and need no answer.

        Args:
            images: (n, 1, h, w).
            output: (n, 3, h, w) of the network in training: flow y, flow x, foreground logit.
            sources: (n,), store of each image.
        """
        asked = (sources == 0).to(images.device)
        if not asked.any():
            return output.new_zeros(())
        with torch.no_grad():
            answer = self._network(images[asked])[0].float()
        own = output[asked]
        flow = F.mse_loss(own[:, :2], answer[:, :2]) / 2
        foreground = F.binary_cross_entropy_with_logits(own[:, 2], answer[:, 2].sigmoid())
        return self.weight * (flow + foreground)


class Flows:
    """The objective: patches with their flows, turned, scaled and cropped at random."""

    def __init__(
        self,
        network: nn.Module,
        stores: Sequence[PatchStore],
        plan: TrainingPlan,
        teacher: Teacher | None = None,
    ) -> None:
        self.network, self.stores, self.plan, self.teacher = network, stores, plan, teacher
        self.device = next(network.parameters()).device
        self.format = memory_format(network, getattr(torch, plan.precision))
        network.to(memory_format=self.format)

    def read(self, rows: np.ndarray, generator: torch.Generator) -> tuple:
        """Patches by store and number, float16 (n, 4, side, side), and how they will be seen."""
        stack = np.stack([self.stores[store].arrays[patch] for store, patch in rows])
        affine = draw_affine(
            len(stack), stack.shape[-1], self.plan.crop, self.plan.scale_range, generator
        )
        return torch.from_numpy(stack), torch.from_numpy(rows[:, 0]), affine

    def loss(self, batch: tuple) -> tuple[Tensor, dict[str, Tensor]]:
        """Cellpose's loss and the teacher's term; the latter is logged apart."""
        stack, sources, affine = batch
        # Half the bytes on the way to a GPU, full precision once there.
        patches = stack.to(self.device).float()
        patches = apply_affine(patches, affine.to(self.device), self.plan.crop)
        images = patches[:, :1].contiguous(memory_format=self.format)
        with autocast(self.device, self.plan.precision):
            output = self.network(images)[0].float()
            term = self.teacher.term(images, output, sources) if self.teacher else 0.0
        loss = segmentation_loss(output, patches[:, 1:])
        if self.teacher is None:
            return loss, {}
        return loss + term, {"loss": loss, "teacher": term}


def train(
    network: nn.Module,
    stores: Sequence[PatchStore],
    mixer: Mixer,
    plan: TrainingPlan,
    seed: int,
    *,
    anchor: Anchor | None = None,
    teacher: Teacher | None = None,
    looks: Looks | None = None,
    checkpoint: Path | None = None,
    name: str = "",
) -> Log:
    """Train in place on what the mixer draws from the stores.

    A warm start is a network with weights in it; the learning rate warms up anew.

    Args:
        network: CPnet on its device; its weights are the start (random, or a checkpoint's).
        stores: whose patches all have the same side; the mixer's sources are their places.
        seed: of the augmentation.
        anchor, teacher: hold the network near its start.
        looks, checkpoint, name: and errors raised, see :class:`helpers.training.loop.Fit`.
    """
    objective = Flows(network, stores, plan, teacher)
    options = {"looks": looks, "checkpoint": checkpoint, "name": name, "keeps": {"mixer": mixer}}
    return fit(objective, lambda _: mixer.next(), plan, seed, anchor=anchor, **options)


@torch.inference_mode()
def foreground_dice(
    network: nn.Module, stack: np.ndarray, precision: torch.dtype, crop: int, batch: int = 8
) -> float:
    """Dice of the foreground over all pixels of some patches together, 0..1.

    Cheaper than masks of whole images, and enough to see whether a domain is being forgotten: no
    flow is followed, no instance matched.

    Args:
        network: CPnet; it is left in evaluation mode.
        stack: (n, 4, side, side) as in a patch store.
        precision: of the network's arithmetic.
        crop: side of the central part looked at, in pixels.
        batch: patches at a time.

    Returns:
        nan if neither the annotation nor the network shows any foreground.
    """
    network.eval()
    device = next(network.parameters()).device
    start = max((stack.shape[-1] - crop) // 2, 0)
    centre = slice(start, start + crop)
    overlap = total = 0
    for first in range(0, len(stack), batch):
        part = np.float32(stack[first : first + batch, :2, centre, centre])
        part = torch.from_numpy(part).to(device)
        images = part[:, :1].contiguous(memory_format=memory_format(network, precision))
        with autocast(device, precision):
            found = network(images)[0][:, 2].float() > 0
        truth = part[:, 1] > 0.5
        overlap += int((found & truth).sum())
        total += int(found.sum()) + int(truth.sum())
    return 2 * overlap / total if total else float("nan")
