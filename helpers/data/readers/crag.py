"""CRAG (released with MILD-Net): glands in colorectal adenocarcinoma, H&E."""

from pathlib import Path

from helpers.data.readers.base import Item, require_items, require_partners
from helpers.data.readers.pairs import PairReader
from helpers.files import find_files

LAYOUT = "CRAG/PART/Images/NAME.png with CRAG/PART/Annotation/NAME.png, PART train or valid"
# The notes that come with the data speak of "test" and "Annotations".
_SPLITS = {"train": "train", "valid": "test", "test": "test"}
_ANNOTATIONS = ("Annotation", "Annotations")


class CragReader(PairReader):
    """``PART/Images/NAME.png`` (RGB) and ``PART/Annotation/NAME.png`` (one number per gland).

    About 1512 x 1512 pixels at 20x; 173 images in ``train`` and 40 in ``valid``, which the notes of
    the release call the test set, and which is ``"test"`` here. The folders ``Overlay`` are left
    out. The id is ``PART/NAME``. Which images were cut from one slide is not told, so the group is
    the id.
    """

    def items(self, root: Path) -> list[Item]:
        """One item per image; see :class:`helpers.data.readers.base.Reader`."""
        files = [
            path
            for path in find_files(root, frozenset({".png"}))
            if path.parent.parent.name in _SPLITS
        ]
        images = {_key(path): path for path in files if path.parent.name == "Images"}
        labels = {_key(path): path for path in files if path.parent.name in _ANNOTATIONS}
        require_partners(images, labels, "annotations", LAYOUT)
        return require_items(
            (_item(path, labels[key]) for key, path in images.items()), root, LAYOUT
        )


def _key(path: Path) -> tuple[Path, str]:
    return path.parents[1], path.stem


def _item(image: Path, labels: Path) -> Item:
    part = image.parents[1].name
    name = f"{part}/{image.stem}"
    return Item(name, name, image, labels, _SPLITS[part], "histology/colon")
