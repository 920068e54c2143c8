"""Labelled images, named by a folder or as a data set of the manifest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers.data.check import count_disconnected, foreground_note
from helpers.data.datasets import Dataset, open_dataset, split_name
from helpers.data.manifest import load_manifest
from helpers.data.readers import Item
from helpers.data.splits import split_by_group
from helpers.errors import DataError
from helpers.own_model.predict import BLACK, span


@dataclass(frozen=True, eq=False)
class Labelled:
    """Some images of a data set, with their annotation.

    Attributes:
        name: short, for tables; unique among those that are compared.
        dataset: reads the items.
        items: of the data set, all or some.
        merged: what is to be said of label images that seem to be foreground masks.
        notes: what is to be said of images that Cellpose would see as black.
    """

    name: str
    dataset: Dataset
    items: tuple[Item, ...]
    merged: str = ""
    notes: tuple[str, ...] = ()


def open_labelled(names: Sequence[str]) -> list[Labelled]:
    """Open folders of images with label images, or data sets of the manifest.

    Raises:
        DataError: a folder is missing or empty, an image lacks its mask or a mask its image, or
            a name is unknown.
    """
    opened = [_open(name) for name in names]
    short = [one.name for one in opened]
    if len(set(short)) == len(short):
        return opened
    return [replace(one, name=_path(name)) for one, name in zip(opened, names, strict=True)]


def _open(name: str) -> Labelled:
    path = Path(_path(name)).expanduser()
    if path.is_dir():
        dataset = open_dataset(f"folder:{path}")
        return Labelled(path.resolve().name, dataset, dataset.items)
    if not set(split_name(name)) <= set(load_manifest().entries):
        what = "is a file" if path.exists() else "no such folder, and no data set of that name"
        raise DataError(
            f"{path}: {what}. Name a folder with NAME.tif and NAME_masks.tif, or a data set "
            "(python -m helpers data list)."
        )
    dataset = open_dataset(name)
    return Labelled(name, dataset, dataset.items)


def _path(name: str) -> str:
    return name.removeprefix("folder:")


def examined(data: Labelled) -> Labelled:
    """The same with what is to be said of it; every image is read.

    Raises:
        DataError: an image cannot be read, or no label image holds an object.
    """
    from tqdm import tqdm

    merged, tiny, flat, filled = [], [], [], 0
    for item in tqdm(data.items, f"reading {data.name}", unit="image", delay=2, mininterval=2):
        sample = data.dataset.read(item)
        filled += sample.n_instances > 0
        single = sample.n_instances == 1 and not data.dataset.classes
        if single and count_disconnected(sample.labels):
            merged.append(item)
        contrast = span(sample.image)
        if contrast <= BLACK:
            (tiny if contrast else flat).append(item)
    if not filled:
        raise DataError(
            f"{data.name}: none of its {len(data.items)} label images holds an object, all are 0. "
            "Annotate some, or name other data."
        )
    notes = []
    if tiny:
        notes.append(
            f"{len(tiny)} images have grey values within {BLACK:g}, as {tiny[0].id}: they are "
            "scaled here, but Cellpose itself sees them black unless they are multiplied."
        )
    if flat:
        notes.append(
            f"{len(flat)} images have one grey value almost everywhere, as {flat[0].id}: Cellpose "
            "sees them black, and so do the commands here."
        )
    return replace(data, merged=foreground_note(merged) if merged else "", notes=tuple(notes))


def at_most(data: Labelled, count: int, seed: int) -> Labelled:
    """``count`` images drawn at random, or all if there are no more or the count is 0."""
    if not 0 < count < len(data.items):
        return data
    drawn = np.random.default_rng([seed, 1]).permutation(len(data.items))[:count]
    return replace(data, items=tuple(data.items[i] for i in np.sort(drawn)))


def split(data: Labelled, test_share: float, seed: int) -> tuple[Labelled, Labelled]:
    """Images to train on and images to test on; no group is on both sides.

    Raises:
        DataError: fewer than two groups.
    """
    groups = [item.group for item in data.items]
    if len(set(groups)) < 2:
        raise DataError(
            f"{data.name}: {len(groups)} image(s) of {len(set(groups))} group(s) cannot be split. "
            "Expected at least two groups (images, unless a groups.csv says otherwise): one to "
            "train on and one to test on. Annotate another image."
        )
    parts = split_by_group(groups, test_share, np.random.default_rng([seed, 0]))
    train, test = (replace(data, items=tuple(data.items[i] for i in part)) for part in parts)
    return train, test


def object_diameter(labels: np.ndarray) -> float:
    """Median diameter of the instances, pixels: of the disc of the same area; NaN without any."""
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return float(np.median(2 * np.sqrt(areas / np.pi))) if areas.size else float("nan")
