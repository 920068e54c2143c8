"""LIVECell (Edlund et al. 2021): phase contrast, eight types of cell, objects in COCO's format."""

import re
from dataclasses import dataclass
from pathlib import Path

from helpers.data.coco import CocoFile, read_coco
from helpers.data.readers.base import Item, require_items, require_pairs
from helpers.data.readers.coco import CocoReader
from helpers.errors import DataError, ParameterError
from helpers.files import find_files

# Annotations of the parts, and of the official subsets of the training part.
PARTS = {part: f"livecell_coco_{part}.json" for part in ("train", "val", "test")}
SUBSETS = {
    "2percent": "0_train2percent.json",
    "4percent": "1_train4percent.json",
    "5percent": "2_train5percent.json",
    "25percent": "3_train25percent.json",
    "50percent": "4_train50percent.json",
}
LAYOUT = (
    "livecell_coco_{train,val,test}.json, and images/livecell_{train_val,test}_images with "
    "TYPE_Phase_WELL_LOCATION_TIME_CROP.tif, in folders by cell type or not"
)
_NAME = re.compile(r"(?P<type>[A-Za-z0-9]+)_Phase_(?P<well>[A-Z]\d+)_(?P<location>\d+)_.+")
_SUFFIXES = frozenset({".tif", ".tiff", ".png"})


@dataclass(frozen=True)
class LiveCellReader(CocoReader):
    """The three official parts; or one of the official subsets in place of the training part.

    Annotations are files in COCO's format, of one class, wherever they lie below the root; a part
    whose file is not there is left out. They name images without their folder (and some
    listings with another ending), so images are found by the stem of their name.

    Some images stand twice in the training or the test file, under two numbers and with two
    annotations (repository sartorius-research/LIVECell, issues 14 and 26), and some are in both
    the training and the validation file (issue 26). All are kept as they are: the first kind has
    the number at the end of the id, and ids begin with the part.

    The group is the field of view (cell type, well and location), whose crops and points in time
    show the same cells; the modality ends in the cell type.

    Attributes:
        subset: a key of :data:`SUBSETS`; empty: the whole training part.
    """

    subset: str = ""

    def __post_init__(self) -> None:
        if self.subset not in ("", *SUBSETS):
            raise ParameterError(
                f"subset={self.subset!r}: expected one of {', '.join(map(repr, SUBSETS))}, or '' "
                "for the whole training part"
            )

    def items(self, root: Path) -> list[Item]:
        """One item per annotated image; see :class:`helpers.data.readers.base.Reader`.

        Raises:
            DataError: as there; no annotations of the subset; two files of one name; an image name
                that does not tell its cell type.
        """
        wanted = PARTS | ({"train": SUBSETS[self.subset]} if self.subset else {})
        files = _by_key(find_files(root, frozenset({".json"})), "name")
        if self.subset and wanted["train"] not in files:
            raise DataError(
                f"{root}: does not hold {wanted['train']}, the official subset {self.subset!r} of "
                "the training part. Put the file beside the others, or name the data set without "
                "a task for the whole part."
            )
        images = _by_key(find_files(root, _SUFFIXES), "stem")
        found: list[Item] = []
        for part, name in wanted.items():
            if name in files:
                found += _items(read_coco(files[name]), part, images)
        return require_items(found, root, LAYOUT)


def _by_key(paths: list[Path], key: str) -> dict[str, Path]:
    """Files by name or stem, which no two may share."""
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(getattr(path, key), path)
        if other != path:
            raise DataError(f"{path} and {other}: have the same name. Remove one of them.")
    return found


def _items(file: CocoFile, part: str, images: dict[str, Path]) -> list[Item]:
    stems = {name: Path(image.file_name).stem for name, image in file.images.items()}
    missing = [Path(one.file_name) for one in file.images.values()]
    missing = [path for path in missing if path.stem not in images]
    require_pairs(missing, f"images that {file.path.name} names are not there", LAYOUT)
    unnamed = [images[stem] for stem in stems.values() if not _NAME.fullmatch(stem)]
    require_pairs(unnamed, "images whose names tell no cell type, well and location", LAYOUT)
    return [_item(file, part, name, images[stem]) for name, stem in stems.items()]


def _item(file: CocoFile, part: str, name: str, image: Path) -> Item:
    match = _NAME.fullmatch(image.stem)
    return Item(
        id=f"{part}/{name}",
        group="{type}_{well}_{location}".format(**match.groupdict()),
        image=image,
        labels=file.path,
        split=part,
        modality=f"phase-contrast/{match['type']}",
    )
