"""Generated labelled images: seeded, without download, for running and teaching.

``generate_sample`` makes one picture, ``generate`` a data set. Picture i of a domain depends on the
domain, the seed, i and the size alone, so that data sets of different lengths share their pictures
and any picture can be made by itself. No claim about a paper rests on these images.

Two sources of pretraining are no domains: ``natural`` makes pictures with one class each and no
masks, ``objects`` scenes of many objects, each with its class and the pixels that are seen of it.
"""

import zlib
from collections.abc import Callable

import numpy as np

from helpers.data.sample import Sample
from helpers.data.synthetic import cardiac, chest, cyto, fundus, glands, histo, multi
from helpers.errors import DataError

# Takes a Generator and (height, width); that of a domain in GROUP_SIZES also the Generator of the
# whole group and the picture's number in it. Returns image, labels and modality.
Painter = Callable[..., tuple[np.ndarray, np.ndarray, str]]

DOMAINS: dict[str, Painter] = {
    "synthetic-cyto": cyto.paint,
    "synthetic-histo": histo.paint,
    "synthetic-multi": multi.paint,
    "synthetic-cardiac": cardiac.paint,
    "synthetic-fundus": fundus.paint,
    "synthetic-chest": chest.paint,
    "synthetic-histo-b": histo.paint_b,
    "synthetic-glands": glands.paint,
    "synthetic-glands-b": glands.paint_b,
}
# Domains whose labels tell classes, with the names of the classes 1..K; elsewhere instances.
CLASSES: dict[str, tuple[str, ...]] = {
    "synthetic-cardiac": cardiac.CLASSES,
    "synthetic-fundus": fundus.CLASSES,
    "synthetic-chest": chest.CLASSES,
}
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
        Instances are 4-connected, have at least 16 pixels each and are numbered 1..K without gaps;
        there may be none in an unlucky small picture, and a small one may lie within a single
        gland. Classes are numbered as in ``CLASSES``; any of them may be missing. ``modality``
        says what the picture shows, as ``KIND/VARIANT`` (of glands ``GRADE/PATTERN``, the grade
        benign or malignant); ``group`` is the picture itself, or its patient (``GROUP_SIZES``).

    Raises:
        DataError: unknown domain, size below 64, negative index or seed.
    """
    _check(domain, size, index=index, seed=seed)
    arguments = [_generator(domain, seed, index, *size), (size[0], size[1])]
    if domain in GROUP_SIZES:
        # Without the size: the same patient at any resolution.
        group, number = divmod(index, GROUP_SIZES[domain])
        arguments += [_generator(f"{domain}/group", seed, group), number]
    image, labels, modality = DOMAINS[domain](*arguments)
    prefix = f"{domain}-{size[0]}x{size[1]}-s{seed}"
    group = group_name(domain, index, prefix)
    return Sample(image, labels, f"{prefix}-{index:05d}", group, modality)


def _generator(what: str, *numbers: int) -> np.random.Generator:
    entropy = [zlib.crc32(what.encode()), *numbers]
    return np.random.default_rng(np.random.SeedSequence(entropy))


def group_name(domain: str, index: int, prefix: str) -> str:
    """What picture ``index`` must not be parted from, as a name that begins with ``prefix``.

    Args:
        domain: a key of ``DOMAINS``.
        index: number of the picture, >= 0.
        prefix: names the data set.

    Returns:
        ``PREFIX-00012``, the name of the picture, where each picture is on its own; else
        ``PREFIX-patient-00002``, the same for all pictures of the patient.
    """
    if domain not in GROUP_SIZES:
        return f"{prefix}-{index:05d}"
    return f"{prefix}-patient-{index // GROUP_SIZES[domain]:05d}"


def generate(domain: str, n: int, seed: int, size: tuple[int, int] = (224, 224)) -> list[Sample]:
    """The first ``n`` pictures of a synthetic domain; see ``generate_sample``.

    Raises:
        DataError: ``n`` below 1, or as ``generate_sample``.
    """
    if n < 1:
        raise DataError(f"{domain}: n={n} images asked for; expected at least 1")
    return [generate_sample(domain, i, seed, size) for i in range(n)]


def _check(domain: str, size: tuple[int, int], **numbers: int) -> None:
    if domain not in DOMAINS:
        raise DataError(
            f"unknown synthetic domain {domain!r}; expected one of {', '.join(DOMAINS)}"
        )
    if len(size) != 2 or min(size) < MIN_SIZE:
        raise DataError(
            f"{domain}: size {tuple(size)} is not usable; expected (height, width), "
            f"each at least {MIN_SIZE} pixels"
        )
    for name, value in numbers.items():
        if value < 0:
            raise DataError(f"{domain}: {name}={value}; expected 0 or more")
