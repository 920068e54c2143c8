"""Semantic segmentation tasks: a data set read once, split by patient, resized to one size."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from helpers import fingerprints
from helpers.data.classes import LabelChange, changed_share, resize_classes, resize_image
from helpers.data.datasets import Dataset, SyntheticSpec, open_dataset
from helpers.data.preprocess import scale_percentiles
from helpers.data.readers import Item
from helpers.data.splits import split_by_group
from helpers.errors import DataError
from helpers.files import replacing, write_json
from helpers.leftovers import remove_leftovers
from helpers.locks import once

PARTS = ("train", "validation", "test")
SUMMARY = "task.json"


class HoldingOut(Protocol):
    """The part of a task's settings that :func:`hold_out` needs; see :class:`TaskSettings`."""

    n_images: int
    test_share: float
    seed: int


class Splitting(HoldingOut, Protocol):
    """The part of a task's settings that :func:`split_items` needs; see :class:`TaskSettings`."""

    validation_share: float


@dataclass(frozen=True)
class TaskSettings:
    """Which data, and how they are split.

    Attributes:
        dataset: name of a data set whose labels tell classes.
        n_images: images to generate (synthetic) or to draw at most, whole groups (real; 0: all).
        size: side of the square to which images and masks are resized, in pixels.
        test_share: share of images held out by group, where the data set has no test part of its
            own beside a training part; else that one is taken.
        validation_share: share of the remaining images, by group.
        seed: of generation, drawing and splits.
    """

    dataset: str
    n_images: int
    size: int
    test_share: float
    validation_share: float
    seed: int


@dataclass(frozen=True)
class Part:
    """Images of one side of the splits.

    Attributes:
        images: float32 (n, 3, size, size), 0..1.
        masks: uint8 (n, size, size), 0 background, 1..K classes.
        groups: patient, or whatever must not be torn apart, of each.
    """

    images: np.ndarray
    masks: np.ndarray
    groups: list[str]


@dataclass(frozen=True)
class Task:
    """A task ready for trials.

    Attributes:
        folder: where it lies.
        name: of the data set.
        classes: names of the classes 1..K.
        content: sha256 over images, masks and groups of all parts.
        provenance: as a record keeps it.
        counts: images and groups of each part.
    """

    folder: Path
    name: str
    classes: tuple[str, ...]
    content: str
    provenance: dict
    counts: dict[str, list[int]]

    @property
    def n_classes(self) -> int:
        """With the background."""
        return len(self.classes) + 1

    def part(self, name: str) -> Part:
        """``"train"``, ``"validation"`` or ``"test"``, read when asked for."""
        with np.load(self.folder / f"{name}.npz") as arrays:
            return Part(arrays["images"], arrays["masks"], arrays["groups"].tolist())


def prepare_task(settings: TaskSettings, cache: Path) -> Task:
    """Prepare a task, or find that done already.

    Images are scaled from their 1st and 99th percentile to 0..1 over all channels and clipped, grey
    ones repeated to three channels; masks are resized by nearest neighbour (the code released with
    arXiv 2410.18677 interpolates them: :func:`helpers.data.classes.resize_classes`).

    Raises:
        DataError: the data set is unknown or unavailable, tells instances, or is too small to be
            split.
    """
    dataset = _open(settings)
    if not dataset.classes:
        raise DataError(
            f"data set {settings.dataset!r}: its labels tell instances. Expected one whose labels "
            "tell classes, such as synthetic-cardiac, acdc or idrid:optic-disc."
        )
    identity = {
        "settings": asdict(settings),
        "data": dataset.fingerprint,
        "code": fingerprints.of_code([__name__]),
    }
    name = settings.dataset.replace(":", "-")
    folder = cache / f"{name}-{fingerprints.of_json(identity)[:16]}"
    once(folder / SUMMARY, lambda: _build(dataset, settings, folder))
    kept = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return Task(folder, settings.dataset, tuple(kept.pop("classes")), **kept)


def _open(settings: TaskSettings) -> Dataset:
    if not settings.dataset.startswith("synthetic-"):
        return open_dataset(settings.dataset)
    # Generated larger than needed, so that resizing smooths them as it does real ones.
    side = max(64, 2 * settings.size)
    spec = SyntheticSpec(settings.n_images, settings.seed, (side, side))
    return open_dataset(settings.dataset, synthetic=spec)


