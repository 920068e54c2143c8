"""A plain folder of images and label images: one's own data."""

import csv
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from helpers.data.readers.base import Item, require_items, require_pairs
from helpers.data.readers.images import IMAGE_SUFFIXES
from helpers.data.readers.pairs import PairReader
from helpers.errors import DataError
from helpers.files import find_files

# What people and tools append to an image's name for its label image: Cellpose _cp_masks, QuPath
# -labelled; _IM and _GT are the patches of arXiv 2511.04803.
_OF_MASK = re.compile(r"(_cp)?[-_.](masks?|label(s|l?ed)?|gt)$", re.IGNORECASE)
_OF_IMAGE = re.compile(r"_(img|im)$", re.IGNORECASE)
# What else Cellpose 1 to 4 leaves beside images when it trains or predicts.
_OF_CELLPOSE = re.compile(
    r"_(cp_output|flows(_\d)?|cellprob|outlines|dP)(_cp_masks)?$", re.IGNORECASE
)
MASK_FOLDERS = frozenset({"masks", "mask", "labels", "label"})
IMAGE_FOLDERS = frozenset({"images", "image"})
GROUPS_FILE = "groups.csv"
LAYOUT = (
    "name.tif with name_masks.tif beside it (or _mask, _labels, _label, -labelled ...; the image "
    "may be name_img.tif), or images/name.tif with masks/name.tif; TIFF, PNG, JPEG or BMP"
)
SEG = (
    "\nThere are NAME_seg.npy of Cellpose, which can hold code and are not read. Export their "
    "masks: in its window with File > Save masks as PNG/tif, or in Python: "
    "tifffile.imwrite('NAME_masks.tif', np.load('NAME_seg.npy', allow_pickle=True).item()['masks'])"
)


@dataclass(frozen=True)
class Sorted:
    """Files of a folder by what their names say.

    Attributes:
        images, masks: pictures, and their label images.
        leftovers: what Cellpose wrote besides (flows, outlines, overviews).
    """

    images: list[Path]
    masks: list[Path]
    leftovers: list[Path]


def sort_files(files: Iterable[Path], root: Path) -> Sorted:
    """Files below ``root`` by their names, or by a folder ``masks`` or ``labels`` on the way."""
    found = Sorted([], [], [])
    for path in files:
        folders = {part.lower() for part in path.relative_to(root).parts[:-1]}
        if _OF_CELLPOSE.search(stem_of(path)):
            found.leftovers.append(path)
        elif _OF_MASK.search(stem_of(path)) or MASK_FOLDERS & folders:
            found.masks.append(path)
        else:
            found.images.append(path)
    return found


def stem_of(path: Path) -> str:
    """Name without ending, ``.ome.tif`` being one; accents composed, which not all systems do."""
    stem = path.stem[:-4] if path.stem.lower().endswith(".ome") else path.stem
    return unicodedata.normalize("NFC", stem)


@dataclass(frozen=True)
class FolderReader(PairReader):
    """Images and label images below one folder, at any depth, paired by name.

    ``name.tif`` (or ``name_img.tif``) goes with ``name_masks``, ``-mask``, ``_labels``,
    ``-labelled`` or the like, of any format, in the same folder, or with ``masks/name`` where the
    image is in ``images/``; upper and lower case of the endings do not matter. What else Cellpose
    wrote is left out. The id is the path without ending and without those two folder names. The
    group is the id, not the subfolder, unless the folder holds a ``groups.csv`` with the columns
    ``id`` and ``group``.

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
        files = sort_files(find_files(root, IMAGE_SUFFIXES), root)
        masks = defaultdict(list)
        for path in files.masks:
            masks[_name(path, root, _OF_MASK)].append(path)
        pairs = {path: _mask_of(path, root, masks) for path in files.images}
        if self.labels == "required":
            lacking = [path for path, mask in pairs.items() if mask is None]
            saved = any(path.with_name(f"{path.stem}_seg.npy").is_file() for path in lacking)
            require_pairs(lacking, "images without a mask", LAYOUT + (SEG if saved else ""))
        used = set(pairs.values())
        orphans = [path for path in files.masks if path not in used]
        require_pairs(orphans, "masks without an image", LAYOUT)
        return _grouped(
            require_items((_item(path, mask, root) for path, mask in pairs.items()), root, LAYOUT),
            root,
        )


def _name(path: Path, root: Path, ending: re.Pattern[str] | None = None) -> str:
    """Path without the folders ``images`` and ``masks`` and without the ending."""
    folders = path.relative_to(root).parts[:-1]
    kept = [part for part in folders if part.lower() not in MASK_FOLDERS | IMAGE_FOLDERS]
    stem = ending.sub("", stem_of(path)) if ending else stem_of(path)
    return unicodedata.normalize("NFC", "/".join([*kept, stem]))


def _mask_of(image: Path, root: Path, masks: dict[str, list[Path]]) -> Path | None:
    names = {_name(image, root), _name(image, root, _OF_IMAGE)}
    found = sorted(path for name in names for path in masks.get(name, []))
    if len(found) > 1:
        raise DataError(
            f"{image}: has {len(found)} masks: {', '.join(map(str, found))}. "
            "Expected one: move the others elsewhere."
        )
    return found[0] if found else None


def _item(image: Path, mask: Path | None, root: Path) -> Item:
    name = _name(image, root, _OF_IMAGE)
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
    groups = {unicodedata.normalize("NFC", row["id"]): row["group"] for row in rows}
    if len(groups) != len(rows) or not all(groups.values()):
        raise DataError(f"{path}: an id stands twice or has no group. Expected one row per image.")
    return groups
