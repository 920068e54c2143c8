"""COVID-QU-Ex: chest X-rays with masks of the lungs and of infected regions."""

import re
from dataclasses import dataclass
from pathlib import Path

from helpers.data.readers.base import (
    Item,
    Reader,
    Reading,
    require_items,
    require_partners,
)
from helpers.data.readers.masks import load_structure
from helpers.errors import ParameterError
from helpers.files import find_files

LAYOUT = (
    "Infection Segmentation Data/{Train,Val,Test}/{COVID-19,Non-COVID,Normal}/"
    "{images,lung masks,infection masks}/NAME.png"
)
STRUCTURES = {"infection": "infection masks", "lung": "lung masks"}
_FOLDERS = ("images", *STRUCTURES.values())
_PATH = re.compile(
    r"(.*Infection Segmentation Data/(?:Train|Val|Test)/(?:COVID-19|Non-COVID|Normal))/"
    rf"({'|'.join(_FOLDERS)})/([^/]+)(?i:\.png)"
)
# The paper trains on Train and Val together (its released code has them in one file).
_SPLITS = {"Train": "train", "Val": "train", "Test": "test"}


@dataclass(frozen=True)
class CovidQuReader(Reader):
    """Grey PNG of 256 x 256 with two masks each, 0 and 255, all three of one name.

    Only "Infection Segmentation Data" is read, no other part of the archive. The id is
    ``PART/CLASS/NAME``. ``Train`` and ``Val`` both count as training, as in the code released with
    arXiv 2410.18677. That code reads the class COVID-19 alone, whereas all three are listed here;
    in the other two nothing is infected.

    The group is the name of the file: which images are of one patient is not published, so images
    of a patient may be in both parts.

    Attributes:
        structure: ``"infection"`` or ``"lung"``, which is the only class. Every image needs both
            masks; the other one is not read.
    """

    structure: str = "infection"

    def __post_init__(self) -> None:
        if self.structure not in STRUCTURES:
            raise ParameterError(
                f"structure={self.structure!r}: expected one of {', '.join(map(repr, STRUCTURES))}"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The structure."""
        return (self.structure,)

    def items(self, root: Path) -> list[Item]:
        """One item per image; see :class:`helpers.data.readers.base.Reader`."""
        found: dict[str, dict[str, Path]] = {folder: {} for folder in _FOLDERS}
        for path in find_files(root, frozenset({".png"})):
            if match := _PATH.fullmatch(path.as_posix()):
                # Of the path only the folder differs between an image and its masks.
                found[match[2]][f"{match[1]}/{match[3]}"] = path
        images = found["images"]
        for folder in STRUCTURES.values():
            require_partners(images, found[folder], f"files in {folder!r}", LAYOUT)
        masks = found[STRUCTURES[self.structure]]
        return require_items(
            (_item(path, masks[key]) for key, path in images.items()), root, LAYOUT
        )

    def load(self, item: Item) -> Reading:
        """Read one item: labels 1 where the structure is.

        Raises:
            DataError: an unreadable file, more than two values in the mask, or a mask of another
                size than the image.
        """
        return load_structure(item, self.structure)


def _item(image: Path, mask: Path) -> Item:
    part, kind = image.parts[-4:-2]
    name = f"{part}/{kind}/{image.stem}"
    return Item(name, image.stem, image, mask, _SPLITS[part], "x-ray/chest")
