"""A plain folder of images and label images: one's own data."""

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from helpers.data.readers.base import (
    Item,
    Reader,
    Reading,
    find_files,
    make_sample,
    require_items,
    require_pairs,
)
from helpers.data.readers.images import IMAGE_SUFFIXES, decode, read_labels, to_float
from helpers.errors import DataError

# Cellpose writes _cp_masks; _IM and _GT are the patches of arXiv 2511.04803.
MASK_ENDINGS = ("_cp_masks", "_masks", "_mask", "_labels", "_label", "_gt")
IMAGE_ENDINGS = ("_img", "_im")
MASK_FOLDERS = frozenset({"masks", "mask", "labels", "label"})
IMAGE_FOLDERS = frozenset({"images", "image"})
GROUPS_FILE = "groups.csv"
LAYOUT = (
    "name.tif with name_masks.tif beside it (or _mask, _labels, _label; the image may be "
    "name_img.tif), or images/name.tif with masks/name.tif; TIFF, PNG, JPEG or BMP"
)


@dataclass(frozen=True)
class FolderReader(Reader):
    """Images and label images below one folder, at any depth, paired by name.

    ``name.tif`` (or ``name_img.tif``) goes with ``name_masks``, ``_mask``, ``_labels`` or
    ``_label`` of any format in the same folder, or with ``masks/name`` where the image is in
    ``images/``; upper and lower case of the endings do not matter. The id is the path without
    ending and without those two folder names. The group is the id, not the subfolder, unless the
    folder holds a ``groups.csv`` with the columns ``id`` and ``group``.

    Attributes:
        labels: ``"required"`` refuses images without masks and names them; ``"optional"`` gives
            them labels that are all 0.
    """

    labels: Literal["required", "optional"] = "required"

    def items(self, root: Path) -> list[Item]:
        """One item per image; see :class:`helpers.data.readers.base.Reader`.

        Raises:
            DataError: no images; an image without mask (unless optional) or with two; a mask
                without image; two images of one name; a groups.csv that does not fit.
        """
        files = find_files(root, IMAGE_SUFFIXES)
        images = [path for path in files if not is_mask(path, root)]
        masks = _by_name((path for path in files if is_mask(path, root)), root)
        pairs = {path: _mask_of(path, root, masks) for path in images}
        if self.labels == "required":
            lacking = [path for path, mask in pairs.items() if mask is None]
            require_pairs(lacking, "images without a mask", LAYOUT)
        used = set(pairs.values())
        orphans = [path for found in masks.values() for path in found if path not in used]
        require_pairs(orphans, "masks without an image", LAYOUT)
        return _grouped(
            require_items((_item(path, mask, root) for path, mask in pairs.items()), root, LAYOUT),
            root,
        )

    def load(self, item: Item) -> Reading:
        """Read one item.

        Raises:
            DataError: an unreadable file, no labels, or a mask of another size than the image.
        """
        pixels = decode(item.image)
        if item.labels is None:
            labels = np.zeros(pixels.shape[:2], np.int32)
        else:
            labels = read_labels(item.labels)
        sample = make_sample(item, to_float(pixels, item.image), labels)
        return Reading(sample, dtype=pixels.dtype.name)


def is_mask(path: Path, root: Path) -> bool:
    """Whether a file below ``root`` is a label image by its name or by a folder's on the way."""
    folders = (part.lower() for part in path.relative_to(root).parts[:-1])
    return path.stem.lower().endswith(MASK_ENDINGS) or not MASK_FOLDERS.isdisjoint(folders)


def _name(path: Path, root: Path, endings: tuple[str, ...]) -> str:
    """Path without the folders ``images`` and ``masks`` and without the first ending that fits."""
    folders = path.relative_to(root).parts[:-1]
    kept = [part for part in folders if part.lower() not in MASK_FOLDERS | IMAGE_FOLDERS]
    stem = path.stem
    for ending in endings:
        if stem.lower().endswith(ending):
            stem = stem[: -len(ending)]
            break
    return "/".join([*kept, stem])


def _by_name(masks: Iterable[Path], root: Path) -> dict[str, list[Path]]:
    found = defaultdict(list)
    for path in masks:
        found[_name(path, root, MASK_ENDINGS)].append(path)
    return dict(found)


def _mask_of(image: Path, root: Path, masks: dict[str, list[Path]]) -> Path | None:
    names = {_name(image, root, ()), _name(image, root, IMAGE_ENDINGS)}
    found = sorted(path for name in names for path in masks.get(name, []))
    if len(found) > 1:
        raise DataError(
            f"{image}: has {len(found)} masks: {', '.join(map(str, found))}. "
            "Expected one: move the others elsewhere."
        )
    return found[0] if found else None


def _item(image: Path, mask: Path | None, root: Path) -> Item:
    name = _name(image, root, IMAGE_ENDINGS)
    folders = [part.lower() for part in image.relative_to(root).parts[:-1]]
    split = next((part for part in folders if part in ("train", "test")), "")
    return Item(name, name, image, mask, split)


def _grouped(items: list[Item], root: Path) -> list[Item]:
    path = root / GROUPS_FILE
    if not path.is_file():
        return items
    groups = _read_groups(path)
    ids = {item.id for item in items}
    if ids != set(groups):
        lacking, unknown = sorted(ids - set(groups)), sorted(set(groups) - ids)
        raise DataError(
            f"{path}: {len(lacking)} images have no row {lacking[:5]} and {len(unknown)} rows "
            f"name no image {unknown[:5]}. Expected one row per image; an id is the image's path "
            "in this folder without ending, for example 'plate1/cell_3'."
        )
    return [Item(i.id, groups[i.id], i.image, i.labels, i.split, i.modality) for i in items]


def _read_groups(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}). Save it as UTF-8.") from error
    if not rows or not {"id", "group"} <= set(rows[0]):
        found = ", ".join(map(str, rows[0])) if rows else "no rows"
        raise DataError(f"{path}: has the columns {found}. Expected the columns id and group.")
    groups = {row["id"]: row["group"] for row in rows}
    if len(groups) != len(rows) or not all(groups.values()):
        raise DataError(f"{path}: an id stands twice or has no group. Expected one row per image.")
    return groups
