"""NeurIPS 2022 Cell Segmentation challenge: images of many kinds and formats."""

from pathlib import Path

from helpers.data.readers.base import (
    Item,
    require_items,
    require_partners,
    split_of,
)
from helpers.data.readers.images import IMAGE_SUFFIXES
from helpers.data.readers.pairs import PairReader
from helpers.files import find_files

LAYOUT = "FOLDER/images/NAME.* with FOLDER/labels/NAME_label.tiff"


class NeurIPSCellSegReader(PairReader):
    """``FOLDER/images/NAME.*`` and ``FOLDER/labels/NAME_label.tiff``, any number of such folders.

    FOLDER is for example ``Training-labeled``, ``Tuning`` or ``Testing/Public``; it is part of the
    id, since names repeat between them. Folders without ``labels`` (the unlabelled part) are left
    out. Pixel types and channel counts vary on purpose. The group is the id.
    """

    def items(self, root: Path) -> list[Item]:
        """One item per labelled image; see :class:`helpers.data.readers.base.Reader`."""
        files = find_files(root, IMAGE_SUFFIXES)
        labels = {_name(p, root, "labels"): p for p in files if p.parent.name == "labels"}
        labelled = {path.parents[1] for path in labels.values()}
        images = {
            _name(p, root, "images"): p
            for p in files
            if p.parent.name == "images" and p.parents[1] in labelled
        }
        require_partners(images, labels, "labels", LAYOUT)
        return require_items(
            (
                Item(name, name, path, labels[name], split_of(path, root))
                for name, path in images.items()
            ),
            root,
            LAYOUT,
        )


def _name(path: Path, root: Path, folder: str) -> str:
    stem = path.stem.removesuffix("_label") if folder == "labels" else path.stem
    return (path.parents[1].relative_to(root) / stem).as_posix()
