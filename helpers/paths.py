"""Where things lie: the project, the data cache, the offline bundle and the runs."""

import os
from pathlib import Path

from helpers.errors import DataError

PROJECT = Path(__file__).resolve().parents[1]


def data_dir() -> Path:
    """Folder for downloads and unpacked archives: ``$BOOK_DATA_DIR`` or the user's cache folder."""
    if chosen := os.environ.get("BOOK_DATA_DIR"):
        return Path(chosen).expanduser().resolve()
    import pooch

    return Path(pooch.os_cache("data-efficient-segmentation-book"))


def bundle_dir() -> Path | None:
    """Offline bundle named by ``$BOOK_DATA_BUNDLE``; ``None`` if unset.

    Raises:
        DataError: the variable names a folder that holds no ``bundle.yaml``.
    """
    chosen = os.environ.get("BOOK_DATA_BUNDLE")
    if not chosen:
        return None
    folder = Path(chosen).expanduser().resolve()
    if not (folder / "bundle.yaml").is_file():
        raise DataError(
            f"BOOK_DATA_BUNDLE={chosen}: no bundle.yaml in {folder}. "
            "Name the folder that holds bundle.yaml, or unset the variable."
        )
    return folder


def runs_dir() -> Path:
    """Folder for trials and executed notebooks: ``$BOOK_RUNS_DIR`` or ``.runs`` of the project."""
    chosen = os.environ.get("BOOK_RUNS_DIR")
    return Path(chosen).expanduser().resolve() if chosen else PROJECT / ".runs"
