"""One process at a time: in a folder of results, and at what several need."""

from collections.abc import Callable, Iterator
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


def once(marker: Path, build: Callable[[], object]) -> None:
    """Build what a file says is complete, unless the file is there.

    A second process that needs the same waits for the first.

    Args:
        marker: written last by ``build``. The lock is a file beside it.
    """
    from filelock import FileLock

    if marker.is_file():
        return
    marker.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(marker.with_name(f"{marker.name}.lock")):
        if not marker.is_file():
            build()
