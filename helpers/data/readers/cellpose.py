"""Cellpose's own data sets (cyto, cyto2, nuclei): ``NNN_img.png`` and ``NNN_masks.png``."""

from pathlib import Path

from helpers.data.readers.base import (
    Item,
    require_items,
    require_partners,
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
        files = find_files(root, frozenset({".png"}))
        images, masks = (
            {_name(p, root, end): p for p in files if p.stem.endswith(end)}
            for end in ("_img", "_masks")
        )
        require_partners(images, masks, "masks", LAYOUT)
        return require_items(
            (
                Item(name, name, path, masks[name], split_of(path, root))
                for name, path in images.items()
            ),
            root,
            LAYOUT,
        )


def _name(path: Path, root: Path, ending: str) -> str:
    return path.relative_to(root).with_suffix("").as_posix().removesuffix(ending)
