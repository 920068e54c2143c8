"""Finding files, and writing them so that they are whole or absent."""

import csv
import io
import json
import os
import pickle
import struct
from collections.abc import Iterator, Sequence
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


def is_utf8(name: str) -> bool:
    """Whether a name holds no bytes of another encoding, which Python keeps as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def find_files(root: Path, suffixes: frozenset[str] = frozenset()) -> list[Path]:
    """Files below ``root``, sorted: all files of images and annotations are listed here.

    Hidden files and folders are left out (``._name`` of macOS too). Linked folders are followed,
    but every folder is listed once. A link to nowhere is listed, so that reading it fails by name.

    Args:
        suffixes: lower-case endings, whatever the case in the name; without any, all files.

    Raises:
        DataError: ``root`` is not a folder, a folder cannot be listed, or a name is no UTF-8.
    """
    if not root.is_dir():
        raise DataError(f"{root}: is not a folder. Name the folder that holds the images.")
    found, seen = [], set()
    for place, folders, files in os.walk(root, onerror=_unlisted, followlinks=True):
        status = os.stat(place)
        known = (status.st_dev, status.st_ino) in seen
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [] if known else sorted(one for one in folders if not one.startswith("."))
        names = [] if known else [Path(place, name) for name in files if not name.startswith(".")]
        found += [path for path in names if not suffixes or path.suffix.lower() in suffixes]
    if odd := [path for path in found if not is_utf8(str(path))]:
        raise DataError(
            f"{str(odd[0])!a}: its name is no UTF-8, as of {len(odd)} file(s) in {root}. "
            "Rename them, for instance: convmv -f latin1 -t utf8 -r --notest FOLDER"
        )
    return sorted(found)


def _unlisted(error: OSError) -> None:
    raise DataError(
        f"{error.filename}: cannot be listed ({error.strerror}). Change its permissions, or move "
        "it elsewhere."
    ) from error


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


def write_csv(path: Path, rows: Sequence[dict], columns: Sequence[str] = ()) -> None:
    """Write rows under the names of the columns, by default those of the first row."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Keep arrays as npz, all or nothing."""
    import numpy as np

    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def write_torch(path: Path, value: Any) -> None:
    """Write tensors and plain values in torch's format."""
    import torch

    with replacing(path) as temporary:
        torch.save(value, temporary)


def read_torch(path: Path) -> Any:
    """Tensors and plain values as written by :func:`write_torch`, on the CPU.

    Only data are read, never code (``weights_only``).

    Raises:
        DataError: the file is empty, cut off, no such file at all, or holds other objects.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        if others := _objects_in(path):
            raise DataError(
                f"{path}: holds objects besides tensors ({', '.join(others)}), which only code can "
                "restore. If you trust it, save its weights alone: held = torch.load(FILE, "
                "weights_only=False); torch.save(held['model'], NEW), with the key it has there."
            ) from error
        raise DataError(
            f"{path}: not readable as saved tensors ({first}). It was cut off, or is another kind "
            "of file: copy it again. What is made here is made anew where it is missing."
        ) from error


def _objects_in(path: Path) -> list[str]:
    """Names of what a file of tensors holds besides, such as ``argparse.Namespace``."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        return sorted(get_unsafe_globals_in_checkpoint(path))
    except _UNREADABLE:
        return []
