"""GlaS (Warwick-QU, 2015 challenge): glands of the colon, H&E."""

import csv
from dataclasses import dataclass
from pathlib import Path

from helpers.data.readers.base import Item, require_items, require_pairs, require_partners
from helpers.data.readers.pairs import PairReader
from helpers.errors import DataError, ParameterError
from helpers.files import find_files

GRADES_FILE = "Grade.csv"
GRADES = ("benign", "malignant")
LAYOUT = f"NAME.bmp with NAME_anno.bmp and {GRADES_FILE} in one folder"
_COLUMNS = ("name", "patient ID", "grade (GlaS)")
_ENDING = "_anno"


@dataclass(frozen=True)
class GlasReader(PairReader):
    """``NAME.bmp`` (RGB), ``NAME_anno.bmp`` (label image, one number per gland) and ``Grade.csv``.

    NAME begins with the part: ``train`` (85 images), ``testA`` (60) or ``testB`` (20), of which the
    last two are ``"test"``. ``Grade.csv`` tells patient and grade. The modality is the grade of the
    challenge, the group the patient.

    The official split is not one by patient: of the 16 patients 11 are in both parts, and 79 of the
    80 test images show a patient of the training part (counted in ``Grade.csv``).

    Attributes:
        grade: ``"benign"`` or ``"malignant"``: only images of this grade; empty: all.
    """

    grade: str = ""

    def __post_init__(self) -> None:
        if self.grade not in ("", *GRADES):
            raise ParameterError(
                f"grade={self.grade!r}: expected one of {', '.join(map(repr, GRADES))}, or '' for "
                "all images"
            )

    def items(self, root: Path) -> list[Item]:
        """One item per image; see :class:`helpers.data.readers.base.Reader`.

        Raises:
            DataError: as there; or :func:`read_grades` refuses the table, or it lacks an image.
        """
        files = find_files(root, frozenset({".bmp"}))
        masks = {_image_of(path): path for path in files if path.stem.endswith(_ENDING)}
        images = [path for path in files if not path.stem.endswith(_ENDING)]
        require_partners({path: path for path in images}, masks, "annotations", LAYOUT)
        tables = {
            folder: read_grades(folder / GRADES_FILE)
            for folder in sorted({path.parent for path in images})
        }
        unlisted = [path for path in images if path.stem not in tables[path.parent]]
        require_pairs(unlisted, f"images that {GRADES_FILE} does not list", LAYOUT)
        items = [_item(path, masks[path], *tables[path.parent][path.stem]) for path in images]
        wanted = [item for item in items if self.grade in ("", item.modality)]
        return require_items(wanted, root, f"{LAYOUT}, {self.grade or 'of either'} grade")


def _image_of(annotation: Path) -> Path:
    return annotation.with_name(annotation.stem.removesuffix(_ENDING) + annotation.suffix)


def _item(image: Path, mask: Path, patient: str, grade: str) -> Item:
    split = next((part for part in ("train", "test") if image.stem.startswith(part)), "")
    return Item(image.stem, patient, image, mask, split, grade)


def read_grades(path: Path) -> dict[str, tuple[str, str]]:
    """Patient and grade by the name of the image, from ``Grade.csv``.

    The official file ends its lines with a carriage return alone and has blanks after some commas,
    in the header too. Of its two grades that of the challenge is read, not the finer one.

    Raises:
        DataError: the file is missing or no UTF-8 text, lacks a column, or has a line without a
            name, a patient, or one of the two grades, or a second line for one image.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Expected the table of patients and grades, which "
            "comes with the images: unpack the archive again."
        ) from error
    header, *rows = ([cell.strip() for cell in row] for row in csv.reader(lines or [""]))
    if lacking := [name for name in _COLUMNS if name not in header]:
        raise DataError(
            f"{path}: has no column {' and no '.join(map(repr, lacking))}, but {header}. Unpack "
            "the archive again."
        )
    places = [header.index(name) for name in _COLUMNS]
    found: dict[str, tuple[str, str]] = {}
    for row in filter(None, rows):
        name, patient, grade = (row[i] if i < len(row) else "" for i in places)
        if not name or not patient or grade not in GRADES or name in found:
            raise DataError(
                f"{path}: the line {', '.join(row)!r} cannot be used. Expected a name of its own, "
                f"a patient ID and the grade {' or '.join(GRADES)}: correct the line."
            )
        found[name] = patient, grade
    return found
