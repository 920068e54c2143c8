"""Reading a folder image by image: what is there, what it looks like, what could not be read."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from helpers.annotate.candidates import Candidate, Cut, Found, resize, square, windows
from helpers.annotate.store import THUMBNAIL, FileLog, Rows
from helpers.data.preprocess import scale_percentiles, to_grey
from helpers.data.readers.images import decode_pages, to_float
from helpers.errors import DataError
from helpers.features.descriptor import DIMENSION, describe


@dataclass(frozen=True)
class Skipped:
    """A picture that was left out, and why."""

    file: str
    page: int
    reason: str


@dataclass(frozen=True)
class Survey:
    """All candidates of a folder.

    Attributes:
        rows: candidates with raw features and thumbnails.
        skipped: what could not be read.
        files: image files looked at; masks: files left out as annotations.
        read: files read in this call; the others were known.
    """

    rows: Rows
    skipped: list[Skipped]
    files: int
    masks: int
    read: int


def survey(folder: Path, found: Found, cut: Cut, log: FileLog) -> Survey:
    """Describe every candidate of a folder; files that ``log`` knows unchanged are not read again.

    A file that cannot be read is left out and named; of a stack with a damaged page the pages
    before it are kept.

    Raises:
        DataError: nothing in the folder can be read.
    """
    from tqdm import tqdm

    names = {path.relative_to(folder).as_posix(): path for path in found.images}
    unknown = {name: path for name, path in names.items() if not log.holds(name, path)}
    lost: list[Skipped] = []
    # Shown only if it takes longer than a moment.
    for name, path in tqdm(unknown.items(), "reading images", unit="file", delay=1, mininterval=1):
        faults: list[tuple[int, str]] = []
        rows = _read_file(name, path, cut, faults)
        if rows.candidates:
            log.append(name, path, rows, faults)
        else:
            lost += [Skipped(name, *fault) for fault in faults]
    known = [name for name, path in names.items() if log.holds(name, path)]
    skipped = lost + [Skipped(name, *fault) for name in known for fault in log.faults(name)]
    skipped.sort(key=lambda one: (one.file, one.page))
    if not known:
        raise DataError(
            f"{folder}: none of its {len(names)} image files can be read. The first: "
            f"{lost[0].reason}"
        )
    return Survey(log.read(known), skipped, len(names), found.masks, len(unknown))


def _read_file(name: str, path: Path, cut: Cut, faults: list[tuple[int, str]]) -> Rows:
    candidates = []
    values, thumbnails = [], []
    for page, image in pictures(path, faults):
        grey, shown = scale_percentiles(to_grey(image)), displayed(image)
        for window in windows(*grey.shape, cut):
            candidates.append(Candidate(name, page, *window))
            values.append(describe(square(grey, window, cut)))
            thumbnails.append(fit(shown, window, THUMBNAIL))
    return Rows(
        candidates,
        np.reshape(values, (-1, DIMENSION)),
        np.reshape(thumbnails, (-1, THUMBNAIL, THUMBNAIL, 3)),
    )


def pictures(path: Path, faults: list[tuple[int, str]]) -> Iterator[tuple[int, np.ndarray]]:
    """Every readable picture of a file with its number from 1: float32 (height, width, channels).

    Args:
        faults: takes (number, reason) of what cannot be read.
    """
    source = decode_pages(path)
    for page in count(1):
        try:
            yield page, to_float(next(source), path)
        except StopIteration:
            return
        except DataError as error:
            faults.append((page, str(error)))


def displayed(image: np.ndarray) -> np.ndarray:
    """An image for the eye: uint8 (height, width, 3).

    Three channels are shown as colours on one scale, any other number as their mean in grey.
    """
    if image.shape[2] != 3:
        image = to_grey(image)[..., None]
    low, high = np.percentile(image[:: _step(image), :: _step(image)], [0.5, 99.5])
    if high <= low:
        low, high = float(image.min()), max(float(image.max()), float(image.min()) + 1)
    scaled = (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return np.broadcast_to(scaled, (*scaled.shape[:2], 3))


def _step(image: np.ndarray) -> int:
    """Every how many rows and columns are enough to judge the grey values of a large image."""
    return max(1, int((image.shape[0] * image.shape[1] / 1e6) ** 0.5))


def fit(shown: np.ndarray, window: tuple[int, int, int, int], side: int) -> np.ndarray:
    """A window of a uint8 (h, w, 3) picture on a white square of that side, proportions kept."""
    top, left, height, width = window
    part = shown[top : top + height, left : left + width]
    scale = side / max(height, width)
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    canvas = np.full((side, side, 3), 255, np.uint8)
    y, x = (side - shape[0]) // 2, (side - shape[1]) // 2
    canvas[y : y + shape[0], x : x + shape[1]] = np.rint(resize(part, shape))
    return canvas
