"""Decoding of image and label files into arrays of one known shape.

TIFF goes through tifffile, PNG through imagecodecs (Pillow cuts 16-bit colour to 8 bits), the rest
and palettes through Pillow. What kind of file it is, is read from its first bytes, not its name.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from helpers.errors import DataError

IMAGE_SUFFIXES = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp"})
MAX_UNNAMED_CHANNELS = 4
# A stack above this size is mapped from the disk instead of being held in memory.
LARGE_STACK_BYTES = 2**28
_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG = b"\xff\xd8\xff"
_ORIENTATION = 274  # the tag of that name, in TIFF and in EXIF
# Kinds of TIFF (its tag "photometric") whose numbers are grey values, colours or indices as they
# stand; and the compressions out of which colours come although the tag says YCbCr.
_READ_AS_STORED, _YCBCR, _GIVES_RGB = range(5), 6, (6, 7, 33007, 34892)


def read_image(path: Path) -> np.ndarray:
    """Pixels of an image file as stored, without scaling: float32 (height, width, channels).

    A palette is resolved to RGB and an alpha channel is dropped (so grey + alpha is one channel).

    Which axis holds the channels: the last one, except in TIFF. There the file's own axis names
    decide (ImageJ, OME, planar RGB: C or S); if the writer named no axes, an end axis of at most 4
    entries is taken for the channels, the last one if both are that short. So an unnamed stack of
    four slices or fewer in one array would pass for channels, and more than four unnamed channels
    are refused.

    Raises:
        DataError: the file is missing, empty, cut short, damaged or of unknown type; it holds a
            stack, several pages or pictures, complex numbers, NaN or infinity.
    """
    return to_float(decode(path), path)


def to_float(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Decoded pixels as float32; NaN and infinity (also by overflow of float64) are refused."""
    with np.errstate(over="ignore"):
        image = pixels.astype(np.float32)
    if pixels.dtype.kind == "f" and (bad := int(np.count_nonzero(~np.isfinite(image)))):
        raise DataError(
            f"{path}: {bad} of {image.size} pixel values are NaN, infinite or beyond float32. "
            "Expected finite numbers: replace those pixels, or leave the image out."
        )
    return image


def read_labels(path: Path) -> np.ndarray:
    """Label image of a file: int32 (height, width), 0 background, numbers as stored.

    Of a palette image the indices count, not the colours, with the background's at 0.

    Raises:
        DataError: as for :func:`read_image`; or a value is negative, fractional or beyond int32;
            or the channels differ (colours are no labels); or the file is a JPEG; or nobody can
            tell which index of a palette is the background.
    """
    pixels = decode(path, resolve_palette=False)
    if _head(path).startswith(_JPEG):
        raise DataError(
            f"{path}: is a JPEG, whose compression changes label numbers. "
            "Expected a label image in PNG or TIFF: export it again."
        )
    if pixels.shape[2] > 1 and (pixels != pixels[..., :1]).any():
        raise DataError(
            f"{path}: has {pixels.shape[2]} channels that differ. Expected one channel with "
            "integer labels (0 background, one number per instance): convert colours to numbers."
        )
    return as_labels(pixels[..., 0], path)


def as_labels(values: np.ndarray, path: Path) -> np.ndarray:
    """Labels as stored in a file, in any numeric type, as int32.

    Args:
        values: (height, width).
        path: of the file, for the message.

    Raises:
        DataError: a value is negative, fractional or beyond int32.
    """
    if values.dtype.kind == "f":
        odd = ~np.isfinite(values) | (values != np.rint(values))
        if odd.any():
            raise DataError(
                f"{path}: label {values[odd][0]} is not a whole number "
                f"({np.count_nonzero(odd)} such pixels). Expected integer labels; a probability "
                "map has to be turned into instances first."
            )
    if values.size and values.dtype.kind in "if" and values.min() < 0:
        raise DataError(
            f"{path}: label {values.min()} is negative. Expected 0 for the background and positive "
            "numbers for instances: give what is to be ignored the label 0 or leave the image out."
        )
    if values.size and values.max() > np.iinfo(np.int32).max:
        raise DataError(
            f"{path}: label {values.max()} is beyond int32. Number the instances from 1."
        )
    return values.astype(np.int32)


