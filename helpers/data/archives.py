"""Unpacking zip and tar archives without trusting what they say about paths, links or sizes."""

import errno
import lzma
import posixpath
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from tqdm.auto import tqdm

from helpers.data.checksums import make_folder
from helpers.errors import DataError

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_RESERVE = 50 * 2**20  # left free, so that logs and records can still be written


@dataclass(frozen=True)
class _Member:
    """One file of an archive; a link within the archive counts as the file it points to."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked (``.pth.tar`` is a checkpoint, not an archive)."""
    lower = name.lower()
    return lower.endswith((".zip", *_TAR_SUFFIXES)) and not lower.endswith(".pth.tar")


def unpack_all(archives: Sequence[Path], target: Path, progress: bool = True) -> int:
    """Unpack zip and tar archives side by side into the new folder ``target``.

    The files are written to a temporary folder beside ``target``, which takes its name only when
    all of them are there. Links within an archive become copies of the file they point to; empty
    folders and the ``__MACOSX`` folder (resource forks) are left out.

    Returns:
        Number of files.

    Raises:
        DataError: an archive is damaged, encrypted or of unknown type; it holds an absolute path,
            a ``..``, a link that leaves it, or a device; the disk is too small; or ``target``
            exists and is not empty. Nothing new is left behind and nothing old is touched.
    """
    parent = make_folder(target.parent)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target}: exists already. Remove it to unpack again.")
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".unpacking", dir=parent))
    try:
        count = sum(_unpack_into(archive, staging, progress) for archive in archives)
        staging.chmod(0o755)  # mkdtemp keeps others out; a data folder may be shared
        staging.replace(target)
    except OSError as error:
        raise write_error(target, error, "what had been unpacked") from error
    finally:
        # Gone after success; after a failure its error matters more than one of tidying up.
        shutil.rmtree(staging, ignore_errors=True)
    return count


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Check that ``needed`` bytes fit on the disk of ``folder``.

    Raises:
        DataError: they do not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + _RESERVE:
        raise DataError(
            f"{folder}: {purpose} needs {_megabytes(needed)}, only {_megabytes(free)} are free. "
            "Free some disk space, or name a folder on a larger disk (BOOK_DATA_DIR, --out)."
        )


def is_disk_full(error: OSError) -> bool:
    """Whether a write failed for lack of space or quota."""
    return error.errno in _DISK_FULL


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def write_error(target: Path, error: OSError, removed: str) -> DataError:
    """What is said where a data folder cannot be written, and in words what was removed."""
    if is_disk_full(error):
        return DataError(
            f"{target}: the disk is full; {removed} was removed. "
            "Free some disk space, or set BOOK_DATA_DIR to a folder on a larger disk."
        )
    return DataError(
        f"{target}: cannot be written ({error}). Set BOOK_DATA_DIR to a folder that can be written."
    )


def _unpack_into(archive: Path, folder: Path, progress: bool) -> int:
    with _members(archive) as members:
        total = sum(member.size for member in members)
        require_space(folder, total, f"unpacking {archive.name}")
        with tqdm(
            total=total,
            desc=f"unpacking {archive.name}",
            unit="B",
            unit_scale=True,
            delay=1,
            leave=False,
            disable=not progress,
        ) as bar:
            for member in members:
                _write(member, folder, archive)
                bar.update(member.size)
    return len(members)


def _write(member: _Member, folder: Path, archive: Path) -> None:
    path = folder / _safe(member.name, archive)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, path.open("xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            size = target.tell()
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(
            f"{archive}: {member.name!r} is there twice, here or in an archive unpacked beside it. "
            "Fetch the official file again."
        ) from error
    if size != member.size:
        raise _damaged(archive, f"{member.name!r} has {size} bytes instead of {member.size}")


def _safe(name: str, archive: Path) -> PurePosixPath:
    """``name`` as a relative path that stays inside, on POSIX and on Windows."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    outside = posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts
    if outside or not posix.parts or "\0" in name:
        raise DataError(
            f"{archive}: refused, because it would write outside its folder ({name!r}). "
            "Do not use this file; fetch it again from its official address."
        )
    return posix


def _damaged(archive: Path, detail: object) -> DataError:
    return DataError(
        f"{archive}: the archive is damaged or cut short ({detail}). "
        "Delete it and fetch it again, or copy it again from the offline bundle."
    )


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    """Open an archive and list its files; damage found while they are read is reported too."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield _zip_members(opened, archive)
        elif archive.name.lower().endswith(_TAR_SUFFIXES):
            with tarfile.open(archive) as opened:
                yield _tar_members(opened, archive)
        else:
            raise _damaged(archive, "not a zip file")
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        # bz2 and gzip report damage as OSError without an error number; a full disk has one.
        if error.errno is not None:
            raise
        raise _damaged(archive, error) from error


def _zip_members(opened: zipfile.ZipFile, archive: Path) -> list[_Member]:
    by_name = {info.filename: info for info in opened.infolist()}
    members = []
    for info in opened.infolist():
        if info.is_dir() or info.filename.startswith("__MACOSX/"):
            continue
        if info.flag_bits & 0x1:
            raise DataError(f"{archive}: {info.filename!r} is encrypted. Fetch the official file.")
        source = info
        if stat.S_ISLNK(info.external_attr >> 16):
            link = opened.read(info).decode("utf-8", "replace")
            source = by_name.get(_link_target(info.filename, link, archive))
        elif stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise _special(archive, info.filename)
        if source is None or source.is_dir() or stat.S_ISLNK(source.external_attr >> 16):
            raise _dangling(archive, info.filename)
        members.append(
            _Member(info.filename, source.file_size, lambda source=source: opened.open(source))
        )
    return members


def _tar_members(opened: tarfile.TarFile, archive: Path) -> list[_Member]:
    infos = opened.getmembers()
    # tarfile takes the end of the file for the end of the archive; only a zero block is one.
    opened.fileobj.seek(opened.offset)
    if opened.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise _damaged(archive, "its end is missing")
    by_name = {posixpath.normpath(info.name): info for info in infos}
    members = []
    for info in infos:
        if info.isdir() or info.name.startswith("__MACOSX/"):
            continue
        source = info
        if info.issym():
            source = by_name.get(_link_target(info.name, info.linkname, archive))
        elif info.islnk():  # a hard link names its target from the top of the archive
            source = by_name.get(_link_target("", info.linkname, archive))
        elif not info.isreg():
            raise _special(archive, info.name)
        if source is None or not source.isreg():
            raise _dangling(archive, info.name)
        members.append(
            _Member(info.name, source.size, lambda source=source: opened.extractfile(source))
        )
    return members


def _link_target(name: str, link: str, archive: Path) -> str:
    """Name, inside the archive, of what the link ``name`` points to."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
    if posixpath.isabs(target) or target.split("/")[0] == "..":
        raise DataError(
            f"{archive}: refused, because the link {name!r} leaves its folder (to {link!r}). "
            "Do not use this file; fetch it again from its official address."
        )
    return target


def _special(archive: Path, name: str) -> DataError:
    return DataError(
        f"{archive}: refused, because {name!r} is a device or another special file. "
        "Do not use this file; fetch it again from its official address."
    )


def _dangling(archive: Path, name: str) -> DataError:
    return DataError(
        f"{archive}: refused, because the link {name!r} points to no file of the archive. "
        "Fetch the official file again."
    )
