"""Pairs of views for MoCo v2 (Chen et al. 2020, arXiv 2003.04297, the released ``--aug-plus``).

Crops of 20 to 100 % of the area, half of them mirrored; brightness, contrast and saturation
jittered by 0.4 and hue by 0.1 in 80 %; 20 % grey; half blurred by a Gaussian of 0.1 to 2 pixels.

All is done for a whole batch on the device: crops by :func:`helpers.pretraining.augment.cut_crops`
with its deviations (fractions of a pixel, nothing smoothed), the rest by
:func:`helpers.pretraining.twin.change_view` with its own (images of a view share the order of the
jitter's steps; the blur is as wide as published in views of 224 pixels and in proportion in
others).
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from helpers.pretraining.augment import cut_crops, draw_crops
from helpers.pretraining.progress import STEPS
from helpers.pretraining.stepwise import read_ahead
from helpers.pretraining.twin import ViewRecipe, change_view
from helpers.randomness import step_generator
from helpers.views.jitter import JitterStrength

RECIPE = ViewRecipe(0.5, 0.0, JitterStrength(0.4, 0.4, 0.4, 0.1))
# Crops cover between this share of the image and all of it.
SMALLEST_CROP = 0.2


@dataclass(frozen=True, eq=False)
class Pairs:
    """What a step of contrast sees.

    Attributes:
        first, second: float32 (n, 3, size, size) in 0..1 on the device.
        ids: int64 (n,) on the device, which images they are.
        generator: from which the views were drawn, for what else is random in the step.
    """

    first: Tensor
    second: Tensor
    ids: Tensor
    generator: torch.Generator


@dataclass(frozen=True, eq=False)
class PairSource:
    """Images, and how pairs of views are made of them, as large as they are.

    Attributes:
        images: uint8 (n, h, h, 3), memory-mapped or not.
        ids: int64 (n,), which images show the same (:func:`identify`).
        seed: of the views.
        device: of the views.
    """

    images: np.ndarray
    ids: np.ndarray
    seed: int
    device: torch.device

    def pairs(self, rows: Iterable[np.ndarray], first: int = 0) -> Iterator[Pairs]:
        """Views for steps ``first``, ``first`` + 1, ..., which see the images in ``rows``.

        What a step sees depends on (seed, step, rows of the step) alone. Images are read one step
        ahead.

        Args:
            rows: for each step, int64 (n,).
        """

        def read(chosen: np.ndarray) -> tuple[np.ndarray, Tensor]:
            return chosen, torch.from_numpy(np.ascontiguousarray(self.images[chosen]))

        for step, (chosen, pixels) in enumerate(read_ahead(read, rows), first):
            yield self._views(chosen, pixels, step_generator(self.seed, STEPS, step))

    def _views(self, rows: np.ndarray, read: Tensor, generator: torch.Generator) -> Pairs:
        pixels = unit(read, self.device)
        crops = [draw_crops(len(rows), SMALLEST_CROP, generator) for _ in range(2)]
        cut = [cut_crops(pixels, one, read.shape[1]) for one in crops]
        first, second = (change_view(one, RECIPE, generator) for one in cut)
        ids = torch.from_numpy(self.ids[rows]).to(self.device)
        return Pairs(first, second, ids, generator)


def unit(pixels: Tensor, device: torch.device) -> Tensor:
    """uint8 (n, h, w, 3) to float32 (n, 3, h, w) in 0..1 on the device."""
    return pixels.to(device).permute(0, 3, 1, 2).float() / 255


def identify(images: np.ndarray) -> tuple[np.ndarray, str]:
    """Which images have the same pixels, and a fingerprint of all; each is read once.

    Returns:
        For each image the number of the first that is the same, int64 (n,); and 32 hexadecimal
        digits.
    """
    digests = [_digest(image) for image in images]
    first: dict[bytes, int] = {}
    for number, digest in enumerate(digests):
        first.setdefault(digest, number)
    ids = np.array([first[digest] for digest in digests], np.int64)
    return ids, hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()


def _digest(image: np.ndarray) -> bytes:
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image))
    return digest.digest()
