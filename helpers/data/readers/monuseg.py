"""MoNuSeg (2018 challenge): H&E tissue with nuclei outlined as polygons."""

import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from skimage.draw import polygon

from helpers.data.readers.base import (
    Item,
    Reader,
    Reading,
    make_sample,
    paint,
    require_items,
    require_partners,
)
from helpers.data.readers.images import decode, to_float
from helpers.errors import DataError
from helpers.files import find_files

LAYOUT = "Tissue Images/NAME.tif with Annotations/NAME.xml, or NAME.tif beside NAME.xml"
# Moves outlines off the pixel centres, in a direction that no edge between centres can have.
_OFF_CENTRE = 1e-5 * np.array([1.0, (math.sqrt(5) - 1) / 2])
_BARCODE = re.compile(r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})-", re.IGNORECASE)
# The images of KUMAR by part and organ, in the division published with HoVer-Net.
KUMAR: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "breast": (
            "TCGA-A7-A13E-01Z-00-DX1",
            "TCGA-AR-A1AK-01Z-00-DX1",
            "TCGA-AR-A1AS-01Z-00-DX1",
            "TCGA-E2-A14V-01Z-00-DX1",
        ),
        "kidney": (
            "TCGA-B0-5711-01Z-00-DX1",
            "TCGA-HE-7128-01Z-00-DX1",
            "TCGA-HE-7129-01Z-00-DX1",
            "TCGA-HE-7130-01Z-00-DX1",
        ),
        "liver": (
            "TCGA-18-5592-01Z-00-DX1",
            "TCGA-21-5784-01Z-00-DX1",
            "TCGA-38-6178-01Z-00-DX1",
            "TCGA-50-5931-01Z-00-DX1",
        ),
        "prostate": (
            "TCGA-G9-6348-01Z-00-DX1",
            "TCGA-G9-6356-01Z-00-DX1",
            "TCGA-G9-6362-01Z-00-DX1",
            "TCGA-G9-6363-01Z-00-DX1",
        ),
    },
    "same-organ": {
        "breast": ("TCGA-A7-A13F-01Z-00-DX1", "TCGA-E2-A1B5-01Z-00-DX1"),
        "kidney": ("TCGA-B0-5698-01Z-00-DX1", "TCGA-B0-5710-01Z-00-DX1"),
        "liver": ("TCGA-21-5786-01Z-00-DX1", "TCGA-49-4488-01Z-00-DX1"),
        "prostate": ("TCGA-CH-5767-01Z-00-DX1", "TCGA-G9-6336-01Z-00-DX1"),
    },
    "different-organ": {
        "bladder": ("TCGA-DK-A2I6-01A-01-TS1", "TCGA-G2-A2EK-01A-02-TSB"),
        "colon": ("TCGA-AY-A8YK-01A-01-TS1", "TCGA-NH-A8F7-01A-01-TS1"),
        "stomach": ("TCGA-KB-A93J-01A-01-TS1", "TCGA-RD-A8N9-01A-01-TS1"),
    },
}


class MoNuSegReader(Reader):
    """RGB TIFF with Aperio XML: Regions/Region/Vertices/Vertex, X and Y in pixels.

    The group is the patient: the first three fields of the TCGA barcode. Polygons that overlap a
    little are settled by :func:`helpers.data.readers.base.paint`, parts beyond the edge of the
    picture are cut off, and outlines that cover no pixel centre are reported as lost.
    """

    def items(self, root: Path) -> list[Item]:
        """One item per image; see :class:`helpers.data.readers.base.Reader`."""
        images = find_files(root, frozenset({".tif", ".tiff"}))
        outlines = {_key(path, root): path for path in find_files(root, frozenset({".xml"}))}
        known = {_key(path, root): path for path in images}
        require_partners(known, outlines, "XML files", LAYOUT)
        return require_items((_item(path, root, outlines) for path in images), root, LAYOUT)

    def load(self, item: Item) -> Reading:
        """Read one item.

        Raises:
            DataError: an unreadable image or XML file, or a vertex without two finite numbers.
        """
        pixels = decode(item.image)
        height, width = pixels.shape[:2]
        regions = read_regions(item.labels)
        instances = [rasterise(outline, (height, width)) for _, outline in regions]
        painted = paint(instances, (height, width))
        beyond = [
            len(outline) and (outline.min() < 0 or (outline.max(axis=0) > (width, height)).any())
            for _, outline in regions
        ]
        return Reading(
            make_sample(item, to_float(pixels, item.image), painted.labels),
            dtype=pixels.dtype.name,
            overlap=painted.overlap,
            clipped=int(np.count_nonzero(beyond)),
            lost=tuple(
                f"{item.labels.name}: region {regions[i][0]} ({len(regions[i][1])} vertices) "
                + ("is covered by others" if len(instances[i]) else "covers no pixel")
                for i in painted.hidden
            ),
        )