def decode(path: Path, *, resolve_palette: bool = True, alone: bool = False) -> np.ndarray:
    """Pixels of a file in their stored dtype (bool, integer or float): (height, width, channels).

    A picture that viewers turn (orientation in EXIF or TIFF) is refused, because nobody can tell
    whether its annotation was drawn on it as stored, as Cellpose reads it, or as shown.

    Args:
        resolve_palette: give a palette image's colours (3 channels) instead of its indices.
        alone: it has no annotation, so that a turned picture may be put upright.

    Raises:
        DataError: see :func:`read_image`; NaN and infinity pass.
    """
    [pixels] = _decoded(path, _decode_one(path, resolve_palette, alone))
    return pixels


def decode_pages(path: Path) -> Iterator[np.ndarray]:
    """Every picture of a file in turn, in its stored dtype: each (height, width, channels).

    Pages, slices, time points and further series of a TIFF are pictures of their own, in the order
    of the file; its channels are channels of one picture, found as in :func:`read_image`, except
    that an axis without a name is taken for pages where it has more than four entries. Reduced
    copies are left out. Of a set of TIFF files that refer to each other every file gives its own
    pages, one picture each. Any other file gives one picture. Turned ones are put upright.

    Raises:
        DataError: the file is missing, empty, cut short, damaged or of unknown type, or holds
            complex numbers. Where a later page is damaged, the earlier ones have been given.
    """
    if _head(path).startswith(_TIFF):
        yield from _decoded(path, _decode_tiff_pages(path))
    else:
        yield decode(path, alone=True)


def _decoded(path: Path, pictures: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The pictures of a decoder, checked; its many kinds of exception become one."""
    try:
        for pixels in pictures:
            if pixels.dtype.kind not in "buif" or 0 in pixels.shape:
                raise DataError(
                    f"{path}: holds {pixels.dtype} pixels of shape {pixels.shape}. Expected "
                    "integers or real numbers, and at least one pixel."
                )
            yield pixels
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: is too large for the memory here. Cut it into tiles.") from error
    # The decoders raise a dozen kinds of exception on damaged files, some of their own making.
    except Exception as error:
        raise DataError(
            f"{path}: cannot be decoded ({type(error).__name__}: {error}). The file is damaged, "
            "cut short, or not TIFF, PNG, JPEG or BMP: replace it."
        ) from error


def _decode_one(path: Path, resolve_palette: bool, alone: bool) -> Iterator[np.ndarray]:
    """The one picture of a file; a generator, so that opening fails where decoding does."""
    head = _head(path)
    if head.startswith(_TIFF):
        yield _decode_tiff(path, resolve_palette, alone)
    elif head.startswith(_PNG) and head[24] >= 8 and head[25] != 3:  # bits; 3 = palette
        content = path.read_bytes()
        # Elsewhere Pillow would decode the whole picture to look for it.
        orientation = _orientation(path) if b"eXIf" in content else None
        yield _upright(decode_png(content), orientation, alone, path)
    else:
        pixels = _decode_with_pillow(path, resolve_palette)
        yield _upright(pixels, _orientation(path), alone, path)


def _orientation(path: Path) -> int | None:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.getexif().get(_ORIENTATION)


def _upright(pixels: np.ndarray, orientation: int | None, alone: bool, path: Path) -> np.ndarray:
    """Pixels as viewers show them, by the orientation 1 to 8 of EXIF; refused beside labels."""
    if orientation not in range(2, 9):
        return pixels
    if not alone:
        raise DataError(
            f"{path}: is stored turned or mirrored (orientation {orientation}), so that viewers "
            "show it otherwise than Cellpose and others read it, and nobody can tell which of the "
            "two was annotated. If it was the picture as shown, turn its pixels: mogrify "
            "-auto-orient FILE; if it was the picture as stored, remove the mark: exiftool "
            "-Orientation= FILE."
        )
    pixels = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    pixels = pixels[::-1] if orientation in (3, 4, 7, 8) else pixels
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def decode_png(content: bytes) -> np.ndarray:
    """Pixels of a PNG of 8 or 16 bits without palette: (H, W, 1 or 3), alpha dropped."""
    import imagecodecs

    pixels = imagecodecs.png_decode(content)
    if pixels.ndim == 2:
        return pixels[..., None]
    return pixels[..., :-1] if pixels.shape[2] in (2, 4) else pixels


def _head(path: Path) -> bytes:
    """First bytes of a file, zero-padded to 32."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). Check the path and its permissions."
        ) from error
    if not head:
        raise DataError(f"{path}: is empty (0 bytes). Copy or download it again.")
    return head.ljust(32, b"\0")


