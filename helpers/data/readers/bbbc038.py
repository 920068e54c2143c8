"""BBBC038 (2018 Data Science Bowl, stage 1): nuclei in many kinds of light."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers.data.fields import Borders, borders_of, group_tiles
from helpers.data.readers.base import (
    Item,
    Reader,
    Reading,
    make_sample,
    paint,
    require_items,
    require_pairs,
    shape_mismatch,
)
from helpers.data.readers.images import decode, to_float
from helpers.errors import DataError, ParameterError
from helpers.files import find_files

LAYOUT = "<ImageId>/images/<ImageId>.png with <ImageId>/masks/*.png"
KINDS = ("histology", "fluorescence", "brightfield")
# Half-way between the darkest white and the brightest lilac background, in grey levels of 0..255.
WHITE = 185


@dataclass(frozen=True)
class BBBC038Reader(Reader):
    """``<ImageId>/images/<ImageId>.png`` (RGBA) and ``<ImageId>/masks/*.png``, one per nucleus.

    Masks touch without a gap, so an instance is a file, never a component of their union. Where
    masks overlap, :func:`helpers.data.readers.base.paint` decides. Alpha is dropped. There is no
    official split into training and test.

    The group is the field of view. The archive does not tell it, yet more than half of the pictures
    are neighbouring tiles of a larger one, which :mod:`helpers.data.fields` finds by their borders;
    it also says how often that errs. A field is named by the smallest image id of its tiles here,
    so groups depend on which images are there.

    Attributes:
        kind: only some of the images, with the groups that they have among all:
            ``"fluorescence"`` (nuclei bright on dark) and ``"brightfield"`` (grey on bright) as
            :func:`modality_of` tells them, ``"histology"`` as :func:`is_histology` does, which
            leaves some coloured pictures to no kind; empty: all.
    """

    kind: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("", *KINDS):
            raise ParameterError(
                f"kind={self.kind!r}: expected {' or '.join(map(repr, KINDS))}, or '' for all"
            )

    def items(self, root: Path) -> list[Item]:
        """One item per image, grouped by field of view, for which each image is decoded once.

        Raises:
            DataError: as :meth:`helpers.data.readers.base.Reader.items`, or an unreadable image.
        """
        files = find_files(root, frozenset({".png"}))
        images = [path for path in files if path.parent.name == "images"]
        masks = {path.parent for path in files if path.parent.name == "masks"}
        lacking = [path for path in images if path.parents[1] / "masks" not in masks]
        require_pairs(lacking, "images without masks", LAYOUT)
        orphans = masks - {path.parents[1] / "masks" for path in images}
        require_pairs(sorted(orphans), "folders of masks without an image", LAYOUT)
        items = require_items(
            (Item(p.stem, p.stem, p, p.parents[1] / "masks") for p in images), root, LAYOUT
        )
        with ThreadPoolExecutor() as pool:
            tiles, wanted = zip(*pool.map(self._look_at, items), strict=True)
        # Items are ordered, so the first tile of a field has its smallest id.
        found = [
            replace(item, group=items[first].id)
            for item, first, kept in zip(items, group_tiles(tiles), wanted, strict=True)
            if kept
        ]
        return require_items(found, root, f"{LAYOUT}, {self.kind or 'of any kind'}")

    def _look_at(self, item: Item) -> tuple[Borders, bool]:
        """Borders of an image, and whether it is of the kind that is asked for."""
        pixels = decode(item.image)
        if self.kind == "histology":
            return borders_of(pixels), is_histology(pixels)
        return borders_of(pixels), not self.kind or modality_of(pixels) == self.kind

    def load(self, item: Item) -> Reading:
        """Read one item; the modality is told from its pixels by :func:`modality_of`.

        Raises:
            DataError: an unreadable file, a mask of another size, or no masks at all.
        """
        pixels = decode(item.image)
        shape = pixels.shape[:2]
        files = find_files(item.labels, frozenset({".png"}))
        if not files:
            raise DataError(f"{item.labels}: holds no masks. Expected {LAYOUT}.")
        painted = paint([_mask_pixels(path, item, shape) for path in files], shape)
        image = to_float(pixels, item.image)
        return Reading(
            make_sample(item, image, painted.labels, modality_of(image)),
            dtype=pixels.dtype.name,
            overlap=painted.overlap,
            lost=tuple(f"{item.id}/masks/{files[i].name}: no pixel left" for i in painted.hidden),
        )


def _mask_pixels(path: Path, item: Item, shape: tuple[int, int]) -> np.ndarray:
    """Flat indices of the pixels of one 0/255 mask."""
    mask = decode(path)[..., 0]
    if mask.shape != shape:
        raise shape_mismatch(item, shape, path, mask.shape)
    return np.flatnonzero(mask != 0)


def modality_of(image: np.ndarray) -> str:
    """Modality of a BBBC038 picture, from its pixels (any type, 0..255, H x W x 1 or 3).

    Grey pictures are stored as RGB with three equal channels. A dark background (median below half
    of the range) is ``"fluorescence"``, a bright one ``"brightfield"``; a picture with colours is
    ``"histology"`` (stained purple tissue and smears).
    """
    if (image != image[..., :1]).any():
        return "histology"
    return "fluorescence" if np.median(image[..., 0]) < 127.5 else "brightfield"


def is_histology(pixels: np.ndarray) -> bool:
    """Whether a BBBC038 picture (uint8, H x W x 1 or 3) shows tissue stained with H&E.

    Of the coloured pictures it is those with a white background, or with more red than blue in the
    mean (pink tissue all over). Left out is tissue in one violet stain on lilac, to which
    :func:`modality_of` gives the same name. White is the 95th percentile, over the pixels, of their
    darkest channel if it is above :data:`WHITE`.

    The rule was looked at on the 74 coloured pictures of the corrected archive's first 500: it
    picks 24 on white (the percentile is 201 to 222 there) and one pink (red is 1.05 times blue),
    and leaves out 49 in violet (156 to 169; 0.68 to 0.88 times).
    """
    if (pixels == pixels[..., :1]).all():
        return False
    red, _, blue = pixels.reshape(-1, 3).mean(axis=0)
    return bool(np.percentile(pixels.min(axis=2), 95) > WHITE or red > blue)
