"""Where things lie: the project, the data cache, the offline bundle, the runs, machine code."""

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from helpers.errors import DataError

PROJECT = Path(__file__).resolve().parents[1]
# Set by what runs several chapters at a time, so that they share the cores.
CHAPTERS_AT_ONCE = "BOOK_CHAPTERS_AT_ONCE"


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


def beside(path: Path, ending: str) -> Path:
    """``NAME-ENDING`` beside a file or folder: where results go unless another place is named."""
    whole = path.expanduser().resolve()
    return whole.with_name(f"{whole.name or 'root'}-{ending}")


def why_not_writable(folder: Path) -> str:
    """Why a folder cannot be written to; empty if it can. It is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


@cache
def code_cache() -> Path:
    """Where numba keeps what it has compiled, which this tells it: call it before compiling.

    ``$NUMBA_CACHE_DIR``, or a folder with the data or the runs, or else one for this process alone.
    Numba's own choice, beside the source or in the home folder, fails where both are read-only.
    """
    import numba

    chosen = os.environ.get("NUMBA_CACHE_DIR")
    folders = [Path(chosen)] if chosen else [data_dir() / "compiled", runs_dir() / "compiled"]
    folder = next((one for one in folders if not why_not_writable(one)), None)
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="compiled-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # For the processes that this one starts, and for itself.
    os.environ["NUMBA_CACHE_DIR"] = numba.config.CACHE_DIR = str(folder)
    return folder