def _decode_with_pillow(path: Path, resolve_palette: bool) -> np.ndarray:
    from PIL import Image

    # Pillow guards servers against bombs; a slide that somebody names is none.
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path) as picture:
        # Phones append smaller copies to a JPEG; Pillow calls that MPO.
        if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
            raise _stack_error(path, f"{picture.n_frames} frames")
        if picture.mode == "P" and not resolve_palette:
            colours = np.reshape(picture.getpalette("RGB"), (-1, 3))
            return _background_first(np.asarray(picture)[..., None], colours, path)
        if picture.mode == "LA":
            picture = picture.convert("L")
        elif picture.mode not in {"1", "L", "I", "I;16", "I;16B", "F", "RGB"}:
            picture = picture.convert("RGB")
        pixels = np.asarray(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _background_first(indices: np.ndarray, colours: np.ndarray, path: Path) -> np.ndarray:
    """Indices (H, W, 1) into a palette with the background at 0, for which another index may stand.

    Tools give it black, at whatever index; or, as QuPath, white at index 0.

    Args:
        colours: (n, 3), 0 black, 255 white.
    """
    # Unused entries tell nothing: some tools fill them with black.
    black = [index for index in np.unique(indices) if not colours[index].any()]
    first = colours[0].tolist()
    if 0 in black or (not black and first in ([0, 0, 0], [255, 255, 255])):
        return indices
    if len(black) != 1 or first == [255, 255, 255]:
        named = " and ".join(map(str, black)) or "none"
        raise DataError(
            f"{path}: is a picture with a palette, and which index is the background cannot be "
            f"told: index 0 has the colour {first}, black has: {named}. Expected index 0 black, or "
            "white where nothing is black, or one other index black: save the label numbers as "
            "grey values, in PNG or TIFF."
        )
    swapped = np.arange(len(colours), dtype=indices.dtype)
    swapped[[0, black[0]]] = swapped[[black[0], 0]]
    return swapped[indices]


@contextmanager
def _open_tiff(path: Path) -> Iterator[Any]:
    """A TIFF; at the end, an error if its chain of pages was broken.

    tifffile only logs it when the address of a next page lies beyond the end of the file, and goes
    on with the pages before.
    """
    import tifffile

    complaints: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: complaints.append(record.getMessage())
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        with tifffile.TiffFile(path) as tiff:
            yield tiff
    finally:
        logger.removeHandler(handler)
    if any("invalid page offset" in complaint for complaint in complaints):
        raise DataError(
            f"{path}: pages are missing at its end. The file was cut short: copy or download it "
            "again."
        )


def _decode_tiff(path: Path, resolve_palette: bool, alone: bool) -> np.ndarray:
    with _open_tiff(path) as tiff:
        series = _full_series(tiff)
        if len(series) != 1:
            raise _stack_error(path, f"{len(series)} pictures")
        page = series[0].keyframe
        _require_colours(page, path)
        pixels = _channels_last(series[0].asarray(), series[0].axes, path)
        pixels = _as_meant(pixels, page, resolve_palette, path)
        return _upright(pixels, page.tags.valueof(_ORIENTATION), alone, path)


def _decode_tiff_pages(path: Path) -> Iterator[np.ndarray]:
    with _open_tiff(path) as tiff:
        parts = _full_series(tiff)
        if any(part.is_multifile for part in parts):
            parts = [page for page in tiff.pages if not page.is_reduced]
        for part in parts:
            _require_colours(part.keyframe, path)
            orientation = part.keyframe.tags.valueof(_ORIENTATION)
            # Mapped, a long recording does not have to fit into memory.
            pixels = part.asarray(out="memmap" if part.nbytes > LARGE_STACK_BYTES else None)
            for picture in _pictures(pixels, part.axes, path):
                meant = _as_meant(np.asarray(picture), part.keyframe, True, path)
                yield _upright(meant, orientation, True, path)


def _full_series(tiff: Any) -> list[Any]:
    """The series of a TIFF; a reduced copy of a picture (thumbnail) is not a second picture."""
    return [one for one in tiff.series if not one.keyframe.is_reduced]


def _require_colours(page: Any, path: Path) -> None:
    """Refuse colour spaces whose planes would pass for grey values."""
    is_ycbcr = page.photometric == _YCBCR and page.compression in _GIVES_RGB
    if page.photometric not in _READ_AS_STORED and not is_ycbcr:
        name = getattr(page.photometric, "name", page.photometric)
        raise DataError(
            f"{path}: its colours are stored as {name}. Expected grey values or RGB: convert it, "
            "for instance with mogrify -colorspace sRGB FILE."
        )


def _as_meant(pixels: np.ndarray, page: Any, resolve_palette: bool, path: Path) -> np.ndarray:
    """Decoded pixels (H, W, C) of a TIFF page without alpha; of one bit with 1 for white.

    Grey values of more bits stay as stored even where 0 is white: so writes ImageJ with its
    inverting look-up table, under which 255 is the object.
    """
    import tifffile

    if page.bitspersample == 1 and page.tags.valueof("PhotometricInterpretation") == 0:
        pixels = ~pixels
    alpha = [int(kind) in (1, 2) for kind in page.extrasamples]  # associated, unassociated
    if alpha and alpha[-1] and pixels.shape[2] > 1:
        pixels = pixels[..., :-1]
    colours = page.colormap if page.photometric == tifffile.PHOTOMETRIC.PALETTE else None
    if colours is None or pixels.shape[2] > 1:
        return pixels
    if not resolve_palette:
        # One-bit pixels come as bool, which would select instead of looking up.
        return _background_first(pixels.astype(np.uint16), colours.T >> 8, path)
    pixels = np.moveaxis(colours[:, pixels[..., 0].astype(np.intp)], 0, -1)
    # A TIFF palette is always stored in 16 bits.
    return (pixels >> 8).astype(np.uint8) if colours.shape[1] <= 256 else pixels


def _pictures(pixels: np.ndarray, axes: str, path: Path) -> Iterator[np.ndarray]:
    """The (H, W, C) pictures of an array with tifffile's axis names, in the order of the file."""
    inner = [name for name in axes if name in "YXCS"]
    outer = [i for i, name in enumerate(axes) if name not in "YXCS" and pixels.shape[i] > 1]
    picture_like = len(inner) == 2 and len(outer) == 1 and axes[outer[0]] == "Q"
    if not outer or (picture_like and _short_end(pixels.squeeze().shape)):
        yield _channels_last(pixels, axes, path)
        return
    stack = np.moveaxis(pixels, outer, range(len(outer)))
    names = "".join(name for i, name in enumerate(axes) if i not in outer)
    for index in np.ndindex(stack.shape[: len(outer)]):
        yield _channels_last(stack[index], names, path)


def _short_end(shape: tuple[int, ...]) -> bool:
    return min(shape[0], shape[-1]) <= MAX_UNNAMED_CHANNELS


def _channels_last(pixels: np.ndarray, axes: str, path: Path) -> np.ndarray:
    """Array with tifffile's axis names as (H, W, C); the rule is told in :func:`read_image`."""
    long = [i for i, name in enumerate(axes) if name in "YX" or pixels.shape[i] > 1]
    pixels = pixels.reshape([pixels.shape[i] for i in long])
    names = "".join(axes[i] for i in long)
    if names == "YX":
        return pixels[..., None]
    for channel in "CS":  # C: channel; S: sample, as the R, G and B of one pixel
        if len(names) == 3 and channel in names:
            return np.moveaxis(pixels, names.index(channel), -1)
    if len(names) == 3 and "Q" in names:  # Q: written as one array whose axes were not named
        if pixels.shape[2] <= MAX_UNNAMED_CHANNELS:
            return pixels
        if pixels.shape[0] <= MAX_UNNAMED_CHANNELS:
            return np.moveaxis(pixels, 0, -1)
    raise _stack_error(path, f"an array of shape {pixels.shape} with axes {names}")


def _stack_error(path: Path, found: str) -> DataError:
    return DataError(
        f"{path}: holds {found}. Expected one two-dimensional picture: save each slice, frame or "
        "page as a file of its own; if one axis holds channels, save it with that axis named "
        "(for example tifffile.imwrite(..., metadata={'axes': 'CYX'}))."
    )
