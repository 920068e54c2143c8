"""``synthetic-objects``: cluttered scenes of everyday objects, each with its class and its pixels.

A source for supervised pretraining of detectors that stands where COCO would: objects of many
classes, of all sizes, poses and colours, that hide parts of each other on cluttered ground. Some
have holes, some are seen in several parts. Colour tells no class; outline and material do. No
claim about a paper rests on these pictures.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from helpers.data.synthetic import optics
from helpers.data.synthetic.objects.layout import Layout, arrange
from helpers.data.synthetic.objects.outlines import KINDS
from helpers.data.synthetic.objects.painting import paint
from helpers.data.synthetic.shapes import MIN_AREA
from helpers.errors import ParameterError

NAME = "synthetic-objects"
OBJECT_CLASSES: tuple[str, ...] = tuple(KINDS)
MIN_SIZE = 48


@dataclass(frozen=True)
class Scene:
    """One picture and what is seen in it.

    Attributes:
        image: uint8 (size, size, 3), R, G, B.
        labels: int32 (size, size); 0 is ground and clutter, 1..n the annotated objects, the
            farthest first. Visible pixels only: those of an object may lie in several parts.
        classes: int64 (n,), 1..K, numbers of ``OBJECT_CLASSES`` from 1 on.
    """

    image: np.ndarray
    labels: np.ndarray
    classes: np.ndarray


def scene_layout(index: int, seed: int) -> Layout:
    """What picture number ``index`` shows; it depends on index and seed alone.

    Raises:
        ParameterError: index or seed negative.
    """
    return arrange(_generators(index, seed)[0])


def draw_scene(index: int, seed: int, size: int) -> Scene:
    """Picture number ``index``; it depends on the index, the seed and the size alone.

    Args:
        index: 0 or more.
        seed: 0 or more; another seed is another set of pictures.
        size: pixels a side, at least ``MIN_SIZE``. Pictures of another size show the same things
            in the same places, on other ground and perhaps in other colours.

    Returns:
        A scene of 3 to 15 objects before occlusion. One that is hidden up to fewer than
        ``helpers.data.synthetic.shapes.MIN_AREA`` pixels is not annotated, nor is one so small; in
        an unlucky small picture none may be left.

    Raises:
        ParameterError: index or seed negative, or size too small.
    """
    if size < MIN_SIZE:
        raise ParameterError(f"size={size}: expected {MIN_SIZE} or more")
    first, second = _generators(index, seed)
    layout = arrange(first)
    image, owner = paint(second, layout, size)
    kinds = np.array([0, *(thing.label for thing in layout.things)], np.int64)
    seen = np.bincount(owner.ravel(), minlength=len(kinds))
    kept = np.flatnonzero((kinds > 0) & (seen >= MIN_AREA))
    number = np.zeros(len(kinds), np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    return Scene(optics.to_bytes(image), number[owner], kinds[kept])


def _generators(index: int, seed: int) -> list[np.random.Generator]:
    for name, value in (("index", index), ("seed", seed)):
        if value < 0:
            raise ParameterError(f"{name}={value}: expected 0 or more")
    root = np.random.SeedSequence([zlib.crc32(NAME.encode()), seed, index])
    return [np.random.default_rng(child) for child in root.spawn(2)]
