"""Generated labelled images: seeded, without download, for running and teaching.

Picture i of a domain depends on the domain, the seed, i and the size alone: data sets of different
lengths share their pictures. Modalities differ in numbers (``ranges``), not in code: cells one by
one (``cells``), stained sections (``tissue``) and hearts (``cardiac``) are painted from exact label
maps. No claim about a paper rests on them. Two sources of pretraining are no domains: ``natural``
makes pictures with one class each, ``objects`` scenes of objects with class and visible pixels.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from helpers.data.sample import Sample
from helpers.data.synthetic import cardiac, cells, ranges, tissue
from helpers.data.synthetic.optics import generator
from helpers.errors import DataError

# Takes a Generator and (height, width); that of a domain in GROUP_SIZES also the Generator of the
# whole group and the picture's number in it. Returns image, labels and modality.
Painter = Callable[..., tuple[np.ndarray, np.ndarray, str]]

DOMAINS: dict[str, Painter] = {
    "synthetic-cyto": partial(cells.paint, ranges.CYTO),
    "synthetic-histo": partial(tissue.paint, ranges.HISTO, "a"),
    "synthetic-multi": partial(cells.paint, ranges.MULTI),
    "synthetic-cardiac": cardiac.paint,
    "synthetic-histo-b": partial(tissue.paint, ranges.HISTO_B, "b"),
    "synthetic-glands": partial(tissue.paint, ranges.GLANDS, "glands a"),
    "synthetic-glands-b": partial(tissue.paint, ranges.GLANDS, "glands b"),
}
# Domains whose labels tell classes, with the names of the classes 1..K; elsewhere instances.
CLASSES: dict[str, tuple[str, ...]] = {"synthetic-cardiac": cardiac.CLASSES}
# Domains of which so many consecutive pictures are of one patient; elsewhere each is on its own.
GROUP_SIZES: dict[str, int] = {"synthetic-cardiac": cardiac.SLICES}
MIN_SIZE = 64


def generate_sample(
    domain: str, index: int, seed: int, size: tuple[int, int] = (224, 224)
) -> Sample:
    """Picture number ``index`` of a synthetic domain.

    Args:
        domain: a key of ``DOMAINS``.
        index: number of the picture, >= 0.
        seed: of the data set, >= 0.
        size: (height, width) in pixels, each at least 64. Where labels tell instances it changes
            the field of view and not the magnification: cells and glands keep their size in
            pixels. Where they tell classes (``CLASSES``) organs scale with the shorter side.

    Returns:
        Sample with a float32 image (height, width, 3) of whole grey values 0..255 and int32 labels.
        Instances are 4-connected and numbered 1..K without gaps, K at least 1. Classes are
        numbered as in ``CLASSES``; any of them may be missing.
        ``modality`` is ``KIND/VARIANT`` (of glands ``GRADE/PATTERN``, the grade benign or
        malignant); ``group`` is the picture itself, or its patient (``GROUP_SIZES``).

    Raises:
        DataError: unknown domain, size below 64, negative index or seed.
    """
    if domain not in DOMAINS:
        known = ", ".join(DOMAINS)
        raise DataError(f"unknown synthetic domain {domain!r}; expected one of {known}")
    if len(size) != 2 or min(size) < MIN_SIZE or min(index, seed) < 0:
        raise DataError(
            f"{domain}: size={tuple(size)}, index={index}, seed={seed}; expected (height, width) "
            f"of at least {MIN_SIZE} pixels, and index and seed of 0 or more"
        )
    arguments = [generator(domain, seed, index, *size), (size[0], size[1])]
    if domain in GROUP_SIZES:
        # Without the size: the same patient at any resolution.
        group, number = divmod(index, GROUP_SIZES[domain])
        arguments += [generator(f"{domain}/group", seed, group), number]
    image, labels, modality = DOMAINS[domain](*arguments)
    while domain not in CLASSES and not labels.any():
        image, labels, modality = DOMAINS[domain](*arguments)
    prefix = f"{domain}-{size[0]}x{size[1]}-s{seed}"
    group = group_name(domain, index, prefix)
    return Sample(image, labels, f"{prefix}-{index:05d}", group, modality)


def group_name(domain: str, index: int, prefix: str) -> str:
    """What picture ``index`` must not be parted from: ``PREFIX-00012``, the picture itself.

    Where several pictures are of one patient, ``PREFIX-patient-00002``, the same for all of them.
    """
    if domain not in GROUP_SIZES:
        return f"{prefix}-{index:05d}"
    return f"{prefix}-patient-{index // GROUP_SIZES[domain]:05d}"
