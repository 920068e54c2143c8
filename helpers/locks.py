"""One process at a time in a folder of results."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.errors import DataError


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Refuse to write where another process is writing.

    Raises:
        DataError: another process is at it, or the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise DataError(
            f"{folder}: another run is writing here. Wait for it, or name another folder (--out)."
        ) from None
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written to ({error.strerror}). Name another folder (--out)."
        ) from error
    try:
        yield
    finally:
        lock.release()
