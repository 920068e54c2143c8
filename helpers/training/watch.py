"""Looking at a network while it is trained."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from helpers.models.cpnet import memory_format
from helpers.models.device import autocast

Check = dict[str, float]


@dataclass(frozen=True)
class Watch:
    """At which steps to look, at what, and what to do about it.

    Attributes:
        steps: numbers of steps done; 0 is before the first.
        measure: scores of the network, by name.
        react: called after each look with all looks so far (the newest last; ``"step"`` and the
            scores), for instance to change the shares of a mixer.
    """

    steps: tuple[int, ...]
    measure: Callable[[nn.Module], Check]
    react: Callable[[list[Check]], None] | None = None


def evenly(total: int, looks: int) -> tuple[int, ...]:
    """Steps of ``looks`` + 1 looks: before the first step, after the last, and evenly between."""
    return tuple(sorted({round(total * k / looks) for k in range(looks + 1)}))


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
    axes = memory_format(network, precision)
    start = (stack.shape[-1] - crop) // 2
    centre = slice(max(start, 0), max(start, 0) + crop)
    overlap = total = 0
    for first in range(0, len(stack), batch):
        part = np.float32(stack[first : first + batch, :2, centre, centre])
        part = torch.from_numpy(part).to(device)
        images = part[:, :1].contiguous(memory_format=axes)
        with autocast(device, precision):
            found = network(images)[0][:, 2].float() > 0
        truth = part[:, 1] > 0.5
        overlap += int((found & truth).sum())
        total += int(found.sum()) + int(truth.sum())
    return 2 * overlap / total if total else float("nan")