class KumarReader(MoNuSegReader):
    """KUMAR: 30 images of the MoNuSeg training archive in a split of their own, 16 and 14.

    The test part has 8 images of the organs trained on and 6 of others, which the end of the
    modality tells: ``histology/ORGAN/train``, ``.../same-organ`` or ``.../different-organ``. Every
    image is of another patient. Images of MoNuSeg that are not in :data:`KUMAR` are left out, and
    of those that are only the ones in the folder are listed.

    arXiv 2307.03275 does not name its images. Kumar et al. (2017) do not either, say HoVer-Net's
    authors, who therefore published those they used (file ``data/README.md`` of the repository
    vqdang/hover_net); these are taken here. Public code also has another division, in which three
    images of the training part and three of the same organs change places. What the data set calls
    liver are tumours of the lung by their TCGA projects (LUSC and LUAD).
    """

    def items(self, root: Path) -> list[Item]:
        """One item per image of KUMAR; see :class:`helpers.data.readers.base.Reader`."""
        places = {
            name: (part, organ)
            for part, organs in KUMAR.items()
            for organ, names in organs.items()
            for name in names
        }
        found = [
            replace(
                item,
                split="train" if places[item.id][0] == "train" else "test",
                modality="histology/{1}/{0}".format(*places[item.id]),
            )
            for item in super().items(root)
            if item.id in places
        ]
        return require_items(found, root, f"{LAYOUT}, NAME one of the 30 of KUMAR")


def _key(path: Path, root: Path) -> tuple[str, str]:
    return _split(path, root), path.stem


def _split(path: Path, root: Path) -> str:
    """The official folders are "MoNuSeg 2018 Training Data" and "MoNuSegTestData"."""
    folders = "/".join(path.relative_to(root).parts[:-1]).lower()
    return "train" if "training" in folders else "test" if "test" in folders else ""


def _item(path: Path, root: Path, outlines: dict[tuple[str, str], Path]) -> Item:
    barcode = _BARCODE.match(path.stem)
    return Item(
        id=path.stem,
        group=barcode[1] if barcode else path.stem,
        image=path,
        labels=outlines[_key(path, root)],
        split=_split(path, root),
        modality="histology",
    )


def read_regions(path: Path) -> list[tuple[str, np.ndarray]]:
    """Outlines of an Aperio XML file in their order: (region id, float64 (V, 2) of x, y).

    V may be anything, 0 included.

    Raises:
        DataError: not XML, no regions, or a vertex without two finite numbers.
    """
    try:
        tree = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        raise DataError(
            f"{path}: cannot be read as XML ({error}). It is damaged or cut short: replace it."
        ) from error
    regions = [(region.get("Id", "?"), _outline(region, path)) for region in tree.iter("Region")]
    if not regions:
        raise DataError(
            f"{path}: holds no Region. Expected Annotations/Annotation/Regions/Region/Vertices."
        )
    return regions


def _outline(region: ElementTree.Element, path: Path) -> np.ndarray:
    outline = []
    for vertex in region.iter("Vertex"):
        try:
            point = float(vertex.get("X", "missing")), float(vertex.get("Y", "missing"))
        except ValueError:
            point = (math.nan, math.nan)
        if not all(map(math.isfinite, point)):
            raise DataError(
                f"{path}: region {region.get('Id', '?')} has a vertex with X={vertex.get('X')!r}, "
                f"Y={vertex.get('Y')!r}. Expected two numbers, in pixels: replace the file."
            )
        outline.append(point)
    return np.array(outline, dtype=np.float64).reshape(-1, 2)


def rasterise(outline: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Flat indices of the pixels whose centre lies inside a polygon.

    Coordinates run along the pixels' edges: the picture spans 0..width and 0..height, and the
    centre of pixel (row, column) is at (column + 0.5, row + 0.5). The files do not say so, but
    their vertices span 0 to 1000 in pictures of 1000 pixels, and with this reading the outlines
    separate dark from bright best: shifts by -1, 0 or +1 half pixels were compared on all bundled
    images. (Taking coordinates for pixel centres would move every nucleus by half a pixel.)

    Some files have vertices on pixel centres. A centre on an outline counts for one side only
    (roughly that to the left and above), so that areas have no bias and nuclei with a common edge
    no common pixels.

    Args:
        outline: float (V, 2) of x, y; parts beyond the picture are cut off; V < 3 covers nothing.
        shape: height and width.
    """
    if len(outline) < 3:
        return np.zeros(0, np.int64)
    x, y = (outline - 0.5 + _OFF_CENTRE).T
    rows, columns = polygon(y, x, shape)
    return np.ravel_multi_index((rows, columns), shape)