def _build(dataset: Dataset, settings: TaskSettings, folder: Path) -> None:
    parts = split_items(list(dataset.items), settings)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder, "*")
    counts = {}
    for name, items in zip(PARTS, parts, strict=True):
        _write_part(dataset, items, settings.size, folder / f"{name}.npz")
        counts[name] = [len(items), len({item.group for item in items})]
    files = [folder / f"{name}.npz" for name in PARTS]
    summary = {
        "classes": dataset.classes,
        "content": fingerprints.of_json([fingerprints.of_file(path) for path in files]),
        "provenance": dataset.provenance,
        "counts": counts,
    }
    # Written last: this file says that the folder is complete.
    write_json(folder / SUMMARY, summary)


def split_items(
    items: list[Item], settings: Splitting
) -> tuple[list[Item], list[Item], list[Item]]:
    """Training, validation and test items, in the order of the data set, no group in two parts.

    An official split into training and test is taken, unless it tears groups apart (GlaS: nearly
    every test image is of a patient in the training part); then groups are drawn.

    Raises:
        ParameterError: too few groups.
    """
    rng = np.random.default_rng([settings.seed, 0])
    rest, test = hold_out(items, settings, rng)
    train, validation = _parted(rest, settings.validation_share, rng)
    return train, validation, test


def hold_out(
    items: list[Item], settings: HoldingOut, rng: np.random.Generator
) -> tuple[list[Item], list[Item]]:
    """Items to train on and items to test on, as :func:`split_items` holds the latter out.

    Where the official test part is missing, as in COCO, the validation part stands for it; where
    there are both, the validation part is left out.

    Raises:
        ParameterError: too few groups.
    """
    if 0 < settings.n_images < len(items):
        items = _some_groups(items, settings.n_images, rng)
    parts = {
        name: [item for item in items if item.split == name] for name in ("train", "test", "val")
    }
    held = parts["test"] or parts["val"]
    shared = {item.group for item in parts["train"]} & {item.group for item in held}
    if parts["train"] and held and all(item.split for item in items) and not shared:
        return parts["train"], held
    return _parted(items, settings.test_share, rng)


def _some_groups(items: list[Item], wanted: int, rng: np.random.Generator) -> list[Item]:
    """Whole groups in random order until ``wanted`` items are together."""
    kept: set[str] = set()
    for group in rng.permutation(sorted({item.group for item in items})):
        if sum(item.group in kept for item in items) >= wanted:
            break
        kept.add(str(group))
    return [item for item in items if item.group in kept]


def _parted(
    items: list[Item], share: float, rng: np.random.Generator
) -> tuple[list[Item], list[Item]]:
    first, second = split_by_group([item.group for item in items], share, rng)
    return [items[i] for i in first], [items[i] for i in second]


def _write_part(dataset: Dataset, items: list[Item], size: int, path: Path) -> None:
    from tqdm import tqdm

    images = np.empty((len(items), 3, size, size), np.float32)
    masks = np.empty((len(items), size, size), np.uint8)
    for place, item in enumerate(tqdm(items, f"reading {path.stem} images", mininterval=2)):
        sample = dataset.read(item)
        scaled = np.clip(scale_percentiles(sample.image), 0, 1)
        channels = np.moveaxis(resize_image(scaled, size), 2, 0)
        images[place] = channels if len(channels) == 3 else channels[:1]
        masks[place] = resize_classes(sample.labels, size)
    groups = np.array([item.group for item in items])
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, images=images, masks=masks, groups=groups)


def label_change(settings: TaskSettings, most: int = 40) -> LabelChange:
    """What becomes of masks that are resized as the code released with arXiv 2410.18677 does it.

    Args:
        most: masks with any foreground that are looked at, evenly spaced.
    """
    dataset = _open(settings)
    places = np.unique(np.linspace(0, len(dataset) - 1, most).astype(int))
    masks = [dataset.read(dataset.items[i]).labels for i in places]
    kept, interpolated = (
        np.stack([resize_classes(mask, settings.size, method) for mask in masks if mask.any()])
        for method in ("nearest", "bilinear_truncated")
    )
    return changed_share(kept, interpolated)
