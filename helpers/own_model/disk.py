"""A disk that is full: told in time, and in words."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.errors import DataError

FULL = (errno.ENOSPC, errno.EDQUOT)
# What torch says where a file could not be written to its end.
TORCH_SAYS = ("PytorchStreamWriter", "inline_container", "file write failed")


@contextmanager
def told_if_full(folder: Path) -> Iterator[None]:
    """Turn the errors of a full disk into one that says what is kept and what to do.

    Raises:
        DataError: something could not be written for lack of room. Files are replaced only by
            complete ones, so that those written before are still there.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        full = isinstance(error, OSError) and error.errno in FULL
        cut = isinstance(error, RuntimeError) and any(text in str(error) for text in TORCH_SAYS)
        if not full and not cut:
            raise
        free = shutil.disk_usage(folder).free / 1e6
        raise DataError(
            f"{folder}: the disk is full or its quota used up ({free:,.0f} MB free). What was "
            "written before is kept, the last checkpoint too: make room and run the same command "
            "again, and it goes on from there."
        ) from error


def require_room(folder: Path, needed: int) -> None:
    """Refuse to begin what cannot be finished.

    Files are mapped into memory while they are filled, and running out of room then ends the
    process without a word.

    Args:
        needed: bytes.

    Raises:
        DataError: less than that is free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{folder}: {free / 1e6:,.0f} MB are free on this disk, and about "
            f"{needed / 1e6:,.0f} MB are needed. Make room, or name another folder (--out)."
        )
