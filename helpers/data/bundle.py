"""The offline bundle: a folder with ``bundle.yaml`` and archives in their official layout."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from helpers.data.checksums import cached_digest
from helpers.data.manifest import Strict, Text, is_inside, read_model
from helpers.errors import DataError


class BundleFile(Strict):
    """One file: path relative to the bundle, size and checksum."""

    path: Text
    bytes: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        if not is_inside(value) or "\\" in value:
            raise ValueError(f"{value!r} is not a path inside the bundle")
        return value


class BundleEntry(Strict):
    """What the bundle holds of one data set; ``complete`` is false for a subset."""

    complete: bool
    coverage: Text
    licence: Text
    note: str = ""
    files: Annotated[tuple[BundleFile, ...], Field(min_length=1)]

    def paths(self, folder: Path) -> tuple[Path, ...]:
        """Where the files should lie in the bundle at ``folder``."""
        return tuple(folder / file.path for file in self.files)


class Bundle(Strict):
    """Content of a ``bundle.yaml``: data sets by the names of the data manifest."""

    format: Literal[1]
    datasets: dict[str, BundleEntry]


def load_bundle(folder: Path) -> Bundle:
    """Read and check ``folder/bundle.yaml``; a file that has not changed is read once.

    Raises:
        DataError: the file is missing, not YAML, or against the schema.
    """
    return read_model(Bundle, folder / "bundle.yaml", "the offline bundle")


def verified_files(folder: Path, entry: BundleEntry, progress: bool = True) -> tuple[Path, ...]:
    """Paths of an entry's files, each checked against its size and sha256.

    A file that was checked before and has not changed since (path, size, time of change) is not
    read again.

    Raises:
        DataError: a file is missing, cut short, or has another checksum.
    """
    paths = entry.paths(folder)
    for file, path in zip(entry.files, paths, strict=True):
        if not path.is_file():
            raise DataError(
                f"{path}: the offline bundle names this file but does not hold it. "
                "Copy the bundle again, or unset BOOK_DATA_BUNDLE."
            )
        size = path.stat().st_size
        if size != file.bytes:
            raise DataError(
                f"{path}: has {size:,} bytes, bundle.yaml says {file.bytes:,}: the file is damaged "
                "or cut short. Copy it again from the source of the bundle."
            )
        found = cached_digest(path, progress).sha256
        if found != file.sha256:
            raise DataError(
                f"{path}: sha256 is {found}, bundle.yaml says {file.sha256}: the file is damaged. "
                "Copy it again from the source of the bundle."
            )
    return paths
