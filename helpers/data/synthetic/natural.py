"""``synthetic-natural``: pictures of everyday things and surfaces, one class each.

A source for pretraining by classification that stands where ImageNet would: many classes, some of
them close, in many poses, colours and lights. No claim about a paper rests on it. A class is a
thing in front of clutter or a surface that fills the picture; colour tells little, and what is a
class in one picture may be background in another.
"""

import numpy as np

from helpers.data.synthetic.objects import camera, generator, ground, put, surface
from helpers.data.synthetic.things import TEXTURES, THINGS
from helpers.errors import ParameterError

CLASS_NAMES: tuple[str, ...] = (*THINGS, *TEXTURES)
MIN_SIZE = 16


def natural_image(index: int, seed: int, size: int) -> tuple[np.ndarray, int]:
    """Picture number ``index``; it depends on the seed, the index and the size alone.

    Args:
        index: 0 or more; the class is ``index`` modulo the number of classes, so that the classes
            of any run of pictures are as balanced as can be.
        seed: 0 or more; another seed is another set of pictures.
        size: pixels a side, at least ``MIN_SIZE``; what is shown scales with it.

    Returns:
        uint8 (size, size, 3), R, G, B; and the class, 0 .. ``len(CLASS_NAMES)`` - 1.

    Raises:
        ParameterError: index or seed negative, or size too small.
    """
    rng = generator("synthetic-natural", index, seed, size, MIN_SIZE)
    label = index % len(CLASS_NAMES)
    name = CLASS_NAMES[label]
    if name in TEXTURES:
        return camera(rng, surface(rng, name, size, rng.uniform(0.45, 1.0))), label
    image = ground(rng, size)
    put(rng, image, name, rng.uniform(0.4, 0.6, 2), rng.uniform(0.28, 0.45))
    return camera(rng, image), label


def natural_images(n: int, seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ``n`` pictures, uint8 (n, size, size, 3), and their classes, int64 (n,).

    The numbers of pictures of any two classes differ by at most one.

    Raises:
        ParameterError: as :func:`natural_image`, or n below 1.
    """
    if n < 1:
        raise ParameterError(f"n={n}: expected 1 or more")
    images, labels = zip(*(natural_image(index, seed, size) for index in range(n)), strict=True)
    return np.stack(images), np.array(labels, np.int64)
