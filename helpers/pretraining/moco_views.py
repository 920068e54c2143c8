"""Pairs of views for MoCo v2 (Chen et al. 2020, arXiv 2003.04297, the released ``--aug-plus``).

Crops of 20 to 100 % of the area, half of them mirrored; brightness, contrast and saturation
jittered by 0.4 and hue by 0.1 in 80 %; 20 % grey; half blurred by a Gaussian of 0.1 to 2 pixels.

All but the crops is done for a whole batch on the device, by
:func:`helpers.pretraining.twin.change_view` with its deviations (images of a view share the order
of the jitter's steps; the blur is as wide as published in views of 224 pixels and in proportion in
others). So are the crops of an array of
square images at most twice as long as the views (:func:`helpers.pretraining.augment.cut_crops` with
its deviations: fractions of a pixel, nothing smoothed). Other images are cropped one by one on the
processor while the device works: whole pixels, resampled by Pillow as in the released code,
smoothed where they shrink.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from helpers.errors import ParameterError
from helpers.pretraining.augment import LARGEST_RATIO, cut_crops, draw_crops
from helpers.pretraining.identity import STEPS
from helpers.pretraining.stepwise import read_ahead
from helpers.pretraining.twin import ViewRecipe, change_view
from helpers.randomness import step_generator
from helpers.views.jitter import JitterStrength

RECIPE = ViewRecipe(0.5, 0.0, JitterStrength(0.4, 0.4, 0.4, 0.1))
SMALLEST_CROP = 0.2
# Longest side of square images, in views, that are cropped without being smoothed.
UNSMOOTHED = 2

Images = np.ndarray | Sequence[np.ndarray]


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
    """Images, and how pairs of views are made of them.

    Attributes:
        images: uint8 (n, h, w, 3), memory-mapped or not, or n arrays (h, w, 3) of any sizes.
        size: side of the views in pixels.
        ids: int64 (n,), which images show the same (:func:`identify`).
        seed: of the views.
        device: of the views.
        smallest_crop: crops cover between this share of the image's area and all of it.

    Raises:
        ParameterError: images of another type or shape, a size below 1, a share out of range.
    """

    images: Images
    size: int
    ids: np.ndarray
    seed: int
    device: torch.device
    smallest_crop: float = SMALLEST_CROP

    def __post_init__(self) -> None:
        check_images(self.images)
        if self.size < 1 or not 0 < self.smallest_crop <= 1:
            raise ParameterError(
                f"size={self.size}, smallest_crop={self.smallest_crop}: expected at least 1 pixel "
                "and a share above 0, up to 1"
            )
        if len(self.ids) != len(self.images):
            raise ParameterError(f"{len(self.ids)} ids of {len(self.images)} images: one for each")

    @property
    def batched(self) -> bool:
        """Whether crops are cut for a whole batch on the device."""
        if not isinstance(self.images, np.ndarray):
            return False
        height, width = self.images.shape[1:3]
        return height == width <= UNSMOOTHED * self.size

    def pairs(self, rows: Iterable[np.ndarray], first: int = 0) -> Iterator[Pairs]:
        """Views for steps ``first``, ``first`` + 1, ..., which see the images in ``rows``.

        What a step sees depends on (seed, step, rows of the step) alone. Images are read one step
        ahead.

        Args:
            rows: for each step, int64 (n,).
        """
        for chosen, read, generator in read_ahead(self._read, enumerate(rows, first)):
            yield self._views(chosen, read, generator)

    def _read(self, item: tuple[int, np.ndarray]) -> tuple[np.ndarray, Tensor, torch.Generator]:
        """Whole images, uint8 (n, h, w, 3), or crops, uint8 (2 n, size, size, 3)."""
        step, rows = item
        generator = step_generator(self.seed, STEPS, step)
        if self.batched:
            read = np.ascontiguousarray(self.images[rows])
        else:
            drawn = torch.rand((2, len(rows), 5), generator=generator).tolist()
            cut = partial(cut_window, size=self.size, smallest=self.smallest_crop)
            both = [(i, one) for part in drawn for i, one in zip(rows, part, strict=True)]
            read = np.stack([cut(self.images[i], one) for i, one in both])
        return rows, torch.from_numpy(read), generator

    def _views(self, rows: np.ndarray, read: Tensor, generator: torch.Generator) -> Pairs:
        pixels = unit(read, self.device)
        n = len(rows)
        if self.batched:
            crops = [draw_crops(n, self.smallest_crop, generator) for _ in range(2)]
            cut = [cut_crops(pixels, one, self.size) for one in crops]
        else:
            cut = [pixels[:n], pixels[n:]]
        first, second = (change_view(one, RECIPE, generator) for one in cut)
        ids = torch.from_numpy(self.ids[rows]).to(self.device)
        return Pairs(first, second, ids, generator)


def cut_window(image: np.ndarray, drawn: Sequence[float], size: int, smallest: float) -> np.ndarray:
    """A random resized crop, mirrored or not, uint8 (size, size, 3).

    Args:
        image: uint8 (h, w, 3).
        drawn: five numbers in 0..1, for area, aspect ratio, top, left, and mirroring.
        size, smallest: see :class:`PairSource`.
    """
    top, left, height, width = draw_window(image.shape[:2], drawn[:4], smallest)
    window = image[top : top + height, left : left + width]
    window = window[:, ::-1] if drawn[4] < 0.5 else window
    picture = Image.fromarray(np.ascontiguousarray(window))
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def draw_window(
    shape: tuple[int, int], drawn: Sequence[float], smallest: float
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a window in an image of (height, width) pixels.

    As :func:`helpers.pretraining.augment.draw_crops`, in whole pixels: area uniform between
    ``smallest`` of the image and the largest that has a side ratio from 3/4 to 4/3 (the whole image
    unless it is longer than that), ratio log-uniform among those that fit, place uniform.
    """
    height, width = shape
    most = min(height, width * LARGEST_RATIO) * min(width, height * LARGEST_RATIO)
    least = min(smallest * height * width, most)
    area = least + (most - least) * drawn[0]
    # Of width to height; a window is no higher and no wider than the image.
    narrowest = max(1 / LARGEST_RATIO, area / height**2)
    widest = min(LARGEST_RATIO, width**2 / area)
    low, high = math.log(narrowest), math.log(max(narrowest, widest))
    ratio = math.exp(low + (high - low) * drawn[1])
    rows = min(height, max(1, round((area / ratio) ** 0.5)))
    columns = min(width, max(1, round((area * ratio) ** 0.5)))
    top = min(int(drawn[2] * (height - rows + 1)), height - rows)
    left = min(int(drawn[3] * (width - columns + 1)), width - columns)
    return top, left, rows, columns


