"""Square windows cut from images (arXiv 2511.04803, section III-C: 224 x 224, stride 112)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from helpers.errors import ParameterError

Edge = Literal["pad", "drop"]


@dataclass(frozen=True)
class Patch:
    """Where a patch lies: which image, and its upper left corner in pixels."""

    image: int
    top: int
    left: int


@dataclass(frozen=True)
class PatchGrid:
    """How images are cut.

    Attributes:
        size: side of the square window in pixels.
        stride: step between windows in pixels.
        edge: ``"pad"`` starts a window at every multiple of the stride and fills what lies outside
            the image with zeros (81 patches for 1000 x 1000: the published counts, 37 x 81 = 2,997
            for MoNuSeg); ``"drop"`` keeps full windows only (49 patches: what the released script
            does, and then an image smaller than the window gives none).
        min_instances: patches with fewer annotated instances are left out; 0 keeps every patch,
            the empty ones too, as the paper's script does.
    """

    size: int = 224
    stride: int = 112
    edge: Edge = "pad"
    min_instances: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.stride < 1:
            raise ParameterError(
                f"patch size {self.size} and stride {self.stride}: both must be at least 1"
            )
        if self.edge not in ("pad", "drop"):
            raise ParameterError(f"edge={self.edge!r}: expected 'pad' or 'drop'")


def corners(height: int, width: int, grid: PatchGrid) -> list[tuple[int, int]]:
    """Upper left corners (top, left) of the patches of one image, row by row."""
    if grid.edge == "pad":
        tops, lefts = range(0, height, grid.stride), range(0, width, grid.stride)
    else:
        tops = range(0, height - grid.size + 1, grid.stride)
        lefts = range(0, width - grid.size + 1, grid.stride)
    return [(top, left) for top in tops for left in lefts]


def cut(array: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """The window at (top, left) of an array of shape (height, width, ...), zero outside."""
    window = array[top : top + size, left : left + size]
    missing = [(0, size - window.shape[0]), (0, size - window.shape[1])]
    return np.pad(window, missing + [(0, 0)] * (array.ndim - 2))


def list_patches(labels: Sequence[np.ndarray], grid: PatchGrid) -> list[Patch]:
    """All patches of a set of images that pass the grid's rule on annotated instances.

    Args:
        labels: one int array (height, width) per image.

    Returns:
        Patches ordered by image, then row by row.
    """
    return [
        Patch(index, top, left)
        for index, image_labels in enumerate(labels)
        for top, left in corners(*image_labels.shape, grid)
        if _instances(image_labels, top, left, grid) >= grid.min_instances
    ]


def _instances(labels: np.ndarray, top: int, left: int, grid: PatchGrid) -> int:
    if grid.min_instances == 0:
        return 0
    window = labels[top : top + grid.size, left : left + grid.size]
    return int(np.count_nonzero(np.unique(window)))


def random_patches(
    pictures: Sequence[np.ndarray], n: int, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Square patches at random places, as many of each picture as can be.

    Args:
        pictures: uint8 (h, w, 3), of any sizes; smaller ones are continued by reflection.

    Returns:
        uint8 (n, size, size, 3).
    """
    found = np.empty((n, size, size, 3), np.uint8)
    for place in range(n):
        picture = _at_least(pictures[place % len(pictures)], size)
        top, left = (int(rng.integers(side - size + 1)) for side in picture.shape[:2])
        found[place] = picture[top : top + size, left : left + size]
    return found


def _at_least(picture: np.ndarray, size: int) -> np.ndarray:
    missing = [max(0, size - side) for side in picture.shape[:2]]
    if not any(missing):
        return picture
    return np.pad(picture, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
