"""Reading a folder image by image: what is there, what it looks like, what could not be read."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from helpers.annotate.candidates import Candidate, Cut, resize, square, windows
from helpers.annotate.store import THUMBNAIL, Rows, Thumbnails, keep, read_rows
from helpers.data.preprocess import scale_percentiles, to_grey
from helpers.data.readers.folder import Sorted
from helpers.data.readers.images import decode_pages, to_float
from helpers.errors import DataError
from helpers.features.descriptor import describe
from helpers.fingerprints import of_file


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
        found: what the folder holds.
        candidates: n of them.
        values: float32 (n, d), raw features.
        thumbnails: uint8 (n, 48, 48, 3).
        digests: sha256 of every file that has candidates.
        skipped: what could not be read.
        read: files read in this call; the others were known by their content.
    """

    found: Sorted
    candidates: list[Candidate]
    values: np.ndarray
    thumbnails: Thumbnails
    digests: dict[str, str]
    skipped: list[Skipped]
    read: int


def survey(folder: Path, found: Sorted, cut: Cut, store: Path) -> Survey:
    """Describe every candidate of a folder; what ``store`` knows by its content is not read again.

    A file that cannot be read is left out and named; of a stack with a damaged page the other pages
    are kept.

    Raises:
        DataError: nothing in the folder can be read.
    """
    from tqdm import tqdm

    known: dict[str, Rows] = {}
    digests, skipped, read = {}, [], 0
    # Shown only if it takes longer than a moment.
    for path in tqdm(found.images, "reading images", unit="file", delay=1, mininterval=1):
        name = path.relative_to(folder).as_posix()
        try:
            digest = of_file(path)
        except OSError as error:
            skipped.append(Skipped(name, 1, f"cannot be read ({error.strerror})"))
            continue
        kept, faults = store / f"{digest}.npz", []
        if not kept.is_file():
            read += 1
            _read_file(path, cut, kept, faults)
        if kept.is_file():
            known[name], digests[name] = read_rows(kept), digest
            faults = known[name].faults
        skipped += [Skipped(name, *fault) for fault in faults]
    if not known:
        raise DataError(
            f"{folder}: none of its {len(found.images)} image files can be read. The first: "
            f"{skipped[0].file}: {skipped[0].reason}"
        )
    paths = [store / f"{digests[name]}.npz" for name in known]
    return Survey(
        found,
        [Candidate(name, *one) for name, rows in known.items() for one in rows.places.tolist()],
        np.concatenate([rows.values for rows in known.values()]),
        Thumbnails(paths, [len(rows.places) for rows in known.values()]),
        digests,
        skipped,
        read,
    )


def _read_file(path: Path, cut: Cut, kept: Path, faults: list[tuple[int, str]]) -> None:
    """Keep the rows of a file, unless it has none; ``faults`` takes what cannot be read."""
    places, values, thumbnails = [], [], []
    for page, image in pictures(path, faults):
        grey, shown = scale_percentiles(to_grey(image)), displayed(image)
        for window in windows(*grey.shape, cut):
            places.append((page, *window))
            values.append(describe(square(grey, window, cut)))
            thumbnails.append(fit(shown, window, THUMBNAIL))
    if places:
        rows = Rows(np.array(places), np.array(values, np.float32), faults)
        keep(kept, rows, np.array(thumbnails))


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
            faults.append((page, str(error).removeprefix(f"{path}: ")))


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
