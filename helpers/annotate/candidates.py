"""What could be annotated: whole images, or patches of them, found in any folder of pictures."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.readers.folder import Sorted, sort_files, stem_of
from helpers.data.readers.images import IMAGE_SUFFIXES
from helpers.errors import DataError, ParameterError
from helpers.files import find_files

# Whole images are reduced (or enlarged) to a square of this side before they are described.
WHOLE_SIDE = 224
# Written into every folder of results: tells them from images.
MARK = "selection.json"


@dataclass(frozen=True)
class Cut:
    """How an image becomes candidates.

    Attributes:
        size: side of square patches in pixels; 0: the whole image is one candidate.
        stride: step between patches in pixels.
    """

    size: int = 0
    stride: int = 0

    def __post_init__(self) -> None:
        if self.size and (self.size < 16 or self.stride < 1):
            raise ParameterError(
                f"patch size {self.size}, stride {self.stride}: expected a size of at least 16 "
                "pixels and a stride of at least 1"
            )

    @property
    def name(self) -> str:
        """Short, for file names: ``whole``, or size and stride."""
        return f"{self.size}-{self.stride}" if self.size else "whole"


@dataclass(frozen=True)
class Candidate:
    """One image or patch that could be annotated.

    Attributes:
        file: path relative to the folder, with ``/``.
        page: number of the picture in its file, from 1.
        top, left, height, width: the part of the picture, in pixels.
    """

    file: str
    page: int
    top: int
    left: int
    height: int
    width: int


def find_images(folder: Path) -> Sorted:
    """Files below ``folder``, without the results of earlier choices, which a :data:`MARK` tells.

    Raises:
        DataError: the folder is missing, is a file, or holds no image.
    """
    if not folder.exists():
        raise DataError(f"{folder}: does not exist. Name the folder that holds the images.")
    files = find_files(folder, IMAGE_SUFFIXES | {".json"})
    own = [mark.parent for mark in files if mark.name == MARK and mark.parent != folder]
    pictures = [
        path
        for path in files
        if path.suffix != ".json" and not any(path.is_relative_to(results) for results in own)
    ]
    found = sort_files(pictures, folder)
    if not found.images:
        others = f"{len(pictures)} files that look like masks, but " if pictures else ""
        raise DataError(
            f"{folder}: holds {others}no image. Expected files of "
            f"{', '.join(sorted(IMAGE_SUFFIXES))} in it or in its subfolders."
        )
    return found


def companions(images: list[Path]) -> list[tuple[Path, Path]]:
    """Images whose names add a word to another's: ``(a_seg.tif, a.tif)``. Annotations, perhaps."""
    named = {(path.parent, stem_of(path)): path for path in images}
    begun = {path: re.match(r"(.+)[-_. ][A-Za-z]+$", stem_of(path)) for path in images}
    pairs = {path: named.get((path.parent, found[1])) for path, found in begun.items() if found}
    return [(path, other) for path, other in pairs.items() if other]


def windows(height: int, width: int, cut: Cut) -> list[tuple[int, int, int, int]]:
    """Parts (top, left, height, width) of a picture that are candidates, row by row.

    Patches stand at every multiple of the stride as far as they fit, and once more at the lower and
    right border where something would else be left over, so that no patch reaches beyond the
    picture. A side shorter than the patch gives one part of that length.
    """
    if not cut.size:
        return [(0, 0, height, width)]
    tall, wide = min(cut.size, height), min(cut.size, width)
    return [
        (top, left, tall, wide)
        for top in _starts(height, tall, cut.stride)
        for left in _starts(width, wide, cut.stride)
    ]


def _starts(length: int, window: int, stride: int) -> list[int]:
    starts = list(range(0, length - window + 1, stride))
    if starts[-1] + window < length:
        starts.append(length - window)
    return starts


def square(image: np.ndarray, window: tuple[int, int, int, int], cut: Cut) -> np.ndarray:
    """What is described of a window: float32, side x side (x channels).

    A patch keeps its pixels; what a small picture lacks is filled by mirroring it. A whole image
    is brought to :data:`WHOLE_SIDE` by averaging areas (or by interpolation, if it is smaller),
    whatever its proportions: its magnification does not count then, its layout does.

    Args:
        image: (height, width) or (height, width, channels), scaled to about 0..1.
    """
    top, left, height, width = window
    part = image[top : top + height, left : left + width]
    if cut.size:
        lacking = [(0, cut.size - height), (0, cut.size - width)] + [(0, 0)] * (image.ndim - 2)
        return np.pad(part, lacking, mode="symmetric")
    return resize(part, (WHOLE_SIDE, WHOLE_SIDE))


def resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An image (h, w) or (h, w, c) in another size: areas averaged, or interpolated if enlarged.

    Returns:
        float32, ``shape`` or ``shape`` x c.
    """
    import torch
    from torch.nn.functional import interpolate

    planes = np.atleast_3d(np.ascontiguousarray(image, np.float32)).transpose(2, 0, 1)
    tensor = torch.from_numpy(np.ascontiguousarray(planes))[None]
    # Side by side: a picture may be too tall and too narrow at once.
    for size in ((shape[0], tensor.shape[3]), shape):
        grows = size[0] > tensor.shape[2] or size[1] > tensor.shape[3]
        tensor = interpolate(tensor, size=size, mode="bilinear" if grows else "area")
    resized = tensor[0].numpy().transpose(1, 2, 0)
    return resized[..., 0] if image.ndim == 2 else resized
