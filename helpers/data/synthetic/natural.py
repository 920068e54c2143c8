"""``synthetic-natural``: pictures of everyday things and surfaces, one class each.

A source for pretraining by classification that stands where ImageNet would: things in front of a
surface, and surfaces that fill the picture, in many poses, colours and lights; colour tells little,
and what is a class in one picture is background in another. No claim about a paper rests on it.
"""

import numpy as np

from helpers.data.synthetic.objects import camera, ground, put, surface
from helpers.data.synthetic.optics import generator
from helpers.data.synthetic.things import TEXTURES, THINGS

CLASS_NAMES: tuple[str, ...] = (*THINGS, *TEXTURES)


def natural_image(index: int, seed: int, size: int) -> tuple[np.ndarray, int]:
    """Picture number ``index``; it depends on the index, the seed and the size alone.

    What is shown scales with the ``size`` in pixels a side.

    Returns:
        uint8 (size, size, 3), R, G, B; and the class, ``index`` modulo the number of classes, so
        that the classes of any run of pictures are as balanced as can be.
    """
    rng = generator("synthetic-natural", index, seed, size)
    label = index % len(CLASS_NAMES)
    name = CLASS_NAMES[label]
    if name in TEXTURES:
        return camera(rng, surface(rng, name, size, rng.uniform(0.45, 1.0))), label
    image = ground(rng, size)
    put(rng, image, name, rng.uniform(0.4, 0.6, 2), rng.uniform(0.28, 0.45))
    return camera(rng, image), label


def natural_images(n: int, seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ``n`` pictures, uint8 (n, size, size, 3), and their classes, int64 (n,)."""
    images, labels = zip(*(natural_image(index, seed, size) for index in range(n)), strict=True)
    return np.stack(images), np.array(labels, np.int64)
