"""Cellpose's own data sets (cyto, cyto2, nuclei): ``NNN_img.png`` and ``NNN_masks.png``."""

from pathlib import Path

from helpers.data.readers.base import (
    Item,
    require_items,
    require_pairs,
    split_of,
)
from helpers.data.readers.pairs import PairReader
from helpers.files import find_files

LAYOUT = "NNN_img.png with NNN_masks.png, in train/ and test/ or directly"


class CellposeReader(PairReader):
    """``NNN_img.png`` (RGB: green cytoplasm, red nucleus or empty) and ``NNN_masks.png`` (uint16).

    The id holds the folder (``train/010``), since training and test count from 000 both. Which
    images come from one experiment is not told, so the group is the id.
    """

    def items(self, root: Path) -> list[Item]:
        """One item per image; see :class:`helpers.data.readers.base.Reader`."""
        files = set(find_files(root, frozenset({".png"})))
        images = {p: _partner(p, "_img", "_masks") for p in files if p.stem.endswith("_img")}
        masks = {p: _partner(p, "_masks", "_img") for p in files if p.stem.endswith("_masks")}
        lacking = [image for image, mask in images.items() if mask not in files]
        require_pairs(lacking, "images without masks", LAYOUT)
        orphans = [mask for mask, image in masks.items() if image not in files]
        require_pairs(orphans, "masks without an image", LAYOUT)
        return require_items(
            (_item(image, mask, root) for image, mask in images.items()), root, LAYOUT
        )


def _partner(path: Path, own: str, other: str) -> Path:
    return path.with_name(path.stem.removesuffix(own) + other + path.suffix)


def _item(image: Path, mask: Path, root: Path) -> Item:
    name = image.relative_to(root).with_suffix("").as_posix().removesuffix("_img")
    return Item(name, name, image, mask, split_of(image, root))
