"""Which image stands opposite which: the negatives of the robustness score."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from helpers.errors import ParameterError

Negatives = Literal["reversed", "random", "all"]


def choose_negatives(
    n: int,
    kind: Literal["reversed", "random"],
    rng: np.random.Generator,
    groups: Sequence[str] | None = None,
) -> np.ndarray:
    """One negative per image: a permutation, int64 (n,), image i is compared with entry i.

    ``"reversed"`` is the released code's: the images in reverse order, rotated by two, so that i
    faces (n + 1 - i) mod n. It has flaws that are kept: with an odd n one image faces itself, and
    in sorted files some face the next slice of the same patient. ``"random"`` draws a single
    cycle, in which nobody faces himself.

    Args:
        n: number of images, at least 2.
        groups: of each image; if given, nobody faces an image of the same group (a repair, not
            published): the images are ordered by group, for ``"random"`` in random order, and
            rotated by the size of the largest group.

    Raises:
        ParameterError: a group with more than half of the images.
    """
    if groups is not None:
        return _apart(np.asarray(groups, dtype=str), kind, n, rng)
    if kind == "reversed":
        return (n + 1 - np.arange(n)) % n
    order = rng.permutation(n)
    negatives = np.empty(n, np.int64)
    negatives[order] = np.roll(order, -1)
    return negatives


def _apart(groups: np.ndarray, kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    largest = int(sizes.max())
    if largest > n / 2:
        raise ParameterError(
            f"groups: {str(names[sizes.argmax()])!r} has {largest} of {n} images. With more than "
            "half in one group not every image has a negative of another; take more groups."
        )
    within = np.arange(n)
    if kind == "random":
        member, within = rng.permutation(len(names))[member], rng.permutation(n)
    order = np.lexsort((within, member))
    negatives = np.empty(n, np.int64)
    negatives[order] = np.roll(order, -largest)
    return negatives


def in_cycles(negatives: np.ndarray) -> np.ndarray:
    """All images in an order in which, along each cycle, everyone is followed by his negative."""
    order: list[int] = []
    seen = np.zeros(len(negatives), bool)
    for start in range(len(negatives)):
        at = start
        while not seen[at]:
            seen[at] = True
            order.append(at)
            at = int(negatives[at])
    return np.array(order, dtype=np.int64)
