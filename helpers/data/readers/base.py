"""What all readers share: items, readings, instance painting and the checks on a pair."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data.sample import Sample
from helpers.errors import DataError


@dataclass(frozen=True)
class Item:
    """One annotated image of a data set, without its pixels.

    Attributes:
        id: unique within its data set.
        group: what must not be split between training and test (source image, field, patient).
        image: file of the image; ``None`` if it is generated.
        labels: file, or folder of files, that holds the instances; ``None`` if there is none.
        split: ``"train"``, ``"test"`` or, where a validation part of its own is given, ``"val"`` as
            the official layout says; else ``""``.
        modality: what kind of picture it is, where this is known without reading it.
    """

    id: str
    group: str
    image: Path | None
    labels: Path | None
    split: str = ""
    modality: str = ""


@dataclass(frozen=True)
class Reading:
    """A sample, and what its reader found and decided on the way.

    Attributes:
        sample: the annotated image.
        dtype: numpy name of the pixel type in the file, e.g. ``"uint16"``.
        overlap: pixels that more than one instance claimed, counted once per further claim.
        clipped: instances that reach beyond the edge of the picture.
        lost: annotated instances without a pixel of their own, each with the reason.
    """

    sample: Sample
    dtype: str
    overlap: int = 0
    clipped: int = 0
    lost: tuple[str, ...] = ()


class Reader(ABC):
    """Knows the layout of one data set.

    Attributes:
        classes: names of the classes 1..K where labels tell classes (semantic segmentation); empty
            where they tell instances.
    """

    classes: tuple[str, ...] = ()

    @abstractmethod
    def items(self, root: Path) -> list[Item]:
        """The images below ``root``, ordered by id.

        No pixels are read, unless only they tell the groups: so it is with BBBC038, whose images
        are all decoded here once to find the tiles of one field.

        Raises:
            DataError: no images, or an image or its annotation lacks the other; or an image is
                unreadable, where pixels are read.
        """

    @abstractmethod
    def load(self, item: Item) -> Reading:
        """Read one item, with an account of what had to be decided.

        Raises:
            DataError: a file is unreadable, or image and annotation do not fit each other.
        """

    def read(self, item: Item) -> Sample:
        """Read one item: image float32 (H, W, C) as stored, labels int32 (H, W), 1..K.

        Raises:
            DataError: as :meth:`load`.
        """
        return self.load(item).sample


@dataclass(frozen=True)
class Painted:
    """Label image of a set of instances.

    Attributes:
        labels: int32 (H, W); instance i of the input is i + 1 until the hidden ones are removed,
            then the others close ranks in the same order.
        overlap: sum of the areas minus the area of their union, in pixels.
        hidden: positions of the instances of which no pixel is left.
    """

    labels: np.ndarray
    overlap: int
    hidden: tuple[int, ...]


def paint(instances: Sequence[np.ndarray], shape: tuple[int, int]) -> Painted:
    """Label image of instances that may overlap.

    A contested pixel goes to the smallest of its claimants (so that a small nucleus on a large one
    stays whole), of equally large ones to the first. Instances that only touch stay apart.

    Args:
        instances: per instance the flat indices of its pixels, each index once.
        shape: height and width.
    """
    labels = np.zeros(shape, np.int32)
    flat = labels.reshape(-1)
    areas = np.array([len(pixels) for pixels in instances], dtype=np.int64)
    # Painted from large to small, and from last to first among equals: what comes later covers.
    for i in np.lexsort((-np.arange(len(areas)), -areas)):
        flat[instances[i]] = i + 1
    kept = np.bincount(flat, minlength=len(areas) + 1)
    hidden = np.flatnonzero(kept[1:] == 0)
    if hidden.size:
        labels = make_consecutive(labels)
    overlap = int(areas.sum() - kept[1:].sum())
    return Painted(labels, overlap, tuple(int(i) for i in hidden))


def make_consecutive(labels: np.ndarray) -> np.ndarray:
    """Rename the instances of a non-negative int32 (H, W) label image to 1..K in their order."""
    top = int(labels.max(initial=0))
    if top <= 4 * labels.size:
        present = np.bincount(labels.ravel(), minlength=top + 1) > 0
        present[0] = False
        if present[1:].all():
            return labels
        return np.where(present, np.cumsum(present), 0).astype(np.int32)[labels]
    # Few instances with huge numbers: sort instead of counting. The appended 0 keeps rank 0 for
    # the background even where an image has none.
    _, rank = np.unique(np.append(labels.ravel(), 0), return_inverse=True)
    return rank[:-1].reshape(labels.shape).astype(np.int32)


def make_sample(item: Item, image: np.ndarray, labels: np.ndarray, modality: str = "") -> Sample:
    """The sample of an item, its image and its label image.

    Raises:
        DataError: the two differ in height or width.
    """
    if image.shape[:2] != labels.shape:
        raise shape_mismatch(item, image.shape[:2], item.labels, labels.shape)
    return Sample(
        image=image,
        labels=make_consecutive(labels),
        id=item.id,
        group=item.group,
        modality=modality or item.modality,
    )


def make_class_sample(
    item: Item, image: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> Sample:
    """The sample of an item whose labels are classes: 0 background, k is ``classes[k - 1]``.

    Raises:
        DataError: image and labels differ in height or width, or a label names no class.
    """
    if image.shape[:2] != labels.shape:
        raise shape_mismatch(item, image.shape[:2], item.labels, labels.shape)
    found = np.unique(labels)
    if found[0] < 0 or found[-1] > len(classes):
        raise DataError(
            f"{item.labels or item.image}: labels {found.tolist()}; expected 0 (background) to "
            f"{len(classes)} ({', '.join(classes)}). The file is of another data set or version."
        )
    return Sample(image, labels.astype(np.int32), item.id, item.group, item.modality)


def shape_mismatch(
    item: Item, image: tuple[int, ...], path: Path | None, labels: tuple[int, ...]
) -> DataError:
    """The error for an annotation that is not as large as its image."""
    return DataError(
        f"{path}: is {labels[0]} x {labels[1]} pixels (height x width), but its image {item.image} "
        f"is {image[0]} x {image[1]}. An annotation has the height and width of its image; "
        "replace the one that was cropped, resized or turned."
    )


def require_items(items: Iterable[Item], root: Path, expected: str) -> list[Item]:
    """``items`` ordered by id.

    Raises:
        DataError: there are none, or two have the same id.
    """
    ordered = sorted(items, key=lambda item: item.id)
    if not ordered:
        raise DataError(f"{root}: holds no images in the layout {expected}. Name another folder.")
    for one, other in pairwise(ordered):
        if one.id == other.id:
            raise DataError(
                f"{one.image} and {other.image}: both have the id {one.id!r}. Ids must be unique "
                "in a data set: rename or remove one of them."
            )
    return ordered


def require_pairs(lacking: Sequence[Path], what: str, expected: str) -> None:
    """Refuse files without their partner.

    Raises:
        DataError: ``lacking`` is not empty; up to ten are named.
    """
    if lacking:
        named = "\n".join(f"  {path}" for path in sorted(lacking)[:10])
        more = f"\n  and {len(lacking) - 10} more" if len(lacking) > 10 else ""
        raise DataError(f"{len(lacking)} {what}:\n{named}{more}\nExpected {expected}.")


def require_partners(
    images: Mapping[Any, Path], labels: Mapping[Any, Path], what: str, expected: str
) -> None:
    """Refuse images without labels and the reverse; partners have the same key.

    Args:
        what: the labels are called, in the plural.

    Raises:
        DataError: up to ten of a kind are named.
    """
    lacking = [path for key, path in images.items() if key not in labels]
    require_pairs(lacking, f"images without {what}", expected)
    orphans = [path for key, path in labels.items() if key not in images]
    require_pairs(orphans, f"{what} without an image", expected)


def split_of(path: Path, root: Path) -> str:
    """``"train"`` or ``"test"`` if a folder between ``root`` and ``path`` starts with the word."""
    for part in path.relative_to(root).parts[:-1]:
        for split in ("train", "test"):
            if part.lower().startswith(split):
                return split
    return ""