def central_views(images: Images, rows: Iterable[int], size: int) -> Tensor:
    """The central square of each image, resampled by Pillow: uint8 (n, size, size, 3)."""
    views = []
    for row in rows:
        image = images[row]
        height, width = image.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = np.ascontiguousarray(image[top : top + side, left : left + side])
        picture = Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR)
        views.append(np.asarray(picture))
    return torch.from_numpy(np.stack(views))


def unit(pixels: Tensor, device: torch.device) -> Tensor:
    """uint8 (n, h, w, 3) to float32 (n, 3, h, w) in 0..1 on the device."""
    return pixels.to(device).permute(0, 3, 1, 2).float() / 255


def identify(images: Images) -> tuple[np.ndarray, str]:
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


def check_images(images: Images) -> None:
    """Refuse what is not colour images of 8 bits.

    Raises:
        ParameterError: naming the first image that does not fit.
    """
    stacked = isinstance(images, np.ndarray)
    if stacked and images.ndim != 4:
        raise ParameterError(
            f"images of shape {images.shape}: expected (n, h, w, 3), or a list of images; repeat "
            "grey images three times"
        )
    for number, image in enumerate(images[:1] if stacked else images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ParameterError(
                f"images[{number}]: {image.dtype} of shape {image.shape}, expected uint8 "
                "(h, w, 3); repeat grey images three times"
            )


def _digest(image: np.ndarray) -> bytes:
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image))
    return digest.digest()
