"""What was computed of a folder's files, appended file by file: a killed run loses one file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from helpers.annotate.candidates import Candidate
from helpers.errors import DataError

THUMBNAIL = 48


@dataclass(frozen=True)
class Rows:
    """Candidates of one file (or of many) with what is known of each.

    Attributes:
        candidates: n of them.
        values: float32 (n, d), raw features.
        thumbnails: uint8 (n, 48, 48, 3).
    """

    candidates: list[Candidate]
    values: np.ndarray
    thumbnails: np.ndarray


def stamp(path: Path) -> list[int]:
    """What tells whether a file has changed: its size and time of change."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


class FileLog:
    """Rows by file, in three files of one folder that only ever grow.

    ``index.jsonl`` has a line per file with its stamp, candidates and first row; ``values`` and
    ``thumbnails`` hold the rows. The line is written last: what it does not tell is not there.
    A file that changed is appended again, and its later line counts.
    """

    def __init__(self, folder: Path, dimension: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.dimension = folder, dimension
        self._lines = dict(self._read_index())
        self._end = max((line["end"] for line in self._lines.values()), default=0)

    def _read_index(self) -> Iterator[tuple[str, dict]]:
        path = self.folder / "index.jsonl"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # killed while writing
            path.write_text(whole, encoding="utf-8")
        for line in whole.splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{path}: damaged ({error}). Delete the folder {self.folder} to compute anew."
                ) from error
            yield entry["file"], entry

    def holds(self, file: str, path: Path) -> bool:
        """Whether the rows of a file are here and the file has not changed since."""
        return file in self._lines and self._lines[file]["stamp"] == stamp(path)

    def append(
        self, file: str, path: Path, rows: Rows, faults: Sequence[tuple[int, str]] = ()
    ) -> None:
        """Keep the rows of a file, and what was wrong with further pages of it: (page, reason)."""
        self._write("values", np.asarray(rows.values, np.float32), 4 * self.dimension)
        self._write("thumbnails", rows.thumbnails, 3 * THUMBNAIL**2)
        entry = {
            "file": file,
            "stamp": stamp(path),
            "end": self._end + len(rows.candidates),
            "candidates": [astuple(candidate)[1:] for candidate in rows.candidates],
            "faults": [list(fault) for fault in faults],
        }
        with (self.folder / "index.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        self._lines[file], self._end = entry, entry["end"]

    def _write(self, name: str, values: np.ndarray, row_bytes: int) -> None:
        path = self.folder / name
        with path.open("r+b" if path.is_file() else "wb") as stream:
            stream.seek(self._end * row_bytes)
            stream.truncate()
            stream.write(np.ascontiguousarray(values).tobytes())

    def faults(self, file: str) -> list[tuple[int, str]]:
        """(page, reason) for the unreadable pages of a file that is here."""
        return [(page, reason) for page, reason in self._lines[file]["faults"]]

    def read(self, files: list[str]) -> Rows:
        """Rows of the named files, in that order; those that are not here are left out."""
        lines = [self._lines[file] for file in files if file in self._lines]
        candidates = [Candidate(line["file"], *c) for line in lines for c in line["candidates"]]
        places = np.concatenate(
            [np.arange(line["end"] - len(line["candidates"]), line["end"]) for line in lines]
            or [np.zeros(0, np.int64)]
        ).astype(np.int64)
        if not len(places):
            empty = np.zeros((0, THUMBNAIL, THUMBNAIL, 3), np.uint8)
            return Rows([], np.zeros((0, self.dimension), np.float32), empty)
        values = np.memmap(self.folder / "values", np.float32, "r").reshape(-1, self.dimension)
        thumbnails = np.memmap(self.folder / "thumbnails", np.uint8, "r")
        thumbnails = thumbnails.reshape(-1, THUMBNAIL, THUMBNAIL, 3)
        if np.array_equal(places, np.arange(len(values))):
            return Rows(candidates, values, thumbnails)
        return Rows(candidates, values[places], thumbnails[places])
