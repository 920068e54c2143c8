"""Losses of semantic segmentation."""

from typing import Literal

import torch
import torch.nn.functional as F

Loss = Literal["dice", "cross_entropy", "sum"]

EPSILON = 1e-5
"""Smoothing term of the released configurations of arXiv 2410.18677."""


def soft_dice(probabilities: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Soft Dice of every class over all pixels of a batch together, (n_classes,).

    With p the probability of a class and y 1 where it is the true one, else 0, as in the released
    code of arXiv 2410.18677:

        (2 sum p y + epsilon) / (sum p^2 + sum y + epsilon)

    p is squared so that the score is 1 for p = y only. A class that the batch does not show scores
    epsilon / (sum p^2 + epsilon): any trace of it costs nearly everything, nothing at all nothing.

    Args:
        probabilities: (n, n_classes, h, w), summing to 1 over the classes.
        target: int64 (n, h, w), 0..n_classes - 1.
    """
    shared, sizes = _overlap(probabilities, target)
    return (2 * shared + EPSILON) / (sizes + EPSILON)


def _overlap(
    probabilities: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """sum p y and sum p^2 + sum y of every class, (n_classes,) each."""
    truth = F.one_hot(target, probabilities.shape[1]).permute(0, 3, 1, 2).to(probabilities.dtype)
    pixels = (0, 2, 3)
    shared = (probabilities * truth).sum(dim=pixels)
    return shared, probabilities.square().sum(dim=pixels) + truth.sum(dim=pixels)


def batch_dice_loss(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - the mean of `soft_dice` over all classes, the background one of them.

    Deviation: probabilities are the softmax of ``scores``. The released configurations name a
    single sigmoid, which for two classes can learn the same functions.

    Args:
        scores: (n, n_classes, h, w), before the softmax.
        target: int64 (n, h, w).
    """
    return 1 - soft_dice(scores.softmax(dim=1), target).mean()


def semantic_loss(scores: torch.Tensor, target: torch.Tensor, loss: Loss = "dice") -> torch.Tensor:
    """`batch_dice_loss` (published), the mean cross-entropy over pixels, or the sum of the two.

    For two classes the cross-entropy is the binary one of the logit s_1 - s_0, so that ``"sum"`` is
    binary cross-entropy + Dice.

    A batch without a class has a finite loss: its Dice term is next to 0 and hardly moves the
    network (see `soft_dice`), the cross-entropy pushes the class down as anywhere else.

    Args:
        scores: float32 (n, n_classes, h, w), before the softmax.
        target: int64 (n, h, w).
    """
    if loss == "dice":
        return batch_dice_loss(scores, target)
    if loss == "cross_entropy":
        return F.cross_entropy(scores, target)
    return batch_dice_loss(scores, target) + F.cross_entropy(scores, target)


class PooledLoss:
    """`semantic_loss` of pixels that come in parts, as if all of them were one batch.

    The soft Dice of a batch is no mean over its parts. Kept are the sums that it is made of, so
    that the result does not depend on how images are cut up or put together.
    """

    def __init__(self, n_classes: int, loss: Loss) -> None:
        self.loss = loss
        self._shared, self._sizes = torch.zeros((2, n_classes), dtype=torch.float64)
        self._entropy, self._pixels = 0.0, 0

    def add(self, probabilities: torch.Tensor, target: torch.Tensor) -> None:
        """Take in some images.

        Args:
            probabilities: float32 (n, n_classes, h, w), summing to 1 over the classes, on the CPU.
            target: int64 (n, h, w), on the CPU.
        """
        exact = probabilities.double()
        shared, sizes = _overlap(exact, target)
        self._shared += shared
        self._sizes += sizes
        # Of a true class that is given no chance the logarithm would be infinite: it counts 87.
        found = exact.gather(1, target[:, None]).clamp_min(torch.finfo(torch.float32).tiny)
        self._entropy -= float(found.log().sum())
        self._pixels += target.numel()

    def value(self) -> float:
        """The loss of all that was taken in, at least one image."""
        dice = 1 - float(((2 * self._shared + EPSILON) / (self._sizes + EPSILON)).mean())
        entropy = self._entropy / self._pixels
        return {"dice": dice, "cross_entropy": entropy, "sum": dice + entropy}[self.loss]
