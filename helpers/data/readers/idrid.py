"""IDRiD (2018 challenge), part A: fundus photographs with masks of lesions and the optic disc."""

import re
from dataclasses import dataclass
from pathlib import Path

from helpers.data.readers.base import (
    Item,
    Reader,
    Reading,
    require_items,
    require_pairs,
)
from helpers.data.readers.masks import load_structure
from helpers.errors import NoLabelsError, ParameterError
from helpers.files import find_files

LAYOUT = (
    "1. Original Images/PART/IDRiD_NN.jpg with 2. All Segmentation Groundtruths/PART/FOLDER/"
    "IDRiD_NN_XX.tif, where PART is a. Training Set or b. Testing Set"
)
_PARTS = {"a. Training Set": "train", "b. Testing Set": "test"}
_PART = "|".join(map(re.escape, _PARTS))
# Two digits: part B of IDRiD has folders of the same names, with three digits.
_IMAGE = re.compile(rf"(.*)1\. Original Images/({_PART})/(IDRiD_\d\d)(?i:\.jpg)")
_MASK = re.compile(rf"(.*)2\. All Segmentation Groundtruths/({_PART})/([^/]+)/([^/]+)(?i:\.tif)")
_Key = tuple[str, str, str]  # folder that holds both, part, name of the image


@dataclass(frozen=True)
class _Lesion:
    """Where the masks of one structure lie, and whether every image has one."""

    folder: str
    ending: str
    everywhere: bool


LESIONS = {
    "microaneurysms": _Lesion("1. Microaneurysms", "_MA", everywhere=True),
    "haemorrhages": _Lesion("2. Haemorrhages", "_HE", everywhere=False),
    "hard exudates": _Lesion("3. Hard Exudates", "_EX", everywhere=True),
    "soft exudates": _Lesion("4. Soft Exudates", "_SE", everywhere=False),
    "optic disc": _Lesion("5. Optic Disc", "_OD", everywhere=True),
}


@dataclass(frozen=True)
class IdridReader(Reader):
    """``IDRiD_NN.jpg`` (RGB, 4288 x 2848) and ``IDRiD_NN_XX.tif``, one mask per structure.

    Masks are palette TIFF of 0 and 1; what else passes for one is told by
    :func:`helpers.data.readers.masks.read_mask`. Of the 81 images, 81 have masks of
    microaneurysms, hard exudates and the optic disc, 80 of haemorrhages and 40 of soft exudates
    (https://idrid.grand-challenge.org/Data/). So a missing mask of the first three is an error; of
    the last two it is taken to say that the image shows none, which that page suggests but does not
    spell out. The group is the image: which images are of one patient is not published.

    Attributes:
        lesion: one of :data:`LESIONS`, which is the only class.
    """

    lesion: str = "microaneurysms"

    def __post_init__(self) -> None:
        if self.lesion not in LESIONS:
            raise ParameterError(
                f"lesion={self.lesion!r}: expected one of {', '.join(map(repr, LESIONS))}"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The lesion."""
        return (self.lesion,)

    def items(self, root: Path) -> list[Item]:
        """One item per image; see :class:`helpers.data.readers.base.Reader`.

        Raises:
            DataError: as there.
            NoLabelsError: a part has images, but no masks of the lesion at all.
        """
        lesion = LESIONS[self.lesion]
        files = [path.as_posix() for path in find_files(root, frozenset({".jpg", ".tif"}))]
        images = {match.groups(): match[0] for match in map(_IMAGE.fullmatch, files) if match}
        found = [match for match in map(_MASK.fullmatch, files) if match]
        masks = {
            (match[1], match[2], match[4].removesuffix(lesion.ending)): match[0]
            for match in found
            if match[3] == lesion.folder
        }
        for top, part in sorted({key[:2] for key in images} - {key[:2] for key in masks}):
            held = {match[3] for match in found if match.groups()[:2] == (top, part)}
            raise self._no_masks(Path(top), part, held)
        self._require_partners(images, masks)
        return require_items(
            (_item(key, Path(path), masks.get(key)) for key, path in images.items()), root, LAYOUT
        )

    def _no_masks(self, top: Path, part: str, held: set[str]) -> NoLabelsError:
        others = [name for name, lesion in LESIONS.items() if lesion.folder in held]
        return NoLabelsError(
            f"{top}: holds no masks of {self.lesion} for {part!r}. There are masks of: "
            f"{', '.join(others) or 'nothing'}. Fetch the whole archive, or open another structure "
            "(optic disc: data set idrid:optic-disc)."
        )

    def _require_partners(self, images: dict[_Key, str], masks: dict[_Key, str]) -> None:
        orphans = [Path(path) for key, path in masks.items() if key not in images]
        require_pairs(orphans, "masks without an image", LAYOUT)
        if LESIONS[self.lesion].everywhere:
            lacking = [Path(path) for key, path in images.items() if key not in masks]
            require_pairs(lacking, f"images without a mask of {self.lesion}", LAYOUT)

    def load(self, item: Item) -> Reading:
        """Read one item: labels 1 where the lesion is, 0 everywhere if it has no mask.

        Raises:
            DataError: an unreadable file, more than two colours in a mask, or a mask of another
                size than the image.
        """
        return load_structure(item, self.lesion)


def _item(key: _Key, image: Path, mask: str | None) -> Item:
    _, part, name = key
    labels = Path(mask) if mask else None
    return Item(name, name, image, labels, _PARTS[part], "photograph/fundus")
