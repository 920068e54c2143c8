"""Checksums of files, remembered so that a file is read through once and not at every use."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm.auto import tqdm

from helpers.errors import DataError
from helpers.files import write_text
from helpers.paths import data_dir

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Digest:
    """Checksums (lower-case hexadecimal) and size in bytes of one file."""

    sha256: str
    md5: str
    bytes: int


def compute_digest(path: Path, progress: bool = False) -> Digest:
    """Read ``path`` once and return its checksums and size.

    Raises:
        DataError: the file cannot be read.
    """
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size = 0
    try:
        with (
            path.open("rb") as stream,
            tqdm(
                total=path.stat().st_size,
                desc=f"checking {path.name}",
                unit="B",
                unit_scale=True,
                delay=2,
                leave=False,
                disable=not progress,
            ) as bar,
        ):
            while chunk := stream.read(_CHUNK):
                sha256.update(chunk)
                md5.update(chunk)
                size += len(chunk)
                bar.update(len(chunk))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Check that the file exists and is readable."
        ) from error
    return Digest(sha256.hexdigest(), md5.hexdigest(), size)


def cached_digest(path: Path, progress: bool = False) -> Digest:
    """Like :func:`compute_digest`, but remembers the result for (path, size, time of change).

    The memory is one small file per path under ``data_dir()/.digests``, so that processes do not
    write over each other's results.

    Raises:
        DataError: the file cannot be read, or the data folder cannot be written.
    """
    path = path.resolve()
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}). Check that the file exists.") from error
    key = {"path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    name = hashlib.sha256(str(path).encode()).hexdigest()[:32]
    memory = make_folder(data_dir() / ".digests") / f"{name}.json"
    if (known := _remembered(memory, key)) is not None:
        return known
    digest = compute_digest(path, progress)
    write_atomically(memory, json.dumps({**key, "digest": asdict(digest)}))
    return digest


def _remembered(memory: Path, key: dict) -> Digest | None:
    try:
        record = json.loads(memory.read_text())
        if any(record[field] != value for field, value in key.items()):
            return None
        return Digest(**record["digest"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # No record or not one of ours: the caller reads the file itself, which is always right.
        return None


def fingerprint(digests: list[Digest]) -> str:
    """sha256 over the sorted sha256 of the files: the same whatever the files are called."""
    return hashlib.sha256("\n".join(sorted(d.sha256 for d in digests)).encode()).hexdigest()


def make_folder(folder: Path) -> Path:
    """Create ``folder`` and its parents.

    Raises:
        DataError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be created ({error}). "
            "Set BOOK_DATA_DIR to a folder that can be written."
        ) from error
    return folder


def write_atomically(path: Path, text: str) -> None:
    """Write ``text``, whole or not at all.

    Raises:
        DataError: the folder cannot be written or the disk is full.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error}). "
            "Free some disk space, or set BOOK_DATA_DIR to a folder that can be written."
        ) from error
