"""What keeps a fine-tuned network near the one it started from, besides replay."""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from helpers.models.l2sp import Anchor


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
        self._network = copy.deepcopy(network).eval()
        for parameter in self._network.parameters():
            parameter.requires_grad_(False)

    def term(
        self, images: torch.Tensor, output: torch.Tensor, sources: torch.Tensor
    ) -> torch.Tensor:
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


@dataclass(frozen=True)
class Guidance:
    """Terms added to the loss; both may be absent, present or combined."""

    anchor: Anchor | None = None
    teacher: Teacher | None = None

    def term(
        self, images: torch.Tensor, output: torch.Tensor, sources: torch.Tensor
    ) -> torch.Tensor:
        """All terms together, a scalar."""
        total = output.new_zeros(())
        if self.teacher is not None:
            total = total + self.teacher.term(images, output, sources)
        if self.anchor is not None:
            total = total + self.anchor.penalty()
        return total


UNGUIDED = Guidance()
