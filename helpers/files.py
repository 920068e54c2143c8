"""Writing files so that they are whole or absent."""

import json
import os
import pickle
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.errors import DataError

# What the unpickler raises at bytes that were never pickled depends on the bytes.
_UNREADABLE = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    pickle.UnpicklingError,
    struct.error,
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well.

    A killed process leaves at most a ``.part`` file behind; of two processes that write the same
    path the later one wins, and neither sees half of the other's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value, indented."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_torch(path: Path, value: Any) -> None:
    """Write tensors and plain values in torch's format."""
    import torch

    with replacing(path) as temporary:
        torch.save(value, temporary)


def read_torch(path: Path) -> Any:
    """Tensors and plain values as written by :func:`write_torch`, on the CPU.

    Only data are read, never code (``weights_only``).

    Raises:
        DataError: the file is empty, cut off, or no such file at all.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{path}: not readable as saved tensors ({first}). Delete the file to make it anew."
        ) from error
