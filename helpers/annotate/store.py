"""What was computed of a file, kept under the fingerprint of its content."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.files import replacing

THUMBNAIL = 48


@dataclass(frozen=True)
class Rows:
    """Candidates of one file with what is known of each.

    Attributes:
        places: int64 (n, 5): page from 1, top, left, height, width.
        values: float32 (n, d), raw features.
        faults: (page, reason) of what could not be read.
    """

    places: np.ndarray
    values: np.ndarray
    faults: list[tuple[int, str]]


def keep(path: Path, rows: Rows, thumbnails: np.ndarray) -> None:
    """Write rows and their thumbnails, uint8 (n, 48, 48, 3), whole or not at all."""
    told = json.dumps(rows.faults)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, places=rows.places, values=rows.values, thumbnails=thumbnails, faults=told)


def read_rows(path: Path) -> Rows:
    """What :func:`keep` has written, without the thumbnails."""
    with np.load(path) as held:
        faults = [(page, reason) for page, reason in json.loads(str(held["faults"]))]
        return Rows(held["places"], held["values"], faults)


class Thumbnails:
    """Thumbnails of many files one after the other, read when they are asked for."""

    def __init__(self, paths: Sequence[Path], counts: Sequence[int]) -> None:
        self._paths, self._ends = list(paths), np.cumsum(counts)

    def __getitem__(self, wanted: np.ndarray) -> np.ndarray:
        """uint8 (n, 48, 48, 3) at ascending places, int64 (n,)."""
        found = []
        for path, start, end in zip(self._paths, [0, *self._ends], self._ends, strict=False):
            if len(here := wanted[(wanted >= start) & (wanted < end)]):
                with np.load(path) as held:
                    found.append(held["thumbnails"][here - start])
        return np.concatenate(found)
